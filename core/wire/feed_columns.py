"""NOTIFY, LOAD_RANGE, COMPARE and COMPARED: payloads in columns, and what may be wrong in their heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jukinet.core import limits
from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.columns.layout import padded
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.notifications import NotificationBatch
from jukinet.core.notifications.fault_kernel import keys_ascend
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire.feed_frames import (
    COMPARE_HEAD,
    COMPARED_HEAD,
    COMPARED_ROW_BYTES,
    LOAD_RANGE_HEAD,
    NOTIFY_HEAD,
    FeedMessageType,
)

NOTIFY: Final = int(FeedMessageType.NOTIFY)
_RANGE_BYTES: Final = 16
_PAGE_KEYS: Final = limits.DIGEST_LEAF_KEYS * limits.DIGEST_LEAVES_PER_PAGE
_OFFSET_BYTES: Final = 4

Parts = list[bytes | memoryview]
"""A payload in pieces, to be written in order."""


# NOTIFY and LOAD_RANGE.


def batch_head(kind: int, head: bytes | bytearray) -> tuple[int, int, int, int, int]:
    """(sequence, first_key, stop_key, count, reserved) of a NOTIFY (no keys: 0) or LOAD_RANGE. RemoteProtocolError."""
    form = NOTIFY_HEAD if kind == NOTIFY else LOAD_RANGE_HEAD
    if len(head) < form.size:
        raise RemoteProtocolError("the payload is shorter than its head")
    if kind == NOTIFY:
        sequence, count, reserved = NOTIFY_HEAD.unpack_from(head)
        return sequence, 0, 0, count, reserved
    sequence, first_key, stop_key, count, reserved = LOAD_RANGE_HEAD.unpack_from(head)
    return sequence, first_key, stop_key, count, reserved


def check_batch_head(size: int, count: int, reserved: int) -> None:
    """What a head says of its payload's layout. Raises RemoteProtocolError."""
    if reserved:
        raise RemoteProtocolError("reserved is not zero")
    if size < count * limits.NOTIFICATION_FIXED_BYTES:
        raise RemoteProtocolError("the payload is too short for its count")


def notify_fault(first_sequence: int, count: int) -> str | None:
    """What is wrong with the values of a NOTIFY's head, or None."""
    if count == 0:
        return "count is 1 at least"
    if not 1 <= first_sequence <= limits.SEQUENCE_MAX - count + 1:
        return "sequence numbers are 1 to 2^48 - 1"
    return None


def range_fault(sequence: int, first_key: int, stop_key: int) -> str | None:
    """What is wrong with the values of a LOAD_RANGE's head, or None."""
    if not 1 <= sequence <= limits.SEQUENCE_MAX:
        return "sequence numbers are 1 to 2^48 - 1"
    if not 0 <= first_key < stop_key <= limits.RESIDENT_KEYS:
        return "first_key is below stop_key, which is 10^10 at most"
    return None


def range_rows_fault(first_key: int, stop_key: int, batch: NotificationBatch) -> str | None:
    """What is wrong with the rows of a LOAD_RANGE as a whole, or None."""
    if not keys_ascend(batch.codes, first_key, stop_key):
        return "the keys of a range ascend from first_key to below stop_key"
    if b"\0" in bytes(batch.states):
        return "the rows of a range are statements"
    return None


def notify_parts(message: f.Notify) -> Parts:
    """The payload of a NOTIFY; it refers to the batch's bytes."""
    batch = message.batch
    return [NOTIFY_HEAD.pack(message.first_sequence, batch.count, 0), batch.payload]


def range_parts(message: f.LoadRange) -> Parts:
    """The payload of a LOAD_RANGE; it refers to the batch's bytes."""
    batch = message.batch
    head = LOAD_RANGE_HEAD.pack(message.sequence, message.first_key, message.stop_key, batch.count, 0)
    return [head, batch.payload]


def parse_batch(kind: int, payload: bytes | bytearray, count: int) -> NotificationBatch:
    """The batch behind the head. Raises RemoteProtocolError."""
    start = NOTIFY_HEAD.size if kind == NOTIFY else LOAD_RANGE_HEAD.size
    try:
        return NotificationBatch.parse(payload, count, start)
    except ColumnFault as fault:
        raise RemoteProtocolError(f"the batch does not hold: {fault}") from None


def reported_numbers(message: f.Notify | f.LoadRange) -> range:
    """What the answer's quarantined may name: the sequence numbers of a batch, the rows of a range."""
    count = message.batch.count
    if isinstance(message, f.LoadRange):
        return range(count)
    return range(message.first_sequence, message.first_sequence + count)


