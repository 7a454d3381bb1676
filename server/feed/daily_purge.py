"""The day's purge by the feed writer: one bounded step at a time, between the transactions of the feeds."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, Final

import msgspec

from jukinet.core.feed.engine import JAPAN, FeedRegister
from jukinet.core.feed.retention_run import PurgeCounts, RetentionError, RetentionRun, is_due
from jukinet.core.law.retention import Rule
from jukinet.core.records.resident import REGISTERED_EPOCH

if TYPE_CHECKING:
    from jukinet.server.configuration import Retention
    from jukinet.server.event_log import EventLog
    from jukinet.server.metrics import Metrics

CHECK_SECONDS: Final = 15.0
"""How often the clock is looked at."""
RETRY_SECONDS: Final = 60.0
REFUSED_RETRY_SECONDS: Final = 3_600.0


class DailyPurge:
    """Knows when a purge is due, and does it in steps. For one thread; never raises.

    Invariant: at most one run is under way. What it leaves undone when the process ends, the next one goes on with.
    """

    def __init__(self, register: FeedRegister, settings: Retention, log: EventLog, metrics: Metrics) -> None:
        self._register = register
        self._metrics = metrics
        self._purged_day = register.meta().purged_day
        self._rule = Rule(settings.rule)
        self._journal_days = settings.journal_days
        self._at = datetime.time.fromisoformat(settings.at) if settings.at else None
        self._log = log
        self._run: RetentionRun | None = None
        self._look_at = 0.0
        self._started = 0.0

    def is_wanted(self) -> bool:
        """Whether a step is to be done now."""
        if self._at is None:
            return False
        now = time.monotonic()
        if now < self._look_at:
            return False
        if self._run is None:
            self._look_at = now + CHECK_SECONDS
            try:
                self._begin(self._at, now)
            except RetentionError as error:
                self._metrics.plain["retention_failures_total"] += 1
                self._look_at = now + REFUSED_RETRY_SECONDS
                self._log.error("retention_refused", reason=str(error))
            except Exception as error:
                self._give_up(error)
        return self._run is not None

    def _begin(self, at: datetime.time, now: float) -> None:
        """Begin the day's run when it is due."""
        time_in_japan = datetime.datetime.now(JAPAN).time()
        if is_due(self._register, at, datetime.datetime.combine(self._register.today(), time_in_japan)):
            self._run = RetentionRun(self._register, rule=self._rule, journal_days=self._journal_days)
            self._look_at = 0.0
            self._started = now
            self._log.info("retention_began", rule=self._rule.value, day=self._run.date.isoformat())

    def step(self) -> None:
        """Do one step of the run under way."""
        run = self._run
        if run is None:
            return
        before = msgspec.structs.replace(run.counts)
        try:
            run.step()
        except Exception as error:
            self._give_up(error)
            return
        self._count(before, run.counts)
        if run.is_done:
            self._run = None
            self._purged_day = (run.date - REGISTERED_EPOCH).days
            counts = run.counts
            self._log.info(
                "retention_done",
                steps=counts.steps,
                dead=counts.dead,
                removed=counts.removed,
                contributions=counts.contributions,
                journal_entries=counts.journal_entries,
                quarantined=counts.quarantined,
                seconds=round(time.monotonic() - self._started, 3),
            )

    def _count(self, before: PurgeCounts, after: PurgeCounts) -> None:
        plain = self._metrics.plain
        plain["retention_steps_total"] += after.steps - before.steps
        plain["retention_expired_total"] += after.dead + after.removed - before.dead - before.removed
        plain["retention_contributions_total"] += after.contributions - before.contributions
        plain["retention_trimmed_total"] += (
            after.journal_entries + after.quarantined - before.journal_entries - before.quarantined
        )

    def gauges(self) -> dict[str, float]:
        """How many days ago the day was by which the last whole purge judged; nothing where none is wanted or was done.

        For any thread.
        """
        if self._at is None or not self._purged_day:
            return {}
        return {"retention_days_behind": max(0, (self._register.today() - REGISTERED_EPOCH).days - self._purged_day)}

    def _give_up(self, error: Exception) -> None:
        """Try again later; the place is kept in the register."""
        self._run = None
        self._metrics.plain["retention_failures_total"] += 1
        self._look_at = time.monotonic() + RETRY_SECONDS
        self._log.failure("retention_failed", error)
