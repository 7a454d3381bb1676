"""The household model: which kinds of household there are, how old their members are, and how often each kind occurs.

Kinds and their first weights follow the census of 2010 roughly; the weights are then fitted so that the ages of all
living members together follow the age pyramid (docs/synthetic-nation.md, section 4). All of it is plain arithmetic on
Python floats in a fixed order and is rounded before use, so that every machine gets the same nation.
"""

from __future__ import annotations

import heapq
from enum import IntEnum
from math import fsum
from typing import Final

import msgspec

PYRAMID_MILLIONS: Final = (
    5.30, 5.59, 5.92, 6.06, 6.43, 7.29, 8.34, 9.79, 8.74, 8.03,
    7.64, 8.66, 10.04, 8.21, 6.96, 5.94, 4.34, 2.43, 1.02, 0.35,
)  # fmt: skip
"""Population by five-year age group, 0-4 to 95 and over (2010), taken as the pyramid at the nation's date."""
BANDS: Final = len(PYRAMID_MILLIONS)
BAND_YEARS: Final = 5
OLDEST_BAND_YEARS: Final = 14
"""Ages in the last band run from 95 to 108, thinning out."""
DEAD_SHARE: Final = 0.040
"""Dead residents for each living one: about five years of deaths, the retention period of Order 30-11."""

GROUP_MEMBERS: Final = 16
"""Residents with consecutive numbers form groups of 16, which a pattern divides into households."""
PATTERNS: Final = 1_024


class Relation(IntEnum):
    """How a member's age follows from the reference member's. Values are known to the kernel (population.pxd)."""

    REFERENCE = 0
    HUSBAND = 1
    WIFE = 2
    CHILD = 3
    MOTHER = 4
    FATHER = 5


class Member(msgspec.Struct, frozen=True):
    """One place in a kind of household. Sex 0 is either; ``child`` counts from the eldest, 0."""

    relation: Relation
    sex: int = 0
    child: int = 0
    dead: bool = False


class HouseholdKind(msgspec.Struct, frozen=True):
    """A composition, its first weight (households), and the first weight of each age band of the reference member."""

    name: str
    members: tuple[Member, ...]
    weight: float
    bands: tuple[tuple[int, float], ...]

    @property
    def children(self) -> int:
        return sum(member.relation is Relation.CHILD for member in self.members)


def spread(first: int, peak: int, last: int, low: float = 0.1) -> tuple[tuple[int, float], ...]:
    """Band weights that rise in a line from ``low`` at ``first`` to 1 at ``peak`` and fall to ``low`` at ``last``."""
    weights = []
    for band in range(first, last + 1):
        span = peak - first if band <= peak else last - peak
        distance = abs(band - peak) / span if span else 0.0
        weights.append((band, low + (1.0 - low) * (1.0 - distance)))
    return tuple(weights)


WOMAN: Final = Member(Relation.REFERENCE, 2)
MAN: Final = Member(Relation.REFERENCE, 1)
HUSBAND: Final = Member(Relation.HUSBAND, 1)
MOTHER: Final = Member(Relation.MOTHER, 2)
FATHER: Final = Member(Relation.FATHER, 1)
CHILDREN: Final = tuple(Member(Relation.CHILD, 0, place) for place in range(4))

