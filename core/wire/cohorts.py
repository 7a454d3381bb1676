"""COHORT_PUT, COHORT_STORED, COHORT_CHANGES and COHORT_CHANGES_ANSWER as bytes (docs/protocol.md, 3.7)."""

from __future__ import annotations

import re
import struct
from typing import Final

from jukinet.core import limits
from jukinet.core.columns.column_kernel import ColumnFault, locate_columns
from jukinet.core.columns.layout import ANY_TEXT_BYTES, padded
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import COHORT_CHANGES_PLAN
from jukinet.core.wire.frames import ANSWER_HEAD, ANSWER_HEAD_BYTES, QUESTION, QUESTION_HEAD_BYTES, MessageType

CHANGES_ROWS_MIN: Final = 2
"""A change of code is one row of the journal with two codes."""
_PUT: Final = int(MessageType.COHORT_PUT)
_CHANGES: Final = int(MessageType.COHORT_CHANGES)
_NAME: Final = re.compile(f"[a-z0-9-]{{1,{limits.COHORT_NAME_BYTES}}}")
_CURSOR: Final = struct.Struct("<QQ")
_ROW: Final = struct.Struct(f"<{limits.COHORT_NAME_BYTES}sQQQII")
_STEPS: Final = frozenset(map(int, m.CohortStep))
_CODES_START: Final = QUESTION_HEAD_BYTES + limits.COHORT_NAME_BYTES
_COLUMNS_START: Final = ANSWER_HEAD_BYTES + _CURSOR.size
_U64_MAX: Final = (1 << 64) - 1

assert _CODES_START % 8 == _COLUMNS_START % 8 == 0
assert _ROW.size == 64


def payload_bytes(kind: int, count: int) -> int:
    """The exact length of a question's payload."""
    return _CODES_START + (8 * count if kind == _PUT else _CURSOR.size)


def head_fault(kind: int, second: int, count: int) -> str | None:
    """What is wrong with the values of a head, or None: step and count, or zero and the rows wanted."""
    if kind == _CHANGES:
        if second:
            return "the second number is zero"
        return None if count >= CHANGES_ROWS_MIN else "an answer has 2 rows at least"
    if second not in _STEPS:
        return "no such step of a registration"
    return "this step has no codes" if count and second > m.CohortStep.ALL else None


def name_fault(kind: int, step: int, name: str) -> str | None:
    """What is wrong with a cohort's name, or None."""
    if kind == _PUT and step == m.CohortStep.LIST:
        return "a list is of no single cohort" if name else None
    return None if _NAME.fullmatch(name) else "a cohort's name is 1 to 32 characters of a-z, 0-9 and '-'"


def parse_name(payload: bytes | bytearray) -> str:
    """The name behind a question's head; what cannot be one comes out as a name that name_fault refuses."""
    return bytes(payload[QUESTION_HEAD_BYTES:_CODES_START]).rstrip(b"\0").decode("latin-1")


def encode_put(message: m.CohortPut, codes: memoryview) -> list[bytes | memoryview]:
    """The frame of a COHORT_PUT; codes: the message's as bytes, which the list refers to."""
    count = codes.nbytes >> 3
    return [_head(_PUT, message.request_id, message.session_id, message.step, count, message.name), codes]


def encode_changes(message: m.CohortChanges) -> bytes:
    """The frame of a COHORT_CHANGES."""
    if not (0 <= message.order <= _U64_MAX and 0 <= message.place <= _U64_MAX):
        raise LocalProtocolError("a cursor is two unsigned 64-bit integers")
    head = _head(_CHANGES, message.request_id, message.session_id, 0, message.rows_max, message.name)
    return head + _CURSOR.pack(message.order, message.place)


def _head(kind: int, request_id: int, session_id: int, second: int, count: int, name: str) -> bytes:
    fault = head_fault(kind, second, count) or name_fault(kind, second, name)
    if fault is not None:
        raise LocalProtocolError(fault)
    size = payload_bytes(kind, count)
    head = QUESTION.pack(size, kind, 0, request_id, 0, session_id, second, count, 0)
    return head + name.encode().ljust(limits.COHORT_NAME_BYTES, b"\0")


