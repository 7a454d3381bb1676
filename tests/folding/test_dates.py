"""Dates as people write them, and dates near one another."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.clients.partial_date import PartialDate
from jukinet.core.folding import dates
from jukinet.core.folding.dates import (
    DateNearness,
    DateTextError,
    EraDigits,
    ImpossibleDateError,
    OutOfEraError,
    UnreadableDateError,
    read_date,
)

from ..core.strategies import partial_dates
from . import date_twin

WORDS = """
    昭和 S 大 平成 ㍼ 元 4 40 1965 2 20 ８ 四 十 百 〇 年 月 日 不詳 ? - / . ( ) ・ : T 西暦 00 x 不 明
"""
PIECES = st.sampled_from((*WORDS.split(), " ", "\u3000"))


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("1965-02-20", 19650220),
        ("1965/2/20", 19650220),
        ("昭和40年2月20日", 19650220),
        ("昭40.2.20", 19650220),
        ("S40.2.20", 19650220),
        ("Ｓ４０．２．２０", 19650220),
        ("S400220", 19650220),
        ("3400220", 19650220),
        ("昭和四十年二月二十日", 19650220),
        ("昭和四〇年二月二〇日", 19650220),
        ("一九六五年二月二十日", 19650220),
        ("千九百六十五年二月二十日", 19650220),
        ("㍼40年2月20日", 19650220),
        ("1965年（昭和40年）2月20日", 19650220),
        ("昭和元年12月25日", 19261225),
        ("昭和64年1月7日", 19890107),
        ("平成元年1月8日", 19890108),
        ("令和元年5月1日", 20190501),
        ("令和101年5月1日", 21190501),
        ("昭和40年2月(日不詳)", 19650200),
        ("昭和40年 月 日", 19650000),
        ("S40-02-??", 19650200),
        ("1965-00-00", 19650000),
        ("昭和64年・平成元年(月日不詳)", 19890000),
        ("1965-02-20 00:00:00", 19650220),
        ("不詳", 0),
        ("年月日不詳", 0),
        ("00000000", 0),
        ("", 0),
        ("昭和", 0),
        ("昭和  年  月  日", 0),
        (" 　", 0),
    ],
)
def test_forms_that_are_read(text: str, decimal: int) -> None:
    assert read_date(text) == (decimal, False)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("65-2-20", UnreadableDateError),
        ("650220", UnreadableDateError),
        ("20.2.1965", UnreadableDateError),
        ("1965年（昭和41年）2月20日", UnreadableDateError),
        ("昭和40年・平成元年", UnreadableDateError),
        ("昭和40年2月20日不詳な", UnreadableDateError),
        ("佐藤", UnreadableDateError),
        ("不", UnreadableDateError),
        ("1965-02-20-01", UnreadableDateError),
        ("元年", UnreadableDateError),
        ("9400220", UnreadableDateError),
        ("昭和100年1月1日", OutOfEraError),
        ("昭和1000年", UnreadableDateError),
        ("5000-01-01", ImpossibleDateError),
        ("1" * 9, UnreadableDateError),
        ("1965-02-20" + " " * 200, UnreadableDateError),
        ("1965-02-30", ImpossibleDateError),
        ("1900-02-29", ImpossibleDateError),
        ("1965-13-01", ImpossibleDateError),
        ("1965-00-20", ImpossibleDateError),
        ("昭和40年2月31日", ImpossibleDateError),
        ("昭和65年1月1日", OutOfEraError),
        ("大正20年1月1日", OutOfEraError),
        ("S400230", ImpossibleDateError),
    ],
)
def test_texts_that_are_no_dates(text: str, error: type[DateTextError]) -> None:
    with pytest.raises(error) as raised:
        read_date(text)
    assert type(raised.value) is error
    assert text.isascii() or text not in str(raised.value)


def test_an_era_that_ended_in_that_year() -> None:
    assert read_date("昭和64年3月1日") == (19890301, True)
    assert read_date("平成31年5月1日") == (20190501, True)
    assert read_date("平成元年1月7日") == (19890107, True)
    assert read_date("昭和64年") == (19890000, False)
    with pytest.raises(OutOfEraError) as raised:
        read_date("平成32年1月1日")
    assert raised.value.decimal == 20200101


def test_era_digits_of_pensions() -> None:
    assert read_date("5400220", EraDigits.ODD).decimal == 19650220
    assert read_date("7010108", EraDigits.ODD).decimal == 19890108
    assert read_date("9010501", EraDigits.ODD).decimal == 20190501
    with pytest.raises(UnreadableDateError):
        read_date("4010108", EraDigits.ODD)


@given(date_twin.written_dates())
def test_every_way_of_writing_a_date_is_read(written: tuple[str, int]) -> None:
    text, decimal = written
    assert read_date(text).decimal == decimal


@given(st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_is_a_date_or_a_typed_error(text: str) -> None:
    try:
        decimal = read_date(text).decimal
    except DateTextError:
        return
    PartialDate.from_decimal(decimal)


@given(partial_dates())
def test_what_the_clients_print_is_read(decimal: int) -> None:
    date = PartialDate.from_decimal(decimal)
    assert read_date(date.era()).decimal == decimal
    if decimal:
        assert read_date(date.isoformat()).decimal == decimal


@given(partial_dates())
def test_alternatives_equal_the_twin(decimal: int) -> None:
    assert dates.alternatives_by_era(decimal) == date_twin.alternatives(decimal)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int]:
    one = draw(partial_dates())
    year, month, day = date_twin.split(one)
    other = draw(
        st.one_of(
            partial_dates(),
            st.sampled_from([one, *dates.alternatives_by_era(one)]),
            st.just((year, day, month)).map(lambda parts: parts[0] * 10_000 + parts[1] * 100 + parts[2]),
            st.tuples(st.integers(-12, 12), st.integers(-11, 11), st.integers(-20, 20)).map(
                lambda by: (year + by[0]) * 10_000 + (month + by[1]) * 100 + day + by[2]
            ),
            st.just((year - year % 100 + year % 10 * 10 + year // 10 % 10) * 10_000 + month * 100 + day),
            st.just(year * 10_000 + month * 100 + day % 10 * 10 + day // 10),
        )
    )
    valid = 0 < other < 40_950_000 and date_twin.exists(*date_twin.split(other)) and other % 10_000 // 100 <= 12
    return one, other if valid else one


@given(pairs())
def test_nearness_equals_the_twin(pair: tuple[int, int]) -> None:
    assert dates.nearness(*pair) == date_twin.nearness(*pair)
    assert dates.nearness(*pair[::-1]) == dates.nearness(*pair)


@pytest.mark.parametrize(
    ("one", "other", "nearness"),
    [
        (19650220, 19650200, DateNearness.COMPATIBLE),
        (19300220, 19930220, DateNearness.ERA),
        (19650203, 19650302, DateNearness.MONTH_DAY),
        (19650220, 19660220, DateNearness.DIGIT),
        (19650220, 19750220, DateNearness.DIGIT),
        (19650220, 19560220, DateNearness.TRANSPOSED),
        (19650212, 19650221, DateNearness.TRANSPOSED),
        (19650220, 19380220, DateNearness.YEAR),
        (19650220, 19380101, DateNearness.FAR),
        (19650220, 0, DateNearness.UNKNOWN),
    ],
)
def test_nearness_by_example(one: int, other: int, nearness: DateNearness) -> None:
    assert dates.nearness(one, other) is nearness


def test_the_calendar_is_the_standard_library_s() -> None:
    for decimal in range(18991201, 19050401):
        year, month, day = date_twin.split(decimal)
        if not day or not month:
            continue
        try:
            datetime.date(year, month, day)
        except ValueError:
            with pytest.raises(DateTextError):
                read_date(f"{decimal}")
        else:
            assert read_date(f"{decimal}").decimal == decimal
