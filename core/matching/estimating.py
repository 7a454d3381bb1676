"""Estimating the parameters of the matching model: u and frequencies from the register, m from unresolved records.

m by expectation and maximisation (Dempster, Laird, Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm,
JRSS B 39, 1977): no record has to be resolved by hand first.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import log
from typing import TYPE_CHECKING, Final

import msgspec

from jukinet.core.matching.comparing import compare, distance
from jukinet.core.matching.folded import Folded
from jukinet.core.matching.levels import READING_OF_LEVEL, DateLevel, NameLevel, Reading, SexLevel
from jukinet.core.matching.parameters import (
    DECADE_FIRST,
    DECADES,
    FORMAT,
    LENGTHS,
    Frequencies,
    Parameters,
    Slips,
    decade_of,
    length_class,
)
from jukinet.core.matching.weighing import Weighing

if TYPE_CHECKING:
    from jukinet.core.matching.matcher import Observed

BEARERS_MIN: Final = 10
"""A name borne by fewer in the sample is no part of a parameter file, which so tells of nobody."""
DECADE_PEOPLE_MIN: Final = 2_000
"""Fewer people of the sample born in a decade do not tell which names were usual then."""
ROUNDS_MAX: Final = 30
STILL: Final = 1e-4
"""Estimation ends when no share moves by more than this."""
PAIRS: Final = 60_000
PRIOR_ROWS: Final = 20.0
"""What was assumed before counts as much as so many rows."""
SHARE_MIN: Final = 1e-6

KANA_BEFORE: Final = (0.001, 0.72, 0.08, 0.07, 0.02, 0.03, 0.02, 0.03, 0.01, 0.02)
NAME_BEFORE: Final = (0.001, 0.80, 0.10, 0.03, 0.01, 0.02, 0.01, 0.01, 0.01, 0.01)
DATE_BEFORE: Final = (0.001, 0.82, 0.03, 0.01, 0.06, 0.03, 0.03, 0.005, 0.005, 0.01)
PLACE_BEFORE: Final = (0.001, 0.60, 0.15, 0.10, 0.05, 0.10)
"""Guesses from which estimation starts, by level."""
DATES_AT_LEVEL: Final = (1.0, 1.0, 30.0, 365.0, 30.0, 4.0, 3.5, 100.0, 30.0, 1.0)
"""How many dates lie at each DateLevel of one date."""
PLACES_AT_LEVEL: Final = (1.0, 3.0, 10.0, 1e-4, 2e-3, 1.0)


def shares_of(counts: Mapping[str, int], bearers_min: int) -> Frequencies:
    """Shares of the names with enough bearers; of each other name the share that a bearer of such a name meets.

    The latter is counted in pairs of people: whoever has a name of the rest has rather one of its more frequent ones,
    and the mean over names would make two bearers of such a name look like one person.
    """
    total = max(sum(counts.values()), 1)
    listed = {name: count / total for name, count in counts.items() if count >= bearers_min}
    rest = [count for name, count in counts.items() if name not in listed]
    pairs = max(sum(count * (count - 1) for count in rest), 1)
    return Frequencies(
        shares={name: float(f"{share:.3g}") for name, share in sorted(listed.items())},
        rare=float(f"{max(pairs / max(sum(rest), 1) / total, SHARE_MIN):.3g}"),
    )


def slip_shares(draw: random.Random, parts: Counter[str]) -> Slips:
    """How often two people's different parts are one or two slips apart, by the length of the first."""
    names = list(parts)
    weights = list(parts.values())
    one, two, all_pairs = [1.0] * LENGTHS, [1.0] * LENGTHS, [1_000.0] * LENGTHS
    for left, right in zip(draw.choices(names, weights, k=PAIRS), draw.choices(names, weights, k=PAIRS), strict=True):
        if left == right:
            continue
        place = length_class(len(left))
        steps = distance(left, right, 2)
        all_pairs[place] += 1
        one[place] += steps == 1
        two[place] += steps == 2
    return Slips(
        one=[count / pairs for count, pairs in zip(one, all_pairs, strict=True)],
        two=[count / pairs for count, pairs in zip(two, all_pairs, strict=True)],
    )


def normal(counts: Sequence[float]) -> list[float]:
    """Shares of counts by level; place 0 stands for items that were not compared and takes no part."""
    total = sum(counts[1:])
    shares = [max(count / total, SHARE_MIN) for count in counts[1:]]
    total = sum(shares)
    return [SHARE_MIN, *(float(f"{share / total:.5g}") for share in shares)]


