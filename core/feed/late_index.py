"""The identity index of a load: in a large register it is brought up to date for many ranges at once.

Theory of operation. Hashes spread the rows of one range over the whole index: in a register of the nation's size each
row would rewrite three blocks of its own. So there a range leaves its plain rows out of the index, and the feed's state
says which keys are **unindexed**. After IDENTITY_LATE_ROWS_MAX rows, at the end of the load, and whenever the register
is opened for its feeds, the entries of all residents of the prefecture in these keys are computed from the blocks and
merged, in transactions of LATE_BLOCKS_PER_STEP blocks; the last one clears the mark. Adding what is there has no
effect, so it may be begun anew at any time: after a crash, or when another process changed the register in between.

Whatever else changes a key that is unindexed adds all entries that the key has then, so it does not matter that the
residents it looks at are no longer those that the load brought.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.errors import StoreError
from jukinet.core.feed import history, positions
from jukinet.core.feed.contribution import persons_of
from jukinet.core.feed.positions import FeedState, Unindexed
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.identity.layout import IdentityLayout
from jukinet.core.store import block, schema
from jukinet.core.store.writer import ChangeTransaction, RegisterWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

LATE_BLOCKS_PER_STEP: Final = 8_192
"""About 130 MB of blocks, and half a second, in a transaction."""
AREA_NUMBERS: Final = 4_096


def is_late(layout: IdentityLayout) -> bool:
    """Whether loads leave the index for later: where a range would touch most blocks once or not at all."""
    return layout.text_buckets > limits.IDENTITY_DIRECT_BUCKETS_MAX


def widened(before: Unindexed | None, first_key: int, stop_key: int, rows: int) -> Unindexed:
    """The mark of a feed after one more range."""
    if before is None:
        return Unindexed(first_key, stop_key, rows)
    return Unindexed(min(before.first_key, first_key), max(before.stop_key, stop_key), before.rows + rows)


def is_due(state: FeedState) -> bool:
    """Whether what a feed has left out is to be caught up with now."""
    if state.unindexed is None:
        return False
    return state.loading is None or state.unindexed.rows >= limits.IDENTITY_LATE_ROWS_MAX


def catch_up(writer: RegisterWriter, prefecture: int) -> int | None:
    """Bring the index up to date with a feed's unindexed keys; the register's version, None when there are none.

    Raises StoreError; what was done until then stands, and the mark too.
    """
    changes: IdentityChanges | None = None
    version: int | None = None
    while True:
        with writer.transaction() as change:
            feeds = writer.databases["feeds"]
            state = positions.read_feed(change.handle, feeds, prefecture)
            if state.unindexed is None:
                return version
            if changes is None or change.meta.version != version:
                changes = _gathered(writer, change, prefecture, state.unindexed)
            if changes.begin() <= LATE_BLOCKS_PER_STEP:
                done = positions.pack_feed(msgspec.structs.replace(state, unindexed=None))
                try:
                    change.handle.put(schema.NUMBER.pack(prefecture), done, db=feeds)
                except lmdb.Error as error:
                    raise StoreError(f"{writer.directory}: the change could not be written: {error}") from error
            version = change.commit(identity=changes, identity_blocks_max=LATE_BLOCKS_PER_STEP, always=True)


def unindexed_prefectures(transaction: lmdb.Transaction, feeds: lmdb._Database) -> list[int]:
    """Prefectures some of whose residents cannot be found by name yet, by the `feeds` database of a snapshot.

    For those who search: the answer "nobody" says nothing about them. 47 short reads.
    """
    states = [(p, positions.read_feed(transaction, feeds, p)) for p in positions.PREFECTURES]
    return [prefecture for prefecture, state in states if state.unindexed is not None]


def catch_up_all(writer: RegisterWriter) -> None:
    """The same for every feed that was stopped before it was done. Raises StoreError."""
    with writer.reading() as transaction:
        states = {p: positions.read_feed(transaction, writer.databases["feeds"], p) for p in positions.PREFECTURES}
    for prefecture, state in states.items():
        if state.unindexed is not None:
            catch_up(writer, prefecture)


def _gathered(
    writer: RegisterWriter, change: ChangeTransaction, prefecture: int, unindexed: Unindexed
) -> IdentityChanges:
    """All entries of the prefecture's residents in the unindexed keys."""
    changes = IdentityChanges(writer.layout)
    wanted = bytearray(AREA_NUMBERS)
    for number, area in enumerate(writer.areas):
        wanted[number] = area.jis // 1000 == prefecture
    width = change.meta.width
    database = writer.databases["history"]
    has_history = change.handle.stat(database)["entries"] > 0
    with change.handle.cursor(db=writer.databases["residents"]) as cursor:
        if not cursor.set_range(schema.NUMBER.pack(unindexed.first_key // width)):
            return changes
        for name, value in cursor.iternext(keys=True, values=True):
            bucket = schema.NUMBER.unpack(name)[0]
            if bucket * width >= unindexed.stop_key:
                break
            kept = change.handle.get(name, None, database) if has_history else None
            earlier = {} if kept is None else _earlier(kept, bucket)
            changes.add_block(bucket, width, value, wanted, unindexed.first_key, unindexed.stop_key, sorted(earlier))
            for delta, rows in earlier.items():
                key, shown = bucket * width + delta, block.find(value, delta)
                if shown is not None and unindexed.first_key <= key < unindexed.stop_key:
                    changes.change(key, [], persons_of(shown, rows))
    return changes


def _earlier(value: Buffer, bucket: int) -> dict[int, list[tuple[int, bytes]]]:
    """Standings and records in a history block, by delta."""
    rows = groupby(history.decode(value, bucket), key=lambda row: row[0])
    return {delta: [(standing, data) for _, standing, _, _, data in kept] for delta, kept in rows}
