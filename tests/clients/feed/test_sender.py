"""The sender against a peer: everything arrives once and in order, whatever breaks."""

from __future__ import annotations

import contextlib
import functools
import random
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from feed_peer import FeedPeer, Turn
from samples import PREFECTURE, entry

from jukinet.clients import ConnectionFailedError, ConnectionLostError, Credentials, Deadlines, Retry
from jukinet.clients.errors import FeedTakenError, NotAFeedError, RegisterUnavailableError
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import OutboxError, PositionError
from jukinet.clients.feed.sender import Delivery, FeedSender, SendSettings
from jukinet.core.errors import ConfigurationError, ErrorCode
from jukinet.core.notifications import Fault, NotificationBatch
from jukinet.core.wire import feed_messages as f

QUICK = Retry(tries=5, first=0.001, longest=0.01)


def sender(outbox: Outbox, peer: FeedPeer, tls: Credentials, **settings: Any) -> FeedSender:
    settings.setdefault("retry", QUICK)
    settings.setdefault("deadlines", Deadlines(connect=5, handshake=5, request=10, idle=10))
    return FeedSender(outbox, "127.0.0.1", peer.port, tls=tls, **settings)


def put(outbox: Outbox, count: int) -> None:
    last = outbox.state.last
    outbox.put([(entry(number), f"f:{number}") for number in range(last, last + count)])


def arrived(peer: FeedPeer, first: int = 1) -> bool:
    """Whether exactly the rows of `put` are there, each under its position."""
    assert list(peer.rows) == list(range(first, first + len(peer.rows)))
    return list(peer.rows.values()) == [entry(number) for number in range(len(peer.rows))]


async def test_everything_arrives_in_batches_several_under_way(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials
) -> None:
    peer = make_feed_peer(turns=lambda number: Turn(delay=0.02), position=70)
    put(outbox, 95)
    told: list[int] = []
    client = sender(
        outbox, peer, tls, settings=SendSettings(notifications_max=10, in_flight_max=3),
        progress=lambda delivery: told.append(delivery.waiting),
    )  # fmt: skip
    done = await client.deliver()
    assert arrived(peer, 71)
    assert [count for _, count in peer.batches] == [10] * 9 + [5]
    assert 2 <= peer.under_way_max <= 3
    assert (done.rows, done.batches, done.applied, done.waiting, done.position) == (95, 10, 95, 0, 165)
    assert told[0] == 95
    assert told[-1] == 0
    assert outbox.state.first == 96
    outbox.invariants()
    assert await client.deliver() is done


async def test_the_servers_limits_hold_and_bytes_count(outbox: Outbox, make_feed_peer: Any, tls: Credentials) -> None:
    peer = make_feed_peer(feed_limits=f.FeedLimits(notifications_per_batch_max=7, batch_bytes_max=1_200))
    put(outbox, 30)
    await sender(outbox, peer, tls).deliver()
    assert arrived(peer)
    assert max(count for _, count in peer.batches) < 7
    assert len(peer.batches) < 30


async def test_cut_at_every_few_bytes_of_the_answers(outbox: Outbox, make_feed_peer: Any, tls: Credentials) -> None:
    cuts = list(range(0, 900, 7))
    peer = make_feed_peer(cuts=cuts)
    put(outbox, 60)
    client = sender(
        outbox, peer, tls, settings=SendSettings(notifications_max=9),
        retry=Retry(tries=100, first=0.0, longest=0.0),
    )  # fmt: skip
    with trio.fail_after(60):
        while peer.connections < len(cuts):
            await client.deliver()
            put(outbox, 13)
        await client.deliver()
    assert arrived(peer)
    assert len(peer.rows) == outbox.state.acknowledged


