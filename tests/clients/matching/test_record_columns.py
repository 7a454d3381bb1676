"""Rows read in blocks and turned in columns are those that are read and turned one by one."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jukinet.clients.errors import UsageError
from jukinet.clients.matching import csv_blocks
from jukinet.clients.matching.column_names import Mapping
from jukinet.clients.matching.csv_blocks import Columns, Row
from jukinet.clients.matching.match_job import RecordSource, clean
from jukinet.clients.matching.record_columns import SPACES
from jukinet.clients.matching.record_file import open_records
from jukinet.clients.matching.record_rows import Batch, Person, Reader
from jukinet.core.folding.dates import EraDigits
from jukinet.core.wire.columns import TextColumn

PATIENT = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
MAPPING = Mapping({"name": (1, 2), "kana": (3,), "birth_date": (4,), "sex": (5,), "address": (6,)}, (0,), False)
MAPPINGS = (
    MAPPING,
    Mapping(MAPPING.items | {"birth_date": (0, 4)}, (0,), False),
    Mapping({"name": (1, 2), "birth_date": (0, 4, 5), "address": (6,)}, (0,), False, readings=False),
)
"""All items in columns of their own; a date in several columns; and names in kana that are not asked as readings."""
HEADER = ["番号", "姓", "名", "フリガナ", "生年月日", "性別", "住所"]
NAMES = st.sampled_from(
    ["髙橋", "吉子", "", " 山田　", "ﾀｶﾊｼ", "タカハシ　ヨシコ", "\u00a0鈴木", 'a"b', "a,b", "山" * 400, "ア\nイ"]
)
DATES = st.sampled_from(
    [
        "昭和40年2月20日",
        "S40.2.20",
        "19650220",
        "1965-02-31",
        "昭和65年2月20日",
        "",
        "いつか",
        "不詳",
        "3400220",
        " 1965/2/20 ",
        "昭和70年1月1日",
        "令和40年2月20日",
        "40.2.20",
        "4",
        "12.1",
    ]
)
SEXES = st.sampled_from(["", "1", "男", "女", "Ｍ", "x", "0", "不明"])
ADDRESSES = st.sampled_from(["", "東京都千代田区丸の内１－１", "x" * 1_100, "　"])
ROW = st.tuples(st.sampled_from(["1", "", "〇二", "昭和", "1965"]), NAMES, NAMES, NAMES, DATES, SEXES, ADDRESSES)
DAMAGE = st.sampled_from([b"\xff\xfe,", b'"', b"\r", b"\n", b",", b"\x81\n", b"\0", b"\xef\xbb\xbf", b'"",', b" \r\n"])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a row or two, so that all is met at their borders."""
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 160)
    monkeypatch.setattr(csv_blocks, "LINE_BYTES_MAX", 1_500)


def one_by_one(path: Path, encoding: str, header: bool, mapping: Mapping = MAPPING) -> tuple[list[Row], list[Person]]:
    with closing(open_records(path, encoding=encoding, separator=",", header=header)) as records:
        rows = list(records.rows())
    reader = Reader(mapping)
    return rows, [reader.person(row) for row in rows]


def texts(column: Any, rows: int) -> list[str]:
    return [""] * rows if column is None else column.to_list()


def numbers(column: Any, rows: int) -> list[int]:
    return [0] * rows if column is None else column.tolist()


def check_batches(batches: list[Batch], rows: list[Row], people: list[Person], size: int) -> None:
    """The batches are these rows and persons."""
    lengths = [len(batch) for batch in batches]
    assert sum(lengths) == len(rows)
    assert all(length == size for length in lengths[:-1])
    at = 0
    for batch in batches:
        stop = at + len(batch)
        asked, expected = batch.persons, people[at:stop]
        assert list(batch.numbers) == [row.number for row in rows[at:stop]]
        assert batch.faults == [str(person.fault) for person in expected]
        assert batch.reasons == [person.reason for person in expected]
        assert texts(asked.names, len(batch)) == [person.name for person in expected]
        assert texts(asked.kana, len(batch)) == [person.kana for person in expected]
        assert texts(asked.addresses, len(batch)) == [person.address for person in expected]
        assert numbers(asked.birth_dates, len(batch)) == [person.birth_date for person in expected]
        assert numbers(asked.sexes, len(batch)) == [person.sex for person in expected]
        for column in (asked.names, asked.kana, asked.addresses):
            if column is not None:
                assert isinstance(column, TextColumn)
                assert column.offsets[0] == 0
        kept = [clean(row.fields[0]) if row.fields else "" for row in rows[at:stop]]
        assert batch.kept[0].to_pylist() == kept
        at = stop


