"""Notifications about a synthetic nation's own residents, valid and in the real mix, for measuring the engine."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import ChangeReason, State
from jukinet.server.nation import codes as nation_codes
from jukinet.server.nation.population import Population

EVENT_DATE: Final = 20261005
"""After the nation's date, on which it stands still (2026-10-01)."""

MIX: Final = {
    ChangeReason.MOVE_OUT: 260,
    ChangeReason.BIRTH: 55,
    ChangeReason.DEATH: 60,
    ChangeReason.EX_OFFICIO_REMOVAL: 5,
    ChangeReason.MOVE_WITHIN: 230,
    ChangeReason.MINOR_CORRECTION: 40,
    ChangeReason.EX_OFFICIO_CORRECTION: 80,
    ChangeReason.CODE_CHANGE_REQUESTED: 10,
}
"""Weights. A move out brings the entry elsewhere with it, so moves between municipalities are half of all: 5.2 M people
move a year, 1.1 M are born and 1.2 M die; moves within and corrections are this project's own estimate."""

Batches = list[tuple[int, NotificationBatch]]


class Changes:
    """Changes of random residents, each resident once, in transactions of about ``rows`` notifications of all feeds."""

    def __init__(self, register: FeedRegister, population: Population, seed: int) -> None:
        self._places = register.places
        self._areas, self._towns = register.writer.areas, register.writer.towns
        self._home = [town for town in self._towns if self._areas[town.area].connected and town.text]
        self._population = population
        self._random = random.Random(seed)
        self._touched: set[int] = set()
        self._new = 0

    def transactions(self, rows: int) -> Iterator[Batches]:
        """One transaction after the other: a batch for each prefecture that has something to tell."""
        while True:
            by_prefecture: defaultdict[int, list[Notification]] = defaultdict(list)
            made = 0
            while made < rows:
                for notification in self._one():
                    by_prefecture[notification.area // 1000].append(notification)
                    made += 1
            yield [
                (prefecture, NotificationBatch.from_notifications(notifications))
                for prefecture, notifications in sorted(by_prefecture.items())
            ]

    def _one(self) -> Iterator[Notification]:
        """What one event makes municipalities tell."""
        reason = self._random.choices(list(MIX), list(MIX.values()))[0]
        person = self._somebody()
        number = person.update_number + 1
        jis = self._areas[person.area].jis
        code = code_from_key(person.key)
        if reason is ChangeReason.BIRTH:
            told = self._person(person, birth_date=EVENT_DATE)
            yield self._told(reason, self._new_code(), jis, 1, **told)
        elif reason in {ChangeReason.MOVE_OUT, ChangeReason.DEATH, ChangeReason.EX_OFFICIO_REMOVAL}:
            yield self._told(reason, code, jis, number)
            if reason is ChangeReason.MOVE_OUT:
                town = self._random.choice(self._home)
                told = self._person(person, address=f"{town.text}{self._random.randint(1, 99)}番{number}号")
                yield self._told(ChangeReason.MOVE_IN, code, self._areas[town.area].jis, number + 1, **told)
        elif reason is ChangeReason.CODE_CHANGE_REQUESTED:
            told = self._person(person)
            yield self._told(reason, self._new_code(), jis, number, code_before=code, **told)
        else:
            yield self._told(reason, code, jis, number, **self._person(person, name=person.name + "　"))

    def _somebody(self) -> Resident:
        """A current resident of a connected municipality who has not been chosen before."""
        while True:
            number = self._random.randrange(self._population.residents)
            if number in self._touched:
                continue
            self._touched.add(number)
            person = self._population.describe(number)
            if person.state == State.CURRENT and self._areas[person.area].connected:
                return person

    def _new_code(self) -> int:
        self._new += 1
        return int(nation_codes.absent_codes(self._population.seed, self._population.residents, 1, self._new)[0])

    def _person(self, person: Resident, **changed: Any) -> dict[str, Any]:
        return {
            "birth_date": person.birth_date,
            "sex": person.sex,
            "name": person.name,
            "kana": person.kana,
            "alias": person.alias,
            "address": self._places.town_text(person.town) + person.address_rest,
            **changed,
        }

    def _told(self, reason: ChangeReason, code: int, jis: int, number: int, **fields: Any) -> Notification:
        return Notification(
            reason=int(reason), code=code, area=jis, event_date=EVENT_DATE, update_number=number, **fields
        )
