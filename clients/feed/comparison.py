"""The consistency check: whether the centre holds what the prefecture holds, and which codes differ if not.

One exchange proves equality: the greeting's digest against that of the holdings. Otherwise both sides' digests are
compared over ever smaller ranges of keys, 64 parts at a step, until entries are few enough to be listed; the cost grows
with the differences, not with the holdings. What differs is mended by sending it again from the source (Act 30-11(5)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from jukinet.clients.errors import EXIT_SERVER, ClientError
from jukinet.clients.feed.holdings import Holdings
from jukinet.clients.feed.sender import FeedSender
from jukinet.clients.transport.trio_link import Link
from jukinet.core.codes import code_from_key
from jukinet.core.feed.holdings import LEAVES_PER_PAGE as LEAVES
from jukinet.core.feed.holdings import (
    PAGES,
    SUM,
    HoldingsReader,
    entries_of_ranges,
    leaf_range,
    page_range,
    sums_of_ranges,
)
from jukinet.core.limits import COMPARE_RANGES_MAX, COMPARED_ROWS_MAX
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire.feed_messages import Compare, Compared, CompareKind

PARTS: Final = 64
"""Parts a range is divided into at each step below the leaves."""
LISTED_ENTRIES_MAX: Final = 128
"""Ranges with no more entries on either side are listed: 3 KB, as much as two steps of parts."""
MENDED_ROWS: Final = 10_000

Range = tuple[int, int]
Sum = tuple[int, bytes]


class ComparisonError(ClientError):
    """The two sides cannot be compared as they are now; the message says what to do."""

    exit_code = EXIT_SERVER


@dataclass(slots=True)
class Differences:
    """Codes by what is the matter with them, ascending, and what the comparison cost."""

    only_here: list[int] = field(default_factory=list)
    """The centre does not hold them as current in this prefecture."""
    only_there: list[int] = field(default_factory=list)
    unequal: list[int] = field(default_factory=list)
    held_here: int = 0
    held_there: int = 0
    exchanges: int = 1
    bytes: int = 0
    """Payload bytes asked and answered behind the greeting."""

    def __repr__(self) -> str:
        return f"<Differences {self.count}>"

    @property
    def count(self) -> int:
        return len(self.only_here) + len(self.only_there) + len(self.unequal)

    def rows(self) -> Iterator[tuple[int, str]]:
        """(code, what is the matter), by code."""
        words = (("only_here", self.only_here), ("only_there", self.only_there), ("unequal", self.unequal))
        yield from sorted((code, word) for word, listed in words for code in listed)


class Comparison:
    """One comparison over one connection. Everything in the outbox must be delivered and in the holdings."""

    def __init__(self, sender: FeedSender, holdings: Holdings) -> None:
        self._sender = sender
        self._holdings = holdings
        self._position = 0
        self.differences = Differences()

    async def run(self) -> Differences:
        """What differs. ComparisonError when rows are still on their way; else raises as `FeedSender.connected`."""
        state = self._sender.outbox.state
        if state.waiting or state.held != state.last:
            raise ComparisonError("rows are still on their way: deliver them first")
        link = await self._sender.connected()
        try:
            greeting = self._sender.greeting
            state = self._sender.outbox.state
            assert greeting is not None
            assert state.base is not None
            self._position = greeting.position
            if greeting.position != state.last + state.base:
                raise ComparisonError("rows are still on their way: deliver them first")
            found = self.differences
            own = self._holdings.digest()
            found.held_here, found.held_there = own[0], greeting.digest_count
            if own != (greeting.digest_count, greeting.digest_sum):
                await self._descend(link)
        finally:
            await link.aclose()
        return found

    async def _descend(self, link: Link) -> None:
        prefecture, register = self._holdings.prefecture, self._holdings.register
        with register.reader() as reader:
            with register.writer.reading() as transaction:
                stored = HoldingsReader(transaction, reader.databases, register.writer.places)
                there = list((await self._ask(link, CompareKind.PAGES, [])).pairs())
                here: list[Sum] = [(each.count, each.sum) for each in stored.pages(prefecture)]
                pages = [page for page in range(PAGES) if there[page] != here[page]]
                there = list((await self._ask(link, CompareKind.LEAVES, [page_range(page) for page in pages])).pairs())
                here = [(each.count, each.sum) for page in pages for each in stored.leaves(prefecture, page)]
            leaves = [page * LEAVES + leaf for page in pages for leaf in range(LEAVES)]
            ranges = [leaf_range(leaf) for leaf in leaves]
            await self._narrow(link, reader, _differing(ranges, here, there))

    async def _narrow(self, link: Link, reader: RegisterReader, differing: list[tuple[Range, int]]) -> None:
        """Divide ranges that differ (each with the larger of both sides' counts) until they can be listed."""
        listed: list[tuple[Range, int]] = []
        while differing:
            parts: list[Range] = []
            for each, count in differing:
                if count <= LISTED_ENTRIES_MAX or each[1] - each[0] < PARTS:
                    listed.append((each, count))
                else:
                    parts += _divided(each)
            differing = []
            for start in range(0, len(parts), COMPARE_RANGES_MAX):
                step = parts[start : start + COMPARE_RANGES_MAX]
                there = list((await self._ask(link, CompareKind.RANGES, step)).pairs())
                with reader.pin() as snapshot:
                    here = list(SUM.iter_unpack(sums_of_ranges(snapshot, self._holdings.prefecture, step)))
                differing += _differing(step, here, there)
        for chunk in _chunks(sorted(listed)):
            await self._list(link, reader, chunk)

    async def _list(self, link: Link, reader: RegisterReader, ranges: list[Range]) -> None:
        answer = await self._ask(link, CompareKind.ENTRIES, ranges)
        there = dict(answer.pairs())
        with reader.pin() as snapshot:
            found = entries_of_ranges(snapshot, self._holdings.prefecture, ranges, COMPARED_ROWS_MAX)
        if found is None:
            raise ComparisonError("too many entries in one range: load the prefecture anew instead")
        here = dict(SUM.iter_unpack(found[1]))
        result = self.differences
        for key in sorted(here.keys() | there.keys()):
            code = code_from_key(key)
            if key not in there:
                result.only_here.append(code)
            elif key not in here:
                result.only_there.append(code)
            elif here[key] != there[key]:
                result.unequal.append(code)

    async def _ask(self, link: Link, kind: CompareKind, ranges: Sequence[Range]) -> Compared:
        answer: Compared = await link.ask(Compare, (kind, ranges))
        if answer.position != self._position:
            raise ComparisonError("the feed went on while it was compared: compare again when nothing else is sent")
        self.differences.exchanges += 1
        self.differences.bytes += 16 * len(ranges) + len(answer.rows) + (4 * (len(ranges) + 1) if answer.offsets else 0)
        return answer


def mend(holdings: Holdings, differences: Differences) -> int:
    """Put again what differs, as statements of the holdings; what they do not hold, as a range with nothing in it.

    How many rows were put. They still have to be delivered.
    """
    codes = [code for code, _ in differences.rows()]
    put = 0
    for start in range(0, len(codes), MENDED_ROWS):
        keys = [code // 10 for code in codes[start : start + MENDED_ROWS]]
        statements = holdings.statements_of(keys)
        holdings.outbox.put([(each, "compare") for each in statements if each is not None])
        holdings.catch_up()
        for key, statement in zip(keys, statements, strict=True):
            if statement is None:
                holdings.put_nothing_at(key)
        put += len(keys)
    return put


def _differing(ranges: list[Range], here: list[Sum], there: list[Sum]) -> list[tuple[Range, int]]:
    return [(each, max(own[0], other[0])) for each, own, other in zip(ranges, here, there, strict=True) if own != other]


def _divided(whole: Range) -> list[Range]:
    first, stop = whole
    bounds = [first + (stop - first) * part // PARTS for part in range(PARTS + 1)]
    return list(pairwise(bounds))


def _chunks(listed: list[tuple[Range, int]]) -> Iterator[list[Range]]:
    """Ranges that one question may ask the entries of."""
    chunk: list[Range] = []
    total = 0
    for each, count in listed:
        if chunk and (total + count > COMPARED_ROWS_MAX // 2 or len(chunk) == COMPARE_RANGES_MAX):
            yield chunk
            chunk, total = [], 0
        chunk.append(each)
        total += count
    if chunk:
        yield chunk
