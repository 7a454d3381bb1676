"""Building: the same nation from the same seed, every entry as its number says, broken builds, limits, commands."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest

from jukinet.clients import command
from jukinet.core.errors import StoreError, StoreIncompleteError
from jukinet.core.records.record import decode as decode_record
from jukinet.core.store import block, schema
from jukinet.core.store.builder import RegisterBuilder
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import State
from jukinet.server.nation import build, codes, range_kernel
from jukinet.server.nation.build import NATION_DATE, build_nation
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import NationTables


def blocks_of(directory: Path) -> Iterator[tuple[int, bytes]]:
    with lmdb.open(str(directory), readonly=True, max_dbs=schema.DATABASES_MAX, lock=False) as environment:
        database = schema.open_database(environment, b"residents", integer=True, create=False)
        with environment.begin() as transaction:
            for key, value in transaction.cursor(database):
                yield schema.NUMBER.unpack(key)[0], bytes(value)


def fingerprint(directory: Path) -> str:
    digest = hashlib.sha256()
    for bucket, content in blocks_of(directory):
        digest.update(schema.NUMBER.pack(bucket) + content)
    return digest.hexdigest()


def test_the_same_seed_makes_the_same_bytes_however_it_is_cut(tables: NationTables, tmp_path: Path) -> None:
    summary = build_nation(tmp_path / "one", 3_000, 7, tables=tables)
    build_nation(tmp_path / "two", 3_000, 7, tables=tables, entries_per_range=200)
    build_nation(tmp_path / "other", 3_000, 8, tables=tables)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "other")
    assert summary.entries == 3_006
    assert summary.states["RETIRED"] == 6
    assert sum(summary.states.values()) == 3_006
    assert summary.index_bytes > 3 * 8 * 3_000
    assert summary.index_seconds > 0


def test_pieces_end_at_whole_buckets(tables: NationTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_nation(tmp_path / "one", 3_000, 7, tables=tables)
    monkeypatch.setattr(build, "ENTRIES_PER_PIECE", 100)
    monkeypatch.setattr(build, "NUMBERS_PER_SCAN", 777)
    build_nation(tmp_path / "two", 3_000, 7, tables=tables, entries_per_range=900)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")


@pytest.mark.parametrize("residents", [1, 2, 17, 499, 500, 2_500])
def test_the_store_holds_every_number_and_nothing_else(tables: NationTables, tmp_path: Path, residents: int) -> None:
    directory = tmp_path / "store"
    summary = build_nation(directory, residents, 11, tables=tables)
    report = check_register(directory)
    assert report.faults_count == 0
    assert report.entries == summary.entries == residents + residents // 500
    population = Population(tables, 11, residents, NATION_DATE)
    expected = {}
    for number in range(residents + population.retired):
        resident = population.describe(number)
        expected[resident.key] = resident
    with RegisterReader(directory) as reader:
        assert reader.residents == sum(resident.has_person for resident in expected.values())
        assert reader.areas_not_connected == [7482, 13215]
        width = reader.meta.width
    found = {}
    for bucket, content in blocks_of(directory):
        for delta, status, record in block.decode(content):
            key = bucket * width + delta
            found[key] = decode_record(key, status, record)
    assert found == expected


def test_words_are_sorted_and_complete(tables: NationTables) -> None:
    population = Population(tables, 3, 20_000, NATION_DATE)
    low, span = 10**9, 3 * 10**9
    words = np.empty(20_100, dtype=np.uint64)
    count = range_kernel.collect(population, 0, 20_040, low, span, words, 0)
    range_kernel.sort(words, np.empty_like(words), count, span)
    keys = codes.codes_between(3, 20_000, 0, 20_040) // np.uint64(10)
    wanted = sorted((int(key) - low, number) for number, key in enumerate(keys) if low <= key < low + span)
    assert [(int(word) >> 28, int(word) & ((1 << 28) - 1)) for word in words[:count]] == wanted


def test_kernels_refuse_what_does_not_fit(tables: NationTables) -> None:
    population = Population(tables, 3, 1_000, NATION_DATE)
    words = np.empty(100, dtype=np.uint64)
    with pytest.raises(ValueError, match="too short"):
        range_kernel.collect(population, 0, 1_002, 0, 10**10, words, 0)
    with pytest.raises(ValueError, match="below residents"):
        range_kernel.collect(population, 0, 1_003, 0, 10**10, words, 0)
    with pytest.raises(ValueError, match="8 bytes"):
        range_kernel.collect(population, 0, 10, 0, 10**10, np.empty(100, dtype=np.uint32), 0)
    with pytest.raises(ValueError, match="exceeds"):
        range_kernel.sort(words, words[:5].copy(), 6, 10)
    many = np.empty(1_003, dtype=np.uint64)
    count = range_kernel.collect(population, 0, 1_002, 0, 10**10, many, 0)
    range_kernel.sort(many, np.empty_like(many), count, 10**10)
    with pytest.raises(ValueError, match="too short for one block"):
        range_kernel.encode(
            population, many, 0, count, 0, 10**8, True, np.empty(1_000, dtype=np.uint8), np.empty(99, dtype=np.uint32),
            np.empty(99, dtype=np.uint64), np.zeros(8, dtype=np.uint64),
        )  # fmt: skip


def test_progress_starts_at_nothing_and_ends_with_everything(tables: NationTables, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        seen.append((done, total))

    build_nation(tmp_path / "s", 1_000, 7, tables=tables, progress=note, entries_per_range=300)
    assert seen[0] == (0, 1_002)
    assert seen[-1] == (1_002, 1_002)
    assert seen == sorted(seen)


def test_an_error_in_the_middle_leaves_nothing_behind(tables: NationTables, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        build_nation(tmp_path / "s", 5_000, 7, tables=tables, progress=stop, entries_per_range=500)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tables: NationTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(self: RegisterBuilder, blocks: object, *, digested: bool = False) -> int:
        raise StoreError("mdb_txn_commit: Input/output error")

    monkeypatch.setattr(RegisterBuilder, "append", cut_short)
    with pytest.raises(StoreError, match="Input/output"):
        build_nation(tmp_path / "s", 100, 7, tables=tables)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 4096})())
    with pytest.raises(StoreError, match="disk is full"):
        build_nation(tmp_path / "s", 100, 7, tables=tables)
    assert list(tmp_path.iterdir()) == []


BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from jukinet.server.nation.build import build_nation
def progress(done, total):
    if done:
        print("begun", flush=True)
        time.sleep(60)
build_nation(Path(sys.argv[1]), 5_000, 7, progress=progress, entries_per_range=500)
"""


