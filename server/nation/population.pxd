# One resident of a synthetic nation from its number: a pure function of seed, size, date and the tables (tables.py).

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.records.record cimport ResidentRecord
from jukinet.server.nation.draws cimport Tables
from jukinet.server.nation.permutation cimport Permutation

cdef enum:
    TEXT_ROOM_BYTES = 1152      # scratch that the texts of one resident need
    GROUP_MEMBERS = 16
    PATTERNS = 1024

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
    cdef unsigned char *write_rest(self, uint32_t place, uint64_t draws, unsigned char *rest) noexcept nogil
    cdef uint32_t town_of(self, uint64_t number) noexcept nogil
    # Fills record; its texts point into room (TEXT_ROOM_BYTES). number is below residents + retired.
    cdef void resident(self, uint64_t number, uint64_t key, ResidentRecord *record, unsigned char *room) noexcept nogil
