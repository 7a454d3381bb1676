"""The alarm over move-in notices that were not received in time: when it is told, and what the metrics say."""

from __future__ import annotations

from typing import Final

from jukinet.core.feed.notices import Undelivered

REPEAT_SECONDS: Final = 3_600.0
"""An alarm that goes on is told again at most once an hour."""


class NoticeAlarm:
    """Invariant: two alarms are REPEAT_SECONDS apart at least, whatever happens between them."""

    def __init__(self) -> None:
        self.undelivered = Undelivered(0, 0, 0)
        self._told_at: float | None = None

    def is_due(self, found: Undelivered, now: float) -> bool:
        """Take in what was counted; whether it is to be told now. ``now``: seconds on a clock that never jumps."""
        self.undelivered = found
        if not found.overdue or (self._told_at is not None and now - self._told_at < REPEAT_SECONDS):
            return False
        self._told_at = now
        return True

    def gauges(self) -> dict[str, int | float]:
        """The metrics of the last count."""
        found = self.undelivered
        return {
            "notices_undelivered": found.count,
            "notices_oldest_seconds": found.oldest_seconds,
            "notices_overdue": found.overdue,
        }
