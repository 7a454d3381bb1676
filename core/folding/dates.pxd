# Dates as people write them, and dates that are near one another (docs/folding.md, section 4). Packed dates are those of
# docs/store-format.md, section 4: year << 9 | month << 5 | day, unknown parts 0.

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    DATE_READ = 0            # read; parts may be unknown
    DATE_BESIDE_ERA = 1      # read; the era had ended or not begun on that day of its last or first year
    DATE_NONE = 2            # nothing there, or wholly unknown: packed is 0
    DATE_UNREADABLE = -1     # no form of date that is known, or one that can be read in two ways
    DATE_IMPOSSIBLE = -2     # no calendar has that day
    DATE_OUT_OF_ERA = -3     # the era never had that year; packed is the date that would follow from it

cdef enum:
    ERA_ALTERNATIVES_MAX = 5

cdef enum:
    DATES_EQUAL = 0
    DATES_COMPATIBLE = 1     # equal as far as both are known, and one knows less
    DATES_ERA = 2            # same year of another era, same month and day
    DATES_MONTH_DAY = 3      # month and day exchanged
    DATES_DIGIT = 4          # one digit of the eight, or of the era's year, differs
    DATES_TRANSPOSED = 5     # two neighbouring digits of year, month or day exchanged
    DATES_YEAR = 6           # same month and day, other year
    DATES_FAR = 7            # none of these
    DATES_UNKNOWN = 8        # one of them is wholly unknown

# Reads a date. era_digits: 0, a first digit of seven is 1 明治 2 大正 3 昭和 4 平成 5 令和; 1, it is 1, 3, 5, 7, 9.
cdef int parse_date(const uint8_t *text, int length, int era_digits, uint32_t *packed) noexcept nogil
# Whether a calendar has the date, as far as it is known: no day without month, no month without year.
cdef bint date_exists(uint32_t packed) noexcept nogil
# The dates with the same year, month and day in the other eras, where those had them; their count.
cdef int era_alternatives(uint32_t packed, uint32_t *out) noexcept nogil
# How two dates compare: the first of DATES_ that holds, in the order of their numbers.
cdef int compare_dates(uint32_t one, uint32_t other) noexcept nogil
