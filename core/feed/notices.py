"""Move-in notices (転入通知) as the register keeps them until the municipality that was left has them.

Invariant: a notice has its two rows in `notices_open` exactly while ``closed_at`` is 0, and one row in `notices_closed`
afterwards; the Counts are those of the open ones (core/feed/notice_records.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed.errors import NoticeRefusedError, NoticesFullError
from jukinet.core.feed.notice_records import (
    COUNTS_KEY,
    DAY_MAX,
    ENTERED,
    LEFT,
    NUMBER_BITS,
    NUMBER_MASK,
    RECEIPT,
    WITH_CONTENT,
    Kept,
    Passage,
    content_of,
    day_of,
    decode,
    encode,
    name_key,
    open_key,
    read,
    read_counts,
)
from jukinet.core.limits import OPEN_NOTICES_PER_FEED_MAX, PREFECTURES
from jukinet.core.store import schema
from jukinet.core.wire import feed_messages as fm

if TYPE_CHECKING:
    from jukinet.core.store.schema import Area
    from jukinet.core.store.writer import RegisterWriter

PURGED_PER_STEP_MAX: Final = 1_000

Databases = dict[str, lmdb._Database]
Name = list[tuple[int, int, int]]


class Undelivered(msgspec.Struct, frozen=True):
    """How many notices were not received, how many of them overdue, and the age of the oldest in seconds (0: none)."""

    count: int
    overdue: int
    oldest_seconds: int


class NoticeRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the register allows. Days are whole days after the day of the receipt.

    receipt_days is also how long the same notice_id is known; it is not below retention_days.
    """

    alarm_seconds: float = 86_400.0
    retention_days: int = 30
    receipt_days: int = 1_095
    open_per_feed_max: int = OPEN_NOTICES_PER_FEED_MAX


