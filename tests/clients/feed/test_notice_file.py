"""Files of move-in notices: what is read, what is refused by line without repeating it, and what is written."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import pytest

from jukinet.clients.errors import UsageError
from jukinet.clients.feed.notice_file import COLUMNS, TakenFile, read_notices, read_numbers
from jukinet.clients.feed.notification_fields import LineFault
from jukinet.core.codes import code_from_key
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import feed_messages as f

GOOD = {
    "notice_id": "41", "from_area": "13101", "to_area": "01100", "code": f"{code_from_key(5):011}",
    "name": "秘密 花子", "kana": "ヒミツ", "birth_date": "昭和40年2月20日", "sex": "女",
    "address": "東京都千代田区", "event_date": "2026-11-01",
}  # fmt: skip


def written(path: Path, *rows: dict[str, str], encoding: str = "utf-8") -> str:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def read(path: str, kind: str | None = None, encoding: str = "utf-8") -> list[f.NoticeLeave | LineFault]:
    return list(read_notices(path, 13, kind, encoding))


def test_csv_json_lines_and_cp932_give_the_same(tmp_path: Path) -> None:
    (notice,) = read(written(tmp_path / "a.csv", GOOD))
    assert isinstance(notice, f.NoticeLeave)
    assert (notice.notice_id, notice.from_area, notice.to_area, notice.code) == (41, 13101, 1100, code_from_key(5))
    assert (notice.birth_date, notice.sex, notice.event_date) == (19650220, 2, 20261101)
    assert read(written(tmp_path / "s.csv", GOOD, encoding="cp932"), encoding="cp932") == [notice]
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({**GOOD, "notice_id": 41, "sex": 2}) + "\n")
    assert read(str(lines)) == [notice]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("notice_id", "0"), ("notice_id", "秘密"), ("notice_id", str(1 << 63)), ("from_area", "27127"),
        ("to_area", "13101"), ("to_area", "99999"), ("code", "12345678901"), ("code", "秘密"),
        ("name", ""), ("name", "秘密\t花子"),
        ("birth_date", "20270101"), ("sex", "秘密"), ("event_date", ""), ("event_date", "2026-13-01"),
        ("address", "秘" * 400),
    ],
)  # fmt: skip
def test_a_bad_line_is_told_without_its_content(tmp_path: Path, column: str, text: str) -> None:
    good, bad = read(written(tmp_path / "a.csv", GOOD, {**GOOD, "notice_id": "42", column: text}))
    assert isinstance(good, f.NoticeLeave)
    assert isinstance(bad, LineFault)
    assert str(bad).startswith("line 3: ")
    assert "秘" not in str(bad)


def test_one_number_for_one_notice(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.csv", GOOD, {**GOOD, "name": "別"}))
    assert isinstance(found[1], LineFault)
    assert found[1].column == "notice_id"


def test_files_that_are_none(tmp_path: Path) -> None:
    without = {column: text for column, text in GOOD.items() if column != "to_area"}
    with pytest.raises(UsageError, match="no column to_area"):
        read(written(tmp_path / "a.csv", without))
    with pytest.raises(UsageError, match="not known") as caught:
        read(written(tmp_path / "b.csv", {**GOOD, "秘密": "x"}))
    assert "秘密" not in str(caught.value)
    with pytest.raises(UsageError, match="CSV or JSON lines"):
        read(str(tmp_path / "a.parquet"))


NOTICE = f.Notice(
    number=7, notice_id=41, from_area=13101, to_area=1100, code=code_from_key(5), name='秘密, "花子"', kana="",
    birth_date=19650200, sex=2, address="東京都", event_date=20261101, left_at=1_600_000_000, taken_at=0,
    state=NoticeState.WAITING,
)  # fmt: skip


def test_what_was_taken_is_in_a_file_of_its_owners_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "taken.csv"
    with TakenFile(str(path)) as file:
        file.add([NOTICE])
        assert "秘密" in path.read_text()  # at once, not when it is closed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(newline="") as file_again:
        (row,) = csv.DictReader(file_again)
    assert row["name"] == NOTICE.name
    assert (row["code"], row["to_area"], row["left_at"]) == (f"{code_from_key(5):011}", "01100", "2020-09-13T12:26:40Z")
    assert read_numbers(str(path)) == [7]
    (back,) = read(written(tmp_path / "back.csv", {column: row[column] for column in COLUMNS}))
    assert isinstance(back, f.NoticeLeave)
    assert (back.name, back.birth_date, back.code) == (NOTICE.name, NOTICE.birth_date, NOTICE.code)
    with pytest.raises(UsageError, match="exists"):
        TakenFile(str(path))


def test_a_file_in_which_nothing_stands_does_not_outlive_an_error(tmp_path: Path) -> None:
    path = tmp_path / "taken.csv"
    with pytest.raises(RuntimeError), TakenFile(str(path)):
        raise RuntimeError
    assert not path.exists()
    file = TakenFile(str(path))
    file.add([NOTICE])
    file.__exit__(RuntimeError)
    assert read_numbers(str(path)) == [7]


def test_numbers_come_from_a_file_that_take_wrote(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column number"):
        read_numbers(written(tmp_path / "a.csv", GOOD))
    with pytest.raises(UsageError, match="without a number"):
        read_numbers(written(tmp_path / "b.csv", {"number": "1"}, {"number": "秘密"}))
