"""The service with a record of use that refuses, which no healthy disk does on demand: what the caller is told."""

from __future__ import annotations

import contextlib
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode, RecordOfUseError
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import messages as m
from jukinet.server.configuration import Cohorts, Fairness, Limits, Retention
from jukinet.server.event_log import EventLog
from jukinet.server.law_settings import Operators
from jukinet.server.metrics import Metrics
from jukinet.server.readiness import Readiness
from jukinet.server.service import STATUS, Service
from jukinet.server.slices import BulkRequest

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

    def __init__(self) -> None:
        self.jobs: deque[BulkRequest] = deque()
        self.queued_bytes = 0
        self.refused: list[tuple[int, ErrorCode]] = []

    @property
    def may_work(self) -> bool:
        return self.job_to_give is not None

    @property
    def job_to_give(self) -> BulkRequest | None:
        return next((job for job in self.jobs if job.given < job.count), None)

    def refuse(self, request_id: int, code: ErrorCode, _message: str, _retry_after_ms: int = 0) -> None:
        self.refused.append((request_id, code))

    def want_resume(self) -> None:
        pass

    def flush(self) -> None:
        pass


class Recorded(FullBuffer):
    """Stands for Recording when a test expects that nothing is recorded."""

    def __init__(self) -> None:
        self.appended = 0

    def append(self, *_: Any, **__: Any) -> int:
        self.appended += 1
        return self.appended


class Allowance:
    """Stands for a Grant that allows everything or nothing."""

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed

    def allows(self, _function: int, _items: int, _day: int) -> bool:
        return self.allowed


class AskingSession:
    """A session whose authority file has not changed since it was judged."""

    use = None
    authority = None
    login = None
    watched = None

    def __init__(self, allowed: bool) -> None:
        self.grant = Allowance(allowed)
        self.caps = None

    def judge(self, _authority: object, _today: object, _caps: object) -> Allowance:
        return self.grant


def refusals_of(directory: Path, count: int, recording: Any, allowed: bool) -> list[tuple[int, ErrorCode]]:
    """What the asker of one bulk STATUS was refused with; afterwards nothing of the request is kept."""
    table = build_store(directory / "register", residents(20))
    codes = memoryview(array("Q", [code_from_key(min(table))] * count))
    session: Any = AskingSession(allowed)
    asker: Any = Asker()
    job = BulkRequest(asker, m.StatusRequest(7, 1, 20200101, codes), session, STATUS, 0, codes.nbytes, 0.0)
    asker.jobs.append(job)
    asker.queued_bytes = job.size
    sections = {"limits": Limits(), "fairness": Fairness(), "retention": Retention(), "cohorts": Cohorts()}
    settings: Any = type("Settings", (), sections | {"operators": Operators(required=False)})()
    credentials: Any = type("Credentials", (), {"authority": None})()
    unused: Any = None
    readiness = Readiness(lambda: None, lambda ready: None)
    with contextlib.closing(readiness), contextlib.closing(RegisterReader(directory / "register")) as reader:
        service = Service(
            settings, credentials, reader, recording, unused, Metrics(), EventLog("error", descriptor=-1),
            unused, readiness, unused,
        )  # fmt: skip
        with contextlib.closing(service):
            service.queued_bytes, service.queued_requests = job.size, 1
            service.schedule(asker)
            service.after_turn()
            end = time.monotonic() + 5
            while not asker.refused and time.monotonic() < end:
                readiness.turn()
            assert (service.queued_bytes, service.queued_requests, asker.queued_bytes, len(asker.jobs)) == (0, 0, 0, 0)
            assert job.snapshot is None
    return list(asker.refused)


COUNTS = pytest.mark.parametrize("count", [100, 5_000], ids=["in the loop", "in a thread"])


@COUNTS
def test_bulk_request_whose_record_is_refused_is_told_so(tmp_path: Path, count: int) -> None:
    refused = refusals_of(tmp_path, count, FullBuffer(), allowed=True)
    assert refused == [(7, ErrorCode.RECORD_OF_USE_UNAVAILABLE)]


@COUNTS
def test_bulk_request_whose_authority_ended_while_it_waited_is_refused(tmp_path: Path, count: int) -> None:
    recording = Recorded()
    refused = refusals_of(tmp_path, count, recording, allowed=False)
    assert refused == [(7, ErrorCode.NOT_AUTHORISED)]
    assert recording.appended == 0
