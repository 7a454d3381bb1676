"""The store of cohorts: an LMDB environment of its own, in which registrations take over whole (docs/cohorts.md).

Theory of operation. A cohort's codes lie under a *generation*, a number used once. A registration writes its chunks
under a generation of its own, each in a durable transaction; the last chunk makes it the cohort's generation and the
old one is *retired*. Members of retired generations are removed afterwards in bounded steps. So readers see the old
cohort or the new one, and a registration that was broken off leaves values that nothing refers to until they are
retired as well.

Several processes write in turn under LMDB's writer lock. A transaction lives in one call.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.cohort import cohort_kernel as kernel
from jukinet.core.cohort.errors import CohortError, CohortLimitError, CohortStoreError
from jukinet.core.store import schema

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT: Final = 1
MAP_BYTES: Final = 1 << 38
READERS_MAX: Final = 512
REMOVED_PER_STEP: Final = 4_096
"""Values of retired generations removed in one transaction: about 10 ms."""
BROKEN_OFF_SECONDS: Final = 3_600
_DESCRIPTION: Final = b"description"
_Kept = TypeVar("_Kept", bound=msgspec.Struct)


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """A registration under way; touched: seconds since 1970."""

    generation: int
    count: int
    cursor: int
    last_key: int
    touched: int


class Cohort(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a cohort beside its codes. generation 0: none is complete yet. cursor: where asking begins."""

    generation: int = 0
    count: int = 0
    cursor: int = 0
    register: str = ""
    registered_date: int = 0
    loading: Loading | None = None


