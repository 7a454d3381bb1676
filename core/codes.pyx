"""Resident record codes (住民票コード): 11 digits, the last a check digit (Act 7(13), Rule 1)."""

from array import array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
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


cdef inline bint is_space(unsigned char byte) noexcept nogil:
    """What str.strip() takes away of ASCII."""
    return 9 <= byte <= 13 or 28 <= byte <= 32


cdef enum:
    LINE_BLANK = 0
    LINE_READ = 1
    LINE_ODD = 2


cdef int read_line(const unsigned char *line, size_t length, uint64_t *code) noexcept nogil:
    """The code of one line of ASCII, all ones when it is none; LINE_ODD when the line has other characters."""
    cdef size_t i
    cdef uint64_t read = 0
    cdef unsigned char seen = 0
    while length and is_space(line[0]):
        line += 1
        length -= 1
    while length and is_space(line[length - 1]):
        length -= 1
    if length == 0:
        return LINE_BLANK
    code[0] = <uint64_t>-1
    for i in range(length):
        seen |= line[i]
    if seen & 0x80:
        return LINE_ODD
    if length != 11:
        return LINE_READ
    for i in range(11):
        if line[i] < c"0" or line[i] > c"9":
            return LINE_READ
        read = read * 10 + (line[i] - c"0")
    code[0] = read
    return LINE_READ


def parse_lines(const unsigned char[::1] data not None, bint is_last):
    """(codes, odd lines, lines, bytes used) of text with one code a line, in an encoding that contains ASCII.

    codes: array('Q') of the lines that are not blank; MALFORMED_CODE for what is not 11 digits. odd lines: (row, line
    from 0, first byte, end) of those with other characters than ASCII, which the caller decodes; their code is
    MALFORMED_CODE until then. Lines end with a line feed or a carriage return. A line without an end is left unless
    ``is_last``. Check digits are left to the server.
    """
    cdef size_t length = data.shape[0], start = 0, at, room = 0, rows = 0, lines = 0
    cdef const unsigned char *text = &data[0] if length else NULL
    cdef uint64_t *out
    cdef int kind
    cdef list odd = []
    for at in range(length):
        room += text[at] == c"\n" or text[at] == c"\r"
    room += 1
    made = PyBytes_FromStringAndSize(NULL, room * sizeof(uint64_t))
    out = <uint64_t *>PyBytes_AS_STRING(made)
    while start < length:
        at = start
        while at < length and text[at] != c"\n" and text[at] != c"\r":
            at += 1
        if at == length and not is_last:
            break
        kind = read_line(text + start, at - start, out + rows)
        if kind == LINE_ODD:
            odd.append((rows, lines, start, at))
        rows += kind != LINE_BLANK
        # A carriage return and a line feed are one end.
        if at + 1 < length and text[at] == c"\r" and text[at + 1] == c"\n":
            at += 1
        lines += 1
        start = at + 1
    codes = array("Q")
    codes.frombytes(memoryview(made)[: rows * sizeof(uint64_t)])
    return codes, odd, lines, min(start, length)


def count_invalid(codes):
    """How many numbers of a buffer of u64 are no codes. TypeError for another buffer."""
    cdef const uint64_t[::1] column = memoryview(codes).cast("B").cast("Q")
    cdef Py_ssize_t i
    cdef Py_ssize_t wrong = 0
    with nogil:
        for i in range(column.shape[0]):
            wrong += column[i] >= CODE_END or code_check_digit(column[i] // 10) != column[i] % 10
    return wrong


def are_ascending(codes):
    """Whether the numbers of a buffer of u64 ascend strictly."""
    cdef const uint64_t[::1] column = memoryview(codes).cast("B").cast("Q")
    cdef Py_ssize_t i
    cdef bint ascending = True
    with nogil:
        for i in range(1, column.shape[0]):
            ascending = ascending and column[i - 1] < column[i]
    return ascending
