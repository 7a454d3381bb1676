"""The packed form of LOOKUP_ANSWER, and TOWNS, which it is unpacked with (docs/protocol.md, 3.3.1, 3.11)."""

from __future__ import annotations

import struct
from typing import Any, Final

from jukinet.core import limits
from jukinet.core.columns.column_kernel import ColumnFault, locate_columns
from jukinet.core.columns.layout import TEXT, TextColumn, fixed_layout, padded
from jukinet.core.columns.packed_kernel import PackedColumns, TownTable
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import AREA
from jukinet.core.wire.frames import ANSWER_HEAD, ANSWER_HEAD_BYTES, HEADER_BYTES, QUESTION, MessageType

FORM_PLAIN: Final = 0
FORM_PACKED: Final = 1
FORMS: Final = (FORM_PLAIN, FORM_PACKED)
PACKED_BIT: Final = 128
"""In SESSION_OPENED's functions: no function, but that the server takes form 1 and TOWNS."""
_TOWNS_HEAD: Final = struct.Struct("<IIQII")
_TOWNS: Final = int(MessageType.TOWNS)


def towns_head_fault(towns_max: int) -> str | None:
    """What is wrong with the values of a TOWNS, or None."""
    if towns_max > limits.TOWNS_PER_ANSWER_MAX:
        return f"a TOWNS asks for {limits.TOWNS_PER_ANSWER_MAX:,} towns at most"
    return None


def encode_towns(message: m.TownsRequest) -> bytes:
    """The frame of a TOWNS. Raises LocalProtocolError."""
    if not 0 <= message.after <= limits.TOWNS_MAX or not 1 <= message.towns_max <= limits.TOWNS_PER_ANSWER_MAX:
        raise LocalProtocolError(f"a TOWNS asks for 1 to {limits.TOWNS_PER_ANSWER_MAX:,} towns after a town's number")
    numbers = (message.session_id, message.after, message.towns_max, 0)
    return QUESTION.pack(16, _TOWNS, 0, message.request_id, 0, *numbers)


def encode_towns_answer(message: m.TownsAnswer) -> bytearray:
    """An answer's frame, with room for its header."""
    head = _TOWNS_HEAD.pack(message.after, message.count, message.register_version, message.towns, len(message.areas))
    parts = [bytes(HEADER_BYTES), head, *fixed_layout(message.areas), *message.texts.layout()]
    return bytearray(b"".join(parts))


def parse_towns_answer(request_id: int, after: int, towns_max: int, payload: bytes | bytearray) -> m.TownsAnswer:
    """The answer to a TOWNS. Raises RemoteProtocolError."""
    if len(payload) < _TOWNS_HEAD.size or len(payload) & 7:
        raise RemoteProtocolError("the answer's length is no multiple of 8, or too short")
    told, count, version, towns, areas = _TOWNS_HEAD.unpack_from(payload)
    if told != after or count > towns_max or towns > limits.TOWNS_MAX or areas > limits.AREAS_MAX:
        raise RemoteProtocolError("the answer has other towns than its request, or more than there can be")
    left = max(towns - after, 0)
    if count > left or (left and not count):
        raise RemoteProtocolError("the answer's count does not fit the towns that there are")
    view = memoryview(payload)
    start = _TOWNS_HEAD.size
    end = start + padded(4 * areas)
    if end > len(payload):
        raise RemoteProtocolError("the answer is too short for its areas")
    try:
        locate_columns(view[:end], start, areas, AREA, 0, 0)
        offsets_at, data_at, data_end = locate_columns(view, end, count, TEXT, 0, limits.TOWN_BYTES_MAX)
    except ColumnFault as fault:
        raise RemoteProtocolError(f"the answer does not hold: {fault}") from None
    numbers = view.cast("I")
    texts = TextColumn(numbers[offsets_at >> 2 : (offsets_at >> 2) + count + 1], view[data_at:data_end])
    return m.TownsAnswer(request_id, after, count, version, towns, numbers[start >> 2 : (start >> 2) + areas], texts)


def parse_packed_answer(request_id: int, items: int, count: int, payload: bytes | bytearray) -> m.PackedLookupAnswer:
    """The answer to a LOOKUP in form 1 of count codes for these items (never 0). Raises RemoteProtocolError."""
    if len(payload) < ANSWER_HEAD_BYTES or len(payload) & 7:
        raise RemoteProtocolError("the answer's length is no multiple of 8, or too short")
    told, rows, register_version = ANSWER_HEAD.unpack_from(payload)
    if rows != count or told != items:
        raise RemoteProtocolError("the answer has another count or items than its request")
    try:
        columns = PackedColumns(payload, items, count)
    except ColumnFault as fault:
        raise RemoteProtocolError(f"the answer does not hold: {fault}") from None
    return m.PackedLookupAnswer(request_id, items, count, register_version, columns)


NO_TOWNS: Final = TownTable((), ())
"""For answers without addresses."""


def unpacked(answer: m.PackedLookupAnswer, table: TownTable) -> m.LookupAnswer:
    """The same answer as plain columns, of new memory. ValueError when the table is older than the answer."""
    outcomes, *columns = answer.columns.unpack(table)
    names, kana, aliases, births, sexes, areas, addresses, reasons, dates, successors = columns
    return m.LookupAnswer(
        answer.request_id,
        answer.items,
        answer.count,
        answer.register_version,
        memoryview(outcomes),
        _texts(names),
        _texts(kana),
        _texts(aliases),
        _numbers(births, "I"),
        _numbers(sexes, "B"),
        _numbers(areas, "I"),
        _texts(addresses),
        _numbers(reasons, "B"),
        _numbers(dates, "I"),
        _numbers(successors, "Q"),
    )


def _numbers(column: bytearray | None, letter: str) -> memoryview | None:
    return None if column is None else memoryview(column).cast(letter)  # type: ignore[call-overload]


def _texts(column: tuple[Any, Any, int] | None) -> TextColumn | None:
    if column is None:
        return None
    offsets, data, used = column
    return TextColumn(memoryview(offsets).cast("I"), memoryview(data)[:used])
