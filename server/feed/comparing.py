"""Answers COMPARE: digests and entries of a prefecture's holdings, read beside the writer thread."""

from __future__ import annotations

import time
from typing import Final

import trio

from jukinet.core.errors import ErrorCode, JukinetError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.holdings import (
    LEAF_KEYS,
    LEAVES_PER_PAGE,
    PAGES,
    HoldingsReader,
    entries_of_ranges,
    sums_of_ranges,
)
from jukinet.core.feed.positions import read_feed
from jukinet.core.limits import COMPARED_ROWS_MAX
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import feed_messages as fm

PAGE_KEYS: Final = LEAF_KEYS * LEAVES_PER_PAGE
KEPT_SECONDS: Final = 30.0
"""A comparison takes several exchanges; the directory of blocks takes 0.4 s to fill at 120 million residents."""


class ComparisonError(JukinetError):
    """A COMPARE that is not answered; the message quotes nothing of it."""

    code = ErrorCode.BAD_REQUEST


class Comparing:
    """One comparison at a time, in a thread; between them the reader is kept up to date, for a while.

    A reader that stays behind would make the register's file grow, so it is followed or closed (``rest``).
    """

    def __init__(self, register: FeedRegister) -> None:
        self._register = register
        self._one = trio.CapacityLimiter(1)
        self._reader: RegisterReader | None = None
        self._used = 0.0

    async def compare(self, prefecture: int, message: fm.Compare) -> fm.Compared:
        """The answer. Raises StoreError, ComparisonError."""
        return await trio.to_thread.run_sync(self._compare, prefecture, message, limiter=self._one)

    async def rest(self) -> None:
        """Called now and then: let go of old versions, and of everything when nothing was compared for a while."""
        if self._reader is not None:
            await trio.to_thread.run_sync(self._follow_or_close, limiter=self._one)

    def close(self) -> None:
        """Close the reader; no comparison may be under way."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _follow_or_close(self) -> None:
        if self._reader is None:
            return
        if time.monotonic() - self._used >= KEPT_SECONDS:
            self.close()
        else:
            self._reader.refresh()

    def _compare(self, prefecture: int, message: fm.Compare) -> fm.Compared:
        self._used = time.monotonic()
        if self._reader is None:
            self._reader = self._register.reader()
        self._reader.refresh()
        return compare(self._reader, prefecture, message)


def compare(reader: RegisterReader, prefecture: int, message: fm.Compare) -> fm.Compared:
    """What the register holds of the prefecture, in one snapshot. Raises StoreError, ComparisonError."""
    kind, ranges = message.kind, message.ranges
    counts: list[int] | None = None
    with reader.pin() as snapshot:
        transaction = snapshot.transaction
        assert transaction is not None
        position = read_feed(transaction, reader.databases["feeds"], prefecture).position
        holdings = HoldingsReader(transaction, reader.databases, snapshot.places)
        if kind is fm.CompareKind.AREAS:
            rows = b"".join(map(holdings.area_packed, areas_of(reader, prefecture).values()))
        elif kind is fm.CompareKind.PAGES:
            rows = b"".join(digest.packed for digest in holdings.pages(prefecture))
        elif kind is fm.CompareKind.LEAVES:
            rows = b"".join(holdings.page_packed(prefecture, page_of(first)) for first, _ in ranges)
        elif kind is fm.CompareKind.RANGES:
            rows = sums_of_ranges(snapshot, prefecture, ranges)
        else:
            found = entries_of_ranges(snapshot, prefecture, ranges, COMPARED_ROWS_MAX)
            if found is None:
                raise ComparisonError(f"more than {COMPARED_ROWS_MAX} entries lie in the ranges: ask for smaller ones")
            counts, rows = found
        version = snapshot.version
    return fm.Compared.of_rows(message.request_id, kind, version, position, rows, counts)


def areas_of(reader: RegisterReader, prefecture: int) -> dict[int, int]:
    """The prefecture's connected areas by JIS number, ascending, with their numbers in the areas table."""
    found = {
        area.jis: number
        for number, area in enumerate(reader.areas)
        if area.connected and area.jis // 1000 == prefecture
    }
    return dict(sorted(found.items()))


def page_of(first_key: int) -> int:
    """The page that begins with a key. Raises ComparisonError when none does."""
    page, rest = divmod(first_key, PAGE_KEYS)
    if rest or page >= PAGES:
        raise ComparisonError("a range of the comparison is no page")
    return page
