"""Move-in notices between two prefectures through a real server, the alarm, and the paper fall-back."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from jukinet.core.errors import ErrorCode
from jukinet.core.store.check import check_register
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import feed_messages as fm
from jukinet.server import notices_command

from ...feed.test_notices import left
from ..serving import Place, Server
from .feeding import Feed, FeedPlace, connected, feed_port, feed_process


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


ONE_SECOND = 1 / 3_600


@pytest.fixture
def server(fed: FeedPlace, tmp_path: Path) -> Iterator[Server]:
    with Server(fed.configuration(tmp_path, notices={"alarm_hours": ONE_SECOND})) as running:
        yield running


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    notices_command.add_arguments(parser)
    return notices_command.run(parser.parse_args(words))


def test_a_notice_is_delivered_once_also_when_the_writer_is_killed(
    fed: FeedPlace, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = feed_port(server)
    store = ["--store", str(fed.store), "--alarm-hours", str(ONE_SECOND)]
    with Feed(fed, port, "tokyo") as tokyo:
        kept = tokyo.ask(left(41))
        assert isinstance(kept, fm.NoticeKept)
        assert kept.number == 1
    os.kill(feed_process(server), signal.SIGKILL)
    with connected(fed, port, "osaka") as osaka, connected(fed, port, "tokyo") as tokyo:
        assert tokyo.ask(left(41)).number == 1  # sent again, for the receipt might have been lost
        taken = osaka.ask(fm.NoticeTake(osaka.wire.new_request_id(), 10))
        assert [(n.number, n.name) for n in taken.notices] == [(1, "秘密41")]
        told = server.wait_for("notices_overdue", overdue=1)
        assert told["undelivered"] == 1
        server.wait_for_metric("jukinet_notices_overdue 1")
        server.wait_for_metric("jukinet_notices_undelivered 1")
        (own,) = tokyo.ask(fm.NoticeList(tokyo.wire.new_request_id(), 0, 10)).notices
        assert own.state is NoticeState.OVERDUE
        assert command("list", *store) == 1
        listed = capsys.readouterr().out
        assert "from 13101 to 27127" in listed
        assert "1 overdue" in listed
        assert "秘密" not in listed
        paper = tmp_path / "paper.html"
        assert command("print", *store, "--overdue", "--out", str(paper)) == 0  # while the writer runs
        assert "秘密41" in paper.read_text()
        assert tokyo.ask(left(42)).number == 2  # and the writer goes on behind it
        closed = osaka.ask(fm.NoticeReceived(osaka.wire.new_request_id(), [1, 2]))
        assert closed.closed == 2
        assert osaka.ask(fm.NoticeTake(osaka.wire.new_request_id(), 10)).notices == []
        assert tokyo.ask(fm.NoticeList(tokyo.wire.new_request_id(), 0, 10)).notices == []
    assert command("list", *store) == 0
    server.wait_for_metric("jukinet_notices_undelivered 0")
    server.wait_for_metric("jukinet_notices_oldest_seconds 0")
    assert "秘密" not in "".join(server.raw)


def test_refusals_name_the_reason_and_no_person(fed: FeedPlace, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path, notices={"open_per_feed_max": 1})) as server:
        with Feed(fed, feed_port(server), "tokyo") as tokyo:
            assert tokyo.ask(left(1)).number == 1
            refused = [
                tokyo.ask(msgspec.structs.replace(message, request_id=tokyo.wire.new_request_id()))
                for message in (left(1, to_area=1100), left(2), left(3, to_area=27128))
            ]
            assert [error.code for error in refused] == [
                ErrorCode.BAD_REQUEST, ErrorCode.RATE_EXCEEDED, ErrorCode.BAD_REQUEST,
            ]  # fmt: skip
            assert "秘密" not in "".join(error.message for error in refused)
            assert tokyo.ask(left(1)).number == 1  # the connection stays
        server.wait_for_metric("jukinet_notices_undelivered 1")
    assert check_register(fed.store).faults == []


def test_what_was_received_goes_after_its_days(fed: FeedPlace, tmp_path: Path) -> None:
    settings = {"alarm_hours": ONE_SECOND, "retention_days": 0, "receipt_days": 0}
    with Server(fed.configuration(tmp_path, notices=settings)) as server:
        with Feed(fed, feed_port(server), "tokyo") as tokyo, Feed(fed, feed_port(server), "osaka") as osaka:
            assert tokyo.ask(left(5)).number == 1
            assert osaka.ask(fm.NoticeReceived(osaka.wire.new_request_id(), [1])).closed == 1
            deadline = time.monotonic() + 10
            # Once its receipt is gone, the same notice_id is a new notice.
            while (number := tokyo.ask(left(5)).number) == 1:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert number == 2


def test_a_register_that_was_never_fed_has_no_notices(fed: FeedPlace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list", "--store", str(fed.store)) == 0
    assert capsys.readouterr().out == "0 not received, 0 overdue\n"
