"""The engine: the one writer of a register that is fed, and its transactions (docs/convergence.md).

Theory of operation. A transaction takes batches of any feeds. For each row it decides whether the row is accepted, adds
it to the contributions of its key, and at the end of the batch folds the keys concerned. What is shown differently goes
to the blocks and to the digests; what is not shown goes to the history; the batch goes to the journal and its last
sequence number to the feed's state. All of it is committed together or not at all.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import lmdb
import msgspec

from jukinet.core.errors import RecordFormatError, StoreError
from jukinet.core.feed import contribution, history, journal, late_index, positions, purge
from jukinet.core.feed.contribution import Contribution, Kind, Standing
from jukinet.core.feed.errors import SequenceGapError
from jukinet.core.feed.holdings import Digest, HoldingsDelta, HoldingsReader
from jukinet.core.feed.journal import EntryKind, JournalEntry, Result
from jukinet.core.feed.key_state import KeyState
from jukinet.core.feed.places import Places
from jukinet.core.feed.positions import FeedState, Loading, Quarantined, Unindexed, loading_after
from jukinet.core.feed.purge import Purged, PurgeStep
from jukinet.core.feed.range_kernel import TownIndex, check_rows
from jukinet.core.feed.range_load import load_range
from jukinet.core.feed.room import BlockRoom
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.notifications import Fault, Notification, NotificationBatch, faults_of
from jukinet.core.records.resident import REGISTERED_EPOCH
from jukinet.core.store import schema
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.writer import RegisterWriter
from jukinet.core.vocabulary import State

JAPAN: Final = datetime.timezone(datetime.timedelta(hours=9))
Outcomes = Mapping[int, Fault | list[tuple[int, Contribution]]]
"""By row, ascending: why it was refused, or its contributions with their keys. A plain row of a range is not there: it
was applied."""

_REPORTED: Final = {Standing.CONFLICT: Fault.ANOTHER_PERSON, Standing.AFTER_RETIREMENT: Fault.CODE_RETIRED}
_KEPT_ASIDE: Final = {Standing.NOT_HOLDER, Standing.CONFLICT, Standing.AFTER_RETIREMENT}


def day_in_japan() -> datetime.date:
    """The centre's day."""
    return datetime.datetime.now(JAPAN).date()


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch came to.

    position: the feed's last sequence number. digest: the prefecture's holdings when the batch had been applied.
    applied and kept: rows that were accepted and are or were shown, and those kept aside. quarantined: (sequence
    number, fault) of rows that were refused or kept aside as ANOTHER_PERSON or CODE_RETIRED, of a range (row from 0,
    fault); of rows that had been sent before, too, but of a range that had been only those refused.
    """

    position: int
    digest: Digest
    applied: int = 0
    kept: int = 0
    quarantined: list[tuple[int, Fault]] = []


class FeedRegister:
    """A register opened for its feeds. One process; a transaction belongs to the thread that began it.

    Raises what RegisterReader raises.
    """

    def __init__(self, directory: str | Path, *, today: Callable[[], datetime.date] = day_in_japan) -> None:
        self.writer = RegisterWriter(directory)
        try:
            late_index.catch_up_all(self.writer)
        except BaseException:
            self.writer.close()
            raise
        self.today = today
        self.places = Places(self.writer.areas, self.writer.towns)
        self._holdings: dict[int, Digest] = {}
        self._holdings_version = 0
        self.town_index = TownIndex(self.writer.places, self.writer.towns)

    @property
    def directory(self) -> Path:
        """Where the register lies."""
        return self.writer.directory

    def transaction(self) -> FeedTransaction:
        """Begin a transaction; it belongs to this thread until commit() or the end of its context."""
        return FeedTransaction(self)

    def reader(self) -> RegisterReader:
        """A reader in the same process; it must be closed before the register."""
        return self.writer.reader()

    def meta(self) -> schema.Meta:
        """The register's description, as committed."""
        with self.writer.reading() as transaction:
            return schema.read_meta(transaction, self.writer.databases["meta"], self.directory)

    def feed(self, prefecture: int) -> FeedState:
        """Where a feed stands, as committed."""
        with self.writer.reading() as transaction:
            return positions.read_feed(transaction, self.writer.databases["feeds"], prefecture)

    def holdings(self, prefecture: int) -> Digest:
        """The digest of a prefecture's holdings, as committed."""
        with self.writer.reading() as transaction:
            return HoldingsReader(transaction, self.writer.databases, self.writer.places).prefecture(prefecture)

    def holdings_at(self, version: int) -> dict[int, Digest]:
        """Digests of prefectures as of a version of the register, as far as they were asked for; to be added to."""
        if self._holdings_version != version:
            self._holdings, self._holdings_version = {}, version
        return self._holdings

    def holdings_moved(self, version: int, digests: dict[int, Digest]) -> None:
        """Called when a transaction has made ``version`` and these digests."""
        self._holdings, self._holdings_version = digests, version

    def journal(self, first: int = 1) -> Iterator[tuple[int, JournalEntry]]:
        """Entries of the journal in national order, beginning with the one that holds order ``first`` or the next."""
        with self.writer.reading() as transaction, transaction.cursor(db=self.writer.databases["journal"]) as cursor:
            if not cursor.set_range(schema.NUMBER.pack(first)):
                return
            for key, value in cursor.iternext(keys=True, values=True):
                yield schema.NUMBER.unpack(key)[0], journal.unpack_entry(value)

    def close(self) -> None:
        """Close the environment; a transaction under way is lost."""
        self.writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class FeedTransaction:
    """Batches that take effect together. Leaving the context without commit() undoes all.

    Invariant: between calls every key touched is folded, and the digests are those of what is shown.
    """

    def __init__(self, register: FeedRegister) -> None:
        self._register = register
        self._change = register.writer.transaction()
        self._databases = register.writer.databases
        self._places = register.places
        meta = self._change.meta
        self.day = max((register.today() - REGISTERED_EPOCH).days, meta.newest_day)
        """Days since 2000-01-01; a clock that jumps back is not followed."""
        self.date = REGISTERED_EPOCH + datetime.timedelta(self.day)
        self._journal_next = meta.journal_next
        self._keys: dict[int, KeyState] = {}
        self._touched: dict[int, KeyState] = {}
        self._feeds: dict[int, FeedState] = {}
        self._changed_feeds: set[int] = set()
        self._stored_holdings = register.holdings_at(meta.version)
        self._delta = HoldingsDelta(register.writer.places)
        self._identity = IdentityChanges(register.writer.layout)
        self._is_late = late_index.is_late(register.writer.layout.plan)
        self._room = BlockRoom(meta.width, self._change.stored_block)
        self._beside = False

    def apply(self, prefecture: int, first_sequence: int, batch: NotificationBatch) -> Applied:
        """Apply rows that the feed has not sent before; the others are reported again.

        Raises SequenceGapError when first_sequence is beyond the next one, and changes nothing; StoreError when the
        store fails, and the transaction is lost.
        """
        feed = self._begin(prefecture, first_sequence, batch.count)
        known = min(batch.count, feed.position + 1 - first_sequence)
        try:
            reports = self._reports_again(prefecture, first_sequence, batch, known)
            if known == batch.count:
                return Applied(position=feed.position, digest=self.holdings(prefecture), quarantined=reports)
            new = batch if known == 0 else batch.part(known, batch.count)
            sequence = first_sequence + known
            rows = self._accept_all(prefecture, new)
            for row, outcome in rows.items():
                if isinstance(outcome, Fault):
                    self._quarantine(prefecture, sequence + row, [outcome], new.part(row, row + 1))
            entry = JournalEntry(
                kind=EntryKind.BATCH,
                prefecture=prefecture,
                registered_day=self.day,
                first_sequence=sequence,
                count=new.count,
                results=b"",
                payload=bytes(new.payload),
            )
            return self._finish(entry, rows, reports, range(sequence, sequence + new.count), feed.loading)
        except lmdb.Error as error:
            self._change.abort()
            raise StoreError(f"{self._register.directory}: the batch could not be applied: {error}") from error
        except BaseException:
            self._change.abort()
            raise

    def apply_range(
        self, prefecture: int, sequence: int, first_key: int, stop_key: int, batch: NotificationBatch
    ) -> Applied:
        """Make the prefecture's entries with keys in [first_key, stop_key) those of the batch: a part of a load.

        Rows are statements with ascending keys inside the range. Keys under which an area of the prefecture stands
        entered and that are not among the rows get an ex officio removal. The range takes one sequence number. Raises
        RangeError when it is none, SequenceGapError and StoreError as apply() does.
        """
        check_rows(batch.payload, batch.positions, batch.count, first_key, stop_key)
        feed = self._begin(prefecture, sequence, 1)
        try:
            if sequence <= feed.position:
                reports = self._range_reports_again(prefecture, sequence, batch)
                return Applied(position=feed.position, digest=self.holdings(prefecture), quarantined=reports)
            rows = self._load(prefecture, first_key, stop_key, batch)
            bad = {row: outcome for row, outcome in rows.items() if isinstance(outcome, Fault)}
            if bad:
                refused = NotificationBatch.from_notifications([batch.row(row) for row in bad])
                self._quarantine(prefecture, sequence, list(bad.values()), refused)
            entry = JournalEntry(
                kind=EntryKind.RANGE,
                prefecture=prefecture,
                registered_day=self.day,
                first_sequence=sequence,
                count=batch.count,
                first_key=first_key,
                stop_key=stop_key,
                results=b"",
                payload=bytes(batch.payload),
            )
            return self._finish(entry, rows, [], range(batch.count), loading_after(feed.loading, first_key, stop_key))
        except lmdb.Error as error:
            self._change.abort()
            raise StoreError(f"{self._register.directory}: the range could not be applied: {error}") from error
        except BaseException:
            self._change.abort()
            raise

    @property
    def meta(self) -> schema.Meta:
        """The register's description as this transaction found it."""
        return self._change.meta

    def purge(self, step: PurgeStep) -> Purged:
        """Take out what is past its last day, in a transaction of its own (docs/retention.md).

        Raises StoreError when the store fails, or when the transaction has done something else; it is lost then.
        """
        if self._keys or self._journal_next != self._change.meta.journal_next:
            self._change.abort()
            raise StoreError("a step of purging has a transaction of its own")
        try:
            purged = purge.take(self._change, self._databases, self._places.jis, step, self._keys, self._delta)
            meta = self._change.meta
            place, done = purged.place(step), meta.purged_day
            if step.is_replayed:
                place = meta.purge
            elif place is None:
                done = step.day
            first = purged.trimmed.journal_first or meta.journal_first
            self._change.meta = msgspec.structs.replace(meta, journal_first=first, purge=place, purged_day=done)
            if purged.changed:
                entry = purged.entry(step, self.day)
                self._put("journal", schema.NUMBER.pack(self._journal_next), journal.pack_entry(entry))
                self._journal_next += 1
        except lmdb.Error as error:
            self._change.abort()
            raise StoreError(f"{self._register.directory}: the purge could not be applied: {error}") from error
        except BaseException:
            self._change.abort()
            raise
        self._beside = True
        return purged

    def feed(self, prefecture: int) -> FeedState:
        """Where a feed stands in this transaction."""
        if prefecture not in self._feeds:
            self._feeds[prefecture] = positions.read_feed(self._change.handle, self._databases["feeds"], prefecture)
        return self._feeds[prefecture]

    def holdings(self, prefecture: int) -> Digest:
        """The digest of a prefecture's holdings as this transaction makes them."""
        if prefecture not in self._stored_holdings:
            reader = HoldingsReader(self._change.handle, self._databases, self._register.writer.places)
            self._stored_holdings[prefecture] = reader.prefecture(prefecture)
        return self._delta.prefecture(self._stored_holdings[prefecture], prefecture)

    @property
    def handle(self) -> lmdb.Transaction:
        """LMDB's transaction, for tables beside the register (notices); commit() then has something to commit."""
        self._beside = True
        return self._change.handle

    @property
    def view(self) -> lmdb.Transaction:
        """The same for reading alone: it leaves commit() with nothing to do where nothing else was changed."""
        return self._change.handle

    def commit(self) -> int:
        """Make everything durable; returns the register's version. StoreError: nothing was changed."""
        if not self._beside and self._journal_next == self._change.meta.journal_next:
            return self._change.commit(holdings=self._delta, identity=self._identity)
        try:
            self._write_history()
            self._change_identity()
            for prefecture in self._changed_feeds:
                self._put("feeds", schema.NUMBER.pack(prefecture), positions.pack_feed(self._feeds[prefecture]))
        except lmdb.Error as error:
            self._change.abort()
            raise StoreError(f"{self._register.directory}: the change could not be written: {error}") from error
        self._change.meta = msgspec.structs.replace(
            self._change.meta, journal_next=self._journal_next, newest_day=self.day
        )
        digests = {prefecture: self.holdings(prefecture) for prefecture in self._stored_holdings}
        version = self._change.commit(holdings=self._delta, identity=self._identity, always=True)
        for prefecture in self._changed_feeds:
            if late_index.is_due(self._feeds[prefecture]):
                version = late_index.catch_up(self._register.writer, prefecture) or version
        self._register.holdings_moved(version, digests)
        return version

    def _change_identity(self) -> None:
        """What the changed keys do to the identity index. Of unindexed ones all entries are added."""
        states = [self.feed(prefecture) for prefecture in positions.PREFECTURES] if self._is_late else []
        unindexed = [(u.first_key, u.stop_key) for u in (state.unindexed for state in states) if u is not None]
        for state in self._keys.values():
            if state.persons_before is None:
                continue
            now = state.persons()
            self._identity.change(state.key, state.persons_before, now)
            if any(first <= state.key < stop for first, stop in unindexed):
                self._identity.change(state.key, [], now)

    def _begin(self, prefecture: int, first_sequence: int, count: int) -> FeedState:
        """The feed's state. Raises SequenceGapError, ValueError for what no connection lets through."""
        if prefecture not in positions.PREFECTURES:
            raise ValueError("a prefecture is a number from 1 to 47")
        feed = self.feed(prefecture)
        if first_sequence > feed.position + 1:
            raise SequenceGapError(feed.position + 1)
        if not 0 < first_sequence <= positions.SEQUENCE_MAX - count:
            raise ValueError("a sequence number is out of range")
        return feed

    def _put(self, database: str, key: bytes, value: bytes) -> None:
        self._change.handle.put(key, value, db=self._databases[database])

    def _state(self, key: int) -> KeyState:
        """The key's contributions as this transaction has them."""
        state = self._keys.get(key)
        if state is None:
            bucket, delta = divmod(key, self._change.meta.width)
            value = self._change.handle.get(schema.NUMBER.pack(bucket), None, self._databases["history"])
            kept = () if value is None else history.of_key(value, bucket, delta)
            state = self._keys[key] = KeyState(key, self._change.stored(key), kept, self._places.jis)
        return state

    def _accept_all(self, prefecture: int, batch: NotificationBatch) -> Outcomes:
        """Judge each row and take in the accepted ones."""
        stateless = faults_of(batch, prefecture, self.date)
        loading = self.feed(prefecture).loading
        awaited_from = None if loading is None else loading.next_key
        return {
            row: Fault(stateless[row]) if stateless[row] else self._accept(batch.row(row), awaited_from)
            for row in range(batch.count)
        }

    def _accept(
        self, notification: Notification, awaited_from: int | None = None
    ) -> Fault | list[tuple[int, Contribution]]:
        """Take in one notification without stateless fault, or say what else is wrong with it.

        awaited_from: the first key that a load under way has not come to; None: there is no load.
        """
        wanted = self._contributions(notification)
        if isinstance(wanted, Fault):
            return wanted
        for key, c in wanted:
            fault = self._state(key).fault(c, is_awaited=awaited_from is not None and key >= awaited_from)
            if fault is not None:
                return fault
        if not all(self._room.takes(self._state(key), c) for key, c in wanted):
            return Fault.NO_ROOM
        for key, c in wanted:
            state = self._state(key)
            state.add(c)
            self._touched[key] = state
        return wanted

    def _contributions(self, notification: Notification) -> Fault | list[tuple[int, Contribution]]:
        """What a notification contributes, and under which keys; the key that it retires comes first."""
        is_retired = notification.state == State.RETIRED
        area = (self._places.known if is_retired else self._places.connected).get(notification.area)
        if area is None:
            return Fault.AREA_UNKNOWN
        place = self._places.split(area, notification.address)
        if place is None:
            return Fault.BAD_ADDRESS
        if is_retired:
            stated = contribution.retirement(notification, area=area, day=self.day)
            return [(notification.code // 10, stated)]
        try:
            own = contribution.from_notification(notification, area=area, town=place[0], rest=place[1], day=self.day)
        except RecordFormatError:
            return Fault.BAD_TEXT
        wanted = [(notification.code // 10, own)]
        if notification.code_before and own.kind is Kind.ENTRY:
            retired = contribution.retirement(notification, area=area, day=self.day)
            wanted.insert(0, (notification.code_before // 10, retired))
        return wanted

    def _refold(self) -> None:
        """Fold what was touched; what is shown differently goes to the entries and the digests."""
        for key, state in self._touched.items():
            before = state.shown
            state.refold(self.day)
            if state.shown is not before:
                self._change.put_entry(key, before, state.shown)
                self._delta.change_encoded(key, before, state.shown)
                self._room.moved(key, len(before[1]) if before else 0, len(state.shown[1]) if state.shown else 0)
        self._touched.clear()
        self._room.settled()

    def _finish(
        self,
        entry: JournalEntry,
        rows: Outcomes,
        reports: list[tuple[int, Fault]],
        numbers: range,
        loading: Loading | None,
    ) -> Applied:
        """Fold, write the journal entry and the feed's state, and say what the rows came to, by their numbers."""
        self._refold()
        results = bytearray((Result.APPLIED,)) * entry.count
        for row, outcome in rows.items():
            if isinstance(outcome, Fault):
                results[row] = Result.QUARANTINED
                reports.append((numbers[row], outcome))
                continue
            standings = [self._state(key).standing_of(c) for key, c in outcome]
            if not _KEPT_ASIDE.isdisjoint(standings):
                results[row] = Result.KEPT
            reports += [(numbers[row], _REPORTED[s]) for s in standings[-1:] if s in _REPORTED]
        key = schema.NUMBER.pack(self._journal_next)
        self._put("journal", key, journal.pack_entry(msgspec.structs.replace(entry, results=bytes(results))))
        self._journal_next += max(1, entry.count)
        applied, kept = results.count(Result.APPLIED), results.count(Result.KEPT)
        feed = self.feed(entry.prefecture)
        self._feeds[entry.prefecture] = FeedState(
            position=entry.first_sequence if entry.kind == EntryKind.RANGE else numbers[-1],
            notifications=feed.notifications + entry.count,
            applied=feed.applied + applied + kept,
            quarantined=feed.quarantined + entry.count - applied - kept,
            last_day=self.day,
            loading=loading,
            unindexed=self._unindexed(feed, entry),
        )
        self._changed_feeds.add(entry.prefecture)
        return Applied(
            position=self._feeds[entry.prefecture].position,
            digest=self.holdings(entry.prefecture),
            applied=applied,
            kept=kept,
            quarantined=reports,
        )

    def _unindexed(self, feed: FeedState, entry: JournalEntry) -> Unindexed | None:
        """What the feed leaves out of the identity index when an entry has been applied."""
        if not self._is_late or entry.kind != EntryKind.RANGE or not entry.count:
            return feed.unindexed
        return late_index.widened(feed.unindexed, entry.first_key, entry.stop_key, entry.count)

    def _quarantine(self, prefecture: int, sequence: int, faults: list[Fault], rows: NotificationBatch) -> None:
        value = Quarantined(faults=[int(fault) for fault in faults], day=self.day, payload=bytes(rows.payload))
        self._put("quarantine", positions.quarantine_key(prefecture, sequence), positions.pack_quarantined(value))

    def _quarantined_before(self, prefecture: int, sequence: int) -> Quarantined | None:
        """What was refused when this sequence number was applied."""
        key = positions.quarantine_key(prefecture, sequence)
        value = self._change.handle.get(key, None, self._databases["quarantine"])
        return None if value is None else positions.unpack_quarantined(value)

    def _range_reports_again(self, prefecture: int, sequence: int, batch: NotificationBatch) -> list[tuple[int, Fault]]:
        """Reports on the rows of a range that were refused when it was applied, found again by their codes."""
        before = self._quarantined_before(prefecture, sequence)
        if before is None:
            return []
        rows = {code: row for row, code in enumerate(batch.codes)}
        refused = NotificationBatch.parse(before.payload, len(before.faults)).codes
        return [(rows[code], Fault(fault)) for code, fault in zip(refused, before.faults, strict=True) if code in rows]

    def _reports_again(
        self, prefecture: int, first_sequence: int, batch: NotificationBatch, known: int
    ) -> list[tuple[int, Fault]]:
        """Reports on rows that had been sent before: the refused ones, and those that stand aside now."""
        reports: list[tuple[int, Fault]] = []
        # What comes again need not be what came: only rows that could have been accepted are looked for.
        stateless = faults_of(batch, prefecture, self.date) if known else b""
        for row in range(known):
            refused = self._quarantined_before(prefecture, first_sequence + row)
            if refused is not None:
                reports += [(first_sequence + row, Fault(fault)) for fault in refused.faults]
                continue
            wanted = [] if stateless[row] else self._contributions(batch.row(row))
            if isinstance(wanted, Fault):
                continue
            standings = [self._state(key).standing_of(c) for key, c in wanted[-1:]]
            reports += [(first_sequence + row, _REPORTED[s]) for s in standings if s in _REPORTED]
        return reports

    def _load(self, prefecture: int, first_key: int, stop_key: int, batch: NotificationBatch) -> Outcomes:
        """As _accept_all, with the plain rows of a range put into their blocks at once, without contributions here."""
        stateless = faults_of(batch, prefecture, self.date)
        loaded = load_range(
            self._change,
            self._databases,
            self._register.town_index,
            self._delta,
            None if self._is_late else self._identity,
            prefecture=prefecture,
            day=self.day,
            first_key=first_key,
            stop_key=stop_key,
            batch=batch,
            faults=stateless,
            at_work=self._keys,
        )
        width = self._change.meta.width
        self._room.rewritten(range(first_key // width, -(-stop_key // width)), self._keys, self._stored_length)
        rows: Outcomes = {
            row: Fault(stateless[row]) if stateless[row] else self._accept(batch.row(row))
            for row in loaded.general_rows
        }
        self._remove_others(prefecture, loaded.others)
        return rows

    def _stored_length(self, key: int) -> int:
        found = self._change.stored(key)
        return 0 if found is None else len(found[1])

    def _remove_others(self, prefecture: int, keys: list[int]) -> None:
        """Ex officio removals of those among ``keys`` whom the prefecture's areas hold."""
        area_numbers = {number for number, jis in enumerate(self._places.jis) if jis // 1000 == prefecture}
        for key in keys:
            state = self._state(key)
            for last in state.entered(area_numbers):
                removal = contribution.removal_ex_officio(last, self.date, self.day)
                if state.fault(removal) is None:
                    state.add(removal)
                    self._touched[key] = state

    def _write_history(self) -> None:
        """Write the history of the keys whose contributions changed, block by block."""
        width = self._change.meta.width
        changed = sorted(key for key, state in self._keys.items() if state.history_changed)
        handle, database = self._change.handle, self._databases["history"]
        for bucket, keys in groupby(changed, key=lambda key: key // width):
            name = schema.NUMBER.pack(bucket)
            present = handle.get(name, None, database)
            merged = history.merge(present, bucket, [(key - bucket * width, self._keys[key].kept()) for key in keys])
            if merged is not None:
                handle.put(name, merged, db=database)
            elif present is not None:
                handle.delete(name, db=database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._change.abort()
