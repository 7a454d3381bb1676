"""Cohorts of a real server that is fed: registering, asking, authority at each call, the record of use, refusals."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import Function, Item, Outcome
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m
from jukinet.core.wire.packed import PACKED_BIT

from ..serving import Caller, Place, Server
from .feeding import TOKYO, Feed, FeedPlace, entry, feed_port, feed_process, key_of

PERSONS = range(1_000, 1_040)
CODES = sorted(code_from_key(key_of(person)) for person in PERSONS)
Step = m.CohortStep


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def server(fed: FeedPlace, tmp_path: Path) -> Iterator[Server]:
    settings: dict[str, Any] = {"directory": "cohorts", "cohorts_per_body_max": 2, "codes_per_cohort_max": 50}
    with Server(fed.configuration(tmp_path, cohorts=settings)) as running:
        yield running


@pytest.fixture
def caller(fed: FeedPlace, server: Server) -> Iterator[Caller]:
    with Caller(fed, server.port) as connected:
        opened = connected.open()
        granted = Function.LOOKUP | Function.STATUS | Function.VERIFY | Function.COHORT
        assert opened.functions == granted | PACKED_BIT
        yield connected


def put(caller: Caller, codes: list[int], step: Step = Step.ALL, name: str = "all") -> Any:
    return caller.ask(m.CohortPut(caller.new(), caller.session, step, name, memoryview(array("Q", codes))))


def changes(caller: Caller, order: int, place: int = 0, rows_max: int = 1_000, name: str = "all") -> Any:
    return caller.ask(m.CohortChanges(caller.new(), caller.session, rows_max, name, order, place))


def until_seen(caller: Caller, order: int) -> m.CohortChangesAnswer:
    """The first answer with rows: the worker follows the register within milliseconds."""
    deadline = time.monotonic() + 5
    while not (answer := changes(caller, order)).count:
        assert time.monotonic() < deadline
    assert isinstance(answer, m.CohortChangesAnswer)
    return answer


def records(server: Server) -> list[tuple[ProvisionHead, list[int], bytes]]:
    found = []
    for record in read_segments(server.directory / "record-of-use"):
        if isinstance(record.head, ProvisionHead):
            codes, outcomes = record.provisions()
            found.append((record.head, list(codes), outcomes))
    return found


def test_registering_and_asking_after_a_feeds_changes(fed: FeedPlace, server: Server, caller: Caller) -> None:
    with Feed(fed, feed_port(server)) as feed:
        assert isinstance(feed.notify(1, [entry(1, key_of(person)) for person in PERSONS]), fm.Acknowledged)
        first = put(caller, CODES[:20], Step.BEGIN)
        assert first.cohorts[0].complete is False
        stored = put(caller, CODES[20:30], Step.END)
        row = stored.cohorts[0]
        assert (row.codes, row.complete, row.place) == (30, True, 0)
        assert records(server) == [], "registering provides nothing"
        told = [
            entry(2, code // 10, reason=22, name="", kana="", address="", birth_date=0, sex=0) for code in CODES[28:]
        ]
        assert isinstance(feed.notify(41, told), fm.Acknowledged)
        start = max(row.order, 41)
        answer = until_seen(caller, start)
        assert list(answer.codes) == CODES[28:30], "only those of the cohort"
        assert bytes(answer.outcomes) == bytes([Outcome.DEAD] * 2)
        assert bytes(answer.reasons) == bytes([22] * 2)
        assert list(answer.change_dates) == [20261101] * 2
        assert set(answer.registered_dates) == {int(time.strftime("%Y%m%d", time.gmtime(time.time() + 9 * 3600)))}
        assert (answer.more, answer.order) == (False, 53)
    head, codes, outcomes = records(server)[-1]
    assert (head.function, head.items, head.register_version) == (Function.COHORT, Item.CHANGE, answer.register_version)
    assert (head.body, head.item, head.reason) == ("pensions", "77", "reason-for-tests")
    assert (codes, outcomes) == (CODES[28:30], bytes([Outcome.DEAD] * 2))
    before = len(records(server))
    assert changes(caller, answer.order).count == 0
    assert len(records(server)) == before
    server.wait_for_metric('jukinet_codes_total{function="cohort"} 32')


def test_cohorts_are_listed_and_dropped(caller: Caller, fed: FeedPlace, server: Server) -> None:
    assert put(caller, [], Step.LIST, "").cohorts == ()
    put(caller, CODES[:3])
    put(caller, CODES[:1], Step.BEGIN, "second")
    listed = put(caller, [], Step.LIST, "").cohorts
    assert [(row.name, row.codes, row.complete) for row in listed] == [("all", 3, True), ("second", 1, False)]
    assert put(caller, CODES[:1], name="third").code is ErrorCode.TOO_MANY_CODES
    assert put(caller, [], Step.DROP).cohorts[0].codes == 3
    assert put(caller, [], Step.DROP).code is ErrorCode.BAD_REQUEST
    assert changes(caller, 1).code is ErrorCode.BAD_REQUEST
    with Caller(fed, server.port) as other:
        other.open()
        assert put(other, CODES[5:6], Step.END, "second").code is ErrorCode.BAD_REQUEST, "it is another's registration"


def test_chunks_and_cursors_that_do_not_fit_are_refused(caller: Caller) -> None:
    assert put(caller, [CODES[1], CODES[0]]).code is ErrorCode.BAD_REQUEST
    assert put(caller, [CODES[1] + 1]).code is ErrorCode.BAD_REQUEST
    assert put(caller, [code_from_key(key) for key in range(51)]).code is ErrorCode.TOO_MANY_CODES
    assert put(caller, CODES[:5]).cohorts[0].codes == 5
    assert changes(caller, 0).code is ErrorCode.BAD_REQUEST
    assert changes(caller, 2).code is ErrorCode.CURSOR_EXPIRED
    assert changes(caller, 1).count == 0


def test_authority_is_judged_at_each_call(fed: FeedPlace, server: Server, caller: Caller) -> None:
    put(caller, CODES)
    with Caller(fed, server.port) as other:
        other.open("39")
        assert put(other, CODES).code is ErrorCode.NOT_AUTHORISED
        assert changes(other, 1, rows_max=50).code is ErrorCode.NOT_AUTHORISED
    path = server.directory / "authority.toml"
    path.write_text(path.read_text().replace(', "COHORT"]', "]"))
    os.kill(server.process.pid, signal.SIGHUP)
    deadline = time.monotonic() + 5
    while not isinstance(refused := changes(caller, 1), m.Error):
        assert time.monotonic() < deadline
    assert refused.code is ErrorCode.NOT_AUTHORISED
    assert put(caller, CODES).code is ErrorCode.NOT_AUTHORISED


def test_nothing_is_told_whose_record_cannot_be_kept(fed: FeedPlace, server: Server, caller: Caller) -> None:
    put(caller, CODES)
    with Feed(fed, feed_port(server)) as feed:
        feed.notify(1, [entry(1, CODES[7] // 10)])
    until_seen(caller, 1)
    (worker,) = [process for process in server.worker_processes() if process != feed_process(server)]
    _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, hard))
    before = len(records(server))
    assert changes(caller, 1).code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
    deadline = time.monotonic() + 10
    while isinstance(answer := changes(caller, 1), m.Error):
        assert answer.code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(answer.codes) == [CODES[7]]
    assert len(records(server)) == before + 1


def test_a_caller_that_goes_away_leaves_the_old_cohort(fed: FeedPlace, server: Server, caller: Caller) -> None:
    put(caller, CODES[:4])
    with Caller(fed, server.port) as other:
        other.open()
        put(other, CODES[4:9], Step.BEGIN)
        other.send(m.CohortChanges(other.new(), other.session, 1_000, "all", 1, 0))
    server.wait_for("connection_closed")
    assert [row.codes for row in put(caller, [], Step.LIST, "").cohorts] == [4]
    assert changes(caller, 1).count == 0


def test_a_worker_killed_in_the_middle_of_registering_leaves_the_old_cohort(fed: FeedPlace, tmp_path: Path) -> None:
    """At ten instants of a registration in many chunks; the next worker finds the old cohort or the new one, whole."""
    settings = {"directory": "cohorts"}
    many = [code_from_key(key * 1_000_003 % 10**10) for key in range(1, 2_000)]
    many.sort()
    with Server(fed.configuration(tmp_path, cohorts=settings, feed={"enabled": False, "roots": ""})) as server:
        with Caller(fed, server.port) as caller:
            caller.open()
            put(caller, CODES)
        for turn in range(1, 11):
            (worker,) = server.worker_processes()
            with Caller(fed, server.port) as caller:
                caller.open()
                chunks = [many[start : start + 20] for start in range(0, len(many), 20)]
                timer = threading.Timer(0.004 * turn, os.kill, (worker, signal.SIGKILL))
                timer.start()
                with contextlib.suppress(EOFError, OSError):
                    for number, chunk in enumerate(chunks):
                        steps = Step.BEGIN if number == 0 else Step.END if number == len(chunks) - 1 else Step.GO_ON
                        put(caller, chunk, steps)
                timer.join()
            server.wait_for("worker_died", turn)
            with again(fed, server) as caller:
                (row,) = put(caller, [], Step.LIST, "").cohorts
                assert row.complete
                assert row.codes in (len(CODES), len(many))
                assert changes(caller, row.order).count == 0
                put(caller, CODES)


def again(fed: FeedPlace, server: Server) -> Caller:
    """A session as soon as a worker serves again."""
    deadline = time.monotonic() + 20
    while True:
        caller = None
        try:
            caller = Caller(fed, server.port)
            caller.open()
        except (OSError, EOFError):
            if caller is not None:
                caller.socket.close()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return caller


def test_cohorts_outlive_the_server(fed: FeedPlace, tmp_path: Path) -> None:
    configuration = fed.configuration(tmp_path, cohorts={"directory": "cohorts"})
    with Server(configuration) as server, Caller(fed, server.port) as caller:
        caller.open()
        put(caller, CODES)
    with Server(configuration) as server, Caller(fed, server.port) as caller:
        caller.open()
        with Feed(fed, feed_port(server)) as feed:
            feed.notify(1, [entry(1, CODES[7] // 10, TOKYO)])
        assert list(until_seen(caller, 1).codes) == [CODES[7]]


def test_a_server_without_a_directory_keeps_no_cohorts(fed: FeedPlace, tmp_path: Path) -> None:
    with Server(fed.configuration(tmp_path)) as server, Caller(fed, server.port) as caller:
        assert not caller.open().functions & Function.COHORT
        assert put(caller, CODES).code is ErrorCode.NOT_AUTHORISED
