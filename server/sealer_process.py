"""The sealer's process, started by the supervisor only: seals closed segments, takes in statements, keeps retention.

It yields to the workers (lowest priority) and never stops them: when it cannot go on it says so and tries again later.
It may be killed at any moment; what counts is decided by one rename (core.audit.sealing).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import Final

import trio

from jukinet.core.audit import erasure, inbox
from jukinet.core.audit.checkpoint import PrivateKey, read_private_key
from jukinet.core.audit.errors import RecordOfUseDamagedError, SealingStoppedError, TreeDamagedError
from jukinet.core.audit.seal import SegmentStatement
from jukinet.core.audit.sealing import Sealer
from jukinet.core.errors import ConfigurationError, RecordOfUseError
from jukinet.server import control
from jukinet.server.event_log import EventLog, operating_error
from jukinet.server.metrics import Metrics, Snapshot
from jukinet.server.recorded_changes import RecordedChanges

EXIT_OK: Final = 0
EXIT_FAILED: Final = 5
NICE: Final = 15
CLOCK_ALARM_NS: Final = 1_000_000_000
RETENTION_SECONDS: Final = 600.0
"""How often a month is looked for whose retention is over."""


class SealerProcess:
    """Runs a Sealer in a thread and tells the supervisor about it.

    Invariant: at most one thread works on ``_sealer``; it is None while it could not be opened.
    """

    def __init__(self, start: control.Start, channel: control.Channel) -> None:
        self._configuration = start.configuration
        self._channel = channel
        self._events = EventLog(start.configuration.observation.log_level, worker="sealer")
        self._metrics = Metrics()
        self._key: PrivateKey
        self._sealer: Sealer | None = None
        self._stopped_for = ""
        self._retention_due = 0.0
        self._changes = self._following()
        self._faults: list[str] = []

    def _following(self) -> RecordedChanges:
        """What the sealer has to put on record beside segments; it begins anew with each sealer."""
        return RecordedChanges(self._configuration.authority.file, self._configuration.operators.database)

    async def run(self) -> int:
        """Seal until told to end: the exit code."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            os.nice(NICE)
        try:
            self._key = read_private_key(self._configuration.sealing.key)
        except ConfigurationError as error:
            self._events.error("start_failed", reason=str(error))
            await self._channel.send(control.Failed(f"sealing.key: {error}"))
            return EXIT_FAILED
        await self._channel.send(control.Ready(""))
        self._events.info("sealer_ready", key=self._key.public.name)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._seal)
                nursery.start_soon(self._report)
                nursery.start_soon(self._watch_supervisor, nursery.cancel_scope)
                async for _ in signals:
                    break
                nursery.cancel_scope.cancel()
        self._events.info("worker_stopped")
        return EXIT_OK

    async def _watch_supervisor(self, scope: trio.CancelScope) -> None:
        while await self._channel.receive() is not None:
            pass
        self._events.error("supervisor_gone")
        scope.cancel()

    async def _seal(self) -> None:
        settings = self._configuration.sealing
        while True:
            wait = settings.poll_seconds
            try:
                busy = await trio.to_thread.run_sync(self._turn, abandon_on_cancel=True)
                self._resumed()
                wait = 0.0 if busy else wait
            except (RecordOfUseError, OSError) as error:
                self._stopped(error)
                wait = settings.retry_seconds
            await trio.sleep(wait)

    def _turn(self) -> bool:
        """One piece of work, in the thread: whether there may be more."""
        if self._sealer is None:
            sealer = Sealer(
                self._configuration.record_of_use.directory, self._key, workers=range(self._configuration.worker_count)
            )
            try:
                erasure.finish(sealer)
            except BaseException:
                sealer.close()
                raise
            self._sealer = sealer
        statement = self._sealer.step()
        if statement is not None:
            self._note(statement)
            return True
        taken = inbox.take_in(self._sealer) + self._changes.take_in(self._sealer)
        self._tell_faults()
        self._metrics.plain["seals_total"] += taken
        return taken > 0 or self._keep_retention(self._sealer) or self._sealer.mend() is not None

    def _tell_faults(self) -> None:
        """Say once what of authority and operators cannot be put on record."""
        for fault in self._changes.faults:
            if fault not in self._faults:
                self._events.error("changes_not_recorded", reason=fault)
        self._faults = self._changes.faults

    def _keep_retention(self, sealer: Sealer) -> bool:
        years = self._configuration.sealing.retention_years
        now = time.monotonic()
        if not years or now < self._retention_due:
            return False
        self._retention_due = now + RETENTION_SECONDS
        month = erasure.due_month(sealer, years)
        if month is None:
            return False
        if reason := erasure.distrust(sealer):
            self._events.warning("erasure_refused", month=month, reason=reason)
            return False
        statement = erasure.erase_month(sealer, month, years)
        if statement is None:
            self._events.warning("erasure_postponed", month=month)
            return False
        self._retention_due = 0.0
        self._metrics.plain["seals_total"] += 1
        self._events.info("record_of_use_erased", month=month, leaves=statement.next_leaf - statement.first_leaf)
        return True

    def _note(self, statement: SegmentStatement) -> None:
        plain = self._metrics.plain
        plain["seals_total"] += 1
        plain["sealed_records_total"] += statement.records
        plain["sealed_provisions_total"] += sum(tally.provisions for tally in statement.tallies)
        self._events.info(
            "segment_sealed", of_worker=statement.worker, segment=statement.segment, records=statement.records
        )
        if statement.clock_back_ns > CLOCK_ALARM_NS:
            plain["seal_clock_back_total"] += 1
            self._events.error(
                "clock_set_back",
                of_worker=statement.worker,
                segment=statement.segment,
                seconds=round(statement.clock_back_ns / 1e9, 3),
            )

    def _stopped(self, error: RecordOfUseError | OSError) -> None:
        """Say once that sealing cannot go on; the sealer is opened anew at the next attempt."""
        self._metrics.plain["seal_failures_total"] += 1
        if self._sealer is not None:
            self._sealer.close()
            self._sealer = None
            self._changes = self._following()
        known = (SealingStoppedError, TreeDamagedError, RecordOfUseDamagedError, RecordOfUseError)
        reason = str(error) if isinstance(error, known) else operating_error(error)
        if reason != self._stopped_for:
            self._events.error("sealing_stopped", reason=reason)
        self._stopped_for = reason

    def _resumed(self) -> None:
        if self._stopped_for:
            self._events.info("sealing_resumed")
            self._stopped_for = ""

    async def _report(self) -> None:
        while True:
            await trio.sleep(min(1.0, self._configuration.observation.metrics_seconds))
            await self._channel.send(control.Figures(self._snapshot()))

    def _snapshot(self) -> Snapshot:
        sealer = self._sealer
        self._metrics.gauges = {"seal_working": int(sealer is not None and not self._stopped_for)}
        if sealer is not None:
            self._metrics.gauges["seal_leaves"] = sealer.size
        return self._metrics.snapshot()


async def work(descriptor: int) -> int:
    """Take the Start message from the inherited channel and seal: the exit code."""
    channel = control.inherited_channel(descriptor)
    message = await channel.receive()
    if not isinstance(message, control.Start):
        return EXIT_OK  # the supervisor was gone before it could say anything
    return await SealerProcess(message, channel).run()


def main() -> int:
    try:
        return trio.run(work, int(sys.argv[1]))
    except Exception as error:
        EventLog().failure("worker_failed", error, process=os.getpid())
        return EXIT_FAILED


if __name__ == "__main__":
    # Not sys.exit: a thread in the middle of a segment must not hold the process back.
    code = main()
    sys.stderr.flush()
    os._exit(code)
