"""A caller's wish turned into a request's fields, the same for both clients: affair, codes, items, dates and claims."""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from jukinet.clients.codes import Codes, code_column
from jukinet.clients.errors import BadRequestError, TooManyCodesError
from jukinet.clients.partial_date import PartialDate, decimal_from_date
from jukinet.core import limits
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import Function, Item, Sex
from jukinet.core.wire.columns import TextColumn
from jukinet.core.wire.packed import PACKED_BIT

DateLike: TypeAlias = "datetime.date | PartialDate | int | str | None"
"""A date, a partial date, its decimal form (19650220) or text (1965-02-20, 1965-02, 1965)."""


@dataclass(frozen=True, slots=True)
class Affair:
    """Under which authority, by whom and why: the fields of OPEN_SESSION (docs/protocol.md, 3.2)."""

    schedule: int
    item: str
    number: int
    operator: str
    reason: str
    case_reference: str

    def fields(self) -> tuple[int, str, int, str, str, str]:
        return self.schedule, self.item, self.number, self.operator, self.reason, self.case_reference


@dataclass(frozen=True, slots=True)
class Grant:
    """What an open session may do."""

    session_id: int
    functions: Function
    items: Item
    codes_per_request_max: int
    valid_until: datetime.date | None
    packed: bool = False
    """Whether the server also makes packed answers (docs/protocol.md, 3.3.1)."""


@dataclass(frozen=True, slots=True)
class Claims:
    """One batch of a verification: codes, and what is claimed of each. An empty text, a date 0 or a sex 0 claims
    nothing for its row."""

    codes: Codes
    names: Iterable[str] | TextColumn | None = None
    birth_dates: Iterable[DateLike] | memoryview[int] | None = None
    sexes: Iterable[int | Sex] | memoryview[int] | None = None
    addresses: Iterable[str] | TextColumn | None = None


def grant_from_wire(opened: Any) -> Grant:
    """From SESSION_OPENED."""
    until = PartialDate.from_decimal(opened.valid_until).to_date() if opened.valid_until else None
    return Grant(
        opened.session_id,
        Function(opened.functions & ~PACKED_BIT),
        Item(opened.items),
        opened.codes_per_request_max,
        until,
        bool(opened.functions & PACKED_BIT),
    )


def checked_column(codes: Codes, codes_max: int) -> memoryview[int]:
    """The column of codes; BadRequestError when empty, TooManyCodesError when the session may not ask for so many."""
    column = code_column(codes)
    if not 0 < len(column) <= codes_max:
        if len(column):
            raise TooManyCodesError(f"{len(column)} codes, at most {codes_max} a request", ErrorCode.TOO_MANY_CODES)
        raise BadRequestError("a request holds at least one code", ErrorCode.BAD_REQUEST)
    return column


def lookup_arguments(codes: Codes, items: Item | None, codes_max: int) -> tuple[Any, ...]:
    """Fields of LOOKUP after the session's id."""
    return (0 if items is None else int(items)), checked_column(codes, codes_max)


def history_arguments(codes: Codes, items: Item | None, codes_max: int) -> tuple[Any, ...]:
    """Fields of HISTORY after the session's id."""
    return lookup_arguments(codes, items, history_codes_max(codes_max))


def history_codes_max(codes_max: int) -> int:
    """Codes of one HISTORY in a session that allows so many."""
    return min(codes_max, limits.HISTORY_CODES_MAX)


def status_arguments(codes: Codes, since: DateLike, codes_max: int) -> tuple[Any, ...]:
    """Fields of STATUS after the session's id."""
    try:
        decimal = decimal_from_date(since)
    except ValueError as error:
        raise BadRequestError(f"since: {error}", ErrorCode.BAD_REQUEST) from None
    if not decimal % 100:
        raise BadRequestError("since must be a full date, such as 2024-04-01", ErrorCode.BAD_REQUEST)
    return decimal, checked_column(codes, codes_max)


def verify_arguments(batch: Claims, codes_max: int) -> tuple[Any, ...]:
    """Fields of VERIFY after the session's id. BadRequestError when a column's length is not that of the codes, a date
    or sex is none, or nothing is claimed at all."""
    column = checked_column(batch.codes, codes_max)
    claims: list[tuple[Item, str, Any]] = [
        (Item.NAME, "names", texts_column(batch.names)),
        (Item.BIRTH_DATE, "birth_dates", dates_column(batch.birth_dates)),
        (Item.SEX, "sexes", sexes_column(batch.sexes)),
        (Item.ADDRESS, "addresses", texts_column(batch.addresses)),
    ]
    items = 0
    for item, name, values in claims:
        if values is None:
            continue
        items |= item
        if len(values) != len(column):
            raise BadRequestError(f"{name} has {len(values)} rows, codes have {len(column)}", ErrorCode.BAD_REQUEST)
    if not items:
        raise BadRequestError("claim at least one of names, birth_dates, sexes and addresses", ErrorCode.BAD_REQUEST)
    return (items, column, *(values for _, _, values in claims))


def texts_column(values: Any) -> TextColumn | None:
    """A text column of texts; BadRequestError for what is no Unicode."""
    if values is None or isinstance(values, TextColumn):
        return values
    if isinstance(values, str):
        raise TypeError("names and addresses are lists with one text a code")
    try:
        return TextColumn.from_texts(values)
    except UnicodeEncodeError:
        # Not repeated: the text may be a name.
        raise BadRequestError(
            "names and addresses must be valid Unicode (a lone surrogate was found)", ErrorCode.BAD_REQUEST
        ) from None


def dates_column(values: Any) -> memoryview[int] | None:
    """Decimal dates of dates in any accepted form; BadRequestError for one that is none."""
    if values is None:
        return None
    try:
        view = memoryview(values)
    except TypeError:
        try:
            return memoryview(array("I", [decimal_from_date(value) for value in values]))
        except ValueError as error:
            raise BadRequestError(f"birth_dates: {error}", ErrorCode.BAD_REQUEST) from None
    if view.itemsize != 4 or view.format not in ("I", "L"):
        raise TypeError("a buffer of birth_dates holds unsigned 32-bit decimal dates")
    return view


def sexes_column(values: Any) -> memoryview[int] | None:
    """A byte a sex; BadRequestError for one that ISO/IEC 5218 does not know."""
    if values is None:
        return None
    try:
        view = memoryview(values)
    except TypeError:
        try:
            return memoryview(bytes(Sex(value) for value in values))
        except ValueError:
            raise BadRequestError("sexes: 0, 1, 2 or 9 (ISO/IEC 5218)", ErrorCode.BAD_REQUEST) from None
    if view.format != "B":
        raise TypeError("a buffer of sexes holds unsigned bytes")
    return view
