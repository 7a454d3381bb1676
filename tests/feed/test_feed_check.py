"""`jukinet store check` finds each kind of damage in what the feeds left; a clock that jumps; a batch of a week ago."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
from msgspec.structs import replace

from jukinet.core.errors import StoreError
from jukinet.core.feed import history, journal, positions
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.errors import SequenceGapError
from jukinet.core.feed.key_state import KeyState
from jukinet.core.records.resident import Resident
from jukinet.core.store import schema
from jukinet.core.store.check import check_register

from .registers import DAY, OSAKA, TODAY, batch, build, dump, notice

N = schema.NUMBER
Change = Callable[[lmdb.Transaction, Callable[[str], lmdb._Database]], None]


def fed(directory: Path) -> None:
    """A register in which a move has crossed, a code has changed, and a row was refused."""
    build(directory, [Resident(key=1, name="基", area=0, update_number=1)])
    with FeedRegister(directory, today=lambda: DAY) as register:
        with register.transaction() as transaction:
            rows = [notice(12, 5, 1), notice(12, 7, 1), notice(33, 7, 2), notice(21, 5, 2), notice(99, 8, 1)]
            transaction.apply(13, 1, batch(*rows))
            transaction.apply(27, 1, batch(notice(11, 5, 3, OSAKA, address="大阪府")))
            transaction.commit()


def damage(directory: Path, change: Change) -> None:
    environment = lmdb.open(str(directory), map_size=1 << 30, max_dbs=32)
    databases = {
        name: environment.open_db(name.encode(), integerkey=name != "meta", create=False) for name in schema.DATABASES
    }
    with environment.begin(write=True) as transaction:
        change(transaction, databases.__getitem__)
    environment.close()


def value_of(transaction: lmdb.Transaction, database: lmdb._Database, key: bytes) -> bytes:
    value = transaction.get(key, db=database)
    assert value is not None
    return bytes(value)


def wrong_standing(transaction: lmdb.Transaction, database: Callable[[str], lmdb._Database]) -> None:
    entries = history.decode(value_of(transaction, database("history"), N.pack(0)), 0)
    changed = [(delta, [(2, *entry[2:]) for entry in entries if entry[0] == delta]) for delta in (5, 7)]
    packed = history.merge(None, 0, changed)
    assert packed is not None
    transaction.put(N.pack(0), packed, db=database("history"))


def flipped(name: str, key: bytes) -> Change:
    def change(transaction: lmdb.Transaction, database: Callable[[str], lmdb._Database]) -> None:
        value = bytearray(value_of(transaction, database(name), key))
        value[len(value) // 2] ^= 1
        transaction.put(key, bytes(value), db=database(name))

    return change


def dropped(name: str, key: bytes) -> Change:
    def change(transaction: lmdb.Transaction, database: Callable[[str], lmdb._Database]) -> None:
        assert transaction.delete(key, db=database(name))

    return change


def position(transaction: lmdb.Transaction, database: Callable[[str], lmdb._Database]) -> None:
    state = positions.unpack_feed(value_of(transaction, database("feeds"), N.pack(13)))
    transaction.put(N.pack(13), positions.pack_feed(replace(state, position=9)), db=database("feeds"))


def sequence(transaction: lmdb.Transaction, database: Callable[[str], lmdb._Database]) -> None:
    entry = journal.unpack_entry(value_of(transaction, database("journal"), N.pack(1)))
    transaction.put(N.pack(1), journal.pack_entry(replace(entry, first_sequence=2)), db=database("journal"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wrong_standing, "wrong standing"),
        (flipped("history", N.pack(0)), "history of bucket 0 is damaged"),
        (dropped("journal", N.pack(1)), "the journal goes on with 6 where 1 is due"),
        (flipped("journal", N.pack(1)), "journal entry 1: an entry of the journal is damaged"),
        (flipped("feeds", N.pack(27)), "feed 27: the state of a feed is damaged"),
        (dropped("feeds", N.pack(27)), "feed 27: the journal brought it to 1, the register says 0"),
        (position, "feed 13: the journal brought it to 5, the register says 9"),
        (sequence, "a gap in the sequence numbers of feed 13"),
        (dropped("quarantine", N.pack(13 << 48 | 5)), "0 rows in quarantine, the register says 1"),
        (flipped("quarantine", N.pack(13 << 48 | 5)), "quarantine of feed 13 at 5: a row of the quarantine is damaged"),
    ],
)
def test_each_kind_of_damage_is_found(tmp_path: Path, change: Change, words: str) -> None:
    fed(tmp_path / "r")
    report = check_register(tmp_path / "r")
    assert report.faults == []
    assert (report.contributions, report.journal_entries, report.quarantined) == (3, 2, 1)
    damage(tmp_path / "r", change)
    faults = check_register(tmp_path / "r").faults
    assert any(words in fault for fault in faults), faults
    assert not any("花子" in fault for fault in faults)


def test_a_clock_that_jumps_back_is_not_followed(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    days = iter([DAY, DAY - datetime.timedelta(400), DAY + datetime.timedelta(1)])
    with FeedRegister(tmp_path / "r", today=lambda: next(days)) as register:
        for number, expected in ((1, TODAY), (2, TODAY), (3, TODAY + 1)):
            with register.transaction() as transaction:
                assert transaction.day == expected
                transaction.apply(13, number, batch(notice(12, number, 1)))
                transaction.commit()
            with register.writer.transaction() as change:
                found = change.get(number)
            assert found is not None
            assert found.registered_day == expected


def test_a_batch_of_a_week_ago_changes_nothing_and_is_answered_again(tmp_path: Path) -> None:
    fed(tmp_path / "r")
    before = dump(tmp_path / "r", without=())
    with FeedRegister(tmp_path / "r", today=lambda: DAY + datetime.timedelta(7)) as register:
        with register.transaction() as transaction:
            applied = transaction.apply(13, 5, batch(notice(99, 8, 1)))
            assert (applied.position, [tuple(row) for row in applied.quarantined]) == (5, [(5, 1)])
            assert (applied.applied, applied.kept) == (0, 0)
            # Another content under an old sequence number is neither applied nor trusted.
            for other in (notice(21, 5, 70_000), notice(12, 9, 1, event_date=1), notice(12, 9, 1)):
                again = transaction.apply(13, 1, batch(other))
                assert (again.applied, again.quarantined) == (0, [])
            with pytest.raises(SequenceGapError):
                transaction.apply(13, 1 << 63, batch(notice(12, 9, 1)))
            assert transaction.commit() == 2
    assert dump(tmp_path / "r", without=()) == before


def test_an_error_in_the_middle_of_a_batch_ends_the_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed(tmp_path / "r")
    before = dump(tmp_path / "r", without=())

    def defect(*_: object) -> None:
        raise RuntimeError("a defect")

    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register, register.transaction() as transaction:
        monkeypatch.setattr(KeyState, "refold", defect)
        with pytest.raises(RuntimeError):
            transaction.apply(13, 6, batch(notice(12, 9, 1)))
        with pytest.raises(StoreError, match="has ended"):
            transaction.commit()
    assert dump(tmp_path / "r", without=()) == before
