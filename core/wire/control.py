"""Control messages as MessagePack maps: the map of each type is derived from its message's declaration."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, Final

import msgspec

from jukinet.core import limits
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.wire import messages as m
from jukinet.core.wire.feed_messages import FEED_MAPS

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
    m.OperatorLogin,
    m.OperatorChallenge,
    m.OperatorProof,
    m.OperatorAccepted,
    *FEED_MAPS,
)


class _Map:
    """The wire form of a struct: all fields required, none unknown, none repeated; a struct in a field is a map too."""

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self.struct = struct
        fields = [field for field in msgspec.structs.fields(struct) if field.name != "request_id"]
        self.names = tuple(field.name for field in fields)
        self.inner = {field.name: _Map(field.type) for field in fields if _is_struct(field.type)}
        types = [(field.name, msgspec.Raw if field.name in self.inner else field.type) for field in fields]
        self.body = msgspec.defstruct(f"{struct.__name__}Map", types, forbid_unknown_fields=True)
        self.decoder = msgspec.msgpack.Decoder(self.body)

    def decode(self, payload: bytes | bytearray | msgspec.Raw) -> dict[str, Any]:
        """Raises msgspec.DecodeError, UnicodeDecodeError, RecursionError."""
        if _map_entries(bytes(memoryview(payload)[:5])) != len(self.names):
            raise msgspec.ValidationError("not a map of these fields")
        body = self.decoder.decode(payload)
        values = {name: getattr(body, name) for name in self.names}
        for name, inner in self.inner.items():
            values[name] = inner.struct(**inner.decode(values[name]))
        return values


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _map_entries(start: bytes) -> int:
    """Entries that a map announces, -1 when it is no map. A repeated key would hide behind it."""
    lead = start[0] if start else 0
    if lead & 0xF0 == 0x80:
        return lead & 0x0F
    if lead == 0xDE:
        return int.from_bytes(start[1:3], "big")
    if lead == 0xDF:
        return int.from_bytes(start[1:5], "big")
    return -1


_MAPS: Final[dict[int, _Map]] = {message.type: _Map(message) for message in MAPS}
_ENCODER: Final = msgspec.msgpack.Encoder()


def decode(kind: IntEnum, request_id: int, payload: bytes | bytearray) -> m.Message:
    """The control message of a payload. Raises RemoteProtocolError: no map, or a field missing, unknown or wrong."""
    try:
        values = _MAPS[kind].decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The decoder's own text may quote what the peer sent.
        raise RemoteProtocolError(f"a field of {kind.name} is missing, unknown, repeated or wrong") from None
    message = _MAPS[kind].struct(request_id=request_id, **values)
    assert isinstance(message, m.Message)
    return message


def encode(message: m.Message) -> bytes:
    """The payload of a control message that is a map."""
    fields = _MAPS[message.type]
    return _ENCODER.encode(fields.body(*[getattr(message, name) for name in fields.names]))


def operator_fault(message: m.OperatorLogin | m.OperatorProof) -> str | None:
    """What is wrong with the values of an OPERATOR_LOGIN or OPERATOR_PROOF, or None. The text quotes none of them."""
    if not 1 <= len(message.operator.encode()) <= limits.OPERATOR_BYTES_MAX:
        return f"operator is 1 to {limits.OPERATOR_BYTES_MAX} bytes"
    if _CONTROL_CHARACTER.search(message.operator):
        return "operator holds a control character"
    if isinstance(message, m.OperatorProof) and not 1 <= len(message.proof) <= limits.SIGNATURE_BYTES_MAX:
        return f"proof is 1 to {limits.SIGNATURE_BYTES_MAX} bytes"
    return None


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
