"""The directory of seals: one row of 64 bytes a seal, derived from the seal files, for finding a leaf's seal at once.

A row: first_leaf, next_leaf (u64), kind, month, worker (u32), CRC of the row without it (u32), segment, records,
first_time_ns, last_time_ns (u64).
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.run_kernel import seal_rows_hold
from jukinet.core.audit.seal import (
    AuthorityStatement,
    ErasureStatement,
    NoteStatement,
    OperatorsStatement,
    SegmentStatement,
    Statement,
    WithholdingStatement,
    list_seals,
    open_seal,
)
from jukinet.core.checksum import crc32c

DIRECTORY: Final = "directory"
ROW: Final = struct.Struct("<QQIIIIQQQQ")
ROW_BYTES: Final = ROW.size
KIND_SEGMENT, KIND_ERASURE, KIND_WITHHOLDING, KIND_NOTE, KIND_OTHER = 1, 2, 3, 4, 0
KIND_AUTHORITY, KIND_OPERATORS = 5, 6
KINDS: Final[dict[type[Statement], int]] = {
    SegmentStatement: KIND_SEGMENT,
    ErasureStatement: KIND_ERASURE,
    WithholdingStatement: KIND_WITHHOLDING,
    NoteStatement: KIND_NOTE,
    AuthorityStatement: KIND_AUTHORITY,
    OperatorsStatement: KIND_OPERATORS,
}

assert ROW_BYTES == 64


class SealRow(NamedTuple):
    """What the directory says of one seal; its place is the seal's number."""

    first_leaf: int
    next_leaf: int
    kind: int
    month: int
    worker: int
    segment: int
    records: int
    first_time_ns: int
    last_time_ns: int

    def encode(self) -> bytes:
        fields = [*self[:5], 0, *self[5:]]
        fields[5] = crc32c(ROW.pack(*fields))
        return ROW.pack(*fields)


def decode_rows(data: bytes) -> list[SealRow]:
    """All rows of a directory; seven years of hourly segments of one worker are 61,000. Raises ValueError."""
    if not seal_rows_hold(data):
        raise ValueError("a row of the directory")
    return [SealRow(*fields[:5], *fields[6:]) for fields in ROW.iter_unpack(data)]


def row_of(first_leaf: int, records: int, statement: Statement | None) -> SealRow:
    """The row of a seal with this statement."""
    kind = KINDS.get(type(statement), KIND_OTHER) if statement is not None else KIND_OTHER
    month = statement.month if statement is not None else 0
    row = SealRow(first_leaf, first_leaf + records + 1, kind, month, 0, 0, records, 0, 0)
    if isinstance(statement, SegmentStatement):
        row = row._replace(
            worker=statement.worker,
            segment=statement.segment,
            first_time_ns=statement.first_time_ns,
            last_time_ns=statement.last_time_ns,
        )
    return row


def rows_of_seals(tree: Path) -> list[SealRow]:
    """The rows, from the seals themselves. Raises TreeDamagedError."""
    rows: list[SealRow] = []
    for place, number in enumerate(list_seals(tree)):
        if number != place:
            raise TreeDamagedError(tree, f"seal {place} is missing")
        with open_seal(tree, number) as seal:
            row = row_of(seal.first_leaf, seal.records, seal.decoded())
        if row.first_leaf != (rows[-1].next_leaf if rows else 0):
            raise TreeDamagedError(seal.path, "does not follow the seal before it")
        rows.append(row)
    return rows


class SealDirectory:
    """The rows in memory, for a reader or the sealer.

    Invariant: ``rows[n]`` is seal n, and each begins where the one before ends.
    """

    def __init__(self, rows: list[SealRow]) -> None:
        self.rows = rows
        self._ends = [row.next_leaf for row in rows]

    @classmethod
    def load(cls, tree: Path) -> SealDirectory:
        """From the file, or from the seals where the file falls short of them. Raises TreeDamagedError."""
        numbers = list_seals(tree)
        try:
            rows = decode_rows((tree / DIRECTORY).read_bytes())
        except (OSError, ValueError):
            rows = []
        follows = all(one.next_leaf == two.first_leaf for one, two in pairwise(rows))
        if not follows or numbers != list(range(len(rows))):
            rows = rows_of_seals(tree)
        return cls(rows)

    def save(self, tree: Path) -> None:
        """Write the file anew. Raises OSError."""
        making = tree / (DIRECTORY + ".new")
        making.write_bytes(b"".join(row.encode() for row in self.rows))
        making.chmod(0o600)
        making.rename(tree / DIRECTORY)

    def add(self, tree: Path, row: SealRow) -> None:
        """One more seal. Raises OSError."""
        with (tree / DIRECTORY).open("ab") as file:
            if file.tell() != len(self.rows) * ROW_BYTES:
                os.ftruncate(file.fileno(), len(self.rows) * ROW_BYTES)
            file.write(row.encode())
        self.rows.append(row)
        self._ends.append(row.next_leaf)

    @property
    def size(self) -> int:
        """Leaves of the tree."""
        return self._ends[-1] if self._ends else 0

    def seal_of(self, leaf: int) -> int:
        """The number of the seal that holds a leaf."""
        if not 0 <= leaf < self.size:
            raise ValueError("a leaf outside the tree")
        return bisect_right(self._ends, leaf)
