"""LOOKUP, STATUS, VERIFY and HISTORY: written from contiguous buffers and read back without an object a row."""

from __future__ import annotations

from calendar import monthrange
from functools import lru_cache
from typing import Final

from jukinet.core import limits
from jukinet.core.columns.column_kernel import ColumnFault, locate_columns
from jukinet.core.columns.layout import TextColumn, fixed_layout
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.vocabulary import ALL_ITEMS, FOUR_ITEMS
from jukinet.core.wire import cohorts, packed, persons
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import claim_plan
from jukinet.core.wire.frames import QUESTION, QUESTION_HEAD, QUESTION_HEAD_BYTES, REQUEST_ID_MAX, MessageType

JOINED_BYTES_MAX: Final = 32_768
"""Up to here a question is sent as one bytes object; beyond, its codes are sent from the caller's buffer."""

_ITEMS_END: Final = int(ALL_ITEMS) + 1
_CLAIMS: Final = int(FOUR_ITEMS)
_LOOKUP: Final = int(MessageType.LOOKUP)
_STATUS: Final = int(MessageType.STATUS)
_VERIFY: Final = int(MessageType.VERIFY)
_HISTORY: Final = int(MessageType.HISTORY)
_TOWNS: Final = int(MessageType.TOWNS)
_COHORTS: Final = frozenset((int(MessageType.COHORT_PUT), int(MessageType.COHORT_CHANGES)))
_FINDS: Final = frozenset((int(MessageType.SEARCH), int(MessageType.MATCH)))
_U32_MAX: Final = 0xFFFF_FFFF


@lru_cache(maxsize=64)
def is_full_date(date: int) -> bool:
    """True for a decimal date whose day, month and year are all known and exist."""
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    return 1 <= year <= 9_999 and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]


def head_fault(kind: int, second: int, count: int) -> str | None:
    """What is wrong with the values of a question's head, or None. ``second`` is items, or since for STATUS."""
    if count == 0 and kind not in _COHORTS:
        return "count is 1 at least"
    if kind in (_LOOKUP, _HISTORY):
        return None if second < _ITEMS_END else "items holds a bit that is no item"
    if kind in _COHORTS:
        return cohorts.head_fault(kind, second, count)
    if kind in _FINDS or kind == _TOWNS:
        return persons.head_fault(kind, second) if kind in _FINDS else packed.towns_head_fault(count)
    if kind == _STATUS:
        return None if is_full_date(second) else "since is not a full date"
    return None if second and not second & ~_CLAIMS else "items is a non-empty subset of name, birth date, sex, address"


def check_head(kind: int, payload_bytes: int, count: int, reserved: int) -> None:
    """What a question's head says of its payload's layout. Raises RemoteProtocolError."""
    if reserved and (kind != _LOOKUP or reserved not in packed.FORMS):
        raise RemoteProtocolError("reserved is not zero, or the form is none")
    if kind in _FINDS:
        return  # its columns are checked when they are here
    codes_end = QUESTION_HEAD_BYTES + (8 * count if kind != _TOWNS else 0)
    if kind in _COHORTS:
        codes_end = cohorts.payload_bytes(kind, count)
    if payload_bytes != codes_end and (kind != _VERIFY or payload_bytes < codes_end):
        raise RemoteProtocolError("the payload's length does not fit its count")


def as_codes(codes: memoryview) -> memoryview:
    """The buffer as bytes. Raises LocalProtocolError when it is no contiguous row of u64."""
    view = memoryview(codes)
    if view.itemsize != 8 or view.ndim != 1 or view.format not in ("Q", "L", "<Q") or not view.c_contiguous:
        raise LocalProtocolError("codes is a contiguous buffer of unsigned 64-bit integers")
    return view.cast("B") if view.format != "<Q" else memoryview(view.tobytes())


def _check_question(kind: int, request_id: int, session_id: int, second: int, count: int) -> None:
    if not 0 < request_id <= REQUEST_ID_MAX or not 0 < session_id <= _U32_MAX or not 0 <= second <= _U32_MAX:
        raise LocalProtocolError("request_id, session_id, items and since are unsigned 32-bit integers")
    fault = head_fault(kind, second, count)
    if fault is not None:
        raise LocalProtocolError(fault)


