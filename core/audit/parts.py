"""Parts files: hashes half way up inside long records, so that a row is proved without its whole record (7.4).

Derived from the content and never trusted: whoever reads one compares what it leads to with the record's entry.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from pathlib import Path
from typing import BinaryIO, Final

from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.checksum import crc32c

PARTS: Final = "parts"
PARTS_SUFFIX: Final = ".parts"
PARTS_MAGIC: Final = b"JKN-PAR\0"
PARTS_FORMAT: Final = 1
LEVEL: Final = 8
LEAVES: Final = 1 << LEVEL
"""Parts of a record under one hash."""
LEAVES_MIN: Final = 1_024
"""Parts from which on a record's hashes are kept; below, hashing all of it takes 0.1 ms."""
PARTS_HEADER: Final = struct.Struct("<8sIIQQQQ8sII")
TABLE_ROW: Final = struct.Struct("<QQ")
MIDDLE_ROW: Final = struct.Struct("<II")
HASH: Final = 32
SEAL_DIGITS: Final = 12

assert PARTS_HEADER.size == 64


def parts_path(tree: Path, seal: int) -> Path:
    return tree / PARTS / f"{seal:0{SEAL_DIGITS}d}{PARTS_SUFFIX}"


def hashes_of(count: int) -> int:
    """How many hashes are kept of a record of ``count`` provisions."""
    leaves = count + 1
    return -(-leaves // LEAVES) if leaves >= LEAVES_MIN else 0


def list_parts(tree: Path) -> set[int]:
    """Seals whose parts files are there; files of other names are nobody's."""
    directory = tree / PARTS
    found = set()
    if directory.is_dir():
        for name in (path.name for path in directory.iterdir()):
            stem = name.removesuffix(PARTS_SUFFIX)
            if stem != name and len(stem) >= SEAL_DIGITS and stem.isascii() and stem.isdigit():
                found.add(int(stem))
    return found


def tidy_parts(tree: Path, seals: int) -> None:
    """Remove what a crash left: files that were being made, and those of seals that do not count. Raises OSError."""
    for path in (tree / PARTS).glob("*.new"):
        path.unlink(missing_ok=True)
    for number in list_parts(tree):
        if number >= seals:
            parts_path(tree, number).unlink(missing_ok=True)


class PartsWriter:
    """Writes one parts file: hashes as they come, then table and header. There is no file before ``commit``."""

    def __init__(self, tree: Path, seal: int, first_leaf: int) -> None:
        """Raises OSError."""
        self.path = parts_path(tree, seal)
        self._making = self.path.with_name(self.path.name + ".new")
        self._making.unlink(missing_ok=True)
        self._fields = (seal, first_leaf)
        self._table: list[bytes] = []
        self._hashes = 0
        descriptor = os.open(self._making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")
        self._file.write(bytes(PARTS_HEADER.size))

    def add(self, middle: tuple[bytes, bytes], first_record: int) -> None:
        """What ``Commitments.middle`` holds; first_record: index in the seal of the first record committed with it."""
        table, hashes = middle
        for place, count in MIDDLE_ROW.iter_unpack(table):
            self._table.append(TABLE_ROW.pack(first_record + place, self._hashes))
            self._hashes += count
        self._file.write(hashes)

    def commit(self) -> None:
        """Make the file durable and give it its name. Raises OSError."""
        table = b"".join(self._table)
        fields = (PARTS_MAGIC, PARTS_FORMAT, LEVEL, *self._fields, len(self._table), self._hashes, bytes(8))
        header = PARTS_HEADER.pack(*fields, crc32c(table), 0)[:-4]
        self._file.write(table)
        self._file.seek(0)
        self._file.write(header + crc32c(header).to_bytes(4, "little"))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._making.rename(self.path)

    def abandon(self) -> None:
        """Leave no unfinished file. Raises OSError."""
        self._file.close()
        self._making.unlink(missing_ok=True)


class PartsReader:
    """One parts file. Opening reads and checks header and table; hashes are the caller's to check.

    Invariant: ``_records`` ascend, and ``_first[n]`` is where the hashes of record ``_records[n]`` begin.
    """

    def __init__(self, tree: Path, seal: int, first_leaf: int) -> None:
        """Raises TreeDamagedError, also when it cannot be opened."""
        self.path = parts_path(tree, seal)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TreeDamagedError(self.path, f"cannot be opened ({error.strerror})") from error
        try:
            self._open(seal, first_leaf)
        except BaseException:
            self.close()
            raise

    def _open(self, seal: int, first_leaf: int) -> None:
        header = os.pread(self._descriptor, PARTS_HEADER.size, 0)
        if len(header) < PARTS_HEADER.size:
            raise TreeDamagedError(self.path, "shorter than its header")
        magic, form, level, *fields, rows, hashes, _, table_checksum, checksum = PARTS_HEADER.unpack(header)
        if (magic, form, level) != (PARTS_MAGIC, PARTS_FORMAT, LEVEL) or checksum != crc32c(header[:-4]):
            raise TreeDamagedError(self.path, "its header")
        size = PARTS_HEADER.size + hashes * HASH + rows * TABLE_ROW.size
        if fields != [seal, first_leaf] or size != os.fstat(self._descriptor).st_size:
            raise TreeDamagedError(self.path, "its name, header and length disagree")
        table = os.pread(self._descriptor, rows * TABLE_ROW.size, PARTS_HEADER.size + hashes * HASH)
        if len(table) != rows * TABLE_ROW.size or crc32c(table) != table_checksum:
            raise TreeDamagedError(self.path, "its table")
        pairs = list(TABLE_ROW.iter_unpack(table))
        self._records = [record for record, _ in pairs]
        self._first = [first for _, first in pairs] + [hashes]
        self.records = rows
        self.hashes = hashes

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> PartsReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, record: int, count: int) -> bytes:
        """The hashes of the record with this index in the seal and ``count`` provisions. Raises TreeDamagedError."""
        return self._at(record, hashes_of(count))

    def compare(self, middle: tuple[bytes, bytes], first_record: int) -> int:
        """Long records of a commit, whose hashes must stand here as ``PartsWriter.add`` took them. TreeDamagedError."""
        table, hashes = middle
        place = 0
        for record, wanted in MIDDLE_ROW.iter_unpack(table):
            if self._at(first_record + record, wanted) != hashes[place : place + wanted * HASH]:
                raise TreeDamagedError(self.path, "does not hold the hashes of its records")
            place += wanted * HASH
        return len(table) // MIDDLE_ROW.size

    def _at(self, record: int, wanted: int) -> bytes:
        place = bisect_left(self._records, record)
        if (
            place == len(self._records)
            or self._records[place] != record
            or self._first[place + 1] - self._first[place] != wanted
        ):
            raise TreeDamagedError(self.path, "does not hold a record that it must hold")
        data = os.pread(self._descriptor, wanted * HASH, PARTS_HEADER.size + self._first[place] * HASH)
        if len(data) != wanted * HASH:
            raise TreeDamagedError(self.path, "shorter than its header says")
        return data
