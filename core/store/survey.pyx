"""Counting and verifying blocks one after another: the native half of the offline check."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.feed.digest_kernel cimport DigestTotals, tally_add
from jukinet.core.index.gather cimport OUTCOME_CODE_CHANGED, OUTCOME_EXPIRED, OUTCOME_NOT_CONNECTED, SWEEP_DONE, Entry, sweep
from jukinet.core.records.record cimport (
    STATE_CURRENT, STATE_RETIRED, ResidentRecord, record_decode, status_state,
)
from jukinet.core.store.block cimport (
    FAULT_NONE, BlockFault, BlockView, block_delta, block_record_start, block_status, block_verify, block_view,
)
from jukinet.core.store.snapshot cimport PlaceTables, Snapshot

from jukinet.core.store.block import FAULTS
from jukinet.core.vocabulary import State

codes_prepare()

cdef enum:
    PAGE_BYTES = 4096
    PAGE_HEADER_BYTES = 16
    SUCCESSORS_MAX = 1 << 28

cdef uint64_t STATED = <uint64_t>1 << 63      # of a successor: no notified code change told of it


cdef int keep_outcomes(void *context, size_t row, const Entry *entries, size_t count) noexcept nogil:
    cdef size_t i
    for i in range(count):
        (<unsigned char *>context)[row + i] = entries[i].outcome
    return SWEEP_DONE


cdef class BlockSurvey:
    """Totals over all blocks, the digests of all holdings, and the successors that retired codes name (8 bytes each), to be
    looked up at the end.
    """

    cdef readonly DigestTotals digests
    cdef readonly uint64_t width, blocks, entries, residents, retired, block_bytes, pages
    cdef readonly bint wide
    cdef uint32_t areas, towns
    cdef uint64_t states[16]
    cdef uint64_t *successors
    cdef size_t successors_count, successors_room

    def __cinit__(self, uint64_t width, bint wide, PlaceTables places not None):
        self.width, self.wide, self.areas, self.towns = width, wide, places.areas_count, places.towns_count
        self.digests = DigestTotals(places)
        memset(self.states, 0, sizeof(self.states))

    def __dealloc__(self):
        free(self.successors)

    def add(self, uint64_t bucket, const unsigned char[::1] block not None):
        """Verify one block and count it. None, or what is wrong with it in words; a damaged block is not counted."""
        cdef BlockFault fault
        cdef bint remembered
        if bucket > 0xFFFFFFFF or block.shape[0] == 0:
            return "the bucket number or the block's length is impossible"
        with nogil:
            fault = block_verify(
                &block[0], <size_t>block.shape[0], <uint32_t>bucket, self.width, self.wide, self.areas, self.towns
            )
            if fault == FAULT_NONE:
                remembered = self._count(&block[0])
        if fault != FAULT_NONE:
            return FAULTS[fault]
        if not remembered:
            raise MemoryError
        self.blocks += 1
        self.block_bytes += block.shape[0]
        self.pages += (block.shape[0] + PAGE_HEADER_BYTES + PAGE_BYTES - 1) // PAGE_BYTES
        return None

    cdef bint _count(self, const unsigned char *block) noexcept nogil:
        cdef BlockView view
        cdef ResidentRecord record
        cdef uint32_t i, state, start
        cdef void *memory
        block_view(block, &view)
        self.entries += view.count
        for i in range(view.count):
            state = status_state(block_status(&view, i))
            self.states[state] += 1
            self.residents += state < STATE_RETIRED
            if state != STATE_RETIRED and state != STATE_CURRENT:
                continue
            start = block_record_start(&view, i)
            record_decode(
                view.records + start, block_record_start(&view, i + 1) - start, block_status(&view, i), &record
            )
            tally_add(self.digests.tally, view.bucket * self.width + block_delta(&view, i), &record)
            if state == STATE_CURRENT:
                continue
            self.retired += 1
            if record.successor_key == 0:
                continue
            if self.successors_count == self.successors_room:
                if self.successors_room >= SUCCESSORS_MAX:
                    return False
                self.successors_room = 2 * self.successors_room + 1024
                memory = realloc(self.successors, self.successors_room * sizeof(uint64_t))
                if memory == NULL:
                    return False
                self.successors = <uint64_t *>memory
            self.successors[self.successors_count] = record.successor_key - 1 | (0 if record.notified else STATED)
            self.successors_count += 1
        return True

    @property
    def by_state(self):
        """Entries of each state, by its name in lower case."""
        return {state.name.lower(): self.states[<int>state] for state in State}

    def dangling_successors(self, Snapshot snapshot not None):
        """(buckets, awaited) of successors that are not entries with a person or retired codes themselves (a chain).

        awaited: how many were told of by no notified code change, which would have brought the successor with it: these
        are not among the buckets. A load may state a retired code before anybody has stated what it leads to.
        """
        cdef size_t i, awaited = 0
        cdef uint64_t key
        cdef list buckets = []
        cdef int result
        cdef uint64_t *codes = <uint64_t *>malloc(self.successors_count * sizeof(uint64_t) + 1)
        cdef unsigned char *outcomes = <unsigned char *>malloc(self.successors_count + 1)
        try:
            if codes == NULL or outcomes == NULL:
                raise MemoryError
            for i in range(self.successors_count):
                key = self.successors[i] & ~STATED
                codes[i] = key * 10 + code_check_digit(key)
            with nogil:
                result = sweep(
                    &snapshot.view, <const unsigned char *>codes, 0, self.successors_count, False, keep_outcomes, outcomes
                )
            # A sweep that found damage stops; the damage itself was found before.
            if result != SWEEP_DONE:
                return buckets, awaited
            for i in range(self.successors_count):
                if (outcomes[i] <= OUTCOME_CODE_CHANGED or outcomes[i] == OUTCOME_EXPIRED
                        or outcomes[i] == OUTCOME_NOT_CONNECTED):
                    continue
                if self.successors[i] & STATED:
                    awaited += 1
                else:
                    buckets.append(self.successors[i] // self.width)
            return buckets, awaited
        finally:
            free(codes)
            free(outcomes)
