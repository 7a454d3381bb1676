from __future__ import annotations

import hashlib
import itertools
import random
import re
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.errors import RecordFormatError, StoreCorruptError
from jukinet.core.feed import digest_kernel, holdings
from jukinet.core.feed.digest_kernel import DigestTotals
from jukinet.core.feed.holdings import Digest, HoldingsDelta, HoldingsReader
from jukinet.core.feed.range_survey import add_buckets
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block, schema
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import PlaceTables

from ..core.stores import AREAS, TOWNS, build_store
from ..core.strategies import residents
from . import digest_twin as twin

PLACES = PlaceTables(AREAS, TOWNS)
PREFECTURES = sorted({area.jis // 1000 for area in AREAS})


def expected(people: Iterable[Resident]) -> Digest:
    return Digest(*twin.digest(people, AREAS, TOWNS))


def held(people: Iterable[Resident], prefecture: int, first: int = 0, stop: int = 10**10) -> list[Resident]:
    return [r for r in people if first <= r.key < stop and twin.held_by(r, prefecture, AREAS)]


@pytest.mark.parametrize("length", [0, 1, 63, 64, 127, 128, 129, 255, 256, 257, 384, 1919])
def test_blake2b_is_the_standard_librarys(length: int) -> None:
    message = bytes(i * 7 % 256 for i in range(length))
    assert digest_kernel.blake2b_16(message) == hashlib.blake2b(message, digest_size=16).digest()


@given(st.lists(st.binary(max_size=400), min_size=8, max_size=8), st.integers(0, 2))
def test_eight_messages_at_once_hash_like_one_by_one(messages: list[bytes], path: int) -> None:
    wanted = [hashlib.blake2b(message, digest_size=16).digest() for message in messages]
    assert digest_kernel.blake2b_16_of_eight(messages, min(path, digest_kernel.PATHS - 1)) == wanted


def test_eight_messages_of_all_lengths_by_every_path() -> None:
    shuffled = random.Random(3)
    for path, start in itertools.product(range(digest_kernel.PATHS), range(0, 1920, 97)):
        messages = [shuffled.randbytes(shuffled.choice([start, start // 2, 128, 0])) for _ in range(8)]
        wanted = [hashlib.blake2b(message, digest_size=16).digest() for message in messages]
        assert digest_kernel.blake2b_16_of_eight(messages, path) == wanted
    with pytest.raises(ValueError, match="eight messages"):
        digest_kernel.blake2b_16_of_eight([b""] * 8, digest_kernel.PATHS)


@given(residents())
def test_the_canonical_bytes_are_the_documents(resident: Resident) -> None:
    assert digest_kernel.entry_bytes(PLACES, resident.key, *record.encode(resident)) == twin.entry_bytes(
        resident, AREAS, TOWNS
    )


def test_the_documents_example_is_what_is_hashed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    block = text.split("Holdings of two entries")[1].split("```")[1]
    told = [re.sub(r"\s", "", found) for found in re.findall(r"^(?:bytes|hash) ([0-9a-f\s]+)$", block, re.MULTILINE)]
    change = {"reason": 41, "area": 0, "change_date": 20240401, "update_number": 9}
    pair = [
        Resident(
            key=2472705960, state=1, sex=2, birth_date=19650220, name="髙橋 𠮷子", kana="タカハシ ヨシコ", town=1,
            address_rest="1丁目1-1", **change,
        ),
        Resident(key=1234567890, state=5, successor_key=2472705960, **change),
    ]  # fmt: skip
    packed = [digest_kernel.entry_bytes(PLACES, each.key, *record.encode(each)) for each in pair]
    assert told == [part for data in packed for part in (data.hex(), digest_kernel.blake2b_16(data).hex())]
    found = expected(pair)
    assert f"digest     {found.count} entries, sum {found.sum.hex()}" in block


def test_the_longest_entry_fits_the_kernels_room() -> None:
    long = Resident(
        key=10**10 - 1, area=3, town=8, name="字" * 85, kana="ア" * 255, alias="名" * 85, address_rest="号" * 85
    )
    # A reading of 255 packed kana is 765 bytes: such a record cannot be made by the codec from one text of 255 bytes.
    status, packed = record.encode(
        Resident(**{**{n: getattr(long, n) for n in long.__struct_fields__}, "kana": "ア" * 85})
    )
    unpacked = digest_kernel.entry_bytes(PLACES, long.key, status, packed)
    assert unpacked.endswith(("号" * 85).encode())
    lengthened = packed[: 8 + 1] + packed[9:]
    place = lengthened.index(bytes([255, 85, 255])) + 1
    longest = bytearray(lengthened)
    longest[place] = 255
    kana = longest.index(bytes([0x21] * 85))
    longest[kana:kana] = bytes([0x21] * 170)
    assert digest_kernel.entry_bytes(PLACES, long.key, status, bytes(longest)) == twin.entry_bytes(long, AREAS, TOWNS)


def packed_page(people: Sequence[Resident], prefecture: int, page: int) -> bytes:
    first = page * 64
    leaves = [
        expected(r for r in people if r.key // twin.LEAF_KEYS == leaf and twin.held_by(r, prefecture, AREAS))
        for leaf in range(first, first + 64)
    ]
    return b"".join(leaf.packed for leaf in leaves)


def distinct(people: Iterable[Resident]) -> list[Resident]:
    return list({r.key: r for r in people}.values())


@settings(max_examples=40)
@given(st.lists(residents(), max_size=30).map(distinct), st.randoms())
def test_sums_do_not_depend_on_the_order_and_equal_the_twins(people: list[Resident], shuffled: random.Random) -> None:
    sums = []
    for _ in range(2):
        totals = DigestTotals(PLACES)
        for resident in people:
            totals.change(resident.key, None, record.encode(resident))
        sums.append([totals.page(p, page) for p, page in totals.touched_pages()])
        for prefecture in PREFECTURES:
            assert Digest(*holdings.SUM.unpack(totals.prefecture(prefecture))) == expected(held(people, prefecture))
        for number in range(len(AREAS)):
            assert totals.area(number) == expected(r for r in people if r.area == number).packed
        for prefecture, page in totals.touched_pages():
            assert totals.page(prefecture, page) == packed_page(people, prefecture, page)
        shuffled.shuffle(people)
    assert sums[0] == sums[1]


def test_parts_summed_apart_join_to_the_whole() -> None:
    people = [Resident(key=i * 1_234_567, area=i % 5, name=f"人{i}", town=i % 9) for i in range(500)]
    whole, *parts = (DigestTotals(PLACES) for _ in range(4))
    for number, resident in enumerate(people):
        whole.change(resident.key, None, record.encode(resident))
        parts[number % 3].change(resident.key, None, record.encode(resident))
    parts[0].join(parts[1])
    parts[0].join(parts[2])
    assert parts[0].touched_pages() == whole.touched_pages()
    assert parts[0].touched_areas() == whole.touched_areas()
    assert all(parts[0].page(*page) == whole.page(*page) for page in whole.touched_pages())
    assert all(parts[0].area(area) == whole.area(area) for area in range(5))


def test_damaged_records_are_refused_and_change_nothing() -> None:
    totals = DigestTotals(PLACES)
    status, data = record.encode(Resident(key=7, name="山田"))
    with pytest.raises(RecordFormatError):
        totals.change(7, (status, data), (status, data[:-1]))
    with pytest.raises(RecordFormatError):
        totals.change(10**10, None, (status, data))
    with pytest.raises(StoreCorruptError):
        totals.add_block(100, b"\0" * 100)
    with pytest.raises(ValueError, match="ends of blocks"):
        totals.add_blocks(100, bytes(4096), array("Q", [4096, 2048]))
    assert totals.touched_pages() == []
    assert totals.prefecture(13) == bytes(24)
    broken = block.encode(0, False, [(7, status, data[:-1])])
    with pytest.raises(StoreCorruptError):
        totals.add_block(100, broken)


class Kept:
    """An environment with the two databases of digests."""

    def __init__(self, directory: Path) -> None:
        self.environment = lmdb.open(str(directory), map_size=1 << 26, max_dbs=4)
        self.databases = {
            name: self.environment.open_db(name.encode(), integerkey=True) for name in ("holdings", "digests")
        }

    def write(self, changes: Iterable[tuple[Resident | None, Resident | None]]) -> None:
        delta = HoldingsDelta(PLACES)
        with self.environment.begin(write=True) as transaction:
            for before, after in changes:
                delta.change(before, after)
            delta.write(transaction, self.databases)

    def dump(self) -> list[list[tuple[bytes, bytes]]]:
        with self.environment.begin() as transaction:
            return [list(transaction.cursor(db=database)) for database in self.databases.values()]


@pytest.fixture(scope="module")
def nothing_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Kept]:
    kept = Kept(tmp_path_factory.mktemp("digests"))
    yield kept
    kept.environment.close()


KEYS = [0, 1, twin.LEAF_KEYS - 1, twin.LEAF_KEYS, 64 * twin.LEAF_KEYS, 10**10 - 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(*[residents(key=key) for key in KEYS]), max_size=8), max_size=5), st.booleans())
def test_what_changes_write_is_what_the_holdings_give_from_scratch(
    nothing_kept: Kept, transactions: list[list[Resident]], emptied: bool
) -> None:
    kept, table = nothing_kept, dict[int, Resident]()
    for transaction in transactions:
        changes: list[tuple[Resident | None, Resident | None]] = []
        for resident in transaction:
            changes.append((table.get(resident.key), resident))
            table[resident.key] = resident
        kept.write(changes)
    incremental = kept.dump()
    with kept.environment.begin(buffers=True) as reading:
        reader = HoldingsReader(reading, kept.databases, PLACES)
        for prefecture in PREFECTURES:
            assert reader.prefecture(prefecture) == expected(held(table.values(), prefecture))
            pages = reader.pages(prefecture)
            for page in range(64):
                leaves = reader.leaves(prefecture, page)
                assert pages[page] == sum(leaves, Digest())
                assert leaves[0] == expected(held(table.values(), prefecture, *holdings.leaf_range(64 * page)))
    kept.write((resident, None) for resident in table.values())
    assert kept.dump() == [[], []]
    kept.write((None, resident) for resident in table.values())
    assert kept.dump() == incremental
    kept.write((resident, None) for resident in table.values())


def test_the_delta_tells_the_digest_before_it_is_written(nothing_kept: Kept) -> None:
    first = Resident(key=5, area=0, name="一")
    second = Resident(key=6, area=0, name="二", update_number=2)
    elsewhere = Resident(key=6, area=3, name="二", update_number=3)
    delta = HoldingsDelta(PLACES)
    delta.change(second, elsewhere)
    assert delta.prefecture(expected([first, second]), 13) == expected([first])
    assert delta.prefecture(Digest(), 27) == expected([elsewhere])
    delta.change(None, None)
    with pytest.raises(ValueError, match="one key"):
        delta.change(first, second)


def test_a_damaged_row_is_noticed(nothing_kept: Kept) -> None:
    person = Resident(key=5, area=0, name="一")
    nothing_kept.write([(None, person)])
    for database, name in (("holdings", schema.NUMBER.pack(0)), ("digests", holdings.page_name(13, 0))):
        for damaged in (b"\0" * 28, schema.seal(b"\0" * 23)):
            with nothing_kept.environment.begin(write=True) as transaction:
                transaction.put(name, damaged, db=nothing_kept.databases[database])
                reader = HoldingsReader(transaction, nothing_kept.databases, PLACES)
                with pytest.raises(StoreCorruptError):
                    reader.area(0) if database == "holdings" else reader.leaves(13, 0)
                transaction.abort()
    nothing_kept.write([(person, None)])


def ranges() -> st.SearchStrategy[tuple[int, int]]:
    key = st.one_of(st.integers(0, 10**10), st.integers(0, 300))
    return st.tuples(key, key).map(sorted).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: (pair[0], pair[1]))


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Iterable[tuple[RegisterReader, list[Resident]]]:
    directory = tmp_path_factory.mktemp("register") / "r"
    drawn = random.Random(8)
    keys = list(range(0, 300, 3)) + [drawn.randrange(10**10) for _ in range(2_000)] + [10**10 - 1]
    people = build_store(
        directory,
        [
            Resident(key=key, area=drawn.randrange(5), town=drawn.randrange(10), state=drawn.choice([1, 1, 1, 2, 3]),
                     name="佐藤" * drawn.randrange(1, 20), kana="サトウ", birth_date=19600102, update_number=key % 9)
            for key in keys
        ],
        expected_entries=20_000,
    )  # fmt: skip
    with RegisterReader(directory) as reader:
        yield reader, sorted(people.values(), key=lambda resident: resident.key)


@settings(max_examples=40)
@given(st.lists(ranges(), min_size=1, max_size=5), st.sampled_from(PREFECTURES))
def test_ranges_are_summed_and_listed_from_the_blocks(
    register: tuple[RegisterReader, list[Resident]], wanted: list[tuple[int, int]], prefecture: int
) -> None:
    reader, people = register
    parts = [held(people, prefecture, *pair) for pair in wanted]
    with reader.pin() as snapshot:
        sums = holdings.sums_of_ranges(snapshot, prefecture, wanted)
        assert holdings.digests_of(sums) == [expected(part) for part in parts]
        listed = holdings.entries_of_ranges(snapshot, prefecture, wanted, 10_000)
        assert listed is not None
        assert listed[0] == [len(part) for part in parts]
        assert list(holdings.ENTRY.iter_unpack(listed[1])) == [
            (r.key, twin.entry_hash(r, AREAS, TOWNS)) for part in parts for r in part
        ]
        total = sum(map(len, parts))
        assert holdings.entries_of_ranges(snapshot, prefecture, wanted, total) == listed
        if total:
            assert holdings.entries_of_ranges(snapshot, prefecture, wanted, total - 1) is None


@pytest.mark.parametrize("bad", [(5, 5), (6, 5), (0, 10**10 + 1)])
def test_a_range_that_is_none_is_refused(register: tuple[RegisterReader, list[Resident]], bad: tuple[int, int]) -> None:
    with register[0].pin() as snapshot:
        with pytest.raises(ValueError, match="range"):
            holdings.sums_of_ranges(snapshot, 13, [bad])
        with pytest.raises(ValueError, match="range"):
            holdings.entries_of_ranges(snapshot, 13, [bad], 5)
        assert holdings.sums_of_ranges(snapshot, 13, []) == b""


def test_the_builder_stores_digests_that_the_blocks_give(register: tuple[RegisterReader, list[Resident]]) -> None:
    reader, people = register
    totals = DigestTotals(PLACES)
    with reader.pin() as snapshot:
        add_buckets(totals, snapshot, 0, reader.buckets)
        assert snapshot.transaction is not None
        stored = HoldingsReader(snapshot.transaction, reader.databases, PLACES)
        for prefecture in PREFECTURES:
            assert stored.prefecture(prefecture) == expected(held(people, prefecture))
            for page in range(64):
                assert stored.page_packed(prefecture, page) == totals.page(prefecture, page)
        for number in range(len(AREAS)):
            assert stored.area_packed(number) == totals.area(number)
