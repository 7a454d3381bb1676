"""How many changes of each kind happen on each day: yearly rates, business days, and the season of moves.

Everything is whole numbers, so that every machine counts the same: a day has a weight for each kind, and its changes
are the yearly rate times its share of the weights of its calendar year.
"""

from __future__ import annotations

import datetime
from enum import IntEnum
from functools import cache
from itertools import pairwise
from typing import Final

from jukinet.server.nation.households import PYRAMID_MILLIONS

POPULATION: Final = round(sum(PYRAMID_MILLIONS) * 1_000_000)
"""The real population that the yearly rates belong to: 127.1 million, 2010."""


class Kind(IntEnum):
    """What happens to people; docs/synthetic-nation.md, section 8, says which notifications follow."""

    BIRTH = 1
    DEATH = 2
    MOVE = 3
    MOVE_WITHIN = 4
    EMIGRATION = 5
    IMMIGRATION = 6
    NEW_NAME = 7
    MENDED = 8
    CHARACTER = 9
    EX_OFFICIO_ENTRY = 10
    EX_OFFICIO_REMOVAL = 11
    NATURALISATION = 12
    CODE_CHANGE = 13
    RENAMED_PLACE = 14


YEARLY: Final = {
    Kind.BIRTH: 1_100_000,
    Kind.DEATH: 1_200_000,
    Kind.MOVE: 5_200_000,
    Kind.MOVE_WITHIN: 4_400_000,
    Kind.EMIGRATION: 330_000,
    Kind.IMMIGRATION: 350_000,
    Kind.NEW_NAME: 800_000,
    Kind.MENDED: 350_000,
    Kind.CHARACTER: 400_000,
    Kind.EX_OFFICIO_ENTRY: 60_000,
    Kind.EX_OFFICIO_REMOVAL: 90_000,
    Kind.NATURALISATION: 12_000,
    Kind.CODE_CHANGE: 21_000,
    Kind.RENAMED_PLACE: 900_000,
}
"""People a year at POPULATION. Births, deaths and moves between municipalities are the figures of 2010; the others are
round estimates of this project."""

MOVING: Final = frozenset({Kind.MOVE, Kind.MOVE_WITHIN, Kind.EMIGRATION, Kind.IMMIGRATION})
ALL_HOURS: Final = frozenset({Kind.BIRTH, Kind.DEATH})
"""Reported at any hour, weekends too (Family Register Act); other changes need an office that is open."""

SEASON_OF_MOVES: Final = (
    (101, 920), (301, 1_050), (315, 1_300), (324, 5_700), (403, 5_700), (410, 1_900), (420, 1_100), (501, 1_000),
    (1001, 1_000), (1231, 900),
)  # fmt: skip
"""Month and day, and the weight per mille; straight lines between. The school and business year begins on 1 April."""
SEASON_OF_DEATHS: Final = ((101, 1_180), (301, 1_080), (615, 890), (901, 900), (1231, 1_150))
SEASON_OF_BIRTHS: Final = ((101, 990), (401, 970), (801, 1_050), (1001, 1_030), (1231, 980))
LEVEL: Final = ((101, 1_000), (1231, 1_000))
WEEKDAYS_PER_MILLE: Final = (1_120, 1_000, 970, 950, 960)
"""Monday to Friday."""
CLOSED_PER_MILLE: Final = 12
CLOSED_ALL_HOURS_PER_MILLE: Final = 150
"""What a closed day has of an open one."""

HOLIDAYS: Final = frozenset({101, 211, 223, 429, 503, 504, 505, 811, 1103, 1123})
"""National holidays with days of their own (Act on National Holidays, as of 2020)."""
NEW_YEAR: Final = frozenset({1229, 1230, 1231, 101, 102, 103})
"""Offices are closed (Act on Holidays of Administrative Organs)."""
HAPPY_MONDAYS: Final = frozenset({(1, 2), (7, 3), (9, 3), (10, 2)})
"""Month and which Monday of it."""


def is_holiday(day: datetime.date) -> bool:
    """A national holiday, substitutes apart; the equinoxes by the usual approximation, good for 1980 to 2099."""
    month_day = day.month * 100 + day.day
    if month_day in HOLIDAYS:
        return True
    if day.weekday() == 0 and (day.month, (day.day + 6) // 7) in HAPPY_MONDAYS:
        return True
    since = day.year - 1980
    spring = (208_431 + 2_422 * since) // 10_000 - since // 4
    autumn = (232_488 + 2_422 * since) // 10_000 - since // 4
    return month_day in (300 + spring, 900 + autumn)


def is_business_day(day: datetime.date) -> bool:
    """Whether municipal offices are open: no weekend, holiday, substitute holiday or turn of the year."""
    if day.weekday() >= 5 or day.month * 100 + day.day in NEW_YEAR or is_holiday(day):
        return False
    # A holiday on a Sunday moves to the next day that is none.
    before = day - datetime.timedelta(1)
    while is_holiday(before):
        if before.weekday() == 6:
            return False
        before -= datetime.timedelta(1)
    return True


def season(points: tuple[tuple[int, int], ...], day: datetime.date) -> int:
    """Weight per mille on a day of the year, on the line between the points around it."""
    wanted = datetime.date(2001, day.month, min(day.day, 28) if day.month == 2 else day.day).toordinal()
    for (first, low), (last, high) in pairwise(points):
        start = datetime.date(2001, first // 100, first % 100).toordinal()
        stop = datetime.date(2001, last // 100, last % 100).toordinal()
        if start <= wanted <= stop:
            return low + (high - low) * (wanted - start) // (stop - start)
    raise AssertionError("the points span the year")


def day_weight(kind: Kind, day: datetime.date) -> int:
    """A day's weight among the days of its year, in millionths of an ordinary business day."""
    points: tuple[tuple[int, int], ...] = LEVEL
    if kind in MOVING:
        points = SEASON_OF_MOVES
    elif kind is Kind.DEATH:
        points = SEASON_OF_DEATHS
    elif kind is Kind.BIRTH:
        points = SEASON_OF_BIRTHS
    of_week = CLOSED_ALL_HOURS_PER_MILLE if kind in ALL_HOURS else CLOSED_PER_MILLE
    if is_business_day(day):
        of_week = WEEKDAYS_PER_MILLE[day.weekday()]
    elif kind is Kind.RENAMED_PLACE:
        return 0
    return of_week * season(points, day)


@cache
def year_weight(kind: Kind, year: int) -> int:
    """The weights of all days of a year together."""
    first = datetime.date(year, 1, 1).toordinal()
    stop = datetime.date(year + 1, 1, 1).toordinal()
    return sum(day_weight(kind, datetime.date.fromordinal(day)) for day in range(first, stop))


def expected_changes(kind: Kind, day: datetime.date, residents: int) -> tuple[int, int]:
    """People of a nation to whom this happens on this day, as a fraction (numerator, denominator)."""
    return residents * YEARLY[kind] * day_weight(kind, day), POPULATION * year_weight(kind, day.year)


def changes_on(kind: Kind, day: datetime.date, residents: int, chance: int) -> int:
    """A whole number of people: the fraction rounded up when chance, an even draw of 32 bits, falls in its rest."""
    share, whole = expected_changes(kind, day, residents)
    count, rest = divmod(share, whole)
    return count + (chance * whole < rest << 32)
