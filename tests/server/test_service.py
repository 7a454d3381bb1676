"""The service with a record of use that refuses, which no healthy disk does on demand: what the caller is told."""

from __future__ import annotations

import contextlib
from array import array
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import trio

from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode, RecordOfUseError
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import messages as m
from jukinet.server.configuration import Fairness, Limits
from jukinet.server.event_log import EventLog
from jukinet.server.metrics import Metrics
from jukinet.server.service import STATUS, BulkRequest, Service

from ..core.stores import build_store
from .serving import residents


class FullBuffer:
    """Stands for Recording when so many answers wait for the disk that no further record is kept."""

    def append(self, *_: Any, **__: Any) -> int:
        raise RecordOfUseError("the buffer is full")

    def after_turn(self, ready: int, now: float) -> None:
        pass


class Asker:
    """A connection with one bulk request."""

    body_key = ("agency", "pensions")
    number = 1

    def __init__(self, job: BulkRequest) -> None:
        self.jobs = deque([job])
        self.queued_bytes = job.size
        self.refused: list[tuple[int, ErrorCode]] = []

    @property
    def may_work(self) -> bool:
        return bool(self.jobs)

    def refuse(self, request_id: int, code: ErrorCode, _message: str, _retry_after_ms: int = 0) -> None:
        self.refused.append((request_id, code))

    def want_resume(self) -> None:
        pass

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("count", [100, 5_000], ids=["in the loop", "in a thread"])
async def test_bulk_request_whose_record_is_refused_is_told_so(tmp_path: Path, count: int) -> None:
    table = build_store(tmp_path / "register", residents(20))
    codes = memoryview(array("Q", [code_from_key(min(table))] * count))
    session: Any = type("Session", (), {"use": None})()
    job = BulkRequest(m.StatusRequest(7, 1, 20200101, codes), session, STATUS, 0, codes.nbytes, 0.0)
    asker: Any = Asker(job)
    settings: Any = type("Settings", (), {"limits": Limits(), "fairness": Fairness()})()
    unused: Any = None
    with contextlib.closing(RegisterReader(tmp_path / "register")) as reader:
        service = Service(
            settings, unused, reader, FullBuffer(), unused, Metrics(), EventLog("error", descriptor=-1),  # type: ignore[arg-type]
            unused, lambda: None,
        )  # fmt: skip
        service.queued_bytes, service.queued_requests = job.size, 1
        service.schedule(asker)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run_bulk)
            with trio.move_on_after(5):
                while not asker.refused:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert asker.refused == [(7, ErrorCode.RECORD_OF_USE_UNAVAILABLE)]
        assert (service.queued_bytes, service.queued_requests, asker.queued_bytes, len(asker.jobs)) == (0, 0, 0, 0)
        assert job.snapshot is None
