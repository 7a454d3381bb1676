"""Errors of the feeds that are not the store's."""

from __future__ import annotations

from jukinet.core.errors import ErrorCode, JukinetError


class SequenceGapError(JukinetError):
    """A batch begins behind the next sequence number of its feed; nothing was changed."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"the feed goes on with sequence number {expected}")
        self.expected = expected


class RangeError(JukinetError):
    """A range that is none: limits that cross, rows outside or out of order, rows that are no statements."""


class NoticeRefusedError(JukinetError):
    """A move-in notice that is not kept; nothing was changed. The message names no person and no number of theirs."""

    code = ErrorCode.BAD_REQUEST


class NoticesFullError(NoticeRefusedError):
    """The prefecture has as many notices waiting as the register allows it."""

    code = ErrorCode.RATE_EXCEEDED
