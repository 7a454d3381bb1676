"""The prefecture's own register (holdings): changed by the same engine as the centre's, row by row of the outbox.

Every notification that is in the outbox goes into the holdings under its own running number (*position*), after it is
durable in the outbox and in the same order, so that a process that dies in between goes on where it was. Ranges of a
load were read from the holdings and change nothing in them: they take no position. The outbox remembers how its
sequence and the positions go together (``held_base``), and keeps rows until they are in the holdings.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from jukinet.clients.errors import EXIT_SERVER, EXIT_USAGE, ClientError
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import Entry, LoadState, RowKind, read_notification_row
from jukinet.core.feed.engine import FeedRegister, day_in_japan
from jukinet.core.feed.range_statements import statements
from jukinet.core.limits import RESIDENT_KEYS
from jukinet.core.notifications import Fault, Notification, NotificationBatch
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot

ROWS_PER_TRANSACTION: Final = 10_000
BYTES_PER_READ: Final = 16 * 1_024 * 1_024
RANGE_BYTES_MAX: Final = 16 * 1_024 * 1_024
RANGE_ROWS_DEFAULT: Final = 16_384
"""Statements in one range of a load: 2 to 3 MB, a part of a second to send and to apply."""


class HoldingsError(ClientError):
    """The holdings and the outbox do not belong together; the message says what to do."""

    exit_code = EXIT_USAGE


class HoldingsRefusedError(ClientError):
    """The holdings' own engine refused notifications that are in the outbox."""

    exit_code = EXIT_SERVER


class Holdings:
    """The register in a directory together with an outbox. Not for several threads at once.

    Invariant: the holdings have applied exactly the notifications up to row ``outbox.state.held``, or a few more that a
    process which died had not noted yet.

    ``adopt``: take the register as it is for what the prefecture holds after everything in the outbox. Raises
    HoldingsError when register and outbox do not belong together, StoreError when there is no register.
    """

    def __init__(
        self,
        directory: str | Path,
        outbox: Outbox,
        *,
        adopt: bool = False,
        today: Callable[[], datetime.date] = day_in_japan,
    ) -> None:
        self.outbox = outbox
        self.prefecture = outbox.state.prefecture
        self.register = FeedRegister(directory, today=today)
        self.refused: dict[Fault, int] = {}
        """What the holdings' own engine put into quarantine since they were opened, by fault."""
        self._reader: RegisterReader | None = None
        try:
            self._join(adopt)
        except BaseException:
            self.register.close()
            raise

    def _join(self, adopt: bool) -> None:
        position = self.register.feed(self.prefecture).position
        state = self.outbox.state
        if state.held_base is None or adopt:
            if not adopt and state.waiting:
                raise HoldingsError(
                    f"{self.register.directory}: the outbox holds {state.waiting} rows, and nobody knows whether these "
                    "holdings have them: deliver them first (jukinet feed run), or give --adopt-holdings when they do"
                )
            self.outbox.hold(state.last, base=state.last - position)
            return
        held = position + state.held_base
        if not state.first - 1 <= held <= state.last:
            raise HoldingsError(
                f"{self.register.directory}: the holdings are at row {held}, the outbox has rows {state.first} to "
                f"{state.last}: they were put back from a copy, or belong to another outbox; make the holdings anew "
                "and give --adopt-holdings (docs/feeds.md, chapter 6)"
            )
        if held > state.held:
            self.outbox.hold(held)

    def catch_up(self, progress: Callable[[int], None] | None = None) -> int:
        """Apply what is in the outbox and not here yet, 10,000 notifications to a transaction; how many they were."""
        done = 0
        while entries := self.outbox.read(self.outbox.state.held, ROWS_PER_TRANSACTION, BYTES_PER_READ):
            self._apply(entries)
            done += len(entries)
            if progress is not None:
                progress(done)
        return done

    def _apply(self, entries: list[Entry]) -> None:
        state = self.outbox.state
        assert state.held_base is not None
        if any(entry.kind is not RowKind.NOTIFICATION for entry in entries):
            raise HoldingsError(
                "a range is in the outbox that was not read from these holdings; deliver everything, then give "
                "--adopt-holdings"
            )
        batch = NotificationBatch.from_notifications([read_notification_row(entry.body)[0] for entry in entries])
        with self.register.transaction() as transaction:
            applied = transaction.apply(self.prefecture, entries[0].sequence - state.held_base, batch)
            transaction.commit()
        for _, fault in applied.quarantined:
            self.refused[fault] = self.refused.get(fault, 0) + 1
        self.outbox.hold(entries[-1].sequence)

    def put_next_range(self, rows_max: int = RANGE_ROWS_DEFAULT) -> LoadState | None:
        """Put the next range of the load into the outbox; how far the load is then, None when nothing is left of it.

        What was put before is in these holdings first, so that the range says how things stand at its place in the
        sequence, whatever comes behind it.
        """
        self.catch_up()
        load = self.outbox.state.load or LoadState(next_key=0)
        if load.next_key >= RESIDENT_KEYS:
            return None
        with self.snapshot() as snapshot:
            payload, count, stop_key = statements(
                snapshot, self.prefecture, load.next_key, RESIDENT_KEYS, rows_max, RANGE_BYTES_MAX
            )
        after = LoadState(next_key=stop_key, ranges=load.ranges + 1, residents=load.residents + count)
        self.outbox.put_range(load.next_key, stop_key, count, payload, after, held=True)
        return after

    def statements_of(self, keys: list[int]) -> list[Notification | None]:
        """The statement of each key's record; None where the prefecture holds nothing to state."""
        found: list[Notification | None] = []
        with self.snapshot() as snapshot:
            for key in keys:
                payload, count, _ = statements(snapshot, self.prefecture, key, key + 1, 1, RANGE_BYTES_MAX)
                found.append(NotificationBatch.parse(payload, count).row(0) if count else None)
        return found

    def snapshot(self) -> Snapshot:
        """The register as it is now, pinned: a context."""
        if self._reader is None:
            self._reader = self.register.reader()
        self._reader.refresh()
        return self._reader.pin()

    def put_nothing_at(self, key: int) -> None:
        """Put a range of one key under which the prefecture holds nothing: the centre removes what it has there."""
        self.outbox.put_range(key, key + 1, 0, NotificationBatch.from_notifications([]).payload, None, held=True)

    def close(self) -> None:
        """Let go of the register."""
        if self._reader is not None:
            self._reader.close()
        self.register.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
