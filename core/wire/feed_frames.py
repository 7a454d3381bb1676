"""Frames of the feed protocol: message types, heads of the payloads in columns, the longest payload of each type."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from jukinet.core import limits
from jukinet.core.wire.frames import PING_BYTES, MessageType


class FeedMessageType(IntEnum):
    """Types of a frame (docs/protocol.md, chapter 10). Those that both protocols have carry the same numbers."""

    PING = MessageType.PING
    PONG = MessageType.PONG
    ERROR = MessageType.ERROR
    GOODBYE = MessageType.GOODBYE
    FEED_GREETING = 0x41
    NOTIFY = 0x50
    ACKNOWLEDGED = 0x51
    OUT_OF_SEQUENCE = 0x52
    LOAD_RANGE = 0x54
    COMPARE = 0x56
    COMPARED = 0x57
    NOTICE_LEAVE = 0x60
    NOTICE_KEPT = 0x61
    NOTICE_TAKE = 0x62
    NOTICES = 0x63
    NOTICE_RECEIVED = 0x64
    NOTICE_CLOSED = 0x65
    NOTICE_LIST = 0x66
    NOTICE_STATES = 0x67
    CHECKPOINT_ASK = 0x70
    CHECKPOINT = 0x71
    COSIGN = 0x72
    COSIGNED = 0x73


FEED_PROTOCOL_VERSION: Final = 1
FEED_ALPN_NAME: Final = "jukinet-feed/1"

NOTIFY_HEAD: Final = struct.Struct("<QII")
"""first_sequence, count, reserved."""
LOAD_RANGE_HEAD: Final = struct.Struct("<QQQII")
"""sequence, first_key, stop_key, count, reserved."""
COMPARE_HEAD: Final = struct.Struct("<II")
"""kind, count; then (first_key, stop_key) for each range."""
COMPARED_HEAD: Final = struct.Struct("<IIQQ")
"""kind, count, register_version, position."""
COMPARED_ROW_BYTES: Final = 8 + limits.DIGEST_BYTES

HEAD_BYTES: Final = {
    int(FeedMessageType.NOTIFY): NOTIFY_HEAD.size,
    int(FeedMessageType.LOAD_RANGE): LOAD_RANGE_HEAD.size,
}

_LISTS: Final = (
    FeedMessageType.ACKNOWLEDGED,
    FeedMessageType.NOTICES,
    FeedMessageType.NOTICE_STATES,
)


def feed_payload_limits(batch_bytes_max: int) -> dict[int, int]:
    """The longest payload, in bytes, of each message type under the given limit of a connection."""
    longest = {int(kind): limits.CONTROL_BYTES_MAX for kind in FeedMessageType}
    longest[FeedMessageType.PING] = longest[FeedMessageType.PONG] = PING_BYTES
    longest.update(dict.fromkeys(map(int, _LISTS), limits.FEED_ANSWER_BYTES_MAX))
    longest[FeedMessageType.NOTIFY] = longest[FeedMessageType.LOAD_RANGE] = batch_bytes_max
    longest[FeedMessageType.COMPARE] = COMPARE_HEAD.size + 16 * limits.COMPARE_RANGES_MAX
    offsets_bytes = 4 * (limits.COMPARE_RANGES_MAX + 2)
    rows_bytes = COMPARED_ROW_BYTES * limits.COMPARED_ROWS_MAX
    longest[FeedMessageType.COMPARED] = COMPARED_HEAD.size + offsets_bytes + rows_bytes
    return longest