def parse_put(request_id: int, session_id: int, step: int, payload: bytes | bytearray) -> m.CohortPut:
    """A COHORT_PUT whose head was checked, over the same bytes."""
    codes = memoryview(payload).cast("Q")[_CODES_START // 8 :]
    return m.CohortPut(request_id, session_id, step, parse_name(payload), codes)


def parse_changes(request_id: int, session_id: int, rows_max: int, payload: bytes | bytearray) -> m.CohortChanges:
    """A COHORT_CHANGES whose head was checked."""
    order, place = _CURSOR.unpack_from(payload, _CODES_START)
    return m.CohortChanges(request_id, session_id, rows_max, parse_name(payload), order, place)


def stored_payload(step: int, register_version: int, cohorts: tuple[m.CohortRow, ...]) -> bytes:
    """The payload of a COHORT_STORED."""
    rows = [
        _ROW.pack(row.name.encode(), row.codes, row.order, row.place, row.registered_date, row.complete)
        for row in cohorts
    ]
    return ANSWER_HEAD.pack(step, len(rows), register_version) + b"".join(rows)


def parse_stored(request_id: int, step: int, payload: bytes | bytearray) -> m.CohortStored:
    """The answer to a COHORT_PUT with this step. Raises RemoteProtocolError."""
    answered, count, register_version = ANSWER_HEAD.unpack_from(payload) if len(payload) >= 16 else (step, 0, 0)
    if answered != step or len(payload) != ANSWER_HEAD_BYTES + _ROW.size * count:
        raise RemoteProtocolError("the answer is of another step, or its length does not fit its count")
    if count != 1 and step != m.CohortStep.LIST:
        raise RemoteProtocolError("the answer is not of the one cohort")
    rows = []
    for packed, codes, order, place, date, complete in _ROW.iter_unpack(memoryview(payload)[ANSWER_HEAD_BYTES:]):
        name = packed.rstrip(b"\0").decode("latin-1")
        if not _NAME.fullmatch(name) or complete > 1:
            raise RemoteProtocolError("the answer holds what is no cohort")
        rows.append(m.CohortRow(name, codes, order, place, date, bool(complete)))
    return m.CohortStored(request_id, step, register_version, tuple(rows))


def changes_answer_payload(
    more: bool, register_version: int, cursor: tuple[int, int], columns: tuple[bytes, bytes, bytes, bytes, bytes]
) -> bytes:
    """The payload of a COHORT_CHANGES_ANSWER; columns: codes, outcomes, reasons and both dates, as bytes."""
    head = ANSWER_HEAD.pack(more, len(columns[1]), register_version) + _CURSOR.pack(*cursor)
    return head + b"".join(column.ljust(padded(len(column)), b"\0") for column in columns)


def parse_changes_answer(request_id: int, rows_max: int, payload: bytes | bytearray) -> m.CohortChangesAnswer:
    """The answer to a COHORT_CHANGES for at most rows_max rows. Raises RemoteProtocolError."""
    if len(payload) < _COLUMNS_START:
        raise RemoteProtocolError("the answer is shorter than its head")
    more, count, register_version = ANSWER_HEAD.unpack_from(payload)
    order, place = _CURSOR.unpack_from(payload, ANSWER_HEAD_BYTES)
    if more > 1 or count > rows_max:
        raise RemoteProtocolError("the answer has more rows than were asked, or a number that is neither 0 nor 1")
    try:
        at = locate_columns(payload, _COLUMNS_START, count, COHORT_CHANGES_PLAN, 0, ANY_TEXT_BYTES)
    except ColumnFault as fault:
        raise RemoteProtocolError(f"the answer does not hold: {fault}") from None
    view = memoryview(payload)
    view4 = view.cast("I")
    return m.CohortChangesAnswer(
        request_id,
        bool(more),
        count,
        register_version,
        order,
        place,
        view.cast("Q")[at[0] >> 3 : (at[0] >> 3) + count],
        view[at[1] : at[1] + count],
        view[at[2] : at[2] + count],
        view4[at[3] >> 2 : (at[3] >> 2) + count],
        view4[at[4] >> 2 : (at[4] >> 2) + count],
    )
