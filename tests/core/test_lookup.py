from __future__ import annotations

import random
from array import array
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.index import LookupBatch, StatusBatch
from jukinet.core.index.status import registered_day
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import MALFORMED_CODE

from . import twins
from .stores import AREAS, TOWNS, build_store

Table = dict[int, Resident]


@pytest.fixture(scope="module", params=[None, 10**7], ids=["wide", "narrow"])
def register(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[RegisterReader, Table]:
    directory: Path = tmp_path_factory.mktemp("store") / "register"
    chooser = random.Random(5)
    people = []
    for number in range(700):
        state = chooser.choice([1, 1, 1, 1, 2, 3, 4, 5, 6])
        person = state < 5
        people.append(
            Resident(
                key=chooser.randrange(10**10) if number % 3 else number * 17,
                state=state,
                reason=chooser.choice([0, 11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42]),
                sex=chooser.choice([0, 1, 2, 9]) if person else 0,
                area=chooser.randrange(len(AREAS)),
                change_date=chooser.choice([0, 20100000, 20100400, 20100401, 19891231]),
                registered_day=chooser.randrange(65536),
                birth_date=chooser.choice([0, 19650000, 19650220, 18680125, 20260930]) if person else 0,
                update_number=chooser.randrange(65536),
                town=chooser.randrange(len(TOWNS) + 1) if person else 0,
                successor_key=chooser.randrange(10**10) if state == 5 else None,
                name=chooser.choice(["佐藤　太郎", "NGUYEN VAN ANH", "邊󠄁", "あ" * 85, ""]) if person else "",
                kana=chooser.choice(["サトウ　タロウ", "ヴァン", "Latin", "カ" * 85, ""]) if person else "",
                alias=chooser.choice(["", "", "通称名", "別" * 85]) if person else "",
                address_rest=chooser.choice(["", "1-2-3", "一丁目2番3号　グリーンハイツ203", "x" * 255])
                if person
                else "",
            )
        )
    table = build_store(directory, people, expected_entries=request.param)
    return RegisterReader(directory), table


def run_lookup(reader: RegisterReader, codes: array[int], items: int, pieces: list[int]) -> bytearray:
    batch = LookupBatch()
    batch.begin(codes, items)
    with reader.pin() as snapshot:
        start = 0
        for stop in [*sorted(pieces), len(codes)]:
            batch.run(snapshot, start, stop)
            start = stop
    return batch.finish()


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_lookup_and_status_equal_their_twins(register: tuple[RegisterReader, Table], data: st.DataObject) -> None:
    reader, table = register
    existing = st.sampled_from(sorted(table)).map(lambda key: key * 10 + twins.check_digit(key))
    absent = st.integers(0, 10**10 - 1).map(lambda key: key * 10 + twins.check_digit(key))
    anything = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 10**11), st.just(MALFORMED_CODE))
    codes = data.draw(st.lists(st.one_of(existing, existing, absent, anything), max_size=200))
    items = data.draw(st.integers(0, 255))
    pieces = data.draw(st.lists(st.integers(0, len(codes)), max_size=3))
    frame = run_lookup(reader, array("Q", codes), items, pieces)
    assert frame[:16] == bytes(16)
    assert frame[16:] == twins.lookup_answer(codes, items, 1, table, AREAS, TOWNS)
    since = data.draw(st.sampled_from([19991231, 20000101, 20260401, 20500101, 21790606]))
    status = StatusBatch()
    status.begin(array("Q", codes), since)
    with reader.pin() as snapshot:
        status.run(snapshot, 0, len(codes))
    outcomes = status.outcomes
    answer = status.finish()
    expected = twins.status_answer(codes, since, registered_day(since), 1, table, AREAS)
    assert answer[16:] == expected
    assert outcomes == expected[16 : 16 + len(codes)]


def test_every_resident_in_one_large_batch(register: tuple[RegisterReader, Table]) -> None:
    reader, table = register
    codes = [key * 10 + twins.check_digit(key) for key in table] * 20
    random.Random(3).shuffle(codes)
    frame = run_lookup(reader, array("Q", codes), 255, [])
    assert frame[16:] == twins.lookup_answer(codes, 255, 1, table, AREAS, TOWNS)


def asked_in_parts(batch: LookupBatch, reader: RegisterReader, codes: array[int], items: int) -> list[bytes]:
    """The parts of an answer; the first may be written, the others not."""
    batch.begin(codes, items)
    with reader.pin() as snapshot:
        batch.run(snapshot, 0, len(codes))
    parts = batch.finish_in_parts()
    assert isinstance(parts[0], bytearray)
    assert all(isinstance(part, memoryview) and part.readonly for part in parts[1:])
    return parts  # type: ignore[return-value]