def begun_build(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD_SLOWLY, str(directory)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_killed_build_is_recognised_and_the_next_one_starts_afresh(tables: NationTables, tmp_path: Path) -> None:
    directory = tmp_path / "s"
    with begun_build(directory) as process:
        process.kill()
    assert not directory.exists()
    with pytest.raises(StoreIncompleteError):
        RegisterReader(directory)
    build_nation(directory, 5_000, 7, tables=tables)
    assert check_register(directory).faults_count == 0
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_interrupted_build_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    with begun_build(tmp_path / "s") as process:
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        process.wait(20)
        assert time.monotonic() - began < 10
        assert process.stderr is not None
        assert "KeyboardInterrupt" in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def nation(*words: object) -> int:
    return command.main(["nation", *map(str, words)])


def test_the_build_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "s"
    size = ("--residents", 600, "--seed", 5, "--store", store)
    assert nation("build", *size) == 0
    told = capsys.readouterr()
    assert "601 entries" in told.out
    assert "retired" in told.out
    assert told.err == ""
    first = fingerprint(store)
    assert nation("build", *size) == 5
    assert "--force" in capsys.readouterr().err
    assert nation("build", *size, "--force", "--date", "2020-04-01") == 0
    assert fingerprint(store) != first


def test_force_replaces_registers_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("precious")
    size = ("--residents", 5, "--seed", 5, "--store")
    assert nation("build", *size, tmp_path / "letters", "--force") == 5
    assert nation("build", *size, tmp_path / "letters" / "letter.txt", "--force") == 5
    assert (tmp_path / "letters" / "letter.txt").read_text() == "precious"
    assert "not a register" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 10**9})())
    assert nation("build", "--residents", 120_000_000, "--seed", 5, "--store", tmp_path / "s") == 5
    assert "16.8 GB are needed and 1.0 GB are free" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jukinet.server.nation.command.find_spec", lambda name: None)
    assert nation("build", "--residents", 5, "--seed", 5, "--store", tmp_path / "s") == 2
    assert "pip install 'jukinet[nation]'" in capsys.readouterr().err
    assert nation("codes", "--residents", 5, "--seed", 5) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--residents", 0, "--seed", 1),
        ("--residents", 200_000_001, "--seed", 1),
        ("--residents", "many", "--seed", 1),
        ("--residents", 5, "--seed", -1),
        ("--residents", 5, "--seed", 1 << 63),
        ("--residents", 5, "--seed", 1, "--date", "2013-12-31"),
        ("--residents", 5, "--seed", 1, "--date", "today"),
    ],
)
def test_arguments_outside_their_limits_are_refused(words: tuple[object, ...], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        nation("build", *words, "--store", tmp_path / "s")
    assert stopped.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_codes_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert nation("codes", "--residents", 5_000, "--seed", 5, "--count", 4, "--retired", 3, "--absent", 2) == 0
    lines = capsys.readouterr().out.split()
    wanted = [
        *codes.codes_between(5, 5_000, 0, 4).tolist(),
        *codes.retired_codes(5, 5_000, 3).tolist(),
        *codes.absent_codes(5, 5_000, 2).tolist(),
    ]
    assert lines == [f"{code:011d}" for code in wanted]
    assert nation("codes", "--residents", 5, "--seed", 5, "--count", 6) == 2
    assert nation("codes", "--residents", 5, "--seed", 5, "--retired", 1) == 2
    assert "beyond" in capsys.readouterr().err


def test_a_directory_that_is_taken_is_refused_by_the_builder_too(tables: NationTables, tmp_path: Path) -> None:
    build_nation(tmp_path / "s", 5, 7, tables=tables)
    with pytest.raises(StoreError, match="exists"):
        build_nation(tmp_path / "s", 5, 7, tables=tables)
    summary = build_nation(tmp_path / "s", 600, 7, tables=tables, replace=True)
    assert summary.states[State.RETIRED.name] == 1


def stored_entries(directory: Path) -> dict[int, tuple[int, bytes]]:
    with RegisterReader(directory) as reader:
        width = reader.meta.width
    return {
        bucket * width + delta: (status, data)
        for bucket, content in blocks_of(directory)
        for delta, status, data in block.decode(content)
    }


def test_a_prefecture_alone_has_its_part_of_the_nation(tables: NationTables, tmp_path: Path) -> None:
    build_nation(tmp_path / "nation", 20_000, 5, tables=tables)
    summary = build_nation(tmp_path / "tokyo", 20_000, 5, tables=tables, prefecture=13)
    areas = {number for number, area in enumerate(tables.areas) if area.jis // 1000 == 13}
    whole = stored_entries(tmp_path / "nation")
    part = stored_entries(tmp_path / "tokyo")
    assert part == {key: entry for key, entry in whole.items() if entry[0] >> 10 & 4095 in areas}
    assert 1_000 < summary.entries == len(part) < 4_000
    report = check_register(tmp_path / "tokyo")
    # A retired code's successor may have moved to another prefecture; here it lives where the code was given.
    assert report.faults == []
    with RegisterReader(tmp_path / "tokyo") as reader, RegisterReader(tmp_path / "nation") as nation:
        assert reader.meta.origin["prefecture"] == 13
        assert reader.meta.width > nation.meta.width
    # A part so small that a bucket of its width spans thousands of the nation's entries.
    few = build_nation(tmp_path / "tottori", 20_000, 5, tables=tables, prefecture=31)
    assert 0 < few.entries < 400
    assert check_register(tmp_path / "tottori").faults == []
    with pytest.raises(ValueError, match="prefecture 48"):
        build_nation(tmp_path / "none", 1_000, 5, tables=tables, prefecture=48)


def test_areas_only_leaves_room_for_the_nation(tables: NationTables, tmp_path: Path) -> None:
    summary = build_nation(tmp_path / "empty", 1_000_000, 5, tables=tables, areas_only=True)
    assert summary.entries == 0
    assert check_register(tmp_path / "empty").faults == []
    with RegisterReader(tmp_path / "empty") as reader:
        assert [area.jis for area in reader.areas] == [area.jis for area in tables.areas]
        assert reader.meta.width == schema.bucket_width(1_002_000)
        assert reader.residents == 0
