"""SEARCH and MATCH under way: rows checked, persons found by the matcher, the answer laid out (docs/protocol.md, 3.8).

The person's items are gathered by LOOKUP's own kernel, from the snapshot in which the person was found. A batch is used
like those of LOOKUP and STATUS: begin, run in ascending pieces, what the record of use holds, finish.
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, Final

from jukinet.core import limits
from jukinet.core.columns.layout import TextColumn, padded
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.matching import answer_kernel
from jukinet.core.matching.batch import Matcher, MatcherOf
from jukinet.core.matching.columns import LEVELS, Hits, MatchRules, Questions
from jukinet.core.vocabulary import MALFORMED_CODE, Found, Item, Outcome

if TYPE_CHECKING:
    from jukinet.core.store.snapshot import Snapshot

FRAME_HEADER_BYTES: Final = limits.FRAME_HEADER_BYTES
_HEAD: Final = struct.Struct("<IIQ")
_OUTCOMES_AT: Final = FRAME_HEADER_BYTES + _HEAD.size
_OUTCOME_OF_NOBODY: Final = bytes.maketrans(bytes([Outcome.MALFORMED]), bytes([Outcome.UNKNOWN]))
_ADDED_ROW_BYTES_MAX: Final = 32
"""What a row has in an answer beside the columns of a LOOKUP."""

assert limits.CODES_PER_REQUEST_MAX * _ADDED_ROW_BYTES_MAX < limits.ANSWER_BYTES_MAX // 32


class Asked:
    """The rows of a question as the matcher takes them; columns that were not given are empty."""

    def __init__(
        self,
        count: int,
        *,
        names: TextColumn | None = None,
        kana: TextColumn | None = None,
        birth_dates: memoryview | None = None,
        sexes: memoryview | None = None,
        addresses: TextColumn | None = None,
    ) -> None:
        nothing = TextColumn(memoryview(bytes(4 * (count + 1))).cast("I"), memoryview(b""))
        self._dates = birth_dates if birth_dates is not None else memoryview(bytes(4 * count)).cast("I")
        self._packed = memoryview(bytearray(4 * count)).cast("I")
        self.questions = Questions(
            count,
            names if names is not None else nothing,
            kana if kana is not None else nothing,
            self._packed,
            sexes if sexes is not None else memoryview(bytes(count)),
            addresses if addresses is not None else nothing,
        )

    def check(self, start: int, stop: int, statuses: memoryview) -> None:
        """Give rows [start, stop) that cannot be looked for their status, others 0."""
        asked = self.questions
        answer_kernel.check_rows(
            start,
            stop,
            asked.names.offsets,
            asked.kanas.offsets,
            self._dates,
            asked.sexes,
            asked.addresses.offsets,
            self._packed,
            statuses,
        )


class _FindBatch:
    """What both have in common. Not reusable while its question is."""

    def __init__(self) -> None:
        self._lookup = LookupBatch()
        self._asked = Asked(0)
        self._items = 0
        self._made_of: MatcherOf | None = None
        self._matcher: Matcher | None = None
        self._version = 0
        self.rules = MatchRules()
        """What the affair allows, as it was when the batch was begun."""
        self.codes: memoryview = memoryview(b"").cast("Q")
        """u64 codes of the persons provided, for the record of use; MALFORMED_CODE for rows without one."""

    def _begin(self, asked: Asked, items: int, matcher: MatcherOf) -> Matcher:
        """The batch's own matcher, which is made anew only when another one is wanted than for the batch before."""
        self._asked, self._items, self.rules = asked, items, matcher.rules
        if self._matcher is None or self._made_of != matcher:
            self._made_of, self._matcher = matcher, matcher.make()
        return self._matcher

    @property
    def outcomes(self) -> bytes:
        """u8 outcome of each row of ``codes``; UNKNOWN where no person is provided."""
        return self._lookup.outcomes.translate(_OUTCOME_OF_NOBODY)

    def _persons(self) -> list[bytearray | memoryview]:
        """Outcome and groups of the persons, as a LOOKUP lays them out; the first begins with the outcomes."""
        shown = memoryview(bytearray(self.codes.nbytes)).cast("Q")
        if self._items & Item.CODE:
            answer_kernel.shown_codes(self.codes, shown)
        outcomes = self.outcomes
        first, *rest = self._lookup.finish_in_parts()
        groups = memoryview(first)[_OUTCOMES_AT + padded(len(outcomes)) :]
        parts: list[bytearray | memoryview] = [bytearray(outcomes.ljust(padded(len(outcomes)), b"\0")), groups, *rest]
        if self._items & Item.CODE:
            parts.append(shown.cast("B"))
        return parts

    def _frame(self, columns: list[bytes], count: int) -> list[bytearray | memoryview]:
        """The answer: 16 zero bytes for the frame header, the head, these columns, then the persons."""
        head = bytearray(FRAME_HEADER_BYTES) + _HEAD.pack(self._items, count, self._version)
        for column in columns:
            head += column
            head += bytes(-len(column) % 8)
        outcomes, *rest = self._persons()
        head += outcomes
        self._asked = Asked(0)  # lets the caller's columns go
        self.codes = memoryview(b"").cast("Q")
        return [head, *(part for part in rest if len(part))]


