"""Resident record codes (住民票コード): 11 digits, the last a check digit (Act 7(13), Rule 1)."""

from array import array
from libc.stdint cimport uint32_t, uint64_t

from jukinet.core.codes cimport code_check_digit, codes_prepare

from jukinet.core.errors import JukinetError
from jukinet.core.vocabulary import CODE_END as CODE_END_VALUE
from jukinet.core.vocabulary import MALFORMED_CODE

codes_prepare()

cdef uint64_t KEY_END = 10_000_000_000
cdef uint64_t CODE_END = CODE_END_VALUE


class CodeFormatError(JukinetError, ValueError):
    """Text that is not 11 digits, or whose check digit is wrong. The message does not repeat the text."""


def check_digit(uint64_t key):
    """The eleventh digit for the first ten: weights 2 to 7, 2 to 5 from the right, r = sum mod 11, 0 or 11 - r."""
    if key >= KEY_END:
        raise CodeFormatError("a key has at most ten digits")
    return code_check_digit(key)


def code_from_key(uint64_t key):
    """The 11-digit code, as an int, of a key below 10^10."""
    if key >= KEY_END:
        raise CodeFormatError("a key has at most ten digits")
    return key * 10 + code_check_digit(key)


def is_valid(uint64_t code):
    """Whether the number has at most 11 digits and the right check digit."""
    return code < CODE_END and code_check_digit(code // 10) == code % 10


def format_code(uint64_t code):
    """Text form: always 11 digits, leading zeros kept."""
    if code >= CODE_END:
        raise CodeFormatError("a code has 11 digits")
    return f"{code:011d}"


cdef uint64_t code_of_text(str text):
    """The number of 11 digits, ASCII or full width; all ones for anything else. Surrounding space is not part of a code."""
    cdef uint64_t code = 0
    cdef Py_UCS4 character
    cdef uint32_t digit
    text = text.strip()
    if len(text) != 11:
        return <uint64_t>-1
    for character in text:
        digit = <uint32_t>character - c"0"
        if digit > 9:
            digit = <uint32_t>character - 0xFF10
            if digit > 9:
                return <uint64_t>-1
        code = code * 10 + digit
    return code


def parse_code(str text not None):
    """The code that a text stands for. Raises CodeFormatError unless it is 11 digits with the right check digit."""
    cdef uint64_t code = code_of_text(text)
    if code >= CODE_END:
        raise CodeFormatError("a resident record code is 11 digits")
    if code_check_digit(code // 10) != code % 10:
        raise CodeFormatError("the check digit is wrong: a digit was mistyped")
    return code


def parse_codes(texts):
    """array('Q') of the codes in an iterable of str; MALFORMED_CODE for text that is not 11 digits.

    Check digits are left to the server, which answers BAD_CHECK_DIGIT in that row.
    """
    codes = array("Q")
    append = codes.append
    for text in texts:
        append(code_of_text(text) if isinstance(text, str) else MALFORMED_CODE)
    return codes
