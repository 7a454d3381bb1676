"""The fixed parts of a segment: file names, segment header, group header, record header (docs/record-of-use.md)."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.checksum import crc32c

MAGIC: Final = b"JKN-ROU\0"
FORMAT: Final = 1
SEGMENT_HEADER_BYTES: Final = 128
GROUP_HEADER_BYTES: Final = 40
GROUP_MAGIC: Final = 0x50555247
GROUP_MAGIC_BYTES: Final = GROUP_MAGIC.to_bytes(4, "little")
RECORD_HEADER_BYTES: Final = 32
PROVISION_BYTES: Final = 6
END_MARK: Final = 1
"""Flag of a group header."""
MATCHES: Final = 1
"""Flag of a record header: a matches byte for each row follows the provisions."""
GROUP_BYTES_MAX: Final = 1 << 32
KIND_PROVISION, KIND_VOID, KIND_RECOVERY, KIND_EVENT = 1, 2, 3, 4

SEGMENT_HEADER: Final = struct.Struct("<8sII16sIIQQQQ32s20s")
GROUP_HEADER: Final = struct.Struct("<IQQQII")
RECORD_HEADER: Final = struct.Struct("<IQHHIII")
CHECKSUM: Final = struct.Struct("<I")
NAME_PATTERN: Final = re.compile(r"worker-(\d{2,3})-(\d{12})\.rou")
SUFFIX: Final = ".rou"

assert SEGMENT_HEADER.size + CHECKSUM.size == SEGMENT_HEADER_BYTES
assert CHECKSUM.size + GROUP_HEADER.size == GROUP_HEADER_BYTES
assert CHECKSUM.size + RECORD_HEADER.size == RECORD_HEADER_BYTES


class LayoutError(ValueError):
    """Bytes that are not what they should be; the message says which field, never what stands in it."""


def segment_name(worker: int, segment: int) -> str:
    return f"worker-{worker:02d}-{segment:012d}{SUFFIX}"


def list_segments(directory: Path) -> dict[int, list[tuple[int, Path]]]:
    """Segments of each worker, (number, path) by number. Raises LayoutError for a .rou file of another name."""
    found: dict[int, list[tuple[int, Path]]] = {}
    for path in directory.iterdir():
        if path.name.endswith(SUFFIX):
            match = NAME_PATTERN.fullmatch(path.name)
            if match is None or path.name != segment_name(int(match[1]), int(match[2])):
                raise LayoutError(f"{path.name} is not the name of a segment")
            found.setdefault(int(match[1]), []).append((int(match[2]), path))
    return {worker: sorted(segments) for worker, segments in sorted(found.items())}


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Chapter 2. ``register`` and ``salt`` are 16 and 32 bytes; ``created`` is Unix time in nanoseconds."""

    register: bytes
    worker: int
    segment: int
    first_sequence: int
    created: int
    previous_end: int
    salt: bytes

    def encode(self) -> bytes:
        assert len(self.register) == 16 and len(self.salt) == 32  # noqa: PT018
        body = SEGMENT_HEADER.pack(
            MAGIC,
            FORMAT,
            SEGMENT_HEADER_BYTES,
            self.register,
            self.worker,
            0,
            self.segment,
            self.first_sequence,
            self.created,
            self.previous_end,
            self.salt,
            bytes(20),
        )
        return body + CHECKSUM.pack(crc32c(body))

    @classmethod
    def decode(cls, data: bytes) -> SegmentHeader:
        if len(data) < SEGMENT_HEADER_BYTES:
            raise LayoutError("shorter than a segment header")
        fields = SEGMENT_HEADER.unpack_from(data)
        magic, form, size, register, worker, flags, segment, first, created, previous_end, salt, rest = fields
        if magic != MAGIC:
            raise LayoutError("not a segment of a record of use")
        if form != FORMAT:
            raise LayoutError("unknown format version")
        if segment_checksum(data) != crc32c(data[: SEGMENT_HEADER.size]):
            raise LayoutError("checksum of the segment header")
        if size != SEGMENT_HEADER_BYTES or flags or any(rest) or first == 0:
            raise LayoutError("segment header")
        return cls(
            register=register,
            worker=worker,
            segment=segment,
            first_sequence=first,
            created=created,
            previous_end=previous_end,
            salt=salt,
        )


