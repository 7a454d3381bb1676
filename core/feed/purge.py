"""One bounded step of purging: which keys and journal entries are past their last day, and taking them out.

Theory of operation. A purge goes through all keys in order, in steps of one transaction each, and then trims journal
and quarantine. The place where it goes on stands in the register's description, so that a purge that was broken off
goes on there. A step that took anything out has a journal entry with what it judged by and how far it went;
PurgeStep.again() makes the same step of it, so that replaying the journal gives the same register.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, MutableMapping
from heapq import merge as merge_sorted
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.codes import code_from_key
from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed import history, journal, positions
from jukinet.core.feed.expiry import expired_keys
from jukinet.core.feed.holdings import HoldingsDelta
from jukinet.core.feed.journal import EntryKind, JournalEntry, PurgeDone
from jukinet.core.feed.key_state import KeyState
from jukinet.core.law.retention import EPOCH, Cutoffs, Rule, cutoffs
from jukinet.core.store import schema
from jukinet.core.store.schema import PurgePlace
from jukinet.core.store.writer import ChangeTransaction
from jukinet.core.vocabulary import State

if TYPE_CHECKING:
    import datetime

STEP_BUCKETS: Final = 16_384
"""A million records: some 130 ms in a process that has not mapped their pages yet (1.0 s for 10 million)."""
STEP_CHANGES_MAX: Final = 2_000
"""Keys changed in one step: some 200 ms (each rewrites a block), for which the feeds wait."""
TRIM_ENTRIES_MAX: Final = 1_000
"""Journal entries, and rows of the quarantine, removed in one step."""


class PurgeStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step may do.

    day: by which it judges, days since 2000-01-01. first_key: where it begins; limits.RESIDENT_KEYS when journal and
    quarantine are due. stop_key, changes_max: where it ends at the latest. trim_before: entries and quarantined rows of
    days before this one are trimmed, at most trim_entries_max and trim_rows_max of them. is_replayed: the journal says
    so; the place of a purge under way stays.
    """

    rule: Rule
    day: int
    first_key: int
    stop_key: int
    trim_before: int
    changes_max: int = STEP_CHANGES_MAX
    trim_entries_max: int = TRIM_ENTRIES_MAX
    trim_rows_max: int = TRIM_ENTRIES_MAX
    is_replayed: bool = False

    @property
    def trims(self) -> bool:
        """Whether it is about journal and quarantine."""
        return self.first_key >= limits.RESIDENT_KEYS

    @property
    def cutoffs(self) -> Cutoffs:
        """The rule as of the day."""
        return cutoffs(self.rule, day_of(self.day))

    @classmethod
    def next(cls, place: PurgePlace, width: int, trim_before: int) -> PurgeStep:
        """The step that goes on at a place."""
        stop = min((place.key // width + STEP_BUCKETS) * width, limits.RESIDENT_KEYS)
        return cls(
            rule=Rule.of_number(place.rule), day=place.day, first_key=place.key, stop_key=stop, trim_before=trim_before
        )

    @classmethod
    def again(cls, entry: JournalEntry) -> PurgeStep:
        """The very step of a journal entry. Raises StoreCorruptError when the entry cannot be read."""
        done = journal.unpack_purge(entry)
        return cls(
            rule=Rule.of_number(done.rule),
            day=done.day,
            first_key=entry.first_key,
            stop_key=entry.stop_key,
            trim_before=done.trimmed_before,
            changes_max=limits.RESIDENT_KEYS,
            trim_entries_max=done.trimmed_entries,
            trim_rows_max=done.trimmed_rows,
            is_replayed=True,
        )


class Trimmed(msgspec.Struct):
    """What went of journal and quarantine. journal_first: 0 unless entries went."""

    entries: int = 0
    rows: int = 0
    journal_first: int = 0
    complete: bool = True


class Purged(msgspec.Struct, kw_only=True):
    """What a step did. stop_key: how far it looked.

    dead and removed: shown records that gave way to tombstones. contributions: taken out of the history.
    """

    stop_key: int
    dead: int = 0
    removed: int = 0
    contributions: int = 0
    expired: list[int] = []
    trimmed: Trimmed = msgspec.field(default_factory=Trimmed)
    touched: int = 0

    @property
    def changed(self) -> bool:
        """Whether there is anything to write into the journal."""
        return bool(self.touched or self.trimmed.entries or self.trimmed.rows)

    def place(self, step: PurgeStep) -> PurgePlace | None:
        """Where the purge goes on; None when this was its last step."""
        if step.trims and self.trimmed.complete:
            return None
        return PurgePlace(step.rule.number, step.day, self.stop_key)

    def entry(self, step: PurgeStep, day: int) -> JournalEntry:
        """The journal entry of the step, applied on ``day``."""
        done = PurgeDone(
            rule=step.rule.number,
            day=step.day,
            removed=self.contributions,
            expired=array("Q", [code_from_key(key) for key in self.expired]).tobytes(),
            trimmed_before=step.trim_before if step.trims else 0,
            trimmed_entries=self.trimmed.entries,
            trimmed_rows=self.trimmed.rows,
        )
        return JournalEntry(
            kind=EntryKind.PURGE,
            prefecture=0,
            registered_day=day,
            first_sequence=0,
            count=0,
            first_key=step.first_key,
            stop_key=self.stop_key,
            results=b"",
            payload=msgspec.msgpack.encode(done),
        )

    def __repr__(self) -> str:
        """Never shows keys."""
        return f"<Purged {self.dead} {self.removed} {self.contributions}>"


def day_of(number: int) -> datetime.date:
    """The date of a day number."""
    return EPOCH.fromordinal(EPOCH.toordinal() + number)


def take(
    change: ChangeTransaction,
    databases: Mapping[str, lmdb._Database],
    jis: list[int],
    step: PurgeStep,
    keys: MutableMapping[int, KeyState],
    delta: HoldingsDelta,
) -> Purged:
    """Do a step in a transaction. What is left of the keys is put into ``keys``: the caller writes their history."""
    if step.trims:
        trimmed = _trim(change.handle, databases, step)
        return Purged(stop_key=limits.RESIDENT_KEYS, trimmed=trimmed)
    found, stop_key = _expired(change, databases, step)
    purged = Purged(stop_key=stop_key)
    for key in found:
        bucket, key_delta = divmod(key, change.meta.width)
        value = change.handle.get(schema.NUMBER.pack(bucket), None, databases["history"])
        kept = () if value is None else history.of_key(value, bucket, key_delta)
        state = keys[key] = KeyState(key, change.stored(key), kept, jis)
        before = state.shown
        purged.contributions += state.purge(step.cutoffs, jis)
        purged.touched += 1
        if state.shown is before:
            continue
        change.put_entry(key, before, state.shown)
        delta.change_encoded(key, before, state.shown)
        if before is not None and state.shown is not None and state.shown[0] & 15 == State.EXPIRED:
            purged.expired.append(key)
            if before[0] & 15 == State.DEAD:
                purged.dead += 1
            else:
                purged.removed += 1
    return purged


def _expired(
    change: ChangeTransaction, databases: Mapping[str, lmdb._Database], step: PurgeStep
) -> tuple[list[int], int]:
    """Keys with anything expired, in order, at most changes_max; and the key before which all have been found."""
    width, handle = change.meta.width, change.handle
    name = schema.NUMBER.pack(step.first_key // width)
    shown: list[int] = []
    stop = step.stop_key
    with handle.cursor(db=databases["residents"]) as cursor:
        if cursor.set_range(name):
            blocks = cursor.iternext(keys=True, values=True)
            shown, stop = expired_keys(blocks, width, step.first_key, stop, step.cutoffs, step.changes_max)
    kept: list[int] = []
    with handle.cursor(db=databases["history"]) as cursor:
        if cursor.set_range(name):
            for key, value in cursor.iternext(keys=True, values=True):
                low = schema.NUMBER.unpack(key)[0] * width
                if low >= stop:
                    break
                if len(kept) >= step.changes_max:
                    stop = kept[-1] + 1
                    break
                deltas = history.expired_deltas(value, low // width, step.cutoffs)
                kept += [low + at for at in deltas if step.first_key <= low + at < stop]
    found = list(dict.fromkeys(key for key in merge_sorted(shown, kept) if key < stop))
    if len(found) > step.changes_max:
        return found[: step.changes_max], found[step.changes_max]
    return found, stop


def _trim(handle: lmdb.Transaction, databases: Mapping[str, lmdb._Database], step: PurgeStep) -> Trimmed:
    """Remove what is old from the beginning of the journal and of each feed's quarantine."""
    trimmed = Trimmed()
    with handle.cursor(db=databases["journal"]) as cursor:
        while cursor.first():
            entry = journal.unpack_entry(cursor.value())
            if entry.registered_day >= step.trim_before:
                break
            if trimmed.entries == step.trim_entries_max:
                trimmed.complete = False
                break
            trimmed.journal_first = schema.NUMBER.unpack(cursor.key())[0] + max(1, entry.count)
            cursor.delete()
            trimmed.entries += 1
    with handle.cursor(db=databases["quarantine"]) as cursor:
        for prefecture in positions.PREFECTURES:
            while cursor.set_range(positions.quarantine_key(prefecture, 0)):
                if schema.NUMBER.unpack(cursor.key())[0] >> 48 != prefecture:
                    break
                if _day_of_quarantined(cursor.value()) >= step.trim_before:
                    break
                if trimmed.rows == step.trim_rows_max:
                    trimmed.complete = False
                    return trimmed
                cursor.delete()
                trimmed.rows += 1
    return trimmed


def _day_of_quarantined(value: memoryview | bytes) -> int:
    """Of a value that cannot be read: never old, so that it stays for `jukinet store check` to find."""
    try:
        return positions.unpack_quarantined(value).day
    except StoreCorruptError:
        return limits.RESIDENT_KEYS
