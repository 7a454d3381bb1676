"""Runs of sorted codes, walkers over raw records and tallies against plain-Python twins; files that are damaged."""

from __future__ import annotations

import random
import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.audit import runs as module
from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.kernel import check_groups, pack_provisions
from jukinet.core.audit.layout import GroupHeader, encode_record
from jukinet.core.audit.ledger import month_of, tallies_of
from jukinet.core.audit.reader import SegmentReader
from jukinet.core.audit.record import ProvisionHead, encode_head
from jukinet.core.audit.run_kernel import CodeBuffer, RunTable, Tallies, find_blocks, find_code, scan_codes
from jukinet.core.audit.runs import MergePlan, Run, RunName, list_runs, outermost, table_pages, tidy, write_run
from jukinet.core.checksum import crc32c_portable

from .logs import append, crash, open_writer, record_twin, segments

CODE = st.one_of(st.sampled_from([0, 7, 10**11 - 1]), st.integers(0, 10**11 - 1))
ENTRIES = st.lists(st.tuples(CODE, st.integers(0, 2**40), st.integers(0, 65_535)), max_size=700)


def table_of(rows: bytes, seed: int = 77) -> RunTable:
    return RunTable(table_pages(rows, seed), len(rows) // 24, seed)


@settings(max_examples=60, deadline=None)
@given(ENTRIES, st.integers(0, 10**11 - 1))
def test_a_run_gives_back_what_it_was_given_sorted(entries: list[tuple[int, int, int]], absent: int) -> None:
    first = min((leaf for _, leaf, _ in entries), default=0)
    buffer, keys = CodeBuffer(), (random.getrandbits(64), random.getrandbits(64))
    for entry in entries:
        buffer.add(*entry)
    total = buffer.digest(*keys)
    blocks, rows = buffer.pack(first)
    table = table_of(rows)
    assert buffer.entries == 0
    assert len(rows) == table.rows * 24 == -(-len(entries) // 256) * 24
    for code in {*(code for code, _, _ in entries), absent}:
        expected = [(leaf, row) for one, leaf, row in entries if one == code]
        assert find_code(blocks, table, first, len(entries), code) == expected
    buffer.unpack(blocks, table, first, len(entries))
    assert (buffer.entries, buffer.digest(*keys)) == (len(entries), total)
    assert buffer.pack(first) == (blocks, rows)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_blocks_of_a_code_are_those_of_a_plain_search(data: st.DataObject) -> None:
    """Tables of many rows, evenly spread or heaped anywhere, with rows that begin with the same code."""
    count = data.draw(st.sampled_from([0, 1, 2, 31, 32, 33, 64, 65, 500, 3_000]))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    low = data.draw(st.sampled_from([0, 10**11 - 2_000, 5 * 10**10]))
    high = data.draw(st.sampled_from([low + 40, low + 1_000, 10**11 - 1]))
    firsts = sorted(chance.randint(low, min(high, 10**11 - 1)) for _ in range(count))
    table = table_of(b"".join(struct.pack("<QQII", first, 0, 0, 0) for first in firsts))
    asked = {0, low, high, 10**11 - 1, *chance.choices(range(low, min(high, 10**11 - 1) + 1), k=20), *firsts[:3]}
    for code in asked | set(chance.sample(firsts, min(count, 20))):
        first = max(bisect_left(firsts, code) - 1, 0)
        assert find_blocks(table, code) == (first, max(bisect_right(firsts, code), first)), code


@settings(max_examples=60, deadline=None)
@given(ENTRIES, ENTRIES)
def test_the_digest_tells_two_sets_apart(one: list[tuple[int, int, int]], two: list[tuple[int, int, int]]) -> None:
    keys = (random.getrandbits(64), random.getrandbits(64))

    def digest(entries: list[tuple[int, int, int]]) -> int:
        buffer = CodeBuffer()
        for entry in entries:
            buffer.add(*entry)
        return buffer.digest(*keys)

    assert (digest(one) == digest(two)) == (Counter(one) == Counter(two))
    shuffled = random.sample(one, len(one))
    assert digest(one) == digest(shuffled)


def pages_twin(rows: bytes, seed: int) -> bytes:
    """docs/record-of-use.md, chapter 9, word for word."""
    data = b""
    for number in range(-(-len(rows) // 4_080)):
        page = rows[4_080 * number : 4_080 * (number + 1)] + number.to_bytes(8, "little") + bytes(4)
        data += page + crc32c_portable(page, seed).to_bytes(4, "little")
    return data


@pytest.mark.parametrize("count", [0, 1, 169, 170, 171, 340, 1_000])
def test_pages_of_a_table(count: int) -> None:
    rows = random.Random(count).randbytes(24 * count)
    pages = table_pages(rows, 5)
    assert pages == pages_twin(rows, 5)
    table = RunTable(pages, count, 5)
    for number in range(count):
        assert table.place(number) == struct.unpack_from("<QI", rows, 24 * number + 8)
    with pytest.raises(IndexError):
        table.place(count)
    if count:
        with pytest.raises(ValueError, match="table"):
            RunTable(pages, count, 6).place(0)
        with pytest.raises(ValueError, match="table"):
            RunTable(pages, count - 1, 5)
    if count > 340:
        exchanged = pages[4_096:8_192] + pages[:4_096] + pages[8_192:]
        with pytest.raises(ValueError, match="table"):
            RunTable(exchanged, count, 5).place(0)
    table.close()
    assert table.rows == 0


@pytest.mark.parametrize("codes", [600, 80_000], ids=["one page", "two pages"])
def test_no_flipped_byte_of_a_table_hides_a_provision(codes: int) -> None:
    """Whatever byte is flipped, each code is found as before, or the search says that the run is damaged."""
    buffer = CodeBuffer()
    step = 10**11 // codes
    for number in range(codes):
        buffer.add(number * step, number // 3, number % 3)
    blocks, rows = buffer.pack(0)
    pages = table_pages(rows, 9)
    asked = range(0, codes, 31) if codes == 600 else (0, 255 * 170, 256 * 170 - 1, 256 * 170, codes - 1)
    refused = 0
    for place in range(0, len(pages), 1 if codes == 600 else 5):
        damaged = bytearray(pages)
        damaged[place] ^= 1 << place % 8
        for number in asked:
            table = RunTable(damaged, len(rows) // 24, 9)
            try:
                assert find_code(blocks, table, 0, codes, number * step) == [(number // 3, number % 3)]
            except ValueError:
                refused += 1
    assert refused >= len(pages) // 5


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_byte_of_a_block_is_refused(data: st.DataObject) -> None:
    buffer = CodeBuffer()
    for code in range(600):
        buffer.add(code * 997, code // 3, code % 3)
    blocks, rows = buffer.pack(0)
    place = data.draw(st.integers(0, len(blocks) - 1))
    damaged = blocks[:place] + bytes([blocks[place] ^ (1 << data.draw(st.integers(0, 7)))]) + blocks[place + 1 :]
    with pytest.raises(ValueError, match="block"):
        buffer.unpack(damaged, table_of(rows), 0, 600)


def test_lengths_that_cannot_be_are_refused() -> None:
    buffer = CodeBuffer()
    for match, call in {
        "table": lambda: RunTable(bytes(39), 1, 0),
        "fewer": lambda: buffer.unpack(b"", table_of(b""), 0, 1),
        "block": lambda: buffer.unpack(b"", table_of(bytes(24)), 0, 1),
        "do not fill": lambda: buffer.collect(bytes(40), 0),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()


RECORDS = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 2, 9]), st.lists(st.tuples(CODE, st.integers(0, 255)), max_size=90), st.booleans()
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.lists(st.integers(1, 5), max_size=12), CODE)
def test_walkers_over_raw_records(
    records: list[tuple[int, list[tuple[int, int]], bool]], group_sizes: list[int], wanted: int
) -> None:
    """With and without headers of groups before the records."""
    plain, grouped = [], b""
    left = 0
    offsets, places = [], []
    for number, (kind, rows, known) in enumerate(records):
        codes = [wanted if known and row % 7 == 0 else code for row, (code, _) in enumerate(rows)]
        packed = b"".join(
            (code | outcome << 37).to_bytes(6, "little") for code, (_, outcome) in zip(codes, rows, strict=True)
        )
        record = encode_record(number + 1, 3, kind, b"\x90", packed)
        if not left:
            left = group_sizes.pop() if group_sizes else 100
            header = GroupHeader(offset=0, group_bytes=40, first_sequence=1, records=0, flags=1)
            grouped += header.encode(0)
        left -= 1
        offsets.append(len(grouped))
        places.append([row for row, code in enumerate(codes) if code == wanted and kind == 1])
        plain.append(record)
        grouped += record
    assert scan_codes(grouped, wanted) == [(o, row) for o, found in zip(offsets, places, strict=True) for row in found]
    one, two = CodeBuffer(), CodeBuffer()
    one.collect(grouped, 50)
    two.collect(b"".join(plain), 50)
    assert one.entries == sum(len(rows) for kind, rows, _ in records if kind == 1)
    assert one.digest(1, 2) == two.digest(1, 2)
    blocks, rows = one.pack(50)
    expected = [(50 + number, row) for number, found in enumerate(places) for row in found]
    assert find_code(blocks, table_of(rows), 50, two.entries, wanted) == expected


HEADS = st.tuples(
    st.integers(1_700_000_000, 1_800_000_000), st.sampled_from([1, 2, 64]), st.sampled_from(["a", "b"]), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(HEADS, st.integers(0, 130)), max_size=20))
def test_tallies_agree_with_counting(records: list[tuple[tuple[int, int, str, bool], int]]) -> None:
    data = b""
    expected: Counter[tuple[int, str, int, str]] = Counter()
    requests: Counter[tuple[int, str, int, str]] = Counter()
    newest = previous = back = 0
    for number, ((seconds, function, body, odd), count) in enumerate(records):
        time_ns = seconds * 10**9
        head = ProvisionHead(time_ns, function, 1, 1, 0, 1, 1, 1, "agency", body, "op", 1, "77", 0, "r", "")
        packed = pack_provisions(bytes(8 * count), bytes(count))
        if odd:  # integers of other widths, as another writer may choose
            data += encode_record(number + 1, 0, 1, encode_head(head), packed)
        else:
            names = {"time_ns": time_ns, "function": function, "items": 1, "register_version": 1}
            twin = record_twin(number + 1, 0, {**names, "since": 0, "request_id": 1}, [0] * count, bytes(count))
            data += twin
            back = max(back, previous - time_ns)
            newest, previous = max(newest, time_ns), time_ns
        recipient = body if odd else "japan-pension-service"
        key = (month_of(time_ns), recipient, function, "interactive" if count <= 64 else "bulk")
        expected[key] += count
        requests[key] += 1
    tallies = Tallies(64)
    tallies.count(data)
    found = {
        (one.month, one.body, one.function, one.method): (one.requests, one.provisions) for one in tallies_of(tallies)
    }
    assert found == {key: (requests[key], expected[key]) for key in requests}
    assert (tallies.last_time_ns, tallies.back_ns) == (newest, back)


def test_a_head_that_is_none_is_an_error() -> None:
    tallies = Tallies(64)
    tallies.count(encode_record(1, 0, 1, b"\xc1", b""))
    with pytest.raises(msgspec.DecodeError):
        tallies_of(tallies)


def run_of(tree: Path, first: int, end: int, entries: int = 3, month: int = 202511) -> RunName:
    (tree / "codes").mkdir(parents=True, exist_ok=True)
    buffer = CodeBuffer()
    for number in range(entries):
        buffer.add(number, first, number)
    name = RunName(month, first, end)
    write_run(tree, name, buffer)
    return name


def test_a_flipped_byte_anywhere_in_a_run_is_found(tmp_path: Path) -> None:
    name = run_of(tmp_path, 5, 9, entries=300)
    path = name.path(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(TreeDamagedError), Run(tmp_path, name) as run:
            run.unpack(CodeBuffer())
        try:
            with Run(tmp_path, name) as run:
                assert [run.find(code) for code in range(300)] == [[(5, code)] for code in range(300)]
        except TreeDamagedError:
            pass
    for size in (0, 10, 71, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(TreeDamagedError):
            Run(tmp_path, name)
    path.unlink()
    with pytest.raises(TreeDamagedError, match="cannot be opened"):
        Run(tmp_path, name)


def test_what_a_crash_left_is_tidied(tmp_path: Path) -> None:
    merged, inner, behind = run_of(tmp_path, 0, 9), run_of(tmp_path, 3, 9), run_of(tmp_path, 9, 12)
    (tmp_path / "codes/x.codes.new").write_text("")
    assert outermost(list_runs(tmp_path)) == ([merged, behind], [inner])
    tidy(tmp_path, 9)
    assert list_runs(tmp_path) == [merged]
    assert [path.name for path in (tmp_path / "codes").iterdir()] == [merged.path(tmp_path).name]
    (tmp_path / "codes/other.codes").write_text("")
    with pytest.raises(TreeDamagedError, match="not the name"):
        list_runs(tmp_path)


def test_runs_are_merged_by_size_and_not_beyond_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = MergePlan(tmp_path)
    plan.begin()
    for number in range(40):
        plan.add(run_of(tmp_path, number, number + 1, entries=10), 10)
    assert len(list_runs(tmp_path)) == 2 + 40 % 16
    again = MergePlan(tmp_path)
    again.begin()
    assert again.runs == plan.runs
    again.add(run_of(tmp_path, 40, 41, month=202512), 3)
    assert [run.month for run in list_runs(tmp_path)] == [202511, 202512], "an old month becomes one run"
    with Run(tmp_path, list_runs(tmp_path)[0]) as run:
        assert run.entries == 400
        assert run.find(4) == [(leaf, 4) for leaf in range(40)]


# ------------------------------------------------------------------------------------------------ reading in bulk


def raw_sequences(path: Path) -> tuple[int, int]:
    """Records and bytes by raw_records."""
    with SegmentReader(path, None, decode=False) as reader:
        records = sum(raw.records for raw in reader.raw_records())
        assert reader.report.records == records
        return records, reader.report.end_bytes


def test_raw_records_read_what_groups_read(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    for number in range(50):
        append(writer, range(number % 5 + 1))
        if number % 3 == 0:
            writer.commit()
    writer.commit()
    crash(writer)
    for path in segments(tmp_path):
        with SegmentReader(path, None, decode=False) as reader:
            for _ in reader.groups():
                pass
        assert raw_sequences(path) == (reader.report.records, reader.report.end_bytes)
    path = segments(tmp_path)[0]
    content = path.read_bytes()[:4_000]
    for place in range(128, 1_000, 3):
        damaged = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        seed = int.from_bytes(content[124:128], "little")
        whole = check_groups(content[128:], 128, seed, 3, 1)
        records, used = check_groups(damaged[128:], 128, seed, 3, 1)
        assert used <= place - 128
        assert records < whole[0]


def test_a_segment_gives_way_when_it_is_old(tmp_path: Path) -> None:
    with open_writer(tmp_path, segment_seconds_max=0) as writer:
        assert not writer.segment_is_old, "it holds nothing"
        append(writer)
        assert writer.commit() == 1
        assert writer.segment_is_old
        assert writer.commit() == 1, "nothing to commit, and a new segment"
        assert len(segments(tmp_path)) == 2
        assert not writer.segment_is_old
        append(writer)
        writer.commit()
        append(writer)
        assert writer.commit() == 3
        assert len(segments(tmp_path)) == 3
    with open_writer(tmp_path, segment_seconds_max=3_600) as writer:
        append(writer)
        writer.commit()
        assert not writer.segment_is_old


def test_many_runs_are_searched_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "codes").mkdir()
    names = [RunName(202611, leaf, leaf + 1) for leaf in range(10)]
    for name in names:
        buffer = CodeBuffer()
        for code in (5, 7 + name.first_leaf, 10**11 - 1):
            buffer.add(code, name.first_leaf, code % 100)
        write_run(tmp_path, name, buffer)
    for together in (1, 3, 10, 100):
        monkeypatch.setattr(module, "OPEN_TOGETHER", together)
        assert module.find_in_runs(tmp_path, names, 5) == [(leaf, 5) for leaf in range(10)]
        assert module.find_in_runs(tmp_path, names, 9) == [(2, 9)]
        assert module.find_in_runs(tmp_path, names, 10**11 - 1) == [(leaf, 99) for leaf in range(10)]
        assert module.find_in_runs(tmp_path, names, 6) == []
    names[4].path(tmp_path).unlink()
    with pytest.raises(TreeDamagedError, match="cannot be opened"):
        module.find_in_runs(tmp_path, names, 5)
