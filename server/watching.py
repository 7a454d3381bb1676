"""The watch of a worker: notes requests in the loop, works them off in a thread, raises alarms, stops operators.

The rules are in core/watch. All workers of a server share one state, a mapped file, under its lock; alarms and stops
are in the alarms file, which every worker follows. The loop never waits for any of this (docs/detection.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from jukinet.core.codes import format_code
from jukinet.core.errors import ConfigurationError
from jukinet.core.watch.kernel import STATE_BYTES, Notes, Watch, Watched
from jukinet.core.watch.rules import Finding, OperatorStoppedError, rules_named
from jukinet.server.alarm_file import Alarm, AlarmFile, AlarmsError, Line, Operator, Stopped, moment
from jukinet.server.event_log import EventLog, operating_error
from jukinet.server.metrics import Metrics
from jukinet.server.readiness import Readiness
from jukinet.server.watch_settings import Watch as WatchSettings

READABLE: Final = 1  # EPOLLIN
STATE_NAME: Final = "watch.state"
NAMES_MAX: Final = 65_536
CLOSE_SECONDS: Final = 2.0
FOLLOW_SECONDS: Final = 0.25
"""How often the alarms file is looked at for stops and releases."""
STOPPED_MESSAGE: Final = "the operator was stopped; the register's administration releases it"


class Names(NamedTuple):
    """Whose requests bear a key."""

    operator: Operator
    affair: str


class Watching:
    """One worker's part of the watch.

    Invariants: ``stopped`` holds the keys of the operators that the alarms file says are stopped, as last read, and of
    those that this worker stopped and could not write down. Only the thread touches state and alarms file.
    """

    def __init__(
        self,
        settings: WatchSettings,
        readiness: Readiness,
        metrics: Metrics,
        log: EventLog,
        stops_changed: Callable[[], None],
    ) -> None:
        """``stops_changed`` is called in the loop. Raises ConfigurationError when the directory cannot be used."""
        self._settings = settings
        self._readiness = readiness
        self._metrics = metrics
        self._log = log
        self._stops_changed = stops_changed
        self._stop_rules = rules_named(settings.stop_rules)
        self._batch = frozenset(settings.batch_operators.split())
        self._names: dict[tuple[int, int], Names] = {}
        self._unwritten: dict[Operator, Stopped] = {}
        self._readable = True
        self._follow_at = 0.0
        self._passed_over = self._lost = 0
        self.stopped: frozenset[int] = frozenset()
        try:
            self._open(Path(settings.directory))
        except OSError as error:
            raise ConfigurationError(f"watch.directory: {settings.directory}: {operating_error(error)}") from None
        self._notes = Notes(settings.buffer_bytes, settings.sequential_gap)
        self.note = self._notes.note
        self._alarms = AlarmFile(settings.directory, keep=False)
        self._ending = threading.Event()
        self._told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._follow(time.monotonic())
        readiness.add(self._told, READABLE, self._on_told)
        self._thread = threading.Thread(target=self._work_in_time, name="watch", daemon=True)
        self._thread.start()

    def _open(self, directory: Path) -> None:
        """Map the state, and begin it when there is none of this version. Raises OSError."""
        directory.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(directory / STATE_NAME, flags, 0o600)
        with self._locked():
            if os.fstat(self._descriptor).st_size != STATE_BYTES:
                os.ftruncate(self._descriptor, 0)
                # Room on the disk, not a hole: a map into a hole ends the process when the disk is full.
                os.posix_fallocate(self._descriptor, 0, STATE_BYTES)
            self._watch = Watch(mmap.mmap(self._descriptor, STATE_BYTES), self._settings.thresholds)
            if not self._watch.is_begun:
                self._watch.begin(os.urandom(16), time.time())
                self._log.info("watch_begun", learning_days=self._settings.learning_days)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    # In the loop ---------------------------------------------------------------------------------------------------

    def identify(self, role: str, body: str, operator: str, affair: str) -> Watched:
        """Whose requests a session's will be. Raises OperatorStoppedError."""
        whose = Watched(
            self._watch.key_of(role, body, operator),
            self._watch.key_of(role, body),
            self._watch.key_of(role, body, affair, ""),
            f"{body}/{operator}" in self._batch,
        )
        self.check(whose)
        self._names.pop((whose.operator, whose.affair), None)  # so that those opened last are kept
        if len(self._names) >= NAMES_MAX:
            self._names.pop(next(iter(self._names)), None)
        self._names[whose.operator, whose.affair] = Names((role, body, operator), affair)
        return whose

    def check(self, whose: Watched) -> None:
        """Raises OperatorStoppedError when the operator is stopped."""
        if whose.operator in self.stopped:
            raise OperatorStoppedError(STOPPED_MESSAGE)

    def _on_told(self, _events: int) -> None:
        os.eventfd_read(self._told)
        self._stops_changed()

    def close(self) -> None:
        """Work off what is left and end the thread."""
        self._ending.set()
        self._thread.join(CLOSE_SECONDS)
        self._readiness.remove(self._told)
        if not self._thread.is_alive():
            os.close(self._told)
            os.close(self._descriptor)

    # In the thread -------------------------------------------------------------------------------------------------

    def _work_in_time(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(self._settings.poll_milliseconds / 1000)
            try:
                self._turn(time.monotonic())
            except Exception as error:  # the watch's defect must not end it, nor the answers
                self._log.failure("watch_failed", error)

    def _turn(self, now: float) -> None:
        notes = self._notes
        with self._locked():
            findings = self._watch.work(notes)
            lines = self._lines(findings)
        if lines:
            self._raise(lines)
            self._follow_at = now
        if now >= self._follow_at:
            self._follow(now)
        self._count_lost()

    def _count_lost(self) -> None:
        passed_over, lost = self._notes.passed_over, self._watch.lost
        if passed_over > self._passed_over:
            self._log.warning("watch_behind", requests=passed_over - self._passed_over)
        self._metrics.plain["watch_passed_over_total"] += passed_over - self._passed_over
        self._metrics.plain["alarms_lost_total"] += lost - self._lost
        self._passed_over, self._lost = passed_over, lost

    def _lines(self, findings: Sequence[Finding]) -> list[Line]:
        """Alarms, and the stops that they bring, for the alarms file."""
        lines: list[Line] = []
        highest = self._alarms.known.highest
        for finding in findings:
            names = self._names.get((finding.operator, finding.affair), Names(("?", "?", "?"), "?"))
            role, body, operator = names.operator
            at = moment(finding.time)
            lines.append(
                Alarm(
                    number=self._watch.next_alarm(highest),
                    time=at,
                    rule=finding.rule.word,
                    role=role,
                    body=body,
                    operator=operator,
                    affair=names.affair,
                    value=round(finding.value, 3),
                    limit=round(finding.limit, 3),
                    code="" if finding.code is None else format_code(finding.code),
                )
            )
            if finding.rule in self._stop_rules and role != "?":
                lines.append(Stopped(time=at, role=role, body=body, operator=operator, by="watch"))
        return lines

    def _raise(self, lines: Sequence[Line]) -> None:
        """Write alarms and stops down, then tell of them. A stop holds though it could not be written."""
        lost = 0
        try:
            lost = self._alarms.append(lines)
        except AlarmsError as error:
            cause = error.__cause__
            reason = operating_error(cause) if isinstance(cause, OSError) else type(error).__name__
            lost = sum(isinstance(line, Alarm) for line in lines)
            self._log.error("alarms_not_written", alarms=lost, reason=reason)
            for line in lines:
                if isinstance(line, Stopped):
                    self._unwritten[line.role, line.body, line.operator] = line
        else:
            if lost:
                self._log.error("alarms_not_written", alarms=lost, reason="the alarms file is full")
        self._metrics.plain["alarms_lost_total"] += lost
        for line in lines:
            if isinstance(line, Alarm):
                self._metrics.count("alarms_total", line.rule)
                self._log.warning("alarm", number=line.number, rule=line.rule, role=line.role, body=line.body)
            elif isinstance(line, Stopped):
                self._log.warning("operator_stopped", role=line.role, body=line.body)

    def _follow(self, now: float) -> None:
        """Take up stops and releases from the alarms file; when it cannot be read, what is known stays in force."""
        self._follow_at = now + FOLLOW_SECONDS
        try:
            if self._unwritten:
                with contextlib.suppress(AlarmsError):
                    self._alarms.append(list(self._unwritten.values()))
                    self._unwritten.clear()
            self._alarms.follow()
        except AlarmsError as error:
            if self._readable:
                cause = error.__cause__
                reason = operating_error(cause) if isinstance(cause, OSError) else type(error).__name__
                self._log.error("alarms_not_read", reason=reason)
            self._readable = False
            return
        self._readable = True
        stopped = {self._watch.key_of(*operator) for operator in (*self._alarms.known.stopped, *self._unwritten)}
        if stopped != self.stopped:
            self.stopped = frozenset(stopped)
            os.eventfd_write(self._told, 1)