def segment_checksum(header: bytes) -> int:
    """The checksum at the end of an encoded segment header; group checksums begin with it."""
    value: int = CHECKSUM.unpack_from(header, SEGMENT_HEADER.size)[0]
    return value


class GroupHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Chapter 3."""

    offset: int
    group_bytes: int
    first_sequence: int
    records: int
    flags: int = 0

    def encode(self, seed: int) -> bytes:
        """``seed``: the segment header's checksum, so that a group of one segment is not valid in another."""
        body = GROUP_HEADER.pack(
            GROUP_MAGIC, self.offset, self.group_bytes, self.first_sequence, self.records, self.flags
        )
        return CHECKSUM.pack(crc32c(body, seed)) + body

    @classmethod
    def decode(cls, data: bytes, seed: int, offset: int) -> GroupHeader:
        """The header found at ``offset``. Raises LayoutError."""
        if len(data) < GROUP_HEADER_BYTES:
            raise LayoutError("shorter than a group header")
        (checksum,) = CHECKSUM.unpack_from(data)
        magic, place, group_bytes, first_sequence, records, flags = GROUP_HEADER.unpack_from(data, CHECKSUM.size)
        if checksum != crc32c(data[CHECKSUM.size : GROUP_HEADER_BYTES], seed):
            raise LayoutError("checksum of a group header")
        if magic != GROUP_MAGIC or place != offset or flags & ~END_MARK:
            raise LayoutError("group header")
        if not GROUP_HEADER_BYTES <= group_bytes <= GROUP_BYTES_MAX or group_bytes % 8:
            raise LayoutError("length of a group")
        if (flags == END_MARK) != (records == 0) or (records == 0 and group_bytes != GROUP_HEADER_BYTES):
            raise LayoutError("count of a group")
        return cls(offset=offset, group_bytes=group_bytes, first_sequence=first_sequence, records=records, flags=flags)


class RecordHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Chapter 4, without the checksum, which ``decode`` has checked."""

    record_bytes: int
    sequence: int
    worker: int
    kind: int
    head_bytes: int
    count: int
    match_bytes: int
    """``count`` when matches follow the provisions, otherwise 0."""

    @classmethod
    def decode(cls, data: memoryview) -> RecordHeader:
        """The header of the record that ``data`` begins with; checksum and padding are checked. Raises LayoutError."""
        if len(data) < RECORD_HEADER_BYTES:
            raise LayoutError("shorter than a record header")
        (checksum,) = CHECKSUM.unpack_from(data)
        record_bytes, sequence, worker, kind, head_bytes, count, flags = RECORD_HEADER.unpack_from(data, CHECKSUM.size)
        if not RECORD_HEADER_BYTES <= record_bytes <= len(data) or record_bytes % 8:
            raise LayoutError("length of a record")
        if checksum != crc32c(data[CHECKSUM.size : record_bytes]):
            raise LayoutError("checksum of a record")
        if head_bytes > limits.RECORD_HEAD_BYTES_MAX or count > limits.CODES_PER_REQUEST_MAX or flags & ~MATCHES:
            raise LayoutError("record header")
        match_bytes = count if flags & MATCHES else 0
        used = RECORD_HEADER_BYTES + head_bytes + count * PROVISION_BYTES + match_bytes
        if not used <= record_bytes < used + 8 or any(data[used:record_bytes]):
            raise LayoutError("padding of a record")
        return cls(
            record_bytes=record_bytes,
            sequence=sequence,
            worker=worker,
            kind=kind,
            head_bytes=head_bytes,
            count=count,
            match_bytes=match_bytes,
        )


def encode_record(
    sequence: int, worker: int, kind: int, head: bytes, provisions: bytes = b"", matches: bytes = b""
) -> bytes:
    """One record in plain Python: void and recovery records, and the twin of the native kernel in tests."""
    used = RECORD_HEADER_BYTES + len(head) + len(provisions) + len(matches)
    record_bytes = (used + 7) // 8 * 8
    count = len(provisions) // PROVISION_BYTES
    header = RECORD_HEADER.pack(record_bytes, sequence, worker, kind, len(head), count, MATCHES if matches else 0)
    body = header + head + provisions + matches + bytes(record_bytes - used)
    return CHECKSUM.pack(crc32c(body)) + body
