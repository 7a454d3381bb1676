"""Folding of whole columns: as row by row, and nothing outside a column is read."""

from __future__ import annotations

import struct
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.folding import addresses, dates, kana, names
from jukinet.core.folding.column_folding import Folding, fold_texts, read_dates

from .date_twin import written_dates

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(["髙橋　花子", "ｻﾄｳ ﾀﾛｳ", "", "東京都千代田区丸の内1-2", "ア" * 300, "千条" * 2_000]),
    )
)
ONE_BY_ONE = {
    Folding.NAME: lambda text: names.folded_name(text).encode(),
    Folding.KANA: kana.folded_kana,
    Folding.KANA_EXACT: kana.folded_kana_exact,
    Folding.ADDRESS: lambda text: addresses.folded_address(text).encode(),
}


def column(texts: list[bytes]) -> tuple[bytes, bytes]:
    offsets = array("I", [0])
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    return offsets.tobytes(), b"".join(texts)


@given(TEXTS, st.sampled_from(Folding))
@settings(deadline=None)
def test_a_column_folds_row_by_row(texts: list[str], folding: Folding) -> None:
    found = fold_texts(folding, *column([text.encode() for text in texts]))
    offsets = struct.unpack(f"<{len(texts) + 1}I", found.offsets)
    results = struct.unpack(f"<{len(texts)}b", found.results)
    assert offsets[-1] == len(found.data)
    for row, text in enumerate(texts):
        folded = found.data[offsets[row] : offsets[row + 1]]
        try:
            assert folded == ONE_BY_ONE[folding](text)
            assert results[row] == 0
        except ValueError:
            assert (folded, results[row] < 0) == (b"", True)


@given(st.lists(st.one_of(written_dates().map(lambda written: written[0]), st.text(max_size=12))))
def test_dates_are_read_row_by_row(texts: list[str]) -> None:
    found = read_dates(*column([text.encode() for text in texts]))
    decimals = struct.unpack(f"<{len(texts)}I", found.decimals)
    results = struct.unpack(f"<{len(texts)}b", found.results)
    for text, decimal, result in zip(texts, decimals, results, strict=True):
        try:
            assert (decimal, result == 1) == dates.read_date(text)
        except dates.DateTextError:
            assert decimal == 0
            assert result < 0


@given(st.lists(st.binary(max_size=12)), st.sampled_from(Folding))
def test_bytes_that_are_no_text_are_a_result(rows: list[bytes], folding: Folding) -> None:
    found = fold_texts(folding, *column(rows))
    for row, result in zip(rows, struct.unpack(f"<{len(rows)}b", found.results), strict=True):
        try:
            row.decode()
        except UnicodeDecodeError:
            assert result < 0
    assert len(read_dates(*column(rows)).results) == len(rows)


def test_columns_that_are_malformed_are_refused() -> None:
    for offsets, problem in (((0, 3), "end"), ((2, 1), "decrease")):
        with pytest.raises(ValueError, match=problem):
            fold_texts(Folding.NAME, struct.pack("<2I", *offsets), b"ab")
    for offsets in (b"", b"\0\0\0", b"\0" * 7):
        with pytest.raises(ValueError, match="4 bytes"):
            read_dates(offsets, b"")
    assert fold_texts(Folding.NAME, b"\0" * 4, b"") == (b"\0" * 4, b"", b"")
