"""The packed LOOKUP_ANSWER: made by the server's kernel, read by the client's, both against their twins."""

from __future__ import annotations

import random
import struct
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.columns.packed_kernel import PackedColumns, TownTable
from jukinet.core.index import LookupBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import messages as m
from jukinet.core.wire.answers import parse_lookup_answer
from jukinet.core.wire.columns import TextColumn
from jukinet.core.wire.packed import NO_TOWNS, parse_packed_answer, unpacked

from . import packed_twin, twins
from .stores import AREAS, TOWNS, build_store
from .strategies import residents
from .test_lookup import run_lookup

JIS = [area.jis for area in AREAS]
TEXTS = [town.text for town in TOWNS]
Register = tuple[RegisterReader, dict[int, Resident]]
SLOW = settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)


def town_table(texts: list[str] = TEXTS, jis: list[int] = JIS, page: int = 4) -> TownTable:
    pages = [TextColumn.from_texts(texts[start : start + page]) for start in range(0, len(texts), page)]
    return TownTable(jis, [(column.offsets, column.data) for column in pages])


TABLE = town_table()


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Register:
    directory: Path = tmp_path_factory.mktemp("store") / "register"
    chooser = random.Random(7)
    people = []
    for number in range(600):
        state = chooser.choice([1, 1, 1, 1, 2, 3, 4, 5, 6, 7])
        person = state < 5
        people.append(
            Resident(
                key=chooser.randrange(10**10) if number % 3 else number * 17,
                state=state,
                reason=chooser.choice([0, 11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42]),
                sex=chooser.choice([0, 1, 2, 9]) if person else 0,
                area=chooser.randrange(len(AREAS)),
                change_date=chooser.choice([0, 20100000, 20100400, 20100401, 19891231]),
                registered_day=chooser.randrange(65536),
                birth_date=chooser.choice([0, 19650000, 19650220, 18680125, 20260930]) if person else 0,
                town=chooser.randrange(len(TOWNS) + 1) if person else 0,
                successor_key=chooser.choice([None, chooser.randrange(10**10)]) if state == 5 else None,
                name=chooser.choice(["佐藤　太郎", "NGUYEN VAN ANH", "邊󠄁", "あ" * 85, ""]) if person else "",
                kana=chooser.choice(["サトウ　タロウ", "ヴァ ン", "Latin", "カ" * 85, "ﾊﾝｶｸ", ""]) if person else "",
                alias=chooser.choice(["", "", "通称名", "別" * 85]) if person else "",
                address_rest=chooser.choice(["", "1-2-3", "一丁目2番3号　グリーンハイツ203", "x" * 255])
                if person
                else "",
            )
        )
    return _opened(directory, people)


def _opened(directory: Path, people: list[Resident]) -> Register:
    table = build_store(directory, people)
    return RegisterReader(directory), table


def run_packed(reader: RegisterReader, codes: array[int], items: int, pieces: list[int]) -> bytes:
    batch = LookupBatch()
    batch.begin(codes, items, 1)
    with reader.pin() as snapshot:
        start = 0
        for stop in [*sorted(pieces), len(codes)]:
            batch.run(snapshot, start, stop)
            start = stop
    frame = batch.finish()
    assert frame[:16] == bytes(16)
    return bytes(frame[16:])


def column(value: Any) -> Any:
    if isinstance(value, TextColumn):
        return bytes(value.offsets), bytes(value.data)
    return (value.format, bytes(value)) if isinstance(value, memoryview) else value


def columns(answer: m.LookupAnswer) -> dict[str, Any]:
    return {name: column(getattr(answer, name)) for name in answer.__struct_fields__}


