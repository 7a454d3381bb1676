"""Errors of the feeds that are not the store's."""

from __future__ import annotations

from jukinet.core.errors import JukinetError


class SequenceGapError(JukinetError):
    """A batch begins behind the next sequence number of its feed; nothing was changed."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"the feed goes on with sequence number {expected}")
        self.expected = expected


class RangeError(JukinetError):
    """A range that is none: limits that cross, rows outside or out of order, rows that are no statements."""
