"""Probabilities: what they must never say, whatever the candidates."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from namesakes import asked_of, parameters, records_of, residents

from jukinet.core.matching.columns import MatchRules
from jukinet.core.matching.comparing import compare
from jukinet.core.matching.estimating import estimate
from jukinet.core.matching.folded import fold
from jukinet.core.matching.weighing import Weighing

from ..core.stores import TOWNS
from .matcher_twin import PlainMatcher

TEXTS = [town.text for town in TOWNS]
PEOPLE = residents(600)
RECORDS = [record for person in PEOPLE for record in records_of(person, TEXTS)]
WEIGHING = Weighing(parameters(RECORDS), len(PEOPLE))

RATIOS = st.lists(st.floats(-60, 60), max_size=20)


@given(RATIOS, st.floats(0, 0.999))
def test_probabilities_are_those_of_one_person_at_most(ratios: list[float], share: float) -> None:
    chances = WEIGHING.probabilities(ratios, share)
    assert all(0.0 <= chance <= 1.0 for chance in chances)
    assert sum(chances) <= 1.0 + 1e-9
    for one, other in zip(ratios, chances, strict=True):
        assert ratios.count(one) * other <= 1.0 + 1e-9


@given(RATIOS, st.floats(-60, 60))
def test_another_candidate_makes_nobody_likelier(ratios: list[float], more: float) -> None:
    before = WEIGHING.probabilities(ratios, 0.9)
    after = WEIGHING.probabilities([*ratios, more], 0.9)
    assert all(late <= early + 1e-12 for early, late in zip(before, after[:-1], strict=True))


@given(st.floats(-60, 60), st.floats(0, 0.9))
def test_having_looked_further_makes_the_one_found_likelier(ratio: float, share: float) -> None:
    assert WEIGHING.probabilities([ratio], share)[0] <= WEIGHING.probabilities([ratio], share + 0.09)[0] + 1e-12


def test_a_rare_name_weighs_more_than_a_frequent_one() -> None:
    held = fold("佐藤　太郎", "サトウ　タロウ", 19650101, 1, "", 1)
    rare = fold("鵺野　太郎", "ヌエノ　タロウ", 19650101, 1, "", 2)
    asked = fold("", "サトウタロウ", 19650101, 1, ""), fold("", "ヌエノタロウ", 19650101, 1, "")
    ratios = [WEIGHING.log_ratio(compare(one, other), other) for one, other in zip(asked, (held, rare), strict=True)]
    assert ratios[1] > ratios[0] + 1.0


def test_the_surname_of_a_household_is_no_evidence_at_its_address() -> None:
    town = TEXTS[0]
    held = fold("佐藤　太郎", "サトウ　タロウ", 19650101, 1, town + "1-2-3", 1)
    sister = fold("佐藤　花子", "サトウ　ハナコ", 19670303, 2, town + "1-2-3")
    stranger = fold("鈴木　花子", "スズキ　ハナコ", 19670303, 2, town + "1-2-3")
    ratios = [WEIGHING.log_ratio(compare(asked, held), held) for asked in (sister, stranger)]
    assert WEIGHING.probabilities(ratios, 0.9)[0] < 0.1


def test_estimation_finds_how_often_errors_happen() -> None:
    draw = random.Random(3)
    matcher = PlainMatcher(RECORDS, WEIGHING, MatchRules())
    rows = []
    wrong_sex = 0
    for _ in range(800):
        name, kana, date, sex, address = asked_of(draw, draw.choice(PEOPLE), TEXTS)
        if sex and draw.random() < 0.2:
            sex = 3 - sex
            wrong_sex += 1
        found = matcher.all_candidates(fold(name, kana, date, sex, address))
        rows.append(
            [
                (c.compared.kana, c.compared.name, c.compared.date, c.compared.sex, c.compared.place, c.ratio)
                for c in found
            ]
        )
    start = msgspec.structs.replace(WEIGHING.parameters, sex=0.99)
    found_parameters = estimate(start, WEIGHING.residents, rows)
    assert found_parameters.sex == pytest.approx(0.77, abs=0.08)
    assert found_parameters.in_register > 0.85
    assert sum(found_parameters.kana[1:]) == pytest.approx(1.0, abs=0.01)
    for row in found_parameters.name:
        assert sum(row[1:]) == pytest.approx(1.0, abs=0.01)
