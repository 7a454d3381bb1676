from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.codes import code_from_key
from jukinet.core.feed import notices
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.notices import NoticeBook, open_notices
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import feed_messages as fm

from ..core.stores import build_store

OVERDUE = 100
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

    def __init__(self, directory: Path) -> None:
        build_store(directory, [], expected_entries=100_000)
        self.directory = directory
        self.register = FeedRegister(directory)
        self.book = NoticeBook(self.register.writer, OVERDUE)

    def __call__(self, name: str, *values: object) -> object:
        with self.register.transaction() as transaction:
            result: object = getattr(self.book, name)(transaction.handle, *values)
            transaction.commit()
        return result

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
    assert kept.numbers("take", 27, 1, 1_004) == ([1], 1)
    assert kept.numbers("take", 27, 10, 1_005) == ([1, 2], 0)
    assert kept.numbers("take", 13, 10, 1_005) == ([3], 0)
    assert kept("receive", 1, [1, 2], 1_006) == 0  # not for it
    assert kept("receive", 27, [1, 1, 99], 1_006) == 1
    assert kept("receive", 27, [1], 1_007) == 0
    assert kept.numbers("take", 27, 10, 1_008) == ([2], 0)
    assert kept.numbers("own", 13, 0, 10, 1_008) == ([2], 0)
    assert kept("leave", 13, left(7), 1_009) == 1  # its receipt does not make it a new one


def test_states_and_the_alarm(kept: Kept) -> None:
    kept("leave", 13, left(1), 1_000)
    kept("leave", 13, left(2), 1_050)

    def states(now: int) -> list[NoticeState]:
        found, _ = kept("own", 13, 0, 10, now)  # type: ignore[misc]
        return [notice.state for notice in found]

    assert states(1_060) == [NoticeState.WAITING] * 2
    kept("take", 27, 1, 1_060)
    assert states(1_060) == [NoticeState.TAKEN, NoticeState.WAITING]
    assert kept("overdue", 1_099) == (2, 0)
    assert kept("overdue", 1_100) == (2, 1)
    assert states(1_160) == [NoticeState.OVERDUE] * 2
    kept("receive", 27, [1], 1_170)
    assert kept("overdue", 1_170) == (1, 1)


def test_what_was_received_goes_after_its_retention_and_nothing_else(kept: Kept) -> None:
    for notice_id in range(1, 6):
        kept("leave", 13, left(notice_id), 1_000)
    kept("receive", 27, [1, 2], 2_000)
    kept("receive", 27, [4], 3_000)
    assert kept("purge", 2_500) == 2
    assert kept("purge", 2_500) == 0
    assert kept.numbers("take", 27, 10, 3_000) == ([3, 5], 0)
    assert kept("leave", 13, left(9), 3_001) == 6  # numbers are never given twice
    assert kept("purge", 10**10) == 1
    with kept.register.writer.reading() as transaction:
        names = transaction.stat(kept.book.databases["notice_names"])["entries"]
        assert names == transaction.stat(kept.book.databases["notices"])["entries"] - 1 == 3


def test_a_damaged_notice_is_an_error_of_the_store(kept: Kept) -> None:
    kept("leave", 13, left(1), 1_000)
    with kept.register.transaction() as transaction:
        transaction.handle.put(b"\x01" + bytes(7), b"rubbish", db=kept.book.databases["notices"])
        transaction.commit()
    with pytest.raises(notices.StoreCorruptError):
        kept("take", 27, 10, 1_000)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("leave"), st.sampled_from([TOKYO, SAPPORO]), st.integers(1, 8)),
        st.tuples(st.just("take"), st.sampled_from([27, 13]), st.integers(1, 4)),
        st.tuples(st.just("receive"), st.sampled_from([27, 13]), st.lists(st.integers(1, 12), max_size=5)),
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
    for now, (name, who, what) in enumerate(steps, 1_000):
        if name == "leave":
            key = (who // 1000, int(str(what)))
            number = kept("leave", key[0], left(key[1], who, OSAKA if key[1] % 2 else 13102), now)
            if key not in given_out:
                given_out[key] = len(given_out) + 1
                waiting[given_out[key]] = (27 if key[1] % 2 else 13, key[0])
            assert number == given_out[key]
        elif name == "take":
            mine = [number for number, (to, _) in sorted(waiting.items()) if to == who]
            most = int(str(what))
            assert kept.numbers("take", who, most, now) == (mine[:most], max(0, len(mine) - most))
        else:
            assert isinstance(what, list)
            closed = {number for number in what if waiting.get(number, (0, 0))[0] == who}
            assert kept("receive", who, what, now) == len(closed)
            waiting = {number: ends for number, ends in waiting.items() if number not in closed}
    for prefecture in (1, 13):
        mine = [number for number, (_, source) in sorted(waiting.items()) if source == prefecture]
        assert kept.numbers("own", prefecture, 0, 100, 2_000) == (mine, 0)
    kept.register.close()
    with lmdb.open(str(kept.directory), max_dbs=32, readonly=True, lock=False) as environment:
        database = environment.open_db(b"notices", integerkey=True, create=False)
        with environment.begin(buffers=True) as transaction:
            assert [notice.number for notice in open_notices(transaction, database, 0, OVERDUE)] == sorted(waiting)
