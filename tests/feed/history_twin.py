"""History blocks a second time, from docs/store-format.md alone."""

from __future__ import annotations

import struct

from ..core.twins import crc32c

Entry = tuple[int, int, int, int, bytes]


def encode(bucket: int, entries: list[Entry]) -> bytes:
    data = struct.pack("<IHBB", bucket, len(entries), 1, 0)
    for delta, standing, day, status, record in entries:
        data += struct.pack("<IBHQH", delta, standing, day, status, len(record)) + record
    return data + struct.pack("<I", crc32c(data))


def merge(entries: list[Entry], changes: list[tuple[int, list[tuple[int, int, int, bytes]]]]) -> list[Entry]:
    changed = {delta for delta, _ in changes}
    kept = [entry for entry in entries if entry[0] not in changed]
    kept += [(delta, *row) for delta, rows in changes for row in rows]
    return sorted(kept, key=lambda entry: entry[0])
