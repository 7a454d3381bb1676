"""Digests of holdings as stored: what a transaction changes in them, and reading them (docs/store-format.md).

A prefecture's holdings are its current entries and the codes that it retired. Their digest is how many they are and
the sum of their hashes, so it says the same in whatever order they came. The register keeps it per area and per leaf,
a 4,096th part of all keys, in the same transaction as the entries; finer ranges are summed from the blocks when they
are asked for.

Invariant: rows that would be all zero are not stored, so equal holdings are equal bytes.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed.digest_kernel import DigestTotals, joined
from jukinet.core.feed.range_survey import range_entries, range_sums
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import schema
from jukinet.core.store.snapshot import PlaceTables, Snapshot

if TYPE_CHECKING:
    from typing_extensions import Buffer

LEAF_KEYS: Final = limits.DIGEST_LEAF_KEYS
LEAVES_PER_PAGE: Final = limits.DIGEST_LEAVES_PER_PAGE
PAGES: Final = limits.DIGEST_PAGES
LEAVES: Final = PAGES * LEAVES_PER_PAGE
PREFECTURES: Final = 47
SUM: Final = struct.Struct("<Q16s")
PAGE_BYTES: Final = LEAVES_PER_PAGE * SUM.size
ENTRY: Final = struct.Struct("<Q16s")
NOTHING: Final = bytes(SUM.size)

assert LEAVES * LEAF_KEYS >= limits.RESIDENT_KEYS

Entry = tuple[int, bytes]
"""Status column and record bytes of an entry, as record.encode gives them."""


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """How many entries, and the sum of their hashes modulo 2^128 (16 bytes, little-endian)."""

    count: int = 0
    sum: bytes = bytes(16)

    def __add__(self, other: Digest) -> Digest:
        return Digest(*SUM.unpack(joined(self.packed, other.packed)))

    @property
    def packed(self) -> bytes:
        """The 24 bytes of one sum, as stored and sent."""
        return SUM.pack(self.count, self.sum)


def digests_of(packed: Buffer) -> list[Digest]:
    """The digests of a row of 24-byte sums."""
    return [Digest(*row) for row in SUM.iter_unpack(packed)]


def leaf_range(leaf: int) -> tuple[int, int]:
    """First key of a leaf and the key after its last."""
    return leaf * LEAF_KEYS, min((leaf + 1) * LEAF_KEYS, limits.RESIDENT_KEYS)


def page_range(page: int) -> tuple[int, int]:
    """First key of a page of leaves and the key after its last."""
    return page * LEAVES_PER_PAGE * LEAF_KEYS, min((page + 1) * LEAVES_PER_PAGE * LEAF_KEYS, limits.RESIDENT_KEYS)


def page_name(prefecture: int, page: int) -> bytes:
    """The key of a page in the digests database."""
    return schema.NUMBER.pack(prefecture << 16 | page)


class HoldingsReader:
    """Reads stored digests in one transaction. ``databases`` holds `holdings` and `digests`."""

    def __init__(
        self, transaction: lmdb.Transaction, databases: Mapping[str, lmdb._Database], places: PlaceTables
    ) -> None:
        self._transaction = transaction
        self._holdings = databases["holdings"]
        self._digests = databases["digests"]
        self._places = places

    def area_packed(self, area: int) -> bytes:
        """The 24 bytes of the area with that number; zeros when it has no row."""
        value = self._transaction.get(schema.NUMBER.pack(area), db=self._holdings)
        if value is None:
            return NOTHING
        packed = schema.unseal(value, f"the holdings of area {area}")
        if len(packed) != SUM.size:
            raise StoreCorruptError(f"the holdings of area {area} do not have {SUM.size} bytes")
        return packed

    def page_packed(self, prefecture: int, page: int) -> bytes:
        """The 64 sums of a page of a prefecture's leaves; zeros when it has no row."""
        value = self._transaction.get(page_name(prefecture, page), db=self._digests)
        if value is None:
            return bytes(PAGE_BYTES)
        packed = schema.unseal(value, f"digest page {page} of prefecture {prefecture}")
        if len(packed) != PAGE_BYTES:
            raise StoreCorruptError(f"digest page {page} of prefecture {prefecture} does not have {PAGE_BYTES} bytes")
        return packed

    def area(self, area: int) -> Digest:
        """The digest of one area, by its number in the areas table."""
        return Digest(*SUM.unpack(self.area_packed(area)))

    def prefecture_areas(self, prefecture: int) -> list[int]:
        """Numbers of the prefecture's areas, ascending."""
        return [number for number, area in enumerate(self._places.areas) if area.jis // 1000 == prefecture]

    def prefecture(self, prefecture: int) -> Digest:
        """The digest of all holdings of a prefecture: the sum of its areas."""
        return total(self.area_packed(area) for area in self.prefecture_areas(prefecture))

    def pages(self, prefecture: int) -> list[Digest]:
        """The digests of the 64 pages."""
        return [total([self.page_packed(prefecture, page)]) for page in range(PAGES)]

    def leaves(self, prefecture: int, page: int) -> list[Digest]:
        """The digests of the 64 leaves of a page."""
        return digests_of(self.page_packed(prefecture, page))


def total(packed: Iterable[bytes]) -> Digest:
    """The sum of all sums in some buffers of 24-byte sums."""
    count = added = 0
    for buffer in packed:
        for row_count, row_sum in SUM.iter_unpack(buffer):
            count += row_count
            added += int.from_bytes(row_sum, "little")
    return Digest(count % (1 << 64), (added % (1 << 128)).to_bytes(16, "little"))


def sums_of_ranges(snapshot: Snapshot, prefecture: int, ranges: Sequence[tuple[int, int]]) -> bytes:
    """24 bytes for each [first key, stop key): what the prefecture holds there, summed from the snapshot's blocks.

    Raises ValueError for an empty range or one beyond the keys.
    """
    return range_sums(snapshot, prefecture, _bounds(ranges)) if ranges else b""


def entries_of_ranges(
    snapshot: Snapshot, prefecture: int, ranges: Sequence[tuple[int, int]], entries_max: int
) -> tuple[list[int], bytes] | None:
    """(entries in each range, all entries in order as ENTRY rows), or None for more than ``entries_max``."""
    return range_entries(snapshot, prefecture, _bounds(ranges), entries_max) if ranges else ([], b"")


def _bounds(ranges: Sequence[tuple[int, int]]) -> memoryview:
    flat = array("Q", [key for pair in ranges for key in pair])
    return memoryview(flat).cast("B").cast("Q", (len(ranges), 2))


class HoldingsDelta:
    """What one transaction changes in the digests: collected entry by entry, written before the commit."""

    def __init__(self, places: PlaceTables) -> None:
        self.totals = DigestTotals(places)

    def change(self, before: Resident | None, after: Resident | None) -> None:
        """An entry as it was and as it is now; None where there is none. RecordFormatError when one does not encode."""
        kept = before if after is None else after
        if kept is None:
            return
        if before is not None and before.key != kept.key:
            raise ValueError("a change is about one key")
        self.change_encoded(
            kept.key,
            None if before is None else record.encode(before),
            None if after is None else record.encode(after),
        )

    def change_encoded(self, key: int, before: Entry | None, after: Entry | None) -> None:
        """The same with encoded entries: no Resident is made. What is not held (digest_kernel) counts as no entry."""
        self.totals.change(key, before, after)

    def prefecture(self, stored: Digest, prefecture: int) -> Digest:
        """``stored`` (the prefecture's digest when the transaction began) with what was changed since."""
        return stored + Digest(*SUM.unpack(self.totals.prefecture(prefecture)))

    def write(self, transaction: lmdb.Transaction, databases: Mapping[str, lmdb._Database]) -> None:
        """Add the changes to the stored rows. Once, at the end of the transaction; the delta is spent then."""
        store_totals(transaction, databases, self.totals)


def store_totals(transaction: lmdb.Transaction, databases: Mapping[str, lmdb._Database], totals: DigestTotals) -> None:
    """Add ``totals`` to the rows of `holdings` and `digests`."""
    reader = HoldingsReader(transaction, databases, totals.places)
    for prefecture, page in totals.touched_pages():
        before = reader.page_packed(prefecture, page)
        after = joined(before, totals.page(prefecture, page))
        _store(transaction, databases["digests"], page_name(prefecture, page), before, after)
    for area in totals.touched_areas():
        before = reader.area_packed(area)
        after = joined(before, totals.area(area))
        _store(transaction, databases["holdings"], schema.NUMBER.pack(area), before, after)


def _store(transaction: lmdb.Transaction, database: lmdb._Database, name: bytes, before: bytes, after: bytes) -> None:
    if after == before:
        return
    if after.count(0) == len(after):
        transaction.delete(name, db=database)
    else:
        transaction.put(name, schema.seal(after), db=database)
