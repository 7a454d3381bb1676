"""The witness port's end: every state with every message of the feed protocol, of which it takes those of a witness."""

from __future__ import annotations

import pytest
from feed_pair import LIMITS, PINGED, REQUESTS, SERVER_TYPES, UNDER_WAY, S, T, client_messages, raw_frames, requests
from feed_pair import server_messages as feed_messages_of_server
from state_checks import check_sent, received, without_error_of_the_connection
from wire_pair import deliver

from jukinet.core.errors import ErrorCode
from jukinet.core.wire import FeedClientConnection, WitnessServerConnection, feed_states
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m

ASKED = {T.CHECKPOINT_ASK, T.COSIGN, T.PING}
ANSWERS = {T.CHECKPOINT, T.COSIGNED, T.PONG}
OTHER_ANSWERS = {kind for kind in SERVER_TYPES if kind in feed_states.QUESTIONS_OF} - ANSWERS
CLIENT_TYPES = {*ASKED, T.PONG, T.GOODBYE}
FROM_CLIENT, FROM_SERVER = feed_states.WITNESS_FROM_CLIENT, feed_states.WITNESS_FROM_SERVER
FRAMES = raw_frames()
GREETING = f.FeedGreeting(
    server="jukinet 0.1",
    register="0123456789abcdef" * 2,
    role="witness",
    body="auditor",
    prefecture=0,
    position=0,
    digest_count=0,
    digest_sum=bytes(16),
    areas=[],
    today=20240401,
    limits=LIMITS,
)


def end_in(state: S) -> WitnessServerConnection:
    """The server's end in the state; from OPEN on one request of each type and a PING of its own are under way."""
    server, client = WitnessServerConnection(LIMITS), FeedClientConnection(LIMITS)
    if state is S.GREETING:
        return server
    deliver(client, server.send(GREETING))
    for kind, message in requests(UNDER_WAY).items():
        if kind in ASKED:
            assert deliver(server, client.send(message)) == [message]  # type: ignore[arg-type]
    deliver(client, server.send(m.Ping(0, PINGED)))
    if state in (S.SERVER_DONE, S.BOTH_DONE):
        server.send(m.Goodbye(reason="draining"))
    if state in (S.CLIENT_DONE, S.BOTH_DONE):
        deliver(server, client.send(m.Goodbye(reason="done")))
    if state is S.CLOSED:
        server.send(m.Error(0, ErrorCode.TIMED_OUT, "idle"))
    assert server.state is state
    return server


def test_the_rows_are_those_of_a_feed_without_what_is_no_witnessing() -> None:
    assert {state: dict(row) for state, row in FROM_CLIENT.items()} == {
        state: {kind: to for kind, to in row.items() if kind in CLIENT_TYPES}
        for state, row in feed_states.FEED_FROM_CLIENT.items()
    }
    assert {state: dict(row) for state, row in FROM_SERVER.items()} == {
        state: {kind: to for kind, to in row.items() if kind in SERVER_TYPES - OTHER_ANSWERS}
        for state, row in feed_states.FEED_FROM_SERVER.items()
    }
    assert feed_states.WITNESS_CLIENT_TYPES == CLIENT_TYPES


@pytest.mark.parametrize("state", list(S), ids=lambda state: state.name)
@pytest.mark.parametrize("kind", list(T), ids=lambda kind: kind.name)
def test_it_receives(state: S, kind: T) -> None:
    server = end_in(state)
    frame = FRAMES.get(("client", kind)) or FRAMES["server", kind]
    event = received(server, frame, kind, CLIENT_TYPES, FROM_CLIENT)
    if state is S.SERVER_DONE and kind in ASKED:
        assert isinstance(event, m.Refused)
        assert event.code is ErrorCode.DRAINING
    else:
        assert event in (None, client_messages().get(kind))


@pytest.mark.parametrize("state", list(S), ids=lambda state: state.name)
@pytest.mark.parametrize("kind", sorted(SERVER_TYPES), ids=lambda kind: kind.name)
def test_it_sends(state: S, kind: T) -> None:
    server = end_in(state)
    if kind is T.PING and T.PONG in FROM_CLIENT[state]:
        deliver(server, FRAMES["client", T.PONG])
    message = {**feed_messages_of_server(), T.FEED_GREETING: GREETING}[kind]
    if kind is T.ERROR:
        message = m.Error(UNDER_WAY[T.COSIGN], ErrorCode.INTERNAL, "")
    is_allowed = kind in without_error_of_the_connection(FROM_SERVER)[state]
    check_sent(server, lambda: server.send(message), kind, FROM_SERVER, is_allowed=is_allowed)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted(set(REQUESTS) - ASKED), ids=lambda kind: kind.name)
def test_what_a_feed_may_ask_does_not_exist_here(kind: T) -> None:
    server = WitnessServerConnection(LIMITS)
    server.send(GREETING)
    assert received(server, FRAMES["client", kind], kind, CLIENT_TYPES, FROM_CLIENT) is None
