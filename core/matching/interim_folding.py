"""Plain folding until the kernels are here."""

import unicodedata

from jukinet.core.index.folding import folded_address, folded_name

HI = {chr(c): chr(c + 0x60) for c in range(0x3041, 0x3097)}
SM = str.maketrans("ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ")


def kana_exact(t):
    t = unicodedata.normalize("NFKC", t)
    return "".join(HI.get(c, c) for c in t if not c.isspace() and c != "・").lower()


def kana(t):
    t = unicodedata.normalize("NFD", kana_exact(t))
    t = "".join(c for c in t if c not in "\u3099\u309aー")
    return t.translate(SM)


def name(t):
    return folded_name(t).lower()


def address(t):
    return folded_address(t)


def date(d):
    return d
