"""Comparing two holdings by descending their digests: pages, leaves, ranges of keys, entries (docs/protocol.md).

Theory of operation. Two holdings are equal when their totals are. Otherwise the 64 pages are compared, then the leaves
of the pages that differ, then parts of those leaves, and in the end the entries of parts that are small. What is
exchanged grows with the differences and hardly with the holdings. ``descent`` knows no connection: it yields questions
to the other side and is sent the answers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import lmdb
import msgspec

from jukinet.core import limits
from jukinet.core.codes import code_from_key
from jukinet.core.errors import StoreError
from jukinet.core.feed.holdings import (
    ENTRY,
    PAGES,
    SUM,
    Digest,
    HoldingsReader,
    entries_of_ranges,
    leaf_range,
    page_range,
    sums_of_ranges,
)
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.wire.feed_messages import CompareKind

ENTRIES_PER_PART: Final = 24
"""A part of a leaf that differs has about this many entries: what a difference costs is least between 16 and 64."""
ENTRIES_LISTED_MAX: Final = 64
"""Ranges of at most as many entries are listed and no longer split."""
PARTS_MAX: Final = 256
DIFFERENCES_MAX: Final = 1_000_000
ENTRIES_PER_QUESTION: Final = 65_536

assert ENTRIES_PER_QUESTION + ENTRIES_LISTED_MAX <= limits.COMPARED_ROWS_MAX

Range = tuple[int, int]


class Question(NamedTuple):
    """One COMPARE: its kind, and the ranges that it asks about ([first key, stop key))."""

    kind: CompareKind
    ranges: Sequence[Range] = ()


class Answer(NamedTuple):
    """Rows of 24 bytes as COMPARED carries them; for entries, how many belong to each range."""

    rows: bytes
    counts: Sequence[int] | None = None


class Side(IntEnum):
    """Where a differing code is."""

    OWN_ONLY = 1
    OTHER_ONLY = 2
    BOTH = 3
    """Both sides hold it, and it is not the same."""


class Difference(NamedTuple):
    """One code that the two sides do not hold alike."""

    code: int
    side: Side


class Comparison(msgspec.Struct, kw_only=True):
    """What a descent found. complete: False when it ended at the greatest number of differences that was allowed."""

    differences: list[Difference]
    complete: bool = True


class HoldingsAnswers:
    """Answers questions about one prefecture's holdings in one snapshot, which the caller keeps pinned."""

    def __init__(self, snapshot: Snapshot, databases: Mapping[str, lmdb._Database], prefecture: int) -> None:
        if snapshot.transaction is None:
            raise StoreError("the snapshot has ended")
        self._snapshot = snapshot
        self._prefecture = prefecture
        self._stored = HoldingsReader(snapshot.transaction, databases, snapshot.places)

    def total(self) -> Digest:
        """The digest of all holdings."""
        return self._stored.prefecture(self._prefecture)

    def answer(self, question: Question) -> Answer | None:
        """The rows that answer; None when there are more entries than an answer may hold.

        The order of AREAS is that of the prefecture's areas by number in the areas table. Raises ValueError for
        ranges that are none, StoreCorruptError for damage.
        """
        kind, ranges = question
        if kind is CompareKind.AREAS:
            areas = self._stored.prefecture_areas(self._prefecture)
            return Answer(b"".join(self._stored.area_packed(area) for area in areas))
        if kind is CompareKind.PAGES:
            return Answer(b"".join(page.packed for page in self._stored.pages(self._prefecture)))
        if kind is CompareKind.LEAVES:
            pages = [first // page_range(0)[1] for first, _ in ranges]
            if any(page_range(page) != wanted for page, wanted in zip(pages, ranges, strict=True)):
                raise ValueError("leaves are asked for by pages")
            return Answer(b"".join(self._stored.page_packed(self._prefecture, page) for page in pages))
        if kind is CompareKind.RANGES:
            return Answer(sums_of_ranges(self._snapshot, self._prefecture, ranges))
        listed = entries_of_ranges(self._snapshot, self._prefecture, ranges, limits.COMPARED_ROWS_MAX)
        return None if listed is None else Answer(listed[1], listed[0])


Descent = Generator[Question, Answer, Comparison]


def descent(own: HoldingsAnswers, other: Digest, differences_max: int = DIFFERENCES_MAX) -> Descent:
    """Find the codes that differ from another side whose total is ``other``.

    Yields a question, is sent the other side's answer, and returns the differing codes in ascending order. Both sides
    must stay as they are meanwhile, or what changed is told as a difference too.
    """
    if own.total() == other:
        return Comparison(differences=[])
    pages = yield from _differing(own, Question(CompareKind.PAGES), [page_range(page) for page in range(PAGES)])
    if not pages:
        return Comparison(differences=[])
    leaves_asked = [page for page, _ in pages]
    leaves = [leaf_range(leaf) for first, _ in leaves_asked for leaf in _leaves_from(first)]
    wide = yield from _differing(own, Question(CompareKind.LEAVES, leaves_asked), leaves)
    found: list[Difference] = []
    for portion in _portions(wide):
        narrow = yield from _narrowed(own, portion)
        for chunk in _chunks(narrow):
            found += yield from _listed(own, chunk)
            if len(found) > differences_max:
                return Comparison(differences=sorted(found)[:differences_max], complete=False)
    return Comparison(differences=sorted(found))


Counted = tuple[Range, int]
"""A range and how many entries the side with more of them has there."""


def _leaves_from(first_key: int) -> range:
    leaf = first_key // leaf_range(0)[1]
    return range(leaf, leaf + 64)


def _portions(ranges: list[Counted]) -> Iterator[list[Counted]]:
    """Few at a time, so that what is kept and asked at once stays small however much differs."""
    for start in range(0, len(ranges), 64):
        yield ranges[start : start + 64]


def _differing(
    own: HoldingsAnswers, question: Question, ranges: Sequence[Range]
) -> Generator[Question, Answer, list[Counted]]:
    """Those of ``ranges``, one for each row of the answer, in which the two sides' sums are not the same."""
    theirs = yield question
    ours = own.answer(question)
    if ours is None or len(ours.rows) != len(theirs.rows):
        raise ValueError("the two sides answer with different numbers of rows")
    rows = zip(ranges, SUM.iter_unpack(ours.rows), SUM.iter_unpack(theirs.rows), strict=True)
    return [(one, max(mine[0], other[0])) for one, mine, other in rows if mine != other]


def _narrowed(own: HoldingsAnswers, ranges: list[Counted]) -> Generator[Question, Answer, list[Counted]]:
    """Split ranges that differ until none has more than ENTRIES_LISTED_MAX entries."""
    done: list[Counted] = []
    left = ranges
    while left:
        parts: list[Range] = []
        for (first, stop), count in left:
            if count <= ENTRIES_LISTED_MAX:
                done.append(((first, stop), count))
                continue
            number = min(PARTS_MAX, -(-count // ENTRIES_PER_PART), stop - first)
            step = -(-(stop - first) // number)
            parts += [(start, min(start + step, stop)) for start in range(first, stop, step)]
        left = []
        for start in range(0, len(parts), limits.COMPARE_RANGES_MAX):
            asked = parts[start : start + limits.COMPARE_RANGES_MAX]
            left += yield from _differing(own, Question(CompareKind.RANGES, asked), asked)
    return done


def _chunks(ranges: list[Counted]) -> Iterator[list[Range]]:
    """Ranges whose entries fit one answer."""
    chunk: list[Range] = []
    entries = 0
    for one, count in ranges:
        if chunk and (entries + count > ENTRIES_PER_QUESTION or len(chunk) == limits.COMPARE_RANGES_MAX):
            yield chunk
            chunk, entries = [], 0
        chunk.append(one)
        entries += count
    if chunk:
        yield chunk


def _listed(own: HoldingsAnswers, ranges: list[Range]) -> Generator[Question, Answer, list[Difference]]:
    """The codes that differ in ranges small enough to be listed."""
    question = Question(CompareKind.ENTRIES, ranges)
    theirs = dict(ENTRY.iter_unpack((yield question).rows))
    answer = own.answer(question)
    if answer is None:
        raise StoreError("the holdings changed while they were compared")
    ours = dict(ENTRY.iter_unpack(answer.rows))
    found = [
        Difference(code_from_key(key), Side.BOTH if key in theirs else Side.OWN_ONLY)
        for key, hashed in ours.items()
        if theirs.get(key) != hashed
    ]
    found += [Difference(code_from_key(key), Side.OTHER_ONLY) for key in theirs.keys() - ours.keys()]
    return found
