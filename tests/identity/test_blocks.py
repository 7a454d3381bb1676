"""Blocks of the index: written, read, merged, and every kind of damage found."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.checksum import crc32c
from jukinet.core.errors import StoreCorruptError
from jukinet.core.identity import block
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.identity.layout import plan_layout

LAYOUT = EntryLayout(plan_layout(1_000_000))
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Under the sanitizers, drawing is slow."""
ENTRIES = st.lists(st.integers(0, (1 << 30) - 1).map(lambda high: high << 34 | 7), min_size=1, unique=True).map(sorted)


@UNHURRIED
@given(st.sampled_from([1, 2, 3]), st.integers(0, 600), ENTRIES)
def test_blocks_hold_what_they_were_given(table: int, bucket: int, entries: list[int]) -> None:
    made = block.encode(table, bucket, entries)
    assert len(made) == max(2_048, 24 + 8 * len(entries))
    assert block.decode(made, table, bucket) == entries
    assert block.fault_of(made, LAYOUT, table, bucket) is None
    with pytest.raises(StoreCorruptError):
        block.decode(made, table, bucket + 1)
    with pytest.raises(StoreCorruptError):
        block.decode(made, table % 3 + 1, bucket)


@pytest.mark.parametrize("entries", [[], [5, 5], [6, 5]])
def test_entries_ascend(entries: list[int]) -> None:
    with pytest.raises(ValueError, match="block"):
        block.encode(1, 0, entries)


def test_every_byte_counts() -> None:
    made = block.encode(1, 3, [7, 8, 9 << 34 | 5])
    for at in range(len(made)):
        damaged = bytearray(made)
        damaged[at] ^= 1
        assert block.fault_of(bytes(damaged), LAYOUT, 1, 3) is not None
    for length in (0, 7, 2_040, 2_047):
        assert block.fault_of(made[:length], LAYOUT, 1, 3) == "too short"


def resealed(table: int, bucket: int, entries: list[int]) -> bytes:
    """A block with a right checksum, whatever its entries say."""
    content = struct.pack("<IBBHII", bucket, 1, table, 0, len(entries), 0) + struct.pack(f"<{len(entries)}Q", *entries)
    return content + bytes(2_044 - len(content)) + struct.pack("<I", crc32c(content))


@pytest.mark.parametrize(
    ("entries", "bucket", "wanted"),
    [
        ([9, 8], 3, "entries out of order"),
        ([8, 8], 3, "entries out of order"),
        ([10**10], 3, "a key beyond the last"),
        ([8], 1 << 20, "a bucket beyond the last"),
    ],
)
def test_what_a_checksum_does_not_show(entries: list[int], bucket: int, wanted: str) -> None:
    assert block.fault_of(resealed(1, bucket, entries), LAYOUT, 1, bucket) == wanted
