"""A first load with changes meanwhile: nothing is reported wrongly, and nothing is lost."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.positions import Loading, loading_after
from jukinet.core.feed.range_statements import statements
from jukinet.core.limits import BATCH_BYTES_MAX, RESIDENT_KEYS
from jukinet.core.notifications import Fault, Notification, NotificationBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store.check import check_register

from .registers import CHUO, DAY, TOKYO, batch, build, dump, notice
from .test_convergence import replay

PEOPLE = 12
STRIDE = RESIDENT_KEYS // (PEOPLE + 1)
Step = tuple[str, tuple[int, int, NotificationBatch] | list[Notification]]


class Source:
    """A prefecture: its holdings, and what it tells of the changes in them while it loads the centre."""

    def __init__(self, directory: Path, chooser: random.Random) -> None:
        self.chooser = chooser
        self.register = FeedRegister(directory, today=lambda: DAY)
        self.reader = self.register.reader()
        self.numbers = {STRIDE * person + person: 3 for person in range(1, PEOPLE + 1)}
        """Update number by the key that the person has now."""
        self.areas = dict.fromkeys(self.numbers, TOKYO)
        self.position = 0
        self.retired: dict[int, int] = {}

    def change(self) -> Notification | None:
        """One notification about somebody, applied to the holdings."""
        if not self.numbers:
            return None
        key = self.chooser.choice(sorted(self.numbers))
        self.numbers[key] += 1
        number, area = self.numbers[key], self.areas[key]
        kind = self.chooser.choice(["corrected", "corrected", "removed", "code", "moved"])
        if kind == "removed":
            row = notice(self.chooser.choice([21, 22, 23]), key, number, area)
            del self.numbers[key]
        elif kind == "code":
            new = key + self.chooser.choice([1, 5, 3_000_000_000]) % (RESIDENT_KEYS - key)
            if new in self.numbers or new in self.retired or new == key:
                row = notice(33, key, number, area)
            else:
                row = notice(41, new, number, area, code_before=code_from_key(key))
                self.retired[key] = new
                self.numbers[new] = self.numbers.pop(key)
                self.areas[new] = area
        elif kind == "moved":
            self.areas[key] = CHUO if area == TOKYO else TOKYO
            row = notice(11, key, number, self.areas[key])
        else:
            row = notice(self.chooser.choice([31, 32, 33]), key, number, area)
        with self.register.transaction() as transaction:
            told = transaction.apply(13, self.position + 1, batch(row))
            transaction.commit()
        assert told.quarantined == []
        self.position = told.position
        return row

    def next_range(self, first: int, rows_max: int) -> tuple[int, int, NotificationBatch]:
        self.reader.refresh()
        with self.reader.pin() as snapshot:
            payload, count, stop = statements(snapshot, 13, first, RESIDENT_KEYS, rows_max, BATCH_BYTES_MAX)
        return first, stop, NotificationBatch.parse(payload, count)

    def steps(self) -> list[Step]:
        """A whole load in ranges, and changes before, between and behind them but none before the first range."""
        made: list[Step] = []
        first = 0
        while first < RESIDENT_KEYS:
            made.append(("range", self.next_range(first, self.chooser.randint(1, 4))))
            first = made[-1][1][1]  # type: ignore[assignment]
            for _ in range(self.chooser.randint(0, 3)):
                row = self.change()
                if row is not None:
                    made.append(("rows", [row]))
        return made

    def close(self) -> None:
        self.reader.close()
        self.register.close()


def people() -> list[Resident]:
    keys = [STRIDE * person + person for person in range(1, PEOPLE + 1)]
    return [
        Resident(
            key=key, area=0, town=1, sex=2, birth_date=19800101, name="始", reason=12, change_date=20200101,
            update_number=3,
        )
        for key in keys
    ]  # fmt: skip


@given(st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_changes_during_a_first_load_are_neither_lost_nor_reported(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    home = tmp_path_factory.mktemp("load")
    chooser = random.Random(seed)
    build(home / "holdings", people())
    build(home / "centre", [])
    shutil.copytree(home / "centre", home / "again")
    source = Source(home / "holdings", chooser)
    steps = source.steps()
    held = source.register.holdings(13)
    with FeedRegister(home / "centre", today=lambda: DAY) as register:
        for number, (_, what) in enumerate(steps, 1):
            with register.transaction() as transaction:
                if isinstance(what, tuple):
                    told = transaction.apply_range(13, number, *what)
                else:
                    told = transaction.apply(13, number, batch(*what))
                assert told.quarantined == []
                transaction.commit()
        assert register.holdings(13) == held
        assert register.feed(13).loading is None
        with register.writer.transaction() as there, source.register.writer.transaction() as here:
            for key in sorted({*source.numbers, *(STRIDE * person + person for person in range(1, PEOPLE + 1))}):
                found, wanted = there.get(key), here.get(key)
                assert found is not None
                assert wanted is not None
                assert (found.state, found.update_number, found.name) == (
                    wanted.state, wanted.update_number, wanted.name,
                )  # fmt: skip
                assert found.successor_key == wanted.successor_key
    source.close()
    replay(home / "centre", home / "again")
    assert dump(home / "again") == dump(home / "centre")
    assert check_register(home / "centre").faults == []
    shutil.rmtree(home)


def test_only_what_the_load_has_not_come_to_is_awaited(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register, register.transaction() as transaction:

        def faults(*rows: Notification) -> list[Fault]:
            position = transaction.feed(13).position
            return [fault for _, fault in transaction.apply(13, position + 1, batch(*rows)).quarantined]

        assert faults(notice(33, 5_000, 2)) == [Fault.NOT_ENTERED]
        transaction.apply_range(13, 2, 0, 4_000, batch())
        assert faults(notice(33, 3_999, 2), notice(33, 4_000, 2), notice(21, 9_000, 4)) == [Fault.NOT_ENTERED]
        assert faults(notice(33, 4_000, 2)) == [Fault.NUMBER_NOT_ASCENDING]
        transaction.apply_range(13, transaction.feed(13).position + 1, 7_000, 7_001, batch())
        assert transaction.feed(13).loading == Loading(4_000), "a range that mends is no part of the load"
        # An older statement than the removal that came first: the person was entered, and has been removed since.
        older = notice(12, 9_000, 3, state=1)
        told = transaction.apply_range(13, transaction.feed(13).position + 1, 4_000, RESIDENT_KEYS, batch(older))
        assert told.quarantined == []
        assert transaction.feed(13).loading is None
        assert faults(notice(33, 8_000, 2)) == [Fault.NOT_ENTERED]
        transaction.commit()
    with FeedRegister(tmp_path / "r") as register, register.writer.transaction() as change:
        found = change.get(9_000)
        assert found is not None
        assert (found.state, found.update_number, found.name) == (3, 4, older.name)
        assert change.get(4_000) is None
    assert check_register(tmp_path / "r").faults == []


@pytest.mark.parametrize(
    ("before", "first", "stop", "after"),
    [
        (None, 0, 10, Loading(10)),
        (None, 0, RESIDENT_KEYS, None),
        (None, 0, 1, None),
        (None, 5, 6, None),
        (Loading(10), 10, 20, Loading(20)),
        (Loading(10), 10, RESIDENT_KEYS, None),
        (Loading(10), 11, 20, Loading(10)),
        (Loading(10), 0, 7, Loading(7)),
        (Loading(10), 9, RESIDENT_KEYS, Loading(10)),
    ],
)
def test_how_far_a_load_is(before: Loading | None, first: int, stop: int, after: Loading | None) -> None:
    assert loading_after(before, first, stop) == after
