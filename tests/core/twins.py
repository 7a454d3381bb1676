"""Plain-Python twins of the core's kernels, written from docs/ alone."""

from __future__ import annotations

import struct

from jukinet.core.folding.addresses import AddressNearness
from jukinet.core.records.resident import Resident
from jukinet.core.store.schema import Area, Town

from ..folding import twins


def check_digit(key: int) -> int:
    digits = [int(digit) for digit in f"{key:010d}"][::-1]
    rest = sum(digit * weight for digit, weight in zip(digits, (2, 3, 4, 5, 6, 7, 2, 3, 4, 5), strict=True)) % 11
    return 0 if rest <= 1 else 11 - rest


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def pack_date(decimal: int) -> int:
    return decimal // 10000 << 9 | decimal // 100 % 100 << 5 | decimal % 100


def pack_kana(text: str) -> bytes | None:
    packed = bytearray()
    for character in text:
        if character in " \u3000":
            packed.append(1 if character == " " else 2)
        elif 0x30A1 <= ord(character) <= 0x30FC:
            packed.append(0x20 + ord(character) - 0x30A1)
        else:
            return None
    return bytes(packed)


def encode_record(r: Resident) -> tuple[int, bytes]:
    status = r.state | r.reason << 4 | r.area << 10 | pack_date(r.change_date) << 22 | r.registered_day << 43
    parts = 32 if r.notified else 0
    body = struct.pack("<H", r.update_number)
    if r.successor_key is not None:
        parts |= 8
        body += r.successor_key.to_bytes(5, "little")
    if not r.has_person:
        return status, bytes([parts]) + body
    parts |= 1
    sex = 3 if r.sex == 9 else r.sex
    body += (pack_date(r.birth_date) | sex << 21).to_bytes(3, "little")
    if r.town:
        parts |= 16
        body += r.town.to_bytes(3, "little")
    kana = pack_kana(r.kana)
    if kana is None:
        kana = r.kana.encode()
    else:
        parts |= 2
    name, rest, alias = r.name.encode(), r.address_rest.encode(), r.alias.encode()
    body += bytes([len(name), len(kana), len(rest)])
    if alias:
        parts |= 4
        body += bytes([len(alias)])
    return status, bytes([parts]) + body + name + kana + rest + alias


def encode_block(bucket: int, wide: bool, entries: list[tuple[int, int, bytes]]) -> bytes:
    ends = [0]
    for _, _, record in entries:
        ends.append(ends[-1] + len(record))
    count = len(entries)
    block = struct.pack("<IHBB", bucket, count, 1, wide)
    block += struct.pack(f"<{count}{'I' if wide else 'H'}", *[entry[0] for entry in entries])
    for start, entry in zip(ends, entries, strict=False):
        block += struct.pack("<HQ", start, entry[1])
    block += struct.pack("<H", ends[-1]) + b"".join(entry[2] for entry in entries)
    length = struct.pack("<I", len(block))
    padded = block + bytes(max(32, 2040 - len(block)))
    return padded + bytes(-len(padded) % 8) + length + struct.pack("<I", crc32c(length + block))


OUTCOME_OF_STATE = {1: 1, 2: 3, 3: 4, 4: 5, 5: 6, 6: 8, 7: 7}


def outcome_of(code: int, table: dict[int, Resident], areas: list[Area]) -> tuple[int, Resident | None]:
    if code >= 10**11:
        return 11, None
    if check_digit(code // 10) != code % 10:
        return 10, None
    resident = table.get(code // 10)
    if resident is None:
        return 9, None
    outcome = OUTCOME_OF_STATE[resident.state]
    if outcome <= 5 and not areas[resident.area].connected:
        outcome = 8
    return outcome, resident if outcome <= 6 else None


def _fixed(form: str, values: list[int]) -> bytes:
    data = struct.pack(f"<{len(values)}{form}", *values)
    return data + bytes(-len(data) % 8)


def _texts(texts: list[str]) -> bytes:
    data = [text.encode() for text in texts]
    offsets = [0]
    for text in data:
        offsets.append(offsets[-1] + len(text))
    joined = b"".join(data)
    return _fixed("I", offsets) + joined + bytes(-len(joined) % 8)


def lookup_answer(
    codes: list[int], items: int, version: int, table: dict[int, Resident], areas: list[Area], towns: list[Town]
) -> bytes:
    rows = [outcome_of(code, table, areas) for code in codes]
    people = [(r if r is not None and r.has_person else Resident(key=0, state=0)) for _, r in rows]
    held = [r is not None and r.has_person for _, r in rows]
    out = struct.pack("<IIQ", items, len(codes), version) + _fixed("B", [outcome for outcome, _ in rows])
    if items & 1:
        out += _texts([p.name for p in people])
    if items & 2:
        out += _texts([p.kana for p in people])
    if items & 4:
        out += _texts([p.alias for p in people])
    if items & 8:
        out += _fixed("I", [p.birth_date for p in people])
    if items & 16:
        out += _fixed("B", [p.sex for p in people])
    if items & 32:
        out += _fixed("I", [areas[p.area].jis if ok else 0 for p, ok in zip(people, held, strict=True)])
        out += _texts([(towns[p.town - 1].text if p.town else "") + p.address_rest for p in people])
    if items & 64:
        out += _fixed("B", [r.reason if r else 0 for _, r in rows])
        out += _fixed("I", [r.change_date if r else 0 for _, r in rows])
    if items & 128:
        successors = [r.successor_key if r is not None else None for _, r in rows]
        out += _fixed("Q", [0 if s is None else s * 10 + check_digit(s) for s in successors])
    return out


def status_answer(
    codes: list[int], since: int, since_day: int, version: int, table: dict[int, Resident], areas: list[Area]
) -> bytes:
    outcomes, dates = [], []
    for code in codes:
        outcome, resident = outcome_of(code, table, areas)
        if outcome == 1 and resident is not None and resident.registered_day >= since_day:
            outcome = 2
        outcomes.append(outcome)
        dates.append(resident.change_date if resident is not None and outcome != 1 else 0)
    return struct.pack("<IIQ", since, len(codes), version) + _fixed("B", outcomes) + _fixed("I", dates)


def verify_matches(claims: dict[str, object], resident: Resident, towns: list[Town]) -> int:
    address = (towns[resident.town - 1].text if resident.town else "") + resident.address_rest
    found = 0
    name = str(claims.get("name", ""))
    if name and (resident.name or resident.alias):
        held = [text for text in (resident.name, resident.alias) if text]
        if name in held or (name == resident.name):
            found |= 2
        elif twins.fold_name(name) and twins.fold_name(name) in map(twins.fold_name, held):
            found |= 3
        else:
            found |= 1
    if claims.get("birth_date") and resident.birth_date:
        found |= (2 if claims["birth_date"] == resident.birth_date else 1) << 2
    if claims.get("sex") and resident.sex:
        found |= (2 if claims["sex"] == resident.sex else 1) << 4
    claimed = str(claims.get("address", ""))
    if claimed and address:
        if claimed == address:
            found |= 2 << 6
        else:
            folded = twins.split_address(claimed), twins.split_address(address)
            found |= (3 if twins.address_nearness(*folded) == AddressNearness.EQUAL else 1) << 6
    return found