class _Description(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    generation_next: int


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a chunk of a registration came to: codes stored so far, and the generation that the next chunk names."""

    count: int
    cursor: int
    generation: int


class CohortStore:
    """Cohorts opened for reading and writing. Raises CohortStoreError.

    An ``owner`` is ``role/body/affair``; a name is 1 to 32 characters of a-z, 0-9 and '-'.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._environment = lmdb.open(
                str(self.directory), map_size=MAP_BYTES, max_dbs=4, max_readers=READERS_MAX, mode=0o600
            )
            self._environment.reader_check()  # slots of processes that were killed would keep old pages
            self._descriptions = self._environment.open_db(b"description")
            self._cohorts = self._environment.open_db(b"cohorts")
            self._members = self._environment.open_db(b"members", integerkey=True)
            self._retired = self._environment.open_db(b"retired", integerkey=True)
            with self._writing() as transaction:
                self._describe(transaction)
        except (lmdb.Error, OSError) as error:
            raise CohortStoreError(f"{self.directory}: the cohorts cannot be opened: {error}") from error

    # Reading -------------------------------------------------------------------------------------------------------

    def find(self, owner: str, name: str) -> Cohort | None:
        """A cohort, complete or under way; None when there is none."""
        with self._reading() as transaction:
            return self._find(transaction, owner, name)

    def listed(self, owner: str) -> list[tuple[str, Cohort]]:
        """The cohorts of an owner by name."""
        prefix = owner.encode() + b"\0"
        with self._reading() as transaction:
            return [(key[len(prefix) :].decode(), cohort) for key, cohort in self._under(transaction, prefix)]

    @contextlib.contextmanager
    def reading(self, owner: str, name: str) -> Iterator[CohortMembers]:
        """The members of a complete cohort in one short transaction. CohortError when there is none."""
        with self._reading() as transaction:
            cohort = self._find(transaction, owner, name)
            if cohort is None or not cohort.generation:
                raise CohortError("no such cohort is registered for this affair")
            yield CohortMembers(transaction, self._members, cohort)

    # Writing -------------------------------------------------------------------------------------------------------

    def put(
        self,
        owner: str,
        name: str,
        codes: Buffer,
        *,
        begin: bool,
        end: bool,
        generation: int,
        register: str,
        cursor: int,
        today: int,
        now: int,
        cohorts_max: int,
        codes_max: int,
    ) -> Stored:
        """Store the next chunk of a registration; with ``begin`` the first, with ``end`` the last.

        codes: u64, strictly ascending over all chunks. generation: what the chunk before answered (not with begin).
        register, cursor: the register's identifier and its journal's end now; today: decimal date; now: seconds since
        1970.
        Raises CohortError (not ascending, not under way), CohortLimitError, CohortStoreError; nothing was stored then.
        """
        try:
            keys = kernel.keys_of(codes)
        except ValueError as error:
            raise CohortError(str(error)) from None
        with self._writing() as transaction:
            cohort = self._find(transaction, owner, name)
            if begin:
                loading = self._begin(transaction, owner, name, cursor, now, cohorts_max)
            else:
                if cohort is None or cohort.loading is None or cohort.loading.generation != generation:
                    raise CohortError("this registration is not under way; begin it anew")
                loading = cohort.loading
            count = loading.count + len(keys) // 8
            if count > codes_max:
                raise CohortLimitError(f"a cohort has at most {codes_max:,} codes")
            last_key = self._append(transaction, loading, keys)
            loading = msgspec.structs.replace(loading, count=count, last_key=last_key, touched=now)
            cohort = msgspec.structs.replace(cohort or Cohort(), loading=loading)
            if end:
                if cohort.generation:
                    self._retire(transaction, cohort.generation)
                cohort = Cohort(
                    generation=loading.generation,
                    count=count,
                    cursor=loading.cursor,
                    register=register,
                    registered_date=today,
                )
            self._store(transaction, _name(owner, name), cohort)
        if begin or end:
            self.remove_retired()
        return Stored(count=count, cursor=loading.cursor, generation=loading.generation)

    def drop(self, owner: str, name: str) -> bool:
        """Remove a cohort and what of it is under way; whether there was one."""
        with self._writing() as transaction:
            cohort = self._find(transaction, owner, name)
            if cohort is None:
                return False
            for generation in (cohort.generation, cohort.loading.generation if cohort.loading else 0):
                if generation:
                    self._retire(transaction, generation)
            transaction.delete(_name(owner, name), db=self._cohorts)
        self.remove_retired()
        return True

    def remove_retired(self) -> None:
        """Remove the members of retired generations, some in each transaction so that others may write in between."""
        while self._remove_some():
            pass

    def _remove_some(self) -> bool:
        with self._writing() as transaction, transaction.cursor(db=self._retired) as retired:
            if not retired.first():
                return False
            (generation,) = schema.NUMBER.unpack(retired.key())
            stop = schema.NUMBER.pack((generation + 1) << 32)
            with transaction.cursor(db=self._members) as cursor:
                left = cursor.set_range(schema.NUMBER.pack(generation << 32))
                for _ in range(REMOVED_PER_STEP):
                    if not left or _number(cursor.key()) >= _number(stop):
                        retired.delete()
                        return True
                    left = cursor.delete() and bool(cursor.key())
        return True

    def _begin(
        self, transaction: lmdb.Transaction, owner: str, name: str, cursor: int, now: int, cohorts_max: int
    ) -> Loading:
        """A new registration; an earlier one of this cohort, and broken-off ones of the body, are retired."""
        own = _name(owner, name)
        cohorts = dict(self._under(transaction, owner.rsplit("/", 1)[0].encode() + b"/"))
        if own not in cohorts and len(cohorts) >= cohorts_max:
            raise CohortLimitError(f"a body has at most {cohorts_max:,} cohorts")
        for key, cohort in cohorts.items():
            loading = cohort.loading
            if loading is not None and (key == own or now - loading.touched > BROKEN_OFF_SECONDS):
                self._retire(transaction, loading.generation)
                self._store(transaction, key, msgspec.structs.replace(cohort, loading=None))
        description = self._describe(transaction)
        generation = description.generation_next
        self._put_description(transaction, msgspec.structs.replace(description, generation_next=generation + 1))
        return Loading(generation=generation, count=0, cursor=cursor, last_key=-1, touched=now)

    def _append(self, transaction: lmdb.Transaction, loading: Loading, keys: bytes) -> int:
        """Put the keys behind those of the registration; the last key. A range that has some already is joined."""
        if not keys:
            return loading.last_key
        first, last = _number(keys[:8]), _number(keys[-8:])
        if first <= loading.last_key:
            raise CohortError("codes ascend strictly over all chunks of a registration")
        number = first // kernel.RANGE_KEYS
        if number == loading.last_key // kernel.RANGE_KEYS:
            present = transaction.get(_member_name(loading.generation, number), db=self._members)
            keys = (b"" if present is None else kernel.decode_range(present, number)) + keys
        for number, value in kernel.encode_ranges(keys):
            transaction.put(_member_name(loading.generation, number), value, db=self._members)
        return last

    # Inside a transaction ------------------------------------------------------------------------------------------

    def _find(self, transaction: lmdb.Transaction, owner: str, name: str) -> Cohort | None:
        value = transaction.get(_name(owner, name), db=self._cohorts)
        return None if value is None else _decode(value, Cohort)

    def _under(self, transaction: lmdb.Transaction, prefix: bytes) -> Iterator[tuple[bytes, Cohort]]:
        with transaction.cursor(db=self._cohorts) as cursor:
            more = cursor.set_range(prefix)
            while more and bytes(cursor.key()).startswith(prefix):
                yield bytes(cursor.key()), _decode(cursor.value(), Cohort)
                more = cursor.next()

    def _store(self, transaction: lmdb.Transaction, key: bytes, cohort: Cohort) -> None:
        """Keep a cohort; one that was never complete and is under way no longer is none."""
        if cohort.generation or cohort.loading is not None:
            transaction.put(key, schema.seal(msgspec.msgpack.encode(cohort)), db=self._cohorts)
        else:
            transaction.delete(key, db=self._cohorts)

    def _retire(self, transaction: lmdb.Transaction, generation: int) -> None:
        transaction.put(schema.NUMBER.pack(generation), b"-", db=self._retired)

    def _describe(self, transaction: lmdb.Transaction) -> _Description:
        value = transaction.get(_DESCRIPTION, db=self._descriptions)
        if value is None:
            description = _Description(format=FORMAT, generation_next=1)
            self._put_description(transaction, description)
            return description
        description = _decode(value, _Description)
        if description.format != FORMAT:
            raise CohortStoreError(f"{self.directory}: cohorts of format {description.format}; known is {FORMAT}")
        return description

    def _put_description(self, transaction: lmdb.Transaction, description: _Description) -> None:
        transaction.put(_DESCRIPTION, schema.seal(msgspec.msgpack.encode(description)), db=self._descriptions)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[lmdb.Transaction]:
        try:
            with self._environment.begin(write=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise CohortStoreError(f"{self.directory}: the cohorts cannot be written: {error}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction]:
        try:
            with self._environment.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise CohortStoreError(f"{self.directory}: the cohorts cannot be read: {error}") from error

    def close(self) -> None:
        self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class CohortMembers:
    """The codes of one complete cohort inside a transaction."""

    def __init__(self, transaction: lmdb.Transaction, database: lmdb._Database, cohort: Cohort) -> None:
        self.cohort = cohort
        self._transaction = transaction
        self._database = database

    def among(self, keys: Buffer) -> bytes:
        """Those of ``keys`` (u64, ascending) that are members, as bytes of u64."""
        get: Callable[[bytes], Buffer | None] = self._get
        return kernel.members(keys, self.cohort.generation, get)

    def _get(self, name: bytes) -> Buffer | None:
        found: Buffer | None = self._transaction.get(name, None, self._database)
        return found

    def between(self, first_key: int, stop_key: int) -> Iterator[array[int]]:
        """Members with keys in [first_key, stop_key), ascending, an array ('Q') for each range that has some."""
        generation = self.cohort.generation
        stop = min(stop_key, limits.RESIDENT_KEYS)
        with self._transaction.cursor(db=self._database) as cursor:
            more = cursor.set_range(_member_name(generation, first_key // kernel.RANGE_KEYS))
            while more:
                name = _number(cursor.key())
                number = name & 0xFFFF_FFFF
                if name >> 32 != generation or number * kernel.RANGE_KEYS >= stop:
                    return
                keys = array("Q", kernel.decode_range(cursor.value(), number))
                if number == first_key // kernel.RANGE_KEYS or (number + 1) * kernel.RANGE_KEYS > stop:
                    keys = array("Q", [key for key in keys if first_key <= key < stop])
                yield keys
                more = cursor.next()


def _name(owner: str, name: str) -> bytes:
    return owner.encode() + b"\0" + name.encode()


def _member_name(generation: int, number: int) -> bytes:
    return schema.NUMBER.pack(generation << 32 | number)


def _number(packed: Buffer) -> int:
    return int(schema.NUMBER.unpack(packed)[0])


def _decode(value: Buffer, kind: type[_Kept]) -> _Kept:
    try:
        return msgspec.msgpack.decode(schema.unseal(value, "a value of the cohorts"), type=kind)
    except msgspec.MsgspecError as error:
        raise CohortStoreError(f"the cohorts cannot be read: {error}") from error
