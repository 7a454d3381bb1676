# Finding entries: from a group of codes to pointers to their records, with every cache miss of the group under way at once.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from jukinet.core.store.snapshot cimport RegisterView

cdef enum:
    GROUP_ROWS = 64         # 32 to 256 measure alike, 16 is slower
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

ctypedef struct Entry:
    const unsigned char *record     # NULL where the outcome has none
    uint32_t record_bytes
    uint64_t status                 # 0 where there is no entry
    uint8_t outcome

# Whether a row's outcome tells of a person (a record is disclosed or compared).
cdef inline bint tells_of_person(uint8_t outcome) noexcept nogil:
    return outcome <= OUTCOME_REMOVED

# Fills entries[0:count], count <= GROUP_ROWS; codes need no alignment. With records False only status and outcome are
# set. Returns False when a block was not the one wanted (a damaged store): entries are then undefined.
cdef bint gather(
    const RegisterView *view, const unsigned char *codes, size_t count, bint records, Entry *entries,
) noexcept nogil
