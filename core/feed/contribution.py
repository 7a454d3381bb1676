"""One contribution: an accepted notification as the register keeps it under one code (docs/convergence.md, chapter 2).

A contribution is held as it is stored: a status and the bytes of a record (docs/store-format.md). Everything that the
fold needs is read from these bytes, so that what was stored and what has just come are the same thing.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

from jukinet.core.notifications import Notification
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import ChangeReason, State

PART_PERSON: Final = 1
PART_SUCCESSOR: Final = 8
PART_NOTIFIED: Final = 32

_HEAD: Final = struct.Struct("<BH")
_DAY_SHIFT: Final = 43
_WITHOUT_DAY: Final = (1 << _DAY_SHIFT) - 1

STATE_OF_REMOVAL: Final = {
    ChangeReason.MOVE_OUT: State.MOVED_AWAY,
    ChangeReason.DEATH: State.DEAD,
    ChangeReason.EX_OFFICIO_REMOVAL: State.REMOVED,
}


class Kind(IntEnum):
    """What a contribution does to the record under its key. The order breaks ties of rank."""

    RETIREMENT = 0
    ENTRY = 1
    CORRECTION = 2
    REMOVAL = 3
    STATEMENT = 4


class Standing(IntEnum):
    """What became of a contribution; a byte of the history block, except SHOWN."""

    SHOWN = 0
    """The visible record is this contribution; it is not in the history."""
    REPLACED = 1
    NOT_HOLDER = 2
    CONFLICT = 3
    AFTER_RETIREMENT = 4
    COMPOSED = 5
    """The visible record is made of two contributions, both in the history: a removal, and a correction after it."""


_TOOK_EFFECT: Final = frozenset((Standing.REPLACED, Standing.COMPOSED))

Rank = tuple[int, int, int]
"""update_number, packed event date, JIS area: what orders the contributions under one key."""


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """One contribution under a key.

    status and record: as stored; the registered day of the status is the day on which it came. standing and day: what
    became of it, and on which day.
    """

    status: int
    record: bytes
    rank: Rank
    kind: Kind
    standing: Standing = Standing.SHOWN
    day: int = 0

    @property
    def area(self) -> int:
        """Number in the areas table."""
        return self.status >> 10 & 4095

    @property
    def is_stated(self) -> bool:
        """Whether a source stated it, or it was built in bulk, and no notification of a change made it."""
        return not self.record[0] & PART_NOTIFIED

    def retires_like(self, other: Contribution) -> bool:
        """Whether both retire the code at one rank and lead to the same one, whoever told of it."""
        is_one = self.kind is other.kind is Kind.RETIREMENT and self.rank == other.rank
        alike = without_day(self.status) == without_day(other.status) and self.record[1:] == other.record[1:]
        return is_one and alike

    @property
    def order(self) -> tuple[Rank, int]:
        """Sort key: no two contributions under one key share it, except one that mends and the one that it mends."""
        return self.rank, self.kind

    def __repr__(self) -> str:
        """Never shows identity information."""
        return f"<Contribution {self.kind.name} {self.standing.name}>"


def with_day(status: int, day: int) -> int:
    """The status with another registered day."""
    return status & _WITHOUT_DAY | day << _DAY_SHIFT


def without_day(status: int) -> int:
    """The status with registered day 0, for comparing."""
    return status & _WITHOUT_DAY


def registered_day(status: int) -> int:
    """Days since 2000-01-01."""
    return status >> _DAY_SHIFT & 0xFFFF


def persons_of(shown: tuple[int, bytes] | None, earlier: Iterable[tuple[int, bytes]]) -> list[bytes]:
    """The records by which a key is in the identity index: what is shown, and earlier records that took effect.

    shown: status and record; earlier: standings and records of what is not shown. A retired code shows nobody, but what
    was its person's before leads to the code that follows it. None when nobody is shown otherwise.
    """
    if shown is None or shown[0] & 15 > State.RETIRED:
        return []
    found = [shown[1]] if shown[0] & 15 != State.RETIRED else []
    found += [record for standing, record in earlier if standing in _TOOK_EFFECT and record[0] & PART_PERSON]
    return found


def update_number(data: bytes) -> int:
    """The update number of a record."""
    return data[1] | data[2] << 8


def identity(data: bytes) -> tuple[int, int]:
    """Packed birth date and sex (3: not applicable) of a record with a person."""
    birth = data[3] | data[4] << 8 | data[5] << 16
    return birth & 0x1FFFFF, birth >> 21


def other_person(one: bytes, other: bytes) -> bool:
    """Whether two records with persons cannot be of one person: both birth dates known and different, or both sexes."""
    birth, sex = identity(one)
    other_birth, other_sex = identity(other)
    if birth and other_birth and birth != other_birth:
        return True
    return sex != other_sex and sex in {1, 2} and other_sex in {1, 2}


def from_stored(
    status: int, data: bytes, jis: list[int], standing: Standing = Standing.SHOWN, day: int = 0
) -> Contribution:
    """The contribution of a stored record. ``jis``: five-digit numbers by number in the areas table."""
    kind = kind_of(status, data[0])
    if kind is Kind.REMOVAL and len(data) > _HEAD.size:
        # What is shown of a removal carries the holder's image; the contribution itself does not.
        data = _HEAD.pack(PART_NOTIFIED, data[1] | data[2] << 8)
    rank = (data[1] | data[2] << 8, status >> 22 & 0x1FFFFF, jis[status >> 10 & 4095])
    return Contribution(status, data, rank, kind, standing, day)


def kind_of(status: int, parts: int) -> Kind:
    """The kind of a stored contribution."""
    if status & 15 == State.RETIRED:
        return Kind.RETIREMENT
    if not parts & PART_NOTIFIED:
        return Kind.STATEMENT
    return kind_of_reason(status >> 4 & 63)


def kind_of_reason(reason: int) -> Kind:
    """The kind of an ordinary notification under its own code."""
    if 21 <= reason <= 23:
        return Kind.REMOVAL
    return Kind.CORRECTION if 31 <= reason <= 33 else Kind.ENTRY


def is_contribution(status: int) -> bool:
    """Whether a visible record stands for a contribution: allotted codes and tombstones do not."""
    return status & 15 < State.ALLOTTED


def from_notification(notification: Notification, *, area: int, town: int, rest: str, day: int) -> Contribution:
    """The contribution of a notification under its own code.

    area: number in the areas table. town and rest: where its address was split. day: the centre's day, days since
    2000-01-01. Raises RecordFormatError when a text does not fit the record.
    """
    n = notification
    kind = kind_of_reason(n.reason) if n.state == 0 else Kind.STATEMENT
    if kind is Kind.REMOVAL:
        status = (
            STATE_OF_REMOVAL[ChangeReason(n.reason)]
            | n.reason << 4
            | area << 10
            | packed_date(n.event_date) << 22
            | day << _DAY_SHIFT
        )
        data = _HEAD.pack(PART_NOTIFIED, n.update_number)
    else:
        status, data = record.encode(
            Resident(
                key=n.code // 10,
                state=n.state or State.CURRENT,
                reason=n.reason,
                sex=n.sex,
                area=area,
                change_date=n.event_date,
                registered_day=day,
                birth_date=n.birth_date,
                update_number=n.update_number,
                notified=n.state == 0,
                town=town,
                name=n.name,
                kana=n.kana,
                alias=n.alias,
                address_rest=rest,
            )
        )
    return Contribution(status, data, (n.update_number, packed_date(n.event_date), n.area), kind)


def retirement(notification: Notification, *, area: int, day: int) -> Contribution:
    """What a code change contributes under the code before, or a statement of a retired code under its own.

    Only the first is marked as notified.
    """
    n = notification
    is_stated = n.state == State.RETIRED
    own, following = (n.code, n.code_before) if is_stated else (n.code_before, n.code)
    status, data = record.encode(
        Resident(
            key=own // 10,
            state=State.RETIRED,
            reason=n.reason,
            area=area,
            change_date=n.event_date,
            registered_day=day,
            update_number=n.update_number,
            notified=not is_stated,
            successor_key=following // 10,
        )
    )
    return Contribution(status, data, (n.update_number, packed_date(n.event_date), n.area), Kind.RETIREMENT)


def packed_date(decimal: int) -> int:
    """The date as the status holds it."""
    return decimal // 10000 << 9 | decimal // 100 % 100 << 5 | decimal % 100


def removal_ex_officio(last: Contribution, date: datetime.date, day: int) -> Contribution:
    """The removal of a record that a load no longer has: of that day, numbered after the area's last contribution."""
    number = min(last.rank[0] + 1, 0xFFFF)
    packed = date.year << 9 | date.month << 5 | date.day
    reason = ChangeReason.EX_OFFICIO_REMOVAL
    status = State.REMOVED | reason << 4 | last.area << 10 | packed << 22 | day << _DAY_SHIFT
    return Contribution(status, _HEAD.pack(PART_NOTIFIED, number), (number, packed, last.rank[2]), Kind.REMOVAL)