@given(st.data())
@SLOW
def test_packed_equals_its_twin_and_plain_in_all_items(register: Register, data: st.DataObject) -> None:
    reader, table = register
    existing = st.sampled_from(sorted(table)).map(lambda key: key * 10 + twins.check_digit(key))
    absent = st.integers(0, 10**10 - 1).map(lambda key: key * 10 + twins.check_digit(key))
    codes = data.draw(
        st.lists(st.one_of(existing, existing, absent, st.integers(0, 2**64 - 1)), min_size=1, max_size=150)
    )
    items = data.draw(st.integers(1, 255))
    pieces = data.draw(st.lists(st.integers(0, len(codes)), max_size=3))
    payload = run_packed(reader, array("Q", codes), items, pieces)
    assert payload == packed_twin.encode(codes, items, 1, table, AREAS, TOWNS)
    plain = twins.lookup_answer(codes, items, 1, table, AREAS, TOWNS)
    assert packed_twin.decode(payload, items, len(codes), JIS, TEXTS) == plain
    answer = parse_packed_answer(1, items, len(codes), payload)
    held = parse_lookup_answer(1, items, len(codes), plain)
    assert bytes(answer.columns.outcomes()) == bytes(held.outcomes)
    assert columns(unpacked(answer, TABLE)) == columns(held)


@given(residents(), st.integers(1, 255))
@settings(SLOW, max_examples=40)
def test_one_resident_of_any_kind(tmp_path_factory: pytest.TempPathFactory, resident: Resident, items: int) -> None:
    directory = tmp_path_factory.mktemp("one") / "register"
    reader, table = _opened(directory, [resident])
    with reader:
        code = resident.key * 10 + twins.check_digit(resident.key)
        payload = run_packed(reader, array("Q", [code]), items, [])
    plain = parse_lookup_answer(1, items, 1, twins.lookup_answer([code], items, 1, table, AREAS, TOWNS))
    assert columns(unpacked(parse_packed_answer(1, items, 1, payload), TABLE)) == columns(plain)


@pytest.mark.parametrize("items", [1, 2, 4, 8, 16, 24, 32, 64, 128, 255])
def test_parts_are_the_packed_answer(register: Register, items: int) -> None:
    reader, table = register
    known = [key * 10 + twins.check_digit(key) for key in table] * 100
    batch = LookupBatch()
    for count in (60_000, 59_993, 100):
        codes = array("Q", known[:count])
        for form in (0, 1):  # the memory of one form must not shine through in the other
            batch.begin(codes, items, form)
            with reader.pin() as snapshot:
                batch.run(snapshot, 0, count)
            parts = batch.finish_in_parts()
        assert b"".join(parts)[16:] == run_packed(reader, codes, items, [])
        if items == 255 and count > 50_000:
            assert len(parts) > 1


@pytest.mark.parametrize("count", [1, 31, 32, 33, 4_000])
def test_any_number_of_rows(register: Register, count: int) -> None:
    reader, table = register
    codes = array("Q", ([key * 10 + twins.check_digit(key) for key in table] * 10)[:count])
    answer = parse_packed_answer(1, 255, count, run_packed(reader, codes, 255, []))
    held = parse_lookup_answer(1, 255, count, run_lookup(reader, codes, 255, [])[16:])
    assert columns(unpacked(answer, TABLE)) == columns(held)


def test_items_that_were_not_asked_do_not_stand_in_the_payload(register: Register) -> None:
    """Nothing of a record leaves that the session may not see, whatever its items."""
    reader, table = register
    codes = array("Q", [key * 10 + twins.check_digit(key) for key in table])
    secrets = {1: "邊", 2: "Latin", 4: "通称名", 32: "グリーンハイツ"}
    for items in range(1, 256):
        payload = run_packed(reader, codes, items, [])
        for item, text in secrets.items():
            assert (text.encode() in payload) == bool(items & item)


def agree(payload: bytes, items: int, count: int) -> None:
    """Kernel and twin take or refuse the same payloads, and read the same in them."""
    try:
        plain = packed_twin.decode(payload, items, count, JIS, TEXTS)
    except (ValueError, IndexError):
        plain = None
    towns, areas = struct.unpack_from("<II", payload, 16) if len(payload) >= 24 else (0, 0)
    enough = towns <= len(TEXTS) and areas <= len(JIS)
    try:
        answer = PackedColumns(payload, items, count)
    except ColumnFault:
        assert plain is None or not enough
        return
    if items & 32 and not enough:
        with pytest.raises(ValueError, match="older"):
            answer.unpack(TABLE)
        return
    assert plain is not None
    message = m.PackedLookupAnswer(1, items, count, struct.unpack_from("<Q", payload, 8)[0], answer)
    got = unpacked(message, TABLE)
    held = parse_lookup_answer(1, items, count, plain)
    assert columns(got) == columns(held)


