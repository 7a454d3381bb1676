"""What SEARCH and MATCH are asked and what they answer, as columns: the one form that wire, server and kernels share.

A question is a row: whatever of the four items and the kana reading somebody has. The kernels read Questions where they
lie and write into the buffers of Answers and Hits; no Python object is made for a row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from jukinet.core.columns.layout import TextColumn

LEVELS: Final = 5
"""Compared items of a row, in this order: name, kana, birth date, sex, address."""


class Questions(Struct, frozen=True, gc=False):
    """``count`` rows. What a row does not have is an empty text, a date 0, a sex 0.

    names, kanas, addresses: text columns (u32 offsets[count + 1] from 0, UTF-8) as they came, not folded. birth_dates:
    'I', packed as in docs/store-format.md, section 4 (year << 9 | month << 5 | day, unknown parts 0), so a wholly
    unknown date and none at all are one. sexes: 'B', ISO/IEC 5218. In rows that a matcher is to look at, texts have at
    most limits.CLAIM_TEXT_BYTES_MAX bytes, dates exist and sexes are known ones. Its repr never shows what was asked.
    """

    count: int
    names: TextColumn
    kanas: TextColumn
    birth_dates: memoryview
    sexes: memoryview
    addresses: TextColumn

    def __repr__(self) -> str:
        return f"Questions(count={self.count})"

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, int, int, str]]) -> Questions:
        """Columns of (name, kana, packed birth date, sex, address)."""
        listed: Sequence[tuple[str, str, int, int, str]] = list(rows)
        return cls(
            len(listed),
            TextColumn.from_texts(row[0] for row in listed),
            TextColumn.from_texts(row[1] for row in listed),
            memoryview(array("I", [row[2] for row in listed])),
            memoryview(bytes(row[3] for row in listed)),
            TextColumn.from_texts(row[4] for row in listed),
        )


class Answers(Struct, frozen=True, gc=False):
    """What MATCH says of ``count`` rows; the buffers belong to it and are written by the matcher, row by row.

    statuses: 'B', vocabulary.Found; a row whose status is not 0 before it is looked at was refused, and is left alone.
    NONE stands for nobody; whether areas are missing is judged by the caller. keys: 'Q', the ten-digit key of the one
    match, else 0. grades: 'B', vocabulary.Grade. probabilities: 'f', that the one match (or the best of several
    candidates) is the person. margins: 'f', that probability less the next candidate's. levels: 'B', LEVELS a row,
    vocabulary.Level, of the one match. candidates: 'H', how many persons stood above the affair's threshold for a
    candidate, 65,535 for more.

    Only a row with the status ONE has a key, a grade and levels: where several persons are meant, none is disclosed.
    """

    count: int
    statuses: memoryview
    keys: memoryview
    grades: memoryview
    probabilities: memoryview[float]
    margins: memoryview[float]
    levels: memoryview
    candidates: memoryview

    @classmethod
    def empty(cls, count: int) -> Answers:
        """Zeroed columns of ``count`` rows."""
        return cls(
            count,
            memoryview(bytearray(count)),
            memoryview(bytearray(8 * count)).cast("Q"),
            memoryview(bytearray(count)),
            memoryview(bytearray(4 * count)).cast("f"),
            memoryview(bytearray(4 * count)).cast("f"),
            memoryview(bytearray(LEVELS * count)),
            memoryview(bytearray(2 * count)).cast("H"),
        )


class Hits(Struct, frozen=True, gc=False):
    """What SEARCH says of ``count`` rows: a status each, and of each row's hits, at most ``cap``, key and explanation.

    statuses: 'B', as in Answers: ONE or SEVERAL with hits, TOO_MANY (more than ``cap``) and all others without. found:
    'B', hits of the row. keys 'Q', grades 'B', probabilities 'f' and levels 'B' (LEVELS a hit) have ``cap`` places a
    row: hit i of row r stands at r * cap + i, the likeliest first.
    """

    count: int
    cap: int
    statuses: memoryview
    found: memoryview
    keys: memoryview
    grades: memoryview
    probabilities: memoryview[float]
    levels: memoryview

    @classmethod
    def empty(cls, count: int, cap: int) -> Hits:
        """Zeroed columns with room for ``cap`` hits a row."""
        places = count * cap
        return cls(
            count,
            cap,
            memoryview(bytearray(count)),
            memoryview(bytearray(count)),
            memoryview(bytearray(8 * places)).cast("Q"),
            memoryview(bytearray(places)),
            memoryview(bytearray(4 * places)).cast("f"),
            memoryview(bytearray(LEVELS * places)),
        )


class MatchRules(Struct, frozen=True):
    """What an affair allows of SEARCH and MATCH (docs/authority.md): thresholds are probabilities.

    match_threshold: one match is disclosed at or above it. candidate_threshold: a person at or above it counts as a
    candidate, and a second one makes the answer SEVERAL unless it lies margin_min below the first. hits_max: more hits
    of a SEARCH answer TOO_MANY. prefix: whether a name may be given by its beginning. parameters: path of the affair's
    file of model parameters, '' for the shipped ones; parameters_digest: SHA-256 of that file, so that another content
    is another set of rules.
    """

    match_threshold: float = 0.98
    candidate_threshold: float = 0.05
    margin_min: float = 0.2
    hits_max: int = 50
    prefix: bool = False
    parameters: str = ""
    parameters_digest: str = ""
