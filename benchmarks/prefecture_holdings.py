"""The holdings of every prefecture, taken out of a nation's register in one pass. Memory grows with the nation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from jukinet.core.store import block, schema
from jukinet.core.store.builder import RegisterBuilder
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import State

Entries = list[tuple[int, int, bytes]]


def split(nation: Path, places: dict[int, Path]) -> None:
    """Build a register for each prefecture (1 to 47) in its place: the entries of its areas, as the nation has them."""
    with RegisterReader(nation) as reader, reader.pin() as snapshot:
        assert snapshot.transaction is not None
        of_area = [area.jis // 1_000 for area in reader.areas]
        towns = reader._read_towns(snapshot.transaction, reader.meta)
        held: dict[int, Entries] = defaultdict(list)
        with snapshot.transaction.cursor(db=reader.databases["residents"]) as cursor:
            for name, value in cursor.iternext():
                first = schema.NUMBER.unpack(name)[0] * reader.meta.width
                for delta, status, data in block.decode(value):
                    held[of_area[status >> 10 & 4_095]].append((first + delta, status, data))
        for prefecture, directory in places.items():
            entries = held.pop(prefecture, [])
            with RegisterBuilder(
                directory,
                expected_entries=max(1, len(entries)),
                areas=reader.areas,
                towns=towns,
                origin={**reader.meta.origin, "prefecture": prefecture},
            ) as builder:
                builder.append(_blocks(entries, builder.width, builder.wide))
                persons = sum(status & 15 < State.RETIRED for _, status, _ in entries)
                builder.finish(entries=len(entries), residents=persons)


def _blocks(entries: Entries, width: int, wide: bool) -> Iterator[tuple[int, bytes]]:
    for bucket, group in groupby(entries, key=lambda entry: entry[0] // width):
        yield bucket, block.encode(bucket, wide, [(key - bucket * width, status, data) for key, status, data in group])
