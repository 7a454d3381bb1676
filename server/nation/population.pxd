# One resident of a synthetic nation from its number: a pure function of seed, size, date and the tables (tables.py).

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.records.record cimport ResidentRecord
from jukinet.server.nation.permutation cimport Permutation

cdef enum:
    TEXT_ROOM_BYTES = 1152      # scratch that the texts of one resident need
    KIND_MEMBERS_MAX = 8
    GROUP_MEMBERS = 16
    PATTERNS = 1024

# Rows of the tables; tables.py packs the same layouts.
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

# What all members of a household share.
ctypedef struct Household:
    uint64_t draws              # every draw of the household is a mix of this and the draw's own number
    uint32_t kind
    uint32_t band               # five-year age group of the reference member
    int64_t reference_days      # age of the reference member
    uint32_t town               # row of the towns table
    uint32_t family             # row of the names table
    uint32_t alias_family       # row of the names table; used when aliased
    int32_t origin              # row of the origins table; -1: Japanese
    bint aliased
    bint away                   # moved abroad as a whole
    int64_t away_day
    int64_t move_day            # last move of the household; NEVER (far in the past) when it did not move

# One resident before texts. Days count from 1970-01-01.
ctypedef struct Life:
    Household household
    uint64_t draws
    uint8_t state, reason, sex
    uint32_t place              # member of the household
    int64_t birth_day, change_day, registered_day
    int64_t code_day            # day on which the code was changed; 0: never
    uint32_t birth_date         # packed, perhaps partly unknown
    uint16_t update_number

cdef class Population:
    cdef Permutation permutation
    cdef Tables tables
    cdef uint64_t household_seed, member_seed, pattern_seed, retired_seed
    cdef readonly uint64_t seed, residents, retired
    cdef int64_t nation_day
    cdef object keep

    cdef int set_tables(self, tables) except -1
    cdef void live(self, uint64_t number, Life *life) noexcept nogil
    cdef void forget_birth(self, Life *life, int64_t days) noexcept nogil
    cdef void choose_state(self, Life *life, int64_t days) noexcept nogil
    cdef void choose_change(self, Life *life) noexcept nogil
    cdef void correct(self, Life *life, uint64_t random, uint32_t when) noexcept nogil
    cdef void choose_code_day(self, Life *life, uint64_t number) noexcept nogil
    cdef int64_t registration(self, const Life *life, int64_t day) noexcept nogil
    cdef void retire(self, uint64_t number, ResidentRecord *record) noexcept nogil
    cdef void write_texts(self, Life *life, ResidentRecord *record, unsigned char *room) noexcept nogil
    # Fills record; its texts point into room (TEXT_ROOM_BYTES). number is below residents + retired.
    cdef void resident(self, uint64_t number, uint64_t key, ResidentRecord *record, unsigned char *room) noexcept nogil