class NoticeBook:
    """Notices within transactions of the register; times are seconds since 1970-01-01 UTC."""

    def __init__(self, databases: Databases, areas: list[Area], rules: NoticeRules) -> None:
        self.databases = databases
        self.rules = rules
        self._areas = {area.jis: area.connected for area in areas}

    @classmethod
    def of(cls, writer: RegisterWriter, rules: NoticeRules) -> NoticeBook:
        """The book of a register that is opened for writing; begun where there is none. StoreError."""
        databases = {name: writer.database_beside(name) for name in schema.NOTICE_DATABASES}
        return cls(databases, writer.areas, rules)

    # What prefectures ask for.

    def leave(self, handle: lmdb.Transaction, prefecture: int, message: fm.NoticeLeave, now: int) -> int:
        """Keep a notice; its number, the same again for the same notice.

        Raises NoticeRefusedError: an area that the register does not have, or another notice under this notice_id.
        NoticesFullError: the prefecture has open_per_feed_max open.
        """
        name = name_key(prefecture, message.notice_id)
        named = read(handle, self.databases["notice_names"], name, Name) or []
        for other, notice_id, number in named:
            if (other, notice_id) == (prefecture, message.notice_id):
                self._check_same(self.kept(handle, number), message)
                return number
        if not self._areas.get(message.from_area, False):
            raise NoticeRefusedError("from_area is a connected area of the register")
        if message.to_area not in self._areas:
            raise NoticeRefusedError("to_area is an area of the register")
        counts = read_counts(handle, self.databases["notices"])
        if counts.entered[prefecture] >= self.rules.open_per_feed_max:
            raise NoticesFullError(f"{self.rules.open_per_feed_max} notices of this prefecture were not received yet")
        number = counts.last_number + 1
        passage = Passage(
            number=number,
            notice_id=message.notice_id,
            from_area=message.from_area,
            to_area=message.to_area,
            left_at=now,
        )
        self._put("notices", COUNTS_KEY, counts.with_open(passage, 1), handle)
        self._put_kept(Kept(passage, content_of(message)), handle)
        self._put("notice_names", name, [*named, (prefecture, message.notice_id, number)], handle)
        for key in passage.open_keys():
            self._put("notices_open", key, now, handle)
        return number

    def _check_same(self, kept: Kept, message: fm.NoticeLeave) -> None:
        """A notice whose content is gone is compared by its areas alone."""
        areas = kept.passage.from_area, kept.passage.to_area
        same_content = kept.content is None or kept.content == content_of(message)
        if areas != (message.from_area, message.to_area) or not same_content:
            raise NoticeRefusedError("another notice was left under this notice_id")

    def waiting(
        self, handle: lmdb.Transaction, prefecture: int, notices_max: int, now: int
    ) -> tuple[list[fm.Notice], int]:
        """The oldest open notices for the prefecture, and how many more there are. Changes nothing."""
        numbers = list(islice(self._numbers(handle, LEFT, prefecture, 0), notices_max))
        remaining = read_counts(handle, self.databases["notices"]).left[prefecture] - len(numbers)
        return [self._shown(handle, number, now) for number in numbers], remaining

    def mark_taken(self, handle: lmdb.Transaction, notices: list[fm.Notice], now: int) -> list[fm.Notice]:
        """The notices, which count as taken from now on where they did not before."""
        taken = []
        for notice in notices:
            if notice.taken_at:
                taken.append(notice)
                continue
            kept = self.kept(handle, notice.number)
            marked = Kept(msgspec.structs.replace(kept.passage, taken_at=now), kept.content)
            self._put_kept(marked, handle)
            taken.append(marked.shown(now, self.rules.alarm_seconds))
        return taken

    def receive(self, handle: lmdb.Transaction, prefecture: int, numbers: list[int], now: int) -> int:
        """Close notices that the prefecture has; how many of them were open until now."""
        counts = read_counts(handle, self.databases["notices"])
        closed = 0
        for number in set(numbers):
            if number > NUMBER_MASK:
                continue
            if handle.get(open_key(LEFT, prefecture, number), None, self.databases["notices_open"]) is None:
                continue
            kept = self.kept(handle, number)
            passage = msgspec.structs.replace(kept.passage, closed_at=now, closed_by=prefecture)
            for key in passage.open_keys():
                handle.delete(key, db=self.databases["notices_open"])
            self._put_kept(Kept(passage, kept.content), handle)
            self._put("notices_closed", passage.closed_key(WITH_CONTENT), None, handle)
            counts = counts.with_open(passage, -1)
            closed += 1
        if closed:
            self._put("notices", COUNTS_KEY, counts, handle)
        return closed

    def own(
        self, handle: lmdb.Transaction, prefecture: int, after: int, notices_max: int, now: int
    ) -> tuple[list[fm.Notice], int]:
        """The prefecture's own notices that were not received, with numbers above ``after``, and how many more."""
        numbers = self._numbers(handle, ENTERED, prefecture, min(after, NUMBER_MASK))
        found = list(islice(numbers, notices_max))
        return [self._shown(handle, number, now) for number in found], sum(1 for _ in numbers)

    # What the centre looks after.

    def undelivered(self, handle: lmdb.Transaction, now: int) -> Undelivered:
        """What was not received. Reads one short row for each."""
        ages = [now - left_at for left_at in self._left_times(handle)]
        overdue = sum(age >= self.rules.alarm_seconds for age in ages)
        return Undelivered(len(ages), overdue, max(0, *ages) if ages else 0)

    def all_open(self, handle: lmdb.Transaction) -> Iterator[Kept]:
        """Every open notice, by number."""
        numbers = [number for p in range(1, PREFECTURES + 1) for number in self._numbers(handle, LEFT, p, 0)]
        for number in sorted(numbers):
            yield self.kept(handle, number)

    def open_for(self, handle: lmdb.Transaction, prefecture: int) -> Iterator[Kept]:
        """Every open notice for the prefecture that was left, by number."""
        for number in list(self._numbers(handle, LEFT, prefecture, 0)):
            yield self.kept(handle, number)

    def mark_printed(self, handle: lmdb.Transaction, numbers: list[int], now: int) -> int:
        """Note that open notices were put on paper; they stay open. How many were marked."""
        marked = 0
        for number in numbers:
            kept = read(handle, self.databases["notices"], schema.NUMBER.pack(number), Kept)
            if kept is not None and not kept.passage.closed_at:
                self._put_kept(Kept(msgspec.structs.replace(kept.passage, printed_at=now), kept.content), handle)
                marked += 1
        return marked

    def purge(self, handle: lmdb.Transaction, now: int) -> int:
        """Take the content of received notices away, and then their receipts, where their days are over.

        At most PURGED_PER_STEP_MAX of each; how many rows changed. The cost grows with these alone.
        """
        today = day_of(now)
        content = self._closed_until(handle, WITH_CONTENT, today - self.rules.retention_days)
        for number in content:
            kept = self.kept(handle, number)
            handle.delete(kept.passage.closed_key(WITH_CONTENT), db=self.databases["notices_closed"])
            self._put("notices_closed", kept.passage.closed_key(RECEIPT), None, handle)
            self._put_kept(Kept(kept.passage, None), handle)
        receipts = self._closed_until(handle, RECEIPT, today - self.rules.receipt_days)
        for number in receipts:
            passage = self.kept(handle, number).passage
            handle.delete(passage.closed_key(RECEIPT), db=self.databases["notices_closed"])
            handle.delete(schema.NUMBER.pack(number), db=self.databases["notices"])
            self._forget_name(handle, passage)
        return len(content) + len(receipts)

    def kept(self, handle: lmdb.Transaction, number: int) -> Kept:
        """The notice of a number that an index names. StoreCorruptError."""
        kept = read(handle, self.databases["notices"], schema.NUMBER.pack(number), Kept)
        if kept is None:
            raise StoreCorruptError("a move-in notice is not there")
        return kept

    # Rows.

    def _closed_until(self, handle: lmdb.Transaction, stage: int, day: int) -> list[int]:
        """The first PURGED_PER_STEP_MAX of a stage that were closed on that day or before."""
        if day < 0:
            return []
        first = stage << 63
        stop = first + ((min(day, DAY_MAX) + 1) << NUMBER_BITS)
        found: list[int] = []
        with handle.cursor(db=self.databases["notices_closed"]) as cursor:
            if cursor.set_range(schema.NUMBER.pack(first)):
                for key in cursor.iternext(keys=True, values=False):
                    whole = schema.NUMBER.unpack(key)[0]
                    if whole >= stop or len(found) >= PURGED_PER_STEP_MAX:
                        break
                    found.append(whole & NUMBER_MASK)
        return found

    def _forget_name(self, handle: lmdb.Transaction, passage: Passage) -> None:
        name = name_key(passage.feed, passage.notice_id)
        named = read(handle, self.databases["notice_names"], name, Name) or []
        left = [entry for entry in named if entry[2] != passage.number]
        if left:
            self._put("notice_names", name, left, handle)
        else:
            handle.delete(name, db=self.databases["notice_names"])

    def _put(self, database: str, key: bytes, value: object, handle: lmdb.Transaction) -> None:
        handle.put(key, encode(value), db=self.databases[database])

    def _put_kept(self, kept: Kept, handle: lmdb.Transaction) -> None:
        self._put("notices", schema.NUMBER.pack(kept.passage.number), kept, handle)

    def _shown(self, handle: lmdb.Transaction, number: int, now: int) -> fm.Notice:
        return self.kept(handle, number).shown(now, self.rules.alarm_seconds)

    def _numbers(self, handle: lmdb.Transaction, side: int, prefecture: int, after: int) -> Iterator[int]:
        first = side << 63 | prefecture << NUMBER_BITS
        with handle.cursor(db=self.databases["notices_open"]) as cursor:
            if cursor.set_range(schema.NUMBER.pack(first + after + 1)):
                for key in cursor.iternext(keys=True, values=False):
                    number = schema.NUMBER.unpack(key)[0] - first
                    if number > NUMBER_MASK:
                        return
                    yield number

    def _left_times(self, handle: lmdb.Transaction) -> Iterator[int]:
        with handle.cursor(db=self.databases["notices_open"]) as cursor:
            for key, value in cursor.iternext(keys=True, values=True):
                if schema.NUMBER.unpack(key)[0] >> 63 != LEFT:
                    return
                yield decode(value, int)
