"""HISTORY: the earlier records of a batch of codes, inside their retention (docs/protocol.md, 3.6).

Unlike LOOKUP this is not the hot path: codes are few, and each one's history block is read through LMDB. The columns of
the records are laid out by the kernel of LOOKUP.
"""

from __future__ import annotations

import struct
import threading
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import lmdb

from jukinet.core import limits
from jukinet.core.errors import ErrorCode, JukinetError, StoreError
from jukinet.core.feed import history
from jukinet.core.feed.contribution import Kind, Standing, kind_of, registered_day
from jukinet.core.feed.fold import with_image
from jukinet.core.index.lookup import LookupBatch, record_groups
from jukinet.core.law.retention import EPOCH, Cutoffs
from jukinet.core.store import block, schema
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import Item, Outcome

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from jukinet.core.feed.history import Kept

READING: Final = threading.Lock()
"""Held for each read in a snapshot's transaction, which LMDB lets one thread use at a time: the loop reads the history
of a HISTORY, the thread for slices that of a MATCH."""
FRAME_HEADER_BYTES: Final = limits.FRAME_HEADER_BYTES
_HEAD: Final = struct.Struct("<IIQ")
_REMOVED: Final = frozenset((Outcome.DEAD, Outcome.MOVED_AWAY, Outcome.REMOVED))
_HAS_HISTORY: Final = _REMOVED | {Outcome.CURRENT, Outcome.CODE_CHANGED}
_NO_PERSON_BYTES: Final = 3


class HistoryTooLongError(JukinetError):
    """The earlier records of these codes do not fit one answer: ask for fewer codes."""

    code = ErrorCode.TOO_MANY_CODES


class HistoryBatch:
    """One HISTORY under way; not reusable while its codes are.

    begin() states the batch, run() answers codes [start, stop) in ascending pieces, outcomes tells what each code says
    (for the record of use), finish() lays out the answer frame. For one thread: it reads LMDB in the snapshot.
    """

    def __init__(self) -> None:
        self._lookup = LookupBatch()
        self._codes: memoryview[int] = memoryview(b"").cast("Q")
        self._items = self._answered_items = 0
        self._snapshot: Snapshot | None = None
        self._databases: Mapping[str, lmdb._Database] = {}
        self._width = 1
        self._cutoffs = Cutoffs(0, 0, 0)
        self._outcomes = bytearray()
        self._row_ends = array("I")
        self._replaced = array("I")
        self._rows: list[tuple[int, bytes]] = []

    def begin(
        self, codes: Buffer, items: int, databases: Mapping[str, lmdb._Database], width: int, cutoffs: Cutoffs
    ) -> None:
        """Start a batch: codes (u64) kept until finish(), items mask, the register's databases and bucket width, and
        the retention rule as of today."""
        self._codes = memoryview(codes).cast("B").cast("Q")
        self._lookup.begin(codes, 0)
        self._items = items & ~Item.CODE
        self._answered_items = items
        self._databases, self._width, self._cutoffs = databases, width, cutoffs
        self._outcomes = bytearray()
        self._row_ends, self._replaced, self._rows = array("I"), array("I"), []

    def run(self, snapshot: Snapshot, start: int, stop: int) -> None:
        """Answer codes [start, stop). Raises StoreError, and HistoryTooLongError."""
        self._lookup.run(snapshot, start, stop)
        self._snapshot = snapshot
        outcomes = bytearray(self._lookup.outcomes[start:stop])
        try:
            for at in range(start, stop):
                outcome = outcomes[at - start]
                if outcome in _HAS_HISTORY:
                    outcomes[at - start] = self._code(snapshot, self._codes[at] // 10, outcome)
                self._row_ends.append(len(self._rows))
        except lmdb.Error as error:
            raise StoreError("the history cannot be read") from error
        self._outcomes += outcomes

    @property
    def outcomes(self) -> bytes:
        """u8 outcome of each code answered so far (a copy)."""
        return bytes(self._outcomes)

    def finish(self) -> bytearray:
        """The answer: 16 zero bytes for the frame header, then the HISTORY_ANSWER payload."""
        snapshot = self._snapshot
        assert snapshot is not None
        frame = bytearray(FRAME_HEADER_BYTES)
        frame += _HEAD.pack(self._answered_items, len(self._outcomes), self._lookup.version)
        for column in (self._outcomes, self._row_ends.tobytes(), self._replaced.tobytes()):
            frame += column
            frame += bytes(-len(column) % 8)
        frame += record_groups(snapshot, self._rows, self._items)
        self._lookup.begin(b"", 0)  # lets the caller's codes go
        self._codes = memoryview(b"").cast("Q")
        self._rows = []
        self._snapshot = None
        return frame

    def _code(self, snapshot: Snapshot, key: int, outcome: int) -> int:
        """Add the earlier records of one code; its outcome, which is EXPIRED from the day after the record's last."""
        transaction = snapshot.transaction
        assert transaction is not None
        bucket, delta = divmod(key, self._width)
        name = schema.NUMBER.pack(bucket)
        if outcome in _REMOVED:
            with READING:
                present = transaction.get(name, None, self._databases["residents"])
            shown = None if present is None else block.find(present, delta)
            if shown is None or self._cutoffs.expired(shown[0] & 15, registered_day(shown[0]), None):
                return Outcome.EXPIRED
        with READING:
            value = transaction.get(name, None, self._databases["history"])
        if value is not None:
            self._add(earlier_records(history.of_key(value, bucket, delta), self._cutoffs))
        return outcome

    def _add(self, records: list[tuple[int, int, bytes]]) -> None:
        if len(self._rows) + len(records) > limits.HISTORY_ROWS_MAX:
            raise HistoryTooLongError("the earlier records do not fit one answer; ask for fewer codes")
        for day, status, data in reversed(records):
            self._rows.append((status, data))
            self._replaced.append(decimal_day(day))


def earlier_records(kept: list[Kept], cutoffs: Cutoffs) -> list[tuple[int, int, bytes]]:
    """(day of replacing, status, record) of a key's replaced records inside retention, in ascending rank.

    A removal is kept without the person; it is shown with the record that it removed.
    """
    found: list[tuple[int, int, bytes]] = []
    image: bytes | None = None
    for standing, day, status, data in kept:
        if standing not in (Standing.REPLACED, Standing.COMPOSED):
            continue
        record = data
        if kind_of(status, data[0]) is not Kind.REMOVAL:
            image = data
        elif len(data) <= _NO_PERSON_BYTES:
            if image is None:
                continue
            record = with_image(data, image)
        if standing == Standing.REPLACED and not cutoffs.expired(status & 15, registered_day(status), day):
            found.append((day, status, record))
    return found


def decimal_day(day: int) -> int:
    """A day number as a decimal date."""
    date = EPOCH.fromordinal(EPOCH.toordinal() + day)
    return date.year * 10_000 + date.month * 100 + date.day
