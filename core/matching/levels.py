"""Comparison levels of MATCH, finer than what an answer tells (vocabulary.Level), and the classes that tables go by.

The values are places in the tables of a parameter file (core.matching.parameters) and are shared with matcher.pyx.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from jukinet.core.vocabulary import Level


class NameLevel(IntEnum):
    """How a name, or a reading, compares with a person's (docs/matching.md, section 3)."""

    MISSING = 0
    EQUAL = 1
    FOLDED = 2
    """Equal after folding; of readings: but for voicing, small kana and long marks."""
    SLIP = 3
    SLIPS = 4
    """Two slips."""
    SWAPPED = 5
    PART = 6
    """The question has one part only, and it is equal."""
    GIVEN = 7
    """The given name is equal, the surname is another."""
    SURNAME = 8
    DIFFERENT = 9


class DateLevel(IntEnum):
    """How a birth date compares."""

    MISSING = 0
    EQUAL = 1
    MONTH = 2
    """Year and month are equal, the day is unknown on one side."""
    YEAR = 3
    DIGIT = 4
    TRANSPOSED = 5
    ERA = 6
    MONTH_AND_DAY = 7
    """Month and day are equal, the year is another."""
    YEAR_AND_MONTH = 8
    DIFFERENT = 9


class SexLevel(IntEnum):
    MISSING = 0
    EQUAL = 1
    DIFFERENT = 2


class PlaceLevel(IntEnum):
    """How an address compares."""

    MISSING = 0
    EQUAL = 1
    BUILDING = 2
    """Equal but for the building or room."""
    TOWN = 3
    AREA = 4
    DIFFERENT = 5


class Reading(IntEnum):
    """Classes of the reading's level: the name's tables are given for each."""

    MISSING = 0
    FULL = 1
    NEAR = 2
    SWAPPED = 3
    PART = 4
    GIVEN = 5
    SURNAME = 6
    DIFFERENT = 7


READING_OF_LEVEL: Final = (
    Reading.MISSING, Reading.FULL, Reading.FULL, Reading.NEAR, Reading.NEAR, Reading.SWAPPED, Reading.PART,
    Reading.GIVEN, Reading.SURNAME, Reading.DIFFERENT,
)  # fmt: skip
"""The class of a reading's level, by NameLevel."""
TOLD_OF_KANA: Final = (
    Level.NOT_COMPARED, Level.EXACT, Level.VOICING, Level.NEAR, Level.NEAR, Level.SWAPPED, Level.PARTIAL,
    Level.PARTIAL, Level.PARTIAL, Level.DIFFERENT,
)  # fmt: skip
TOLD_OF_NAME: Final = (
    Level.NOT_COMPARED, Level.EXACT, Level.FOLDED, Level.NEAR, Level.NEAR, Level.SWAPPED, Level.PARTIAL,
    Level.PARTIAL, Level.PARTIAL, Level.DIFFERENT,
)  # fmt: skip
TOLD_OF_DATE: Final = (
    Level.NOT_COMPARED, Level.EXACT, Level.PARTIAL, Level.PARTIAL, Level.NEAR, Level.SWAPPED, Level.ERA, Level.NEAR,
    Level.NEAR, Level.DIFFERENT,
)  # fmt: skip
TOLD_OF_SEX: Final = (Level.NOT_COMPARED, Level.EXACT, Level.DIFFERENT)
TOLD_OF_PLACE: Final = (
    Level.NOT_COMPARED, Level.EXACT, Level.FOLDED, Level.PARTIAL, Level.NEAR, Level.DIFFERENT,
)  # fmt: skip
"""What an answer tells of each level, by its value; an address is EXACT only when it is equal before folding."""

LOOKALIKE_KANA: Final = ("シツ", "ソン", "クワ", "ウワ", "ヌス", "チテ", "コユ", "マア")
"""Kana that are taken for one another when they are read from paper; of several pairs of one kana the last counts."""
