"""Grants compiled for the hot path: what a request is judged by (docs/authority.md, chapter 5)."""

from __future__ import annotations

import datetime
from typing import Final

import msgspec

from jukinet.core.errors import NotAuthorisedError
from jukinet.core.matching.columns import MatchRules

Affair = tuple[int, str, int]
"""(schedule, item, number): how the law counts an affair, for example ``(1, "77", 0)``."""

OPEN_DAY: Final = datetime.date.max.toordinal()
JAPAN: Final = datetime.timezone(datetime.timedelta(hours=9), "JST")


def day_in_japan(now: datetime.datetime | None = None) -> datetime.date:
    """The calendar day in Japan, by which authority begins and ends. ``now`` must know its zone; default: now."""
    return (now or datetime.datetime.now(datetime.UTC)).astimezone(JAPAN).date()


class Grant(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one body may do for one affair during one period. Masks are those of ``core.vocabulary``."""

    schedule: int
    item: str
    number: int
    affair: str
    """The affair in words."""
    legal_basis: str
    functions: int
    """Mask of ``Function``."""
    items: int
    """Mask of ``Item``: what LOOKUP may show and VERIFY may compare."""
    codes_per_request_max: int
    codes_per_day_max: int = 0
    """Codes in one calendar day in Japan, over the whole server; 0: no cap."""
    codes_per_year_max: int = 0
    """Codes in one fiscal year (April to March); 0: no cap."""
    first_day: int
    """Proleptic Gregorian ordinal (``date.toordinal``) of the first day."""
    last_day: int
    """Ordinal of the last day, included; ``date.max`` when open."""
    matching: MatchRules = MatchRules()
    """What SEARCH and MATCH may do; of no meaning without these functions."""

    def allows(self, function: int, items: int, day: int) -> bool:
        """Whether ``function`` (one bit) on ``items`` (mask, 0: none asked) is granted on ``day`` (an ordinal)."""
        return (
            self.functions & function == function != 0
            and items & ~self.items == 0
            and self.first_day <= day <= self.last_day
        )

    @property
    def valid_from(self) -> datetime.date:
        return datetime.date.fromordinal(self.first_day)

    @property
    def valid_until(self) -> datetime.date | None:
        """The last day, included; None when open."""
        return None if self.last_day == OPEN_DAY else datetime.date.fromordinal(self.last_day)

    @property
    def valid_until_decimal(self) -> int:
        """The last day as the wire writes dates (20301231); 0 when open."""
        last = self.valid_until
        return 0 if last is None else last.year * 10_000 + last.month * 100 + last.day


class BodyAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient: its limits and grants. Grants of one affair stand in order of day; their periods do not meet."""

    role: str
    name: str
    display: str
    codes_per_second_max: int
    connections_max: int
    grants: dict[Affair, tuple[Grant, ...]]

    def grant(self, schedule: int, item: str, number: int, today: datetime.date) -> Grant:
        """The grant for an affair on a day. Raises NotAuthorisedError, whose message says what is missing."""
        periods = self.grants.get((schedule, item, number))
        where = f"{self.role} {self.name}: schedule {schedule} item {item} number {number}"
        if periods is None:
            raise NotAuthorisedError(f"{where}: no authority for this affair")
        day = today.toordinal()
        for grant in periods:
            if grant.first_day <= day <= grant.last_day:
                return grant
        raise NotAuthorisedError(f"{where}: the authority is not in force today")