def encode_codes_question(
    kind: int, request_id: int, session_id: int, second: int, codes: memoryview, form: int = 0
) -> bytes | list[bytes | memoryview]:
    """The frame of a LOOKUP, HISTORY (second: items) or STATUS (since); form for LOOKUP. A list refers to the codes."""
    view = as_codes(codes)
    size = view.nbytes
    count = size >> 3
    _check_question(kind, request_id, session_id, second, count)
    head = QUESTION.pack(QUESTION_HEAD_BYTES + size, kind, 0, request_id, 0, session_id, second, count, form)
    return head + view.tobytes() if size <= JOINED_BYTES_MAX else [head, view]


def encode_verify(message: m.VerifyRequest) -> bytes:
    """The frame of a VERIFY. Raises LocalProtocolError for claims that do not fit the items or the codes."""
    view = as_codes(message.codes)
    count = view.nbytes >> 3
    _check_question(_VERIFY, message.request_id, message.session_id, message.items, count)
    parts: list[bytes | memoryview] = [view]
    for bit, name, itemsize in ((1, "names", 0), (8, "birth_dates", 4), (16, "sexes", 1), (32, "addresses", 0)):
        claims: TextColumn | memoryview | None = getattr(message, name)
        if (claims is not None) != bool(message.items & bit):
            raise LocalProtocolError(f"{name} does not fit items")
        if isinstance(claims, TextColumn):
            if claims.offsets.itemsize != 4 or claims.data.itemsize != 1 or len(claims) != count:
                raise LocalProtocolError(f"{name} is a text column of as many rows as codes")
            parts += claims.layout()
        elif claims is not None:
            column = memoryview(claims)
            if column.itemsize != itemsize or column.nbytes != itemsize * count:
                raise LocalProtocolError(f"{name} is a buffer of as many rows as codes, {itemsize} bytes a row")
            parts += fixed_layout(column)
    body = b"".join(parts)
    try:
        locate_columns(body, 0, count, claim_plan(message.items), 0, limits.CLAIM_TEXT_BYTES_MAX)
    except ColumnFault as fault:
        raise LocalProtocolError(f"the claims cannot be sent: {fault}") from None
    size = QUESTION_HEAD_BYTES + len(body)
    head = QUESTION.pack(size, _VERIFY, 0, message.request_id, 0, message.session_id, message.items, count, 0)
    return head + body


def parse_codes(payload: bytes | bytearray) -> memoryview:
    """The codes of a LOOKUP, HISTORY or STATUS whose head was checked: a 'Q' view of the payload."""
    return memoryview(payload).cast("Q")[2:]


def parse_verify(
    request_id: int, session_id: int, items: int, count: int, payload: bytes | bytearray
) -> m.VerifyRequest:
    """A VERIFY whose head was checked. Raises ColumnFault."""
    at = locate_columns(payload, QUESTION_HEAD_BYTES, count, claim_plan(items), 0, limits.CLAIM_TEXT_BYTES_MAX)
    view = memoryview(payload)
    view4 = view.cast("I")
    codes = view.cast("Q")[2 : 2 + count]
    names = birth_dates = sexes = addresses = None
    i = 1
    if items & 1:
        names = TextColumn(view4[at[i] >> 2 : (at[i] >> 2) + count + 1], view[at[i + 1] : at[i + 2]])
        i += 3
    if items & 8:
        birth_dates = view4[at[i] >> 2 : (at[i] >> 2) + count]
        i += 1
    if items & 16:
        sexes = view[at[i] : at[i] + count]
        i += 1
    if items & 32:
        addresses = TextColumn(view4[at[i] >> 2 : (at[i] >> 2) + count + 1], view[at[i + 1] : at[i + 2]])
    return m.VerifyRequest(request_id, session_id, items, codes, names, birth_dates, sexes, addresses)


def parse_head(payload: bytes | bytearray) -> tuple[int, int, int, int]:
    """(session_id, items or since, count, reserved). Raises RemoteProtocolError when the payload is too short."""
    if len(payload) < QUESTION_HEAD_BYTES:
        raise RemoteProtocolError("the payload is shorter than its head")
    return QUESTION_HEAD.unpack_from(payload)
