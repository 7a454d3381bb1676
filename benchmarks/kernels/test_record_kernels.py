"""Codec kernels: records, blocks, kana, checksums and codes."""

from __future__ import annotations

from typing import Any

from jukinet.core import checksum
from jukinet.core.codes import format_code, parse_codes
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import Item
from jukinet.core.wire.answers import parse_lookup_answer
from jukinet.core.wire.frames import HEADER_BYTES

BLOCK_ENTRIES = 64


def test_record_encode(benchmark: Any, people: dict[int, Resident]) -> None:
    somebody = next(iter(people.values()))
    status, data = benchmark(record.encode, somebody)
    assert record.decode(somebody.key, status, data) == somebody


def test_record_decode(benchmark: Any, people: dict[int, Resident]) -> None:
    somebody = next(iter(people.values()))
    assert benchmark(record.decode, somebody.key, *record.encode(somebody)) == somebody


def entries(people: dict[int, Resident]) -> list[tuple[int, int, bytes]]:
    some = list(people.values())[:BLOCK_ENTRIES]
    return [(place * 1_000, *record.encode(person)) for place, person in enumerate(some)]


def test_block_encode(benchmark: Any, people: dict[int, Resident]) -> None:
    wanted = entries(people)
    assert block.decode(benchmark(block.encode, 3, True, wanted)) == wanted


def test_block_search(benchmark: Any, people: dict[int, Resident]) -> None:
    """One entry of a block of 64, through the Python edge of the kernel."""
    wanted = entries(people)
    packed = block.encode(3, True, wanted)
    assert benchmark(block.find, packed, wanted[40][0]) == wanted[40][1:]


def test_crc_of_a_block(benchmark: Any) -> None:
    data = bytes(range(256)) * 16
    assert benchmark(checksum.crc32c, data) == checksum.crc32c_portable(data)


def test_kana_unpacking(benchmark: Any, snapshot: Snapshot, codes: memoryview, people: dict[int, Resident]) -> None:
    """4,096 readings: search, unpack from one byte a kana to UTF-8, lay out."""
    batch = LookupBatch()

    def readings() -> bytearray:
        batch.begin(codes, int(Item.KANA))
        batch.run(snapshot, 0, len(codes))
        return batch.finish()

    answer = parse_lookup_answer(1, int(Item.KANA), len(codes), benchmark(readings)[HEADER_BYTES:])
    assert answer.kana is not None
    assert answer.kana.to_list() == [people[code // 10].kana for code in codes]


def test_parse_codes(benchmark: Any, codes: memoryview) -> None:
    texts = list(map(format_code, codes))
    assert benchmark(parse_codes, texts).tolist() == list(codes)