KINDS: Final = (
    HouseholdKind("man alone", (MAN,), 16.5, spread(3, 5, 18, 0.3)),
    HouseholdKind("woman alone", (WOMAN,), 16.0, spread(3, 5, 12, 0.3) + spread(13, 15, 19, 0.4)),
    HouseholdKind("couple", (WOMAN, HUSBAND), 19.5, spread(4, 6, 9, 0.2) + spread(10, 13, 18, 0.2)),
    HouseholdKind("couple, one child", (WOMAN, HUSBAND, *CHILDREN[:1]), 14.0, spread(4, 7, 16, 0.15)),
    HouseholdKind("couple, two children", (WOMAN, HUSBAND, *CHILDREN[:2]), 12.0, spread(5, 8, 13, 0.1)),
    HouseholdKind("couple, three children", (WOMAN, HUSBAND, *CHILDREN[:3]), 3.5, spread(6, 8, 12, 0.1)),
    HouseholdKind("couple, four children", (WOMAN, HUSBAND, *CHILDREN[:4]), 0.5, spread(7, 8, 11, 0.1)),
    HouseholdKind("mother, one child", (WOMAN, *CHILDREN[:1]), 4.5, spread(4, 8, 18, 0.3)),
    HouseholdKind("mother, two children", (WOMAN, *CHILDREN[:2]), 2.3, spread(5, 7, 14, 0.15)),
    HouseholdKind("father, one child", (MAN, *CHILDREN[:1]), 1.3, spread(6, 9, 17, 0.3)),
    HouseholdKind(
        "three generations of six", (FATHER, MOTHER, WOMAN, HUSBAND, *CHILDREN[:2]), 1.8, spread(5, 7, 9, 0.2)),
    HouseholdKind("three generations of five", (MOTHER, WOMAN, HUSBAND, *CHILDREN[:2]), 2.4, spread(6, 8, 11, 0.2)),
    HouseholdKind("three generations of four", (MOTHER, WOMAN, HUSBAND, *CHILDREN[:1]), 1.8, spread(6, 9, 12, 0.2)),
    HouseholdKind(
        "three generations, grandfather dead",
        (Member(Relation.FATHER, 1, dead=True), MOTHER, WOMAN, HUSBAND, *CHILDREN[:2]), 0.8, spread(7, 8, 11, 0.2)),
    HouseholdKind(
        "widow", (WOMAN, Member(Relation.HUSBAND, 1, dead=True)), 4.2, spread(9, 15, 18, 0.05)),
    HouseholdKind("widower", (MAN, Member(Relation.WIFE, 2, dead=True)), 1.6, spread(9, 15, 18, 0.05)),
    HouseholdKind(
        "man died alone", (Member(Relation.REFERENCE, 1, dead=True),), 1.2, spread(4, 16, 19, 0.05)),
    HouseholdKind(
        "woman died alone", (Member(Relation.REFERENCE, 2, dead=True),), 2.0, spread(4, 17, 19, 0.03)),
)  # fmt: skip

# Ages in years, shared with the kernel through the tables; population.pyx draws with the same formulas.
CHILD_YEARS_LEAST: Final = 20
CHILD_YEARS_MOST: Final = 40
PARENT_YEARS_LEAST: Final = 20
PARENT_YEARS_MOST: Final = 38
SPOUSE_YEARS_LEAST: Final = -3
SPOUSE_YEARS_MOST: Final = 7
"""A husband is 3 years younger to 7 years older than his wife."""
ADULT_YEARS: Final = 18


def quantiles(count: int) -> list[float]:
    """Points of the mean of two uniform draws, each standing for the same share."""
    points = []
    for place in range(count):
        share = (place + 0.5) / count
        points.append((share / 2) ** 0.5 if share < 0.5 else 1.0 - ((1.0 - share) / 2) ** 0.5)
    return points


def reference_ages(band: int, count: int) -> list[float]:
    """Ages in a band, each standing for the same share: even, but in the last band the smaller of two even draws."""
    if band < BANDS - 1:
        return [(band + (place + 0.5) / count) * BAND_YEARS for place in range(count)]
    return [
        (BANDS - 1) * BAND_YEARS + OLDEST_BAND_YEARS * (1.0 - (1.0 - (place + 0.5) / count) ** 0.5)
        for place in range(count)
    ]


def member_age(member: Member, children: int, reference: float, share: float, second: float) -> float:
    """A member's age in years. ``share`` and ``second`` are draws from 0 to 1, each the mean of two even ones."""
    spouse = SPOUSE_YEARS_LEAST + share * (SPOUSE_YEARS_MOST - SPOUSE_YEARS_LEAST)
    match member.relation:
        case Relation.HUSBAND:
            return max(ADULT_YEARS, reference + spouse)
        case Relation.WIFE:
            return max(ADULT_YEARS, reference - spouse)
        case Relation.CHILD:
            span = min(CHILD_YEARS_MOST, reference) - CHILD_YEARS_LEAST
            return reference - CHILD_YEARS_LEAST - span * (member.child + share) / children
        case Relation.MOTHER | Relation.FATHER:
            mother = reference + PARENT_YEARS_LEAST + share * (PARENT_YEARS_MOST - PARENT_YEARS_LEAST)
            if member.relation is Relation.MOTHER:
                return mother
            return mother + SPOUSE_YEARS_LEAST + second * (SPOUSE_YEARS_MOST - SPOUSE_YEARS_LEAST)
    return reference


