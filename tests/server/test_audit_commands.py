"""`jukinet audit` and `jukinet disclose` as commands: output, files, exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from jukinet.clients.command import main
from jukinet.core.audit.disclosure import Disclosure

from ..audit.logs import segments
from ..audit.sealed_logs import CODES, write_requests


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Sealed by the command, with a key made by the command; key.pub lies beside it."""
    key = str(tmp_path / "key")
    assert main(["audit", "key", key, "--name", "example.jp/log"]) == 0
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().out.strip() == (tmp_path / "key.pub").read_text().strip()
    assert main(["audit", "key", key, "--name", "example.jp/log"]) == 2, "never written over"
    directory = tmp_path / "log"
    for life in range(2):
        write_requests(directory, 0, 20, seed=life)
    assert main(["audit", "seal", str(directory), "--key", key]) == 0
    assert "40 records" in capsys.readouterr().out
    return directory


def public(log: Path) -> str:
    return str(log.parent / "key.pub")


def test_verify(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(log), "--key", public(log), "--deep"]) == 0
    assert "whole, and as it was signed" in capsys.readouterr().out
    assert main(["audit", "verify", str(log), "--key", (log.parent / "key.pub").read_text().strip(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 40
    kept = log.parent / "kept"
    kept.write_text((log / "tree/checkpoint").read_text())
    assert main(["audit", "verify", str(log), "--key", public(log), "--checkpoint", str(kept)]) == 0
    path = segments(log)[1]
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\0\0" + content[202:])
    capsys.readouterr()
    assert main(["audit", "verify", str(log), "--key", public(log)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("changed: ")
    assert "at byte 168 (worker 0, record 21)" in out
    path.unlink()
    assert main(["audit", "verify", str(log), "--key", public(log)]) == 1
    assert main(["audit", "verify", str(log), "--key", public(log), "--without-content"]) == 0
    assert main(["audit", "verify", str(log), "--key", "nonsense"]) == 2
    kept.write_text("nonsense")
    assert main(["audit", "verify", str(log), "--key", public(log), "--checkpoint", str(kept)]) == 2
    assert main(["audit", "verify", str(log / "nowhere"), "--key", public(log)]) == 5


def test_disclose_and_the_resident_who_checks_it(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = str(CODES[0])
    file = log.parent / "answer.json"
    assert main(["disclose", code, "--record", str(log), "--json", "--out", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    answer = Disclosure.decode(file.read_bytes())
    assert main(["disclose", "verify", str(file), "--key", public(log)]) == 0
    assert f"{len(answer.provisions):,} provisions are proved" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(code + "\n"))
    assert main(["disclose", "-", "--record", str(log)]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == len(answer.provisions) + 2
    assert "現況確認" in text
    assert main(["disclose", code, "--record", str(log), "--html"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<tr>") == len(answer.provisions) + 1
    assert "http" not in page.replace("http-equiv", "")
    forged = file.read_bytes().replace(b"japan-pension-service", b"nobody")
    file.write_bytes(forged)
    assert main(["disclose", "verify", str(file), "--key", public(log)]) == 1
    assert "not proved" in capsys.readouterr().out


def test_no_record_exists(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disclose", "24727059608", "--former", "10000000006", "--record", str(log)]) == 0
    capsys.readouterr()
    file = log.parent / "none.json"
    assert main(["disclose", "01354788434", "--record", str(log), "--json", "--out", str(file)]) == 0
    assert main(["disclose", "verify", str(file), "--key", public(log)]) == 0
    assert "no record exists" in capsys.readouterr().out
    assert main(["disclose", "01354788434", "--record", str(log)]) == 0
    assert "no record exists" in capsys.readouterr().out
    assert main(["disclose", "01354788434", "--record", str(log), "--html"]) == 0
    assert "存在しません" in capsys.readouterr().out


def test_usage(log: Path) -> None:
    assert main(["disclose", "01354788434"]) == 2
    assert main(["disclose", "verify", "x"]) == 2
    assert main(["disclose", "not a code", "--record", str(log)]) != 0
