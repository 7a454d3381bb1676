"""Whether two registers are the same, byte for byte, and what a straight run or a journal makes of a register."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec

from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.journal import EntryKind, JournalEntry
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.records.resident import REGISTERED_EPOCH
from jukinet.core.store import schema

ROWS_PER_TRANSACTION: Final = 10_000
DATABASES_MAX: Final = 64
OF_ARRIVAL: Final = {"changes", "journal"}
"""What tells in which order and in which transactions things came; the journal is compared by what it makes."""


def straight_run(directory: Path, feeds: Mapping[int, Sequence[Notification]], day: datetime.date) -> None:
    """Apply rows of feeds, one feed after the other behind where it stands, as the centre's ``day`` has it."""
    with FeedRegister(directory, today=lambda: day) as register:
        for prefecture, rows in feeds.items():
            for start in range(0, len(rows), ROWS_PER_TRANSACTION):
                batch = NotificationBatch.from_notifications(rows[start : start + ROWS_PER_TRANSACTION])
                with register.transaction() as transaction:
                    transaction.apply(prefecture, transaction.feed(prefecture).position + 1, batch)
                    transaction.commit()


def by_day(
    source: Path, feeds: Mapping[int, Sequence[Notification]]
) -> list[tuple[datetime.date, dict[int, Sequence[Notification]]]]:
    """The rows that each day of a register's journal brought, by feed: more than one day over midnight in Japan."""
    found: dict[int, dict[int, int]] = {}
    with FeedRegister(source) as register:
        for _, entry in register.journal():
            day = found.setdefault(entry.registered_day, {})
            day[entry.prefecture] = day.get(entry.prefecture, 0) + entry.count
    taken = dict.fromkeys(feeds, 0)
    days: list[tuple[datetime.date, dict[int, Sequence[Notification]]]] = []
    for number, counts in sorted(found.items()):
        rows = {p: feeds[p][taken[p] : taken[p] + count] for p, count in counts.items()}
        taken |= {p: taken[p] + count for p, count in counts.items()}
        days.append((REGISTERED_EPOCH + datetime.timedelta(number), rows))
    if any(taken[p] != len(rows) for p, rows in feeds.items()):
        raise SystemExit("the journal does not hold as many rows as were sent")
    return days


def replay(source: Path, target: Path) -> None:
    """Apply the journal of one register to the other, as it was before, in national order and with its days."""
    waiting: list[JournalEntry] = []
    with (
        FeedRegister(source) as register,
        FeedRegister(target, today=lambda: REGISTERED_EPOCH + datetime.timedelta(waiting[0].registered_day)) as new,
    ):
        for _, entry in register.journal():
            if waiting and (
                entry.registered_day != waiting[0].registered_day
                or sum(each.count for each in waiting) >= ROWS_PER_TRANSACTION
            ):
                _apply(new, waiting)
                waiting.clear()
            waiting.append(entry)
        if waiting:
            _apply(new, waiting)


def _apply(register: FeedRegister, entries: Sequence[JournalEntry]) -> None:
    with register.transaction() as transaction:
        for entry in entries:
            if entry.kind != EntryKind.BATCH:
                raise SystemExit("only batches are replayed here")
            rows = NotificationBatch.parse(entry.payload, entry.count)
            transaction.apply(entry.prefecture, entry.first_sequence, rows)
        transaction.commit()


def difference(one: Path, other: Path) -> str:
    """The first database in which two registers differ, with the number of the row; '' when they are the same.

    Of the description everything is compared but the number of transactions. Move-in notices are no part of it.
    """
    first, second = (lmdb.open(str(path), max_dbs=DATABASES_MAX, readonly=True, lock=False) for path in (one, other))
    try:
        names = sorted(_names(first))
        if names != sorted(_names(second)):
            return "names of databases"
        for name in names:
            if name not in OF_ARRIVAL:
                row = _difference(first, second, name)
                if row is not None:
                    return f"{name}, row {row}"
        return ""
    finally:
        first.close()
        second.close()


def _names(environment: lmdb.Environment) -> list[str]:
    with environment.begin() as transaction, transaction.cursor() as cursor:
        found = [bytes(key).decode() for key in cursor.iternext(keys=True, values=False)]
    return [name for name in found if name not in schema.NOTICE_DATABASES]


def _difference(first: lmdb.Environment, second: lmdb.Environment, name: str) -> int | None:
    opened = [each.open_db(name.encode(), integerkey=name != "meta", create=False) for each in (first, second)]
    with (
        first.begin(buffers=True) as ours,
        second.begin(buffers=True) as theirs,
        ours.cursor(db=opened[0]) as one,
        theirs.cursor(db=opened[1]) as other,
    ):
        for row, (a, b) in enumerate(zip_longest(one.iternext(), other.iternext())):
            if a is None or b is None or _told(name, a) != _told(name, b):
                return row
    return None


def _told(name: str, row: Any) -> Any:
    if name != "meta":
        return row
    description: dict[str, Any] = msgspec.msgpack.decode(schema.unseal(row[1], "the description"))
    return bytes(row[0]), {**description, "version": 0}
