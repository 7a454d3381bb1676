from __future__ import annotations

from pathlib import Path

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.errors import SequenceGapError
from jukinet.core.notifications import Fault, Notification
from jukinet.core.records.resident import Resident
from jukinet.core.store.check import check_register
from jukinet.core.vocabulary import ChangeReason, State

from .registers import DAY, OSAKA, TODAY, batch, build, notice


class Fed:
    """A small register, and calls that apply one batch to a transaction."""

    def __init__(self, directory: Path, residents: list[Resident] | None = None) -> None:
        self.directory = directory
        build(directory, residents if residents is not None else [Resident(key=1, name="基", area=0)])
        self.register = FeedRegister(directory, today=lambda: DAY)
        self.next = dict.fromkeys(range(1, 48), 1)

    def send(self, *notifications: Notification) -> list[tuple[int, Fault]]:
        prefecture = notifications[0].area // 1000
        with self.register.transaction() as transaction:
            applied = transaction.apply(prefecture, self.next[prefecture], batch(*notifications))
            transaction.commit()
        self.next[prefecture] += len(notifications)
        assert applied.position == self.next[prefecture] - 1
        assert applied.digest == self.register.holdings(prefecture)
        return applied.quarantined

    def get(self, key: int) -> Resident | None:
        with self.register.writer.transaction() as change:
            return change.get(key)


@pytest.fixture
def fed(tmp_path: Path) -> Fed:
    return Fed(tmp_path / "r")


def test_an_entry_a_correction_and_a_removal(fed: Fed) -> None:
    assert fed.send(notice(12, 5, 1)) == []
    found = fed.get(5)
    assert found is not None
    assert (found.state, found.reason, found.town, found.address_rest) == (1, 12, 1, "１－１")
    assert found.registered_day == TODAY
    assert fed.send(notice(31, 5, 2, address="東京都千代田区神田神保町2"), notice(22, 5, 3, event_date=20261102)) == []
    found = fed.get(5)
    assert found is not None
    assert (found.state, found.reason, found.change_date, found.update_number) == (State.DEAD, 22, 20261102, 3)
    assert (found.town, found.address_rest, found.name) == (6, "2", "東京　花子2")
    assert fed.register.feed(13).position == 3
    fed.register.close()
    assert check_register(fed.directory).faults == []


@pytest.mark.parametrize("removal_first", [False, True])
def test_a_move_between_prefectures_ends_the_same_in_either_order(fed: Fed, removal_first: bool) -> None:
    fed.send(notice(12, 5, 1))
    removal = notice(ChangeReason.MOVE_OUT, 5, 2)
    entry = notice(ChangeReason.MOVE_IN, 5, 3, area=OSAKA, address="大阪府大阪市北区梅田3")
    for notification in (removal, entry) if removal_first else (entry, removal):
        assert fed.send(notification) == []
    found = fed.get(5)
    assert found is not None
    assert (found.state, found.area, found.town, found.update_number) == (1, 3, 4, 3)


def test_a_code_change_retires_the_code_for_ever(fed: Fed) -> None:
    fed.send(notice(12, 5, 1))
    assert fed.send(notice(41, 6, 2, code_before=code_from_key(5))) == []
    before, after = fed.get(5), fed.get(6)
    assert before is not None
    assert after is not None
    assert (before.state, before.successor_key, before.name) == (State.RETIRED, 6, "")
    assert (after.state, after.name) == (1, "東京　花子2")
    assert fed.send(notice(11, 5, 7, area=OSAKA, address="大阪府")) == [(1, Fault.CODE_RETIRED)]
    assert fed.get(5) == before


def test_what_cannot_be_accepted_is_put_aside_and_the_feed_goes_on(fed: Fed) -> None:
    fed.send(notice(12, 5, 1))
    reports = fed.send(
        notice(99, 6, 1),
        notice(21, 7, 1),
        notice(12, 5, 1),
        notice(12, 8, 1),
        notice(12, 9, 1, area=13215),
        notice(12, 10, 1, area=OSAKA),
    )
    assert reports == [
        (2, Fault.UNKNOWN_REASON),
        (3, Fault.NOT_ENTERED),
        (4, Fault.NUMBER_NOT_ASCENDING),
        (6, Fault.AREA_UNKNOWN),
        (7, Fault.AREA_NOT_OF_FEED),
    ]
    assert fed.get(8) is not None
    assert fed.register.feed(13).quarantined == 5
    assert fed.send(notice(11, 5, 2, area=OSAKA, address="大阪", birth_date=19790101)) == [(1, Fault.ANOTHER_PERSON)]
    with fed.register.transaction() as transaction:
        again = transaction.apply(27, 1, batch(notice(11, 5, 2, area=OSAKA, address="大阪", birth_date=19790101)))
        assert again.quarantined == [(1, Fault.ANOTHER_PERSON)]
        assert transaction.commit() == 4


def test_a_gap_is_refused_and_changes_nothing(fed: Fed) -> None:
    with fed.register.transaction() as transaction:
        with pytest.raises(SequenceGapError) as caught:
            transaction.apply(13, 2, batch(notice(12, 5, 1)))
        assert caught.value.expected == 1
        assert transaction.apply(13, 1, batch(notice(12, 5, 1))).applied == 1
        transaction.commit()
    assert fed.get(5) is not None
