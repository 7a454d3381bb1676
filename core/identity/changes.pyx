"""What a transaction changes in the identity index: collected, netted, and merged into the blocks before the commit."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcpy

from jukinet.core.identity.block cimport (
    IDENTITY_HEADER_BYTES, identity_block_bytes, identity_block_close, identity_block_whole, identity_count,
    identity_entries,
)
from jukinet.core.identity.entries cimport KEYS, RECORD_ENTRIES_MAX, EntryLayout, PlacedEntry, record_entries
from jukinet.core.records.record cimport ResidentRecord, record_decode, status_area
from jukinet.core.store.block cimport (
    BlockView, block_delta, block_record_start, block_status, block_usable, block_view,
)

import struct

from jukinet.core.errors import RecordFormatError, StoreCorruptError, StoreError

_NUMBER = struct.Struct("<Q")

cdef enum:
    CHANGES_MAX = 1 << 28
    TABLES_END = 4                  # tables are 1 to 3
    SORT_BY_BUCKET_MIN = 1024       # fewer changes are quicker sorted at once
    SORT_IN_PLACE_MAX = 24


cdef int compare_changes(const void *one, const void *other) noexcept nogil:
    cdef const PlacedEntry *a = &(<const EntryChange *>one).placed
    cdef const PlacedEntry *b = &(<const EntryChange *>other).placed
    if a.table != b.table:
        return -1 if a.table < b.table else 1
    if a.bucket != b.bucket:
        return -1 if a.bucket < b.bucket else 1
    if a.entry != b.entry:
        return -1 if a.entry < b.entry else 1
    return 0


cdef void sort_few(EntryChange *changes, size_t count) noexcept nogil:
    """Insertion for what a bucket usually gets; qsort for more."""
    cdef size_t i, j
    cdef EntryChange moved
    if count > SORT_IN_PLACE_MAX:
        qsort(changes, count, sizeof(EntryChange), compare_changes)
        return
    for i in range(1, count):
        moved = changes[i]
        j = i
        while j and changes[j - 1].placed.entry > moved.placed.entry:
            changes[j] = changes[j - 1]
            j -= 1
        changes[j] = moved


cdef bint sort_by_bucket(EntryChange *changes, size_t count) noexcept nogil:
    """Sort by counting buckets, then each bucket: a fifth of qsort's time for millions. False: nothing was done."""
    cdef size_t starts[TABLES_END + 1]
    cdef size_t i, slot, slots = 0, sum_before = 0, here
    cdef size_t *ends
    cdef EntryChange *sorted_changes
    if count < SORT_BY_BUCKET_MIN:
        return False
    for i in range(TABLES_END + 1):
        starts[i] = 0
    for i in range(count):
        if changes[i].placed.table >= TABLES_END:
            return False
        slot = changes[i].placed.table + 1
        if <size_t>changes[i].placed.bucket + 1 > starts[slot]:
            starts[slot] = <size_t>changes[i].placed.bucket + 1
    for i in range(TABLES_END + 1):
        slots += starts[i]
        starts[i] = slots
    if slots > 64 * count:
        return False
    ends = <size_t *>calloc(slots, sizeof(size_t))
    sorted_changes = <EntryChange *>malloc(count * sizeof(EntryChange))
    if ends == NULL or sorted_changes == NULL:
        free(ends)
        free(sorted_changes)
        return False
    for i in range(count):
        ends[starts[changes[i].placed.table] + changes[i].placed.bucket] += 1
    for slot in range(slots):
        here = ends[slot]
        ends[slot] = sum_before
        sum_before += here
    for i in range(count):
        slot = starts[changes[i].placed.table] + changes[i].placed.bucket
        sorted_changes[ends[slot]] = changes[i]
        ends[slot] += 1
    memcpy(changes, sorted_changes, count * sizeof(EntryChange))
    free(sorted_changes)
    here = 0
    for slot in range(slots):
        if ends[slot] - here > 1:
            sort_few(changes + here, ends[slot] - here)
        here = ends[slot]
    free(ends)
    return True


cdef size_t net(EntryChange *changes, size_t count) noexcept nogil:
    """Sort, and leave one change for each entry that is really added or taken away; returns how many."""
    cdef size_t i = 0, kept = 0
    cdef int32_t sign
    cdef PlacedEntry placed
    if count == 0:
        return 0
    if not sort_by_bucket(changes, count):
        qsort(changes, count, sizeof(EntryChange), compare_changes)
    while i < count:
        placed = changes[i].placed
        sign = 0
        while i < count and compare_changes(&changes[i], &placed) == 0:
            sign += changes[i].sign
            i += 1
        if sign:
            changes[kept].placed = placed
            changes[kept].sign = 1 if sign > 0 else -1
            kept += 1
    return kept


