"""The group commit with a writer that obeys the test: what leaves, when, and what never does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jukinet.core.audit.errors import RecordOfUseNotWrittenError
from jukinet.core.errors import ErrorCode, RecordOfUseError
from jukinet.server.event_log import EventLog
from jukinet.server.metrics import Metrics
from jukinet.server.readiness import Readiness
from jukinet.server.recording import Recording


class Writer:
    """Gives tickets; a commit waits until the test lets it go, and fails when the test says so."""

    segment_is_old = False

    def __init__(self) -> None:
        self.ticket = 0
        self.durable = 0
        self.let_go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.fail = False
        self.given_up = 0
        self.under_way = False
        self.events: list[str] = []

    def append(self) -> int:
        self.ticket += 1
        return self.ticket

    def append_event(self, **event: str) -> int:
        self.events.append(event["event"])
        return self.append()

    def commit(self) -> int:
        first, last = self.durable + 1, self.ticket
        self.under_way = True
        self.begun.release()
        assert self.let_go.acquire(timeout=10)
        self.under_way = False
        self.durable = last = max(last, self.given_up)
        if self.fail or self.given_up >= first:
            raise RecordOfUseNotWrittenError("no room", first, last) from OSError(28, "No space left on device")
        return last

    def give_up(self) -> bool:
        if self.under_way:
            self.given_up = self.ticket
        return self.under_way

    def close(self) -> None:
        pass


class Asker:
    def __init__(self) -> None:
        self.closed = False
        self.queued: list[Any] = []
        self.sent: list[Any] = []
        self.held = 0

    def release(self, request_id: int, message_type: int, frame: bytearray, bulk: bool) -> None:
        self.queued.append(request_id)

    def refuse(self, request_id: int, code: ErrorCode, message: str, retry_after_ms: int = 0) -> None:
        self.queued.append((request_id, code))

    def let_go(self, count: int) -> None:
        self.held -= count

    def flush(self) -> None:
        self.sent += self.queued
        self.queued.clear()


class Bench:
    def __init__(self, besides: Callable[[], None] = lambda: None) -> None:
        self.writer = Writer()
        self.metrics = Metrics()
        self.readiness = Readiness(lambda: None, self._after_turn)
        log = EventLog("error", descriptor=-1)
        self.recording = Recording(self.writer, self.readiness, self.metrics, log, 0.05, 5.0, besides)  # type: ignore[arg-type]
        self.asker = Asker()

    def _after_turn(self, ready: int) -> None:
        self.recording.after_turn(ready, time.monotonic())

    def submit(self, request_id: int, bulk: bool = False) -> None:
        ticket = self.writer.append()
        self.recording.submit(ticket, self.asker, request_id, 0x11, bytearray(20), time.monotonic(), bulk)

    def turn_until_sent(self, count: int) -> list[Any]:
        end = time.monotonic() + 10
        while len(self.asker.sent) < count and time.monotonic() < end:
            self.readiness.turn()
        return self.asker.sent


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.writer.let_go.release(100)
    assert made.recording.close(10)
    made.readiness.close()


def test_nothing_leaves_before_its_commit_has_ended(bench: Bench) -> None:
    bench.submit(1)
    bench.readiness.turn()
    assert bench.writer.begun.acquire(timeout=10)
    bench.submit(2)
    bench.submit(3)
    for _ in range(5):
        bench.readiness.turn()
    assert bench.asker.sent == []
    bench.writer.let_go.release()
    # 2 and 3 were appended while the first commit ran: only a second one covers them.
    assert bench.turn_until_sent(1) == [1]
    bench.readiness.turn()
    assert bench.writer.begun.acquire(timeout=10)
    bench.readiness.turn()
    assert bench.asker.sent == [1]
    bench.writer.let_go.release()
    assert bench.turn_until_sent(3) == [1, 2, 3]
    assert bench.recording.idle
    assert bench.metrics.plain["record_of_use_commits_total"] == 2
    assert sum(bench.metrics.request_seconds.buckets) == 3


def test_failed_commit_withdraws_its_answers_and_stops_providing(bench: Bench) -> None:
    bench.writer.fail = True
    bench.asker.held = 20
    bench.submit(1)
    bench.submit(2, bulk=True)
    bench.readiness.turn()
    assert bench.writer.begun.acquire(timeout=10)
    bench.submit(3)
    bench.writer.let_go.release()
    refused = ErrorCode.RECORD_OF_USE_UNAVAILABLE
    assert bench.turn_until_sent(2) == [(1, refused), (2, refused)]
    assert bench.asker.held == 0
    assert not bench.recording.providing
    assert bench.recording.may_provide(time.monotonic()) > 0
    # The record of 3 was appended later: it has its own commit, and its success ends the fault.
    bench.writer.fail = False
    bench.writer.let_go.release()
    assert bench.turn_until_sent(3)[2] == 3
    assert bench.recording.providing
    assert bench.recording.may_provide(time.monotonic()) == 0


def test_one_request_tries_again_after_the_wait(bench: Bench) -> None:
    bench.writer.fail = True
    bench.submit(1)
    bench.writer.let_go.release()
    bench.turn_until_sent(1)
    now = time.monotonic()
    assert 0 < bench.recording.may_provide(now) <= 60
    assert bench.recording.may_provide(now + 0.06) == 0
    bench.submit(2)
    assert bench.recording.may_provide(now + 0.06) > 0, "the others wait for what that one shows"


def test_caller_that_is_gone_is_passed_over(bench: Bench) -> None:
    bench.submit(1)
    bench.asker.closed = True
    bench.writer.let_go.release()
    end = time.monotonic() + 10
    while not bench.recording.idle and time.monotonic() < end:
        bench.readiness.turn()
    assert bench.recording.idle
    assert bench.asker.queued == bench.asker.sent == []


def test_commit_that_does_not_end_is_given_up(bench: Bench) -> None:
    refused = ErrorCode.RECORD_OF_USE_UNAVAILABLE
    bench.asker.held = 20
    bench.submit(1)
    bench.readiness.turn()
    assert bench.writer.begun.acquire(timeout=10)
    bench.submit(2, bulk=True)
    now = time.monotonic()
    bench.recording.check(now + 4)
    assert bench.asker.sent == []
    assert bench.recording.providing
    bench.recording.check(now + 6)
    assert bench.asker.sent == [(1, refused), (2, refused)]
    assert bench.asker.held == 0
    assert bench.metrics.plain["record_of_use_overdue_total"] == 1
    assert not bench.recording.providing
    assert bench.recording.may_provide(now + 100) > 0, "nothing is worked on before the disk answers"
    # A bulk request whose slice ran meanwhile is refused too, and the writer knows that its record is void.
    bench.submit(3)
    bench.recording.check(now + 7)
    assert bench.asker.sent[2:] == [(3, refused)]
    assert bench.writer.given_up == 3
    assert bench.metrics.plain["record_of_use_overdue_total"] == 1
    assert not bench.recording.idle
    bench.writer.let_go.release()
    end = time.monotonic() + 10
    while not bench.recording.idle and time.monotonic() < end:
        bench.readiness.turn()
    assert bench.recording.may_provide(time.monotonic()) == 0, "one request shows whether it works again"
    assert not bench.recording.providing
    bench.submit(4)
    bench.writer.let_go.release()
    assert bench.turn_until_sent(4)[3] == 4
    assert bench.recording.providing


def test_commit_that_ends_at_its_deadline_counts(bench: Bench) -> None:
    """The writer says that it is too late to give it up: then its answers leave."""
    bench.submit(1)
    bench.readiness.turn()
    assert bench.writer.begun.acquire(timeout=10)
    bench.writer.under_way = False
    bench.recording.check(time.monotonic() + 60)
    assert bench.recording.providing
    bench.writer.let_go.release()
    assert bench.turn_until_sent(1) == [1]


def test_closing_does_not_wait_for_a_disk_that_hangs() -> None:
    bench = Bench()
    bench.submit(1)
    bench.readiness.turn()
    assert bench.writer.begun.acquire(timeout=10)
    assert not bench.recording.close(0.05)
    bench.writer.let_go.release()
    bench.readiness.close()


def test_an_event_is_committed_without_answers_and_again_after_a_failure(bench: Bench) -> None:
    bench.writer.fail = True
    bench.recording.note(event="authority")
    bench.recording.check(time.monotonic())
    bench.writer.let_go.release()
    end = time.monotonic() + 10
    while len(bench.writer.events) < 2 and time.monotonic() < end:
        bench.readiness.turn()
    assert bench.writer.events == ["authority"] * 2, "what failed was put in again"
    assert not bench.recording.providing
    bench.writer.fail = False
    bench.submit(1)
    bench.writer.let_go.release()
    assert bench.turn_until_sent(1) == [1]
    bench.recording.check(time.monotonic())
    assert bench.recording.idle, "nothing is left to be committed"


def test_answers_wait_for_what_must_last_beside_the_record() -> None:
    go, failing = threading.Semaphore(0), [False]

    def besides() -> None:
        assert go.acquire(timeout=10)
        if failing[0]:
            raise RecordOfUseError("no room")

    bench = Bench(besides)
    refused = ErrorCode.RECORD_OF_USE_UNAVAILABLE
    bench.writer.let_go.release(100)
    bench.submit(1)
    for _ in range(3):
        bench.readiness.turn()
    assert bench.asker.sent == []
    go.release()
    assert bench.turn_until_sent(1) == [1]
    failing[0] = True
    bench.submit(2)
    go.release()
    assert bench.turn_until_sent(2)[1] == (2, refused)
    failing[0] = False
    bench.submit(3)
    bench.readiness.turn()
    end = time.monotonic() + 10
    while not bench.recording._besides and time.monotonic() < end:
        time.sleep(0.01)
    bench.recording.check(time.monotonic() + 60)  # a disk that hangs there is given up as anywhere else
    assert bench.asker.sent[2:] == [(3, refused)]
    go.release()
    while not bench.recording.idle and time.monotonic() < end:
        bench.readiness.turn()
    bench.submit(4)
    go.release()
    assert bench.turn_until_sent(4)[3] == 4
    go.release(10)
    assert bench.recording.close(10)
    bench.readiness.close()
