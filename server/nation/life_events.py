"""What happens to people of the synthetic nation: who it can happen to, and the notifications that tell of it.

Each event looks for a person by drawing from all people until one fits, so that ages and homes come out as they should
without any index of people. It returns to how many people it happened, at least 1 (nobody fits: it is given up).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import ChangeReason, State
from jukinet.server.nation.change_calendar import Kind
from jukinet.server.nation.change_kernel import given_name
from jukinet.server.nation.codes import RESIDENTS_MAX
from jukinet.server.nation.people import FAMILY_SEPARATOR, Person
from jukinet.server.nation.surnames import VARIANTS_PER_MILLE

if TYPE_CHECKING:
    from jukinet.server.nation.changes import NationChanges

TRIES_MAX: Final = 6_000
"""Draws of a person before an event is given up: the rarest, REMOVED, are one in a thousand."""
NEVER: Final = 10**9

# Per thousand or per cent, by five-year age group; only the proportions matter.
DEATHS_BY_BAND: Final = (0.7, 0.1, 0.1, 0.25, 0.4, 0.5, 0.6, 0.8, 1.2, 1.9, 3.0, 4.7, 7.0, 10.6, 17.0, 29.0, 52.0, 92.0,
                         160.0, 270.0)  # fmt: skip
"""Deaths a year per thousand, about 2010."""
WOMEN_DIE: Final = 0.65
"""Deaths of women for each of men of the same age."""
MOVES_BY_BAND: Final = (0, 0, 0, 45, 130, 120, 85, 55, 35, 26, 22, 18, 15, 12, 11, 12, 15, 20, 20, 20)
"""Moves between municipalities a year per thousand, of those who lead a move."""
MOTHERS_BY_BAND: Final = (0, 0, 0, 5, 36, 87, 96, 46, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
"""Births a year per thousand women (2010)."""
BRIDES_BY_BAND: Final = (0, 0, 0, 4, 26, 60, 34, 16, 8, 4, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0)
OLDEST_BAND: Final = 19
ADULT_YEARS: Final = 18

ALONE_BELOW_30: Final = 0.75
WHOLE_HOUSEHOLD: Final = 0.60
INSIDE_PREFECTURE: Final = 0.53
"""Moves between municipalities that stay in the prefecture (2.7 of 5.1 million people in 2010)."""
LATE_REMOVALS: Final = 0.04
"""Moves whose move out is notified after the move in, as with moves reported only where people arrive."""
AS_PLANNED: Final = 0.85
PLANNED_DAYS_AHEAD_MAX: Final = 21
REPORT_DAYS_MAX: Final = 14
"""Moves and births are reported within 14 days (Act 22 to 24; Family Register Act 49)."""
DEATH_REPORT_DAYS_MAX: Final = 7
RETURNING: Final = 0.35
"""Move ins from abroad of people who moved away earlier; the others are foreigners who come for the first time."""
FOREIGN_LEAVE: Final = 0.55
RESTORED: Final = 0.5
ALIAS_CHOSEN: Final = 0.03
BIRTH_DATE_MENDED: Final = 0.2
EX_OFFICIO_CODES: Final = 0.03
BOYS_PER_1024: Final = 525
DAYS_OF_ANY_MONTH: Final = 28

Accept = Callable[[Person], bool]


def band_of(age: int) -> int:
    return min(max(age, 0) // 5, OLDEST_BAND)


def is_foreign(name: str) -> bool:
    return name.isascii()


def with_family(text: str, family: str) -> str:
    """A Japanese name or reading with another family name."""
    return family + FAMILY_SEPARATOR + text.rpartition(FAMILY_SEPARATOR)[2]


def other_character(name: str) -> str | None:
    """The name with one letter in another form, a variant or back; None when it has no such letter."""
    for letter, variants in VARIANTS_PER_MILLE.items():
        for variant, _ in variants:
            if variant in name:
                return name.replace(variant, letter)
        if letter in name:
            return name.replace(letter, variants[0][0])
    return None


class LifeEvents:
    """The events of one nation. Its state is the people's, and who left and may come back."""

    def __init__(self, changes: NationChanges) -> None:
        self.changes = changes
        self.people = changes.people
        self._abroad: list[int] = []
        self._removed: list[int] = []

    # Who it happens to.

    def pick(self, accept: Accept, state: State = State.CURRENT) -> Person | None:
        """A person in this state to whom nothing is happening and who is accepted; None when nobody is found."""
        changes, people = self.changes, self.people
        random, ordinal, count = changes.random.random, changes.ordinal, people.count
        for _ in range(TRIES_MAX):
            person = people.find(int(random() * count))
            if person is not None and person.state == state and person.ready <= ordinal and accept(person):
                return person
        return None

    def by_age(self, weights: tuple[float, ...], *, sex: int = 0) -> Person | None:
        """A current resident (of one sex) with a chance that follows the weights of age groups."""
        today, random, most = self.changes.today, self.changes.random.random, max(weights)
        return self.pick(
            lambda person: (not sex or person.sex == sex) and random() * most < weights[band_of(person.age(today))]
        )

    def pick_earlier(self, earlier: list[int], state: State) -> Person | None:
        """Someone who left: during these changes, when there are such, or before them."""
        random = self.changes.random.random
        if earlier and random() < 0.5:
            place = int(random() * len(earlier))
            earlier[place], earlier[-1] = earlier[-1], earlier[place]
            person = self.people.find(earlier.pop())
            if person is not None and person.state == state and person.ready <= self.changes.ordinal:
                return person
        return self.pick(lambda person: person.place not in self.people.changed, state)

    def stranger(self, accept: Callable[[Resident], bool]) -> tuple[int, Resident]:
        """A current resident of no nation who is accepted, with their number among the strangers."""
        random, describe = self.changes.random.random, self.people.strangers.describe
        while True:
            number = int(random() * RESIDENTS_MAX)
            resident = describe(number)
            if resident.state == State.CURRENT and accept(resident):
                return number, resident

    def japanese(self, sex: int = 0) -> Resident:
        return self.stranger(lambda found: (not sex or found.sex == sex) and not is_foreign(found.name))[1]

    def day_before(self, days_max: int) -> int:
        """A decimal day up to some days ago, recent ones more often."""
        random = self.changes.random.random
        days = int(min(random(), random()) * (days_max + 1))
        return self.day_after(-days)

    def day_after(self, days: int) -> int:
        day = self.changes.day.fromordinal(self.changes.ordinal + days)
        return day.year * 10_000 + day.month * 100 + day.day

    def reported(self, person: Person, days_max: int) -> int:
        """The day of an event that is notified today: not before what happened to the person last."""
        return max(self.day_before(days_max), person.event_date, person.birth_date)

    # Births and deaths.

    def birth(self) -> int:
        mother = self.by_age(MOTHERS_BY_BAND, sex=2)
        if mother is None:
            return 1
        random = self.changes.random
        child = self.people.child(mother)
        child.sex = 1 if random.getrandbits(10) < BOYS_PER_1024 else 2
        child.birth_date = self.day_before(REPORT_DAYS_MAX)
        name, kana, _ = self.people.texts(mother)
        child.set_name(*self._with_given(mother, name, kana, child.sex, child.birth_date // 10_000), "")
        self.changes.settle(child, mother.town, mother.house)
        self.changes.send([self.changes.notify(child, ChangeReason.BIRTH, child.birth_date)])
        return 1

    def _with_given(self, person: Person, name: str, kana: str, sex: int, year: int) -> tuple[str, str]:
        """The family name of a name and its reading, with a new given name from the person's origin."""
        source = self.people.strangers if person.is_stranger else self.people.population
        given, reading = given_name(source, person.number, sex, year, self.changes.random.getrandbits(64))
        family = kana.partition(FAMILY_SEPARATOR)[0]
        if is_foreign(name):
            return f"{name.partition(' ')[0]} {given}", family + FAMILY_SEPARATOR + reading
        return with_family(given, name.partition(FAMILY_SEPARATOR)[0]), with_family(reading, family)

    def death(self) -> int:
        random = self.changes.random.random
        today, most = self.changes.today, max(DEATHS_BY_BAND)

        def dies(person: Person) -> bool:
            rate = DEATHS_BY_BAND[band_of(person.age(today))]
            return random() * most < (rate * WOMEN_DIE if person.sex == 2 else rate)

        person = self.pick(dies)
        if person is not None:
            event_date = self.reported(person, DEATH_REPORT_DAYS_MAX)
            self.changes.send([self.changes.notify(person, ChangeReason.DEATH, event_date)])
        return 1

    # Moves.

    def movers(self) -> list[Person]:
        """Who moves together: one person, or the household; children do not stay behind alone."""
        random, today = self.changes.random.random, self.changes.today
        leader = self.by_age(MOVES_BY_BAND)
        if leader is None:
            return []
        alone = leader.age(today) < 30 and random() < ALONE_BELOW_30
        whole = not alone and random() < WHOLE_HOUSEHOLD
        members = list(self.people.household(leader))
        adults = sum(member.age(today) >= ADULT_YEARS for member in members)
        if whole or adults <= 1:
            return [member for member in members if member.ready <= self.changes.ordinal]
        return [leader]

    def _part(self, movers: list[Person], members_before: int) -> None:
        """One who leaves others behind is a household of their own from now on."""
        if len(movers) == 1 and members_before > 1:
            movers[0].group = -1 - movers[0].place

    def _leave(self, movers: list[Person]) -> None:
        self._part(movers, sum(1 for _ in self.people.household(movers[0])))

    def move(self) -> int:
        """A move between municipalities: out of one, dated as planned, and into another, dated as it happened."""
        from jukinet.server.nation.changes import Entry  # noqa: PLC0415 - each knows the other

        changes, random = self.changes, self.changes.random
        movers = self._arrivals() or self.movers()
        if not movers:
            return 1
        inside = random.random() < INSIDE_PREFECTURE
        choose = changes.destinations.in_prefecture if inside else changes.destinations.elsewhere
        town = choose(random, movers[0].town)
        house = random.getrandbits(63) + 1
        connected = changes.destinations.connected[changes.destinations.town_areas[town]]
        late = random.random() < LATE_REMOVALS and connected
        ahead = int(min(random.random(), random.random()) * (PLANNED_DAYS_AHEAD_MAX + 1))
        moved = ahead if random.random() < AS_PLANNED else int(random.random() * (ahead + 8))
        told = moved + int(min(random.random(), random.random()) * (REPORT_DAYS_MAX + 1))
        planned = self.day_before(REPORT_DAYS_MAX) if late else self.day_after(ahead)
        out = changes.next_open(changes.ordinal + 1 + int(random.random() * 5)) if late else changes.ordinal
        self._leave(movers)
        group = []
        for person in movers:
            known = person.state == State.CURRENT
            event_date = max(planned, person.event_date if late else 0, person.birth_date)
            removal = changes.notify(person, ChangeReason.MOVE_OUT, event_date) if known else None
            self.people.keep(person)
            person.ready = NEVER
            if late:
                changes.send_late(out, removal)
            else:
                group.append(removal)
        changes.send(group)
        if not connected:
            return len(movers)  # gone where nothing is notified
        if late:
            arrived = max([planned, *(person.event_date for person in movers), *(p.birth_date for p in movers)])
            self._release(movers, out + 1)
            changes.enter(Entry(movers, town, house, arrived))
        else:
            arrival = changes.next_open(max(changes.ordinal + told, changes.ordinal + 1))
            changes.enter_later(
                arrival, Entry(movers, town, house, self.day_after(min(moved, arrival - changes.ordinal)))
            )
        return len(movers)

    @staticmethod
    def _release(movers: list[Person], ordinal: int) -> None:
        for person in movers:
            person.ready = ordinal

    def _arrivals(self) -> list[Person]:
        """Now and then, someone whose municipality is not connected: only the move in is notified."""
        random = self.changes.random
        person = self.people.find(int(random.random() * self.people.count))
        if person is None or person.state != State.ALLOTTED or person.ready > self.changes.ordinal:
            return []
        return [person]

    def move_within(self) -> int:
        changes = self.changes
        movers = self.movers()
        if not movers:
            return 1
        self._leave(movers)
        town = changes.destinations.in_area(changes.random, movers[0].town)
        house = changes.random.getrandbits(63) + 1
        event_date = self.day_before(REPORT_DAYS_MAX)
        group = []
        for person in movers:
            changes.settle(person, town, house)
            day = max(event_date, person.event_date, person.birth_date)
            group.append(changes.notify(person, ChangeReason.MOVE_WITHIN, day))
        changes.send(group)
        return len(movers)

    def emigration(self) -> int:
        """A move abroad: the household stays, and the person may come back."""
        random = self.changes.random.random
        foreign = random() < FOREIGN_LEAVE
        person = self.by_age(MOVES_BY_BAND) if not foreign else self.pick(self.foreign)
        if person is None:
            return 1
        ahead = int(random() * (PLANNED_DAYS_AHEAD_MAX + 1))
        self._leave([person])
        self.changes.send([self.changes.notify(person, ChangeReason.MOVE_OUT, self.day_after(ahead))])
        person.ready = self.changes.ordinal + ahead + 1
        self._abroad.append(person.place)
        return 1

    def foreign(self, person: Person) -> bool:
        return is_foreign(self.people.texts(person)[0])

    def immigration(self) -> int:
        random = self.changes.random
        if random.random() < RETURNING:
            person = self.pick_earlier(self._abroad, State.MOVED_AWAY)
            if person is None:
                return 1
            person.group = -1 - person.place
        else:
            year = self.changes.day.year
            number, found = self.stranger(
                lambda found: is_foreign(found.name) and found.birth_date > (year - 45) * 10_000
            )
            person = self.people.newcomer(number, found)
        self._enter_somewhere(person, ChangeReason.MOVE_IN)
        return 1

    def _enter_somewhere(self, person: Person, reason: ChangeReason) -> None:
        changes = self.changes
        house = changes.random.getrandbits(63) + 1
        self.people.keep(person)
        changes.settle(person, changes.destinations.anywhere(changes.random), house)
        changes.send([changes.notify(person, reason, self.reported(person, REPORT_DAYS_MAX))])

    # Corrections.

    def new_name(self) -> int:
        """A family name of a spouse, on marriage or back; or the alias of a foreign resident."""
        random = self.changes.random.random
        if random() < ALIAS_CHOSEN:
            person = self.pick(lambda found: self.foreign(found) and not self.people.texts(found)[2])
            if person is None:
                return 1
            name, kana, _ = self.people.texts(person)
            person.set_name(name, kana, self.japanese(person.sex).name)
        else:
            person = self.by_age(BRIDES_BY_BAND, sex=2 if random() < 0.96 else 1)
            if person is None or self.foreign(person):
                return 1
            name, kana, alias = self.people.texts(person)
            other = self.japanese()
            families = (other.name.partition(FAMILY_SEPARATOR)[0], other.kana.partition(FAMILY_SEPARATOR)[0])
            person.set_name(with_family(name, families[0]), with_family(kana, families[1]), alias)
        self._correct(person, ChangeReason.EX_OFFICIO_CORRECTION, REPORT_DAYS_MAX)
        return 1

    def mended(self) -> int:
        """Another given name, or a birth date that was wrong or unknown in part."""
        random = self.changes.random
        person = self.pick(lambda _: True)
        if person is None:
            return 1
        if random.random() < BIRTH_DATE_MENDED and person.birth_date // 10_000 < self.changes.day.year - 1:
            # Another day, in a month that is long past.
            year, month = person.birth_date // 10_000 or 1940, person.birth_date // 100 % 100
            month = month or 1 + int(random.random() * 12)
            wanted = year * 10_000 + month * 100 + 1 + int(random.random() * DAYS_OF_ANY_MONTH)
            if wanted != person.birth_date:
                person.birth_date = wanted
        else:
            name, kana, alias = self.people.texts(person)
            sex = person.sex if person.sex in (1, 2) else 1
            person.set_name(*self._with_given(person, name, kana, sex, person.birth_date // 10_000), alias)
        self._correct(person, ChangeReason.EX_OFFICIO_CORRECTION, 0)
        return 1

    def character(self) -> int:
        """A name is written with another form of a letter (文字同定): no change of fact."""
        person = self.pick(lambda found: other_character(self.people.texts(found)[0]) is not None)
        if person is None:
            return 1
        name, kana, alias = self.people.texts(person)
        person.set_name(other_character(name) or name, kana, alias)
        self._correct(person, ChangeReason.MINOR_CORRECTION, 0)
        return 1

    def _correct(self, person: Person, reason: ChangeReason, days_max: int) -> None:
        self.changes.send([self.changes.notify(person, reason, self.reported(person, days_max))])

    # What is done ex officio, and codes.

    def ex_officio_entry(self) -> int:
        """Someone removed ex officio is found again, or a child that was never registered."""
        random = self.changes.random.random
        if random() < RESTORED:
            person = self.pick_earlier(self._removed, State.REMOVED)
            if person is not None:
                event_date = self.reported(person, 0)
                self.changes.send([self.changes.notify(person, ChangeReason.EX_OFFICIO_ENTRY, event_date)])
            return 1
        year = self.changes.day.year
        number, found = self.stranger(
            lambda found: not is_foreign(found.name) and found.birth_date > (year - 12) * 10_000
        )
        self._enter_somewhere(self.people.newcomer(number, found), ChangeReason.EX_OFFICIO_ENTRY)
        return 1

    def ex_officio_removal(self) -> int:
        """Most are foreigners who left without a word, or very old people of whom nothing is known."""
        random, today = self.changes.random.random, self.changes.today
        which = random()
        if which < 0.4:
            person = self.pick(self.foreign)
        elif which < 0.6:
            person = self.pick(lambda found: found.age(today) >= 95)
        else:
            person = self.by_age(MOVES_BY_BAND)
        if person is None:
            return 1
        event_date = self.reported(person, 0)
        self.changes.send([self.changes.notify(person, ChangeReason.EX_OFFICIO_REMOVAL, event_date)])
        self._removed.append(person.place)
        return 1

    def naturalisation(self) -> int:
        """A foreigner becomes Japanese: removed and entered again on one day, with a new name."""
        person = self.pick(self.foreign)
        if person is None:
            return 1
        event_date = self.reported(person, REPORT_DAYS_MAX)
        removal = self.changes.notify(person, ChangeReason.EX_OFFICIO_REMOVAL, event_date)
        namesake = self.japanese(person.sex)
        person.set_name(namesake.name, namesake.kana, "")
        self.changes.send([removal, self.changes.notify(person, ChangeReason.EX_OFFICIO_ENTRY, event_date)])
        return 1

    def code_change(self) -> int:
        ex_officio = self.changes.random.random() < EX_OFFICIO_CODES
        person = self.pick(lambda _: True)
        if person is not None:
            self.changes.change_code(
                person, ChangeReason.CODE_CHANGE_EX_OFFICIO if ex_officio else ChangeReason.CODE_CHANGE_REQUESTED
            )
        return 1


EVENTS: Final[dict[Kind, Callable[[LifeEvents], int]]] = {
    Kind.BIRTH: LifeEvents.birth,
    Kind.DEATH: LifeEvents.death,
    Kind.MOVE: LifeEvents.move,
    Kind.MOVE_WITHIN: LifeEvents.move_within,
    Kind.EMIGRATION: LifeEvents.emigration,
    Kind.IMMIGRATION: LifeEvents.immigration,
    Kind.NEW_NAME: LifeEvents.new_name,
    Kind.MENDED: LifeEvents.mended,
    Kind.CHARACTER: LifeEvents.character,
    Kind.EX_OFFICIO_ENTRY: LifeEvents.ex_officio_entry,
    Kind.EX_OFFICIO_REMOVAL: LifeEvents.ex_officio_removal,
    Kind.NATURALISATION: LifeEvents.naturalisation,
    Kind.CODE_CHANGE: LifeEvents.code_change,
}
"""How each kind happens, in the order of a day; renamed places are another matter (renamed_places.py)."""
