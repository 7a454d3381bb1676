"""SEARCH and MATCH as a caller sees them: persons as they are known, and who was found, how, and how surely."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from msgspec import Struct

from jukinet.clients import columns
from jukinet.clients.answers import REASONS, code_text
from jukinet.clients.errors import BadRequestError, TooManyCodesError
from jukinet.clients.partial_date import PartialDate, date_from_decimal
from jukinet.clients.requests import DateLike, dates_column, sexes_column, texts_column
from jukinet.core import limits
from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.vocabulary import ChangeReason, Found, Grade, Item, Level, Outcome, Sex
from jukinet.core.wire.columns import TextColumn

if TYPE_CHECKING:
    import numpy
    import pyarrow

LEVEL_ITEMS: Final = ("name", "kana", "birth_date", "sex", "address")
"""Items that are compared, in the order of their four bits in a levels column."""
_FOUND: Final = {int(found): found for found in Found}
_GRADES: Final = {int(grade): grade for grade in Grade}
_LEVELS: Final = {int(level): level for level in Level}
_OUTCOMES: Final = {int(outcome): outcome for outcome in Outcome}
_SEXES: Final = {int(sex): sex for sex in Sex}
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Persons:
    """One batch of persons as they are known: a column for each item that somebody knows of them, one value a row. A
    row without the item has an empty text, no date (None, 0 or '') or sex 0. The least is names or kana, with
    birth_dates or addresses."""

    names: Iterable[str] | TextColumn | None = None
    kana: Iterable[str] | TextColumn | None = None
    birth_dates: Iterable[DateLike] | memoryview[int] | None = None
    sexes: Iterable[int | Sex] | memoryview[int] | None = None
    addresses: Iterable[str] | TextColumn | None = None


def find_arguments(persons: Persons, items: Item | None, prefix: bool, rows_max: int) -> tuple[Any, ...]:
    """Fields of SEARCH and MATCH after the session's id. BadRequestError for columns of different lengths or less than
    is asked by, TooManyCodesError for more rows than the session may ask."""
    given = 0
    count = -1
    values = (
        (Item.NAME, texts_column(persons.names)),
        (Item.KANA, texts_column(persons.kana)),
        (Item.BIRTH_DATE, dates_column(persons.birth_dates)),
        (Item.SEX, sexes_column(persons.sexes)),
        (Item.ADDRESS, texts_column(persons.addresses)),
    )
    for item, column in values:
        if column is None:
            continue
        given |= item
        if count not in (-1, len(column)):
            raise BadRequestError("the columns of persons have different lengths", ErrorCode.BAD_REQUEST)
        count = len(column)
    if not (given & (Item.NAME | Item.KANA) and given & (Item.BIRTH_DATE | Item.ADDRESS)):
        text = "the least is names or kana, with birth_dates or addresses"
        raise BadRequestError(text, ErrorCode.BAD_REQUEST)
    if count < 1:
        raise BadRequestError("a request holds at least one person", ErrorCode.BAD_REQUEST)
    if count > rows_max:
        raise TooManyCodesError(f"{count} persons, at most {rows_max} a request", ErrorCode.TOO_MANY_CODES)
    wanted = 0 if items is None else int(items)
    return (wanted, given, prefix, count, *(column for _, column in values))


def search_rows_max(codes_max: int) -> int:
    """Questions of one SEARCH in a session that allows so many codes."""
    return min(codes_max, limits.SEARCH_QUESTIONS_MAX)


class Levels(Struct, frozen=True):
    """How each item of the question compares with the person."""

    name: Level
    kana: Level
    birth_date: Level
    sex: Level
    address: Level

    @classmethod
    def unpacked(cls, packed: int) -> Levels:
        """From four bits an item."""
        return cls(*(_LEVELS[packed >> 4 * place & 15] for place in range(len(LEVEL_ITEMS))))


class FoundPerson(Struct, frozen=True):
    """A person who was found. An item is None when it was not asked or the affair may not see it."""

    grade: Grade
    probability: float
    """That this is the person who was meant, 0 to 1 (docs/matching.md, section 4)."""
    levels: Levels
    outcome: Outcome
    code: str | None = None
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

    def __repr__(self) -> str:
        return f"FoundPerson(grade={self.grade.name})"


class SearchRow(Struct, frozen=True):
    """Who one question may mean, the likeliest first."""

    found: Found
    persons: tuple[FoundPerson, ...] = ()


class MatchRow(Struct, frozen=True):
    """Who one record means. ``person`` is None unless found is ONE."""

    found: Found
    person: FoundPerson | None
    candidates: int
    """Persons at or above the affair's threshold for a candidate."""
    probability: float
    """Of the best candidate, also where several are as likely and none is disclosed."""
    margin: float
    """How far the next candidate lies below."""


