"""The Trio client against a peer that speaks the protocol and misbehaves on purpose."""

from __future__ import annotations

import datetime
import socket
import struct
from array import array
from typing import Any

import pytest
import trio
from peer import Behaviour, person

from jukinet import clients
from jukinet.clients import Credentials, Deadlines, PartialDate, Retry, errors
from jukinet.clients.transport import trio_watch
from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import ChangeReason, Item, Match, Outcome, Sex
from jukinet.core.wire import messages as m

FAST = Retry(tries=4, first=0.01, longest=0.5)
CODES = [code_from_key(key) for key in range(1000, 1100)]


async def test_lookup(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer()
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client:
        assert client.greeting.body == "test"
        assert await client.ping() < 5
        async with client.session(**affair) as session:
            assert session.grant.valid_until == datetime.date(2030, 12, 31)
            answer = await session.lookup(CODES)
            rows = list(answer)
    assert len(rows) == 100
    for code, row in zip(CODES, rows, strict=True):
        held = person(code)
        assert row.code == f"{code:011}"
        assert row.outcome == held.outcome
        if row.outcome in (Outcome.CURRENT, Outcome.DEAD):
            assert (row.name, row.kana, row.alias) == (held.name, held.kana, held.alias)
            assert row.birth_date == PartialDate.from_decimal(held.birth_date)
            assert (row.sex, row.area, row.address) == (Sex(held.sex), "13101", held.address)
            assert row.change_reason == held.reason
        else:
            assert row.name is None
    changed = rows[8]
    assert changed.change_reason is ChangeReason.CODE_CHANGE_REQUESTED
    assert changed.change_date == datetime.date(2023, 4, 5)
    assert changed.successor_code == "12345678903"
    assert isinstance(rows[0].birth_date, datetime.date)
    assert isinstance(rows[3].birth_date, PartialDate)
    assert answer.register_version == 42


async def test_malformed_codes_keep_their_places(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer()
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        answer = await session.lookup(["12345678903", "abc", "", "123", "12345678901", "一二三四五六七八九〇三"])
        assert [row.outcome for row in answer] == [
            Outcome.CURRENT, Outcome.MALFORMED, Outcome.MALFORMED, Outcome.MALFORMED, Outcome.BAD_CHECK_DIGIT,
            Outcome.MALFORMED,
        ]  # fmt: skip
        assert [row.code for row in answer][:3] == ["12345678903", "", ""]
        assert (await session.lookup_one("x")).outcome is Outcome.MALFORMED
        assert (await session.lookup_one("12345678903", items=Item.NAME)).kana is None


async def test_status_and_verify(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer()
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        status = await session.status(array("Q", CODES), since=datetime.date(2024, 4, 1))
        assert status.since == datetime.date(2024, 4, 1)
        assert status.counts()[Outcome.CHANGED] == 30  # of each ten, 1, 3 and 5 (7 is dead, 9 unknown)
        assert status[1].change_date == datetime.date(2024, 6, 1)
        assert status[0].change_date is None
        verify = await session.verify(
            CODES[:3],
            names=[person(CODES[0]).name, "somebody else", ""],
            birth_dates=["1965-02-20", None, PartialDate(1965, 2, 20)],
            sexes=[person(CODES[0]).sex, 0, 9],
        )
        assert verify[0].agrees
        assert verify[1].name is Match.DIFFERENT
        assert verify[1].birth_date is Match.NOT_ASKED
        assert (verify[2].name, verify[2].sex) == (Match.NOT_ASKED, Match.DIFFERENT)
        assert verify.differences() == 2
        with pytest.raises(errors.BadRequestError, match="2 rows"):
            await session.verify(CODES[:3], names=["a", "b"])
        with pytest.raises(errors.BadRequestError, match="surrogate") as caught:
            await session.verify(CODES[:1], names=["\ud800secret"])
        assert "secret" not in str(caught.value)
        with pytest.raises(errors.BadRequestError, match="full date"):
            await session.status(CODES, since="2024-04")


async def test_many_in_order_and_pipelined(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    # Answers come in the order 3, 2, 1, 0, 7, ...: the client must put them right.
    peer = make_peer(plan=lambda number, _: Behaviour(delay=0.08 - 0.02 * (number % 4)))
    batches = [CODES[start : start + 7] for start in range(0, 100, 7)]
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        answers = [answer async for answer in session.lookup_many(batches, in_flight=4)]
    assert [row.code for answer in answers for row in answer] == [f"{code:011}" for code in CODES]
    assert peer.asked == CODES


async def test_many_tasks_share_a_connection(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    limits = m.Limits(requests_in_flight_max=3)
    peer = make_peer(limits=limits, plan=lambda number, _: Behaviour(delay=number % 5 / 500))
    found: dict[int, str] = {}

    async def ask(session: Any, code: int) -> None:
        found[code] = (await session.lookup_one(code)).code

    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        async with trio.open_nursery() as nursery:
            for code in CODES:
                nursery.start_soon(ask, session, code)
    assert found == {code: f"{code:011}" for code in CODES}


async def test_cancellation_leaves_the_connection_usable(
    make_peer: Any, tls: Credentials, affair: dict[str, Any]
) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number == 0))
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        with trio.move_on_after(0.05) as scope:
            await session.lookup(CODES)
        assert scope.cancelled_caught
        answer = await session.lookup(CODES[:5])
        assert len(answer) == 5
    assert len(peer.cancelled) == 1
    assert peer.connections == 1


async def test_cancelling_the_reader_hands_the_reading_on(
    make_peer: Any, tls: Credentials, affair: dict[str, Any]
) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number == 0, delay=0.2))
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        rows: list[Any] = []

        async def patient() -> None:
            rows.extend(await session.lookup(CODES[:5]))

        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.05):
                nursery.start_soon(patient)
                await session.lookup(CODES)
        assert len(rows) == 5
    assert peer.connections == 1


