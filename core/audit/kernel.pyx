"""Native kernel of the record of use: the memory buffer of records, and packing of provisions (docs/record-of-use.md)."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pythread cimport (
    NOWAIT_LOCK, WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock,
    PyThread_type_lock,
)
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from array import array

from jukinet.core.checksum cimport crc32c_update

from jukinet.core import limits, vocabulary
from jukinet.core.errors import RecordOfUseError

cdef extern from "<endian.h>" nogil:
    uint64_t htobe64(uint64_t)
    uint32_t htobe32(uint32_t)
    uint64_t htole64(uint64_t)
    uint32_t htole32(uint32_t)
    uint16_t htole16(uint16_t)
    uint64_t le64toh(uint64_t)
    uint32_t le32toh(uint32_t)
    uint16_t le16toh(uint16_t)

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        int64_t tv_sec
        long tv_nsec
    int clock_gettime(int, timespec *)
    int CLOCK_REALTIME

cdef enum:
    RECORD_HEADER = 32
    GROUP_HEADER = 40
    HEAD_VARIABLE = 41          # array header and the six fields that differ from request to request
    HEAD_FIELDS = 16
    HEAD_MAX = 4_096
    KIND_PROVISION = 1
    KIND_VOID = 2
    MATCHES = 1                 # record flag: a byte a row follows the provisions
    FUNCTION_VERIFY = 4
    FUNCTION_SEARCH = 8
    FUNCTION_MATCH = 16
    CODES_WITHOUT_GIL = 1024    # below this, giving the lock up costs more than the packing
    BUFFER_START = 1 << 20
    CODES_MAX = 65_536

cdef uint64_t CODE_LIMIT = 100_000_000_000
cdef uint32_t GROUP_MAGIC = 0x50555247
cdef uint64_t NO_CODE = (1ULL << 37) - 1

assert CODES_MAX == limits.CODES_PER_REQUEST_MAX and HEAD_MAX == limits.RECORD_HEAD_BYTES_MAX
assert CODE_LIMIT == vocabulary.CODE_END and (
    FUNCTION_VERIFY | FUNCTION_SEARCH | FUNCTION_MATCH) == vocabulary.TOLD_BY_ROW


# ---------------------------------------------------------------------------------------------------- provisions

cdef inline void provision_store(const unsigned char *codes, const uint8_t *outcomes, size_t row, uint64_t *word) noexcept nogil:
    cdef uint64_t code
    memcpy(&code, codes + row * 8, 8)
    word[0] = htole64((code if code < CODE_LIMIT else NO_CODE) | (<uint64_t>outcomes[row] << 37))


cdef void provisions_pack(const unsigned char *codes, const uint8_t *outcomes, size_t count, unsigned char *out) noexcept nogil:
    """6 bytes a row. Rows but the last are stored as 8 bytes whose upper two the next row overwrites."""
    cdef size_t row
    cdef uint64_t word
    if count == 0:
        return
    for row in range(count - 1):
        provision_store(codes, outcomes, row, &word)
        memcpy(out + row * 6, &word, 8)
    provision_store(codes, outcomes, count - 1, &word)
    memcpy(out + (count - 1) * 6, &word, 6)


cdef size_t provisions_unpack(const unsigned char *packed, size_t count, unsigned char *codes, uint8_t *outcomes) noexcept nogil:
    """Rows written; fewer than ``count`` when a row's three upper bits are not zero or its code is out of range."""
    cdef size_t row
    cdef uint64_t word, code
    for row in range(count):
        word = 0
        memcpy(&word, packed + row * 6, 6)
        word = le64toh(word)
        code = word & NO_CODE
        if word >> 45 or CODE_LIMIT <= code < NO_CODE:
            return row
        if code == NO_CODE:
            code = <uint64_t>-1
        memcpy(codes + row * 8, &code, 8)
        outcomes[row] = <uint8_t>(word >> 37)
    return count


cdef inline uint64_t provision_fault(uint64_t word) noexcept nogil:
    """Not 0 when the lower 48 bits of a word are no provision; without a branch."""
    cdef uint64_t code = word & NO_CODE
    return ((word >> 45) & 7) | <uint64_t>((code >= CODE_LIMIT) & (code != NO_CODE))


