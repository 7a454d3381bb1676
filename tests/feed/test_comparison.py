"""Descending digests finds exactly the codes that differ, and asks for little when little differs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jukinet.core import limits
from jukinet.core.codes import code_from_key
from jukinet.core.feed import comparison
from jukinet.core.feed.comparison import (
    Answer,
    Comparison,
    Descent,
    Difference,
    HoldingsAnswers,
    Question,
    Side,
    descent,
)
from jukinet.core.feed.holdings import Digest, leaf_range, page_range
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import feed_columns
from jukinet.core.wire.feed_messages import CompareKind

from . import digest_twin as twin
from .registers import AREAS, TOWNS, build

DENSE = 5_000_000
"""Keys below stand close together: several hundred in a leaf."""


def people() -> dict[int, Resident]:
    drawn = random.Random(7)
    keys = {drawn.randrange(10**10) for _ in range(2_000)} | {drawn.randrange(DENSE) for _ in range(3_000)}
    areas, states = [0, 0, 0, 5, 3], [1, 1, 1, 2]
    return {
        key: Resident(key=key, area=drawn.choice(areas), state=drawn.choice(states), name="比", update_number=1)
        for key in keys
    }


BASE = people()
KEYS = sorted(BASE)


def altered(kind: int, key: int) -> Resident:
    resident = BASE.get(key, Resident(key=key, area=0, name="新", update_number=1))
    return replace(resident, update_number=2 + kind, state=1, area=kind % 2 * 5)


def expected(own: Iterable[Resident], other: Iterable[Resident]) -> list[Difference]:
    mine, theirs = ({r.key: r for r in side if twin.held_by(r, 13, AREAS)} for side in (own, other))
    return sorted(
        Difference(code_from_key(key), Side(1 * (key in mine) + 2 * (key in theirs)))
        for key in mine.keys() | theirs.keys()
        if mine.get(key) != theirs.get(key)
    )


def answered(question: Question, other: HoldingsAnswers, asked: list[Question]) -> Answer:
    assert feed_columns.compare_fault(question.kind, question.ranges) is None
    answer = other.answer(question)
    assert answer is not None
    rows = feed_columns.compared_rows(question.kind, len(question.ranges), 3)
    assert rows is None or len(answer.rows) == 24 * rows
    asked.append(question)
    return answer


def compared(own: Path, other: Path, differences_max: int = 10_000) -> tuple[Comparison, list[Question], int]:
    """The result, the questions, and the bytes of rows and ranges that went over."""
    asked: list[Question] = []
    size = 0
    with RegisterReader(own) as mine, RegisterReader(other) as theirs, mine.pin() as a, theirs.pin() as b:
        there = HoldingsAnswers(b, theirs.databases, 13)
        steps = descent(HoldingsAnswers(a, mine.databases, 13), there.total(), differences_max)
        question, result = advanced(steps, None)
        while question is not None:
            answer = answered(question, there, asked)
            size += len(answer.rows) + 16 * len(question.ranges)
            question, result = advanced(steps, answer)
    assert result is not None
    return result, asked, size


def advanced(steps: Descent, answer: Answer | None) -> tuple[Question | None, Comparison | None]:
    """The next question, or the result."""
    try:
        return (next(steps) if answer is None else steps.send(answer)), None
    except StopIteration as ended:
        return None, ended.value


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own") / "r"
    build(place, BASE.values())
    return place


@settings(max_examples=25, deadline=None)
@given(
    changed=st.dictionaries(
        st.one_of(st.sampled_from(KEYS), st.integers(0, 10**10 - 1)), st.integers(0, 2), max_size=30
    ),
    taken=st.sets(st.sampled_from(KEYS), max_size=30),
)
def test_exactly_the_differing_codes_are_found(
    own: Path, tmp_path_factory: pytest.TempPathFactory, changed: dict[int, int], taken: set[int]
) -> None:
    other = {key: resident for key, resident in BASE.items() if key not in taken}
    other |= {key: altered(kind, key) for key, kind in changed.items()}
    place = tmp_path_factory.mktemp("other") / "r"
    build(place, other.values())
    wanted = expected(BASE.values(), other.values())
    result, asked, size = compared(own, place)
    assert result == Comparison(differences=wanted, complete=True)
    assert bool(asked) == bool(wanted)
    assert size <= 1_536 + len(wanted) * (1_536 + 40 * 140 + 24 * 64 * 2)


def test_equal_holdings_need_no_question(own: Path, tmp_path: Path) -> None:
    build(tmp_path / "other", [r for r in BASE.values() if twin.held_by(r, 13, AREAS)])
    result, asked, _ = compared(own, tmp_path / "other")
    assert (result.differences, asked) == ([], [])


def test_against_nothing_everything_differs(own: Path, tmp_path: Path) -> None:
    build(tmp_path / "other", [])
    result, _, _ = compared(own, tmp_path / "other")
    wanted = expected(BASE.values(), [])
    assert (result.differences, result.complete) == (wanted, True)
    back, _, _ = compared(tmp_path / "other", own)
    assert [d.side for d in back.differences] == [Side.OTHER_ONLY] * len(wanted)
    cut, asked, _ = compared(own, tmp_path / "other", differences_max=50)
    assert (len(cut.differences), cut.complete) == (50, False)
    assert len(asked) < 20


def test_answers_are_the_twins(own: Path) -> None:
    with RegisterReader(own) as reader, reader.pin() as snapshot:
        answers = HoldingsAnswers(snapshot, reader.databases, 13)

        def sums(ranges: Iterable[tuple[int, int]]) -> bytes:
            parts = [
                [r for r in BASE.values() if first <= r.key < stop and twin.held_by(r, 13, AREAS)]
                for first, stop in ranges
            ]
            return b"".join(Digest(*twin.digest(part, AREAS, TOWNS)).packed for part in parts)  # fmt: skip

        pages = [page_range(page) for page in range(64)]
        assert answers.answer(Question(CompareKind.PAGES)) == Answer(sums(pages))
        leaves = [leaf_range(leaf) for leaf in (*range(64), *range(63 * 64, 64 * 64))]
        assert answers.answer(Question(CompareKind.LEAVES, [pages[0], pages[63]])) == Answer(sums(leaves))
        assert answers.answer(Question(CompareKind.RANGES, [(0, 99_999), (7, 8)])) == Answer(
            sums([(0, 99_999), (7, 8)])
        )
        areas = answers.answer(Question(CompareKind.AREAS))
        assert areas is not None
        by_area = [[r for r in BASE.values() if r.area == area and r.state == 1] for area in (0, 1, 5)]
        assert areas.rows == b"".join(Digest(*twin.digest(part, AREAS, TOWNS)).packed for part in by_area)
        with pytest.raises(ValueError, match="pages"):
            answers.answer(Question(CompareKind.LEAVES, [(0, 5)]))


def test_an_answer_of_another_length_is_refused(own: Path) -> None:
    with RegisterReader(own) as reader, reader.pin() as snapshot:
        steps = descent(HoldingsAnswers(snapshot, reader.databases, 13), Digest())
        next(steps)
        with pytest.raises(ValueError, match="numbers of rows"):
            steps.send(Answer(bytes(24 * 63)))


def test_parts_never_pass_the_limits_of_a_question() -> None:
    wide = [((leaf * 10**6, (leaf + 1) * 10**6), 50_000) for leaf in range(100)]
    assert all(len(portion) <= 64 for portion in comparison._portions(wide))
    assert comparison.PARTS_MAX <= limits.COMPARE_RANGES_MAX
    listed = [((n, n + 1), 64) for n in range(5_000)]
    chunks = list(comparison._chunks(listed))
    assert [one for chunk in chunks for one in chunk] == [one for one, _ in listed]
    assert all(len(chunk) <= 1_024 for chunk in chunks)
