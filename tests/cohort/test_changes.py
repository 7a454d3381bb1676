"""What the journal says of a cohort: over a fed register, against the plain meaning of the rules."""

from __future__ import annotations

import contextlib
import datetime
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.cohort.changes import ChangeReader, Changes, Cursor
from jukinet.core.cohort.errors import CohortError, CursorExpiredError
from jukinet.core.cohort.store import CohortStore
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Notification
from jukinet.core.store import schema
from jukinet.core.vocabulary import Outcome

from ..feed.registers import CHUO, DAY, OSAKA, batch, build, notice

OWNER = "agency/pensions/1-77-1"
TODAY = 20261124


class Place:
    """A register that is fed, its cohorts, and asking as the server does."""

    def __init__(self, directory: Path) -> None:
        build(directory / "register", [])
        self.register = FeedRegister(directory / "register", today=lambda: DAY)
        self.store = CohortStore(directory / "cohorts")
        self.positions = {13: 0, 27: 0}

    def feed(self, *notifications: Notification, prefecture: int = 13) -> None:
        with self.register.transaction() as transaction:
            transaction.apply(prefecture, self.positions[prefecture] + 1, batch(*notifications))
            transaction.commit()
        self.positions[prefecture] += len(notifications)

    def load(self, first_key: int, stop_key: int, *notifications: Notification) -> None:
        self.positions[13] += 1
        with self.register.transaction() as transaction:
            transaction.apply_range(13, self.positions[13], first_key, stop_key, batch(*notifications))
            transaction.commit()

    def cohort(self, keys: list[int], register: str | None = None) -> Cursor:
        with self.register.reader() as reader:
            stored = self.store.put(
                OWNER, "all", array("Q", [code_from_key(key) for key in keys]), begin=True, end=True, generation=0,
                register=register or reader.identifier, cursor=reader.meta.journal_next, today=TODAY, now=0,
                cohorts_max=9, codes_max=10**6,
            )  # fmt: skip
        return Cursor(stored.cursor)

    def ask(self, cursor: Cursor, rows_max: int = 1_000, scanned_max: int = 10**6) -> Changes:
        with (
            self.register.reader() as reader,
            reader.pin() as snapshot,
            self.register.writer.reading() as transaction,
            self.store.reading(OWNER, "all") as members,
        ):
            changes = ChangeReader(
                transaction, reader.databases["journal"], reader.meta.journal_next, snapshot, members,
                register=reader.identifier, rows_max=rows_max, scanned_max=scanned_max,
            )  # fmt: skip
            return changes.read(cursor)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    with contextlib.closing(made.register), contextlib.closing(made.store):
        yield made


