# Finding entries: from codes to pointers to their records, with the memory of several groups of rows under way at once.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from jukinet.core.store.snapshot cimport RegisterView

cdef enum:
    GROUP_ROWS = 32         # rows of one group; five groups are under way at a time
    OUTCOME_CURRENT = 1
    OUTCOME_CHANGED = 2
    OUTCOME_DEAD = 3
    OUTCOME_MOVED_AWAY = 4
    OUTCOME_REMOVED = 5
    OUTCOME_CODE_CHANGED = 6
    OUTCOME_EXPIRED = 7
    OUTCOME_NOT_CONNECTED = 8
    OUTCOME_UNKNOWN = 9
    OUTCOME_BAD_CHECK_DIGIT = 10
    OUTCOME_MALFORMED = 11

# What a sweep ends with.
cdef enum:
    SWEEP_DONE = 0
    SWEEP_DAMAGED = 1       # a block or record contradicts itself
    SWEEP_NO_MEMORY = -1

ctypedef struct Entry:
    const unsigned char *record     # NULL where the outcome has none
    uint32_t record_bytes
    uint64_t status                 # 0 where there is no entry
    uint8_t outcome

# Takes one group's entries, rows in order: count <= GROUP_ROWS rows from first_row on. SWEEP_DONE, or why to stop.
ctypedef int (*Consumer)(void *context, size_t first_row, const Entry *entries, size_t count) noexcept nogil

# Whether a row's outcome tells of a person (a record is disclosed or compared).
cdef inline bint tells_of_person(uint8_t outcome) noexcept nogil:
    return outcome <= OUTCOME_REMOVED

# Finds rows [start, stop) of codes (u64, no alignment needed) and gives them to consume. With records False only status
# and outcome of an entry are set.
cdef int sweep(
    const RegisterView *view, const unsigned char *codes, size_t start, size_t stop, bint records,
    Consumer consume, void *context,
) noexcept nogil
