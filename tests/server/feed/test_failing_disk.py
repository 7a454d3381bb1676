"""I/O errors of the device (EIO) under the feed writer, in the middle of a transaction and at its end.

A small library that is compiled here and preloaded into the server makes writes, syncs, or the write of LMDB's newest
head page fail: device mappers and FUSE are not to be had everywhere, and neither lets one choose the call.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.errors import ErrorCode
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.store.check import check_register
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m

from ..serving import STEP_SECONDS, Caller, Place, Server
from .feeding import AREA_OF, Feed, FeedPlace, connected, dump, entries, feed_port, feed_process, key_of

LEFT_OUT = ("changes", "meta", "journal")


class FailingDisk:
    """The library, and the switch that makes calls of a kind fail after some have succeeded."""

    def __init__(self, directory: Path) -> None:
        library = directory / "failing_disk.so"
        source = Path(__file__).with_name("failing_disk.c")
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("needs a C compiler")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"], check=True)
        self.switch = directory / "disk-fails"
        self.environment = {"LD_PRELOAD": str(library), "FAILING_DISK": str(self.switch)}

    def fail(self, kind: str, spared: int = 0) -> None:
        made = self.switch.with_suffix(".new")
        made.write_text(f"{kind} {spared}\n")
        made.rename(self.switch)

    def heal(self) -> None:
        self.switch.unlink()


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    return FailingDisk(tmp_path)


def sent_until_taken(fed: FeedPlace, port: int, body: str, rows: list[Notification]) -> int:
    """Send what the register does not have yet, over new connections when one ends; the position it had at first."""
    end = time.monotonic() + STEP_SECONDS
    first: int | None = None
    while True:
        try:
            with connected(fed, port, body) as feed:
                position = feed.greeting.position
                first = position if first is None else first
                if position == len(rows):
                    return first
                answer = feed.notify(position + 1, rows[position:])
                if isinstance(answer, fm.Acknowledged):
                    assert answer.position == len(rows)
                    return first
        except (OSError, EOFError):
            pass
        assert time.monotonic() < end, "the feed does not go on"
        time.sleep(0.1)


def straight(fed: FeedPlace, copy: Path, feeds: dict[int, list[Notification]]) -> None:
    """What the rows make of the register as it was is what the server made of it."""
    with FeedRegister(copy) as register, register.transaction() as transaction:
        for prefecture, rows in feeds.items():
            transaction.apply(prefecture, 1, NotificationBatch.from_notifications(rows))
        transaction.commit()
    assert dump(fed.store, without=LEFT_OUT) == dump(copy, without=LEFT_OUT)
    assert check_register(fed.store).faults == []


@pytest.mark.parametrize(("kind", "spared"), [("write", 0), ("write", 1), ("sync", 0), ("head", 0)])
def test_an_error_of_the_device_refuses_the_batch_and_nothing_acknowledged_is_lost(
    fed: FeedPlace, disk: FailingDisk, tmp_path: Path, kind: str, spared: int
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(fed.store, copy)
    rows = entries(1_500)
    others = entries(20, first=90_000, area=AREA_OF[27])
    # Without the daily purge, which in some runs would be the first to meet the failing device.
    with Server(fed.configuration(tmp_path, retention={"at": ""}), disk.environment) as server:
        port = feed_port(server)
        with Feed(fed, port) as feed, Feed(fed, port, "osaka") as osaka:
            assert feed.notify(1, rows[:700]).position == 700
            disk.fail(kind, spared)
            answer = feed.notify(701, rows[700:])
            assert isinstance(answer, m.Error)
            assert answer.code == ErrorCode.REGISTER_UNAVAILABLE
            assert answer.retry_after_ms > 0
            stopped = server.wait_for("writing_stopped")
            assert "Input/output error" in stopped["reason"]
            if kind != "head":
                server.wait_for_metric("jukinet_feed_writing 0")
                again = osaka.notify(1, others)
                assert isinstance(again, m.Error)
                assert again.code == ErrorCode.REGISTER_UNAVAILABLE
        with Caller(fed, server.port) as caller:
            caller.open()
            assert caller.lookup(fed.codes[:5]).count == 5, "queries go on"
        writer = None
        if kind != "head":
            writer = feed_process(server)
        else:
            assert server.wait_for("register_lost"), "LMDB trusts the environment no more: it is opened anew"
            server.wait_for_metric("jukinet_feed_register_lost_total 1")
        disk.heal()
        position = sent_until_taken(fed, port, "tokyo", rows)
        assert position >= 700, "something acknowledged is lost"
        assert position in {700, 1_500}, "half a batch was applied"
        assert sent_until_taken(fed, port, "osaka", others) in {0, 20}
        if writer is not None:
            server.wait_for("writing_resumed")
            assert feed_process(server) == writer, "no restart is needed"
    straight(fed, copy, {13: rows, 27: others})


def test_a_writer_killed_while_the_device_fails_comes_back_when_it_works(
    fed: FeedPlace, disk: FailingDisk, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(fed.store, copy)
    rows = entries(900)
    with Server(fed.configuration(tmp_path), disk.environment) as server:
        port = feed_port(server)
        with Feed(fed, port) as feed:
            assert feed.notify(1, rows[:400]).position == 400
            disk.fail("write", 2)
            assert isinstance(feed.notify(401, rows[400:]), m.Error)
            os.kill(feed_process(server), signal.SIGKILL)
        server.wait_for("worker_died", worker="feed")
        time.sleep(0.3)  # it is started again meanwhile, while the device still fails
        disk.heal()
        assert sent_until_taken(fed, port, "tokyo", rows) == 400
    straight(fed, copy, {13: rows})
    with FeedRegister(fed.store) as register, register.writer.transaction() as change:
        assert change.get(key_of(1_000 + 899)) is not None
