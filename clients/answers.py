"""Typed answers: rows on demand, and the received columns as NumPy arrays or an Arrow record batch without copying."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from msgspec import Struct

from jukinet.clients import columns
from jukinet.clients.partial_date import PartialDate, date_from_decimal
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.vocabulary import MALFORMED_CODE, ChangeReason, Item, Match, Outcome, Sex
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn

if TYPE_CHECKING:
    import numpy
    import pyarrow

DISCLOSED = frozenset({Outcome.CURRENT, Outcome.CHANGED, Outcome.DEAD, Outcome.MOVED_AWAY, Outcome.REMOVED})
"""Outcomes under which a record is disclosed; under the others items are None."""


_OUTCOMES: Final = {int(outcome): outcome for outcome in Outcome}
_SEXES: Final = {int(sex): sex for sex in Sex}
REASONS: Final = {int(reason): reason for reason in ChangeReason} | {0: None}
_MATCHES: Final = tuple(Match)
"""Look-ups by number: several times faster than calling the enumerations, for rows are made one at a time."""


class Row(Struct, frozen=True):
    """What every row holds: the code as asked, as text of 11 digits (empty where what was asked is no code)."""

    code: str
    outcome: Outcome


class LookupRow(Row, frozen=True):
    """One resident. An item is None when it was not asked or no record is disclosed; a text may be empty. A date is a
    `PartialDate` where a part of it is unknown."""

    name: str | None = None
    kana: str | None = None
    alias: str | None = None
    birth_date: datetime.date | PartialDate | None = None
    sex: Sex | None = None
    area: str | None = None
    """JIS X 0402, five digits."""
    address: str | None = None
    change_reason: ChangeReason | None = None
    change_date: datetime.date | PartialDate | None = None
    successor_code: str | None = None
    """For CODE_CHANGED: the code that replaced this one."""


class EarlierRecord(Struct, frozen=True):
    """One record that a later notification replaced. An item is None when it was not asked."""

    replaced_date: datetime.date | PartialDate
    """The day on which what replaced it was registered."""
    name: str | None = None
    kana: str | None = None
    alias: str | None = None
    birth_date: datetime.date | PartialDate | None = None
    sex: Sex | None = None
    area: str | None = None
    address: str | None = None
    change_reason: ChangeReason | None = None
    change_date: datetime.date | PartialDate | None = None

    def __repr__(self) -> str:
        return "EarlierRecord(...)"


class HistoryRow(Row, frozen=True):
    """The earlier records under one code, the latest first; the outcome is of what the code shows now."""

    records: tuple[EarlierRecord, ...] = ()


class StatusRow(Row, frozen=True):
    """What became of one code. ``change_date`` is the date on which the reason arose, None where nothing changed."""

    change_date: datetime.date | PartialDate | None = None


class VerifyRow(Row, frozen=True):
    """How each claim compares; NOT_ASKED where nothing was claimed or there is nothing to compare with."""

    name: Match = Match.NOT_ASKED
    birth_date: Match = Match.NOT_ASKED
    sex: Match = Match.NOT_ASKED
    address: Match = Match.NOT_ASKED

    @property
    def agrees(self) -> bool:
        """Something was compared and nothing differs."""
        found = (self.name, self.birth_date, self.sex, self.address)
        return any(found) and Match.DIFFERENT not in found


AnyRow_co = TypeVar("AnyRow_co", bound=Row, covariant=True)


class Answer(ABC, Generic[AnyRow_co]):
    """Rows in the order asked, as a sequence. Holds the received frame; columns and arrays point into it.

    ``codes`` is the caller's column, kept by reference: do not change it while the answer is in use.
    """

    __slots__ = ("codes", "wire")

    def __init__(self, wire: Any, codes: memoryview[int]) -> None:
        if wire.count != len(codes):
            raise RemoteProtocolError("the answer's count is not that of the codes asked")
        self.wire = wire
        self.codes = codes

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> AnyRow_co:
        """Row number ``row``, from 0; negative numbers count from the end. IndexError outside."""
        count = len(self.codes)
        if row < 0:
            row += count
        if not 0 <= row < count:
            raise IndexError("no such row")
        try:
            return self._row(row, code_text(self.codes[row]), _OUTCOMES[self.wire.outcomes[row]])
        except (ValueError, KeyError) as error:
            raise RemoteProtocolError(f"the answer holds a value that cannot be: {type(error).__name__}") from None

    def __iter__(self) -> Iterator[AnyRow_co]:
        for row in range(len(self.codes)):
            yield self[row]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rows={len(self)}, register_version={self.register_version})"

    @abstractmethod
    def _row(self, row: int, code: str, outcome: Outcome) -> AnyRow_co:
        """The row; each kind of answer makes its own."""

    @property
    def outcomes(self) -> memoryview[int]:
        """One byte a row, of `Outcome`."""
        view: memoryview[int] = self.wire.outcomes
        return view

    @property
    def register_version(self) -> int:
        """The store transaction that the whole answer was read at."""
        version: int = self.wire.register_version
        return version

    def counts(self) -> dict[Outcome, int]:
        """Rows of each outcome that occurs."""
        outcomes = bytes(self.wire.outcomes)
        return {outcome: found for outcome in Outcome if (found := outcomes.count(outcome))}

    def to_numpy(self) -> dict[str, numpy.ndarray[Any, Any]]:
        """The columns as arrays over the received bytes, read-only. A text column is two arrays, ``name_offsets`` (u32,
        rows + 1) into ``name_data`` (u8, UTF-8). MissingExtraError without ``jukinet[files]``."""
        return columns.to_numpy(columns.of_answer(self.wire, self.codes))

    def to_arrow(self) -> pyarrow.RecordBatch:
        """The columns as a record batch over the received bytes; outcomes as a dictionary of names. MissingExtraError
        without ``jukinet[files]``."""
        return columns.to_arrow(columns.of_answer(self.wire, self.codes))


class LookupAnswer(Answer[LookupRow]):
    """Answer to a lookup."""

    __slots__ = ()

    @property
    def items(self) -> Item:
        """The items it holds."""
        return Item(self.wire.items)

    def _row(self, row: int, code: str, outcome: Outcome) -> LookupRow:
        wire: m.LookupAnswer = self.wire
        if outcome not in DISCLOSED:
            if outcome is not Outcome.CODE_CHANGED:
                return LookupRow(code, outcome)
            return LookupRow(
                code,
                outcome,
                change_reason=_reason(wire.reasons, row),
                change_date=_date(wire.change_dates, row),
                successor_code=_successor(wire.successor_codes, row),
            )
        area = wire.areas[row] if wire.areas is not None else 0
        return LookupRow(
            code,
            outcome,
            _text(wire.names, row),
            _text(wire.kana, row),
            _text(wire.aliases, row),
            _date(wire.birth_dates, row),
            _SEXES[wire.sexes[row]] if wire.sexes is not None else None,
            f"{area:05}" if area else None,
            _text(wire.addresses, row),
            _reason(wire.reasons, row),
            _date(wire.change_dates, row),
            _successor(wire.successor_codes, row),
        )


class StatusAnswer(Answer[StatusRow]):
    """Answer to a status check."""

    __slots__ = ()

    @property
    def since(self) -> datetime.date | PartialDate:
        """The date asked about."""
        return date_from_decimal(self.wire.since)

    def _row(self, row: int, code: str, outcome: Outcome) -> StatusRow:
        number = self.wire.change_dates[row]
        return StatusRow(code, outcome, date_from_decimal(number) if number else None)


class VerifyAnswer(Answer[VerifyRow]):
    """Answer to a verification."""

    __slots__ = ()

    @property
    def items(self) -> Item:
        """The items that were claimed."""
        return Item(self.wire.items)

    def differences(self) -> int:
        """Rows in which at least one claim differs."""
        differing = bytes(any(byte >> shift & 3 == Match.DIFFERENT for shift in (0, 2, 4, 6)) for byte in range(256))
        return bytes(self.wire.matches).translate(differing).count(1)

    def _row(self, row: int, code: str, outcome: Outcome) -> VerifyRow:
        found = self.wire.matches[row]
        return VerifyRow(code, outcome, *(_MATCHES[found >> shift & 3] for shift in (0, 2, 4, 6)))


class HistoryAnswer(Answer[HistoryRow]):
    """Answer to a question for earlier records: a row for each code asked, with its records."""

    __slots__ = ()

    @property
    def items(self) -> Item:
        """The items it holds."""
        return Item(self.wire.items)

    @property
    def records_count(self) -> int:
        """Earlier records of all rows together."""
        return len(self.wire.replaced_dates)

    def places(self) -> tuple[list[int], list[int | None]]:
        """(row, record) of a flat table: one line for each earlier record, and one without record (None) for each row
        that has none."""
        rows: list[int] = []
        records: list[int | None] = []
        start = 0
        for row, end in enumerate(self.wire.row_ends):
            rows += [row] * max(1, end - start)
            records += range(start, end) if end > start else [None]
            start = end
        return rows, records

    def to_numpy(self) -> dict[str, numpy.ndarray[Any, Any]]:
        """The received columns, read-only: ``code``, ``outcome`` and ``row_ends`` have a place for each code,
        ``replaced_date`` and the items one for each record (docs/protocol.md, 3.6)."""
        return columns.to_numpy(columns.of_history(self.wire, self.codes))

    def to_arrow(self) -> pyarrow.RecordBatch:
        """A flat table (copied): code and outcome repeated beside each earlier record; a code that has none has one
        line with nulls."""
        rows, records = self.places()
        by_code, by_record = columns.halves_of_history(self.wire, self.codes)
        return columns.joined(columns.to_arrow(by_code), rows, columns.to_arrow(by_record), records)

    def _row(self, row: int, code: str, outcome: Outcome) -> HistoryRow:
        ends = self.wire.row_ends
        return HistoryRow(code, outcome, tuple(map(self._record, range(ends[row - 1] if row else 0, ends[row]))))

    def _record(self, at: int) -> EarlierRecord:
        wire: m.HistoryAnswer = self.wire
        area = wire.areas[at] if wire.areas is not None else 0
        return EarlierRecord(
            date_from_decimal(wire.replaced_dates[at]),
            _text(wire.names, at),
            _text(wire.kana, at),
            _text(wire.aliases, at),
            _date(wire.birth_dates, at),
            _SEXES[wire.sexes[at]] if wire.sexes is not None else None,
            f"{area:05}" if area else None,
            _text(wire.addresses, at),
            _reason(wire.reasons, at),
            _date(wire.change_dates, at),
        )


def code_text(number: int) -> str:
    """11 digits; empty for MALFORMED_CODE."""
    return f"{number:011}" if number != MALFORMED_CODE else ""


def _text(column: TextColumn | None, row: int) -> str | None:
    return None if column is None else column[row]


def _date(column: memoryview[int] | None, row: int) -> datetime.date | PartialDate | None:
    return None if column is None else date_from_decimal(column[row])


def _reason(column: memoryview[int] | None, row: int) -> ChangeReason | None:
    return REASONS[column[row]] if column is not None else None


def _successor(column: memoryview[int] | None, row: int) -> str | None:
    return code_text(column[row]) if column is not None and column[row] else None
