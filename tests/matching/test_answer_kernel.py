"""The kernel of answers against its twin, and what it refuses."""

from __future__ import annotations

from array import array
from typing import Any

import answer_twin as twin
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jukinet.core.columns.layout import TextColumn
from jukinet.core.matching import answer_kernel
from jukinet.core.matching.answering import Asked
from jukinet.core.matching.columns import LEVELS

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXTS = st.sampled_from(["", "山田", "x" * 1_024, "x" * 1_025, "あ" * 342])
DATES = st.integers(0, 2**32 - 1) | st.builds(
    lambda year, month, day: year * 10_000 + month * 100 + day,
    st.integers(0, 10_000), st.integers(0, 13), st.integers(0, 32),
)  # fmt: skip
ROWS = st.lists(st.tuples(TEXTS, TEXTS, DATES, st.integers(0, 10), TEXTS), min_size=1, max_size=8)


@PATIENT
@given(ROWS, st.data())
@example([("山田", "", 19000229, 0, "")], None)
@example([("山田", "", 20000229, 9, "")], None)
def test_rows_are_judged_as_the_twin_judges_them(rows: list[tuple[str, str, int, int, str]], data: Any) -> None:
    count = len(rows)
    start = data.draw(st.integers(0, count)) if data is not None else 0
    asked = Asked(
        count,
        names=TextColumn.from_texts(row[0] for row in rows),
        kana=TextColumn.from_texts(row[1] for row in rows),
        birth_dates=memoryview(array("I", [row[2] for row in rows])),
        sexes=memoryview(bytes(row[3] for row in rows)),
        addresses=TextColumn.from_texts(row[4] for row in rows),
    )
    statuses = memoryview(bytearray(b"\xff" * count))
    asked.check(start, count, statuses)
    expected = [
        twin.status_of(name.encode(), kana.encode(), date, sex, address.encode())
        for name, kana, date, sex, address in rows
    ]
    assert list(statuses) == [255] * start + expected[start:]
    packed = [twin.packed_date(row[2]) or 0 for row in rows]
    assert list(asked.questions.birth_dates) == [0] * start + packed[start:]


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2**64 - 1) | st.integers(0, 10**10)), max_size=8))
def test_codes_are_those_of_the_persons_disclosed(rows: list[tuple[int, int]]) -> None:
    statuses, keys = bytes(status for status, _ in rows), array("Q", [key for _, key in rows])
    codes = array("Q", bytes(8 * len(rows)))
    answer_kernel.give_codes(0, len(rows), statuses, keys, codes)
    assert list(codes) == [twin.code_of(*row) for row in rows]
    shown = array("Q", bytes(8 * len(rows)))
    answer_kernel.shown_codes(codes, shown)
    assert list(shown) == [0 if code == twin.MALFORMED_CODE else code for code in codes]


@PATIENT
@given(st.lists(st.lists(st.integers(0, 255), min_size=LEVELS, max_size=LEVELS), max_size=6))
def test_levels_stand_in_four_bits_each(rows: list[list[int]]) -> None:
    packed = array("I", bytes(4 * len(rows)))
    answer_kernel.pack_levels(bytes(level for row in rows for level in row), packed)
    assert list(packed) == [twin.packed_levels(row) for row in rows]


@PATIENT
@given(st.lists(st.floats(width=32), max_size=8))
def test_shares_are_told_in_millionths_of_0_to_1(shares: list[float]) -> None:
    out = array("I", bytes(4 * len(shares)))
    answer_kernel.millionths(array("f", shares), out)
    assert list(out) == [twin.millionths(share) for share in shares]


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 6), st.integers(0, 65_535)), max_size=8))
def test_what_is_recorded_of_a_row(rows: list[tuple[int, int, int]]) -> None:
    told, wide = bytearray(len(rows)), array("I", bytes(4 * len(rows)))
    answer_kernel.told_bytes(bytes(row[0] for row in rows), bytes(row[1] for row in rows), told)
    assert list(told) == [status | grade << 4 for status, grade, _ in rows]
    answer_kernel.widen(array("H", [row[2] for row in rows]), wide)
    assert list(wide) == [row[2] for row in rows]


def test_columns_that_do_not_fit_each_other_are_refused() -> None:
    two, three = array("Q", [1, 2]), array("Q", [1, 2, 3])
    for call in (
        lambda: answer_kernel.give_codes(0, 3, b"\1\1", three, three),
        lambda: answer_kernel.give_codes(2, 1, b"\1\1", two, two),
        lambda: answer_kernel.shown_codes(two, three),
        lambda: answer_kernel.pack_levels(bytes(9), array("I", [0, 0])),
        lambda: answer_kernel.millionths(array("f", [0.5]), array("I", [0, 0])),
        lambda: answer_kernel.widen(array("H", [1]), array("I", [0, 0])),
        lambda: answer_kernel.told_bytes(b"\1", b"\1\1", bytearray(1)),
        lambda: Asked(2).check(0, 3, memoryview(bytearray(3))),
        lambda: Asked(2).check(0, 2, memoryview(bytearray(1))),
    ):
        with pytest.raises(ValueError, match=r"column|rows|levels"):
            call()
