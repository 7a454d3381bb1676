"""The durable outbox of a prefecture: what is put here reaches the register, whatever dies on the way.

General theory of operation. An LMDB environment of its own holds the rows under their sequence (`outbox_format`), one
value with the state, reports of quarantined notifications, and the files that were put. Every change is one
transaction that is durable when the call returns; a process killed at any instant leaves the state before or after it.
Rows are taken away in steps once the register has acknowledged them and, where the prefecture keeps a register of its
own (holdings), once they are in it as well. A file of millions of lines goes in as a `Draft`: its rows lie above
``last``, where nobody sees them, until one transaction moves ``last``; what a broken draft left is removed at the next
opening. One process at a time has the outbox open; others may look at it (``readonly``). Within the process any
thread may call any method.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import lmdb

from jukinet.clients.feed.outbox_format import (
    OUTBOX_FORMAT,
    REPORT_KEY,
    SEQUENCE,
    Entry,
    FileRecord,
    LoadState,
    OutboxError,
    OutboxFullError,
    OutboxInUseError,
    OutboxState,
    PositionError,
    Report,
    RowKind,
    damaged,
    notification_row,
    packed,
    range_row,
    reported_row,
    sealed,
    unpacked,
    unsealed,
)
from jukinet.core.notifications import Notification

BYTES_MAX: Final = 8 * 1_024**3
"""Default bound on the rows: some 40 million notifications, half a year of the largest prefecture."""
SPARE_BYTES: Final = 256 * 1_024**2
"""Room in the map beyond twice the bound, so that rows can always be taken away."""
REMOVED_ROWS_MAX: Final = 20_000
"""Rows taken away in one transaction."""
DRAFT_ROWS_MAX: Final = 10_000
"""Rows written in one transaction of a draft."""
FILES_KEPT_MAX: Final = 10_000
REPORTS_MAX: Final = 1_000_000
"""Reports kept; later ones are counted, and the register keeps them all."""
_STATE: Final = b"state"

Result = TypeVar("Result")


class Outbox:
    """One prefecture's outbox. Invariant: `OutboxState.check` holds of what the last transaction left.

    Raises OutboxInUseError when another process has it, or it is another prefecture's; OutboxError when the directory
    holds none (and ``create`` is false), is damaged, or cannot be written.
    """

    def __init__(
        self,
        directory: str | Path,
        prefecture: int | None = None,
        *,
        create: bool = False,
        readonly: bool = False,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self.directory = Path(directory)
        self.bytes_max = bytes_max
        self.readonly = readonly
        self._turn = threading.RLock()
        self._drafting = False
        self._lock: int | None = None
        exists = (self.directory / "data.mdb").exists()
        if not exists and (readonly or not create):
            raise OutboxError(f"{self.directory}: holds no outbox; `jukinet feed send` makes one")
        if not exists and prefecture is None:
            raise OutboxError(f"{self.directory}: a new outbox needs its prefecture")
        try:
            self._open(exists)
            self._begin(prefecture)
        except BaseException:
            self.close()
            raise

    def _open(self, exists: bool) -> None:
        if not self.readonly:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.directory / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutboxInUseError(
                    f"{self.directory}: another process has this outbox; where `jukinet feed run` runs, put files into "
                    "its inbox instead"
                ) from None
        try:
            self._environment = lmdb.open(
                os.fspath(self.directory),
                map_size=2 * self.bytes_max + SPARE_BYTES,
                max_dbs=8,
                readonly=self.readonly,
                mode=0o600,
            )
            names = (b"state", b"rows", b"reports", b"files", b"file_order")
            self._databases = {
                name.decode(): self._environment.open_db(name, create=not self.readonly) for name in names
            }
        except lmdb.NotFoundError:
            raise OutboxError(
                f"{self.directory}: an outbox that was never finished; `jukinet feed send` makes it anew"
            ) from None
        except lmdb.Error as error:
            raise OutboxError(f"{self.directory}: the outbox cannot be opened: {error}") from error
        if not exists:
            for path in (self.directory, self.directory.parent):
                _sync_directory(path)

    def _begin(self, prefecture: int | None) -> None:
        with self._environment.begin() as transaction:
            value = transaction.get(_STATE, db=self._databases["state"])
        if value is None:
            if prefecture is None or self.readonly:
                raise OutboxError(
                    f"{self.directory}: an outbox that was never finished; `jukinet feed send` makes it anew"
                )
            self._state = OutboxState(prefecture=prefecture)
            self._write(lambda _transaction, _state: None)
            return
        state = unpacked(OutboxState, value, "its state")
        if state.format != OUTBOX_FORMAT:
            raise OutboxError(
                f"{self.directory}: an outbox of format {state.format}, this program knows {OUTBOX_FORMAT}; deliver "
                "what is in it with the program that made it, then begin a new one"
            )
        if prefecture is not None and state.prefecture != prefecture:
            raise OutboxInUseError(
                f"{self.directory}: the outbox of prefecture {state.prefecture}, not of {prefecture}; each prefecture "
                "has its own"
            )
        self._state = state
        if not self.readonly:
            while self._remove_draft_rows():
                pass

    # Reading.

    @property
    def state(self) -> OutboxState:
        """A copy of the state as the last transaction left it (of this process; read anew when ``readonly``)."""
        if self.readonly:
            with self._environment.begin() as transaction:
                return unpacked(OutboxState, transaction.get(_STATE, b"", self._databases["state"]), "its state")
        with self._turn:
            return unpacked(OutboxState, packed(self._state), "its state")

    def read(self, after: int, rows_max: int, bytes_max: int) -> list[Entry]:
        """Rows behind sequence ``after``, at most so many and so much, but at least one where there is one."""
        last = self.state.last
        found: list[Entry] = []
        total = 0
        with (
            self._environment.begin(buffers=True) as transaction,
            transaction.cursor(db=self._databases["rows"]) as cursor,
        ):
            wanted = after + 1
            if not cursor.set_range(SEQUENCE.pack(wanted)):
                return found
            for key, value in cursor:
                sequence = SEQUENCE.unpack(key)[0]
                if sequence > last or len(found) >= rows_max:
                    break
                if sequence != wanted:
                    raise damaged(f"row {wanted}")
                total += len(value)
                if found and total > bytes_max:
                    break
                found.append(unsealed(sequence, bytes(value)))
                wanted += 1
        return found

    def reports(self, after: bytes = b"", count_max: int = 10_000) -> list[tuple[bytes, Report]]:
        """Reports in order of sequence, behind the key ``after``, each with its key."""
        found: list[tuple[bytes, Report]] = []
        with self._environment.begin() as transaction, transaction.cursor(db=self._databases["reports"]) as cursor:
            if not cursor.set_range(after + b"\0"):
                return found
            for key, value in cursor:
                if len(found) >= count_max:
                    break
                found.append((key, unpacked(Report, value, "a report")))
        return found

    def reports_count(self) -> int:
        """How many reports nobody has read."""
        with self._environment.begin() as transaction:
            return int(transaction.stat(self._databases["reports"])["entries"])

    def file_put(self, digest: bytes) -> FileRecord | None:
        """What is known of a file of this digest (32 bytes)."""
        with self._environment.begin() as transaction:
            value = transaction.get(digest, db=self._databases["files"])
        return None if value is None else unpacked(FileRecord, value, "a file's record")

    # Putting.

    def put(self, notifications: Sequence[tuple[Notification, str]]) -> range:
        """Put notifications, each with its origin (file and line), durably; their sequences.

        OutboxFullError: nothing was put. OutboxError: the disk is full or fails, nothing was put.
        """
        rows = [sealed(RowKind.NOTIFICATION, notification_row(each, origin)) for each, origin in notifications]

        def change(transaction: Any, state: OutboxState) -> range:
            return self._append(transaction, state, rows)

        return self._write(change)

    def put_range(
        self,
        first_key: int,
        stop_key: int,
        count: int,
        columns: bytes | memoryview,
        load: LoadState | None,
        *,
        held: bool = False,
    ) -> int:
        """Put the statements of a range of keys, and in the same transaction how far the load has come then.

        ``held``: they were read from the holdings, which have everything that was put before, so that this row is in
        them already and takes no position there. Its sequence. Raises as `put`.
        """
        row = sealed(RowKind.RANGE, range_row(first_key, stop_key, count, columns))

        def change(transaction: Any, state: OutboxState) -> int:
            if held and (state.held_base is None or state.held != state.last):
                raise OutboxError("a range of holdings that do not have everything in the outbox")
            put = self._append(transaction, state, [row])
            if held:
                assert state.held_base is not None
                state.held, state.held_base = state.held + 1, state.held_base + 1
            if load is not None:
                state.load = load
            return put.start

        return self._write(change)

    def _append(self, transaction: Any, state: OutboxState, rows: Sequence[bytes]) -> range:
        if self._drafting:
            raise OutboxError("a file is being put; nothing else is put meanwhile")
        first = state.last + 1
        self._put_rows(transaction, state.bytes, first, rows)
        state.bytes += sum(map(len, rows))
        state.last += len(rows)
        return range(first, first + len(rows))

    def _put_rows(self, transaction: Any, bytes_now: int, first: int, rows: Sequence[bytes]) -> None:
        if bytes_now + sum(map(len, rows)) > self.bytes_max:
            raise OutboxFullError(
                f"{self.directory}: the outbox holds its {self.bytes_max:,} bytes; let `jukinet feed run` deliver, or "
                "raise outbox_bytes_max"
            )
        database = self._databases["rows"]
        for sequence, row in enumerate(rows, first):
            transaction.put(SEQUENCE.pack(sequence), row, append=True, db=database)

    def draft(self) -> Draft:
        """Begin a draft: rows that appear all at once, when it is published."""
        with self._turn:
            if self._drafting:
                raise OutboxError("a file is being put already")
            self._drafting = True
        return Draft(self)

    # The register's side.

    def bind(self, register: str, position: int) -> int:
        """Meet the register: settle ``base`` the first time, later check that its position fits what was sent.

        Returns the sequence up to which the register has everything. PositionError, with the remedy, when it does not
        fit; ``rebind`` is then the way on.
        """

        def change(_: Any, state: OutboxState) -> int:
            if state.base is None:
                state.base, state.register = position - state.acknowledged, register
                return state.acknowledged
            own = position - state.base
            if register != state.register:
                raise PositionError(f"this is another register than the one before; {_REBIND}")
            if own > state.sent:
                raise PositionError(
                    f"the register has position {position}, beyond the {state.sent + state.base} that this outbox has "
                    f"sent: another outbox has fed it, or this one was put back from a copy; {_REBIND}"
                )
            if own < state.first - 1:
                raise PositionError(
                    f"the register has position {position}, and rows up to {state.first - 1 + state.base} are no "
                    f"longer in the outbox: the register was put back from a copy; {_REBIND}"
                )
            state.acknowledged = min(state.acknowledged, own)
            return own

        return self._write(change)

    def rebind(self, register: str, position: int) -> None:
        """Go on behind ``position`` whatever was sent before. Rows not acknowledged are sent behind it; that the rest
        agrees is for a re-load to make sure, which begins anew."""

        def change(_: Any, state: OutboxState) -> None:
            state.base, state.register = position - state.acknowledged, register
            state.sent = state.acknowledged
            state.load = None

        self._write(change)

    def announce(self, sequence: int) -> None:
        """Rows up to this one are about to be sent. Durable; seldom a transaction, since it announces all there are."""
        if sequence > self._state.sent:

            def change(_: Any, state: OutboxState) -> None:
                state.sent = state.last

            self._write(change)

    def acknowledge(self, sequence: int, quarantined: Iterable[tuple[int, int, int]] = ()) -> None:
        """The register has everything up to this row. What it put into quarantine becomes reports: (sequence, row,
        fault), where row counts the statements of a range from 0 and is 0 for a notification.

        One transaction, which also takes away rows that are wanted no more, up to a bound.
        """
        faults = sorted(quarantined)

        def change(transaction: Any, state: OutboxState) -> None:
            if not state.acknowledged <= sequence <= state.sent:
                raise OutboxError("an acknowledgement of rows that were not sent")
            self._report(transaction, state, [fault for fault in faults if state.acknowledged < fault[0] <= sequence])
            state.acknowledged = sequence
            self._remove(transaction, state)

        self._write(change)

    def _report(self, transaction: Any, state: OutboxState, faults: list[tuple[int, int, int]]) -> None:
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        database = self._databases["reports"]
        room = REPORTS_MAX - transaction.stat(database)["entries"]
        for place, (sequence, row, fault) in enumerate(faults):
            state.reports += 1
            if place >= room:
                continue
            value = transaction.get(SEQUENCE.pack(sequence), db=self._databases["rows"])
            if value is None:
                raise damaged(f"row {sequence}")
            notification, origin = reported_row(unsealed(sequence, value), row)
            report = Report(
                sequence=sequence, position=sequence + (state.base or 0), fault=fault, day=day, origin=origin,
                notification=notification,
            )  # fmt: skip
            transaction.put(REPORT_KEY.pack(sequence, row), packed(report), db=database)

    def remove_reports(self, keys: Iterable[bytes]) -> int:
        """Forget reports that were read; how many there were."""

        def change(transaction: Any, _: OutboxState) -> int:
            return sum(transaction.delete(key, db=self._databases["reports"]) for key in keys)

        return self._write(change)

    def hold(self, sequence: int, base: int | None = None) -> None:
        """The holdings have everything up to this row; ``base`` binds them (sequence - base is their position)."""

        def change(transaction: Any, state: OutboxState) -> None:
            if base is not None:
                state.held_base = base
            state.held = sequence
            self._remove(transaction, state)

        self._write(change)

    def forget_load(self) -> None:
        """Let a load begin anew."""

        def change(_: Any, state: OutboxState) -> None:
            state.load = None

        self._write(change)

    # Taking away.

    def remove_acknowledged(self) -> bool:
        """Take away a step of rows that are wanted no more; whether some are left."""

        def change(transaction: Any, state: OutboxState) -> bool:
            self._remove(transaction, state)
            return state.first <= state.removable

        return self._write(change)

    def _remove(self, transaction: Any, state: OutboxState) -> None:
        stop = min(state.removable, state.first + REMOVED_ROWS_MAX - 1)
        if stop < state.first:
            return
        with transaction.cursor(db=self._databases["rows"]) as cursor:
            if not cursor.set_key(SEQUENCE.pack(state.first)):
                raise damaged(f"row {state.first}")
            while state.first <= stop:
                state.bytes -= len(cursor.value())
                cursor.delete()
                state.first += 1

    def _remove_draft_rows(self) -> bool:
        """Take away a step of what a broken draft left; whether there was any."""

        def change(transaction: Any, state: OutboxState) -> bool:
            removed = 0
            with transaction.cursor(db=self._databases["rows"]) as cursor:
                while cursor.last() and SEQUENCE.unpack(cursor.key())[0] > state.last and removed < REMOVED_ROWS_MAX:
                    cursor.delete()
                    removed += 1
            return removed > 0

        return self._write(change)

    # The one way to change anything.

    def _write(self, change: Callable[[Any, OutboxState], Result]) -> Result:
        with self._turn:
            state = unpacked(OutboxState, packed(self._state), "its state")
            try:
                with self._environment.begin(write=True) as transaction:
                    result = change(transaction, state)
                    state.check()
                    transaction.put(_STATE, packed(state), db=self._databases["state"])
            except lmdb.Error as error:
                words = f"the outbox cannot be written: {error} (is its disk full?)"
                raise OutboxError(f"{self.directory}: {words}") from error
            self._state = state
            return result

    def invariants(self) -> None:
        """AssertionError when rows and state do not fit each other."""
        with self._turn, self._environment.begin() as transaction:
            state = self._state
            state.check()
            total, wanted = 0, state.first
            for key, value in cast(Iterator[tuple[bytes, bytes]], transaction.cursor(db=self._databases["rows"])):
                sequence = SEQUENCE.unpack(key)[0]
                if sequence > state.last:
                    assert self._drafting
                    break
                assert sequence == wanted
                unsealed(sequence, value)
                total += len(value)
                wanted += 1
            assert wanted == state.last + 1
            assert total == state.bytes

    def close(self) -> None:
        """Close the environment and let other processes in."""
        environment = getattr(self, "_environment", None)
        if environment is not None:
            environment.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_REBIND: Final = "see docs/feeds.md, chapter 6, then `jukinet feed load --rebind`"


class Draft:
    """Rows that lie above ``last`` until they are published together. Leaving the context otherwise takes them away.

    Invariant: nobody reads, sends or counts a row of a draft, and nothing else is put while there is one.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._rows: list[bytes] = []
        self._written = 0
        self._bytes = 0
        self._first = outbox.state.last + 1
        self._done = False

    @property
    def count(self) -> int:
        return self._written + len(self._rows)

    def add(self, notification: Notification, origin: str) -> None:
        """Add a row; written in steps. Raises as `Outbox.put`, and then the draft can only be left."""
        self._rows.append(sealed(RowKind.NOTIFICATION, notification_row(notification, origin)))
        if len(self._rows) >= DRAFT_ROWS_MAX:
            self._flush()

    def _flush(self) -> None:
        outbox, rows = self._outbox, self._rows

        def change(transaction: Any, state: OutboxState) -> None:
            outbox._put_rows(transaction, state.bytes + self._bytes, self._first + self._written, rows)

        outbox._write(change)
        self._written += len(rows)
        self._bytes += sum(map(len, rows))
        self._rows = []

    def publish(self, digest: bytes, name: str) -> range:
        """Make all rows part of the outbox and remember the file; durable when this returns."""
        self._flush()
        outbox = self._outbox
        span = range(self._first, self._first + self._written)
        record = FileRecord(
            name=name, day=datetime.datetime.now(datetime.UTC).date().isoformat(), first=span.start, last=span.stop - 1
        )

        def change(transaction: Any, state: OutboxState) -> None:
            state.last += self._written
            state.bytes += self._bytes
            files, order = outbox._databases["files"], outbox._databases["file_order"]
            transaction.put(digest, packed(record), db=files)
            transaction.put(SEQUENCE.pack(state.files), digest, append=True, db=order)
            state.files += 1
            with transaction.cursor(db=order) as cursor:
                while transaction.stat(order)["entries"] > FILES_KEPT_MAX and cursor.first():
                    if cursor.value() != digest:
                        transaction.delete(cursor.value(), db=files)
                    cursor.delete()

        outbox._write(change)
        self._done = True
        outbox._drafting = False
        return span

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._done = True
            try:
                while self._outbox._remove_draft_rows():
                    pass
            finally:
                self._outbox._drafting = False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