def told(changes: Changes) -> dict[int, tuple[int, int, int, int]]:
    """key -> (outcome, reason, change date, registered date)."""
    codes = array("Q", changes.codes)
    rows = zip(
        changes.outcomes, changes.reasons, array("I", changes.change_dates), array("I", changes.registered_dates),
        strict=True,
    )  # fmt: skip
    return dict(zip([code // 10 for code in codes], rows, strict=True))


def test_only_members_that_changed_since_are_told(place: Place) -> None:
    place.feed(notice(12, 5, 1), notice(12, 70, 1), notice(12, 900, 1))
    cursor = place.cohort([5, 70, 800])
    assert told(place.ask(cursor)) == {}
    place.feed(notice(22, 5, 2, event_date=20261105), notice(31, 900, 2))
    answer = place.ask(cursor)
    assert told(answer) == {5: (Outcome.DEAD, 22, 20261105, TODAY)}
    assert not answer.more
    assert answer.cursor == Cursor(6)
    assert told(place.ask(answer.cursor)) == {}
    place.feed(notice(31, 70, 2, event_date=20261106))
    assert told(place.ask(answer.cursor)) == {70: (Outcome.CURRENT, 31, 20261106, TODAY)}


def test_a_change_of_code_tells_both_who_know_the_old_and_the_new_code(place: Place) -> None:
    place.feed(notice(12, 5, 1))
    change = notice(41, 6, 2, code_before=code_from_key(5))
    cursor = place.cohort([5])
    place.feed(change)
    assert {key: row[0] for key, row in told(place.ask(cursor)).items()} == {5: Outcome.CODE_CHANGED}
    place.cohort([6])
    assert {key: row[0] for key, row in told(place.ask(cursor)).items()} == {6: Outcome.CURRENT}


def test_a_code_is_told_once_however_often_it_changed_and_as_it_is_now(place: Place) -> None:
    cursor = place.cohort([5])
    place.feed(notice(12, 5, 1), notice(31, 5, 2))
    place.feed(notice(22, 5, 3, event_date=20261111))
    assert told(place.ask(cursor)) == {5: (Outcome.DEAD, 22, 20261111, TODAY)}


def test_quarantined_notifications_change_nothing(place: Place) -> None:
    cursor = place.cohort([5, 6])
    place.feed(notice(22, 5, 1), notice(12, 6, 1))
    assert list(told(place.ask(cursor))) == [6]


def test_an_answer_sees_no_more_than_its_snapshot(place: Place) -> None:
    cursor = place.cohort([5, 6])
    place.feed(notice(12, 5, 1))
    with place.register.reader() as reader, reader.pin() as snapshot:
        journal_next = reader.meta.journal_next
        place.feed(notice(12, 6, 1))
        with place.register.writer.reading() as transaction, place.store.reading(OWNER, "all") as members:
            changes = ChangeReader(
                transaction, reader.databases["journal"], journal_next, snapshot, members,
                register=reader.identifier, rows_max=10,
            ).read(cursor)  # fmt: skip
    assert list(told(changes)) == [5]
    assert changes.cursor == Cursor(2)
    assert list(told(place.ask(changes.cursor))) == [6]


@pytest.mark.parametrize("rows_max", [2, 3, 7, 50])
@pytest.mark.parametrize("scanned_max", [1, 5, 10**6])
def test_pages_of_any_size_tell_the_same(place: Place, rows_max: int, scanned_max: int) -> None:
    cursor = place.cohort(list(range(0, 400, 2)))
    place.feed(*[notice(12, key, 1) for key in range(1, 61)])
    place.feed(*[notice(12, key, 1, OSAKA) for key in range(100, 120)], prefecture=27)
    place.feed(*[notice(41, 200 + key, 2, code_before=code_from_key(key)) for key in range(1, 41)])
    place.load(0, 150, *[])
    place.feed(notice(31, 202, 3))
    whole = place.ask(cursor)
    assert len(whole.outcomes) == 30 + 10 + 20
    found: dict[int, tuple[int, int, int, int]] = {}
    pages = 0
    while True:
        answer = place.ask(cursor, rows_max, scanned_max)
        assert len(answer.outcomes) <= rows_max
        assert answer.cursor > cursor
        found |= told(answer)
        cursor = answer.cursor
        pages += 1
        if not answer.more:
            break
    assert found == told(whole)
    assert pages > 1 or rows_max * scanned_max > 50
    assert cursor == whole.cursor


def test_a_range_tells_those_it_ended_and_those_it_changed(place: Place) -> None:
    place.feed(*[notice(12, key, 1) for key in range(6)], notice(12, 90, 1, CHUO), notice(12, 300, 1))
    place.feed(notice(12, 50, 1, OSAKA), prefecture=27)
    place.feed(notice(23, 4, 2))
    cursor = place.cohort([1, 2, 3, 50, 90, 300])
    place.load(0, 200, notice(13, 2, 1, state=1), notice(31, 3, 2, state=1))
    answer = told(place.ask(cursor))
    assert {key: row[0] for key, row in answer.items()} == {
        1: Outcome.REMOVED, 2: Outcome.CURRENT, 3: Outcome.CURRENT, 90: Outcome.REMOVED,
    }  # fmt: skip
    paged = place.ask(cursor, 3)
    assert paged.more
    assert told(paged).keys() == {1, 2, 3}
    assert told(place.ask(paged.cursor)).keys() == {90}


def test_an_empty_range_takes_a_place_in_the_order(place: Place) -> None:
    cursor = place.cohort([5])
    place.load(0, 100)
    place.feed(notice(12, 5, 1))
    answer = place.ask(cursor)
    assert list(told(answer)) == [5]
    assert answer.cursor == Cursor(3)


def test_a_cursor_before_the_journals_beginning_has_expired(place: Place) -> None:
    cursor = place.cohort([5])
    place.feed(notice(12, 5, 1), notice(12, 6, 1))
    after = place.ask(cursor).cursor
    place.feed(notice(31, 5, 2))
    with place.register.writer._environment.begin(write=True) as transaction:
        transaction.delete(schema.NUMBER.pack(1), db=place.register.writer.databases["journal"])
    with pytest.raises(CursorExpiredError):
        place.ask(cursor)
    with pytest.raises(CursorExpiredError):
        place.ask(Cursor(2))
    assert list(told(place.ask(after))) == [5]
    with place.register.writer._environment.begin(write=True) as transaction:
        transaction.delete(schema.NUMBER.pack(3), db=place.register.writer.databases["journal"])
    with pytest.raises(CursorExpiredError):
        place.ask(after)
    assert told(place.ask(Cursor(4))) == {}


def test_a_cursor_of_another_register_has_expired(place: Place) -> None:
    place.cohort([5])
    with pytest.raises(CursorExpiredError):
        place.ask(Cursor(2))
    place.cohort([5], register="f" * 32)
    with pytest.raises(CursorExpiredError, match="another register"):
        place.ask(Cursor(1))


@pytest.mark.parametrize("cursor", [Cursor(0), Cursor(1, 10**10 + 1), Cursor(1, -1)])
def test_what_is_no_cursor_is_refused(place: Place, cursor: Cursor) -> None:
    place.cohort([5])
    with pytest.raises(CohortError, match="no cursor"):
        place.ask(cursor)


def test_answers_have_two_rows_at_least(place: Place) -> None:
    with pytest.raises(CohortError, match="2 rows"):
        place.ask(place.cohort([5]), 1)


def test_dates_of_registering_are_those_of_the_calendar(place: Place) -> None:
    cursor = place.cohort([5])
    days = [
        datetime.date(2026, 11, 24),
        datetime.date(2028, 2, 29),
        datetime.date(2100, 3, 1),
        datetime.date(2101, 1, 1),
    ]
    for number, day in enumerate(days, 1):
        place.register.today = lambda day=day: day
        place.feed(notice(12 if number == 1 else 31, 5, number))
        assert told(place.ask(cursor))[5][3] == int(day.strftime("%Y%m%d"))
