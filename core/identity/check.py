"""The part of `jukinet store check` about the identity index: every block, and every entry of every resident.

Findings name tables and buckets, never what an entry says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Final

import lmdb

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed import history, positions
from jukinet.core.feed.contribution import persons_of
from jukinet.core.identity.block import fault_of
from jukinet.core.identity.layout import TABLES
from jukinet.core.identity.survey import IdentitySurvey
from jukinet.core.store import block, schema

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from jukinet.core.store.reader import RegisterReader

BATCH_BLOCKS: Final = 256
"""15,000 residents: some 5 ms of the thread."""
BATCHES_WAITING_MAX: Final = 4
Earlier = dict[int, list[tuple[int, bytes]]]
"""Of one bucket: standings and records that are not shown, by delta, ascending."""
WATCHED_MAX: Final = 4_096
"""Buckets that are looked into when they hold something else than residents give: about 6 million entries."""


class IdentityCheck:
    """One check. Resident blocks that were verified are given to add_block() in their one pass; finish() does the rest.

    Folding takes longer than verifying, so it is done by a thread of its own, a batch of blocks at a time. entries,
    blocks, bytes: of the index, for the report.
    """

    def __init__(self, reader: RegisterReader, transaction: lmdb.Transaction, add: Callable[[str], None]) -> None:
        self._reader = reader
        self._transaction = transaction
        self._add = add
        with reader.pin() as snapshot:
            self._layout = snapshot.layout
            self._directory = snapshot.directory
        self._comparable = True
        self._survey = IdentitySurvey(self._layout, self._unindexed())
        self._history = reader.databases["history"]
        self._has_history = transaction.stat(self._history)["entries"] > 0
        self.blocks = self.bytes = 0
        self._batch: list[tuple[int, Buffer, Earlier]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="identity-check")
        self._under_way: deque[Future[None]] = deque()

    def _unindexed(self) -> list[tuple[int, int]]:
        """Ranges of keys that loads under way have not brought into the index yet."""
        feeds = self._reader.databases["feeds"]
        try:
            states = [positions.read_feed(self._transaction, feeds, p) for p in positions.PREFECTURES]
        except StoreCorruptError:  # reported with the feeds
            self._comparable = False
            return []
        left = [(state.unindexed.first_key, state.unindexed.stop_key) for state in states if state.unindexed]
        return [(first, stop) for first, stop in left if 0 <= first < stop <= limits.RESIDENT_KEYS]

    def close(self) -> None:
        """End the thread; what it has not done is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    @property
    def entries(self) -> int:
        """Entries of the index's blocks."""
        return self._survey.entries

    def add_block(self, bucket: int, value: Buffer) -> None:
        """Take in what the residents of a verified block should have in the index."""
        earlier: Earlier = {}
        if self._has_history:
            try:
                earlier = self._earlier(bucket)
            except StoreCorruptError:  # reported with the history
                self._comparable = False
        self._batch.append((bucket, value, earlier))
        if len(self._batch) == BATCH_BLOCKS:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the batch to the thread, which may be a few batches behind. Raises what it met."""
        self._under_way.append(self._thread.submit(self._take_in, self._batch))
        self._batch = []
        while len(self._under_way) > BATCHES_WAITING_MAX:
            self._under_way.popleft().result()

    def _drain(self) -> None:
        self._hand_over()
        while self._under_way:
            self._under_way.popleft().result()

    def _take_in(self, batch: list[tuple[int, Buffer, Earlier]]) -> None:
        width = self._reader.meta.width
        for bucket, value, earlier in batch:
            self._survey.add_block(width, value, earlier)
            for delta, kept in earlier.items():
                self._survey.add_key(delta + bucket * width, persons_of(block.find(value, delta), kept))

    def _earlier(self, bucket: int) -> Earlier:
        """Standings and records in the history of a bucket, by delta, ascending."""
        value = self._transaction.get(schema.NUMBER.pack(bucket), None, self._history)
        if value is None:
            return {}
        rows = groupby(history.decode(value, bucket), key=lambda row: row[0])
        return {delta: [(standing, data) for _, standing, _, _, data in kept] for delta, kept in rows}

    def give_up(self) -> None:
        """Called for a resident block that is damaged: what its residents should have is not known."""
        self._comparable = False

    def finish(self) -> None:
        """Verify all blocks of the index, and compare them with what was taken in."""
        self._drain()
        for table, name in enumerate(TABLES, 1):
            self._verify(table, name)
        uneven = self._survey.watch(WATCHED_MAX) if self._comparable else 0
        if not uneven:
            return
        with self._transaction.cursor(db=self._reader.databases["residents"]) as cursor:
            for key, value in cursor.iternext(keys=True, values=True):
                self.add_block(schema.NUMBER.unpack(key)[0], value)
        self._drain()
        for table, name in enumerate(TABLES, 1):
            for bucket, held in self._rows(name):
                self._survey.take_block(table, bucket, held)
        rows = [(name, *found) for name, found in zip(TABLES, self._survey.found(), strict=True)]
        more = " at least" if uneven > WATCHED_MAX else ""
        for name, missing, strangers in rows:
            if missing or strangers:
                self._add(f"{name}:{more} {missing} entries of residents are missing, {strangers} are nobody's")

    def _rows(self, name: str) -> Iterator[tuple[int, bytes | memoryview[int]]]:
        with self._transaction.cursor(db=self._reader.databases[name]) as cursor:
            for key, value in cursor.iternext(keys=True, values=True):
                yield schema.NUMBER.unpack(key)[0], value

    def _verify(self, table: int, name: str) -> None:
        """Blocks of one table against the format, and the directory against the table."""
        first, stop = self._directory.starts[table : table + 2]
        expected = first
        for bucket, value in self._rows(name):
            place = first + bucket
            fault = "a bucket beyond the last" if place >= stop else fault_of(value, self._layout, table, bucket)
            if fault is not None:
                self._add(f"bucket {bucket} of {name}: {fault}")
                self._comparable = False
                expected = place + 1
                continue
            if self._directory.differs(place, value) or self._directory.next_pointer(expected, place) < place:
                self._add(f"bucket {bucket} of {name}: the directory does not point to the store's blocks here")
            expected = place + 1
            self._survey.take_block(table, bucket, value)
            self.blocks += 1
            self.bytes += len(value)
        if expected < stop and self._directory.next_pointer(expected, stop) < stop:
            self._add(f"{name}: the directory has a pointer where the store has no block")
