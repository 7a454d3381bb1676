"""What bodies use of the whole server: codes a second and connections, in memory that all workers share.

Theory of operation. Each body has a cell. Its rate is one number, the moment at which the body's allowance was or will
be used up: asking for codes moves it on by the time that they take at the body's rate, at least from ``burst`` codes
before now, and is refused when it would pass now. One compare-and-exchange does that, so no lock can be left behind by a
worker that dies. Connections are counted by each worker for itself; one counts first and then adds up, so two workers
may both refuse the last place, but never both give it. A dead worker's counts are cleared by the supervisor.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport ceil
from libc.stdint cimport int32_t, uint32_t, uint64_t

import hashlib

cdef extern from "atomics.h" nogil:
    uint64_t load "jukinet_load" (const uint64_t *place)
    int exchange "jukinet_exchange" (uint64_t *place, uint64_t expected, uint64_t wanted)
    uint32_t count_of "jukinet_count" (const uint32_t *place)
    void add "jukinet_add" (uint32_t *place, int32_t more)
    void clear "jukinet_clear" (uint32_t *place)

cdef double SECONDS_MAX = 1e9

cdef enum:
    CELLS = 16_384
    CELL_NUMBERS = 2

CELLS_MAX = CELLS
"""Four times the bodies of an authority file: those of earlier files keep theirs until the server ends."""


def bytes_needed(uint32_t workers):
    """Length of the shared memory for so many workers: cells, then each worker's counts. Zeros are a beginning."""
    return CELLS * (CELL_NUMBERS * sizeof(uint64_t) + workers * sizeof(uint32_t))


cdef class SharedCounts:
    """One process's view of the shared memory.

    Invariant: a cell's name, once written, stays; only this worker and, after its death, the supervisor write its counts.
    """

    cdef Py_buffer view
    cdef uint64_t *cells
    cdef uint32_t *counts
    cdef readonly uint32_t workers, worker

    def __cinit__(self, memory, uint32_t workers, uint32_t worker=0):
        if worker >= workers:
            raise ValueError("the worker's number is beyond the last")
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)
        if self.view.len < bytes_needed(workers):
            raise ValueError("the shared memory is too short")
        self.workers, self.worker = workers, worker
        self.cells = <uint64_t *>self.view.buf
        self.counts = <uint32_t *>(self.cells + CELLS * CELL_NUMBERS)

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    def cell(self, str role not None, str name not None):
        """The number of a body's cell, the same in all workers; -1 when there are no more."""
        cdef uint64_t wanted = int.from_bytes(hashlib.sha256(f"{role}:{name}".encode()).digest()[:8], "little") | 1
        cdef uint64_t found
        cdef uint32_t step, place
        for step in range(CELLS):
            place = <uint32_t>((wanted >> 1) + step) % CELLS
            found = load(&self.cells[place * CELL_NUMBERS])
            if found == 0 and exchange(&self.cells[place * CELL_NUMBERS], 0, wanted):
                return place
            if load(&self.cells[place * CELL_NUMBERS]) == wanted:
                return place
        return -1

    def take(self, uint32_t cell, uint64_t count, double rate, double burst, double now):
        """Take codes from a body's allowance at ``now`` (monotonic seconds): 0, or the seconds until they will be there.

        rate: codes a second; burst: what a quiet body may ask at once. Codes that were refused are not taken.
        """
        cdef uint64_t *place
        cdef uint64_t before, full, after, now_ns = <uint64_t>(now * 1e9)
        cdef uint64_t burst_ns = <uint64_t>(min(burst / rate, SECONDS_MAX) * 1e9)
        cdef uint64_t taken_ns = <uint64_t>ceil(min(count / rate, SECONDS_MAX) * 1e9)
        if cell >= CELLS:
            raise IndexError(cell)
        place = &self.cells[cell * CELL_NUMBERS + 1]
        full = now_ns - burst_ns if now_ns > burst_ns else 0
        while True:
            before = load(place)
            after = (before if before > full else full) + taken_ns
            if after > now_ns:
                return (after - now_ns) / 1e9
            if exchange(place, before, after):
                return 0.0

    def connect(self, uint32_t cell, uint32_t connections_max):
        """Count a connection of this worker, unless the body has as many as it may on the whole server."""
        if cell >= CELLS:
            raise IndexError(cell)
        add(&self.counts[self.worker * CELLS + cell], 1)
        if self.connections(cell) <= connections_max:
            return True
        add(&self.counts[self.worker * CELLS + cell], -1)
        return False

    def disconnect(self, uint32_t cell):
        """End one connection of this worker."""
        if cell >= CELLS or count_of(&self.counts[self.worker * CELLS + cell]) == 0:
            raise ValueError("no such connection is counted")
        add(&self.counts[self.worker * CELLS + cell], -1)

    def connections(self, uint32_t cell):
        """Connections of a body to all workers."""
        cdef uint64_t total = 0
        cdef uint32_t worker
        if cell >= CELLS:
            raise IndexError(cell)
        for worker in range(self.workers):
            total += count_of(&self.counts[worker * CELLS + cell])
        return total

    def forget(self, uint32_t worker):
        """Clear the counts of a worker that has ended."""
        cdef uint32_t cell
        if worker >= self.workers:
            raise IndexError(worker)
        for cell in range(CELLS):
            if count_of(&self.counts[worker * CELLS + cell]):
                clear(&self.counts[worker * CELLS + cell])
