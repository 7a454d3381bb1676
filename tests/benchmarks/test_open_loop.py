"""The open loop charges a stall to every request that came due in it; standstills are told from stalls; reports."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("request_load")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("figures")


class PlainPeer:
    """A peer of the open loop over a plain socket pair."""

    def __init__(self, load: Any, in_flight_max: int) -> None:
        self.socket, self.far = socket.socketpair()
        self.in_flight_max = in_flight_max
        self.head = bytes(load.QUESTION.size)
        self.due: Any = load.deque()
        self.under_way = 0
        self.rest = b""

    def frame(self, request_id: int, code: bytes) -> bytes:
        return request_id.to_bytes(8, "little") + code


def serve(load: Any, peer: PlainPeer, count: int, stall_after: int, stall_seconds: float) -> None:
    """Answers each request at once, but stalls once."""
    got = b""
    for number in range(count):
        while len(got) < 16:
            got += peer.far.recv(65_536)
        if number == stall_after:
            time.sleep(stall_seconds)
        request_id = int.from_bytes(got[:8], "little")
        got = got[16:]
        peer.far.sendall(load.HEADER.pack(17, 0x11, 0, request_id, 0) + bytes(16) + b"\x01")


@pytest.mark.parametrize("in_flight_max", [1, 1_000])
def test_a_stall_is_charged_to_all_that_came_due(load: Any, in_flight_max: int) -> None:
    peer = PlainPeer(load, in_flight_max)
    rate, seconds, stall = 1_000.0, 0.6, 0.3
    server = threading.Thread(target=serve, args=(load, peer, int(rate * seconds), 100, stall))
    server.start()
    loop = load.OpenLoop([peer], [bytes(8)], rate, seconds)
    loop.run()
    server.join()
    peer.socket.close()
    peer.far.close()
    assert len(loop.latencies) == loop.total
    # About 300 requests came due while the server slept; their latencies fall evenly from 0.3 s to 0. A closed loop
    # would have seen one slow request.
    slow = sum(latency > 0.1e9 for latency in loop.latencies)
    assert slow >= 0.8 * rate * (stall - 0.1)
    assert max(loop.latencies) >= 0.95 * stall * 1e9
    assert min(loop.latencies) > 0


def test_a_standstill_of_the_machine_is_told_from_a_stall_of_ours(figures: Any) -> None:
    watch = figures.StandstillWatch()
    try:
        time.sleep(0.2)
        watch.stood_still()
        end = time.perf_counter() + 0.4
        while time.perf_counter() < end:
            pass
        assert not watch.stood_still()
        os.kill(watch._process.pid, signal.SIGSTOP)
        time.sleep(0.4)
        os.kill(watch._process.pid, signal.SIGCONT)
        assert watch.stood_still()
        assert not watch.stood_still()
    finally:
        watch.close()


def test_residency_is_a_share_of_the_file(figures: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    share = figures.resident_percent(path)
    if share is None:
        pytest.skip("this kernel has no cachestat")
    assert 50 < share <= 100, "it was written just now"
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert figures.resident_percent(path) < 50


def test_spoilt_rounds_are_repeated(figures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with figures.options("a test", ["--store", str(tmp_path / "s"), "--rounds", "3"]) as (chosen, _):
        report = figures.Report("A test", chosen)
        verdicts = iter([False, False, True, False, True, False])
        monkeypatch.setattr(report._watch, "stood_still", lambda: next(verdicts))
        numbers = iter(range(100))
        assert report.measured(lambda: next(numbers)) == [0, 2, 4]
        assert report.rounds_repeated == 2
        monkeypatch.setattr(report._watch, "stood_still", lambda: True)
        assert len(report.measured(lambda: next(numbers))) == 3, "a machine that never stays awake is measured as it is"
        report.finish()


def test_a_report_is_flat_and_tells_where(figures: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--residents",
        "1_000",
        "--store",
        str(tmp_path / "s"),
        "--json",
        str(tmp_path / "r.json"),
        "--rounds",
        "3",
    ]
    with figures.options("a test", words) as (chosen, _):
        work = chosen.work
        report = figures.Report("A test", chosen)
        assert report.rate("things_per_second", [3.0, 1.0, 2.0], "things") == 2.0
        report.figure("thing_bytes", 1.2345, "size")
        with pytest.raises(ValueError, match="already"):
            report.fact("thing_bytes", 2)
        report.finish()
    assert not work.exists()
    told = json.loads((tmp_path / "r.json").read_text())
    assert (told["things_per_second_min"], told["things_per_second"], told["things_per_second_max"]) == (1, 2, 3)
    assert told["thing_bytes"] == 1.23
    assert told["cores"] >= 1
    assert "/" not in told["command"].partition(".py")[2]
    assert "things_per_second" in capsys.readouterr().out
    assert Path(sys.argv[0]).stem == told["benchmark"]
