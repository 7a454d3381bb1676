"""Plain-Python twins: reference encoders of the answers, and the column checks that column_kernel makes natively.

Written from docs/protocol.md alone and as plainly as possible; nothing here is shared with the implementation.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

ITEM_BITS = {"names": 1, "kana": 2, "aliases": 4, "birth_dates": 8, "sexes": 16, "addresses": 32, "change": 64}


def pad8(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def text_column(texts: Sequence[str]) -> bytes:
    rows = [text.encode() for text in texts]
    offsets = [0]
    for row in rows:
        offsets.append(offsets[-1] + len(row))
    return pad8(struct.pack(f"<{len(offsets)}I", *offsets)) + pad8(b"".join(rows))


def u8(values: Sequence[int]) -> bytes:
    return pad8(bytes(values))


def u32(values: Sequence[int]) -> bytes:
    return pad8(struct.pack(f"<{len(values)}I", *values))


def u64(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def header(payload: bytes, kind: int, request_id: int, flags: int = 0, reserved: int = 0) -> bytes:
    return struct.pack("<IHHII", len(payload), kind, flags, request_id, reserved)


def frame(payload: bytes, kind: int, request_id: int) -> bytes:
    return header(payload, kind, request_id) + payload


def question(session_id: int, second: int, codes: Sequence[int], claims: bytes = b"", form: int = 0) -> bytes:
    return struct.pack("<IIII", session_id, second, len(codes), form) + u64(codes) + claims


def cohort_put(session_id: int, step: int, name: str, codes: Sequence[int]) -> bytes:
    return struct.pack("<IIII32s", session_id, step, len(codes), 0, name.encode()) + u64(codes)


def cohort_stored(step: int, version: int, rows: Sequence[tuple[str, int, int, int, int, int]]) -> bytes:
    """rows: name, codes, order, place, registered date, complete."""
    packed = [struct.pack("<32sQQQII", name.encode(), *numbers) for name, *numbers in rows]
    return struct.pack("<IIQ", step, len(rows), version) + b"".join(packed)


def cohort_changes(session_id: int, rows_max: int, name: str, order: int, place: int) -> bytes:
    return struct.pack("<IIII32sQQ", session_id, 0, rows_max, 0, name.encode(), order, place)


def cohort_changes_answer(
    more: int, version: int, cursor: tuple[int, int], codes: Sequence[int], outcomes: Sequence[int],
    reasons: Sequence[int], change_dates: Sequence[int], registered_dates: Sequence[int],
) -> bytes:  # fmt: skip
    head = struct.pack("<IIQQQ", more, len(codes), version, *cursor)
    return head + u64(codes) + u8(outcomes) + u8(reasons) + u32(change_dates) + u32(registered_dates)


def lookup_answer(items: int, version: int, outcomes: Sequence[int], **columns: Sequence[Any]) -> bytes:
    """columns: names, kana, aliases, birth_dates, sexes, areas, addresses, reasons, change_dates, successor_codes."""
    out = struct.pack("<IIQ", items, len(outcomes), version) + u8(outcomes)
    if items & 1:
        out += text_column(columns["names"])
    if items & 2:
        out += text_column(columns["kana"])
    if items & 4:
        out += text_column(columns["aliases"])
    if items & 8:
        out += u32(columns["birth_dates"])
    if items & 16:
        out += u8(columns["sexes"])
    if items & 32:
        out += u32(columns["areas"]) + text_column(columns["addresses"])
    if items & 64:
        out += u8(columns["reasons"]) + u32(columns["change_dates"])
    if items & 128:
        out += u64(columns["successor_codes"])
    return out


def three_bytes(values: Sequence[int]) -> bytes:
    return pad8(b"".join(value.to_bytes(3, "little") for value in values))


def packed_date(decimal: int) -> int:
    return (decimal // 10000) << 9 | (decimal // 100 % 100) << 5 | decimal % 100


def packed_kana(text: str) -> bytes:
    return bytes({" ": 1, "\u3000": 2}.get(letter) or 0x20 + ord(letter) - 0x30A1 for letter in text)


def packed_lookup_answer(
    items: int, version: int, outcomes: Sequence[int], towns: int, areas: int, **columns: Sequence[Any]
) -> bytes:
    """columns: names, kana (all of packed characters), aliases, birth_dates, sexes, area_numbers, town_numbers, rests,
    reasons, change_dates, successor_codes."""
    count = len(outcomes)
    texts = {item: [b""] * count for item in (1, 2, 4, 32)}
    for item, name, encode in ((1, "names", str.encode), (2, "kana", packed_kana), (4, "aliases", str.encode),
                               (32, "rests", str.encode)):  # fmt: skip
        if items & item:
            texts[item] = [encode(text) for text in columns[name]]
    codes = [code for code in columns["successor_codes"] if code] if items & 128 else []
    rows = [
        outcome | (32 if texts[4][i] else 0) | (64 if items & 128 and columns["successor_codes"][i] else 0)
        for i, outcome in enumerate(outcomes)
    ]
    run = b"".join(texts[item][i] for i in range(count) for item in (1, 2, 32, 4))
    aliases = [len(text) for text in texts[4] if text]
    out = struct.pack("<IIQIIIIQ", items, count, version, towns, areas, len(aliases), len(codes), len(run)) + u8(rows)
    if items & 1:
        out += u8([len(text) for text in texts[1]])
    if items & 2:
        out += u8([len(text) for text in texts[2]])
    if items & 4:
        out += u8(aliases)
    if items & 24:
        dates = [packed_date(date) for date in columns["birth_dates"]] if items & 8 else [0] * count
        sexes = [min(sex, 3) for sex in columns["sexes"]] if items & 16 else [0] * count
        out += three_bytes([date | sex << 21 for date, sex in zip(dates, sexes, strict=True)])
    if items & 32:
        numbers = columns["area_numbers"]
        out += pad8(struct.pack(f"<{count}H", *numbers)) + three_bytes(columns["town_numbers"])
        out += u8([len(text) for text in texts[32]])
    if items & 64:
        changes = zip(columns["change_dates"], columns["reasons"], strict=True)
        out += u32([packed_date(date) | reason << 21 for date, reason in changes])
    return out + u64(codes) + pad8(run)


def towns_answer(after: int, version: int, towns: int, areas: Sequence[int], texts: Sequence[str]) -> bytes:
    head = struct.pack("<IIQII", after, len(texts), version, towns, len(areas))
    return head + u32(areas) + text_column(texts)


def history_answer(
    items: int, version: int, outcomes: Sequence[int], row_ends: Sequence[int], **columns: Sequence[Any]
) -> bytes:
    """columns: replaced_dates, and those of lookup_answer; the groups are those of a LOOKUP_ANSWER of as many rows."""
    replaced = columns.pop("replaced_dates")
    head = struct.pack("<IIQ", items, len(outcomes), version) + u8(outcomes) + u32(row_ends) + u32(replaced)
    rows = [1] * len(replaced)
    return head + lookup_answer(items & 127, version, rows, **columns)[16 + len(u8(rows)) :]


GIVEN_BITS = {"names": 1, "kana": 2, "birth_dates": 8, "sexes": 16, "addresses": 32}


def find(session_id: int, items: int, count: int, prefix: bool = False, **columns: Sequence[Any]) -> bytes:
    """A SEARCH or MATCH; columns: names, kana, birth_dates, sexes, addresses."""
    given = sum(bit for name, bit in GIVEN_BITS.items() if name in columns)
    out = struct.pack("<IIII", session_id, items | given << 8 | prefix << 16, count, 0)
    for name in GIVEN_BITS:
        if name in columns:
            encode = {"birth_dates": u32, "sexes": u8}.get(name, text_column)
            out += encode(columns[name])
    return out


def person_groups(items: int, outcomes: Sequence[int], **columns: Sequence[Any]) -> bytes:
    """Grade, levels, probability (and margin, if it is there), then outcome and groups as in a LOOKUP_ANSWER."""
    out = u8(columns.pop("grades")) + u32(columns.pop("levels")) + u32(columns.pop("probabilities"))
    if "margins" in columns:
        out += u32(columns.pop("margins"))
    if "codes" in columns:
        columns["successor_codes"] = columns.pop("codes")
    return out + lookup_answer(items, 0, outcomes, **columns)[16:]


def search_answer(
    items: int, version: int, found: Sequence[int], row_ends: Sequence[int], outcomes: Sequence[int],
    **columns: Sequence[Any],
) -> bytes:  # fmt: skip
    head = struct.pack("<IIQ", items, len(found), version) + u8(found) + u32(row_ends)
    return head + person_groups(items, outcomes, **columns)


def match_answer(
    items: int, version: int, found: Sequence[int], candidates: Sequence[int], outcomes: Sequence[int],
    **columns: Sequence[Any],
) -> bytes:  # fmt: skip
    head = struct.pack("<IIQ", items, len(found), version) + u8(found) + u32(candidates)
    return head + person_groups(items, outcomes, **columns)


def status_answer(since: int, version: int, outcomes: Sequence[int], change_dates: Sequence[int]) -> bytes:
    return struct.pack("<IIQ", since, len(outcomes), version) + u8(outcomes) + u32(change_dates)


def verify_answer(items: int, version: int, outcomes: Sequence[int], matches: Sequence[int]) -> bytes:
    return struct.pack("<IIQ", items, len(outcomes), version) + u8(outcomes) + u8(matches)


class Fault(Exception):  # noqa: N818
    """What the twin of the kernel raises: the fault's number, the column."""

    def __init__(self, fault: int, column: int) -> None:
        super().__init__(fault, column)
        self.fault = fault
        self.column = column


