"""Questions to the index of built registers, against the twin."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.identity import entries, probe
from jukinet.core.identity.block import decode
from jukinet.core.identity.bulk import EntryGather
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.identity.layout import plan_layout
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader

from ..core.stores import build_store
from ..core.strategies import residents
from . import identity_twin as twin

SURNAMES = [("佐藤", "サトウ"), ("渡邉", "ワタナベ"), ("髙橋", "タカハシ"), ("鈴木", "スズキ")]
GIVEN = [("花子", "ハナコ"), ("太郎", "タロウ"), ("一", "ハジメ"), ("翔", "ショウ"), ("ひかり", "ヒカリ")]


def people(count: int, seed: int, days: int = 400) -> list[Resident]:
    """Persons with few names and few birth dates, so that lists are long."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        (surname, surname_kana), (given_name, given_kana) = draw.choice(SURNAMES), draw.choice(GIVEN)
        day = draw.randrange(days)
        made.append(
            Resident(
                key=draw.randrange(10**10),
                birth_date=draw.choice([19600000 + (1 + day % 12) * 100 + 1 + day // 12 % 28, 19610000, 0, 20260101]),
                name=f"{surname}　{given_name}",
                kana=f"{surname_kana}　{given_kana}",
                alias=draw.choice(["", "", "", "山田　花子"]),
            )
        )
    return made


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RegisterReader, twin.Twin, list[Resident]]]:
    place = tmp_path_factory.mktemp("crowd") / "r"
    made = build_store(place, people(20_000, 1), expected_entries=20_000)
    assert check_register(place).faults == []
    with RegisterReader(place) as reader:
        yield reader, twin.Twin(reader.layout, made.values()), list(made.values())


Crowd = tuple[RegisterReader, twin.Twin, list[Resident]]


def test_equal_names_and_dates_are_found(crowd: Crowd) -> None:
    reader, model, made = crowd
    with reader.pin() as snapshot:
        for person in made[::97]:
            name, kana = entries.folded_texts(person.name.encode(), person.kana.encode())
            for table, text in ((1, kana), (2, name)):
                wanted = model.equal(table, text, person.birth_date)
                date = twin.packed(person.birth_date)
                assert person.key in wanted
                assert probe.equal(snapshot, table, entries.hash_of(text), date, 20_000) == (wanted, False)
                assert probe.equal(snapshot, table, entries.hash_of(text), date, 1) == (wanted[:1], len(wanted) > 1)
                assert probe.equal(snapshot, table, entries.hash_of(text), date, 0) == ([], True)


@pytest.mark.usefixtures("_form")
def test_whole_lists_and_their_lengths(crowd: Crowd) -> None:
    reader, model, made = crowd
    with reader.pin() as snapshot:
        for name, kana in {entries.folded_texts(p.name.encode(), p.kana.encode()) for p in made}:
            for table, text in ((1, kana), (2, name)):
                wanted = [(key, entries.date_of_code(date)) for key, date in model.listed(table, text)]
                hashed = entries.hash_of(text)
                assert probe.listed(snapshot, table, hashed, room=20_000) == (wanted, False)
                assert probe.length(snapshot, table, hashed) == len(wanted)
                assert probe.listed(snapshot, table, hashed, room=5) == (wanted[:5], True)
        nobody = entries.hash_of("ダレモイナイ".encode())
        assert probe.length(snapshot, 1, nobody) == len(model.listed(1, "ダレモイナイ".encode()))


