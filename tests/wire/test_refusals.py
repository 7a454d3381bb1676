"""Requests that the server refuses while the stream goes on, and what each side refuses to send."""

from __future__ import annotations

from array import array

import msgspec
import pytest
import wire_twin as twin
from wire_frames import T
from wire_pair import SESSION, answer, codes, deliver, greeted, greeting, open_session, opened

from jukinet.core import limits as bounds
from jukinet.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import ClientConnection, ConnectionState, ServerConnection, columns
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import HEADER

LIMITS = m.Limits(codes_per_request_max=4, requests_in_flight_max=3, sessions_max=2, request_bytes_max=100_000)
NAMES = twin.text_column(["山田"])
LONG = twin.text_column(["x" * 1_025])


def refused(server: ServerConnection, data: bytes) -> m.Refused:
    (event,) = deliver(server, data)
    assert isinstance(event, m.Refused)
    return event


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        (T.LOOKUP, twin.question(SESSION, 0, []), ErrorCode.BAD_REQUEST),
        (T.LOOKUP, twin.question(SESSION, 256, [1]), ErrorCode.BAD_REQUEST),
        (T.LOOKUP, twin.question(SESSION, 0, range(5)), ErrorCode.TOO_MANY_CODES),
        (T.LOOKUP, twin.question(SESSION, 0, range(12_000)), ErrorCode.TOO_MANY_CODES),
        (T.LOOKUP, twin.question(SESSION + 1, 0, [1]), ErrorCode.UNKNOWN_SESSION),
        (T.LOOKUP, twin.question(0, 0, [1]), ErrorCode.UNKNOWN_SESSION),
        (T.STATUS, twin.question(SESSION, 0, [1]), ErrorCode.BAD_REQUEST),
        (T.STATUS, twin.question(SESSION, 20240431, [1]), ErrorCode.BAD_REQUEST),
        (T.STATUS, twin.question(SESSION, 20240400, [1]), ErrorCode.BAD_REQUEST),
        (T.STATUS, twin.question(SESSION, 0xFFFFFFFF, [1]), ErrorCode.BAD_REQUEST),
        (T.STATUS, twin.question(SESSION, 20240401, range(5)), ErrorCode.TOO_MANY_CODES),
        (T.VERIFY, twin.question(SESSION, 0, [1]), ErrorCode.BAD_REQUEST),
        (T.VERIFY, twin.question(SESSION, 2, [1], NAMES), ErrorCode.BAD_REQUEST),
        (T.VERIFY, twin.question(SESSION, 1, [1], LONG), ErrorCode.BAD_REQUEST),
        (T.VERIFY, twin.question(SESSION, 8, [1], twin.u32([20241301])), ErrorCode.BAD_REQUEST),
        (T.VERIFY, twin.question(SESSION, 16, [1], twin.u8([3])), ErrorCode.BAD_REQUEST),
        (T.VERIFY, twin.question(SESSION, 1, range(5), bytes(8)), ErrorCode.TOO_MANY_CODES),
        (T.COHORT_PUT, twin.cohort_put(SESSION, 5, "all", []), ErrorCode.BAD_REQUEST),
        (T.COHORT_PUT, twin.cohort_put(SESSION, 4, "all", [1]), ErrorCode.BAD_REQUEST),
        (T.COHORT_PUT, twin.cohort_put(SESSION, 8, "all", []), ErrorCode.BAD_REQUEST),
        (T.COHORT_PUT, twin.cohort_put(SESSION, 3, "", [1]), ErrorCode.BAD_REQUEST),
        (T.COHORT_PUT, twin.cohort_put(SESSION, 3, "A", [1]), ErrorCode.BAD_REQUEST),
        (T.COHORT_PUT, twin.cohort_put(SESSION, 3, "a\0b", [1]), ErrorCode.BAD_REQUEST),
        (T.COHORT_PUT, twin.cohort_put(SESSION, 3, "all", range(5)), ErrorCode.TOO_MANY_CODES),
        (T.COHORT_PUT, twin.cohort_put(SESSION + 1, 3, "all", [1]), ErrorCode.UNKNOWN_SESSION),
        (T.COHORT_CHANGES, twin.cohort_changes(SESSION, 1, "all", 1, 0), ErrorCode.BAD_REQUEST),
        (T.COHORT_CHANGES, twin.cohort_changes(SESSION, 5, "all", 1, 0), ErrorCode.TOO_MANY_CODES),
        (T.COHORT_CHANGES, twin.cohort_changes(SESSION, 2, "", 1, 0), ErrorCode.BAD_REQUEST),
        (T.SEARCH, twin.find(SESSION, 0, 1, birth_dates=[19650220], addresses=["x"]), ErrorCode.BAD_REQUEST),
        (T.SEARCH, twin.find(SESSION, 0, 1, sexes=[1]), ErrorCode.BAD_REQUEST),
        (T.SEARCH, twin.find(SESSION, 0, 1, names=["x"], sexes=[1]), ErrorCode.BAD_REQUEST),
        (T.SEARCH, twin.find(SESSION, 4 << 8, 1, names=["x"], birth_dates=[0]), ErrorCode.BAD_REQUEST),
        (T.SEARCH, twin.find(SESSION, 2 << 16, 1, names=["x"], birth_dates=[0]), ErrorCode.BAD_REQUEST),
        (T.MATCH, twin.find(SESSION, 0, 0, names=[], birth_dates=[]), ErrorCode.BAD_REQUEST),
        (T.MATCH, twin.find(SESSION, 0, 1, True, names=["x"], birth_dates=[0]), ErrorCode.BAD_REQUEST),
        (T.MATCH, twin.find(SESSION, 0, 5, names=["x"] * 5, birth_dates=[0] * 5), ErrorCode.TOO_MANY_CODES),
        (T.MATCH, twin.find(SESSION + 1, 0, 1, names=["x"], birth_dates=[0]), ErrorCode.UNKNOWN_SESSION),
        (T.CLOSE_SESSION, b"\x81\xaasession_id\x09", ErrorCode.UNKNOWN_SESSION),
    ],
)
def test_a_refused_request_leaves_the_connection_open(kind: T, payload: bytes, code: ErrorCode) -> None:
    server, client = opened(LIMITS)
    event = refused(server, twin.frame(payload, kind, 50))
    assert (event.request_id, event.code, event.kind) == (50, code, kind)
    client.under_way[50] = kind
    (error,) = deliver(client, server.send(event.answer()))
    assert error == m.Error(50, code, event.message)
    assert server.under_way == client.under_way == {}
    assert deliver(server, client.send(m.Ping(51))) == [m.Ping(51)]


