"""One range of keys at a time: the numbers whose keys fall in it, sorted, and the blocks that hold their entries.

An entry waiting to be written is one word: its key less the range's first key in the upper 36 bits, its number in the lower
28. A pass over all numbers finds the entries of one range, so that memory does not grow with the nation.
"""

from cpython.buffer cimport PyBUF_CONTIG, PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from jukinet.core.records.record cimport ResidentRecord, record_encode, status_encode
from jukinet.core.store.block cimport block_bytes, block_encode
from jukinet.server.nation.permutation cimport Permutation, key_of_number
from jukinet.server.nation.population cimport TEXT_ROOM_BYTES, Population

from jukinet.core.errors import RecordFormatError

cdef enum:
    NUMBER_BITS = 28
    RADIX_BITS = 11
    RECORD_ROOM_BYTES = 1100
    BLOCK_ENTRIES_MAX = 2048    # entries of one bucket that the kernel makes room for; 64 are expected
    STATES = 8

NUMBERS_MAX = 1 << NUMBER_BITS
SPAN_BITS_MAX = 64 - NUMBER_BITS


cdef class View:
    """A C-contiguous buffer of items of a fixed size, held while a kernel works on it."""

    cdef Py_buffer buffer
    cdef bint held

    def __cinit__(self, source, itemsize: int, writable: bool):
        self.held = False
        PyObject_GetBuffer(source, &self.buffer, PyBUF_CONTIG if writable else PyBUF_CONTIG_RO)
        self.held = True
        if self.buffer.itemsize != itemsize:
            raise ValueError(f"the buffer's items must have {itemsize} bytes")

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)

    cdef Py_ssize_t count(self):
        return self.buffer.len // self.buffer.itemsize


cdef int64_t collect_range(
    Population population, uint64_t first, uint64_t last, uint64_t low, uint64_t span, uint64_t *out, int64_t room
) noexcept nogil:
    """Words of the numbers first to last whose keys are in [low, low + span); -1 when there is no room for them."""
    cdef uint64_t number, offset
    cdef int64_t count = 0
    cdef Permutation permutation = population.permutation       # a copy that no store to out can change
    for number in range(first, last):
        offset = key_of_number(&permutation, number) - low
        # Written always and counted only when inside: one range in many is hit, but never predictably.
        if count >= room:
            return -1
        out[count] = offset << NUMBER_BITS | number
        count += offset < span
    return count


cdef void sort_words(uint64_t *words, uint64_t *scratch, int64_t count, int bits) noexcept nogil:
    """Radix sort by the upper part; bits is the width of the largest offset. The result stands in words."""
    cdef uint32_t counts[1 << RADIX_BITS]
    cdef uint64_t *source = words
    cdef uint64_t *target = scratch
    cdef uint64_t *spare
    cdef int shift = NUMBER_BITS, passes = (bits + RADIX_BITS - 1) // RADIX_BITS
    cdef int64_t i
    cdef uint32_t total, digit, had
    if passes & 1:
        passes += 1         # an even number of passes ends where it began
    for _ in range(passes):
        memset(counts, 0, sizeof(counts))
        for i in range(count):
            counts[(source[i] >> shift) & ((1 << RADIX_BITS) - 1)] += 1
        total = 0
        for digit in range(1 << RADIX_BITS):
            had = counts[digit]
            counts[digit] = total
            total += had
        for i in range(count):
            digit = (source[i] >> shift) & ((1 << RADIX_BITS) - 1)
            target[counts[digit]] = source[i]
            counts[digit] += 1
        spare = source
        source = target
        target = spare
        shift += RADIX_BITS


def collect(population: Population, first: int, last: int, low: int, span: int, words: object, filled: int) -> int:
    """Append the words of numbers first to last with keys in [low, low + span) to words[filled:]; returns the new count.

    One item of words stays free behind the last. ValueError when words (writable, 8-byte items) has too little room.
    """
    cdef View view = View(words, 8, True)
    cdef uint64_t start = first, stop = last, from_key = low, keys = span
    cdef int64_t used = filled, found, room = view.count() - used
    if not 0 <= first <= last <= population.residents + population.retired or last > NUMBERS_MAX:
        raise ValueError("numbers must be below residents + retired")
    if span > 1 << SPAN_BITS_MAX or not 0 <= filled <= view.count():
        raise ValueError("the range is too wide or the buffer too short")
    with nogil:
        found = collect_range(
            population, start, stop, from_key, keys, <uint64_t *>view.buffer.buf + used, room)
    if found < 0:
        raise ValueError("the buffer is too short for the range")
    return filled + found


def sort(words: object, scratch: object, count: int, span: int) -> None:
    """Sort words[:count] by key in place; scratch holds as many items."""
    cdef View view = View(words, 8, True), spare = View(scratch, 8, True)
    cdef int bits = max(1, (span - 1).bit_length())
    cdef int64_t items = count
    if not 0 <= count <= min(view.count(), spare.count()):
        raise ValueError("count exceeds a buffer")
    with nogil:
        sort_words(<uint64_t *>view.buffer.buf, <uint64_t *>spare.buffer.buf, items, bits)


ctypedef struct Workspace:
    uint32_t deltas[BLOCK_ENTRIES_MAX]
    uint64_t statuses[BLOCK_ENTRIES_MAX]
    uint32_t record_ends[BLOCK_ENTRIES_MAX]
    unsigned char room[TEXT_ROOM_BYTES]
    unsigned char records[BLOCK_ENTRIES_MAX * 128 + RECORD_ROOM_BYTES]

