"""Files of records: what is found out of them, whatever encoding, separator and damage they have."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.clients.errors import UsageError
from jukinet.clients.matching.record_file import (
    ENCODINGS,
    encoding_name,
    found_encoding,
    found_separator,
    open_records,
    undecodable,
)

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
VENDOR = "髙橋 﨑 ㈱①Ⅲ ﾀｶﾊｼ ～－ 昭和４０年"
"""What CP932 has and JIS X 0208 has not, or writes elsewhere."""
FIELDS = st.text(st.sampled_from("髙﨑①ﾀｶﾊ高橋アカa1,;\t\"' "), max_size=8)


def file(tmp_path: Path, data: bytes, name: str = "records.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_is_found_out(tmp_path: Path, encoding: str) -> None:
    data = f"氏名,生年月日\n{VENDOR},1965-02-20\n".encode(encoding)
    assert found_encoding(data) == encoding
    records = open_records(file(tmp_path, data))
    assert (records.encoding, records.names) == (encoding, ["氏名", "生年月日"])
    assert [row.fields for row in records.rows()] == [[VENDOR, "1965-02-20"]]
    records.close()


def test_a_few_bad_bytes_do_not_change_the_encoding(tmp_path: Path) -> None:
    good = "氏名,生年月日\n" + "高橋吉子,昭和40年2月20日\n" * 50
    for encoding, bad in (("utf-8", b"\xe3\x81,1965\n"), ("cp932", b"\x81\x20\xfd,1965\n")):
        data = good.encode(encoding) + bad + "山田,1970\n".encode(encoding)
        assert found_encoding(data) == encoding
        records = open_records(file(tmp_path, data))
        rows = list(records.rows())
        assert [any(map(undecodable, row.fields)) for row in rows] == [False] * 50 + [True, False]
        assert rows[-1].fields[0] == "山田"
        records.close()


def test_damage_in_utf_16_is_told_of_its_row(tmp_path: Path) -> None:
    data = "氏名,生年月日\n高橋,1965\n".encode("utf-16") + b"\x00\xdc" + "山,1970\n川,1980\n".encode("utf-16-le")
    records = open_records(file(tmp_path, data))
    rows = list(records.rows())
    assert [any(map(undecodable, row.fields)) for row in rows] == [False, True, False]
    assert rows[-1].fields == ["川", "1980"]
    records.close()


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    records = open_records(file(tmp_path, "氏名,生年月日\n山田,1965\n".encode("utf-8-sig")), encoding="utf-8")
    assert (records.encoding, records.names) == ("utf-8-sig", ["氏名", "生年月日"])
    records.close()


@pytest.mark.parametrize(
    ("said", "meant"),
    [("Shift_JIS", "cp932"), ("sjis", "cp932"), ("UTF8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("latin-1", "latin-1")],
)
def test_encodings_are_called_by_what_people_call_them(said: str, meant: str) -> None:
    assert encoding_name(said) == meant


@PATIENT
@given(
    st.lists(st.lists(FIELDS, min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from(ENCODINGS),
    st.sampled_from(",\t;"),
)
def test_rows_come_as_they_were_written(tmp_path: Path, rows: list[list[str]], encoding: str, separator: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\r\n").writerows([["番号", "氏名", "生年月日"], *rows])
    records = open_records(file(tmp_path, text.getvalue().encode(encoding)), encoding=encoding, separator=separator)
    try:
        assert [(row.number, list(row.fields)) for row in records.rows()] == list(enumerate(rows, 1))
    finally:
        records.close()


@PATIENT
@given(st.binary(max_size=300))
def test_any_bytes_give_rows_or_a_refusal(tmp_path: Path, data: bytes) -> None:
    try:
        records = open_records(file(tmp_path, data))
    except UsageError:
        return
    numbers = [row.number for row in records.rows()]
    assert numbers == list(range(1, len(numbers) + 1))
    records.close()


def test_a_separator_is_one_that_every_line_has() -> None:
    assert found_separator(["a,b,c", "1,2,3"]) == ","
    assert found_separator(["a\tb\tc", "1\t2,5\t3"]) == "\t"
    assert found_separator(["a;b", "1;2"]) == ";"
    assert found_separator(["names", "x"]) == ","


def test_the_first_row_is_taken_for_names_when_it_looks_like_them(tmp_path: Path) -> None:
    for data, names in (
        ("フリガナ,生年月日\nﾀｶﾊｼ,S400220\n", True),
        ("ﾀｶﾊｼ,S400220\nﾔﾏﾀﾞ,S410220\n", False),
        ("name 1965-02-20,高橋\n", False),
    ):
        records = open_records(file(tmp_path, data.encode()))
        assert records.has_names is names
        records.close()
    records = open_records(file(tmp_path, "ﾀｶﾊｼ,S400220\n".encode()), header=True)
    assert list(records.rows()) == []
    records.close()


def test_a_field_without_end_makes_its_row_unreadable(tmp_path: Path) -> None:
    data = '氏名,生年月日\n高橋,1965\n"' + "x" * 200_000 + "\n山田,1970\n"
    records = open_records(file(tmp_path, data.encode()))
    rows = list(records.rows())
    assert rows[0].fields == ["高橋", "1965"]
    assert rows[1].fault
    records.close()


@pytest.mark.parametrize("data", [b"", b"\n", b"a\0b,c\n", b"a" + b"," * 5_000 + b"\n"])
def test_what_is_no_csv_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UsageError):
        open_records(file(tmp_path, data))


def test_parquet_of_any_type_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    columns = {"氏名": ["髙橋", None], "生年月日": pyarrow.array([19650220, 19700101], pyarrow.int64())}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    records = open_records(path)
    assert [tuple(row.fields) for row in records.rows()] == [("髙橋", "19650220"), ("", "19700101")]
    assert (records.rows_in_all, records.fraction()) == (2, 1.0)
    records.close()
    with pytest.raises(UsageError):
        open_records(file(tmp_path, b"no parquet", "x.parquet"))
