"""Files of changes in three formats, planted faults with their list, and the command."""

from __future__ import annotations

import csv
import datetime
import json
import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from jukinet.clients import command
from jukinet.core.codes import parse_code
from jukinet.core.errors import ConfigurationError, StoreError
from jukinet.core.notifications import Fault, Notification, fault_of
from jukinet.core.vocabulary import ChangeReason, Prefecture, State
from jukinet.server.nation.build import NATION_DATE
from jukinet.server.nation.change_faults import FaultPlanter, PlacedNotification
from jukinet.server.nation.change_files import COLUMNS, ChangeFiles, row_of
from jukinet.server.nation.changes import NationChanges
from jukinet.server.nation.tables import NationTables

FIRST = NATION_DATE + datetime.timedelta(1)
DAYS = 12


def changes_of(tables: NationTables) -> NationChanges:
    return NationChanges(tables, 100_000, 3, FIRST, DAYS)


def placed_days(
    tables: NationTables, rate: float = 0.0
) -> tuple[NationChanges, list[tuple[datetime.date, list[PlacedNotification]]]]:
    changes = changes_of(tables)
    planter = FaultPlanter(changes, rate)
    return changes, [(day.day, list(planter.placed(day.notifications))) for day in changes.by_day()]


def written(directory: Path, days: list[tuple[datetime.date, list[PlacedNotification]]], **options: Any) -> ChangeFiles:
    with ChangeFiles(directory, options.pop("prefectures", list(Prefecture)), **options) as files:
        for day, placed in days:
            files.write(day, placed)
    return files


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = []
        for row in csv.DictReader(file):
            texts = {"code", "code_before", "name", "kana", "alias", "address"}
            rows.append({name: value if name in texts else int(value) for name, value in row.items()})
        return rows


def notification_of(row: dict[str, Any]) -> Notification:
    fields = {name: value for name, value in row.items() if name != "sequence"}
    fields["code"] = int(row["code"])
    fields["code_before"] = int(row["code_before"] or 0)
    return Notification(**fields)


def test_all_formats_hold_the_same_rows(tables: NationTables, tmp_path: Path) -> None:
    days = placed_days(tables)[1]
    for file_format in ("jsonl", "csv", "parquet"):
        written(tmp_path / file_format, days, file_format=file_format)
        assert len(list((tmp_path / file_format).glob(f"*.{file_format}"))) == 47
    total = 0
    for prefecture in Prefecture:
        own = [entry.notification for _, placed in days for entry in placed if entry.prefecture == prefecture]
        rows = read(tmp_path / "jsonl" / f"{prefecture.body}.jsonl")
        assert [notification_of(row) for row in rows] == own
        assert all(parse_code(row["code"]) == int(row["code"]) for row in rows)
        assert all(list(row) == list(COLUMNS[1:]) for row in rows)
        assert read(tmp_path / "csv" / f"{prefecture.body}.csv") == rows
        assert read(tmp_path / "parquet" / f"{prefecture.body}.parquet") == rows
        total += len(rows)
    assert total == sum(len(placed) for _, placed in days) > 300


def test_a_file_a_day_and_chosen_prefectures_with_sequences(tables: NationTables, tmp_path: Path) -> None:
    days = placed_days(tables)[1]
    chosen = [Prefecture.TOKYO, Prefecture.OSAKA]
    written(tmp_path / "whole", days, with_sequence=True, prefectures=chosen)
    written(tmp_path / "daily", days, with_sequence=True, prefectures=chosen, daily=True)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == ["faults.json", "osaka.jsonl", "tokyo.jsonl"]
    for prefecture in chosen:
        rows = read(tmp_path / "whole" / f"{prefecture.body}.jsonl")
        assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
        parts = sorted((tmp_path / "daily" / prefecture.body).iterdir())
        assert [row for path in parts for row in read(path)] == rows
        assert all(datetime.date.fromisoformat(path.stem) >= FIRST for path in parts)


def test_a_code_keeps_its_leading_zeros_and_an_old_one_stands_beside_the_new() -> None:
    row = Notification(reason=41, code=6, code_before=1_000_000_0006, area=13101, event_date=20261002, update_number=2)
    assert row_of(row, None)["code"] == "00000000006"
    assert row_of(row, 5) == {"sequence": 5, **row_of(row, None)}
    assert row_of(row, None)["code_before"] == "10000000006"


