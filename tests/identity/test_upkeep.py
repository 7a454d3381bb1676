"""The index through changes: after any of them it is byte for byte what a build of the same residents would make."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.errors import RecordFormatError, StoreCorruptError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.retention_run import RetentionRun
from jukinet.core.identity import entries, probe
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.identity.layout import TABLES, plan_layout
from jukinet.core.law.retention import Rule
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import schema
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.writer import RegisterWriter

from ..core.stores import build_store
from ..core.strategies import residents
from ..feed.registers import DAY, batch, build, notice
from . import identity_twin as twin

EXPECTED = 600_000


def tables_of(directory: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """Every key and value of the index."""
    environment = lmdb.open(str(directory), max_dbs=32, readonly=True, lock=False)
    found = {}
    for name in TABLES:
        database = environment.open_db(name.encode(), integerkey=True, create=False)
        with environment.begin() as transaction, transaction.cursor(db=database) as cursor:
            found[name] = list(cursor.iternext(keys=True, values=True))
    environment.close()
    return found


def found_by_name(reader: RegisterReader, name: str, date: int) -> list[int]:
    with reader.pin() as snapshot:
        folded = entries.folded_texts(name.encode(), b"")[0]
        return probe.equal(snapshot, 2, entries.hash_of(folded), twin.packed(date))[0]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.lists(residents(), min_size=1, max_size=12, unique_by=lambda r: r.key))
def test_changes_end_in_what_a_build_makes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, base: list[Resident]
) -> None:
    home = tmp_path_factory.mktemp("u")
    table = build_store(home / "r", base, expected_entries=EXPECTED)
    keys = sorted(table)
    with RegisterWriter(home / "r") as writer:
        reader = writer.reader()
        for _ in range(data.draw(st.integers(1, 4))):
            with writer.transaction() as change:
                for _ in range(data.draw(st.integers(0, 6))):
                    person = data.draw(
                        st.one_of(st.sampled_from(keys).flatmap(lambda k: residents(key=k)), residents())
                    )
                    if data.draw(st.booleans()):
                        change.put(person)
                        table[person.key] = person
                    else:
                        change.remove(person.key)
                        table.pop(person.key, None)
                change.commit()
            if data.draw(st.booleans()):
                reader.refresh()
        reader.refresh()
        with reader.pin() as snapshot:
            assert reader.self_check(list(range(reader.buckets - 3, snapshot.directory.buckets, 7))) == []
        expect_directory(reader, table.values())
        reader.close()
    build_store(home / "anew", table.values(), expected_entries=EXPECTED)
    assert tables_of(home / "r") == tables_of(home / "anew")
    assert [fault for fault in check_register(home / "r").faults if "successor" not in fault] == []
    shutil.rmtree(home)


def expect_directory(reader: RegisterReader, people: Iterable[Resident]) -> None:
    """The refreshed directory leads to the blocks of this snapshot, and to no others."""
    model = twin.Twin(reader.layout, people)
    with reader.pin() as snapshot:
        transaction, directory = snapshot.transaction, snapshot.directory
        assert transaction is not None
        for number, name in enumerate(TABLES, 1):
            held = 0
            for bucket, wanted in ((b, e) for (table, b), e in model.buckets.items() if table == number and e):
                value = transaction.get(schema.NUMBER.pack(bucket), None, reader.databases[name])
                assert value is not None
                assert len(wanted) <= len(value) // 8
                assert not directory.differs(directory.starts[number] + bucket, value)
                held += 1
            place, stop = directory.starts[number : number + 2]
            while (place := directory.next_pointer(place, stop)) < stop:
                held -= 1
                place += 1
            assert held == 0


def test_a_maiden_name_finds_its_person_while_it_is_kept(tmp_path: Path) -> None:
    person = Resident(
        key=77, area=0, town=1, birth_date=19800101, sex=2, name="佐藤　花子", kana="サトウ　ハナコ", update_number=1
    )
    build(tmp_path / "r", [person])
    dates = [DAY]
    with FeedRegister(tmp_path / "r", today=lambda: dates[-1]) as register:
        with register.transaction() as transaction:
            married = notice(33, 77, 2, name="髙橋　花子", kana="タカハシ　ハナコ")
            assert transaction.apply(13, 1, batch(married)).applied == 1
            transaction.commit()
        with register.reader() as reader:
            for name in ("佐藤花子", "高橋　花子"):
                assert found_by_name(reader, name, 19800101) == [77]
        assert check_register_again(register) == []
        with register.transaction() as transaction:  # a birth date mended by its source
            mended = notice(33, 77, 2, name="髙橋　花子", kana="タカハシ　ハナコ", birth_date=19800110, state=1)
            assert transaction.apply(13, 2, batch(mended)).applied == 1
            transaction.commit()
        with register.reader() as reader:
            assert found_by_name(reader, "高橋花子", 19800110) == [77]
            assert found_by_name(reader, "高橋花子", 19800101) == []
            assert found_by_name(reader, "佐藤花子", 19800101) == [77]
        dates.append(DAY.replace(year=DAY.year + 6))
        RetentionRun(register, rule=Rule.FIVE_YEARS, journal_days=1_000, date=dates[-1]).all_steps()
        with register.reader() as reader:
            assert found_by_name(reader, "佐藤花子", 19800101) == []
            assert found_by_name(reader, "高橋花子", 19800110) == [77]
        assert check_register_again(register) == []


def check_register_again(register: FeedRegister) -> list[str]:
    """The check of a register that this process has open is made on a copy: LMDB opens a file once."""
    copy = register.directory.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(register.directory, copy)
    return check_register(copy).faults


def test_what_did_not_take_effect_is_not_found(tmp_path: Path) -> None:
    person = Resident(
        key=77, area=0, town=1, birth_date=19800101, sex=2, name="佐藤　花子", kana="サトウ　ハナコ", update_number=1
    )
    build(tmp_path / "r", [person])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register, register.transaction() as transaction:
        stranger = notice(12, 77, 9, area=1100, name="鈴木　一郎", kana="スズキ　イチロウ", birth_date=20200101, sex=1,
                          address="北海道札幌市北区")  # fmt: skip
        transaction.apply(1, 1, batch(stranger))
        transaction.commit()
    with RegisterReader(tmp_path / "r") as reader:
        assert found_by_name(reader, "鈴木一郎", 20200101) == []
        assert found_by_name(reader, "佐藤花子", 19800101) == [77]


def test_a_move_changes_no_entry(tmp_path: Path) -> None:
    person = Resident(
        key=77, area=0, town=1, birth_date=19800101, sex=2, name="佐藤　花子", kana="サトウ　ハナコ", update_number=1
    )
    build(tmp_path / "r", [person])
    before = tables_of(tmp_path / "r")
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register, register.transaction() as transaction:
        moved = notice(31, 77, 2, name="佐藤　花子", kana="サトウ　ハナコ", address="東京都千代田区神田神保町２")
        assert transaction.apply(13, 1, batch(moved)).applied == 1
        transaction.commit()
        with register.writer.reading() as reading:
            changed = reading.get(schema.NUMBER.pack(2), db=register.writer.databases["changes"])
        assert changed is not None
        assert len(changed) == 4
    assert tables_of(tmp_path / "r") == before


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(residents(key=5), max_size=3), st.lists(residents(key=5), max_size=3), st.randoms())
def test_netted_changes_are_the_difference(before: list[Resident], after: list[Resident], draw: random.Random) -> None:
    layout = EntryLayout(plan_layout(1_000))
    changes = IdentityChanges(layout)
    steps = [[record.encode(person)[1] for person in people] for people in (before, after)]
    for one, other in zip([[], *steps], [*steps, []], strict=False):
        changes.change(5, one, other)
    assert changes.netted() == [(0, 0)] * 3
    changes.change(5, draw.sample(steps[0], len(steps[0])), steps[1])
    old, new = (twin.entries_of(layout.plan, 5, people) for people in (before, after))
    wanted = [(sum(e[0] == t for e in new - old), sum(e[0] == t for e in old - new)) for t in (1, 2, 3)]
    assert changes.netted() == wanted


def test_changes_refuse_what_they_cannot_read(tmp_path: Path) -> None:
    changes = IdentityChanges(EntryLayout(plan_layout(1_000)))
    with pytest.raises(RecordFormatError):
        changes.change(5, [], [b"\x01"])
    with pytest.raises(ValueError, match="ten digits"):
        changes.change(10**10, [], [])
    assert len(changes) == 0
    build_store(tmp_path / "r", [Resident(key=5, birth_date=19800101, name="山", kana="ヤマ")])
    damage(tmp_path / "r", "by_kana", lambda value: value[:20] + bytes([value[20] ^ 1]) + value[21:])
    with RegisterWriter(tmp_path / "r") as writer, writer.transaction() as change:
        change.put(Resident(key=5, birth_date=19800101, name="山", kana="カワ"))
        with pytest.raises(StoreCorruptError, match="identity table 1"):
            change.commit()


def damage(directory: Path, name: str, made: object) -> None:
    """Write the first block of a table as ``made`` makes it; None removes it."""
    with lmdb.open(str(directory), map_size=1 << 30, max_dbs=32) as environment:
        database = environment.open_db(name.encode(), integerkey=True, create=False)
        with environment.begin(write=True) as transaction, transaction.cursor(db=database) as cursor:
            assert cursor.first()
            value = made(cursor.value())  # type: ignore[operator]
            if value is None:
                cursor.delete()
            else:
                cursor.put(cursor.key(), value)
