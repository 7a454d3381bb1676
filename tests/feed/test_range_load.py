"""Loading natively is the same as letting the engine take every row, and a range is what the prefecture holds."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core import limits
from jukinet.core.codes import code_from_key
from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.feed import history
from jukinet.core.feed.digest_kernel import DigestTotals
from jukinet.core.feed.engine import Applied, FeedRegister, FeedTransaction, Outcomes
from jukinet.core.feed.errors import RangeError
from jukinet.core.feed.places import Places
from jukinet.core.feed.range_kernel import SortedRows, TownIndex
from jukinet.core.feed.range_statements import statements
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.identity.layout import plan_layout
from jukinet.core.notifications import Fault, Notification, NotificationBatch, faults_of
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block, schema
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import PlaceTables

from ..core.strategies import residents
from .registers import AREAS, CHUO, DAY, KUNITACHI, SAPPORO, TODAY, TOKYO, TOWNS, batch, build, dump
from .test_convergence import NOBODY, PERSON, notifications

PLACES = PlaceTables(AREAS, TOWNS)
KEYS = [5, 6, 7, 130_000, 260_000, 4_000_000_007, 4_000_000_008, 10**10 - 1]
LATER = DAY + datetime.timedelta(3)
Step = tuple[str, Any]


class RowByRow(FeedTransaction):
    """The twin: every row goes through the fold, and every key of the range is looked at."""

    def _load(self, prefecture: int, first_key: int, stop_key: int, rows: NotificationBatch) -> Outcomes:
        outcomes = self._accept_all(prefecture, rows)
        width = self._change.meta.width
        keys = set(self._keys)
        for bucket in range(first_key // width, -(-stop_key // width)):
            keys.update(self._change.keys_of_bucket(bucket))
            value = self._change.handle.get(schema.NUMBER.pack(bucket), None, self._databases["history"])
            if value is not None:
                keys.update(bucket * width + entry[0] for entry in history.decode(value, bucket))
        named = {code // 10 for code in rows.codes}
        self._remove_others(prefecture, sorted(key for key in keys - named if first_key <= key < stop_key))
        return outcomes


@st.composite
def stated(draw: st.DrawFn, key: int) -> Notification:
    state = draw(st.sampled_from([1, 1, 1, 1, 2, 3, 4, 5, 5]))
    reasons = {1: [0, 11, 12, 31, 41], 2: [22], 3: [21], 4: [23, 99], 5: [41, 41, 42]}
    person = {name: draw(values) for name, values in PERSON.items()}
    return Notification(
        reason=draw(st.sampled_from(reasons[state])),
        state=state,
        code=code_from_key(key) + (draw(st.integers(0, 19)) == 7 and key % 10 < 9),
        area=draw(st.sampled_from([TOKYO, TOKYO, CHUO, KUNITACHI, SAPPORO])),
        event_date=draw(st.sampled_from([20261101, 20261102])),
        update_number=draw(st.integers(0, 9)),
        code_before=code_from_key(draw(st.sampled_from([*KEYS[:3], key]))) if state == 5 else 0,
        **(NOBODY if state == 5 else person),
    )


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int, list[Notification]]:
    first = draw(st.sampled_from([0, 0, 6, 130_000, 4_000_000_000]))
    stop = draw(st.sampled_from([7, 260_000, 4_000_000_008, 10**10, 10**10]).filter(lambda stop: stop > first))
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=8))
    return first, stop, [draw(stated(key)) for key in sorted(keys) if first <= key < stop]


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """Ranges of Tokyo (some repeated word for word), notifications of it and of Sapporo, and commits among them."""
    made: list[Step] = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["range", "range", "again", "batch", "commit"]))
        loads = [step for step in made if step[0] == "range"]
        if kind == "again" and loads:
            made.append(draw(st.sampled_from(loads)))
        elif kind == "batch":
            prefecture = draw(st.sampled_from([13, 1]))
            made.append(("batch", (prefecture, draw(st.lists(notifications(prefecture), min_size=1, max_size=5)))))
        elif kind == "commit":
            made.append(("commit", None))
        else:
            made.append(("range", draw(ranges())))
    return made


def base() -> list[Resident]:
    return [
        Resident(key=5, state=1, area=0, update_number=2, change_date=20200101, sex=2, birth_date=19800101, name="東"),
        Resident(key=6, state=3, reason=21, area=3, update_number=1, change_date=20200101, sex=2, name="西"),
        Resident(key=8, state=1, area=5, update_number=2, reason=11, change_date=20200101, name="余"),
        Resident(key=4_000_000_008, state=6, area=1),
        Resident(key=4_000_000_009, state=5, area=0, reason=41, successor_key=5, change_date=20200101),
    ]


def run(directory: Path, kind: type[FeedTransaction], wanted: list[Step], day: datetime.date) -> list[Applied]:
    told: list[Applied] = []
    with FeedRegister(directory, today=lambda: day) as register:
        transaction = kind(register)
        for step, what in [*wanted, ("commit", None)]:
            if step == "commit":
                transaction.commit()
                transaction = kind(register)
            elif step == "batch":
                prefecture, rows = what
                position = transaction.feed(prefecture).position
                told.append(transaction.apply(prefecture, position + 1, batch(*rows)))
            else:
                first, stop, rows = what
                sequence = transaction.feed(13).position + 1
                told.append(transaction.apply_range(13, sequence, first, stop, batch(*rows)))
        transaction.__exit__(None, None, None)
    return told


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wanted=steps(), again=st.booleans())
def test_loading_natively_is_loading_row_by_row(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[Step], again: bool
) -> None:
    place = tmp_path_factory.mktemp("range")
    told = []
    for name, kind in (("native", FeedTransaction), ("rows", RowByRow)):
        build(place / name, base())
        told.append(run(place / name, kind, wanted, DAY))
        if again:  # a day later, after a restart
            told[-1] += run(place / name, kind, wanted, LATER)
    assert told[0] == told[1]
    native, rows = (dump(place / name, without=("changes",)) for name in ("native", "rows"))
    for database in native:
        if database != "meta":
            assert native[database] == rows[database], database
    report = check_register(place / "native")
    assert report.faults == []


def person(key: int, number: int = 1, **fields: Any) -> Notification:
    base: dict[str, Any] = {"reason": 11, "state": 1, "area": TOKYO, "event_date": 20261101, "name": "山", "sex": 1}
    return Notification(**{**base, "code": code_from_key(key), "update_number": number, **fields})


def load(register: FeedRegister, rows: Iterable[Notification], first: int = 0, stop: int = 10**10) -> Applied:
    with register.transaction() as transaction:
        applied = transaction.apply_range(13, transaction.feed(13).position + 1, first, stop, batch(*rows))
        transaction.commit()
    return applied


def test_plain_rows_are_shown_and_the_rest_of_the_range_is_removed(tmp_path: Path) -> None:
    build(tmp_path / "r", [Resident(key=8, area=0, update_number=3, name="消"), Resident(key=9, area=4, name="那覇")])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        applied = load(register, [person(7, address="東京都千代田区丸の内九"), person(10)], 0, 1_000)
        assert (applied.position, applied.applied, applied.kept, applied.quarantined) == (1, 2, 0, [])
        assert applied.digest.count == 2
        with register.writer.transaction() as change:
            shown = change.get(7)
            assert shown is not None
            assert (shown.town, shown.address_rest, shown.registered_day, shown.notified) == (1, "九", TODAY, False)
            removed = change.get(8)
            assert removed is not None
            assert (removed.state, removed.reason, removed.update_number) == (4, 23, 4)
            elsewhere = change.get(9)
            assert elsewhere is not None
            assert elsewhere.state == 1
        state = register.feed(13)
        assert state.loading is not None
        assert state.loading.next_key == 1_000
    before = dump(tmp_path / "r", without=("journal", "changes", "feeds"))
    with FeedRegister(tmp_path / "r", today=lambda: LATER) as register:
        load(register, [person(7, address="東京都千代田区丸の内九"), person(10)], 0, 10**10)
        assert register.feed(13).loading is None
    after = dump(tmp_path / "r", without=("journal", "changes", "feeds"))
    assert {**before, "meta": []} == {**after, "meta": []}, "loading the same again changes nothing"
    assert check_register(tmp_path / "r").faults == []


def retired(key: int, following: int, number: int = 1, **fields: Any) -> Notification:
    return person(
        key, number, reason=41, state=5, code_before=code_from_key(following), **{"name": "", "sex": 0, **fields}
    )


def test_retired_codes_are_loaded_and_lead_on(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    rows = [retired(7, 4_000_000_007, 2), person(9), retired(130_000, 9, 3)]
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        applied = load(register, rows)
        assert (applied.applied, applied.kept, applied.quarantined) == (3, 0, [])
        assert applied.digest.count == 3
        with register.writer.transaction() as change:
            shown = change.get(7)
            assert shown is not None
            assert (shown.state, shown.successor_key, shown.update_number) == (5, 4_000_000_007, 2)
        assert (register.meta().entries, register.meta().residents) == (3, 1)
    report = check_register(tmp_path / "r")
    assert (report.faults, report.retired, report.successors_awaited) == ([], 2, 1)
    before = dump(tmp_path / "r", without=("journal", "changes", "feeds"))
    with FeedRegister(tmp_path / "r", today=lambda: LATER) as register:
        assert load(register, rows).applied == 3
    after = dump(tmp_path / "r", without=("journal", "changes", "feeds"))
    assert {**before, "meta": []} == {**after, "meta": []}, "loading the same again changes nothing"
    with FeedRegister(tmp_path / "r", today=lambda: LATER) as register:
        load(register, rows[1:])  # the source has lost one: a code once retired stays retired
        assert register.holdings(13).count == 3
        load(register, [retired(7, 9, 2), *rows[1:]])  # of the same rank: it led to the wrong code
        with register.writer.transaction() as change:
            mended = change.get(7)
            assert mended is not None
            assert mended.successor_key == 9
        refused = load(register, [retired(7, 9, 1), person(9, 2), retired(10, 10)])
        assert refused.quarantined == [(0, Fault.NUMBER_NOT_ASCENDING), (2, Fault.BAD_CODE_BEFORE)]
    assert check_register(tmp_path / "r").faults == []


def test_a_code_retired_where_no_connection_is_any_more_is_loaded_a_resident_there_is_not(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    rows = [retired(7, 9, area=KUNITACHI), person(8, area=KUNITACHI), person(9)]
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        applied = load(register, rows)
        assert applied.quarantined == [(1, Fault.AREA_UNKNOWN)]
        assert (applied.applied, applied.digest.count) == (2, 2)
        assert load(register, [retired(7, 9, area=13999), *rows[2:]]).quarantined == [(0, Fault.AREA_UNKNOWN)]
    assert check_register(tmp_path / "r").faults == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_code_change_and_its_statement_are_the_same_in_either_order(tmp_path: Path, is_first: bool) -> None:
    """A load under way meets the code changes of its days before or behind the keys that it has come to."""
    build(tmp_path / "r", [])
    change_of_code = person(9, 4, reason=41, state=0, code_before=code_from_key(7))
    stated_rows = [retired(7, 9, 4), person(9, 4, reason=41)]
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        load(register, [person(6)], 0, 7)
        if is_first:
            with register.transaction() as transaction:
                assert transaction.apply(13, 2, batch(change_of_code)).quarantined == []
                transaction.commit()
        load(register, stated_rows if is_first else [person(7, 3)], 7, 10**10)
        if not is_first:
            with register.transaction() as transaction:
                assert transaction.apply(13, 3, batch(change_of_code)).quarantined == []
                transaction.commit()
            load(register, [person(6), *stated_rows])
        with register.writer.transaction() as change:
            old, new = change.get(7), change.get(9)
            assert old is not None
            assert new is not None
            assert (old.state, old.successor_key, old.notified, new.state) == (5, 9, True, 1)
        assert register.holdings(13).count == 3
    assert check_register(tmp_path / "r").faults == []


@pytest.mark.parametrize(
    ("first", "stop", "rows"),
    [
        (5, 5, []),
        (0, 10**10 + 1, []),
        (0, 7, [person(7)]),
        (8, 10, [person(7)]),
        (0, 10, [person(7), person(6)]),
        (0, 10, [person(7), person(7)]),
        (0, 10, [person(7, state=0)]),
    ],
)
def test_a_range_that_is_none_is_refused_and_changes_nothing(
    tmp_path: Path, first: int, stop: int, rows: list[Notification]
) -> None:
    build(tmp_path / "r", base())
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register, register.transaction() as transaction:
        with pytest.raises(RangeError):
            transaction.apply_range(13, 1, first, stop, batch(*rows))
        assert transaction.feed(13).position == 0


def test_faulty_rows_are_reported_and_the_others_loaded(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    rows = [person(1, name=""), person(2), person(3, area=KUNITACHI), person(4, address="長" * 86), person(5, sex=4)]
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        applied = load(register, rows)
        assert applied.applied == 1
        assert applied.quarantined == [
            (0, Fault.BAD_TEXT), (2, Fault.AREA_UNKNOWN), (3, Fault.BAD_ADDRESS), (4, Fault.BAD_SEX)
        ]  # fmt: skip
        for sent in (rows, rows[2:]):  # the answer was lost; and what comes again need not be what came
            with register.transaction() as transaction:
                again = transaction.apply_range(13, 1, 0, 10**10, batch(*sent))
            left_out = len(rows) - len(sent)
            assert (again.position, again.applied, again.kept) == (1, 0, 0)
            assert again.quarantined == [(n - left_out, fault) for n, fault in applied.quarantined if n >= left_out]


@settings(max_examples=200)
@given(
    st.integers(0, 5),
    st.one_of(
        st.text(max_size=20),
        st.tuples(st.sampled_from(TOWNS), st.text(max_size=9), st.integers(0, 90)).map(
            lambda parts: (parts[0].text + parts[1])[: parts[2]]
        ),
    ),
)
def test_addresses_are_split_as_the_engine_splits_them(area: int, address: str) -> None:
    found = TownIndex(PLACES, TOWNS).split(area, address.encode())
    wanted = Places(AREAS, TOWNS).split(area, address)
    if wanted is not None:
        assert (found[0], address.encode()[found[1] :].decode()) == wanted
    else:
        assert len(address.encode()) - found[1] > limits.ADDRESS_REST_BYTES_MAX


def test_a_damaged_block_is_refused_and_a_full_one_leaves_rows_to_the_engine(tmp_path: Path) -> None:
    index = TownIndex(PLACES, TOWNS)
    rows = [person(key, name="長" * 85, kana="長" * 85, alias="長" * 85) for key in range(90)]
    made = batch(*rows)
    faults = faults_of(made, 13, DAY)

    def merge(present: bytes | None) -> tuple[bytes | None, list[int]]:
        sorted_rows = SortedRows(index, made.payload, made.positions, made.count, faults, 13, TODAY, [])
        changes = IdentityChanges(EntryLayout(plan_layout(1_000)))
        merged = sorted_rows.merge(0, 1_000_000, True, present, 0, 10**10, DigestTotals(PLACES), changes)
        return merged, sorted_rows.general_rows()

    merged, left = merge(None)
    assert merged is not None
    held = len(block.decode(merged))
    assert left == list(range(held, 90))
    present = block.encode(0, True, [(95, *record.encode(Resident(key=95, name="山" * 80)))])
    assert len(block.encode(0, True, block.decode(merged))) > 65_000
    merged, left = merge(present)
    assert merged is not None
    assert block.decode(merged)[-1] == block.decode(present)[0], "room was kept for who was there before"
    assert left == list(range(len(block.decode(merged)) - 1, 90))
    whole = bytearray(block.encode(0, True, [(7, *record.encode(Resident(key=7, name="山")))]))
    whole[30] ^= 1
    for damaged in (bytes(whole), bytes(whole[:100]), b""):
        with pytest.raises(StoreCorruptError):
            merge(damaged)


@settings(max_examples=40, deadline=None)
@given(st.lists(residents(areas=6, towns=10), max_size=30), st.integers(1, 40), st.integers(400, 100_000))
def test_statements_of_ranges_are_what_the_blocks_hold(
    tmp_path_factory: pytest.TempPathFactory, people: list[Resident], rows_max: int, bytes_max: int
) -> None:
    place = tmp_path_factory.mktemp("statements") / "r"
    table = build(place, people)
    wanted = [
        Notification(
            reason=r.reason, state=r.state, code=code_from_key(r.key), area=AREAS[r.area].jis,
            event_date=r.change_date, update_number=r.update_number, birth_date=r.birth_date, sex=r.sex, name=r.name,
            kana=r.kana, alias=r.alias,
            address=(TOWNS[r.town - 1].text if r.town else "") + r.address_rest,
            code_before=code_from_key(r.successor_key) if r.state == 5 and r.successor_key is not None else 0,
        )
        for r in sorted(table.values(), key=lambda resident: resident.key)
        if (r.state <= 4 or (r.state == 5 and r.successor_key is not None)) and AREAS[r.area].jis // 1000 == 13
    ]  # fmt: skip
    found: list[Notification] = []
    first = 0
    with RegisterReader(place) as reader, reader.pin() as snapshot:
        while first < 10**10:
            try:
                payload, rows, following = statements(snapshot, 13, first, 10**10, rows_max, bytes_max)
            except StoreError:
                assert bytes_max < 1_500, "only what is larger than the room is refused"
                return
            part = list(NotificationBatch.parse(payload, rows))
            assert payload == bytes(NotificationBatch.from_notifications(part).payload)
            assert len(part) <= rows_max
            assert len(payload) <= bytes_max
            found += part
            first = following
        with pytest.raises(ValueError, match="range"):
            statements(snapshot, 13, 5, 5, 1, 1_000)
    assert found == wanted


@pytest.mark.parametrize("rows", [500, 3_000])
def test_many_rows_make_many_blocks(tmp_path: Path, rows: int) -> None:
    drawn = random.Random(4)
    keys = sorted({drawn.randrange(10**10) for _ in range(3_000)})
    build(tmp_path / "r", [])
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        for start in range(0, len(keys), rows):
            part = keys[start : start + rows]
            stop = keys[start + rows] if start + rows < len(keys) else 10**10
            people = [person(key, name=f"山{key % 977}", birth_date=19500101 + key % 28) for key in part]
            applied = load(register, people, part[0], stop)
            assert applied.applied == len(part)
        assert register.holdings(13).count == len(keys)
    report = check_register(tmp_path / "r")
    assert (report.faults, report.residents) == ([], len(keys))