TRUNCATED, TRAILING, PADDING, OFFSETS, NOT_UTF8, VALUE, TEXT_TOO_LONG = 1, 2, 3, 4, 5, 16, 17
WIDTHS = {"o": 1, "p": 1, "s": 1, "r": 1, "m": 1, "d": 4, "a": 4, "k": 8, "c": 8, "b": 1, "w": 4}
WIDTHS |= {"u": 1, "g": 1, "l": 4, "q": 4}
REASONS = {0, 11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42}


def date_holds(value: int) -> bool:
    text = f"{value:010d}"
    year, month, day = int(text[:-4]), int(text[-4:-2]), int(text[-2:])
    if value == 0:
        return True
    return 1 <= year <= 9999 and month <= 12 and day <= 31 and (month > 0 or day == 0)


def value_holds(kind: str, value: int, matches_mask: int) -> bool:
    return {
        "o": value in {1, *range(3, 12)},
        "p": value in set(range(1, 12)),
        "s": value in {0, 1, 2, 9},
        "r": value in REASONS,
        "m": value | matches_mask == matches_mask,
        "d": date_holds(value),
        "a": value < 100_000,
        "c": value < 10**11,
        "k": True,
        "b": True,
        "w": True,
        "u": 1 <= value <= 11,
        "g": value <= 6,
        "l": value < 1 << 20 and all(value >> shift & 15 <= 9 for shift in range(0, 20, 4)),
        "q": value <= 1_000_000,
    }[kind]


