"""Purging: what is past its last day goes, the rest stays and folds to what it was, in bounded steps that go on."""

from __future__ import annotations

import datetime
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jukinet.core.errors import StoreError
from jukinet.core.feed import history, journal, purge, retention_run
from jukinet.core.feed.contribution import Standing
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.expiry import expired_keys
from jukinet.core.feed.journal import EntryKind
from jukinet.core.feed.purge import PurgeStep
from jukinet.core.feed.retention_run import RetentionError, RetentionRun, is_due
from jukinet.core.law.retention import EPOCH, Rule, cutoffs
from jukinet.core.notifications import Fault, Notification
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store.block import encode
from jukinet.core.store.check import check_register
from jukinet.core.store.schema import NUMBER, PurgePlace
from jukinet.core.vocabulary import State

from .registers import DAY, OSAKA, TODAY, batch, build, dump, notice
from .test_convergence import EXAMPLES, Feeds, Range, Step, apply_entry, feeds

FIVE = Rule.FIVE_YEARS
LATER = datetime.date(2031, 11, 25)  # five years and a day after DAY


class Clock:
    """A register whose day the test sets."""

    def __init__(self, directory: Path, residents: list[Resident]) -> None:
        self.directory = directory
        self.day = DAY
        build(directory, residents)
        self.register = FeedRegister(directory, today=lambda: self.day)
        self.next = dict.fromkeys(range(1, 48), 1)

    def send(self, *notifications: Notification) -> list[tuple[int, Fault]]:
        prefecture = notifications[0].area // 1000
        with self.register.transaction() as transaction:
            applied = transaction.apply(prefecture, self.next[prefecture], batch(*notifications))
            transaction.commit()
        self.next[prefecture] += len(notifications)
        return applied.quarantined

    def take(self, prefecture: int, steps: list[Step]) -> None:
        """Notifications and ranges of a load, each in a transaction of its own."""
        for step in steps:
            with self.register.transaction() as transaction:
                position = self.next[prefecture]
                if isinstance(step, Range):
                    transaction.apply_range(prefecture, position, step.first_key, step.stop_key, batch(*step.rows))
                else:
                    transaction.apply(prefecture, position, batch(step))
                transaction.commit()
            self.next[prefecture] += 1

    def run(self, rule: Rule = FIVE, day: datetime.date | None = None, journal_days: int = 400) -> RetentionRun:
        run = RetentionRun(self.register, rule=rule, journal_days=journal_days, date=day or self.day)
        run.all_steps()
        return run

    def get(self, key: int) -> Resident | None:
        with self.register.writer.transaction() as change:
            return change.get(key)

    def kept(self, key: int) -> list[tuple[int, int, Resident]]:
        """(standing, day, record) of the key's history."""
        width = self.register.meta().width
        with self.register.writer.reading() as transaction:
            value = transaction.get(NUMBER.pack(key // width), None, self.register.writer.databases["history"])
            rows = [] if value is None else history.of_key(value, key // width, key % width)
            return [(row[0], row[1], record.decode(key, row[2], row[3])) for row in rows if len(row[3]) > 3]

    def faults(self) -> list[str]:
        self.register.close()
        found = check_register(self.directory).faults
        self.register = FeedRegister(self.directory, today=lambda: self.day)
        return found

    def dump(self) -> dict[str, list[tuple[bytes, bytes]]]:
        self.register.close()
        found = dump(self.directory, without=())
        self.register = FeedRegister(self.directory, today=lambda: self.day)
        return found


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    made = Clock(tmp_path / "r", [Resident(key=1, name="基", area=0)])
    yield made
    made.register.close()


def test_the_dead_give_way_to_a_tombstone_the_day_after_five_years(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(22, 5, 2))
    for day in (datetime.date(2031, 11, 24), LATER):
        clock.day = day
        counts = clock.run().counts
        found = clock.get(5)
        assert found is not None
        if day < LATER:
            assert (counts.dead, counts.contributions, found.name) == (0, 0, "東京　花子1")
    assert (counts.dead, counts.removed, counts.contributions) == (1, 0, 1)
    assert found == Resident(
        key=5, state=State.EXPIRED, reason=22, update_number=2, registered_day=(LATER - EPOCH).days
    )
    assert clock.kept(5) == []
    assert clock.register.meta().residents == 1
    assert clock.send(notice(12, 5, 3)) == [(3, Fault.CODE_EXPIRED)]
    assert clock.faults() == []


def test_those_who_moved_away_stay_eighty_years(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(21, 5, 2), notice(12, 6, 1), notice(23, 6, 2))
    clock.day = datetime.date(2106, 11, 24)
    counts = clock.run().counts
    assert (counts.removed, counts.contributions) == (0, 2)
    found = clock.get(5)
    assert found is not None
    assert (found.state, found.name, found.notified, found.registered_day) == (3, "東京　花子1", False, TODAY)
    assert clock.faults() == []
    clock.day = datetime.date(2106, 11, 25)
    assert clock.run().counts.removed == 2
    assert [getattr(clock.get(key), "reason", None) for key in (5, 6)] == [21, 23]
    # Somebody who comes back after that is entered anew.
    assert clock.send(notice(11, 5, 3, event_date=21061120)) == []
    assert clock.get(5).state == State.CURRENT  # type: ignore[union-attr]
    assert clock.faults() == []


def test_a_removal_that_an_entry_replaced_long_after_goes_when_replaced(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(21, 5, 2))
    clock.day = datetime.date(2040, 1, 10)
    clock.send(notice(11, 5, 3, area=OSAKA, address="大阪府", event_date=20400101))
    clock.run()
    (row,) = clock.kept(5)
    assert row[2].state == State.MOVED_AWAY
    assert row[2].name == "東京　花子1"  # a statement now: what it followed has gone
    clock.day = datetime.date(2040, 1, 11)
    clock.run()
    assert clock.kept(5) == []
    assert clock.get(5).update_number == 3  # type: ignore[union-attr]
    assert clock.faults() == []


def test_by_the_rule_of_150_years_nothing_goes_before(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(22, 5, 2), notice(12, 6, 1), notice(31, 6, 2))
    clock.day = datetime.date(2170, 1, 1)
    counts = clock.run(Rule.YEARS_150).counts
    assert (counts.dead, counts.removed, counts.contributions) == (0, 0, 0)


def test_a_correction_whose_entry_has_gone_still_stands_and_can_be_followed(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(31, 5, 2))
    before = clock.get(5)
    clock.day = LATER
    assert clock.run().counts.contributions == 1
    assert before is not None
    assert clock.get(5) == replace(before, notified=False)
    assert clock.faults() == []
    assert clock.send(notice(31, 5, 2)) == [(3, Fault.NUMBER_NOT_ASCENDING)]
    assert clock.send(notice(31, 5, 3), notice(22, 5, 4)) == []
    assert (clock.get(5).state, clock.get(5).name) == (State.DEAD, "東京　花子3")  # type: ignore[union-attr]
    assert clock.faults() == []


def test_a_corrected_removal_is_one_record_when_what_it_followed_has_gone(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(21, 5, 2), notice(31, 5, 3))
    assert [row[0] for row in clock.kept(5)] == [Standing.REPLACED, Standing.COMPOSED]  # and the bare removal
    before = clock.get(5)
    clock.day = LATER
    assert clock.run().counts.contributions == 3
    assert before is not None
    assert clock.get(5) == replace(before, notified=False)
    assert clock.kept(5) == []
    assert clock.faults() == []


def test_a_conflict_goes_like_what_was_replaced(clock: Clock) -> None:
    clock.send(notice(12, 5, 1))
    clock.send(notice(12, 5, 2, area=OSAKA, address="大阪", birth_date=19790101))
    assert len(clock.kept(5)) == 1
    clock.day = LATER
    assert clock.run().counts.contributions == 1
    assert clock.kept(5) == []
    assert clock.get(5).area == 0  # type: ignore[union-attr]
    assert clock.faults() == []


def test_steps_are_bounded_and_a_run_broken_off_goes_on(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [5, 6, 7, 4_000_000_007, 9_999_999_999]
    for key in keys:
        clock.send(notice(12, key, 1), notice(22, key, 2))
    clock.send(notice(12, 8, 1), notice(31, 8, 2))
    clock.day = LATER
    monkeypatch.setattr(purge, "STEP_BUCKETS", 40_000)
    rehearsed = RetentionRun(clock.register, rule=FIVE, journal_days=400, date=LATER).rehearse()
    assert (rehearsed.dead, rehearsed.contributions, rehearsed.journal_entries) == (5, 6, 6)
    assert clock.get(5).state == State.DEAD  # type: ignore[union-attr]
    run = RetentionRun(clock.register, rule=FIVE, journal_days=400, date=LATER)
    with clock.register.transaction() as transaction:
        step = PurgeStep.next(PurgePlace(FIVE.number, run.day, 0), transaction.meta.width, 0)
        purged = transaction.purge(replace(step, changes_max=2))
        assert (purged.dead, purged.stop_key) == (2, 7)
        transaction.commit()
    assert clock.register.meta().purge == PurgePlace(1, run.day, 7)
    clock.register.close()  # as if the process had ended here
    clock.register = FeedRegister(clock.directory, today=lambda: LATER)
    counts = clock.run().counts
    assert (counts.dead, counts.contributions) == (3, 4)
    assert counts.steps > 2
    assert clock.register.meta().purge is None
    assert clock.register.meta().purged_day == run.day
    assert [clock.get(key).state for key in keys] == [State.EXPIRED] * 5  # type: ignore[union-attr]
    assert clock.run().counts.dead == 0
    assert clock.faults() == []


def test_a_step_that_is_not_committed_changes_nothing(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(22, 5, 2))
    clock.day = LATER
    before = clock.dump()
    with clock.register.transaction() as transaction:
        transaction.purge(PurgeStep.next(PurgePlace(1, (LATER - EPOCH).days, 0), transaction.meta.width, 0))
    assert clock.dump() == before
    with clock.register.transaction() as transaction:
        transaction.apply(27, 1, batch(notice(12, 9, 1, area=OSAKA, address="大阪")))
        with pytest.raises(StoreError, match="of its own"):
            transaction.purge(PurgeStep.next(PurgePlace(1, 1, 0), transaction.meta.width, 0))


def test_journal_and_quarantine_are_trimmed_with_their_days(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "TRIM_ENTRIES_MAX", 2)
    for number in range(1, 6):
        clock.send(notice(12, 5, number), notice(99, 6, number))
    clock.day = DAY + datetime.timedelta(401)
    clock.send(notice(12, 7, 1))
    run = RetentionRun(clock.register, rule=FIVE, journal_days=400, date=clock.day)
    counts = run.all_steps()
    assert (counts.journal_entries, counts.quarantined) == (5, 5)
    meta = clock.register.meta()
    assert (meta.journal_first, meta.purge) == (11, None)
    orders = [order for order, entry in clock.register.journal() if entry.kind == EntryKind.BATCH]
    assert orders == [11]
    assert clock.register.feed(13).quarantined == 5
    assert clock.faults() == []
    clock.send(notice(12, 8, 1))
    assert clock.faults() == []


def test_a_day_that_cannot_be_trusted_is_refused(clock: Clock) -> None:
    clock.send(notice(12, 5, 1))
    with pytest.raises(RetentionError, match="future"):
        RetentionRun(clock.register, rule=FIVE, journal_days=400, date=DAY + datetime.timedelta(1))
    clock.day = DAY + datetime.timedelta(retention_run.LEAP_DAYS_MAX + 1)
    with pytest.raises(RetentionError, match="clock"):
        RetentionRun(clock.register, rule=FIVE, journal_days=400)


def test_a_clock_that_jumped_is_not_purged_by_although_the_feeds_followed_it(clock: Clock) -> None:
    clock.send(notice(12, 5, 1), notice(22, 5, 2))
    clock.run()
    clock.day = DAY + datetime.timedelta(6 * 366)
    clock.send(notice(12, 6, 1))
    assert clock.register.meta().newest_day == TODAY + 6 * 366
    before = clock.get(5)
    with pytest.raises(RetentionError, match="last purge was on 2026-11-24"):
        RetentionRun(clock.register, rule=FIVE, journal_days=400)
    assert clock.get(5) == before
    # Set right again, the next day's purge takes place, and by a day that is named any does.
    clock.day = DAY + datetime.timedelta(1)
    RetentionRun(clock.register, rule=FIVE, journal_days=400).all_steps()
    assert clock.get(5) == before
    clock.day = DAY + datetime.timedelta(6 * 366)
    clock.run()
    found = clock.get(5)
    assert found is not None
    assert found.state == State.EXPIRED


def test_a_run_is_due_once_a_day_after_its_hour(clock: Clock) -> None:
    at = datetime.time(2)
    assert not is_due(clock.register, at, datetime.datetime(2026, 11, 24, 1, 59))
    assert is_due(clock.register, at, datetime.datetime(2026, 11, 24, 2))
    clock.run()
    assert not is_due(clock.register, at, datetime.datetime(2026, 11, 24, 3))
    assert is_due(clock.register, at, datetime.datetime(2026, 11, 25, 3))


STATUSES = st.builds(lambda state, day: state | day << 43, st.integers(1, 7), st.integers(0, 20_000))


@given(
    st.lists(st.tuples(st.integers(0, 199), STATUSES), min_size=1, unique_by=lambda e: e[0]), st.integers(9000, 20_000)
)
def test_the_scan_of_blocks_finds_what_the_rule_says(entries: list[tuple[int, int]], day: int) -> None:
    rule = cutoffs(FIVE, EPOCH + datetime.timedelta(day))
    entries = sorted(entries)
    halves = {0: [e for e in entries if e[0] < 100], 1: [(d - 100, s) for d, s in entries if d >= 100]}
    blocks = [
        (NUMBER.pack(bucket), encode(bucket, False, [(d, s, b"\0\0\0") for d, s in rows]))
        for bucket, rows in halves.items()
        if rows
    ]
    wanted = [d for d, s in entries if rule.expired(s & 15, s >> 43, None)]
    assert expired_keys(blocks, 100, 0, 200, rule, 1_000) == (wanted, 200)
    found, stop = expired_keys(blocks, 100, 50, 150, rule, 1)
    assert found == [d for d in wanted if 50 <= d < stop]
    assert stop in (100, 150)


KEPT = st.tuples(
    st.integers(0, 5), st.sampled_from([1, 2, 3, 4, 5]), st.integers(0, 20_000), STATUSES, st.just(b"\0\0\0")
)


@given(st.lists(KEPT, min_size=1), st.integers(9000, 20_000))
def test_the_scan_of_history_finds_what_the_rule_says(rows: list[tuple[int, int, int, int, bytes]], day: int) -> None:
    rule = cutoffs(FIVE, EPOCH + datetime.timedelta(day))
    by_key = {delta: [row[1:] for row in rows if row[0] == delta] for delta in sorted({row[0] for row in rows})}
    value = history.merge(None, 3, list(by_key.items()))
    assert value is not None

    def expired(standing: int, replaced: int, status: int) -> bool:
        if standing == Standing.COMPOSED:
            return False
        state = status & 15 if standing == Standing.REPLACED else State.CURRENT
        return rule.expired(state, status >> 43, replaced)

    wanted = [delta for delta, kept in by_key.items() if any(expired(*row[:3]) for row in kept)]
    assert history.expired_deltas(value, 3, rule) == wanted


def replay(source: Path, target: Path) -> None:
    """Apply the journal of one register to the other, purging included."""
    day = [DAY]
    with FeedRegister(source) as register, FeedRegister(target, today=lambda: day[0]) as new:
        for _, entry in register.journal():
            day[0] = EPOCH + datetime.timedelta(entry.registered_day)
            with new.transaction() as transaction:
                if entry.kind == EntryKind.PURGE:
                    purged = transaction.purge(PurgeStep.again(entry))
                    assert len(purged.expired) * 8 == len(journal.unpack_purge(entry).expired)
                else:
                    apply_entry(transaction, entry)
                transaction.commit()


def forget_place(dumped: dict[str, list[tuple[bytes, bytes]]]) -> dict[str, list[tuple[bytes, bytes]]]:
    """Without the description: where a purge stands, and when one ended, is not of the journal."""
    return {name: rows for name, rows in dumped.items() if name != "meta"}


@given(feeds(), st.integers(0, 1 << 32))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_purging_between_notifications_leaves_a_whole_register_that_a_replay_makes_again(
    tmp_path_factory: pytest.TempPathFactory, feeds: Feeds, seed: int
) -> None:
    home = tmp_path_factory.mktemp("p")
    chooser = random.Random(seed)
    clock = Clock(
        home / "0", [Resident(key=5, state=1, area=0, update_number=2, sex=2, birth_date=19800101, name="東")]
    )
    shutil.copytree(home / "0", home / "1")
    try:
        run(clock, feeds, chooser)
        assert [fault for fault in clock.faults() if "successor" not in fault] == []
    finally:
        clock.register.close()
    replay(home / "0", home / "1")
    assert forget_place(dump(home / "1")) == forget_place(dump(home / "0"))
    shutil.rmtree(home)


def run(clock: Clock, feeds: Feeds, chooser: random.Random) -> None:
    """Notifications of the feeds over some decades, with purges in between and at the end."""
    sent = dict.fromkeys(feeds, 0)
    while any(sent[p] < len(feeds[p]) for p in feeds):
        prefecture = chooser.choice(list(feeds))
        stop = min(len(feeds[prefecture]), sent[prefecture] + chooser.choice([1, 2, 9]))
        if stop > sent[prefecture]:
            clock.take(prefecture, feeds[prefecture][sent[prefecture] : stop])
            sent[prefecture] = stop
        clock.day += datetime.timedelta(chooser.choice([0, 1, 700, 2000, 12_000]) if clock.day.year < 2120 else 0)
        if chooser.random() < 0.5:
            rule = chooser.choice([FIVE, FIVE, Rule.YEARS_150])
            clock.run(rule, journal_days=1 << 16)
            again = clock.run(rule, journal_days=1 << 16).counts
            assert (again.dead, again.removed, again.contributions) == (0, 0, 0)
    clock.run(journal_days=1 << 16)