def test_planted_faults_are_what_they_are_listed_as(tables: NationTables, tmp_path: Path) -> None:
    changes, days = placed_days(tables, 0.2)
    plain = placed_days(tables)[1]
    assert [[entry for entry in placed if entry.fault is None] for _, placed in days] == [placed for _, placed in plain]
    assert days == placed_days(tables, 0.2)[1]
    written(tmp_path / "out", days)
    listed = json.loads((tmp_path / "out" / "faults.json").read_text())
    wanted = {(entry["prefecture"], entry["row"]): Fault[entry["fault"]] for entry in listed}
    assert len(wanted) == sum(entry.fault is not None for _, placed in days for entry in placed) > 60
    assert set(wanted.values()) == {
        Fault.BAD_CODE, Fault.AREA_NOT_OF_FEED, Fault.BAD_DATE, Fault.NUMBER_NOT_ASCENDING, Fault.ANOTHER_PERSON,
    }  # fmt: skip
    described = {f"{resident_code:011d}": number for number, resident_code in known_codes(changes).items()}
    for prefecture in Prefecture:
        latest: dict[tuple[str, int], int] = defaultdict(int)
        for place, row in enumerate(read(tmp_path / "out" / f"{prefecture.body}.jsonl"), 1):
            fault = wanted.get((prefecture.body, place))
            found = fault_of(notification_of(row), prefecture, FIRST + datetime.timedelta(DAYS))
            if fault is not None and fault < Fault.NOT_ENTERED:
                assert found == fault
                continue
            assert found is None
            again = row["update_number"] <= latest[row["code"], row["area"]]
            assert again is (fault is Fault.NUMBER_NOT_ASCENDING)
            latest[row["code"], row["area"]] = max(row["update_number"], latest[row["code"], row["area"]])
            if fault is Fault.ANOTHER_PERSON:
                resident = changes.people.population.describe(described[row["code"]])
                assert resident.state == State.CURRENT
                assert row["reason"] == ChangeReason.MOVE_IN
                assert row["birth_date"] != resident.birth_date
                assert row["update_number"] == resident.update_number + 1
                assert changes.destinations.areas[resident.area] // 1_000 != prefecture


def known_codes(changes: NationChanges) -> dict[int, int]:
    from jukinet.server.nation.codes import codes_between  # noqa: PLC0415

    found = codes_between(changes.seed, changes.residents, 0, changes.residents)
    return {number: int(code) for number, code in enumerate(found)}


def test_a_rate_outside_0_to_1_is_refused(tables: NationTables) -> None:
    with pytest.raises(ValueError, match="rate"):
        FaultPlanter(changes_of(tables), 1.5)


def test_a_directory_that_is_taken_is_refused_and_an_error_leaves_nothing(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("kept")
    with pytest.raises(StoreError, match="not an empty directory"), ChangeFiles(taken, list(Prefecture)):
        pass
    assert (taken / "file").read_text() == "kept"
    with suppress(KeyboardInterrupt), ChangeFiles(tmp_path / "stopped", list(Prefecture)):
        assert (tmp_path / "stopped.building" / "tokyo.jsonl").exists()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(ConfigurationError, match="no such format"):
        ChangeFiles(tmp_path / "other", list(Prefecture), file_format="xml")
    (tmp_path / "again.building").mkdir()
    (tmp_path / "again.building" / "rest").write_text("of a run that was killed")
    written(tmp_path / "again", [])
    assert len(list((tmp_path / "again").iterdir())) == 48


def run(*words: object) -> int:
    return command.main(["nation", "changes", *map(str, words)])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ("--residents", 50_000, "--seed", 3, "--days", 40, "--date", "2026-10-05", "--out", out)
    assert run(*words, "--prefecture", "tokyo", "27", "--faults", "0.2") == 0
    told = capsys.readouterr()
    rows = read(out / "tokyo.jsonl") + read(out / "osaka.jsonl")
    faults = len(json.loads((out / "faults.json").read_text()))
    assert f"{len(rows) - faults:,} notifications" in told.out
    assert re.search(r"2026-10 .*\n.*2026-11 .*\n.*all ", told.out)
    assert f"{faults} faulty ones" in told.out
    assert faults > 0
    for row in rows:
        assert row["code"] not in told.out + told.err
        assert not row["name"] or row["name"] not in told.out + told.err
    born = [row["event_date"] for row in rows if row["reason"] == ChangeReason.BIRTH and row["event_date"] % 100 < 29]
    assert 20260921 <= min(born) <= max(born) <= 20261113
    assert run(*words) == 5
    assert "not an empty directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("--days", 0), ("--days", 10, "--date", "2026-10-01"), ("--days", 10, "--prefecture", "48"),
     ("--days", 10, "--prefecture", "edo"), ("--days", 10, "--faults", "2"), ("--days", 10, "--date", "soon"),
     ("--days", 10, "--faults", "many")],
)  # fmt: skip
def test_arguments_outside_their_limits_are_refused(words: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    try:
        code: object = run("--residents", 1_000, "--seed", 1, "--out", out, *words)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_nation_of_another_date_changes_after_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--residents", 50_000, "--seed", 3, "--days", 20, "--nation-date", "2025-10-01", "--out", out)
    assert run(*words) == 0
    rows = [row for path in out.glob("*.jsonl") for row in read(path)]
    assert {row["event_date"] // 10_000 for row in rows} == {2025}
