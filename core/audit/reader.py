"""Reading segments: every byte that counts is verified, a torn tail told from damage (docs/record-of-use.md, 6)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import msgspec

from jukinet.core.audit.errors import RecordOfUseDamagedError
from jukinet.core.audit.kernel import check_groups, check_records, unpack_provisions
from jukinet.core.audit.layout import (
    END_MARK,
    GROUP_HEADER_BYTES,
    GROUP_MAGIC_BYTES,
    KIND_VOID,
    PROVISION_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    GroupHeader,
    LayoutError,
    RecordHeader,
    SegmentHeader,
    list_segments,
    segment_checksum,
)
from jukinet.core.audit.record import HEADS, ProvisionHead, Record, VoidHead
from jukinet.core.errors import RecordOfUseError
from jukinet.core.vocabulary import TOLD_BY_ROW

SEARCH_BYTES = 256 * 1_024
RAW_BYTES = 4 * 1_024 * 1_024
"""Read at a time for checking in native code."""

_TOLD_BY_ROW: Final = frozenset(map(int, TOLD_BY_ROW))


class SegmentEnd(StrEnum):
    """How a segment ends."""

    WHOLE = "whole"
    """With an end mark."""
    BOUNDED = "bounded"
    """Without one, at the end that its successor's header names."""
    OPEN = "open"
    """Between two groups: it is being written, or its writer was killed there."""
    TORN = "torn"
    """In the middle of a group that was never acknowledged."""


class SegmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """What reading one segment to its end has shown."""

    path: Path
    header: SegmentHeader
    end: SegmentEnd
    end_bytes: int
    """What counts: bytes from 0 to here, end mark included."""
    next_sequence: int
    records: int
    left_bytes: int
    """Bytes from end_bytes to the last one that is not zero."""


class RawRecords(NamedTuple):
    """Verified records as they lie in the file, with or without the headers of their groups before them.

    A walker tells a group header from a record by its second word: GROUP_MAGIC is longer than any record.
    """

    data: memoryview
    offset: int
    """Of the first byte, in the file."""
    records: int