AnyRow_co = TypeVar("AnyRow_co", SearchRow, MatchRow, covariant=True)


class PersonsAnswer(ABC, Generic[AnyRow_co]):
    """Rows in the order asked, as a sequence. Holds the received frame; columns and arrays point into it."""

    __slots__ = ("given", "wire")

    def __init__(self, wire: Any, given: int) -> None:
        self.wire = wire
        self.given = Item(given)
        """The items that were given."""

    def __len__(self) -> int:
        count: int = self.wire.count
        return count

    def __getitem__(self, row: int) -> AnyRow_co:
        """Row number ``row``, from 0; negative numbers count from the end. IndexError outside."""
        count = len(self)
        if row < 0:
            row += count
        if not 0 <= row < count:
            raise IndexError("no such row")
        try:
            return self._row(row, _FOUND[self.wire.found[row]])
        except (ValueError, KeyError) as error:
            raise RemoteProtocolError(f"the answer holds a value that cannot be: {type(error).__name__}") from None

    def __iter__(self) -> Iterator[AnyRow_co]:
        for row in range(len(self)):
            yield self[row]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rows={len(self)}, register_version={self.register_version})"

    @property
    def items(self) -> Item:
        """The items it holds of the persons found."""
        return Item(self.wire.items)

    @property
    def register_version(self) -> int:
        """The store transaction that the whole answer was read at."""
        version: int = self.wire.register_version
        return version

    def counts(self) -> dict[Found, int]:
        """Rows of each kind of answer that occurs."""
        found = bytes(self.wire.found)
        return {kind: rows for kind in Found if (rows := found.count(kind))}

    def to_numpy(self) -> dict[str, numpy.ndarray[Any, Any]]:
        """The received columns, read-only (docs/protocol.md, 3.8); those of a search have a place for each question or
        for each person. MissingExtraError without ``jukinet[files]``."""
        return columns.to_numpy(columns.of_persons(self.wire))

    @abstractmethod
    def _row(self, row: int, found: Found) -> AnyRow_co:
        """The row; each kind of answer makes its own."""

    def _person(self, at: int) -> FoundPerson:
        wire = self.wire
        area = wire.areas[at] if wire.areas is not None else 0
        return FoundPerson(
            _GRADES[wire.grades[at]],
            wire.probabilities[at] / _MILLION,
            Levels.unpacked(wire.levels[at]),
            _OUTCOMES[wire.outcomes[at]],
            code_text(wire.codes[at]) if wire.codes is not None else None,
            wire.names[at] if wire.names is not None else None,
            wire.kana[at] if wire.kana is not None else None,
            wire.aliases[at] if wire.aliases is not None else None,
            date_from_decimal(wire.birth_dates[at]) if wire.birth_dates is not None else None,
            _SEXES[wire.sexes[at]] if wire.sexes is not None else None,
            f"{area:05}" if area else None,
            wire.addresses[at] if wire.addresses is not None else None,
            REASONS[wire.reasons[at]] if wire.reasons is not None else None,
            date_from_decimal(wire.change_dates[at]) if wire.change_dates is not None else None,
        )


class SearchAnswer(PersonsAnswer[SearchRow]):
    """Answer to a search: a row for each question, with its persons."""

    __slots__ = ()

    def _row(self, row: int, found: Found) -> SearchRow:
        ends = self.wire.row_ends
        return SearchRow(found, tuple(map(self._person, range(ends[row - 1] if row else 0, ends[row]))))


class MatchAnswer(PersonsAnswer[MatchRow]):
    """Answer to a match: a row for each record."""

    __slots__ = ()

    def to_arrow(self) -> pyarrow.RecordBatch:
        """The received columns as a record batch, not copied; ``found``, ``grade`` and ``outcome`` as dictionaries of
        names. MissingExtraError without ``jukinet[files]``."""
        return columns.to_arrow(columns.of_persons(self.wire))

    def _row(self, row: int, found: Found) -> MatchRow:
        wire = self.wire
        return MatchRow(
            found,
            self._person(row) if found is Found.ONE else None,
            wire.candidates[row],
            wire.probabilities[row] / _MILLION,
            wire.margins[row] / _MILLION,
        )
