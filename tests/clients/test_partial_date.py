"""Partly unknown dates and their display by era."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.clients.partial_date import ERAS, PartialDate, date_from_decimal, decimal_from_date, era_format


@pytest.mark.parametrize(
    ("date", "text"),
    [
        (PartialDate(1965, 2, 20), "昭和40年2月20日"),
        (PartialDate(1965, 2), "昭和40年2月(日不詳)"),
        (PartialDate(1965), "昭和40年(月日不詳)"),
        (PartialDate(), "不詳"),
        (PartialDate(1989, 1, 7), "昭和64年1月7日"),
        (PartialDate(1989, 1, 8), "平成元年1月8日"),
        (PartialDate(1989), "昭和64年・平成元年(月日不詳)"),
        (PartialDate(1989, 1), "昭和64年1月・平成元年1月(日不詳)"),
        (PartialDate(1989, 2), "平成元年2月(日不詳)"),
        (PartialDate(2019, 4, 30), "平成31年4月30日"),
        (PartialDate(2019, 5, 1), "令和元年5月1日"),
        (PartialDate(1926, 12, 25), "昭和元年12月25日"),
        (PartialDate(1912, 7, 29), "明治45年7月29日"),
        (PartialDate(1868, 1, 25), "明治元年1月25日"),
        (PartialDate(1868, 1, 24), "1868年1月24日"),
    ],
)
def test_era(date: PartialDate, text: str) -> None:
    assert date.era() == text


@given(st.dates(min_value=datetime.date(1868, 1, 25)))
def test_era_against_the_list_of_first_days(date: datetime.date) -> None:
    first, name = next((first, name) for first, name in ERAS if first <= date)
    year = date.year - first.year + 1
    assert era_format(date) == f"{name}{'元' if year == 1 else year}年{date.month}月{date.day}日"


@given(st.dates(max_value=datetime.date(4095, 12, 31)), st.integers(0, 2))
def test_round_trips(date: datetime.date, unknown: int) -> None:
    partial = PartialDate(date.year, date.month if unknown < 2 else 0, date.day if unknown < 1 else 0)
    assert PartialDate.from_decimal(partial.to_decimal()) == partial
    assert PartialDate.parse(partial.isoformat()) == partial
    assert decimal_from_date(partial) == decimal_from_date(str(partial)) == partial.to_decimal()
    if unknown == 0:
        assert partial == date
        assert hash(partial) == hash(date)
        assert date_from_decimal(partial.to_decimal()) == date
        assert partial.to_date() == date


@given(st.integers(0, 99_999_999))
def test_only_dates_are_dates(number: int) -> None:
    try:
        partial = PartialDate.from_decimal(number)
    except ValueError:
        year, month, day = number // 10_000, number // 100 % 100, number % 100
        if not (day and not month) and not (month and not year):
            with pytest.raises(ValueError, match=r"month|day|year"):
                datetime.date(year or 1, month or 1, day or 1)
    else:
        assert partial.to_decimal() == number


@pytest.mark.parametrize("text", ["1965-13", "66-02-21", "1965-02-30", "abc", "1965-02-20-1", "196612"])
def test_texts_that_are_no_date_are_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        PartialDate.parse(text)
    assert text not in str(caught.value)


def test_order() -> None:
    dates = [PartialDate(), PartialDate(1965), PartialDate(1965, 2), PartialDate(1965, 2, 1), PartialDate(1966)]
    assert sorted([dates[3], dates[1], dates[4], dates[0], dates[2]]) == dates
    assert PartialDate(1965, 2) < datetime.date(1965, 2, 1)


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("昭和40年2月20日", 19650220), ("昭和４０年２月２０日", 19650220), ("S40.2.20", 19650220),
        ("昭和40年2月(日不詳)", 19650200),
        ("昭和40年（月日不詳）", 19650000), ("昭和64年・平成元年(月日不詳)", 19890000), ("令和元年5月1日", 20190501),
        ("平成31年4月30日", 20190430),
        ("昭和四十年", 19650000), ("１９６５", 19650000), ("S400220", 19650220),
        ("不詳", 0), ("1965年2月20日", 19650220), ("明治元年1月25日", 18680125),
    ],
)  # fmt: skip
def test_dates_by_era_are_read(text: str, decimal: int) -> None:
    assert PartialDate.parse(text).to_decimal() == decimal


@pytest.mark.parametrize(
    "text",
    [
        "昭和64年1月8日", "平成元年1月7日", "令和元年4月30日", "明治元年1月24日", "昭和65年1月8日",
        "昭和0年1月1日", "昭和40年2月30日", "慶応3年1月1日", "元年1月1日",
        "昭和40年2月20日(日不詳)", "昭和40年2月(月日不詳)", "昭和64年・平成2年(月日不詳)", "S40.13",
        "x", "昭和40年13月1日", "昭和9999年1月1日",
    ],
)  # fmt: skip
def test_what_no_era_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        PartialDate.parse(text)
    assert text not in str(caught.value)


@given(st.dates(datetime.date(1868, 1, 25), datetime.date(2200, 12, 31)), st.integers(0, 2))
def test_what_era_writes_parse_reads(day: datetime.date, unknown: int) -> None:
    date = PartialDate(day.year, day.month if unknown < 2 else 0, day.day if unknown < 1 else 0)
    assert PartialDate.parse(date.era()) == date
