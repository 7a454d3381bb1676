"""Comparing a question with one record of a person, item by item, in plain Python (docs/matching.md, section 3).

The reference for the kernel (matcher.pyx), which must give the same levels, and what estimation uses.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from jukinet.core.folding.addresses import AddressNearness, address_nearness, split_address
from jukinet.core.folding.dates import DateNearness, nearness
from jukinet.core.matching.folded import Folded
from jukinet.core.matching.levels import DateLevel, NameLevel, PlaceLevel, SexLevel

LEVEL_OF_NEARNESS: Final = {
    DateNearness.EQUAL: DateLevel.EQUAL, DateNearness.COMPATIBLE: DateLevel.MONTH, DateNearness.ERA: DateLevel.ERA,
    DateNearness.MONTH_DAY: DateLevel.TRANSPOSED, DateNearness.DIGIT: DateLevel.DIGIT,
    DateNearness.TRANSPOSED: DateLevel.TRANSPOSED, DateNearness.YEAR: DateLevel.MONTH_AND_DAY,
    DateNearness.FAR: DateLevel.DIFFERENT, DateNearness.UNKNOWN: DateLevel.MISSING,
}  # fmt: skip
LEVEL_OF_ADDRESS: Final = {
    AddressNearness.EQUAL: PlaceLevel.EQUAL, AddressNearness.BUT_BUILDING: PlaceLevel.BUILDING,
    AddressNearness.SAME_TOWN: PlaceLevel.TOWN, AddressNearness.SAME_AREA: PlaceLevel.AREA,
    AddressNearness.DIFFERENT: PlaceLevel.DIFFERENT, AddressNearness.UNKNOWN: PlaceLevel.MISSING,
}  # fmt: skip
TWO_SLIPS_LENGTH_MIN: Final = 6
"""Below this many characters two slips are another name."""


class Comparison(Struct, frozen=True, gc=False):
    """Levels of one question and one record; *_slip says which part of the name is not equal at SLIP and SLIPS."""

    kana: int
    name: int
    date: int
    sex: int
    place: int
    kana_slip: int = 0
    """0 neither part equal, 1 the surname equal, 2 the given name equal; at PART: which part was given."""
    name_slip: int = 0


def distance(left: str, right: str, limit: int) -> int:
    """Damerau-Levenshtein distance in the restricted form; limit + 1 for more than ``limit``."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        after = [i] + [0] * len(right)
        for j, other in enumerate(right, 1):
            cost = min(row[j] + 1, after[j - 1] + 1, row[j - 1] + (one != other))
            if i > 1 and j > 1 and one == right[j - 2] and left[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            after[j] = cost
        before, row = row, after
    return min(row[-1], limit + 1)


def compare_texts(asked: str, held: str, part: int) -> tuple[int, int]:  # noqa: PLR0911 - one return a level
    """Level below FOLDED of a folded question and a folded text whose given name begins at ``part``; and which part."""
    surname, given = held[:part], held[part:] if part else ""
    if part and asked == given + surname:
        return NameLevel.SWAPPED, 0
    if part and asked == surname:
        return NameLevel.PART, 1
    if part and asked == given:
        return NameLevel.PART, 2
    steps = distance(asked, held, 2)
    if steps == 1 or (steps == 2 and len(asked) >= TWO_SLIPS_LENGTH_MIN):
        level = NameLevel.SLIP if steps == 1 else NameLevel.SLIPS
        if part and asked.startswith(surname):
            return level, 1
        return level, 2 if part and asked.endswith(given) else 0
    if part and asked.endswith(given):
        return NameLevel.GIVEN, 2
    if part and asked.startswith(surname):
        return NameLevel.SURNAME, 1
    return NameLevel.DIFFERENT, 0


def compare_kana(asked: Folded, held: Folded) -> tuple[int, int]:
    if not asked.kana or not held.kana:
        return NameLevel.MISSING, 0
    if asked.kana_exact == held.kana_exact:
        return NameLevel.EQUAL, 0
    if asked.kana == held.kana:
        return NameLevel.FOLDED, 0
    return compare_texts(asked.kana, held.kana, held.kana_part)


def compare_name(asked: Folded, held: Folded) -> tuple[int, int]:
    if not asked.name or not held.name:
        return NameLevel.MISSING, 0
    if asked.name_raw == held.name_raw:
        return NameLevel.EQUAL, 0
    if asked.name == held.name:
        return NameLevel.FOLDED, 0
    return compare_texts(asked.name, held.name, held.name_part)


def compare_dates(asked: int, held: int) -> int:
    """Decimal dates, unknown parts 0; the same both ways round. Equal dates known in part agree in part only."""
    level = LEVEL_OF_NEARNESS[nearness(asked, held)]
    if level == DateLevel.EQUAL and not asked % 100:
        return DateLevel.MONTH if asked // 100 % 100 else DateLevel.YEAR
    if level == DateLevel.MONTH and not (asked // 100 % 100 and held // 100 % 100):
        return DateLevel.YEAR
    if level == DateLevel.MONTH_AND_DAY and not asked // 100 % 100:
        return DateLevel.DIFFERENT
    if level == DateLevel.DIFFERENT and asked // 100 == held // 100 and asked // 100 % 100:
        return DateLevel.YEAR_AND_MONTH
    return level


def compare_sexes(left: int, right: int) -> int:
    if left not in (1, 2) or right not in (1, 2):
        return SexLevel.MISSING
    return SexLevel.EQUAL if left == right else SexLevel.DIFFERENT


def compare_places(asked: Folded, held: Folded) -> int:
    if not asked.address or not held.address:
        return PlaceLevel.MISSING
    if asked.address == held.address:
        return PlaceLevel.EQUAL
    how = address_nearness(asked.address, held.address)
    if how == AddressNearness.COMPATIBLE:
        numbers = split_address(asked.address).numbers
        same = numbers and numbers == split_address(held.address).numbers
        return PlaceLevel.BUILDING if same else PlaceLevel.TOWN
    return LEVEL_OF_ADDRESS[how]


def compare(asked: Folded, held: Folded) -> Comparison:
    """All items of a question against one record."""
    kana, kana_slip = compare_kana(asked, held)
    name, name_slip = compare_name(asked, held)
    return Comparison(
        kana=kana, name=name, date=compare_dates(asked.birth_date, held.birth_date),
        sex=compare_sexes(asked.sex, held.sex), place=compare_places(asked, held), kana_slip=kana_slip,
        name_slip=name_slip,
    )  # fmt: skip
