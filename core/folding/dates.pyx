"""Dates as people write them: by calendar or by era (和暦), in any digits, with unknown parts; and dates near one another.

A text becomes a short list of tokens (numbers, era, 年 月 日, separators, "unknown"), and the tokens a date. Nothing is guessed: a
text that could be two dates (65.2.20, 650220) is unreadable.
"""

from enum import IntEnum
from typing import NamedTuple

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from jukinet.core.folding.characters cimport decode_point
from jukinet.core.records.record cimport decimal_date, packed_date, packed_from_decimal

from jukinet.core.errors import JukinetError

cdef enum:
    TEXT_BYTES_MAX = 192
    TOKENS_MAX = 40
    YEAR_MAX = 4095          # twelve bits
    ERA_YEAR_MAX = 999

cdef enum:
    TOKEN_NUMBER = 1
    TOKEN_ERA = 2
    TOKEN_FIRST = 3          # 元
    TOKEN_YEAR = 4           # 年; 月 and 日 follow
    TOKEN_MONTH = 5
    TOKEN_DAY = 6
    TOKEN_UNKNOWN = 7
    TOKEN_SEPARATOR = 8
    TOKEN_SPACE = 9
    TOKEN_COLON = 10
    TOKEN_OPEN = 11
    TOKEN_CLOSE = 12
    TOKEN_OR = 13            # ・
    TOKEN_T = 14

ctypedef struct Token:
    uint8_t kind
    uint8_t digits           # of a number: how many digits it was written with
    uint32_t value           # of a number; of an era its place from 0, 明治

# First days of 明治, 大正, 昭和, 平成, 令和 and the end of time, packed.
cdef uint32_t era_begins[6]
era_begins[:] = [
    1868 << 9 | 1 << 5 | 25, 1912 << 9 | 7 << 5 | 30, 1926 << 9 | 12 << 5 | 25, 1989 << 9 | 1 << 5 | 8, 2019 << 9 | 5 << 5 | 1,
    0xFFFFFFFF,
]


class DateNearness(IntEnum):
    """How two dates compare (the DATES_ values of dates.pxd)."""

    EQUAL = 0
    COMPATIBLE = 1
    ERA = 2
    MONTH_DAY = 3
    DIGIT = 4
    TRANSPOSED = 5
    YEAR = 6
    FAR = 7
    UNKNOWN = 8


class EraDigits(IntEnum):
    """What the first digit of seven means."""

    IN_ORDER = 0
    """1 明治, 2 大正, 3 昭和, 4 平成, 5 令和: taxes and most registers."""
    ODD = 1
    """1 明治, 3 大正, 5 昭和, 7 平成, 9 令和: pensions and health insurance."""


class DateTextError(JukinetError, ValueError):
    """A text that is no date. The messages never repeat it."""


class UnreadableDateError(DateTextError):
    """The text has no known form of a date, or one that can be read in two ways."""


class ImpossibleDateError(DateTextError):
    """No calendar has that day."""


class OutOfEraError(DateTextError):
    """The era never had that year. ``decimal`` is the date that would follow from it."""

    def __init__(self, message, decimal):
        super().__init__(message)
        self.decimal = decimal


class DateRead(NamedTuple):
    """A date that was read: yyyymmdd with unknown parts 0; whether its era had ended or not yet begun on that day."""

    decimal: int
    beside_era: bool