cdef inline bint same_bucket(const PlacedEntry *one, const PlacedEntry *other) noexcept nogil:
    return one.table == other.table and one.bucket == other.bucket


cdef size_t merge(
    const uint64_t *present, size_t present_count, const EntryChange *changes, size_t count, uint64_t *out
) noexcept nogil:
    """How many entries there are afterwards; written to out unless it is NULL. Adding what is there has no effect."""
    cdef size_t i = 0, j = 0, made = 0
    cdef uint64_t entry
    while i < present_count or j < count:
        if j == count or (i < present_count and present[i] < changes[j].placed.entry):
            entry = present[i]
            i += 1
        else:
            entry = changes[j].placed.entry
            if i < present_count and present[i] == entry:
                i += 1
            j += 1
            if changes[j - 1].sign < 0:
                continue
        if out != NULL:
            out[made] = entry
        made += 1
    return made


cdef class IdentityChanges:
    """Entries that are added and taken away. One transaction, one thread.

    A key's entries are those of the record shown and of earlier ones that took effect, each once: change() is given all
    of them as they were and as they are.
    """

    def __cinit__(self, EntryLayout layout not None):
        self.layout = layout
        self.changes = NULL
        self.count = self.room = 0
        self.netted_count = self.at = self.blocks_left = 0
        self.begun = self.failed = False

    def __dealloc__(self):
        free(self.changes)

    def __len__(self):
        return self.count

    cdef bint take(self, const PlacedEntry *placed, int32_t sign) noexcept nogil:
        cdef void *memory
        if self.begun:
            self.failed = True      # a netted list takes nothing more: the writer's mistake is not written
            return False
        if self.count == self.room:
            memory = NULL
            if self.room < CHANGES_MAX:
                memory = realloc(self.changes, (2 * self.room + 256) * sizeof(EntryChange))
            if memory == NULL:
                self.failed = True
                return False
            self.room = 2 * self.room + 256
            self.changes = <EntryChange *>memory
        self.changes[self.count].placed = placed[0]
        self.changes[self.count].sign = sign
        self.count += 1
        return True

    cdef bint take_record(self, uint64_t key, const ResidentRecord *record, int32_t sign) noexcept nogil:
        cdef PlacedEntry out[RECORD_ENTRIES_MAX]
        cdef size_t i, count = record_entries(&self.layout.view, key, record, out)
        for i in range(count):
            if not self.take(&out[i], sign):
                return False
        return True

    def change(self, uint64_t key, before, after):
        """The persons of a key as they were and as they are: bytes of records that give entries, in any order.

        RecordFormatError when one does not decode; then nothing was changed.
        """
        cdef PlacedEntry placed
        if key >= KEYS:
            raise ValueError("a key has at most ten digits")
        before_set = {person_of(data) for data in before}
        after_set = {person_of(data) for data in after}
        if before_set == after_set:
            return
        old, new = self._entries(key, before), self._entries(key, after)
        for placed.table, placed.bucket, placed.entry in old - new:
            if not self.take(&placed, -1):
                raise MemoryError
        for placed.table, placed.bucket, placed.entry in new - old:
            if not self.take(&placed, 1):
                raise MemoryError

    cdef set _entries(self, uint64_t key, records):
        cdef PlacedEntry out[RECORD_ENTRIES_MAX]
        cdef ResidentRecord record
        cdef size_t count, i
        cdef bytes data
        cdef set found = set()
        for data in records:
            if record_decode(data, <size_t>len(data), 1, &record) < 0:
                raise RecordFormatError("a record does not decode")
            count = record_entries(&self.layout.view, key, &record, out)
            for i in range(count):
                found.add((out[i].table, out[i].bucket, out[i].entry))
        return found

    def add_block(
        self, uint32_t bucket, uint64_t width, const unsigned char[::1] block not None,
        const unsigned char[::1] wanted not None, uint64_t first_key, uint64_t stop_key, list skipped not None
    ):
        """Add what the residents of a block have whose keys lie in [first_key, stop_key) and whose area is wanted.

        wanted: 4,096 bytes. skipped: ascending deltas of keys with a history, which are left out. StoreCorruptError for
        a damaged block.
        """
        cdef BlockView view
        cdef ResidentRecord record
        cdef uint32_t i, start
        cdef uint64_t key, status
        cdef size_t at = 0, skips = len(skipped)
        cdef bint wide = width > 65536
        if wanted.shape[0] != 4096 or not block_usable(&block[0], <size_t>block.shape[0], bucket, wide):
            raise StoreCorruptError(f"the block of bucket {bucket} is damaged; run `jukinet store check`")
        block_view(&block[0], &view)
        for i in range(view.count):
            key = bucket * width + block_delta(&view, i)
            status = block_status(&view, i)
            while at < skips and <uint32_t>skipped[at] < block_delta(&view, i):
                at += 1
            if at < skips and <uint32_t>skipped[at] == block_delta(&view, i):
                continue
            if key < first_key or key >= stop_key or not wanted[status_area(status)]:
                continue
            start = block_record_start(&view, i)
            if record_decode(
                view.records + start, block_record_start(&view, i + 1) - start, status, &record
            ) < 0:
                raise StoreCorruptError(f"the block of bucket {bucket} is damaged; run `jukinet store check`")
            self.take_record(key, &record, 1)

    def begin(self):
        """Net the changes, when that has not been done; how many blocks are left to be written."""
        cdef size_t i
        if self.failed:
            raise MemoryError
        if self.begun:
            return self.blocks_left
        with nogil:
            self.netted_count = net(self.changes, self.count)
            self.at = self.blocks_left = 0
            for i in range(self.netted_count):
                self.blocks_left += i == 0 or not same_bucket(&self.changes[i].placed, &self.changes[i - 1].placed)
        self.begun = True
        return self.blocks_left

    def netted(self):
        """(added, taken away) for each table, netted. The changes are spent then."""
        cdef size_t i
        self.begin()
        found = [[0, 0], [0, 0], [0, 0]]
        for i in range(self.netted_count):
            found[self.changes[i].placed.table - 1][self.changes[i].sign < 0] += 1
        self._spent()
        return [tuple(pair) for pair in found]

    cdef void _spent(self) noexcept:
        self.count = self.netted_count = self.at = self.blocks_left = 0
        self.begun = False

    def write(self, transaction, databases, starts, blocks_max=None):
        """Merge everything into the blocks; returns the places rewritten, ascending. The changes are spent then.

        databases and starts: of the three tables, and the first place of each. blocks_max: merge so many blocks and leave
        the rest for the next call. StoreCorruptError for a damaged block.
        """
        cdef size_t i, first, count, blocks = self.begin() if blocks_max is None else blocks_max
        cdef uint32_t table, bucket
        cdef uint64_t start
        self.begin()
        places = []
        i, count = self.at, self.netted_count
        while i < count and blocks:
            blocks -= 1
            self.blocks_left -= 1
            first = i
            table, bucket = self.changes[i].placed.table, self.changes[i].placed.bucket
            while i < count and self.changes[i].placed.table == table and self.changes[i].placed.bucket == bucket:
                i += 1
            name = _NUMBER.pack(bucket)
            database = databases[table - 1]
            present = transaction.get(name, None, database)
            made = self._merged(table, bucket, present, first, i)
            if made is None:
                continue
            if made:
                transaction.put(name, made, db=database)
            else:
                transaction.delete(name, db=database)
            start = starts[table - 1]
            places.append(start + bucket)
        self.at = i
        if i == count:
            self._spent()
        return places

    cdef object _merged(self, uint32_t table, uint32_t bucket, present, size_t first, size_t stop):
        """The new block, empty when nothing is left, None when it stays as it is."""
        cdef Py_buffer buffer
        cdef const uint64_t *entries = NULL
        cdef size_t present_count = 0, count
        cdef unsigned char *out
        if present is not None:
            PyObject_GetBuffer(present, &buffer, PyBUF_SIMPLE)
        try:
            if present is not None:
                if not identity_block_whole(<const unsigned char *>buffer.buf, <size_t>buffer.len, table, bucket):
                    raise StoreCorruptError(
                        f"bucket {bucket} of identity table {table} is damaged; run `jukinet store check`")
                entries = identity_entries(<const unsigned char *>buffer.buf)
                present_count = identity_count(<const unsigned char *>buffer.buf)
            count = merge(entries, present_count, self.changes + first, stop - first, NULL)
            if count == 0:
                return b"" if present_count else None
            if count > 0xFFFFFFF:
                raise StoreError("a bucket of the identity index has more entries than a block takes")
            made = PyBytes_FromStringAndSize(NULL, identity_block_bytes(count))
            out = <unsigned char *>PyBytes_AS_STRING(made)
            merge(entries, present_count, self.changes + first, stop - first, <uint64_t *>(out + IDENTITY_HEADER_BYTES))
            identity_block_close(table, bucket, count, out)
            return made
        finally:
            if present is not None:
                PyBuffer_Release(&buffer)


cdef bytes person_of(bytes data):
    """What the entries of a record depend on: equal bytes give equal entries. b"" for a record without a person."""
    cdef ResidentRecord record
    if record_decode(data, <size_t>len(data), 1, &record) < 0:
        raise RecordFormatError("a record does not decode")
    if record.name == NULL:
        return b""
    return struct.pack(
        "<IBBB", record.birth_date, record.kana_packed, record.name_bytes, record.kana_bytes
    ) + record.name[:record.name_bytes + record.kana_bytes] + record.alias[:record.alias_bytes]
