"""STATUS: what became of a batch of codes since a day, from the status column alone (docs/protocol.md, 3.4)."""

import datetime

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from jukinet.core.index.columns cimport FRAME_HEADER_BYTES, fixed_write, pad8
from jukinet.core.index.gather cimport (
    OUTCOME_CHANGED, OUTCOME_CODE_CHANGED, OUTCOME_CURRENT, SWEEP_DONE, Entry, sweep,
)
from jukinet.core.records.record cimport decimal_date, status_change_date, status_registered_day
from jukinet.core.store.snapshot cimport RegisterView, Snapshot

from jukinet.core.errors import StoreCorruptError
from jukinet.core.records.resident import REGISTERED_EPOCH

cdef enum:
    ANSWER_HEADER_BYTES = 16


def registered_day(uint32_t since):
    """Days since 2000-01-01 of a full decimal date, 0 for anything earlier. ValueError unless it is a day of the calendar."""
    day = (datetime.date(since // 10000, since // 100 % 100, since % 100) - REGISTERED_EPOCH).days
    return min(max(day, 0), 0xFFFF + 1)


# What a sweep's consumer needs of a batch under way.
ctypedef struct StatusColumns:
    uint32_t since_day
    uint32_t *change_dates
    uint8_t *outcomes


cdef int write_group(void *context, size_t row, const Entry *entries, size_t count) noexcept nogil:
    """Consumer of a STATUS: outcome and change date of one group's rows."""
    cdef StatusColumns *columns = <StatusColumns *>context
    cdef size_t i
    cdef uint8_t outcome
    for i in range(count):
        outcome = entries[i].outcome
        if outcome == OUTCOME_CURRENT and status_registered_day(entries[i].status) >= columns.since_day:
            outcome = OUTCOME_CHANGED
        columns.outcomes[row + i] = outcome
        if OUTCOME_CURRENT < outcome <= OUTCOME_CODE_CHANGED:
            columns.change_dates[row + i] = decimal_date(status_change_date(entries[i].status))
        else:
            columns.change_dates[row + i] = 0
    return SWEEP_DONE


cdef class StatusBatch:
    """One STATUS under way; used like LookupBatch."""

    cdef Py_buffer codes
    cdef bint holds_codes
    cdef readonly size_t count
    cdef readonly size_t done
    cdef readonly uint32_t since
    cdef readonly uint64_t version
    cdef size_t rows_room
    cdef StatusColumns columns

    def __cinit__(self):
        self.holds_codes = False

    def __dealloc__(self):
        self._let_go()
        free(self.columns.change_dates)

    cdef void _let_go(self):
        if self.holds_codes:
            self.holds_codes = False
            PyBuffer_Release(&self.codes)

    def begin(self, codes, uint32_t since):
        """Start a batch: a contiguous buffer of u64 codes, and the day of the last check as a decimal date (20260401)."""
        cdef void *memory
        cdef size_t count
        self._let_go()
        self.count = self.done = 0      # a batch that could not be begun has no rows to run
        self.version = 0
        self.columns.since_day = registered_day(since)
        PyObject_GetBuffer(codes, &self.codes, PyBUF_SIMPLE)
        self.holds_codes = True
        if self.codes.len % 8:
            raise ValueError("codes are 8 bytes each")
        count = self.codes.len // 8
        self.since = since
        if count > self.rows_room:
            memory = realloc(self.columns.change_dates, count * 5)
            if memory == NULL:
                raise MemoryError
            self.columns.change_dates = <uint32_t *>memory
            self.rows_room = count
        self.columns.outcomes = <uint8_t *>(self.columns.change_dates + self.rows_room)
        self.count = count

    def run(self, Snapshot snapshot not None, size_t start, size_t stop):
        """Answer rows [start, stop); see LookupBatch.run."""
        cdef int result
        if start != self.done or stop > self.count or stop < start:
            raise ValueError("a batch is run in ascending pieces")
        if self.version and self.version != snapshot.version:
            raise ValueError("a batch is run in one snapshot")
        if snapshot.transaction is None:
            raise ValueError("the snapshot has ended")
        self.version = snapshot.version
        with nogil:
            result = sweep(
                &snapshot.view, <const unsigned char *>self.codes.buf, start, stop, False, write_group, &self.columns
            )
        if result != SWEEP_DONE:
            raise StoreCorruptError("a block is damaged; run `jukinet store check`")
        self.done = stop

    @property
    def outcomes(self):
        """u8 outcome of each row answered so far (a copy)."""
        return (<const char *>self.columns.outcomes)[:self.done]

    def finish(self):
        """The answer as a bytearray: 16 zero bytes for the frame header, then the STATUS_ANSWER payload."""
        cdef size_t n = self.count
        cdef unsigned char *out
        if self.done != n:
            raise ValueError("the batch has rows that were not run")
        frame = PyByteArray_FromStringAndSize(NULL, FRAME_HEADER_BYTES + ANSWER_HEADER_BYTES + pad8(n) + pad8(4 * n))
        out = <unsigned char *>PyByteArray_AS_STRING(frame)
        with nogil:
            memset(out, 0, FRAME_HEADER_BYTES)
            out += FRAME_HEADER_BYTES
            (<uint32_t *>out)[0] = self.since
            (<uint32_t *>out)[1] = <uint32_t>n
            (<uint64_t *>out)[1] = self.version
            fixed_write(self.columns.change_dates, 4 * n, fixed_write(self.columns.outcomes, n, out + ANSWER_HEADER_BYTES))
        self._let_go()
        return frame
