"""Given names by sex and decade of birth: popular names of each time, and rules for the long tail.

The tail comes from the package ``japanese-personal-name-dataset`` (9,463 readings with their spellings), which holds no
frequencies. A spelling's weight is made of how common its kanji are in the whole data set, whether its reading belongs
to the package's popular subset, and a bell curve over the year of birth that its ending suggests. A model, not
statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, sqrt
from typing import Final

from jukinet.server.nation.given_name_lists import FEMALE, MALE
from jukinet.server.nation.surnames import Name, katakana

FIRST_DECADE: Final = 1900
DECADES: Final = 14
"""Decades of birth 1900s to 2030s; earlier and later births use the first and the last."""
NAMES_PER_DECADE_MAX: Final = 2_500
POPULAR_SHARE: Final = 0.60
"""Share of people with a name of the popular lists (given_name_lists.py); the rest have a name of the tail."""
SPELLINGS_PER_READING_MAX: Final = 20
POPULAR_READING_FACTOR: Final = 6.0
WEIGHT_UNITS: Final = 10_000_000

Ending = tuple[tuple[str, ...], int, int, float]
"""Endings, peak year, width in years, factor."""

MALE_ENDINGS: Final[tuple[Ending, ...]] = (
    (("右衛門", "左衛門", "右エ門", "兵衛", "之助", "之丞"), 1905, 14, 0.2),
    (("吉", "松", "蔵", "作"), 1915, 15, 0.6),
    (("三郎", "四郎", "五郎", "次郎", "二郎", "治郎"), 1925, 18, 0.8),
    (("太郎", "太朗"), 1985, 26, 1.0),
    (("一郎", "市郎"), 1932, 22, 0.8),
    (("郎", "朗"), 1940, 28, 0.6),
    (("雄", "夫", "男"), 1939, 13, 1.6),
    (("治", "司", "次", "二", "三"), 1952, 16, 1.0),
    (("一", "市"), 1956, 18, 1.0),
    (("彦", "之", "行", "幸"), 1964, 13, 1.0),
    (("明", "昭", "弘", "宏", "博", "浩", "裕", "広"), 1964, 14, 1.0),
    (("美", "実", "巳"), 1948, 14, 0.5),
    (("志", "史", "士"), 1974, 15, 1.0),
    (("也", "哉", "矢"), 1983, 11, 1.0),
    (("介", "輔", "祐", "佑"), 1986, 13, 1.0),
    (("樹", "希", "貴", "輝", "基"), 1990, 14, 1.0),
    (("太", "平"), 1991, 15, 1.0),
    (("人", "仁"), 1990, 18, 1.0),
    (("真", "馬", "磨"), 2000, 16, 1.0),
    (("斗", "翔", "登", "音", "空", "蓮", "陽", "悠", "颯", "湊", "碧", "大", "海", "生"), 2009, 12, 1.2),
)
FEMALE_ENDINGS: Final[tuple[Ending, ...]] = (
    (("ゑ", "よ", "の", "い", "え"), 1915, 14, 0.3),
    (("子",), 1945, 17, 1.6),
    (("江", "枝", "代", "世", "栄", "野", "尾"), 1938, 17, 1.0),
    (("恵", "絵", "重"), 1962, 17, 1.0),
    (("美", "実", "己"), 1970, 14, 1.2),
    (("紀", "樹", "希", "季", "貴"), 1984, 14, 1.0),
    (("香", "佳", "織", "里", "理"), 1983, 13, 1.2),
    (("穂", "帆", "衣", "依"), 1990, 14, 1.0),
    (("奈", "菜", "那", "名"), 1999, 13, 1.2),
    (("花", "華", "歌", "夏", "果"), 2002, 12, 1.2),
    (("莉", "梨", "咲", "音", "羽", "葉", "月", "海", "桜"), 2008, 12, 1.2),
    (("愛", "心", "結", "凛", "凜", "葵", "杏", "陽", "紗", "玲", "緒", "央", "生"), 2010, 12, 1.0),
    (("乃", "々", "寧", "彩", "詩", "和", "琉"), 2010, 13, 0.8),
)
OTHER_ENDING: Final = (1978, 30, 0.35)


def bell(year: float, peak: float, width: float) -> float:
    return exp(-0.5 * ((year - peak) / width) ** 2)


def popular_names(lines: str, year: float) -> list[tuple[str, str, float]]:
    """The listed names (text, kana, weight) in one year of birth."""
    found = []
    for line in lines.split("\n"):
        if line:
            text, kana, peak, width, weight = line.split(" ")
            found.append((text, kana, float(weight) * bell(year, float(peak), float(width))))
    return found


def ending_of(text: str, endings: Sequence[Ending]) -> tuple[int, int, float]:
    for letters, peak, width, factor in endings:
        if text.endswith(letters):
            return peak, width, factor
    return OTHER_ENDING


class Tail:
    """The names of the data set for one sex, with their curves. ``names``: (text, kana, base weight, peak, width)."""

    def __init__(
        self, spellings: Mapping[str, Sequence[str]], popular: frozenset[str], endings: Sequence[Ending]
    ) -> None:
        common = Counter(letter for texts in spellings.values() for text in texts for letter in set(text))
        most = max(common.values())
        self.names: list[tuple[str, str, float, int, int]] = []
        for reading, texts in spellings.items():
            found = []
            for text in texts:
                if not 1 <= len(text) <= 4:
                    continue
                share = 1.0
                for letter in text:
                    share *= sqrt(common[letter] / most)
                # A long spelling is rarer than the product of its letters alone says it is not.
                weight = share / len(text)
                peak, width, factor = ending_of(text, endings)
                found.append((text, katakana(reading), weight * factor, peak, width))
            found.sort(key=lambda name: (-name[2], name[0]))
            kept = found[:SPELLINGS_PER_READING_MAX]
            scale = (POPULAR_READING_FACTOR if reading in popular else 1.0) / (1.0 + len(kept)) ** 0.5
            self.names.extend((text, kana, weight * scale, peak, width) for text, kana, weight, peak, width in kept)

    def at(self, year: float) -> list[tuple[str, str, float]]:
        """The heaviest names (text, kana, weight) in one year of birth."""
        weighted = [(text, kana, weight * bell(year, peak, width)) for text, kana, weight, peak, width in self.names]
        weighted.sort(key=lambda name: (-name[2], name[0], name[1]))
        return weighted[:NAMES_PER_DECADE_MAX]


def joined(popular: Sequence[tuple[str, str, float]], tail: Sequence[tuple[str, str, float]]) -> list[Name]:
    """Popular names and tail in their shares, as whole weights; the tail is flattened by a square root."""
    names: list[Name] = []
    spread_tail = [(text, kana, sqrt(weight)) for text, kana, weight in tail]
    for part, share in ((popular, POPULAR_SHARE), (spread_tail, 1.0 - POPULAR_SHARE)):
        total = sum(weight for _, _, weight in part)
        for text, kana, weight in part:
            units = round(WEIGHT_UNITS * share * weight / total)
            if units:
                names.append(Name(text, kana, units))
    return names


def given_names(
    male: Mapping[str, Sequence[str]],
    female: Mapping[str, Sequence[str]],
    male_popular: frozenset[str],
    female_popular: frozenset[str],
) -> list[list[Name]]:
    """Names for 2 * DECADES groups: males by decade, then females by decade.

    ``male`` and ``female`` map readings in hiragana to spellings; the popular sets hold readings.
    """
    groups: list[list[Name]] = []
    for spellings, popular, endings, lines in (
        (male, male_popular, MALE_ENDINGS, MALE),
        (female, female_popular, FEMALE_ENDINGS, FEMALE),
    ):
        tail = Tail(spellings, popular, endings)
        for decade in range(DECADES):
            # Popularity after the lists end (about 2025) is taken to stay.
            year = min(FIRST_DECADE + 10 * decade + 5, 2024)
            groups.append(joined(popular_names(lines, year), tail.at(year)))
    return groups
