"""Which columns each question and answer of the query protocol holds, in which order."""

from __future__ import annotations

from functools import cache
from typing import Final

from jukinet.core.columns.layout import BYTE, CODE, NUMBER, TEXT, TextColumn
from jukinet.core.vocabulary import Item

__all__ = [
    "TextColumn",
    "claim_plan",
    "given_plan",
    "history_plan",
    "lookup_plan",
    "match_plan",
    "matches_mask",
    "search_plan",
]

DATE: Final = b"d"
SEX: Final = b"s"
AREA: Final = b"a"
REASON: Final = b"r"
SUCCESSOR: Final = b"c"
OUTCOME: Final = b"o"
STATUS_OUTCOME: Final = b"p"
MATCHES: Final = b"m"
FOUND: Final = b"u"
GRADE: Final = b"g"
LEVELS: Final = b"l"
MILLIONTHS: Final = b"q"
"""Letters of a plan whose values column_kernel checks."""

LOOKUP_GROUPS: Final[tuple[tuple[Item, bytes], ...]] = (
    (Item.NAME, TEXT),
    (Item.KANA, TEXT),
    (Item.ALIAS, TEXT),
    (Item.BIRTH_DATE, DATE),
    (Item.SEX, SEX),
    (Item.ADDRESS, AREA + TEXT),
    (Item.CHANGE, REASON + DATE),
    (Item.CODE, SUCCESSOR),
)
"""The groups of a LOOKUP_ANSWER, lowest bit first."""

CLAIM_GROUPS: Final[tuple[tuple[Item, bytes], ...]] = (
    (Item.NAME, TEXT),
    (Item.BIRTH_DATE, DATE),
    (Item.SEX, SEX),
    (Item.ADDRESS, TEXT),
)
"""The claims of a VERIFY, lowest bit first. The position of an item is the position of its two bits in a match."""

HISTORY_ITEMS: Final = 0xFF & ~Item.CODE
"""Items that an earlier record may have: the code is what was asked."""

HISTORY_CODES_PLAN: Final = OUTCOME + NUMBER
STATUS_PLAN: Final = STATUS_OUTCOME + DATE
COHORT_CHANGES_PLAN: Final = CODE + OUTCOME + REASON + DATE + DATE
VERIFY_ANSWER_PLAN: Final = OUTCOME + MATCHES


GIVEN_GROUPS: Final[tuple[tuple[Item, bytes], ...]] = (
    (Item.NAME, TEXT),
    (Item.KANA, TEXT),
    (Item.BIRTH_DATE, NUMBER),
    (Item.SEX, BYTE),
    (Item.ADDRESS, TEXT),
)
"""What a SEARCH or MATCH gives of each person, lowest bit first. A value that is not allowed is told row by row."""


@cache
def given_plan(given: int) -> bytes:
    """The columns of a SEARCH or MATCH that gives these items."""
    return b"".join(kind for item, kind in GIVEN_GROUPS if given & item)


SEARCH_FOUND_PLAN: Final = FOUND + NUMBER


@cache
def search_plan(items: int) -> bytes:
    """The columns of the persons in a SEARCH_ANSWER with these items: grade, levels, probability, then as a LOOKUP."""
    return GRADE + LEVELS + MILLIONTHS + lookup_plan(items)


@cache
def match_plan(items: int) -> bytes:
    """The columns of a MATCH_ANSWER: found, candidates, grade, levels, probability, margin, then as a LOOKUP."""
    return FOUND + NUMBER + GRADE + LEVELS + MILLIONTHS + MILLIONTHS + lookup_plan(items)


@cache
def lookup_plan(items: int) -> bytes:
    """The columns of a LOOKUP_ANSWER with these items (0 to 255)."""
    return OUTCOME + b"".join(kinds for item, kinds in LOOKUP_GROUPS if items & item)


@cache
def history_plan(items: int) -> bytes:
    """The columns of the records in a HISTORY_ANSWER with these items: the day of replacing, then the groups."""
    return DATE + b"".join(kinds for item, kinds in LOOKUP_GROUPS if items & item & HISTORY_ITEMS)


@cache
def claim_plan(items: int) -> bytes:
    """The columns of a VERIFY with claims for these items, the codes first."""
    return CODE + b"".join(kinds for item, kinds in CLAIM_GROUPS if items & item)


@cache
def matches_mask(items: int) -> int:
    """The bits that a row's matches may use when these items were claimed."""
    return sum(3 << 2 * place for place, (item, _) in enumerate(CLAIM_GROUPS) if items & item)
