from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.errors import StoreCorruptError, StoreError, StoreIncompleteError
from jukinet.core.records.resident import Resident
from jukinet.core.store import block, extent, schema
from jukinet.core.store import check as check_module
from jukinet.core.store import reader as reader_module
from jukinet.core.store.builder import RegisterBuilder
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.store.writer import RegisterWriter
from jukinet.server import store_command

from . import twins
from .stores import AREAS, TOWNS, build_store

Damage = Callable[[lmdb.Transaction, Callable[[bytes], "lmdb._Database"]], None]
N = schema.NUMBER


def people() -> list[Resident]:
    return [
        Resident(
            key=key * 19_000_003, name="検査　花子", kana="ケンサ　ハナコ", area=0, town=1, birth_date=19700101, sex=2
        )
        for key in range(500)
    ] + [Resident(key=77, state=5, reason=41, change_date=20200101, successor_key=3 * 19_000_003)]


def damage(directory: Path, change: Damage) -> None:
    """Change a store behind the library's back."""
    environment = lmdb.open(str(directory), map_size=1 << 30, max_dbs=16)
    databases = {
        name: environment.open_db(name, integerkey=name != b"meta", create=False)
        for name in (b"meta", b"residents", b"changes", b"areas", b"towns", b"holdings", b"digests")
    }
    with environment.begin(write=True) as transaction:
        change(transaction, databases.__getitem__)
    environment.close()


