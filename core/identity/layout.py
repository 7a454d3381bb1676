"""How many buckets the identity index of a register has: planned once, stored with it (docs/identity-index.md, 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.folding import FOLDING_VERSION

if TYPE_CHECKING:
    from typing_extensions import Buffer

TABLES: Final = ("by_kana", "by_name", "by_date")
"""The three databases, in the order of their numbers (1 to 3) and of a directory's places."""
YEARS: Final = 403
FIRST_YEAR: Final = 1800
LAST_YEAR: Final = 2200
YEAR_PLACES: Final = 385
DAYS_A_YEAR: Final = 365
PAGE_ENTRIES: Final = 507
"""Entries of a block that takes one page: 4,096 bytes less LMDB's 16, the header and the checksum."""
FURTHER_ENTRIES: Final = 512
PLAIN_YEARS: Final = range(1925, 2025)
"""Years of birth where nothing is known about a register's: a century of them, evenly."""
RECENT_YEARS: Final = 5
UNKNOWN_SHARE: Final = 1e-4
"""Of birth dates without a year; the nation has one in 30,000."""


class IdentityLayout(msgspec.Struct, frozen=True):
    """Numbers of buckets, for the life of a register.

    folding: version of the folding rules by which entries were made. text_buckets: of `by_kana` and of `by_name`.
    year_buckets: of `by_date`, for each year (0 unknown, 1 to 401 the years 1800 to 2200, 402 beyond).
    """

    folding: int
    text_buckets: int
    year_buckets: list[int]

    @property
    def date_buckets(self) -> int:
        """Buckets of `by_date`."""
        return sum(self.year_buckets)

    @property
    def buckets(self) -> tuple[int, int, int]:
        """Buckets of the three tables, in their order."""
        return self.text_buckets, self.text_buckets, self.date_buckets


def plan_layout(expected_entries: int, births: Mapping[int, float] | None = None) -> IdentityLayout:
    """Buckets for ``expected_entries`` persons, of whom ``births`` says which share was born in each year.

    births: years to weights of any scale; None: evenly over PLAIN_YEARS.
    """
    weights = dict(births) if births else dict.fromkeys(PLAIN_YEARS, 1.0)
    known = {year: weight for year, weight in weights.items() if FIRST_YEAR <= year <= LAST_YEAR and weight > 0}
    total = sum(known.values()) or 1.0
    years = [1] * YEARS
    years[0] = max(1, round(expected_entries * UNKNOWN_SHARE / PAGE_ENTRIES))
    for year, weight in known.items():
        years[year - FIRST_YEAR + 1] = _year_buckets(expected_entries * weight / total)
    if known:
        # The children of years to come are about as many as those of the last ones.
        last = max(known)
        recent = [expected_entries * known.get(year, 0.0) / total for year in range(last - RECENT_YEARS, last)]
        following = _year_buckets(sum(recent) / RECENT_YEARS)
        for year in range(last, LAST_YEAR + 1):
            years[year - FIRST_YEAR + 1] = max(following, years[year - FIRST_YEAR + 1])
    text = max(1, min(round(expected_entries / limits.IDENTITY_ENTRIES_PER_BLOCK), limits.IDENTITY_TEXT_BUCKETS_MAX))
    return IdentityLayout(FOLDING_VERSION, text, years)


def _year_buckets(persons: float) -> int:
    """Buckets for the people born in one year: those with which the blocks take the fewest pages."""
    a_day = persons / DAYS_A_YEAR
    if a_day * 2 < limits.IDENTITY_ENTRIES_PER_BLOCK:
        # Several dates to a bucket.
        days = max(1, int(limits.IDENTITY_ENTRIES_PER_BLOCK / max(a_day, 1e-9)))
        return max(1, -(-YEAR_PLACES // days))
    most = max(1, min(round(a_day / 100), limits.IDENTITY_DATE_BUCKETS_MAX))
    least = max(1, math.ceil(a_day / limits.IDENTITY_ENTRIES_PER_BLOCK))
    return YEAR_PLACES * min(range(least, max(most, least) + 1), key=lambda count: (_pages(a_day, count), count))


def _pages(entries: float, buckets: int) -> float:
    """Pages of so many blocks, each a standard deviation and a half above the mean."""
    mean = entries / buckets
    full = mean + 1.5 * math.sqrt(mean)
    return buckets * (1 + max(0, math.ceil((full - PAGE_ENTRIES) / FURTHER_ENTRIES)))


def pack_layout(layout: IdentityLayout) -> bytes:
    """The content of the row in `meta`."""
    return msgspec.msgpack.encode(layout)


def unpack_layout(content: Buffer, where: object) -> IdentityLayout:
    """The layout of a register; StoreCorruptError when it cannot be read, StoreError for other folding rules."""
    try:
        layout = msgspec.msgpack.decode(content, type=IdentityLayout)
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(f"{where}: the layout of the identity index cannot be read: {error}") from error
    if layout.folding != FOLDING_VERSION:
        raise StoreError(
            f"{where}: its names were folded by rules of version {layout.folding}; this program has version "
            f"{FOLDING_VERSION}: build the register anew with this program, or read it with the one that built it"
        )
    in_range = 0 < layout.text_buckets <= limits.IDENTITY_TEXT_BUCKETS_MAX and len(layout.year_buckets) == YEARS
    most = YEAR_PLACES * limits.IDENTITY_DATE_BUCKETS_MAX
    if not in_range or not all(0 < count <= most for count in layout.year_buckets):
        raise StoreCorruptError(f"{where}: the layout of the identity index is out of range")
    return layout
