"""Every state of a feed connection with every message, in both directions, against the table in docs/protocol.md."""

from __future__ import annotations

import pytest
from feed_pair import (
    ANSWERS,
    CLIENT_TYPES,
    PINGED,
    REQUESTS,
    SERVER_TYPES,
    UNDER_WAY,
    S,
    T,
    client_messages,
    pair_in,
    raw_frames,
    server_messages,
)
from hypothesis import given
from hypothesis import strategies as st
from state_checks import check_sent, received, without_error_of_the_connection
from test_document import FEEDS
from test_states import printed_table
from wire_pair import PATIENT, deliver

from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.wire import feed_states
from jukinet.core.wire import messages as m

FROM_CLIENT, FROM_SERVER = printed_table(FEEDS, T, {"requests": set(REQUESTS), "answers": set(ANSWERS)})
FRAMES = raw_frames()


def test_the_printed_table_is_the_table() -> None:
    assert FROM_CLIENT == feed_states.FEED_FROM_CLIENT
    assert FROM_SERVER == feed_states.FEED_FROM_SERVER


def test_answers_and_questions_pair_up() -> None:
    assert set(REQUESTS) == feed_states.REQUESTS
    assert all(ANSWERS[T(kind)] in questions for kind, questions in feed_states.QUESTIONS_OF.items())
    assert set(ANSWERS) == set(feed_states.QUESTIONS_OF)


@pytest.mark.parametrize("state", list(S), ids=lambda state: state.name)
@pytest.mark.parametrize("kind", list(T), ids=lambda kind: kind.name)
def test_server_receives(state: S, kind: T) -> None:
    server, _ = pair_in(state)
    frame = FRAMES.get(("client", kind)) or FRAMES["server", kind]
    event = received(server, frame, kind, CLIENT_TYPES, FROM_CLIENT)
    if state is S.SERVER_DONE and kind in REQUESTS:
        assert isinstance(event, m.Refused)
        assert (event.code, event.kind) == (ErrorCode.DRAINING, kind)
    else:
        assert event in (None, client_messages().get(kind))


@pytest.mark.parametrize("state", list(S), ids=lambda state: state.name)
@pytest.mark.parametrize("kind", list(T), ids=lambda kind: kind.name)
def test_client_receives(state: S, kind: T) -> None:
    _, client = pair_in(state)
    if kind is T.PING and T.PONG in FROM_CLIENT[state]:
        client.send(m.Pong(0, PINGED))
    frame = FRAMES.get(("server", kind)) or FRAMES["client", kind]
    event = received(client, frame, kind, SERVER_TYPES, without_error_of_the_connection(FROM_SERVER))
    assert event in (None, server_messages().get(kind))


@pytest.mark.parametrize("state", list(S), ids=lambda state: state.name)
@pytest.mark.parametrize("kind", sorted(CLIENT_TYPES), ids=lambda kind: kind.name)
def test_client_sends(state: S, kind: T) -> None:
    _, client = pair_in(state)
    message = client_messages()[kind]
    is_allowed = kind in FROM_CLIENT[state] and not (state is S.SERVER_DONE and kind in REQUESTS)
    check_sent(client, lambda: client.send(message), kind, FROM_CLIENT, is_allowed=is_allowed)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", list(S), ids=lambda state: state.name)
@pytest.mark.parametrize("kind", sorted(SERVER_TYPES), ids=lambda kind: kind.name)
def test_server_sends(state: S, kind: T) -> None:
    server, _ = pair_in(state)
    if kind is T.PING and T.PONG in FROM_CLIENT[state]:
        deliver(server, FRAMES["client", T.PONG])
    message = server_messages()[kind]
    is_allowed = kind in without_error_of_the_connection(FROM_SERVER)[state]
    check_sent(server, lambda: server.send(message), kind, FROM_SERVER, is_allowed=is_allowed)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [state for state in S if state is not S.CLOSED], ids=lambda state: state.name)
def test_an_error_of_the_connection_closes_from_every_state(state: S) -> None:
    server, client = pair_in(state)
    error = m.Error(0, ErrorCode.FEED_TAKEN, "another connection holds the feed", 1_000)
    assert deliver(client, server.send(error)) == [error]
    assert server.state is client.state is S.CLOSED


@PATIENT
@given(st.lists(st.sampled_from(sorted(FRAMES)), max_size=12), st.sampled_from(["server", "client"]))
def test_any_sequence_of_sound_frames_follows_the_table(sequence: list[tuple[str, T]], end: str) -> None:
    """A model of three variables (state, requests under way, ping under way) foretells what each frame does."""
    server, client = pair_in(S.OPEN)
    connection = server if end == "server" else client
    rows = FROM_CLIENT if end == "server" else FROM_SERVER
    state, under_way, is_pinged = S.OPEN, dict(UNDER_WAY.items()), True
    for side, kind in sequence:
        frame = FRAMES[side, kind]
        request_id = int.from_bytes(frame[8:12], "little")
        ids = {under_way[kind]: kind for kind in under_way}
        if state is S.CLOSED:
            assert deliver(connection, frame) == []
            continue
        target = rows[state].get(kind)
        # Of the PINGs and PONGs those of the server's PING alone have request_id 0.
        about_ping = kind is (T.PONG if end == "server" else T.PING)
        if about_ping:
            is_wrong = request_id != 0 or is_pinged is (end == "client")
        elif end == "server":
            is_wrong = kind in REQUESTS and (request_id in ids or request_id == 0)
        else:
            is_wrong = kind is not T.GOODBYE and request_id not in ids
        if target is None or is_wrong:
            with pytest.raises(RemoteProtocolError):
                deliver(connection, frame)
            state = S.CLOSED
            continue
        deliver(connection, frame)
        if about_ping:
            is_pinged = end == "client"
        elif kind in REQUESTS and end == "server":
            under_way[request_id] = request_id  # type: ignore[index]
        elif end == "client" and kind is not T.GOODBYE:
            del under_way[ids[request_id]]
        state = S.CLOSED if target is S.BOTH_DONE and not under_way else target
        assert connection.state is state
        assert set(connection.under_way) == set(under_way.values())
