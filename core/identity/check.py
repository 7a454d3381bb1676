"""The part of `jukinet store check` about the identity index: every block, and every entry of every resident.

Findings name tables and buckets, never what an entry says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Final

import lmdb

from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed import history
from jukinet.core.feed.contribution import persons_of
from jukinet.core.identity.block import fault_of
from jukinet.core.identity.layout import TABLES
from jukinet.core.identity.survey import IdentitySurvey
from jukinet.core.store import block, schema

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from jukinet.core.store.reader import RegisterReader

WATCHED_MAX: Final = 4_096
"""Buckets that are looked into when they hold something else than residents give: about 6 million entries."""


class IdentityCheck:
    """One check. Resident blocks that were verified are given to add_block() in their one pass; finish() does the rest.

    entries, blocks, bytes: of the index, for the report.
    """

    def __init__(self, reader: RegisterReader, transaction: lmdb.Transaction, add: Callable[[str], None]) -> None:
        self._reader = reader
        self._transaction = transaction
        self._add = add
        with reader.pin() as snapshot:
            self._layout = snapshot.layout
            self._directory = snapshot.directory
        self._survey = IdentitySurvey(self._layout)
        self._history = reader.databases["history"]
        self._has_history = transaction.stat(self._history)["entries"] > 0
        self._comparable = True
        self.blocks = self.bytes = 0

    @property
    def entries(self) -> int:
        """Entries of the index's blocks."""
        return self._survey.entries

    def add_block(self, bucket: int, value: Buffer) -> None:
        """Take in what the residents of a verified block should have in the index."""
        earlier: dict[int, list[tuple[int, bytes]]] = {}
        if self._has_history:
            try:
                earlier = self._earlier(bucket)
            except StoreCorruptError:  # reported with the history
                self._comparable = False
        width = self._reader.meta.width
        self._survey.add_block(width, value, earlier)
        for delta, kept in earlier.items():
            self._survey.add_key(delta + bucket * width, persons_of(block.find(value, delta), kept))

    def _earlier(self, bucket: int) -> dict[int, list[tuple[int, bytes]]]:
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
        for table, name in enumerate(TABLES, 1):
            self._verify(table, name)
        uneven = self._survey.watch(WATCHED_MAX) if self._comparable else 0
        if not uneven:
            return
        with self._transaction.cursor(db=self._reader.databases["residents"]) as cursor:
            for key, value in cursor.iternext(keys=True, values=True):
                self.add_block(schema.NUMBER.unpack(key)[0], value)
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
