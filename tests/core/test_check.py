from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest

from jukinet.core.errors import StoreCorruptError, StoreError, StoreIncompleteError
from jukinet.core.records.resident import Resident
from jukinet.core.store import block, schema
from jukinet.core.store import reader as reader_module
from jukinet.core.store.builder import RegisterBuilder
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
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
    assert {prefecture: held["count"] for prefecture, held in told["holdings"].items()} == {"13": 500}
    damage(tmp_path / "r", flip)
    assert run_store("check", str(tmp_path / "r")) == 1
    shown = capsys.readouterr().out
    assert "checksum" in shown
    assert "検査" not in shown


def test_a_register_that_was_copied_in_part_is_refused(tmp_path: Path) -> None:
    build_store(tmp_path / "whole", people())
    build_store(tmp_path / "cut", (Resident(key=key * 19_003, state=6, area=0) for key in range(60_000)))
    data = tmp_path / "cut" / "data.mdb"
    size = data.stat().st_size
    assert size > 2 * schema.UNWRITTEN_PAGES_MAX * 4_096, "the test needs a larger register"
    with data.open("r+b") as file:
        file.truncate(size // 3)
    for function in (RegisterReader, check_register):
        with pytest.raises(StoreError, match="cut off"):
            function(tmp_path / "cut")
    RegisterReader(tmp_path / "whole").close()


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
