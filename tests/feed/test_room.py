"""Full blocks: what does not fit is refused row by row, and a journal's replay refuses the same."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Fault, Notification
from jukinet.core.store import block
from jukinet.core.store.check import check_register

from .registers import DAY, OSAKA, TOKYO, batch, build, dump, notice
from .test_convergence import replay

FIRST = 7_000_000_000
LONG = {"name": "長" * 85, "kana": "ナ" * 85, "alias": "A" * 255, "address": "東京都千代田区丸の内" + "１" * 85}


def statement(key: int, number: int = 1, **fields: object) -> Notification:
    return notice(12, key, number, state=1, **fields)


def crowd(chooser: random.Random, area: int, count: int) -> list[Notification]:
    """Entries, corrections that grow, removals and code changes of people who all lie in one bucket."""
    rows: list[Notification] = []
    for key in range(FIRST, FIRST + count):
        rows.append(notice(12, key, 1, area, **(LONG if chooser.random() < 0.3 else {})))
        for number in range(2, 2 + chooser.randint(0, 2)):
            rows.append(notice(chooser.choice([31, 33, 21]), key, number, area))
            if chooser.random() < 0.3 and rows[-1].reason != 21:
                rows[-1] = notice(33, key, number, area, **LONG)
    chooser.shuffle(rows)
    rows.sort(key=lambda row: row.update_number)
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_what_does_not_fit_is_refused_and_a_replay_refuses_the_same(tmp_path: Path, seed: int) -> None:
    chooser = random.Random(seed)
    build(tmp_path / "r", [])
    shutil.copytree(tmp_path / "r", tmp_path / "again")
    feeds = {13: crowd(chooser, TOKYO, 400), 27: crowd(chooser, OSAKA, 400)}
    refused: list[Fault] = []
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        sent = dict.fromkeys(feeds, 0)
        while any(sent[p] < len(rows) for p, rows in feeds.items()):
            with register.transaction() as transaction:
                for _ in range(chooser.randint(1, 4)):
                    prefecture = chooser.choice(list(feeds))
                    rows = feeds[prefecture][sent[prefecture] : sent[prefecture] + chooser.randint(1, 300)]
                    told = transaction.apply(prefecture, sent[prefecture] + 1, batch(*rows))
                    refused += [fault for _, fault in told.quarantined]
                    sent[prefecture] += len(rows)
                transaction.commit()
    assert refused.count(Fault.NO_ROOM) > 20
    replay(tmp_path / "r", tmp_path / "again")
    assert dump(tmp_path / "again") == dump(tmp_path / "r")
    assert check_register(tmp_path / "r").faults == []


def test_a_full_block_takes_removals_and_shorter_records(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        position = 0
        while True:
            with register.transaction() as transaction:
                told = transaction.apply(13, position + 1, batch(notice(12, FIRST + position, 1, **LONG)))
                transaction.commit()
            position = told.position
            if told.quarantined:
                break
        held = position - 1
        with register.transaction() as transaction:
            told = transaction.apply(
                13,
                position + 1,
                batch(
                    notice(21, FIRST, 2),
                    notice(33, FIRST + 1, 2, name="短"),
                    notice(33, FIRST + 1, 3, **LONG),
                    notice(12, FIRST + held + 9, 1, **LONG),
                ),
            )
            transaction.commit()
    assert held > 50
    assert [fault for _, fault in told.quarantined] == [Fault.NO_ROOM]
    assert told.quarantined[0][0] == position + 4
    assert check_register(tmp_path / "r").faults == []


def test_rows_of_a_load_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """The room of those who are there already is kept, wherever in the block they stand."""
    build(tmp_path / "r", [])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        for part in range(2):  # first the last keys of the bucket, then all of them in the same transaction as a batch
            with register.transaction() as transaction:
                if part:
                    transaction.apply(27, 1, batch(notice(12, FIRST + 500, 1, OSAKA, **LONG)))
                keys = range(FIRST if part else FIRST + 200, FIRST + 250)
                sequence = transaction.feed(13).position + 1
                told = transaction.apply_range(
                    13, sequence, FIRST, FIRST + 250, batch(*(statement(key, **LONG) for key in keys))
                )
                transaction.commit()
            if not part:
                assert told.quarantined == []
    assert {fault for _, fault in told.quarantined} == {Fault.NO_ROOM}
    assert told.applied + len(told.quarantined) == 250
    assert 50 <= told.applied < 150
    assert check_register(tmp_path / "r").faults == []


def test_contributions_of_one_code_are_limited(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    count = limits.CONTRIBUTIONS_PER_KEY_MAX + 5
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register, register.transaction() as transaction:
        rows = [notice(12, 5, 1), *(notice(33, 5, number) for number in range(2, count + 1))]
        told = transaction.apply(13, 1, batch(*rows))
        transaction.commit()
    assert told.quarantined == [(sequence, Fault.NO_ROOM) for sequence in range(count - 4, count + 1)]
    assert check_register(tmp_path / "r").faults == []


def test_records_bytes_is_what_the_records_take() -> None:
    chooser = random.Random(5)
    for wide in (False, True):
        for count in (1, 7, 300):
            entries = [(delta, 1, bytes(chooser.randint(3, 40))) for delta in range(0, count * 3, 3)]
            made = block.encode(9, wide, entries)
            assert block.records_bytes(made) == sum(len(data) for _, _, data in entries)
    with pytest.raises(StoreCorruptError):
        block.records_bytes(made[:100])
    with pytest.raises(StoreCorruptError, match="pass its end"):
        block.records_bytes(made[:4] + b"\xff\xff" + made[6:])