def session_map(**changes: object) -> m.OpenSession:
    fields = {"schedule": 1, "item": "77", "number": 0, "operator": "op", "reason": "r", "case_reference": ""}
    return m.OpenSession(9, **{**fields, **changes})  # type: ignore[arg-type]


BAD_SESSIONS = [
    {"schedule": 6},
    {"schedule": -1},
    {"item": ""},
    {"item": "77-"},
    {"item": "7" * 17},
    {"item": "７７"},
    {"number": -1},
    {"number": 65_536},
    {"operator": ""},
    {"operator": "x" * 65},
    {"operator": "あ" * 22},
    {"operator": "a\nb"},
    {"reason": ""},
    {"reason": "x" * 513},
    {"reason": "a\x7fb"},
    {"case_reference": "x" * 129},
    {"case_reference": "\x00"},
]


@pytest.mark.parametrize("changes", BAD_SESSIONS, ids=str)
def test_session_fields_out_of_range(changes: dict[str, object]) -> None:
    server, client = opened()
    message = session_map(**changes)
    with pytest.raises(LocalProtocolError):
        client.send(message)
    fields = msgspec.structs.asdict(message)
    del fields["request_id"]
    payload = msgspec.msgpack.encode(fields)
    assert refused(server, twin.frame(payload, T.OPEN_SESSION, 9)).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "changes",
    [
        {"operator": "x" * 64, "reason": "あ" * 170, "case_reference": "x" * 128},
        {"schedule": 5, "item": "77-2-1", "number": 65_535},
        {"schedule": 0, "item": "1", "reason": "r"},
    ],
)
def test_session_fields_at_their_limits(changes: dict[str, object]) -> None:
    server, client = opened()
    assert deliver(server, client.send(session_map(**changes))) == [session_map(**changes)]


