"""Codes of resident numbers: a permutation with an inverse, a plain-Python twin, uniform and valid codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.codes import is_valid
from jukinet.server.nation import codes, permutation

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
SEEDS = st.integers(0, (1 << 63) - 1)
NUMBERS = st.integers(0, 10**10 - 1)


def mix64(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def twin_key_of(seed: int, number: int) -> int:
    """The permutation in plain Python."""
    left, right = divmod(number, 100_000)
    for place in range(5):
        round_key = mix64((mix64(seed) + (place + 1) * GOLDEN) & MASK)
        mixed = (right ^ round_key) * GOLDEN & MASK
        mixed = (mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93 & MASK
        left, right = right, (left + ((mixed >> 32) * 100_000 >> 32)) % 100_000
    return left * 100_000 + right


@given(SEEDS, NUMBERS)
def test_the_kernel_agrees_with_its_twin_and_its_inverse(seed: int, number: int) -> None:
    key = permutation.key_of(seed, number)
    assert key == twin_key_of(seed, number)
    assert 0 <= key < 10**10
    assert permutation.number_of(seed, key) == number


@given(SEEDS, st.lists(NUMBERS, max_size=50))
def test_arrays_agree_with_single_values_and_every_code_is_valid(seed: int, numbers: list[int]) -> None:
    found = codes.codes_of(seed, 1000, np.array(numbers, dtype=np.uint64))
    assert [int(code) // 10 for code in found] == [permutation.key_of(seed, number) for number in numbers]
    assert all(is_valid(int(code)) for code in found)
    assert codes.numbers_of(seed, found).tolist() == numbers


def test_codes_are_unique_and_uniform() -> None:
    found = codes.codes_between(20_260_101, 400_000, 0, 400_000)
    assert len(np.unique(found)) == 400_000
    keys = found // np.uint64(10)
    for columns in (keys // 10**7, keys % 1000, keys // 1000 % 1000):
        counts = np.bincount(columns.astype(np.int64), minlength=1000)
        chi_square = float(((counts - 400.0) ** 2 / 400.0).sum())
        # 999 degrees of freedom: mean 999, standard deviation 44.7; five deviations.
        assert 775 < chi_square < 1223


def test_consecutive_numbers_give_unrelated_keys() -> None:
    keys = codes.codes_between(5, 100_000, 0, 100_000).astype(np.float64)
    correlation = float(np.corrcoef(keys[:-1], keys[1:])[0, 1])
    assert abs(correlation) < 0.02


def test_different_seeds_give_different_codes() -> None:
    first, second = (set(codes.codes_between(seed, 10_000, 0, 10_000).tolist()) for seed in (1, 2))
    # Expected overlap of two random sets of 10,000 in 10^10: 0.01.
    assert len(first & second) <= 2


def test_residents_retired_and_absent_codes_are_apart() -> None:
    residents = 5_000
    present = codes.codes_between(9, residents, 0, residents)
    retired = codes.retired_codes(9, residents, 10)
    absent = codes.absent_codes(9, residents, 1_000)
    assert codes.retired_count(residents) == 10
    assert len(np.unique(np.concatenate([present, retired, absent]))) == residents + 10 + 1_000
    assert codes.successor_numbers(9, residents, 10).tolist() == [
        permutation.resident_of_retired_place(9, place) for place in range(10)
    ]
    assert all(
        500 * place <= number < 500 * (place + 1)
        for place, number in enumerate(codes.successor_numbers(9, residents, 10).tolist())
    )


@pytest.mark.parametrize(("seed", "residents"), [(-1, 5), (1 << 63, 5), (0, 0), (0, 200_000_001)])
def test_plans_outside_their_limits_are_refused(seed: int, residents: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        codes.codes_of(seed, residents, [0])


def test_numbers_beyond_the_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="10"):
        codes.codes_of(1, 5, [10**10])
    with pytest.raises(ValueError, match="retired"):
        codes.retired_codes(1, 499, 1)
    with pytest.raises(ValueError, match="absent"):
        codes.absent_codes(1, 5, 10, first=10**10 - 10)


def test_empty_arrays_are_allowed() -> None:
    assert codes.codes_of(1, 5, []).shape == (0,)
    assert codes.absent_codes(1, 5, 0).shape == (0,)
