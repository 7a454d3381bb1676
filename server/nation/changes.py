"""The changes of a synthetic nation, day by day: notifications consistent with the nation as built and with each other.

A day's changes are drawn kind by kind from a generator seeded by the nation and the day. Who they happen to is drawn
from all people until someone fits (life_events.py). What happens later than it was decided (a move in after its move
out) waits for its day. Nothing depends on how many days are made: a shorter run is the beginning of a longer one.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from hashlib import blake2b
from random import Random
from typing import Final

import msgspec

from jukinet.core.notifications import Notification
from jukinet.core.vocabulary import ChangeReason, State
from jukinet.server.nation.build import NATION_DATE
from jukinet.server.nation.change_calendar import changes_on, is_business_day
from jukinet.server.nation.change_outcome import REMOVALS, ExpectedRecord
from jukinet.server.nation.destinations import Destinations
from jukinet.server.nation.life_events import EVENTS, LifeEvents
from jukinet.server.nation.people import People, Person
from jukinet.server.nation.renamed_places import RenamedPlaces
from jukinet.server.nation.tables import NationTables

DAYS_MAX: Final = 3_660
PROGRESS_STEP: Final = 5_000

Progress = Callable[[int, int], None]
"""Called with notifications made so far and days done."""


def decimal_of(day: datetime.date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def check_days(first: datetime.date, days: int, nation_date: datetime.date) -> None:
    """Raise ValueError for days that no changes can have."""
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"days must be 1 to {DAYS_MAX}")
    if first <= nation_date:
        raise ValueError("the first day of changes must be after the nation's date")


class Entry(msgspec.Struct, frozen=True):
    """A household that will enter a home: its members, the home, and the decimal day of the move."""

    members: list[Person]
    town: int
    house: int
    event_date: int


class DayOfChanges(msgspec.Struct, frozen=True):
    """The notifications of one day in national order; a prefecture's are those whose area lies in it, in this order."""

    day: datetime.date
    notifications: list[Notification]

    def __repr__(self) -> str:
        return f"<DayOfChanges {self.day} count={len(self.notifications)}>"