cdef inline bint provisions_hold(const unsigned char *packed, size_t count) noexcept nogil:
    cdef size_t row = 0
    cdef uint64_t word, fault = 0
    while row + 1 < count:                  # two bytes of the next row are loaded too, and not looked at
        memcpy(&word, packed + row * 6, 8)
        fault |= provision_fault(le64toh(word))
        row += 1
    if row < count:
        word = 0
        memcpy(&word, packed + row * 6, 6)
        fault |= provision_fault(le64toh(word))
    return fault == 0


cdef inline uint32_t load_u32(const unsigned char *place) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return le32toh(value)


cdef size_t record_check(const unsigned char *record, size_t left, uint16_t worker, uint64_t sequence) noexcept nogil:
    """Length of the valid record that begins here, 0 when it is not valid, not the one expected, or a void record."""
    cdef size_t total, used, place, count
    cdef uint32_t flags
    cdef uint64_t found
    cdef uint16_t owner, kind
    if left < RECORD_HEADER:
        return 0
    total = load_u32(record + 4)
    if total < RECORD_HEADER or total > left or total % 8:
        return 0
    if load_u32(record) != crc32c_update(0, record + 4, total - 4):
        return 0
    memcpy(&found, record + 8, 8)
    memcpy(&owner, record + 16, 2)
    memcpy(&kind, record + 18, 2)
    if le64toh(found) != sequence or le16toh(owner) != worker or le16toh(kind) == KIND_VOID:
        return 0
    count = load_u32(record + 24)
    flags = load_u32(record + 28)
    if load_u32(record + 20) > HEAD_MAX or count > CODES_MAX or flags & ~<uint32_t>MATCHES:
        return 0
    used = RECORD_HEADER + load_u32(record + 20) + count * (7 if flags & MATCHES else 6)
    if used > total or total >= used + 8:
        return 0
    for place in range(used, total):
        if record[place]:
            return 0
    if not provisions_hold(record + RECORD_HEADER + load_u32(record + 20), count):
        return 0
    return total


def check_records(data, uint16_t worker, uint64_t first_sequence):
    """``(records, bytes)``: how many valid records ``data`` begins with, and their length.

    Sequences must follow ``first_sequence`` one by one. Stops at a void record, whose range the caller must read, and at
    anything that is not valid. Heads are covered by the checksum and not decoded.
    """
    cdef Py_buffer view
    cdef size_t place = 0, records = 0, length
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        while True:
            length = record_check(
                <const unsigned char *>view.buf + place, <size_t>view.len - place, worker, first_sequence + records
            )
            if length == 0:
                break
            place += length
            records += 1
    PyBuffer_Release(&view)
    return records, place


cdef size_t group_check(
    const unsigned char *group, size_t left, uint64_t offset, uint32_t seed, uint16_t worker, uint64_t sequence,
    size_t *records,
) noexcept nogil:
    """Length of the valid group of ordinary records that begins here, 0 when it is anything else."""
    cdef uint64_t found
    cdef size_t total, place = GROUP_HEADER, length, count, done
    if left < GROUP_HEADER or load_u32(group + 4) != GROUP_MAGIC or load_u32(group + 36) != 0:
        return 0
    if load_u32(group) != crc32c_update(seed, group + 4, GROUP_HEADER - 4):
        return 0
    memcpy(&found, group + 8, 8)
    if le64toh(found) != offset:
        return 0
    memcpy(&found, group + 16, 8)
    total = le64toh(found)
    if total > left or total % 8 or total <= GROUP_HEADER:
        return 0
    memcpy(&found, group + 24, 8)
    if le64toh(found) != sequence:
        return 0
    count = load_u32(group + 32)
    for done in range(count):
        length = record_check(group + place, total - place, worker, sequence + done)
        if length == 0:
            return 0
        place += length
    if place != total or count == 0:
        return 0
    records[0] = count
    return total


def check_groups(data, uint64_t offset, uint32_t seed, uint16_t worker, uint64_t first_sequence):
    """``(records, bytes)`` of the whole valid groups that ``data``, from ``offset`` in its segment, begins with.

    seed: the segment header's checksum. Stops at an end mark, at a group with a void record, at one that is not whole,
    and at anything that is not valid: the caller reads that group by itself. Heads are not decoded.
    """
    cdef Py_buffer view
    cdef size_t place = 0, records = 0, length, count = 0
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        while True:
            length = group_check(
                <const unsigned char *>view.buf + place, <size_t>view.len - place, offset + place, seed, worker,
                first_sequence + records, &count,
            )
            if length == 0:
                break
            place += length
            records += count
    PyBuffer_Release(&view)
    return records, place


