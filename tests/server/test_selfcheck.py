from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.errors import ConfigurationError
from jukinet.server import selfcheck, selfcheck_command, signed_report
from jukinet.server.alarm_file import Alarm, AlarmFile
from jukinet.server.configuration import Configuration, load
from jukinet.server.pki.trial import PkiError
from jukinet.server.selfcheck import Finding, Result, inspect
from jukinet.server.signed_report import ReportError, make_key, read_private_key, read_public_key, signed, verified

from ..audit.logs import append, open_writer
from ..audit.sealed_logs import KEY, seal_all
from .revocations import revocation_list
from .serving import Place


class Machine:
    """A configuration in which every check is ok, but for what a test then spoils."""

    def __init__(self, place: Place, directory: Path) -> None:
        self.directory = directory
        make_key(directory / "selfcheck.pem")
        (directory / "list.pem").write_bytes(revocation_list(place.directory, days=6.0))
        for name in ("record-of-use", "watch", "backups"):
            (directory / name).mkdir(mode=0o700)
        (directory / "backups" / "register.copy").write_text("copy")
        with open_writer(directory / "record-of-use") as writer:
            for _ in range(12):
                append(writer, [12345678903] * 2_000)
                writer.commit()
        self.path = place.configuration(
            directory,
            tls={"revocation_list": "list.pem"},
            boundary={"certificate_days_max": 20, "certificate_warn_days": 1},
            watch={"directory": "watch"},
            record_of_use={"free_bytes_min": 1},
            selfcheck={"key": "selfcheck.pem", "backup_directory": "backups"},
        )
        self.path.chmod(0o644)
        (directory / "authority.toml").chmod(0o644)
        place.store.chmod(0o700)

    def settings(self) -> Configuration:
        return load(self.path)

    def results(self, **options: bool) -> dict[str, Finding]:
        return {finding.check: finding for finding in inspect(self.path, self.settings(), **options).findings}

    def finds(self, check: str, result: Result, said: str) -> None:
        finding = self.results(with_store=check == "store")[check]
        assert (finding.result, said in finding.says) == (result, True), finding


@pytest.fixture
def machine(place: Place, tmp_path: Path) -> Machine:
    return Machine(place, tmp_path)


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    selfcheck_command.add_arguments(parser)
    return selfcheck_command.run(parser.parse_args(words))


def test_a_machine_in_order(machine: Machine) -> None:
    found = machine.results()
    assert set(found) == set(selfcheck.CHECKS)
    del found["clock"]  # a container's clock may not be synchronised by anything it knows of
    assert {finding.result for finding in found.values()} == {Result.OK}, found
    assert "3,000 entries" in found["store"].says


def test_the_report_is_signed_and_any_change_is_noticed(machine: Machine, capsys: Any, tmp_path: Path) -> None:
    assert run("--config", str(machine.path), "--json") == 0
    report = capsys.readouterr().out
    path = tmp_path / "report"
    path.write_text(report)
    public = str(tmp_path / "selfcheck.pem.pub")
    assert run("verify", str(path), "--key", public) == 0
    body = json.loads(report.splitlines()[0])
    assert {finding["check"] for finding in body["findings"]} == set(selfcheck.CHECKS)
    path.write_text(report.replace('"ok"', '"no"', 1))
    with pytest.raises(ReportError, match="signature does not hold"):
        run("verify", str(path), "--key", public)
    make_key(tmp_path / "other.pem")
    path.write_text(report)
    with pytest.raises(ReportError, match="another key"):
        run("verify", str(path), "--key", str(tmp_path / "other.pem.pub"))
    assert run("--config", str(machine.path), "--without-store") == 0
    text = capsys.readouterr().out
    assert "not checked  store" in text
    assert "signature" not in text
    (tmp_path / "key.pub").write_bytes((tmp_path / "selfcheck.pem.pub").read_bytes())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the independent check needs openssl")
