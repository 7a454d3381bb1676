"""A bulk request that is dropped while a thread works on it gives everything back."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from jukinet.core.errors import ErrorCode
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import messages as m
from jukinet.server import configuration, service
from jukinet.server.event_log import EventLog
from jukinet.server.metrics import Metrics
from jukinet.server.service import STATUS, BulkRequest, Service

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
        return bool(self.jobs)

    def refuse(self, request_id: int, code: ErrorCode, message: str, retry_after_ms: int = 0) -> None:
        self.refused.append((request_id, code))

    def flush(self) -> None: ...

    def hold(self, count: int) -> None: ...

    def want_resume(self) -> None: ...


@pytest.fixture
def made(place: Place, tmp_path: Path) -> Iterator[Service]:
    with RegisterReader(place.store) as reader:
        yield Service(
            configuration.load(place.configuration(tmp_path, fairness={"slice_codes": 2_048})),
            None,  # type: ignore[arg-type]
            reader,
            SimpleNamespace(after_turn=lambda ready, now: None),  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            Metrics(),
            EventLog("error", descriptor=-1),
            lambda connection, kind: None,
            lambda: None,
        )


def enqueue(made: Service, asker: Any, place: Place, request_id: int) -> None:
    codes = memoryview(array("Q", [place.codes[row % len(place.codes)] for row in range(ROWS)]))
    question = m.StatusRequest(request_id, 1, 20200101, codes)
    made._enqueue(asker, question, SimpleNamespace(use=None), STATUS, 0)  # type: ignore[arg-type]


async def test_request_dropped_in_its_slice_gives_everything_back(
    made: Service, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = Asker()
    enqueue(made, asker, place, 7)
    job = asker.jobs[0]
    begun = trio.Event()
    token = trio.lowlevel.current_trio_token()
    work_off = service.work_off

    def slow(job: BulkRequest, stop: int) -> None:
        token.run_sync_soon(begun.set)
        time.sleep(0.05)
        work_off(job, stop)

    monkeypatch.setattr(service, "work_off", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run_bulk)
        await begun.wait()
        made.drop(asker, job)  # type: ignore[arg-type]
        snapshot = job.snapshot
        assert snapshot is not None
        assert snapshot.pins == 1, "while the thread reads, it stays pinned"
        while job.running:
            await trio.sleep(0.005)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert snapshot.pins == 0
    assert job.snapshot is None
    assert asker.refused == []
    assert made._scratch[STATUS] == [], "an unfinished batch would go on holding the question"