@given(st.data())
@settings(SLOW, max_examples=500)
def test_damaged_payloads(register: Register, data: st.DataObject) -> None:
    _reader, table = register
    existing = st.sampled_from(sorted(table)).map(lambda key: key * 10 + twins.check_digit(key))
    codes = data.draw(st.lists(existing, min_size=1, max_size=12))
    items = data.draw(st.integers(1, 255))
    payload = bytearray(packed_twin.encode(codes, items, 1, table, AREAS, TOWNS))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, payload[place] ^ 1, payload[place] ^ 16]))
    payload[:8] = struct.pack("<II", items, len(codes))
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(payload)))
        payload = payload[:cut] if data.draw(st.booleans()) else payload + bytes(cut % 24)
    agree(bytes(payload), items, len(codes))


@given(st.binary(max_size=200), st.integers(0, 255), st.integers(0, 20))
@example(bytes(40), 255, 0)
@SLOW
def test_noise(payload: bytes, items: int, count: int) -> None:
    agree(payload, items, count)


def test_an_unknown_bit_of_a_row_and_lengths_beyond_the_texts(register: Register) -> None:
    _reader, table = register
    key = next(key for key, resident in table.items() if resident.name and resident.state == 1)
    sound = packed_twin.encode([key * 10 + twins.check_digit(key)], 1, 1, table, AREAS, TOWNS)
    PackedColumns(sound, 1, 1)
    for place, value in ((40, 129), (40, 17), (40, 33), (40, 2), (48, 255), (41, 1)):
        broken = bytearray(sound)
        broken[place] = value
        with pytest.raises(ColumnFault):
            PackedColumns(broken, 1, 1)
    for payload in (b"", sound[:39], sound + bytes(8), sound[:-8]):
        with pytest.raises(ColumnFault):
            PackedColumns(payload, 1, 1)
    with pytest.raises(ValueError, match="mask"):
        PackedColumns(sound, 256, 1)


def test_a_table_that_is_too_short(register: Register) -> None:
    reader, table = register
    codes = array("Q", [key * 10 + twins.check_digit(key) for key in table][:5])
    answer = parse_packed_answer(1, 255, 5, run_packed(reader, codes, 255, []))
    for short in (NO_TOWNS, town_table(TEXTS[:-1]), town_table(jis=JIS[:-1])):
        with pytest.raises(ValueError, match="older"):
            unpacked(answer, short)
    without = parse_packed_answer(1, 1, 5, run_packed(reader, codes, 1, []))
    assert unpacked(without, NO_TOWNS).names is not None
    longer = unpacked(answer, town_table([*TEXTS, "新しい町"], [*JIS, 1101]))
    assert columns(longer) == columns(unpacked(answer, TABLE))


def test_towns_that_lead_outside_their_page_are_refused() -> None:
    for offsets, text in (([0, 3, 2], b"abc"), ([0, 4], b"abc"), ([0, 256], bytes(300))):
        with pytest.raises(ValueError, match="outside"):
            TownTable((), [(array("I", offsets), text)])
    with pytest.raises(ValueError, match="areas"):
        TownTable(range(4_096), [])
    assert (TABLE.towns, TABLE.areas) == (len(TEXTS), len(JIS))


def test_pages_of_towns_are_the_table(register: Register) -> None:
    reader, _ = register
    with reader.pin() as snapshot:
        places = snapshot.places
        pages = [places.page(after, 4) for after in (0, 4, 8)]
        beyond = places.page(9, 4)
    assert [len(offsets) // 4 - 1 for _, offsets, _ in pages] == [4, 4, 1]
    assert beyond[1:] == (bytes(4), b"")
    assert array("I", beyond[0]).tolist() == JIS
    found = [TextColumn(memoryview(offsets).cast("I"), memoryview(texts)).to_list() for _, offsets, texts in pages]
    assert [text for page in found for text in page] == TEXTS