def test_openssl_agrees(tmp_path: Path) -> None:
    make_key(tmp_path / "k.pem")
    report = signed("two\nlines\n", read_private_key(tmp_path / "k.pem")).encode()
    (tmp_path / "report").write_bytes(report)
    script = (
        "head -n -1 report > body && tail -n 1 report | cut -d' ' -f4 | base64 -d > signature && "
        "openssl pkeyutl -verify -pubin -inkey k.pem.pub -rawin -in body -sigfile signature"
    )
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Success" in done.stdout, done


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_byte_of_a_report_can_be_changed(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "k.pem"
    if not path.exists():
        make_key(path)
    report = bytearray(signed("a report\nof two lines\n", read_private_key(path)).encode())
    key = read_public_key(tmp_path / "k.pem.pub")
    assert verified(bytes(report), key) == "a report\nof two lines\n"
    place = data.draw(st.integers(0, len(report) - 1))
    report[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ReportError):
        verified(bytes(report), key)
    with pytest.raises(ReportError):
        verified(bytes(report[: data.draw(st.integers(0, len(report) - 1))]), key)


def test_keys(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "k.pem"
    make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(PkiError, match="nothing was overwritten"):
        make_key(path)
    with pytest.raises(ConfigurationError, match="no Ed25519 key"):
        read_private_key(place.files["server"].key)
    with pytest.raises(ConfigurationError, match="no unencrypted private key"):
        read_private_key(place.files["server"].certificate)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_public_key(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="no public key"):
        read_public_key(path)
    with pytest.raises(ReportError, match="too long"):
        verified(b" " * (signed_report.REPORT_BYTES_MAX + 1), read_public_key(tmp_path / "k.pem.pub"))


def test_without_a_key_nothing_is_inspected(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"selfcheck\.key is not set"):
        run("--config", str(place.configuration(tmp_path)))
    with pytest.raises(ConfigurationError, match="give --config"):
        run()


def test_configuration_and_authority(machine: Machine) -> None:
    (machine.directory / "authority.toml").write_text("nonsense")
    machine.finds("authority", Result.FAILED, "authority.toml")
    (machine.directory / "authority.toml").unlink()
    machine.finds("configuration", Result.FAILED, "authority.file")


def test_certificates(machine: Machine, place: Place) -> None:
    path = machine.directory / "list.pem"
    path.write_bytes(revocation_list(place.directory, days=0.5))
    machine.finds("certificates", Result.WARNING, "revocation_list of the query port ends in 0.5 days")
    path.write_bytes(revocation_list(place.directory, days=-0.5))
    machine.finds("certificates", Result.FAILED, "has ended")
    path.write_bytes(b"")
    machine.finds("certificates", Result.FAILED, "tls")


def test_permissions(machine: Machine) -> None:
    (machine.directory / "selfcheck.pem").chmod(0o640)
    machine.finds("permissions", Result.FAILED, "selfcheck.pem has mode 0640")
    (machine.directory / "selfcheck.pem").chmod(0o600)
    machine.path.chmod(0o666)
    machine.finds("permissions", Result.FAILED, "server.toml has mode 0666")
    machine.path.chmod(0o600)
    watch = machine.directory / "watch"
    (watch / "alarms.jsonl").touch(mode=0o600)
    watch.chmod(0o755)
    assert machine.results(with_store=False)["permissions"].result is Result.OK
    (watch / "alarms.jsonl").chmod(0o644)
    machine.finds("permissions", Result.FAILED, "alarms.jsonl")


def test_log_continuity(machine: Machine) -> None:
    log = machine.directory / "record-of-use"
    segments = sorted(log.glob("*.rou"))
    assert len(segments) >= 3
    whole = segments[1].read_bytes()
    segments[1].unlink()
    machine.finds("log_continuity", Result.FAILED, "is missing")
    segments[1].write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    machine.finds("log_continuity", Result.FAILED, segments[1].name)
    segments[1].write_bytes(whole)
    segments[-1].write_bytes(segments[-1].read_bytes()[:-50] + b"\1" * 20)
    finding = machine.results(with_store=False)["log_continuity"]
    assert finding.result in (Result.FAILED, Result.WARNING)


def test_the_sealed_record_is_verified_and_its_key_is_secret(machine: Machine) -> None:
    log, key = machine.directory / "record-of-use", machine.directory / "sealing.key"
    key.write_text(KEY.encode())
    key.chmod(0o600)
    machine.path.write_text(machine.path.read_text() + f'\n[sealing]\nkey = "{key}"\n')
    machine.finds("log_continuity", Result.FAILED, "never sealed")
    assert seal_all(log) > 0
    machine.finds("log_continuity", Result.OK, "root ")
    seal = sorted((log / "tree" / "seals").iterdir())[0]
    whole = seal.read_bytes()
    seal.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    machine.finds("log_continuity", Result.FAILED, seal.name)
    seal.write_bytes(whole)
    key.chmod(0o644)
    machine.finds("permissions", Result.FAILED, "sealing.key has mode 0644")


def test_clock_set_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(selfcheck.time, "time", lambda: now - 3_600)
    machine.finds("clock", Result.FAILED, "before the newest segment")


def test_disk_room_backups_and_alarms(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = machine.directory / "backups" / "register.copy"
    os.utime(backup, (0, time.time() - 30 * 3_600))
    machine.finds("backups", Result.FAILED, "30.0 hours old")
    backup.unlink()
    machine.finds("backups", Result.FAILED, "holds no file")
    (machine.directory / "backups").rmdir()
    machine.finds("backups", Result.FAILED, "not a directory")
    whose: dict[str, Any] = {"role": "agency", "body": "b", "operator": "secret", "affair": "1-1-0"}
    alarm = Alarm(number=1, time="", rule="absent", value=1, limit=1, **whose)
    AlarmFile(machine.directory / "watch").append([alarm])
    machine.finds("alarms", Result.WARNING, "1 alarms wait")
    assert "secret" not in inspect(machine.path, machine.settings(), with_store=False).text()
    text = machine.path.read_text().replace("free_bytes_min = 1", f"free_bytes_min = {1 << 40}")
    machine.path.write_text(text)
    machine.finds("disk_room", Result.FAILED, "GB free")


def test_a_damaged_register_and_a_check_that_breaks_off(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "check_register", lambda _: 1 / 0)
    machine.finds("store", Result.FAILED, "broke off: ZeroDivisionError")
    report = inspect(machine.path, machine.settings())
    assert report.failed
