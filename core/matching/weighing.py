"""From comparison levels to a likelihood ratio and a probability, in plain Python (docs/matching.md, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Final

from jukinet.core.matching.comparing import Comparison
from jukinet.core.matching.folded import Folded
from jukinet.core.matching.levels import READING_OF_LEVEL, DateLevel, NameLevel, PlaceLevel, Reading, SexLevel
from jukinet.core.matching.parameters import DECADE_FIRST, DECADES, Parameters, decade_of, length_class

SAME_HOUSEHOLD: Final = 0.7
"""Share of people at one address who have one surname; in place of the surname's frequency there."""
NAMESAKE_AT_HOME: Final = 0.1
"""How often people at one address bear one whole name, against the chance that surname and given name meet: two people
of one family register (koseki) are not given one name."""
FOLDED_AGAIN: Final = 0.05
"""Exchanged parts that are somebody else's name: as a share of those whose name is equal."""
AGREES_IN_PART: Final = 0.97
"""m of levels that a question has because it says less (a date known in part, one part of a name): how often it is
right as far as it goes. That it says less tells nothing about whom it means, so the share of such questions is no part
of m."""
DAYS_A_YEAR: Final = 365.25
DECADE_UNKNOWN_YEAR: Final = 1970
"""The year whose given names stand for those of people whose year of birth is not known."""
NEAR_DATES: Final = frozenset(DateLevel) - {DateLevel.MISSING, DateLevel.YEAR_AND_MONTH, DateLevel.DIFFERENT}
"""Dates that lists of one name are looked through for."""
SCAN_SHARE: Final = 0.9
"""Share of slips in a reading that the scan of a date finds."""
FOUND_SHARE_MAX: Final = 0.999
PARTIAL_DATES: Final = frozenset((DateLevel.MONTH, DateLevel.YEAR))


