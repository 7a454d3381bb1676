"""The part of `jukinet store check` about move-in notices: every row, both indexes, the names and the counts.

Findings name numbers of notices, never what a notice says.
"""

from __future__ import annotations

from collections.abc import Callable

import lmdb

from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed.notice_records import (
    COUNTS_KEY,
    RECEIPT,
    WITH_CONTENT,
    Counts,
    Kept,
    decode,
    name_key,
    read_counts,
)
from jukinet.core.feed.positions import PREFECTURES
from jukinet.core.store import schema
from jukinet.core.store.reader import RegisterReader

Add = Callable[[str], None]


def check_notices(reader: RegisterReader, transaction: lmdb.Transaction, add: Add) -> int:
    """Check all notices in one snapshot; how many there are, receipts included. ``add`` takes each fault in words."""
    if schema.NOTICE_DATABASES[0] not in reader.databases:
        return 0
    return _NoticeCheck(reader.databases, transaction, add).run()


class _NoticeCheck:
    """Each notice has exactly the rows that its state asks for, and there are no rows besides."""

    def __init__(self, databases: dict[str, lmdb._Database], transaction: lmdb.Transaction, add: Add) -> None:
        self._databases = databases
        self._transaction = transaction
        self._add = add
        self._found = Counts()
        self._notices = self._open = self._closed = 0

    def run(self) -> int:
        with self._transaction.cursor(db=self._databases["notices"]) as cursor:
            for key, value in cursor.iternext(keys=True, values=True):
                if bytes(key) == COUNTS_KEY:
                    continue
                number = schema.NUMBER.unpack(key)[0]
                self._notices += 1
                try:
                    self._notice(number, decode(value, Kept))
                except StoreCorruptError as error:
                    self._add(f"move-in notice {number}: {error}")
        self._totals()
        return self._notices

    def _notice(self, number: int, kept: Kept) -> None:
        passage = kept.passage
        if passage.number != number:
            self._add(f"move-in notice {number} calls itself {passage.number}")
            return
        if passage.feed not in PREFECTURES or passage.receiver not in PREFECTURES:
            self._add(f"move-in notice {number}: its areas lie in no prefecture")
            return
        if passage.closed_at:
            self._closed += 1
            if passage.closed_by != passage.receiver:
                self._add(f"move-in notice {number}: its receipt is not its receiver's")
            stage = RECEIPT if kept.content is None else WITH_CONTENT
            if self._get("notices_closed", passage.closed_key(stage)) is None:
                self._add(f"move-in notice {number} is closed and is not listed so")
        else:
            self._open += 1
            self._found = self._found.with_open(passage, 1)
            if kept.content is None or passage.closed_by:
                self._add(f"move-in notice {number} is open, but its content is gone or somebody received it")
            for row in map(self._open_row, passage.open_keys()):
                if row != passage.left_at:
                    self._add(f"move-in notice {number} is open and is not listed so")
        named = self._get("notice_names", name_key(passage.feed, passage.notice_id))
        names = [] if named is None else decode(named, list[tuple[int, int, int]])
        if (passage.feed, passage.notice_id, number) not in names:
            self._add(f"move-in notice {number} is not found by the number that its sender gave it")

    def _get(self, database: str, key: bytes) -> bytes | None:
        value = self._transaction.get(key, None, self._databases[database])
        return None if value is None else bytes(value)

    def _open_row(self, key: bytes) -> int | None:
        value = self._get("notices_open", key)
        return None if value is None else decode(value, int)

    def _totals(self) -> None:
        try:
            counts = read_counts(self._transaction, self._databases["notices"])
            names = 0
            with self._transaction.cursor(db=self._databases["notice_names"]) as cursor:
                for value in cursor.iternext(keys=False, values=True):
                    names += len(decode(value, list[tuple[int, int, int]]))
        except StoreCorruptError as error:
            self._add(str(error))
            return
        if (counts.left, counts.entered) != (self._found.left, self._found.entered):
            self._add("the counts of open move-in notices are not those of the notices")
        with self._transaction.cursor(db=self._databases["notices"]) as cursor:
            last = schema.NUMBER.unpack(cursor.key())[0] if cursor.last() else 0
        if last > counts.last_number:
            self._add(f"a move-in notice has number {last}; the last given is {counts.last_number}")
        wanted = {"notices_open": 2 * self._open, "notices_closed": self._closed}
        found = {name: self._transaction.stat(self._databases[name])["entries"] for name in wanted}
        for name, rows in wanted.items():
            if found[name] != rows:
                self._add(f"{found[name]} rows in {name}, the notices ask for {rows}")
        if names != self._notices:
            self._add(f"{names} names of move-in notices, and {self._notices} notices")