cdef enum:
    AREA_NUMBERS = 4096
    FAULT_NONE = 0
    FAULT_RECORD = 1            # record_encode refused an entry
    FAULT_BLOCK = 2             # more entries or bytes than a block holds
    FAULT_ROOM = 3              # the output has no room for even one block


cdef int64_t bucket_end(const uint64_t *words, int64_t start, int64_t stop, uint64_t last_offset) noexcept nogil:
    """The first word from start on whose offset is not below last_offset."""
    cdef int64_t place = start
    while place < stop and words[place] >> NUMBER_BITS < last_offset:
        place += 1
    return place


cdef int64_t encode_bucket(
    Population population, const uint64_t *words, int64_t count, uint64_t low, uint64_t bucket_key,
    const unsigned char *wanted, Workspace *space, uint64_t *states
) noexcept nogil:
    """Entries of one bucket into the workspace; how many, or a fault with its sign turned."""
    cdef ResidentRecord record
    cdef uint64_t key
    cdef uint32_t end = 0
    cdef int written
    cdef int64_t i, kept = 0
    for i in range(count):
        key = low + (words[i] >> NUMBER_BITS)
        population.resident(words[i] & ((<uint64_t>1 << NUMBER_BITS) - 1), key, &record, space.room)
        if wanted != NULL and not wanted[record.area]:
            continue
        if kept == BLOCK_ENTRIES_MAX or end > BLOCK_ENTRIES_MAX * 128:
            return -FAULT_BLOCK
        written = record_encode(&record, space.records + end)
        if written < 0:
            return -FAULT_RECORD
        end += <uint32_t>written
        space.deltas[kept] = <uint32_t>(key - bucket_key)
        space.statuses[kept] = status_encode(&record)
        space.record_ends[kept] = end
        states[record.state] += 1
        kept += 1
    return kept


def encode(
    population: Population, words: object, start: int, stop: int, low: int, width: int, wide: bool, out: object,
    buckets: object, ends: object, states: object, wanted: object = None,
) -> tuple[int, int]:
    """Blocks of words[start:stop], whole buckets each, one after another into out until it is full.

    low is the range's first key. buckets (u32) and ends (u64) receive each block's bucket and where it ends in out; states
    (u64[8]) is increased by the entries of each state. wanted: 4,096 bytes, 1 for each area whose entries are to be made; None
    makes all. Returns the next word to encode and the number of blocks.
    """
    cdef View word_view = View(words, 8, False), out_view = View(out, 1, True)
    cdef View bucket_view = View(buckets, 4, True), end_view = View(ends, 8, True), state_view = View(states, 8, True)
    cdef const uint64_t *entries = <const uint64_t *>word_view.buffer.buf
    cdef unsigned char *target = <unsigned char *>out_view.buffer.buf
    cdef uint32_t *bucket_out = <uint32_t *>bucket_view.buffer.buf
    cdef uint64_t *end_out = <uint64_t *>end_view.buffer.buf
    cdef uint64_t *state_out = <uint64_t *>state_view.buffer.buf
    cdef int64_t place = start, last = stop, following
    cdef int64_t blocks = 0, blocks_max = min(bucket_view.count(), end_view.count())
    cdef uint64_t low_key = low, bucket_width = width, bucket, written = 0, room = out_view.count(), needed
    cdef bint wide_deltas = wide
    cdef int fault = FAULT_NONE
    cdef int64_t kept, most
    cdef Workspace *space
    cdef const unsigned char *wanted_areas = NULL
    cdef View wanted_view
    if wanted is not None:
        wanted_view = View(wanted, 1, False)
        if wanted_view.count() != AREA_NUMBERS:
            raise ValueError("wanted areas are 4,096 bytes")
        wanted_areas = <const unsigned char *>wanted_view.buffer.buf
    if not 0 <= start <= stop <= word_view.count() or state_view.count() != STATES or width < 1:
        raise ValueError("start, stop, width or the states' buffer is out of range")
    space = <Workspace *>malloc(sizeof(Workspace))
    if space == NULL:
        raise MemoryError
    with nogil:
        while place < last and blocks < blocks_max:
            bucket = (low_key + (entries[place] >> NUMBER_BITS)) // bucket_width
            following = bucket_end(entries, place, last, (bucket + 1) * bucket_width - low_key)
            # Of a prefecture alone a bucket may have far more entries than are made: its width is that of those.
            most = following - place if following - place < BLOCK_ENTRIES_MAX else BLOCK_ENTRIES_MAX
            # Room for the records at their longest usual size; a longer block ends this output.
            if written + block_bytes(most, most * 200, wide_deltas) > room:
                break
            kept = encode_bucket(
                population, entries + place, following - place, low_key, bucket * bucket_width, wanted_areas, space,
                state_out)
            if kept < 0:
                fault = <int>-kept
                break
            if kept == 0:
                place = following
                continue
            needed = block_bytes(kept, space.record_ends[kept - 1], wide_deltas)
            if written + needed > room:
                fault = FAULT_ROOM
                break
            needed = block_encode(
                <uint32_t>bucket, kept, wide_deltas, space.deltas, space.statuses, space.record_ends,
                space.records, target + written)
            if needed == 0:
                fault = FAULT_BLOCK
                break
            written += needed
            bucket_out[blocks] = <uint32_t>bucket
            end_out[blocks] = written
            blocks += 1
            place = following
    free(space)
    if fault == FAULT_RECORD:
        raise RecordFormatError("a generated entry does not fit the record codec")
    if fault == FAULT_BLOCK:
        raise RecordFormatError("a bucket holds more than a block can")
    if fault == FAULT_ROOM or (blocks == 0 and place < last):
        raise ValueError("the output buffer is too short for one block")
    return place, blocks
