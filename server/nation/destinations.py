"""Where people of the synthetic nation move to: towns by weight, in another municipality or prefecture, or the same."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from random import Random
from typing import Final

from jukinet.server.nation.tables import NationTables

PREFECTURES: Final = 47
TRIES_MAX: Final = 1_000


class Destinations:
    """The towns of the tables with their weights; areas and prefectures are stretches of them, in JIS order."""

    def __init__(self, tables: NationTables) -> None:
        self.areas = [area.jis for area in tables.areas]
        self.connected = [area.connected for area in tables.areas]
        self.town_areas = [area for area, _ in tables.town_texts]
        self.town_texts = [text for _, text in tables.town_texts]
        self._sums = [0, *accumulate(tables.town_weights)]
        self._area_towns = self._stretches(self.town_areas, len(self.areas))
        self._prefecture_towns = self._stretches(
            [self.areas[area] // 1000 for area in self.town_areas], PREFECTURES + 1
        )

    @staticmethod
    def _stretches(owners: list[int], count: int) -> list[tuple[int, int]]:
        """First town and end of each owner's towns, which stand together."""
        assert owners == sorted(owners)
        ends = [0] * count
        for owner in owners:
            ends[owner] += 1
        stops = list(accumulate(ends))
        return [(stop - length, stop) for stop, length in zip(stops, ends, strict=True)]

    def _draw(self, random: Random, first: int, stop: int) -> int:
        low, high = self._sums[first], self._sums[stop]
        return min(bisect_right(self._sums, low + int(random.random() * (high - low))), stop) - 1

    def anywhere(self, random: Random) -> int:
        """A town in a connected area."""
        while True:
            town = self._draw(random, 0, len(self.town_areas))
            if self.connected[self.town_areas[town]]:
                return town

    def in_area(self, random: Random, town: int) -> int:
        """A town of the same area."""
        return self._draw(random, *self._area_towns[self.town_areas[town]])

    def in_prefecture(self, random: Random, town: int) -> int:
        """A town of the same prefecture and another area."""
        area = self.town_areas[town]
        stretch = self._prefecture_towns[self.areas[area] // 1000]
        for _ in range(TRIES_MAX):
            found = self._draw(random, *stretch)
            if self.town_areas[found] != area:
                return found
        return self.elsewhere(random, town)

    def elsewhere(self, random: Random, town: int) -> int:
        """A town of another prefecture."""
        prefecture = self.areas[self.town_areas[town]] // 1000
        while True:
            found = self._draw(random, 0, len(self.town_areas))
            if self.areas[self.town_areas[found]] // 1000 != prefecture:
                return found

    def expected_residents(self, town: int, residents: int) -> float:
        """Mean number of residents of a town in a nation as built."""
        return residents * (self._sums[town + 1] - self._sums[town]) / self._sums[-1]
