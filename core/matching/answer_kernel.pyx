"""Kernel: checks the rows of a SEARCH or MATCH, and turns what a matcher found into columns of an answer.

No Python object is made for a row. The plain-Python twin stands in tests/matching/answer_twin.py.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core import limits, vocabulary

codes_prepare()

cdef enum:
    FOUND_ONE = 1
    TOO_FEW_ITEMS = 6
    BAD_NAME = 7
    BAD_KANA = 8
    BAD_BIRTH_DATE = 9
    BAD_SEX = 10
    BAD_ADDRESS = 11
    LEVELS = 5
    GRADE_SHIFT = 4

cdef uint32_t TEXT_BYTES_MAX = limits.CLAIM_TEXT_BYTES_MAX
cdef uint64_t KEY_END = limits.RESIDENT_KEYS
cdef uint64_t MALFORMED_CODE = vocabulary.MALFORMED_CODE

assert (FOUND_ONE, TOO_FEW_ITEMS, BAD_NAME, BAD_KANA, BAD_BIRTH_DATE, BAD_SEX, BAD_ADDRESS) == (
    vocabulary.Found.ONE, vocabulary.Found.TOO_FEW_ITEMS, vocabulary.Found.BAD_NAME, vocabulary.Found.BAD_KANA,
    vocabulary.Found.BAD_BIRTH_DATE, vocabulary.Found.BAD_SEX, vocabulary.Found.BAD_ADDRESS)


cdef inline uint32_t month_days(uint32_t year, uint32_t month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline bint pack_date(uint32_t value, uint32_t *packed) noexcept nogil:
    """Whether a decimal date (unknown parts 0) exists; packed as docs/store-format.md, section 4, says."""
    cdef uint32_t year = value // 10_000, month = value // 100 % 100, day = value % 100
    packed[0] = 0
    if value == 0:
        return True
    if year < 1 or year > 9_999 or month > 12 or (month == 0 and day != 0):
        return False
    if month != 0 and day > month_days(year, month):
        return False
    packed[0] = year << 9 | month << 5 | day
    return True


def check_rows(
    size_t start, size_t stop, const uint32_t[::1] names, const uint32_t[::1] kanas, const uint32_t[::1] dates,
    const uint8_t[::1] sexes, const uint32_t[::1] addresses, uint32_t[::1] packed, uint8_t[::1] statuses,
):
    """Give rows [start, stop) that cannot be looked for their status (Found), others 0, and pack the birth dates.

    names, kanas, addresses: offsets of the text columns (rows + 1); dates: decimal; packed and statuses are written.
    Raises ValueError when a column is shorter than that.
    """
    cdef size_t i
    cdef uint32_t name, kana, address
    cdef uint8_t status
    if (stop < start or stop > <size_t>statuses.shape[0] or stop > <size_t>packed.shape[0]
            or stop > <size_t>dates.shape[0] or stop > <size_t>sexes.shape[0] or stop >= <size_t>names.shape[0]
            or stop >= <size_t>kanas.shape[0] or stop >= <size_t>addresses.shape[0]):
        raise ValueError("columns are shorter than the rows to be checked")
    with nogil:
        for i in range(start, stop):
            name = names[i + 1] - names[i]
            kana = kanas[i + 1] - kanas[i]
            address = addresses[i + 1] - addresses[i]
            status = 0
            if not pack_date(dates[i], &packed[i]):
                status = BAD_BIRTH_DATE
            elif name > TEXT_BYTES_MAX:
                status = BAD_NAME
            elif kana > TEXT_BYTES_MAX:
                status = BAD_KANA
            elif address > TEXT_BYTES_MAX:
                status = BAD_ADDRESS
            elif sexes[i] > 2 and sexes[i] != 9:
                status = BAD_SEX
            elif (name == 0 and kana == 0) or (packed[i] == 0 and address == 0):
                status = TOO_FEW_ITEMS
            statuses[i] = status


def give_codes(size_t start, size_t stop, const uint8_t[::1] statuses, const uint64_t[::1] keys, uint64_t[::1] codes):
    """The codes of keys in rows [start, stop) with the status ONE; the number of no code elsewhere. Raises ValueError."""
    cdef size_t i
    if (stop < start or stop > <size_t>statuses.shape[0] or stop > <size_t>keys.shape[0]
            or stop > <size_t>codes.shape[0]):
        raise ValueError("columns are shorter than the rows")
    with nogil:
        for i in range(start, stop):
            if statuses[i] == FOUND_ONE and keys[i] < KEY_END:
                codes[i] = keys[i] * 10 + code_check_digit(keys[i])
            else:
                codes[i] = MALFORMED_CODE


def shown_codes(const uint64_t[::1] codes, uint64_t[::1] shown):
    """Codes as an answer shows them: 0 where there is none. Raises ValueError for columns of two lengths."""
    cdef size_t i
    if codes.shape[0] != shown.shape[0]:
        raise ValueError("the columns have two lengths")
    with nogil:
        for i in range(<size_t>codes.shape[0]):
            shown[i] = 0 if codes[i] == MALFORMED_CODE else codes[i]


def pack_levels(const uint8_t[::1] levels, uint32_t[::1] packed):
    """Five levels a row into one number of four bits each, the first lowest. Raises ValueError."""
    cdef size_t i, k
    cdef uint32_t value
    if levels.shape[0] != packed.shape[0] * LEVELS:
        raise ValueError("a row has five levels")
    with nogil:
        for i in range(<size_t>packed.shape[0]):
            value = 0
            for k in range(LEVELS):
                value |= <uint32_t>(levels[i * LEVELS + k] & 15) << (4 * k)
            packed[i] = value


def millionths(const float[::1] shares, uint32_t[::1] out):
    """Shares of 0 to 1 in millionths, rounded; what lies outside is the nearest of both. Raises ValueError."""
    cdef size_t i
    cdef double value
    if shares.shape[0] != out.shape[0]:
        raise ValueError("the columns have two lengths")
    with nogil:
        for i in range(<size_t>shares.shape[0]):
            value = shares[i]
            # Not >= 0 also for what is no number.
            out[i] = 0 if not value >= 0.0 else 1_000_000 if value >= 1.0 else <uint32_t>(value * 1e6 + 0.5)


def widen(const uint16_t[::1] numbers, uint32_t[::1] out):
    """Numbers of 16 bits as 32. Raises ValueError."""
    cdef size_t i
    if numbers.shape[0] != out.shape[0]:
        raise ValueError("the columns have two lengths")
    with nogil:
        for i in range(<size_t>numbers.shape[0]):
            out[i] = numbers[i]


def told_bytes(const uint8_t[::1] statuses, const uint8_t[::1] grades, uint8_t[::1] out):
    """What a record of use holds for each row: status in bits 0-3, grade in bits 4-6. Raises ValueError."""
    cdef size_t i
    if statuses.shape[0] != grades.shape[0] or statuses.shape[0] != out.shape[0]:
        raise ValueError("the columns have two lengths")
    with nogil:
        for i in range(<size_t>statuses.shape[0]):
            out[i] = (statuses[i] & 15) | (grades[i] & 7) << GRADE_SHIFT
