"""A bulk request that is dropped while a thread works on it gives everything back."""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jukinet.core.errors import ErrorCode, StoreCorruptError
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import messages as m
from jukinet.server import configuration, slices
from jukinet.server.event_log import EventLog
from jukinet.server.metrics import Metrics
from jukinet.server.readiness import Readiness
from jukinet.server.service import STATUS, Service
from jukinet.server.slices import BulkRequest

from .serving import Place

ROWS = 3_000


class Asker:
    """What the service wants of a connection."""

    def __init__(self) -> None:
        self.number = 1
        self.body_key = ("agency", "pensions")
        self.jobs: deque[BulkRequest] = deque()
        self.queued_bytes = 0
        self.refused: list[tuple[int, ErrorCode]] = []

    @property
    def may_work(self) -> bool:
        return self.job_to_give is not None

    @property
    def job_to_give(self) -> BulkRequest | None:
        return next((job for job in self.jobs if job.given < job.count), None)

    def refuse(self, request_id: int, code: ErrorCode, message: str, retry_after_ms: int = 0) -> None:
        self.refused.append((request_id, code))

    def flush(self) -> None: ...

    def hold(self, count: int) -> None: ...

    def want_resume(self) -> None: ...


@pytest.fixture
def readiness() -> Iterator[Readiness]:
    made = Readiness(lambda: None, lambda ready: None)
    yield made
    made.close()


@pytest.fixture
def made(place: Place, tmp_path: Path, readiness: Readiness) -> Iterator[Service]:
    with RegisterReader(place.store) as reader:
        service = Service(
            configuration.load(place.configuration(tmp_path, fairness={"slice_codes": 2_048})),
            None,  # type: ignore[arg-type]
            reader,
            SimpleNamespace(after_turn=lambda ready, now: None),  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            Metrics(),
            EventLog("error", descriptor=-1),
            lambda connection, kind: None,
            readiness,
            None,  # type: ignore[arg-type]
        )
        yield service
        service.close()


def enqueue(made: Service, asker: Any, place: Place, request_id: int) -> None:
    codes = memoryview(array("Q", [place.codes[row % len(place.codes)] for row in range(ROWS)]))
    question = m.StatusRequest(request_id, 1, 20200101, codes)
    made._enqueue(asker, question, SimpleNamespace(use=None), STATUS, 0)  # type: ignore[arg-type]


def turn_while(readiness: Readiness, waiting: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while waiting() and time.monotonic() < end:
        readiness.turn()


def test_request_dropped_in_its_slice_gives_everything_back(
    made: Service, place: Place, readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both slices were given to the thread; the second is not worked on after the request was dropped in the first."""
    asker = Asker()
    enqueue(made, asker, place, 7)
    job = asker.jobs[0]
    begun, go_on = threading.Event(), threading.Event()
    work_off = slices.work_off
    worked: list[int] = []

    def slow(job: BulkRequest, stop: int) -> None:
        begun.set()
        assert go_on.wait(10)
        work_off(job, stop)
        worked.append(stop)

    monkeypatch.setattr(slices, "work_off", slow)
    made.after_turn()
    assert begun.wait(10)
    assert (job.given, job.running) == (ROWS, 2)
    made.drop(asker, job)  # type: ignore[arg-type]
    snapshot = job.snapshot
    assert snapshot is not None
    assert snapshot.pins == 1, "while the thread reads, it stays pinned"
    go_on.set()
    turn_while(readiness, lambda: job.running > 0)
    assert worked == [2_048]
    assert snapshot.pins == 0
    assert job.snapshot is None
    assert asker.refused == []
    assert made._scratch[STATUS] == [], "an unfinished batch would go on holding the question"


def test_failed_slice_ends_its_request_once_and_later_slices_are_left_out(
    made: Service, place: Place, readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = Asker()
    enqueue(made, asker, place, 7)
    job = asker.jobs[0]
    tried: list[int] = []

    def fail(job: BulkRequest, stop: int) -> None:
        tried.append(stop)
        raise StoreCorruptError("damaged")

    monkeypatch.setattr(slices, "work_off", fail)
    made.after_turn()
    turn_while(readiness, lambda: job.running > 0)
    assert tried == [2_048]
    assert [request_id for request_id, _ in asker.refused] == [7]
    assert (job.running, job.snapshot, made.queued_requests, len(asker.jobs)) == (0, None, 0, 0)


def test_thread_is_given_little_more_than_two_slices(
    made: Service, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    askers = [Asker() for _ in range(6)]
    go_on = threading.Event()
    monkeypatch.setattr(slices, "work_off", lambda job, stop: go_on.wait(10))
    for asker in askers:
        enqueue(made, asker, place, 7)
    made.after_turn()
    made.after_turn()
    given = sum(job.given for asker in askers for job in asker.jobs)
    for asker in askers:
        made.drop(asker, asker.jobs[0])  # type: ignore[arg-type]
    go_on.set()
    assert 2 * 2_048 <= given < 3 * 2_048
