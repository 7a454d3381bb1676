from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.checksum import crc32c, crc32c_portable

from .twins import crc32c as twin


def test_the_check_value_of_the_castagnoli_polynomial() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=300), st.integers(0, 300))
def test_both_paths_equal_the_twin_and_pieces_join(data: bytes, cut: int) -> None:
    expected = twin(data)
    assert crc32c(data) == expected
    assert crc32c_portable(data) == expected
    assert crc32c(data[cut:], crc32c(data[:cut])) == expected
    assert crc32c_portable(data[cut:], crc32c_portable(data[:cut])) == expected
