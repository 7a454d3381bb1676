"""The group commit: no answer leaves before its record of use is durable, and one fdatasync serves many answers.

Theory of operation
-------------------
An answer that is made is *pending*: its record of use has been appended to the writer in memory and has a ticket. When
the readiness loop (readiness.py) finds nothing more to read, a commit is asked for unless one is under way: a thread
of its own writes and syncs everything appended so far, while the loop goes on reading requests and appending records
for the next commit. When the thread is done, an eventfd in the readiness set wakes the loop, which releases every
answer whose ticket is durable, in the order of the tickets.

So a group grows by itself with the load and with the disk's latency, a single request waits for one sync only, and the
loop never waits for the disk.

When a commit fails, its answers are withdrawn: each request gets RECORD_OF_USE_UNAVAILABLE and nothing of it is sent.
From then on data requests are refused the same way at once, until ``retry_seconds`` later one of them is let through
to try again.

A commit may also not end at all: a disk that hangs. After ``commit_seconds`` it is given up: the writer makes sure
that it fails whenever the disk lets it end, every waiting request is refused as above, and until it has ended nothing
is worked on. Then one request is let through at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from jukinet.core.audit.errors import RecordOfUseNotWrittenError
from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.errors import ErrorCode, RecordOfUseError
from jukinet.core.wire.frames import AnswerFrame, answer_frame_bytes
from jukinet.server.event_log import EventLog, Field, operating_error
from jukinet.server.metrics import Metrics
from jukinet.server.readiness import Readiness

READABLE: Final = 1  # EPOLLIN
GROUP_REQUESTS: Final = 64
GROUP_SECONDS: Final = 0.000_5
"""While more connections are ready, a commit waits for so many answers, or so long after the first one's arrival."""
MESSAGE: Final = "the record of use cannot be written; nothing is provided until it can"


class Asker(Protocol):
    """The connection that an answer goes to."""

    closed: bool

    def release(self, request_id: int, message_type: int, frame: AnswerFrame, bulk: bool) -> None:
        """Queue a durable answer for sending; ``flush`` follows."""

    def refuse(self, request_id: int, code: ErrorCode, message: str, retry_after_ms: int = 0) -> None:
        """Queue an ERROR that ends the request; ``flush`` follows."""

    def let_go(self, count: int) -> None:
        """Stop counting the bytes of a bulk answer that is withdrawn."""

    def flush(self) -> None:
        """Send what is queued."""

    def close(self, kind: str) -> None:
        """End the connection at once."""


Pending = tuple[int, Asker, int, int, AnswerFrame, float, bool]
"""An answer whose record of use is not durable yet: ticket, asker, request_id, message type, frame, when the request
arrived (monotonic clock), whether it is a bulk request."""


