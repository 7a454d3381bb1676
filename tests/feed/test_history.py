from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.feed import history

from ..core.twins import crc32c
from . import history_twin as twin

KEPT = st.tuples(
    st.integers(1, 5), st.integers(0, 65535), st.integers(0, (1 << 64) - 1), st.binary(min_size=3, max_size=80)
)
CHANGES = st.dictionaries(st.integers(0, 40), st.lists(KEPT, max_size=4), max_size=6).map(lambda d: sorted(d.items()))


@given(st.lists(CHANGES, max_size=4), st.integers(0, (1 << 32) - 1))
def test_merging_equals_the_twin_and_comes_back(steps: list[list[tuple[int, list[history.Kept]]]], bucket: int) -> None:
    value: bytes | None = None
    entries: list[twin.Entry] = []
    for changes in steps:
        value = history.merge(value, bucket, changes)
        entries = twin.merge(entries, changes)
        assert value == (twin.encode(bucket, entries) if entries else None)
        if value is not None:
            assert history.decode(value, bucket) == entries
            for delta in range(41):
                assert history.of_key(value, bucket, delta) == [entry[1:] for entry in entries if entry[0] == delta]


@given(st.lists(KEPT, min_size=1, max_size=6), st.data())
def test_any_flipped_bit_or_cut_is_found(rows: list[history.Kept], data: st.DataObject) -> None:
    value = history.merge(None, 7, [(3, rows)])
    assert value is not None
    damaged = bytearray(value)
    damaged[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = value[: data.draw(st.integers(0, len(value) - 1))]
    for wrong in (bytes(damaged), cut, value + b"\0"):
        with pytest.raises(StoreCorruptError, match="history of bucket 7"):
            history.decode(wrong, 7)
        with pytest.raises(StoreCorruptError):
            history.of_key(wrong, 7, 3)
        with pytest.raises(StoreCorruptError):
            history.merge(wrong, 7, [])
    with pytest.raises(StoreCorruptError, match="bucket 8"):
        history.decode(value, 8)


@given(st.binary(max_size=200), st.integers(0, (1 << 32) - 1))
def test_any_bytes_with_a_right_checksum_are_read_or_refused(data: bytes, bucket: int) -> None:
    sealed = data + crc32c(data).to_bytes(4, "little")
    try:
        entries = history.decode(sealed, bucket)
    except StoreCorruptError:
        return
    assert twin.encode(bucket, entries) == sealed


def test_what_does_not_fit_is_refused() -> None:
    row = (1, 0, 0, b"123")
    for changes in ([(5, [row]), (5, [row])], [(5, [row]), (4, [row])], [(5, [(1, 0, 0, b"12")])]):
        with pytest.raises(StoreError):
            history.merge(None, 7, changes)
    with pytest.raises(StoreError, match="65535"):
        history.merge(None, 7, [(5, [row] * 65_536)])
