from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.codes import code_from_key
from jukinet.core.errors import StoreCorruptError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.errors import NoticeRefusedError, NoticesFullError
from jukinet.core.feed.notice_records import Kept as Stored
from jukinet.core.feed.notices import NoticeBook, NoticeRules, Undelivered
from jukinet.core.store import schema
from jukinet.core.store.check import CheckReport, check_register
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import feed_messages as fm

from ..core.stores import build_store

OVERDUE = 100
DAY = 86_400
START = 1_600_000_000
RULES = NoticeRules(alarm_seconds=OVERDUE, retention_days=2, receipt_days=10, open_per_feed_max=50)
TOKYO, SAPPORO, OSAKA = 13101, 1100, 27127


def left(notice_id: int, from_area: int = TOKYO, to_area: int = OSAKA) -> fm.NoticeLeave:
    return fm.NoticeLeave(
        1,
        notice_id=notice_id,
        from_area=from_area,
        to_area=to_area,
        code=code_from_key(notice_id),
        name=f"秘密{notice_id}",
        kana="ヒミツ",
        birth_date=19800101,
        sex=2,
        address="東京都千代田区丸の内１",
        event_date=20261101,
    )


class Kept:
    """A register's book, each call in a transaction of its own."""

    def __init__(self, directory: Path, rules: NoticeRules = RULES) -> None:
        build_store(directory, [], expected_entries=100_000)
        self.directory = directory
        self.rules = rules
        self.open()

    def open(self) -> None:
        self.register = FeedRegister(self.directory)
        self.book = NoticeBook.of(self.register.writer, self.rules)

    def __call__(self, name: str, *values: object) -> object:
        with self.register.transaction() as transaction:
            result: object = getattr(self.book, name)(transaction.handle, *values)
            transaction.commit()
        return result

    def take(self, prefecture: int, notices_max: int, now: int) -> tuple[list[int], int]:
        """As the server does it."""
        found, remaining = self("waiting", prefecture, notices_max, now)  # type: ignore[misc]
        found = self("mark_taken", found, now)
        return [notice.number for notice in found], remaining

    def stored(self, number: int) -> Stored | None:
        with self.register.writer.reading() as transaction:
            try:
                return self.book.kept(transaction, number)
            except StoreCorruptError:
                return None

    def faults(self) -> list[str]:
        return self.report().faults

    def report(self) -> CheckReport:
        """What `jukinet store check` says; LMDB lets a process open a register once."""
        self.register.close()
        try:
            return check_register(self.directory)
        finally:
            self.open()

    def numbers(self, name: str, *values: object) -> tuple[list[int], int]:
        found, remaining = self(name, *values)  # type: ignore[misc]
        return [notice.number for notice in found], remaining


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "r")
    yield made
    made.register.close()


def test_a_notice_goes_to_whom_it_is_for_until_it_is_received(kept: Kept) -> None:
    assert kept("leave", 13, left(7), 1_000) == 1
    assert kept("leave", 13, left(8), 1_001) == 2
    assert kept("leave", 1, left(7, SAPPORO, TOKYO), 1_002) == 3
    assert kept("leave", 13, left(7), 1_003) == 1  # the same again
    assert kept.numbers("own", 13, 0, 10, 1_003) == ([1, 2], 0)
    assert kept.numbers("own", 13, 1, 10, 1_003) == ([2], 0)
    assert kept.take(27, 1, 1_004) == ([1], 1)
    assert kept.take(27, 10, 1_005) == ([1, 2], 0)
    assert kept.take(13, 10, 1_005) == ([3], 0)
    assert kept("receive", 1, [1, 2], 1_006) == 0  # not for it
    assert kept("receive", 27, [1, 1, 99], 1_006) == 1
    assert kept("receive", 27, [1], 1_007) == 0
    assert kept.take(27, 10, 1_008) == ([2], 0)
    assert kept.numbers("own", 13, 0, 10, 1_008) == ([2], 0)
    assert kept("leave", 13, left(7), 1_009) == 1  # its receipt does not make it a new one


