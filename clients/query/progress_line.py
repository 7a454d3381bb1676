"""The progress line of a query on stderr: how far, how fast, how long still."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Protocol

BAR_CELLS: Final = 24
REDRAW_SECONDS: Final = 0.1


class Source(Protocol):
    """What is read: how many rows in all, where it is known, and how much has been read, 0 to 1."""

    @property
    def rows(self) -> int | None: ...
    def fraction(self) -> float | None: ...


class ProgressLine:
    """Redrawn in place at most ten times a second. The share done comes from the source; without one only the count and
    the rate are shown."""

    def __init__(self, label: str, source: Source, done: int, *, shown: bool, unit: str = "codes") -> None:
        self._label = label
        self._unit = unit
        self._source = source
        self._before = done
        self._done = done
        self._shown = shown
        self._started = self._drawn = time.monotonic()
        self._first_share: float | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._draw()
            sys.stderr.write("\n")

    def advance(self, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        if self._shown and now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            self._draw()

    def text(self, now: float) -> str:
        """The line as of ``now`` (monotonic seconds)."""
        seconds = max(now - self._started, 1e-6)
        rate = (self._done - self._before) / seconds
        share = self._done / self._source.rows if self._source.rows else self._source.fraction()
        counted = f"{self._label} {self._done:,} {self._unit}  {rate:,.0f}/s"
        if share is None:
            return counted
        if self._first_share is None:
            self._first_share = self._before / self._source.rows if self._source.rows else 0.0
        gained = share - self._first_share
        left = f"{_clock(seconds * (1 - share) / gained)} left" if gained > 0 else "..."
        full = round(share * BAR_CELLS)
        return f"{counted}  {'█' * full}{'░' * (BAR_CELLS - full)} {share:4.0%}  {left}"

    def _draw(self) -> None:
        sys.stderr.write(f"\r\x1b[2K{self.text(time.monotonic())}")
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
