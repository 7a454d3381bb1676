"""Cohorts as a caller sees them: cursors, what is stored, what changed; and codes cut into a registration's chunks."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from jukinet.clients.answers import REASONS, Answer, Row
from jukinet.clients.codes import Codes, code_column
from jukinet.clients.errors import BadRequestError
from jukinet.clients.partial_date import PartialDate, date_from_decimal
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import ChangeReason, Outcome
from jukinet.core.wire.messages import CohortStep

if TYPE_CHECKING:
    from jukinet.core.wire import messages as m

NO_CODES = memoryview(b"").cast("Q")


class Cursor(NamedTuple):
    """Up to where an agency knows what changed; keep both numbers, as ``str(cursor)`` if you like."""

    order: int
    place: int = 0

    def __str__(self) -> str:
        return f"{self.order}.{self.place}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The cursor that ``str`` wrote. Raises BadRequestError."""
        order, _, place = text.strip().partition(".")
        if not order.isdecimal() or not place.isdecimal() or len(text) > 64:
            raise BadRequestError("a cursor is two whole numbers joined by '.'", ErrorCode.BAD_REQUEST)
        return cls(int(order), int(place))


class Cohort(Struct, frozen=True):
    """Codes that the register keeps for an affair under a name. ``cursor``: where asking begins after registering."""

    name: str
    codes: int
    cursor: Cursor
    registered_date: datetime.date | PartialDate | None
    complete: bool
    """False while it has never been registered to the end."""


class ChangeRow(Row, frozen=True):
    """One code that changed, and how it stands now: the last change's reason, the day on which that arose, and the
    day on which the register learned of it."""

    change_reason: ChangeReason | None = None
    change_date: datetime.date | PartialDate | None = None
    registered_date: datetime.date | PartialDate | None = None


class ChangesAnswer(Answer[ChangeRow]):
    """Codes of a cohort that changed, ascending. Ask again with ``cursor``: at once while there is ``more``."""

    __slots__ = ()

    def __init__(self, wire: m.CohortChangesAnswer) -> None:
        super().__init__(wire, wire.codes)

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.wire.order, self.wire.place)

    @property
    def more(self) -> bool:
        return bool(self.wire.more)

    def _row(self, row: int, code: str, outcome: Outcome) -> ChangeRow:
        wire: m.CohortChangesAnswer = self.wire
        changed, registered = wire.change_dates[row], wire.registered_dates[row]
        return ChangeRow(
            code,
            outcome,
            REASONS[wire.reasons[row]],
            date_from_decimal(changed) if changed else None,
            date_from_decimal(registered) if registered else None,
        )


def cohorts_of(stored: m.CohortStored) -> list[Cohort]:
    """From COHORT_STORED."""
    return [
        Cohort(
            row.name,
            row.codes,
            Cursor(row.order, row.place),
            date_from_decimal(row.registered_date) if row.registered_date else None,
            row.complete,
        )
        for row in stored.cohorts
    ]


def put_requests(name: str, batches: Iterable[Codes], codes_max: int) -> Iterator[tuple[int, str, memoryview[int]]]:
    """Fields of the COHORT_PUTs of one registration after the session's id; batches are cut to ``codes_max`` codes.

    Codes ascend strictly over all batches, which the register checks.
    """
    columns = (
        column[start : start + codes_max]
        for column in map(code_column, batches)
        for start in range(0, len(column), codes_max)
    )
    waiting = next(columns, NO_CODES)
    step = int(CohortStep.BEGIN)
    for column in columns:
        yield step, name, waiting
        step, waiting = 0, column
    yield step | CohortStep.END, name, waiting


def changes_request(name: str, cursor: Cursor, rows_max: int | None, codes_max: int) -> tuple[Any, ...]:
    """Fields of COHORT_CHANGES after the session's id."""
    return min(rows_max or codes_max, codes_max), name, cursor.order, cursor.place
