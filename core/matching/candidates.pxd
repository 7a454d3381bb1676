# Candidates of a group of rows: where they come from, and their comparison (docs/matching.md, sections 2 and 6).

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.identity.probe cimport TextProbe
from jukinet.core.matching.items cimport Asked, Levels
from jukinet.core.matching.model cimport N_EQUAL, N_FOLDED, N_SWAPPED, ModelView
from jukinet.core.store.snapshot cimport IdentityView, RegisterView

cdef enum:
    GROUP = 64                  # rows under way
    EQUAL_ROOM = 64             # keys of one probe by text and date
    LIST_ROOM = 128             # keys of one list that have a near date
    WIDE_ROOM = 256             # keys of a list that is asked for without a date, all of them compared
    LISTED_ROOM = 8192          # keys of a longer one, of which those in the address's municipality are compared
    ELSEWHERE_KEPT = 16         # of the others, compared for all of them
    AREAS_ROOM = 4096           # area numbers are 12 bits
    SCAN_ROOM = 4096            # keys of a scan, of which SCAN_KEPT with the nearest signatures are compared
    SCAN_KEPT = 96
    CANDIDATES_MAX = 1280       # of one row, all steps together
    EARLIER_MAX = 16            # persons of one row whose history is looked at
    CHANGES_MAX = 8             # codes that followed one another, of one person
    STEPS = 3
    SWEEP_KEYS = 4096           # keys of one sweep
    LIST_FILTERS = 2
    SLIP_PROBES = 64            # readings one slip away that are looked up: at most 3 for each kana
    SLIP_LENGTH_MAX = 21        # a longer reading is not looked up so
    SLIP_LENGTH_MIN = 4
    SLIP_ROOM = 64              # people of all of them who are taken
    EXCHANGED_PROBES = 24       # places where a name's or reading's parts may meet; with more of them none is looked up
    CROWD_ROOM = 2048           # of a scan or a list by near dates, placed where more are found than are taken
    NEIGHBOURS_LISTED = 256     # keys of a list of which those in the address's municipality are taken, whatever their date
    NEIGHBOURS_ROOM = 64
    SLIPS_BITS = 4              # bits of a signature that two slips change
    SLIP_BITS = 2
    SLIPS_LENGTH = 6

# How a candidate was come by.
cdef enum:
    BY_KANA = 1
    BY_NAME = 2
    BY_DATE = 4
    BY_EXCHANGED = 8
    BY_SLIP = 32                # the reading is one slip away, the date near
    BY_SWAPPED = 64             # the parts are exchanged, the date near
    BY_NEIGHBOUR = 128          # the text is the same, and the municipality
    BY_ELSEWHERE = 16           # in another municipality, and one of several of whom few are compared

ctypedef struct Candidate:
    uint64_t key
    uint64_t successor          # of a retired code: the key that followed it, plus one; else 0
    Levels levels
    uint8_t by
    uint8_t compared            # 0 not yet; 1 yes; 2 nobody: no person is held under the key
    uint8_t earlier             # the levels are those of an earlier record
    uint8_t wants_history

# One row under way.
ctypedef struct Row:
    Asked asked
    uint32_t count              # candidates
    uint8_t open                # not answered yet
    uint8_t more                # candidates were left out among those of the same name
    uint32_t elsewhere          # people of the same name in other municipalities, of whom ELSEWHERE_KEPT stand for all
    Candidate *candidates       # CANDIDATES_MAX of them

# A group under way, and memory for its steps.
ctypedef struct Gathering:
    const ModelView *model
    Row *rows                   # GROUP of them
    TextProbe probes[2 * GROUP] # of the reading and of the name, in turn
    uint64_t *keys              # LISTED_ROOM of one question to the index
    uint64_t *codes             # SWEEP_KEYS of one sweep
    uint32_t *notes             # LISTED_ROOM dates, signatures or places
    uint32_t *owners            # SWEEP_KEYS, row << 16 | place
    uint64_t compared           # records read and compared
    uint64_t placed             # people of whom only the area was looked at
    uint16_t municipalities[AREAS_ROOM]     # by area number, as folded addresses name them; 0: not known
    uint8_t prefectures[AREAS_ROOM]

cdef inline bint whole_name(uint8_t level) noexcept nogil:
    """The level of a text that an equal hash leads to."""
    return level == N_EQUAL or level == N_FOLDED or level == N_SWAPPED

cdef inline bint agrees_with_index(const Candidate *candidate) noexcept nogil:
    """Whether the record compared has the text that the index led by."""
    return (
        candidate.by & (BY_KANA | BY_NAME) == 0 or (candidate.by & BY_KANA and whole_name(candidate.levels.kana))
        or (candidate.by & BY_NAME and whole_name(candidate.levels.name)))

# Where a chain of codes that followed one another leads: the key, compared with the row's question if it shows a person.
ctypedef struct Followed:
    const ModelView *model
    const RegisterView *view
    const Asked *asked
    Levels levels
    uint64_t successor          # as in Candidate
    bint person

# Looks at the entry of a key. False: the store is damaged.
cdef bint follow(Followed *followed, uint64_t key) noexcept nogil
# Memory; False when there is none, and nothing is to be freed.
cdef bint gathering_prepare(Gathering *work, const ModelView *model) noexcept nogil
cdef void gathering_free(Gathering *work) noexcept nogil
# Candidates of one step (from 0) for all open rows of the group, compared. wanted: the history of some is to be looked at.
# False: the store is damaged.
cdef bint gather(
    Gathering *work, const RegisterView *view, const IdentityView *identity, int step, size_t count, bint *wanted
) noexcept nogil
