"""What the identity index should hold against what it holds: count and sum of each bucket, the native half of the check."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from jukinet.core.identity.block cimport identity_count, identity_entries
from jukinet.core.identity.changes cimport IdentityChanges
from jukinet.core.identity.entries cimport (
    KEY_MASK, RECORD_ENTRIES_MAX, TABLE_DATE, TABLES_END, EntryLayout, PlacedEntry, fold128, record_entries,
)
from jukinet.core.records.record cimport ResidentRecord, record_decode
from jukinet.core.store.block cimport BlockView, block_delta, block_record_start, block_status, block_view

from jukinet.core.identity.entries import entries_of

cdef enum:
    SKIPPED_MAX = 65535
    RANGES_MAX = 47

# Of one bucket: entries that should be there less those that are, and the difference of their sums.
ctypedef struct Balance:
    uint64_t sum
    int32_t count
    uint32_t watched


cdef class IdentitySurvey:
    """Balances of all buckets. First everything is added (what residents give) and taken (what blocks hold); buckets that do not
    come out even are watched, and a second pass over everything collects their entries alone.
    """

    cdef readonly EntryLayout layout
    cdef Balance *tables[TABLES_END]
    cdef Balance *balances
    cdef size_t places
    cdef readonly uint64_t entries
    cdef IdentityChanges collected
    cdef uint64_t ranges[2 * RANGES_MAX]
    cdef size_t ranges_count

    def __cinit__(self, EntryLayout layout not None, left_out=()):
        """left_out: [first, stop) ranges of keys, at most 47, whose entries are not looked at: loads under way."""
        if len(left_out) > RANGES_MAX:
            raise ValueError("at most one range for each feed")
        for first, stop in left_out:
            self.ranges[2 * self.ranges_count], self.ranges[2 * self.ranges_count + 1] = first, stop
            self.ranges_count += 1
        self.layout = layout
        self.places = 2 * layout.view.text_buckets + layout.view.date_buckets
        self.balances = <Balance *>calloc(self.places, sizeof(Balance))
        if self.balances == NULL:
            raise MemoryError
        self.tables[0] = NULL
        self.tables[1] = self.balances
        self.tables[2] = self.balances + layout.view.text_buckets
        self.tables[3] = self.balances + 2 * layout.view.text_buckets
        self.collected = None

    def __dealloc__(self):
        free(self.balances)

    cdef void note(self, const PlacedEntry *placed, int32_t sign) noexcept nogil:
        cdef Balance *balance = &self.tables[placed.table][placed.bucket]
        cdef uint64_t key = placed.entry & KEY_MASK
        cdef size_t i
        for i in range(self.ranges_count):
            if self.ranges[2 * i] <= key < self.ranges[2 * i + 1]:
                return
        if self.collected is not None:
            if balance.watched:
                self.collected.take(placed, sign)
            return
        balance.count += sign
        balance.sum += fold128(placed.entry ^ 0x9E3779B97F4A7C15u, 0xD6E8FEB86659FD93u) * <uint64_t>sign

    cdef void note_record(self, uint64_t key, const ResidentRecord *record) noexcept nogil:
        cdef PlacedEntry out[RECORD_ENTRIES_MAX]
        cdef size_t i, count = record_entries(&self.layout.view, key, record, out)
        for i in range(count):
            self.note(&out[i], 1)

    def add_block(self, uint64_t width, const unsigned char[::1] block not None, skipped):
        """What the entries of a verified resident block give, but for the deltas in ``skipped`` (ascending)."""
        cdef uint32_t deltas[SKIPPED_MAX]
        cdef uint32_t count = 0, i, j = 0, start
        cdef BlockView view
        cdef ResidentRecord record
        for delta in skipped:
            if count < SKIPPED_MAX:
                deltas[count] = delta
                count += 1
        with nogil:
            block_view(&block[0], &view)
            for i in range(view.count):
                while j < count and deltas[j] < block_delta(&view, i):
                    j += 1
                if j < count and deltas[j] == block_delta(&view, i):
                    continue
                start = block_record_start(&view, i)
                if record_decode(
                    view.records + start, block_record_start(&view, i + 1) - start, block_status(&view, i), &record
                ) >= 0:
                    self.note_record(view.bucket * width + block_delta(&view, i), &record)

    def add_key(self, uint64_t key, records):
        """What the persons of a key with a history give: bytes of records, each entry once."""
        cdef PlacedEntry placed
        for placed.table, placed.bucket, placed.entry in entries_of(self.layout, key, [(1, data) for data in records]):
            self.note(&placed, 1)

    def take_block(self, uint32_t table, uint32_t bucket, const unsigned char[::1] block not None):
        """What a verified block of the index holds."""
        cdef PlacedEntry placed
        cdef uint32_t i
        if not 1 <= table < TABLES_END or bucket >= (
            self.layout.view.date_buckets if table == TABLE_DATE else self.layout.view.text_buckets
        ):
            raise ValueError("no such bucket")
        placed.table, placed.bucket = table, bucket
        with nogil:
            for i in range(identity_count(&block[0])):
                placed.entry = identity_entries(&block[0])[i]
                self.note(&placed, -1)
        if self.collected is None:
            self.entries += identity_count(&block[0])

    def watch(self, size_t buckets_max):
        """Watch buckets that do not come out even, at most so many; the number of all of them. Then add and take again."""
        cdef size_t i, uneven = 0
        for i in range(self.places):
            if self.balances[i].count != 0 or self.balances[i].sum != 0:
                self.balances[i].watched = uneven < buckets_max
                uneven += 1
        self.collected = IdentityChanges(self.layout)
        return uneven

    def found(self):
        """(missing, of nobody) for each table, in the watched buckets, after the second pass."""
        return self.collected.netted()