class Recording:
    """Pending answers and the thread that makes them durable.

    Invariant: tickets of ``_pending`` ascend, and no frame leaves this object while its ticket is above the last
    durable one. While ``_overdue``, the commit under way can no longer succeed.
    """

    def __init__(
        self,
        writer: RecordOfUseWriter,
        readiness: Readiness,
        metrics: Metrics,
        log: EventLog,
        retry_seconds: float,
        commit_seconds: float,
        make_durable: Callable[[], None] = lambda: None,
    ) -> None:
        """``make_durable`` is called after each commit, in its thread: what else must last before answers leave."""
        self._make_durable = make_durable
        self._settling = threading.Lock()
        self._besides = self._besides_given_up = False
        self.append = writer.append
        self._events: list[tuple[int, dict[str, str | int]]] = []
        self._writer = writer
        self._readiness = readiness
        self._metrics = metrics
        self._log = log
        self._retry_seconds = retry_seconds
        self._commit_seconds = commit_seconds
        self._pending: deque[Pending] = deque()
        self._committing = False
        self._overdue = False
        self._started = 0.0
        self._go = os.eventfd(0, os.EFD_CLOEXEC)
        self._done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._durable = 0
        self._failure: RecordOfUseError | None = None
        self._defect: BaseException | None = None
        self._ending = False
        self.providing = True
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._commit_when_told, name="record of use", daemon=True)
        self._thread.start()
        readiness.add(self._done, READABLE, self._on_done)

    def may_provide(self, now: float) -> int:
        """0 when a request may be worked on; otherwise the milliseconds after which to ask again."""
        if self.providing:
            return 0
        if now >= self._retry_at and not self._pending and not self._committing:
            return 0
        return max(1, int((self._retry_at - now) * 1000), int(self._retry_seconds * 100))

    def note(self, **event: str | int) -> None:
        """Put an event (arguments of RecordOfUseWriter.append_event) into the record. Raises RecordOfUseError.

        It is durable before any answer that follows it; a commit that fails puts it in again.
        """
        self._events.append((self._writer.append_event(**event), event))  # type: ignore[arg-type]

    def submit(
        self,
        ticket: int,
        asker: Asker,
        request_id: int,
        message_type: int,
        frame: AnswerFrame,
        arrived: float,
        bulk: bool,
    ) -> None:
        """Keep an answer whose record of use was appended with this ticket; it is released once that is durable."""
        self._pending.append((ticket, asker, request_id, message_type, frame, arrived, bulk))

    def after_turn(self, ready: int, now: float) -> bool:
        """Begin a commit when answers wait and none is under way; not while others are about to join them.

        Whether one is under way now.

        ready: connections that were ready in this turn; when there were none, there is nothing to wait for.
        """
        pending = self._pending
        if (
            pending
            and not self._committing
            and (not ready or len(pending) >= GROUP_REQUESTS or now - pending[0][5] >= GROUP_SECONDS)
        ):
            self._committing = True
            self._started = time.monotonic()
            os.eventfd_write(self._go, 1)
        return self._committing

    def check(self, now: float) -> None:
        """Give up a commit that takes longer than ``commit_seconds``; to be called a few times a second.

        Events that no answer has carried along are committed by themselves; when nothing is under way, a segment that
        became old gives way to a new one. Both in the thread.
        """
        is_due = self._events or (not self._pending and self._writer.segment_is_old)
        if is_due and not self._committing and self.providing:
            self._committing = True
            self._started = time.monotonic()
            os.eventfd_write(self._go, 1)
            return
        if not self._committing or now - self._started < self._commit_seconds:
            return
        if not self._overdue:
            if not self._give_up():
                return  # it has just ended, or will in a moment
            self._overdue = True
            self._metrics.plain["record_of_use_overdue_total"] += 1
            self._stop_providing("the disk does not answer", commit_seconds=self._commit_seconds)
        elif not self._pending or not self._give_up():
            return
        # Bulk requests that were worked on meanwhile are among them.
        self._refuse(None)

    @property
    def idle(self) -> bool:
        return not self._pending and not self._committing

    def close(self, seconds: float) -> bool:
        """Close the writer after the commit under way; pending answers are given up.

        False when the disk did not let that end within ``seconds``: then the process must end without it, and what is
        left is what a crash would leave.
        """
        self._ending = True
        os.eventfd_write(self._go, 1)
        self._thread.join(seconds)
        self._readiness.remove(self._done)
        if self._thread.is_alive():
            return False
        os.close(self._go)
        os.close(self._done)
        return True

    def _commit_when_told(self) -> None:
        """The thread: one commit for each wake-up."""
        while True:
            os.eventfd_read(self._go)
            if self._ending:
                with contextlib.suppress(RecordOfUseError):
                    self._writer.close()
                return
            try:
                self._durable = self._commit()
                self._failure = None
            except RecordOfUseError as error:
                self._failure = error
            except BaseException as error:
                self._failure = RecordOfUseError("the record of use failed in an unforeseen way")
                self._defect = error
            os.eventfd_write(self._done, 1)

    def _commit(self) -> int:
        """The last ticket whose record, and what else must last with it, is durable. Raises RecordOfUseError."""
        durable = self._writer.commit()
        with self._settling:
            self._besides, self._besides_given_up = True, False
        try:
            self._make_durable()
        finally:
            with self._settling:
                self._besides, given_up = False, self._besides_given_up
        if given_up:
            raise RecordOfUseError("what must last beside the record of use took too long")
        return durable

    def _give_up(self) -> bool:
        """Make the commit under way fail; False when it has just ended or is about to."""
        if self._writer.give_up():
            return True
        with self._settling:
            self._besides_given_up = self._besides
            return self._besides

    def _on_done(self, _events: int) -> None:
        """A commit has ended: release or withdraw its answers. The next one begins at the end of this turn."""
        os.eventfd_read(self._done)
        self._committing = False
        overdue, self._overdue = self._overdue, False
        if overdue:
            self._log.warning("disk_answers_again", seconds=round(time.monotonic() - self._started, 3))
        if self._failure is not None:
            self._withdraw(self._failure, overdue)
            return
        if not self.providing:
            self.providing = True
            self._log.info("providing_resumed")
        if self._events:
            self._events = [(ticket, event) for ticket, event in self._events if ticket > self._durable]
        ended = time.monotonic()
        released = self._release(self._durable, ended)
        metrics = self._metrics
        metrics.plain["record_of_use_commits_total"] += 1
        metrics.commit_seconds.observe(ended - self._started)
        metrics.commit_requests.observe(released)

    def _release(self, durable: int, now: float) -> int:
        pending = self._pending
        askers: dict[Asker, None] = {}
        released = 0
        waits: dict[float, int] = {}
        while pending and pending[0][0] <= durable:
            _, asker, request_id, message_type, frame, arrived, bulk = pending.popleft()
            released += 1
            if not asker.closed:
                try:
                    asker.release(request_id, message_type, frame, bulk)
                except Exception as error:  # one connection's defect must not end the others
                    self._log.failure("connection_failed", error)
                    asker.close("defect")
                    continue
                askers[asker] = None
                if bulk:
                    self._metrics.bulk_request_seconds.observe(now - arrived)
                else:
                    # Requests of one turn arrived at one moment: they are counted together.
                    waits[arrived] = waits.get(arrived, 0) + 1
        for asker in askers:
            asker.flush()
        for arrived, times in waits.items():
            self._metrics.request_seconds.observe(now - arrived, times)
        return released

    def _withdraw(self, failure: RecordOfUseError, overdue: bool) -> None:
        """Refuse the answers whose records failed; none was provided. Records appended since are tried again."""
        self._metrics.plain["record_of_use_failures_total"] += 1
        events, self._events = self._events, []
        for _, event in events:
            with contextlib.suppress(RecordOfUseError):  # the buffer is full: nothing is provided either
                self.note(**event)
        if self._defect is not None:
            self._log.failure("record_of_use_defect", self._defect)
            self._defect = None
        if overdue:
            self._retry_at = 0.0
        else:
            cause = failure.__cause__
            self._stop_providing(operating_error(cause) if isinstance(cause, OSError) else type(failure).__name__)
        self._refuse(failure.last_ticket if isinstance(failure, RecordOfUseNotWrittenError) else None)

    def _stop_providing(self, reason: str, **fields: Field) -> None:
        self._log.error(
            "providing_stopped",
            reason=reason,
            requests=len(self._pending),
            retry_seconds=self._retry_seconds,
            **fields,
        )
        self.providing = False
        self._retry_at = time.monotonic() + self._retry_seconds

    def _refuse(self, last: int | None) -> None:
        """Refuse the answers with tickets up to ``last``, None for all; nothing of them was or will be sent."""
        askers: dict[Asker, None] = {}
        while self._pending and (last is None or self._pending[0][0] <= last):
            _, asker, request_id, _, frame, _, bulk = self._pending.popleft()
            if not asker.closed:
                try:
                    if bulk:
                        asker.let_go(answer_frame_bytes(frame))
                    asker.refuse(
                        request_id,
                        ErrorCode.RECORD_OF_USE_UNAVAILABLE,
                        MESSAGE,
                        max(1, int(self._retry_seconds * 1000)),
                    )
                except Exception as error:  # one connection's defect must not end the others
                    self._log.failure("connection_failed", error)
                    asker.close("defect")
                    continue
                askers[asker] = None
        for asker in askers:
            asker.flush()
