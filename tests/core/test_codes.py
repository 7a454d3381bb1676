from __future__ import annotations

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
