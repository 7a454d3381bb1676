"""The people of a nation while it changes: who was changed is remembered, everyone else is made again when asked for.

People have places: residents their numbers, those who come later (the new-born, newcomers from abroad) the places
behind them. A household is a group: the first number of a household as built, or -1 - place for one who left it alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Final

from jukinet.core.codes import code_from_key
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import State
from jukinet.server.nation import households
from jukinet.server.nation.change_kernel import address_rest
from jukinet.server.nation.codes import RESIDENTS_MAX
from jukinet.server.nation.permutation import SEED_END, key_of
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import NationTables

ABSENT_FIRST: Final = 1_000_000_000
"""New codes are absent codes from this place on: those before stay UNKNOWN for load programs."""
SIZES: Final = {kind.name: len(kind.members) for kind in households.KINDS}
AS_BUILT: Final = 0
"""In place of a home's draws: the home that the resident has in the nation as built."""
FAMILY_SEPARATOR: Final = "\u3000"


def stranger_seed(seed: int) -> int:
    """The seed of people of whom the nation knows nothing: foreigners yet to come, residents of unconnected areas."""
    return (seed * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % SEED_END


class Person:
    """One person with what the register should hold of them.

    number: their resident number, among the strangers when ``is_stranger``; for a child born later the mother's.
    town: place in the tables' towns. house: draws of the home in it (address_rest), or AS_BUILT. name is None as long
    as name, reading and alias are those of the nation as built. told: ordinal day of the last notification with an
    address. ready: the first ordinal day on which something else may happen.
    """

    __slots__ = (
        "alias", "birth_date", "code", "event_date", "group", "house", "is_stranger", "kana", "name", "number", "place",
        "ready", "reason", "sex", "state", "told", "town", "update_number",
    )  # fmt: skip

    def __init__(self, place: int, number: int, code: int, *, is_stranger: bool, group: int) -> None:
        self.place = place
        self.number = number
        self.code = code
        self.is_stranger = is_stranger
        self.group = group
        self.house = AS_BUILT
        self.name: str | None = None
        self.kana = ""
        self.alias = ""
        self.told = 0
        self.ready = 0
        self.town = 0
        self.update_number = 0
        self.state: int = State.CURRENT
        self.reason = 0
        self.event_date = 0
        self.birth_date = 0
        self.sex = 0

    def __repr__(self) -> str:
        return f"<Person state={self.state}>"

    def set_name(self, name: str, kana: str, alias: str) -> None:
        self.name, self.kana, self.alias = name, kana, alias

    def age(self, today: int) -> int:
        """Years on a decimal day; 80 when nothing is known of the birth date."""
        return (today - self.birth_date) // 10_000 if self.birth_date else 80


class People:
    """All people of one nation. ``changed`` holds exactly those that ``keep`` was called for, by place."""

    def __init__(self, tables: NationTables, residents: int, seed: int, nation_date: datetime.date) -> None:
        self.population = Population(tables, seed, residents, nation_date)
        self.strangers = Population(tables, stranger_seed(seed), RESIDENTS_MAX, nation_date)
        self.changed: dict[int, Person] = {}
        self.count = residents
        """Places given so far."""
        self._seed = seed
        self._residents = residents
        self._new_codes = residents + self.population.retired + ABSENT_FIRST
        self._children: dict[int, list[int]] = {}
        self._area_towns: dict[int, int] = {}
        for town, (area, _) in enumerate(tables.town_texts):
            self._area_towns.setdefault(area, town)

    def new_code(self) -> int:
        """A code that nobody has or had."""
        self._new_codes += 1
        return code_from_key(key_of(self._seed, self._new_codes - 1))

    def find(self, place: int) -> Person | None:
        """The person at a place; None when there is nothing to tell of them."""
        person = self.changed.get(place)
        if person is not None:
            return person
        resident = self.population.describe(place)
        code = code_from_key(resident.key)
        if resident.state == State.ALLOTTED:
            return self._unconnected(place, code, resident.area)
        person = Person(place, place, code, is_stranger=False, group=AS_BUILT)
        self._fill(person, resident)
        return person

    def _fill(self, person: Person, resident: Resident) -> None:
        person.town = resident.town - 1
        person.state = resident.state
        person.update_number = resident.update_number
        person.reason = resident.reason
        person.event_date = resident.change_date
        person.birth_date = resident.birth_date
        person.sex = resident.sex
        person.group = self.population.household_of(person.place)[0]

    def _unconnected(self, place: int, code: int, area: int) -> Person | None:
        """Someone the register knows only a code of: who they are is drawn from the strangers."""
        resident = self.strangers.describe(place)
        if resident.state != State.CURRENT:
            return None
        person = Person(place, place, code, is_stranger=True, group=-1 - place)
        self._fill_stranger(person, resident)
        person.state = State.ALLOTTED
        person.town = self._area_towns[area]
        return person

    @staticmethod
    def _fill_stranger(person: Person, resident: Resident) -> None:
        person.update_number = resident.update_number
        person.birth_date = resident.birth_date
        person.sex = resident.sex
        person.set_name(resident.name, resident.kana, resident.alias)

    def newcomer(self, number: int, resident: Resident) -> Person:
        """A stranger (number among them) with a code and no home yet; ``keep`` makes them one of the people."""
        person = Person(self.count, number, self.new_code(), is_stranger=True, group=-1 - self.count)
        self._fill_stranger(person, resident)
        person.update_number = 0
        person.state = State.ALLOTTED
        return person

    def child(self, mother: Person) -> Person:
        """A child in the mother's household, as yet without name, sex and birth date."""
        child = Person(self.count, mother.number, self.new_code(), is_stranger=mother.is_stranger, group=mother.group)
        child.town, child.house = mother.town, mother.house
        self._children.setdefault(mother.group, []).append(child.place)
        return child

    def keep(self, person: Person) -> None:
        """Remember a person, from now on the one that ``find`` gives."""
        self.changed[person.place] = person
        self.count = max(self.count, person.place + 1)

    def texts(self, person: Person) -> tuple[str, str, str]:
        """Name, reading and alias."""
        if person.name is not None:
            return person.name, person.kana, person.alias
        resident = self.population.describe(person.number)
        return resident.name, resident.kana, resident.alias

    def rest(self, person: Person) -> str:
        """The address behind the town's text."""
        if person.house != AS_BUILT:
            return address_rest(self.population, person.town, person.house)
        return self.population.describe(person.number).address_rest

    def household(self, person: Person) -> Iterator[Person]:
        """Current residents of the same household in the same home, the person too, in the order of places."""
        group = person.group
        if group >= 0:
            size = SIZES[self.population.household_of(group)[1]]
            places = list(range(group, min(group + size, self._residents)))
        else:
            places = [-1 - group]
        for place in places + self._children.get(group, []):
            member = person if place == person.place else self.find(place)
            if (
                member is not None
                and member.group == group
                and member.state == State.CURRENT
                and (member.town, member.house) == (person.town, person.house)
            ):
                yield member
