"""`jukinet match-parameters`: from a register and a table of records to a file that can be used."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from namesakes import asked_of, residents

from jukinet.clients.command import main
from jukinet.core.errors import ConfigurationError
from jukinet.core.matching import parameters
from jukinet.server.match_parameters_command import packed_date, read_rows

from ..core.stores import TOWNS, build_store

TEXTS = [town.text for town in TOWNS]


def test_parameters_are_estimated_from_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = residents(400)
    store, records, out = tmp_path / "register", tmp_path / "records.csv", tmp_path / "affair.json"
    build_store(store, people)
    draw = random.Random(4)
    with records.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow(["kana", "name", "sex", "birth_date", "address", "note"])
        for _ in range(300):
            name, kana, date, sex, address = asked_of(draw, draw.choice(people), TEXTS)
            table.writerow([kana, name, ("", "男", "女")[sex], f"{date:08d}", address, "x"])
        table.writerow(["", "", "男", "19650101", "", ""])
    words = ["--store", str(store), "--records", str(records), "--out", str(out)]
    assert main(["match-parameters", *words]) == 0
    told = capsys.readouterr().out
    assert "records" in told
    found = parameters.read(out)
    assert found.in_register > 0.8
    assert not {name for name in ("佐藤", "太郎") if name in told}


def test_a_table_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    for content, said in ((b"a,b\n1,2\n", "first line"), (b"\xff\xfe\x00", "UTF-8"), (b"", "first line")):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=said):
            list(read_rows(path))
    with pytest.raises(ConfigurationError, match="No such file"):
        list(read_rows(tmp_path / "none.csv"))


def test_dates_are_read_as_people_write_them() -> None:
    assert packed_date("昭和40年2月20日") == 1965 << 9 | 2 << 5 | 20
    assert packed_date("S40.2.20") == packed_date("19650220")
    assert packed_date("") == packed_date("someday") == 0