def pack_provisions(codes, outcomes):
    """Rows of ``codes`` (u64 buffer) and ``outcomes`` (u8 buffer, as many) as 6 bytes each. Raises ValueError."""
    cdef Py_buffer code_view, outcome_view
    cdef size_t count
    cdef bytes packed
    cdef unsigned char *out
    PyObject_GetBuffer(codes, &code_view, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(outcomes, &outcome_view, PyBUF_SIMPLE)
        try:
            if code_view.len % 8 or code_view.len // 8 != outcome_view.len:
                raise ValueError("codes must be u64 and outcomes u8, one for each code")
            count = <size_t>outcome_view.len
            packed = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(count * 6))
            out = <unsigned char *>PyBytes_AS_STRING(packed)
            with nogil:
                provisions_pack(<const unsigned char *>code_view.buf, <const uint8_t *>outcome_view.buf, count, out)
            return packed
        finally:
            PyBuffer_Release(&outcome_view)
    finally:
        PyBuffer_Release(&code_view)


def unpack_provisions(packed):
    """``(codes: array('Q'), outcomes: bytes)`` of packed rows. Raises ValueError for a length or a row that cannot be."""
    cdef Py_buffer view, code_view
    cdef size_t count, done
    cdef bytes outcomes
    cdef uint8_t *outcome_out
    PyObject_GetBuffer(packed, &view, PyBUF_SIMPLE)
    try:
        if view.len % 6:
            raise ValueError("packed provisions are 6 bytes each")
        count = <size_t>(view.len // 6)
        codes = array("Q", bytes(8 * count))
        outcomes = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>count)
        outcome_out = <uint8_t *>PyBytes_AS_STRING(outcomes)
        PyObject_GetBuffer(codes, &code_view, PyBUF_SIMPLE)
        try:
            with nogil:
                done = provisions_unpack(
                    <const unsigned char *>view.buf, count, <unsigned char *>code_view.buf, outcome_out
                )
        finally:
            PyBuffer_Release(&code_view)
        if done != count:
            raise ValueError(f"row {done} of {count} is no provision")
        return codes, outcomes
    finally:
        PyBuffer_Release(&view)


# ------------------------------------------------------------------------------------------------------- buffer

cdef inline unsigned char *put_u64(unsigned char *place, uint64_t value) noexcept nogil:
    place[0] = 0xCF
    value = htobe64(value)
    memcpy(place + 1, &value, 8)
    return place + 9


cdef inline unsigned char *put_u32(unsigned char *place, uint32_t value) noexcept nogil:
    place[0] = 0xCE
    value = htobe32(value)
    memcpy(place + 1, &value, 4)
    return place + 5


cdef inline void store_u64(unsigned char *place, uint64_t value) noexcept nogil:
    value = htole64(value)
    memcpy(place, &value, 8)


cdef inline void store_u32(unsigned char *place, uint32_t value) noexcept nogil:
    value = htole32(value)
    memcpy(place, &value, 4)


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef struct Record:
    uint64_t sequence, time_ns, register_version
    uint32_t function, items, since, request_id
    uint16_t worker
    const unsigned char *constant       # the session's part of the head
    size_t constant_bytes
    const unsigned char *codes          # u64, any alignment
    const uint8_t *outcomes
    const uint8_t *matches              # NULL unless the function is told by row
    size_t count


cdef inline size_t record_bytes(const Record *record) noexcept nogil:
    cdef size_t row_bytes = 6 if record.matches == NULL else 7
    return (RECORD_HEADER + HEAD_VARIABLE + record.constant_bytes + record.count * row_bytes + 7) & ~<size_t>7


