"""HISTORY over a register that was fed: which earlier records, in what order, with which items, and for how long."""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet.core import limits
from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.index import HistoryBatch
from jukinet.core.index import history as history_module
from jukinet.core.index.history import HistoryTooLongError
from jukinet.core.law.retention import Rule, cutoffs
from jukinet.core.notifications import Notification
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import ALL_ITEMS, Item, Outcome
from jukinet.core.wire import messages as m
from jukinet.core.wire.answers import parse_history_answer

from ..feed.registers import DAY, OSAKA, batch, build, notice

LIVED = [
    notice(12, 5, 1, event_date=20260101, alias="ANNA"),
    notice(31, 5, 2, event_date=20260201, address="東京都千代田区神田神保町2"),
    notice(21, 5, 3, event_date=20260301),
]
ENTERED = [notice(11, 5, 4, area=OSAKA, event_date=20260302, address="大阪府大阪市北区梅田3")]


class Fed:
    def __init__(self, directory: Path) -> None:
        self.day = DAY
        build(directory, [Resident(key=1, name="基", area=0), Resident(key=3, state=6, area=1)])
        self.register = FeedRegister(directory, today=lambda: self.day)
        self.next = dict.fromkeys(range(1, 48), 1)

    def send(self, *rows: Notification) -> None:
        prefecture = rows[0].area // 1000
        with self.register.transaction() as transaction:
            transaction.apply(prefecture, self.next[prefecture], batch(*rows))
            transaction.commit()
        self.next[prefecture] += len(rows)

    def ask(
        self, codes: list[int], items: int = int(ALL_ITEMS), today: datetime.date | None = None, **how: Any
    ) -> m.HistoryAnswer:
        asked = HistoryBatch()
        rule = cutoffs(how.pop("rule", Rule.FIVE_YEARS), today or self.day)
        with self.register.reader() as reader, reader.pin() as snapshot:
            asked.begin(memoryview(array("Q", codes)), items, reader.databases, reader.meta.width, rule)
            for start in range(0, len(codes), 2):
                asked.run(snapshot, start, min(start + 2, len(codes)))
            outcomes = asked.outcomes
            frame = asked.finish()
        answer = parse_history_answer(7, items, len(codes), frame[16:])
        assert bytes(answer.outcomes) == outcomes
        return answer


@pytest.fixture
def fed(tmp_path: Path) -> Iterator[Fed]:
    made = Fed(tmp_path / "r")
    yield made
    made.register.close()


def test_earlier_records_come_latest_first_and_a_removal_with_what_it_removed(fed: Fed) -> None:
    fed.send(*LIVED)
    fed.day = datetime.date(2026, 12, 1)
    fed.send(*ENTERED)
    codes = [code_from_key(1), code_from_key(5), code_from_key(2), code_from_key(5) + 1, code_from_key(3)]
    answer = fed.ask(codes)
    assert list(answer.outcomes) == [
        Outcome.CURRENT, Outcome.CURRENT, Outcome.UNKNOWN, Outcome.BAD_CHECK_DIGIT, Outcome.NOT_CONNECTED,
    ]  # fmt: skip
    assert list(answer.row_ends) == [0, 3, 3, 3, 3]
    assert list(answer.replaced_dates) == [20261201, 20261124, 20261124]
    assert answer.reasons is not None
    assert answer.change_dates is not None
    assert answer.names is not None
    assert answer.addresses is not None
    assert answer.aliases is not None
    assert answer.areas is not None
    assert list(answer.reasons) == [21, 31, 12]
    assert list(answer.change_dates) == [20260301, 20260201, 20260101]
    assert answer.names.to_list() == ["東京　花子2", "東京　花子2", "東京　花子1"]
    assert answer.aliases.to_list() == ["", "", "ANNA"]
    assert answer.addresses.to_list() == ["東京都千代田区神田神保町2"] * 2 + ["東京都千代田区丸の内１－１"]
    assert list(answer.areas) == [13101] * 3


@pytest.mark.parametrize("items", [Item.NAME, Item.SEX | Item.CHANGE, Item.CODE, Item.BIRTH_DATE | Item.KANA])
def test_only_the_items_asked_are_in_the_answer(fed: Fed, items: Item) -> None:
    fed.send(*LIVED)
    answer = fed.ask([code_from_key(5)], int(items))
    assert len(answer.replaced_dates) == 2
    assert (answer.names is None) == (Item.NAME not in items)
    assert (answer.sexes is None) == (Item.SEX not in items)
    assert (answer.change_dates is None) == (Item.CHANGE not in items)
    assert (answer.kana is None) == (Item.KANA not in items)


def test_what_is_past_its_last_day_is_not_provided_though_it_is_not_purged_yet(fed: Fed) -> None:
    fed.send(*LIVED)
    fed.day = datetime.date(2026, 12, 1)
    fed.send(*ENTERED)
    last = datetime.date(2031, 11, 24)
    code = [code_from_key(5)]
    assert list(fed.ask(code, today=last).row_ends) == [3]
    # The removal's period ends with its own notice and its replacing: 24 November 2031, like the others' here.
    assert list(fed.ask(code, today=last + datetime.timedelta(1)).row_ends) == [0]
    assert list(fed.ask(code, today=datetime.date(2150, 1, 1), rule=Rule.YEARS_150).row_ends) == [3]


def test_a_dead_record_past_its_last_day_answers_expired(fed: Fed) -> None:
    fed.send(notice(12, 5, 1), notice(22, 5, 2))
    code = [code_from_key(5)]
    today = fed.ask(code)
    assert (list(today.outcomes), list(today.row_ends)) == ([Outcome.DEAD], [1])
    later = fed.ask(code, today=datetime.date(2031, 11, 25))
    assert (list(later.outcomes), list(later.row_ends)) == ([Outcome.EXPIRED], [0])


def test_what_another_person_notified_is_shown_to_nobody(fed: Fed) -> None:
    fed.send(notice(12, 5, 1))
    fed.send(notice(12, 5, 2, area=OSAKA, address="大阪", birth_date=19790101))
    assert list(fed.ask([code_from_key(5)]).row_ends) == [0]


def test_a_retired_code_has_its_earlier_records(fed: Fed) -> None:
    fed.send(notice(12, 5, 1), notice(41, 6, 2, code_before=code_from_key(5)))
    answer = fed.ask([code_from_key(5), code_from_key(6)])
    assert list(answer.outcomes) == [Outcome.CODE_CHANGED, Outcome.CURRENT]
    assert list(answer.row_ends) == [1, 1]


def test_more_records_than_an_answer_holds_are_refused(fed: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_ROWS_MAX", 3)
    fed.send(*LIVED)
    assert list(fed.ask([code_from_key(5)]).row_ends) == [2]
    with pytest.raises(HistoryTooLongError):
        fed.ask([code_from_key(5)] * 2)


def test_many_records_cross_the_kernels_groups(fed: Fed) -> None:
    fed.send(notice(12, 5, 1), *[notice(31, 5, number, kana="ハナ子") for number in range(2, 90)])
    answer = fed.ask([code_from_key(5)])
    assert answer.names is not None
    assert answer.kana is not None
    assert answer.names.to_list() == [f"東京　花子{number}" for number in range(88, 0, -1)]
    assert answer.kana.to_list() == ["ハナ子"] * 87 + ["トウキョウ　ハナコ"]


def test_days_are_written_as_decimal_dates() -> None:
    assert history_module.decimal_day(0) == 20000101
    assert history_module.decimal_day(9_824) == 20261124
