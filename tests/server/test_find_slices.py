"""How many rows of a SEARCH or MATCH go into one slice: what a row may cost decides."""

from __future__ import annotations

from array import array

import pytest

from jukinet.core.wire import messages as m
from jukinet.server.slices import FIND_SLICE_ROWS, FIND_SLICE_ROWS_UNDATED, find_slice_rows


def asking(dates: list[int] | None, count: int) -> m.MatchRequest:
    column = None if dates is None else memoryview(array("I", dates))
    return m.MatchRequest(1, 1, 0, 0, False, count, birth_dates=column)


@pytest.mark.parametrize(
    ("dates", "start", "rows"),
    [
        ([19650220] * 1_000, 0, FIND_SLICE_ROWS),
        ([19650220] * 990 + [0] * 10, 900, FIND_SLICE_ROWS),
        ([0] * 1_000, 0, FIND_SLICE_ROWS_UNDATED),
        ([19650220] * 500 + [0] * 500, 0, FIND_SLICE_ROWS),
        ([19650220] * 500 + [0] * 500, 480, FIND_SLICE_ROWS_UNDATED),
        ([0], 0, FIND_SLICE_ROWS),
        (None, 0, FIND_SLICE_ROWS_UNDATED),
    ],
)
def test_rows_without_a_birth_date_go_in_short_slices(dates: list[int] | None, start: int, rows: int) -> None:
    assert find_slice_rows(asking(dates, len(dates) if dates else 1_000), start) == rows
