"""Faulty notifications put between the true ones, for trials of quarantine: what the register must refuse, and why.

The true notifications stay as they are and in their order, so that the register ends as it would without the faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from jukinet.core.codes import code_from_key
from jukinet.core.notifications import Fault, Notification
from jukinet.core.vocabulary import ChangeReason, State
from jukinet.server.nation.changes import NationChanges

TRIES_MAX: Final = 1_000
LAST_PREFECTURE: Final = 47
NO_DAYS: Final = (230, 431, 1_301, 1_200)
"""Month and day of days that no calendar has."""


class PlacedNotification(msgspec.Struct, frozen=True):
    """A notification in the feed of a prefecture (1 to 47), and the fault it was given, if any."""

    prefecture: int
    notification: Notification
    fault: Fault | None = None

    def __repr__(self) -> str:
        return f"<PlacedNotification prefecture={self.prefecture} fault={self.fault}>"


class FaultPlanter:
    """Puts faulty rows behind ``rate`` of the true ones. Deterministic for a nation, its days and the rate."""

    def __init__(self, changes: NationChanges, rate: float) -> None:
        if not 0 <= rate <= 1:
            raise ValueError("the rate of faults must be 0 to 1")
        self._changes = changes
        self._rate = rate
        self._random = changes.generator("faults", changes.first)
        self._named: set[int] = set()
        self._makers: tuple[tuple[Fault, Callable[[Notification], Notification | None]], ...] = (
            (Fault.BAD_CODE, self._bad_check_digit),
            (Fault.AREA_NOT_OF_FEED, self._wrong_area),
            (Fault.BAD_DATE, self._no_day),
            (Fault.NUMBER_NOT_ASCENDING, self._again),
            (Fault.ANOTHER_PERSON, self._another_code),
        )

    def placed(self, notifications: Iterable[Notification]) -> Iterator[PlacedNotification]:
        """The notifications of one day, each in the feed of its area's prefecture, with faulty ones among them."""
        for row in notifications:
            prefecture = row.area // 1_000
            yield PlacedNotification(prefecture, row)
            if self._rate and self._random.random() < self._rate:
                fault, make = self._makers[int(self._random.random() * len(self._makers))]
                faulty = make(row)
                if faulty is not None:
                    yield PlacedNotification(prefecture, faulty, fault)

    @staticmethod
    def _bad_check_digit(row: Notification) -> Notification:
        return replace(row, code=row.code // 10 * 10 + (row.code + 1) % 10, update_number=row.update_number + 1)

    def _wrong_area(self, row: Notification) -> Notification:
        """An area of the next prefecture in the feed of this one."""
        prefecture = row.area // 1_000 % LAST_PREFECTURE + 1
        return replace(row, area=prefecture * 1_000 + row.area % 1_000, update_number=row.update_number + 1)

    def _no_day(self, row: Notification) -> Notification:
        month_day = NO_DAYS[int(self._random.random() * len(NO_DAYS))]
        return replace(row, event_date=row.event_date // 10_000 * 10_000 + month_day)

    @staticmethod
    def _again(row: Notification) -> Notification:
        """The same once more, as after a restart from an old backup."""
        return row

    def _another_code(self, row: Notification) -> Notification | None:
        """A move in under the code of somebody who lives in another prefecture; needs a row that tells of a person."""
        if not row.birth_date % 100:
            return None
        people = self._changes.people
        for _ in range(TRIES_MAX):
            number = int(self._random.random() * self._changes.residents)
            resident = people.population.describe(number)
            code = code_from_key(resident.key)
            jis = self._changes.destinations.areas[resident.area]
            if (
                resident.state == State.CURRENT
                and number not in people.changed
                and number not in self._named
                and resident.birth_date % 100
                and resident.birth_date != row.birth_date
                and jis // 1_000 != row.area // 1_000
            ):
                self._named.add(number)
                return replace(
                    row,
                    reason=ChangeReason.MOVE_IN,
                    code=code,
                    code_before=0,
                    update_number=resident.update_number + 1,
                )
        return None
