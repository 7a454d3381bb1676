"""Comparison levels by example: each error that the pages promise to find has a level of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.folding.distance import distance_of_kana
from jukinet.core.folding.kana import folded_kana
from jukinet.core.matching.comparing import compare, compare_dates, distance
from jukinet.core.matching.folded import fold
from jukinet.core.matching.levels import DateLevel, NameLevel, PlaceLevel, SexLevel

HELD = fold("渡邉　花子", "ワタナベ　ハナコ", 19650220, 2, "東京都千代田区丸の内一丁目2番3号 コーポ101", 7)


@pytest.mark.parametrize(
    ("kana", "level", "slip"),
    [
        ("ワタナベ　ハナコ", NameLevel.EQUAL, 0),
        ("わたなべはなこ", NameLevel.EQUAL, 0),
        ("ﾜﾀﾅﾍﾞ ﾊﾅｺ", NameLevel.EQUAL, 0),
        ("ワタナヘハナコ", NameLevel.FOLDED, 0),
        ("ワタナベ　ハナエ", NameLevel.SLIP, 1),
        ("ウタナベ　ハナコ", NameLevel.SLIP, 2),
        ("ワタベハナコ", NameLevel.SLIP, 2),
        ("ワナタベハナコ", NameLevel.SLIP, 2),
        ("ワタナベ　マナミ", NameLevel.SLIPS, 1),
        ("ハナコワタナベ", NameLevel.SWAPPED, 0),
        ("ワタナベ", NameLevel.PART, 1),
        ("ハナコ", NameLevel.PART, 2),
        ("スズキ　ハナコ", NameLevel.GIVEN, 2),
        ("ワタナベ　ケンイチロウ", NameLevel.SURNAME, 1),
        ("スズキ　ケンイチロウ", NameLevel.DIFFERENT, 0),
        ("", NameLevel.MISSING, 0),
    ],
)
def test_readings(kana: str, level: NameLevel, slip: int) -> None:
    compared = compare(fold("", kana, 0, 0, ""), HELD)
    assert (compared.kana, compared.kana_slip) == (level, slip)


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("渡邉花子", NameLevel.EQUAL),
        ("渡辺 花子", NameLevel.FOLDED),
        ("渡部花子", NameLevel.SLIP),
        ("花子渡辺", NameLevel.SWAPPED),
        ("渡邊", NameLevel.PART),
        ("鈴木花子", NameLevel.GIVEN),
        ("渡辺　健一郎", NameLevel.SURNAME),
        ("鈴木一郎", NameLevel.DIFFERENT),
    ],
)
def test_names(name: str, level: NameLevel) -> None:
    assert compare(fold(name, "", 0, 0, ""), HELD).name == level


@pytest.mark.parametrize(
    ("date", "level"),
    [
        (19650220, DateLevel.EQUAL), (19650200, DateLevel.MONTH), (19650000, DateLevel.YEAR),
        (19650221, DateLevel.DIGIT),
        (19550220, DateLevel.DIGIT), (19560220, DateLevel.TRANSPOSED), (19650202, DateLevel.TRANSPOSED),
        (19070220, DateLevel.ERA), (19330220, DateLevel.MONTH_AND_DAY), (19650204, DateLevel.YEAR_AND_MONTH),
        (19330811, DateLevel.DIFFERENT), (0, DateLevel.MISSING), (19330000, DateLevel.DIFFERENT),
    ],
)  # fmt: skip
def test_dates(date: int, level: DateLevel) -> None:
    assert compare_dates(date, HELD.birth_date) == level
    assert compare_dates(HELD.birth_date, date) == level


@pytest.mark.parametrize(
    ("address", "level"),
    [
        ("東京都千代田区丸の内一丁目2番3号 コーポ101", PlaceLevel.EQUAL),
        ("千代田区丸の内１－２－３コーポ101", PlaceLevel.EQUAL),
        ("千代田区丸の内1-2-3", PlaceLevel.BUILDING),
        ("千代田区丸の内", PlaceLevel.TOWN),
        ("千代田区丸の内9-9", PlaceLevel.TOWN),
        ("東京都千代田区神田神保町1-2-3", PlaceLevel.AREA),
        ("大阪府大阪市北区梅田1-2-3", PlaceLevel.DIFFERENT),
        ("", PlaceLevel.MISSING),
    ],
)
def test_addresses(address: str, level: PlaceLevel) -> None:
    assert compare(fold("", "", 0, 0, address), HELD).place == level


def test_sexes() -> None:
    assert [compare(fold("", "", 0, sex, ""), HELD).sex for sex in (0, 1, 2, 9)] == [
        SexLevel.MISSING, SexLevel.DIFFERENT, SexLevel.EQUAL, SexLevel.MISSING,
    ]  # fmt: skip


KANA = st.text(alphabet="アカサタナハマヤラワン", min_size=1, max_size=9)


@given(KANA, KANA)
def test_the_plain_distance_is_that_of_the_kernel(left: str, right: str) -> None:
    for limit in (1, 2):
        assert distance(left, right, limit) == distance_of_kana(folded_kana(left), folded_kana(right), limit)


def test_what_is_compared_never_shows_in_a_traceback() -> None:
    assert "渡" not in repr(HELD)
