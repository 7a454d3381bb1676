"""Makes data/kanji_variants.txt from the official MJ shrink map as the package ``jntajis-python`` holds it.

``python -m jukinet.core.folding.shrink_map FILE`` writes the table. It is run when the map changes, not when the
product is installed: the table is kept with the source. How a character's form is chosen stands in docs/folding.md.
"""

from __future__ import annotations

import importlib
import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

IDEOGRAPHS: Final = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x32000))
SCHEMES: Final = 1 | 2 | 8
"""JIS unification, inference by reading and glyph, notices on the Family Register Act; the fourth, notice 582, is left
out: it names characters to write instead, by sound too, and would make one of kanji that are different names."""
ADDED: Final = """
    苅=刈 盃=杯 栢=柏 楳=梅 涌=湧 祢=禰 頴=穎 龍=竜 砿=鉱 駈=駆 鋪=舗
    斎=斉 齋=斉 齊=斉 凜=凛 遙=遥 靍=鶴 靎=鶴 萠=萌 巖=巌 檜=桧 冨=富 峯=峰 嶋=島 嶌=島 碕=崎 嵜=崎
    邨=村 附=付 埜=野 淵=渕 渊=渕 熙=煕 穰=穣 槇=槙 舘=館 蘆=芦 薗=園 瀧=滝 燈=灯 曾=曽 祿=禄 鷗=鴎
    麴=麹 濤=涛 藪=薮 籠=篭 礒=磯 邱=丘 昻=昂 翆=翠 緖=緒 藏=蔵 昜=易 桒=桑 籔=薮 舩=船 蹟=跡 龝=秋
    穐=秋 恊=協 喆=哲 菴=庵 龢=和 飜=翻 曻=昇 煇=輝 皋=皐 燿=耀
"""
"""Pairs that names in registers show and the map leaves apart. Kanji of the first level of JIS X 0208 have a form only
here: the map names 王 for one shape of 玉, and 昼 for one of 書."""
SOURCE: Final = """\
# Kanji variants: each line a form, then the characters that are compared as that form. Made by
# jukinet.core.folding.shrink_map from the MJ shrink map (MJ縮退マップ) of the Character Information Technology
# Promotion Council (moji.or.jp, CC BY-SA 2.1 JP) through the package jntajis-python; under the same terms.
"""


def jis_level(character: str) -> int:
    """1 or 2 for the kanji of JIS X 0208 by level, 3 for every other character."""
    try:
        encoded = character.encode("euc_jp")
    except UnicodeEncodeError:
        return 3
    return 3 if len(encoded) != 2 else 1 if encoded[0] - 0xA0 < 48 else 2


def chosen_forms(candidates: Callable[[str], Iterable[str]]) -> dict[str, str]:
    """Form of each character that has another one than itself. ``candidates`` are the map's, in its order."""
    link: dict[str, str] = {}

    def form(character: str) -> str:
        while character in link:
            character = link[character]
        return character

    for first, end in IDEOGRAPHS:
        for character in map(chr, range(first, end)):
            if unicodedata.normalize("NFKC", character) != character:
                continue
            others = [unicodedata.normalize("NFKC", other) for other in candidates(character)]
            others = [other for other in others if len(other) == 1 and other != character]
            best = min(others, key=jis_level, default=character)
            if 1 < jis_level(character) >= jis_level(best) and form(best) != character:
                link[character] = best
    for pair in ADDED.split():
        variant, kept = form(pair[0]), form(pair[2])
        if variant != kept:
            link[variant] = kept
    return {character: form(character) for character in link}


def main() -> None:
    package = importlib.import_module("jntajis")
    schemes = package.MJShrinkSchemeCombo(SCHEMES)
    groups: dict[str, list[str]] = {}
    for character, form in sorted(chosen_forms(lambda one: package.mj_shrink_candidates(one, schemes)).items()):
        groups.setdefault(form, []).append(character)
    lines = (form + "".join(variants) for form, variants in sorted(groups.items()))
    Path(sys.argv[1]).write_text(SOURCE + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