cdef inline uint32_t days_of_month(uint32_t year, uint32_t month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef bint date_exists(uint32_t packed) noexcept nogil:
    cdef uint32_t year = packed >> 9, month = packed >> 5 & 15, day = packed & 31
    if year > YEAR_MAX or month > 12 or (day and not month) or (month and not year):
        return False
    return not day or day <= days_of_month(year, month)


cdef inline int digit_of_kanji(uint32_t point) noexcept nogil:
    """0 to 9; 10, 100, 1000 for 十, 百, 千; -1 for anything else."""
    if point == 0x4E00 or point == 0x58F1:
        return 1
    if point == 0x4E8C or point == 0x5F10:
        return 2
    if point == 0x4E09 or point == 0x53C2:
        return 3
    if point == 0x56DB:
        return 4
    if point == 0x4E94:
        return 5
    if point == 0x516D:
        return 6
    if point == 0x4E03:
        return 7
    if point == 0x516B:
        return 8
    if point == 0x4E5D:
        return 9
    if point == 0x3007 or point == 0x96F6 or point == 0x25CB:
        return 0
    if point == 0x5341 or point == 0x62FE:
        return 10
    if point == 0x767E:
        return 100
    return 1000 if point == 0x5343 else -1


cdef inline int era_of(uint32_t point) noexcept nogil:
    """Place of the era that a character begins or stands for, -1 for none; the second character of a word is read apart."""
    if point == 0x660E or point == 0x337E or point == 0x6D or point == 0x4D:
        return 0
    if point == 0x5927 or point == 0x337D or point == 0x74 or point == 0x54:
        return 1
    if point == 0x662D or point == 0x337C or point == 0x73 or point == 0x53:
        return 2
    if point == 0x5E73 or point == 0x337B or point == 0x68 or point == 0x48:
        return 3
    return 4 if point == 0x4EE4 or point == 0x32FF or point == 0x72 or point == 0x52 else -1


cdef inline bint second_of_era(int era, uint32_t point) noexcept nogil:
    return point == (
        0x6CBB if era == 0 else 0x6B63 if era == 1 else 0x548C if era == 2 else 0x6210 if era == 3 else 0x548C
    )


cdef inline int kind_of(uint32_t point) noexcept nogil:
    if point == 0x5E74:
        return TOKEN_YEAR
    if point == 0x6708:
        return TOKEN_MONTH
    if point == 0x65E5:
        return TOKEN_DAY
    if point == 0x5143:
        return TOKEN_FIRST
    if point == 0x20 or point == 0xA0 or point == 0x09:
        return TOKEN_SPACE
    if (
        point == 0x2D or point == 0x2F or point == 0x2E or point == 0x2C or 0x2010 <= point <= 0x2015 or point == 0x2212
        or point == 0x30FC or point == 0x3001 or point == 0x3002
    ):
        return TOKEN_SEPARATOR
    if point == 0x30FB:
        return TOKEN_OR
    if point == 0x3A:
        return TOKEN_COLON
    if point == 0x28:
        return TOKEN_OPEN
    if point == 0x29:
        return TOKEN_CLOSE
    return TOKEN_UNKNOWN if point == 0x3F or point == 0x2A else 0


# A number while its digits are read: what stands before the last 十, 百 or 千, what stands behind, and that unit.
ctypedef struct Numeral:
    uint32_t total
    uint32_t pending
    uint32_t unit            # 0: none yet


cdef inline int take_digit(Token *token, int digit, Numeral *numeral) noexcept nogil:
    """Put one more digit (0 to 9) or unit (10, 100, 1000) onto a number; 0 or -1."""
    if digit < 10:
        if token.digits == 8:
            return -1
        numeral.pending = numeral.pending * 10 + digit
        if numeral.unit and numeral.pending >= numeral.unit:
            return -1
        token.digits += 1
    else:
        if (numeral.unit and <uint32_t>digit >= numeral.unit) or numeral.pending > 9:
            return -1
        numeral.total += (numeral.pending if numeral.pending else 1) * digit
        numeral.pending = 0
        numeral.unit = digit
    token.value = numeral.total + numeral.pending
    if numeral.unit:
        token.digits = 4 if token.value >= 1000 else 2
    return 0


cdef int tokens_of(const uint8_t *text, int length, Token *tokens) noexcept nogil:
    """The tokens of a text; their count, or -1."""
    cdef int place = 0, count = 0, digit, kind, era
    cdef uint32_t point = 0, before = 0
    cdef Numeral numeral
    cdef bint number = False
    numeral.total = numeral.pending = numeral.unit = 0
    while place < length:
        if decode_point(text, length, &place, &point) < 0 or count == TOKENS_MAX:
            return -1
        if 0xFF01 <= point <= 0xFF5E:
            point -= 0xFEE0
        elif point == 0x3000:
            point = 0x20
        digit = <int>point - 0x30 if 0x30 <= point <= 0x39 else digit_of_kanji(point)
        if digit >= 0:
            if not number:
                number = True
                numeral.total = numeral.pending = numeral.unit = 0
                tokens[count].kind = TOKEN_NUMBER
                tokens[count].digits = 0
                tokens[count].value = 0
                count += 1
            if take_digit(&tokens[count - 1], digit, &numeral) < 0:
                return -1
            continue
        number = False
        if point == 0x4E0D or point == 0x8A73 or point == 0x660E and before == 0x4E0D:
            # 不詳, 不明: the first character is remembered, the second makes the token.
            if point != 0x4E0D:
                if before != 0x4E0D:
                    return -1
                tokens[count].kind = TOKEN_UNKNOWN
                count += 1
            before = point
            continue
        if before == 0x4E0D:
            return -1
        if point == 0x897F or point == 0x66A6:           # 西暦
            before = point
            continue
        before = point
        if (point == 0x54 or point == 0x74) and count and tokens[count - 1].kind == TOKEN_NUMBER:
            tokens[count].kind = TOKEN_T
            count += 1
            continue
        era = era_of(point)
        if era >= 0:
            tokens[count].kind = TOKEN_ERA
            tokens[count].value = era
            count += 1
            continue
        if count and tokens[count - 1].kind == TOKEN_ERA and second_of_era(<int>tokens[count - 1].value, point):
            continue
        kind = kind_of(point)
        if kind == 0:
            return -1
        tokens[count].kind = <uint8_t>kind
        count += 1
    return -1 if before == 0x4E0D else count


# A date while its tokens are read.
ctypedef struct Reading:
    int era                  # -1: none
    int next                 # the part that comes next: 0 year, 1 month, 2 day, 3 none
    uint32_t parts[3]
    uint8_t digits[3]
    bint blank               # a part was given as blank or unknown


cdef inline void put_part(Reading *reading, uint32_t value, uint8_t digits) noexcept nogil:
    reading.parts[reading.next] = value
    reading.digits[reading.next] = digits
    reading.next += 1


cdef int put_number(Reading *reading, uint32_t value, uint8_t digits, int era_digits) noexcept nogil:
    """Take a number: a part, or all parts at once; 0 or -1."""
    cdef uint32_t era
    if reading.next == 0 and digits == 8 and reading.era < 0:
        put_part(reading, value // 10000, 4)
    elif reading.next == 0 and digits == 7 and reading.era < 0:
        era = value // 1000000
        if era_digits:
            if era % 2 == 0:
                return -1
            era = (era + 1) // 2
        if era < 1 or era > 5:
            return -1
        reading.era = <int>era - 1
        put_part(reading, value // 10000 % 100, 2)
    elif reading.next == 0 and digits == 6 and reading.era >= 0:
        put_part(reading, value // 10000, 2)
    else:
        if reading.next == 3 or digits > (4 if reading.next == 0 else 2):
            return -1
        put_part(reading, value, digits)
        return 0
    put_part(reading, value // 100 % 100, 2)
    put_part(reading, value % 100, 2)
    return 0


cdef int read_tokens(const Token *tokens, int count, int era_digits, Reading *reading) noexcept nogil:
    """Read one date's tokens; 0 or -1."""
    cdef int i = 0, kind, part
    reading.era = -1
    reading.next = 0
    reading.blank = False
    for part in range(3):
        reading.parts[part] = 0
        reading.digits[part] = 0
    while i < count:
        kind = tokens[i].kind
        if reading.next == 3 and reading.digits[2] and (kind == TOKEN_T or kind == TOKEN_SPACE):
            break
        if kind == TOKEN_ERA:
            if reading.era >= 0 or reading.next:
                return -1
            reading.era = <int>tokens[i].value
        elif kind == TOKEN_NUMBER or kind == TOKEN_FIRST:
            if kind == TOKEN_FIRST:
                if reading.next or reading.era < 0:
                    return -1
                put_part(reading, 1, 1)
            elif put_number(reading, tokens[i].value, tokens[i].digits, era_digits) < 0:
                return -1
            if i + 1 < count and TOKEN_YEAR <= tokens[i + 1].kind <= TOKEN_DAY:
                i += 1
                if tokens[i].kind - TOKEN_YEAR != reading.next - 1:
                    return -1
        elif kind == TOKEN_UNKNOWN:
            if reading.next == 3 and not reading.blank:
                return -1
            while i + 1 < count and tokens[i + 1].kind == TOKEN_UNKNOWN:
                i += 1
            reading.blank = True
            if reading.next < 3:
                put_part(reading, 0, 0)
                if i + 1 < count and tokens[i + 1].kind == TOKEN_YEAR + reading.next - 1:
                    i += 1
        elif TOKEN_YEAR <= kind <= TOKEN_DAY:
            part = kind - TOKEN_YEAR
            if part < reading.next:
                return -1
            reading.blank = True
            reading.next = part + 1
        elif kind != TOKEN_SEPARATOR and kind != TOKEN_SPACE and kind != TOKEN_OPEN and kind != TOKEN_CLOSE:
            return -1
        i += 1
    # What may stand behind a whole date is a time of day, as databases and spreadsheets write it.
    while i < count:
        if not (
            tokens[i].kind == TOKEN_NUMBER or tokens[i].kind == TOKEN_COLON or tokens[i].kind == TOKEN_SEPARATOR
            or tokens[i].kind == TOKEN_SPACE or tokens[i].kind == TOKEN_T
        ):
            return -1
        i += 1
    return 0


cdef int judge(const Reading *reading, uint32_t *packed) noexcept nogil:
    """The date that the parts make, with its era's limits."""
    cdef uint32_t year = reading.parts[0], month = reading.parts[1], day = reading.parts[2]
    cdef uint32_t first, last, begins, ends
    packed[0] = 0
    if year == 0:
        return DATE_NONE if not month and not day else DATE_IMPOSSIBLE
    if reading.era < 0:
        if reading.digits[0] != 4:
            return DATE_UNREADABLE
    elif year > ERA_YEAR_MAX:
        return DATE_UNREADABLE
    else:
        year += (era_begins[reading.era] >> 9) - 1
    if year > YEAR_MAX or month > 12 or day > 31:
        return DATE_IMPOSSIBLE
    packed[0] = packed_date(year, month, day)
    if not date_exists(packed[0]):
        packed[0] = 0
        return DATE_IMPOSSIBLE
    if reading.era < 0:
        return DATE_READ
    begins, ends = era_begins[reading.era], era_begins[reading.era + 1]
    first = packed_date(year, month if month else 1, day if day else 1)
    last = packed_date(year, month if month else 12, day if day else 31)
    if first < ends and last >= begins:
        return DATE_READ
    return DATE_BESIDE_ERA if year == begins >> 9 or year == ends >> 9 else DATE_OUT_OF_ERA


cdef int parse_date(const uint8_t *text, int length, int era_digits, uint32_t *packed) noexcept nogil:
    cdef Token tokens[TOKENS_MAX]
    cdef Reading reading
    cdef int count, i, start = 0, result = DATE_NONE, one, depth = 0
    cdef uint32_t found = 0, again = 0
    packed[0] = 0
    if length > TEXT_BYTES_MAX:
        return DATE_UNREADABLE
    count = tokens_of(text, length, tokens)
    if count < 0:
        return DATE_UNREADABLE
    # 昭和64年・平成元年: each reading must give the same date. 1965年(昭和40年)2月20日: what is in brackets must give its year.
    i = 0
    while i < count:
        if tokens[i].kind == TOKEN_OPEN and i + 1 < count and (
            tokens[i + 1].kind == TOKEN_ERA or tokens[i + 1].kind == TOKEN_NUMBER
        ):
            one = year_in_brackets(tokens, count, i, era_digits, &again)
            if one < 0:
                return DATE_UNREADABLE
            count = one
            continue
        i += 1
    for i in range(count + 1):
        if i < count and tokens[i].kind != TOKEN_OR:
            continue
        if read_tokens(tokens + start, i - start, era_digits, &reading) < 0:
            return DATE_UNREADABLE
        one = judge(&reading, &found)
        if one < 0 or (again and found >> 9 != again):
            packed[0] = found
            return one if one < 0 else DATE_UNREADABLE
        if start and (found != packed[0] or one == DATE_NONE):
            packed[0] = 0
            return DATE_UNREADABLE
        packed[0] = found
        result = one if one > result or start == 0 else result
        start = i + 1
    return result


cdef int year_in_brackets(Token *tokens, int count, int opening, int era_digits, uint32_t *year) noexcept nogil:
    """Take a year in brackets out of the tokens; their new count, or -1 when it is no year."""
    cdef Reading reading
    cdef uint32_t packed = 0
    cdef int closing = opening + 1, i
    while closing < count and tokens[closing].kind != TOKEN_CLOSE:
        closing += 1
    if closing == count or year[0]:
        return -1
    if read_tokens(tokens + opening + 1, closing - opening - 1, era_digits, &reading) < 0 or reading.next > 1:
        return -1
    if judge(&reading, &packed) < 0 or packed == 0:
        return -1
    year[0] = packed >> 9
    for i in range(closing + 1, count):
        tokens[opening + i - closing - 1] = tokens[i]
    return count - (closing - opening + 1)


cdef inline int era_at(uint32_t packed) noexcept nogil:
    """Place of the era that a date lies in (unknown parts as the first), -1 before 明治."""
    cdef uint32_t day = packed
    cdef int era = 4
    if not day >> 5 & 15:
        day |= 1 << 5
    if not day & 31:
        day |= 1
    while era >= 0 and day < era_begins[era]:
        era -= 1
    return era


cdef int era_alternatives(uint32_t packed, uint32_t *out) noexcept nogil:
    cdef int own = era_at(packed), era, count = 0
    cdef uint32_t year, other
    if own < 0 or not packed:
        return 0
    year = (packed >> 9) - (era_begins[own] >> 9)
    for era in range(5):
        other = packed_date((era_begins[era] >> 9) + year, packed >> 5 & 15, packed & 31)
        if era != own and other >> 9 <= YEAR_MAX and other >> 9 <= era_begins[era + 1] >> 9 and date_exists(other):
            out[count] = other
            count += 1
    return count


cdef inline int digits_apart(uint32_t one, uint32_t other, int digits, bint *transposed) noexcept nogil:
    """How many decimal digits differ; whether it is two neighbours exchanged."""
    cdef int apart = 0, i, last = -2
    cdef uint32_t a, b, before_a = 0, before_b = 0
    transposed[0] = False
    for i in range(digits):
        a, b = one % 10, other % 10
        if a != b:
            apart += 1
            transposed[0] = apart == 2 and last == i - 1 and a == before_b and b == before_a
            last = i
        before_a, before_b = a, b
        one //= 10
        other //= 10
    return apart


cdef int compare_dates(uint32_t one, uint32_t other) noexcept nogil:
    cdef uint32_t alternatives[ERA_ALTERNATIVES_MAX]
    cdef uint32_t month = one >> 5 & 15, day = one & 31, other_month = other >> 5 & 15, other_day = other & 31
    cdef bint transposed_year = False, transposed_rest = False, ignored = False
    cdef int apart, year_apart, era, other_era, i
    if one == 0 or other == 0:
        return DATES_UNKNOWN
    if one == other:
        return DATES_EQUAL
    if one >> 9 == other >> 9 and (not month or not other_month or (month == other_month and (not day or not other_day))):
        return DATES_COMPATIBLE
    for i in range(era_alternatives(one, alternatives)):
        if alternatives[i] == other:
            return DATES_ERA
    for i in range(era_alternatives(other, alternatives)):
        if alternatives[i] == one:
            return DATES_ERA
    if not day or not other_day:
        return DATES_YEAR if month == other_month and day == other_day else DATES_FAR
    if one >> 9 == other >> 9 and month == other_day and day == other_month:
        return DATES_MONTH_DAY
    year_apart = digits_apart(one >> 9, other >> 9, 4, &transposed_year)
    apart = digits_apart(month * 100 + day, other_month * 100 + other_day, 4, &transposed_rest)
    if year_apart + apart == 1:
        return DATES_DIGIT
    if apart == 0:
        era, other_era = era_at(one), era_at(other)
        if era >= 0 and era == other_era and digits_apart(
            (one >> 9) - (era_begins[era] >> 9) + 1, (other >> 9) - (era_begins[era] >> 9) + 1, 2, &ignored
        ) == 1:
            return DATES_DIGIT
        if ignored and era == other_era:
            return DATES_TRANSPOSED
    if (year_apart == 2 and apart == 0 and transposed_year) or (year_apart == 0 and apart == 2 and transposed_rest):
        return DATES_TRANSPOSED
    return DATES_YEAR if apart == 0 else DATES_FAR


def read_date(str text not None, era_digits=EraDigits.IN_ORDER):
    """The date that a text gives, as a DateRead; decimal 0 for an empty text and for one that says "unknown".

    UnreadableDateError, ImpossibleDateError or OutOfEraError for a text that gives none.
    """
    cdef bytes encoded = text.encode("utf-8", "replace")
    cdef uint32_t packed = 0
    cdef int result = parse_date(encoded, <int>min(len(encoded), 1 << 20), int(era_digits), &packed)
    if result == DATE_UNREADABLE:
        raise UnreadableDateError("not a date: write 1965-02-20, 19650220 or 昭和40年2月20日")
    if result == DATE_IMPOSSIBLE:
        raise ImpossibleDateError("no calendar has that day")
    if result == DATE_OUT_OF_ERA:
        raise OutOfEraError("the era has no such year", decimal_date(packed))
    return DateRead(decimal_date(packed), result == DATE_BESIDE_ERA)


def alternatives_by_era(uint32_t decimal):
    """Dates (yyyymmdd) with the same year, month and day in the other eras, where those had them."""
    cdef uint32_t out[ERA_ALTERNATIVES_MAX]
    return [decimal_date(out[i]) for i in range(era_alternatives(packed_from_decimal(decimal), out))]


def nearness(uint32_t one, uint32_t other):
    """How two dates (yyyymmdd, unknown parts 0) compare."""
    return DateNearness(compare_dates(packed_from_decimal(one), packed_from_decimal(other)))
