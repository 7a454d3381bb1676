from __future__ import annotations

import io
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core import codes
from jukinet.core.vocabulary import MALFORMED_CODE

from .twins import check_digit


@pytest.mark.parametrize(("key", "digit"), [(1234567890, 3), (1000000000, 6), (9876543210, 3), (2472705960, 8), (0, 0)])
def test_known_check_digits(key: int, digit: int) -> None:
    assert codes.check_digit(key) == digit
    assert codes.is_valid(key * 10 + digit)


@given(st.integers(0, 10**10 - 1))
def test_check_digit_equals_the_rule_written_out(key: int) -> None:
    assert codes.check_digit(key) == check_digit(key)
    code = codes.code_from_key(key)
    assert codes.parse_code(codes.format_code(code)) == code
    wrong = code // 10 * 10 + (code + 1) % 10
    assert not codes.is_valid(wrong)


@pytest.mark.parametrize(
    "text", ["", "1234567890", "123456789031", "1234567890a", "-1234567890", "12345 67890", "²2345678903"]
)
def test_text_that_is_no_code(text: str) -> None:
    with pytest.raises(codes.CodeFormatError) as caught:
        codes.parse_code(text)
    assert text == "" or text not in str(caught.value)
    assert list(codes.parse_codes([text])) == [MALFORMED_CODE]


def test_parse_codes_keeps_rows_and_leaves_check_digits_to_the_server() -> None:
    parsed = codes.parse_codes(["12345678903", " 01234567890 ", "１２３４５６７８９０３", "x", None, "12345678904"])
    assert list(parsed) == [12345678903, 1234567890, 12345678903, MALFORMED_CODE, MALFORMED_CODE, 12345678904]


def test_numbers_out_of_range() -> None:
    for call in (codes.check_digit, codes.code_from_key):
        with pytest.raises(codes.CodeFormatError):
            call(10**10)
    with pytest.raises(codes.CodeFormatError):
        codes.format_code(10**11)
    assert not codes.is_valid(10**11)
    with pytest.raises(OverflowError):
        codes.is_valid(-1)


def lines_of(data: bytes, encoding: str) -> list[int]:
    """The rule written out: one code a line, blank lines left out."""
    texts = (line.strip() for line in io.TextIOWrapper(io.BytesIO(data), encoding=encoding, newline=""))
    return list(codes.parse_codes([text for text in texts if text]))


LINE = st.one_of(
    st.integers(0, 10**11 - 1).map(lambda code: f"{code:011}"),
    st.text("0123456789 \t\x0b\x1c\x00ax-", max_size=14),
    st.sampled_from(["", " ", "　", "１２３４５６７８９０３", " 01234567890　", "県", "012345678901", "\x85"]),
)


@given(st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r\n", "\r", "\n\n"])), max_size=12), st.booleans())
def test_lines_are_read_as_the_rule_says(lines: list[tuple[str, str]], ended: bool) -> None:
    text = "".join(line + end for line, end in lines)
    data = (text if ended else text.rstrip("\r\n")).encode()
    found, odd, count, used = codes.parse_lines(data, True)
    assert used == len(data)
    assert count >= len(odd)
    blank = []
    for row, line, start, stop in odd:
        assert found[row] == MALFORMED_CODE
        assert line < count
        whole = data[start:stop].decode().strip()
        found[row] = codes.parse_codes([whole])[0]
        if not whole:
            blank.append(row)
    for row in reversed(blank):
        del found[row]
    assert list(found) == lines_of(data, "utf-8")


def test_a_line_that_has_not_ended_is_left() -> None:
    assert codes.parse_lines(b"12345678903\r\n0123", False) == (array("Q", [12345678903]), [], 1, 13)
    assert codes.parse_lines(b"0123", False) == (array("Q"), [], 0, 0)
    assert codes.parse_lines(b"", True) == (array("Q"), [], 0, 0)
    assert codes.parse_lines(b"\xff1\n12345678903", True) == (
        array("Q", [MALFORMED_CODE, 12345678903]), [(0, 0, 0, 2)], 2, 14,
    )  # fmt: skip


@given(st.lists(st.one_of(st.integers(0, 10**10 - 1).map(codes.code_from_key), st.integers(0, 2**64 - 1))))
def test_counting_what_is_no_code_and_order(numbers: list[int]) -> None:
    column = array("Q", numbers)
    assert codes.count_invalid(column) == sum(not codes.is_valid(number) for number in numbers)
    assert codes.count_invalid(memoryview(column)) == codes.count_invalid(column)
    assert codes.are_ascending(column) == all(a < b for a, b in pairwise(numbers))
    assert codes.are_ascending(array("Q", sorted(set(numbers))))
