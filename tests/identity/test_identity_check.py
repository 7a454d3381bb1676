"""`jukinet store check` and the index: whatever is missing, too much or damaged is found and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.identity import block
from jukinet.core.identity.layout import IdentityLayout, pack_layout
from jukinet.core.records.resident import Resident
from jukinet.core.store import schema
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader

from ..core.stores import build_store
from .test_upkeep import damage

TABLES = {"by_kana": 1, "by_name": 2, "by_date": 3}


def register(directory: Path) -> None:
    people = [
        Resident(key=number * 1_000, birth_date=19800101 + number, name=f"山田　{number}", kana="ヤマダ　ハナコ")
        for number in range(1, 20)
    ]
    build_store(directory, people)


def entries_changed(table: int, change: Callable[[list[int]], list[int]]) -> Callable[[bytes], bytes]:
    def made(value: bytes) -> bytes:
        bucket = int.from_bytes(value[:4], "little")
        return block.encode(table, bucket, change(block.decode(value, table, bucket)))

    return made


@pytest.mark.parametrize("name", TABLES)
def test_missing_and_strange_entries_are_counted(tmp_path: Path, name: str) -> None:
    register(tmp_path / "r")
    assert check_register(tmp_path / "r").identity_entries == 57
    damage(tmp_path / "r", name, entries_changed(TABLES[name], lambda found: [*found[2:], found[-1] + (1 << 40)]))
    report = check_register(tmp_path / "r")
    assert report.faults == [f"{name}: 2 entries of residents are missing, 1 are nobody's"]


@pytest.mark.parametrize("name", TABLES)
def test_a_block_that_is_gone_is_missed(tmp_path: Path, name: str) -> None:
    register(tmp_path / "r")
    damage(tmp_path / "r", name, lambda _: None)
    (fault,) = check_register(tmp_path / "r").faults
    assert fault.startswith(f"{name}: ")
    assert fault.endswith("entries of residents are missing, 0 are nobody's")


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_block_is_found(tmp_path: Path, name: str) -> None:
    register(tmp_path / "r")
    damage(tmp_path / "r", name, lambda value: value[:17] + bytes([value[17] ^ 4]) + value[18:])
    (fault,) = check_register(tmp_path / "r").faults
    assert fault.endswith(f"of {name}: length or checksum")


def test_another_tables_block_is_found(tmp_path: Path) -> None:
    register(tmp_path / "r")
    damage(tmp_path / "r", "by_name", lambda value: block.encode(1, int.from_bytes(value[:4], "little"), [1]))
    (fault,) = check_register(tmp_path / "r").faults
    assert fault.endswith("of by_name: header names another table or bucket")


def write_layout(directory: Path, value: bytes | None) -> None:
    with lmdb.open(str(directory), map_size=1 << 30, max_dbs=32) as environment:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(write=True) as transaction:
            if value is None:
                transaction.delete(schema.LAYOUT_KEY, db=meta)
            else:
                transaction.put(schema.LAYOUT_KEY, value, db=meta)


def test_a_register_without_a_usable_layout_is_refused(tmp_path: Path) -> None:
    register(tmp_path / "r")
    with RegisterReader(tmp_path / "r") as reader:
        plan = reader.layout
    other = IdentityLayout(plan.folding + 1, plan.text_buckets, plan.year_buckets)
    for value, error, text in (
        (schema.seal(pack_layout(other)), StoreError, "folded by rules of version"),
        (schema.seal(b"\xc1"), StoreCorruptError, "cannot be read"),
        (b"\xc1", StoreCorruptError, "damaged"),
        (None, StoreCorruptError, "missing"),
    ):
        write_layout(tmp_path / "r", value)
        with pytest.raises(error, match=text):
            RegisterReader(tmp_path / "r")
