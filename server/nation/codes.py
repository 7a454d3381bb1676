"""Codes of a synthetic nation, computed from resident numbers alone: for load programs, which need no store.

Numbers 0 to N - 1 are the residents, N to N + C - 1 the retired codes of residents whose code was changed
(C = N // 500), and every greater number below 10^10 is a valid code that names nobody.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from jukinet.server.nation.permutation import (
    KEYS,
    SEED_END,
    fill_codes,
    fill_numbers,
    resident_of_retired_place,
)

RESIDENTS_MAX: Final = 200_000_000
RESIDENTS_PER_RETIRED_CODE: Final = 500
"""One resident in 500 holds a new code; the old one stays in the register as retired (Act 30-3)."""

Numbers = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.uint64]


def check_plan(seed: int, residents: int) -> None:
    """Raise ValueError for a seed or a size that no nation can have."""
    if not 0 <= seed < SEED_END:
        raise ValueError(f"seed must be 0 to {SEED_END - 1}")
    if not 1 <= residents <= RESIDENTS_MAX:
        raise ValueError(f"residents must be 1 to {RESIDENTS_MAX}")


def retired_count(residents: int) -> int:
    """How many retired codes a nation of this size holds."""
    return residents // RESIDENTS_PER_RETIRED_CODE


def codes_of(seed: int, residents: int, numbers: npt.ArrayLike) -> Codes:
    """11-digit codes, shape and order of ``numbers`` (any integers 0 to 10^10 - 1), as u64."""
    check_plan(seed, residents)
    wanted = np.ascontiguousarray(numbers, dtype=np.uint64)
    codes = np.empty_like(wanted)
    fill_codes(seed, wanted, codes)
    return codes


def codes_between(seed: int, residents: int, first: int, stop: int) -> Codes:
    """Codes of the numbers ``first`` to ``stop`` - 1, in order."""
    return codes_of(seed, residents, np.arange(first, stop, dtype=np.uint64))


def numbers_of(seed: int, codes: npt.ArrayLike) -> Numbers:
    """The inverse of codes_of; check digits are ignored."""
    keys = np.ascontiguousarray(codes, dtype=np.uint64) // np.uint64(10)
    numbers = np.empty_like(keys)
    fill_numbers(seed, keys, numbers)
    return numbers


def retired_codes(seed: int, residents: int, count: int, first: int = 0) -> Codes:
    """``count`` retired codes, from place ``first`` of the ``retired_count(residents)`` that exist."""
    if count < 0 or first < 0 or first + count > retired_count(residents):
        raise ValueError(f"a nation of {residents} residents has {retired_count(residents)} retired codes")
    return codes_between(seed, residents, residents + first, residents + first + count)


def successor_numbers(seed: int, residents: int, count: int, first: int = 0) -> Numbers:
    """For the same places as retired_codes: the numbers of the residents that the codes belonged to."""
    if count < 0 or first < 0 or first + count > retired_count(residents):
        raise ValueError(f"a nation of {residents} residents has {retired_count(residents)} retired codes")
    return np.array([resident_of_retired_place(seed, place) for place in range(first, first + count)], dtype=np.uint64)


def absent_codes(seed: int, residents: int, count: int, first: int = 0) -> Codes:
    """``count`` valid codes that name nobody in this nation, different for different ``first``."""
    start = residents + retired_count(residents) + first
    if count < 0 or first < 0 or start + count > KEYS:
        raise ValueError("there are not that many absent codes")
    return codes_between(seed, residents, start, start + count)
