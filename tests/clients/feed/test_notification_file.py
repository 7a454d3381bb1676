"""Readers of notifications: every format, every fault by line and column, and nobody's data in a message."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import AREA, PREFECTURE, TODAY, death, entry

from jukinet.clients.errors import UsageError
from jukinet.clients.feed.notification_fields import COLUMNS, REMEDIES, LineFault, read_fields
from jukinet.clients.feed.notification_file import LINE_BYTES_MAX, open_file, text_of, write_csv
from jukinet.core.codes import code_from_key
from jukinet.core.notifications import Fault, Notification
from jukinet.core.vocabulary import ChangeReason

ROWS = [*(entry(number) for number in range(5)), death(0)]
ROWS.append(entry(9, alias='Sato, "Ann" Mary', birth_date=19650200, kana=""))


def read(path: Path, encoding: str = "utf-8", kind: str | None = None) -> list[Any]:
    file = open_file(str(path), kind, encoding)
    try:
        return list(file.lines(PREFECTURE, TODAY))
    finally:
        file.close()


def write(path: Path, rows: list[Notification], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        assert write_csv(file, rows) == len(rows)
    return path


@pytest.mark.parametrize(("written", "read_as"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("cp932", "cp932")])
def test_csv(tmp_path: Path, written: str, read_as: str) -> None:
    assert read(write(tmp_path / "a.csv", ROWS, written), read_as) == list(enumerate(ROWS, 2))


def test_json_lines_with_texts_numbers_and_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines: list[dict[str, Any]] = [dict(text_of(row)) for row in ROWS]
    for line in lines[:3]:
        line |= {"reason": 12, "code": int(line["code"]), "sex": int(line["sex"]), "code_before": None, "sequence": 7}
        del line["state"]
    path.write_text("\n\n".join(json.dumps(line) for line in lines))
    assert [row for _, row in read(path)] == ROWS
    assert [line for line, _ in read(path)] == [1, 3, 5, 7, 9, 11, 13]


def test_parquet_with_typed_columns(tmp_path: Path) -> None:
    columns: dict[str, Any] = {name: [text_of(row)[name] for row in ROWS] for name in COLUMNS}
    columns["area"] = pa.array([AREA] * len(ROWS), pa.uint32())
    columns["event_date"] = pa.array(
        [datetime.date(2024, 4, 1)] * 5 + [datetime.date(2025, 1, 2)] + [datetime.date(2024, 4, 1)]
    )
    columns["code"] = pa.array([row.code for row in ROWS], pa.int64())
    columns["alias"] = [row.alias or None for row in ROWS]
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    file = open_file(str(tmp_path / "a.parquet"))
    assert file.rows == len(ROWS)
    assert list(file.lines(PREFECTURE, TODAY)) == list(enumerate(ROWS, 1))
    assert len(file.digest()) == 32
    file.close()


def test_words_and_eras(tmp_path: Path) -> None:
    row = text_of(entry(1)) | {
        "reason": "move-in",
        "sex": "女",
        "birth_date": "昭和40年2月(日不詳)",
        "event_date": "令和6年4月1日",
    }
    statement = text_of(entry(2)) | {"reason": "", "state": "moved_away", "birth_date": "", "event_date": "2024/04/01"}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(statement))
    first, second = (notification for _, notification in read(path))
    assert (first.reason, first.sex, first.birth_date, first.event_date) == (
        ChangeReason.MOVE_IN,
        2,
        19650200,
        20240401,
    )
    assert (second.reason, second.state, second.birth_date) == (0, 3, 0)


def test_a_retired_code_is_stated_with_the_code_that_followed(tmp_path: Path) -> None:
    one = entry(1)
    other = code_from_key(77)
    stated = Notification(
        reason=41, state=5, code=one.code, code_before=other, area=one.area, event_date=one.event_date, update_number=3
    )
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        write_csv(file, [stated])
    assert f"{other:011}" in path.read_text()
    assert [found for _, found in read(path)] == [stated]
    texts = text_of(stated)
    assert (texts["code_before"], texts["code_after"]) == ("", f"{other:011}")
    for changes, column in (({"code_after": ""}, "code_after"), ({"code_before": texts["code_after"]}, "code_before")):
        fault = read_fields(2, texts | changes)
        assert isinstance(fault, LineFault)
        assert fault.column == column


FAULTY: list[tuple[dict[str, str], str, str]] = [
    ({"reason": "moving"}, "reason", "or its name"),
    ({"reason": "14"}, "reason", "eleven reasons"),
    ({"reason": ""}, "reason", "is missing"),
    ({"state": "7"}, "state", "leave it empty"),
    ({"code": "1234567890"}, "code", "11 digits"),
    ({"code": ""}, "code", "is missing"),
    ({"code": "12345678904"}, "code", "check digit"),
    ({"code_before": "12345678903"}, "code_before", "only for a code change"),
    ({"code_before": "x"}, "code_before", "11 digits"),
    ({"code_after": "12345678903"}, "code_after", "unless the state is retired"),
    ({"state": "retired", "code_after": "12345678903"}, "state", "agree"),
    ({"area": "131016"}, "area", "five digits"),
    ({"area": "27100"}, "area", "another prefecture"),
    ({"event_date": "2024-04"}, "event_date", "full date"),
    ({"event_date": "2024-02-30"}, "event_date", "full date"),
    ({"event_date": "2224-02-10"}, "event_date", "not in the future"),
    ({"update_number": "0"}, "update_number", "from 1 to"),
    ({"update_number": "65536"}, "update_number", "from 1 to"),
    ({"update_number": "99999999999999999999999"}, "update_number", "from 1 to"),
    ({"birth_date": "昭和64年1月8日"}, "birth_date", "or nothing"),
    ({"birth_date": "2024-04-02"}, "birth_date", "not after the event"),
    ({"sex": "3"}, "sex", "ISO/IEC 5218"),
    ({"name": ""}, "name", "where there is a person"),
    ({"name": "山\x07田"}, "name", "control characters"),
    ({"kana": "ア" * 300}, "name", "not too long"),
    ({"alias": "x" * 5_000}, "alias", "far too long"),
    ({"address": "町" * 300}, "address", "shorten"),
    ({"reason": "21"}, "name", "carries no person"),
]


@pytest.mark.parametrize(("changes", "column", "remedy"), FAULTY, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_each_fault_by_line_and_column_without_the_value(
    tmp_path: Path, kind: str, changes: dict[str, str], column: str, remedy: str
) -> None:
    good, bad = text_of(entry(1)), text_of(entry(2)) | changes
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        import csv  # noqa: PLC0415

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows([good, bad, good])
    else:
        path.write_text("\n".join(map(json.dumps, [None, good, bad, good])).removeprefix("null"))
    before, fault, after = read(path)
    assert before == (2, entry(1))
    assert after == (4, entry(1))
    assert isinstance(fault, LineFault)
    assert (fault.line, fault.column) == (3, column)
    assert remedy in fault.remedy
    told = str(fault)
    for personal in (bad["name"], bad["kana"], bad["address"], bad["code"], bad["birth_date"]):
        assert not personal or personal not in told


def raw(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"\n".join(lines))
    return path


HEADER = ",".join(COLUMNS).encode()


def csv_line(notification: Notification) -> bytes:
    text = io.StringIO()
    write_csv(text, [notification])
    return text.getvalue().splitlines()[1].encode()


@pytest.mark.parametrize(
    ("line", "column", "remedy"),
    [
        (b"12,,1", "", "has 3 fields"),
        (csv_line(entry(2)).replace("山田".encode(), b"\x8er\x93c"), "name", "--encoding"),
        (csv_line(entry(2)).replace("山田".encode(), b'"a"b'), "", "quotation mark"),
    ],
)
def test_lines_that_are_no_csv_or_no_text(tmp_path: Path, line: bytes, column: str, remedy: str) -> None:
    found = read(raw(tmp_path / "a.csv", HEADER, csv_line(entry(1)), line, b"", csv_line(entry(3))))
    assert found[0] == (2, entry(1))
    assert (found[1].line, found[1].column) == (3, column)
    assert remedy in found[1].remedy
    assert found[2] == (5, entry(3))


def test_a_quoted_line_break_keeps_the_count_of_lines(tmp_path: Path) -> None:
    broken = (
        csv_line(entry(2)).replace("山田".encode(), '"山\n田'.encode()).replace("花子2".encode(), '花子2"'.encode())
    )
    found = read(raw(tmp_path / "a.csv", HEADER, broken, csv_line(entry(3))))
    assert (found[0].line, found[0].column) == (2, "name")
    assert found[1] == (4, entry(3))


def test_a_quotation_mark_that_never_ends_does_not_take_the_file_into_memory(tmp_path: Path) -> None:
    lines = [csv_line(entry(number)) for number in range(5_000)]
    found = read(raw(tmp_path / "a.csv", HEADER, b'"' + lines[0], *lines))
    assert found[0].line == 2
    assert "quotation mark" in found[0].remedy
    assert sum(not isinstance(each, LineFault) for each in found) > 1_000


@pytest.mark.parametrize("line", [b"[1]", b"{", b'{"code": {"a": 1}}', b'{"code": 1.5}', b'"x"', b'{"name": "\xff"}'])
def test_lines_that_are_no_json_object(tmp_path: Path, line: bytes) -> None:
    (fault,) = read(raw(tmp_path / "a.jsonl", line))
    assert (fault.line, fault.column) == (1, "")


def test_a_key_that_is_no_column(tmp_path: Path) -> None:
    (fault,) = read(raw(tmp_path / "a.jsonl", json.dumps(text_of(entry(1)) | {"山田": 1}).encode()))
    assert "山田" not in str(fault)
    assert "no column" in str(fault)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column reason"),
        (HEADER.replace(b"code,", b"", 1), "no column code;"),
        (HEADER + b",shoe_size", "1 columns of the file are not known"),
        (HEADER + b",name", "twice"),
        (b'"', "not CSV"),
        (HEADER + b"\n" + b"x" * (LINE_BYTES_MAX + 1), "longer than"),
    ],
    ids=["empty", "missing", "unknown", "twice", "quote", "long"],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(raw(tmp_path / "a.csv", content))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--input-format"):
        open_file("-")
    with pytest.raises(UsageError, match="for CSV"):
        open_file("x.jsonl", None, "cp932")
    with pytest.raises(UsageError, match="standard input"):
        open_file("-", "parquet")
    with pytest.raises(UsageError, match="not a Parquet"):
        open_file(str(raw(tmp_path / "a.parquet", b"x")))
    with pytest.raises(FileNotFoundError):
        open_file(str(tmp_path / "absent.csv"))


def test_the_digest_is_that_of_all_bytes_however_much_was_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ROWS)
    digests = set()
    steps: list[Callable[[Iterator[Any]], Any]] = [lambda lines: None, next, list]
    for step in steps:
        file = open_file(str(path))
        step(file.lines(PREFECTURE, TODAY))
        digests.add(file.digest())
        file.close()
    assert len(digests) == 1
    path.write_bytes(path.read_bytes() + b"\n")
    assert open_file(str(path)).digest() not in digests


def test_every_fault_of_the_register_has_its_remedy() -> None:
    assert set(REMEDIES) == set(Fault)
