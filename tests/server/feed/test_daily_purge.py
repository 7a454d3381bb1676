"""The feed writer purges each day: between the feeds' transactions, once, and a restart goes on with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.records.resident import Resident
from jukinet.core.store.check import check_register
from jukinet.core.vocabulary import Outcome, State

from ...core.stores import build_store
from ..serving import Caller, Place, Server
from .feeding import Feed, FeedPlace, entries, feed_port

DEAD = 200


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    made = FeedPlace(tmp_path, place)
    dead = [
        Resident(key=7 + key * 100_003, state=State.DEAD, reason=22, name=f"秘密{key}", area=0, town=1)
        for key in range(1, DEAD + 1)
    ]
    made.store = tmp_path / "with-dead"
    made.table = build_store(made.store, [*made.table.values(), *dead], expected_entries=100_000)
    return made


def test_the_feed_writer_purges_while_feeds_go_on(fed: FeedPlace, tmp_path: Path) -> None:
    configuration = fed.configuration(tmp_path, retention={"rule": "five-years", "at": "00:00"})
    with Server(configuration) as server:
        with Feed(fed, feed_port(server)) as feed:
            assert feed.notify(1, entries(20)).position == 20
        done = server.wait_for("retention_done")
        assert (done["dead"], done["removed"]) == (DEAD, 0)
        server.wait_for_metric(f"jukinet_retention_expired_total {DEAD}")
        server.wait_for_metric("jukinet_retention_days_behind 0")
        server.wait_for_metric("jukinet_retention_failures_total 0")
        with Caller(fed, server.port) as caller:
            caller.open()
            codes = [code_from_key(7 + 100_003), code_from_key(100_003)]
            assert list(caller.lookup(codes).outcomes) == [Outcome.EXPIRED, Outcome.CURRENT]
        assert not any("秘密" in line for line in server.raw)
    with Server(configuration) as server:
        with Feed(fed, feed_port(server)) as feed:
            assert feed.notify(21, entries(20, first=2_000)).position == 40
        assert not any(event["event"] == "retention_began" for event in server.records)
    assert check_register(fed.store).faults == []


def test_without_an_hour_nothing_is_purged(fed: FeedPlace, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path, retention={"rule": "five-years", "at": ""})) as server:
        with Feed(fed, feed_port(server)) as feed:
            assert feed.notify(1, entries(20)).position == 20
    assert check_register(fed.store).by_state["dead"] == DEAD
