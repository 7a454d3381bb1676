"""Plain-Python twin of the packed LOOKUP_ANSWER, written from docs/protocol.md (3.3.1) alone: an encoder, and a reader
that gives the plain form. Nothing here is shared with the implementation."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from jukinet.core.records.resident import Resident
from jukinet.core.store.builder import Area, Town

from . import twins

OUTCOMES = {1, *range(3, 12)}
REASONS = {0, 11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42}


def pad8(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def packed_kana(text: str) -> bytes | None:
    out = []
    for character in text:
        if "\u30a1" <= character <= "\u30fc":
            out.append(0x20 + ord(character) - 0x30A1)
        elif character in (" ", "\u3000"):
            out.append(1 if character == " " else 2)
        else:
            return None
    return bytes(out)


def packed_date(decimal: int) -> int:
    return (decimal // 10000) << 9 | (decimal // 100 % 100) << 5 | decimal % 100


def encode(
    codes: Sequence[int], items: int, version: int, table: dict[int, Resident], areas: list[Area], towns: list[Town]
) -> bytes:
    """What the register answers in form 1."""
    rows, names, kana, aliases, births, area, town, rest, changes, successors, texts = ([] for _ in range(11))
    for code in codes:
        outcome, resident = twins.outcome_of(code, table, areas)
        person = resident if resident is not None and resident.has_person else None
        reading = packed_kana(person.kana) if person is not None else b""
        if items & 2 and reading is None:
            outcome |= 16
        if items & 4 and person is not None and person.alias:
            outcome |= 32
            aliases.append(len(person.alias.encode()))
        if items & 128 and resident is not None and resident.successor_key is not None:
            outcome |= 64
            successors.append(resident.successor_key * 10 + twins.check_digit(resident.successor_key))
        rows.append(outcome)
        changes.append(packed_date(resident.change_date) | resident.reason << 21 if resident is not None else 0)
        if person is None:
            person, reading = Resident(key=0, state=0), b""
        spelt = reading if reading is not None else person.kana.encode()
        names.append(len(person.name.encode()))
        kana.append(len(spelt))
        rest.append(len(person.address_rest.encode()))
        births.append(
            (packed_date(person.birth_date) if items & 8 else 0)
            | ((3 if person.sex == 9 else person.sex) << 21 if items & 16 else 0)
        )
        area.append(person.area)
        town.append(person.town)
        told = ((1, person.name.encode()), (2, spelt), (32, person.address_rest.encode()), (4, person.alias.encode()))
        texts += [text for item, text in told if items & item]
    joined = b"".join(texts)
    out = struct.pack("<IIQIIIIQ", items, len(codes), version, len(towns), len(areas), len(aliases), len(successors),
                      len(joined)) + pad8(bytes(rows))  # fmt: skip
    if items & 1:
        out += pad8(bytes(names))
    if items & 2:
        out += pad8(bytes(kana))
    if items & 4:
        out += pad8(bytes(aliases))
    if items & 24:
        out += pad8(b"".join(number.to_bytes(3, "little") for number in births))
    if items & 32:
        out += pad8(struct.pack(f"<{len(area)}H", *area))
        out += pad8(b"".join(number.to_bytes(3, "little") for number in town)) + pad8(bytes(rest))
    if items & 64:
        out += pad8(struct.pack(f"<{len(changes)}I", *changes))
    if items & 128:
        out += struct.pack(f"<{len(successors)}Q", *successors)
    return out + pad8(joined)


class _Reading:
    """Takes columns off the front of a payload. ValueError when they do not hold."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.place = 40

    def take(self, size: int) -> bytes:
        data = self.payload[self.place : self.place + size]
        padding = self.payload[self.place + size : self.place + size + -size % 8]
        if len(data) != size or len(padding) != -size % 8 or any(padding):
            raise ValueError("a column is cut off, or its padding is not zero")
        self.place += size + len(padding)
        return data


def _threes(data: bytes) -> list[int]:
    return [int.from_bytes(data[place : place + 3], "little") for place in range(0, len(data), 3)]


def _decimal(packed: int) -> int:
    year, month, day = packed >> 9, packed >> 5 & 15, packed & 31
    if packed and (not year or month > 12 or (day and not month)):
        raise ValueError("no date")
    return year * 10000 + month * 100 + day


def _text(data: bytes) -> str:
    return data.decode("utf-8")


