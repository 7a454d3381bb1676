"""`jukinet record check`: counts what a record of use holds, shows no code, and says when it is damaged."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest

from jukinet.clients.command import main
from jukinet.core.audit.record import RecordOfUse
from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.codes import code_from_key

CODES = array("Q", [code_from_key(key) for key in range(1000)])


def test_counts_and_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "record"
    writer = RecordOfUseWriter(directory, 0, segment_step_bytes=65_536, free_bytes_min=0)
    use = RecordOfUse(role="agency", body="b", operator="o", schedule=1, item="74", number=0, reason="r")
    for function in (1, 1, 2):
        writer.append(use, CODES, bytes([1]) * 1000, function=function, items=1, register_version=1)
        writer.commit()
    writer.close()

    assert main(["record", "check", "--json", str(directory)]) == 0
    held = json.loads(capsys.readouterr().out)
    assert (held["provisions"], held["requests"]) == (3000, 3)
    assert held["by_function"] == {"LOOKUP": 2000, "STATUS": 1000}
    assert held["first"] <= held["last"]
    assert main(["record", "check", str(directory)]) == 0
    out = capsys.readouterr().out
    assert "every record verifies" in out
    assert not any(str(code) in out for code in CODES if code > 10_000)

    segment = next(directory.glob("*.rou"))
    content = bytearray(segment.read_bytes())
    content[2_000] ^= 1
    segment.write_bytes(content)
    assert main(["record", "check", str(directory)]) == 1
    assert capsys.readouterr().out.startswith("damaged: ")
    assert main(["record", "check", str(tmp_path / "absent")]) == 5