async def test_progress(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(plan=lambda *_: Behaviour(progress=True, delay=0.05))
    seen: list[tuple[int, int]] = []
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        await session.lookup(CODES, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 100)]


@pytest.mark.parametrize("cut", [1, 15, 16, 100, 250, 300, 400, 900, 5000, 9000])
async def test_reconnects_when_the_line_is_cut(
    make_peer: Any, tls: Credentials, affair: dict[str, Any], cut: int
) -> None:
    peer = make_peer(cuts=[None, cut, cut])
    batches = [CODES[start : start + 10] for start in range(0, 100, 10)]
    # The first connection is lost after the greeting; the next two are cut at the byte.
    peer.cuts[0] = 2000
    async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=FAST) as client:
        async with client.session(**affair) as session:
            answers = [answer async for answer in session.lookup_many(batches, in_flight=3)]
    assert [row.code for answer in answers for row in answer] == [f"{code:011}" for code in CODES]
    assert 3 <= peer.connections <= 4


async def test_gives_up_after_bounded_tries(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(cuts=[400] * 100)
    async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=FAST) as client:
        async with client.session(**affair) as session:
            with pytest.raises(clients.ConnectionLostError, match="repeated safely"):
                await session.lookup(CODES)
    assert peer.connections == FAST.tries


async def test_draining_server(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(goodbye=number == 2))
    batches = [CODES[start : start + 10] for start in range(0, 100, 10)]
    async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=FAST) as client:
        async with client.session(**affair) as session:
            answers = [answer async for answer in session.lookup_many(batches, in_flight=1)]
    assert sum(map(len, answers)) == 100
    assert peer.connections == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [(ErrorCode.NOT_AUTHORISED, clients.NotAuthorisedError), (ErrorCode.TOO_MANY_CODES, clients.TooManyCodesError),
     (ErrorCode.INTERNAL, errors.InternalServerError), (ErrorCode.BAD_REQUEST, errors.BadRequestError)],
)  # fmt: skip
async def test_typed_errors(
    make_peer: Any, tls: Credentials, affair: dict[str, Any], code: ErrorCode, kind: type[Exception]
) -> None:
    peer = make_peer(plan=lambda *_: Behaviour(error=code))
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        with pytest.raises(kind, match="what to do") as caught:
            await session.lookup(CODES)
        assert isinstance(caught.value, errors.RequestError)
        assert caught.value.wire_code == code
    assert peer.questions == 1


async def test_rate_exceeded(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    def plan(number: int, _: Any) -> Behaviour:
        return Behaviour(error=ErrorCode.RATE_EXCEEDED, retry_after_ms=100) if number < 2 else Behaviour()

    peer = make_peer(plan=plan)
    async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=Retry(tries=1)) as client:
        async with client.session(**affair) as session:
            with pytest.raises(clients.RateExceededError) as caught:
                await session.lookup(CODES)
            assert caught.value.retry_after == 0.1
    async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=FAST) as client:
        async with client.session(**affair) as session:
            started = trio.current_time()
            await session.lookup(CODES)
            assert trio.current_time() - started >= 0.1


