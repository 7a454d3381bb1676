"""Plain-Python twins of the notifications' formats and rules, written from docs/protocol.md and docs/convergence.md."""

from __future__ import annotations

import datetime
import struct
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jukinet.core.notifications import Notification

COLUMNS = (
    ("reason", "B"),
    ("state", "B"),
    ("sex", "B"),
    ("update_number", "I"),
    ("area", "I"),
    ("event_date", "I"),
    ("birth_date", "I"),
    ("code", "Q"),
    ("code_before", "Q"),
    ("name", "t"),
    ("kana", "t"),
    ("alias", "t"),
    ("address", "t"),
)


def _pad8(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def batch_bytes(rows: list[Notification]) -> bytes:
    """The columns of these notifications."""
    out = b""
    for name, letter in COLUMNS:
        values = [getattr(row, name) for row in rows]
        if letter == "t":
            texts = [value.encode() for value in values]
            offsets = [sum(map(len, texts[:i])) for i in range(len(texts) + 1)]
            out += _pad8(struct.pack(f"<{len(offsets)}I", *offsets)) + _pad8(b"".join(texts))
        else:
            out += _pad8(struct.pack(f"<{len(values)}{letter}", *values))
    return out


def _day(date: int) -> datetime.date | None:
    try:
        return datetime.date(date // 10_000, date // 100 % 100, date % 100)
    except (ValueError, OverflowError):
        return None


def _code_holds(code: int) -> bool:
    if not 0 <= code < 10**11:
        return False
    digits = [int(digit) for digit in f"{code:011d}"]
    weights = [2, 3, 4, 5, 6, 7, 2, 3, 4, 5]
    total = sum(digit * weight for digit, weight in zip(reversed(digits[:10]), weights, strict=True))
    rest = total % 11
    return digits[10] == (0 if rest <= 1 else 11 - rest)


def _text_holds(text: str, bytes_max: int) -> bool:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return False
    return len(text.encode()) <= bytes_max


def _birth_date_holds(date: int) -> bool:
    if not 0 <= date < 10_000 * 10_000:
        return False
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    if date == 0:
        return True
    if day:
        return _day(date) is not None
    return year >= 1 and month <= 12


STATES_OF_REASON = {0: {1, 2, 3, 4}, 21: {3}, 22: {2}, 23: {4}, 41: {1, 5}, 42: {1, 5}}


def fault_number(row: Notification, prefecture: int, today: datetime.date) -> int:
    """Twin of fault_of: the number of the first fault, 0 when there is none."""
    removal, code_change = row.reason in (21, 22, 23), row.reason in (41, 42)
    if row.reason not in {11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42} and (row.reason != 0 or row.state == 0):
        return 1
    if row.state != 0 and row.state not in STATES_OF_REASON.get(row.reason, {1}):
        return 13
    if not _code_holds(row.code):
        return 2
    if row.area not in range(prefecture * 1000 + 1, prefecture * 1000 + 1000):
        return 3
    if row.reason != 0 or row.event_date != 0:
        day = _day(row.event_date)
        last = today + datetime.timedelta(366 if row.reason == 21 else 1)
        if day is None or not datetime.date(1868, 1, 25) <= day <= last:
            return 5
    if row.update_number not in range(1, 65_536):
        return 12
    if row.code_before == 0 and ((row.reason == 41 and row.state == 0) or row.state == 5):
        return 10
    if row.code_before and (
        not code_change or row.state not in (0, 5) or not _code_holds(row.code_before) or row.code_before == row.code
    ):
        return 10
    if row.state == 5 or (removal and row.state == 0):
        person = (row.birth_date, row.sex, row.name, row.kana, row.alias, row.address)
        return 11 if any(person) else 0
    return _person_fault(row, row.event_date or int(f"{today:%Y%m%d}"))


def _person_fault(row: Notification, last: int) -> int:
    if not _birth_date_holds(row.birth_date) or row.birth_date > last:
        return 6
    if row.sex not in (0, 1, 2, 9):
        return 7
    if not row.name or not all(_text_holds(text, 255) for text in (row.name, row.kana, row.alias)):
        return 8
    return 0 if _text_holds(row.address, 510) else 9
