from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest

from jukinet.server import alarm_file, alarms_command
from jukinet.server.alarm_file import Acknowledged, Alarm, AlarmFile, AlarmsError, Stopped

NOW = "2026-04-01T09:00:00.000+00:00"


def alarm(number: int, rule: str = "absent", code: str = "") -> Alarm:
    return Alarm(
        number=number, time=NOW, rule=rule, role="agency", body="mofa", operator="op-1", affair="1-41-0", value=60.5,
        limit=50, code=code,
    )  # fmt: skip


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    alarms_command.add_arguments(parser)
    return alarms_command.run(parser.parse_args(words))


def stop(operator: str = "op-1") -> Stopped:
    return Stopped(time=NOW, role="agency", body="mofa", operator=operator, by="watch")


def test_listing_shows_what_waits_and_a_code_only_when_asked(tmp_path: Path, capsys: Any) -> None:
    assert run("list", str(tmp_path)) == 0
    AlarmFile(tmp_path).append([alarm(1), alarm(2, "many_affairs", "12345678903")])
    assert run("list", str(tmp_path)) == 1
    told = capsys.readouterr().out
    assert "mofa/op-1" in told
    assert "many_affairs" in told
    assert "12345678903" not in told
    assert run("list", str(tmp_path), "--codes", "--rule", "many_affairs", "--json") == 1
    row = json.loads(capsys.readouterr().out)
    assert (row["number"], row["code"], row["value"]) == (2, "12345678903", 60.5)
    assert run("acknowledge", str(tmp_path), "1", "2", "--by", "sato", "--note", "a new batch job") == 0
    assert run("list", str(tmp_path)) == 0
    capsys.readouterr()
    assert run("list", str(tmp_path), "--all") == 0
    assert "acknowledged by sato: a new batch job" in capsys.readouterr().out


def test_acknowledging_what_is_no_alarm_writes_nothing(tmp_path: Path, capsys: Any) -> None:
    AlarmFile(tmp_path).append([alarm(1)])
    before = (tmp_path / alarm_file.FILE_NAME).read_bytes()
    assert run("acknowledge", str(tmp_path), "1", "7", "--by", "sato") == 1
    assert "7" in capsys.readouterr().out
    assert (tmp_path / alarm_file.FILE_NAME).read_bytes() == before


def test_stopping_and_releasing_by_hand(tmp_path: Path, capsys: Any) -> None:
    assert run("stop", str(tmp_path), "mofa/op-1", "--by", "sato") == 0
    assert run("stop", str(tmp_path), "mofa/op-1", "--by", "sato") == 0
    assert run("stopped", str(tmp_path), "--json") == 0
    assert '"operator":"op-1"' in capsys.readouterr().out
    assert run("release", str(tmp_path), "mofa/op-1", "--role", "prefecture", "--by", "sato") == 1
    assert run("release", str(tmp_path), "mofa/op-1", "--by", "sato") == 0
    file = AlarmFile(tmp_path)
    file.follow()
    assert file.known.stopped == {}
    with pytest.raises(AlarmsError, match="BODY/OPERATOR"):
        run("stop", str(tmp_path), "op-1", "--by", "sato")
    with pytest.raises(AlarmsError, match="not a directory"):
        run("list", str(tmp_path / "none"))


def test_the_file_is_its_owners_and_a_torn_line_is_closed(tmp_path: Path) -> None:
    file = AlarmFile(tmp_path)
    file.append([alarm(1)])
    path = tmp_path / alarm_file.FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("ab") as raw:
        raw.write(b'{"kind":"alarm","numb')
    reader = AlarmFile(tmp_path)
    assert reader.follow()
    assert (set(reader.known.alarms), reader.known.unreadable) == ({1}, 0)
    file.append([alarm(2)])
    assert reader.follow()
    assert (set(reader.known.alarms), reader.known.unreadable) == ({1, 2}, 1)
    assert not reader.follow()


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_every_torn_tail_leaves_the_lines_before_it(tmp_path: Path, cut: int) -> None:
    file = AlarmFile(tmp_path)
    file.append([stop("op-1")])
    path = tmp_path / alarm_file.FILE_NAME
    whole = path.stat().st_size
    file.append([alarm(1)])
    os.truncate(path, whole + cut)
    file.append([stop("op-2")])
    reader = AlarmFile(tmp_path)
    reader.follow()
    assert [operator for _, _, operator in reader.known.stopped] == ["op-1", "op-2"]


def test_a_full_file_takes_stops_but_no_alarms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_file, "FILE_BYTES_MAX", 100)
    file = AlarmFile(tmp_path)
    assert file.append([alarm(1)]) == 0
    assert file.append([alarm(2), stop(), Acknowledged(time=NOW, numbers=[1], by="sato")]) == 1
    file.follow()
    assert (set(file.known.alarms), set(file.known.acknowledged), len(file.known.stopped)) == ({1}, {1}, 1)


def test_rotation_keeps_stops_and_followers_notice(tmp_path: Path, capsys: Any) -> None:
    AlarmFile(tmp_path).append([alarm(1), stop("op-1"), stop("op-2")])
    follower = AlarmFile(tmp_path, keep=False)
    assert follower.follow()
    assert (follower.known.alarms, follower.known.highest) == ({}, 1)
    assert run("release", str(tmp_path), "mofa/op-2", "--by", "sato") == 0
    assert run("rotate", str(tmp_path), "alarms-2026.jsonl") == 0
    with pytest.raises(AlarmsError, match="exists"):
        run("rotate", str(tmp_path), "alarms-2026.jsonl")
    with pytest.raises(AlarmsError, match="without a directory"):
        run("rotate", str(tmp_path), "../alarms")
    assert (tmp_path / alarm_file.FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert follower.follow()
    assert set(follower.known.stopped) == {("agency", "mofa", "op-1")}
    capsys.readouterr()
    assert run("list", str(tmp_path)) == 0


def test_what_cannot_be_opened_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / alarm_file.FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlarmsError, match="cannot be written"):
        AlarmFile(tmp_path).append([alarm(1)])
