# The rows of the tables (tables.py packs the same layouts), draws from them, and days.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.records.record cimport packed_date
from jukinet.server.nation.permutation cimport mix64

cdef enum:
    KIND_MEMBERS_MAX = 8

ctypedef struct NameRow:
    uint32_t offset
    uint8_t text_bytes
    uint8_t kana_bytes
    uint16_t spare

ctypedef struct DrawRow:
    uint32_t threshold
    uint32_t own
    uint32_t other

ctypedef struct RangeRow:
    uint32_t first
    uint32_t count

ctypedef struct TownRow:
    uint16_t area
    uint8_t style
    uint8_t kind

ctypedef struct AreaRow:
    int32_t merger_day
    uint8_t connected
    uint8_t words
    uint16_t spare

ctypedef struct MemberRow:
    uint8_t relation
    uint8_t sex
    uint8_t child
    uint8_t dead

ctypedef struct KindRow:
    MemberRow members[KIND_MEMBERS_MAX]
    uint32_t children

ctypedef struct OriginRow:
    uint32_t alias
    uint32_t two_given

ctypedef struct Tables:
    const unsigned char *texts
    const NameRow *names
    const DrawRow *draws
    const RangeRow *ranges
    const TownRow *towns
    const AreaRow *areas
    const KindRow *kinds
    const OriginRow *origins
    const uint32_t *patterns
    const int32_t *move_days
    const uint32_t *foreign_thresholds
    uint32_t surname_table, town_table, given_table, building_table, origin_table, foreign_table, band_table

# Shares in 2^-32 of everyone they can happen to.
cdef inline uint32_t per_million(uint64_t share) noexcept nogil:
    return <uint32_t>((share << 32) // 1000000)

cdef inline uint64_t drawn(uint64_t draws, uint64_t number) noexcept nogil:
    return mix64(draws + number * <uint64_t>0x9E3779B97F4A7C15)

cdef inline uint32_t upto(uint64_t random, uint32_t count) noexcept nogil:
    """An even draw below count from the upper half of a random word."""
    return <uint32_t>(((random >> 32) * count) >> 32)

cdef inline uint32_t chosen(const Tables *tables, uint32_t table, uint64_t random) noexcept nogil:
    """A weighted draw: the upper half of the random word picks the row, the lower half its side."""
    cdef RangeRow place = tables.ranges[table]
    cdef const DrawRow *row = tables.draws + place.first + upto(random, place.count)
    return row.own if <uint32_t>random <= row.threshold else row.other

cdef inline int64_t days_of_years(int64_t years) noexcept nogil:
    return years * 3652425 // 10000

cdef inline int64_t between(int64_t low, int64_t high, uint32_t random) noexcept nogil:
    """An even draw from low to high, both included; low when they are crossed."""
    return low if high <= low else low + ((<uint64_t>random * <uint64_t>(high - low + 1)) >> 32)

cdef inline uint32_t peaked(uint64_t random) noexcept nogil:
    """The mean of two even draws."""
    return <uint32_t>(((random >> 32) + <uint32_t>random) >> 1)

cdef inline uint32_t date_of_day(int64_t day) noexcept nogil:
    """Packed date of days since 1970 (the civil calendar counted in eras of 400 years from March)."""
    cdef uint32_t shifted = <uint32_t>(day + 719468)
    cdef uint32_t era = shifted // 146097, of_era = shifted % 146097
    cdef uint32_t year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    cdef uint32_t of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef uint32_t month_from_march = (5 * of_year + 2) // 153
    cdef uint32_t month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return packed_date(era * 400 + year_of_era + (month <= 2), month, of_year - (153 * month_from_march + 2) // 5 + 1)
