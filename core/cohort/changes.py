"""What changed among a cohort's codes since a cursor, from the journal in national order (docs/cohorts.md, 2, 3)."""

from __future__ import annotations

from array import array
from typing import Final, NamedTuple

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.cohort import cohort_kernel as kernel
from jukinet.core.cohort.errors import CohortError, CursorExpiredError
from jukinet.core.cohort.store import CohortMembers
from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed.journal import EntryKind, JournalEntry, unpack_entry
from jukinet.core.notifications import NotificationBatch
from jukinet.core.store import schema
from jukinet.core.store.snapshot import Snapshot

ROWS_MIN: Final = 2
"""A change of code is one row with two codes."""
SCANNED_ROWS_MAX: Final = 1_000_000
"""Rows of the journal, and members in ranges of loads, that one answer looks at: about a second."""


class Cursor(NamedTuple):
    """Where in the journal an agency stands; see docs/cohorts.md, chapter 3."""

    order: int
    place: int = 0


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Codes of a cohort that the journal tells of and how they stand; bytes of u64, u8, u8, u32 and u32.

    more: whether the journal goes on beyond ``cursor``.
    """

    cursor: Cursor
    more: bool
    register_version: int
    codes: bytes
    outcomes: bytes
    reasons: bytes
    change_dates: bytes
    registered_dates: bytes

    def __repr__(self) -> str:
        return f"<Changes count={len(self.outcomes)} more={self.more}>"


class ChangeReader:
    """Reads one answer's worth of changes.

    transaction: a read transaction on the register with buffers, begun after ``snapshot``; journal: its database;
    journal_next: of the snapshot's version, so that every change told of can be seen in the snapshot; register: its
    identifier, which must be the one that the cohort was registered with. Invariant: at most
    ``rows_max`` keys are kept, and everything before ``cursor`` was looked at.
    """

    def __init__(
        self,
        transaction: lmdb.Transaction,
        journal: lmdb._Database,
        journal_next: int,
        snapshot: Snapshot,
        members: CohortMembers,
        *,
        register: str,
        rows_max: int,
        scanned_max: int = SCANNED_ROWS_MAX,
    ) -> None:
        if rows_max < ROWS_MIN:
            raise CohortError(f"an answer has {ROWS_MIN} rows at least")
        self._transaction = transaction
        self._journal = journal
        self._journal_next = journal_next
        self._snapshot = snapshot
        self._members = members
        self._register = register
        self._room = rows_max
        self._scan = scanned_max
        self._found: list[bytes] = []
        self._is_stopped = False
        self.found = 0
        """Rows found so far; another thread may look."""

    def stop(self) -> None:
        """Let ``read`` end soon with what it has, as if it had looked at enough; another thread may call it."""
        self._is_stopped = True

    def read(self, cursor: Cursor) -> Changes:
        """The changes from the cursor on. Raises CohortError, CursorExpiredError and StoreCorruptError."""
        if cursor.order < 1 or not 0 <= cursor.place <= limits.RESIDENT_KEYS:
            raise CohortError("this is no cursor that was given out")
        with self._transaction.cursor(db=self._journal) as entries:
            more = self._seek(entries, cursor)
            while more and cursor.order < self._journal_next and not self._is_stopped:
                (order,) = schema.NUMBER.unpack(entries.key())
                cursor, done = self._entry(order, unpack_entry(entries.value()), cursor)
                if not done:
                    break
                more = entries.next()
        codes = kernel.codes_of(kernel.sorted_once(b"".join(self._found)))
        outcomes, reasons, change_dates, registered_dates = kernel.standings(self._snapshot, codes)
        return Changes(
            cursor=cursor,
            more=cursor.order < self._journal_next,
            register_version=self._snapshot.version,
            codes=codes,
            outcomes=outcomes,
            reasons=reasons,
            change_dates=change_dates,
            registered_dates=registered_dates,
        )

    def _seek(self, entries: lmdb.Cursor, cursor: Cursor) -> bool:
        """Put ``entries`` on the entry that holds the cursor; False when nothing follows it."""
        if self._members.cohort.register != self._register or cursor.order > self._journal_next:
            raise CursorExpiredError("the cursor is of another register: ask STATUS of all codes and register anew")
        first = schema.NUMBER.unpack(entries.key())[0] if entries.first() else self._journal_next
        if cursor.order < first:
            raise CursorExpiredError("the journal does not reach back so far: ask STATUS of all codes and begin anew")
        if cursor.order == self._journal_next:
            return False
        if entries.set_range(schema.NUMBER.pack(cursor.order)):
            return schema.NUMBER.unpack(entries.key())[0] == cursor.order or entries.prev()
        return entries.last()

    def _entry(self, order: int, entry: JournalEntry, cursor: Cursor) -> tuple[Cursor, bool]:
        """Look at one entry from the cursor on: the new cursor, and whether the entry is done with."""
        after = Cursor(order + max(1, entry.count))
        if entry.kind == EntryKind.PURGE:
            return after, True
        if not cursor.place:
            row = self._rows(entry, cursor.order - order)
            if row < entry.count:
                return Cursor(order + row), False
        if entry.kind != EntryKind.RANGE:
            return after, True
        place = self._ended_by_range(entry, max(entry.first_key, cursor.place - 1))
        return (after, True) if place is None else (Cursor(order, place + 1), False)

    def _rows(self, entry: JournalEntry, row: int) -> int:
        """Take the codes of rows from ``row`` on while there is room for two of each; the first row not looked at."""
        try:
            batch = NotificationBatch.parse(entry.payload, entry.count)
        except ColumnFault as fault:
            raise StoreCorruptError(f"an entry of the journal does not have the layout of a batch: {fault}") from None
        while row < entry.count and self._room >= ROWS_MIN and self._scan > 0 and not self._is_stopped:
            stop = min(entry.count, row + min(self._room // 2, self._scan))
            keys = kernel.changed_keys(batch.codes, batch.codes_before, entry.results, row, stop)
            found = self._members.among(keys)
            self._keep(found)
            self._scan -= stop - row
            row = stop
        return row

    def _ended_by_range(self, entry: JournalEntry, first_key: int) -> int | None:
        """Take members whose records the range ended, from ``first_key`` on; the key to go on from, None when done."""
        for keys in self._members.between(first_key, entry.stop_key):
            if self._scan <= 0 or self._is_stopped:
                return keys[0]
            removed = array("Q", kernel.removed_since(self._snapshot, keys.tobytes(), entry.registered_day))
            if len(removed) > self._room:
                here = removed[: self._room]
                self._keep(here.tobytes())
                return removed[len(here)]
            self._keep(removed.tobytes())
            self._scan -= len(keys)
        return None

    def _keep(self, found: bytes) -> None:
        self._found.append(found)
        self._room -= len(found) // 8
        self.found += len(found) // 8
