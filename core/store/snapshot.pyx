"""What a reader holds of one transaction: the directory of block pointers, the tables of places, and their pins."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import os
from array import array
from bisect import bisect_right
from itertools import accumulate

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError
from jukinet.core.store.schema import NUMBER

cdef extern from "memory.h" nogil:
    void *large_calloc "jukinet_large_calloc" (size_t bytes)
    int advise_large "jukinet_advise_large" (unsigned long long start, unsigned long long bytes)
    int lock_memory "jukinet_lock" (unsigned long long start, unsigned long long bytes)

cdef enum:
    TEXT_SLACK_BYTES = 64
    BLOCK_VALUE_BYTES_MIN = 2048
    LATE_TENTHS = 7
    PAGE_BYTES = 4096


cdef const unsigned char *value_pointer(object value, uint64_t bucket) except NULL:
    """Where a value of the open transaction lies in the memory map."""
    cdef Py_buffer buffer
    cdef const unsigned char *place
    PyObject_GetBuffer(value, &buffer, PyBUF_SIMPLE)
    place = <const unsigned char *>buffer.buf
    if buffer.len < BLOCK_VALUE_BYTES_MIN:
        PyBuffer_Release(&buffer)
        raise StoreCorruptError(f"the block of bucket {bucket} is shorter than a block can be")
    PyBuffer_Release(&buffer)
    return place


def advise_large_pages(unsigned long long start, unsigned long long size):
    """Ask for large pages in a mapping of this process; whether the kernel took the advice. Changes no content."""
    return advise_large(start, size) == 1


def lock_addresses(unsigned long long start, unsigned long long size):
    """Keep addresses of a mapping in memory, whatever the kernel would rather do. Reads what is not there. OSError."""
    cdef int refusal
    with nogil:
        refusal = lock_memory(start, size)
    if refusal:
        raise OSError(refusal, os.strerror(refusal))


def touch_addresses(unsigned long long start, unsigned long long stop):
    """Read one byte of each page from address start to stop, all mapped, so that they are in memory."""
    cdef size_t place
    cdef volatile unsigned char seen = 0
    with nogil:
        place = start
        while place < stop:
            seen = (<const unsigned char *>place)[0]
            place += PAGE_BYTES


cdef class Directory:
    """One pointer into the memory map for each place: the buckets of the resident table, then those of the identity
    index's tables. Good for the transaction that it was last filled from.

    counts: buckets of each table. 8 bytes a place; NULL where there is no block. ``version`` is the register version that it
    shows, 0 when never filled.
    """

    def __cinit__(self, *counts):
        self.starts = tuple(accumulate(counts, initial=0))
        self.buckets = self.starts[len(counts)]
        self.pointers = <const unsigned char **>large_calloc(self.buckets * sizeof(void *))
        if self.pointers == NULL:
            raise MemoryError
        self.version = 0

    def __dealloc__(self):
        free(self.pointers)

    def fill(self, transaction, databases):
        """Take every pointer from ``databases``, one for each table, as ``transaction`` (opened with buffers) shows them.

        About 0.2 us a bucket.
        """
        cdef Py_buffer buffer
        cdef uint64_t bucket, start, count
        memset(self.pointers, 0, self.buckets * sizeof(void *))
        for number, database in enumerate(databases):
            start, count = self.starts[number], self.starts[number + 1] - self.starts[number]
            with transaction.cursor(db=database) as cursor:
                for key, value in cursor.iternext(keys=True, values=True):
                    PyObject_GetBuffer(key, &buffer, PyBUF_SIMPLE)
                    bucket = (<const uint64_t *>buffer.buf)[0] if buffer.len == 8 else count
                    PyBuffer_Release(&buffer)
                    if bucket >= count:
                        raise StoreCorruptError("a table holds a bucket beyond its last")
                    self.pointers[start + bucket] = value_pointer(value, bucket)

    def replace(self, transaction, databases, const uint32_t[::1] places not None):
        """Take the pointers of ``places`` anew. Their blocks may have been added, rewritten or removed."""
        cdef Py_ssize_t i
        cdef uint64_t place, start = 0, stop = 0
        cdef object database = None
        get = transaction.get
        for i in range(places.shape[0]):
            place = places[i]
            if place >= self.buckets:
                raise StoreCorruptError("a change list names a bucket beyond the last")
            if not start <= place < stop:
                number = bisect_right(self.starts, place) - 1
                start, stop, database = self.starts[number], self.starts[number + 1], databases[number]
            value = get(NUMBER.pack(place - start), None, database)
            self.pointers[place] = NULL if value is None else value_pointer(value, place - start)

    def copy(self, Directory other not None):
        """Take every pointer of another directory; 8 bytes a bucket, 2 to 4 ms for 16 MB."""
        if other.buckets != self.buckets:
            raise ValueError("the directories are of different registers")
        with nogil:
            memcpy(self.pointers, other.pointers, self.buckets * sizeof(void *))

    def copy_some(self, Directory other not None, const uint32_t[::1] buckets not None):
        """Take the pointers of places from another directory."""
        cdef Py_ssize_t i
        if other.buckets != self.buckets:
            raise ValueError("the directories are of different registers")
        for i in range(buckets.shape[0]):
            if buckets[i] >= self.buckets:
                raise StoreCorruptError("a change list names a bucket beyond the last")
            self.pointers[buckets[i]] = other.pointers[buckets[i]]

    def address(self, uint64_t bucket):
        """The pointer of a bucket as an int, 0 for none; for self-checks and tests."""
        if bucket >= self.buckets:
            raise IndexError(bucket)
        return <size_t>self.pointers[bucket]

    def next_pointer(self, uint64_t start, uint64_t stop):
        """The first bucket from start to before stop that has a pointer; stop when none has."""
        cdef uint64_t bucket = start
        if stop > self.buckets:
            raise IndexError(stop)
        while bucket < stop and self.pointers[bucket] == NULL:
            bucket += 1
        return bucket if bucket < stop else stop

    def differs(self, uint64_t bucket, value):
        """Whether the pointer of ``bucket`` is not where ``value`` (from the same transaction, None for no block) lies."""
        cdef const unsigned char *place = NULL
        if value is not None:
            place = value_pointer(value, bucket)
        return self.pointers[bucket] != place

    def touch(self, uint64_t start, uint64_t stop):
        """Read one byte of each block from bucket start to stop, so that its page is mapped. Returns blocks touched."""
        cdef uint64_t bucket, touched = 0
        if stop > self.buckets:
            stop = self.buckets
        with nogil:
            for bucket in range(start, stop):
                if self.pointers[bucket] != NULL:
                    # A block's count is never 0, so this counts blocks and cannot be left out by the compiler.
                    touched += (<const uint16_t *>(self.pointers[bucket] + 4))[0] != 0
        return touched


cdef class PlaceTables:
    """Areas and towns as arrays for kernels. Towns are only ever added, so a longer table serves older snapshots too."""

    def __cinit__(self, list areas, list towns):
        cdef size_t total = 0, place = 0, i
        cdef bytes encoded
        texts = [town.text.encode() for town in towns]
        total = sum(map(len, texts))
        # What kernels reserve for a row rests on these; a damaged table must not lead outside.
        if len(areas) > limits.AREAS_MAX or len(towns) > limits.TOWNS_MAX:
            raise StoreCorruptError("the areas or towns table is longer than its numbers reach")
        if texts and max(map(len, texts)) > limits.TOWN_BYTES_MAX:
            raise StoreCorruptError(f"a town's text is longer than {limits.TOWN_BYTES_MAX} bytes")
        self.areas = areas
        self.areas_not_connected = [area.jis for area in areas if not area.connected]
        self.areas_count = <uint32_t>len(areas)
        self.towns_count = <uint32_t>len(towns)
        # Room for every number that 12 bits can hold, so that no status column can lead outside.
        self.jis = <uint32_t *>calloc(4096, sizeof(uint32_t))
        self.connected = <uint8_t *>calloc(4096, 1)
        self.offsets = <uint32_t *>large_calloc((len(towns) + 2) * sizeof(uint32_t))
        self.text = <unsigned char *>large_calloc(total + TEXT_SLACK_BYTES)
        if self.jis == NULL or self.connected == NULL or self.offsets == NULL or self.text == NULL:
            raise MemoryError
        for i in range(len(areas)):
            self.jis[i] = areas[i].jis
            self.connected[i] = 1 if areas[i].connected else 0
        for i in range(len(texts)):
            encoded = texts[i]
            memcpy(self.text + place, <const unsigned char *>encoded, len(encoded))
            place += len(encoded)
            self.offsets[i + 1] = <uint32_t>place

    def page(self, uint32_t after, uint32_t towns_max):
        """Areas' JIS numbers (u32), and offsets (u32) and texts (UTF-8) of at most towns_max towns after that number."""
        cdef uint32_t i, count = 0, first
        if after < self.towns_count:
            count = min(self.towns_count - after, towns_max)
        first = self.offsets[after] if count else 0
        offsets = array("I", [0])
        for i in range(count):
            offsets.append(self.offsets[after + i + 1] - first)
        areas = (<const char *>self.jis)[:<Py_ssize_t>(4 * self.areas_count)]
        texts = (<const char *>(self.text + first))[:<Py_ssize_t>offsets[count]]
        return areas, offsets.tobytes(), texts

    def __dealloc__(self):
        free(self.jis)
        free(self.connected)
        free(self.offsets)
        free(self.text)


