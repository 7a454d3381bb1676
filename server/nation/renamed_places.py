"""Waves of minor corrections: towns that are renamed or renumbered on a day, with everyone who lives in them then.

Which towns is known before the first day, so that one pass over all residents finds who lived there as built; who
settles there later is noted.
"""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

from jukinet.core.vocabulary import State
from jukinet.server.nation.change_calendar import Kind, expected_changes
from jukinet.server.nation.change_kernel import numbers_in_towns
from jukinet.server.nation.destinations import Destinations
from jukinet.server.nation.people import People, Person

RENAMED_SHARE: Final = 0.4
"""The other waves give new numbers to the houses (住居表示)."""
NEW_WORDS: Final = ("中央", "台", "東", "西", "南", "北", "町")
TRIES_MAX: Final = 200
RESIDENTS_PER_WAVE_MAX: Final = 20_000
"""Residents of the largest town that a wave takes at POPULATION: larger ones are renumbered in parts over years."""


class Wave:
    """One town's wave: ``text`` is the town's new text, or the old one when only houses get new numbers."""

    __slots__ = ("settled", "text", "town")

    def __init__(self, town: int, text: str) -> None:
        self.town = town
        self.text = text
        self.settled = array("Q")


class RenamedPlaces:
    """The waves of some days. ``days`` are all days on which a wave may come; ``random_of`` gives a day's generator."""

    def __init__(
        self,
        people: People,
        destinations: Destinations,
        residents: int,
        days: Sequence[datetime.date],
        random_of: Callable[[str, datetime.date], Random],
    ) -> None:
        self._people = people
        self._destinations = destinations
        self._by_day: dict[int, list[Wave]] = {}
        self._by_town: dict[int, tuple[int, Wave]] = {}
        self._plan(residents, days, random_of)
        self._find_residents(residents)

    def _plan(
        self, residents: int, days: Sequence[datetime.date], random_of: Callable[[str, datetime.date], Random]
    ) -> None:
        """Draw towns until their residents as built reach what is expected of the days so far."""
        owed = 0.0
        for day in days:
            share, whole = expected_changes(Kind.RENAMED_PLACE, day, residents)
            owed += share / whole
            random = random_of("waves", day)
            while owed > 0:
                town = self._draw_town(random)
                owed -= self._destinations.expected_residents(town, residents)
                text = self._destinations.town_texts[town]
                if random.random() < RENAMED_SHARE:
                    text += NEW_WORDS[int(random.random() * len(NEW_WORDS))]
                wave = Wave(town, text)
                self._by_day.setdefault(day.toordinal(), []).append(wave)
                self._by_town[town] = (day.toordinal(), wave)

    def _draw_town(self, random: Random) -> int:
        """A connected town that is in no wave yet, not a very large one."""
        destinations = self._destinations
        for _ in range(TRIES_MAX):
            town = int(random.random() * len(destinations.town_texts))
            connected = destinations.connected[destinations.town_areas[town]]
            small = destinations.expected_residents(town, 127_000_000) < RESIDENTS_PER_WAVE_MAX
            if connected and small and town not in self._by_town:
                return town
        raise ValueError("too many days: most towns have been renamed")

    def _find_residents(self, residents: int) -> None:
        wanted = bytearray(len(self._destinations.town_texts))
        for town in self._by_town:
            wanted[town] = 1
        for number in numbers_in_towns(self._people.population, wanted, 0, residents):
            town = self._people.population.describe(number).town - 1
            if town >= 0:
                self._by_town[town][1].settled.append(number)

    def town_text(self, town: int, ordinal: int) -> str:
        """The text of a town on a day."""
        found = self._by_town.get(town)
        if found is not None and ordinal >= found[0]:
            return found[1].text
        return self._destinations.town_texts[town]

    def settled(self, person: Person) -> None:
        """Note that a person lives in their town from now on."""
        found = self._by_town.get(person.town)
        if found is not None:
            found[1].settled.append(person.place)

    def begin(self, ordinal: int, random: Random) -> Iterator[tuple[Person, int]]:
        """Everyone whose town's wave comes on this day, with the draws of their home afterwards; caller notifies."""
        for wave in self._by_day.pop(ordinal, []):
            renumbered = wave.text == self._destinations.town_texts[wave.town]
            homes: dict[tuple[int, int], int] = {}
            for place in sorted(set(wave.settled)):
                person = self._people.find(place)
                if person is None or person.state != State.CURRENT or person.town != wave.town:
                    continue
                if person.ready > ordinal:
                    continue
                if not renumbered:
                    yield person, person.house
                    continue
                # Who lives together goes on living together: a home as built is known by its household.
                home = (person.house, 0 if person.house else person.group)
                if home not in homes:
                    homes[home] = random.getrandbits(63) + 1
                yield person, homes[home]
            wave.settled = array("Q")
