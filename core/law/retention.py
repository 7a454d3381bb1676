"""How long a record may be kept and provided (Enforcement Order of the Basic Resident Register Act, Article 30-11).

Rules are data, and everything here is a pure function of dates. A period of years ends with the day of the same month
and day; one that begins on 29 February ends, in a year without that day, on 1 March. The last day itself is inside the
period: a record is expired from the day after.
"""

from __future__ import annotations

import datetime
from bisect import bisect_left
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from jukinet.core.vocabulary import State

EPOCH: Final = datetime.date(2000, 1, 1)
"""Day 0 of the day numbers in the register."""
DAYS_MAX: Final = 0xFFFF


class Rule(StrEnum):
    """The two rules: that of 2002, and that in force since 20 June 2019."""

    FIVE_YEARS = "five-years"
    YEARS_150 = "150-years"

    @property
    def number(self) -> int:
        """How journal and place of a purge name the rule; part of the store's format."""
        return list(Rule).index(self) + 1

    @classmethod
    def of_number(cls, number: int) -> Rule:
        """The rule with that number; ValueError when there is none."""
        if not 1 <= number <= len(Rule):
            raise ValueError("there is no retention rule of that number")
        return list(cls)[number - 1]


class Periods(msgspec.Struct, frozen=True, kw_only=True):
    """Years: after what replaced a record, or after the notice of a death; and after the notice of another removal."""

    replaced_years: int
    removed_years: int


PERIODS: Final = {
    Rule.FIVE_YEARS: Periods(replaced_years=5, removed_years=80),
    Rule.YEARS_150: Periods(replaced_years=150, removed_years=150),
}
REMOVED: Final = frozenset((State.MOVED_AWAY, State.REMOVED))
"""Removals other than by death: a removed person may be entered again, so the end of the record is not known."""


def years_after(day: datetime.date, years: int) -> datetime.date:
    """The last day of a period of years that begins with an event on ``day``."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return datetime.date(day.year + years, 3, 1)


def last_day(rule: Rule, state: int, notice: datetime.date, replaced: datetime.date | None) -> datetime.date | None:
    """The last day on which a record may be kept; None when it never expires.

    state: the record's (core.vocabulary.State). notice: the day on which it was registered. replaced: the day on which
    the notification that replaced it was registered, None while the register shows it.
    """
    periods = PERIODS[rule]
    if state == State.DEAD:
        return years_after(notice, periods.replaced_years)
    if state in REMOVED:
        end = years_after(notice, periods.removed_years)
        end = end if replaced is None else min(replaced, end)
        return max(years_after(notice, periods.replaced_years), end)
    return None if replaced is None else years_after(replaced, periods.replaced_years)


class Cutoffs(msgspec.Struct, frozen=True):
    """A rule as of one day, for kernels, as day numbers since 2000-01-01.

    An event before ``short`` was so long ago that Periods.replaced_years have passed; before ``long``, removed_years.
    """

    day: int
    short: int
    long: int

    def expired(self, state: int, notice: int, replaced: int | None) -> bool:
        """Whether a record is past its last day: last_day() < day, with day numbers."""
        if state == State.DEAD:
            return notice < self.short
        if state in REMOVED:
            return notice < self.short and (notice < self.long or (replaced is not None and replaced < self.day))
        return replaced is not None and replaced < self.short


@lru_cache(maxsize=8)
def cutoffs(rule: Rule, day: datetime.date) -> Cutoffs:
    """The rule as of ``day``."""
    periods = PERIODS[rule]
    number = (day - EPOCH).days

    def first_kept(years: int) -> int:
        days = range(max(0, min(number, DAYS_MAX) + 1))
        return bisect_left(days, day, key=lambda event: years_after(EPOCH + datetime.timedelta(event), years))

    return Cutoffs(number, first_kept(periods.replaced_years), first_kept(periods.removed_years))
