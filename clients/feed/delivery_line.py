"""What a feed command shows on stderr while it works: one line redrawn on a terminal, else a line for each trouble."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final

from jukinet.clients.feed.sender import Delivery

REDRAW_SECONDS: Final = 0.1


class DeliveryLine:
    """``shown``: redraw a progress line; otherwise only troubles and notes are told, each once."""

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = label
        self._shown = shown
        self._started = time.monotonic()
        self._drawn = 0.0
        self._is_open = False
        self._trouble = ""

    def show(self, delivery: Delivery) -> None:
        """A step of a delivery."""
        if delivery.trouble != self._trouble:
            self._trouble = delivery.trouble
            if delivery.trouble:
                self.note(delivery.trouble)
            elif not self._shown:
                self.note("delivering again")
        self._draw(self.text(delivery, time.monotonic()))

    def text(self, delivery: Delivery, now: float) -> str:
        """The line as of ``now`` (monotonic seconds)."""
        rate = delivery.rows / max(now - self._started, 1e-6)
        reports = f"  {delivery.quarantined:,} in quarantine" if delivery.quarantined else ""
        return f"{self._label} {delivery.rows:,} delivered  {delivery.waiting:,} waiting  {rate:,.0f}/s{reports}"

    def reading(self, lines: int, share: float | None) -> None:
        """A step of reading a file."""
        self._draw(f"{self._label} {lines:,} lines read" + ("" if share is None else f"  {share:4.0%}"))

    def note(self, text: str) -> None:
        """A line of its own."""
        self.end()
        print(f"jukinet feed: {text}", file=sys.stderr, flush=True)  # noqa: T201 - stderr is this class's purpose

    def _draw(self, text: str) -> None:
        now = time.monotonic()
        if self._shown and now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            self._is_open = True
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()

    def end(self) -> None:
        """Let the line stand."""
        if self._is_open:
            self._is_open = False
            sys.stderr.write("\n")
            sys.stderr.flush()

    def __enter__(self) -> DeliveryLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
