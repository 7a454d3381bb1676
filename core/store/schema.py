"""Names, structures and constants of the register's LMDB environment (docs/store-format.md, sections 1 and 2)."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.checksum import crc32c
from jukinet.core.errors import StoreCorruptError, StoreError, StoreIncompleteError
from jukinet.core.identity.layout import TABLES, IdentityLayout, pack_layout, unpack_layout
from jukinet.core.store.extent import refuse_cut_off

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT: Final = 4
MAP_BYTES: Final = 1 << 40
"""Address space reserved once; the file grows only with its content."""
READERS_MAX: Final = 512
DATABASES_MAX: Final = 32
BUILDING_SUFFIX: Final = ".building"
REPLACED_SUFFIX: Final = ".replaced"

DATABASES: Final = (
    "meta", "areas", "towns", "residents", "changes",
    "history", "journal", "feeds", "quarantine", "holdings", "digests",
    "by_kana", "by_name", "by_date",
)  # fmt: skip
"""Every database of a register; all but ``meta`` have u64 keys."""
NOTICE_DATABASES: Final = ("notices", "notices_open", "notices_closed", "notice_names")
"""Beside the register: there once it was opened for its feeds. u64 keys as well."""
META_KEY: Final = b"description"
LAYOUT_KEY: Final = b"identity"
POINTED_DATABASES: Final = ("residents", *TABLES)
"""Tables of blocks that readers keep pointers to, in the order of a directory's places and of change lists."""
TOWNS_PER_PAGE: Final = 1_024

CHECKSUM: Final = struct.Struct("<I")
NUMBER: Final = struct.Struct("<Q")
"""Keys of integer databases: u64 in the machine's order, which is little-endian on every supported machine."""


class Area(msgspec.Struct, frozen=True, array_like=True):
    """One municipality or ward: JIS X 0402 five-digit number, full name, reading, whether it feeds this register."""

    jis: int
    name: str
    kana: str
    connected: bool


class Town(msgspec.Struct, frozen=True, array_like=True):
    """The part of an address that many residents share: area number (position in the areas table) and text."""

    area: int
    text: str


class PurgePlace(msgspec.Struct, frozen=True):
    """A purge under way: rule (core.law.retention), the day it judges by, and the key that it goes on with.

    key is limits.RESIDENT_KEYS when all records have been looked at, and the journal remains.
    """

    rule: int
    day: int
    key: int


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The one map under ``description`` in the ``meta`` database.

    journal_first and journal_next: national orders that the journal's first entry and its next one begin with.
    newest_day: the newest day, in days since 2000-01-01, on which a feed's transaction was committed; 0 before any.
    purge: where a purge stands that has not come to its end. purged_day: the day by which the last whole one judged.
    """

    format: int
    identifier: str
    state: str
    width: int
    wide: bool
    entries: int
    residents: int
    version: int
    areas: int
    towns: int
    origin: dict[str, Any]
    journal_next: int = 1
    newest_day: int = 0
    journal_first: int = 1
    purge: PurgePlace | None = None
    purged_day: int = 0


class _FormatOnly(msgspec.Struct, frozen=True):
    """What every format's description has, read before anything else is expected of it."""

    format: int


