"""Proving one row of a sealed record: by the hashes of its parts file where there are any, otherwise by all of it.

What this returns was checked against the record's entry, whichever way it was made (docs/record-of-use.md, 7.4).
"""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

from jukinet.core import limits
from jukinet.core.audit.layout import MATCHES, PROVISION_BYTES, RECORD_HEADER_BYTES
from jukinet.core.audit.merkle import leaf_hash, path_among
from jukinet.core.audit.parts import LEAVES
from jukinet.core.audit.seal import RecordEntry
from jukinet.core.audit.tree_kernel import Commitments, tree_root

HEAD_SALT: Final = 2**32 - 2
HASH: Final = 32
FIXED: Final = struct.Struct("<4xIQHHIII")
FIRST_READ_BYTES: Final = RECORD_HEADER_BYTES + limits.RECORD_HEAD_BYTES_MAX + LEAVES * PROVISION_BYTES


class RowProof(NamedTuple):
    """What leads from head and row to the ``parts`` of a record's entry."""

    head: bytes
    """The record from byte 8 to the end of its head."""
    head_path: list[bytes]
    row_bytes: bytes
    """The provision, and the matches byte if the record has them."""
    row_path: list[bytes]


def short_proof(
    descriptor: int, entry: RecordEntry, commitments: Commitments, middle: bytes, row: int
) -> RowProof | None:
    """The proof of a row by the ``middle`` hashes of its record, reading only what is around head and row.

    descriptor: of the segment. None when anything does not lead to the entry: damage, or a wrong parts file; proving
    by the whole record tells which.
    """
    if not middle or tree_root(middle) != entry.parts:
        return None
    front = os.pread(descriptor, min(entry.record_bytes, FIRST_READ_BYTES), entry.offset)
    if len(front) < RECORD_HEADER_BYTES:
        return None
    record_bytes, sequence, worker, kind, head_bytes, count, flags = FIXED.unpack_from(front)
    if (record_bytes, sequence, worker, kind, count) != (
        entry.record_bytes,
        entry.sequence,
        entry.worker,
        entry.kind,
        entry.count,
    ):
        return None
    row_bytes = PROVISION_BYTES + (flags == MATCHES)
    start = RECORD_HEADER_BYTES + head_bytes
    if flags & ~MATCHES or start + count * row_bytes > record_bytes or head_bytes > limits.RECORD_HEAD_BYTES_MAX:
        return None
    head = front[8:start]
    reader = _Rows(descriptor, entry.offset + start, count, flags == MATCHES)
    head_leaf = leaf_hash(commitments.salt(sequence, HEAD_SALT) + head)
    paths = []
    for leaf in (0, row + 1):
        group = leaf // LEAVES
        leaves = reader.leaves(commitments, sequence, group, head_leaf)
        if leaves is None or tree_root(leaves) != middle[HASH * group : HASH * group + HASH]:
            return None
        paths.append(path_among(leaves, leaf % LEAVES) + path_among(middle, group))
    return RowProof(head, paths[0], reader.row(row), paths[1])


class _Rows:
    """The rows of one record in its file."""

    def __init__(self, descriptor: int, offset: int, count: int, told_by_row: bool) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._count = count
        self._told_by_row = told_by_row
        self._read: tuple[int, bytes, bytes] = (0, b"", b"")

    def leaves(self, commitments: Commitments, sequence: int, group: int, head_leaf: bytes) -> bytes | None:
        """Leaf hashes of parts ``group`` * 256 and on; None when the file is shorter."""
        first = max(group * LEAVES - 1, 0)
        aligned = first // 4 * 4
        rows = min(group * LEAVES + LEAVES - 1, self._count) - aligned
        packed = os.pread(self._descriptor, rows * PROVISION_BYTES, self._offset + aligned * PROVISION_BYTES)
        matches = None
        if self._told_by_row:
            matches = os.pread(self._descriptor, rows, self._offset + self._count * PROVISION_BYTES + aligned)
        if len(packed) != rows * PROVISION_BYTES or (matches is not None and len(matches) != rows):
            return None
        self._read = (aligned, packed, matches or b"")
        hashes = commitments.row_leaves(sequence, aligned, packed, matches)[HASH * (first - aligned) :]
        return hashes if group else head_leaf + hashes

    def row(self, row: int) -> bytes:
        """What a row's leaf shows, of those that were read last."""
        aligned, packed, matches = self._read
        place = row - aligned
        return packed[PROVISION_BYTES * place : PROVISION_BYTES * (place + 1)] + matches[place : place + 1]