def expected_members(kind: HouseholdKind, band: int) -> dict[int, float]:
    """Mean number of living members in each age band (the dead under ``BANDS``), for a reference age in ``band``."""
    found: dict[int, float] = {}
    ages = reference_ages(band, 12)
    shares = quantiles(12)
    for member in kind.members:
        if member.dead:
            found[BANDS] = found.get(BANDS, 0.0) + 1.0
            continue
        for reference in ages:
            for share in shares:
                age = member_age(member, kind.children, reference, share, 0.5)
                place = min(BANDS - 1, max(0, int(age // BAND_YEARS)))
                found[place] = found.get(place, 0.0) + 1.0 / (len(ages) * len(shares))
    return found


class HouseholdModel(msgspec.Struct, frozen=True):
    """The fitted model: for each kind its reference bands with integer weights, and the patterns of groups.

    ``patterns`` holds PATTERNS * GROUP_MEMBERS places (kind, first place of the household in its group, member).
    """

    bands: tuple[tuple[tuple[int, int], ...], ...]
    patterns: tuple[tuple[int, int, int], ...]


def fit_weights(rounds: int = 300) -> list[list[tuple[int, float]]]:
    """Household weights by kind and reference band whose members' ages follow the pyramid.

    Multiplicative updates (expectation-maximisation, Richardson and Lucy) from the first weights, which keep every
    weight positive and stay near where they started.
    """
    total = fsum(PYRAMID_MILLIONS)
    target = [*(millions / total for millions in PYRAMID_MILLIONS), DEAD_SHARE]
    cells: list[tuple[int, int, dict[int, float]]] = []
    weights: list[float] = []
    for place, kind in enumerate(KINDS):
        share = fsum(weight for _, weight in kind.bands)
        for band, weight in kind.bands:
            cells.append((place, band, expected_members(kind, band)))
            weights.append(kind.weight * weight / share)
    for _ in range(rounds):
        found = [0.0] * (BANDS + 1)
        for (_, _, members), weight in zip(cells, weights, strict=True):
            for age, count in members.items():
                found[age] += weight * count
        ratio = [wanted / had for wanted, had in zip(target, found, strict=True)]
        weights = [
            weight * fsum(count * ratio[age] for age, count in members.items()) / fsum(members.values())
            for (_, _, members), weight in zip(cells, weights, strict=True)
        ]
    fitted: list[list[tuple[int, float]]] = [[] for _ in KINDS]
    for (place, band, _), weight in zip(cells, weights, strict=True):
        fitted[place].append((band, weight))
    return fitted


def divide_groups(shares: list[float]) -> list[tuple[int, int, int]]:
    """Patterns in which each kind has its share of households; the largest households are placed first, evenly."""
    places = PATTERNS * GROUP_MEMBERS
    members = fsum(share * len(kind.members) for share, kind in zip(shares, KINDS, strict=True))
    counts = [round(share * places / members) for share in shares]
    counts[0] += places - sum(count * len(kind.members) for count, kind in zip(counts, KINDS, strict=True))
    kinds_of: list[list[int]] = [[] for _ in range(PATTERNS)]
    room = [(0, group) for group in range(PATTERNS)]
    order = sorted(range(len(KINDS)), key=lambda kind: (-len(KINDS[kind].members), kind))
    for kind in order:
        for _ in range(counts[kind]):
            used, group = heapq.heappop(room)
            kinds_of[group].append(kind)
            heapq.heappush(room, (used + len(KINDS[kind].members), group))
    patterns: list[tuple[int, int, int]] = []
    for kinds in kinds_of:
        first = 0
        for kind in kinds:
            patterns.extend((kind, first, member) for member in range(len(KINDS[kind].members)))
            first += len(KINDS[kind].members)
        assert first == GROUP_MEMBERS
    return patterns


def household_model() -> HouseholdModel:
    """The model that every nation uses; it depends on nothing but the constants of this module."""
    fitted = fit_weights()
    shares = [fsum(weight for _, weight in bands) for bands in fitted]
    scale = 1_000_000 / max(shares)
    bands = tuple(tuple((band, 1 + round(weight * scale)) for band, weight in kind) for kind in fitted)
    return HouseholdModel(bands=bands, patterns=tuple(divide_groups([round(share, 6) for share in shares])))
