"""Business days against the published calendar, and days whose changes add up to the year's."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.server.nation import change_calendar
from jukinet.server.nation.change_calendar import POPULATION, YEARLY, Kind, changes_on, day_weight, is_business_day

# Cabinet Office: national holidays of 2027 with their substitutes, those that fall on Monday to Friday.
HOLIDAYS_2027 = ("01-01", "01-11", "02-11", "02-23", "03-22", "04-29", "05-03", "05-04", "05-05", "07-19", "08-11",
                 "09-20", "09-23", "10-11", "11-03", "11-23")  # fmt: skip
CLOSED_2027 = ("12-29", "12-30", "12-31")


def days_of(year: int) -> list[datetime.date]:
    first = datetime.date(year, 1, 1)
    return [first + datetime.timedelta(day) for day in range((datetime.date(year + 1, 1, 1) - first).days)]


def test_the_holidays_of_a_year() -> None:
    closed = [day.strftime("%m-%d") for day in days_of(2027) if day.weekday() < 5 and not is_business_day(day)]
    assert closed == sorted([*HOLIDAYS_2027, *CLOSED_2027])


@pytest.mark.parametrize(
    ("day", "is_open"),
    [
        ("2024-02-12", False),  # substitute of Sunday, 11 February
        ("2024-03-20", False),  # spring equinox
        ("2025-05-06", False),  # the substitute of Sunday, 4 May, behind another holiday
        ("2026-05-06", False),  # the substitute of Sunday, 3 May, behind two others
        ("2026-05-07", True),
        ("2026-01-05", True),  # 3 January, a Sunday, is no national holiday and has no substitute
        ("2028-02-29", True),
    ],
)
def test_substitutes_and_equinoxes(day: str, is_open: bool) -> None:
    assert is_business_day(datetime.date.fromisoformat(day)) is is_open


@given(kind=st.sampled_from(list(Kind)), day=st.dates(datetime.date(2014, 1, 1), datetime.date(2120, 1, 1)))
def test_every_day_has_a_weight(kind: Kind, day: datetime.date) -> None:
    weight = day_weight(kind, day)
    assert 0 <= weight < 10_000_000
    assert weight > 0 or kind is Kind.RENAMED_PLACE


@pytest.mark.parametrize("kind", list(Kind))
def test_the_days_of_a_year_add_up(kind: Kind) -> None:
    for year in (2027, 2028):
        whole = [change_calendar.expected_changes(kind, day, POPULATION) for day in days_of(year)]
        denominators = {denominator for _, denominator in whole}
        assert len(denominators) == 1
        assert sum(share for share, _ in whole) == YEARLY[kind] * denominators.pop()


@given(chance=st.integers(0, (1 << 32) - 1), residents=st.integers(1, 200_000_000))
def test_a_count_is_the_fraction_rounded_by_chance(chance: int, residents: int) -> None:
    day = datetime.date(2027, 6, 1)
    share, whole = change_calendar.expected_changes(Kind.DEATH, day, residents)
    count = changes_on(Kind.DEATH, day, residents, chance)
    assert share // whole <= count <= share // whole + 1
    assert changes_on(Kind.DEATH, day, residents, 0) >= count >= changes_on(Kind.DEATH, day, residents, (1 << 32) - 1)


def test_weights_follow_season_and_week() -> None:
    monday, wednesday, sunday = (datetime.date(2027, 3, day) for day in (29, 31, 28))
    november = datetime.date(2026, 11, 25)
    assert day_weight(Kind.MOVE, wednesday) > 5 * day_weight(Kind.MOVE, november)
    assert day_weight(Kind.MOVE, monday) > day_weight(Kind.MOVE, wednesday)
    assert day_weight(Kind.CODE_CHANGE, wednesday) == day_weight(Kind.CODE_CHANGE, november)
    assert day_weight(Kind.MOVE, sunday) * 50 < day_weight(Kind.MOVE, monday)
    assert day_weight(Kind.DEATH, sunday) * 10 > day_weight(Kind.DEATH, monday)
    assert day_weight(Kind.RENAMED_PLACE, sunday) == 0
    assert day_weight(Kind.DEATH, datetime.date(2027, 1, 20)) > day_weight(Kind.DEATH, datetime.date(2027, 6, 16))
