"""What lies in an outbox: its rows, its state and its reports, as bytes; and how they are told from damaged ones.

The outbox counts its own rows from 1 (*sequence*). On the wire a row has *position* = sequence + base, where base is
settled when the outbox first meets its register, so that a new outbox goes on where an older one ended.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import Any, ClassVar, Final, TypeVar, cast

import msgspec

from jukinet.clients.errors import EXIT_SERVER, EXIT_USAGE, ClientError
from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.notifications import Notification, NotificationBatch

OUTBOX_FORMAT: Final = 1
SEQUENCE: Final = struct.Struct(">Q")
"""Keys of rows and reports: big-endian, so that LMDB's order is theirs."""
REPORT_KEY: Final = struct.Struct(">QI")
"""Sequence, and the row of a range."""
ROW_HEAD: Final = struct.Struct("<BI")
"""Kind of a row, CRC-32 of its body."""
RANGE_HEAD: Final = struct.Struct("<QQII")
"""first_key, stop_key, count, zero; the columns of a batch of statements follow, at a multiple of 8."""
ORIGIN_BYTES_MAX: Final = 255


class OutboxError(ClientError):
    """The outbox cannot be opened, read or written; what was put before is still in it."""

    exit_code = EXIT_SERVER


class OutboxInUseError(OutboxError):
    """Another process has the outbox open, or the outbox belongs to another prefecture."""

    exit_code = EXIT_USAGE


class OutboxFullError(OutboxError):
    """The outbox has reached its bound: nothing was put."""


class PositionError(OutboxError):
    """The register's position does not fit what this outbox has sent; the message says what to do."""


class RowKind(IntEnum):
    """What one row of the outbox is."""

    NOTIFICATION = 1
    RANGE = 2


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One row: a notification, or a range with the statements that lie in it (``body``, by `range_row`)."""

    sequence: int
    kind: RowKind
    body: bytes

    @property
    def size(self) -> int:
        """Its bytes in the outbox and, nearly, on the wire."""
        return len(self.body)

    def __repr__(self) -> str:
        return f"<Entry {self.sequence}>"


class LoadState(msgspec.Struct, kw_only=True):
    """How far a first load or a re-load has come: the ranges below ``next_key`` are in the outbox."""

    next_key: int
    ranges: int = 0
    residents: int = 0


class OutboxState(msgspec.Struct, kw_only=True):
    """What the outbox knows of itself, in one value that is rewritten with every change.

    Invariant: first - 1 <= acknowledged <= sent <= last, rows from first to last are there without a gap, and no row
    above `removable` has been removed.
    """

    format: int = OUTBOX_FORMAT
    prefecture: int
    first: int = 1
    """The lowest sequence that is still here."""
    last: int = 0
    """The highest sequence that was put."""
    sent: int = 0
    """Rows up to this one may have been sent."""
    acknowledged: int = 0
    """Rows up to this one are durable in the register."""
    bytes: int = 0
    """Of the rows that are here."""
    register: str = ""
    base: int | None = None
    held_base: int | None = None
    """sequence - held_base is the position of the prefecture's own register (holdings); None: there is none."""
    held: int = 0
    """Rows up to this one are in the holdings."""
    load: LoadState | None = None
    reports: int = 0
    files: int = 0
    """Files put so far."""

    @property
    def removable(self) -> int:
        """Rows up to this one are wanted no more."""
        return self.acknowledged if self.held_base is None else min(self.acknowledged, self.held)

    @property
    def waiting(self) -> int:
        """Rows that the register has not acknowledged."""
        return self.last - self.acknowledged

    def check(self) -> None:
        """AssertionError when the invariant does not hold."""
        assert 0 <= self.first - 1 <= self.removable
        assert self.first - 1 <= self.acknowledged <= self.sent <= self.last
        assert (self.bytes == 0) == (self.first > self.last)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that the register put into quarantine, kept until somebody has read of it."""

    sequence: int
    position: int
    fault: int
    day: str
    """When it was reported, ISO, UTC."""
    origin: str
    """Where the notification came from: file and line."""
    notification: Notification

    def __repr__(self) -> str:
        return f"<Report {self.sequence}>"


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was put: its rows, so that it is not put a second time by mistake."""

    name: str
    day: str
    first: int
    last: int


