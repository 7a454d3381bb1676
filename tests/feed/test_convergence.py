"""Any interleaving, repetition and restart ends in the same register, byte for byte (docs/convergence.md).

JUKINET_CONVERGENCE_EXAMPLES sets how many scenarios are tried; a long run is some thousands.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister, FeedTransaction
from jukinet.core.feed.errors import SequenceGapError
from jukinet.core.feed.journal import EntryKind, JournalEntry
from jukinet.core.feed.key_state import KeyState
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.records.resident import REGISTERED_EPOCH, Resident
from jukinet.core.store.check import check_register

from . import fold_twin
from .registers import AREAS, CHUO, DAY, KUNITACHI, NAHA, OSAKA, SAPPORO, TOKYO, TOWNS, batch, build, dump

EXAMPLES = int(os.environ.get("JUKINET_CONVERGENCE_EXAMPLES", "60"))
KEYS = [5, 6, 4_000_000_007, 4_000_000_008]
FEEDS = {13: [TOKYO, TOKYO, CHUO, KUNITACHI], 1: [SAPPORO], 27: [OSAKA], 47: [NAHA]}
PERSON = {
    "birth_date": st.sampled_from([19800101, 19800101, 19800101, 0, 19790101]),
    "sex": st.sampled_from([2, 2, 2, 0, 1]),
    "name": st.sampled_from(["東京　花子", "大阪　花子"]),
    "kana": st.sampled_from(["ハナコ", ""]),
    "alias": st.sampled_from(["", "", "ANNA"]),
    "address": st.sampled_from(["東京都千代田区丸の内１", "東京都中央区銀座2", "北海道札幌市", "遠い所", "長" * 86]),
}
NOBODY = {"birth_date": 0, "sex": 0, "name": "", "kana": "", "alias": "", "address": ""}
RANGES = [(0, 6), (0, 10_000), (3_999_999_000, 10**10)]


@dataclass(frozen=True)
class Range:
    """A range of a load, one step of a feed."""

    first_key: int
    stop_key: int
    rows: tuple[Notification, ...]


Step = Notification | Range
Feeds = dict[int, list[Step]]


@st.composite
def notifications(draw: st.DrawFn, prefecture: int) -> Notification:
    reason = draw(st.sampled_from([11, 11, 11, 12, 13, 21, 21, 22, 23, 31, 31, 33, 41, 41, 42, 99]))
    key, other = draw(st.permutations(KEYS))[:2]
    state = draw(st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2, 3]))
    if reason in {41, 42} and draw(st.integers(0, 2)) == 1:
        state = 5
    is_empty = state == 5 or (21 <= reason <= 23 and not state)
    person: dict[str, Any] = NOBODY if is_empty else {k: draw(s) for k, s in PERSON.items()}
    return Notification(
        reason=reason,
        state=state,
        code=code_from_key(key) + (draw(st.integers(0, 19)) == 7),
        code_before=code_from_key(other) if reason in {41, 42} and state in {0, 5} else 0,
        area=draw(st.sampled_from(FEEDS[prefecture])),
        event_date=draw(st.sampled_from([20261101, 20261102])),
        update_number=draw(st.integers(1, 9)),
        **person,
    )


@st.composite
def ranges(draw: st.DrawFn, prefecture: int) -> Range:
    first_key, stop_key = draw(st.sampled_from(RANGES))
    rows = {row.code // 10: row for row in draw(st.lists(notifications(prefecture), max_size=3))}
    return Range(
        first_key,
        stop_key,
        tuple(
            rows[key]
            if rows[key].state == 5
            else replace(rows[key], code_before=0, state=rows[key].state or 1, **stated(draw, rows[key]))
            for key in sorted(rows)
            if first_key <= key < stop_key
        ),
    )


def stated(draw: st.DrawFn, row: Notification) -> dict[str, Any]:
    return {} if row.name else {name: draw(strategy) for name, strategy in PERSON.items()}


@st.composite
def feeds(draw: st.DrawFn) -> Feeds:
    """Sequences in which an area's numbers mostly ascend, so that many are accepted."""
    made: Feeds = {}
    for prefecture in FEEDS:
        rows = draw(st.lists(notifications(prefecture), max_size=9))
        if draw(st.booleans()):
            rows.sort(key=lambda row: row.update_number)
        steps: list[Step] = list(rows)
        for load in draw(st.lists(ranges(prefecture), max_size=2)):
            steps.insert(draw(st.integers(0, len(steps))), load)
        made[prefecture] = steps
    return made


def base() -> list[Resident]:
    return [
        Resident(key=5, state=1, area=0, update_number=2, change_date=20200101, sex=2, birth_date=19800101, name="東"),
        Resident(key=6, state=3, reason=21, area=3, update_number=1, change_date=20200101, sex=2, name="西"),
        Resident(key=4_000_000_008, state=6, area=1),
        Resident(key=7, state=7, reason=22, update_number=4),
    ]


