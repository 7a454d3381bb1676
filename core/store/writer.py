"""Changing a register: transactions that rewrite whole blocks and leave the list of what they rewrote.

One process writes; LMDB's writer lock keeps a second one waiting. A transaction is visible to readers when it is
committed, wholly or not at all, and durable when commit() returns.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.feed import history
from jukinet.core.feed.contribution import persons_of
from jukinet.core.feed.holdings import Entry, HoldingsDelta
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.identity.layout import TABLES
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block, schema
from jukinet.core.store.extent import fill_up
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.schema import Town
from jukinet.core.store.snapshot import PlaceTables

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHANGES_PER_TRANSACTION_MAX = 100_000
"""Each changed block is about 4 KB of memory until the commit."""


class RegisterWriter:
    """A register opened for changing. Raises what RegisterReader raises."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        schema.open_environment(self.directory, readonly=True).close()
        self._environment = schema.open_environment(self.directory, readonly=False)
        try:
            self.databases = schema.open_databases(self._environment, self.directory)
            with self._environment.begin() as transaction:
                meta = schema.read_meta(transaction, self.databases["meta"], self.directory)
                self.areas = schema.read_areas(transaction, self.databases["areas"], meta, self.directory)
                self.towns = schema.read_towns(transaction, self.databases["towns"], meta, self.directory)
                layout = schema.read_layout(transaction, self.databases["meta"], self.directory)
            self.places = PlaceTables(self.areas, self.towns)
            self.layout = EntryLayout(layout)
            residents = -(-limits.RESIDENT_KEYS // meta.width)
            self.table_starts = list(accumulate(layout.buckets[:-1], initial=residents))
            """The first place of each table of the identity index, in change lists."""
        except StoreError:
            self._environment.close()
            raise

    def add_towns(self, towns: list[Town]) -> None:
        """Called when new towns have been committed."""
        self.towns = self.towns + towns
        self.places = PlaceTables(self.areas, self.towns)

    def transaction(self) -> ChangeTransaction:
        """Begin a transaction; it belongs to this thread until commit() or the end of its context."""
        try:
            return ChangeTransaction(self, self._environment.begin(write=True, buffers=True))
        except lmdb.Error as error:
            raise StoreError(f"{self.directory}: cannot begin a transaction: {error}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """A short transaction that reads what is committed; StoreError when there is none to be had."""
        try:
            with self._environment.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise StoreError(f"{self.directory}: the register cannot be read: {error}") from error

    def database_beside(self, name: str) -> lmdb._Database:
        """A database with u64 keys beside the register's own, made when it is not there. StoreError."""
        try:
            return self._environment.open_db(name.encode(), integerkey=True, create=True)
        except lmdb.Error as error:
            raise StoreError(f"{self.directory}: cannot open its {name}: {error}") from error

    def reader(self) -> RegisterReader:
        """A reader in the same process; it must be closed before the writer."""
        return RegisterReader(self.directory, environment=self._environment)

    def close(self) -> None:
        """Close the environment; a transaction under way is lost."""
        self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class ChangeTransaction:
    """Changes that take effect together. Leaving the context without commit() undoes all.

    Invariant: what get() returns is what a reader would see if commit() were called now.
    """

    def __init__(self, writer: RegisterWriter, transaction: lmdb.Transaction) -> None:
        self._writer = writer
        self._transaction: lmdb.Transaction | None = transaction
        self.meta = schema.read_meta(transaction, writer.databases["meta"], writer.directory)
        self._changes: dict[int, Entry | None] = {}
        self._before: dict[int, Entry | None] = {}
        self._new_towns: list[Town] = []
        self._rewritten: set[int] = set()

    def _open(self) -> lmdb.Transaction:
        if self._transaction is None:
            raise StoreError("the transaction has ended")
        return self._transaction

    def get(self, key: int) -> Resident | None:
        """The entry of a key as this transaction sees it."""
        found = self._changes[key] if key in self._changes else self.stored(key)
        return None if found is None else record.decode(key, *found)

    def stored(self, key: int) -> Entry | None:
        """The entry of a key in its block, without what was put here since: its status and the bytes of its record."""
        bucket, delta = divmod(key, self.meta.width)
        present = self._open().get(schema.NUMBER.pack(bucket), None, self._writer.databases["residents"])
        return None if present is None else block.find(present, delta)

    def stored_block(self, bucket: int) -> Buffer | None:
        """The block of a bucket, without what was put into it one by one since; None when there is none."""
        return self._open().get(schema.NUMBER.pack(bucket), None, self._writer.databases["residents"])

    def keys_of_bucket(self, bucket: int) -> list[int]:
        """Keys of the entries in the bucket's block, without what was put here since."""
        present = self._open().get(schema.NUMBER.pack(bucket), None, self._writer.databases["residents"])
        if present is None:
            return []
        return [bucket * self.meta.width + entry[0] for entry in block.decode(present)]

    @property
    def handle(self) -> lmdb.Transaction:
        """LMDB's transaction, for those who write other tables in it."""
        return self._open()

    def put(self, resident: Resident) -> None:
        """Add or replace an entry. RecordFormatError: a field does not fit. StoreError: past a limit."""
        self._open()
        self._limit(resident.key)
        if resident.area >= self.meta.areas or resident.town > self.meta.towns + len(self._new_towns):
            raise StoreError("the entry names an area or town that the register does not have")
        self._set(resident.key, record.encode(resident))

    def put_entry(self, key: int, before: Entry | None, after: Entry | None) -> None:
        """Replace an entry (None: there is none) by encoded ones that the caller knows to be right."""
        self._limit(key)
        self._before.setdefault(key, before)
        self._changes[key] = after

    def put_block(self, bucket: int, block: bytes) -> None:
        """Write a whole block at once: entries of it that were put or removed one by one are merged at the commit."""
        self._open().put(schema.NUMBER.pack(bucket), block, db=self._writer.databases["residents"])
        self._rewritten.add(bucket)

    def note_blocks(self, buckets: Iterable[int]) -> None:
        """Remember blocks that a caller wrote whole, through ``handle``, as put_block() does."""
        self._rewritten.update(buckets)

    def count_entries(self, entries: int, persons: int) -> None:
        """Add to the register's counts what blocks written whole have more than those before."""
        self.meta = msgspec.structs.replace(
            self.meta, entries=self.meta.entries + entries, residents=self.meta.residents + persons
        )

    def _set(self, key: int, after: Entry | None) -> None:
        self.put_entry(key, None if key in self._before else self.stored(key), after)

    def remove(self, key: int) -> None:
        """Take an entry away wholly, as the end of its retention demands. No entry, no effect."""
        self._open()
        self._limit(key)
        self._set(key, None)

    def _limit(self, key: int) -> None:
        if not 0 <= key < limits.RESIDENT_KEYS:
            raise StoreError("a key has at most ten digits")
        if len(self._changes) >= CHANGES_PER_TRANSACTION_MAX and key not in self._changes:
            raise StoreError(
                f"a transaction takes at most {CHANGES_PER_TRANSACTION_MAX} changes; commit and begin anew"
            )

    def add_town(self, area: int, text: str) -> int:
        """Append a town and return its number, to be used by entries of the same or later transactions."""
        self._open()
        if not 0 <= area < self.meta.areas or len(text.encode()) > limits.TOWN_BYTES_MAX:
            raise StoreError("a town needs an area of the register and a text of at most 255 bytes")
        if self.meta.towns + len(self._new_towns) >= limits.TOWNS_MAX:
            raise StoreError("the towns table is full")
        self._new_towns.append(Town(area, text))
        return self.meta.towns + len(self._new_towns)

    def commit(
        self,
        *,
        holdings: HoldingsDelta | None = None,
        identity: IdentityChanges | None = None,
        identity_blocks_max: int | None = None,
        always: bool = False,
    ) -> int:
        """Write all changes durably; returns the register's new version (the old one when nothing changed).

        holdings and identity: what the changes do to the digests and to the identity index, when the caller has it
        already. identity_blocks_max: write so many of the index's blocks, and leave the rest in ``identity``. always:
        there is something to commit even when no entry changed. Raises StoreError when the disk is full or fails; then
        nothing was changed.
        """
        transaction = self._open()
        if not self._changes and not self._new_towns and not self._rewritten and not always:
            self.abort()
            return self.meta.version
        try:
            (holdings or self._holdings()).write(transaction, self._writer.databases)
            version = self._write(transaction, self._identity() if identity is None else identity, identity_blocks_max)
            transaction.commit()
            with contextlib.suppress(OSError):  # the change stands; without it a register that is opened is walked
                fill_up(self._writer._environment, self._writer.directory)
        except lmdb.Error as error:
            self.abort()
            raise StoreError(f"{self._writer.directory}: the change could not be written: {error}") from error
        except BaseException:
            self.abort()
            raise
        self._transaction = None
        if self._new_towns:
            self._writer.add_towns(self._new_towns)
        return version

    def _holdings(self) -> HoldingsDelta:
        """What the changes do to the digests."""
        writer = self._writer
        places = PlaceTables(writer.areas, writer.towns + self._new_towns) if self._new_towns else writer.places
        delta = HoldingsDelta(places)
        for key, after in self._changes.items():
            delta.change_encoded(key, self._before[key], after)
        return delta

    def _identity(self) -> IdentityChanges:
        """What the changes do to the identity index; the history of the keys stays as it is."""
        changes = IdentityChanges(self._writer.layout)
        for key, after in self._changes.items():
            bucket, delta = divmod(key, self.meta.width)
            value = self._open().get(schema.NUMBER.pack(bucket), None, self._writer.databases["history"])
            kept = () if value is None else history.of_key(value, bucket, delta)
            earlier = [(standing, data) for standing, _, _, data in kept]
            changes.change(key, persons_of(self._before[key], earlier), persons_of(after, earlier))
        return changes

    def _write(self, transaction: lmdb.Transaction, identity: IdentityChanges, identity_blocks_max: int | None) -> int:
        databases = self._writer.databases
        meta = self.meta
        entries, persons = meta.entries, meta.residents
        rewritten = self._rewritten
        for bucket, keys in groupby(sorted(self._changes), key=lambda key: key // meta.width):
            name = schema.NUMBER.pack(bucket)
            present = transaction.get(name, None, databases["residents"])
            changes = [(key - bucket * meta.width, *(self._changes[key] or (0, None))) for key in keys]
            merged, more_entries, more_persons = block.merge(present, bucket, meta.wide, changes)
            entries += more_entries
            persons += more_persons
            if merged is not None:
                transaction.put(name, merged, db=databases["residents"])
            elif present is not None:
                transaction.delete(name, db=databases["residents"])
            rewritten.add(bucket)
        self._write_towns(transaction)
        version = meta.version + 1
        tables = [databases[name] for name in TABLES]
        places = identity.write(transaction, tables, self._writer.table_starts, identity_blocks_max)
        changed = array("I", [*sorted(rewritten), *places])
        transaction.put(schema.NUMBER.pack(version), changed.tobytes(), append=True, db=databases["changes"])
        self._trim(transaction, version)
        described = msgspec.structs.replace(
            meta, entries=entries, residents=persons, version=version, towns=meta.towns + len(self._new_towns)
        )
        transaction.put(schema.META_KEY, schema.pack_meta(described), db=databases["meta"])
        return version

    def _write_towns(self, transaction: lmdb.Transaction) -> None:
        """Add the new towns to the last page and to pages after it."""
        databases = self._writer.databases
        number = self.meta.towns // schema.TOWNS_PER_PAGE
        pending = self._new_towns
        while pending:
            page = transaction.get(schema.NUMBER.pack(number), None, databases["towns"])
            towns = [] if page is None else schema.unpack_towns(page)
            if len(towns) != min(schema.TOWNS_PER_PAGE, max(0, self.meta.towns - number * schema.TOWNS_PER_PAGE)):
                raise StoreCorruptError("the towns table does not have the rows that the register says")
            room = schema.TOWNS_PER_PAGE - len(towns)
            packed = schema.pack_towns(towns + pending[:room])
            transaction.put(schema.NUMBER.pack(number), packed, db=databases["towns"])
            pending = pending[room:]
            number += 1

    def _trim(self, transaction: lmdb.Transaction, version: int) -> None:
        oldest_kept = version - limits.CHANGES_KEPT_TRANSACTIONS + 1
        with transaction.cursor(db=self._writer.databases["changes"]) as cursor:
            while cursor.first() and schema.NUMBER.unpack(cursor.key())[0] < oldest_kept:
                cursor.delete()

    def abort(self) -> None:
        """Undo everything; no effect when the transaction has ended."""
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()