def _padding(payload: bytes, start: int, column: int) -> int:
    end = start + -start % 8
    if end > len(payload):
        raise Fault(TRUNCATED, column)
    if any(payload[start:end]):
        raise Fault(PADDING, column)
    return end


def _text(payload: bytes, at: int, count: int, longest: int, column: int) -> tuple[list[int], int, int]:
    if at + 4 * (count + 1) > len(payload):
        raise Fault(TRUNCATED, column)
    offsets = struct.unpack_from(f"<{count + 1}I", payload, at)
    data_at = _padding(payload, at + 4 * (count + 1), column)
    if offsets[0] != 0 or list(offsets) != sorted(offsets):
        raise Fault(OFFSETS, column)
    data_end = data_at + offsets[-1]
    if data_end > len(payload):
        raise Fault(TRUNCATED, column)
    end = _padding(payload, data_end, column)
    rows = [payload[data_at + offsets[i] : data_at + offsets[i + 1]] for i in range(count)]
    for row in rows:
        try:
            row.decode()
        except UnicodeDecodeError:
            raise Fault(NOT_UTF8, column) from None
    fault = TEXT_TOO_LONG if any(len(row) > longest for row in rows) else 0
    return [at, data_at, data_end], end, fault


def locate_columns(payload: bytes, start: int, count: int, plan: bytes, matches_mask: int, longest: int) -> list[int]:
    """Twin of column_kernel.locate_columns: the same positions, the same faults."""
    at = start
    positions: list[int] = []
    kept: Fault | None = None
    for column, kind in enumerate(plan.decode()):
        if kind == "t":
            found, at, fault = _text(payload, at, count, longest, column)
            positions += found
        else:
            width = WIDTHS[kind]
            end = at + width * count
            if end > len(payload):
                raise Fault(TRUNCATED, column)
            letter = {1: "B", 4: "I", 8: "Q"}[width]
            values = struct.unpack_from(f"<{count}{letter}", payload, at)
            positions.append(at)
            at = _padding(payload, end, column)
            fault = 0 if all(value_holds(kind, value, matches_mask) for value in values) else VALUE
        if fault and kept is None:
            kept = Fault(fault, column)
    if at != len(payload):
        raise Fault(TRAILING, len(plan) - 1)
    if kept is not None:
        raise kept
    return positions
