"""Which column holds what, and what a row says: items as people write them, and why a row cannot be asked."""

from __future__ import annotations

import datetime

import pytest

from jukinet.clients.errors import UsageError
from jukinet.clients.matching.column_names import Mapping, guessed, looks_like_names, mapping_of
from jukinet.clients.matching.csv_blocks import Row
from jukinet.clients.matching.record_columns import ColumnReader, Piece, persons_of
from jukinet.clients.matching.record_rows import Person, Reader
from jukinet.core.folding.dates import EraDigits

NAMES = ["整理番号", "氏名", "フリガナ", "生年月日", "性別", "住所"]


def read(*fields: str, names: list[str] = NAMES, digits: EraDigits = EraDigits.IN_ORDER) -> Person:
    return Reader(mapping_of(names, [], None), digits).person(Row(1, fields))


def piece_of(*fields: str) -> Piece:
    mapping = mapping_of(NAMES, [], None)
    return ColumnReader(Reader(mapping), mapping).of_rows([Row(1, fields)], [])


@pytest.mark.parametrize(
    ("names", "items", "kept"),
    [
        (NAMES, {"name": (1,), "kana": (2,), "birth_date": (3,), "sex": (4,), "address": (5,)}, (0,)),
        (["姓", "名", "セイ", "メイ", "生年月日"], {"name": (0, 1), "kana": (2, 3), "birth_date": (4,)}, ()),
        (["Name", "Date of Birth", "Gender"], {"name": (0,), "birth_date": (1,), "sex": (2,)}, ()),
        (["ふりがな", "生年月日(和暦)", "No."], {"kana": (0,), "birth_date": (1,)}, (2,)),
        (["ｶﾅ氏名", "生年月日"], {"kana": (0,), "birth_date": (1,)}, ()),
        (["氏名", "都道府県", "市区町村", "住所1"], {"name": (0,), "address": (1, 2, 3)}, ()),
        (["氏名", "元号", "年", "月", "日"], {"name": (0,), "birth_date": (1, 2, 3, 4)}, ()),
        (["氏名", "生年", "生月", "生日"], {"name": (0,), "birth_date": (1, 2, 3)}, ()),
        (["氏名", "年", "月", "住所"], {"name": (0,), "address": (3,)}, ()),
        (
            ["ｶﾅ氏名(半角)", "ｾｲﾈﾝｶﾞｯﾋﾟ", "ｾｲﾍﾞﾂ", "ｼﾞﾕｳｼﾖ"],
            {"kana": (0,), "birth_date": (1,), "sex": (2,), "address": (3,)},
            (),
        ),
        (["x", "y"], {}, ()),
    ],
)
def test_columns_are_guessed_from_the_names_people_use(
    names: list[str], items: dict[str, tuple[int, ...]], kept: tuple[int, ...]
) -> None:
    found = guessed(names)
    assert (found.items, found.kept) == (items, kept)
    assert looks_like_names(names) is bool(items)


def test_what_is_said_goes_before_what_is_guessed() -> None:
    mapping = mapping_of(NAMES, ["kana=2", "name=", "birth-date=生年月日", "address=6+氏名"], ["性別", "1"])
    assert mapping.items == {"kana": (1,), "birth_date": (3,), "sex": (4,), "address": (5, 1)}
    assert mapping.kept == (4, 0)


@pytest.mark.parametrize(
    "said", [["name"], ["nome=1"], ["name=9"], ["name=x"], ["name=", "kana="], ["birth_date=", "address="]]
)
def test_a_mapping_that_cannot_be_is_refused(said: list[str]) -> None:
    with pytest.raises(UsageError):
        mapping_of(NAMES, said, None)


def test_a_row_says_what_its_columns_say() -> None:
    assert read("1", " 髙橋　𠮷子 ", "ﾀｶﾊｼ ﾖｼｺ", "昭和４０年２月２０日", "女", "千代田区丸の内１－１") == Person(
        "髙橋　𠮷子", "ﾀｶﾊｼ ﾖｼｺ", 19650220, 2, "千代田区丸の内１－１"
    )


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("1965-02-20", 19650220),
        ("1965/2/20", 19650220),
        ("19650220", 19650220),
        ("昭和40年2月20日", 19650220),
        ("昭和四十年二月二十日", 19650220),
        ("昭40.2.20", 19650220),
        ("S40.2.20", 19650220),
        ("S400220", 19650220),
        ("3400220", 19650220),
        ("平成元年1月8日", 19890108),
        ("昭和40年2月", 19650200),
        ("昭和40年", 19650000),
        ("", 0),
        ("不詳", 0),
    ],
)
def test_dates_are_read_as_people_write_them(text: str, date: int) -> None:
    person = read("1", "山田", "", text, "", "東京都")
    assert (person.fault, person.birth_date) == ("", date)


