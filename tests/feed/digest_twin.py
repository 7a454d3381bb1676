"""Plain-Python twins of the digests of holdings, written from docs/ alone."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

from jukinet.core.records.resident import Resident
from jukinet.core.store.schema import Area, Town
from jukinet.core.vocabulary import State

LEAF_KEYS = 2_441_407


def entry_bytes(resident: Resident, areas: list[Area], towns: list[Town]) -> bytes:
    address = (towns[resident.town - 1].text if resident.town else "") + resident.address_rest
    out = struct.pack(
        "<QIIIHBB",
        resident.key,
        areas[resident.area].jis,
        resident.birth_date,
        resident.change_date,
        resident.update_number,
        resident.reason,
        resident.sex,
    )
    for text in (resident.name, resident.kana, resident.alias, address):
        out += struct.pack("<H", len(text.encode())) + text.encode()
    if resident.state == State.RETIRED:
        out += struct.pack("<Q", 0 if resident.successor_key is None else resident.successor_key + 1)
    return out


def entry_hash(resident: Resident, areas: list[Area], towns: list[Town]) -> bytes:
    return hashlib.blake2b(entry_bytes(resident, areas, towns), digest_size=16).digest()


def is_held(resident: Resident) -> bool:
    leads_on = resident.state == State.RETIRED and resident.successor_key is not None
    return resident.state == State.CURRENT or leads_on


def held_by(resident: Resident, prefecture: int, areas: list[Area]) -> bool:
    return is_held(resident) and areas[resident.area].jis // 1000 == prefecture


def digest(residents: Iterable[Resident], areas: list[Area], towns: list[Town]) -> tuple[int, bytes]:
    hashes = [entry_hash(r, areas, towns) for r in residents if is_held(r)]
    total = sum(int.from_bytes(found, "little") for found in hashes) % (1 << 128)
    return len(hashes), total.to_bytes(16, "little")
