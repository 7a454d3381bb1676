"""What a record of use says: who asked, under which authority, why, what for, and what each code was answered."""

from __future__ import annotations

from array import array
from pathlib import Path

import msgspec

from jukinet.core import limits
from jukinet.core.audit.kernel import unpack_provisions
from jukinet.core.audit.layout import KIND_EVENT, KIND_PROVISION, KIND_RECOVERY, KIND_VOID

_encoder = msgspec.msgpack.Encoder()


class RecordOfUse:
    """The part of a record that is the same for all requests of one affair session; made once, at OPEN_SESSION.

    role, body: the requesting body. operator: at most 64 bytes. schedule, item, number: the affair. reason: 1 to 512
    bytes. case_reference: at most 128 bytes. connection: number of the connection in its worker; session: number of
    the session on it; both below 2^64. Raises ValueError for a text that is too long. ``encoded`` is the constant end
    of the head (docs/record-of-use.md, 4.1, fields 6 to 15).
    """

    __slots__ = ("encoded",)

    encoded: bytes

    def __init__(
        self,
        *,
        role: str,
        body: str,
        operator: str,
        schedule: int,
        item: str,
        number: int,
        reason: str,
        case_reference: str = "",
        connection: int = 0,
        session: int = 0,
    ) -> None:
        bounded = (
            ("role", role, 32),
            ("body", body, 64),
            ("operator", operator, limits.OPERATOR_BYTES_MAX),
            ("item", item, 16),
            ("reason", reason, limits.REASON_BYTES_MAX),
            ("case_reference", case_reference, limits.CASE_REFERENCE_BYTES_MAX),
        )
        for name, text, bytes_max in bounded:
            if len(text.encode()) > bytes_max:
                raise ValueError(f"{name} is longer than {bytes_max} bytes")
        fields = (connection, session, role, body, operator, schedule, item, number, reason, case_reference)
        self.encoded = b"".join(map(_encoder.encode, fields))


class ProvisionHead(msgspec.Struct, array_like=True, frozen=True):
    """Head of a provision record (chapter 4.1), in the order of the format."""

    time_ns: int
    function: int
    items: int
    register_version: int
    since: int
    request_id: int
    connection: int
    session: int
    role: str
    body: str
    operator: str
    schedule: int
    item: str
    number: int
    reason: str
    case_reference: str


class VoidHead(msgspec.Struct, array_like=True, frozen=True):
    """Head of a void record (chapter 4.2): records that could not be made durable, and whose answers were not sent."""

    time_ns: int
    first_sequence: int
    last_sequence: int
    segment: int
    offset: int
    doubtful: bool
    error: int


class RecoveryHead(msgspec.Struct, array_like=True, frozen=True):
    """Head of a recovery record (chapter 4.3): what was found at the end of a segment after a crash."""

    time_ns: int
    segment: int
    valid_bytes: int
    left_bytes: int


class EventHead(msgspec.Struct, array_like=True, frozen=True):
    """Head of an event record (chapter 4.4): something about authority or operators that bears on what follows it."""

    time_ns: int
    event: str
    role: str
    body: str
    operator: str
    connection: int
    detail: str


Head = ProvisionHead | VoidHead | RecoveryHead | EventHead
HEADS: dict[int, msgspec.msgpack.Decoder[Head]] = {
    KIND_PROVISION: msgspec.msgpack.Decoder(ProvisionHead),
    KIND_VOID: msgspec.msgpack.Decoder(VoidHead),
    KIND_RECOVERY: msgspec.msgpack.Decoder(RecoveryHead),
    KIND_EVENT: msgspec.msgpack.Decoder(EventHead),
}


def encode_head(head: Head) -> bytes:
    return _encoder.encode(head)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record as read. ``head`` is None for a kind that this version does not know."""

    path: Path
    offset: int
    """Where in the file its header begins."""
    worker: int
    sequence: int
    kind: int
    head: Head | None
    count: int
    packed: bytes
    """6 bytes a provision; ``provisions()`` takes them apart."""
    matches: bytes
    """VERIFY: what each row's claims were answered (docs/protocol.md, 3.5), in the order of the request; SEARCH, MATCH:
    how each row was found (docs/record-of-use.md, chapter 4); else empty."""
    leaf: bytes
    """The bytes that a Merkle tree is built on (chapter 7)."""

    def provisions(self) -> tuple[array[int], bytes]:
        """``(codes: array('Q'), outcomes: bytes)``, in the order of the request; no code stands as 2^64 - 1."""
        return unpack_provisions(self.packed)