@pytest.mark.parametrize(
    ("parts", "date"),
    [
        (("", "1950", "3", "15"), 19500315),
        (("", "1950", "03", "15"), 19500315),
        (("昭和", "40", "2", "20"), 19650220),
        (("Ｓ", "４０", "２", "２０"), 19650220),
        (("昭和", "40年", "2月", "20日"), 19650220),
        (("昭和", "元", "12", "28"), 19261228),
        (("3", "40", "2", "20"), 19650220),
        (("昭和", "40", "2", ""), 19650200),
        (("", "1950", "", ""), 19500000),
        (("昭和", "400220", "", ""), 19650220),
        (("昭和", "40年2月20日", "", ""), 19650220),
        (("3", "400220", "", ""), 19650220),
        (("", "", "", ""), 0),
    ],
)
def test_a_date_in_several_columns(parts: tuple[str, ...], date: int) -> None:
    names = ["氏名", "元号", "年", "月", "日", "住所"]
    person = read("山田", *parts, "東京都", names=names)
    assert (person.fault, person.birth_date) == ("", date)


@pytest.mark.parametrize("parts", [("", "1950", "", "15"), ("", "5", "2", "20"), ("昭和", "", "2", "20")])
def test_a_date_in_columns_of_which_one_is_missing_is_none(parts: tuple[str, ...]) -> None:
    person = read("山田", *parts, "東京都", names=["氏名", "元号", "年", "月", "日", "住所"])
    assert person.fault == "BAD_BIRTH_DATE"


def test_nobody_is_born_in_the_future() -> None:
    mapping = mapping_of(NAMES, [], None)
    reader = Reader(mapping, today=datetime.date(2026, 11, 29))
    bad = "BAD_BIRTH_DATE"
    for text, fault in (
        ("20261129", ""),
        ("20261130", bad),
        ("2026", ""),
        ("2027", bad),
        ("18000101", ""),
        ("40.2.20", bad),
    ):
        assert reader.person(Row(1, ("1", "山田", "", text, "", ""))).fault == fault
    # A pension record's Showa, read as the fifth era in order.
    person = reader.person(Row(1, ("1", "山田", "", "5400220", "", "")))
    assert person.fault == "BAD_BIRTH_DATE"
    assert "--era-digits" in person.reason


def test_a_reading_that_may_not_be_asked_by_is_told() -> None:
    mapping = Mapping({"name": (1,), "birth_date": (3,)}, (), readings=False)
    person = Reader(mapping).person(Row(1, ("1", "ﾀｶﾊｼ ﾖｼｺ", "", "1965-02-20", "女", "")))
    assert (person.fault, person.kana) == ("BAD_NAME", "")
    assert "reading" in person.reason


def test_digits_of_pension_records_and_years_past_their_era() -> None:
    assert read("1", "山田", "", "5400220", "", "", digits=EraDigits.ODD).birth_date == 19650220
    person = read("1", "山田", "", "昭和65年2月20日", "", "")
    assert (person.birth_date, person.beyond_era) == (19900220, True)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (("1", "山田", "ヤマダ", "昭和40年2月31日", "女", ""), "BAD_BIRTH_DATE"),
        (("1", "山田", "ヤマダ", "いつか", "女", ""), "BAD_BIRTH_DATE"),
        (("1", "山田", "ヤマダ", "1965-02-20", "x", ""), "BAD_SEX"),
        (("1", "", "", "1965-02-20", "女", "東京都"), "TOO_FEW_ITEMS"),
        (("1", "山田", "ヤマダ", "", "女", ""), "TOO_FEW_ITEMS"),
        (("1", "山田", "ヤマダ", "1965-02-20"), "COLUMN_MISSING"),
        (("1", "山\udc81田", "ヤマダ", "1965-02-20", "女", ""), "UNDECODABLE"),
        (("1", "山" * 342, "", "1965-02-20", "女", ""), "BAD_NAME"),
        (("1", "", "ア" * 342, "1965-02-20", "女", ""), "BAD_KANA"),
        (("1", "山田", "", "1965-02-20", "女", "x" * 1_025), "BAD_ADDRESS"),
    ],
)
def test_a_row_that_cannot_be_asked_says_which_and_why(fields: tuple[str, ...], fault: str) -> None:
    person = read(*fields)
    assert (person.fault, bool(person.reason)) == (fault, True)
    assert (person.name, person.kana, person.birth_date, person.address) == ("", "", 0, "")
    for text in fields:
        assert len(text) < 2 or text not in person.reason


def test_bytes_that_could_not_be_decoded_matter_in_items_alone() -> None:
    assert read("\udc81", "山田", "ヤマダ", "1965-02-20", "女", "").fault == ""


def test_a_reading_in_the_column_of_names_is_asked_as_a_reading() -> None:
    person = read("1", "ﾀｶﾊｼ ﾖｼｺ", "", "1965-02-20", "女", "")
    assert (person.name, person.kana) == ("", "ﾀｶﾊｼ ﾖｼｺ")
    persons = persons_of(piece_of("1", "ﾀｶﾊｼ ﾖｼｺ", "", "1965-02-20", "女", ""), ["name", "birth_date"])
    assert persons.names is None
    assert persons.kana is not None
    faulty = piece_of("1", "山田", "", "1965-02-20", "x", "")
    assert persons_of(faulty, ["name", "birth_date"]).names is not None


def test_nothing_shows_a_person() -> None:
    assert "山田" not in repr(read("1", "山田", "ヤマダ", "1965-02-20", "女", ""))