cdef void record_write(const Record *record, unsigned char *out, size_t total) noexcept nogil:
    """One whole record of ``total`` = record_bytes(...) bytes; docs/record-of-use.md, chapter 4."""
    cdef uint16_t worker = htole16(record.worker)
    cdef uint16_t kind = htole16(KIND_PROVISION)
    cdef unsigned char *place = out + RECORD_HEADER
    cdef unsigned char *end = out + total
    memset(end - 8, 0, 8)
    store_u32(out + 4, <uint32_t>total)
    store_u64(out + 8, record.sequence)
    memcpy(out + 16, &worker, 2)
    memcpy(out + 18, &kind, 2)
    store_u32(out + 20, <uint32_t>(HEAD_VARIABLE + record.constant_bytes))
    store_u32(out + 24, <uint32_t>record.count)
    store_u32(out + 28, 0 if record.matches == NULL else MATCHES)
    place[0] = 0xDC
    place[1] = 0
    place[2] = HEAD_FIELDS
    place = put_u64(place + 3, record.time_ns)
    place = put_u32(place, record.function)
    place = put_u32(place, record.items)
    place = put_u64(place, record.register_version)
    place = put_u32(place, record.since)
    place = put_u32(place, record.request_id)
    memcpy(place, record.constant, record.constant_bytes)
    place += record.constant_bytes
    provisions_pack(record.codes, record.outcomes, record.count, place)
    if record.matches != NULL:
        memcpy(place + record.count * 6, record.matches, record.count)
    store_u32(out, crc32c_update(0, out + 4, total - 4))


cdef class Group:
    """Records taken from a buffer, to be written as one: read-only bytes (buffer protocol) and their sequences."""

    cdef unsigned char *memory
    cdef size_t capacity
    cdef int exports
    cdef readonly size_t bytes
    cdef readonly size_t records
    cdef readonly uint64_t first_sequence

    def __dealloc__(self):
        free(self.memory)

    def __len__(self):
        return self.bytes

    @property
    def last_sequence(self):
        return self.first_sequence + self.records - 1

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.memory, <Py_ssize_t>self.bytes, 1, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