def test_a_whole_register_has_no_faults_and_is_counted(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", people())
    seen: list[tuple[int, int]] = []
    report = check_register(tmp_path / "r", lambda done, total: seen.append((done, total)))
    assert report.faults == []
    assert report.faults_count == 0
    assert report.entries == len(table) == 501
    assert report.residents == 500
    assert report.retired == 1
    assert report.by_state["current"] == 500
    assert seen[-1][0] == seen[-1][1]


def test_a_register_is_for_its_owner_only(tmp_path: Path) -> None:
    build_store(tmp_path / "r", people())
    for path in (tmp_path / "r", *(tmp_path / "r").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path.name


def flip(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    block = bytearray(transaction.get(N.pack(0), db=database(b"residents")) or b"")
    block[900] ^= 4
    transaction.put(N.pack(0), bytes(block), db=database(b"residents"))


def swap(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    with transaction.cursor(db=database(b"residents")) as cursor:
        cursor.first()
        cursor.next()
        other = bytes(cursor.value())
    transaction.put(N.pack(0), other, db=database(b"residents"))


def drop(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    transaction.delete(N.pack(0), db=database(b"residents"))


def unpadded(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    status, data = twins.encode_record(Resident(key=1, name="x"))
    block = twins.encode_block(0, True, [(1, status, data)])[:-8]
    transaction.put(N.pack(0), block, db=database(b"residents"))


def successor(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    status, data = twins.encode_record(Resident(key=1, state=5, successor_key=123))
    transaction.put(N.pack(0), twins.encode_block(0, True, [(1, status, data)]), db=database(b"residents"))


def lists(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    transaction.put(N.pack(1), struct.pack("<2I", 9, 3), db=database(b"changes"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip, "checksum"),
        (swap, "another bucket"),
        (drop, "entries; its blocks hold"),
        (unpadded, "shorter than a block"),
        (successor, "successor"),
        (lists, "out of order"),
    ],
)
def test_each_kind_of_damage_is_found(tmp_path: Path, change: Damage, words: str) -> None:
    build_store(tmp_path / "r", people())
    damage(tmp_path / "r", change)
    try:
        faults = check_register(tmp_path / "r").faults
    except StoreError as error:
        faults = [str(error)]
    assert any(words in fault for fault in faults), faults


def test_a_broken_off_build_is_recognised_and_replaced(tmp_path: Path) -> None:
    builder = RegisterBuilder(tmp_path / "r", expected_entries=10, areas=AREAS, towns=TOWNS, origin={})
    status, data = twins.encode_record(Resident(key=1, name="x"))
    builder.append([(0, twins.encode_block(0, builder.wide, [(1, status, data)]))])
    del builder  # as a killed process would leave it
    with pytest.raises(StoreIncompleteError, match="never finished"):
        RegisterReader(tmp_path / "r")
    (tmp_path / "r.building").rename(tmp_path / "renamed")
    with pytest.raises(StoreIncompleteError):
        RegisterReader(tmp_path / "renamed")
    build_store(tmp_path / "r", people())
    assert check_register(tmp_path / "r").faults == []


def beyond(block: bytes) -> bytes:
    """A block of two entries whose records run on past the end of the last, with its checksum made good."""
    damaged = bytearray(block)
    struct.pack_into("<H", damaged, 8 + 2 * 4 + 10, 60_000)  # where the second record starts
    length = struct.unpack_from("<I", damaged, len(damaged) - 8)[0]
    checked = struct.pack("<I", length) + damaged[:length]
    struct.pack_into("<I", damaged, len(damaged) - 4, twins.crc32c(bytes(checked)))
    return bytes(damaged)


def test_record_offsets_beyond_the_block_are_found_before_they_are_followed() -> None:
    entries = [(key, *twins.encode_record(Resident(key=key, name="x"))) for key in (1, 2)]
    whole = twins.encode_block(0, True, entries)
    assert block.verify(whole, 0, 1 << 20, True, 5, 9) is None
    assert block.verify(beyond(whole), 0, 1 << 20, True, 5, 9) == "record offsets out of order"


def test_the_register_before_stays_until_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(tmp_path / "r", people())
    with RegisterReader(tmp_path / "r") as reader:
        identifier = reader.identifier
    with RegisterBuilder(
        tmp_path / "r", expected_entries=10, areas=AREAS, towns=TOWNS, origin={}, replace=True
    ) as builder:
        rename = Path.rename

        def cut_off(path: Path, target: Path) -> Path:
            if path == builder.building:
                raise OSError(5, "Input/output error")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", cut_off)
        with pytest.raises(OSError, match="Input/output"):
            builder.finish(entries=0, residents=0)
        monkeypatch.undo()
        with RegisterReader(tmp_path / "r") as reader:
            assert reader.identifier == identifier
        builder._take_name()
    with RegisterReader(tmp_path / "r") as reader:
        assert reader.identifier != identifier
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]
    (tmp_path / "r").rename(tmp_path / "r.replaced")  # as a crash between the two renames leaves it
    with pytest.raises(StoreError, match=r"r\.replaced"):
        RegisterReader(tmp_path / "r")


def test_warming_that_is_broken_off_reads_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_store(tmp_path / "r", people())
    steps: list[int] = []

    def touch(start: int, stop: int) -> None:
        time.sleep(0.01)
        steps.append(start)

    monkeypatch.setattr(reader_module, "WARM_STEP_BYTES", 4_096)
    monkeypatch.setattr(reader_module, "touch_addresses", touch)

    def broken_off(done: int, total: int) -> None:
        raise StoreError("broken off")

    with RegisterReader(tmp_path / "r") as reader:
        with pytest.raises(StoreError, match="broken off"):
            reader.warm(broken_off)
        assert 0 < len(steps) <= 4 * reader_module.WARM_THREADS


def long_town(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    towns = [*TOWNS[:-1], schema.Town(0, "長" * 100)]
    transaction.put(N.pack(0), schema.pack_towns(towns), db=database(b"towns"))


def test_a_town_longer_than_the_room_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="longer than 255"):
        RegisterBuilder(tmp_path / "b", expected_entries=10, areas=AREAS, towns=[schema.Town(0, "長" * 86)], origin={})
    build_store(tmp_path / "r", people())
    damage(tmp_path / "r", long_town)
    with pytest.raises(StoreCorruptError, match="longer than 255"):
        RegisterReader(tmp_path / "r")


def test_a_damaged_change_list_is_an_error_of_the_store(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", people())
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        assert reader.version == 1
        for _ in range(2):  # the first refresh fills its directory from the table, the second goes by the lists
            with writer.transaction() as change:
                change.put(table[0])
                version = change.commit()
            if version == 2:
                assert reader.refresh()
        with writer._environment.begin(write=True) as transaction:
            transaction.put(N.pack(3), b"123", db=writer.databases["changes"])
        with pytest.raises(StoreCorruptError, match="change list 3"):
            reader.refresh()
        assert reader.version == 2


def test_a_builder_refuses_disorder_and_what_exists(tmp_path: Path) -> None:
    build_store(tmp_path / "r", people())
    with pytest.raises(StoreError, match="not empty"):
        RegisterBuilder(tmp_path / "r", expected_entries=10, areas=AREAS, towns=TOWNS, origin={})
    with (
        pytest.raises(StoreError, match="ascending"),
        RegisterBuilder(tmp_path / "b", expected_entries=10, areas=AREAS, towns=TOWNS, origin={}) as builder,
    ):
        builder.append([(1, bytes(2048)), (1, bytes(2048))])
    assert not (tmp_path / "b.building").exists()


def test_meta_that_cannot_be_read(tmp_path: Path) -> None:
    build_store(tmp_path / "r", people())

    def other_format(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
        sealed = transaction.get(b"description", db=database(b"meta")) or b""
        meta = msgspec.msgpack.decode(schema.unseal(sealed, "the description"))
        changed = schema.seal(msgspec.msgpack.encode({**meta, "format": 9}))
        transaction.put(b"description", changed, db=database(b"meta"))

    damage(tmp_path / "r", other_format)
    with pytest.raises(StoreError, match="format 9"):
        RegisterReader(tmp_path / "r")


def run_store(*words: str) -> int:
    parser = argparse.ArgumentParser()
    store_command.add_arguments(parser)
    return store_command.run(parser.parse_args(words))


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_store(tmp_path / "r", people())
    assert run_store("check", str(tmp_path / "r")) == 0
    assert "no faults" in capsys.readouterr().out
    assert run_store("info", str(tmp_path / "r")) == 0
    shown = capsys.readouterr().out
    assert "501" in shown
    assert run_store("info", str(tmp_path / "r"), "--json") == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert told["entries"] == 501
    assert {prefecture: held["count"] for prefecture, held in told["holdings"].items()} == {"13": 501}
    damage(tmp_path / "r", flip)
    assert run_store("check", str(tmp_path / "r")) == 1
    shown = capsys.readouterr().out
    assert "checksum" in shown
    assert "検査" not in shown


CUT = """
import os, sys
from jukinet.core.errors import StoreError
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.store.writer import RegisterWriter
register, lengths = sys.argv[1], sys.argv[2:]
for length in lengths:
    os.truncate(register + "/data.mdb", int(length))
    for function in (RegisterReader, RegisterWriter, check_register):
        try:
            function(register)
        except StoreError as error:
            print(length, str(error).split(": ")[1].split(";")[0])
        else:
            print(length, "was opened")
"""


def test_a_register_that_was_copied_in_part_is_refused_whatever_its_length(tmp_path: Path) -> None:
    """In a process of its own: before, a file short of a few pages ended it with a bus error."""
    build_store(tmp_path / "cut", people())
    size = (tmp_path / "cut" / "data.mdb").stat().st_size
    lengths = [size - 1, *range(size - 4_096, 0, -4_096), 4_095, 1, 0]
    assert len(lengths) > 20
    words = [sys.executable, "-c", CUT, str(tmp_path / "cut"), *map(str, lengths)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.returncode, result.stdout[-500:], result.stderr)
    found = result.stdout.splitlines()
    assert len(found) == 3 * len(lengths)
    assert not any("was opened" in line for line in found)
    assert sum("data.mdb is cut off" in line for line in found) >= 3 * (len(lengths) - 5)


def test_pages_given_out_and_never_written_are_not_missed(tmp_path: Path) -> None:
    """LMDB leaves them out at the file's end. Such a file is whole, and one page less of it is not."""
    build_store(tmp_path / "r", people())

    def take_and_free(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
        transaction.put(N.pack(1 << 40), bytes(100 * 4_096), db=database(b"residents"))
        transaction.delete(N.pack(1 << 40), db=database(b"residents"))

    damage(tmp_path / "r", take_and_free)
    data = tmp_path / "r" / "data.mdb"
    with lmdb.open(str(tmp_path / "r"), readonly=True, max_dbs=16) as environment:
        missing = environment.info()["last_pgno"] + 1 - data.stat().st_size // 4_096
    assert missing > 64
    assert check_register(tmp_path / "r").faults == []
    with RegisterWriter(tmp_path / "r") as writer, writer.transaction() as change:
        change.put(people()[0])
        change.commit()
    assert check_register(tmp_path / "r").faults == []
    with lmdb.open(str(tmp_path / "r"), readonly=True, max_dbs=16) as environment:
        assert environment.info()["last_pgno"] + 1 <= data.stat().st_size // 4_096, "the writer fills it up"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20_000)), min_size=1, max_size=40), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_every_page_that_lmdb_reads_is_found_by_the_walk(steps: list[tuple[int, int]], commit_every: int) -> None:
    """A file cut at the walk's own answer is read whole; one page shorter, the walk refuses it."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with lmdb.open(name, map_size=1 << 26, max_dbs=4) as environment:
            table = environment.open_db(b"table", integerkey=True)
            for start in range(0, len(steps), commit_every + 1):
                with environment.begin(write=True) as transaction:
                    for key, size in steps[start : start + commit_every + 1]:
                        if size < 2_000:
                            transaction.delete(N.pack(key), db=table)
                        else:
                            transaction.put(N.pack(key), bytes([key]) * size, db=table)
            with environment.begin() as transaction:
                wanted = [bytes(value) for _, value in transaction.cursor(db=table)]
        data = directory / "data.mdb"
        pages = data.stat().st_size // 4_096
        whole = [pages]
        for length in range(pages - 1, 1, -1):
            os.truncate(data, length * 4_096)
            with lmdb.open(name, readonly=True, max_dbs=4) as environment:
                try:
                    extent.refuse_cut_off(environment, directory)
                except StoreCorruptError:
                    break
                table = environment.open_db(b"table", integerkey=True, create=False)
                with environment.begin() as transaction:
                    assert [bytes(value) for _, value in transaction.cursor(db=table)] == wanted
                whole.append(length)
        # The last page that remains is in use: nothing shorter passes.
        assert whole[-1] >= sum(len(value) // 4_096 for value in wanted)


def stray(register: type[RegisterReader], buckets: list[int]) -> type[RegisterReader]:
    """A reader whose directory has pointers (to blocks of another table) where the store has no block."""

    class Stray(register):  # type: ignore[misc, valid-type]
        def __init__(self, directory: Path) -> None:
            super().__init__(directory)
            self.other = self._environment.open_db(b"other", integerkey=True, create=False)

        def _first_snapshot(self) -> Snapshot:
            snapshot: Snapshot = super()._first_snapshot()
            assert snapshot.transaction is not None
            snapshot.directory.replace(snapshot.transaction, [self.other] * 4, array("I", buckets))
            return snapshot

    return Stray


@pytest.mark.parametrize("place", ["beyond the last block", "far inside a gap"])
def test_a_pointer_where_no_block_is_is_found_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    ends = [1, 9_999_999_999] if place == "far inside a gap" else [1]
    build_store(tmp_path / "r", [Resident(key=key, state=6, area=0) for key in ends], expected_entries=600_000)
    with RegisterReader(tmp_path / "r") as reader:
        bucket = reader.buckets - 2
    assert bucket > 5_000
    with lmdb.open(str(tmp_path / "r"), map_size=1 << 30, max_dbs=16) as environment:
        other = environment.open_db(b"other", integerkey=True)
        with environment.begin(write=True) as transaction:
            transaction.put(N.pack(bucket), bytes(4_000), db=other)
    assert check_register(tmp_path / "r").faults == []
    monkeypatch.setattr(check_module, "RegisterReader", stray(RegisterReader, [bucket]))
    report = check_register(tmp_path / "r")
    assert report.faults == [f"bucket {bucket}: the directory has a pointer where the store has no block"]


def test_a_town_in_an_area_that_is_not_there_is_found(tmp_path: Path) -> None:
    build_store(tmp_path / "r", people())

    def wrong_area(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
        towns = [*TOWNS[:-1], schema.Town(len(AREAS), TOWNS[-1].text)]
        transaction.put(N.pack(0), schema.pack_towns(towns), db=database(b"towns"))

    damage(tmp_path / "r", wrong_area)
    assert check_register(tmp_path / "r").faults == [
        f"town {len(TOWNS)} lies in area {len(AREAS)}, which the register does not have"
    ]


def test_pages_of_towns_in_the_wrong_place_are_found(tmp_path: Path) -> None:
    build_store(tmp_path / "r", people())

    def moved(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
        page = bytes(transaction.get(N.pack(0), db=database(b"towns")) or b"")
        transaction.delete(N.pack(0), db=database(b"towns"))
        transaction.put(N.pack(1), page, db=database(b"towns"))

    damage(tmp_path / "r", moved)
    assert check_register(tmp_path / "r").faults == ["page 1 of the towns table follows 0 towns"]


@pytest.mark.parametrize(("database", "key"), [(b"areas", N.pack(2)), (b"towns", N.pack(0)), (b"meta", b"description")])
def test_a_flipped_bit_in_any_table_is_found(tmp_path: Path, database: bytes, key: bytes) -> None:
    build_store(tmp_path / "r", people())

    def flip_one(transaction: lmdb.Transaction, databases: Callable[[bytes], lmdb._Database]) -> None:
        value = bytearray(transaction.get(key, db=databases(database)) or b"")
        value[len(value) // 2] ^= 1
        transaction.put(key, bytes(value), db=databases(database))

    damage(tmp_path / "r", flip_one)
    with pytest.raises(StoreError, match="checksum"):
        check_register(tmp_path / "r")


def without_a_row(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    transaction.delete(N.pack(0), db=database(b"holdings"))


def with_another_sum(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    with transaction.cursor(db=database(b"digests")) as cursor:
        cursor.first()
        page = bytearray(schema.unseal(cursor.value(), "a page"))
        page[9] ^= 1
        transaction.put(bytes(cursor.key()), schema.seal(bytes(page)), db=database(b"digests"))


def with_a_row_too_many(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    transaction.put(N.pack(3), schema.seal(bytes(24)), db=database(b"holdings"))


def with_a_damaged_row(transaction: lmdb.Transaction, database: Callable[[bytes], lmdb._Database]) -> None:
    transaction.put(N.pack(0), bytes(28), db=database(b"holdings"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_a_row, "row 0 of holdings is missing"),
        (with_another_sum, "row 851968 of digests is not what the blocks give"),
        (with_a_row_too_many, "row 3 of holdings is not what the blocks give"),
        (with_a_damaged_row, "row 0 of holdings is damaged: its checksum does not hold"),
    ],
)
def test_digests_that_disagree_with_the_blocks_are_faults(tmp_path: Path, change: Damage, said: str) -> None:
    build_store(tmp_path / "r", people())
    damage(tmp_path / "r", change)
    assert check_register(tmp_path / "r").faults == [said]