def acknowledged_fault(message: f.Acknowledged, last: int, numbers: range) -> str | None:
    """What does not fit in the answer to a request whose last sequence number is ``last``, or None.

    numbers: those of `reported_numbers`.
    """
    if message.position < last:
        return "the position is below what is acknowledged"
    rows = [row for row, _ in message.quarantined]
    if rows != sorted(rows):
        return "quarantined is not in ascending order"
    if rows and (rows[0] not in numbers or rows[-1] not in numbers):
        return "quarantined names what is not of the batch"
    return None


# COMPARE and COMPARED.


def compare_fault(kind: int, ranges: Sequence[tuple[int, int]]) -> str | None:
    """What is wrong with the values of a COMPARE, or None."""
    if kind not in f.CompareKind.__members__.values():
        return "kind is 0 to 4"
    if (kind in (f.CompareKind.AREAS, f.CompareKind.PAGES)) == bool(ranges):
        return "areas and pages are compared without ranges, all else with one at least"
    if len(ranges) > limits.COMPARE_RANGES_MAX:
        return f"at most {limits.COMPARE_RANGES_MAX} ranges"
    for first_key, stop_key in ranges:
        if not 0 <= first_key < stop_key <= limits.RESIDENT_KEYS:
            return "first_key is below stop_key, which is 10^10 at most"
        is_page = first_key % _PAGE_KEYS == 0 and stop_key == min(first_key + _PAGE_KEYS, limits.RESIDENT_KEYS)
        if kind == f.CompareKind.LEAVES and not is_page:
            return "leaves are asked for by pages"
    return None


def compare_payload(message: f.Compare) -> bytes:
    """The payload of a COMPARE."""
    flat = [key.to_bytes(8, "little") for pair in message.ranges for key in pair]
    return COMPARE_HEAD.pack(message.kind, len(message.ranges)) + b"".join(flat)


def parse_compare(payload: bytes | bytearray) -> tuple[int, list[tuple[int, int]]]:
    """(kind, ranges). Raises RemoteProtocolError."""
    if len(payload) < COMPARE_HEAD.size:
        raise RemoteProtocolError("the payload is shorter than its head")
    kind, count = COMPARE_HEAD.unpack_from(payload)
    if len(payload) != COMPARE_HEAD.size + _RANGE_BYTES * count:
        raise RemoteProtocolError("the payload's length does not fit its count")
    keys = memoryview(payload).cast("Q").tolist()[1:]
    return kind, list(zip(keys[::2], keys[1::2], strict=True))


def compared_rows(kind: int, ranges: int, areas: int) -> int | None:
    """How many rows answer a COMPARE of this many ranges; None: as many entries as there are."""
    return {
        f.CompareKind.AREAS: areas,
        f.CompareKind.PAGES: limits.DIGEST_PAGES,
        f.CompareKind.LEAVES: limits.DIGEST_LEAVES_PER_PAGE * ranges,
        f.CompareKind.RANGES: ranges,
    }.get(f.CompareKind(kind))


def compared_parts(message: f.Compared) -> Parts:
    """The payload of a COMPARED; it refers to the message's rows."""
    head = COMPARED_HEAD.pack(message.kind, message.count, message.register_version, message.position)
    offsets = b"" if message.offsets is None else message.offsets.tobytes()
    return [head + offsets + bytes(padded(len(offsets)) - len(offsets)), message.rows]


def parse_compared(
    request_id: int, kind: f.CompareKind, ranges: int, areas: int, payload: bytes | bytearray
) -> f.Compared:
    """The answer to a COMPARE of this kind and number of ranges. Raises RemoteProtocolError."""
    if len(payload) < COMPARED_HEAD.size:
        raise RemoteProtocolError("the payload is shorter than its head")
    told, count, register_version, position = COMPARED_HEAD.unpack_from(payload)
    rows = compared_rows(kind, ranges, areas)
    if told != kind or count != (count if rows is None else rows) or count > limits.COMPARED_ROWS_MAX:
        raise RemoteProtocolError("the answer has another kind or count than its request")
    if position > limits.SEQUENCE_MAX:
        raise RemoteProtocolError("the position is no sequence number")
    start = COMPARED_HEAD.size
    view = memoryview(payload)
    offsets = None
    if rows is None:
        offsets_bytes = _OFFSET_BYTES * (ranges + 1)
        end = start + padded(offsets_bytes)
        if len(payload) < end:
            raise RemoteProtocolError("the payload is too short for its offsets")
        offsets = view[start : start + offsets_bytes].cast("I")
        places = offsets.tolist()
        if places != sorted(places) or places[0] or places[-1] != count or any(view[start + offsets_bytes : end]):
            raise RemoteProtocolError("offsets do not lead from 0 to the count, or padding is not zero")
        start = end
    if len(payload) != start + COMPARED_ROW_BYTES * count:
        raise RemoteProtocolError("the payload's length does not fit its count")
    return f.Compared(request_id, kind, count, register_version, position, offsets, view[start:])