cdef class RecordBuffer:
    """Records in memory until the next commit.

    Invariant: ``used`` <= ``capacity`` <= ``limit``; memory below ``used`` holds ``records`` whole records with the
    sequences from ``next_sequence - records`` on. The lock is held while a record is written with the GIL released.
    """

    cdef PyThread_type_lock lock
    cdef unsigned char *memory
    cdef unsigned char *spare
    cdef size_t used, capacity, spare_capacity, records
    cdef readonly size_t limit
    cdef readonly uint64_t next_sequence
    cdef uint16_t worker

    def __cinit__(self, uint16_t worker, uint64_t next_sequence, size_t bytes_max):
        self.worker = worker
        self.next_sequence = next_sequence
        self.limit = bytes_max
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.memory)
        free(self.spare)
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    @property
    def bytes(self):
        """Bytes that wait for a commit."""
        return self.used

    cdef void _acquire(self) noexcept:
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self.lock, WAIT_LOCK)

    cdef int _reserve(self, size_t more) except -1:
        """Room for ``more`` bytes behind ``used``."""
        cdef size_t needed = self.used + more
        cdef size_t capacity = self.capacity if self.capacity else <size_t>BUFFER_START
        cdef unsigned char *memory
        if needed <= self.capacity:
            return 0
        if needed > self.limit:
            raise RecordOfUseError("the memory buffer of the record of use is full; the disk does not keep up")
        while capacity < needed:
            capacity *= 2
        capacity = min(capacity, self.limit)
        memory = <unsigned char *>realloc(self.memory, capacity)
        if memory == NULL:
            raise RecordOfUseError("no memory for the record of use")
        self.memory = memory
        self.capacity = capacity
        return 0

    def append(
        self, bytes constant, codes, outcomes, uint32_t function, uint32_t items, uint64_t register_version,
        uint32_t since=0, uint32_t request_id=0, uint64_t time_ns=0, matches=None,
    ):
        """Add one provision record; its sequence. Raises RecordOfUseError (full, nothing kept) and ValueError."""
        cdef Py_buffer code_view, outcome_view, match_view
        cdef Record record
        if (matches is None) == (function in (FUNCTION_VERIFY, FUNCTION_SEARCH, FUNCTION_MATCH)):
            raise ValueError("the record of a VERIFY, SEARCH or MATCH holds matches, and no other record does")
        PyObject_GetBuffer(codes, &code_view, PyBUF_SIMPLE)
        try:
            PyObject_GetBuffer(outcomes, &outcome_view, PyBUF_SIMPLE)
            try:
                if code_view.len % 8 or code_view.len // 8 != outcome_view.len:
                    raise ValueError("codes must be u64 and outcomes u8, one for each code")
                if not 0 < outcome_view.len <= CODES_MAX:
                    raise ValueError("a record of use holds 1 to 65,536 provisions")
                record.time_ns = time_ns if time_ns else now_ns()
                record.register_version = register_version
                record.function = function
                record.items = items
                record.since = since
                record.request_id = request_id
                record.worker = self.worker
                record.constant = <const unsigned char *>PyBytes_AS_STRING(constant)
                record.constant_bytes = <size_t>PyBytes_GET_SIZE(constant)
                record.codes = <const unsigned char *>code_view.buf
                record.outcomes = <const uint8_t *>outcome_view.buf
                record.count = <size_t>outcome_view.len
                record.matches = NULL
                if matches is None:
                    return self._append(&record)
                PyObject_GetBuffer(matches, &match_view, PyBUF_SIMPLE)
                try:
                    if match_view.len != outcome_view.len:
                        raise ValueError("matches must be u8, one for each code")
                    record.matches = <const uint8_t *>match_view.buf
                    return self._append(&record)
                finally:
                    PyBuffer_Release(&match_view)
            finally:
                PyBuffer_Release(&outcome_view)
        finally:
            PyBuffer_Release(&code_view)

    cdef object _append(self, Record *record):
        cdef size_t total = record_bytes(record)
        cdef unsigned char *out
        self._acquire()
        try:
            self._reserve(total)
            record.sequence = self.next_sequence
            out = self.memory + self.used
            if record.count >= CODES_WITHOUT_GIL:
                with nogil:
                    record_write(record, out, total)
            else:
                record_write(record, out, total)
            self.used += total
            self.records += 1
            self.next_sequence += 1
            return record.sequence
        finally:
            PyThread_release_lock(self.lock)

    def append_event(self, uint16_t kind, bytes head not None):
        """Add a record of another kind, which has a head and no rows; its sequence. Raises as ``append`` does."""
        cdef size_t length = <size_t>PyBytes_GET_SIZE(head)
        cdef size_t total = (RECORD_HEADER + length + 7) & ~<size_t>7
        cdef unsigned char *out
        cdef uint16_t worker = htole16(self.worker)
        if length > HEAD_MAX or kind in (KIND_PROVISION, KIND_VOID):
            raise ValueError("an event has a head of at most 4,096 bytes and a kind of its own")
        kind = htole16(kind)
        self._acquire()
        try:
            self._reserve(total)
            out = self.memory + self.used
            memset(out, 0, total)
            store_u32(out + 4, <uint32_t>total)
            store_u64(out + 8, self.next_sequence)
            memcpy(out + 16, &worker, 2)
            memcpy(out + 18, &kind, 2)
            store_u32(out + 20, <uint32_t>length)
            memcpy(out + RECORD_HEADER, PyBytes_AS_STRING(head), length)
            store_u32(out, crc32c_update(0, out + 4, total - 4))
            self.used += total
            self.records += 1
            self.next_sequence += 1
            return self.next_sequence - 1
        finally:
            PyThread_release_lock(self.lock)

    def take(self):
        """Everything appended so far as a Group, or None; the buffer is empty afterwards."""
        cdef Group group
        self._acquire()
        try:
            if self.records == 0:
                return None
            group = Group.__new__(Group)
            group.memory = self.memory
            group.capacity = self.capacity
            group.bytes = self.used
            group.records = self.records
            group.first_sequence = self.next_sequence - self.records
            self.memory, self.capacity = self.spare, self.spare_capacity
            self.spare, self.spare_capacity = NULL, 0
            self.used = self.records = 0
            return group
        finally:
            PyThread_release_lock(self.lock)

    def give_back(self, Group group):
        """Reuse a group's memory for later records (the group is empty afterwards), unless a view of it is still held."""
        self._acquire()
        if self.spare == NULL and not group.exports:
            self.spare, self.spare_capacity = group.memory, group.capacity
            group.memory, group.capacity, group.bytes, group.records = NULL, 0, 0, 0
        PyThread_release_lock(self.lock)