class NationChanges:
    """The changes of one nation from ``first`` on, for ``days`` calendar days. Iterate ``by_day`` once.

    Raises ValueError for a nation or days outside their limits.
    """

    def __init__(
        self,
        tables: NationTables,
        residents: int,
        seed: int,
        first: datetime.date,
        days: int,
        *,
        nation_date: datetime.date = NATION_DATE,
    ) -> None:
        check_days(first, days, nation_date)
        self.first, self.days = first, days
        self.residents, self.seed = residents, seed
        self.people = People(tables, residents, seed, nation_date)
        self.destinations = Destinations(tables)
        self.renamed = RenamedPlaces(self.people, self.destinations, residents, self._all_days(), self.generator)
        self.day = first
        self.today = decimal_of(first)
        self.ordinal = first.toordinal()
        self.random = self.generator("", first)
        self._entries: dict[int, list[Entry]] = {}
        self._late: dict[int, list[Notification]] = {}
        self._made: list[tuple[float, list[Notification]]] = []
        self._retired: list[ExpectedRecord] = []

    def _all_days(self) -> list[datetime.date]:
        return [self.first + datetime.timedelta(place) for place in range(self.days)]

    def generator(self, purpose: str, day: datetime.date) -> Random:
        """A generator for one purpose and day; only its random() and getrandbits() are the same in every Python."""
        text = f"{self.seed} {self.residents} {self.first} {day} {purpose}"
        return Random(int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "little"))  # noqa: S311

    def by_day(self, progress: Progress | None = None) -> Iterator[DayOfChanges]:
        """Each day's notifications; days without any come too."""
        events = LifeEvents(self)
        made = 0
        for done, day in enumerate(self._all_days()):
            self._begin(day)
            for kind in EVENTS:
                count = changes_on(kind, day, self.residents, self.random.getrandbits(32))
                people = 0
                while people < count:
                    people += EVENTS[kind](events)
                    if progress is not None and len(self._made) % PROGRESS_STEP == 0:
                        progress(made + len(self._made), done)
            # Events come in mixed order; the notifications of one event stay together.
            self._made.sort(key=lambda event: event[0])
            notifications = [notification for _, group in self._made for notification in group]
            made += len(notifications)
            if progress is not None:
                progress(made, done + 1)
            yield DayOfChanges(day, notifications)

    def of_prefecture(self, prefecture: int) -> Iterator[Notification]:
        """All notifications of one prefecture's feed, in its order. The whole nation is made for it."""
        for day in self.by_day():
            yield from (row for row in day.notifications if row.area // 1_000 == prefecture)

    def _begin(self, day: datetime.date) -> None:
        """What waits for the day: renamed places first, then late removals and moves in."""
        self.day, self.today, self.ordinal = day, decimal_of(day), day.toordinal()
        self.random = self.generator("", day)
        self._made = []
        for person, house in self.renamed.begin(self.ordinal, self.random):
            person.house = house
            self.send([self.notify(person, ChangeReason.MINOR_CORRECTION, self.today)])
        for removal in self._late.pop(self.ordinal, []):
            self.send([removal])
        for entry in self._entries.pop(self.ordinal, []):
            for person in entry.members:
                person.ready = self.ordinal
            self.enter(entry)

    def next_open(self, ordinal: int) -> int:
        """The day itself when offices are open, otherwise the next on which they are."""
        while not is_business_day(datetime.date.fromordinal(ordinal)):
            ordinal += 1
        return ordinal

    def send(self, group: list[Notification | None]) -> None:
        """Notify today; None is what a municipality that is not connected would notify."""
        rows = [row for row in group if row is not None]
        if rows:
            self._made.append((self.random.random(), rows))

    def send_late(self, ordinal: int, row: Notification | None) -> None:
        if row is not None:
            self._late.setdefault(ordinal, []).append(row)

    def late_removals(self) -> list[Notification]:
        """Removals of moves that have been entered elsewhere, and that a day after the last one made would notify.

        With them every prefecture holds whom it is said to hold: nobody stands entered in two.
        """
        return [row for ordinal in sorted(self._late) for row in self._late[ordinal]]

    def enter_later(self, ordinal: int, entry: Entry) -> None:
        self._entries.setdefault(ordinal, []).append(entry)

    def enter(self, entry: Entry) -> None:
        """A move in is notified today."""
        group: list[Notification | None] = []
        for person in entry.members:
            self.settle(person, entry.town, entry.house)
            group.append(self.notify(person, ChangeReason.MOVE_IN, entry.event_date))
        self.send(group)

    def settle(self, person: Person, town: int, house: int) -> None:
        person.town, person.house = town, house
        self.renamed.settled(person)

    def notify(
        self, person: Person, reason: ChangeReason, event_date: int, *, code_before: int = 0
    ) -> Notification | None:
        """Change a person and make the notification of it, or None when the municipality is not connected."""
        removed = REMOVALS.get(reason)
        person.update_number += 1
        person.reason = reason
        person.event_date = event_date
        person.state = State.CURRENT if removed is None else removed
        person.ready = max(person.ready, self.ordinal + 1)
        self.people.keep(person)
        area = self.destinations.town_areas[person.town]
        if not self.destinations.connected[area]:
            return None
        number, jis = person.update_number, self.destinations.areas[area]
        if removed is not None:
            return Notification(reason=reason, code=person.code, area=jis, event_date=event_date, update_number=number)
        person.told = self.ordinal
        name, kana, alias = self.people.texts(person)
        return Notification(
            reason=reason,
            code=person.code,
            code_before=code_before,
            area=jis,
            event_date=event_date,
            update_number=number,
            birth_date=person.birth_date,
            sex=person.sex,
            name=name,
            kana=kana,
            alias=alias,
            address=self.renamed.town_text(person.town, self.ordinal) + self.people.rest(person),
        )

    def change_code(self, person: Person, reason: ChangeReason) -> None:
        """A new code; the old one is retired for ever."""
        before, person.code = person.code, self.people.new_code()
        self.send([self.notify(person, reason, max(person.event_date, self.today), code_before=before)])
        self._retired.append(
            ExpectedRecord(
                code=before,
                state=State.RETIRED,
                area=self.destinations.areas[self.destinations.town_areas[person.town]],
                reason=reason,
                event_date=person.event_date,
                update_number=person.update_number,
                successor=person.code,
            )
        )

    def expected(self) -> Iterator[ExpectedRecord]:
        """What the register shows under every code that a notification named, when all made so far are applied."""
        yield from self._retired
        for person in self.people.changed.values():
            if person.state == State.ALLOTTED:
                continue  # the move in is still to come
            name, kana, alias = self.people.texts(person)
            yield ExpectedRecord(
                code=person.code,
                state=person.state,
                area=self.destinations.areas[self.destinations.town_areas[person.town]],
                reason=person.reason,
                event_date=person.event_date,
                update_number=person.update_number,
                birth_date=person.birth_date,
                sex=person.sex,
                name=name,
                kana=kana,
                alias=alias,
                address=self.renamed.town_text(person.town, person.told) + self.people.rest(person),
            )
