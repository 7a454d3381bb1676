"""Surnames of the synthetic nation: real frequencies, variant kanji, and a tail of rare names.

Counts and readings come from the package ``japanese-personal-name-dataset`` (2,000 surnames, 99.6 million people).
Families that write a variant of a kanji (髙, 﨑, 邊, 濵 and so on) are split off from the common form by shares that
are this project's estimate. The rare tail borrows names of towns: many rare surnames are place names.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

import msgspec


class Name(msgspec.Struct, frozen=True):
    """A surname or given name: its text, its reading in katakana, and its weight (any unit)."""

    text: str
    kana: str
    weight: int


VARIANTS_PER_MILLE: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "高": (("髙", 60),),
    "崎": (("﨑", 75), ("嵜", 3)),
    "辺": (("邊󠄀", 4), ("邉󠄂", 5)),
    "邊": (("邊󠄀", 60), ("邊󠄁", 40)),
    "邉": (("邉󠄂", 70), ("邉󠄄", 50)),
    "浜": (("濵", 40), ("濱", 30)),
    "濱": (("濵", 150),),
    "斎": (("齋", 30),),
    "斉": (("齊", 30),),
    "沢": (("澤", 60),),
    "島": (("嶋", 30), ("嶌", 3)),
    "広": (("廣", 40),),
    "桜": (("櫻", 40),),
    "吉": (("𠮷", 15),),
    "葛": (("葛󠄀", 150), ("葛󠄁", 80)),
    "辻": (("辻󠄀", 80), ("辻󠄁", 40)),
    "国": (("國", 30),),
    "関": (("關", 4),),
    "恵": (("惠", 25),),
    "真": (("眞", 25),),
    "黒": (("黑", 8),),
    "瀬": (("瀨", 15), ("瀬󠄂", 5)),
    "徳": (("德", 30),),
    "曽": (("曾", 100),),
    "塚": (("\ufa10", 25), ("塚󠄁", 10)),
    "柳": (("栁", 30),),
    "梅": (("\ufa44", 10),),
    "福": (("\ufa1b", 12),),
    "羽": (("\ufa1e", 10),),
    "榊": (("榊󠄀", 30),),
    "樋": (("樋󠄀", 30),),
    "隆": (("\uf9dc", 10),),
    "槇": (("槙", 100),),
    "篠": (("篠󠄁", 5),),
    "巌": (("巖", 50),),
    "滝": (("瀧", 60),),
    "竜": (("龍", 100),),
    "与": (("與", 30),),
    "会": (("會", 30),),
    "渕": (("淵", 40),),
    "桧": (("檜", 100),),
    "鴎": (("鷗", 100),),
}
"""Per thousand bearers of a surname with the kanji: the share that writes it in another form (the escapes are CJK
compatibility ideographs, which editors like to normalise away)."""

RARE_SHARE_PER_MILLE: Final = 45
"""Bearers of rare surnames, which the list of 2,000 does not hold, per thousand of those it does (an estimate)."""
RARE_NAMES_MAX: Final = 4_000
RARE_LAST_CHARACTERS: Final = frozenset("田川山野原村井木本島崎沢谷岡松森林内上下瀬池坂口石橋津浜浦部塚尾倉")


def katakana(hiragana: str) -> str:
    """The same reading in katakana."""
    return "".join(chr(ord(letter) + 0x60) if "ぁ" <= letter <= "ゖ" else letter for letter in hiragana)


def with_variants(name: Name, listed: Container[str]) -> list[Name]:
    """A surname split into its common form and the variants of one of its kanji; weights sum to the name's.

    A variant that is listed in its own right keeps its own count and is not split off.
    """
    split: list[Name] = []
    rest = name.weight
    for place, letter in enumerate(name.text):
        for variant, share in VARIANTS_PER_MILLE.get(letter, ()):
            text = name.text[:place] + variant + name.text[place + 1 :]
            weight = name.weight * share // 1000
            if weight and text not in listed:
                split.append(Name(text, name.kana, weight))
                rest -= weight
    return [Name(name.text, name.kana, rest), *split]


def rare_names(known: Iterable[str], towns: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Town names (text, kana) that read like surnames, each once and none that is known, in the order given."""
    seen = set(known)
    found: list[tuple[str, str]] = []
    for text, kana in towns:
        if len(found) == RARE_NAMES_MAX:
            break
        kanji = all("一" <= letter <= "鿿" for letter in text)
        if len(text) == 2 and kanji and text[1] in RARE_LAST_CHARACTERS and 3 <= len(kana) <= 5 and text not in seen:
            seen.add(text)
            found.append((text, kana))
    return found


def surnames(listed: Mapping[str, tuple[str, int]], towns: Iterable[tuple[str, str]]) -> list[Name]:
    """All surnames with weights.

    ``listed`` maps a surname to its reading in hiragana and its count of bearers; ``towns`` holds town names with their
    katakana, the source of the rare tail.
    """
    common = [Name(text, katakana(reading), count) for text, (reading, count) in listed.items() if count > 0]
    names = [form for name in common for form in with_variants(name, listed)]
    rare = rare_names(listed, towns)
    total = sum(name.weight for name in common) * RARE_SHARE_PER_MILLE // 1000
    # Bearers fall with the rank, as at the end of the list of common names.
    ranks = sum(1_000_000 // (place + 400) for place in range(len(rare)))
    names.extend(
        Name(text, kana, max(1, total * (1_000_000 // (place + 400)) // ranks))
        for place, (text, kana) in enumerate(rare)
    )
    return names
