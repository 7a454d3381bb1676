# What a row is answered, from its candidates (docs/matching.md, sections 4 and 5).

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.matching.candidates cimport Candidate, Row
from jukinet.core.matching.model cimport ModelView

cdef enum:
    LEVELS_ROW = 5
    HITS_MAX = 64               # limits.SEARCH_HITS_MAX
    AREAS_KNOWN = 64

cdef enum:
    FOUND_ONE = 1
    FOUND_SEVERAL = 2
    FOUND_TOO_MANY = 3
    FOUND_NONE = 4
    FOUND_NONE_NOT_CONNECTED = 5
    FOUND_TOO_FEW_ITEMS = 6
    FOUND_BAD_NAME = 7
    FOUND_BAD_KANA = 8
    FOUND_BAD_ADDRESS = 11

# The columns of the answers.
ctypedef struct Told:
    uint8_t *statuses
    uint64_t *keys
    uint8_t *grades
    float *probabilities
    float *margins
    uint8_t *levels
    uint16_t *candidates

# Where the hits of a SEARCH go: cap places a row.
ctypedef struct Searched:
    size_t cap
    uint8_t *found
    uint64_t *keys
    uint8_t *grades
    float *probabilities
    uint8_t *levels

ctypedef struct Judging:
    const ModelView *model
    double match_threshold
    double candidate_threshold
    double margin_min
    Told told
    uint32_t not_connected[AREAS_KNOWN]     # municipalities that are not connected
    int not_connected_count
    bint not_all_known                      # one of them is none that addresses fold to

cdef void tell_nothing(Judging *judging, size_t at, Row *row, uint8_t status) noexcept nogil
# Weighs an open row's candidates; answers it when one is sure enough, or after the last step (from 0).
cdef void judge(Judging *judging, Row *row, size_t at, int step) noexcept nogil
# Answers a row of a SEARCH with the candidates that agree.
cdef void tell_hits(Judging *judging, Row *row, size_t at, int step, const Searched *told) noexcept nogil
