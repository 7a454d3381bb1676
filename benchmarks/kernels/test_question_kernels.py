"""Kernels of the three questions on 4,096 codes."""

from __future__ import annotations

from typing import Any

from jukinet.core.index.lookup import LookupBatch
from jukinet.core.index.status import StatusBatch
from jukinet.core.index.verify import VerifyBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import ALL_ITEMS, Item, Outcome
from jukinet.core.wire.columns import TextColumn


def test_lookup_full_records(benchmark: Any, snapshot: Snapshot, codes: memoryview) -> None:
    batch = LookupBatch()

    def look_up() -> bytes:
        batch.begin(codes, int(ALL_ITEMS))
        batch.run(snapshot, 0, len(codes))
        outcomes = batch.outcomes
        batch.finish()
        return outcomes

    assert benchmark(look_up) == bytes([Outcome.CURRENT]) * len(codes)


def test_lookup_of_one(benchmark: Any, snapshot: Snapshot, codes: memoryview) -> None:
    batch, one = LookupBatch(), codes[:1]

    def look_up() -> bytearray:
        batch.begin(one, int(ALL_ITEMS))
        batch.run(snapshot, 0, 1)
        return batch.finish()

    assert benchmark(look_up)[32] == Outcome.CURRENT


def test_status(benchmark: Any, snapshot: Snapshot, codes: memoryview) -> None:
    batch = StatusBatch()

    def ask() -> bytes:
        batch.begin(codes, 20150401)
        batch.run(snapshot, 0, len(codes))
        outcomes = batch.outcomes
        batch.finish()
        return outcomes

    assert set(benchmark(ask)) == {Outcome.CURRENT, Outcome.CHANGED}


def test_verify_names(benchmark: Any, snapshot: Snapshot, codes: memoryview, people: dict[int, Resident]) -> None:
    """Half of the names in another spelling, so that folding has work to do."""
    batch = VerifyBatch()
    names = [people[code // 10].name for code in codes]
    names[::2] = [name.replace("\u3000", " ") for name in names[::2]]
    column = TextColumn.from_texts(names)

    def ask() -> bytearray:
        batch.begin(codes, int(Item.NAME), names=(column.offsets, column.data))
        batch.run(snapshot, 0, len(codes))
        return batch.finish()

    matches = benchmark(ask)[32 + len(codes) :]
    assert set(matches[: len(codes)]) == {2, 3}
