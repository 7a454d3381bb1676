"""Finding entries of the resident table for many codes (docs/store-format.md, section 8).

Theory of operation. A code alone would wait four times for memory: directory, block header with the deltas, entry,
record. So codes go through four steps in groups, each step touching what the step before asked for with prefetches and
asking for the next; and five groups are under way at a time, one in each step and one with the consumer. While the consumer
writes texts, the memory of the four groups behind it arrives.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.records.record cimport status_area, status_state
from jukinet.core.store.block cimport (
    BLOCK_ENTRY_BYTES, BlockView, block_has, block_rank, block_record_start, block_status, block_view,
)
from jukinet.core.store.snapshot cimport RegisterView

cdef extern from *:
    """
    #define jukinet_prefetch(address) __builtin_prefetch((address), 0, 2)
    static inline uint64_t jukinet_multiply_high(uint64_t a, uint64_t b) {
        return (uint64_t)(((unsigned __int128)a * b) >> 64);
    }
    """
    void prefetch "jukinet_prefetch" (const void *address) noexcept nogil
    uint64_t multiply_high "jukinet_multiply_high" (uint64_t a, uint64_t b) noexcept nogil

# Prefetches go to the second-level cache: blocks start at page boundaries, so the first lines of all blocks fall into one
# set of the first-level cache and would drive each other out before they are read (docs/decisions.md).

codes_prepare()

# Outcome of each state; states 0 and 8 to 15 do not occur in a whole store.
cdef uint8_t outcome_of_state[16]
memset(outcome_of_state, OUTCOME_UNKNOWN, 16)
outcome_of_state[1] = OUTCOME_CURRENT
outcome_of_state[2] = OUTCOME_DEAD
outcome_of_state[3] = OUTCOME_MOVED_AWAY
outcome_of_state[4] = OUTCOME_REMOVED
outcome_of_state[5] = OUTCOME_CODE_CHANGED
outcome_of_state[6] = OUTCOME_NOT_CONNECTED
outcome_of_state[7] = OUTCOME_EXPIRED

cdef enum:
    STEPS = 5

ctypedef struct Probe:
    const unsigned char *block
    BlockView view
    uint32_t bucket
    uint32_t delta
    uint32_t rank


cdef inline void split_key(const RegisterView *view, uint64_t key, Probe *probe) noexcept nogil:
    """bucket and delta of a key: a multiplication by width's reciprocal, rounded up, is at most one too high."""
    cdef uint64_t bucket = multiply_high(key, view.width_reciprocal)
    if bucket * view.width > key:
        bucket -= 1
    probe.bucket = <uint32_t>bucket
    probe.delta = <uint32_t>(key - bucket * view.width)


cdef inline void start_probe(
    const RegisterView *view, const unsigned char *place, Probe *probe, Entry *entry,
) noexcept nogil:
    cdef uint64_t code, key
    memcpy(&code, place, 8)
    probe.block = NULL
    entry.record = NULL
    entry.record_bytes = 0
    entry.status = 0
    if code >= 100_000_000_000u:
        entry.outcome = OUTCOME_MALFORMED
        return
    key = code // 10
    if code_check_digit(key) != code - key * 10:
        entry.outcome = OUTCOME_BAD_CHECK_DIGIT
        return
    entry.outcome = OUTCOME_UNKNOWN
    split_key(view, key, probe)
    if probe.bucket < view.buckets:
        probe.block = <const unsigned char *>(view.directory + probe.bucket)
        prefetch(probe.block)


cdef inline void find_blocks(const RegisterView *view, Probe *probes, size_t count) noexcept nogil:
    cdef size_t i
    cdef Probe *probe
    for i in range(count):
        probe = &probes[i]
        if probe.block != NULL:
            probe.block = (<const unsigned char **>probe.block)[0]
            if probe.block != NULL:
                prefetch(probe.block)
                prefetch(probe.block + 64)
                if probe.delta > view.late_delta:
                    prefetch(probe.block + 128)


cdef inline bint search_blocks(Probe *probes, size_t count) noexcept nogil:
    """False when a block is not the one that the directory promised."""
    cdef size_t i
    cdef Probe *probe
    for i in range(count):
        probe = &probes[i]
        if probe.block == NULL:
            continue
        block_view(probe.block, &probe.view)
        if probe.view.bucket != probe.bucket:
            return False
        probe.rank = block_rank(&probe.view, probe.delta)
        if block_has(&probe.view, probe.rank, probe.delta):
            prefetch(probe.view.entries + probe.rank * BLOCK_ENTRY_BYTES)
            prefetch(probe.view.entries + probe.rank * BLOCK_ENTRY_BYTES + BLOCK_ENTRY_BYTES + 1)
        else:
            probe.block = NULL
    return True


cdef inline void read_entries(
    const RegisterView *view, const Probe *probes, size_t count, bint records, Entry *entries,
) noexcept nogil:
    cdef size_t i
    cdef uint32_t start
    cdef const Probe *probe
    cdef Entry *entry
    for i in range(count):
        probe = &probes[i]
        if probe.block == NULL:
            continue
        entry = &entries[i]
        entry.status = block_status(&probe.view, probe.rank)
        entry.outcome = outcome_of_state[status_state(entry.status)]
        if tells_of_person(entry.outcome) and not view.area_connected[status_area(entry.status)]:
            entry.outcome = OUTCOME_NOT_CONNECTED
        if records:
            start = block_record_start(&probe.view, probe.rank)
            entry.record = probe.view.records + start
            entry.record_bytes = block_record_start(&probe.view, probe.rank + 1) - start
            prefetch(entry.record)
            prefetch(entry.record + 63)


cdef inline size_t group_rows(size_t group, size_t rows) noexcept nogil:
    cdef size_t first = group * GROUP_ROWS
    return GROUP_ROWS if rows - first > GROUP_ROWS else rows - first


cdef int sweep(
    const RegisterView *view, const unsigned char *codes, size_t start, size_t stop, bint records,
    Consumer consume, void *context,
) noexcept nogil:
    cdef Probe probes[STEPS][GROUP_ROWS]
    cdef Entry entries[STEPS][GROUP_ROWS]
    cdef size_t rows = stop - start, groups = (rows + GROUP_ROWS - 1) // GROUP_ROWS
    cdef size_t turn, group, i
    cdef const unsigned char *place = codes + 8 * start
    cdef int result
    for turn in range(groups + STEPS - 1):
        # The oldest group first, so that its slot is free for the newest.
        if turn >= 4:
            group = turn - 4
            result = consume(context, start + group * GROUP_ROWS, entries[group % STEPS], group_rows(group, rows))
            if result != SWEEP_DONE:
                return result
        if turn >= 3 and turn - 3 < groups:
            group = turn - 3
            read_entries(view, probes[group % STEPS], group_rows(group, rows), records, entries[group % STEPS])
        if turn >= 2 and turn - 2 < groups:
            group = turn - 2
            if not search_blocks(probes[group % STEPS], group_rows(group, rows)):
                return SWEEP_DAMAGED
        if turn >= 1 and turn - 1 < groups:
            group = turn - 1
            find_blocks(view, probes[group % STEPS], group_rows(group, rows))
        if turn < groups:
            for i in range(group_rows(turn, rows)):
                start_probe(view, place, &probes[turn % STEPS][i], &entries[turn % STEPS][i])
                place += 8
    return SWEEP_DONE
