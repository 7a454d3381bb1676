from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet.core.codes import code_from_key, format_code
from jukinet.core.errors import ConfigurationError, ErrorCode
from jukinet.core.wire import messages as m
from jukinet.server import configuration
from jukinet.server.alarm_file import FILE_NAME, AlarmFile, Released, Stopped

from .serving import Caller, Place, Server

SECONDS = 15.0
WATCH: dict[str, Any] = {
    "directory": "watch",
    "stop_rules": "check_digits",
    "absent_codes_min": 10,
    "check_digit_codes_min": 5,
    "affairs_min": 2,
    "persons_per_hour_min": 40,
    "learning_days": 0,
    "night_from": 0,
    "night_until": 0,
    "first_use_days": 1,
    "poll_milliseconds": 20,
}


@pytest.fixture
def server(place: Place, tmp_path: Path) -> Iterator[Server]:
    with Server(place.configuration(tmp_path, watch=WATCH, server={"workers": 2})) as running:
        yield running


def alarms(server: Server) -> AlarmFile:
    file = AlarmFile(server.directory / "watch")
    file.follow()
    return file


def wait_until_stopped(caller: Caller, code: int) -> m.Error:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        answer = caller.lookup([code])
        if isinstance(answer, m.Error):
            return answer
        time.sleep(0.02)
    raise AssertionError("the operator is not stopped")


def test_misuse_raises_alarms_and_a_guesser_is_stopped(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller, Caller(place, server.port) as other:
        caller.open()
        other.open()
        caller.lookup(place.codes[:1])
        server.wait_for("alarm", rule="first_use")
        held = set(place.codes)
        absent = [code for code in (code_from_key(key * 7_919) for key in range(40)) if code not in held]
        caller.lookup(absent[:20])
        server.wait_for("alarm", rule="absent", body="pensions")
        assert isinstance(caller.lookup(place.codes[:1]), m.LookupAnswer), "absent is no rule that stops"
        caller.lookup([code - code % 10 + (code + 1) % 10 for code in place.codes[:30]])
        server.wait_for("alarm", rule="check_digits")
        server.wait_for("operator_stopped", body="pensions")
        refused = wait_until_stopped(caller, place.codes[0])
        assert refused.code is ErrorCode.OPERATOR_STOPPED
        assert wait_until_stopped(other, place.codes[0]).code is ErrorCode.OPERATOR_STOPPED, "on each connection"
        assert other.open("39").code is ErrorCode.OPERATOR_STOPPED
        bulk = caller.lookup(place.codes[:1_000])
        assert bulk.code is ErrorCode.OPERATOR_STOPPED
        file = alarms(server)
        assert [(operator, stop.by) for (_, _, operator), stop in file.known.stopped.items()] == [
            ("operator-7731", "watch")
        ]
        file.append([Released(time="", role="agency", body="pensions", operator="operator-7731", by="sato")])
        end = time.monotonic() + SECONDS
        while isinstance(caller.lookup(place.codes[:1]), m.Error):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert isinstance(caller.open("39"), m.SessionOpened)
    server.wait_for_metric('jukinet_alarms_total{rule="check_digits"} 1')
    server.wait_for_metric("jukinet_watch_passed_over_total 0")


def test_alarms_name_operator_and_code_in_their_file_only(place: Place, server: Server) -> None:
    code = place.codes[5]
    with Caller(place, server.port) as caller:
        for item in ("77", "39"):
            caller.open(item)
            caller.lookup([code])
        server.wait_for("alarm", rule="many_affairs")
    for name in ("watch.state", FILE_NAME):
        assert (server.directory / "watch" / name).stat().st_mode & 0o777 == 0o600
    found = [one for one in alarms(server).known.alarms.values() if one.rule == "many_affairs"]
    assert [(one.code, one.operator, one.affair) for one in found] == [(format_code(code), "operator-7731", "1-39-0")]
    told = "".join(server.raw) + server.metrics()
    state = (server.directory / "watch" / "watch.state").read_bytes()
    assert format_code(code) not in told
    assert "operator-7731" not in told
    assert b"operator-7731" not in state
    assert code.to_bytes(8, "little") not in state


def test_a_stop_survives_a_restart_and_what_was_learned_too(place: Place, tmp_path: Path) -> None:
    configuration = place.configuration(tmp_path, watch=WATCH)
    with Server(configuration) as server, Caller(place, server.port) as caller:
        caller.open()
        caller.lookup(place.codes[:1])
        server.wait_for("alarm", rule="first_use")
    file = AlarmFile(tmp_path / "watch")
    file.append([Stopped(time="", role="agency", body="pensions", operator="operator-7731", by="sato")])
    with Server(configuration) as server, Caller(place, server.port) as caller:
        assert caller.open().code is ErrorCode.OPERATOR_STOPPED
        with Caller(place, server.port, "slow") as slow:
            assert isinstance(slow.open(), m.SessionOpened), "another body's operator of the same name"
        assert not [record for record in server.records if record["event"] == "watch_begun"]
        file.append([Released(time="", role="agency", body="pensions", operator="operator-7731", by="sato")])
        end = time.monotonic() + SECONDS
        while isinstance(caller.open(), m.Error):
            assert time.monotonic() < end
            time.sleep(0.05)
        caller.lookup(place.codes[:1])
    file.follow()
    assert [one.rule for one in file.known.alarms.values() if one.body == "pensions"] == ["first_use"]
    numbers = sorted(file.known.alarms)
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_state_that_cannot_be_used_is_begun_anew(place: Place, tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "watch.state").write_bytes(b"something else")
    (tmp_path / "watch" / FILE_NAME).write_text("no line of ours\n")
    with Server(place.configuration(tmp_path, watch=WATCH)) as server, Caller(place, server.port) as caller:
        server.wait_for("watch_begun")
        caller.open()
        caller.lookup(place.codes[:1])
        server.wait_for("alarm", rule="first_use")


def test_without_room_for_the_alarms_file_answers_go_on_and_the_stop_holds(place: Place, tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / FILE_NAME).mkdir()  # cannot be opened for writing
    with Server(place.configuration(tmp_path, watch=WATCH)) as server, Caller(place, server.port) as caller:
        caller.open()
        caller.lookup([code - code % 10 + (code + 1) % 10 for code in place.codes[:30]])
        server.wait_for("alarms_not_written")
        (tmp_path / "watch" / FILE_NAME).rmdir()
        assert wait_until_stopped(caller, place.codes[0]).code is ErrorCode.OPERATOR_STOPPED
        end = time.monotonic() + SECONDS
        while not alarms(server).known.stopped:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_wrong_rules_are_refused(place: Place, tmp_path: Path) -> None:
    for words in ("absent rate", "guess"):
        path = place.configuration(tmp_path, watch={"directory": "watch", "stop_rules": words})
        with pytest.raises(ConfigurationError, match="no rule about an operator"):
            configuration.load(path)
