"""An implementation of the sealed record's hashes from docs/record-of-use.md alone; shares no code with the product."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

HEAD_SALT, CONTENT_SALT = 2**32 - 2, 2**32 - 1


def h(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"".join(pieces)).digest()


def leaf(entry: bytes) -> bytes:
    return h(b"\0", entry)


def root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there, over leaf hashes."""
    if not hashes:
        return h()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return h(b"\1", root(hashes[:k]), root(hashes[k:]))


def path(hashes: Sequence[bytes], m: int) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962, 2.1.1."""
    if len(hashes) <= 1:
        return []
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    if m < k:
        return [*path(hashes[:k], m), root(hashes[k:])]
    return [*path(hashes[k:], m - k), root(hashes[:k])]


def proof(hashes: Sequence[bytes], m: int, whole: bool = True) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 6962, 2.1.2."""
    n = len(hashes)
    if m == n:
        return [] if whole else [root(hashes)]
    k = 1
    while 2 * k < n:
        k *= 2
    if m <= k:
        return [*proof(hashes[:k], m, whole), root(hashes[k:])]
    return [*proof(hashes[k:], m - k, False), root(hashes[:k])]


def salt(segment_salt: bytes, sequence: int, number: int) -> bytes:
    return h(b"JKN-SALT", segment_salt, struct.pack("<QI", sequence, number))


def parts(record: bytes, segment_salt: bytes) -> list[bytes]:
    """Leaf hashes of a record's own tree."""
    (sequence,) = struct.unpack_from("<Q", record, 8)
    head, count, flags = struct.unpack_from("<III", record, 20)
    leaves = [leaf(salt(segment_salt, sequence, HEAD_SALT) + record[8 : 32 + head])]
    matches = 32 + head + 6 * count
    for row in range(count):
        pair = salt(segment_salt, sequence, row // 2)
        shown = record[32 + head + 6 * row : 32 + head + 6 * row + 6]
        if flags & 1:
            shown += record[matches + row : matches + row + 1]
        leaves.append(leaf(pair[16 * (row % 2) : 16 * (row % 2) + 16] + shown))
    return leaves


def entry(record: bytes, worker: int, segment: int, offset: int, segment_salt: bytes) -> bytes:
    """The tree's entry of a record."""
    (sequence, _, kind) = struct.unpack_from("<QHH", record, 8)
    (count,) = struct.unpack_from("<I", record, 24)
    content = h(salt(segment_salt, sequence, CONTENT_SALT), record[8:])
    fields = (b"JKRE", worker, kind, segment, sequence, offset, len(record), count)
    return struct.pack("<4sHHQQQII", *fields) + content + root(parts(record, segment_salt))
