"""A real server that seals: closed segments enter the tree while it serves, and faults stop only the sealer."""

from __future__ import annotations

import datetime
import os
import signal
import time
from array import array
from pathlib import Path

import pytest

from jukinet.clients.command import main
from jukinet.core.audit.checkpoint import PrivateKey
from jukinet.core.audit.disclosure import DisclosureReader, check_disclosure, disclose
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.verification import Verification
from jukinet.core.law.grant import day_in_japan
from jukinet.core.wire import messages as m

from ..audit.logs import USE, open_writer
from .serving import Caller, Place, Server

KEY = PrivateKey("example.jp/record-of-use", bytes(range(32)))


def sealing(place: Place, directory: Path, **record: object) -> Path:
    (directory / "log.key").write_text(KEY.encode())
    return place.configuration(
        directory,
        sealing={"key": "log.key", "poll_seconds": 0.05, "retry_seconds": 0.1},
        record_of_use={"segment_seconds_max": 1, **record},
    )


def sealer_process(server: Server) -> int:
    for number in server.worker_processes():
        if b"sealer_process" in Path(f"/proc/{number}/cmdline").read_bytes():
            return number
    raise AssertionError("no sealer")


def test_what_is_provided_is_sealed_while_the_server_runs(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "record-of-use"
    with Server(sealing(place, tmp_path)) as server:
        server.wait_for("sealer_ready")
        with Caller(place, server.port) as caller:
            caller.open()
            assert isinstance(caller.lookup(list(place.codes[:500])), m.LookupAnswer)
            server.wait_for_metric("jukinet_sealed_provisions_total 500")
            server.wait_for_metric("jukinet_seal_working 1")
            assert isinstance(caller.lookup(list(place.codes[:3])), m.LookupAnswer)
            report = Verification(log, KEY.public).run()
            assert (report.findings, report.provisions, report.unsealed_records) == ([], 500, 1)
            assert report.records == 2, "first, which authority is in force"
            with DisclosureReader(log) as reader:
                answer, _ = disclose(reader, [place.codes[0]], time.time_ns())
            assert [one.proof is None for one in answer.provisions] == [False, True]
            assert check_disclosure(answer, KEY.public) == 1
            server.wait_for("segment_sealed", count=2)
    assert Verification(log, KEY.public, deep=True).run().findings == []


def test_the_sealer_is_started_again_and_goes_on(place: Place, tmp_path: Path) -> None:
    with Server(sealing(place, tmp_path)) as server:
        server.wait_for("sealer_ready")
        with Caller(place, server.port) as caller:
            caller.open()
            caller.lookup(list(place.codes[:5]))
            server.wait_for("segment_sealed")
            os.kill(sealer_process(server), signal.SIGKILL)
            server.wait_for("worker_died", worker="sealer")
            caller.lookup(list(place.codes[:5]))
            server.wait_for("sealer_ready", count=2)
            server.wait_for("segment_sealed", count=2)
            server.wait_for_metric("jukinet_sealers_died_total 1")
    assert Verification(tmp_path / "record-of-use", KEY.public).run().findings == []


def test_a_damaged_log_stops_the_sealer_and_not_the_workers(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "record-of-use"
    for _ in range(2):  # two segments, not sealed
        with Server(place.configuration(tmp_path)) as server, Caller(place, server.port) as caller:
            caller.open()
            caller.lookup(list(place.codes[:50]))
    configuration = sealing(place, tmp_path)
    path = min(log.glob("*.rou"))
    content = path.read_bytes()
    path.write_bytes(content[:300] + b"x" + content[301:])
    with Server(configuration) as server:
        stopped = server.wait_for("sealing_stopped")
        assert "damaged" in stopped["reason"]
        server.wait_for_metric("jukinet_seal_working 0")
        with Caller(place, server.port) as caller:
            caller.open()
            assert isinstance(caller.lookup(list(place.codes[:5])), m.LookupAnswer)
            path.write_bytes(content)
            server.wait_for("sealing_resumed")
            server.wait_for("segment_sealed")


def test_a_clock_set_back_is_an_alarm(place: Place, tmp_path: Path) -> None:
    configuration = sealing(place, tmp_path)
    with Server(configuration) as server, Caller(place, server.port) as caller:
        caller.open()
        caller.lookup(list(place.codes[:5]))
        server.wait_for("segment_sealed")
    from jukinet.core.audit.record import RecordOfUse  # noqa: PLC0415
    from jukinet.core.audit.writer import RecordOfUseWriter  # noqa: PLC0415

    log = tmp_path / "record-of-use"
    register = next(log.glob("*.rou")).read_bytes()[16:32].hex()
    with RecordOfUseWriter(log, 0, register=register, segment_step_bytes=4_096, free_bytes_min=0) as writer:
        use = RecordOfUse(role="agency", body="b", operator="o", schedule=1, item="1", number=0, reason="r")
        old = time.time_ns() - 3_600_000_000_000
        writer.append(use, bytes(8), b"\1", function=1, items=1, register_version=1, time_ns=old)
    with Server(configuration) as server:
        assert server.wait_for("clock_set_back")["seconds"] > 3_500
        server.wait_for_metric("jukinet_seal_clock_back_total 1")


def old_log(log: Path) -> None:
    """Provisions of three years ago, sealed then."""
    log.mkdir()
    then_ns = time.time_ns() - 3 * 366 * 86_400 * 10**9
    with open_writer(log, 0) as writer:
        writer.append(USE, array("Q", [7]), b"\1", function=1, items=1, register_version=1, time_ns=then_ns)
        writer.commit()
    with Sealer(log, KEY, clock=lambda: then_ns) as sealer:
        assert sealer.step() is not None


def test_nothing_is_erased_by_a_clock_that_the_record_does_not_bear_out(place: Place, tmp_path: Path) -> None:
    """Three years without a provision: the clock may have leapt. By hand, with the day named, it is believed."""
    log = tmp_path / "log"
    old_log(log)
    key = tmp_path / "log.key"
    key.write_text(KEY.encode())
    sections = {"key": "log.key", "poll_seconds": 0.05, "retention_years": 1}
    configuration = place.configuration(tmp_path, sealing=sections, record_of_use={"directory": str(log)})
    with Server(configuration) as server:
        told = server.wait_for("erasure_refused")
        assert "days beyond the newest sealed provision" in told["reason"]
    assert (log / "worker-00-000000000000.rou").exists()
    log = tmp_path / "by-hand"
    old_log(log)
    words = ["audit", "seal", str(log), "--key", str(key), "--retention-years", "1"]
    assert main(words) == 1
    today = day_in_japan()
    assert main([*words, "--date", (today - datetime.timedelta(1)).isoformat()]) == 2
    assert (log / "worker-00-000000000000.rou").exists()
    assert main([*words, "--date", today.isoformat()]) == 0
    assert not (log / "worker-00-000000000000.rou").exists()
    report = Verification(log, KEY.public, retention_years=1).run()
    assert (report.findings, report.erased_segments) == ([], 1)


def test_a_key_that_cannot_be_read_is_a_refusal_to_start(place: Place, tmp_path: Path) -> None:
    configuration = sealing(place, tmp_path)
    (tmp_path / "log.key").write_text("not a key")
    server = Server(configuration)
    assert server.stop(None) == 5
    assert any("sealing.key" in line for line in server.raw)


def test_a_second_sealer_is_refused_while_the_server_runs(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(sealing(place, tmp_path)) as server:
        with Caller(place, server.port) as caller:
            caller.open()
            caller.lookup(list(place.codes[:5]))
        server.wait_for("segment_sealed")
        assert main(["audit", "seal", str(tmp_path / "record-of-use"), "--key", str(tmp_path / "log.key")]) == 5
        assert "another process seals" in capsys.readouterr().err