def test_too_many_requests_are_refused_and_a_flood_is_closed() -> None:
    server, client = opened(LIMITS)
    for request_id in (10, 11, 12):
        deliver(server, client.send(m.Ping(request_id)))
    with pytest.raises(LocalProtocolError, match="under way"):
        client.send(m.Ping(13))
    for request_id in (13, 14, 15):
        event = refused(server, twin.frame(bytes(8), T.PING, request_id))
        assert event.code is ErrorCode.TOO_MANY_REQUESTS
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(server, twin.frame(bytes(8), T.PING, 16))
    assert caught.value.error is ErrorCode.TOO_MANY_REQUESTS


def test_answering_refusals_makes_room_again() -> None:
    server, client = opened(LIMITS)
    for request_id in (10, 11, 12):
        deliver(server, client.send(m.Ping(request_id)))
    for request_id in range(13, 200):
        event = refused(server, twin.frame(bytes(8), T.PING, request_id))
        server.send(event.answer())
    server.send(m.Pong(10))
    assert deliver(server, twin.frame(bytes(8), T.PING, 10)) == [m.Ping(10)]


def test_sessions_are_limited_from_opening_to_closed() -> None:
    server, client = opened(LIMITS)
    deliver(server, client.send(open_session(2)))
    assert refused(server, client_bytes(client, open_session(3))).code is ErrorCode.TOO_MANY_SESSIONS
    deliver(client, server.send(m.Error(3, ErrorCode.TOO_MANY_SESSIONS, "")))
    deliver(client, server.send(m.Error(2, ErrorCode.NOT_AUTHORISED, "")))
    deliver(server, client.send(open_session(4)))
    deliver(client, server.send(m.SessionOpened(4, 8, 7, 255, 4, 0)))
    deliver(server, client.send(m.CloseSession(5, 8)))
    assert refused(server, client_bytes(client, open_session(6))).code is ErrorCode.TOO_MANY_SESSIONS
    deliver(client, server.send(m.SessionClosed(5, 8)))
    deliver(client, server.send(m.Error(6, ErrorCode.TOO_MANY_SESSIONS, "")))
    assert deliver(server, client.send(open_session(7))) == [open_session(7)]


def client_bytes(client: ClientConnection, message: m.OpenSession) -> bytes:
    data = client.send(message)
    assert isinstance(data, bytes)
    return data


def test_a_session_s_own_limit_of_codes_holds() -> None:
    server, client = opened(codes_max=2)
    with pytest.raises(LocalProtocolError, match="codes_per_request_max"):
        client.send(m.LookupRequest(5, SESSION, 0, codes([1, 2, 3])))
    event = refused(server, twin.frame(twin.question(SESSION, 0, [1, 2, 3]), T.LOOKUP, 5))
    assert (event.code, event.message) == (ErrorCode.TOO_MANY_CODES, "at most 2 codes a request")


def test_a_closed_session_is_unknown_and_waits_for_its_requests() -> None:
    server, client = opened()
    deliver(server, client.send(m.LookupRequest(5, SESSION, 1, codes([1]))))
    deliver(server, client.send(m.CloseSession(6, SESSION)))
    with pytest.raises(LocalProtocolError, match="no such session"):
        client.send(m.LookupRequest(7, SESSION, 1, codes([1])))
    assert refused(server, twin.frame(twin.question(SESSION, 1, [1]), T.LOOKUP, 7)).code is ErrorCode.UNKNOWN_SESSION
    with pytest.raises(LocalProtocolError, match="under way"):
        server.send(m.SessionClosed(6, SESSION))
    server.send_answer(5, T.LOOKUP_ANSWER, answer(twin.lookup_answer(1, 1, [9], names=[""])))
    server.send(m.SessionClosed(6, SESSION))
    assert set(server.under_way) == {7}