cdef class Snapshot:
    """The register as of one transaction. Pinned by those who read it; its transaction ends when the last lets go.

    Invariant: while pins > 0 or the snapshot is the reader's current one, every pointer in its view is good.
    """

    def __init__(self, Directory directory not None, PlaceTables places not None, EntryLayout layout not None,
                 uint64_t version, uint64_t width, transaction, on_idle):
        if len(directory.starts) != 5:
            raise ValueError("a register's directory has the places of four tables")
        self.directory = directory
        self.places = places
        self.version = version
        self.transaction = transaction
        self.on_idle = on_idle
        self.pins = 0
        self.retired = False
        self.view.directory = directory.pointers
        self.view.buckets = directory.starts[1]
        self.view.width = width
        self.view.width_reciprocal = <uint64_t>-1 // width + 1
        self.view.late_delta = <uint32_t>(width * LATE_TENTHS // 10)
        self.view.areas = places.areas_count
        self.view.area_jis = places.jis
        self.view.area_connected = places.connected
        self.view.towns = places.towns_count
        self.view.town_offsets = places.offsets
        self.view.town_text = places.text
        self.layout = layout
        self.identity.layout = &layout.view
        self.identity.blocks[0] = NULL
        for i in range(1, 4):
            self.identity.blocks[i] = directory.pointers + <uint64_t>directory.starts[i]

    def pin(self):
        """Keep every pointer good until release()."""
        self.pins += 1
        return self

    def release(self):
        """End one pin."""
        if self.pins <= 0:
            raise RuntimeError("a snapshot was released more often than pinned")
        self.pins -= 1
        if self.pins == 0 and self.retired:
            self._end()

    def retire(self):
        """Called by the reader when a newer snapshot takes over."""
        self.retired = True
        if self.pins == 0:
            self._end()

    def _end(self):
        if self.transaction is not None:
            self.transaction.abort()
            self.transaction = None
            self.view.buckets = 0
            self.identity.layout = NULL
            self.on_idle(self.directory)

    def __enter__(self):
        return self

    def __exit__(self, *_details):
        self.release()