def name_levels_of_others(draw: random.Random, people: Sequence[Folded]) -> list[list[float]]:
    """u of the name's level by the reading's class, counted on pairs that share a reading, part of one, or nothing."""
    rows = [[0.001] + [0.2] * (len(NameLevel) - 1) for _ in Reading]
    groups: dict[tuple[str, str], list[Folded]] = defaultdict(list)
    for person in people:
        if person.kana_part and person.name:
            groups["full", person.kana].append(person)
            groups["surname", person.surname_kana].append(person)
            groups["given", person.given_kana].append(person)
    shared = [group for group in groups.values() if len(group) > 1]
    weights = [len(group) for group in shared]
    for group in draw.choices(shared, weights, k=PAIRS) if shared else ():
        left, right = draw.sample(group, 2)
        compared = compare(left, right)
        rows[READING_OF_LEVEL[compared.kana]][compared.name] += 1
    for _ in range(PAIRS if len(people) > 1 else 0):
        left, right = draw.sample(people, 2)
        compared = compare(left, right)
        if READING_OF_LEVEL[compared.kana] == Reading.DIFFERENT:
            rows[Reading.DIFFERENT][compared.name] += 1
    rows[Reading.SWAPPED] = rows[Reading.FULL][:]
    swapped, equal = NameLevel.SWAPPED, NameLevel.EQUAL
    row = rows[Reading.SWAPPED]
    row[swapped], row[equal] = row[equal], row[swapped]
    rows[Reading.PART] = [0.001] + [0.02 if level != NameLevel.PART else 0.5 for level in range(1, len(NameLevel))]
    rows[Reading.PART][NameLevel.DIFFERENT] = 0.5
    return [normal(row) for row in rows]


