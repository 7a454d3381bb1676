"""What the register shows when changes are applied: for tests and benchmarks, which compare it with a real register."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from jukinet.core.codes import code_from_key
from jukinet.core.notifications import Notification
from jukinet.core.vocabulary import ChangeReason, State
from jukinet.server.nation.destinations import Destinations
from jukinet.server.nation.population import Population

REMOVALS: Final = {
    ChangeReason.MOVE_OUT: State.MOVED_AWAY,
    ChangeReason.DEATH: State.DEAD,
    ChangeReason.EX_OFFICIO_REMOVAL: State.REMOVED,
}
CORRECTIONS: Final = frozenset(
    {ChangeReason.MOVE_WITHIN, ChangeReason.MINOR_CORRECTION, ChangeReason.EX_OFFICIO_CORRECTION}
)


class ExpectedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the register shows under a code.

    area: JIS. successor: a retired code's new code, otherwise 0. Person items are empty under a retired code.
    """

    code: int
    state: int
    area: int
    reason: int
    event_date: int
    update_number: int
    successor: int = 0
    birth_date: int = 0
    sex: int = 0
    name: str = ""
    kana: str = ""
    alias: str = ""
    address: str = ""

    def __repr__(self) -> str:
        return f"<ExpectedRecord state={self.state}>"


def built_record(population: Population, destinations: Destinations, number: int) -> ExpectedRecord:
    """What the register as built shows of a resident."""
    resident = population.describe(number)
    town = destinations.town_texts[resident.town - 1] if resident.town else ""
    return ExpectedRecord(
        code=code_from_key(resident.key),
        state=resident.state,
        area=destinations.areas[resident.area],
        reason=resident.reason,
        event_date=resident.change_date,
        update_number=resident.update_number,
        birth_date=resident.birth_date,
        sex=resident.sex,
        name=resident.name,
        kana=resident.kana,
        alias=resident.alias,
        address=town + resident.address_rest,
    )


def outcome(built: ExpectedRecord | None, code: int, rows: Iterable[Notification]) -> ExpectedRecord | None:
    """The record under a code after all notifications that name it, in any order; None when nothing was ever entered.

    It is the fold of docs/convergence.md for notifications without conflicts, such as NationChanges makes. ``built`` is
    the record before, or None; one that only says ALLOTTED gives way.
    """
    holder = None if built is None or built.state == State.ALLOTTED else built
    for row in sorted(rows, key=lambda row: (row.update_number, row.event_date, row.area)):
        if row.code_before == code:
            return ExpectedRecord(
                code=code,
                state=State.RETIRED,
                area=row.area,
                reason=row.reason,
                event_date=row.event_date,
                update_number=row.update_number,
                successor=row.code,
            )
        removed = REMOVALS.get(ChangeReason(row.reason))
        holds = holder is not None and holder.area == row.area
        if removed is not None:
            if holder is not None and holds:
                holder = replace(
                    holder, state=removed, reason=row.reason, event_date=row.event_date, update_number=row.update_number
                )
        elif holds or row.reason not in CORRECTIONS:
            holder = shown(row)
    return holder or built


def shown(row: Notification) -> ExpectedRecord:
    """The record that a notification with a person leaves."""
    return ExpectedRecord(
        code=row.code,
        state=State.CURRENT,
        area=row.area,
        reason=row.reason,
        event_date=row.event_date,
        update_number=row.update_number,
        birth_date=row.birth_date,
        sex=row.sex,
        name=row.name,
        kana=row.kana,
        alias=row.alias,
        address=row.address,
    )
