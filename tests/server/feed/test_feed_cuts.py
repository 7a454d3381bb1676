"""A connection cut at every byte position of an exchange, in one process: no batch is lost, none is applied twice."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.holdings import Digest
from jukinet.core.notifications import NotificationBatch
from jukinet.core.wire import FeedClientConnection, FeedServerConnection
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m

from ...core.stores import build_store
from .feeding import dump, entries, entry

DAY = datetime.date(2026, 11, 24)
ROWS = [*entries(1), entry(1, 77, name="名", kana="", address=""), *entries(1, 50)]


class End:
    """Both ends of one connection over a register; what the client may send and receive is cut off at a byte."""

    def __init__(self, register: FeedRegister, up_bytes: int, down_bytes: int) -> None:
        self.register = register
        self.server, self.client = FeedServerConnection(), FeedClientConnection()
        self.up, self.down = up_bytes, down_bytes
        self.sent_up = self.sent_down = 0

    def _pass(self, data: bytes, left: int, end: FeedServerConnection | FeedClientConnection) -> int:
        data = data[:left]
        for start in range(0, len(data), 1_000):
            part = data[start : start + 1_000]
            end.get_buffer()[: len(part)] = part
            end.received(len(part))
        return len(data)

    def to_server(self, message: fm.FeedClientMessage) -> list[object]:
        data = self.client.send(message)
        whole = b"".join(bytes(part) for part in data) if isinstance(data, list) else bytes(data)
        self.sent_up += len(whole)
        self.up -= self._pass(whole, self.up, self.server)
        return list(iter(self.server.next_event, None))

    def to_client(self, message: fm.FeedServerMessage) -> list[object]:
        data = self.server.send(message)
        whole = b"".join(bytes(part) for part in data) if isinstance(data, list) else bytes(data)
        self.sent_down += len(whole)
        self.down -= self._pass(whole, self.down, self.client)
        return list(iter(self.client.next_event, None))


def exchange(register: FeedRegister, up_bytes: int, down_bytes: int) -> tuple[End, int | None]:
    """Greeting, the rest of ROWS in two batches, acknowledgements: the last position that the client heard of."""
    end = End(register, up_bytes, down_bytes)
    digest: Digest = register.holdings(13)
    greeting = fm.FeedGreeting(
        server="test",
        register="0" * 32,
        body="tokyo",
        prefecture=13,
        position=register.feed(13).position,
        digest_count=digest.count,
        digest_sum=digest.sum,
        areas=[13101],
        today=20261124,
        limits=end.server.limits,
    )
    heard: int | None = None
    for event in end.to_client(greeting):
        assert isinstance(event, fm.FeedGreeting)
        heard = event.position
    if heard is None:
        return end, None
    position = heard
    for first, rows in [(position + 1, ROWS[position : position + 1]), (position + 2, ROWS[position + 1 :])]:
        if not rows:
            continue
        batch = NotificationBatch.from_notifications(rows)
        for request in end.to_server(fm.Notify(end.client.new_request_id(), first, batch)):
            assert isinstance(request, fm.Notify)
            with register.transaction() as transaction:
                applied = transaction.apply(13, request.first_sequence, request.batch)
                transaction.commit()
            answer = fm.Acknowledged(
                request.request_id,
                position=applied.position,
                digest_count=applied.digest.count,
                digest_sum=applied.digest.sum,
                applied=applied.applied,
                kept=applied.kept,
                quarantined=applied.quarantined,
            )
            for event in end.to_client(answer):
                assert isinstance(event, fm.Acknowledged)
                heard = event.position
    return end, heard


def register_of(directory: Path) -> FeedRegister:
    build_store(directory, [], expected_entries=100_000)
    return FeedRegister(directory, today=lambda: DAY)


def test_cut_at_every_byte_position_of_an_exchange(tmp_path: Path) -> None:
    with register_of(tmp_path / "straight") as register:
        whole, heard = exchange(register, 1 << 20, 1 << 20)
        assert heard == len(ROWS)
    wanted = dump(tmp_path / "straight", without=("changes", "meta", "journal"))
    cuts = [(up, 1 << 20) for up in range(whole.sent_up)] + [(1 << 20, down) for down in range(whole.sent_down)]
    assert len(cuts) > 700
    register_of(tmp_path / "empty").close()
    for number, (up, down) in enumerate(cuts):
        directory = tmp_path / f"cut{number}"
        shutil.copytree(tmp_path / "empty", directory)
        with FeedRegister(directory, today=lambda: DAY) as register:
            _, heard = exchange(register, up, down)
            assert register.feed(13).position >= (heard or 0), "something acknowledged is lost"
            _, heard = exchange(register, 1 << 20, 1 << 20)
            assert heard == len(ROWS)
        assert dump(directory, without=("changes", "meta", "journal")) == wanted
        shutil.rmtree(directory)


def test_a_clock_that_jumps_back_is_not_followed(tmp_path: Path) -> None:
    clock = iter([datetime.date(2026, 11, 24), datetime.date(1999, 1, 1), datetime.date(2026, 11, 25)])
    build_store(tmp_path / "r", [], expected_entries=100_000)
    with FeedRegister(tmp_path / "r", today=lambda: next(clock)) as register:
        for number in range(3):
            with register.transaction() as transaction:
                row = ROWS[number]
                transaction.apply(13, number + 1, NotificationBatch.from_notifications([row]))
                transaction.commit()
        with register.writer.transaction() as change:
            registered = [change.get(row.code // 10) for row in ROWS[:3]]
    assert [entry.registered_day for entry in registered if entry is not None] == [9824, 9824, 9825]


def test_pings_of_the_server_are_no_part_of_the_sequence(tmp_path: Path) -> None:
    with register_of(tmp_path / "r") as register:
        end, _ = exchange(register, 1 << 20, 1 << 20)
        (ping,) = end.to_client(m.Ping(0, b"abcdefgh"))
        assert isinstance(ping, m.Ping)
        (pong,) = end.to_server(m.Pong(0, ping.data))
        assert isinstance(pong, m.Pong)
        assert not end.server.is_pinged
