"""Codes of a day and a year, counted by all workers in one mapped file that outlives them (docs/authority.md, 7).

Theory of operation. A cell holds three numbers for each of two periods: the count, how far it is reserved, and how far
the reservation is known to be on the disk. Each number carries its period in its upper 16 bits, so one
compare-and-exchange begins a new period. A count never passes the reservation; ``take`` says when the reservation must
reach the disk before an answer may leave, and ``confirm`` that it has.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t

import hashlib

cdef extern from "atomics.h" nogil:
    uint64_t load "jukinet_load" (const uint64_t *place)
    int exchange "jukinet_exchange" (uint64_t *place, uint64_t expected, uint64_t wanted)

cdef enum:
    CELLS = 16_384
    CELL_NUMBERS = 8
    HEADER_NUMBERS = 8
    COUNT_BITS = 48
    PERIODS = 2

CELL_BYTES = CELL_NUMBERS * 8
HEADER_BYTES = HEADER_NUMBERS * 8
FILE_BYTES = HEADER_BYTES + CELLS * CELL_BYTES
CELLS_MAX = CELLS
DAY = 0
YEAR = 1
COUNT_MAX = 0xFFFF_FFFF_FFFF

cdef uint64_t COUNT_MASK = (1ULL << COUNT_BITS) - 1


cdef inline uint64_t counted(uint64_t number, uint64_t period) noexcept nogil:
    """The count of a number that belongs to ``period``; 0 when it is of an earlier one."""
    return number & COUNT_MASK if number >> COUNT_BITS >= period else 0


cdef void raise_to(uint64_t *place, uint64_t wanted) noexcept nogil:
    """Set a number to ``wanted`` unless it is as high already: a later period is higher than an earlier one."""
    cdef uint64_t before
    while True:
        before = load(place)
        if before >= wanted or exchange(place, before, wanted):
            return


cdef class CapCounts:
    """One process's view of the file.

    Invariant: in each cell, count <= reserved, and what ``confirmed`` says was on the disk when it was written.
    """

    cdef Py_buffer view
    cdef uint64_t *cells

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)
        if self.view.len < <Py_ssize_t>((HEADER_NUMBERS + CELLS * CELL_NUMBERS) * 8):
            raise ValueError("the memory is too short")
        self.cells = <uint64_t *>self.view.buf + HEADER_NUMBERS

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    cdef uint64_t *_place(self, uint32_t cell, uint32_t which) except NULL:
        if cell >= CELLS or which >= PERIODS:
            raise IndexError(cell)
        return &self.cells[cell * CELL_NUMBERS + 1 + which * 3]

    def cell(self, str owner not None):
        """The number of an owner's cell, the same in all workers and for ever; -1 when there are no more."""
        cdef uint64_t wanted = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "little") | 1
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

    def take(self, uint32_t cell, uint32_t which, uint32_t period, uint64_t count, uint64_t cap):
        """Count ``count`` codes in ``period``: 0 done, 1 done and the cell must be made durable first, -1 above the cap.

        period: 1 to 65,535; an earlier one than the cell's counts as the cell's (the clock was set back).
        """
        cdef uint64_t *place = self._place(cell, which)
        cdef uint64_t before, at, used, reserved, step
        if not 0 < period < 65_536 or cap > COUNT_MASK or count > cap:
            return -1
        while True:
            before = load(place)
            at = before >> COUNT_BITS
            at = at if at > period else period
            used = counted(before, at) + count
            if used > cap:
                return -1
            # What is reserved first can be too much only.
            if used > counted(load(place + 1), at):
                step = (cap + 63) // 64
                reserved = used + step if used + step < cap else cap
                raise_to(place + 1, at << COUNT_BITS | reserved)
            if exchange(place, before, at << COUNT_BITS | used):
                return 1 if used > counted(load(place + 2), at) else 0

    def give_back(self, uint32_t cell, uint32_t which, uint32_t period, uint64_t count):
        """Take back what ``take`` counted, when the request was refused by another cap."""
        cdef uint64_t *place = self._place(cell, which)
        cdef uint64_t before, used
        while True:
            before = load(place)
            used = before & COUNT_MASK
            if before >> COUNT_BITS > period or used < count or exchange(place, before, before - count):
                return

    def reserved(self, uint32_t cell, uint32_t which):
        """How far the count is reserved, with its period: what ``confirm`` takes once that is on the disk."""
        return load(self._place(cell, which) + 1)

    def confirm(self, uint32_t cell, uint32_t which, uint64_t reserved):
        """Say that a reservation read before the disk was written is on it."""
        raise_to(self._place(cell, which) + 2, reserved)

    def used(self, uint32_t cell, uint32_t which, uint32_t period):
        """Codes counted in a period; 0 when the cell's period is an earlier one."""
        return counted(load(self._place(cell, which)), period)

    def recover(self):
        """After a crash of the machine: every count begins at its reservation. For the one process that has the file."""
        cdef uint32_t cell, which
        cdef uint64_t *place
        for cell in range(CELLS):
            if self.cells[cell * CELL_NUMBERS]:
                for which in range(PERIODS):
                    place = self._place(cell, which)
                    raise_to(place, load(place + 1))
                    place[2] = 0
