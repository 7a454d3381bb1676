"""Retention by Article 30-11: each rule, with the calendar's edges, and the cutoffs against the rules."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.law.retention import EPOCH, Rule, cutoffs, last_day, years_after
from jukinet.core.vocabulary import State

FIVE, LONG = Rule.FIVE_YEARS, Rule.YEARS_150
D = datetime.date
DAYS = st.integers(0, 65_535)


@pytest.mark.parametrize(
    ("day", "years", "end"),
    [
        (D(2020, 4, 1), 5, D(2025, 4, 1)),
        (D(2020, 2, 29), 5, D(2025, 3, 1)),
        (D(2020, 2, 29), 80, D(2100, 3, 1)),  # 2100 has no 29 February though it is divisible by four
        (D(2020, 2, 29), 150, D(2170, 3, 1)),
        (D(2024, 2, 29), 80, D(2104, 2, 29)),
        (D(2023, 2, 28), 5, D(2028, 2, 28)),
        (D(2020, 12, 31), 5, D(2025, 12, 31)),
    ],
)
def test_periods_end_with_the_same_day_or_on_the_first_of_march(day: D, years: int, end: D) -> None:
    assert years_after(day, years) == end


@pytest.mark.parametrize("rule", Rule)
def test_what_is_shown_of_the_living_and_of_retired_codes_never_expires(rule: Rule) -> None:
    for state in (State.CURRENT, State.RETIRED, State.ALLOTTED, State.EXPIRED):
        assert last_day(rule, state, D(2002, 8, 5), None) is None


@pytest.mark.parametrize(
    ("rule", "state", "notice", "replaced", "end"),
    [
        (FIVE, State.CURRENT, D(2003, 1, 1), D(2020, 2, 29), D(2025, 3, 1)),
        (FIVE, State.DEAD, D(2020, 2, 29), None, D(2025, 3, 1)),
        (FIVE, State.DEAD, D(2020, 4, 1), D(2030, 4, 1), D(2025, 4, 1)),
        (FIVE, State.MOVED_AWAY, D(2020, 4, 1), None, D(2100, 4, 1)),
        (FIVE, State.REMOVED, D(2020, 2, 29), None, D(2100, 3, 1)),
        # Entered again within five years: until five years after the notice; later: until that day; never: 80 years.
        (FIVE, State.MOVED_AWAY, D(2020, 4, 1), D(2020, 4, 3), D(2025, 4, 1)),
        (FIVE, State.MOVED_AWAY, D(2020, 4, 1), D(2025, 4, 1), D(2025, 4, 1)),
        (FIVE, State.MOVED_AWAY, D(2020, 4, 1), D(2025, 4, 2), D(2025, 4, 2)),
        (FIVE, State.REMOVED, D(2020, 4, 1), D(2040, 7, 7), D(2040, 7, 7)),
        (FIVE, State.REMOVED, D(2020, 4, 1), D(2100, 4, 2), D(2100, 4, 1)),
        (LONG, State.CURRENT, D(2003, 1, 1), D(2020, 2, 29), D(2170, 3, 1)),
        (LONG, State.DEAD, D(2020, 4, 1), None, D(2170, 4, 1)),
        (LONG, State.MOVED_AWAY, D(2020, 4, 1), None, D(2170, 4, 1)),
        (LONG, State.MOVED_AWAY, D(2020, 4, 1), D(2020, 4, 3), D(2170, 4, 1)),
    ],
)
def test_last_days(rule: Rule, state: State, notice: D, replaced: D | None, end: D) -> None:
    assert last_day(rule, state, notice, replaced) == end


@given(st.sampled_from(Rule), st.sampled_from(State), DAYS, st.none() | DAYS, DAYS)
def test_cutoffs_say_what_the_rules_say(
    rule: Rule, state: State, notice: int, replaced: int | None, today: int
) -> None:
    as_dates = [None if n is None else EPOCH + datetime.timedelta(n) for n in (notice, replaced, today)]
    assert as_dates[0] is not None
    assert as_dates[2] is not None
    end = last_day(rule, state, as_dates[0], as_dates[1])
    assert cutoffs(rule, as_dates[2]).expired(state, notice, replaced) == (end is not None and end < as_dates[2])


@pytest.mark.parametrize("today", [D(2025, 2, 28), D(2025, 3, 1), D(2025, 3, 2)])
def test_a_record_is_expired_from_the_day_after_its_last(today: D) -> None:
    notice = (D(2020, 2, 29) - EPOCH).days
    assert cutoffs(FIVE, today).expired(State.DEAD, notice, None) == (today > D(2025, 3, 1))


def test_rules_have_numbers_for_the_journal() -> None:
    assert [Rule.of_number(rule.number) for rule in Rule] == list(Rule)
    for number in (0, 3):
        with pytest.raises(ValueError, match="no retention rule"):
            Rule.of_number(number)
