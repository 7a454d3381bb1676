"""Dates as the register holds them: day or month may be unknown (不詳); display by calendar or by era (和暦)."""

from __future__ import annotations

import calendar
import datetime
from functools import lru_cache, total_ordering
from typing import Final

from jukinet.core.folding.dates import read_date

ERAS: Final[tuple[tuple[datetime.date, str], ...]] = (
    (datetime.date(2019, 5, 1), "令和"),
    (datetime.date(1989, 1, 8), "平成"),
    (datetime.date(1926, 12, 25), "昭和"),
    (datetime.date(1912, 7, 30), "大正"),
    (datetime.date(1868, 1, 25), "明治"),
)
"""First day of each era, latest first."""
YEAR_MAX: Final = 9999


@total_ordering
class PartialDate:
    """A date whose day, month or year may be unknown, each shown as 0.

    A day is known only with its month, a month only with its year. ValueError otherwise, and for dates that no calendar
    has. Ordered by its decimal form, so that an unknown part sorts before every known one.
    """

    __slots__ = ("day", "month", "year")

    def __init__(self, year: int = 0, month: int = 0, day: int = 0) -> None:
        if not 0 <= year <= YEAR_MAX or not 0 <= month <= 12 or not 0 <= day <= 31:
            raise ValueError("year, month or day out of range")
        if (day and not month) or (month and not year):
            raise ValueError("a day is known only with its month, and a month only with its year")
        if day and day > calendar.monthrange(year, month)[1]:
            raise ValueError("no such day in that month")
        self.year = year
        self.month = month
        self.day = day

    @classmethod
    def from_decimal(cls, number: int) -> PartialDate:
        """From the wire's form, year * 10000 + month * 100 + day; ValueError when it is no date."""
        return cls(number // 10_000, number // 100 % 100, number % 100)

    @classmethod
    def parse(cls, text: str) -> PartialDate:
        """From any form that docs/folding.md, section 4, lists (``1965-02-20``, ``19650220``, ``昭和40年2月(日不詳)``,
        ``S40.2.20``, ...); an empty text is a date that is unknown.

        ValueError, whose message does not repeat the text, when it is none of these, and when the era had no such day:
        what goes into a register or is asked by its date must be right, where matching may be lenient.
        """
        read = read_date(text)
        if read.beside_era:
            raise ValueError("the era has no such day")
        return cls.from_decimal(read.decimal)

    def to_decimal(self) -> int:
        return self.year * 10_000 + self.month * 100 + self.day

    @property
    def known(self) -> bool:
        """Whether year, month and day are all known."""
        return self.day != 0

    def to_date(self) -> datetime.date | None:
        """The calendar date, or None when a part is unknown."""
        return datetime.date(self.year, self.month, self.day) if self.day else None

    def isoformat(self) -> str:
        """``1965-02-20``, ``1965-02``, ``1965``, or ``unknown``."""
        if self.day:
            return f"{self.year:04}-{self.month:02}-{self.day:02}"
        if self.month:
            return f"{self.year:04}-{self.month:02}"
        return f"{self.year:04}" if self.year else "unknown"

    def era(self) -> str:
        """By era: ``昭和40年2月20日``; ``昭和40年2月(日不詳)``; ``昭和40年(月日不詳)``; ``不詳``.

        Where the known parts fit two eras (1989 alone is 昭和64年 and 平成元年) both are given, joined by ``・``. Dates
        before 1868-01-25 have the calendar's year.
        """
        if not self.year:
            return "不詳"
        first = datetime.date(self.year, self.month or 1, self.day or 1)
        last_month = self.month or 12
        last = datetime.date(self.year, last_month, self.day or calendar.monthrange(self.year, last_month)[1])
        rest = f"{self.month}月{self.day}日" if self.day else f"{self.month}月" if self.month else ""
        years = dict.fromkeys([_era_year(first), *_eras_beginning(first, last), _era_year(last)])
        missing = "" if self.day else "(日不詳)" if self.month else "(月日不詳)"
        return "・".join(f"{year}年{rest}" for year in years) + missing

    def __str__(self) -> str:
        return self.isoformat()

    def __repr__(self) -> str:
        return f"PartialDate({self.year}, {self.month}, {self.day})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PartialDate):
            return self.to_decimal() == other.to_decimal()
        if isinstance(other, datetime.date):
            return self.to_date() == other
        return NotImplemented

    def __lt__(self, other: PartialDate | datetime.date) -> bool:
        if isinstance(other, PartialDate):
            return self.to_decimal() < other.to_decimal()
        return self.to_decimal() < other.year * 10_000 + other.month * 100 + other.day

    def __hash__(self) -> int:
        return hash(self.to_date()) if self.day else hash((PartialDate, self.to_decimal()))


@lru_cache(maxsize=65_536)
def date_from_decimal(number: int) -> datetime.date | PartialDate:
    """A `datetime.date` when every part is known, else a `PartialDate`; ValueError when it is no date."""
    partial = PartialDate.from_decimal(number)
    return partial.to_date() or partial


def decimal_from_date(date: datetime.date | PartialDate | int | str | None) -> int:
    """The wire's form of a date given in any of the accepted ways; None is 0. ValueError when it is no date."""
    if date is None:
        return 0
    if isinstance(date, PartialDate):
        return date.to_decimal()
    if isinstance(date, datetime.date):
        return date.year * 10_000 + date.month * 100 + date.day
    if isinstance(date, int):
        return PartialDate.from_decimal(date).to_decimal()
    return PartialDate.parse(date).to_decimal()


def era_format(date: datetime.date | PartialDate) -> str:
    """`PartialDate.era` for either kind of date."""
    return PartialDate(date.year, date.month, date.day).era()


def _era_year(date: datetime.date) -> str:
    for first_day, name in ERAS:
        if date >= first_day:
            year = date.year - first_day.year + 1
            return f"{name}{'元' if year == 1 else year}"
    return str(date.year)


def _eras_beginning(first: datetime.date, last: datetime.date) -> list[str]:
    return [_era_year(first_day) for first_day, _ in reversed(ERAS) if first <= first_day <= last]
