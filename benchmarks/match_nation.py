"""The register that matching is measured on: a synthetic nation in which some people have married and some have moved.

Their earlier names and addresses get into the register as in life, by notifications through the engine.
"""

from __future__ import annotations

import datetime
import random
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from figures import Options, say
from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import ChangeReason, Sex, State
from jukinet.server.nation.codes import RESIDENTS_MAX
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import load_tables
from match_errors import SEPARATOR, Person, person_of
from nation_register import WrongAnswerError, built_register

EVENT_DATE: Final = 20261005
DAY: Final = datetime.date(2026, 10, 6)
CHANGED_MAX: Final = 20_000
"""People of each kind who changed: married under a new name, or moved inside their municipality."""
CHANGED_PER_RESIDENTS: Final = 50
TRANSACTION_ROWS: Final = 10_000
ADULT_BEFORE: Final = 20081005
"""Born before: of age to marry."""
STRANGERS: Final = 1_000_003
"""Added to the seed for the nation that absent people come from."""


class MatchNation:
    """The people of the register: those as built, and those who changed, with what the register said of them before."""

    def __init__(self, chosen: Options, date: datetime.date) -> None:
        self.date = date
        self.tables = load_tables()
        self.population = Population(self.tables, chosen.seed, chosen.residents, date)
        self._others = Population(self.tables, chosen.seed + STRANGERS, RESIDENTS_MAX, date)
        self._residents = chosen.residents
        self._seed = chosen.seed
        self.changed: dict[int, Person] = {}
        self.married: list[Person] = []
        self.moved: list[Person] = []

    def resident(self, number: int) -> Resident:
        return self.population.describe(number)

    def _town(self, resident: Resident) -> str:
        return self.tables.town_texts[resident.town - 1][1] if resident.town else ""

    def _usable(self, resident: Resident) -> Person | None:
        """A person of a connected municipality whose name has two parts, and whose year of birth is known."""
        person = person_of(resident, self._town(resident))
        return person if person is not None and SEPARATOR in person.kana and SEPARATOR in person.name else None

    def person(self, draw: random.Random, kind: str) -> Person:
        """Somebody of the register for a record of this kind (match_errors.records)."""
        if kind == "maiden_name":
            return draw.choice(self.married)
        if kind == "address_old":
            return draw.choice(self.moved)
        while True:
            number = draw.randrange(self._residents)
            if number in self.changed:
                return self.changed[number]
            person = person_of(self.resident(number), self._town(self.resident(number)))
            if person is not None:
                return person

    def strangers(self) -> Iterator[Person]:
        """People who are not in the register."""
        draw = random.Random(self._seed + 1)
        while True:
            resident = self._others.describe(draw.randrange(RESIDENTS_MAX))
            person = person_of(resident, self._town(resident))
            if person is not None:
                yield person

    def people(self, count: int) -> Iterator[Person]:
        """So many random people of the register as it is now, for estimation."""
        draw = random.Random(self._seed + 2)
        for _ in range(count):
            yield self.person(draw, "")

    def person_or_undated(self, number: int) -> Person | None:
        """The person of a number as built, also one whose birth date is not known; None for nobody."""
        resident = self.resident(number)
        person = person_of(resident, self._town(resident))
        if person is not None or not (resident.has_person and resident.name):
            return person
        return Person(
            key=resident.key, name=resident.name, kana=resident.kana, birth_date=0, sex=resident.sex,
            address=self._town(resident) + resident.address_rest, alias=resident.alias,
        )  # fmt: skip

    def change(self, areas: list[int]) -> Iterator[Notification]:
        """The notifications of people who marry or move; ``areas``: JIS numbers by area number."""
        draw = random.Random(self._seed + 3)
        wanted = min(CHANGED_MAX, max(self._residents // CHANGED_PER_RESIDENTS, 20))
        while len(self.married) < wanted or len(self.moved) < wanted:
            number = draw.randrange(self._residents)
            resident = self.resident(number)
            other = self._usable(self.resident(draw.randrange(self._residents)))
            person = self._usable(resident)
            if number in self.changed or resident.state != State.CURRENT or person is None or other is None:
                continue
            before = (person.name, person.kana, person.address)
            if len(self.married) < wanted and person.sex == Sex.FEMALE and person.birth_date < ADULT_BEFORE:
                person.name = other.name.split(SEPARATOR)[0] + SEPARATOR + person.name.split(SEPARATOR, 1)[1]
                person.kana = other.kana.split(SEPARATOR)[0] + SEPARATOR + person.kana.split(SEPARATOR, 1)[1]
                if person.kana == before[1]:
                    continue
                self.married.append(person)
                reason = ChangeReason.EX_OFFICIO_CORRECTION
            elif len(self.moved) < wanted:
                person.address = other.address
                self.moved.append(person)
                reason = ChangeReason.MOVE_WITHIN
            else:
                continue
            person.earlier = (before,)
            self.changed[number] = person
            yield self._told(reason, resident, person, areas[resident.area])

    @staticmethod
    def _told(reason: ChangeReason, resident: Resident, person: Person, area: int) -> Notification:
        return Notification(
            reason=int(reason), code=code_from_key(resident.key), area=area, event_date=EVENT_DATE,
            update_number=resident.update_number + 1, birth_date=person.birth_date, sex=person.sex, name=person.name,
            kana=person.kana, alias=person.alias, address=person.address,
        )  # fmt: skip


def apply_changes(directory: Path, nation: MatchNation) -> None:
    """Send the notifications through the engine, durably. WrongAnswerError when one is refused."""
    with FeedRegister(directory, today=lambda: DAY) as register:
        areas = [area.jis for area in register.writer.areas]
        waiting: list[Notification] = []
        for notification in nation.change(areas):
            waiting.append(notification)
            if len(waiting) == TRANSACTION_ROWS:
                apply_some(register, waiting)
                waiting = []
        apply_some(register, waiting)


def apply_some(register: FeedRegister, notifications: list[Notification]) -> None:
    by_prefecture: defaultdict[int, list[Notification]] = defaultdict(list)
    for notification in notifications:
        by_prefecture[notification.area // 1000].append(notification)
    with register.transaction() as transaction:
        for prefecture, told in sorted(by_prefecture.items()):
            position = register.feed(prefecture).position
            applied = transaction.apply(prefecture, position + 1, NotificationBatch.from_notifications(told))
            if applied.quarantined:
                raise WrongAnswerError("a valid notification was refused")
        transaction.commit()


def changed_register(chosen: Options) -> tuple[RegisterReader, MatchNation]:
    """A copy of the nation's register in which people have married and moved, in the work directory, and its people."""
    with built_register(chosen) as reader:
        reader.warm()
        date = datetime.date.fromisoformat(reader.meta.origin["date"])
    nation = MatchNation(chosen, date)
    directory = chosen.work / "matched"
    directory.mkdir()
    subprocess.run(["cp", "--reflink=auto", chosen.store / "data.mdb", directory / "data.mdb"], check=True)
    say("people marry and move")
    apply_changes(directory, nation)
    return RegisterReader(directory), nation


def packed(date: int) -> int:
    """A decimal date packed as in docs/store-format.md, section 4."""
    return date // 10_000 << 9 | date // 100 % 100 << 5 | date % 100


def rows_of(records: list[Any]) -> list[tuple[str, str, int, int, str]]:
    """Rows for Questions.from_rows."""
    return [(r.name, r.kana, packed(r.birth_date), r.sex, r.address) for r in records]
