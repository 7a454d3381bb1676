"""Where each feed stands, and what was put into quarantine: two small tables of sealed MessagePack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from jukinet.core.errors import StoreCorruptError
from jukinet.core.notifications import Fault
from jukinet.core.store import schema

if TYPE_CHECKING:
    from typing_extensions import Buffer

PREFECTURES: Final = range(1, 48)
SEQUENCE_MAX: Final = (1 << 48) - 1
"""A quarantine key has 48 bits for the sequence number."""


class Loading(msgspec.Struct, frozen=True):
    """A load under way: every range below ``next_key`` has been applied."""

    next_key: int


class Unindexed(msgspec.Struct, frozen=True):
    """Keys under which plain rows of a load are not in the identity index yet (core.feed.late_index), and how many."""

    first_key: int
    stop_key: int
    rows: int


class FeedState(msgspec.Struct, frozen=True, kw_only=True):
    """One feed as committed.

    position: the last sequence number applied. notifications: rows that came (ranges' rows included). applied: those
    accepted, shown or not; quarantined: the others. last_day: of its last transaction, days since 2000-01-01.
    """

    position: int = 0
    notifications: int = 0
    applied: int = 0
    quarantined: int = 0
    last_day: int = 0
    loading: Loading | None = None
    unindexed: Unindexed | None = None


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """What one sequence number brought into quarantine: one row, or the bad rows of a range.

    faults: one for each row of ``payload`` (NotificationBatch.parse). day: days since 2000-01-01.
    """

    faults: list[int]
    day: int
    payload: bytes

    def __repr__(self) -> str:
        """Never shows the payload."""
        return f"<Quarantined faults={self.faults}>"


def read_feed(transaction: lmdb.Transaction, database: lmdb._Database, prefecture: int) -> FeedState:
    """The state of a feed; a feed that never sent has position 0."""
    value = transaction.get(schema.NUMBER.pack(prefecture), None, database)
    return FeedState() if value is None else unpack_feed(value)


def unpack_feed(value: Buffer) -> FeedState:
    """The state of one value; StoreCorruptError when it is damaged."""
    try:
        return msgspec.msgpack.decode(schema.unseal(value, "the state of a feed"), type=FeedState)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"the state of a feed cannot be read: {error}") from error


def pack_feed(state: FeedState) -> bytes:
    """The value of one feed's state."""
    return schema.seal(msgspec.msgpack.encode(state))


def quarantine_key(prefecture: int, sequence: int) -> bytes:
    """The key of what one sequence number brought into quarantine."""
    return schema.NUMBER.pack(prefecture << 48 | sequence)


def pack_quarantined(quarantined: Quarantined) -> bytes:
    """The value of one sequence number."""
    return schema.seal(msgspec.msgpack.encode(quarantined))


def unpack_quarantined(value: Buffer) -> Quarantined:
    """What one value holds; StoreCorruptError when it is damaged."""
    try:
        found = msgspec.msgpack.decode(schema.unseal(value, "a row of the quarantine"), type=Quarantined)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"the quarantine cannot be read: {error}") from error
    if not set(found.faults) <= {int(fault) for fault in Fault}:
        raise StoreCorruptError("the quarantine names a fault that this format does not know")
    return found