@pytest.fixture(params=range(3))
def _form(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each form of the scans; one that this processor has not is the best that it has."""
    probe.choose_form(min(request.param, probe.SCAN_FORMS - 1))
    yield
    probe.choose_form(probe.SCAN_FORMS - 1)


def test_forms_that_the_processor_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="forms"):
        probe.choose_form(probe.SCAN_FORMS)


@pytest.mark.usefixtures("_form")
@pytest.mark.parametrize("mask", [0x3FFFF, 0x3FFE0, 0x3FE00, 0x1FF, 0x1F, 0])
def test_filters_keep_near_dates(crowd: Crowd, mask: int) -> None:
    reader, model, made = crowd
    draw = random.Random(mask)
    with reader.pin() as snapshot:
        for person in draw.sample(made, 20):
            kana = entries.folded_texts(b"", person.kana.encode())[1]
            chosen = [(twin.code(person.birth_date), mask), (twin.code(20260101), 0x3FFFF)]
            wanted = [
                (key, entries.date_of_code(date))
                for key, date in model.listed(1, kana)
                if any((date ^ value) & bits == 0 for value, bits in chosen)
            ]
            assert probe.listed(snapshot, 1, entries.hash_of(kana), chosen, 20_000) == (wanted, False)


@pytest.mark.usefixtures("_form")
@pytest.mark.parametrize(
    ("care", "differ_max"), [(0x3FFFFFFF, 0), (0x3FFFF, 3), (0x3FFC0000, 2), (0, 0), (0x3FFFFFFF, 30)]
)
def test_scans_of_a_birth_date(crowd: Crowd, care: int, differ_max: int) -> None:
    reader, model, made = crowd
    with reader.pin() as snapshot:
        for person in made[::997]:
            name, kana = entries.folded_texts(person.name.encode(), person.kana.encode())
            wanted_signature = entries.signature_of(kana, name)
            wanted = model.scan(person.birth_date, wanted_signature, care, differ_max)
            date = twin.packed(person.birth_date)
            assert probe.scan(snapshot, date, wanted_signature, care, differ_max, 20_000) == (wanted, False)
            assert person.key in [key for key, _ in wanted]
            few = probe.scan(snapshot, date, wanted_signature, care, differ_max, 3)
            assert few == (wanted[:3], len(wanted) > 3)


def test_the_beginning_of_a_name_finds_it(crowd: Crowd) -> None:
    reader, _, made = crowd
    with reader.pin() as snapshot:
        for person in made[::997]:
            beginning = entries.signature_of(entries.folded_texts(b"", person.kana[:3].encode())[1], b"")
            found, _ = probe.scan(snapshot, twin.packed(person.birth_date), beginning, beginning, 0, 20_000)
            assert person.key in [key for key, _ in found]


def test_batches_are_the_single_questions(crowd: Crowd) -> None:
    reader, _, made = crowd
    asked = [*made[:1_000], Resident(key=1, name="誰", kana="ダレ")]
    hashes = array("Q", [entries.hash_of(entries.folded_texts(b"", p.kana.encode())[1]) for p in asked])
    dates = array("I", [twin.packed(p.birth_date) for p in asked])
    keys = memoryview(bytearray(8 * 4 * len(asked))).cast("Q", (len(asked), 4))  # type: ignore[call-overload]
    found = array("I", [0] * len(asked))
    with reader.pin() as snapshot:
        probe.equal_batch(snapshot, 1, hashes, dates, keys, found)
        for row, person in enumerate(asked):
            wanted, more = probe.equal(snapshot, 1, hashes[row], twin.packed(person.birth_date), 4)
            assert found[row] == len(wanted) + more
            assert [keys[row, at] for at in range(len(wanted))] == wanted
        with pytest.raises(ValueError, match="one row each"):
            probe.equal_batch(snapshot, 1, hashes, dates[:5], keys, found)
        with pytest.raises(ValueError, match="table"):
            probe.equal(snapshot, 3, 0, 0)
        with pytest.raises(ValueError, match="filters"):
            probe.listed(snapshot, 1, 0, [(0, 0)] * 17)


def test_an_ended_snapshot_answers_nothing(tmp_path: Path) -> None:
    build_store(tmp_path / "r", people(10, 3))
    with RegisterReader(tmp_path / "r") as reader:
        snapshot = reader.pin()
        snapshot.release()
        assert probe.length(snapshot, 1, 0) == 0
    with pytest.raises(ValueError, match="ended"):
        probe.length(snapshot, 1, 0)
    with pytest.raises(ValueError, match="ended"):
        probe.scan(snapshot, 0, 0, 0, 0)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(residents(areas=5, towns=9), max_size=30), st.sampled_from([None, 1_000_000]))
def test_any_register_has_the_twins_index(
    tmp_path_factory: pytest.TempPathFactory, made: list[Resident], expected: int | None
) -> None:
    place = tmp_path_factory.mktemp("any") / "r"
    table = build_store(place, made, expected_entries=expected)
    assert [fault for fault in check_register(place).faults if "successor" not in fault] == []
    with RegisterReader(place) as reader, reader.pin() as snapshot:
        model = twin.Twin(reader.layout, table.values())
        for (number, bucket), wanted in model.buckets.items():
            database = reader.databases[("by_kana", "by_name", "by_date")[number - 1]]
            assert snapshot.transaction is not None
            value = snapshot.transaction.get(bucket.to_bytes(8, "little"), None, database)
            assert value is not None
            assert decode(value, number, bucket) == sorted(wanted)


def resident_blocks(made: Iterable[Resident], width: int) -> Iterator[bytes]:
    for person in made:
        yield block.encode(person.key // width, False, [(person.key % width, *record.encode(person))])


def test_gathering_goes_through_its_file(tmp_path: Path) -> None:
    """Two threads' piles of several parts, more than memory holds, come out as the twin's tables."""
    plan = plan_layout(1_200_000)
    layout = EntryLayout(plan)
    gather = EntryGather(layout, tmp_path, 1_200_000)
    assert gather.parts == 3
    assert list(tmp_path.iterdir()) == []
    made = people(30_000, 5)
    piles = [gather.piles_for_thread(), gather.piles_for_thread()]
    for number, value in enumerate(resident_blocks([*made, *made[:100]], 50_000)):
        piles[number % 2].add_block(50_000, value)
    model = twin.Twin(plan, made)
    found = {
        (table, bucket): decode(value, table, bucket)
        for table in (1, 2, 3)
        for part in range(gather.parts)
        for bucket, value in gather.blocks_of_part(table, part)
    }
    assert found == {place: sorted(wanted) for place, wanted in model.buckets.items()}
    gather.close()
    with pytest.raises(ValueError, match="no such part"):
        gather.blocks_of_part(1, 3)
