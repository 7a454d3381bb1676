"""The part of `jukinet store check` about the feeds: history, journal, positions, quarantine (docs/store-format.md).

Findings name buckets, feeds and sequence numbers, never what a record says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

import lmdb

from jukinet.core import limits
from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed import history, journal, positions
from jukinet.core.feed.journal import EntryKind, JournalEntry, Result
from jukinet.core.feed.key_state import KeyState
from jukinet.core.feed.positions import FeedState
from jukinet.core.notifications import NotificationBatch
from jukinet.core.store import block, schema
from jukinet.core.store.reader import RegisterReader

if TYPE_CHECKING:
    from typing_extensions import Buffer

_RESULTS: Final = frozenset(bytes(Result))
_REASONS: Final = frozenset((0, 11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42))

Add = Callable[[str], None]


class FeedCounts:
    """What was seen, for the report."""

    contributions = 0
    journal_entries = 0
    quarantined = 0


def check_feeds(reader: RegisterReader, transaction: lmdb.Transaction, add: Add) -> FeedCounts:
    """Check everything that the feeds left, in one snapshot; ``add`` takes each fault in words."""
    counts = FeedCounts()
    _HistoryCheck(reader, transaction, add, counts).run()
    feeds = _read_feeds(reader, transaction, add)
    _JournalCheck(reader, transaction, add, counts, feeds).run()
    _check_quarantine(reader, transaction, add, counts, feeds)
    return counts


class _HistoryCheck:
    """Every block decodes, its entries are in order, and what is shown and where each stands is what the fold says."""

    def __init__(self, reader: RegisterReader, transaction: lmdb.Transaction, add: Add, counts: FeedCounts) -> None:
        self._reader = reader
        self._transaction = transaction
        self._add = add
        self._counts = counts
        with reader.pin() as snapshot:
            self._jis = [area.jis for area in snapshot.places.areas]

    def run(self) -> None:
        """All history blocks."""
        with self._transaction.cursor(db=self._reader.databases["history"]) as cursor:
            for name, value in cursor.iternext(keys=True, values=True):
                bucket = schema.NUMBER.unpack(name)[0]
                try:
                    self._block(bucket, value, self._transaction.get(name, None, self._reader.databases["residents"]))
                except StoreCorruptError as error:
                    self._add(str(error))

    def _block(self, bucket: int, value: Buffer, shown: Buffer | None) -> None:
        entries = history.decode(value, bucket)
        self._counts.contributions += len(entries)
        width = self._reader.meta.width
        if bucket >= self._reader.buckets or entries[-1][0] >= width:
            self._add(f"the history of bucket {bucket} leaves the bucket")
            return
        if any(status >> 59 or (status >> 10 & 4095) >= len(self._jis) for _, _, _, status, _ in entries):
            self._add(f"the history of bucket {bucket} has a status out of range")
            return
        if any(status >> 4 & 63 not in _REASONS for _, _, _, status, _ in entries):
            self._add(f"the history of bucket {bucket} has an unknown reason")
            return
        for delta, rows in groupby(entries, key=lambda entry: entry[0]):
            kept = [entry[1:] for entry in rows]
            state = KeyState(
                delta + bucket * width, None if shown is None else block.find(shown, delta), kept, self._jis
            )
            if any(one.order >= other.order for one, other in pairwise(state.contributions)):
                self._add(f"the history of bucket {bucket} has two contributions of one rank")
            present = state.shown
            state.refold(self._reader.meta.newest_day)
            if state.shown is not present:
                self._add(f"bucket {bucket}: an entry is not what the fold of its contributions gives")
            elif state.history_changed or state.kept() != kept:
                self._add(f"the history of bucket {bucket} has a contribution out of order or with a wrong standing")


def _read_feeds(reader: RegisterReader, transaction: lmdb.Transaction, add: Add) -> dict[int, FeedState]:
    feeds: dict[int, FeedState] = {}
    with transaction.cursor(db=reader.databases["feeds"]) as cursor:
        for name, value in cursor.iternext(keys=True, values=True):
            prefecture = schema.NUMBER.unpack(name)[0]
            try:
                feeds[prefecture] = positions.unpack_feed(value)
            except StoreCorruptError as error:
                add(f"feed {prefecture}: {error}")
                continue
            state = feeds[prefecture]
            left = state.unindexed
            if left is not None and not 0 <= left.first_key < left.stop_key <= limits.RESIDENT_KEYS:
                add(f"feed {prefecture}: what it left out of the identity index is no range of keys")
            if prefecture not in positions.PREFECTURES:
                add(f"there is a feed of prefecture {prefecture}")
            if state.applied + state.quarantined != state.notifications or state.last_day > reader.meta.newest_day:
                add(f"feed {prefecture}: its counts or its last day contradict themselves")
    return feeds


class _JournalCheck:
    """Orders, days and every feed's sequence numbers go on without a gap, and end where the register says."""

    def __init__(
        self,
        reader: RegisterReader,
        transaction: lmdb.Transaction,
        add: Add,
        counts: FeedCounts,
        feeds: dict[int, FeedState],
    ) -> None:
        self._reader = reader
        self._transaction = transaction
        self._add = add
        self._counts = counts
        self._feeds = feeds
        self._positions: defaultdict[int, int] = defaultdict(int)
        self._rows: defaultdict[int, int] = defaultdict(int)
        self._refused: defaultdict[int, int] = defaultdict(int)
        self._day = 0

    def run(self) -> None:
        """All entries, in order."""
        expected = self._reader.meta.journal_first
        with self._transaction.cursor(db=self._reader.databases["journal"]) as cursor:
            for name, value in cursor.iternext(keys=True, values=True):
                order = schema.NUMBER.unpack(name)[0]
                if order != expected:
                    self._add(f"the journal goes on with {order} where {expected} is due")
                try:
                    entry = journal.unpack_entry(value)
                except StoreCorruptError as error:
                    self._add(f"journal entry {order}: {error}")
                    expected = order + 1
                    continue
                self._entry(order, entry)
                expected = order + max(1, entry.count)
        meta = self._reader.meta
        if expected != meta.journal_next or self._day > meta.newest_day:
            self._add(f"the journal ends before {expected}; the register says {meta.journal_next}")
        for prefecture in set(self._feeds) | set(self._positions):
            state = self._feeds.get(prefecture, FeedState())
            if meta.journal_first > 1:
                self._beyond_trimmed(prefecture, state)
                continue
            found = self._positions[prefecture], self._rows[prefecture], self._refused[prefecture]
            if found != (state.position, state.notifications, state.quarantined):
                self._add(
                    f"feed {prefecture}: the journal brought it to {found[0]}, the register says {state.position}"
                )

    def _beyond_trimmed(self, prefecture: int, state: FeedState) -> None:
        """What can be said of a feed when the beginning of the journal has passed its retention."""
        reached = self._positions.get(prefecture, state.position)
        is_beyond = self._rows[prefecture] > state.notifications or self._refused[prefecture] > state.quarantined
        if reached != state.position or is_beyond:
            self._add(f"feed {prefecture}: the journal brought it to {reached}, the register says {state.position}")

    def _entry(self, order: int, entry: JournalEntry) -> None:
        self._counts.journal_entries += 1
        if entry.registered_day < self._day:
            self._add(f"journal entry {order}: its day is before the day of the entry before")
        self._day = entry.registered_day
        if not _RESULTS.issuperset(entry.results):
            self._add(f"journal entry {order}: a result that this format does not know")
        if entry.kind == EntryKind.PURGE:
            self._purge(order, entry)
            return
        is_first = self._reader.meta.journal_first > 1 and entry.prefecture not in self._positions
        if not is_first and entry.first_sequence != self._positions[entry.prefecture] + 1:
            self._add(f"journal entry {order}: a gap in the sequence numbers of feed {entry.prefecture}")
        steps = entry.count if entry.kind == EntryKind.BATCH else 1
        self._positions[entry.prefecture] = entry.first_sequence + steps - 1
        self._rows[entry.prefecture] += entry.count
        self._refused[entry.prefecture] += entry.results.count(Result.QUARANTINED)
        try:
            NotificationBatch.parse(entry.payload, entry.count)
        except (ColumnFault, ValueError):
            self._add(f"journal entry {order}: its batch does not have the layout of a batch")

    def _purge(self, order: int, entry: JournalEntry) -> None:
        done = journal.unpack_purge(entry)
        if entry.count or not 0 <= entry.first_key <= entry.stop_key <= limits.RESIDENT_KEYS or len(done.expired) % 8:
            self._add(f"journal entry {order}: a step of purging that contradicts itself")


