"""One sound frame of every message, and connections in every state, for the tests that go over all of them."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
import wire_twin as twin
from wire_pair import GREETING, SESSION, codes, deliver, greeting, opened

from jukinet.core.wire import ClientConnection, ConnectionState, MessageType, ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn

S = ConnectionState
T = MessageType
STATES = list(S)

# Requests under way in every state after GREETING: one of each type, under the id of its message type.
LIMITS = m.Limits(requests_in_flight_max=30)
CODES = [12345678903, 10000000006]
SINCE = 20240401
NEW_ID = 99
PERSONS = {
    "names": TextColumn.from_texts(["山田太郎", ""]),
    "birth_dates": memoryview(array("I", [19650220, 0])),
}
TWINS: dict[str, list[Any]] = {"names": ["山田太郎", ""], "birth_dates": [19650220, 0]}


def question_messages(ids: dict[T, int]) -> dict[T, m.Message]:
    return {
        T.OPEN_SESSION: m.OpenSession(ids[T.OPEN_SESSION], 1, "77", 0, "op", "reason", ""),
        T.CLOSE_SESSION: m.CloseSession(ids[T.CLOSE_SESSION], SESSION + 1),
        T.PING: m.Ping(ids[T.PING], b"abcdefgh"),
        T.OPERATOR_LOGIN: m.OperatorLogin(ids[T.OPERATOR_LOGIN], "op"),
        T.OPERATOR_PROOF: m.OperatorProof(ids[T.OPERATOR_PROOF], "op", bytes(32)),
        T.LOOKUP: m.LookupRequest(ids[T.LOOKUP], SESSION, 1, codes(CODES)),
        T.STATUS: m.StatusRequest(ids[T.STATUS], SESSION, SINCE, codes(CODES)),
        T.VERIFY: m.VerifyRequest(ids[T.VERIFY], SESSION, 1, codes(CODES), TextColumn.from_texts(["山田", ""])),
        T.HISTORY: m.HistoryRequest(ids[T.HISTORY], SESSION, 1, codes(CODES)),
        T.COHORT_PUT: m.CohortPut(ids[T.COHORT_PUT], SESSION, m.CohortStep.ALL, "all", codes(CODES)),
        T.COHORT_CHANGES: m.CohortChanges(ids[T.COHORT_CHANGES], SESSION, 2, "all", 7, 0),
        T.SEARCH: m.SearchRequest(ids[T.SEARCH], SESSION, 1, 9, True, 2, **PERSONS),
        T.MATCH: m.MatchRequest(ids[T.MATCH], SESSION, 1, 9, False, 2, **PERSONS),
        T.TOWNS: m.TownsRequest(ids[T.TOWNS], SESSION, 1, 2),
    }


UNDER_WAY = {kind: int(kind) + 100 for kind in question_messages(dict.fromkeys(T, 1))}


def pair_in(state: ConnectionState) -> tuple[ServerConnection, ClientConnection]:
    """Both ends in the state; from OPEN on, one request of each type is under way (except in CLOSED)."""
    if state is S.GREETING:
        return ServerConnection(LIMITS), ClientConnection()
    server, client = opened(LIMITS)
    # Two more sessions: one to be closed as part of what is under way, one for a new CLOSE_SESSION.
    for request_id, session_id in ((2, SESSION + 1), (3, SESSION + 2)):
        deliver(server, client.send(m.OpenSession(request_id, 1, "77", 0, "op", "reason", "")))
        deliver(client, server.send(m.SessionOpened(request_id, session_id, 7, 255, 1000, 0)))
    for message in question_messages(UNDER_WAY).values():
        assert deliver(server, client.send(message)) == [message]  # type: ignore[arg-type]
    if state in (S.SERVER_DONE, S.BOTH_DONE):
        deliver(client, server.send(m.Goodbye(reason="draining")))
    if state in (S.CLIENT_DONE, S.BOTH_DONE):
        deliver(server, client.send(m.Goodbye(reason="done")))
    if state is S.CLOSED:
        deliver(client, server.send(m.Error(0, m.ErrorCode.TIMED_OUT, "idle")))
    assert server.state is client.state is state
    return server, client


def client_messages() -> dict[T, m.Message]:
    """A sound message of each type that a client may send, with new request ids."""
    messages = question_messages(dict.fromkeys(T, NEW_ID))
    messages[T.CLOSE_SESSION] = m.CloseSession(NEW_ID, SESSION + 2)
    return {**messages, T.CANCEL: m.Cancel(UNDER_WAY[T.LOOKUP]), T.GOODBYE: m.Goodbye(reason="done")}


ANSWERS = {
    T.LOOKUP_ANSWER: twin.lookup_answer(1, 3, [1, 9], names=["山田太郎", ""]),
    T.STATUS_ANSWER: twin.status_answer(SINCE, 3, [2, 9], [20240402, 0]),
    T.VERIFY_ANSWER: twin.verify_answer(1, 3, [1, 9], [3, 0]),
    T.HISTORY_ANSWER: twin.history_answer(1, 3, [1, 9], [1, 1], replaced_dates=[20240401], names=["山田太郎"]),
    T.COHORT_STORED: twin.cohort_stored(3, 3, [("all", 2, 7, 0, 20240402, 1)]),
    T.SEARCH_ANSWER: twin.search_answer(
        1, 3, [1, 4], [1, 1], [1], grades=[1], levels=[0x101], probabilities=[999_990], names=["山田太郎"]
    ),
    T.MATCH_ANSWER: twin.match_answer(
        1,
        3,
        [1, 6],
        [1, 0],
        [1, 9],
        grades=[1, 0],
        levels=[0x101, 0],
        probabilities=[999_990, 0],
        margins=[999_990, 0],
        names=["山田太郎", ""],
    ),
    T.TOWNS_ANSWER: twin.towns_answer(1, 3, 3, [13101], ["丸の内", "東"]),
    T.COHORT_CHANGES_ANSWER: twin.cohort_changes_answer(1, 3, (9, 5), CODES[:1], [3], [22], [20240401], [20240402]),
}


def server_messages(limits: m.Limits) -> dict[T, m.Message]:
    """A sound message of each type that a server gives to send()."""
    return {
        T.GREETING: greeting(limits),
        T.SESSION_OPENED: m.SessionOpened(UNDER_WAY[T.OPEN_SESSION], 77, 7, 255, 1000, 0),
        T.SESSION_CLOSED: m.SessionClosed(UNDER_WAY[T.CLOSE_SESSION], SESSION + 1),
        T.PONG: m.Pong(UNDER_WAY[T.PING], b"abcdefgh"),
        T.OPERATOR_CHALLENGE: m.OperatorChallenge(UNDER_WAY[T.OPERATOR_LOGIN], "key", bytes(32), b"", 8, 1, 1),
        T.OPERATOR_ACCEPTED: m.OperatorAccepted(UNDER_WAY[T.OPERATOR_PROOF], "bulk", 127, 65_536, 900, 0),
        T.PROGRESS: m.Progress(UNDER_WAY[T.LOOKUP], 1, 2),
        T.ERROR: m.Error(UNDER_WAY[T.STATUS], m.ErrorCode.INTERNAL, "", 5),
        T.GOODBYE: m.Goodbye(reason="draining"),
    }


def raw_frames(limits: m.Limits) -> dict[tuple[str, T], bytes]:
    """(side, type) -> the bytes of a sound frame, written by the twin and msgspec alone."""
    pack = msgspec.msgpack.encode
    session = {"schedule": 1, "item": "77", "number": 0, "operator": "op", "reason": "r", "case_reference": ""}
    names = twin.text_column(["山田", ""])
    client = {
        T.OPEN_SESSION: (pack(session), NEW_ID),
        T.CLOSE_SESSION: (pack({"session_id": SESSION + 2}), NEW_ID),
        T.PING: (b"abcdefgh", NEW_ID),
        T.OPERATOR_LOGIN: (pack({"operator": "op"}), NEW_ID),
        T.OPERATOR_PROOF: (pack({"operator": "op", "proof": bytes(64)}), NEW_ID),
        T.CANCEL: (b"", UNDER_WAY[T.LOOKUP]),
        T.GOODBYE: (pack({"reason": "done"}), 0),
        T.LOOKUP: (twin.question(SESSION, 1, CODES), NEW_ID),
        T.STATUS: (twin.question(SESSION, SINCE, CODES), NEW_ID),
        T.VERIFY: (twin.question(SESSION, 1, CODES, names), NEW_ID),
        T.HISTORY: (twin.question(SESSION, 1, CODES), NEW_ID),
        T.COHORT_PUT: (twin.cohort_put(SESSION, 3, "all", CODES), NEW_ID),
        T.COHORT_CHANGES: (twin.cohort_changes(SESSION, 2, "all", 7, 0), NEW_ID),
        T.SEARCH: (twin.find(SESSION, 1, 2, True, **TWINS), NEW_ID),
        T.MATCH: (twin.find(SESSION, 1, 2, **TWINS), NEW_ID),
        T.TOWNS: (twin.question(SESSION, 1, [])[:8] + bytes([2, 0, 0, 0, 0, 0, 0, 0]), NEW_ID),
    }
    challenge = {"method": "password", "nonce": bytes(32), "salt": bytes(16)}
    costs = {"memory_kibibytes": 65_536, "iterations": 3, "lanes": 1}
    accepted = {"operator_class": "enquiry", "functions": 7, "codes_per_request_max": 64}
    granted = {"session_id": 77, "functions": 7, "items": 255, "codes_per_request_max": 9, "valid_until": 0}
    told = {"protocol": 1, **GREETING, "limits": msgspec.structs.asdict(limits), "areas_not_connected": [13215]}
    server = {
        T.GREETING: (pack(told), 0),
        T.SESSION_OPENED: (pack(granted), UNDER_WAY[T.OPEN_SESSION]),
        T.SESSION_CLOSED: (pack({"session_id": SESSION + 1}), UNDER_WAY[T.CLOSE_SESSION]),
        T.PONG: (b"abcdefgh", UNDER_WAY[T.PING]),
        T.OPERATOR_CHALLENGE: (pack({**challenge, **costs}), UNDER_WAY[T.OPERATOR_LOGIN]),
        T.OPERATOR_ACCEPTED: (
            pack({**accepted, "idle_seconds_max": 900, "valid_until": 20301231}),
            UNDER_WAY[T.OPERATOR_PROOF],
        ),
        T.PROGRESS: (pack({"done": 1, "total": 2}), UNDER_WAY[T.LOOKUP]),
        T.ERROR: (pack({"code": 1, "message": "", "retry_after_ms": 5}), UNDER_WAY[T.STATUS]),
        T.GOODBYE: (pack({"reason": "draining"}), 0),
        **{kind: (payload, UNDER_WAY[T(kind - 1)]) for kind, payload in ANSWERS.items()},
    }
    frames = {("client", kind): twin.frame(payload, kind, i) for kind, (payload, i) in client.items()}
    frames |= {("server", kind): twin.frame(payload, kind, i) for kind, (payload, i) in server.items()}
    return frames
