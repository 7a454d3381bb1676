"""Plain Python twins of the native parts of cohorts, from docs/cohorts.md alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import groupby

from jukinet.core import codes as code_rules

from ..core.twins import crc32c

WIDTH = 131_072


def encode(keys: Sequence[int]) -> bytes:
    number = keys[0] // WIDTH
    data = struct.pack("<II", number, len(keys))
    before = number * WIDTH - 1
    for key in keys:
        distance, before = key - before - 1, key
        while distance > 127:
            data += bytes([distance & 127 | 128])
            distance >>= 7
        data += bytes([distance])
    return data + struct.pack("<I", crc32c(data))


def encode_ranges(keys: Sequence[int]) -> list[tuple[int, bytes]]:
    return [(number, encode(list(group))) for number, group in groupby(keys, key=lambda key: key // WIDTH)]


def changed_keys(codes: Sequence[int], before: Sequence[int], results: Sequence[int]) -> list[int]:
    rows = [row for row, result in enumerate(results) if result != 3]
    named = [codes[row] for row in rows] + [before[row] for row in rows if before[row]]
    return sorted({code // 10 for code in named if code < 10**11 and code_rules.is_valid(code)})
