"""Small registers built from plain residents, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block
from jukinet.core.store.builder import Area, RegisterBuilder, Town

AREAS = [
    Area(13101, "東京都千代田区", "トウキョウトチヨダク", True),
    Area(13215, "東京都国立市", "トウキョウトクニタチシ", False),
    Area(1100, "北海道札幌市", "ホッカイドウサッポロシ", True),
    Area(27127, "大阪府大阪市北区", "オオサカフオオサカシキタク", True),
    Area(47201, "沖縄県那覇市", "オキナワケンナハシ", True),
]
TOWNS = [
    Town(0, "東京都千代田区丸の内"),
    Town(1, "東京都国立市東"),
    Town(2, "北海道札幌市"),
    Town(3, "大阪府大阪市北区梅田"),
    Town(4, "沖縄県那覇市泉崎"),
    Town(0, "東京都千代田区神田神保町"),
    Town(0, ""),
    Town(3, "大阪府大阪市北区" + "長" * 60),
    Town(4, "沖縄県那覇市首里"),
]


def build_store(
    directory: Path,
    residents: Iterable[Resident],
    *,
    expected_entries: int | None = None,
    areas: list[Area] = AREAS,
    towns: list[Town] = TOWNS,
) -> dict[int, Resident]:
    """Build a register of ``residents`` (last of equal keys wins) and return them by key."""
    table = {resident.key: resident for resident in residents}
    expected = expected_entries if expected_entries is not None else max(1, len(table))
    with RegisterBuilder(
        directory, expected_entries=expected, areas=areas, towns=towns, origin={"kind": "test"}
    ) as builder:
        width, wide = builder.width, builder.wide

        def blocks() -> Iterable[tuple[int, bytes]]:
            for bucket, group in groupby(sorted(table), key=lambda key: key // width):
                entries = [(key - bucket * width, *record.encode(table[key])) for key in group]
                yield bucket, block.encode(bucket, wide, entries)

        builder.append(blocks())
        builder.finish(entries=len(table), residents=sum(r.has_person for r in table.values()))
    return table
