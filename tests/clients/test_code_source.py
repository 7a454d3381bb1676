"""Codes from text files: the same whatever the size of the parts in which the file is read."""

from __future__ import annotations

import io
from array import array
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.clients import cohort_command
from jukinet.clients.cohort_command import _ascending
from jukinet.clients.errors import MissingExtraError, UsageError
from jukinet.clients.query import code_source
from jukinet.clients.query.code_source import TextSource
from jukinet.core.codes import parse_codes

LINES = st.lists(
    st.one_of(
        st.integers(0, 10**11 - 1).map(lambda code: f"{code:011}"),
        st.sampled_from(["", "  ", "　", "１２３４５６７８９０３", "県", "0123", " 01234567890 "]),
    ),
    max_size=12,
)


def read(data: bytes, encoding: str, part: int, size: int) -> list[list[int]]:
    with mock.patch.object(code_source, "TEXT_READ_BYTES", part):
        return [list(claims.codes) for claims in TextSource(io.BytesIO(data), len(data), encoding).batches(size)]


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40), st.integers(1, 5),
       st.sampled_from(["utf-8", "utf-8-sig", "cp932"]))  # fmt: skip
@settings(deadline=None)
def test_parts_make_no_difference(lines: list[str], end: str, part: int, size: int, encoding: str) -> None:
    found = read(end.join(lines).encode(encoding), encoding, part, size)
    wanted = list(parse_codes([line.strip() for line in lines if line.strip()]))
    assert [code for batch in found for code in batch] == wanted
    assert [len(batch) for batch in found[:-1]] == [size] * (len(found) - 1)


def test_what_cannot_be_read_is_told_without_its_text() -> None:
    with pytest.raises(UsageError, match=r"not utf-8 after line 2; give --encoding") as caught:
        read("1\n2\n秘密\n".encode("cp932"), "utf-8", 3, 9)
    assert "秘" not in str(caught.value)
    with pytest.raises(UsageError, match="not utf-8 near its beginning"):
        read(b"\xff\n", "utf-8", 100, 9)
    with pytest.raises(UsageError, match="line 2 is longer than"):
        read(b"1\n" + b"1" * (code_source.LINE_CHARACTERS_MAX + 2), "utf-8", 1 << 16, 9)


def test_how_far_it_is() -> None:
    source = TextSource(io.BytesIO(b"12345678903\n" * 4), 48, "utf-8")
    assert source.fraction() == 0
    assert len(list(source.batches(10))) == 1
    assert source.fraction() == 1


@given(st.lists(st.integers(0, 10**11 - 1), max_size=60))
@settings(deadline=None)
def test_a_cohort_is_put_in_order_each_code_once(codes: list[int]) -> None:
    column = array("Q", [*codes, *codes[:5]])
    assert list(_ascending(column)) == sorted(set(codes))
    with mock.patch.object(cohort_command, "optional", side_effect=MissingExtraError("no numpy")):
        assert list(_ascending(column)) == sorted(set(codes))
