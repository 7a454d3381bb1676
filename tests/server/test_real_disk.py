"""The record of use on a real file system that is full or frozen, with workers killed in the middle of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from array import array
from pathlib import Path

from jukinet.core.audit.layout import KIND_PROVISION
from jukinet.core.audit.reader import read_segments
from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m

from .serving import Caller, Place, Server
from .small_disk import frozen, small_disk
from .test_hanging_disk import wait_for_answer

RECORD = {"free_bytes_min": 0, "segment_bytes_max": 1 << 20, "segment_step_bytes": 1 << 16, "commit_seconds": 0.5}


def fill(path: Path) -> None:
    """Take all room of the file system that ``path`` is on."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
        os.fsync(file.fileno())


def test_a_full_disk_and_a_kill_in_the_middle_of_it(place: Place, tmp_path: Path) -> None:
    bulk = array("Q", [place.codes[row % len(place.codes)] for row in range(20_000)])
    with small_disk(tmp_path, 16) as disk:
        record = {**RECORD, "free_bytes_min": 1 << 20, "directory": str(disk / "record-of-use")}
        with Server(place.configuration(tmp_path, record_of_use=record)) as server:
            received = 0
            with Caller(place, server.port) as caller:
                caller.open()
                fill(disk / "ballast")
                while isinstance(answer := caller.lookup(bulk), m.LookupAnswer):
                    received += 1
                assert answer.code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
                server.wait_for("providing_stopped")
                for _ in range(8):  # some of these are tried, and fail, when the worker is killed
                    caller.send(m.LookupRequest(caller.new(), caller.session, 0, memoryview(bulk)))
                time.sleep(0.25)
                (worker,) = server.worker_processes()
                os.kill(worker, signal.SIGKILL)
                with contextlib.suppress(EOFError, OSError):
                    while not isinstance(caller.event(), m.LookupAnswer):
                        pass
                    raise AssertionError("something was provided although nothing could be recorded")
            server.wait_for("worker_died")
            # A worker that cannot begin its record of use does not serve; it is started again until it can.
            server.wait_for("start_failed")
            (disk / "ballast").unlink()
            server.wait_for("worker_ready", 2)
            with Caller(place, server.port) as caller:
                caller.open()
                assert wait_for_answer(caller, place.codes[:7]).count == 7
        records = [record for record in read_segments(disk / "record-of-use") if record.kind == KIND_PROVISION]
    assert [record.count for record in records] == [20_000] * received + [7]


def test_a_frozen_disk_holds_nobody_up(place: Place, tmp_path: Path) -> None:
    with small_disk(tmp_path, 16) as disk:
        record = {**RECORD, "directory": str(disk / "record-of-use")}
        configuration = place.configuration(tmp_path, record_of_use=record, waits={"drain_seconds": 1.0})
        with Server(configuration) as server, Caller(place, server.port) as caller:
            caller.open()
            assert caller.lookup(place.codes[:2]).count == 2
            with frozen(disk):
                assert caller.lookup(place.codes[:3]).code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
                server.wait_for("providing_stopped", reason="the disk does not answer")
            assert wait_for_answer(caller, place.codes[:5]).count == 5
            server.wait_for("providing_resumed")
        records = [record for record in read_segments(disk / "record-of-use") if record.kind == KIND_PROVISION]
        assert [record.count for record in records] == [2, 5]


def test_a_server_ends_although_the_kernel_holds_its_worker(place: Place, tmp_path: Path) -> None:
    with small_disk(tmp_path, 16) as disk:
        record = {**RECORD, "directory": str(disk / "record-of-use")}
        configuration = place.configuration(tmp_path, record_of_use=record, waits={"drain_seconds": 0.5})
        server = Server(configuration)
        server.port = server.wait_for("serving")["port"]
        workers = server.worker_processes()
        with Caller(place, server.port) as caller:
            caller.open()
            with frozen(disk):
                assert caller.lookup(place.codes[:3]).code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(20) == 5, "nobody can end the worker, and the server says so"
                assert all(Path(f"/proc/{worker}").exists() for worker in workers)
        assert server.stop(None) == 5
        assert any("does not answer" in r["reason"] for r in server.records if r["event"] == "failed")
        with Server(configuration) as again, Caller(place, again.port) as caller:
            caller.open()
            assert caller.lookup(place.codes[:4]).count == 4
        counts = [r.count for r in read_segments(disk / "record-of-use") if r.kind == KIND_PROVISION]
        assert counts in ([4], [3, 4]), "of the answer that was never sent the record may stand"
