"""A small register and its parts for the kernels' benchmarks: residents with believable lengths of text."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from itertools import groupby

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block
from jukinet.core.store.builder import Area, RegisterBuilder, Town
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot

RESIDENTS = 20_000
SURNAMES = (("佐藤", "サトウ"), ("長谷川", "ハセガワ"), ("髙橋", "タカハシ"), ("渡邉", "ワタナベ"), ("森", "モリ"))
GIVEN = (("太郎", "タロウ"), ("美咲", "ミサキ"), ("翔", "ショウ"), ("貴美子", "キミコ"))
AREAS = [
    Area(13101, "東京都千代田区", "トウキョウトチヨダク", True),
    Area(27127, "大阪府大阪市北区", "オオサカシキタク", True),
]
TOWNS = [
    Town(number % 2, f"{AREAS[number % 2].name}丸の内{'一二三四五六七八九'[number % 9]}") for number in range(1_000)
]


def resident(key: int, chooser: random.Random) -> Resident:
    surname, given = chooser.choice(SURNAMES), chooser.choice(GIVEN)
    return Resident(
        key=key,
        reason=11,
        sex=chooser.choice((1, 2)),
        area=chooser.randrange(2),
        change_date=20100401,
        registered_day=chooser.randrange(3_000, 9_700),
        birth_date=chooser.randrange(1930, 2020) * 10_000 + 220,
        update_number=1,
        town=chooser.randrange(1, 1_001),
        name=f"{surname[0]}\u3000{given[0]}",
        kana=f"{surname[1]}\u3000{given[1]}",
        address_rest=f"{chooser.randrange(1, 30)}番{chooser.randrange(1, 20)}号",
    )


@pytest.fixture(scope="session")
def people() -> dict[int, Resident]:
    """Residents by key, ascending."""
    chooser = random.Random(7)
    return {key: resident(key, chooser) for key in sorted(chooser.sample(range(10**10), RESIDENTS))}


@pytest.fixture(scope="session")
def snapshot(people: dict[int, Resident], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    directory = tmp_path_factory.mktemp("kernels") / "register"
    with RegisterBuilder(
        directory, expected_entries=RESIDENTS, areas=AREAS, towns=TOWNS, origin={"kind": "kernels"}
    ) as builder:
        width, wide = builder.width, builder.wide
        for bucket, keys in groupby(people, key=lambda key: key // width):
            entries = [(key - bucket * width, *record.encode(people[key])) for key in keys]
            builder.append([(bucket, block.encode(bucket, wide, entries))])
        builder.finish(entries=len(people), residents=len(people))
    with RegisterReader(directory) as reader, reader.pin() as pinned:
        yield pinned


@pytest.fixture(scope="session")
def codes(people: dict[int, Resident]) -> memoryview:
    """4,096 codes of residents in random order."""
    chosen = random.Random(8).sample(sorted(people), 4_096)
    return memoryview(array("Q", map(code_from_key, chosen)))
