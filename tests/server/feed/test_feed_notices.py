"""Move-in notices between two prefectures through a real server, the alarm, and the paper fall-back."""

from __future__ import annotations

import argparse
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import feed_messages as fm
from jukinet.server import notices_command

from ...feed.test_notices import left
from ..serving import Place, Server
from .feeding import Feed, FeedPlace, connected, feed_port, feed_process


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def server(fed: FeedPlace, tmp_path: Path) -> Iterator[Server]:
    with Server(fed.configuration(tmp_path, feed={"notice_overdue_seconds": 1})) as running:
        yield running


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    notices_command.add_arguments(parser)
    return notices_command.run(parser.parse_args(words))


def test_a_notice_is_delivered_once_also_when_the_writer_is_killed(
    fed: FeedPlace, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = feed_port(server)
    with Feed(fed, port, "tokyo") as tokyo:
        kept = tokyo.ask(left(41))
        assert isinstance(kept, fm.NoticeKept)
        assert kept.number == 1
    os.kill(feed_process(server), signal.SIGKILL)
    with connected(fed, port, "osaka") as osaka, connected(fed, port, "tokyo") as tokyo:
        assert tokyo.ask(left(41)).number == 1  # sent again, for the receipt might have been lost
        taken = osaka.ask(fm.NoticeTake(osaka.wire.new_request_id(), 10))
        assert [(n.number, n.name) for n in taken.notices] == [(1, "秘密41")]
        server.wait_for("notices_overdue", notices=1)
        server.wait_for_metric("jukinet_notices_overdue 1")
        (own,) = tokyo.ask(fm.NoticeList(tokyo.wire.new_request_id(), 0, 10)).notices
        assert own.state is NoticeState.OVERDUE
        assert command("list", "--store", str(fed.store), "--overdue-seconds", "1") == 1
        listed = capsys.readouterr().out
        assert "from 13101 to 27127" in listed
        assert "1 overdue" in listed
        assert "秘密" not in listed
        paper = tmp_path / "paper.txt"
        assert command("print", "--store", str(fed.store), "--overdue-seconds", "1", "--out", str(paper)) == 0
        assert "秘密41" in paper.read_text()
        assert stat.S_IMODE(paper.stat().st_mode) == 0o600
        closed = osaka.ask(fm.NoticeReceived(osaka.wire.new_request_id(), [1]))
        assert closed.closed == 1
        assert osaka.ask(fm.NoticeTake(osaka.wire.new_request_id(), 10)).notices == []
        assert tokyo.ask(fm.NoticeList(tokyo.wire.new_request_id(), 0, 10)).notices == []
    assert command("list", "--store", str(fed.store)) == 0
    server.wait_for_metric("jukinet_notices_open 0")
    assert "秘密" not in "".join(server.raw)


def test_received_notices_go_after_their_retention(fed: FeedPlace, tmp_path: Path) -> None:
    settings = {"notice_overdue_seconds": 1, "notice_retention_seconds": 0}
    with Server(fed.configuration(tmp_path, feed=settings)) as server:
        with Feed(fed, feed_port(server), "tokyo") as tokyo, Feed(fed, feed_port(server), "osaka") as osaka:
            assert tokyo.ask(left(5)).number == 1
            assert osaka.ask(fm.NoticeReceived(osaka.wire.new_request_id(), [1])).closed == 1
            deadline = time.monotonic() + 10
            # Once it is gone, the same notice_id is a new notice.
            while (number := tokyo.ask(left(5)).number) == 1:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert number == 2


def test_a_register_that_was_never_fed_has_no_notices(fed: FeedPlace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list", "--store", str(fed.store)) == 0
    assert capsys.readouterr().out == "0 not received, 0 overdue\n"
