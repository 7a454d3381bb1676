from __future__ import annotations

import random
import struct
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.index import VerifyBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader

from . import twins
from .stores import AREAS, TOWNS, build_store

Table = dict[int, Resident]
NAMES = [
    "髙橋　太郎",
    "高橋太郎",
    "佐藤　花子",
    "NGUYEN VAN ANH",
    "Nguyen Van Anh",
    "阮 文英",
    "邊\U000e0101",
    "辺",
    "",
]
RESTS = ["1-2-3", "一丁目2番3号", "1丁目2番地の3", "", "4番5号　グリーンハイツ203", "4-5グリーンハイツ２０３"]


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> tuple[RegisterReader, Table]:
    chooser = random.Random(7)
    people = []
    for number in range(300):
        state = chooser.choice([1, 1, 1, 2, 3, 4, 5, 6])
        person = state < 5
        people.append(
            Resident(
                key=number * 31_000_003,
                state=state,
                area=chooser.randrange(5),
                birth_date=chooser.choice([0, 19650220, 19650200]) if person else 0,
                sex=chooser.choice([0, 1, 2, 9]) if person else 0,
                town=chooser.randrange(len(TOWNS) + 1) if person else 0,
                name=chooser.choice(NAMES) if person else "",
                alias=chooser.choice(NAMES) if person else "",
                address_rest=chooser.choice(RESTS) if person else "",
            )
        )
    directory: Path = tmp_path_factory.mktemp("v") / "r"
    table = build_store(directory, people)
    return RegisterReader(directory), table


def texts(values: list[str]) -> tuple[array[int], bytes]:
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value.encode()))
    return array("I", offsets), "".join(values).encode()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_verification_equals_the_twin(register: tuple[RegisterReader, Table], data: st.DataObject) -> None:
    reader, table = register
    keys = data.draw(st.lists(st.one_of(st.sampled_from(sorted(table)), st.integers(0, 10**10 - 1)), max_size=80))
    codes = [key * 10 + twins.check_digit(key) for key in keys]
    if codes and data.draw(st.booleans()):
        codes[0] += 1
    items = sum(data.draw(st.sets(st.sampled_from([1, 8, 16, 32]), min_size=1)))
    claims: list[dict[str, object]] = []
    for _ in codes:
        town = data.draw(st.sampled_from(["", *(town.text for town in TOWNS)]))
        claims.append(
            {
                "name": data.draw(st.sampled_from(NAMES)),
                "birth_date": data.draw(st.sampled_from([0, 19650220, 19650200, 19650221])),
                "sex": data.draw(st.sampled_from([0, 1, 2, 9])),
                "address": town + data.draw(st.sampled_from(RESTS)),
            }
        )
    batch = VerifyBatch()
    batch.begin(
        array("Q", codes),
        items,
        names=texts([str(claim["name"]) for claim in claims]),
        birth_dates=array("I", [int(str(claim["birth_date"])) for claim in claims]),
        sexes=bytes([int(str(claim["sex"])) for claim in claims]),
        addresses=texts([str(claim["address"]) for claim in claims]),
    )
    with reader.pin() as snapshot:
        assert batch.matches == b""
        batch.run(snapshot, 0, len(codes) // 2)
        assert len(batch.matches) == len(codes) // 2
        batch.run(snapshot, len(codes) // 2, len(codes))
    outcomes, matches = [], []
    kept = {"name": 1, "birth_date": 8, "sex": 16, "address": 32}
    for code, claim in zip(codes, claims, strict=True):
        outcome, resident = twins.outcome_of(code, table, AREAS)
        asked = {name: value for name, value in claim.items() if items & kept[name]}
        outcomes.append(outcome)
        matches.append(twins.verify_matches(asked, resident, TOWNS) if resident and resident.has_person else 0)
    n = len(codes)
    pad = bytes(-n % 8)
    assert batch.outcomes == bytes(outcomes)
    assert batch.matches == bytes(matches)
    frame = batch.finish()
    assert frame[16:] == struct.pack("<IIQ", items, n, 1) + bytes(outcomes) + pad + bytes(matches) + pad


def test_columns_that_do_not_fit_are_refused() -> None:
    batch = VerifyBatch()
    codes = array("Q", [1, 2])
    for items in (0, 2, 4, 64, 128, 256):
        with pytest.raises(ValueError, match="can be verified"):
            batch.begin(codes, items)
    with pytest.raises(ValueError, match="length"):
        batch.begin(codes, 16, sexes=b"\1")
    with pytest.raises(ValueError, match="length"):
        batch.begin(codes, 1, names=(array("I", [0, 1]), b"a"))
    with pytest.raises(ValueError, match="decrease"):
        batch.begin(codes, 1, names=(array("I", [0, 2, 1]), b"abc"))
    with pytest.raises(ValueError, match="pass its end"):
        batch.begin(codes, 1, names=(array("I", [0, 1, 4]), b"abc"))
    with pytest.raises(TypeError):
        batch.begin(codes, 1)