async def test_session_refused(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(refuse_session=ErrorCode.NOT_AUTHORISED)
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client:
        with pytest.raises(clients.NotAuthorisedError, match="schedule, item and number"):
            async with client.session(**affair):
                pass
        assert await client.ping() < 5


async def test_too_many_codes_is_found_here(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(limits=m.Limits(codes_per_request_max=10))
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        with pytest.raises(clients.TooManyCodesError, match="batches"):
            await session.lookup(CODES)
        split = clients.batches(CODES, session.codes_per_request_max)
        assert sum([len(answer) async for answer in session.lookup_many(split)]) == 100


async def test_request_deadline(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number == 0))
    deadlines = Deadlines(request=0.1)
    async with clients.connect("127.0.0.1", peer.port, tls=tls, deadlines=deadlines) as client:
        async with client.session(**affair) as session:
            with pytest.raises(clients.DeadlineExceededError, match=r"Deadlines\.request"):
                await session.lookup(CODES)
            assert len(await session.lookup(CODES)) == 100
    assert peer.connections == 1
    assert peer.cancelled


async def test_idle_deadline(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number == 0))
    deadlines = Deadlines(idle=0.1)
    async with clients.connect("127.0.0.1", peer.port, tls=tls, deadlines=deadlines) as client:
        async with client.session(**affair) as session:
            with pytest.raises(clients.DeadlineExceededError, match=r"Deadlines\.idle"):
                await session.lookup(CODES)
            assert len(await session.lookup(CODES)) == 100
    assert peer.connections == 2


async def test_a_server_that_is_being_started_is_waited_for(make_peer: Any, tls: Credentials) -> None:
    for settings, connections in [({"cuts": [0, 1, 40]}, 4), ({"late_seconds": 0.2}, 1)]:
        peer = make_peer(**settings)
        async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=FAST) as client:
            assert await client.ping() < 5
        assert peer.connections == connections


async def test_waiting_for_a_server_has_its_bound(make_peer: Any, tls: Credentials) -> None:
    peer = make_peer(cuts=[0] * 1_000)
    with pytest.raises(clients.ConnectionFailedError, match="before the server's greeting"):
        async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=Retry(first=0.01, connecting=0.1)):
            pass
    assert 2 <= peer.connections <= 20
    for once in (Retry(tries=1), Retry(connecting=0)):
        peer = make_peer(late_seconds=60)
        with pytest.raises(clients.ConnectionFailedError, match="nothing listens"):
            async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=once):
                pass


@pytest.mark.parametrize("settings", [{"server_name": "agency-test"}, {"alpn": "h2"}])
async def test_what_is_no_sign_of_a_start_is_told_at_once(
    make_peer: Any, tls: Credentials, settings: dict[str, Any]
) -> None:
    peer = make_peer(**settings)
    with pytest.raises(clients.ConnectionFailedError):
        async with clients.connect("127.0.0.1", peer.port, tls=tls):
            pass
    assert peer.connections == 1


async def test_no_greeting(make_peer: Any, tls: Credentials) -> None:
    peer = make_peer(silent=True)
    with pytest.raises(clients.DeadlineExceededError, match="did not greet"):
        async with clients.connect("127.0.0.1", peer.port, tls=tls, deadlines=Deadlines(handshake=0.2)):
            pass


