from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.codes import code_from_key, is_valid
from jukinet.core.cohort import cohort_kernel as kernel
from jukinet.core.errors import StoreCorruptError

from ..core.twins import crc32c
from . import cohort_twin as twin

LAST = 10**10 - 1
NEAR = st.one_of(
    st.integers(0, 300), st.integers(130_900, 131_300), st.integers(LAST - 200, LAST), st.integers(0, LAST)
)
KEYS = st.sets(NEAR, max_size=120).map(sorted)


def u64(values: list[int]) -> array[int]:
    return array("Q", values)


def listed(packed: bytes) -> list[int]:
    return array("Q", packed).tolist()


@given(KEYS)
def test_ranges_equal_the_twin_and_come_back(keys: list[int]) -> None:
    ranges = kernel.encode_ranges(u64(keys))
    assert ranges == twin.encode_ranges(keys)
    assert [key for number, value in ranges for key in listed(kernel.decode_range(value, number))] == keys


def test_a_full_range_takes_a_byte_a_key() -> None:
    keys = list(range(twin.WIDTH, 2 * twin.WIDTH))
    [(number, value)] = kernel.encode_ranges(u64(keys))
    assert number == 1
    assert len(value) == 12 + twin.WIDTH
    assert listed(kernel.decode_range(value, 1)) == keys


@pytest.mark.parametrize("keys", [[5, 5], [6, 5], [twin.WIDTH, 5], [5, twin.WIDTH, 7], [10**10]])
def test_keys_that_do_not_ascend_or_are_none_are_refused(keys: list[int]) -> None:
    with pytest.raises(ValueError, match="keys"):
        kernel.encode_ranges(u64(keys))


@given(KEYS.filter(bool), st.data())
def test_any_flipped_bit_or_cut_is_found(keys: list[int], data: st.DataObject) -> None:
    number, value = kernel.encode_ranges(u64(keys))[0]
    damaged = bytearray(value)
    damaged[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for wrong in (bytes(damaged), value[: data.draw(st.integers(0, len(value) - 1))], value + b"\0"):
        with pytest.raises(StoreCorruptError):
            kernel.decode_range(wrong, number)
    with pytest.raises(StoreCorruptError):
        kernel.decode_range(value, number + 1)


@given(st.integers(1, 40), st.binary(max_size=60))
def test_any_bytes_with_a_right_checksum_are_read_or_refused(count: int, body: bytes) -> None:
    content = bytes(4) + count.to_bytes(4, "little") + body
    try:
        keys = listed(kernel.decode_range(content + crc32c(content).to_bytes(4, "little"), 0))
    except StoreCorruptError:
        return
    assert len(keys) == count
    assert keys == sorted(set(keys))
    assert keys[-1] < twin.WIDTH


@given(KEYS, KEYS)
def test_membership_is_that_of_sets(held: list[int], asked: list[int]) -> None:
    values = {(7 << 32 | number).to_bytes(8, "little"): value for number, value in kernel.encode_ranges(u64(held))}
    assert listed(kernel.members(u64(asked), 7, values.get)) == sorted(set(held) & set(asked))
    assert kernel.members(u64(asked), 8, values.get) == b""


@given(
    st.lists(
        st.tuples(
            st.one_of(st.just(0), NEAR.map(code_from_key), st.integers(0, (1 << 64) - 1)),
            st.one_of(st.just(0), NEAR.map(code_from_key), st.integers(0, (1 << 64) - 1)),
            st.integers(1, 3),
        ),
        max_size=40,
    ),
    st.data(),
)
def test_changed_keys_are_both_codes_of_rows_that_were_not_refused(
    rows: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    columns = [[row[i] for row in rows] for i in range(3)]
    found = kernel.changed_keys(u64(columns[0]), u64(columns[1]), bytes(columns[2]), start, stop)
    assert listed(found) == twin.changed_keys(*[column[start:stop] for column in columns])


@given(st.lists(NEAR, max_size=40))
def test_sorted_once(keys: list[int]) -> None:
    assert listed(kernel.sorted_once(u64(keys))) == sorted(set(keys))


@given(KEYS)
def test_keys_of_codes_and_back(keys: list[int]) -> None:
    codes = kernel.codes_of(u64(keys))
    assert listed(codes) == [code_from_key(key) for key in keys]
    assert kernel.keys_of(codes) == u64(keys).tobytes()


@given(st.lists(st.one_of(NEAR.map(code_from_key), st.integers(0, 10**11)), max_size=8))
def test_codes_that_are_none_or_do_not_ascend_are_refused(codes: list[int]) -> None:
    if all(map(is_valid, codes)) and codes == sorted(set(codes)):
        assert len(kernel.keys_of(u64(codes))) == 8 * len(codes)
    else:
        with pytest.raises(ValueError, match="codes are valid and ascend strictly"):
            kernel.keys_of(u64(codes))


def test_buffers_of_other_lengths_are_refused() -> None:
    for function in (kernel.keys_of, kernel.codes_of, kernel.encode_ranges, kernel.sorted_once):
        with pytest.raises(ValueError, match="8 bytes"):
            function(bytes(9))
    with pytest.raises(ValueError, match="rows"):
        kernel.changed_keys(u64([1]), u64([0]), b"\1", 0, 2)
    with pytest.raises(ValueError, match="rows"):
        kernel.changed_keys(u64([1]), u64([]), b"\1", 0, 1)
