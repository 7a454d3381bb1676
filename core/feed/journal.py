"""The journal's entries: what was applied, in national order, so that replaying it gives the same register."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import msgspec

from jukinet.core.errors import StoreCorruptError
from jukinet.core.store import schema

if TYPE_CHECKING:
    from typing_extensions import Buffer

_HEAD: Final = struct.Struct("<BBHHHIQQQ")
"""kind, zero, prefecture, registered_day, zero, count, first_sequence, first_key, stop_key."""


class EntryKind(IntEnum):
    """What an entry of the journal did."""

    BATCH = 1
    RANGE = 2
    PURGE = 3


class Result(IntEnum):
    """What became of one row when it was applied."""

    APPLIED = 1
    KEPT = 2
    """Kept but not shown: the area is not the record's holder, another person holds the code, or it is retired."""
    QUARANTINED = 3


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One applied batch, range or step of purging; ``payload`` is the batch as it came (NotificationBatch.parse), or
    what a step of purging did (unpack_purge), whose prefecture, first_sequence and count are 0.

    registered_day: days since 2000-01-01. results: a Result for each row. first_key and stop_key: of a range or a step
    of purging, else 0.
    """

    kind: int
    prefecture: int
    registered_day: int
    first_sequence: int
    count: int
    first_key: int = 0
    stop_key: int = 0
    results: bytes
    payload: bytes

    def __repr__(self) -> str:
        """Never shows the payload."""
        return f"<JournalEntry kind={self.kind} prefecture={self.prefecture} count={self.count}>"


class PurgeDone(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a purging step, as MessagePack: what it judged by, and what it did.

    rule: core.law.retention. day: by which it judged, days since 2000-01-01. removed: contributions taken out of the
    history. expired: codes whose shown record gave way to a tombstone, u64 each. trimmed_before: day before which the
    journal and the quarantine were trimmed (0: not in this step), with the number of entries and of rows.
    """

    rule: int
    day: int
    removed: int = 0
    expired: bytes = b""
    trimmed_before: int = 0
    trimmed_entries: int = 0
    trimmed_rows: int = 0

    def __repr__(self) -> str:
        """Never shows the codes."""
        return f"<PurgeDone expired={len(self.expired) // 8} removed={self.removed}>"


def unpack_purge(entry: JournalEntry) -> PurgeDone:
    """What a purging step did; StoreCorruptError when its payload cannot be read."""
    try:
        return msgspec.msgpack.decode(entry.payload, type=PurgeDone)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"a purging step of the journal cannot be read: {error}") from error


def pack_entry(entry: JournalEntry) -> bytes:
    """The sealed value of one entry."""
    head = _HEAD.pack(
        entry.kind, 0, entry.prefecture, entry.registered_day, 0, entry.count, entry.first_sequence, entry.first_key,
        entry.stop_key,
    )  # fmt: skip
    return schema.seal(b"".join((head, entry.results, bytes(-len(entry.results) % 8), entry.payload)))


def unpack_entry(value: Buffer) -> JournalEntry:
    """The entry of a sealed value; StoreCorruptError when it is damaged."""
    content = schema.unseal(value, "an entry of the journal")
    if len(content) < _HEAD.size:
        raise StoreCorruptError("an entry of the journal is too short")
    kind, _, prefecture, day, _, count, first_sequence, first_key, stop_key = _HEAD.unpack_from(content)
    payload_at = _HEAD.size + count + -count % 8
    if len(content) < payload_at or kind not in set(EntryKind):
        raise StoreCorruptError("an entry of the journal contradicts its own lengths")
    return JournalEntry(
        kind=kind,
        prefecture=prefecture,
        registered_day=day,
        first_sequence=first_sequence,
        count=count,
        first_key=first_key,
        stop_key=stop_key,
        results=content[_HEAD.size : _HEAD.size + count],
        payload=content[payload_at:],
    )
