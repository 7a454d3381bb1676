"""Reading what was damaged: a torn tail is passed over, anything else is a typed error with file and offset."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from pathlib import Path

import pytest

from jukinet.core.audit import reader as reader_module
from jukinet.core.audit.errors import RecordOfUseDamagedError
from jukinet.core.audit.layout import (
    GROUP_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    GroupHeader,
    encode_record,
    segment_checksum,
    segment_name,
)
from jukinet.core.audit.reader import SegmentEnd, SegmentReader, check_segment, read_segments
from jukinet.core.checksum import crc32c
from jukinet.core.errors import RecordOfUseError

from .logs import append, append_verify, crash, open_writer, read, record_twin, segments


def small_log(directory: Path, groups: tuple[int, ...] = (2, 1, 3), *, closed: bool) -> Path:
    """One segment of some groups, each of so many records; its path. Left open: without reserved room behind it."""
    writer = open_writer(directory, segment_step_bytes=0)
    for records in groups:
        for _ in range(records):
            append(writer, range(3))
        writer.commit()
    end = writer._segment.durable if writer._segment else 0
    if closed:
        writer.close()
    else:
        crash(writer)
        os.truncate(segments(directory)[0], end)
    return segments(directory)[0]


def group_ends(path: Path) -> list[int]:
    """Where each group of a whole or open segment ends."""
    with SegmentReader(path) as segment:
        return [segment.offset for _ in segment.groups()]


def sequences(directory: Path) -> list[int]:
    return [record.sequence for record in read_segments(directory)]


def test_truncation_at_every_byte_of_an_open_segment(tmp_path: Path) -> None:
    path = small_log(tmp_path, closed=False)
    content, ends = path.read_bytes(), [SEGMENT_HEADER_BYTES, *group_ends(path)]
    counts = dict(zip(ends, [0, 2, 3, 6], strict=False))
    for size in range(SEGMENT_HEADER_BYTES, len(content) + 1):
        path.write_bytes(content[:size])
        records, (report,) = read(tmp_path)
        end = max(e for e in ends if e <= size)
        assert len(records) == counts[end], size
        assert report.end_bytes == end
        assert report.end is (SegmentEnd.OPEN if size == end else SegmentEnd.TORN)
        assert check_segment(path) == report, "the native check agrees"
    for size in range(SEGMENT_HEADER_BYTES):
        path.write_bytes(content[:size])
        with pytest.raises(RecordOfUseDamagedError):
            read(tmp_path)


def test_a_writer_goes_on_after_truncation_at_every_byte_of_the_last_group(tmp_path: Path) -> None:
    path = small_log(tmp_path / "log", (2, 1), closed=False)
    content, ends = path.read_bytes(), group_ends(path)
    for size in range(ends[0], len(content), 5):
        shutil.rmtree(tmp_path / "log")
        (tmp_path / "log").mkdir()
        path.write_bytes(content[:size] + bytes(100))
        with open_writer(tmp_path / "log", segment_step_bytes=0) as writer:
            assert append(writer) == 4, "recovery takes 3"
        records, reports = read(tmp_path / "log")
        assert [record.sequence for record in records] == [1, 2, 3, 4]
        assert reports[0].end_bytes == ends[0]
        assert path.read_bytes() == content[:size].rstrip(b"\0").ljust(ends[0], b"\0"), "evidence stays"


def test_a_flipped_byte_anywhere_in_a_whole_segment_is_damage(tmp_path: Path) -> None:
    path = small_log(tmp_path, closed=True)
    content = path.read_bytes()
    end_mark = len(content) - GROUP_HEADER_BYTES
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        if place < end_mark:
            with pytest.raises(RecordOfUseDamagedError) as caught:
                read(tmp_path)
            assert caught.value.path == path
            assert caught.value.offset <= place
            with pytest.raises(RecordOfUseDamagedError):
                check_segment(path)
        else:  # without its end mark a segment is no longer whole, and its records are all there
            records, (report,) = read(tmp_path)
            assert (len(records), report.end) == (6, SegmentEnd.TORN)


def test_any_flipped_bit_in_the_matches_is_damage(tmp_path: Path) -> None:
    matches = bytes(range(200, 220))
    with open_writer(tmp_path, segment_step_bytes=0) as writer:
        append_verify(writer, range(20), matches)
    path = segments(tmp_path)[0]
    content = path.read_bytes()
    start = content.index(matches)
    for bit in range(8 * len(matches)):
        damaged = bytearray(content)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(RecordOfUseDamagedError):
            read(tmp_path)
        with pytest.raises(RecordOfUseDamagedError):
            check_segment(path)


def test_a_flipped_byte_in_a_segment_with_a_successor_is_damage(tmp_path: Path) -> None:
    for _ in range(2):
        with open_writer(tmp_path, segment_step_bytes=0) as writer:
            append(writer)
    path = segments(tmp_path)[0]
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(RecordOfUseDamagedError):
            read(tmp_path)


def test_a_flipped_byte_in_an_open_segment_is_damage_or_a_torn_last_group(tmp_path: Path) -> None:
    path = small_log(tmp_path, closed=False)
    content, ends = path.read_bytes(), group_ends(path)
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        if place < ends[-2]:
            with pytest.raises(RecordOfUseDamagedError):
                read(tmp_path)
        else:
            records, (report,) = read(tmp_path)
            assert (len(records), report.end) == (3, SegmentEnd.TORN)


def test_a_page_of_zeros_in_the_middle_is_damage(tmp_path: Path) -> None:
    path = small_log(tmp_path, closed=False)
    content, ends = path.read_bytes(), group_ends(path)
    path.write_bytes(content[: ends[0]] + bytes(ends[1] - ends[0]) + content[ends[1] :])
    with pytest.raises(RecordOfUseDamagedError) as caught:
        read(tmp_path)
    assert caught.value.offset == ends[0]


def test_a_writer_refuses_to_go_on_over_damage(tmp_path: Path) -> None:
    path = small_log(tmp_path, closed=False)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordOfUseDamagedError, match="damaged at byte 128"):
        open_writer(tmp_path)
    assert path.read_bytes() == content


@pytest.fixture
def three_segments(tmp_path: Path) -> list[Path]:
    for _ in range(3):
        with open_writer(tmp_path) as writer:
            append(writer)
    return segments(tmp_path)


def test_the_oldest_segments_may_be_gone(tmp_path: Path, three_segments: list[Path]) -> None:
    three_segments[0].unlink()
    assert sequences(tmp_path) == [2, 3]


def test_a_missing_segment_is_damage(tmp_path: Path, three_segments: list[Path]) -> None:
    three_segments[1].unlink()
    with pytest.raises(RecordOfUseDamagedError):
        sequences(tmp_path)


def test_swapped_segments_are_damage(tmp_path: Path, three_segments: list[Path]) -> None:
    first, second = (path.read_bytes() for path in three_segments[:2])
    three_segments[0].write_bytes(second)
    three_segments[1].write_bytes(first)
    with pytest.raises(RecordOfUseDamagedError, match="disagree"):
        sequences(tmp_path)


@pytest.mark.parametrize("copy", [segment_name(3, 3), segment_name(4, 0), "worker-3-1.rou", "copy.rou"])
def test_a_doubled_segment_is_damage(tmp_path: Path, three_segments: list[Path], copy: str) -> None:
    shutil.copy(three_segments[2], tmp_path / copy)
    with pytest.raises(RecordOfUseDamagedError):
        sequences(tmp_path)


def test_a_shortened_segment_with_a_successor_is_damage(tmp_path: Path, three_segments: list[Path]) -> None:
    size = three_segments[1].stat().st_size
    for cut in (1, GROUP_HEADER_BYTES, size - SEGMENT_HEADER_BYTES, size):
        os.truncate(three_segments[1], size - cut)
        with pytest.raises(RecordOfUseDamagedError):
            sequences(tmp_path)


def test_bytes_behind_an_end_mark_are_damage(tmp_path: Path, three_segments: list[Path]) -> None:
    with three_segments[2].open("ab") as file:
        file.write(bytes(50))
        file.flush()
        assert sequences(tmp_path) == [1, 2, 3], "zeros are room that was not given back"
        file.write(b"x")
    with pytest.raises(RecordOfUseDamagedError, match="behind the end mark"):
        sequences(tmp_path)


def test_a_group_of_another_segment_is_not_valid_here(tmp_path: Path, three_segments: list[Path]) -> None:
    """Both hold one group of the same length at the same offset."""
    one, two = three_segments[0].read_bytes(), bytearray(three_segments[1].read_bytes())
    two[SEGMENT_HEADER_BYTES:] = one[SEGMENT_HEADER_BYTES:]
    three_segments[1].write_bytes(two)
    with pytest.raises(RecordOfUseDamagedError, match="checksum of a group header"):
        sequences(tmp_path)


def forge(path: Path, records: list[bytes], first_sequence: int) -> None:
    """Append a group with right checksums: what only a faulty writer would make."""
    content = path.read_bytes()
    body = b"".join(records)
    header = GroupHeader(
        offset=len(content),
        group_bytes=GROUP_HEADER_BYTES + len(body),
        first_sequence=first_sequence,
        records=len(records),
    )
    path.write_bytes(content + header.encode(segment_checksum(content)) + body)


def test_a_sequence_that_does_not_follow_is_damage(tmp_path: Path) -> None:
    path = small_log(tmp_path, (1,), closed=False)
    forge(path, [encode_record(3, 3, 9, b"\x90")], 3)
    with pytest.raises(RecordOfUseDamagedError, match="sequence 3 where 2 must stand"):
        sequences(tmp_path)
    with pytest.raises(RecordOfUseDamagedError):
        check_segment(path)


def test_a_record_of_an_unknown_kind_is_passed_on_without_a_head(tmp_path: Path) -> None:
    path = small_log(tmp_path, (1,), closed=False)
    forge(path, [encode_record(2, 3, 9, b"\x93\x01\x02\x03")], 2)
    records, _ = read(tmp_path)
    assert [(r.kind, r.head is None) for r in records] == [(1, False), (9, True)]
    with open_writer(tmp_path) as writer:
        assert append(writer) == 4


@pytest.mark.parametrize("head", [b"", b"\x91\x01", b"\xc1", b"\x80"])
def test_a_head_that_does_not_decode_is_not_a_record(tmp_path: Path, head: bytes) -> None:
    path = small_log(tmp_path, (1,), closed=False)
    forge(path, [encode_record(2, 3, 1, head)], 2)
    forge(path, [encode_record(3, 3, 9, b"\x90")], 3)
    with pytest.raises(RecordOfUseDamagedError, match="head or provisions"):
        sequences(tmp_path)


@pytest.mark.parametrize(("function", "matches"), [(1, b"\2"), (4, b"")])
def test_matches_where_they_must_not_be_or_missing_are_damage(tmp_path: Path, function: int, matches: bytes) -> None:
    path = small_log(tmp_path, (1,), closed=False)
    request = dict.fromkeys(("time_ns", "function", "items", "register_version", "since", "request_id"), function)
    forge(path, [record_twin(2, 3, request, [1], b"\1", matches)], 2)
    forge(path, [encode_record(3, 3, 9, b"\x90")], 3)
    with pytest.raises(RecordOfUseDamagedError, match="matches of a record"):
        sequences(tmp_path)


@pytest.mark.parametrize("flags", [1, 2, 1 << 31])
def test_flags_of_a_record_that_cannot_be_are_damage(tmp_path: Path, flags: int) -> None:
    """Flag bit 0 on a record without matches; bits that format 1 does not know."""
    path = small_log(tmp_path, (1,), closed=False)
    record = bytearray(encode_record(2, 3, 9, b"\x90" * 8, bytes(48)))
    record[28:32] = flags.to_bytes(4, "little")
    record[:4] = crc32c(bytes(record[4:])).to_bytes(4, "little")
    forge(path, [bytes(record)], 2)
    forge(path, [encode_record(3, 3, 9, b"\x90")], 3)
    with pytest.raises(RecordOfUseDamagedError, match="record"):
        sequences(tmp_path)
    with pytest.raises(RecordOfUseDamagedError):
        check_segment(path)


def test_the_leaf_is_the_record_without_its_checksum(tmp_path: Path) -> None:
    path = small_log(tmp_path, closed=True)
    content = path.read_bytes()
    for record in read_segments(tmp_path):
        size = int.from_bytes(content[record.offset + 4 : record.offset + 8], "little")
        assert record.leaf == content[record.offset + 8 : record.offset + size]


def test_random_bytes_never_do_more_than_a_typed_error(tmp_path: Path) -> None:
    path = small_log(tmp_path, closed=False)
    content = path.read_bytes()
    chance = random.Random(2)
    for _ in range(300):
        damaged = bytearray(content)
        start = chance.randrange(len(damaged))
        length = chance.randrange(1, 60)
        damaged[start : start + length] = chance.randbytes(chance.choice([length, length + 8, 3]))
        path.write_bytes(damaged)
        with contextlib.suppress(RecordOfUseDamagedError):
            assert len(list(read_segments(tmp_path))) <= 6


def test_reading_while_writing_sees_whole_groups_only(tmp_path: Path) -> None:
    with open_writer(tmp_path, segment_bytes_max=1 << 20) as writer:
        for number in range(1, 20):
            append(writer, range(number))
            append(writer)
            writer.commit()
            assert sequences(tmp_path) == list(range(1, 2 * number + 1))


def test_a_group_that_becomes_whole_while_it_is_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that saw half a group finds a later one: it looks again before it calls that damage."""
    path = small_log(tmp_path, closed=False)
    content, ends = path.read_bytes(), group_ends(path)
    path.write_bytes(content[: ends[0]] + bytes(len(content) - ends[0]))
    real = reader_module.SegmentReader._find_group

    def find_after_writing(self: SegmentReader, start: int) -> int | None:
        path.write_bytes(content)
        return real(self, start)

    monkeypatch.setattr(reader_module.SegmentReader, "_find_group", find_after_writing)
    assert sequences(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_directory_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordOfUseError, match="cannot be read"):
        list(read_segments(tmp_path / "absent"))
