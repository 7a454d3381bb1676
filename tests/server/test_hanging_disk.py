"""A disk that does not answer: nothing is provided, nobody waits for ever, and all goes on when it answers again."""

from __future__ import annotations

import contextlib
import struct
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.audit.layout import KIND_EVENT, KIND_PROVISION, KIND_VOID
from jukinet.core.audit.reader import read_segments
from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m

from .serving import Caller, Place, Server, processes_gone

# Read by the interpreter of every process of the server when it starts.
SLOW_DISK = """
import os, time
real, stop = os.fdatasync, os.environ["HANGING_DISK"]
def fdatasync(descriptor):
    while os.path.exists(stop):
        time.sleep(0.01)
    return real(descriptor)
os.fdatasync = fdatasync
"""


class Disk:
    """fdatasync of a server's workers does not return while the disk hangs."""

    def __init__(self, directory: Path) -> None:
        self.stop = directory / "hangs"
        (directory / "start").mkdir()
        (directory / "start" / "sitecustomize.py").write_text(SLOW_DISK)
        self.environment = {"PYTHONPATH": str(directory / "start"), "HANGING_DISK": str(self.stop)}

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        self.stop.touch()
        try:
            yield
        finally:
            self.stop.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def lookup_frame(request_id: int, session: int, codes: array[int]) -> bytes:
    """A LOOKUP as bytes, without a client's checks."""
    kind, size = int(m.LookupRequest.type), 16 + 8 * len(codes)
    return struct.pack("<IHHIIIIII", size, kind, 0, request_id, 0, session, 0, len(codes), 0) + codes.tobytes()


def wait_for_answer(caller: Caller, codes: array[int]) -> m.LookupAnswer:
    """The first answer after refusals that tell to repeat."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        answer = caller.lookup(codes)
        if isinstance(answer, m.LookupAnswer):
            return answer
        assert answer.code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
        assert answer.retry_after_ms > 0
        time.sleep(0.05)
    raise AssertionError("nothing is provided although the disk answers")


def test_requests_are_refused_at_the_deadline_and_the_disk_may_come_back(
    place: Place, tmp_path: Path, disk: Disk
) -> None:
    configuration = place.configuration(tmp_path, record_of_use={"commit_seconds": 0.5})
    with Server(configuration, disk.environment) as server, Caller(place, server.port) as caller:
        caller.open()
        assert caller.lookup(place.codes[:2]).count == 2
        with disk.hanging():
            single = caller.send(m.LookupRequest(caller.new(), caller.session, 0, memoryview(place.codes[:3])))
            bulk = array("Q", [place.codes[0]] * 5_000)
            longer = caller.send(m.LookupRequest(caller.new(), caller.session, 0, memoryview(bulk)))
            refused = {event.request_id: event for event in (caller.event(), caller.event())}
            assert set(refused) == {single, longer}
            assert {event.code for event in refused.values()} == {ErrorCode.RECORD_OF_USE_UNAVAILABLE}
            stopped = server.wait_for("providing_stopped")
            assert stopped["reason"] == "the disk does not answer"
            server.wait_for_metric("jukinet_providing 0")
            server.wait_for_metric("jukinet_record_of_use_overdue_total 1")
            assert caller.lookup(place.codes[:4]).code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
        assert wait_for_answer(caller, place.codes[:5]).count == 5
        server.wait_for("disk_answers_again")
        server.wait_for("providing_resumed")
        server.wait_for_metric("jukinet_providing 1")
        server.wait_for_metric("jukinet_unsent_bytes 0")
    records = list(read_segments(tmp_path / "record-of-use"))
    assert [record.count for record in records if record.kind == KIND_PROVISION] == [2, 5], "only what was sent"
    kinds = [record.kind for record in records]
    assert kinds == [KIND_EVENT, KIND_PROVISION, KIND_VOID, KIND_PROVISION], "first, which authority is in force"


def test_a_server_ends_although_its_disk_hangs(place: Place, tmp_path: Path, disk: Disk) -> None:
    configuration = place.configuration(tmp_path, waits={"drain_seconds": 1.0}, record_of_use={"commit_seconds": 60.0})
    with Server(configuration, disk.environment) as server, Caller(place, server.port) as caller:
        caller.open()
        assert caller.lookup(place.codes[:2]).count == 2
        workers = server.worker_processes()
        with disk.hanging():
            caller.send(m.LookupRequest(caller.new(), caller.session, 0, memoryview(place.codes[:3])))
            caller.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                caller.event()
            caller.socket.settimeout(10)
            assert server.stop() == 0
            assert isinstance(caller.event(), m.Goodbye)
            with pytest.raises((EOFError, OSError)):
                caller.event()
            events = [record["event"] for record in server.records]
            assert "record_of_use_left_open" in events
            assert "drain_deadline" not in events, "the worker ended by itself"
            assert processes_gone(workers)
    counts = [record.count for record in read_segments(tmp_path / "record-of-use") if record.kind == KIND_PROVISION]
    assert counts[0] == 2, "the second was never answered; whether its record stands is open"
    assert counts[1:] in ([], [3])


def test_requests_beyond_those_in_flight_are_refused(place: Place, tmp_path: Path, disk: Disk) -> None:
    """A commit that waits holds the answers, so that exactly the limit is under way."""
    limits = {"requests_in_flight_max": 4}
    configuration = place.configuration(tmp_path, limits=limits, record_of_use={"commit_seconds": 60.0})
    with Server(configuration, disk.environment) as server, Caller(place, server.port) as caller:
        caller.open()
        with disk.hanging():
            code = memoryview(place.codes[:1])
            asked = [caller.send(m.LookupRequest(caller.new(), caller.session, 0, code)) for _ in range(4)]
            for request_id in (105, 106, 107):  # past the client's own check of the limit
                caller.wire.under_way[request_id] = int(m.LookupRequest.type)
                caller.socket.sendall(lookup_frame(request_id, caller.session, place.codes[:1]))
            refused = [caller.event() for _ in range(3)]
            assert [(event.request_id, event.code) for event in refused] == [
                (request_id, ErrorCode.TOO_MANY_REQUESTS) for request_id in (105, 106, 107)
            ]
            caller.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                caller.event()
            caller.socket.settimeout(10)
        assert [caller.event().request_id for _ in range(4)] == asked
        assert caller.lookup(place.codes[:2]).count == 2, "there is room again"
        server.wait_for_metric('jukinet_errors_total{code="TOO_MANY_REQUESTS"} 3')
    records = read_segments(tmp_path / "record-of-use")
    counts = [record.count for record in records if record.kind == KIND_PROVISION]
    assert counts == [1, 1, 1, 1, 2], "what was refused is not on record"
