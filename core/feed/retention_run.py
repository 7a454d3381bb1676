"""Purging as a whole: step after step until every record and the journal have been looked at (docs/retention.md)."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.errors import StoreError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.purge import Purged, PurgeStep, day_of
from jukinet.core.law.retention import EPOCH, Rule
from jukinet.core.store.schema import PurgePlace

JOURNAL_DAYS_MIN: Final = 31
JOURNAL_DAYS_MAX: Final = 1_800
"""Below five years, the shortest period: no journal entry outlives what it brought."""
LEAP_DAYS_MAX: Final = 31
"""A day further beyond the newest notification, or beyond the last purge, than this may be a clock that jumped: it is
not purged by unasked."""


class RetentionError(StoreError):
    """The purge is refused: the day it would judge by cannot be trusted."""


class PurgeCounts(msgspec.Struct, kw_only=True):
    """What a purge took out, or would take out."""

    steps: int = 0
    dead: int = 0
    removed: int = 0
    contributions: int = 0
    journal_entries: int = 0
    quarantined: int = 0

    def add(self, purged: Purged) -> None:
        """Count one step."""
        self.steps += 1
        self.dead += purged.dead
        self.removed += purged.removed
        self.contributions += purged.contributions
        self.journal_entries += purged.trimmed.entries
        self.quarantined += purged.trimmed.rows


class RetentionRun:
    """One purge by one rule and day. It goes on where an earlier one by the same rule and day was broken off.

    Feeds and queries go on between the steps; each step is one transaction of a bounded size.
    """

    def __init__(
        self, register: FeedRegister, *, rule: Rule, journal_days: int, date: datetime.date | None = None
    ) -> None:
        """date: the day to judge by, on which nothing may lie ahead; None: today.

        Raises RetentionError for a day in the future, and, unless ``date`` says it, for a today that lies far beyond
        the newest notification or the last whole purge. (The feeds follow a clock that jumps ahead, so that soon the
        newest notification bears the wrong day too; the last purge does not.)
        """
        today = register.today()
        if date is not None and date > today:
            raise RetentionError("the day of a purge lies in the future; give a day up to today")
        meta = register.meta()
        for day, words in ((meta.newest_day, "newest notification came"), (meta.purged_day, "last purge was")):
            if date is None and day and (today - EPOCH).days - day > LEAP_DAYS_MAX:
                raise RetentionError(
                    f"the clock says {today}, the {words} on {day_of(day)}: set the clock right, or run "
                    "`jukinet retention run --date DAY`"
                )
        self._register = register
        self._rule = rule
        self._journal_days = journal_days
        self.day = ((date or today) - EPOCH).days
        self.counts = PurgeCounts()
        self.is_done = False

    @property
    def date(self) -> datetime.date:
        """The day that it judges by."""
        return day_of(self.day)

    def step(self) -> Purged:
        """Do the next step, in this thread; ``is_done`` is set by the last. Raises StoreError: nothing was changed."""
        with self._register.transaction() as transaction:
            step = self._next(transaction.meta.purge, transaction.meta.width)
            purged = transaction.purge(step)
            transaction.commit()
        self.counts.add(purged)
        self.is_done = purged.place(step) is None
        return purged

    def all_steps(self, progress: Callable[[int, int], None] | None = None) -> PurgeCounts:
        """Do all steps; progress(keys looked at, keys in all)."""
        while not self.is_done:
            purged = self.step()
            if progress is not None:
                progress(purged.stop_key, limits.RESIDENT_KEYS)
        return self.counts

    def rehearse(self, progress: Callable[[int, int], None] | None = None) -> PurgeCounts:
        """Count what the steps would take out, and change nothing."""
        place: PurgePlace | None = self._beginning()
        width = self._register.meta().width
        while place is not None:
            with self._register.transaction() as transaction:
                step = self._next(place, width)
                step = msgspec.structs.replace(step, trim_entries_max=1 << 40, trim_rows_max=1 << 40)
                purged = transaction.purge(step)
            self.counts.add(purged)
            place = purged.place(step)
            if progress is not None:
                progress(purged.stop_key, limits.RESIDENT_KEYS)
        return self.counts

    def _beginning(self) -> PurgePlace:
        return PurgePlace(self._rule.number, self.day, 0)

    def _next(self, place: PurgePlace | None, width: int) -> PurgeStep:
        if place is None or (place.rule, place.day) != (self._rule.number, self.day):
            place = self._beginning()
        return PurgeStep.next(place, width, self.day - self._journal_days)


def is_due(register: FeedRegister, at: datetime.time, now: datetime.datetime) -> bool:
    """Whether the day's purge has not come to its end although ``at`` has passed; ``now`` in Japan's time."""
    return now.time() >= at and register.meta().purged_day < (now.date() - EPOCH).days
