"""Frames: the header of 16 bytes, the message types, and the longest payload that each type may have."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from jukinet.core import limits


class MessageType(IntEnum):
    """Types of a frame (docs/protocol.md, chapter 3). Values below 0x10 are control messages."""

    GREETING = 0x01
    OPEN_SESSION = 0x02
    SESSION_OPENED = 0x03
    CLOSE_SESSION = 0x04
    SESSION_CLOSED = 0x05
    PING = 0x06
    PONG = 0x07
    CANCEL = 0x08
    PROGRESS = 0x09
    ERROR = 0x0A
    GOODBYE = 0x0B
    OPERATOR_LOGIN = 0x0C
    OPERATOR_CHALLENGE = 0x0D
    OPERATOR_PROOF = 0x0E
    OPERATOR_ACCEPTED = 0x0F
    LOOKUP = 0x10
    LOOKUP_ANSWER = 0x11
    STATUS = 0x12
    STATUS_ANSWER = 0x13
    VERIFY = 0x14
    VERIFY_ANSWER = 0x15
    HISTORY = 0x16
    HISTORY_ANSWER = 0x17
    COHORT_PUT = 0x18
    COHORT_STORED = 0x19
    COHORT_CHANGES = 0x1A
    COHORT_CHANGES_ANSWER = 0x1B
    SEARCH = 0x1C
    SEARCH_ANSWER = 0x1D
    MATCH = 0x1E
    MATCH_ANSWER = 0x1F
    TOWNS = 0x20
    TOWNS_ANSWER = 0x21


PROTOCOL_VERSION: Final = 1
ALPN_NAME: Final = "jukinet/1"
HEADER_BYTES: Final = limits.FRAME_HEADER_BYTES
QUESTION_HEAD_BYTES: Final = 16
"""LOOKUP and every later question begin with four u32; the last is reserved, but LOOKUP's form."""
ANSWER_HEAD_BYTES: Final = 16
"""Their answers begin with u32, u32 count, u64 register_version."""
PING_BYTES: Final = 8
REQUEST_ID_MAX: Final = (1 << 32) - 1

HEADER: Final = struct.Struct("<IHHII")
"""payload_bytes, type, flags, request_id, reserved."""
QUESTION: Final = struct.Struct("<IHHIIIIII")
"""A frame's header and a question's head at once: one call for a small request."""
QUESTION_HEAD: Final = struct.Struct("<IIII")
ANSWER_HEAD: Final = struct.Struct("<IIQ")

assert HEADER.size == HEADER_BYTES
assert QUESTION.size == HEADER_BYTES + QUESTION_HEAD_BYTES


AnswerFrame = bytearray | list[bytearray | memoryview]
"""A whole answer with room for its header: one buffer, or buffers to be sent in order, the first a bytearray."""


def answer_frame_bytes(answer: AnswerFrame) -> int:
    """The length of an answer with its header."""
    return sum(map(len, answer)) if isinstance(answer, list) else len(answer)


def payload_limits(request_bytes_max: int, answer_bytes_max: int) -> dict[int, int]:
    """The longest payload, in bytes, of each message type under the given limits of a connection."""
    longest = {int(kind): limits.CONTROL_BYTES_MAX for kind in MessageType if kind < MessageType.LOOKUP}
    longest[MessageType.PING] = longest[MessageType.PONG] = PING_BYTES
    longest[MessageType.CANCEL] = 0
    for question in range(MessageType.LOOKUP, MessageType.TOWNS_ANSWER, 2):
        longest[question] = request_bytes_max
        longest[question + 1] = answer_bytes_max
    return longest


def frame(kind: int, request_id: int, payload: bytes) -> bytes:
    """A whole frame of a payload that the caller has checked."""
    return HEADER.pack(len(payload), kind, 0, request_id, 0) + payload