class MatchBatch(_FindBatch):
    """One MATCH under way."""

    def begin(self, asked: Asked, items: int, matcher: MatcherOf) -> None:
        """Start a batch. items: mask provided of the persons found."""
        count = asked.questions.count
        self._answers = self._begin(asked, items, matcher).begin(asked.questions)
        self.codes = memoryview(bytearray(8 * count)).cast("Q")
        self._lookup.begin(self.codes, items & ~Item.CODE)

    def run(self, snapshot: Snapshot, start: int, stop: int) -> None:
        """Answer rows [start, stop). Raises StoreError."""
        assert self._matcher is not None
        answers = self._answers
        self._asked.check(start, stop, answers.statuses)
        self._matcher.run(snapshot, start, stop)
        answer_kernel.give_codes(start, stop, answers.statuses, answers.keys, self.codes)
        self._lookup.run(snapshot, start, stop)
        self._version = self._lookup.version
        if stop == answers.count:
            self._matcher.finish()

    @property
    def matches(self) -> bytes:
        """What the record of use holds of each row besides: status and grade."""
        told = bytearray(self._answers.count)
        answer_kernel.told_bytes(self._answers.statuses, self._answers.grades, told)
        return bytes(told)

    def finish(self) -> list[bytearray | memoryview]:
        """The answer as buffers to be sent in order; the first begins with room for the frame header."""
        answers = self._answers
        candidates = memoryview(bytearray(4 * answers.count)).cast("I")
        answer_kernel.widen(answers.candidates, candidates)
        columns = [
            bytes(answers.statuses),
            candidates.tobytes(),
            bytes(answers.grades),
            packed_levels(answers.levels),
            in_millionths(answers.probabilities),
            in_millionths(answers.margins),
        ]
        return self._frame(columns, answers.count)


class SearchBatch(_FindBatch):
    """One SEARCH under way."""

    def begin(self, asked: Asked, items: int, matcher: MatcherOf, prefix: bool) -> None:
        """As MatchBatch; prefix: names and readings may be beginnings."""
        self._begin(asked, items, matcher)
        self._prefix = prefix
        self._hits = Hits.empty(asked.questions.count, self.rules.hits_max)

    def run(self, snapshot: Snapshot, start: int, stop: int) -> None:
        """Answer questions [start, stop); with the last, the persons' items are gathered. Raises StoreError."""
        assert self._matcher is not None
        asked, hits = self._asked, self._hits
        asked.check(start, stop, hits.statuses)
        self._matcher.search(snapshot, asked.questions, self._prefix, start, stop, hits)
        if stop == hits.count:
            self._gather(snapshot)

    def _gather(self, snapshot: Snapshot) -> None:
        hits, cap = self._hits, self._hits.cap
        self._row_ends = array("I")
        grades, levels, probabilities, told = bytearray(), bytearray(), bytearray(), bytearray()
        persons, recorded = array("Q"), array("Q")
        for question in range(hits.count):
            found, status, start = hits.found[question], hits.statuses[question], question * cap
            stop = start + found
            if found:
                codes = memoryview(array("Q", bytes(8 * found)))
                answer_kernel.give_codes(0, found, bytes([Found.ONE]) * found, hits.keys[start:stop], codes)
                persons.extend(codes)
                recorded.extend(codes)
                grades += hits.grades[start:stop]
                levels += hits.levels[start * LEVELS : stop * LEVELS]
                probabilities += hits.probabilities[start:stop].tobytes()
                told += bytes(status | grade << 4 for grade in hits.grades[start:stop])
            else:
                recorded.append(MALFORMED_CODE)
                told.append(status)
            self._row_ends.append(len(persons))
        self._columns = [
            bytes(grades),
            packed_levels(levels),
            in_millionths(memoryview(array("f", bytes(probabilities)))),
        ]
        self.codes, self.matches = memoryview(persons), bytes(told)
        self._recorded = memoryview(recorded)
        self._lookup.begin(self.codes, self._items & ~Item.CODE)
        self._lookup.run(snapshot, 0, len(persons))
        self._version = snapshot.version

    def recorded(self) -> tuple[memoryview, bytes]:
        """(codes, outcomes) for the record of use: the persons provided, and one row for each question without any."""
        outcomes, provided, at = bytearray(), super().outcomes, 0
        for code in self._recorded:
            if code == MALFORMED_CODE:
                outcomes.append(Outcome.UNKNOWN)
            else:
                outcomes.append(provided[at])
                at += 1
        return self._recorded, bytes(outcomes)

    def finish(self) -> list[bytearray | memoryview]:
        """As MatchBatch."""
        count = self._hits.count
        return self._frame([bytes(self._hits.statuses), self._row_ends.tobytes(), *self._columns], count)


def packed_levels(levels: memoryview | bytearray) -> bytes:
    """u32 of each row's LEVELS levels."""
    packed = memoryview(bytearray(len(levels) // LEVELS * 4)).cast("I")
    answer_kernel.pack_levels(levels, packed)
    return packed.tobytes()


def in_millionths(shares: memoryview[float]) -> bytes:
    """u32 of each share."""
    out = memoryview(bytearray(shares.nbytes)).cast("I")
    answer_kernel.millionths(shares, out)
    return out.tobytes()
