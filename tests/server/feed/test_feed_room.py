"""The bound on all feeds' waiting batches together, and what is told of a register that cannot be followed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jukinet.core.store.check import check_register
from jukinet.core.wire import feed_messages as fm

from ..serving import Place, Server
from .feeding import AREA_OF, BODIES, Feed, FeedPlace, entries, feed_port

UNFOLLOWED = """
import os
from jukinet.core.errors import StoreError
from jukinet.core.store.reader import RegisterReader
real, stop = RegisterReader.begin_refresh, os.environ["UNFOLLOWED"]
def begin_refresh(self):
    if os.path.exists(stop):
        raise StoreError("the register cannot be read")
    return real(self)
RegisterReader.begin_refresh = begin_refresh
"""


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


def test_feeds_share_the_room_and_none_stands_still(fed: FeedPlace, tmp_path: Path) -> None:
    """All have batches under way that are together far beyond the bound: each is acknowledged all the same."""
    small = 65_536
    settings = {"batch_bytes_max": small, "queued_bytes_max": small, "queued_bytes_total_max": small}
    with Server(fed.configuration(tmp_path, feed=settings)) as server:
        port = feed_port(server)
        failures: list[BaseException] = []

        def send(prefecture: int, body: str) -> None:
            try:
                with Feed(fed, port, body) as feed:
                    rows = entries(2_000, first=prefecture * 10_000, area=AREA_OF[prefecture])
                    for start in range(0, 2_000, 1_000):
                        for first in range(start, start + 1_000, 250):
                            feed.send(feed.batch(first + 1, rows[first : first + 250]))
                        for first in range(start, start + 1_000, 250):
                            answer = feed.event()
                            assert isinstance(answer, fm.Acknowledged), answer
                            assert answer.position == first + 250
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=send, args=pair, daemon=True) for pair in BODIES.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        server.wait_for_metric("jukinet_feed_queued_bytes 0")
    assert check_register(fed.store).residents == 300 + 8_000


def test_a_worker_that_cannot_follow_the_register_says_so(fed: FeedPlace, tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(UNFOLLOWED)
    stop = tmp_path / "unfollowed"
    environment = {"PYTHONPATH": str(tmp_path / "start"), "UNFOLLOWED": str(stop)}
    with Server(fed.configuration(tmp_path), environment) as server:
        server.wait_for_metric("jukinet_workers_behind 0")
        stop.touch()
        assert server.wait_for("register_behind")["seconds"] > 1
        server.wait_for_metric("jukinet_workers_behind 1")
        stop.unlink()
        server.wait_for("register_followed_again")
        server.wait_for_metric("jukinet_workers_behind 0")
        assert "jukinet_register_refresh_failures_total 0" not in server.metrics()