class Weighing:
    """A parameter set made ready for a register of ``residents`` people."""

    def __init__(self, parameters: Parameters, residents: int) -> None:
        self.parameters = parameters
        self.residents = max(residents, 1)

    def frequencies(self, held: Folded, *, written: bool) -> tuple[float, float]:
        """Shares of a record's surname and given name: of the name as written, or of the reading."""
        if written:
            return self._parts_shares(held.name, held.name_part, held.birth_date, written=True)
        return self._parts_shares(held.kana, held.kana_part, held.birth_date, written=False)

    def _parts_shares(self, text: str, part: int, birth_date: int, *, written: bool) -> tuple[float, float]:
        """Shares of a text's parts; of its likeliest parts when it is not known where the given name begins."""
        places = [part] if part else range(1, len(text)) if len(text) > 1 else [len(text)]
        shares = (self._shares(text[:place], text[place:], birth_date, written=written) for place in places)
        return max(shares, key=lambda both: both[0] * both[1])

    def _shares(self, surname: str, given: str, birth_date: int, *, written: bool) -> tuple[float, float]:
        p = self.parameters
        if written:
            share = p.given.shares.get(given, p.given.rare) * p.fashion
            return p.surname.shares.get(surname, p.surname.rare), min(share, 1.0)
        table = p.given_kana[decade_of(birth_date // 10_000 or DECADE_UNKNOWN_YEAR)]
        return p.surname_kana.shares.get(surname, p.surname_kana.rare), table.shares.get(given, table.rare)

    def name_other(  # noqa: PLR0911 - one return a level
        self,
        level: int,
        slip: int,
        surname: float,
        given: float,
        lengths: tuple[int, int],
        *,
        written: bool,
        whole: float = 0.0,
    ) -> float:
        """u of a level of a name or reading, from the shares of its parts. whole: least share of an equal text."""
        p = self.parameters
        surname_class, given_class = length_class(lengths[0]), length_class(lengths[1])
        if level == NameLevel.EQUAL:
            return max(surname * given, whole)
        if level == NameLevel.FOLDED:
            return max(surname * given, whole) * p.voicing
        if level == NameLevel.SWAPPED:
            return surname * given * FOLDED_AGAIN
        if level == NameLevel.SLIP:
            if written:
                return (surname if slip == 1 else given) * p.name_slip
            return surname * p.given_slips.one[given_class] if slip != 2 else given * p.surname_slips.one[surname_class]
        if level == NameLevel.SLIPS:
            if slip == 0:
                return p.given_slips.one[given_class] * p.surname_slips.one[surname_class]
            return surname * p.given_slips.two[given_class] if slip == 1 else given * p.surname_slips.two[surname_class]
        if level == NameLevel.PART:
            return surname if slip == 1 else given
        if level == NameLevel.GIVEN:
            return given
        return surname if level == NameLevel.SURNAME else 1.0

    def found_share(self, step: int, *, reading: bool, date: bool) -> float:
        """The share of persons meant whom the steps up to this one, from 0, would find (c of docs/matching.md).

        Those with another date, whom only an address leads to, are left out: not every row has one.
        """
        p = self.parameters
        table = p.kana if reading else p.name[Reading.MISSING]
        equal = table[NameLevel.EQUAL] + table[NameLevel.FOLDED]
        swapped = table[NameLevel.SWAPPED]
        if not date:
            return min(equal, FOUND_SHARE_MAX) if step > 0 else 0.0
        share = equal * p.date[DateLevel.EQUAL]
        if step > 0:
            near = sum(p.date[level] for level in NEAR_DATES)
            share += swapped * p.date[DateLevel.EQUAL] + equal * (near - p.date[DateLevel.EQUAL])
        if step > 1:
            share += (1.0 - equal - swapped) * p.date[DateLevel.EQUAL] * SCAN_SHARE
        return min(share, FOUND_SHARE_MAX)

    def log_names(self, compared: Comparison, held: Folded, bearers: tuple[int, int], *, same_place: bool) -> float:
        """Logarithm of the ratio of reading and name together."""
        p = self.parameters
        kana_whole, name_whole = (0.0 if same_place else max(count - 1, 0) / self.residents for count in bearers)
        reading = READING_OF_LEVEL[compared.kana]
        ratio = 0.0
        if reading != Reading.MISSING:
            surname, given = self.frequencies(held, written=False)
            if same_place and surname_equal(compared.kana, compared.kana_slip):
                surname = SAME_HOUSEHOLD * at_home(compared.kana)
            lengths = (held.kana_part, len(held.kana) - held.kana_part)
            other = self.name_other(
                compared.kana, compared.kana_slip, surname, given, lengths, written=False, whole=kana_whole
            )
            ratio += log(m_of_name(p.kana, compared.kana) / other)
            if compared.name != NameLevel.MISSING:
                ratio += log(p.name[reading][compared.name] / p.name_other[reading][compared.name])
        elif compared.name != NameLevel.MISSING:
            surname, given = self.frequencies(held, written=True)
            if same_place and surname_equal(compared.name, compared.name_slip):
                surname = SAME_HOUSEHOLD * at_home(compared.name)
            lengths = (held.name_part, len(held.name) - held.name_part)
            other = self.name_other(
                compared.name, compared.name_slip, surname, given, lengths, written=True, whole=name_whole
            )
            ratio += log(m_of_name(p.name[Reading.MISSING], compared.name) / other)
        return ratio

    def log_date(self, level: int, held: Folded) -> float:
        p = self.parameters
        if level == DateLevel.MISSING:
            return 0.0
        if level == DateLevel.DIFFERENT:
            return log(p.date[level])
        year = min(max(held.birth_date // 10_000 - DECADE_FIRST, 0), 10 * DECADES - 1)
        other = min(p.births[year] / DAYS_A_YEAR * p.date_other[level], 1.0)
        return log((AGREES_IN_PART if level in PARTIAL_DATES else p.date[level]) / other)

    def log_place(self, level: int) -> float:
        p = self.parameters
        if level == PlaceLevel.MISSING:
            return 0.0
        if level in (PlaceLevel.EQUAL, PlaceLevel.BUILDING):
            return log(p.place[level] / min(p.place_other[level] / self.residents, 1.0))
        return log(p.place[level] / p.place_other[level])

    def log_ratio(self, compared: Comparison, held: Folded, bearers: tuple[int, int] = (0, 0)) -> float:
        """Natural logarithm of P(levels | the person meant) / P(levels | somebody else).

        bearers: how many people have the question's reading, and its name as written; 0 where that is not known.
        """
        p = self.parameters
        same_place = compared.place in (PlaceLevel.EQUAL, PlaceLevel.BUILDING)
        ratio = self.log_names(compared, held, bearers, same_place=same_place)
        ratio += self.log_date(compared.date, held) + self.log_place(compared.place)
        if compared.sex != SexLevel.MISSING:
            equal = p.sex_other[given_equal(compared)]
            if compared.sex == SexLevel.EQUAL:
                ratio += log(p.sex / equal)
            else:
                ratio += log((1.0 - p.sex) / (1.0 - equal))
        return ratio

    def probabilities(self, ratios: Sequence[float], found_share: float) -> list[float]:
        """P(candidate is meant) of each, from log ratios; ``found_share``: c of docs/matching.md."""
        p = self.parameters
        nobody = log((1.0 - p.in_register * found_share) * self.residents)
        scaled = [log(p.in_register) + ratio for ratio in ratios]
        highest = max([nobody, *scaled])
        weights = [exp(value - highest) for value in scaled]
        total = sum(weights) + exp(nobody - highest)
        return [weight / total for weight in weights]


def at_home(level: int) -> float:
    """What the share of a text at one address is multiplied by."""
    return NAMESAKE_AT_HOME if level in (NameLevel.EQUAL, NameLevel.FOLDED, NameLevel.SWAPPED) else 1.0


def m_of_name(shares: Sequence[float], level: int) -> float:
    """m of a level of a name or reading."""
    return AGREES_IN_PART if level == NameLevel.PART else shares[level]


def surname_equal(level: int, slip: int) -> bool:
    """Whether a level says that the surnames are equal."""
    if level in (NameLevel.SLIP, NameLevel.SLIPS, NameLevel.PART):
        return slip == 1
    return level in (NameLevel.EQUAL, NameLevel.FOLDED, NameLevel.SWAPPED, NameLevel.SURNAME)


def given_equal(compared: Comparison) -> bool:
    """Whether the given names are equal, by the reading where it was compared, else by the name."""
    level, slip = compared.kana, compared.kana_slip
    if level == NameLevel.MISSING:
        level, slip = compared.name, compared.name_slip
    if level in (NameLevel.SLIP, NameLevel.SLIPS, NameLevel.PART):
        return slip == 2
    return level in (NameLevel.EQUAL, NameLevel.FOLDED, NameLevel.SWAPPED, NameLevel.GIVEN)
