"""Loads that leave the index for later: in the end it is what a build makes, whatever comes in between."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest import mock

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core import limits
from jukinet.core.errors import StoreError
from jukinet.core.feed import late_index, positions
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.positions import FeedState, Unindexed
from jukinet.core.notifications import Notification
from jukinet.core.store import schema
from jukinet.core.store.check import check_register
from jukinet.core.store.writer import ChangeTransaction

from ..feed.registers import DAY, batch, build, dump, notice
from .test_upkeep import found_by_name, tables_of

END = limits.RESIDENT_KEYS
KEYS = range(100, 100 + 40 * 3_000_000, 3_000_000)


def statement(key: int, number: int = 1, **fields: object) -> Notification:
    return notice(
        12, key, number, state=1, name=f"山田　{key % 7}", kana="ヤマダ　タロウ", birth_date=19700101, **fields
    )


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDENTITY_DIRECT_BUCKETS_MAX", 0)
    monkeypatch.setattr(limits, "IDENTITY_LATE_ROWS_MAX", 15)
    monkeypatch.setattr(late_index, "LATE_BLOCKS_PER_STEP", 2)


def load(register: FeedRegister, cuts: list[int], sequence: int, stop: int | None = None) -> int:
    """Load all KEYS in ranges that end at ``cuts``; returns the next sequence number."""
    first = 0
    for end in [*cuts, END] if stop is None else cuts[:stop]:
        rows = [statement(key) for key in KEYS if first <= key < end]
        with register.transaction() as transaction:
            transaction.apply_range(13, sequence, first, end, batch(*rows))
            transaction.commit()
        first, sequence = end, sequence + 1
    return sequence


CUTS = st.lists(st.sampled_from([key + 1 for key in KEYS[:-1]]), unique=True, max_size=12).map(sorted)
BETWEEN = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from([21, 31, 33, 11])), max_size=6, unique_by=lambda pair: pair[0]
)


def crossing(key: int, reason: int) -> tuple[int, Notification]:
    """(prefecture, notification) that comes between the ranges: a removal, a move, a new name, an entry elsewhere."""
    if reason == 21:
        return 13, notice(21, key, 5)
    if reason == 11:
        return 1, notice(11, key, 7, area=1100, name=f"山田　{key % 7}", kana="ヤマダ　タロウ", birth_date=19700101,
                         address="北海道札幌市北区")  # fmt: skip
    name = "山田　花" if reason == 33 else f"山田　{key % 7}"
    return 13, notice(reason, key, 6, name=name, kana="ヤマダ　タロウ", birth_date=19700101)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(CUTS, CUTS, BETWEEN)
def test_late_and_direct_loads_end_in_one_register(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], halfway: list[int], between: list[tuple[int, int]]
) -> None:
    home = tmp_path_factory.mktemp("l")
    build(home / "late", [])
    shutil.copytree(home / "late", home / "direct")
    for name in ("late", "direct"):
        directly = mock.patch.object(late_index, "is_late", return_value=False)
        with FeedRegister(home / name, today=lambda: DAY) as register:
            if name == "direct":
                directly.start()
            sequence, elsewhere = load(register, halfway, 1, len(halfway) // 2), 1
            for key, reason in between:
                prefecture, row = crossing(key, reason)
                with register.transaction() as transaction:
                    position = sequence if prefecture == 13 else elsewhere
                    transaction.apply(prefecture, position, batch(row))
                    transaction.commit()
                sequence += prefecture == 13
                elsewhere += prefecture == 1
            load(register, cuts, sequence)
            assert register.feed(13).unindexed is None
            directly.stop() if name == "direct" else None
    assert tables_of(home / "late") == tables_of(home / "direct")
    if not halfway:
        assert dump(home / "late") == dump(home / "direct")
    assert check_register(home / "late").faults == []
    shutil.rmtree(home)


def faults(register: FeedRegister) -> list[str]:
    """What the check of a copy finds while the register is open here."""
    copy = register.directory.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(register.directory, copy)
    return check_register(copy).faults


def test_what_is_left_out_is_marked_and_caught_up_with_when_opened(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        load(register, [KEYS[5], KEYS[10], KEYS[12]], 1, 2)
        state = register.feed(13)
        assert state.unindexed is not None
        assert (state.unindexed.first_key, state.unindexed.stop_key, state.unindexed.rows) == (0, KEYS[10], 10)
        with register.reader() as reader:
            assert found_by_name(reader, "山田　2", 19700101) == []
            with reader.reading() as transaction:
                assert late_index.unindexed_prefectures(transaction, reader.databases["feeds"]) == [13]
        assert faults(register) == []
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        state = register.feed(13)
        assert state.unindexed is None
        assert state.loading is not None
        with register.reader() as reader:
            assert found_by_name(reader, "山田　2", 19700101) == [key for key in KEYS[:10] if key % 7 == 2]
        load(register, [], state.position + 1)
    assert check_register(tmp_path / "r").faults == []


@pytest.mark.parametrize("left", [Unindexed(5, 5, 1), Unindexed(0, END + 1, 1), Unindexed(-1, 5, 1)])
def test_an_impossible_mark_is_a_fault(tmp_path: Path, left: Unindexed) -> None:
    build(tmp_path / "r", [])
    with lmdb.open(str(tmp_path / "r"), map_size=1 << 30, max_dbs=32) as environment:
        feeds = environment.open_db(b"feeds", integerkey=True, create=False)
        with environment.begin(write=True) as transaction:
            mark = positions.pack_feed(FeedState(unindexed=left))
            transaction.put(schema.NUMBER.pack(13), mark, db=feeds)
    (fault,) = check_register(tmp_path / "r").faults
    assert fault.endswith("is no range of keys")


def test_rows_enough_are_caught_up_with_while_the_load_goes_on(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        load(register, [KEYS[14], KEYS[15], KEYS[20]], 1, 1)
        assert register.feed(13).unindexed is not None
        load(register, [KEYS[14], KEYS[15], KEYS[20]], 2, 1)
        assert register.feed(13).unindexed is None


def test_a_failure_in_between_leaves_the_mark(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    commits = 0
    original = ChangeTransaction.commit

    def failing(self: ChangeTransaction, **options: object) -> int:
        nonlocal commits
        if options.get("identity_blocks_max"):
            commits += 1
            if commits == 2:
                raise StoreError("the disk is full")
        return original(self, **options)  # type: ignore[arg-type]

    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        with mock.patch.object(ChangeTransaction, "commit", failing), pytest.raises(StoreError, match="disk"):
            load(register, [], 1)
        assert register.feed(13).position == 1
        assert register.feed(13).unindexed is not None
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        assert register.feed(13).unindexed is None
    assert check_register(tmp_path / "r").faults == []


def test_a_change_by_another_process_begins_it_anew(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    original = ChangeTransaction.commit
    changed = []

    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:

        def meddled(self: ChangeTransaction, **options: object) -> int:
            version = original(self, **options)  # type: ignore[arg-type]
            if options.get("identity_blocks_max") and not changed:
                changed.append(KEYS[3])
                with register.writer.transaction() as change:
                    change.remove(KEYS[3])
                    original(change)
            return version

        with mock.patch.object(ChangeTransaction, "commit", meddled):
            load(register, [], 1)
    assert changed
    report = check_register(tmp_path / "r")
    assert [fault for fault in report.faults if "by_" in fault] == []