async def test_random_lost_answers_errors_gaps_and_goodbyes(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials
) -> None:
    chance = random.Random(7)

    def turns(number: int) -> Turn:
        return chance.choice([
            Turn(), Turn(), Turn(delay=0.005), Turn(lose_answer=True), Turn(goodbye=True),
            Turn(error=ErrorCode.REGISTER_UNAVAILABLE), Turn(gap=number > 0),
        ])  # fmt: skip

    peer = make_feed_peer(turns=turns, fault=lambda row: Fault.NOT_ENTERED if row.code % 7 == 0 else None)
    client = sender(
        outbox, peer, tls, settings=SendSettings(notifications_max=11, in_flight_max=3),
        retry=Retry(tries=100, first=0.0, longest=0.0),
    )  # fmt: skip
    with trio.fail_after(60):
        for _ in range(6):
            put(outbox, 50)
            await client.deliver()
    assert arrived(peer)
    assert len(peer.rows) == 300
    bad = [number + 1 for number in range(300) if entry(number).code % 7 == 0]
    reports = [report for _, report in outbox.reports()]
    assert [report.sequence for report in reports] == bad, "each report is here, also those whose answer was lost"
    assert all(report.notification == entry(report.sequence - 1) for report in reports)


async def test_ranges_go_in_their_place_and_their_faults_name_the_row(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials
) -> None:
    rows = [entry(number, state=1) for number in range(3)]
    bad = rows[1]
    peer = make_feed_peer(fault=lambda row: Fault.BAD_ADDRESS if row == bad else None)
    put(outbox, 5)
    stop = rows[-1].code // 10 + 1
    outbox.put_range(0, stop, 3, NotificationBatch.from_notifications(rows).payload, None)
    put(outbox, 2)
    await sender(outbox, peer, tls).deliver()
    assert peer.rows[6] == (0, stop, rows)
    assert peer.rows[7] == entry(6)
    assert peer.batches == [(1, 5), (6, 3), (7, 2)]
    ((_, report),) = outbox.reports()
    assert (report.sequence, report.origin, report.notification) == (6, "load", bad)


async def test_a_range_above_the_servers_limit_is_told(outbox: Outbox, make_feed_peer: Any, tls: Credentials) -> None:
    peer = make_feed_peer(feed_limits=f.FeedLimits(range_rows_max=2))
    rows = [entry(number, state=1) for number in range(3)]
    outbox.put_range(0, 10**10, 3, NotificationBatch.from_notifications(rows).payload, None)
    with pytest.raises(OutboxError, match="--range-rows"):
        await sender(outbox, peer, tls).deliver()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"prefecture": 27}, PositionError, "outbox that of tokyo"),
        ({"greeting_error": ErrorCode.NOT_A_FEED}, NotAFeedError, "certificate"),
        ({"greeting_error": ErrorCode.FEED_TAKEN}, FeedTakenError, "other client"),
        ({"alpn": "jukinet/1"}, ConnectionFailedError, "does not speak"),
    ],
)
async def test_refusals(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials, settings: dict[str, Any], error: Any, message: str
) -> None:
    peer = make_feed_peer(**settings)
    with pytest.raises(error, match=message):
        await sender(outbox, peer, tls).deliver()
    assert peer.connections == (5 if error is FeedTakenError else 1)


async def test_a_line_that_breaks_in_the_handshake_is_tried_again(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials
) -> None:
    """Cut after so many bytes to the client: in the server's first flight, before the greeting, or nowhere."""
    peer = make_feed_peer()
    put(outbox, 3)
    cuts = iter([0, 1, 700, 1 << 20])

    async def relay(client: trio.SocketStream) -> None:
        left = next(cuts)

        async def pump(source: trio.SocketStream, target: trio.SocketStream, is_limited: bool) -> None:
            nonlocal left
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for data in source:
                    await target.send_all(data[:left] if is_limited else data)
                    left -= len(data) if is_limited else 0
                    if left <= 0:
                        break
            pumps.cancel_scope.cancel()

        async with client, await trio.open_tcp_stream("127.0.0.1", peer.port) as server, trio.open_nursery() as pumps:
            pumps.start_soon(pump, client, server, False)
            pumps.start_soon(pump, server, client, True)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(functools.partial(trio.serve_tcp, relay, 0, host="127.0.0.1"))
        made = sender(outbox, peer, tls)
        made.port = listener.socket.getsockname()[1]
        await made.deliver()
        nursery.cancel_scope.cancel()
    assert arrived(peer)
    assert next(cuts, None) is None


async def test_a_position_that_fits_no_row_sent_is_refused(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials
) -> None:
    peer = make_feed_peer()
    put(outbox, 3)
    await sender(outbox, peer, tls).deliver()
    peer.position = 9
    put(outbox, 3)
    with pytest.raises(PositionError, match="beyond"):
        await sender(outbox, peer, tls).deliver()
    assert len(peer.rows) == 3


