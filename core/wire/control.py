"""Control messages as MessagePack maps: the map of each type is derived from its message's declaration."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import MessageType

_CONTROL_CHARACTER: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_ITEM: Final = re.compile("[0-9]{1,15}(-[0-9]{1,14})*")

MAPS: Final[tuple[type[m.Message], ...]] = (
    m.Greeting,
    m.OpenSession,
    m.SessionOpened,
    m.CloseSession,
    m.SessionClosed,
    m.Progress,
    m.Error,
    m.Goodbye,
)


def _fields(message: type[m.Message]) -> list[tuple[str, type]]:
    return [(field.name, field.type) for field in msgspec.structs.fields(message) if field.name != "request_id"]


_NAMES: Final = {message.type: tuple(name for name, _ in _fields(message)) for message in MAPS}
_BODIES: Final = {
    message.type: msgspec.defstruct(f"{message.__name__}Map", _fields(message), forbid_unknown_fields=True)
    for message in MAPS
}
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(body) for kind, body in _BODIES.items()}
_MESSAGES: Final = {message.type: message for message in MAPS}
_ENCODER: Final = msgspec.msgpack.Encoder()


def _map_entries(payload: bytes | bytearray) -> int:
    """Entries that the payload's first map announces, -1 when it is no map. A repeated key would hide behind it."""
    lead = payload[0] if payload else 0
    if lead & 0xF0 == 0x80:
        return lead & 0x0F
    if lead == 0xDE:
        return int.from_bytes(payload[1:3], "big")
    if lead == 0xDF:
        return int.from_bytes(payload[1:5], "big")
    return -1


def decode(kind: MessageType, request_id: int, payload: bytes | bytearray) -> m.Message:
    """The control message of a payload. Raises RemoteProtocolError: no map, or a field missing, unknown or wrong."""
    names = _NAMES[kind]
    if _map_entries(payload) != len(names):
        raise RemoteProtocolError(f"{kind.name} is not a map of {len(names)} fields")
    try:
        body = _DECODERS[kind].decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The decoder's own text may quote what the peer sent.
        raise RemoteProtocolError(f"a field of {kind.name} is missing, unknown or of the wrong type") from None
    return _MESSAGES[kind](request_id=request_id, **{name: getattr(body, name) for name in names})


def encode(message: m.Message) -> bytes:
    """The payload of a control message that is a map."""
    kind = message.type
    return _ENCODER.encode(_BODIES[kind](*[getattr(message, name) for name in _NAMES[kind]]))


def open_session_fault(message: m.OpenSession) -> str | None:
    """What is wrong with the values of an OPEN_SESSION, or None. The text quotes none of them."""
    if not 0 <= message.schedule <= limits.AFFAIR_SCHEDULE_MAX:
        return "schedule is 0 to 5"
    if len(message.item) > limits.AFFAIR_ITEM_BYTES_MAX or not _ITEM.fullmatch(message.item):
        return "item is digits, or groups of digits joined by '-', 16 bytes at most"
    if not 0 <= message.number <= limits.AFFAIR_NUMBER_MAX:
        return "number is 0 to 65535"
    for name, text, shortest, longest in (
        ("operator", message.operator, 1, limits.OPERATOR_BYTES_MAX),
        ("reason", message.reason, 1, limits.REASON_BYTES_MAX),
        ("case_reference", message.case_reference, 0, limits.CASE_REFERENCE_BYTES_MAX),
    ):
        if not shortest <= len(text.encode()) <= longest:
            return f"{name} is {shortest} to {longest} bytes"
        if _CONTROL_CHARACTER.search(text):
            return f"{name} holds a control character"
    return None
