"""MATCH over records held in memory, in plain Python: the twin of the native matcher.

It finds candidates by the steps of docs/matching.md, section 2, with dictionaries in place of the identity index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from jukinet.core.folding.addresses import split_address
from jukinet.core.matching.columns import MatchRules
from jukinet.core.matching.comparing import Comparison, compare, compare_dates
from jukinet.core.matching.folded import Folded, fold
from jukinet.core.matching.levels import LOOKALIKE_KANA, NameLevel
from jukinet.core.matching.weighing import NEAR_DATES, Weighing
from jukinet.core.vocabulary import Found

CLOSE_NAMES: Final = frozenset(NameLevel) - {NameLevel.MISSING, NameLevel.SURNAME, NameLevel.DIFFERENT}
"""Levels for which somebody of the same birth date is looked at; GIVEN only when the question's parts are known."""

EXCHANGED_PLACES_MAX: Final = 24
Bearers = Callable[[Folded], tuple[int, int]]


class Candidate(Struct, frozen=True, gc=False):
    """One person compared: the record of theirs that compares best, its place, its levels and log ratio."""

    key: int
    place: int
    compared: Comparison
    ratio: float


class Answer(Struct, frozen=True, gc=False):
    """What one row is answered; ``best`` is of use inside only when the status is not ONE."""

    status: int
    best: Candidate | None
    probability: float
    margin: float
    count: int
    step: int = 0


