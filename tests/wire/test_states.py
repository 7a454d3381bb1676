"""Every state with every message, in both directions, against the table that docs/protocol.md prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from state_checks import check_sent, received, without_error_of_the_connection
from test_document import DOCUMENT
from wire_frames import ANSWERS, LIMITS, STATES, UNDER_WAY, S, T, client_messages, pair_in, raw_frames, server_messages
from wire_pair import PATIENT, answer, deliver

from jukinet.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import messages as m
from jukinet.core.wire import states

REQUESTS = {
    T.OPEN_SESSION,
    T.CLOSE_SESSION,
    T.PING,
    T.OPERATOR_LOGIN,
    T.OPERATOR_PROOF,
    T.LOOKUP,
    T.STATUS,
    T.VERIFY,
    T.HISTORY,
    T.COHORT_PUT,
    T.COHORT_CHANGES,
    T.SEARCH,
    T.MATCH,
    T.TOWNS,
}
ANSWER_TYPES = {
    T.SESSION_OPENED,
    T.SESSION_CLOSED,
    T.OPERATOR_CHALLENGE,
    T.OPERATOR_ACCEPTED,
    T.PONG,
    T.LOOKUP_ANSWER,
    T.STATUS_ANSWER,
    T.VERIFY_ANSWER,
    T.HISTORY_ANSWER,
    T.COHORT_STORED,
    T.COHORT_CHANGES_ANSWER,
    T.SEARCH_ANSWER,
    T.MATCH_ANSWER,
    T.TOWNS_ANSWER,
}
CLIENT_TYPES = REQUESTS | {T.CANCEL, T.GOODBYE}
SERVER_TYPES = ANSWER_TYPES | {T.GREETING, T.PROGRESS, T.ERROR, T.GOODBYE}
FRAMES = raw_frames(LIMITS)


Rows = dict[S, dict[int, S]]


def printed_cell(state: S, cell: str, types: type[IntEnum], words: Mapping[str, set[int]]) -> dict[int, S]:
    """One cell of a printed table: the messages and the state that each leads to."""
    row: dict[int, S] = {}
    for part in re.split("[,;]", re.sub(r"\(.*?\)", "", cell)):
        name, _, target = (word.strip() for word in part.partition("->"))
        if name == "none":
            continue
        kinds = words.get(name) or {types[name]}
        row |= dict.fromkeys(kinds, S[target] if target else state)
    return row


def printed_table(text: str, types: type[IntEnum], words: Mapping[str, set[int]]) -> tuple[Rows, Rows]:
    """The rows of the client and of the server in the table of a part of the document."""
    client: Rows = {}
    server: Rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0] in S.__members__:
            state = S[cells[0]]
            client[state] = printed_cell(state, cells[1], types, words)
            server[state] = printed_cell(state, cells[2], types, words)
    server[S.GREETING][T.ERROR] = S.CLOSED  # rule 2
    return client, server


FROM_CLIENT, FROM_SERVER = printed_table(DOCUMENT, T, {"requests": set(REQUESTS), "answers": set(ANSWER_TYPES)})


def test_the_printed_table_is_the_table() -> None:
    assert FROM_CLIENT == states.FROM_CLIENT
    assert FROM_SERVER == states.FROM_SERVER


def test_answers_and_questions_pair_up() -> None:
    assert set(states.ANSWER_OF) == REQUESTS
    assert set(states.ANSWER_OF.values()) == ANSWER_TYPES


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("kind", list(T), ids=lambda kind: kind.name)
def test_server_receives(state: S, kind: T) -> None:
    server, _ = pair_in(state)
    frame = FRAMES.get(("client", kind)) or FRAMES["server", kind]
    event = received(server, frame, kind, CLIENT_TYPES, FROM_CLIENT)
    if state is S.SERVER_DONE and kind in REQUESTS:
        assert isinstance(event, m.Refused)
        assert (event.code, event.kind) == (ErrorCode.DRAINING, kind)
    elif event is not None:
        assert isinstance(event, m.Message)
        assert event.type is kind


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("kind", list(T), ids=lambda kind: kind.name)
def test_client_receives(state: S, kind: T) -> None:
    _, client = pair_in(state)
    frame = FRAMES.get(("server", kind)) or FRAMES["client", kind]
    event = received(client, frame, kind, SERVER_TYPES, without_error_of_the_connection(FROM_SERVER))
    assert event is None or (isinstance(event, m.Message) and event.type is kind)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("kind", sorted(CLIENT_TYPES), ids=lambda kind: kind.name)
def test_client_sends(state: S, kind: T) -> None:
    _, client = pair_in(state)
    message = client_messages()[kind]
    is_allowed = kind in FROM_CLIENT[state] and not (state is S.SERVER_DONE and kind in REQUESTS)
    check_sent(client, lambda: client.send(message), kind, FROM_CLIENT, is_allowed=is_allowed)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("kind", sorted(SERVER_TYPES), ids=lambda kind: kind.name)
def test_server_sends(state: S, kind: T) -> None:
    server, _ = pair_in(state)

    def send() -> object:
        if kind in ANSWERS:
            return server.send_answer(UNDER_WAY[T(kind - 1)], kind, answer(ANSWERS[kind]))
        return server.send(server_messages(server.limits)[kind])  # type: ignore[arg-type]

    is_allowed = kind in without_error_of_the_connection(FROM_SERVER)[state]
    check_sent(server, send, kind, FROM_SERVER, is_allowed=is_allowed)


@pytest.mark.parametrize("state", [state for state in STATES if state is not S.CLOSED], ids=lambda state: state.name)
def test_an_error_of_the_connection_closes_from_every_state(state: S) -> None:
    server, client = pair_in(state)
    error = m.Error(0, ErrorCode.INTERNAL, "stopping")
    assert deliver(client, server.send(error)) == [error]
    assert server.state is client.state is S.CLOSED
    with pytest.raises(LocalProtocolError):
        server.send(error)


@pytest.mark.parametrize("answered", range(1, 15))
def test_both_done_closes_with_the_last_answer(answered: int) -> None:
    server, client = pair_in(S.BOTH_DONE)
    for number, request_id in enumerate(list(server.under_way), 1):
        assert server.state is client.state is S.BOTH_DONE
        deliver(client, server.send(m.Error(request_id, ErrorCode.CANCELLED, "")))
        if number == answered < 14:
            assert len(client.under_way) == 14 - answered
    assert server.state is client.state is S.CLOSED


@PATIENT
@given(st.lists(st.sampled_from(sorted(FRAMES)), max_size=12), st.sampled_from(["server", "client"]))
def test_any_sequence_of_sound_frames_follows_the_table(sequence: list[tuple[str, T]], end: str) -> None:
    """A model of two variables (state, requests under way) foretells what each frame does."""
    server, client = pair_in(S.OPEN)
    connection = server if end == "server" else client
    rows = FROM_CLIENT if end == "server" else FROM_SERVER
    state, under_way = S.OPEN, set(UNDER_WAY.values())
    for side, kind in sequence:
        frame = FRAMES[side, kind]
        request_id = int.from_bytes(frame[8:12], "little")
        if state is S.CLOSED:
            assert deliver(connection, frame) == []
            continue
        target = rows[state].get(kind)
        id_is_wrong = {
            "request": kind in REQUESTS and request_id in under_way,
            "answer": kind in ANSWER_TYPES | {T.PROGRESS, T.ERROR} and request_id not in under_way,
        }
        if target is None or any(id_is_wrong.values()):
            with pytest.raises(RemoteProtocolError):
                deliver(connection, frame)
            state = S.CLOSED
            continue
        deliver(connection, frame)
        if kind in REQUESTS:
            under_way.add(request_id)
        elif kind in ANSWER_TYPES or kind is T.ERROR:
            under_way.remove(request_id)
        state = S.CLOSED if target is S.BOTH_DONE and not under_way else target
        assert connection.state is state
        assert set(connection.under_way) == under_way