def lookup(codes_buffer: object, request_id: int = 5, session_id: int = SESSION, items: int = 0) -> m.LookupRequest:
    return m.LookupRequest(request_id, session_id, items, codes_buffer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "message",
    [
        lookup(codes([])),
        lookup(codes([1]), request_id=0),
        lookup(codes([1]), request_id=1 << 32),
        lookup(codes([1]), session_id=99),
        lookup(codes([1]), items=256),
        lookup(codes([1]), items=-1),
        lookup(memoryview(array("I", [1, 2]))),
        lookup(memoryview(array("q", [1, 2]))),
        lookup(memoryview(array("d", [1, 2]))),
        lookup(codes([1, 2, 3, 4])[::2]),
        lookup(memoryview(bytes(16))),
        lookup(codes(range(65_537))),
        m.StatusRequest(5, SESSION, 20230229, codes([1])),
        m.VerifyRequest(5, SESSION, 1, codes([1])),
        m.VerifyRequest(5, SESSION, 8, codes([1]), columns.TextColumn.from_texts(["a"])),
        m.VerifyRequest(5, SESSION, 1, codes([1]), columns.TextColumn.from_texts(["a", "b"])),
        m.VerifyRequest(5, SESSION, 1, codes([1]), columns.TextColumn.from_texts(["x" * 1_025])),
        m.VerifyRequest(
            5, SESSION, 1, codes([1]), columns.TextColumn(memoryview(array("I", [1, 1])), memoryview(b"a"))
        ),
        m.VerifyRequest(
            5, SESSION, 1, codes([1]), columns.TextColumn(memoryview(array("I", [0, 1])), memoryview(b"\xff"))
        ),
        m.VerifyRequest(5, SESSION, 8, codes([1]), birth_dates=memoryview(array("I", [1, 2]))),
        m.VerifyRequest(5, SESSION, 8, codes([1]), birth_dates=memoryview(array("I", [20241301]))),
        m.VerifyRequest(5, SESSION, 16, codes([1]), sexes=memoryview(bytes([7]))),
        m.Ping(5, b"1234567"),
        m.Cancel(5),
        m.CloseSession(5, 99),
        m.Goodbye(request_id=5, reason=""),
        m.Goodbye(reason="x" * 257),
        m.OpenSession(5, 1, "x", 0, "op", "r", ""),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_client_refuses_to_send(message: m.ClientMessage) -> None:
    _, client = opened()
    with pytest.raises(LocalProtocolError):
        client.send(message)
    assert client.under_way == {}
    assert client.state is ConnectionState.OPEN


def test_a_request_id_under_way_is_not_used_again() -> None:
    _, client = opened()
    client.send(m.Ping(5))
    with pytest.raises(LocalProtocolError, match="request_id"):
        client.send(m.Ping(5))
    client._last_request_id = (1 << 32) - 1
    assert [client.new_request_id() for _ in range(5)] == [1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    "message",
    [
        m.SessionOpened(2, 0, 7, 255, 10, 0),
        m.SessionOpened(2, SESSION, 7, 255, 10, 0),
        m.SessionOpened(2, 8, 256, 255, 10, 0),
        m.SessionOpened(2, 8, 7, 255, 65_537, 0),
        m.SessionOpened(3, 8, 7, 255, 10, 0),
        m.SessionClosed(2, SESSION),
        m.SessionClosed(4, SESSION + 1),
        m.Pong(5, b""),
        m.Pong(3, bytes(8)),
        m.Progress(2, 0, 1),
        m.Progress(3, 2, 1),
        m.Error(99, ErrorCode.INTERNAL, ""),
        m.Error(3, ErrorCode.MALFORMED_FRAME, ""),
        m.Error(3, ErrorCode.INTERNAL, "x" * (bounds.ERROR_MESSAGE_BYTES_MAX + 1)),
        m.Error(3, ErrorCode.INTERNAL, "", -1),
        m.Error(3, 99, ""),  # type: ignore[arg-type]
        m.Goodbye(request_id=1, reason=""),
        m.LookupAnswer(3, 0, 1, 1, memoryview(b"\x01")),
    ],
    ids=lambda message: f"{type(message).__name__}",
)
def test_the_server_refuses_to_send(message: m.ServerMessage) -> None:
    server, client = opened()
    deliver(server, client.send(open_session(2)))
    deliver(server, client.send(m.LookupRequest(3, SESSION, 0, codes([1]))))
    deliver(server, client.send(m.CloseSession(4, SESSION)))
    deliver(server, client.send(m.Ping(5)))
    before = dict(server.under_way)
    with pytest.raises(LocalProtocolError):
        server.send(message)
    assert server.under_way == before
    assert server.state is ConnectionState.OPEN


def test_send_answer_checks_request_type_and_length() -> None:
    server, client = opened(m.Limits(answer_bytes_max=100))
    deliver(server, client.send(m.LookupRequest(3, SESSION, 0, codes([1]))))
    for request_id, kind, frame in (
        (4, T.LOOKUP_ANSWER, bytearray(32)),
        (3, T.STATUS_ANSWER, bytearray(32)),
        (3, T.PONG, bytearray(24)),
        (3, T.LOOKUP_ANSWER, bytearray(15)),
        (3, T.LOOKUP_ANSWER, bytearray(117)),
    ):
        with pytest.raises(LocalProtocolError):
            server.send_answer(request_id, kind, frame)
    assert server.under_way == {3: T.LOOKUP}
    assert len(server.send_answer(3, T.LOOKUP_ANSWER, bytearray(116))) == 116


def test_answer_in_parts_is_held_to_the_limit_as_a_whole() -> None:
    server, client = opened(m.Limits(answer_bytes_max=100))
    deliver(server, client.send(m.LookupRequest(3, SESSION, 0, codes([1]))))
    for parts in ([bytearray(32), memoryview(bytes(85))], [bytearray(8), memoryview(bytes(40))]):
        with pytest.raises(LocalProtocolError):
            server.send_answer(3, T.LOOKUP_ANSWER, parts)
    assert server.under_way == {3: T.LOOKUP}
    whole = server.send_answer(3, T.LOOKUP_ANSWER, [bytearray(32), memoryview(bytes(50)), memoryview(bytes(34))])
    assert b"".join(whole) == HEADER.pack(100, T.LOOKUP_ANSWER, 0, 3, 0) + bytes(100)


def test_a_greeting_tells_the_connection_s_own_limits() -> None:
    server = ServerConnection(LIMITS)
    with pytest.raises(LocalProtocolError, match="limits"):
        server.send(greeting(m.Limits()))
    client = ClientConnection(m.Limits(answer_bytes_max=1_000, codes_per_request_max=2))
    deliver(client, server.send(greeting(LIMITS)))
    assert client.limits == m.Limits(100_000, 1_000, 2, 3, 2, bounds.IDLE_SECONDS_MAX)


def test_codes_that_pass_request_bytes_max_are_not_sent() -> None:
    server, client = greeted(m.Limits(request_bytes_max=100))
    deliver(server, client.send(open_session()))
    deliver(client, server.send(m.SessionOpened(1, SESSION, 7, 255, 65_536, 0)))
    client.send(m.LookupRequest(2, SESSION, 0, codes(range(10))))
    with pytest.raises(LocalProtocolError, match="split"):
        client.send(m.LookupRequest(3, SESSION, 0, codes(range(11))))
    with pytest.raises(LocalProtocolError, match="split"):
        client.send(m.VerifyRequest(3, SESSION, 1, codes([1]), columns.TextColumn.from_texts(["x" * 80])))


def test_a_client_keeps_to_its_own_answer_limit() -> None:
    server = ServerConnection()
    client = ClientConnection(m.Limits(answer_bytes_max=39))
    deliver(client, server.send(greeting(server.limits)))
    deliver(server, client.send(open_session()))
    deliver(client, server.send(m.SessionOpened(1, SESSION, 7, 255, 10, 0)))
    deliver(server, client.send(m.LookupRequest(2, SESSION, 1, codes([1]))))
    payload = twin.lookup_answer(1, 1, [1], names=["a name"])
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(client, server.send_answer(2, T.LOOKUP_ANSWER, answer(payload)))
    assert caught.value.error is ErrorCode.FRAME_TOO_LARGE
