"""Reading a register in place: opening it, warming it, and keeping a snapshot that follows the writer.

Theory of operation. A reader has one current Snapshot: a read transaction and a directory of pointers that are good in
it. A refresh compares the register's last version with the snapshot's; when there is a newer one it brings a *spare*
directory up to date from the change lists and makes it the new current snapshot. The old one lives until its last pin
goes; then its directory becomes a spare. What changed up to the current version is copied from the current directory,
what changed since is looked up; so a refresh costs the newly changed buckets and never the whole table, no reader
waits, and no pointer is used after its transaction. Slow requests may pin several old snapshots: then the current
directory is copied, up to DIRECTORIES_MAX of them; after that a refresh waits for a pin to go.

The work may be done in steps (begin_refresh, advance), between which the current snapshot goes on serving, or at once
(refresh).

All methods belong to one thread.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.store import schema
from jukinet.core.store.schema import Area, Meta, Town
from jukinet.core.store.snapshot import (
    Directory,
    PlaceTables,
    Snapshot,
    advise_large_pages,
    lock_addresses,
    touch_addresses,
)

WARM_STEP_BYTES = 64 * 1024 * 1024
DIRECTORIES_MAX = 6
"""8 bytes a place each: 19 MB at 120 million residents. With two of them, one bulk request that waits for its turns
keeps a worker from following the writer."""
WARM_THREADS = 4
"""A fault reads 2 MiB and waits for it: several at once keep the disk busy."""
LARGE_PAGE_BYTES = 2 * 1024 * 1024


def mapped_at(path: Path) -> int | None:
    """The address at which this process maps a file from its start, from /proc/self/maps; None when it does not."""
    status = path.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if fields[3] == device and int(fields[4]) == status.st_ino and int(fields[2], 16) == 0:
                return int(fields[0].split("-")[0], 16)
    return None


def map_whole(path: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Bring a register's file, which this process has opened, into memory and map it, in order.

    Asks for large pages: on Linux with large folios (ext4 since 6.16, XFS since 5.18) the map then takes one entry
    of the processor's page tables for 512 pages, and a random probe waits for memory about half as long.
    progress(bytes done, bytes in all) is called every 64 MiB; what it raises ends the work and comes out here. OSError.
    """
    total = path.stat().st_size
    start = mapped_at(path)
    if start is None:
        return
    advise_large_pages(start, -(-total // LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES)

    def step(first: int) -> int:
        last = min(first + WARM_STEP_BYTES, total)
        touch_addresses(start + first, start + last)
        return last

    with ThreadPoolExecutor(WARM_THREADS) as threads:
        for done in threads.map(step, range(0, total, WARM_STEP_BYTES)):
            if progress is not None:
                progress(done, total)


class _Refresh:
    """A refresh under way: a directory on its way from an older version to that of a new transaction."""

    __slots__ = ("directory", "lists", "meta", "place", "transaction")

    def __init__(self, directory: Directory, transaction: lmdb.Transaction, meta: Meta) -> None:
        self.directory = directory
        self.transaction = transaction
        self.meta = meta
        self.lists: list[memoryview] = []
        """Changed buckets that are still to be looked up, 'I'; ``place`` is the position in the first of them."""
        self.place = 0


class RegisterReader:
    """A register opened for reading. Raises StoreError (incomplete, corrupt) when it cannot be served."""

    def __init__(self, directory: str | Path, *, environment: lmdb.Environment | None = None) -> None:
        """``environment``: one that this process has already opened (LMDB allows one only); close() leaves it open."""
        self.directory = Path(directory)
        self._owns_environment = environment is None
        self._current: Snapshot | None = None
        self._locked_bytes = 0
        self._spares: list[Directory] = []
        self._directories = 0
        self._refreshing: _Refresh | None = None
        self._judged = (
            -1
        )  # the newest LMDB transaction that is known to leave the register as the current snapshot has it
        self._environment = environment or schema.open_environment(self.directory, readonly=True)
        try:
            self.databases = schema.open_databases(self._environment, self.directory)
            with self._begin() as transaction:
                self.meta = schema.read_meta(transaction, self.databases["meta"], self.directory)
                self.layout = schema.read_layout(transaction, self.databases["meta"], self.directory)
                self._entry_layout = EntryLayout(self.layout)
                self.buckets = -(-limits.RESIDENT_KEYS // self.meta.width)
                self._places = PlaceTables(
                    self._read_areas(transaction, self.meta), self._read_towns(transaction, self.meta)
                )
        except lmdb.Error as error:
            self._close_environment()
            raise StoreError(f"{self.directory}: the register cannot be read: {error}") from error
        except StoreError:
            self._close_environment()
            raise

    def _begin(self) -> lmdb.Transaction:
        try:
            return self._environment.begin(buffers=True)
        except lmdb.ReadersFullError as error:
            raise StoreError(f"{self.directory}: all {schema.READERS_MAX} reader slots are taken") from error
        except lmdb.Error as error:
            raise StoreError(f"{self.directory}: the register cannot be read: {error}") from error

    def _first_snapshot(self) -> Snapshot:
        transaction = self._begin()
        try:
            meta = schema.read_meta(transaction, self.databases["meta"], self.directory)
            directory = self._new_directory()
            self._read_places(transaction, meta)
            self._fill(directory, transaction, meta)
        except BaseException:
            transaction.abort()
            raise
        self.meta = meta
        self._spares = [self._new_directory()]
        self._directories = 2
        return self._snapshot(directory, meta, transaction)

    @property
    def _now(self) -> Snapshot:
        """The current snapshot; the first one is taken when it is first wanted, or by warm()."""
        if self._current is None:
            self._current = self._first_snapshot()
        return self._current

    def _snapshot(self, directory: Directory, meta: Meta, transaction: lmdb.Transaction) -> Snapshot:
        return Snapshot(
            directory, self._places, self._entry_layout, meta.version, meta.width, transaction, self._take_spare
        )

    def _new_directory(self) -> Directory:
        return Directory(self.buckets, *self.layout.buckets)

    @property
    def _pointed(self) -> list[lmdb._Database]:
        return [self.databases[name] for name in schema.POINTED_DATABASES]

    def _take_spare(self, directory: Directory) -> None:
        self._spares.append(directory)

    def _read_areas(self, transaction: lmdb.Transaction, meta: Meta) -> list[Area]:
        return schema.read_areas(transaction, self.databases["areas"], meta, self.directory)

    def _read_towns(self, transaction: lmdb.Transaction, meta: Meta) -> list[Town]:
        return schema.read_towns(transaction, self.databases["towns"], meta, self.directory)

    @property
    def identifier(self) -> str:
        """The register's identifier, 32 hexadecimal digits, the same for its life."""
        return self.meta.identifier

    @property
    def areas(self) -> list[Area]:
        """All areas; the position is the area number in status columns."""
        return self._places.areas

    @property
    def areas_not_connected(self) -> list[int]:
        """Five-digit numbers of areas that hold no data here."""
        return self._places.areas_not_connected

    @property
    def residents(self) -> int:
        """Entries that hold a person."""
        return self.meta.residents

    @property
    def version(self) -> int:
        """Version of the current snapshot."""
        return self._now.version

    def pin(self) -> Snapshot:
        """The current snapshot, pinned; the caller releases it (or uses it as a context) within the same request."""
        return self._now.pin()

    def refresh(self) -> bool:
        """Follow the writer; True when there is a new snapshot. A few microseconds when nothing changed."""
        return self.begin_refresh() and self.advance()

    def begin_refresh(self) -> bool:
        """Whether there is a newer version to go on to: then advance() is to be called until it gives True."""
        if self._refreshing is not None:
            return True
        if self._environment.info()["last_txnid"] == self._judged:
            return False
        current = self._now
        transaction = self._begin()
        try:
            meta = schema.read_meta(transaction, self.databases["meta"], self.directory)
            if meta.version == current.version:
                # The snapshot's own number: a commit under way is in LMDB's newest number before snapshots see it.
                self._judged = transaction.id()
                transaction.abort()
                return False
            directory = self._free_directory(current)
            if directory is None:
                transaction.abort()
                return False
            self._refreshing = _Refresh(directory, transaction, meta)
        except BaseException:
            transaction.abort()
            raise
        self._guarded(self._plan, self._refreshing)
        return True

    def _free_directory(self, current: Snapshot) -> Directory | None:
        """A directory that no snapshot uses; None when all that there may be are pinned."""
        if self._spares:
            return self._spares.pop()
        if self._directories >= DIRECTORIES_MAX:
            return None
        self._directories += 1
        directory = self._new_directory()
        directory.copy(current.directory)
        directory.version = current.version
        return directory

    def _guarded(self, step: Callable[[_Refresh], None], refresh: _Refresh) -> None:
        """One step of a refresh; when it fails the refresh is given up and the current snapshot stays."""
        try:
            try:
                step(refresh)
            except lmdb.Error as error:
                raise StoreError(f"{self.directory}: the register cannot be read: {error}") from error
        except BaseException:
            self._give_up(refresh)
            raise

    def _give_up(self, refresh: _Refresh) -> None:
        self._refreshing = None
        refresh.lists.clear()
        refresh.transaction.abort()
        refresh.directory.version = 0
        self._spares.append(refresh.directory)

    def _plan(self, refresh: _Refresh) -> None:
        """Take places and change lists; copy what the current directory knows already."""
        directory, transaction, meta = refresh.directory, refresh.transaction, refresh.meta
        self._read_places(transaction, meta)
        current = self._now
        known = self._change_lists(transaction, directory.version, current.version) if directory.version else None
        lists = self._change_lists(transaction, current.version, meta.version)
        if lists is None:
            self._fill(directory, transaction, meta)
            return
        if known is None:
            directory.copy(current.directory)
        else:
            for changed in known:
                directory.copy_some(current.directory, changed)
        directory.version = current.version
        refresh.lists = [changed for changed in lists if len(changed)]

    def _change_lists(self, transaction: lmdb.Transaction, after: int, last: int) -> list[memoryview] | None:
        """The places that each version after ``after`` up to ``last`` rewrote; None when one is no longer kept."""
        changes = self.databases["changes"]
        lists = []
        for version in range(after + 1, last + 1):
            changed = transaction.get(schema.NUMBER.pack(version), db=changes)
            if changed is None:
                return None
            if len(changed) % 4:
                raise StoreCorruptError(
                    f"{self.directory}: change list {version} is damaged; run `jukinet store check`"
                )
            lists.append(memoryview(changed).cast("I"))
        return lists

    def _fill(self, directory: Directory, transaction: lmdb.Transaction, meta: Meta) -> None:
        try:
            directory.fill(transaction, self._pointed)
        except lmdb.Error as error:
            raise StoreError(f"{self.directory}: the register cannot be read: {error}") from error
        directory.version = meta.version

    def _read_places(self, transaction: lmdb.Transaction, meta: Meta) -> None:
        try:
            if meta.areas != self._places.areas_count or meta.towns != self._places.towns_count:
                self._places = PlaceTables(self._read_areas(transaction, meta), self._read_towns(transaction, meta))
        except lmdb.Error as error:
            raise StoreError(f"{self.directory}: the register cannot be read: {error}") from error

    def advance(self, buckets_max: int | None = None) -> bool:
        """Look up at most so many changed buckets (about 1 us each); True when the new snapshot is the current one.

        Raises StoreError; the current snapshot stays then, and the next begin_refresh() starts anew.
        """
        refresh = self._refreshing
        if refresh is None:
            return True
        self._guarded(partial(self._look_up, buckets_max=buckets_max), refresh)
        if refresh.lists:
            return False
        refresh.directory.version = refresh.meta.version
        self._refreshing = None
        previous = self._now
        self._current = self._snapshot(refresh.directory, refresh.meta, refresh.transaction)
        self.meta = refresh.meta
        previous.retire()
        return True

    def _look_up(self, refresh: _Refresh, buckets_max: int | None) -> None:
        left = buckets_max
        while refresh.lists and left != 0:
            changed = refresh.lists[0]
            stop = len(changed) if left is None else min(len(changed), refresh.place + left)
            refresh.directory.replace(refresh.transaction, self._pointed, changed[refresh.place : stop])
            if left is not None:
                left -= stop - refresh.place
            refresh.place = stop
            if stop == len(changed):
                del refresh.lists[0]
                refresh.place = 0

    def warm(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Bring the whole file into memory and map it (map_whole), and every block, before the first question."""
        map_whole(self.directory / "data.mdb", progress)
        with self.pin() as snapshot:
            snapshot.directory.touch(0, snapshot.directory.buckets)

    @property
    def file_bytes(self) -> int:
        """Length of the register's file now."""
        return (self.directory / "data.mdb").stat().st_size

    def lock_in_memory(self) -> int:
        """Keep the file's pages in memory, those that it has gained since the last call too; bytes locked in all.

        Otherwise the kernel may take pages that nobody has read for a while. Raises OSError when it refuses, which
        leaves what is locked as it is: each process needs RLIMIT_MEMLOCK above the whole file's length.
        """
        size = self.file_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if size > self._locked_bytes and (start := mapped_at(self.directory / "data.mdb")) is not None:
            lock_addresses(start + self._locked_bytes, size - self._locked_bytes)
            self._locked_bytes = size
        return self._locked_bytes

    @contextlib.contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """A short transaction of its own on what is committed now, for any thread. Raises StoreError."""
        with self._begin() as transaction:
            yield transaction

    def self_check(self, places: list[int]) -> list[int]:
        """Those of ``places`` whose pointer in the current directory is not where the store says; empty is well.

        Places below ``buckets`` are those of the resident table; the identity index's follow.
        """
        with self.pin() as snapshot:
            transaction = snapshot.transaction
            if transaction is None:
                raise StoreError("the current snapshot has ended")
            directory, pointed = snapshot.directory, self._pointed
            found = []
            for place in places:
                table = bisect_right(directory.starts, place) - 1
                name = schema.NUMBER.pack(place - directory.starts[table])
                if directory.differs(place, transaction.get(name, None, pointed[table])):
                    found.append(place)
            return found

    def close(self) -> None:
        """End the current snapshot and close the environment. Pins must have been released."""
        if self._refreshing is not None:
            self._give_up(self._refreshing)
        if self._current is not None:
            if self._current.pins:
                raise StoreError("the register is closed while a request reads it")
            self._current.retire()
        self._close_environment()

    def _close_environment(self) -> None:
        if self._owns_environment:
            self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