class SegmentReader:
    """One segment, read once from front to end.

    Invariant: everything below ``offset`` was valid; ``next_sequence`` is what the next record must bear.
    """

    def __init__(self, path: Path, end: int | None = None, *, decode: bool = True) -> None:
        """``end``: what counts, from the next segment's header; None for the last segment of a worker.

        decode: False to verify in native code without making records (``groups`` then gives empty lists).
        """
        self.path = path
        self.end = end
        self._decode = decode
        self.offset = 0
        self.records = 0
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RecordOfUseError(f"{path}: cannot be opened ({error.strerror})") from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        data = self._read(0, SEGMENT_HEADER_BYTES)
        try:
            self.header = SegmentHeader.decode(data)
        except LayoutError as error:
            self._damaged(0, str(error), error)
        self._seed = segment_checksum(data)
        self.offset = SEGMENT_HEADER_BYTES
        self.next_sequence = self.header.first_sequence

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end of the file."""
        try:
            data = os.pread(self._descriptor, length, offset)
            while data and len(data) < length:
                more = os.pread(self._descriptor, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise RecordOfUseError(f"{self.path}: cannot be read at byte {offset} ({error.strerror})") from error
        return data

    def _damaged(self, offset: int, found: str, cause: Exception | None = None) -> NoReturn:
        raise RecordOfUseDamagedError(self.path, offset, found) from cause

    def _group(self) -> tuple[GroupHeader, list[Record]]:
        """The group at ``offset``, whole and verified. Raises LayoutError."""
        group = GroupHeader.decode(self._read(self.offset, GROUP_HEADER_BYTES), self._seed, self.offset)
        if self.offset + group.group_bytes > (self.end or self._size()):
            raise LayoutError("a group that passes the end")
        records: list[Record] = []
        if group.flags & END_MARK:
            return group, records
        data = memoryview(self._read(self.offset + GROUP_HEADER_BYTES, group.group_bytes - GROUP_HEADER_BYTES))
        self._last = RawRecords(data, self.offset + GROUP_HEADER_BYTES, group.records)
        place = 0
        if not self._decode:
            found = check_records(data, self.header.worker, self.next_sequence)
            if found == (group.records, len(data)) and group.first_sequence == self.next_sequence:
                return group, records
        for _ in range(group.records):
            record, size = self._record(data, place)
            records.append(record)
            place += size
        if place != len(data) or len(data) != group.group_bytes - GROUP_HEADER_BYTES:
            raise LayoutError("a group whose records do not fill it")
        if records[0].sequence != group.first_sequence:
            raise LayoutError("first sequence of a group")
        return group, records

    def _record(self, data: memoryview, place: int) -> tuple[Record, int]:
        header = RecordHeader.decode(data[place:])
        head_end = place + RECORD_HEADER_BYTES + header.head_bytes
        match_start = head_end + header.count * PROVISION_BYTES
        packed = bytes(data[head_end:match_start])
        if header.worker != self.header.worker:
            raise LayoutError("worker of a record")
        decoder = HEADS.get(header.kind)
        try:
            head = decoder.decode(data[place + RECORD_HEADER_BYTES : head_end]) if decoder else None
            unpack_provisions(packed)
        except (msgspec.DecodeError, ValueError):
            raise LayoutError("head or provisions of a record") from None
        if isinstance(head, ProvisionHead) and (head.function in _TOLD_BY_ROW) != (header.match_bytes > 0):
            raise LayoutError("matches of a record")
        record = Record(
            path=self.path,
            offset=self.offset + GROUP_HEADER_BYTES + place,
            worker=header.worker,
            sequence=header.sequence,
            kind=header.kind,
            head=head,
            count=header.count,
            packed=packed,
            matches=bytes(data[match_start : match_start + header.match_bytes]),
            leaf=bytes(data[place + 8 : place + header.record_bytes]),
        )
        return record, header.record_bytes

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def groups(self) -> Iterator[list[Record]]:
        """The records of each group. Afterwards ``report`` is set. Raises RecordOfUseDamagedError."""
        if self.end is not None and not self.offset <= self.end <= self._size():
            self._damaged(self._size(), "shorter than the next segment says")
        while self.end is None or self.offset < self.end:
            try:
                group, records = self._group()
            except LayoutError as error:
                if not self._fault_may_pass(error):
                    break
                continue
            self._check_sequences(group, records)
            self.offset += group.group_bytes
            self.records += group.records
            if group.flags & END_MARK:
                return self._finish_whole()
            yield records
        return self._finish_open()

    def raw_records(self) -> Iterator[RawRecords]:
        """Verified bytes of many groups at a time, in native code where they are ordinary; otherwise as ``groups``."""
        assert not self._decode
        end = self.end if self.end is not None else self._size()
        while True:
            data = memoryview(self._read(self.offset, min(RAW_BYTES, max(0, end - self.offset))))
            records, used = check_groups(data, self.offset, self._seed, self.header.worker, self.next_sequence)
            if used:
                yield RawRecords(data[:used], self.offset, records)
                self.offset += used
                self.records += records
                self.next_sequence += records
                continue
            # One group that is long, holds a void record, ends the segment or is not valid is read by itself.
            before = self.offset
            for _ in self.groups():
                yield self._last
                break
            else:
                return
            assert self.offset > before

    def _fault_may_pass(self, fault: LayoutError) -> bool:
        """A group that is not valid: True to read it again (it was being written), False to stop at a torn tail."""
        if self.end is not None:
            self._damaged(self.offset, str(fault), fault)
        if self._find_group(self.offset + 8) is None:
            return False
        try:  # a live segment: by the time that a later group stands there, this one is whole
            self._group()
        except LayoutError as error:
            self._damaged(self.offset, str(error), error)
        return True

    def _find_group(self, start: int) -> int | None:
        """Offset of a valid group header at or after ``start``, which proves all before it to have been durable."""
        while data := self._read(start, SEARCH_BYTES + GROUP_HEADER_BYTES):
            place = data.find(GROUP_MAGIC_BYTES)
            while place >= 0:
                if place >= 4:
                    try:
                        GroupHeader.decode(
                            data[place - 4 : place - 4 + GROUP_HEADER_BYTES], self._seed, start + place - 4
                        )
                    except LayoutError:
                        pass
                    else:
                        return start + place - 4
                place = data.find(GROUP_MAGIC_BYTES, place + 1)
            start += SEARCH_BYTES
        return None

    def _check_sequences(self, group: GroupHeader, records: list[Record]) -> None:
        if not records:  # an end mark, or checked without decoding
            if group.first_sequence != self.next_sequence:
                self._damaged(self.offset, "sequence of the end mark")
            self.next_sequence += group.records
        for record in records:
            first = record.sequence
            if record.kind == KIND_VOID and isinstance(record.head, VoidHead):
                first = record.head.first_sequence
                if record.head.last_sequence != record.sequence or first > record.sequence:
                    self._damaged(record.offset, "range of a void record")
            if first != self.next_sequence:
                self._damaged(record.offset, f"sequence {first} where {self.next_sequence} must stand")
            self.next_sequence = record.sequence + 1

    def _finish_whole(self) -> None:
        if self.end not in (None, self.offset):
            self._damaged(self.offset, "end mark before the end that the next segment names")
        left = self._left_bytes()
        if left:
            self._damaged(self.offset, "bytes behind the end mark")
        self._report(SegmentEnd.WHOLE, 0)

    def _finish_open(self) -> None:
        left = self._left_bytes()
        if self.end is not None:
            self._report(SegmentEnd.BOUNDED, left)
        else:
            self._report(SegmentEnd.TORN if left else SegmentEnd.OPEN, left)

    def _left_bytes(self) -> int:
        start, last = self.offset, self.offset
        while data := self._read(start, SEARCH_BYTES):
            used = len(data.rstrip(b"\0"))
            if used:
                last = start + used
            start += len(data)
        return last - self.offset

    def _report(self, end: SegmentEnd, left_bytes: int) -> None:
        self.report = SegmentReport(
            path=self.path,
            header=self.header,
            end=end,
            end_bytes=self.offset,
            next_sequence=self.next_sequence,
            records=self.records,
            left_bytes=left_bytes,
        )


def check_segment(path: Path, end: int | None = None) -> SegmentReport:
    """Verify one segment to its end without making its records. Raises RecordOfUseDamagedError."""
    with SegmentReader(path, end, decode=False) as reader:
        for _ in reader.groups():
            pass
        return reader.report


def read_segments(
    directory: str | Path,
    *,
    worker: int | None = None,
    on_report: Callable[[SegmentReport], None] | None = None,
) -> Iterator[Record]:
    """Every record that counts, worker by worker, in order of sequence, each verified.

    ``on_report`` is told of each segment after its last record. Stops without error at a torn tail of a worker's last
    segment (the report then says TORN). Raises RecordOfUseDamagedError for everything else that does not hold, and
    RecordOfUseError when the directory or a file cannot be read.
    """
    directory = Path(directory)
    try:
        found = list_segments(directory)
    except OSError as error:
        raise RecordOfUseError(f"{directory}: cannot be read ({error.strerror})") from error
    except LayoutError as error:
        raise RecordOfUseDamagedError(directory, 0, str(error)) from error
    for number, segments in found.items():
        if worker in (None, number):
            yield from read_worker(segments, number, on_report)


def read_worker(
    segments: list[tuple[int, Path]], worker: int, on_report: Callable[[SegmentReport], None] | None
) -> Iterator[Record]:
    """The records of one worker's segments, (number, path) in order of number."""
    before: SegmentReport | None = None
    for position, (number, path) in enumerate(segments):
        end = None
        if position + 1 < len(segments):
            with SegmentReader(segments[position + 1][1]) as successor:
                end = successor.header.previous_end
        with SegmentReader(path, end) as reader:
            header = reader.header
            if (header.worker, header.segment) != (worker, number):
                raise RecordOfUseDamagedError(path, 32, "the file's name and its header disagree")
            if before is not None:
                if number != before.header.segment + 1:
                    raise RecordOfUseDamagedError(path, 0, f"segment {before.header.segment + 1} is missing")
                if header.first_sequence != before.next_sequence:
                    raise RecordOfUseDamagedError(path, 48, "first sequence does not follow the segment before")
            for records in reader.groups():
                yield from records
            before = reader.report
        if on_report is not None:
            on_report(before)