def written(rows: list[tuple[str, ...]], header: bool, quoting: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n", quoting=quoting)
    writer.writerows([HEADER, *rows] if header else rows)
    return text.getvalue()


@PATIENT
@given(
    st.lists(ROW, min_size=1, max_size=25),
    st.sampled_from(["utf-8", "utf-8-sig", "cp932", "utf-16"]),
    st.booleans(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.lists(st.tuples(st.integers(0, 4_000), DAMAGE), max_size=3),
    st.integers(1, 9),
    st.sampled_from(MAPPINGS),
)
@example([("1", "髙橋", "吉子", "", "", "", "")], "utf-8", False, csv.QUOTE_MINIMAL, [(8, b"\n")], 1, MAPPING)
@example([("1965", "ﾀｶﾊｼ", "", "", "12.1", "1", "x")] * 9, "cp932", True, csv.QUOTE_MINIMAL, [], 4, MAPPINGS[2])
@example([("昭和", "山田", "", "", "12.1", "1", "x")] * 9, "cp932", True, csv.QUOTE_MINIMAL, [], 4, MAPPINGS[1])
def test_what_is_read_in_blocks_is_what_is_read_by_rows(
    tmp_path: Path,
    rows: list[tuple[str, ...]],
    encoding: str,
    header: bool,
    quoting: Any,
    damage: list[tuple[int, bytes]],
    size: int,
    mapping: Mapping,
) -> None:
    data = written(rows, header, quoting).encode(encoding, "replace")
    if encoding != "utf-16":
        for place, piece in damage:
            start = place % (len(data) + 1)
            data = data[:start] + piece + data[start:]
    path = tmp_path / "records.csv"
    path.write_bytes(data)
    try:
        expected, people = one_by_one(path, encoding, header, mapping)
    except UsageError:
        return
    with closing(open_records(path, encoding=encoding, separator=",", header=header)) as records:
        source = RecordSource(records, Reader(mapping), mapping)
        check_batches(list(source.batches(size)), expected, people, size)
    assert source.beyond_era == sum(person.beyond_era for person in people)


def pieces_of(path: Path) -> Iterator[Columns | list[Row]]:
    with closing(open_records(path, encoding="utf-8", separator=",", header=True)) as records:
        yield from records.pieces()


def test_plain_blocks_go_as_columns_and_a_bad_row_costs_its_block_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1_000)
    rows = [(str(n), "髙橋", "吉子", "ﾀｶﾊｼ ﾖｼｺ", "昭和40年2月20日", "女", "丸の内") for n in range(1, 201)]
    data = written(rows, True, csv.QUOTE_MINIMAL).encode()
    path = tmp_path / "records.csv"
    path.write_bytes(data)
    kinds = [isinstance(piece, Columns) for piece in pieces_of(path)]
    assert kinds == [False] + [True] * (len(kinds) - 1)
    path.write_bytes(data.replace("\r\n100,髙".encode(), b"\r\n100,\xff"))
    kinds = [isinstance(piece, Columns) for piece in pieces_of(path)]
    assert kinds.count(False) == 2


def test_a_file_without_line_feeds_is_streamed(tmp_path: Path) -> None:
    rows = [(str(n), "髙橋", "吉子", "", "昭和40年2月20日", "女", "丸の内") for n in range(1, 201)]
    path = tmp_path / "records.csv"
    for encoding in ("utf-8", "utf-8-sig", "cp932"):
        path.write_bytes(written(rows, True, csv.QUOTE_MINIMAL).replace("\r\n", "\r").encode(encoding))
        expected, people = one_by_one(path, encoding, True)
        assert len(expected) == 200
        records = open_records(path, encoding=encoding, separator=",", header=True)
        check_batches(list(RecordSource(records, Reader(MAPPING), MAPPING).batches(64)), expected, people, 64)
        records.close()


@PATIENT
@given(st.lists(st.text(SPACES + "ア髙a", max_size=4), min_size=1, max_size=5))
@example(list(SPACES))
def test_what_surrounds_a_text_is_taken_away_as_python_does(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "records.parquet"
    columns = {"x": names, "a": names, "b": names, "k": [""] * len(names), "d": ["19650220"] * len(names)}
    columns |= {"s": ["女"] * len(names), "z": [""] * len(names)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    records = open_records(path)
    rows = list(records.rows())
    records.close()
    records = open_records(path)
    people = [Reader(MAPPING).person(row) for row in rows]
    check_batches(list(RecordSource(records, Reader(MAPPING), MAPPING).batches(3)), rows, people, 3)
    records.close()


def test_no_space_is_left_out() -> None:
    assert [chr(point) for point in range(0x110000) if chr(point).isspace()] == list(SPACES)


def test_digits_of_an_era_are_read_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text(written([("1", "山田", "", "", "5400220", "", "")] * 9, True, csv.QUOTE_MINIMAL), "utf-8")
    records = open_records(path)
    (batch,) = RecordSource(records, Reader(MAPPING, EraDigits.ODD), MAPPING).batches(20)
    assert batch.persons.birth_dates == memoryview(array("I", [19650220] * 9))
    records.close()