class _NotificationRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A notification's fields in their order, and where it came from."""

    fields: tuple[int, int, int, int, int, int, int, int, int, str, str, str, str]
    origin: str

    FIELDS: ClassVar[tuple[str, ...]] = (
        "reason", "state", "code", "code_before", "area", "event_date", "update_number", "birth_date", "sex",
        "name", "kana", "alias", "address",
    )  # fmt: skip


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(_NotificationRow).decode
Packed = TypeVar("Packed")


def notification_row(notification: Notification, origin: str) -> bytes:
    """The body of a row. UnicodeEncodeError for a text that has no UTF-8 form."""
    n = notification
    return _encode(
        (
            (
                n.reason, n.state, n.code, n.code_before, n.area, n.event_date, n.update_number, n.birth_date, n.sex,
                n.name, n.kana, n.alias, n.address,
            ),
            origin,
        )
    )  # fmt: skip


def read_notification_row(body: bytes) -> tuple[Notification, str]:
    """The notification and its origin. OutboxError when the body is damaged."""
    try:
        row = _decode_row(body)
    except msgspec.MsgspecError:
        raise damaged("a row") from None
    return Notification(**cast(dict[str, Any], dict(zip(_NotificationRow.FIELDS, row.fields, strict=True)))), row.origin


def range_row(first_key: int, stop_key: int, count: int, columns: bytes | memoryview) -> bytes:
    """The body of a range: what LOAD_RANGE carries behind its position."""
    return b"".join((RANGE_HEAD.pack(first_key, stop_key, count, 0), columns))


def read_range_row(body: bytes) -> tuple[int, int, int, memoryview]:
    """first_key, stop_key, count and the columns."""
    if len(body) < RANGE_HEAD.size:
        raise damaged("a range")
    first_key, stop_key, count, _ = RANGE_HEAD.unpack_from(body)
    return first_key, stop_key, count, memoryview(body)[RANGE_HEAD.size :]


def reported_row(entry: Entry, row: int) -> tuple[Notification, str]:
    """The notification of an entry, or the statement in row ``row`` of a range, and its origin."""
    if entry.kind is RowKind.NOTIFICATION:
        return read_notification_row(entry.body)
    _, _, count, columns = read_range_row(entry.body)
    try:
        return NotificationBatch.parse(columns, count).row(row), "load"
    except (ColumnFault, IndexError):
        raise damaged(f"row {entry.sequence}") from None


def sealed(kind: RowKind, body: bytes) -> bytes:
    """A row as it lies in the outbox."""
    return ROW_HEAD.pack(kind, zlib.crc32(body)) + body


def unsealed(sequence: int, value: bytes) -> Entry:
    """The row back. OutboxError when it is damaged."""
    if len(value) < ROW_HEAD.size:
        raise damaged(f"row {sequence}")
    kind, checksum = ROW_HEAD.unpack_from(value)
    body = value[ROW_HEAD.size :]
    if zlib.crc32(body) != checksum or kind not in (1, 2):
        raise damaged(f"row {sequence}")
    return Entry(sequence, RowKind(kind), body)


def packed(value: Any) -> bytes:
    """A state, report or file record as bytes, with a CRC-32 in front."""
    body = _encode(value)
    return zlib.crc32(body).to_bytes(4, "little") + body


def unpacked(kind: type[Packed], value: bytes, what: str) -> Packed:
    """It back. OutboxError when it is damaged."""
    body = value[4:]
    if zlib.crc32(body) != int.from_bytes(value[:4], "little"):
        raise damaged(what)
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError:
        raise damaged(what) from None


def damaged(what: str) -> OutboxError:
    return OutboxError(
        f"the outbox is damaged: {what} does not hold its checksum; keep the directory for examination, begin a new "
        "outbox and re-load (docs/feeds.md, chapter 6)"
    )