async def test_tries_are_counted_from_the_last_answer(outbox: Outbox, make_feed_peer: Any, tls: Credentials) -> None:
    peer = make_feed_peer(turns=lambda number: Turn(error=ErrorCode.REGISTER_UNAVAILABLE) if number % 5 < 4 else Turn())
    put(outbox, 30)
    await sender(outbox, peer, tls, settings=SendSettings(notifications_max=10, in_flight_max=1)).deliver()
    assert arrived(peer)
    stuck = make_feed_peer(turns=lambda number: Turn(error=ErrorCode.REGISTER_UNAVAILABLE), position=30)
    put(outbox, 1)
    with pytest.raises(RegisterUnavailableError):
        await sender(outbox, stuck, tls).deliver()
    assert stuck.questions == 5


async def test_run_delivers_what_comes_and_outlives_the_server(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials
) -> None:
    peer = make_feed_peer(ping=True, turns=lambda number: Turn(lose_answer=number in {1, 2, 3, 4, 5, 6, 7, 8}))
    troubles: list[str] = []

    def progress(delivery: Delivery) -> None:
        if delivery.trouble:
            troubles.append(delivery.trouble)

    client = sender(outbox, peer, tls, settings=SendSettings(linger_seconds=0.02), progress=progress)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            for _ in range(3):
                for _ in range(4):
                    put(outbox, 5)
                    client.wake()
                while outbox.state.waiting:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert arrived(peer)
    assert len(peer.rows) == 60
    assert len(troubles) == 8, "more losses than QUICK has tries"
    assert peer.pongs >= 1
    assert len(peer.batches) <= 13, "small puts go together"


async def test_run_notices_an_idle_connections_end(outbox: Outbox, make_feed_peer: Any, tls: Credentials) -> None:
    peer = make_feed_peer(turns=lambda number: Turn(goodbye=number == 0))
    put(outbox, 1)
    client = sender(outbox, peer, tls)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            while peer.connections < 2:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert arrived(peer)


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.03, 0.06])
async def test_cancelled_anywhere_nothing_is_lost(
    outbox: Outbox, make_feed_peer: Any, tls: Credentials, delay: float
) -> None:
    peer = make_feed_peer(turns=lambda number: Turn(delay=0.003))
    put(outbox, 100)
    settings = SendSettings(notifications_max=7)
    with trio.move_on_after(delay):
        await sender(outbox, peer, tls, settings=settings).deliver()
    outbox.invariants()
    await sender(outbox, peer, tls, settings=settings).deliver()
    assert arrived(peer)
    assert len(peer.rows) == 100


async def test_nothing_listens(outbox: Outbox, make_feed_peer: Any, tls: Credentials) -> None:
    with pytest.raises(ConnectionFailedError, match="nothing listens"):
        await FeedSender(outbox, "127.0.0.1", 1, tls=tls, retry=Retry(tries=2, first=0, longest=0)).deliver()


def test_settings_are_checked() -> None:
    for bad in ({"notifications_max": 0}, {"bytes_max": 0}, {"in_flight_max": 0}, {"linger_seconds": -1}):
        with pytest.raises(ConfigurationError):
            SendSettings(**bad)  # type: ignore[arg-type]


async def test_a_sender_over_a_fresh_process(tmp_path: Path, make_feed_peer: Any, tls: Credentials) -> None:
    """Sent, answer lost, process ended, outbox opened anew: nothing is doubled and the report comes."""
    peer = make_feed_peer(turns=lambda number: Turn(lose_answer=number == 0), fault=lambda row: Fault.NOT_ENTERED)
    with Outbox(tmp_path, PREFECTURE, create=True, bytes_max=1 << 20) as outbox:
        put(outbox, 4)
        with pytest.raises(ConnectionLostError):
            await sender(outbox, peer, tls, retry=Retry(tries=1)).deliver()
    assert len(peer.rows) == 4
    with Outbox(tmp_path, PREFECTURE, bytes_max=1 << 20) as outbox:
        await sender(outbox, peer, tls).deliver()
        assert arrived(peer)
        assert len(outbox.reports()) == 4
