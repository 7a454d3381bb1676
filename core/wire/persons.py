"""SEARCH, MATCH and their answers as bytes (docs/protocol.md, 3.8)."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from jukinet.core.columns.column_kernel import ColumnFault, locate_columns
from jukinet.core.columns.layout import ANY_TEXT_BYTES, TextColumn, fixed_layout, padded
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.vocabulary import ALL_ITEMS, Item
from jukinet.core.wire import messages as m
from jukinet.core.wire.answers import groups
from jukinet.core.wire.columns import SEARCH_FOUND_PLAN, given_plan, match_plan, search_plan
from jukinet.core.wire.frames import (
    ANSWER_HEAD,
    ANSWER_HEAD_BYTES,
    QUESTION,
    QUESTION_HEAD_BYTES,
    REQUEST_ID_MAX,
    MessageType,
)

GIVEN_SHIFT: Final = 8
PREFIX: Final = 1 << 16
GIVEN_ITEMS: Final = int(Item.NAME | Item.KANA | Item.BIRTH_DATE | Item.SEX | Item.ADDRESS)
"""What a question may give of a person."""
_NAMED: Final = int(Item.NAME | Item.KANA)
_PLACED: Final = int(Item.BIRTH_DATE | Item.ADDRESS)
_ITEMS: Final = int(ALL_ITEMS)
_SEARCH: Final = int(MessageType.SEARCH)
_U32_MAX: Final = 0xFFFF_FFFF
_COLUMNS: Final = (
    (Item.NAME, "names", 0),
    (Item.KANA, "kana", 0),
    (Item.BIRTH_DATE, "birth_dates", 4),
    (Item.SEX, "sexes", 1),
    (Item.ADDRESS, "addresses", 0),
)
_Find = TypeVar("_Find", bound=m.SearchRequest | m.MatchRequest)


def enough(given: int) -> bool:
    """Whether these items may be asked by: a name or reading, with birth date or address. Nothing less is answered."""
    return bool(given & _NAMED and given & _PLACED)


def head_fault(kind: int, second: int) -> str | None:
    """What is wrong with the second number of a head: items wanted, items given << 8, prefix << 16. None: nothing."""
    given = second >> GIVEN_SHIFT & 0xFF
    if second > PREFIX | 0xFFFF or (second & PREFIX and kind != _SEARCH):
        return "the second number holds items wanted, items given, and for SEARCH whether names are beginnings"
    if given & ~GIVEN_ITEMS:
        return "only name, kana, birth date, sex and address are given"
    return None if enough(given) else "name or kana, with birth date or address, is the least that is given"


def encode_find(message: m.SearchRequest | m.MatchRequest) -> bytes:
    """The frame of a SEARCH or MATCH. Raises LocalProtocolError for columns that do not fit the items or the count."""
    kind, count = int(message.type), message.count
    if not 0 < message.request_id <= REQUEST_ID_MAX or not 0 < message.session_id <= _U32_MAX or count < 1:
        raise LocalProtocolError("request_id, session_id and count are unsigned 32-bit integers, none of them 0")
    if not 0 <= message.items <= _ITEMS or not 0 <= message.given <= _ITEMS:
        raise LocalProtocolError("items and given are masks of items")
    second = message.items | message.given << GIVEN_SHIFT | (PREFIX if message.prefix else 0)
    fault = head_fault(kind, second)
    if fault is not None:
        raise LocalProtocolError(fault)
    parts: list[bytes] = []
    for item, name, itemsize in _COLUMNS:
        column: TextColumn | memoryview | None = getattr(message, name)
        if (column is not None) != bool(message.given & item):
            raise LocalProtocolError(f"{name} does not fit the items given")
        if isinstance(column, TextColumn):
            if column.offsets.itemsize != 4 or column.data.itemsize != 1 or len(column) != count:
                raise LocalProtocolError(f"{name} is a text column of count rows")
            parts += column.layout()
        elif column is not None:
            view = memoryview(column)
            if view.itemsize != itemsize or view.nbytes != itemsize * count:
                raise LocalProtocolError(f"{name} is a buffer of count rows, {itemsize} bytes a row")
            parts += fixed_layout(view)
    body = b"".join(parts)
    try:
        locate_columns(body, 0, count, given_plan(message.given), 0, ANY_TEXT_BYTES)
    except ColumnFault as error:
        raise LocalProtocolError(f"the persons cannot be sent: {error}") from None
    size = QUESTION_HEAD_BYTES + len(body)
    return QUESTION.pack(size, kind, 0, message.request_id, 0, message.session_id, second, count, 0) + body


def parse_find(
    asked: type[_Find], request_id: int, session_id: int, second: int, count: int, payload: bytes | bytearray
) -> _Find:
    """A SEARCH or MATCH whose head was checked, over the same bytes. Raises RemoteProtocolError."""
    given = second >> GIVEN_SHIFT & 0xFF
    try:
        at = locate_columns(payload, QUESTION_HEAD_BYTES, count, given_plan(given), 0, ANY_TEXT_BYTES)
    except ColumnFault as fault:
        raise RemoteProtocolError(f"the persons do not hold: {fault}") from None
    view = memoryview(payload)
    view4 = view.cast("I")
    found: dict[str, Any] = {}
    i = 0
    for item, name, itemsize in _COLUMNS:
        if not given & item:
            continue
        if itemsize:
            start = at[i] // itemsize
            found[name] = (view4 if itemsize == 4 else view)[start : start + count]
            i += 1
        else:
            start = at[i] >> 2
            found[name] = TextColumn(view4[start : start + count + 1], view[at[i + 1] : at[i + 2]])
            i += 3
    return asked(request_id, session_id, second & 0xFF, given, bool(second & PREFIX), count, **found)


def _version(payload: bytes | bytearray, items: int, count: int) -> int:
    if len(payload) < ANSWER_HEAD_BYTES or len(payload) & 7:
        raise RemoteProtocolError("the answer's length is no multiple of 8, or too short")
    told, rows, register_version = ANSWER_HEAD.unpack_from(payload)
    if rows != count or told != items:
        raise RemoteProtocolError("the answer has another count or items than its request")
    return int(register_version)


def _locate(payload: bytes | bytearray | memoryview, count: int, plan: bytes, start: int) -> tuple[int, ...]:
    try:
        return locate_columns(payload, start, count, plan, 0, ANY_TEXT_BYTES)
    except ColumnFault as fault:
        raise RemoteProtocolError(f"the answer does not hold: {fault}") from None


def parse_search_answer(request_id: int, items: int, count: int, payload: bytes | bytearray) -> m.SearchAnswer:
    """The answer to a SEARCH of count questions for these items (never 0). Raises RemoteProtocolError."""
    version = _version(payload, items, count)
    ends_at = ANSWER_HEAD_BYTES + padded(count)
    start = ends_at + padded(4 * count)
    view = memoryview(payload)
    _locate(view[:start], count, SEARCH_FOUND_PLAN, ANSWER_HEAD_BYTES)
    row_ends = view[ends_at : ends_at + 4 * count].cast("I")
    ends = row_ends.tolist()
    if ends != sorted(ends):
        raise RemoteProtocolError("the persons of the answer's questions do not ascend")
    rows = ends[-1]
    at = _locate(view, rows, search_plan(items), start)
    view4 = view.cast("I")
    return m.SearchAnswer(
        request_id,
        items,
        count,
        version,
        view[ANSWER_HEAD_BYTES : ANSWER_HEAD_BYTES + count],
        row_ends,
        view[at[0] : at[0] + rows],
        view4[at[1] >> 2 : (at[1] >> 2) + rows],
        view4[at[2] >> 2 : (at[2] >> 2) + rows],
        view[at[3] : at[3] + rows],
        *groups(view, at, 4, rows, items),
    )


def parse_match_answer(request_id: int, items: int, count: int, payload: bytes | bytearray) -> m.MatchAnswer:
    """The answer to a MATCH of count rows for these items (never 0). Raises RemoteProtocolError."""
    version = _version(payload, items, count)
    at = _locate(payload, count, match_plan(items), ANSWER_HEAD_BYTES)
    view = memoryview(payload)
    view4 = view.cast("I")

    def numbers(i: int) -> memoryview:
        return view4[at[i] >> 2 : (at[i] >> 2) + count]

    return m.MatchAnswer(
        request_id,
        items,
        count,
        version,
        view[at[0] : at[0] + count],
        numbers(1),
        view[at[2] : at[2] + count],
        numbers(3),
        numbers(4),
        numbers(5),
        view[at[6] : at[6] + count],
        *groups(view, at, 7, count, items),
    )
