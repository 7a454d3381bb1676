"""The server end to end: a real process, real TLS, real answers."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import MALFORMED_CODE, Function, Item, Outcome, State
from jukinet.core.wire import ConnectionState
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn
from jukinet.core.wire.packed import PACKED_BIT

from .serving import Caller, Place, Server

OUTCOMES = {
    State.CURRENT: Outcome.CURRENT,
    State.DEAD: Outcome.DEAD,
    State.MOVED_AWAY: Outcome.MOVED_AWAY,
}


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(place.configuration(tmp_path_factory.mktemp("serve"))) as running:
        yield running


@pytest.fixture
def caller(place: Place, server: Server) -> Iterator[Caller]:
    with Caller(place, server.port) as connected:
        assert isinstance(connected.open(), m.SessionOpened)
        yield connected


def last_record(server: Server) -> tuple[ProvisionHead, list[int], bytes]:
    record = list(read_segments(server.directory / "record-of-use"))[-1]
    assert isinstance(record.head, ProvisionHead)
    codes, outcomes = record.provisions()
    return record.head, list(codes), outcomes


def check_lookup(place: Place, codes: list[int], answer: m.LookupAnswer) -> None:
    assert answer.names is not None
    assert answer.kana is not None
    assert answer.birth_dates is not None
    names, kana = answer.names.to_list(), answer.kana.to_list()
    for row, code in enumerate(codes):
        resident = place.table.get(code // 10)
        if code == MALFORMED_CODE:
            assert answer.outcomes[row] == Outcome.MALFORMED
        elif resident is None:
            assert answer.outcomes[row] in (Outcome.UNKNOWN, Outcome.BAD_CHECK_DIGIT)
            assert names[row] == ""
        else:
            assert (names[row], kana[row], answer.birth_dates[row]) == (
                resident.name,
                resident.kana,
                resident.birth_date,
            )
            assert answer.outcomes[row] == OUTCOMES[State(resident.state)]


def test_greeting_says_who_the_caller_is_taken_for(place: Place, caller: Caller) -> None:
    greeting = caller.wire.greeting
    assert greeting is not None
    assert (greeting.role, greeting.body) == ("agency", "pensions")
    assert greeting.areas_not_connected == [13215]
    assert greeting.limits.codes_per_request_max == 65_536
    assert greeting.server.startswith("jukinet ")


def test_small_lookup_is_answered_and_recorded(place: Place, server: Server, caller: Caller) -> None:
    codes = [*place.codes[:20], 10, MALFORMED_CODE]
    answer = caller.lookup(codes)
    assert isinstance(answer, m.LookupAnswer), answer
    check_lookup(place, codes, answer)
    head, asked, outcomes = last_record(server)
    assert (asked, outcomes) == (codes, bytes(answer.outcomes))
    assert (head.role, head.body, head.operator) == ("agency", "pensions", "operator-7731")
    assert (head.schedule, head.item, head.number) == (1, "77", 0)
    assert (head.reason, head.case_reference) == ("reason-for-tests", "case-reference-9917")
    assert (head.function, head.items, head.request_id) == (Function.LOOKUP, 255, answer.request_id)
    assert head.register_version == answer.register_version


@pytest.mark.parametrize("count", [64, 65, 4_096, 4_097, 65_536])
def test_lookup_of_any_length(place: Place, server: Server, caller: Caller, count: int) -> None:
    codes = [place.codes[row % len(place.codes)] for row in range(count)]
    answer = caller.lookup(codes)
    assert isinstance(answer, m.LookupAnswer), answer
    assert answer.count == count
    check_lookup(place, codes, answer)
    _, asked, outcomes = last_record(server)
    assert (asked, outcomes) == (codes, bytes(answer.outcomes))


@pytest.mark.parametrize("count", [3, 20_000])
def test_status(place: Place, server: Server, caller: Caller, count: int) -> None:
    codes = [place.codes[row % len(place.codes)] for row in range(count)]
    answer = caller.status(codes, 20150401)
    assert isinstance(answer, m.StatusAnswer), answer
    for code, outcome in zip(codes, answer.outcomes, strict=True):
        state = place.table[code // 10].state
        assert outcome in ((Outcome.CURRENT, Outcome.CHANGED) if state == State.CURRENT else (OUTCOMES[State(state)],))
    assert {Outcome.CURRENT, Outcome.CHANGED, Outcome.DEAD} <= set(answer.outcomes) or count < 10
    head, asked, outcomes = last_record(server)
    assert (head.function, head.since, asked, outcomes) == (Function.STATUS, 20150401, codes, bytes(answer.outcomes))


@pytest.mark.parametrize("count", [3, 5_000])
def test_verify(place: Place, server: Server, caller: Caller, count: int) -> None:
    codes = [place.codes[row % len(place.codes)] for row in range(count)]
    people = [place.table[code // 10] for code in codes]
    names = [person.name if row % 2 else "別人" for row, person in enumerate(people)]
    births = array("I", [person.birth_date for person in people])
    answer = caller.ask(
        m.VerifyRequest(
            caller.new(),
            caller.session,
            int(Item.NAME | Item.BIRTH_DATE),
            memoryview(array("Q", codes)),
            TextColumn.from_texts(names),
            memoryview(births),
        )
    )
    assert isinstance(answer, m.VerifyAnswer), answer
    assert [matches & 3 for matches in answer.matches] == [2 if row % 2 else 1 for row in range(count)]
    assert {matches >> 2 & 3 for matches in answer.matches} == {2}
    head, asked, outcomes = last_record(server)
    assert (head.function, head.items, asked) == (Function.VERIFY, Item.NAME | Item.BIRTH_DATE, codes)
    assert outcomes == bytes(answer.outcomes)
    record = list(read_segments(server.directory / "record-of-use"))[-1]
    assert record.matches == bytes(answer.matches), "what was provided is what is recorded"


def test_small_requests_are_served_between_slices_of_a_large_one(place: Place, server: Server, caller: Caller) -> None:
    many = memoryview(array("Q", [place.codes[row % len(place.codes)] for row in range(65_536)]))
    large = [caller.send(m.LookupRequest(caller.new(), caller.session, 0, many)) for _ in range(4)]
    small = caller.send(m.LookupRequest(caller.new(), caller.session, 0, memoryview(place.codes)[:1]))
    order = [caller.event().request_id for _ in range(5)]
    assert sorted(order) == sorted([*large, small])
    assert order.index(small) < 3, "a small request waits for one large answer at most, not for the queue"


def test_answers_come_for_every_pipelined_request(place: Place, caller: Caller) -> None:
    asked = {}
    for row in range(16):
        codes = memoryview(place.codes)[row * 100 : row * 100 + 1 + row * 30]
        asked[caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))] = list(codes)
    while asked:
        answer = caller.event()
        check_lookup(place, asked.pop(answer.request_id), answer)


# Authority ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("schedule", "item"), [(1, "78"), (2, "8"), (1, "16"), (0, "77")])
def test_affair_without_authority_is_refused(place: Place, server: Server, schedule: int, item: str) -> None:
    with Caller(place, server.port) as caller:
        answer = caller.open(item, schedule)
        assert isinstance(answer, m.Error)
        assert answer.code is ErrorCode.NOT_AUTHORISED
        assert isinstance(caller.open("77"), m.SessionOpened), "the connection stays"


def test_functions_items_and_counts_are_held_to_the_grant(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        opened = caller.open("39")
        assert (opened.functions, opened.items, opened.codes_per_request_max) == (
            Function.LOOKUP | PACKED_BIT,
            Item.NAME | Item.BIRTH_DATE,
            100,
        )
        answer = caller.lookup(place.codes[:2])
        assert answer.items == Item.NAME | Item.BIRTH_DATE
        assert answer.addresses is None
        refused = caller.lookup(place.codes[:2], int(Item.NAME | Item.SEX))
        assert refused.code is ErrorCode.NOT_AUTHORISED
        assert caller.status(place.codes[:2]).code is ErrorCode.NOT_AUTHORISED
        before = len(list(read_segments(server.directory / "record-of-use")))
        refused = caller.ask_unchecked(m.LookupRequest, caller.session, place.codes[:101])
        assert refused.code is ErrorCode.TOO_MANY_CODES
        assert len(list(read_segments(server.directory / "record-of-use"))) == before, "a refusal provides nothing"


def test_earlier_records_need_their_own_authority(place: Place, caller: Caller) -> None:
    caller.open()
    column = memoryview(array("Q", place.codes[:2]))
    refused = caller.ask(m.HistoryRequest(caller.new(), caller.session, 0, column))
    assert refused.code is ErrorCode.NOT_AUTHORISED
    assert caller.lookup(place.codes[:2]).count == 2
    assert caller.open("72").functions == Function.LOOKUP | Function.HISTORY | PACKED_BIT
    refused = caller.ask(m.HistoryRequest(caller.new(), caller.session, int(Item.KANA), column))
    assert refused.code is ErrorCode.NOT_AUTHORISED
    answer = caller.ask(m.HistoryRequest(caller.new(), caller.session, 0, column))
    assert isinstance(answer, m.HistoryAnswer)
    assert list(answer.row_ends) == [0, 0], "a register that was never fed has no earlier records"


def test_codes_a_second_are_limited(place: Place, server: Server) -> None:
    with Caller(place, server.port, "slow") as caller:
        caller.open()
        codes = array("Q", [place.codes[0]] * 65_536)
        assert isinstance(caller.status(codes), m.StatusAnswer), "the burst is one longest request"
        refused = caller.status(codes)
        assert refused.code is ErrorCode.RATE_EXCEEDED
        assert 50_000 < refused.retry_after_ms < 70_000
        assert refused.retry_after_ms // 1000 == 65


def test_connections_of_a_body_are_limited(place: Place, server: Server) -> None:
    with Caller(place, server.port, "slow") as first, Caller(place, server.port, "slow") as second:
        first.open(), second.open()
        with Caller(place, server.port, "slow") as third:
            refused = third.event()
            assert isinstance(refused, m.Error)
            assert refused.code is ErrorCode.TOO_MANY_CONNECTIONS
            with pytest.raises(EOFError):
                third.event()
    server.wait_for("connection_closed", 3, body="slow")
    with Caller(place, server.port, "slow") as fourth:
        assert isinstance(fourth.open(), m.SessionOpened)


# Connection --------------------------------------------------------------------------------------------------------


def test_ping(caller: Caller) -> None:
    assert caller.ask(m.Ping(caller.new(), b"12345678")).data == b"12345678"


def test_sessions_are_closed_after_earlier_answers(place: Place, caller: Caller) -> None:
    session = caller.session
    codes = memoryview(array("Q", [place.codes[0]] * 30_000))
    first = caller.send(m.StatusRequest(caller.new(), session, 20200101, codes))
    closing = caller.send(m.CloseSession(caller.new(), session))
    assert [caller.event().request_id for _ in range(2)] == [first, closing]
    refused = caller.ask_unchecked(m.LookupRequest, session, place.codes[:1])
    assert refused.code is ErrorCode.UNKNOWN_SESSION


def test_several_sessions_are_closed_after_one_earlier_answer(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        sessions = [caller.open().session_id for _ in range(3)]
        codes = memoryview(array("Q", [place.codes[0]] * 65_536))
        first = caller.send(m.LookupRequest(caller.new(), sessions[0], 0, codes))
        closing = [caller.send(m.CloseSession(caller.new(), session)) for session in sessions]
        assert [caller.event().request_id for _ in range(4)] == [first, *closing]


def test_too_many_sessions(caller: Caller) -> None:
    for _ in range(15):
        assert isinstance(caller.open(), m.SessionOpened)
    assert caller.open().code is ErrorCode.TOO_MANY_SESSIONS


def test_cancel_ends_a_request_that_waits(place: Place, server: Server, caller: Caller) -> None:
    codes = memoryview(array("Q", [place.codes[0]] * 65_536))
    asked = [caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes)) for _ in range(10)]
    caller.send(m.Cancel(asked[-1]))
    answers = {answer.request_id: answer for answer in (caller.event() for _ in asked)}
    assert isinstance(answers[asked[-1]], m.Error)
    assert answers[asked[-1]].code is ErrorCode.CANCELLED
    assert all(isinstance(answers[number], m.LookupAnswer) for number in asked[:-1])
    recorded = [r.head.request_id for r in read_segments(server.directory / "record-of-use") if r.count == 65_536]
    assert asked[-1] not in recorded[-10:]


def test_goodbye_waits_for_answers(place: Place, caller: Caller) -> None:
    codes = memoryview(array("Q", [place.codes[0]] * 50_000))
    asked = caller.send(m.LookupRequest(caller.new(), caller.session, 0, codes))
    caller.send(m.Goodbye(reason="done"))
    assert caller.event().request_id == asked
    assert isinstance(caller.event(), m.Goodbye)
    assert caller.wire.state is ConnectionState.CLOSED
    with pytest.raises(EOFError):
        caller.event()


def test_metrics_file_tells_what_was_served(place: Place, server: Server, caller: Caller) -> None:
    caller.lookup(place.codes[:7])
    server.wait_for_metric("jukinet_providing 1")
    server.wait_for_metric("jukinet_workers 1")
    text = server.metrics()
    assert re.search(r'^jukinet_codes_total\{function="lookup"\} [1-9]\d*$', text, re.MULTILINE)
    assert re.search(r"^jukinet_commit_seconds_count [1-9]\d*$", text, re.MULTILINE)


def test_two_workers_share_the_port(place: Place, tmp_path: Path) -> None:
    with Server(place.configuration(tmp_path, server={"port": 0, "workers": 2})) as server:
        assert len(server.worker_processes()) == 2
        for _ in range(24):
            with Caller(place, server.port) as caller:
                caller.open()
                assert caller.lookup(place.codes[:1]).count == 1
        assert {record["worker"] for record in server.records if record["event"] == "connection_opened"} == {0, 1}
        workers = {record.worker for record in read_segments(tmp_path / "record-of-use")}
        assert workers == {0, 1}
        server.wait_for_metric('jukinet_requests_total{function="lookup"} 24')
