"""Whatever bytes come, only RemoteProtocolError or sound events come out, and after an error nothing more."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
import wire_twin as twin
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_frames import ANSWERS, CODES, LIMITS, NEW_ID, SINCE, UNDER_WAY, S, T, pair_in, raw_frames
from wire_pair import PATIENT, SESSION, deliver, opened

from jukinet.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from jukinet.core.notifications import NotificationBatch
from jukinet.core.wire import columns
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import Connection

FRAMES = raw_frames(LIMITS)
ENDS = [0, 1]


def read_all(event: object) -> None:
    """Touch every value of an event, as an application would: nothing may be out of range."""
    for name in getattr(event, "__struct_fields__", ()):
        value = getattr(event, name)
        if isinstance(value, columns.TextColumn):
            assert len(value.to_list()) == len(value)
        elif isinstance(value, memoryview):
            value.tolist()
        elif isinstance(value, NotificationBatch):
            assert len(list(value)) == len(value)


def survives(connection: Connection, data: bytes) -> None:
    try:
        events = deliver(connection, data)
    except RemoteProtocolError as error:
        assert isinstance(error.error, ErrorCode)  # noqa: PT017
        assert connection.state is S.CLOSED
        assert deliver(connection, FRAMES["client", T.PING]) == []
    else:
        for event in events:
            read_all(event)
    assert len(connection.under_way) <= 2 * LIMITS.requests_in_flight_max


@PATIENT
@given(st.binary(max_size=300), st.sampled_from([S.GREETING, S.OPEN, S.SERVER_DONE]), st.sampled_from(ENDS))
def test_noise(data: bytes, state: S, end: int) -> None:
    survives(pair_in(state)[end], data)


@settings(PATIENT, max_examples=300)
@given(st.sampled_from(sorted(FRAMES)), st.data())
def test_mutated_frames(which: tuple[str, T], data: st.DataObject) -> None:
    """One to four bytes changed, put in or taken out, with the header's length mended or not."""
    frame = bytearray(FRAMES[which])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(frame)))
        frame[place : place + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=2))
    if data.draw(st.booleans()) and len(frame) >= 16:
        frame[:4] = struct.pack("<I", len(frame) - 16)
    end = 0 if which[0] == "client" else 1
    state = S.GREETING if which[1] is T.GREETING else S.OPEN
    survives(
        pair_in(state)[end], bytes(frame) + FRAMES["client" if end == 0 else "server", T.PING if end == 0 else T.PONG]
    )


@settings(PATIENT, max_examples=300)
@given(st.sampled_from(list(ANSWERS)), st.binary(max_size=160))
def test_random_answers_to_what_was_asked(kind: T, tail: bytes) -> None:
    """A server that keeps the head but fills the columns with noise."""
    _, client = pair_in(S.OPEN)
    payload = ANSWERS[kind][:16] + tail
    survives(client, twin.frame(payload, kind, UNDER_WAY[T(kind - 1)]))


@settings(PATIENT, max_examples=300)
@given(st.integers(0, 255), st.binary(max_size=120), st.integers(0, 8))
@example(57, bytes(88), 2)
def test_random_claims(items: int, tail: bytes, count: int) -> None:
    server, _ = pair_in(S.OPEN)
    payload = twin.question(SESSION, items, range(count), tail)
    survives(server, twin.frame(payload, T.VERIFY, NEW_ID))


@PATIENT
@given(st.sampled_from([kind for _, kind in FRAMES if kind < T.LOOKUP]), st.binary(max_size=60), st.sampled_from(ENDS))
@example(T.OPEN_SESSION, b"\x86" * 1_000, 0)
@example(T.OPEN_SESSION, b"\x86\xa8schedule" + b"\x91" * 60_000, 0)
@example(T.GOODBYE, b"\xdf\xff\xff\xff\xff", 0)
@example(T.GOODBYE, b"\x81\xa6reason\xdb\xff\xff\xff\xff", 1)
@example(T.GOODBYE, b"\x81\xa6reason\xa1\xff", 1)
def test_random_control_payloads(kind: T, payload: bytes, end: int) -> None:
    request_id = 0 if kind in (T.GOODBYE, T.GREETING) else UNDER_WAY.get(T(kind - 1), NEW_ID) if end else NEW_ID
    survives(pair_in(S.GREETING if kind is T.GREETING else S.OPEN)[end], twin.frame(payload, kind, request_id))


def refused_with(data: bytes, state: S = S.OPEN, end: int = 0) -> ErrorCode:
    connection = pair_in(state)[end]
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(connection, data)
    assert connection.state is S.CLOSED
    return caught.value.error