@pytest.mark.parametrize("items", [1, 2, 4, 8, 16, 32, 64, 128, 255])
@pytest.mark.parametrize("count", [20_000, 20_003, 19_999])
def test_parts_are_the_answer(register: tuple[RegisterReader, Table], items: int, count: int) -> None:
    reader, table = register
    known = [key * 10 + twins.check_digit(key) for key in table]
    codes = array("Q", (known * 40)[:count])
    batch = LookupBatch()
    asked_in_parts(batch, reader, codes, 255)  # leaves memory behind, which must not shine through
    assert b"".join(asked_in_parts(batch, reader, codes, items)) == run_lookup(reader, codes, items, [])


def test_answers_in_parts_do_not_share_memory(register: tuple[RegisterReader, Table]) -> None:
    """Each part outlives its batch and later answers, in whatever order parts are dropped."""
    reader, table = register
    known = [key * 10 + twins.check_digit(key) for key in table] * 5
    chooser = random.Random(9)
    batch = LookupBatch()
    kept = []
    for round_number in range(40):
        codes = array("Q", chooser.choices(known, k=chooser.choice([50, 3_000, 20_000])))
        kept.append((asked_in_parts(batch, reader, codes, 255), run_lookup(reader, codes, 255, [])))
        if round_number % 3 == 2:
            parts, whole = kept.pop(chooser.randrange(len(kept)))
            assert b"".join(parts) == whole
    del batch
    for parts, whole in kept:
        assert b"".join(parts) == whole


def test_finished_batch_must_begin_again(register: tuple[RegisterReader, Table]) -> None:
    reader, table = register
    batch = LookupBatch()
    parts = asked_in_parts(batch, reader, array("Q", [key * 10 + twins.check_digit(key) for key in table] * 100), 255)
    assert len(parts) > 1
    assert (batch.count, batch.done, batch.outcomes) == (0, 0, b"")
    with reader.pin() as snapshot, pytest.raises(ValueError, match="ascending"):
        batch.run(snapshot, 0, 1)


def test_short_answer_does_not_keep_the_memory_of_a_long_one(register: tuple[RegisterReader, Table]) -> None:
    reader, table = register
    known = [key * 10 + twins.check_digit(key) for key in table] * 60
    batch = LookupBatch()
    batch.begin(array("Q", known), 255)
    with reader.pin() as snapshot:
        batch.run(snapshot, 0, len(known))
    batch.finish()
    assert len(asked_in_parts(batch, reader, array("Q", known[:5_000]), 255)) == 1


def test_codes_need_no_alignment(register: tuple[RegisterReader, Table]) -> None:
    reader, table = register
    codes = array("Q", [key * 10 + twins.check_digit(key) for key in list(table)[:50]])
    shifted = memoryview(b"xyz" + codes.tobytes())[3:]
    batch = LookupBatch()
    batch.begin(shifted, 255)
    with reader.pin() as snapshot:
        batch.run(snapshot, 0, 50)
    assert batch.finish() == run_lookup(reader, codes, 255, [])


def test_misuse_is_refused(register: tuple[RegisterReader, Table]) -> None:
    reader, _ = register
    batch = LookupBatch()
    with pytest.raises(ValueError, match="8 bytes"):
        batch.begin(b"123", 1)
    with pytest.raises(ValueError, match="mask"):
        batch.begin(bytes(8), 256)
    batch.begin(bytes(80), 1)
    with pytest.raises(ValueError, match="8 bytes"):
        batch.begin(bytes(9), 1)
    with reader.pin() as snapshot, pytest.raises(ValueError, match="ascending"):
        batch.run(snapshot, 0, 10)  # rows of the batch before, of which nothing is held any more
    batch.begin(bytes(16), 1)
    with pytest.raises(ValueError, match="not run"):
        batch.finish()
    with reader.pin() as snapshot:
        with pytest.raises(ValueError, match="ascending"):
            batch.run(snapshot, 1, 2)
        with pytest.raises(ValueError, match="ascending"):
            batch.run(snapshot, 0, 3)
    status = StatusBatch()
    for since in (0, 20260000, 20260231, 99999999):
        with pytest.raises(ValueError, match=r"."):
            status.begin(bytes(8), since)