class PlainMatcher:
    """Records of persons, several of one key allowed, and the questions that they answer."""

    def __init__(
        self, records: Iterable[Folded], weighing: Weighing, rules: MatchRules, bearers: Bearers = lambda _: (0, 0)
    ) -> None:
        """bearers: how many people have a question's reading, and its name as written."""
        self.records = list(records)
        self.weighing = weighing
        self.bearers = bearers
        self.rules = rules
        self.current = len({record.key for record in self.records})
        self._dates: dict[int, list[int]] = defaultdict(list)
        self._kanas: dict[str, list[int]] = defaultdict(list)
        self._names: dict[str, list[int]] = defaultdict(list)
        for place, record in enumerate(self.records):
            self._dates[record.birth_date].append(place)
            self._kanas[record.kana].append(place)
            self._names[record.name].append(place)

    def _by_keys(self, asked: Folded) -> set[int]:
        """Step 1: equal reading or name and equal date."""
        places = [*self._kanas.get(asked.kana, ()), *self._names.get(asked.name, ())]
        return {place for place in places if self.records[place].birth_date == asked.birth_date}

    def _by_exchanged(self, asked: Folded) -> set[int]:
        """Equal date, and reading or name with the parts exchanged."""
        kana, name = asked.given_kana + asked.surname_kana, asked.given + asked.surname
        places = [*(self._kanas.get(kana, ()) if kana else ()), *(self._names.get(name, ()) if name else ())]
        return {place for place in places if self.records[place].birth_date == asked.birth_date}

    def _by_lists(self, asked: Folded) -> set[int]:
        """Step 2: equal reading or name and the date near, or no date asked; parts exchanged and the date equal."""
        if not asked.birth_date:
            return set(self._names.get(asked.name, ()) or self._kanas.get(asked.kana, ()))
        places = [*self._kanas.get(asked.kana, ()), *self._names.get(asked.name, ())]
        near = {p for p in places if compare_dates(asked.birth_date, self.records[p].birth_date) in NEAR_DATES}
        return near | self._by_exchanged(asked)

    def _by_date(self, asked: Folded) -> set[int]:
        """Step 3: everybody of the date whose reading or name is close."""
        found = set()
        for place in self._dates.get(asked.birth_date, ()):
            compared = compare(asked, self.records[place])
            level, part = (compared.kana, asked.kana_part) if compared.kana else (compared.name, asked.name_part)
            if level in CLOSE_NAMES and (level != NameLevel.GIVEN or (part and (asked.name or asked.address))):
                found.add(place)
        return found

    def _by_slips(self, asked: Folded) -> set[int]:
        """Reading one of those one slip away that are looked up, and the date near; not with a name as written."""
        found: set[int] = set()
        for kana in slipped(asked.kana) if 4 <= len(asked.kana) <= 21 and not asked.name else ():
            found |= {
                place
                for place in self._kanas.get(kana, ())
                if self.records[place].birth_date != asked.birth_date
                and compare_dates(asked.birth_date, self.records[place].birth_date) in NEAR_DATES
            }
        return found

    def _by_exchanged_near(self, asked: Folded) -> set[int]:
        """The name, else the reading, with its parts exchanged, wherever they may meet, and the date near."""
        text, part, held = asked.name, asked.name_part, self._names
        if not text or (not part and asked.kana_part):
            text, part, held = asked.kana, asked.kana_part, self._kanas
        places = [part] if part else list(range(1, len(text)))
        found = set()
        for meeting in places if len(places) <= EXCHANGED_PLACES_MAX else ():
            for place in held.get(text[meeting:] + text[:meeting], ()):
                compared = compare(asked, self.records[place])
                if (
                    self.records[place].birth_date != asked.birth_date
                    and compared.date in NEAR_DATES
                    and NameLevel.SWAPPED in (compared.kana, compared.name)
                ):
                    found.add(place)
        return found

    def _by_neighbours(self, asked: Folded) -> set[int]:
        """The name, else the reading, and the municipality of the address equal, whatever the date."""
        municipality = split_address(asked.address).municipality if asked.address else ""
        places = self._names.get(asked.name, ()) if asked.name else self._kanas.get(asked.kana, ())
        return {
            place
            for place in places
            if municipality and split_address(self.records[place].address).municipality == municipality
        }

    def found_share(self, asked: Folded, step: int) -> float:
        return self.weighing.found_share(step, reading=bool(asked.kana), date=bool(asked.birth_date))

    def candidates(self, asked: Folded, places: Iterable[int]) -> list[Candidate]:
        """Each person once, by the record of theirs that compares best; the likeliest first."""
        best: dict[int, Candidate] = {}
        bearers = self.bearers(asked)
        for place in places:
            held = self.records[place]
            compared = compare(asked, held)
            candidate = Candidate(held.key, place, compared, self.weighing.log_ratio(compared, held, bearers))
            if held.key not in best or best[held.key].ratio < candidate.ratio:
                best[held.key] = candidate
        return sorted(best.values(), key=lambda candidate: (-candidate.ratio, candidate.key))

    def _last(self, asked: Folded) -> set[int]:
        """Step 3."""
        near = self._by_slips(asked) | self._by_exchanged_near(asked)
        return self._by_date(asked) | near | self._by_neighbours(asked)

    def all_candidates(self, asked: Folded) -> list[Candidate]:
        """The candidates of all steps together, for estimation."""
        return self.candidates(asked, self._by_keys(asked) | self._by_lists(asked) | self._last(asked))

    def match(self, asked: Folded) -> Answer:
        """Answer one row."""
        if not (asked.kana or asked.name) or not (asked.birth_date or asked.address):
            return Answer(Found.TOO_FEW_ITEMS, None, 0.0, 0.0, 0)
        places: set[int] = set()
        answer = Answer(Found.NONE, None, 0.0, 0.0, 0)
        for step, find in enumerate((self._by_keys, self._by_lists, self._last)):
            if not asked.birth_date and step != 1:
                continue
            places |= find(asked)
            answer = self._judge(self.candidates(asked, places), self.found_share(asked, step), step + 1)
            if answer.status == Found.ONE:
                break
        return answer

    def _judge(self, found: list[Candidate], share: float, step: int) -> Answer:
        if not found:
            return Answer(Found.NONE, None, 0.0, 0.0, 0, step)
        chances = self.weighing.probabilities([candidate.ratio for candidate in found], share)
        rules = self.rules
        margin = chances[0] - (chances[1] if len(chances) > 1 else 0.0)
        count = sum(chance >= rules.candidate_threshold for chance in chances)
        if chances[0] >= rules.match_threshold and margin >= rules.margin_min:
            return Answer(Found.ONE, found[0], chances[0], margin, count, step)
        several = sum(chances) >= rules.candidate_threshold
        status = Found.SEVERAL if several else Found.NONE
        return Answer(status, found[0], chances[0], margin, count, step)


def slipped(kana: str) -> set[str]:
    """Readings one slip away that are looked up: a kana fewer, two exchanged, one for its like."""
    found = set()
    likes = {}
    for pair in LOOKALIKE_KANA:
        one, other = fold("", pair, 0, 0, "").kana
        likes |= {one: other, other: one}
    for place, one in enumerate(kana):
        rest = kana[place + 1 :]
        found.add(kana[:place] + rest)
        if rest:
            found.add(kana[:place] + rest[:1] + one + rest[1:])
        if one in likes:
            found.add(kana[:place] + likes[one] + rest)
    return found - {kana}
