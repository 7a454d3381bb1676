"""The identity index of a whole register: entries gathered in parts of the buckets, sorted part by part into blocks.

Theory of operation. Entries come in the order of keys and are needed in the order of three other tables. So each thread drops
them into one pile for each part of each table's buckets. A pile that is full (40 KB) goes to a file that has no
name; the piles of a part are read back together, dealt to their buckets, and each bucket is sorted. Memory is two piles at most
for each part and thread, and one part a thread while blocks are made.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from jukinet.core.identity.block cimport IDENTITY_HEADER_BYTES, identity_block_bytes, identity_block_close
from jukinet.core.identity.entries cimport RECORD_ENTRIES_MAX, TABLE_DATE, EntryLayout, PlacedEntry, record_entries
from jukinet.core.records.record cimport ResidentRecord, record_decode
from jukinet.core.store.block cimport BlockView, block_delta, block_record_start, block_status, block_view

import os
import tempfile

from jukinet.core.errors import StoreCorruptError

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int descriptor, const void *memory, size_t length, int64_t offset)
    int close_file "close" (int descriptor)
    ssize_t pread(int descriptor, void *memory, size_t length, int64_t offset)

cdef extern from *:
    """
    #define jukinet_take_place(counter, bytes) __atomic_fetch_add((counter), (bytes), __ATOMIC_RELAXED)
    """
    uint64_t take_place "jukinet_take_place" (uint64_t *counter, uint64_t bytes) noexcept nogil

cdef enum:
    TABLES = 3
    PILE_ENTRIES = 4096
    PILE_BYTES = PILE_ENTRIES * 10
    PART_ENTRIES = 400000           # 4 MB: a part is dealt and sorted within the cache of a processor
    PARTS_MAX = 1024
    PART_BUCKETS_MAX = 60000        # numbers of buckets within a part take 16 bits
    SHORT_LIST = 48

# Entries and their buckets (counted from the part's first), and where full piles went.
ctypedef struct Pile:
    uint64_t *entries
    uint16_t *buckets
    uint32_t used
    uint32_t written_count, written_room
    uint64_t *written


cdef class EntryGather:
    """What the threads of a build share: the layout, the parts, and the file. ``close()`` lets the file go.

    directory: where the file without a name lies. expected_entries: decides how many parts there are.
    """

    cdef readonly EntryLayout layout
    cdef readonly uint32_t parts
    cdef readonly list piles
    cdef uint64_t end
    cdef int descriptor
    cdef bint opened                # a new object's descriptor is 0, which is somebody else's

    def __cinit__(self, EntryLayout layout not None, directory, uint64_t expected_entries):
        cdef uint64_t most = max(layout.view.text_buckets, layout.view.date_buckets)
        cdef uint64_t wanted = max(expected_entries // PART_ENTRIES, (most + PART_BUCKETS_MAX - 1) // PART_BUCKETS_MAX)
        self.layout = layout
        self.parts = <uint32_t>max(1, min(wanted, PARTS_MAX))
        if most // self.parts >= PART_BUCKETS_MAX:
            raise ValueError("a layout has too many buckets")
        self.piles = []
        self.end = 0
        self.descriptor, name = tempfile.mkstemp(dir=directory)
        self.opened = True
        os.unlink(name)

    def __dealloc__(self):
        if self.opened:
            close_file(self.descriptor)

    def piles_for_thread(self):
        """Empty piles for one thread."""
        piles = EntryPiles(self)
        self.piles.append(piles)
        return piles

    cdef uint64_t buckets(self, uint32_t table) noexcept nogil:
        return self.layout.view.date_buckets if table == TABLE_DATE else self.layout.view.text_buckets

    cdef uint32_t part_first(self, uint32_t table, uint32_t part) noexcept nogil:
        """The part's first bucket: the first whose part number is this one."""
        return <uint32_t>((part * self.buckets(table) + self.parts - 1) // self.parts)

    def blocks_of_part(self, uint32_t table, uint32_t part):
        """[(bucket, block), ...] of one part of a table (1 to 3), ascending. All threads must have ended. OSError."""
        cdef uint64_t *entries
        cdef uint16_t *buckets
        cdef uint64_t *dealt = NULL
        cdef uint32_t *ends = NULL
        cdef size_t total = 0, at = 0
        cdef uint32_t first, count, bucket, start, kept, i
        cdef int refusal = 0
        cdef EntryPiles piles
        cdef Pile *pile
        cdef bint memory
        if not 1 <= table <= TABLES or part >= self.parts:
            raise ValueError("no such part")
        first = self.part_first(table, part)
        count = self.part_first(table, part + 1) - first
        for piles in self.piles:
            pile = piles.pile(table, part)
            total += <size_t>pile.written_count * PILE_ENTRIES + pile.used
        if total == 0:
            return []
        entries = <uint64_t *>malloc(total * 8)
        buckets = <uint16_t *>malloc(total * 2)
        dealt = <uint64_t *>malloc(total * 8)
        ends = <uint32_t *>calloc(<size_t>count + 2, sizeof(uint32_t))
        try:
            if entries == NULL or buckets == NULL or dealt == NULL or ends == NULL or total >= 1 << 31:
                raise MemoryError
            for piles in self.piles:
                with nogil:
                    refusal = piles.read_back(table, part, entries, buckets, &at)
                if refusal:
                    raise OSError(refusal, os.strerror(refusal))
            with nogil:
                deal(entries, buckets, total, dealt, ends, count)
                for bucket in range(count):
                    sort_entries(dealt + ends[bucket], ends[bucket + 1] - ends[bucket], entries)
            made = []
            for bucket in range(count):
                start = ends[bucket]
                kept = distinct(dealt + start, ends[bucket + 1] - start)
                if kept:
                    made.append((first + bucket, block_of(table, first + bucket, dealt + start, kept)))
            return made
        finally:
            free(entries)
            free(buckets)
            free(dealt)
            free(ends)

    def close(self):
        """Let the file go; the piles are of no use then."""
        self.piles = []
        if self.opened:
            self.opened = False
            os.close(self.descriptor)


cdef object block_of(uint32_t table, uint32_t bucket, const uint64_t *entries, uint32_t count):
    made = PyBytes_FromStringAndSize(NULL, identity_block_bytes(count))
    cdef unsigned char *out = <unsigned char *>PyBytes_AS_STRING(made)
    with nogil:
        memcpy(out + IDENTITY_HEADER_BYTES, entries, <size_t>count * 8)
        identity_block_close(table, bucket, count, out)
    return made


cdef void deal(
    const uint64_t *entries, const uint16_t *buckets, size_t total, uint64_t *dealt, uint32_t *ends, uint32_t count
) noexcept nogil:
    """Entries by bucket; ends[b] is where bucket b starts afterwards, ends[b + 1] where it ends."""
    cdef size_t i
    cdef uint32_t b
    # Counted two places on, so that dealing turns the starts at b + 1 into the ends of b.
    for i in range(total):
        ends[buckets[i] + 2] += 1
    for b in range(2, count + 2):
        ends[b] += ends[b - 1]
    for i in range(total):
        dealt[ends[buckets[i] + 1]] = entries[i]
        ends[buckets[i] + 1] += 1


cdef void sort_entries(uint64_t *entries, uint32_t count, uint64_t *space) noexcept nogil:
    """Ascending; space has room for as many. A byte at a time from the lowest, without the bytes that are all equal."""
    cdef uint32_t counts[8][256]
    cdef uint32_t i, j, sum, value
    cdef int digit
    cdef uint64_t moved
    cdef uint64_t *source = entries
    cdef uint64_t *target = space
    if count < SHORT_LIST:
        for i in range(1, count):
            moved = entries[i]
            j = i
            while j > 0 and entries[j - 1] > moved:
                entries[j] = entries[j - 1]
                j -= 1
            entries[j] = moved
        return
    memset(counts, 0, sizeof(counts))
    for i in range(count):
        moved = entries[i]
        for digit in range(8):
            counts[digit][moved >> (8 * digit) & 255] += 1
    for digit in range(8):
        if counts[digit][entries[0] >> (8 * digit) & 255] == count:
            continue
        sum = 0
        for i in range(256):
            value = counts[digit][i]
            counts[digit][i] = sum
            sum += value
        for i in range(count):
            moved = source[i]
            target[counts[digit][moved >> (8 * digit) & 255]] = moved
            counts[digit][moved >> (8 * digit) & 255] += 1
        source, target = target, source
    if source != entries:
        memcpy(entries, source, <size_t>count * 8)


cdef uint32_t distinct(uint64_t *entries, uint32_t count) noexcept nogil:
    cdef uint32_t i, kept = 0
    for i in range(count):
        if i == 0 or entries[i] != entries[kept - 1]:
            entries[kept] = entries[i]
            kept += 1
    return kept


cdef class EntryPiles:
    """The piles of one thread."""

    cdef EntryGather gather
    cdef Pile *all

    def __cinit__(self, EntryGather gather not None):
        self.gather = gather
        self.all = <Pile *>calloc(TABLES * gather.parts, sizeof(Pile))
        if self.all == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef size_t i
        if self.all != NULL:
            for i in range(TABLES * self.gather.parts):
                free(self.all[i].entries)
                free(self.all[i].written)
        free(self.all)

    cdef Pile *pile(self, uint32_t table, uint32_t part) noexcept nogil:
        return &self.all[(table - 1) * self.gather.parts + part]

    cdef int put(self, const PlacedEntry *placed) noexcept nogil:
        """0, or the errno of what went wrong."""
        cdef uint64_t buckets = self.gather.buckets(placed.table)
        cdef uint32_t part = <uint32_t>(placed.bucket * <uint64_t>self.gather.parts // buckets)
        cdef Pile *pile = self.pile(placed.table, part)
        cdef int refusal
        if pile.entries == NULL:
            pile.entries = <uint64_t *>malloc(PILE_BYTES)
            if pile.entries == NULL:
                return 12
            pile.buckets = <uint16_t *>(pile.entries + PILE_ENTRIES)
        elif pile.used == PILE_ENTRIES:
            refusal = self.write_out(pile)
            if refusal:
                return refusal
        pile.entries[pile.used] = placed.entry
        pile.buckets[pile.used] = <uint16_t>(placed.bucket - self.gather.part_first(placed.table, part))
        pile.used += 1
        return 0

    cdef int write_out(self, Pile *pile) noexcept nogil:
        cdef uint64_t place
        cdef size_t done = 0
        cdef ssize_t written
        cdef void *memory
        if pile.written_count == pile.written_room:
            memory = realloc(pile.written, (2 * <size_t>pile.written_room + 16) * 8)
            if memory == NULL:
                return 12
            pile.written = <uint64_t *>memory
            pile.written_room = 2 * pile.written_room + 16
        place = take_place(&self.gather.end, PILE_BYTES)
        while done < PILE_BYTES:
            written = pwrite(
                self.gather.descriptor, <const char *>pile.entries + done, PILE_BYTES - done, <int64_t>(place + done))
            if written < 0 and errno == EINTR:
                continue
            if written <= 0:
                return errno if written < 0 else EIO
            done += written
        pile.written[pile.written_count] = place
        pile.written_count += 1
        pile.used = 0
        return 0

    cdef int read_back(
        self, uint32_t table, uint32_t part, uint64_t *entries, uint16_t *buckets, size_t *at
    ) noexcept nogil:
        cdef Pile *pile = self.pile(table, part)
        cdef uint32_t i
        cdef int refusal
        for i in range(pile.written_count):
            refusal = read_all(self.gather.descriptor, entries + at[0], PILE_ENTRIES * 8, pile.written[i])
            if refusal == 0:
                refusal = read_all(
                    self.gather.descriptor, buckets + at[0], PILE_ENTRIES * 2, pile.written[i] + PILE_ENTRIES * 8)
            if refusal:
                return refusal
            at[0] += PILE_ENTRIES
        if pile.used:
            memcpy(entries + at[0], pile.entries, <size_t>pile.used * 8)
            memcpy(buckets + at[0], pile.buckets, <size_t>pile.used * 2)
            at[0] += pile.used
        free(pile.entries)
        pile.entries = NULL
        pile.used = pile.written_count = 0
        return 0

    cdef int put_block(self, const unsigned char *block, uint64_t width) noexcept nogil:
        """0, an errno, or -1 for a record that does not decode."""
        cdef BlockView view
        cdef ResidentRecord record
        cdef PlacedEntry out[RECORD_ENTRIES_MAX]
        cdef uint32_t i, start
        cdef size_t count, at
        cdef uint64_t key
        cdef int refusal
        block_view(block, &view)
        for i in range(view.count):
            start = block_record_start(&view, i)
            if record_decode(
                view.records + start, block_record_start(&view, i + 1) - start, block_status(&view, i), &record
            ) < 0:
                return -1
            key = view.bucket * width + block_delta(&view, i)
            count = record_entries(&self.gather.layout.view, key, &record, out)
            for at in range(count):
                refusal = self.put(&out[at])
                if refusal:
                    return refusal
        return 0

    def add_blocks(self, uint64_t width, const unsigned char[::1] blocks not None, const uint64_t[::1] ends not None):
        """Gather the entries of resident blocks that lie end to end in ``blocks``; ends[i] is where block i ends.

        Releases the GIL for all. StoreCorruptError when a record does not decode, OSError when the file cannot be written.
        """
        cdef Py_ssize_t i
        cdef uint64_t start = 0
        cdef int refusal = 0
        for i in range(ends.shape[0]):
            if ends[i] < start + 2048 or ends[i] > <uint64_t>blocks.shape[0]:
                raise ValueError("the ends of blocks are out of order or out of range")
            start = ends[i]
        start = 0
        with nogil:
            for i in range(ends.shape[0]):
                refusal = self.put_block(&blocks[start], width)
                if refusal:
                    break
                start = ends[i]
        if refusal < 0:
            raise StoreCorruptError("a record of a block does not decode")
        if refusal:
            raise OSError(refusal, os.strerror(refusal))

    def add_block(self, uint64_t width, const unsigned char[::1] block not None):
        """Gather the entries of one resident block. Raises as add_blocks() does."""
        cdef int refusal
        with nogil:
            refusal = self.put_block(&block[0], width)
        if refusal < 0:
            raise StoreCorruptError("a record of a block does not decode")
        if refusal:
            raise OSError(refusal, os.strerror(refusal))


cdef int read_all(int descriptor, void *memory, size_t length, uint64_t place) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t count
    while done < length:
        count = pread(descriptor, <char *>memory + done, length - done, <int64_t>(place + done))
        if count < 0 and errno == EINTR:
            continue
        if count <= 0:
            return errno if count < 0 else EIO
        done += count
    return 0
