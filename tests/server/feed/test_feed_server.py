"""A real server that takes feeds: the happy path, who is let in, what is refused, signals, log and metrics."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Fault, NotificationBatch
from jukinet.core.store.check import check_register
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m
from jukinet.server.pki.trial import TrialAuthority

from ..serving import Caller, Place, Server
from .feeding import TOKYO, Feed, FeedPlace, connected, dump, entries, entry, feed_port, feed_process, key_of


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def server(fed: FeedPlace, tmp_path: Path) -> Iterator[Server]:
    with Server(fed.configuration(tmp_path)) as running:
        yield running


def straight(fed: FeedPlace, directory: Path, batches: list[tuple[int, int, NotificationBatch]]) -> None:
    """Apply batches to a copy of the register without any server."""
    shutil.copytree(fed.store, directory)
    with FeedRegister(directory) as register:
        for prefecture, first, batch in batches:
            with register.transaction() as transaction:
                transaction.apply(prefecture, first, batch)
                transaction.commit()


def test_notifications_are_applied_acknowledged_and_answered(fed: FeedPlace, server: Server, tmp_path: Path) -> None:
    rows = [*entries(50), entry(2, key_of(1_000), name="新名")]
    straight(fed, tmp_path / "straight", [(13, 1, NotificationBatch.from_notifications(rows))])
    with Feed(fed, feed_port(server)) as feed:
        assert feed.greeting.position == 0
        assert feed.greeting.prefecture == 13
        assert feed.greeting.areas == [TOKYO]
        assert feed.greeting.digest_count == len(fed.table)
        answer = feed.notify(1, rows)
        assert isinstance(answer, fm.Acknowledged)
        assert (answer.position, answer.digest_count) == (51, len(fed.table) + 50)
        assert answer.quarantined == []
    with Feed(fed, feed_port(server)) as feed:
        assert feed.greeting.position == 51
        assert feed.greeting.digest_sum == answer.digest_sum
        again = feed.notify(1, rows)  # a batch from a week ago is harmless
        assert isinstance(again, fm.Acknowledged)
        assert (again.position, again.digest_sum) == (51, answer.digest_sum)
        gap = feed.notify(60, entries(1))
        assert isinstance(gap, fm.OutOfSequence)
        assert gap.expected == 52
        feed.send(m.Goodbye(reason="done"))
        assert isinstance(feed.event(), m.Goodbye)
    with Caller(fed, server.port) as caller:
        caller.open()
        deadline = time.monotonic() + 5
        while bytes(caller.lookup([code_from_key(key_of(1_000))]).outcomes) != b"\x01":
            assert time.monotonic() < deadline
    server.wait_for("connection_closed", kind="done", body="tokyo")
    server.wait_for_metric('jukinet_feed_batches_total{result="applied"} 2')
    server.wait_for_metric('jukinet_feed_batches_total{result="out_of_sequence"} 1')
    server.wait_for_metric('jukinet_feed_notifications_total{result="applied"} 51')
    server.wait_for_metric("jukinet_feed_writing 1")
    assert server.stop() == 0
    assert check_register(fed.store).faults == []
    # The same as without a server, but for the number of transactions.
    assert fed.dump() == dump(tmp_path / "straight")
    log = "".join(server.raw)
    for secret in ("秘密", "ヒミツ", "新名", "丸の内", str(code_from_key(key_of(1_000)))):
        assert secret not in log


def test_faults_are_reported_and_the_rest_goes_on(fed: FeedPlace, server: Server) -> None:
    rows = entries(6)
    rows[1] = entry(1, 2_000, 1100)  # another prefecture's area
    rows[3] = entry(1, 3_000, reason=99)
    rows[4] = entry(1, 4_000, event_date=20261332)
    with Feed(fed, feed_port(server)) as feed:
        answer = feed.notify(1, rows)
    assert isinstance(answer, fm.Acknowledged)
    assert answer.quarantined == [(2, Fault.AREA_NOT_OF_FEED), (4, Fault.UNKNOWN_REASON), (5, Fault.BAD_DATE)]
    assert (answer.position, answer.applied) == (6, 3)
    told = server.wait_for("faults_reported", body="tokyo")
    assert told["faults"] == "AREA_NOT_OF_FEED:1 BAD_DATE:1 UNKNOWN_REASON:1"
    server.wait_for_metric('jukinet_feed_faults_total{fault="BAD_DATE"} 1')


def test_batches_of_many_feeds_under_way_at_once(fed: FeedPlace, server: Server) -> None:
    port = feed_port(server)
    with Feed(fed, port, "tokyo") as tokyo, Feed(fed, port, "hokkaido") as hokkaido, Feed(fed, port, "osaka") as osaka:
        feeds = {tokyo: TOKYO, hokkaido: 1100, osaka: 27127}
        for step in range(8):
            for number, (feed, area) in enumerate(feeds.items()):
                feed.send(feed.batch(step * 20 + 1, entries(20, 10_000 * (number + 1) + step * 20, area)))
        for feed in feeds:
            positions = [feed.event().position for _ in range(8)]
            assert positions == [20 * step for step in range(1, 9)]
    server.wait_for_metric('jukinet_feed_notifications_total{result="applied"} 480')


def test_a_prefecture_loads_and_compares_its_holdings(fed: FeedPlace, server: Server) -> None:
    rows = [entry(1, key, state=1) for key in (5, 70, 900)]
    kinds = fm.CompareKind
    with Feed(fed, feed_port(server)) as feed:
        load = fm.LoadRange(feed.wire.new_request_id(), 1, 0, 100_000, NotificationBatch.from_notifications(rows))
        answer = feed.ask(load)
        assert isinstance(answer, fm.Acknowledged), answer
        assert (answer.position, answer.digest_count) == (1, len(fed.table) + 3)
        (areas,) = feed.compare(kinds.AREAS).pairs()
        assert areas == (answer.digest_count, answer.digest_sum)
        compared = feed.compare(kinds.PAGES)
        assert compared.position == 1
        pages = list(compared.pairs())
        assert sum(count for count, _ in pages) == answer.digest_count
        (part,) = feed.compare(kinds.RANGES, [(0, 100_000)]).pairs()
        assert part[0] == 3
        found = feed.compare(kinds.ENTRIES, [(0, 800), (800, 1_000)])
        assert [key for key, _ in found.pairs()] == [5, 70, 900]
        assert found.offsets is not None
        assert list(found.offsets) == [0, 2, 3]
        leaves = list(feed.compare(kinds.LEAVES, [(0, 2_441_407 * 64)]).pairs())
        assert leaves[0][0] == sum(key < 2_441_407 for key in [5, 70, 900, *fed.table])
        # What is notified afterwards is seen by the next comparison.
        feed.notify(2, [entry(1, 950)])
        assert next(iter(feed.compare(kinds.RANGES, [(0, 100_000)]).pairs()))[0] == 4


# Who is let in -----------------------------------------------------------------------------------------------------


def refusal(fed: FeedPlace, server: Server, body: str) -> m.Error:
    with Feed(fed, feed_port(server), body, greeted=False) as feed:
        event = feed.event()
        assert isinstance(event, m.Error)
        with pytest.raises(EOFError):
            feed.event()
    return event


@pytest.mark.parametrize("body", ["agency", "atlantis"])
def test_what_is_no_prefecture_is_told_so(fed: FeedPlace, server: Server, body: str) -> None:
    assert refusal(fed, server, body).code == ErrorCode.NOT_A_FEED
    server.wait_for("connection_refused", kind="not_a_feed")
    server.wait_for_metric('jukinet_connections_refused_total{kind="not_a_feed"} 1')
    with Feed(fed, feed_port(server)) as feed:
        assert feed.greeting.body == "tokyo"


def test_roots_and_protocols_of_the_two_ports_are_apart(fed: FeedPlace, server: Server, tmp_path: Path) -> None:
    (tmp_path / "queries").mkdir()
    fed.files["stranger"] = fed.root.issue_files(tmp_path / "queries", "prefecture", "tokyo")
    with pytest.raises((OSError, EOFError)), Feed(fed, feed_port(server), "stranger"):
        pass
    server.wait_for("connection_refused", kind="certificate_untrusted", worker="feed")
    with pytest.raises((OSError, EOFError)), Caller(fed, feed_port(server), context=query_context(fed)) as caller:
        caller.event()
    with pytest.raises((OSError, EOFError)), Feed(fed, server.port):
        pass
    server.wait_for("connection_refused", kind="certificate_untrusted", worker=0)


def query_context(fed: FeedPlace) -> ssl.SSLContext:
    context = fed.context("tokyo")
    context.set_alpn_protocols(["jukinet/1"])
    return context


def test_a_live_holder_keeps_its_feed_and_a_silent_one_loses_it(fed: FeedPlace, server: Server) -> None:
    port = feed_port(server)
    with Feed(fed, port) as holder:
        with Feed(fed, port, greeted=False) as second, ThreadPoolExecutor(1) as threads:
            told = threads.submit(second.event)
            while not told.done():  # the holder answers the server's PING whenever it takes events
                holder.send(m.Ping(holder.wire.new_request_id(), b"12345678"))
                assert isinstance(holder.event(), m.Pong)
            event = told.result()
            assert isinstance(event, m.Error)
            assert event.code == ErrorCode.FEED_TAKEN
        server.wait_for("connection_refused", kind="feed_taken", body="tokyo")
        assert holder.notify(1, entries(3)).position == 3
        # Now it says nothing any more.
        with Feed(fed, port) as third:
            assert third.greeting.position == 3
            assert third.notify(4, entries(3, 50_000)).position == 6
            server.wait_for("connection_closed", kind="taken_over", body="tokyo")
            with pytest.raises((OSError, EOFError)):
                holder.event()
    server.wait_for_metric("jukinet_feed_connections 0")


def test_a_holder_that_leaves_makes_room_at_once(fed: FeedPlace, server: Server) -> None:
    port = feed_port(server)
    with Feed(fed, port) as holder:
        with Feed(fed, port, greeted=False) as second:
            holder.socket.close()
            assert isinstance(second.event(), fm.FeedGreeting)


def test_a_second_server_on_the_register_is_refused(fed: FeedPlace, server: Server, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    other = fed.configuration(tmp_path / "second", record_of_use={"directory": str(tmp_path / "second" / "record")})
    second = Server(other)
    assert second.stop(None) == 5
    assert "takes feeds into the register" in "".join(second.raw)
    with Feed(fed, feed_port(server)) as feed:
        assert feed.notify(1, entries(1)).position == 1


# Limits, signals, faults -------------------------------------------------------------------------------------------


def test_a_feed_is_read_no_further_than_its_queue(fed: FeedPlace, tmp_path: Path) -> None:
    limits = {"batch_bytes_max": 65_536, "queued_bytes_max": 65_536}
    with Server(fed.configuration(tmp_path, feed=limits)) as server, Feed(fed, feed_port(server)) as feed:
        assert feed.greeting.limits.batch_bytes_max == 65_536
        sent = 0
        for _ in range(20):
            for _ in range(8):
                feed.send(feed.batch(sent + 1, entries(100, 1_000 + sent)))
                sent += 100
            for step in range(7, -1, -1):
                event = feed.event()
                assert isinstance(event, fm.Acknowledged), (event, sent, step, "".join(server.raw))
                assert event.position == sent - step * 100
        assert feed.notify(sent + 1, entries(1, 900)).position == sent + 1


def test_deadlines_of_frame_and_idle(fed: FeedPlace, tmp_path: Path) -> None:
    waits = {"frame_seconds": 0.5, "close_seconds": 0.3}
    configuration = fed.configuration(tmp_path, waits=waits, feed={"idle_seconds": 1.0})
    with Server(configuration) as server:
        with Feed(fed, feed_port(server)) as feed:
            feed.socket.sendall(b"\x10\x00")
            event = feed.event()
            assert isinstance(event, m.Error)
            assert event.code == ErrorCode.TIMED_OUT
        with Feed(fed, feed_port(server), "osaka") as feed:
            event = feed.event()
            assert isinstance(event, m.Goodbye)
            assert event.reason == "idle"


def test_bytes_that_are_no_protocol_end_that_connection_only(fed: FeedPlace, server: Server) -> None:
    with Feed(fed, feed_port(server), "osaka") as osaka:
        with Feed(fed, feed_port(server)) as feed:
            feed.socket.sendall(os.urandom(64))
            event = feed.event()
            assert isinstance(event, m.Error)
            assert event.request_id == 0
        assert osaka.notify(1, entries(1, 77, 27127)).position == 1


def test_draining_commits_what_is_under_way_and_says_goodbye(fed: FeedPlace, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path)) as server:
        feed = Feed(fed, feed_port(server))
        rows = entries(5_000)
        for step in range(5):
            feed.send(feed.batch(step * 1_000 + 1, rows[step * 1_000 : step * 1_000 + 1_000]))
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        events = []
        with feed, contextlib.suppress(EOFError, OSError):
            while True:
                events.append(feed.event())
                if isinstance(events[-1], m.Goodbye):
                    feed.send(m.Goodbye(reason="understood"))
        acknowledged = [event.position for event in events if isinstance(event, fm.Acknowledged)]
        assert any(isinstance(event, m.Goodbye) for event in events)
        assert server.stop(None) == 0
    with FeedRegister(fed.store) as register:
        assert register.feed(13).position == max(acknowledged)
    assert check_register(fed.store).faults == []


def test_reload_takes_up_new_roots_and_keeps_the_old_when_they_are_bad(fed: FeedPlace, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path)) as server:
        (tmp_path / "new").mkdir()
        other = TrialAuthority.make()
        other.write(tmp_path / "new")
        fed.files["new"] = other.issue_files(tmp_path / "new", "prefecture", "osaka")
        roots = fed.work / "prefectures" / "root.pem"
        before = roots.read_bytes()
        roots.write_bytes(b"no certificate")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reload_failed", worker="feed")
        with Feed(fed, feed_port(server)) as feed:
            roots.write_bytes(before + (tmp_path / "new" / "root.pem").read_bytes())
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("reloaded", worker="feed")
            with Feed(fed, feed_port(server), "new") as osaka:
                assert osaka.greeting.prefecture == 27
            assert feed.notify(1, entries(1)).position == 1
        server.wait_for_metric('jukinet_reloads_total{result="failed"} 1')


def test_queries_go_on_while_the_feed_writer_is_dead(fed: FeedPlace, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path)) as server, Caller(fed, server.port) as caller:
        caller.open()
        os.kill(feed_process(server), signal.SIGKILL)
        assert caller.lookup([code_from_key(100_003)]).count == 1
        server.wait_for("worker_died", worker="feed", ending="signal SIGKILL")
        with connected(fed, feed_port(server)) as feed:
            assert feed.notify(1, entries(1)).position == 1
        server.wait_for_metric("jukinet_feed_writers_died_total 1")
        server.wait_for_metric("jukinet_workers_died_total 0")


def test_the_feed_writer_maps_the_register_in_large_pages(fed: FeedPlace, server: Server) -> None:
    """As far as the kernel gives them: the advice stands in the flags of the map, and most of the file is mapped."""
    place = str(fed.store / "data.mdb")
    maps = Path(f"/proc/{feed_process(server)}/smaps")

    def mapped_bytes() -> int:
        own = ""
        for line in maps.read_text().splitlines():
            fields = line.split()
            if fields[-1] == place:
                own = place
            elif own and fields[0] == "Rss:":
                found = int(fields[1]) * 1024
            elif own and fields[0] == "VmFlags:":
                if "hg" in fields:
                    return found
                own = ""
        return 0

    deadline = time.monotonic() + 20
    while mapped_bytes() < (fed.store / "data.mdb").stat().st_size * 0.9:
        assert time.monotonic() < deadline
        time.sleep(0.02)
