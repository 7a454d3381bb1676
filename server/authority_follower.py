"""Keeps a worker by the version of the authority that is in force: planned ones are ready before their time comes.

Theory of operation. A task looks at the history's directory once a second and reads it in a thread when it changed. The
versions that are planned stay in memory, compiled; the worker's loop compares the clock with ``due`` at each turn, one
float, and calls ``take_up_due`` when it has passed. A version is taken up only after its number and hash are in the
worker's record of use, and no earlier version follows it, whatever the clock does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import trio

from jukinet.core.errors import ConfigurationError, RecordOfUseError
from jukinet.core.law import history
from jukinet.core.law.authority import Authority
from jukinet.server.event_log import EventLog
from jukinet.server.metrics import Metrics
from jukinet.server.recording import Recording

LOOK_SECONDS: Final = 1.0
NEVER: Final = float("inf")


class Planned(NamedTuple):
    """A version that comes into force at ``effective``, seconds since 1970."""

    effective: int
    authority: Authority


class Reading(NamedTuple):
    """The authority in force when it was read, and what is planned, in order of time."""

    authority: Authority
    planned: tuple[Planned, ...]
    newest: int
    """The highest number; 0 for a single file."""


def read(path: str | Path) -> Reading:
    """Read an authority file or a history. Raises ConfigurationError: unusable, or no version is in force."""
    if not Path(path).is_dir():
        return Reading(Authority.load(path), (), 0)
    versions = history.read_history(path)
    now = time.time()
    current = history.in_force(versions, now)
    if current is None:
        raise ConfigurationError(f"{path}: no version is in force yet; make one with `jukinet authority apply`")
    coming = tuple(Planned(version.effective, version.authority) for version in history.planned(versions, now))
    return Reading(current.authority, coming, len(versions))


def mark_of(path: str | Path) -> int:
    """A number that changes when a version is added to a history; 0 for a single file, -1 when it cannot be read."""
    try:
        place = Path(path)
        return place.stat().st_mtime_ns if place.is_dir() else 0
    except OSError:
        return -1


class AuthorityFollower:
    """The authority that a worker judges by.

    Invariant: ``authority`` is in the worker's record of use; its number never falls. ``due`` is the monotonic time at
    which the first planned version comes into force.
    """

    def __init__(
        self,
        path: str,
        recording: Recording,
        metrics: Metrics,
        log: EventLog,
        prepare: Callable[[Authority], None],
        taken_up: Callable[[Authority], None],
    ) -> None:
        """``prepare`` makes ready what judging by an authority needs, in a thread, and raises ConfigurationError when
        that cannot be had. ``taken_up`` is called with each authority from which on it is to be judged by it."""
        self._path = path
        self._recording = recording
        self._metrics = metrics
        self._log = log
        self._prepare = prepare
        self._taken_up = taken_up
        self._mark = -2
        self._planned: tuple[Planned, ...] = ()
        self._newest = 0
        self.authority: Authority | None = None
        self.due = NEVER

    def prepare(self, reading: Reading) -> None:
        """Make everything that was read ready; may be called in a thread. Raises ConfigurationError."""
        for authority in (reading.authority, *(planned.authority for planned in reading.planned)):
            self._prepare(authority)

    def _read(self) -> Reading:
        reading = read(self._path)
        self.prepare(reading)
        return reading

    def take_up(self, reading: Reading) -> None:
        """Judge by what was read from now on. Raises ConfigurationError (a history that was cut back)."""
        if reading.newest < self._newest:
            raise ConfigurationError(
                f"{self._path}: holds {reading.newest} versions and held {self._newest}; restore it"
            )
        self._newest = reading.newest
        self._planned = reading.planned
        self._set_due()
        self._judge_by(reading.authority)

    def _judge_by(self, authority: Authority) -> bool:
        """Whether ``authority`` is what is judged by now."""
        current = self.authority
        if current is not None:
            if current.record == authority.record and current.digest == authority.digest:
                return True
            if authority.version and current.version > authority.version:
                return True  # the clock was set back
        detail = f"version {authority.version} record {authority.record}"
        try:
            self._recording.note(event="authority", detail=detail if authority.version else f"file {authority.digest}")
        except RecordOfUseError as error:
            self._metrics.count("authority_failures_total", "record_of_use")
            self._log.error("authority_not_taken_up", version=authority.version, reason=str(error))
            return False
        self.authority = authority
        self._taken_up(authority)
        self._log.info("authority_in_force", version=authority.version, authority=authority.digest)
        return True

    def take_up_due(self) -> None:
        """Take up the planned versions whose time has come. Never raises."""
        now = time.time()
        while self._planned and self._planned[0].effective <= now:
            if not self._judge_by(self._planned[0].authority):
                break
            self._planned = self._planned[1:]
        self._set_due()

    def _set_due(self) -> None:
        if not self._planned:
            self.due = NEVER
            return
        wait = self._planned[0].effective - time.time()
        self.due = time.monotonic() + (wait if wait > 0 else LOOK_SECONDS)

    async def run(self) -> None:
        """Follow the history for as long as the worker serves; the clock may be set meanwhile."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            self.take_up_due()
            mark = mark_of(self._path)
            if mark == self._mark:
                continue
            self._mark = mark
            if mark == 0:
                continue
            try:
                self.take_up(await trio.to_thread.run_sync(self._read))
            except ConfigurationError as error:
                self._metrics.count("authority_failures_total", "unusable")
                self._log.error("authority_not_taken_up", version=0, reason=str(error))
