from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.records import record
from jukinet.core.records.resident import Resident
from jukinet.core.store import block

from .strategies import residents
from .twins import encode_block

WIDTH = 5_000
Entries = list[tuple[int, int, bytes]]


@st.composite
def entries(draw: st.DrawFn) -> Entries:
    deltas = sorted(draw(st.sets(st.integers(0, WIDTH - 1), min_size=1, max_size=40)))
    return [(delta, *record.encode(draw(residents(key=delta)))) for delta in deltas]


@given(entries(), st.booleans())
@settings(max_examples=60)
def test_encoding_equals_the_twin_verifies_and_comes_back(rows: Entries, wide: bool) -> None:
    data = block.encode(7, wide, rows)
    assert data == encode_block(7, wide, rows)
    assert block.verify(data, 7, WIDTH, wide, 5, 9) is None
    assert block.decode(data) == rows


@given(entries(), st.data())
@settings(max_examples=60)
def test_any_flipped_bit_is_found(rows: Entries, data: st.DataObject) -> None:
    damaged = bytearray(block.encode(7, False, rows))
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    assert block.verify(damaged, 7, WIDTH, False, 5, 9) is not None


@given(st.binary(min_size=0, max_size=4096))
def test_any_bytes_are_checked_without_harm(data: bytes) -> None:
    assert block.verify(data, 7, WIDTH, False, 5, 9) is not None
    try:
        block.decode(data)
    except StoreCorruptError:
        pass


def one(state: int = 1, **fields: object) -> tuple[int, bytes]:
    return record.encode(Resident(key=1, state=state, name="", **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"bucket": 8}, "another bucket"),
        ({"areas": 2}, "area number"),
        ({"towns": 2}, "town number"),
        ({"width": 10}, "outside the bucket"),
        ({"wide": True}, "width of deltas"),
    ],
)
def test_what_contradicts_the_store_is_named(change: dict[str, int], fault: str) -> None:
    data = block.encode(7, False, [(3, *one(area=1)), (20, *one(area=3, town=3))])
    asked = {"bucket": 7, "width": WIDTH, "wide": False, "areas": 5, "towns": 9, **change}
    found = block.verify(data, asked["bucket"], asked["width"], bool(asked["wide"]), asked["areas"], asked["towns"])
    assert found is not None
    assert fault in found


def test_impossible_content_with_a_right_checksum_is_named() -> None:
    status, data = one(birth_date=20230200)
    impossible = data[:3] + (2023 << 9 | 2 << 5 | 30).to_bytes(3, "little") + data[6:]
    assert (
        block.verify(encode_block(7, False, [(0, status, impossible)]), 7, WIDTH, False, 5, 9) == "an impossible date"
    )
    bad_text = data[:6] + bytes([2, 0, 0]) + b"\xff\xfe"
    assert "UTF-8" in str(block.verify(encode_block(7, False, [(0, status, bad_text)]), 7, WIDTH, False, 5, 9))
    assert "status" in str(block.verify(encode_block(7, False, [(0, status | 1 << 60, data)]), 7, WIDTH, False, 5, 9))


def test_what_does_not_fit_a_block_is_refused() -> None:
    status, data = one()
    for rows in ([], [(5, status, data), (5, status, data)], [(70_000, status, data)], [(5, status, b"x" * 65_536)]):
        with pytest.raises(StoreError):
            block.encode(1, False, rows)


def test_a_block_is_never_shorter_than_what_stays_in_place() -> None:
    assert len(block.encode(1, False, [(5, *one())])) == 2_048