def history(outcomes: list[int], row_ends: list[int], replaced: int = 20240401) -> bytes:
    payload = twin.history_answer(1, 3, outcomes, row_ends, replaced_dates=[replaced], names=["山田太郎"])
    return twin.frame(payload, T.HISTORY_ANSWER, UNDER_WAY[T.HISTORY])


ROW = ("all", 2, 7, 0, 20240402, 1)
BAD_STORED = [
    twin.cohort_stored(2, 3, [ROW]),
    twin.cohort_stored(3, 3, []),
    twin.cohort_stored(3, 3, [ROW, ROW]),
    twin.cohort_stored(3, 3, [("all", 2, 7, 0, 20240402, 2)]),
    twin.cohort_stored(3, 3, [("All", 2, 7, 0, 20240402, 1)]),
    twin.cohort_stored(3, 3, [ROW])[:-8],
    b"",
]
BAD_CHANGES = [
    twin.cohort_changes_answer(2, 3, (9, 5), CODES, [3, 3], [22, 22], [0, 0], [0, 0]),
    twin.cohort_changes_answer(0, 3, (9, 5), [*CODES, 7], [3] * 3, [22] * 3, [0] * 3, [0] * 3),
    twin.cohort_changes_answer(0, 3, (9, 5), CODES, [2, 3], [22, 22], [0, 0], [0, 0]),
    twin.cohort_changes_answer(0, 3, (9, 5), CODES, [3, 3], [77, 22], [0, 0], [0, 0]),
    twin.cohort_changes_answer(0, 3, (9, 5), CODES, [3, 3], [22, 22], [20241301, 0], [0, 0]),
    twin.cohort_changes_answer(0, 3, (9, 5), CODES, [3, 3], [22, 22], [0, 0], [0, 1]),
    ANSWERS[T.COHORT_CHANGES_ANSWER][:-8],
    ANSWERS[T.COHORT_CHANGES_ANSWER] + bytes(8),
    ANSWERS[T.COHORT_CHANGES_ANSWER][:24],
]
MATCHED: dict[str, Any] = {
    "grades": [1, 0], "levels": [1, 0], "probabilities": [9, 0], "margins": [9, 0], "names": ["山田太郎", ""],
}  # fmt: skip
BAD_MATCHES = [
    twin.match_answer(1, 3, [1, 0], [1, 0], [1, 9], **MATCHED),
    twin.match_answer(1, 3, [1, 12], [1, 0], [1, 9], **MATCHED),
    twin.match_answer(1, 3, [1, 4], [1, 0], [1, 2], **MATCHED),
    twin.match_answer(1, 3, [1, 4], [1, 0], [1, 9], **{**MATCHED, "grades": [7, 0]}),
    twin.match_answer(1, 3, [1, 4], [1, 0], [1, 9], **{**MATCHED, "levels": [10, 0]}),
    twin.match_answer(1, 3, [1, 4], [1, 0], [1, 9], **{**MATCHED, "levels": [1 << 20, 0]}),
    twin.match_answer(1, 3, [1, 4], [1, 0], [1, 9], **{**MATCHED, "probabilities": [1_000_001, 0]}),
    twin.match_answer(1, 3, [1, 4], [1, 0], [1, 9], **{**MATCHED, "margins": [1_000_001, 0]}),
    ANSWERS[T.MATCH_ANSWER][:-8],
    ANSWERS[T.MATCH_ANSWER] + bytes(8),
]
SEARCHED: dict[str, Any] = {"grades": [1], "levels": [1], "probabilities": [9], "names": ["山田太郎"]}
BAD_SEARCHES = [
    twin.search_answer(1, 3, [1, 4], [1, 0], [1], **SEARCHED),
    twin.search_answer(1, 3, [1, 4], [1, 2], [1], **SEARCHED),
    twin.search_answer(1, 3, [1, 0], [1, 1], [1], **SEARCHED),
    twin.search_answer(1, 3, [1, 4], [1, 1], [2], **SEARCHED),
    twin.search_answer(1, 3, [1], [1], [1], **SEARCHED),
    ANSWERS[T.SEARCH_ANSWER][:-8],
    ANSWERS[T.SEARCH_ANSWER][:24],
]
ASKED = twin.find(SESSION, 1, 2, names=["山田", ""], birth_dates=[0, 0])
SOUND = twin.question(SESSION, 1, CODES)
NAMES = twin.text_column(["山田", ""])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (twin.header(SOUND, T.LOOKUP, NEW_ID, flags=1), ErrorCode.MALFORMED_FRAME),
        (twin.header(SOUND, T.LOOKUP, NEW_ID, reserved=1), ErrorCode.MALFORMED_FRAME),
        (twin.header(b"", 0x77, NEW_ID), ErrorCode.UNKNOWN_TYPE),
        (twin.header(b"", 0, NEW_ID), ErrorCode.UNKNOWN_TYPE),
        (twin.header(b"", T.LOOKUP_ANSWER, NEW_ID), ErrorCode.UNKNOWN_TYPE),
        (struct.pack("<IHHII", LIMITS.request_bytes_max + 1, T.LOOKUP, 0, NEW_ID, 0), ErrorCode.FRAME_TOO_LARGE),
        (struct.pack("<IHHII", 65_537, T.OPEN_SESSION, 0, NEW_ID, 0), ErrorCode.FRAME_TOO_LARGE),
        (struct.pack("<IHHII", 9, T.PING, 0, NEW_ID, 0), ErrorCode.FRAME_TOO_LARGE),
        (struct.pack("<IHHII", 1, T.CANCEL, 0, NEW_ID, 0), ErrorCode.FRAME_TOO_LARGE),
        (struct.pack("<IHHII", 7, T.PING, 0, NEW_ID, 0), ErrorCode.MALFORMED_FRAME),
        (twin.header(SOUND, T.LOOKUP, 0), ErrorCode.MALFORMED_FRAME),
        (twin.header(SOUND, T.LOOKUP, UNDER_WAY[T.PING]), ErrorCode.MALFORMED_FRAME),
        (twin.header(b"\x80", T.GOODBYE, 5), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND[:15], T.LOOKUP, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(b"", T.VERIFY, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND + bytes(8), T.LOOKUP, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND[:-1], T.STATUS, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND[:12] + b"\x02" + SOUND[13:], T.LOOKUP, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND, T.VERIFY, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND + NAMES + bytes(8), T.VERIFY, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND + NAMES[:-1] + b"\x01", T.VERIFY, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND + NAMES.replace(b"\xe5", b"\xff"), T.VERIFY, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(twin.cohort_put(SESSION, 3, "all", CODES)[:-8], T.COHORT_PUT, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(SOUND, T.COHORT_PUT, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(ASKED[:-8], T.MATCH, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(ASKED + bytes(8), T.SEARCH, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (twin.frame(ASKED.replace(b"\xe5", b"\xff"), T.MATCH, NEW_ID), ErrorCode.MALFORMED_FRAME),
        (
            twin.frame(twin.cohort_changes(SESSION, 2, "all", 1, 0) + bytes(8), T.COHORT_CHANGES, NEW_ID),
            ErrorCode.MALFORMED_FRAME,
        ),
    ],
)
def test_each_way_to_break_the_stream_has_its_code(data: bytes, code: ErrorCode) -> None:
    assert refused_with(data) == code


@pytest.mark.parametrize(
    "data",
    [
        twin.frame(twin.lookup_answer(1, 3, [1], names=[""]), T.LOOKUP_ANSWER, UNDER_WAY[T.LOOKUP]),
        twin.frame(twin.lookup_answer(2, 3, [1, 9], kana=["", ""]), T.LOOKUP_ANSWER, UNDER_WAY[T.LOOKUP]),
        twin.frame(twin.lookup_answer(1, 3, [2, 9], names=["", ""]), T.LOOKUP_ANSWER, UNDER_WAY[T.LOOKUP]),
        twin.frame(twin.lookup_answer(1, 3, [0, 9], names=["", ""]), T.LOOKUP_ANSWER, UNDER_WAY[T.LOOKUP]),
        twin.frame(ANSWERS[T.LOOKUP_ANSWER][:-8], T.LOOKUP_ANSWER, UNDER_WAY[T.LOOKUP]),
        twin.frame(ANSWERS[T.LOOKUP_ANSWER][:15], T.LOOKUP_ANSWER, UNDER_WAY[T.LOOKUP]),
        twin.frame(twin.status_answer(SINCE + 1, 3, [2, 9], [0, 0]), T.STATUS_ANSWER, UNDER_WAY[T.STATUS]),
        twin.frame(twin.status_answer(SINCE, 3, [12, 9], [0, 0]), T.STATUS_ANSWER, UNDER_WAY[T.STATUS]),
        twin.frame(twin.status_answer(SINCE, 3, [2, 9], [20241301, 0]), T.STATUS_ANSWER, UNDER_WAY[T.STATUS]),
        twin.header(bytes(48), T.STATUS_ANSWER, UNDER_WAY[T.STATUS]),
        twin.frame(twin.verify_answer(1, 3, [1, 9], [4, 0]), T.VERIFY_ANSWER, UNDER_WAY[T.VERIFY]),
        twin.header(bytes(40), T.VERIFY_ANSWER, UNDER_WAY[T.VERIFY]),
        history([1, 9], [1, 0]),
        history([1, 9], [1, 2]),
        history([2, 9], [1, 1]),
        history([1], [1]),
        history([1, 9], [1, 1], replaced=20241301),
        twin.frame(ANSWERS[T.HISTORY_ANSWER][:-8], T.HISTORY_ANSWER, UNDER_WAY[T.HISTORY]),
        twin.frame(ANSWERS[T.HISTORY_ANSWER][:24], T.HISTORY_ANSWER, UNDER_WAY[T.HISTORY]),
        *[twin.frame(payload, T.COHORT_STORED, UNDER_WAY[T.COHORT_PUT]) for payload in BAD_STORED],
        *[twin.frame(payload, T.COHORT_CHANGES_ANSWER, UNDER_WAY[T.COHORT_CHANGES]) for payload in BAD_CHANGES],
        *[twin.frame(payload, T.MATCH_ANSWER, UNDER_WAY[T.MATCH]) for payload in BAD_MATCHES],
        *[twin.frame(payload, T.SEARCH_ANSWER, UNDER_WAY[T.SEARCH]) for payload in BAD_SEARCHES],
        twin.frame(b"12345678", T.PONG, UNDER_WAY[T.PING]),
        twin.frame(b"1234", T.PONG, UNDER_WAY[T.PING]),
    ],
)
def test_a_server_that_answers_something_else_is_found_out(data: bytes) -> None:
    assert refused_with(data, end=1) == ErrorCode.MALFORMED_FRAME


def test_an_answer_that_counts_other_rows_than_it_holds() -> None:
    sound = ANSWERS[T.LOOKUP_ANSWER]
    payload = sound[:4] + struct.pack("<I", 3) + sound[8:]
    assert refused_with(twin.frame(payload, T.LOOKUP_ANSWER, UNDER_WAY[T.LOOKUP]), end=1) == ErrorCode.MALFORMED_FRAME


@pytest.mark.parametrize(
    ("kind", "request_id", "fields"),
    [
        (
            T.SESSION_OPENED,
            UNDER_WAY[T.OPEN_SESSION],
            {"session_id": SESSION, "functions": 7, "items": 255, "codes_per_request_max": 9, "valid_until": 0},
        ),
        (T.SESSION_CLOSED, UNDER_WAY[T.CLOSE_SESSION], {"session_id": SESSION}),
        (T.PROGRESS, UNDER_WAY[T.LOOKUP], {"done": 1, "total": 3}),
        (T.PROGRESS, UNDER_WAY[T.LOOKUP], {"done": 3, "total": 2}),
        (T.ERROR, UNDER_WAY[T.LOOKUP], {"code": 18, "message": "", "retry_after_ms": 0}),
    ],
)
def test_control_messages_that_do_not_fit_what_was_asked(kind: T, request_id: int, fields: dict[str, object]) -> None:
    data = twin.frame(msgspec.msgpack.encode(fields), kind, request_id)
    assert refused_with(data, end=1) == ErrorCode.MALFORMED_FRAME


def test_an_answer_is_held_against_its_request_before_its_payload_is_kept() -> None:
    for data in (
        struct.pack("<IHHII", 1 << 20, T.LOOKUP_ANSWER, 0, NEW_ID, 0),
        struct.pack("<IHHII", 1 << 20, T.LOOKUP_ANSWER, 0, UNDER_WAY[T.STATUS], 0),
        struct.pack("<IHHII", 10, T.PROGRESS, 0, UNDER_WAY[T.PING], 0),
        struct.pack("<IHHII", 10, T.ERROR, 0, NEW_ID, 0),
    ):
        assert refused_with(data, end=1) == ErrorCode.WRONG_STATE
    huge = struct.pack("<IHHII", LIMITS.answer_bytes_max + 1, T.LOOKUP_ANSWER, 0, UNDER_WAY[T.LOOKUP], 0)
    assert refused_with(huge, end=1) == ErrorCode.FRAME_TOO_LARGE


def test_the_server_may_explain_itself_once() -> None:
    server, client = opened()
    with pytest.raises(RemoteProtocolError) as caught:
        deliver(server, twin.header(b"", T.LOOKUP, 0))
    farewell = m.Error(0, caught.value.error, str(caught.value))
    with pytest.raises(LocalProtocolError):
        server.send(m.Goodbye(reason="no"))
    assert deliver(client, server.send(farewell)) == [farewell]
    assert client.state is S.CLOSED
    with pytest.raises(LocalProtocolError):
        server.send(farewell)


def test_errors_name_no_value_that_came_in() -> None:
    secret = "山田太郎12345678903"
    for payload in (b"\x81\xa6reason" + b"\x01", b"\x81\xb8" + secret.encode()[:24] + b"\x01"):
        server, _ = opened()
        with pytest.raises(RemoteProtocolError) as caught:
            deliver(server, twin.frame(payload, T.GOODBYE, 0))
        assert "山" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
