"""`jukinet match` and `jukinet search` over a real server: a file as a new user has it, one command, a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from jukinet.clients import command
from jukinet.clients.errors import UsageError
from jukinet.clients.matching import match_job
from jukinet.clients.matching.record_rows import Batch, Persons
from jukinet.clients.partial_date import PartialDate
from jukinet.clients.query.job import Progress
from jukinet.core.audit.reader import read_segments
from jukinet.core.codes import code_from_key, format_code
from jukinet.core.records.resident import Resident

from .serving import Place, Server

HALF = str.maketrans("シケンタロウアカサナハマヤラワ", "ｼｹﾝﾀﾛｳｱｶｻﾅﾊﾏﾔﾗﾜ")
NAMES = ["row", "整理番号", "found", "reason", "grade", "probability", "margin", "candidates"]


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(place.configuration(tmp_path_factory.mktemp("matching"))) as server:
        yield server


@pytest.fixture
def profile(place: Place, server: Server, tmp_path: Path) -> str:
    files = place.files["pensions"]
    settings = {
        "server": {"host": "localhost", "port": server.port},
        "tls": {
            "root": str(place.directory / "root.pem"),
            "certificate": str(files.certificate),
            "key": str(files.key),
        },
        "affair": {"schedule": 1, "item": "74", "operator": "op-17", "reason": "unresolved records"},
    }
    lines = [
        line
        for table, values in settings.items()
        for line in (f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items()))
    ]
    path = tmp_path / "profile.toml"
    path.write_text("\n".join(lines))
    return str(path)


def persons(place: Place, count: int) -> list[Resident]:
    return [person for person in place.table.values() if person.has_person and person.kana != "シケンタロウ"][:count]


def era(resident: Resident) -> str:
    return PartialDate.from_decimal(resident.birth_date).era()


def shift_jis_file(path: Path, people: list[Resident]) -> None:
    """What an office that has no code exports: half-width kana, dates by era, full-width digits, an own number."""
    rows = ["整理番号,氏名,フリガナ,生年月日,性別"]
    for number, person in enumerate(people):
        sex = "男" if person.sex == 1 else "女"
        rows.append(f"A{number:04},{person.name},{person.kana.translate(HALF)},{era(person)},{sex}")
    rows += [
        "B0001,,,昭和４０年２月３１日,男",
        "B0002,試験太郎,ｼｹﾝﾀﾛｳ,昭和40年2月20日,不男",
        "B0003,試験太郎",
        "B0004,,,,",
        "B0005,居内無子,ｲﾅｲﾅｼｺ,明治33年1月1日,女",
    ]
    data = "\r\n".join(rows).encode("cp932") + b"\r\nB0006,\x81\x20\xfd,,\x8f\xba\x98a40\x94N2\x8c\x8e20\x93\xfa,\r\n"
    path.write_bytes(data)


def test_a_shift_jis_file_of_half_width_kana_and_dates_by_era(
    place: Place, server: Server, profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = persons(place, 300)
    shift_jis_file(tmp_path / "records.csv", people)
    out = tmp_path / "results.parquet"
    assert command.main(["match", str(tmp_path / "records.csv"), "--out", str(out), "--profile", profile]) == 1
    table = pyarrow.parquet.read_table(out)
    assert table.schema.names[: len(NAMES)] == NAMES
    rows = table.to_pylist()
    assert [row["row"] for row in rows] == list(range(1, len(people) + 7))
    for row, person in zip(rows, people, strict=False):
        assert row["found"] == "ONE"
        assert row["code"] == format_code(code_from_key(person.key))
        assert row["name"] == person.name
        assert row["birth_date"] == person.birth_date
        assert row["probability"] >= 0.99
    assert rows[7]["整理番号"] == "A0007"
    assert [row["found"] for row in rows[len(people) :]] == [
        "BAD_BIRTH_DATE", "BAD_SEX", "COLUMN_MISSING", "TOO_FEW_ITEMS", "NONE_NOT_CONNECTED", "UNDECODABLE",
    ]  # fmt: skip
    assert all(row["code"] is None and row["name"] is None for row in rows[len(people) :])
    assert rows[len(people)]["reason"] == "no calendar has the birth date"

    told = capsys.readouterr().out
    assert "306 records: 300 matched" in told
    assert "Shift_JIS" in told
    page = out.with_suffix(".html").read_text()
    assert "<svg" in page
    for text in (told, page):
        assert "試験" not in text
        assert "シケン" not in text
    provided = [record for record in read_segments(server.directory / "record-of-use") if record.kind == 1]
    assert sum(len(record.provisions()[0]) for record in provided) >= len(rows)


def test_a_dry_run_asks_nothing(
    place: Place, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shift_jis_file(tmp_path / "records.csv", persons(place, 3))
    assert command.main(["match", str(tmp_path / "records.csv"), "--dry-run"]) == 1
    told = capsys.readouterr().out
    for words in (
        "Shift_JIS", "separated by comma", "column names in the first row", "column 4 生年月日",
        "no calendar has the birth date", "column 2 holds bytes", "nothing was asked",
    ):  # fmt: skip
        assert words in told
    assert not (tmp_path / "results.parquet").exists()


def test_a_dry_run_shows_columns_that_nothing_is_known_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "records.csv").write_bytes("ﾀｶﾊｼ,3400220,1\r\nﾔﾏﾀﾞ,3410330,2\r\n".encode("cp932"))
    assert command.main(["match", str(tmp_path / "records.csv"), "--dry-run", "--encoding", "shift_jis"]) == 2
    told = capsys.readouterr()
    assert "Shift_JIS" in told.out
    assert "2: 3400220 · 3410330" in told.out
    assert "--map kana=2" in told.err


def test_what_the_register_refuses_of_a_row_is_said(place: Place, profile: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("フリガナ,生年月日\n試験,昭和40年2月20日\nﾀｶﾊｼ,昭和40年2月20日\n")
    out = tmp_path / "out.parquet"
    assert command.main(["match", str(tmp_path / "in.csv"), "--out", str(out), "--profile", profile, "--quiet"]) == 1
    first, second = pyarrow.parquet.read_table(out).to_pylist()
    assert (first["found"], second["reason"]) == ("BAD_KANA", None)
    assert "other characters than kana" in first["reason"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_any_encoding_and_separator(place: Place, profile: str, tmp_path: Path, encoding: str, separator: str) -> None:
    people = persons(place, 20)
    lines = [separator.join(("氏名", "生年月日"))]
    lines += [separator.join((person.name, str(person.birth_date))) for person in people]
    (tmp_path / "in.txt").write_bytes("\n".join(lines).encode(encoding))
    out = tmp_path / "out.csv"
    assert command.main(["match", str(tmp_path / "in.txt"), "--out", str(out), "--profile", profile, "--quiet"]) == 0
    lines = out.read_text().splitlines()
    assert len(lines) == len(people) + 1
    place_of_code = lines[0].split(",").index("code")
    assert [line.split(",")[place_of_code] for line in lines[1:]] == [
        format_code(code_from_key(person.key)) for person in people
    ]


def test_columns_without_names_are_said(place: Place, profile: str, tmp_path: Path) -> None:
    people = persons(place, 5)
    (tmp_path / "in.csv").write_text("".join(f"{p.birth_date},{p.name[:2]},{p.name[2:]}\n" for p in people))
    out = tmp_path / "out.arrow"
    arguments = ["match", str(tmp_path / "in.csv"), "--out", str(out), "--profile", profile, "--no-report"]
    assert command.main(arguments) == 2, "nothing says which column holds what"
    assert command.main([*arguments, "--map", "name=2+3", "--map", "birth_date=1"]) == 0
    table = pyarrow.ipc.open_file(out).read_all()
    assert table.column("found").to_pylist() == ["ONE"] * 5
    assert not out.with_suffix(".html").exists()


def test_a_job_that_broke_goes_on(
    place: Place, server: Server, profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = persons(place, 60)
    rows = [f"{person.name},{person.birth_date}" for person in people]
    (tmp_path / "in.csv").write_text("\n".join(["氏名,生年月日", *rows]))
    out = tmp_path / "out.parquet"
    arguments = ["match", str(tmp_path / "in.csv"), "--out", str(out), "--profile", profile, "--batch", "10", "--quiet"]
    assert command.main(arguments) == 0
    whole = pyarrow.parquet.read_table(out)
    out.unlink()
    broken = tmp_path / "broken.parquet"
    arguments[3] = str(broken)
    answered = 0

    def break_off() -> None:
        nonlocal answered
        answered += 1
        if answered == 3:
            raise KeyboardInterrupt

    saved = match_job.Job.save

    def save(job: match_job.Job, progress: Progress) -> None:
        saved(job, progress)
        break_off()

    with monkeypatch.context() as patch:
        patch.setattr(match_job.Job, "save", save)
        patch.setattr(match_job, "SAVE_SECONDS", 0.0)
        assert command.main(arguments) == 130
    assert not broken.exists()
    assert command.main(arguments) == 2, "a broken job is not begun anew without being told"
    before = len(list(read_segments(server.directory / "record-of-use")))
    assert command.main([*arguments, "--resume"]) == 0
    asked_again = len(list(read_segments(server.directory / "record-of-use"))) - before
    assert asked_again < 6
    assert pyarrow.parquet.read_table(broken).equals(whole)


def test_a_changed_input_does_not_go_on(place: Place, profile: str, tmp_path: Path) -> None:
    batches = [Batch([1, 2], Persons(), ["", ""], ["", ""], [], 7), Batch([3], Persons(), [""], [""], [], 9)]
    assert [batch.digest for batch in match_job.after(iter(batches), 2, 7)] == [9]
    for rows, digest in ((2, 8), (1, 7), (4, 9)):
        with pytest.raises(UsageError):
            list(match_job.after(iter(batches), rows, digest))


def test_search_shows_who_is_meant_and_how(place: Place, profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    person = persons(place, 1)[0]
    arguments = ["search", "--profile", profile, "--name", person.name, "--format", "csv"]
    assert command.main([*arguments, "--birth-date", era(person)]) == 0
    told = capsys.readouterr()
    assert format_code(code_from_key(person.key)) in told.out
    assert "name exact, birth date exact" in told.out
    assert "not connected" in told.err
    assert command.main([*arguments, "--birth-date", "明治33年1月1日"]) == 1
    assert "not connected" in capsys.readouterr().err
    assert command.main(["search", "--profile", profile, "--birth-date", "昭和40年2月20日", "--address", "x"]) == 2
    assert "less is not asked by" in capsys.readouterr().err