def test_states_and_what_is_undelivered(kept: Kept) -> None:
    kept("leave", 13, left(1), 1_000)
    kept("leave", 13, left(2), 1_050)

    def states(now: int) -> list[NoticeState]:
        found, _ = kept("own", 13, 0, 10, now)  # type: ignore[misc]
        return [notice.state for notice in found]

    assert states(1_060) == [NoticeState.WAITING] * 2
    assert kept.take(27, 1, 1_060) == ([1], 1)
    assert states(1_060) == [NoticeState.TAKEN, NoticeState.WAITING]
    assert kept("undelivered", 1_099) == Undelivered(2, 0, 99)
    assert kept("undelivered", 1_100) == Undelivered(2, 1, 100)
    assert kept("undelivered", 900) == Undelivered(2, 0, 0)  # a clock that jumped back
    assert states(1_160) == [NoticeState.OVERDUE] * 2
    kept("receive", 27, [1], 1_170)
    assert kept("undelivered", 1_170) == Undelivered(1, 1, 120)
    kept("receive", 27, [2], 1_170)
    assert kept("undelivered", 1_170) == Undelivered(0, 0, 0)


def test_the_same_number_with_other_content_is_refused(kept: Kept) -> None:
    assert kept("leave", 13, left(7), 1_000) == 1
    for changed in (
        msgspec.structs.replace(left(7), address="大阪"),
        msgspec.structs.replace(left(7), code=code_from_key(99)),
        left(7, to_area=SAPPORO),
    ):
        with pytest.raises(NoticeRefusedError, match="another notice") as caught:
            kept("leave", 13, changed, 1_001)
        assert "秘密" not in str(caught.value)
    assert kept.numbers("own", 13, 0, 10, 1_002) == ([1], 0)
    kept("receive", 27, [1], 1_003)
    with pytest.raises(NoticeRefusedError, match="another notice"):
        kept("leave", 13, msgspec.structs.replace(left(7), name="別"), 1_004)
    assert kept.faults() == []


def test_areas_that_the_register_does_not_know(kept: Kept) -> None:
    with pytest.raises(NoticeRefusedError, match="to_area"):
        kept("leave", 13, left(1, to_area=27128), 1_000)
    with pytest.raises(NoticeRefusedError, match="from_area"):
        kept("leave", 13, left(1, from_area=13102), 1_000)
    with pytest.raises(NoticeRefusedError, match="from_area"):
        kept("leave", 13, left(1, from_area=13215), 1_000)  # there, but not connected
    assert kept("leave", 1, left(1, SAPPORO, 13215), 1_000) == 1  # left is one that is not connected: it goes on paper
    assert kept("undelivered", 1_000) == Undelivered(1, 0, 0)


def test_a_prefecture_leaves_only_so_many(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "r", msgspec.structs.replace(RULES, open_per_feed_max=2))
    with kept.register:
        assert [kept("leave", 13, left(n), 1_000) for n in (1, 2)] == [1, 2]
        with pytest.raises(NoticesFullError):
            kept("leave", 13, left(3), 1_000)
        assert kept("leave", 13, left(2), 1_000) == 2  # what is there stays answerable
        assert kept("leave", 1, left(3, SAPPORO, OSAKA), 1_000) == 3  # another feed is not held up
        kept("receive", 27, [1], 1_001)
        assert kept("leave", 13, left(3), 1_002) == 4


def test_content_goes_first_then_the_receipt_and_nothing_else(kept: Kept) -> None:
    for notice_id in range(1, 6):
        kept("leave", 13, left(notice_id), START)
    kept.take(27, 1, START + 5)
    kept("receive", 27, [1, 2], START + 10)
    kept("receive", 27, [4], START + DAY + 10)
    assert kept("purge", START + DAY) == 0
    assert kept("purge", START + 2 * DAY) == 2
    assert kept("purge", START + 2 * DAY) == 0
    receipt = kept.stored(1)
    assert receipt is not None
    assert receipt.content is None
    passage = receipt.passage
    assert (passage.closed_by, passage.closed_at, passage.taken_at) == (27, START + 10, START + 5)
    with kept.register.writer.reading() as transaction:
        raw = bytes(transaction.get(b"\x01" + bytes(7), None, kept.book.databases["notices"]))
    assert "秘密1".encode() not in raw
    assert kept("leave", 13, left(1), START + 3 * DAY) == 1  # still known by its receipt
    assert kept.faults() == []
    assert kept("purge", START + 3 * DAY) == 1
    assert kept("purge", START + 10 * DAY) == 2
    assert kept.stored(1) is None
    assert kept.take(27, 10, START + 10 * DAY) == ([3, 5], 0)
    assert kept("leave", 13, left(9), START + 10 * DAY) == 6  # numbers are never given twice
    assert kept.faults() == []


