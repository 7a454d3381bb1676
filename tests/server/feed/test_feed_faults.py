"""Faults done for real to the feed writer: killed at random, the disk full, batches that fail by themselves."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from pathlib import Path

import lmdb
import pytest

from jukinet.core.errors import ErrorCode
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Fault, Notification, NotificationBatch
from jukinet.core.store import schema
from jukinet.core.store.check import check_register
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m

from ..serving import Place, Server
from .feeding import (
    AREA_OF,
    BODIES,
    Feed,
    FeedPlace,
    connected,
    dump,
    entries,
    entry,
    feed_port,
    feed_process,
    key_of,
)

KILLS = int(os.environ.get("JUKINET_FEED_KILLS", "20"))
"""How often the feed writer is killed; 200 in a long test."""


WAITING_MAX, BATCH_MAX = 400, 100
"""A transaction of these must be shorter than the time between two kills."""


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


class Prefecture(threading.Thread):
    """Sends its notifications in order, from the position that the server names, until all are acknowledged."""

    def __init__(self, fed: FeedPlace, port: int, prefecture: int, seed: int) -> None:
        super().__init__(name=BODIES[prefecture], daemon=True)
        self.prefecture = prefecture
        self.rows: list[Notification] = []
        """What it has to tell: the ``sequence - 1``-th is that with the sequence number."""
        self.acknowledged = 0
        self.failure: BaseException | None = None
        self.ending = threading.Event()
        self._chooser = random.Random(seed)
        self._fed = fed
        self._port = port

    def tell(self) -> None:
        """More to tell: persons enter, are corrected, and leave."""
        area, chooser = AREA_OF[self.prefecture], self._chooser
        for _ in range(chooser.randrange(20, 60)):
            person = key_of(chooser.randrange(3_000) + 10_000 * self.prefecture)
            number = len(self.rows) + 1
            reason = chooser.choice([11, 11, 31, 33, 22, 13])
            fields = {} if reason != 22 else {"name": "", "kana": "", "address": "", "birth_date": 0, "sex": 0}
            self.rows.append(entry(number, person, area, reason=reason, **fields))

    def run(self) -> None:
        try:
            while not self.ending.is_set() or self.acknowledged < len(self.rows):
                try:
                    with connected(self._fed, self._port, BODIES[self.prefecture], 30.0) as feed:
                        self._send_all(feed)
                except (OSError, EOFError):
                    pass
        except BaseException as error:
            self.failure = error

    def _send_all(self, feed: Feed) -> None:
        position = feed.greeting.position
        assert position >= self.acknowledged, "something that was acknowledged is lost"
        assert position <= len(self.rows)
        self.acknowledged = position  # a greeting tells what an acknowledgement that the kill took away would have told
        while not self.ending.is_set() or position < len(self.rows):
            sent = position
            for _ in range(4):
                if not self.ending.is_set() and len(self.rows) - self.acknowledged < WAITING_MAX:
                    self.tell()
                if sent < len(self.rows):
                    rows = self.rows[sent : sent + BATCH_MAX]
                    feed.send(feed.batch(sent + 1, rows))
                    sent += len(rows)
            while feed.wire.under_way:
                answer = feed.event()
                assert isinstance(answer, fm.Acknowledged), answer
                self.acknowledged = position = answer.position
            assert position == sent


@pytest.mark.slow
def test_killed_at_random_instants_nothing_acknowledged_is_lost(fed: FeedPlace, tmp_path: Path) -> None:
    chooser = random.Random(KILLS)
    with Server(fed.configuration(tmp_path)) as server:
        senders = [Prefecture(fed, feed_port(server), number, number) for number in (13, 1, 27)]
        for sender in senders:
            sender.start()
        for kill in range(KILLS):
            time.sleep(chooser.random() * 0.3)
            os.kill(feed_process(server), signal.SIGKILL)
            server.wait_for("feed_writer_ready", kill + 2)
        for sender in senders:
            sender.ending.set()
        for sender in senders:
            sender.join(60)
            assert sender.failure is None, sender.failure
            assert sender.acknowledged == len(sender.rows) > 0
        server.wait_for_metric(f"jukinet_feed_writers_died_total {KILLS}")
    assert check_register(fed.store).faults == []
    # Exactly what a straight run gives, with no server, no kill and other interleavings.
    again = FeedPlace(make(tmp_path / "straight"), fed)
    with FeedRegister(again.store) as register:
        for sender in senders:
            with register.transaction() as transaction:
                transaction.apply(sender.prefecture, 1, NotificationBatch.from_notifications(sender.rows))
                transaction.commit()
        for sender in senders:
            assert register.feed(sender.prefecture).position == len(sender.rows)
    left_out = ("changes", "meta", "journal")
    assert fed.dump(without=left_out) == dump(again.store, without=left_out)


def make(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_a_full_disk_refuses_and_room_resumes(fed: FeedPlace, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path)) as server, Feed(fed, feed_port(server)) as feed:
        assert feed.notify(1, entries(100)).position == 100
        size = (fed.store / "data.mdb").stat().st_size
        process = feed_process(server)
        _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        assert hard == resource.RLIM_INFINITY
        rows = entries(6_000, 20_000)
        with Feed(fed, feed_port(server), "osaka") as osaka:
            refused = None
            for start in range(0, 6_000, 500):
                answer = feed.notify(101 + start, rows[start : start + 500])
                if isinstance(answer, m.Error):
                    refused = 101 + start
                    break
                assert isinstance(answer, fm.Acknowledged)
            assert refused is not None, "the limit was never met"
            assert answer.code == ErrorCode.REGISTER_UNAVAILABLE
            assert answer.retry_after_ms > 0
            server.wait_for("writing_stopped")
            server.wait_for_metric("jukinet_feed_writing 0")
            again = feed.notify(refused, rows[refused - 101 :])
            assert isinstance(again, m.Error)
            assert again.code == ErrorCode.REGISTER_UNAVAILABLE
            resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            answer = feed.notify(refused, rows[refused - 101 :])
            assert isinstance(answer, fm.Acknowledged), answer
            assert answer.position == 6_100
            assert osaka.notify(1, entries(5, 90_000, AREA_OF[27])).position == 5
        server.wait_for("writing_resumed")
        assert feed_process(server) == process, "no restart is needed"
    assert check_register(fed.store).faults == []


def test_more_than_a_block_can_hold_goes_into_quarantine(fed: FeedPlace, tmp_path: Path) -> None:
    """More persons than a block can hold, in one block: those that do not fit are reported, and the feed goes on."""
    with Server(fed.configuration(tmp_path)) as server, Feed(fed, feed_port(server)) as feed:
        rows = [entry(1, 7_000_000_000 + key) for key in range(2_500)]
        told = feed.notify(1, rows)
        assert isinstance(told, fm.Acknowledged)
        assert told.position == 2_500
        assert {fault for _, fault in told.quarantined} == {Fault.NO_ROOM}
        assert 500 < told.applied == 2_500 - len(told.quarantined) < 2_000
        removed = entry(2, 7_000_000_000, reason=21, birth_date=0, sex=0, name="", kana="", address="")
        told = feed.notify(2_501, [removed, *entries(3)])
        assert (told.position, told.applied, told.quarantined) == (2_504, 4, [])
    assert check_register(fed.store).faults == []


def test_a_batch_that_fails_by_itself_does_not_hold_up_others(fed: FeedPlace, tmp_path: Path) -> None:
    """The block that it concerns is damaged: only it is refused."""
    environment = lmdb.open(str(fed.store), max_dbs=32)
    residents = environment.open_db(b"residents", integerkey=True, create=False)
    with environment.begin(write=True) as change, change.cursor(db=residents) as cursor:
        assert cursor.first()
        meta = environment.open_db(b"meta", change, create=False)
        width = schema.read_meta(change, meta, fed.store).width
        first_key = schema.NUMBER.unpack(cursor.key())[0] * width
        change.put(cursor.key(), cursor.value()[:-4] + b"????", db=residents)
    environment.close()
    with Server(fed.configuration(tmp_path)) as server, Feed(fed, feed_port(server)) as feed:
        rows = [entry(1, first_key)]
        with Feed(fed, feed_port(server), "osaka") as osaka:
            for step in range(4):
                feed.send(feed.batch(1, rows))
                osaka.send(osaka.batch(step * 10 + 1, entries(10, 500 + step * 10, AREA_OF[27])))
            for step in range(4):
                answer = feed.event()
                assert isinstance(answer, m.Error)
                assert answer.code == ErrorCode.INTERNAL
                assert osaka.event().position == step * 10 + 10
        assert feed.notify(1, entries(3)).position == 3
        server.wait_for("batch_failed")
    assert check_register(fed.store).faults[0] == "bucket 0: checksum"
