"""Control messages as MessagePack maps: strict in fields and types, free in order and in the width of numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_pair import GREETING, PATIENT, greeting

from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.wire import MessageType, control
from jukinet.core.wire import messages as m

SESSION_MAP = {"schedule": 1, "item": "77", "number": 0, "operator": "op", "reason": "r", "case_reference": ""}
LIMITS_MAP = msgspec.structs.asdict(m.Limits())
GREETING_MAP = {"protocol": 1, **GREETING, "limits": LIMITS_MAP, "areas_not_connected": [13215]}
OPENED_MAP = {"session_id": 7, "functions": 7, "items": 255, "codes_per_request_max": 10, "valid_until": 20301231}
T = MessageType


def pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (T.GREETING, GREETING_MAP),
        (T.OPEN_SESSION, SESSION_MAP),
        (T.SESSION_OPENED, OPENED_MAP),
        (T.CLOSE_SESSION, {"session_id": 7}),
        (T.SESSION_CLOSED, {"session_id": 7}),
        (T.PROGRESS, {"done": 1, "total": 2}),
        (T.ERROR, {"code": 19, "message": "", "retry_after_ms": 0}),
        (T.GOODBYE, {"reason": ""}),
    ],
    ids=str,
)
def test_exactly_the_fields(kind: T, fields: dict[str, Any]) -> None:
    message = control.decode(kind, 3, pack(fields))
    assert message.request_id == 3
    assert control.encode(message) == pack(fields)
    assert control.decode(kind, 3, pack(dict(reversed(fields.items())))) == message
    first, *others = fields
    wrong: list[Any] = [
        {name: fields[name] for name in others},
        {**fields, "extra": 1},
        {**{name: fields[name] for name in others}, "extra": 1},
        {**fields, first: None},
        {**fields, first: [1]},
        {**fields, first: 1.0},
        {**{name: fields[name] for name in others}, 1: 1},
        list(fields.values()),
        None,
        pack(fields),
    ]
    for value in wrong:
        with pytest.raises(RemoteProtocolError):
            control.decode(kind, 3, pack(value))
    sound = pack(fields)
    repeated = bytes([sound[0] + 1]) + sound[1:] + pack(first) + pack(fields[first])
    for payload in (sound + b"\xc0", sound[:-1], b"", b"\xc1", repeated, bytes([sound[0] + 1]) + sound[1:]):
        with pytest.raises(RemoteProtocolError):
            control.decode(kind, 3, payload)


def test_a_wide_map_and_wide_numbers_are_the_same_map() -> None:
    wide = b"\xde\x00\x02" + pack("done") + b"\xcf" + bytes(7) + b"\x01" + pack("total") + b"\xce\x00\x00\x00\x02"
    assert control.decode(T.PROGRESS, 3, wide) == m.Progress(3, 1, 2)
    wider = b"\xdf\x00\x00\x00\x02" + wide[3:]
    assert control.decode(T.PROGRESS, 3, wider) == m.Progress(3, 1, 2)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (T.GREETING, {**GREETING_MAP, "protocol": 2}),
        (T.GREETING, {**GREETING_MAP, "register": "0" * 31}),
        (T.GREETING, {**GREETING_MAP, "register": "G" * 32}),
        (T.GREETING, {**GREETING_MAP, "register": "0" * 32 + "\n"}),
        (T.GREETING, {**GREETING_MAP, "role": "server"}),
        (T.GREETING, {**GREETING_MAP, "body": ""}),
        (T.GREETING, {**GREETING_MAP, "body": "x" * 65}),
        (T.GREETING, {**GREETING_MAP, "body": "Agency"}),
        (T.GREETING, {**GREETING_MAP, "limits": {**LIMITS_MAP, "sessions_max": 0}}),
        (T.GREETING, {**GREETING_MAP, "limits": {**LIMITS_MAP, "answer_bytes_max": 1 << 31}}),
        (T.GREETING, {**GREETING_MAP, "limits": {**LIMITS_MAP, "extra": 1}}),
        (T.GREETING, {**GREETING_MAP, "limits": {"sessions_max": 1}}),
        (T.GREETING, {**GREETING_MAP, "areas_not_connected": [0]}),
        (T.GREETING, {**GREETING_MAP, "areas_not_connected": [100_000]}),
        (T.GREETING, {**GREETING_MAP, "areas_not_connected": [1] * 4_096}),
        (T.SESSION_OPENED, {**OPENED_MAP, "session_id": 0}),
        (T.SESSION_OPENED, {**OPENED_MAP, "session_id": 1 << 32}),
        (T.SESSION_OPENED, {**OPENED_MAP, "items": 256}),
        (T.SESSION_OPENED, {**OPENED_MAP, "valid_until": -1}),
        (T.PROGRESS, {"done": 0, "total": 0}),
        (T.ERROR, {"code": 0, "message": "", "retry_after_ms": 0}),
        (T.ERROR, {"code": 26, "message": "", "retry_after_ms": 0}),
        (T.ERROR, {"code": 1, "message": "x" * 1_025, "retry_after_ms": 0}),
        (T.GOODBYE, {"reason": "x" * 257}),
    ],
)
def test_values_out_of_range(kind: T, fields: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        control.decode(kind, 3, pack(fields))


def test_an_error_s_code_is_an_error_code() -> None:
    message = control.decode(T.ERROR, 3, pack({"code": 12, "message": "no", "retry_after_ms": 0}))
    assert isinstance(message, m.Error)
    assert message.code is ErrorCode.NOT_AUTHORISED


@PATIENT
@given(st.text(st.characters(codec="utf-8"), max_size=40), st.integers(0, 2**32 - 1))
def test_round_trip(text: str, number: int) -> None:
    session = m.OpenSession(number, number, text, number, text, text, text)
    assert control.decode(T.OPEN_SESSION, number, control.encode(session)) == session
    error = m.Error(number, ErrorCode.RATE_EXCEEDED, text, number)
    assert control.decode(T.ERROR, number, control.encode(error)) == error


def test_the_greeting_of_the_pair_is_sound() -> None:
    message = greeting(m.Limits())
    assert control.decode(T.GREETING, 0, control.encode(message)) == message


def test_a_repeated_limit_is_refused() -> None:
    sound = pack(GREETING_MAP)
    inner = pack(LIMITS_MAP)
    repeated = bytes([inner[0] + 1]) + inner[1:] + pack("sessions_max") + pack(9)
    with pytest.raises(RemoteProtocolError):
        control.decode(T.GREETING, 0, sound.replace(inner, repeated))