def bucket_width(expected_entries: int) -> int:
    """Width for about RESIDENTS_PER_BLOCK entries a bucket, so that a block of average records fills its page."""
    buckets = max(1, round(expected_entries / limits.RESIDENTS_PER_BLOCK))
    return max(2, min(-(-limits.RESIDENT_KEYS // buckets), limits.BUCKET_WIDTH_MAX))


def is_wide(width: int) -> bool:
    """Whether deltas need more than 16 bits."""
    return width > 65_536


def open_environment(directory: Path, *, readonly: bool, sync: bool = True) -> lmdb.Environment:
    """Open the environment in ``directory``; StoreError names the directory and what to do."""
    if readonly and not (directory / "data.mdb").exists():
        if (directory.parent / (directory.name + REPLACED_SUFFIX)).exists():
            raise StoreError(
                f"{directory}: no register here, but one that was being replaced is in {directory}{REPLACED_SUFFIX}; "
                "rename it back, or build again"
            )
        if (directory.parent / (directory.name + BUILDING_SUFFIX)).exists():
            raise StoreIncompleteError(
                f"{directory}: a build never finished (its remains are in {directory}{BUILDING_SUFFIX}); build again"
            )
        raise StoreError(f"{directory}: no register here; build one or name the right directory")
    try:
        environment = lmdb.open(
            str(directory),
            map_size=MAP_BYTES,
            max_dbs=DATABASES_MAX,
            max_readers=READERS_MAX,
            readonly=readonly,
            create=not readonly,
            mode=0o600,
            sync=sync,
            metasync=sync,
            readahead=False,
        )
    except lmdb.Error as error:
        raise StoreError(f"{directory}: the register cannot be opened: {error}") from error
    if readonly:
        try:
            refuse_cut_off(environment, directory)
        except lmdb.Error as error:
            environment.close()
            raise StoreError(f"{directory}: the register cannot be opened: {error}") from error
        except StoreError:
            environment.close()
            raise
    return environment


def read_meta(transaction: lmdb.Transaction, database: lmdb._Database, directory: Path) -> Meta:
    """The register's description; StoreIncompleteError for a broken-off build, StoreCorruptError when unreadable."""
    try:
        packed = transaction.get(META_KEY, db=database)
    except lmdb.Error as error:
        raise StoreError(f"{directory}: the register cannot be read: {error}") from error
    if packed is None:
        raise StoreIncompleteError(f"{directory}: holds no finished register; build again")
    try:
        content = unseal(packed, f"{directory}: the register's description")
        found = msgspec.msgpack.decode(content, type=_FormatOnly).format
        if found != FORMAT:
            raise StoreError(
                f"{directory}: store format {found}; this program knows format {FORMAT}: build the register anew with "
                "this program, or read it with the one that built it"
            )
        meta = msgspec.msgpack.decode(content, type=Meta)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"{directory}: the register's description cannot be read: {error}") from error
    if meta.state != "complete":
        raise StoreIncompleteError(f"{directory}: a build never finished; build again")
    if not 1 < meta.width <= limits.BUCKET_WIDTH_MAX or meta.wide != is_wide(meta.width):
        raise StoreCorruptError(f"{directory}: the bucket width is out of range")
    return meta


def read_layout(transaction: lmdb.Transaction, database: lmdb._Database, directory: Path) -> IdentityLayout:
    """The layout of the identity index; StoreCorruptError when it is damaged, StoreError for other folding rules."""
    packed = transaction.get(LAYOUT_KEY, db=database)
    if packed is None:
        raise StoreCorruptError(f"{directory}: the layout of the identity index is missing")
    return unpack_layout(unseal(packed, f"{directory}: the layout of the identity index"), directory)


def write_layout(transaction: lmdb.Transaction, database: lmdb._Database, layout: IdentityLayout) -> None:
    """Store the layout; once, when the register is made."""
    transaction.put(LAYOUT_KEY, seal(pack_layout(layout)), db=database)


def open_database(
    environment: lmdb.Environment,
    name: bytes,
    *,
    integer: bool,
    transaction: lmdb.Transaction | None = None,
    create: bool,
) -> lmdb._Database:
    """One named database; StoreCorruptError when a finished register lacks it."""
    try:
        return environment.open_db(name, txn=transaction, integerkey=integer, create=create)
    except lmdb.NotFoundError as error:
        raise StoreCorruptError(f"the register lacks its {name.decode()} database") from error


def open_databases(environment: lmdb.Environment, directory: Path) -> dict[str, lmdb._Database]:
    """All databases of a finished register by name, those of notices where there are any.

    The description comes first: another format has other databases.
    """
    meta = open_database(environment, b"meta", integer=False, create=False)
    with environment.begin() as transaction:
        read_meta(transaction, meta, directory)
    opened = {"meta": meta}
    for name in DATABASES[1:]:
        opened[name] = open_database(environment, name.encode(), integer=True, create=False)
    with contextlib.suppress(StoreCorruptError):  # a register that was never fed has none of them
        opened |= {
            name: open_database(environment, name.encode(), integer=True, create=False) for name in NOTICE_DATABASES
        }
    return opened


def read_areas(transaction: lmdb.Transaction, database: lmdb._Database, meta: Meta, directory: Path) -> list[Area]:
    """The whole areas table; StoreCorruptError when its length is not what the description says."""
    with transaction.cursor(db=database) as cursor:
        areas = [unpack_area(value) for value in cursor.iternext(keys=False)]
    if len(areas) != meta.areas:
        raise StoreCorruptError(f"{directory}: the areas table has {len(areas)} rows instead of {meta.areas}")
    return areas


def read_towns(transaction: lmdb.Transaction, database: lmdb._Database, meta: Meta, directory: Path) -> list[Town]:
    """The whole towns table; StoreCorruptError when its length is not what the description says."""
    towns: list[Town] = []
    with transaction.cursor(db=database) as cursor:
        for value in cursor.iternext(keys=False):
            towns += unpack_towns(value)
    if len(towns) != meta.towns:
        raise StoreCorruptError(f"{directory}: the towns table has {len(towns)} rows instead of {meta.towns}")
    return towns


def seal(content: bytes) -> bytes:
    """A value with the CRC-32C of its content behind it: the tables that are not blocks carry one for each value."""
    return content + CHECKSUM.pack(crc32c(content))


def unseal(value: Buffer, what: str) -> bytes:
    """The content of a sealed value; StoreCorruptError names ``what`` when its checksum does not hold."""
    sealed = bytes(value)
    content = sealed[: -CHECKSUM.size]
    if len(sealed) < CHECKSUM.size or CHECKSUM.unpack(sealed[-CHECKSUM.size :])[0] != crc32c(content):
        raise StoreCorruptError(f"{what} is damaged: its checksum does not hold")
    return content


def pack_area(area: Area) -> bytes:
    """One value of the areas database."""
    return seal(msgspec.msgpack.encode(area))


def unpack_area(value: Buffer) -> Area:
    """The area of one value; StoreCorruptError when it is damaged."""
    try:
        return msgspec.msgpack.decode(unseal(value, "a row of the areas table"), type=Area)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"the areas table cannot be read: {error}") from error


def pack_meta(meta: Meta) -> bytes:
    """The value under META_KEY."""
    return seal(msgspec.msgpack.encode(meta))


def pack_towns(towns: list[Town]) -> bytes:
    """One page of the towns database: at most TOWNS_PER_PAGE towns."""
    texts = [town.text.encode() for town in towns]
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    count = len(towns)
    head = struct.pack(f"<I{count}H{count + 1}I", count, *[town.area for town in towns], *offsets)
    return seal(head + b"".join(texts))


def unpack_towns(value: Buffer) -> list[Town]:
    """The towns of one page; StoreCorruptError when it is damaged."""
    page = unseal(value, "a page of the towns table")
    try:
        (count,) = struct.unpack_from("<I", page)
        areas = struct.unpack_from(f"<{count}H", page, 4)
        offsets = struct.unpack_from(f"<{count + 1}I", page, 4 + 2 * count)
        start = 4 + 2 * count + 4 * (count + 1)
        if count > TOWNS_PER_PAGE or start + offsets[-1] != len(page) or list(offsets) != sorted(offsets):
            raise StoreCorruptError("a page of the towns table contradicts its own lengths")
        return [Town(areas[i], page[start + offsets[i] : start + offsets[i + 1]].decode()) for i in range(count)]
    except (struct.error, UnicodeDecodeError) as error:
        raise StoreCorruptError("a page of the towns table cannot be read") from error