async def test_garbage(make_peer: Any, tls: Credentials) -> None:
    peer = make_peer(garbage=b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(clients.ConnectionLostError, match="broke the protocol"):
        async with clients.connect("127.0.0.1", peer.port, tls=tls):
            pass


async def test_unknown_body(make_peer: Any, tls: Credentials) -> None:
    peer = make_peer(greeting_error=ErrorCode.UNKNOWN_BODY)
    with pytest.raises(errors.UnknownBodyError) as caught:
        async with clients.connect("127.0.0.1", peer.port, tls=tls):
            pass
    assert caught.value.exit_code == 3


async def test_nothing_listens(tls: Credentials) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(clients.ConnectionFailedError, match="nothing listens there"):
        async with clients.connect("127.0.0.1", port, tls=tls):
            pass


async def test_reset_before_a_word_of_tls(tls: Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the reset comes between connecting and TLS: a server that dies meanwhile."""
    opened = trio.open_tcp_stream
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def open_and_be_reset(host: str, port: int) -> trio.SocketStream:
            stream = await opened(host, port)
            accepted, _ = await trio.to_thread.run_sync(listener.accept)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            return stream

        monkeypatch.setattr(trio, "open_tcp_stream", open_and_be_reset)
        with pytest.raises(clients.ConnectionFailedError, match="cannot connect") as caught:
            async with clients.connect("127.0.0.1", port, tls=tls, retry=Retry(tries=1)):
                pass
    assert caught.value.repeatable


async def test_not_a_server(make_peer: Any, tls: Credentials) -> None:
    peer = make_peer(server_name="agency-test")
    with pytest.raises(clients.ConnectionFailedError):
        async with clients.connect("127.0.0.1", peer.port, tls=tls):
            pass


async def test_wrong_alpn(make_peer: Any, tls: Credentials) -> None:
    peer = make_peer(alpn="h2")
    with pytest.raises(clients.ConnectionFailedError):
        async with clients.connect("127.0.0.1", peer.port, tls=tls):
            pass


async def test_a_server_that_reads_slowly_does_not_stall_the_pipeline(
    make_peer: Any, tls: Credentials, affair: dict[str, Any]
) -> None:
    # Requests of 512 KiB fill the socket while answers wait to be read: sender and reader must both go on.
    codes = array("Q", [code_from_key(9)] * 65_536)
    peer = make_peer(slow_reads=0.001)
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        with trio.fail_after(20):
            answers = [a async for a in session.status_many([codes] * 6, since="2024-01-01", in_flight=6)]
    assert [len(answer) for answer in answers] == [65_536] * 6


async def test_cancelled_while_sending(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    codes = array("Q", [code_from_key(9)] * 65_536)
    peer = make_peer(slow_reads=0.002)
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        for _ in range(3):
            with trio.move_on_after(0.01):
                async for _ in session.status_many([codes] * 8, since="2024-01-01", in_flight=8):
                    pass
        with trio.fail_after(20):
            assert len(await session.lookup(CODES)) == 100


async def test_what_a_progress_function_raises_comes_out_of_its_request(
    make_peer: Any, tls: Credentials, affair: dict[str, Any]
) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(progress=number == 0, delay=0.05))

    def complain(done: int, total: int) -> None:
        raise ZeroDivisionError

    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        with pytest.raises(ZeroDivisionError):
            await session.lookup(CODES, progress=complain)
        assert len(await session.lookup(CODES)) == 100


async def test_the_clock_wakes_again_after_a_quiet_time(
    make_peer: Any, tls: Credentials, affair: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio_watch, "TICKS_IDLE_MAX", 1)
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number == 1))
    deadlines = Deadlines(request=0.1)
    async with clients.connect("127.0.0.1", peer.port, tls=tls, deadlines=deadlines) as client:
        async with client.session(**affair) as session:
            await session.lookup(CODES)
            await trio.sleep(0.3)
            assert trio_watch.watch_of_this_run().clock_sleeps
            with pytest.raises(clients.DeadlineExceededError):
                with trio.fail_after(5):
                    await session.lookup(CODES)


async def test_a_goodbye_is_noticed_while_nobody_asks(make_peer: Any, tls: Credentials, affair: dict[str, Any]) -> None:
    # The second question makes the server say goodbye; a third one, asked later, goes to a new connection at once.
    peer = make_peer(plan=lambda number, _: Behaviour(goodbye=number == 1))
    async with clients.connect("127.0.0.1", peer.port, tls=tls, retry=Retry(tries=1)) as client:
        async with client.session(**affair) as session:
            await session.lookup(CODES)
            with pytest.raises(errors.DrainingError):
                await session.lookup(CODES)
            assert len(await session.lookup(CODES)) == 100
    assert peer.connections == 2


async def test_many_connections_and_a_long_answer_share_the_watch(
    make_peer: Any, tls: Credentials, affair: dict[str, Any]
) -> None:
    peer = make_peer()
    long = array("Q", [code_from_key(9)] * 65_536)
    sizes: list[int] = []

    async def ask(codes: Any) -> None:
        async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
            for _ in range(3):
                sizes.append(len(await session.status(codes, since="2024-01-01")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, long)
        for _ in range(12):
            nursery.start_soon(ask, CODES)
    assert sorted(sizes) == [100] * 36 + [65_536] * 3


async def test_leaving_a_pipeline_early_cancels_the_rest(
    make_peer: Any, tls: Credentials, affair: dict[str, Any]
) -> None:
    peer = make_peer(plan=lambda number, _: Behaviour(hold=number > 0))
    async with clients.connect("127.0.0.1", peer.port, tls=tls) as client, client.session(**affair) as session:
        answers = session.lookup_many([CODES] * 9, in_flight=3)
        async for _ in answers:
            break
        answers.close()
        assert [answer async for answer in answers] == []
        await client.ping()
    assert len(peer.cancelled) == 2
