"""The identity index in plain Python: sets in dicts, by docs/identity-index.md. Folding has twins of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from jukinet.core.identity.entries import folded_texts
from jukinet.core.identity.layout import IdentityLayout
from jukinet.core.records.resident import Resident

MASK = (1 << 64) - 1
KANA, NAME, DATE = 1, 2, 3
Entry = tuple[int, int, int]


def fold(a: int, b: int) -> int:
    product = a * b
    return product >> 64 ^ product & MASK


def hash_of(text: bytes) -> int:
    h = 0x9E3779B97F4A7C15
    for at in range(0, len(text), 8):
        h = fold(h ^ int.from_bytes(text[at : at + 8], "little"), 0xD6E8FEB86659FD93)
    return fold(h ^ len(text), 0xA0761D6478BD642F)


def packed(decimal: int) -> int:
    return decimal // 10_000 << 9 | decimal // 100 % 100 << 5 | decimal % 100


def code(decimal: int) -> int:
    year = decimal // 10_000
    return 0 if year == 0 else min(max(year - 1799, 1), 402) << 9 | packed(decimal) & 511


def bit(value: int, bits: int) -> int:
    return ((value * 0x9E3779B1 & 0xFFFFFFFF) >> 16) * bits >> 16


def signature(kana: bytes, name: bytes) -> int:
    found = 0
    for byte in kana:
        found |= 1 << bit(byte, 18)
    for letter in name.decode():
        found |= 1 << 18 + bit(ord(letter), 12)
    return found


def date_bucket(layout: IdentityLayout, date: int, key: int) -> int:
    year = date >> 9
    first = sum(layout.year_buckets[:year])
    if year == 0:
        return key * layout.year_buckets[0] // 10**10
    month = date >> 5 & 15
    place = 1 + (month - 1) * 32 + (date & 31) if month else 0
    return first + (place * 10**10 + key) * layout.year_buckets[year] // (385 * 10**10)


def entries_of(layout: IdentityLayout, key: int, persons: Iterable[Resident]) -> set[Entry]:
    found: set[Entry] = set()
    for person in persons:
        if not person.has_person:
            continue
        date = code(person.birth_date)
        name, kana = folded_texts(person.name.encode(), person.kana.encode())
        texts = [name]
        if person.alias:
            texts.append(folded_texts(person.alias.encode(), b"")[0])
        for table, text in [(KANA, kana), *((NAME, text) for text in texts)]:
            if text:
                position = hash_of(text) * (layout.text_buckets << 12) >> 64
                found.add((table, position >> 12, (position & 4095) << 52 | date << 34 | key))
        for text in texts:
            found.add((DATE, date_bucket(layout, date, key), signature(kana, text) << 34 | key))
    return found


class Twin:
    """All entries of some residents; ``buckets`` by table and bucket."""

    def __init__(self, layout: IdentityLayout, residents: Iterable[Resident]) -> None:
        self.layout = layout
        self.buckets: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for resident in residents:
            for table, bucket, entry in entries_of(layout, resident.key, [resident]):
                self.buckets[table, bucket].add(entry)

    def equal(self, table: int, text: bytes, date: int) -> list[int]:
        return [key for key, found in self.listed(table, text) if found == code(date)]

    def listed(self, table: int, text: bytes) -> list[tuple[int, int]]:
        """Keys and date codes of a folded text, by date and key."""
        position = hash_of(text) * (self.layout.text_buckets << 12) >> 64
        found = [entry for entry in self.buckets[table, position >> 12] if entry >> 52 == position & 4095]
        return [(entry & (1 << 34) - 1, entry >> 34 & 0x3FFFF) for entry in sorted(found)]

    def scan(self, date: int, wanted: int, care: int, differ_max: int) -> list[tuple[int, int]]:
        """Keys and signatures, in the order of buckets and entries."""
        first = date_bucket(self.layout, code(date), 0)
        last = date_bucket(self.layout, code(date), 10**10 - 1)
        return [
            (entry & (1 << 34) - 1, entry >> 34)
            for bucket in range(first, last + 1)
            for entry in sorted(self.buckets[DATE, bucket])
            if ((entry >> 34 ^ wanted) & care).bit_count() <= differ_max
        ]