def describe(people: Sequence[Folded], origin: str, seed: int = 1, bearers_min: int = BEARERS_MIN) -> Parameters:
    """u and frequencies of a sample of the register's people, with guesses in place of m."""
    draw = random.Random(seed)  # noqa: S311 - a sample, nothing secret
    with_parts = [person for person in people if person.kana_part]
    by_decade: list[Counter[str]] = [Counter() for _ in range(DECADES)]
    for person in with_parts:
        by_decade[decade_of(person.birth_date // 10_000)][person.given_kana] += 1
    surnames = Counter(person.surname_kana for person in with_parts)
    written_given = Counter(person.given for person in people if person.name_part)
    births = Counter(person.birth_date // 10_000 - DECADE_FIRST for person in people)
    total = max(len(people), 1)
    fashion = fashion_of(with_parts, by_decade)
    names = [list(NAME_BEFORE) for _ in Reading]
    for row in names:
        row[:] = normal(row)
    return Parameters(
        format=FORMAT, origin=origin, in_register=0.9,
        kana=normal(KANA_BEFORE), name=names, name_other=name_levels_of_others(draw, people),
        date=normal(DATE_BEFORE), place=normal(PLACE_BEFORE), sex=0.98, sex_other=[0.5, 0.98],
        voicing=0.3, date_other=list(DATES_AT_LEVEL), place_other=list(PLACES_AT_LEVEL),
        births=[max(births[year] / total, SHARE_MIN) for year in range(10 * DECADES)],
        surname_kana=shares_of(surnames, bearers_min),
        given_kana=[shares_of(counts, bearers_min) for counts in with_neighbours(by_decade)],
        surname=shares_of(Counter(p.surname for p in people if p.name_part), bearers_min),
        given=shares_of(written_given, bearers_min), fashion=fashion,
        surname_slips=slip_shares(draw, surnames),
        given_slips=slip_shares(draw, sum(by_decade, Counter())), name_slip=0.05,
    )  # fmt: skip


def with_neighbours(by_decade: Sequence[Counter[str]]) -> list[Counter[str]]:
    """The names of each decade; where few were born in the sample, with those of the decades around it."""
    found = []
    for place in range(len(by_decade)):
        reach = 0
        counts = by_decade[place]
        while counts.total() < DECADE_PEOPLE_MIN and reach < len(by_decade):
            reach += 1
            counts = sum(by_decade[max(place - reach, 0) : place + reach + 1], Counter())
        found.append(counts)
    return found


def fashion_of(people: Sequence[Folded], by_decade: Sequence[Counter[str]]) -> float:
    """How much more often two people of one decade share a given name than any two."""
    if not people:
        return 1.0
    total = len(people)
    whole = sum(by_decade, Counter())
    any_two = sum(count * count for count in whole.values()) / total**2
    of_decade = sum(
        sum(counts.values()) / total * sum(count * count for count in counts.values()) / sum(counts.values()) ** 2
        for counts in by_decade if counts
    )  # fmt: skip
    return float(f"{max(of_decade / any_two, 1.0):.3g}")


class _Counts:
    """Expected counts of one round."""

    def __init__(self, before: Parameters) -> None:
        self.kana = [PRIOR_ROWS * share for share in KANA_BEFORE]
        self.name = [[share * (2.0 if row else PRIOR_ROWS) for share in NAME_BEFORE] for row in range(len(Reading))]
        self.date = [PRIOR_ROWS * share for share in DATE_BEFORE]
        self.place = [PRIOR_ROWS * share for share in PLACE_BEFORE]
        self.sex = [0.0, 0.98 * PRIOR_ROWS, 0.02 * PRIOR_ROWS]
        self.meant = PRIOR_ROWS * before.in_register
        self.rows = PRIOR_ROWS

    def add(self, levels: Observed, chance: float) -> None:
        kana, name, date, sex, place, _ = levels
        self.kana[kana] += chance
        self.name[READING_OF_LEVEL[kana]][name] += chance
        self.date[date] += chance
        self.place[place] += chance
        self.sex[sex] += chance
        self.meant += chance

    def parameters(self, before: Parameters) -> Parameters:
        return msgspec.structs.replace(
            before,
            in_register=min(self.meant / self.rows, 0.999),
            kana=normal(self.kana),
            name=[normal(row) for row in self.name],
            date=normal(self.date),
            place=normal(self.place),
            sex=min(self.sex[SexLevel.EQUAL] / (self.sex[SexLevel.EQUAL] + self.sex[SexLevel.DIFFERENT]), 0.9999),
        )


class _Change:
    """How log ratios change when m does: u stays, so that nothing has to be compared again."""

    def __init__(self, before: Parameters, after: Parameters) -> None:
        self.kana = logs(before.kana, after.kana)
        self.name = [logs(left, right) for left, right in zip(before.name, after.name, strict=True)]
        self.date = logs(before.date, after.date)
        self.place = logs(before.place, after.place)
        # The weights of these do not hang on m (weighing.AGREES_IN_PART).
        self.kana[NameLevel.PART] = self.name[Reading.MISSING][NameLevel.PART] = 0.0
        self.date[DateLevel.MONTH] = self.date[DateLevel.YEAR] = 0.0
        self.sex = [0.0, log(after.sex / before.sex), log((1.0 - after.sex) / (1.0 - before.sex))]

    def of(self, levels: Observed) -> float:
        kana, name, date, sex, place, _ = levels
        change = self.kana[kana] + self.date[date] + self.place[place] + self.sex[sex]
        return change + self.name[READING_OF_LEVEL[kana]][name]


def logs(before: Sequence[float], after: Sequence[float]) -> list[float]:
    """Log of each share's change; the first, of items not compared, is 0."""
    return [0.0, *(log(new / old) for old, new in zip(before[1:], after[1:], strict=True))]


def estimate(
    start: Parameters, residents: int, rows: Sequence[Sequence[Observed]], rounds_max: int = ROUNDS_MAX
) -> Parameters:
    """m and lambda from unresolved records, by rounds of expectation and maximisation.

    rows: of each record the levels and the log ratio (under ``start``) of every candidate, as Matcher.run shows them to
    an observer. residents: people in the register that they were looked for in.
    """
    parameters = start
    for _ in range(rounds_max):
        weighing = Weighing(parameters, residents)
        change = _Change(start, parameters)
        share = weighing.found_share(2, reading=True, date=True)
        counts = _Counts(parameters)
        for found in rows:
            counts.rows += 1
            ratios = [levels[5] + change.of(levels) for levels in found]
            for levels, chance in zip(found, weighing.probabilities(ratios, share), strict=True):
                counts.add(levels, chance)
        before, parameters = parameters, counts.parameters(parameters)
        if moved(before, parameters) < STILL:
            break
    return parameters


def moved(before: Parameters, after: Parameters) -> float:
    """The largest change of a share of m."""
    pairs = [
        (before.in_register, after.in_register),
        *zip(before.kana, after.kana, strict=True),
        *zip(before.date, after.date, strict=True),
        *zip(before.place, after.place, strict=True),
    ]
    return max(abs(left - right) for left, right in pairs)
