"""The outbox against a model, its bounds and damages, and processes that hold it."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from samples import PREFECTURE, entry

from jukinet.clients.feed import outbox as outbox_module
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import (
    LoadState,
    OutboxError,
    OutboxFullError,
    OutboxInUseError,
    PositionError,
    RowKind,
    read_notification_row,
    read_range_row,
)
from jukinet.core.notifications import NotificationBatch

ONE_ROW = NotificationBatch.from_notifications([entry(0, state=1)])


def make(directory: Path, **settings_: Any) -> Outbox:
    return Outbox(directory, PREFECTURE, create=True, bytes_max=settings_.pop("bytes_max", 1 << 20), **settings_)


class OutboxModel(RuleBasedStateMachine):
    """Every call against a plain list of rows; the outbox is closed and opened in between."""

    @initialize(position=st.integers(0, 5))
    def begin(self, position: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.outbox = make(Path(self.folder.name))
        self.rows: list[Any] = []
        self.acknowledged = self.sent = self.held = 0
        self.holds = False
        self.reported: list[int] = []
        self.base = position
        self.outbox.bind("register", position)

    @rule(count=st.integers(1, 5))
    def put(self, count: int) -> None:
        fresh = [entry(len(self.rows) + place) for place in range(count)]
        given = self.outbox.put([(each, f"file:{place}") for place, each in enumerate(fresh)])
        assert given == range(len(self.rows) + 1, len(self.rows) + 1 + count)
        self.rows += fresh

    @rule()
    def put_range(self) -> None:
        assert self.outbox.put_range(7, 9, 1, ONE_ROW.payload, LoadState(next_key=9)) == len(self.rows) + 1
        self.rows.append((7, 9))

    @rule(count=st.integers(0, 5), published=st.booleans())
    def file(self, count: int, published: bool) -> None:
        fresh = [entry(len(self.rows) + place) for place in range(count)]
        with self.outbox.draft() as draft:
            for each in fresh:
                draft.add(each, "draft:1")
            if published:
                assert draft.publish(bytes(32), "draft") == range(len(self.rows) + 1, len(self.rows) + 1 + count)
                self.rows += fresh

    @rule()
    def broken_draft(self) -> None:
        draft = self.outbox.draft()
        draft.add(entry(1), "broken:1")
        draft._flush()
        self.reopen()

    @rule()
    def announce(self) -> None:
        self.outbox.announce(len(self.rows))
        self.sent = len(self.rows)

    @precondition(lambda self: self.sent > self.acknowledged)
    @rule(data=st.data())
    def acknowledge(self, data: Any) -> None:
        sequence = data.draw(st.integers(self.acknowledged, self.sent))
        faults = [(each, 0, 33) for each in range(self.acknowledged, sequence + 1) if data.draw(st.booleans())]
        self.outbox.acknowledge(sequence, faults)
        self.reported += [each for each, _, _ in faults if each > self.acknowledged]
        self.acknowledged = sequence

    @rule()
    def keep_holdings(self) -> None:
        if not self.holds:
            self.held = self.acknowledged
            self.outbox.hold(self.held, base=0)
            self.holds = True
        self.held = min(self.held + 3, len(self.rows))
        self.outbox.hold(self.held)

    @rule(data=st.data())
    def meet_again(self, data: Any) -> None:
        first = self.outbox.state.first
        own = data.draw(st.integers(first - 1, self.sent))
        assert self.outbox.bind("register", own + self.base) == own
        self.acknowledged = min(self.acknowledged, own)

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = make(Path(self.folder.name))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.outbox.invariants()
        state = self.outbox.state
        assert (state.last, state.acknowledged, state.sent) == (len(self.rows), self.acknowledged, self.sent)
        found = self.outbox.read(state.first - 1, 1_000, 1 << 30)
        assert [each.sequence for each in found] == list(range(state.first, state.last + 1))
        for each in found:
            kept = self.rows[each.sequence - 1]
            if each.kind is RowKind.RANGE:
                assert read_range_row(each.body)[:2] == kept
            else:
                assert read_notification_row(each.body)[0] == kept
        assert {report.sequence for _, report in self.outbox.reports()} == set(self.reported)

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            self.folder.cleanup()


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_nobody_else_reads_what_lies_in_it(tmp_path: Path) -> None:
    with make(tmp_path / "outbox"):
        assert stat.S_IMODE((tmp_path / "outbox").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "outbox" / "data.mdb").stat().st_mode) == 0o600


def test_one_process_at_a_time_and_others_may_look(tmp_path: Path) -> None:
    with make(tmp_path) as outbox:
        outbox.put([(entry(1), "a:1")])
        with pytest.raises(OutboxInUseError, match="another process"):
            make(tmp_path)
        look = (
            "import sys; from jukinet.clients.feed.outbox import Outbox\n"
            "print(Outbox(sys.argv[1], readonly=True, bytes_max=1 << 20).state.last)"
        )
        done = subprocess.run([sys.executable, "-c", look, str(tmp_path)], capture_output=True, text=True, check=True)
        assert done.stdout == "1\n"
    make(tmp_path).close()


def test_what_holds_no_outbox_or_anothers(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="holds no outbox"):
        Outbox(tmp_path / "absent", PREFECTURE)
    make(tmp_path).close()
    with pytest.raises(OutboxInUseError, match="prefecture 13, not of 27"):
        Outbox(tmp_path, 27)


def test_it_is_bounded_and_what_was_refused_left_nothing(tmp_path: Path) -> None:
    with make(tmp_path, bytes_max=2_000) as outbox:
        outbox.put([(entry(1), "a:1")])
        with pytest.raises(OutboxFullError):
            outbox.put([(entry(place), "a:1") for place in range(20)])
        with outbox.draft() as draft:
            for place in range(20):
                draft.add(entry(place), "b:1")
            with pytest.raises(OutboxFullError):
                draft.publish(bytes(32), "b")
        outbox.invariants()
        assert outbox.state.last == 1
        outbox.put([(entry(2), "a:2")])


def test_a_file_that_was_put_is_known_and_the_oldest_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "FILES_KEPT_MAX", 2)
    digests = [bytes([number]) * 32 for number in range(3)]
    with make(tmp_path) as outbox:
        for number, digest in enumerate(digests):
            with outbox.draft() as draft:
                draft.add(entry(number), "x:1")
                draft.publish(digest, f"file {number}")
        assert outbox.file_put(digests[0]) is None
        known = outbox.file_put(digests[2])
        assert known is not None
        assert (known.name, known.first, known.last) == ("file 2", 3, 3)


def test_rows_are_taken_away_in_bounded_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "REMOVED_ROWS_MAX", 4)
    with make(tmp_path) as outbox:
        outbox.put([(entry(place), "a:1") for place in range(10)])
        outbox.announce(10)
        outbox.acknowledge(10)
        assert outbox.state.first == 5
        assert outbox.remove_acknowledged()
        assert not outbox.remove_acknowledged()
        outbox.invariants()
        assert outbox.state.bytes == 0


@pytest.mark.parametrize(
    ("register", "position", "message"),
    [
        ("other", 3, "another register"),
        ("register", 104, "beyond the 103"),
        ("register", 101, "no longer in the outbox"),
    ],
)
def test_positions_that_do_not_fit_are_refused_and_rebinding_helps(
    tmp_path: Path, register: str, position: int, message: str
) -> None:
    with make(tmp_path) as outbox:
        outbox.put([(entry(place), "a:1") for place in range(3)])
        outbox.bind("register", 100)
        outbox.announce(3)
        outbox.put([(entry(4), "a:4")])
        outbox.acknowledge(2)
        with pytest.raises(PositionError, match=message):
            outbox.bind(register, position)
        outbox.rebind(register, position)
        assert outbox.bind(register, position) == 2
        assert outbox.state.base == position - 2
        with pytest.raises(OutboxError, match="not sent"):
            outbox.acknowledge(3)


def test_a_damaged_row_is_told_and_not_sent(tmp_path: Path) -> None:
    with make(tmp_path) as outbox:
        outbox.put([(entry(1), "a:1"), (entry(2), "a:2")])
    with lmdb.open(str(tmp_path), max_dbs=8, map_size=1 << 26) as environment:
        rows = environment.open_db(b"rows")
        with environment.begin(write=True) as transaction:
            key = (2).to_bytes(8, "big")
            value = bytearray(transaction.get(key, db=rows) or b"")
            value[40] ^= 1
            transaction.put(key, bytes(value), db=rows)
    with make(tmp_path) as outbox:
        assert len(outbox.read(0, 1, 1 << 20)) == 1
        with pytest.raises(OutboxError, match="damaged: row 2"):
            outbox.read(0, 2, 1 << 20)


def test_reading_keeps_to_rows_and_bytes(tmp_path: Path) -> None:
    with make(tmp_path) as outbox:
        outbox.put([(entry(place), "a:1") for place in range(10)])
        assert [each.sequence for each in outbox.read(3, 4, 1 << 20)] == [4, 5, 6, 7]
        assert [each.sequence for each in outbox.read(3, 4, 1)] == [4]
        assert outbox.read(10, 4, 1) == []


def test_reports_stay_until_they_were_read(tmp_path: Path) -> None:
    with make(tmp_path) as outbox:
        outbox.put([(entry(place), f"a:{place}") for place in range(3)])
        statements = NotificationBatch.from_notifications([entry(7, state=1), entry(8, state=1)])
        outbox.put_range(0, 10, 2, statements.payload, None)
        outbox.bind("register", 50)
        outbox.announce(4)
        outbox.acknowledge(4, [(2, 0, 33), (4, 0, 34), (4, 1, 35)])
    with make(tmp_path) as outbox:
        reports = outbox.reports()
        assert [(each.position, each.fault, each.origin) for _, each in reports] == [
            (52, 33, "a:1"), (54, 34, "load"), (54, 35, "load"),
        ]  # fmt: skip
        assert [each.notification for _, each in reports] == [entry(1), entry(7, state=1), entry(8, state=1)]
        assert outbox.remove_reports([reports[0][0]]) == 1
        assert len(outbox.reports()) == 2
        assert len(outbox.reports(reports[1][0])) == 1


def test_an_outbox_whose_making_was_broken_off_is_made_anew(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path), max_dbs=8, map_size=1 << 20).close()
    with pytest.raises(OutboxError, match="never finished"):
        Outbox(tmp_path, readonly=True, bytes_max=1 << 20)
    with pytest.raises(OutboxError, match="never finished"):
        Outbox(tmp_path, bytes_max=1 << 20)
    with make(tmp_path) as outbox:
        assert outbox.put([(entry(1), "a:1")]) == range(1, 2)
