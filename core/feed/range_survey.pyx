"""Sums and lists of a prefecture's holdings in ranges of keys, read from the blocks of a snapshot: finer than stored leaves."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from jukinet.core.feed.digest_kernel cimport (
    AREA_NUMBERS, DigestSum, DigestTally, DigestTotals, area_prefecture, entry_hash, is_held, may_be_held, places_of,
    tally_add, tally_add_block, tally_flush,
)
from jukinet.core.records.record cimport ResidentRecord, record_decode, status_area, status_state
from jukinet.core.store.block cimport (
    BlockView, block_bucket, block_delta, block_rank, block_record_start, block_status, block_view,
)
from jukinet.core.store.snapshot cimport Snapshot

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError, StoreError

cdef extern from *:
    """
    static void jukinet_prefetch_columns(const unsigned char *block, int lines) {
        for (int i = 0; i < lines; i++) __builtin_prefetch(block + 64 * i);
    }
    """
    void prefetch_columns "jukinet_prefetch_columns" (const unsigned char *block, int lines) noexcept nogil

cdef enum:
    LINES_AHEAD = 14            # the columns of 60 entries: header, deltas, starts and statuses
    BLOCKS_AHEAD = 3

cdef enum:
    SURVEY_DONE = 0
    SURVEY_DAMAGED = 1
    SURVEY_TOO_MANY = 2
    SURVEY_NO_MEMORY = 3

# One entry of a list as it is sent: 24 bytes.
ctypedef struct ListedEntry:
    uint64_t key
    uint64_t hash[2]

# Where the held entries of a range go: into the sums of a tally, or into a list.
ctypedef struct Survey:
    DigestTally tally
    uint8_t wanted[AREA_NUMBERS]
    bint listing
    ListedEntry *listed
    size_t listed_count, listed_room, listed_max


cdef int take_entry(Survey *survey, uint64_t key, const ResidentRecord *record) noexcept nogil:
    cdef void *memory
    cdef ListedEntry *entry
    if not survey.listing:
        tally_add(&survey.tally, key, record)
        return SURVEY_DONE
    if survey.listed_count == survey.listed_max:
        return SURVEY_TOO_MANY
    if survey.listed_count == survey.listed_room:
        survey.listed_room = 2 * survey.listed_room + 1024
        memory = realloc(survey.listed, survey.listed_room * sizeof(ListedEntry))
        if memory == NULL:
            return SURVEY_NO_MEMORY
        survey.listed = <ListedEntry *>memory
    entry = survey.listed + survey.listed_count
    entry.key = key
    entry_hash(&survey.tally.places, key, record, entry.hash)
    survey.listed_count += 1
    return SURVEY_DONE


cdef int survey_block(
    Survey *survey, const unsigned char *block, uint64_t bucket, uint64_t width, uint64_t first, uint64_t stop
) noexcept nogil:
    cdef BlockView view
    cdef ResidentRecord record
    cdef uint64_t low = bucket * width, key, status
    cdef uint32_t i = 0, start
    cdef int result
    if block_bucket(block) != bucket:
        return SURVEY_DAMAGED
    block_view(block, &view)
    if first > low:
        i = block_rank(&view, <uint32_t>(first - low))
    while i < view.count:
        key = low + block_delta(&view, i)
        if key >= stop:
            break
        status = block_status(&view, i)
        if may_be_held(status_state(status)) and survey.wanted[status_area(status)]:
            start = block_record_start(&view, i)
            if record_decode(view.records + start, block_record_start(&view, i + 1) - start, status, &record) < 0:
                return SURVEY_DAMAGED
            result = take_entry(survey, key, &record) if is_held(&record) else SURVEY_DONE
            if result != SURVEY_DONE:
                return result
        i += 1
    return SURVEY_DONE


cdef int survey_range(Survey *survey, Snapshot snapshot, uint64_t first, uint64_t stop) noexcept nogil:
    """The entries with keys in [first, stop), first < stop <= 10^10."""
    cdef uint64_t width = snapshot.view.width, bucket, last = (stop - 1) // width
    cdef const unsigned char *block
    cdef const unsigned char *ahead
    cdef int result
    for bucket in range(first // width, last + 1):
        if bucket >= snapshot.view.buckets:
            break
        if bucket + BLOCKS_AHEAD <= last and bucket + BLOCKS_AHEAD < snapshot.view.buckets:
            ahead = snapshot.view.directory[bucket + BLOCKS_AHEAD]
            if ahead != NULL:
                prefetch_columns(ahead, LINES_AHEAD)
        block = snapshot.view.directory[bucket]
        if block != NULL:
            result = survey_block(survey, block, bucket, width, first, stop)
            if result != SURVEY_DONE:
                return result
    return SURVEY_DONE


cdef Survey *survey_begin(Snapshot snapshot, uint32_t prefecture, bint listing) except NULL:
    cdef Survey *survey
    cdef uint32_t area
    if snapshot.transaction is None:
        raise StoreError("the snapshot has ended")
    survey = <Survey *>calloc(1, sizeof(Survey))
    if survey == NULL:
        raise MemoryError
    places_of(snapshot.places, &survey.tally.places)
    survey.listing = listing
    for area in range(snapshot.view.areas):
        survey.wanted[area] = area_prefecture(&survey.tally.places, area) == prefecture
    return survey


cdef int check_ranges(const uint64_t[:, ::1] ranges) except -1:
    cdef Py_ssize_t i
    if ranges.shape[1] != 2:
        raise ValueError("ranges are pairs of keys")
    for i in range(ranges.shape[0]):
        if not ranges[i, 0] < ranges[i, 1] <= 10_000_000_000u:
            raise ValueError("a range must have keys and end at 10^10 at the latest")
    return 0


cdef int raise_result(int result) except -1:
    if result == SURVEY_DAMAGED:
        raise StoreCorruptError("a block of the register is damaged; run `jukinet store check`")
    if result == SURVEY_NO_MEMORY:
        raise MemoryError
    return 0


def range_sums(Snapshot snapshot not None, uint32_t prefecture, const uint64_t[:, ::1] ranges not None):
    """The sum of what a prefecture holds in each range: 24 bytes a range (u64 count, 16 bytes).

    ranges: shape (n, 2), first key and the key after the last. Raises ValueError for a range that is none,
    StoreCorruptError for a damaged block.
    """
    cdef Survey *survey
    cdef Py_ssize_t i
    cdef int result = SURVEY_DONE
    cdef bytearray out
    cdef unsigned char *place
    check_ranges(ranges)
    out = bytearray(ranges.shape[0] * sizeof(DigestSum))
    place = out
    survey = survey_begin(snapshot, prefecture, False)
    try:
        with nogil:
            for i in range(ranges.shape[0]):
                memset(&survey.tally.single, 0, sizeof(DigestSum))
                result = survey_range(survey, snapshot, ranges[i, 0], ranges[i, 1])
                if result != SURVEY_DONE:
                    break
                tally_flush(&survey.tally)
                memcpy(place + i * sizeof(DigestSum), &survey.tally.single, sizeof(DigestSum))
        raise_result(result)
        return bytes(out)
    finally:
        free(survey)


def range_entries(
    Snapshot snapshot not None, uint32_t prefecture, const uint64_t[:, ::1] ranges not None, size_t entries_max
):
    """(counts, entries): how many entries each range has that the prefecture holds, and all of them in order, 24 bytes each
    (u64 key, hash of 16 bytes). None when there are more than ``entries_max``. Raises as range_sums does.
    """
    cdef Survey *survey
    cdef Py_ssize_t i
    cdef size_t before
    cdef int result = SURVEY_DONE
    check_ranges(ranges)
    counts = []
    survey = survey_begin(snapshot, prefecture, True)
    survey.listed_max = entries_max
    try:
        for i in range(ranges.shape[0]):
            before = survey.listed_count
            with nogil:
                result = survey_range(survey, snapshot, ranges[i, 0], ranges[i, 1])
            if result == SURVEY_TOO_MANY:
                return None
            raise_result(result)
            counts.append(survey.listed_count - before)
        return counts, (<const unsigned char *>survey.listed)[:survey.listed_count * sizeof(ListedEntry)]
    finally:
        free(survey.listed)
        free(survey)


def add_buckets(DigestTotals totals not None, Snapshot snapshot not None, uint64_t first, uint64_t stop):
    """Add all that is held in buckets [first, stop) to ``totals``; the GIL is released."""
    cdef uint64_t bucket
    cdef bint whole = True
    cdef const unsigned char *block
    if snapshot.transaction is None:
        raise StoreError("the snapshot has ended")
    if stop > snapshot.view.buckets:
        raise ValueError("there are not that many buckets")
    with nogil:
        for bucket in range(first, stop):
            block = snapshot.view.directory[bucket]
            if block == NULL:
                continue
            whole = block_bucket(block) == bucket and tally_add_block(totals.tally, block, snapshot.view.width)
            if not whole:
                break
        tally_flush(totals.tally)
    if not whole:
        raise StoreCorruptError("a block of the register is damaged; run `jukinet store check`")
