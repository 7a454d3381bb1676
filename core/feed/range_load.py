"""Loading a range of a prefecture's residents: what is plain goes into the blocks natively, the rest to the engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import lmdb

from jukinet.core.feed import history
from jukinet.core.feed.holdings import HoldingsDelta
from jukinet.core.feed.range_kernel import SortedRows, TownIndex
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.notifications import NotificationBatch
from jukinet.core.store import schema
from jukinet.core.store.writer import ChangeTransaction


class LoadedRange(NamedTuple):
    """What is left of a range: rows for the engine, and keys of the range that no row names but that may be held."""

    general_rows: list[int]
    others: list[int]


def load_range(
    change: ChangeTransaction,
    databases: Mapping[str, lmdb._Database],
    towns: TownIndex,
    delta: HoldingsDelta,
    identity: IdentityChanges | None,
    *,
    prefecture: int,
    day: int,
    first_key: int,
    stop_key: int,
    batch: NotificationBatch,
    faults: bytes,
    at_work: Collection[int],
) -> LoadedRange:
    """Put the plain rows of a range into their blocks, the digests and, unless it is None, the changes of the index.

    The batch has passed check_rows; faults: one byte a row. at_work: keys that the transaction holds elsewhere.
    Keys with a history, keys at work, and rows that differ from the entry under their key are left to the engine.
    """
    width, wide = change.meta.width, change.meta.wide
    buckets = range(first_key // width, -(-stop_key // width))
    general = {key for key in at_work if first_key <= key < stop_key}
    general.update(_history_keys(change.handle, databases["history"], width, first_key, stop_key))
    rows = SortedRows(
        towns, batch.payload, batch.positions, batch.count, faults, prefecture, day, sorted(general)
    )  # fmt: skip
    # Called for each block of the range, hundreds of thousands in a load.
    handle, residents, pack, merge = change.handle, databases["residents"], schema.NUMBER.pack, rows.merge
    get, put, totals = handle.get, handle.put, delta.totals
    written: list[int] = []
    for bucket in buckets:
        name = pack(bucket)
        present = get(name, None, residents)
        merged = merge(bucket, width, wide, present, first_key, stop_key, totals, identity)
        if merged is not None:
            put(name, merged, True, True, False, residents)
            written.append(bucket)
    change.note_blocks(written)
    change.count_entries(rows.entries_added, rows.persons_added)
    named = {code // 10 for code in batch.codes} if general else set()
    return LoadedRange(rows.general_rows(), sorted({*rows.others, *(general - named)}))


def _history_keys(
    transaction: lmdb.Transaction, database: lmdb._Database, width: int, first_key: int, stop_key: int
) -> list[int]:
    """Keys in [first_key, stop_key) that have a history."""
    found: list[int] = []
    with transaction.cursor(db=database) as cursor:
        if not cursor.set_range(schema.NUMBER.pack(first_key // width)):
            return found
        for name, value in cursor.iternext(keys=True, values=True):
            bucket = schema.NUMBER.unpack(name)[0]
            if bucket * width >= stop_key:
                break
            found += {bucket * width + entry[0] for entry in history.decode(value, bucket)}
    return [key for key in found if first_key <= key < stop_key]