def _kana(data: bytes) -> str:
    if any(byte not in (1, 2) and not 0x20 <= byte <= 0x7B for byte in data):
        raise ValueError("no packed kana")
    return "".join({1: " ", 2: "\u3000"}.get(byte) or chr(0x30A1 + byte - 0x20) for byte in data)


def decode(payload: bytes, items: int, count: int, jis: Sequence[int], town_texts: Sequence[str]) -> bytes:
    """The plain payload that says the same. ValueError when the packed one does not hold."""
    if len(payload) < 40 or len(payload) % 8:
        raise ValueError("the length")
    _, _, version, towns, areas, aliases, successors, text_bytes = struct.unpack_from("<IIQIIIIQ", payload)
    if towns >= 1 << 24 or areas > 4095 or aliases > count or successors > count:
        raise ValueError("a count")
    reading = _Reading(payload)
    rows = reading.take(count)
    allowed = 15 | (16 if items & 2 else 0) | (32 if items & 4 else 0) | (64 if items & 128 else 0)
    for row in rows:
        if row & ~allowed or row & 15 not in OUTCOMES:
            raise ValueError("a row")
    if sum(row >> 5 & 1 for row in rows) != aliases or sum(row >> 6 & 1 for row in rows) != successors:
        raise ValueError("a count of bits")
    name_bytes = reading.take(count) if items & 1 else bytes(count)
    kana_bytes = reading.take(count) if items & 2 else bytes(count)
    alias_bytes = iter(reading.take(aliases) if items & 4 else b"")
    births = _threes(reading.take(3 * count)) if items & 24 else [0] * count
    area = struct.unpack(f"<{count}H", reading.take(2 * count)) if items & 32 else ()
    town = _threes(reading.take(3 * count)) if items & 32 else []
    rest_bytes = reading.take(count) if items & 32 else bytes(count)
    changes = struct.unpack(f"<{count}I", reading.take(4 * count)) if items & 64 else ()
    codes = iter(struct.unpack(f"<{successors}Q", reading.take(8 * successors)) if items & 128 else ())
    texts = reading.take(text_bytes)
    if reading.place != len(payload):
        raise ValueError("trailing bytes")
    if any(number >> 23 for number in births) or any(number >> 27 for number in changes):
        raise ValueError("bits that are zero")
    if any(number and number >= areas for number in area) or any(number > towns for number in town):
        raise ValueError("a number of a place")
    if any(number >> 21 not in REASONS for number in changes):
        raise ValueError("a reason")
    place = 0

    def text(size: int) -> bytes:
        nonlocal place
        place += size
        if place > text_bytes:
            raise ValueError("the lengths")
        return texts[place - size : place]

    names, kana, aliased, addresses, replaced = [], [], [], [], []
    for i, row in enumerate(rows):
        names.append(_text(text(name_bytes[i])))
        kana.append((_text if row & 16 else _kana)(text(kana_bytes[i])))
        before = town_texts[town[i] - 1] if items & 32 and town[i] else ""
        addresses.append(before + _text(text(rest_bytes[i])))
        aliased.append(_text(text(next(alias_bytes))) if row & 32 else "")
        replaced.append(next(codes) if row & 64 else 0)
    if place != text_bytes or any(code >= 10**11 for code in replaced):
        raise ValueError("the lengths, or a code")
    out = struct.pack("<IIQ", items, count, version) + pad8(bytes(row & 15 for row in rows))
    if items & 1:
        out += twins._texts(names)
    if items & 2:
        out += twins._texts(kana)
    if items & 4:
        out += twins._texts(aliased)
    dates = [_decimal(number & 0x1FFFFF) for number in births]
    if items & 8:
        out += pad8(struct.pack(f"<{count}I", *dates))
    if items & 16:
        out += pad8(bytes((0, 1, 2, 9)[number >> 21] for number in births))
    if items & 32:
        told = [jis[number] if row & 15 <= 5 else 0 for number, row in zip(area, rows, strict=True)]
        out += pad8(struct.pack(f"<{count}I", *told)) + twins._texts(addresses)
    if items & 64:
        days = [_decimal(number & 0x1FFFFF) for number in changes]
        out += pad8(bytes(number >> 21 for number in changes)) + pad8(struct.pack(f"<{count}I", *days))
    if items & 128:
        out += struct.pack(f"<{count}Q", *replaced)
    return out
