"""Distances of folded names and readings, and their parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.folding import distance
from jukinet.core.folding.distance import PartsRelation

WORD = st.text(alphabet=st.sampled_from("abc"), max_size=9)
LONG = st.text(alphabet=st.sampled_from("ab"), max_size=80)
PARTS = st.tuples(st.sampled_from(["", "a", "ab", "ba", "abab"]), st.sampled_from(["", "a", "b", "ab", "ba"])).filter(
    lambda parts: bool(parts[0]) or not parts[1]
)


def alignment(one: str, other: str) -> int:
    """Optimal string alignment by its recurrence."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


@given(st.one_of(WORD, LONG), st.one_of(WORD, LONG), st.integers(0, 12))
def test_distance_equals_the_twin(one: str, other: str, limit: int) -> None:
    expected = min(alignment(one, other), limit + 1)
    found = distance.distance_of_kana(one.encode(), other.encode(), limit)
    if min(len(one), len(other)) <= 64:
        assert found == expected
    else:
        assert found in (expected, limit + 1)
    assert distance.distance_of_names(one, other, limit) == found
    wide = str.maketrans("abc", "髙𠮷ア")
    assert distance.distance_of_names(one.translate(wide), other.translate(wide), limit) == found
    assert distance.distance_of_kana(other.encode(), one.encode(), limit) == found


def test_long_texts_cost_a_bounded_time() -> None:
    assert distance.distance_of_kana(b"a" * 255, b"b" * 255, 3) == 4
    assert distance.distance_of_names("佐" * 400, "藤" * 400, 3) == 4
    assert distance.distance_of_names("佐" * 600, "佐" * 600, 3) == 4
    assert distance.distance_of_kana(b"", b"", 0) == 0
    with pytest.raises(ValueError, match="limit"):
        distance.distance_of_kana(b"", b"", -1)


def relation(one: tuple[str, str], other: tuple[str, str]) -> int:
    """The twin, on parts as strings."""
    a, b = "".join(one), "".join(other)
    if not a or not b:
        return PartsRelation.DIFFERENT
    if a == b:
        return PartsRelation.EQUAL
    if one[1] and other[1]:
        if other[1] + other[0] == a and len(one[0]) == len(other[1]):
            return PartsRelation.SWAPPED
        if one[1] + one[0] == b or other[1] + other[0] == a:
            return PartsRelation.SWAPPED
        if one[0] == other[0]:
            return PartsRelation.SAME_FIRST
        return PartsRelation.SAME_SECOND if one[1] == other[1] else PartsRelation.DIFFERENT
    if not one[1] and not other[1]:
        rotated = len(a) == len(b) and any(b == a[place:] + a[:place] for place in range(1, len(a)))
        return PartsRelation.SWAPPED if rotated else PartsRelation.DIFFERENT
    whole, parts = (a, other) if other[1] else (b, one)
    if whole == parts[1] + parts[0]:
        return PartsRelation.SWAPPED
    if whole == parts[0]:
        return PartsRelation.FIRST_ONLY
    if whole == parts[1]:
        return PartsRelation.SECOND_ONLY
    if len(whole) > len(parts[0]) and whole.startswith(parts[0]):
        return PartsRelation.SAME_FIRST
    if len(whole) > len(parts[1]) and whole.endswith(parts[1]):
        return PartsRelation.SAME_SECOND
    return PartsRelation.DIFFERENT


@given(PARTS, PARTS)
def test_parts_equal_the_twin(one: tuple[str, str], other: tuple[str, str]) -> None:
    encoded = (one[0].encode(), one[1].encode()), (other[0].encode(), other[1].encode())
    assert distance.parts_relation(*encoded) == relation(one, other)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("佐藤", "花子"), ("花子", "佐藤"), PartsRelation.SWAPPED),
        (("smith", "john"), ("johnsmith", ""), PartsRelation.SWAPPED),
        (("花子", ""), ("佐藤", "花子"), PartsRelation.SECOND_ONLY),
        (("佐藤", ""), ("佐藤", "花子"), PartsRelation.FIRST_ONLY),
        (("鈴木", "花子"), ("佐藤", "花子"), PartsRelation.SAME_SECOND),
        (("鈴木花子", ""), ("佐藤", "花子"), PartsRelation.SAME_SECOND),
        (("佐藤", "花江"), ("佐藤", "花子"), PartsRelation.SAME_FIRST),
        (("鈴木", "花江"), ("佐藤", "花子"), PartsRelation.DIFFERENT),
    ],
)
def test_parts_by_example(one: tuple[str, str], other: tuple[str, str], expected: PartsRelation) -> None:
    encoded = (one[0].encode(), one[1].encode()), (other[0].encode(), other[1].encode())
    assert distance.parts_relation(*encoded) is expected
