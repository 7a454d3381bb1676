"""Which codes were replaced by which: the register's retired codes, gathered in one pass over all blocks."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from jukinet.core.records.record cimport STATE_RETIRED, ResidentRecord, record_decode, status_state
from jukinet.core.store.block cimport BlockView, block_bucket, block_delta, block_record_start, block_status, block_view
from jukinet.core.store.snapshot cimport RegisterView, Snapshot

from jukinet.core.errors import StoreCorruptError

cdef enum:
    PAIRS_MAX = 1 << 28


cdef class Succession:
    """Pairs of a retired key (the first ten digits of a code) and the key that replaced it, as of one snapshot.

    Gathering reads the whole register once: about a second for 120 million residents in memory.
    """

    cdef uint64_t *_pairs
    cdef size_t _room
    cdef readonly size_t count

    def __dealloc__(self):
        free(self._pairs)

    def gather(self, Snapshot snapshot not None):
        """Read all blocks. Raises StoreCorruptError for a block of another bucket, MemoryError."""
        cdef RegisterView *view = &snapshot.view
        cdef uint64_t bucket = 0
        cdef int result = 0
        self.count = 0
        with nogil:
            while bucket < view.buckets:
                if view.directory[bucket] != NULL:
                    if block_bucket(view.directory[bucket]) != bucket:
                        result = 1
                        break
                    if not self._block(view.directory[bucket], bucket * view.width):
                        result = 2
                        break
                bucket += 1
        if result == 1:
            raise StoreCorruptError(f"bucket {bucket} holds the block of another")
        if result == 2:
            raise MemoryError

    cdef bint _block(self, const unsigned char *block, uint64_t first_key) noexcept nogil:
        cdef BlockView view
        cdef ResidentRecord record
        cdef uint32_t i, start
        cdef uint64_t *memory
        block_view(block, &view)
        for i in range(view.count):
            if status_state(block_status(&view, i)) != STATE_RETIRED:
                continue
            start = block_record_start(&view, i)
            record_decode(
                view.records + start, block_record_start(&view, i + 1) - start, block_status(&view, i), &record
            )
            if record.successor_key == 0:
                continue
            if self.count == self._room:
                if self._room >= PAIRS_MAX:
                    return False
                memory = <uint64_t *>realloc(self._pairs, (2 * self._room + 1024) * 16)
                if memory == NULL:
                    return False
                self._pairs = memory
                self._room = 2 * self._room + 1024
            self._pairs[2 * self.count] = first_key + block_delta(&view, i)
            self._pairs[2 * self.count + 1] = record.successor_key - 1
            self.count += 1
        return True

    def replaced_by(self, uint64_t key):
        """The retired keys that ``key`` replaced, in ascending order."""
        cdef size_t pair
        cdef list found = []
        for pair in range(self.count):
            if self._pairs[2 * pair + 1] == key:
                found.append(self._pairs[2 * pair])
        return found

    def successor(self, uint64_t key):
        """The key that replaced ``key``, or None."""
        cdef size_t pair
        for pair in range(self.count):
            if self._pairs[2 * pair] == key:
                return self._pairs[2 * pair + 1]
        return None

    def family(self, uint64_t key, size_t keys_max):
        """All keys of the person that ``key`` is or was a code of: itself first. ValueError: more than ``keys_max``."""
        cdef list found = [key]
        cdef size_t place = 0
        while place < len(found):
            one = found[place]
            for other in (self.successor(one), *self.replaced_by(one)):
                if other is not None and other not in found:
                    found.append(other)
            if len(found) > keys_max:
                raise ValueError("a chain of codes longer than any person's")
            place += 1
        return found