class Run:
    """One interleaving: batches of random sizes, sent twice, with gaps, given up, over restarts."""

    def __init__(self, directory: Path, feeds: Feeds, seed: int) -> None:
        self.directory = directory
        self.feeds = feeds
        self.random = random.Random(seed)
        self.sent = dict.fromkeys(feeds, 0)

    def run(self) -> None:
        while any(self.sent[p] < len(self.feeds[p]) for p in self.feeds):
            with FeedRegister(self.directory, today=lambda: DAY) as register:
                for _ in range(self.random.randint(1, 8)):
                    self.transaction(register)
        with FeedRegister(self.directory) as register:
            for prefecture, sent in self.sent.items():
                assert register.feed(prefecture).position == sent == len(self.feeds[prefecture])

    def transaction(self, register: FeedRegister) -> None:
        sent = dict(self.sent)
        with register.transaction() as transaction:
            for prefecture in self.random.choices(list(self.feeds), k=self.random.randint(1, 5)):
                rows, chooser = self.feeds[prefecture], self.random
                first = max(0, sent[prefecture] - chooser.choice([0, 0, 0, 1, 3]))
                stop = min(len(rows), sent[prefecture] + chooser.choice([0, 1, 2, 9]))
                if stop < len(rows) and chooser.random() < 0.2:
                    with pytest.raises(SequenceGapError) as caught:
                        self.apply(transaction, prefecture, sent[prefecture] + 1, [rows[stop]])
                    assert caught.value.expected == sent[prefecture] + 1
                self.apply(transaction, prefecture, first, rows[first:stop])
                sent[prefecture] = max(stop, sent[prefecture])
                assert transaction.feed(prefecture).position == sent[prefecture]
            if self.random.random() < 0.2:
                return  # broken off: as if the process had died
            transaction.commit()
        self.sent = sent

    @staticmethod
    def apply(transaction: FeedTransaction, prefecture: int, position: int, steps: list[Step]) -> None:
        """Send steps of a feed behind ``position``: neighbouring notifications in one batch."""
        for is_range, group in groupby(steps, key=lambda step: isinstance(step, Range)):
            rows = list(group)
            if is_range:
                for load in (row for row in rows if isinstance(row, Range)):
                    position += 1
                    transaction.apply_range(prefecture, position, load.first_key, load.stop_key, batch(*load.rows))
            else:
                transaction.apply(
                    prefecture, position + 1, batch(*(row for row in rows if isinstance(row, Notification)))
                )
                position += len(rows)


def replay(source: Path, target: Path) -> None:
    """Apply the journal of one register to the other, entry by entry, with the recorded days."""
    days: list[int] = []
    with (
        FeedRegister(source) as register,
        FeedRegister(
            target, today=lambda: REGISTERED_EPOCH.fromordinal(REGISTERED_EPOCH.toordinal() + days[-1])
        ) as new,
    ):
        expected = 1
        for order, entry in register.journal():
            assert order == expected
            expected += max(1, entry.count)
            days.append(entry.registered_day)
            with new.transaction() as transaction:
                apply_entry(transaction, entry)
                transaction.commit()


def apply_entry(transaction: FeedTransaction, entry: JournalEntry) -> None:
    rows = NotificationBatch.parse(entry.payload, entry.count)
    if entry.kind == EntryKind.BATCH:
        transaction.apply(entry.prefecture, entry.first_sequence, rows)
    else:
        transaction.apply_range(entry.prefecture, entry.first_sequence, entry.first_key, entry.stop_key, rows)


def twin_step(twin: fold_twin.Twin, prefecture: int, step: Step) -> tuple[int, int]:
    """Rows of a step, and how many of them are refused."""
    rows = step.rows if isinstance(step, Range) else (step,)
    refused = sum(twin.receive(row, prefecture, in_range=isinstance(step, Range)) is not None for row in rows)
    if isinstance(step, Range):
        twin.remove_others(prefecture, step.first_key, step.stop_key, {row.code // 10 for row in rows})
        twin.range_done(prefecture, step.first_key, step.stop_key)
    return len(rows), refused


def expect_twin(directory: Path, feeds: Feeds) -> None:
    """What is shown is what the rules say, by a second writing of them."""
    twin = fold_twin.Twin(AREAS, TOWNS, DAY)
    twin.load({resident.key: resident for resident in base()})
    counts = {p: [twin_step(twin, p, step) for step in steps] for p, steps in feeds.items()}
    with FeedRegister(directory) as register:
        for prefecture, told in counts.items():
            state = register.feed(prefecture)
            rows, refused = sum(count for count, _ in told), sum(count for _, count in told)
            assert (state.notifications, state.quarantined, state.applied) == (rows, refused, rows - refused)
        with register.writer.transaction() as change:
            for key in [*KEYS, 7]:
                found = change.get(key)
                assert (None if found is None else replace(found, registered_day=0)) == twin.shown(key)


@given(feeds(), st.integers(0, 1 << 32))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_interleaving_ends_in_the_same_register(
    tmp_path_factory: pytest.TempPathFactory, feeds: Feeds, seed: int
) -> None:
    home = tmp_path_factory.mktemp("c")
    build(home / "base", base())
    for number in range(3):
        shutil.copytree(home / "base", home / str(number))
    # The second run folds every key anew: the short cut for a last contribution must come to the same.
    for number in range(2):
        with mock.patch.object(KeyState, "short_cut", number == 0):
            Run(home / str(number), feeds, seed + number).run()
    first = dump(home / "0")
    assert dump(home / "1") == first
    replay(home / "1", home / "2")
    assert dump(home / "2") == first
    expect_twin(home / "0", feeds)
    assert [fault for fault in check_register(home / "0").faults if "successor" not in fault] == []
    shutil.rmtree(home)
