"""Bulk building of a whole register: sorted blocks appended into a directory that takes its name only when done."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import lmdb

from jukinet.core import limits
from jukinet.core.errors import StoreError
from jukinet.core.feed.digest_kernel import DigestTotals
from jukinet.core.feed.holdings import store_totals
from jukinet.core.identity.bulk import EntryGather, EntryPiles
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.identity.layout import TABLES, plan_layout
from jukinet.core.store import schema
from jukinet.core.store.extent import fill_up
from jukinet.core.store.schema import Area, Meta, Town
from jukinet.core.store.snapshot import PlaceTables

if TYPE_CHECKING:  # not a dependency at run time
    from typing_extensions import Buffer

__all__ = ["Area", "RegisterBuilder", "Town"]

BLOCKS_PER_TRANSACTION = 16_384
"""LMDB keeps a transaction's pages in memory: this many blocks are 64 to 128 MB."""
IDENTITY_BYTES_PER_TRANSACTION = 64 * 1024 * 1024
IDENTITY_THREADS = 2
IDENTITY_PARTS_AHEAD = 3
"""About 4 MB of blocks each."""


class RegisterBuilder:
    """Builds a register in ``DIR.building`` and renames it to ``DIR`` when finish() has synced it.

    Invariant: a directory of the register's own name is complete. Leaving the context without finish() removes the
    remains; a killed build leaves ``DIR.building``, which the next build removes.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        expected_entries: int,
        areas: Sequence[Area],
        towns: Sequence[Town],
        origin: Mapping[str, Any],
        replace: bool = False,
        births: Mapping[int, float] | None = None,
    ) -> None:
        """births: which share of the persons was born in each year, at any scale; for the identity index."""
        self.directory = Path(directory)
        self.building = self.directory.with_name(self.directory.name + schema.BUILDING_SUFFIX)
        if self.directory.exists() and not replace and any(self.directory.iterdir()):
            raise StoreError(f"{self.directory}: exists and is not empty; name another directory or ask to replace it")
        if not 0 < len(areas) <= limits.AREAS_MAX or len(towns) > limits.TOWNS_MAX:
            raise StoreError(f"{len(areas)} areas and {len(towns)} towns do not fit the store's tables")
        if any(len(town.text.encode()) > limits.TOWN_BYTES_MAX for town in towns):
            raise StoreError(f"a town's text is longer than {limits.TOWN_BYTES_MAX} bytes of UTF-8")
        self.width = schema.bucket_width(expected_entries)
        self.wide = schema.is_wide(self.width)
        self._areas = len(areas)
        self._towns = len(towns)
        self._origin = dict(origin)
        self._last_bucket = -1
        self._blocks = 0
        if self.building.exists():
            shutil.rmtree(self.building)
        self.building.mkdir(parents=True, mode=0o700)
        self._environment = schema.open_environment(self.building, readonly=False, sync=False)
        self._databases = {
            name: schema.open_database(self._environment, name.encode(), integer=name != "meta", create=True)
            for name in schema.DATABASES
        }
        self.layout = plan_layout(expected_entries, births)
        self._put_tables(areas, towns)
        self._places = PlaceTables(list(areas), list(towns))
        self._totals = self.new_totals()
        self._gather = EntryGather(EntryLayout(self.layout), self.building, expected_entries)
        self._piles = self.new_piles()
        self._transaction: lmdb.Transaction | None = None
        self._finished = False
        self.identity_bytes = 0
        self.identity_seconds = 0.0
        """Bytes of the identity index's blocks and how long it took, when finish() has written them."""

    def _put_tables(self, areas: Sequence[Area], towns: Sequence[Town]) -> None:
        with self._environment.begin(write=True) as transaction:
            for number, area in enumerate(areas):
                transaction.put(schema.NUMBER.pack(number), schema.pack_area(area), db=self._databases["areas"])
            for page in range(0, len(towns), schema.TOWNS_PER_PAGE):
                packed = schema.pack_towns(list(towns[page : page + schema.TOWNS_PER_PAGE]))
                transaction.put(schema.NUMBER.pack(page // schema.TOWNS_PER_PAGE), packed, db=self._databases["towns"])
            transaction.put(
                schema.META_KEY, schema.pack_meta(self._describe("building", 0, 0)), db=self._databases["meta"]
            )
            schema.write_layout(transaction, self._databases["meta"], self.layout)

    def _describe(self, state: str, entries: int, residents: int) -> Meta:
        return Meta(
            format=schema.FORMAT,
            identifier=secrets.token_hex(16),
            state=state,
            width=self.width,
            wide=self.wide,
            entries=entries,
            residents=residents,
            version=1,
            areas=self._areas,
            towns=self._towns,
            origin=self._origin,
        )

    def new_totals(self) -> DigestTotals:
        """Empty digests for a thread of its own, to be given to add_totals; 4.9 MB."""
        return DigestTotals(self._places)

    def add_totals(self, totals: DigestTotals) -> None:
        """Add the digests of blocks that were appended with ``digested``."""
        self._totals.join(totals)

    def new_piles(self) -> EntryPiles:
        """Empty piles of the identity index for a thread that gathers what it appends with ``digested``."""
        return self._gather.piles_for_thread()

    def append(self, blocks: Iterable[tuple[int, Buffer]], *, digested: bool = False) -> int:
        """Append blocks, buckets ascending over all calls; returns how many. Bounded memory: commits as it goes.

        ``digested``: the caller gives their digests to add_totals and their entries to piles of new_piles, instead of
        having them computed here.
        Raises StoreError when the order is broken or the disk is full, StoreCorruptError when a record does not decode.
        """
        before = self._blocks
        pairs = iter(blocks) if digested else self._digesting(blocks)
        try:
            while self._append_some(pairs):
                pass
        except lmdb.Error as error:
            raise StoreError(f"{self.building}: writing failed: {error}") from error
        return self._blocks - before

    def _digesting(self, blocks: Iterable[tuple[int, Buffer]]) -> Iterator[tuple[int, Buffer]]:
        for bucket, block in blocks:
            self._totals.add_block(self.width, block)
            self._piles.add_block(self.width, block)
            yield bucket, block

    def _append_some(self, pairs: Iterator[tuple[int, Buffer]]) -> bool:
        """Put pairs until the transaction is full (True) or there are no more (False)."""
        if self._transaction is None:
            self._transaction = self._environment.begin(write=True)
        put = self._transaction.put
        pack = schema.NUMBER.pack
        database = self._databases["residents"]
        for bucket, block in pairs:
            if bucket <= self._last_bucket:
                raise StoreError(f"blocks must come in ascending order of buckets: {bucket} after {self._last_bucket}")
            put(pack(bucket), block, append=True, db=database)
            self._last_bucket = bucket
            self._blocks += 1
            if self._blocks % BLOCKS_PER_TRANSACTION == 0:
                self._transaction.commit()
                self._transaction = None
                return True
        return False

    def finish(self, *, entries: int, residents: int) -> None:
        """Mark complete, sync, close and rename into place. entries counts all, residents those that hold a person."""
        try:
            if self._transaction is not None:
                self._transaction.commit()
                self._transaction = None
            self._write_identity()
            with self._environment.begin(write=True) as transaction:
                store_totals(transaction, self._databases, self._totals)
                meta = self._describe("complete", entries, residents)
                transaction.put(schema.META_KEY, schema.pack_meta(meta), db=self._databases["meta"])
            fill_up(self._environment, self.building)
            self._environment.sync(True)
        except lmdb.Error as error:
            raise StoreError(f"{self.building}: writing failed: {error}") from error
        self._environment.close()
        self._finished = True
        self._let_pages_go()
        _sync_directory(self.building)
        self._take_name()

    def _write_identity(self) -> None:
        """Append the identity index's tables: threads make the blocks of one part after the other."""
        written, began = 0, time.monotonic()
        transaction = self._environment.begin(write=True)
        try:
            for name, bucket, block in self._identity_blocks():
                transaction.put(schema.NUMBER.pack(bucket), block, append=True, db=self._databases[name])
                written += len(block)
                self.identity_bytes += len(block)
                if written >= IDENTITY_BYTES_PER_TRANSACTION:
                    transaction.commit()
                    transaction = self._environment.begin(write=True)
                    written = 0
            transaction.commit()
        except BaseException:
            transaction.abort()
            raise
        self._gather.close()
        self.identity_seconds = time.monotonic() - began

    def _identity_blocks(self) -> Iterator[tuple[str, int, bytes]]:
        """(database, bucket, block) of all tables, in order."""
        waiting: deque[tuple[str, Future[list[tuple[int, bytes]]]]] = deque()
        with ThreadPoolExecutor(IDENTITY_THREADS, thread_name_prefix="identity") as threads:
            for table, name in enumerate(TABLES, 1):
                for part in range(self._gather.parts):
                    waiting.append((name, threads.submit(self._gather.blocks_of_part, table, part)))
                    while len(waiting) > IDENTITY_PARTS_AHEAD:
                        yield from _named(*waiting.popleft())
            while waiting:
                yield from _named(*waiting.popleft())

    def _take_name(self) -> None:
        """Rename into place; the register that is replaced goes only when the new one durably has the name.

        For the moment between two renames neither has it; after a crash there, ``DIR.replaced`` is the old register.
        """
        replaced = self.directory.with_name(self.directory.name + schema.REPLACED_SUFFIX)
        if self.directory.exists():
            if replaced.exists():
                shutil.rmtree(replaced)
            self.directory.rename(replaced)
        try:
            self.building.rename(self.directory)
        except OSError:
            if replaced.exists():
                replaced.rename(self.directory)
            raise
        _sync_directory(self.directory.parent)
        if replaced.exists():
            shutil.rmtree(replaced)

    def _let_pages_go(self) -> None:
        """Drop the file from the page cache, where writing left it in small pages: readers load it in large ones."""
        with (self.building / "data.mdb").open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gather.close()
        if self._finished:
            return
        if self._transaction is not None:
            self._transaction.abort()
        self._environment.close()
        shutil.rmtree(self.building, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise StoreError(f"{self.building}: the disk is full; nothing was built") from error


def _named(name: str, made: Future[list[tuple[int, bytes]]]) -> Iterator[tuple[str, int, bytes]]:
    for bucket, block in made.result():
        yield name, bucket, block


def _sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
