"""Plain-Python twin of answer_kernel, written from docs/protocol.md."""

from __future__ import annotations

import datetime
import struct

from jukinet.core.codes import code_from_key
from jukinet.core.vocabulary import MALFORMED_CODE, Found


def packed_date(value: int) -> int | None:
    """The packed form of a decimal date; None for one that does not exist."""
    year, month, day = value // 10_000, value // 100 % 100, value % 100
    if value == 0:
        return 0
    if not 1 <= year <= 9_999 or month > 12 or (month == 0 and day):
        return None
    if month and day:
        try:
            datetime.date(year, month, day)
        except ValueError:
            return None
    return year << 9 | month << 5 | day


def status_of(name: bytes, kana: bytes, date: int, sex: int, address: bytes) -> int:
    """0, or why the row cannot be looked for."""
    packed = packed_date(date)
    if packed is None:
        return Found.BAD_BIRTH_DATE
    for text, status in ((name, Found.BAD_NAME), (kana, Found.BAD_KANA), (address, Found.BAD_ADDRESS)):
        if len(text) > 1_024:
            return status
    if sex not in (0, 1, 2, 9):
        return Found.BAD_SEX
    return 0 if (name or kana) and (packed or address) else Found.TOO_FEW_ITEMS


def code_of(status: int, key: int) -> int:
    return code_from_key(key) if status == Found.ONE and key < 10**10 else MALFORMED_CODE


def packed_levels(levels: list[int]) -> int:
    return sum((level & 15) << 4 * place for place, level in enumerate(levels))


def millionths(share: float) -> int:
    if not share >= 0.0:
        return 0
    value: float = struct.unpack("f", struct.pack("f", share))[0] if share < 1e30 else 1.0
    return 1_000_000 if value >= 1.0 else int(value * 1e6 + 0.5)