def test_purging_is_not_held_up_by_what_is_open(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jukinet.core.feed.notices.PURGED_PER_STEP_MAX", 2)
    for notice_id in range(1, 21):
        kept("leave", 13, left(notice_id), START)
    kept("receive", 27, [16, 17, 18, 19, 20], START)  # far behind many that stay open
    assert [kept("purge", START + 5 * DAY) for _ in range(4)] == [2, 2, 1, 0]


def test_printing_marks_and_does_not_close(kept: Kept) -> None:
    kept("leave", 13, left(1), START)
    kept("leave", 13, left(2), START)
    kept("receive", 27, [2], START)
    assert kept("mark_printed", [1, 2, 3], START + 50) == 1
    assert kept.take(27, 10, START + 60) == ([1], 0)
    stored = kept.stored(1)
    assert stored is not None
    assert (stored.passage.printed_at, stored.passage.taken_at) == (START + 50, START + 60)
    assert kept("receive", 27, [1], START + 70) == 1


def test_a_damaged_notice_is_an_error_of_the_store(kept: Kept) -> None:
    kept("leave", 13, left(1), 1_000)
    with kept.register.transaction() as transaction:
        transaction.handle.put(b"\x01" + bytes(7), b"rubbish", db=kept.book.databases["notices"])
        transaction.commit()
    with pytest.raises(StoreCorruptError):
        kept("waiting", 27, 10, 1_000)
    assert any("move-in notice 1" in fault for fault in kept.faults())


@pytest.mark.parametrize("name", schema.NOTICE_DATABASES)
def test_the_check_sees_a_lost_row_of_every_table(kept: Kept, name: str) -> None:
    for notice_id in (1, 2, 3):
        kept("leave", 13, left(notice_id), START)
    kept("receive", 27, [2], START)
    assert kept.faults() == []
    assert kept.report().notices == 3
    with kept.register.transaction() as transaction:
        with transaction.handle.cursor(db=kept.book.databases[name]) as cursor:
            assert cursor.last()
            cursor.delete()
        transaction.commit()
    faults = kept.faults()
    assert faults
    assert "秘密" not in "".join(faults)


def test_asking_alone_commits_nothing(kept: Kept) -> None:
    kept("leave", 13, left(1), START)
    with kept.register.transaction() as transaction:
        kept.book.own(transaction.view, 13, 0, 10, START)
        kept.book.waiting(transaction.view, 27, 10, START)
        version = transaction.commit()
    with kept.register.transaction() as transaction:
        assert transaction.commit() == version


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("leave"), st.sampled_from([TOKYO, SAPPORO]), st.integers(1, 8)),
        st.tuples(st.just("take"), st.sampled_from([27, 13]), st.integers(1, 4)),
        st.tuples(st.just("receive"), st.sampled_from([27, 13]), st.lists(st.integers(1, 12), max_size=5)),
        st.tuples(st.just("purge"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=20, deadline=None)
def test_any_order_of_requests_leaves_what_a_dict_would(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, object]]
) -> None:
    kept = Kept(tmp_path_factory.mktemp("n") / "r")
    given_out: dict[tuple[int, int], int] = {}
    waiting: dict[int, tuple[int, int]] = {}
    for now, (name, who, what) in enumerate(steps, START):
        if name == "leave":
            key = (who // 1000, int(str(what)))
            number = kept("leave", key[0], left(key[1], who, OSAKA if key[1] % 2 else 13215), now)
            if key not in given_out:
                given_out[key] = len(given_out) + 1
                waiting[given_out[key]] = (27 if key[1] % 2 else 13, key[0])
            assert number == given_out[key]
        elif name == "take":
            mine = [number for number, (to, _) in sorted(waiting.items()) if to == who]
            most = int(str(what))
            assert kept.take(who, most, now) == (mine[:most], max(0, len(mine) - most))
        elif name == "purge":
            kept("purge", now + 5 * DAY)  # contents go, the notices stay known
        else:
            assert isinstance(what, list)
            closed = {number for number in what if waiting.get(number, (0, 0))[0] == who}
            assert kept("receive", who, what, now) == len(closed)
            waiting = {number: ends for number, ends in waiting.items() if number not in closed}
    for prefecture in (1, 13):
        mine = [number for number, (_, source) in sorted(waiting.items()) if source == prefecture]
        assert kept.numbers("own", prefecture, 0, 100, START + 99) == (mine, 0)
    with kept.register.writer.reading() as transaction:
        assert [found.passage.number for found in kept.book.all_open(transaction)] == sorted(waiting)
    assert kept.faults() == []
    kept.register.close()