def _check_quarantine(
    reader: RegisterReader,
    transaction: lmdb.Transaction,
    add: Add,
    counts: FeedCounts,
    feeds: dict[int, FeedState],
) -> None:
    found: defaultdict[int, int] = defaultdict(int)
    with transaction.cursor(db=reader.databases["quarantine"]) as cursor:
        for name, value in cursor.iternext(keys=True, values=True):
            prefecture, sequence = divmod(schema.NUMBER.unpack(name)[0], 1 << 48)
            where = f"quarantine of feed {prefecture} at {sequence}"
            if prefecture not in feeds or not 0 < sequence <= feeds[prefecture].position:
                add(f"{where}: no such sequence number was applied")
            try:
                rows = positions.unpack_quarantined(value)
                NotificationBatch.parse(rows.payload, len(rows.faults))
            except StoreCorruptError as error:
                add(f"{where}: {error}")
                continue
            except (ColumnFault, ValueError):
                add(f"{where}: its rows do not have the layout of a batch")
                continue
            found[prefecture] += len(rows.faults)
            counts.quarantined += len(rows.faults)
    for prefecture, state in feeds.items():
        is_trimmed = reader.meta.journal_first > 1 and found[prefecture] <= state.quarantined
        if found[prefecture] != state.quarantined and not is_trimmed:
            add(f"feed {prefecture}: {found[prefecture]} rows in quarantine, the register says {state.quarantined}")
