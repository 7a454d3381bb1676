"""Columns: the kernel against its twin, texts, and the way into NumPy and Arrow without copying."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from itertools import product

import numpy
import pyarrow
import pytest
import wire_twin as twin
from hypothesis import example, given
from hypothesis import strategies as st
from wire_pair import PATIENT, SESSION, answer, codes, deliver, opened

from jukinet.core.columns.column_kernel import FAULT_NAMES, ColumnFault, locate_columns, unfilled
from jukinet.core.vocabulary import ChangeReason, Item, Outcome, Sex
from jukinet.core.wire import columns
from jukinet.core.wire import messages as m

KINDS = "otpsrmdakcbwuglq"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
DATES = st.one_of(
    st.integers(0, 99991231), st.sampled_from([0, 19650220, 20000000, 20001200, 20001232, 20001300, 10000])
)


def column_bytes(draw: st.DrawFn, kind: str, count: int) -> bytes:
    rows = {"min_size": count, "max_size": count}
    if kind == "t":
        return twin.text_column(draw(st.lists(TEXTS, **rows)))
    if kind == "d":
        return twin.u32(draw(st.lists(DATES, **rows)))
    if kind in "aw":
        return twin.u32(draw(st.lists(st.integers(0, 100_001), **rows)))
    if kind in "kc":
        return twin.u64(draw(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 10**11)), **rows)))
    if kind == "l":
        return twin.u32(draw(st.lists(st.integers(0, 0xA9999) | st.integers(0, 1 << 21), **rows)))
    if kind == "q":
        return twin.u32(draw(st.lists(st.integers(999_990, 1_000_002), **rows)))
    if kind == "g":
        return twin.u8(draw(st.lists(st.integers(0, 7), **rows)))
    return twin.u8(draw(st.lists(st.integers(0, 12 if kind in "opu" else 255 if kind == "b" else 43), **rows)))


@st.composite
def payloads(draw: st.DrawFn) -> tuple[bytes, int, bytes]:
    count = draw(st.integers(1, 12))
    plan = "".join(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6)))
    return b"".join(column_bytes(draw, kind, count) for kind in plan), count, plan.encode()


@st.composite
def broken_payloads(draw: st.DrawFn) -> tuple[bytes, int, bytes]:
    payload, count, plan = draw(payloads())
    data = bytearray(payload)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        data[place : place + 1] = draw(
            st.sampled_from([b"", b"\0", b"\x01", b"\x80", b"\xe3", b"\xed\xa0\x80", bytes(8)])
        )
    return bytes(data[: draw(st.integers(0, len(data) + 8))]), count, plan


def found(locate: Callable[..., Sequence[int]], *arguments: object) -> tuple[object, ...]:
    """Positions, or the fault and its column."""
    try:
        return tuple(locate(*arguments))
    except (ColumnFault, twin.Fault) as fault:
        return "fault", fault.fault, fault.column


def compare(*arguments: object) -> None:
    assert found(locate_columns, *arguments) == found(twin.locate_columns, *arguments)


@PATIENT
@given(payloads(), st.integers(0, 255), st.integers(0, 40))
def test_kernel_and_twin_agree_on_sound_layouts(case: tuple[bytes, int, bytes], mask: int, longest: int) -> None:
    compare(case[0], 0, case[1], case[2], mask, longest)


@PATIENT
@given(broken_payloads(), st.integers(0, 255))
@example((b"", 1, b"t"), 0)
@example((struct.pack("<II", 0, 0xFFFF_FFFF), 1, b"t"), 0)
@example((struct.pack("<IIII", 0, 0xFFFF_FFFF, 0, 0), 3, b"t"), 0)
def test_kernel_and_twin_agree_on_broken_payloads(case: tuple[bytes, int, bytes], mask: int) -> None:
    compare(case[0], 0, case[1], case[2], mask, 1_000)


@PATIENT
@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.binary(max_size=3))
def test_kernel_stays_inside_whatever_the_count(payload: bytes, count: int, letters: bytes) -> None:
    plan = bytes(KINDS.encode()[letter % len(KINDS)] for letter in letters) or b"t"
    if count > 1_000:
        with pytest.raises(ColumnFault) as caught:
            locate_columns(payload, 0, count, plan, 0, 10)
        assert caught.value.fault == twin.TRUNCATED
    else:
        compare(payload, 0, count, plan, 0, 10)


@PATIENT
@given(st.one_of(st.binary(max_size=40), TEXTS.map(str.encode), st.lists(TEXTS.map(str.encode)).map(b"\xe3".join)))
@example("ヤマダ タロウ 山田　太郎 𠮷野 濱﨑".encode() * 3)
@example("ヤマダ".encode() + b"\xed\xa0\x80" + b"12345")
@example("ヤマ".encode() + b"\xe0\x80\x80" + b"12345678")
@example(b"1234567\xe3")
@example(b"\xf4\x90\x80\x80")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"\xc1\xbf")
def test_utf8_is_what_python_takes_for_utf8(text: bytes) -> None:
    column = twin.u32([0, len(text)]) + twin.pad8(text)
    try:
        text.decode()
    except UnicodeDecodeError:
        with pytest.raises(ColumnFault, match="UTF-8"):
            locate_columns(column, 0, 1, b"t", 0, 1_000)
    else:
        assert locate_columns(column, 0, 1, b"t", 0, 1_000) == (0, 8, 8 + len(text))


EDGES = bytes.fromhex("00 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ed ef f0 f4 f5 ff")


@pytest.mark.parametrize("before", [b"", b"a" * 61], ids=["first bytes", "vector steps"])
def test_utf8_at_every_edge_of_its_ranges(before: bytes) -> None:
    """All sequences of up to four bytes from both sides of every limit of RFC 3629."""
    for length in (1, 2, 3, 4):
        head = struct.pack("<II", 0, len(before) + length)
        padding = bytes(-(len(before) + length) % 8)
        for tail in product(EDGES, repeat=length):
            text = before + bytes(tail)
            try:
                text.decode()
                expected: tuple[object, ...] = (0, 8, 8 + len(text))
            except UnicodeDecodeError:
                expected = ("fault", twin.NOT_UTF8, 0)
            assert found(locate_columns, head + text + padding, 0, 1, b"t", 0, 1_000) == expected


def test_a_row_must_not_start_inside_a_character() -> None:
    column = twin.u32([0, 1, 3]) + twin.pad8("山".encode())
    with pytest.raises(ColumnFault, match="UTF-8"):
        locate_columns(column, 0, 2, b"t", 0, 1_000)


def test_a_large_payload_is_checked_the_same_way() -> None:
    count = 10_000
    column = twin.text_column(["東京都千代田区"] * count) + twin.u8([1] * count)
    compare(column, 0, count, b"ts", 0, 100)
    broken = bytearray(column)
    broken[-8:] = b"\x01\x01\x01\x01\x01\x01\x01\x05"
    compare(bytes(broken), 0, count, b"ts", 0, 100)


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("o", set(Outcome) - {Outcome.CHANGED}),
        ("p", set(Outcome)),
        ("s", set(Sex)),
        ("r", {0, *ChangeReason}),
    ],
)
def test_values_of_one_byte_are_those_of_the_vocabulary(kind: str, allowed: set[int]) -> None:
    taken = {v for v in range(256) if found(locate_columns, twin.u8([v]), 0, 1, kind.encode(), 0, 0) == (0,)}
    assert taken == allowed


def test_plans_follow_the_items() -> None:
    assert columns.lookup_plan(0) == b"o"
    assert columns.lookup_plan(255) == b"otttdsatrdc"
    assert columns.history_plan(255) == b"dtttdsatrd"
    assert columns.lookup_plan(Item.ADDRESS | Item.CODE) == b"oatc"
    assert columns.claim_plan(57) == b"ktdst"
    assert columns.matches_mask(Item.NAME | Item.ADDRESS) == 0b11000011


def test_a_fault_says_whether_the_layout_is_sound() -> None:
    for payload, is_value in ((twin.u8([77]), True), (b"", False)):
        with pytest.raises(ColumnFault) as caught:
            locate_columns(payload, 0, 1, b"o", 0, 0)
        assert caught.value.is_value is is_value
        assert str(caught.value).startswith("column 0: ")


def test_arguments_of_the_kernel_are_checked() -> None:
    for start, count, plan in ((1, 1, b"t"), (0, 1 << 32, b"t"), (0, 1, b"t" * 25)):
        with pytest.raises(ValueError, match="plan"):
            locate_columns(b"", start, count, plan, 0, 0)
    with pytest.raises(ColumnFault):
        locate_columns(b"", 8, 1, b"o", 0, 0)
    with pytest.raises(ValueError, match="negative"):
        unfilled(-1)
    assert len(unfilled(100)) == 100
    assert set(FAULT_NAMES) == {1, 2, 3, 4, 5, 16, 17}


@PATIENT
@given(st.lists(TEXTS, max_size=20))
def test_text_column_gives_back_its_texts(texts: list[str]) -> None:
    column = columns.TextColumn.from_texts(texts)
    assert column.to_list() == texts
    assert len(column) == len(texts)
    assert [column[row] for row in range(len(texts))] == texts
    assert [column[row - len(texts)] for row in range(len(texts))] == texts
    assert list(column) == texts
    for row in (len(texts), -len(texts) - 1):
        with pytest.raises(IndexError):
            column[row]
    assert b"".join(column.layout()) == twin.text_column(texts)


def test_reprs_show_no_text_and_no_code() -> None:
    column = columns.TextColumn.from_texts(["山田"])
    message = m.VerifyRequest(1, 7, 1, codes([12345678903]), column)
    for text in (repr(column), repr(message), repr(m.OpenSession(1, 1, "77", 0, "op-secret", "why", "case-secret"))):
        assert not any(word in text for word in ("山田", "12345678903", "secret", "why"))


def test_columns_reach_numpy_and_arrow_without_copying() -> None:
    server, client = opened()
    deliver(server, client.send(m.LookupRequest(2, SESSION, 1 | 8 | 16 | 128, memoryview(array("Q", [1, 2, 3])))))
    parts = {"names": ["山田", "", "鈴木"], "birth_dates": [19650220, 0, 20000101], "sexes": [1, 0, 2]}
    payload = twin.lookup_answer(1 | 8 | 16 | 128, 1, [1, 9, 1], **parts, successor_codes=[0, 0, 5])
    (got,) = deliver(client, server.send_answer(2, 0x11, answer(payload)))
    assert isinstance(got, m.LookupAnswer)
    assert got.birth_dates is not None
    assert got.names is not None
    assert got.successor_codes is not None
    dates = numpy.asarray(got.birth_dates)
    assert dates.dtype == numpy.uint32
    assert dates.tolist() == parts["birth_dates"]
    assert numpy.asarray(got.successor_codes).dtype == numpy.uint64
    base = numpy.asarray(memoryview(got.outcomes.obj))  # the payload that all columns share
    assert numpy.shares_memory(dates, base)
    buffers = [None, pyarrow.py_buffer(got.names.offsets), pyarrow.py_buffer(got.names.data)]
    names = pyarrow.Array.from_buffers(pyarrow.utf8(), 3, buffers)
    names.validate(full=True)
    assert names.to_pylist() == parts["names"]
    assert base.ctypes.data <= buffers[1].address < base.ctypes.data + len(base)
