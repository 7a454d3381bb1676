"""Native parts of cohorts: the coding of a range of keys, membership of many keys, and columns of the journal."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from jukinet.core.checksum cimport crc32c_update
from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.index.gather cimport (
    OUTCOME_CODE_CHANGED, OUTCOME_CURRENT, OUTCOME_REMOVED, SWEEP_DONE, Entry, sweep,
)
from jukinet.core.records.record cimport decimal_date, status_change_date, status_reason, status_registered_day
from jukinet.core.store.snapshot cimport Snapshot

from jukinet.core.errors import StoreCorruptError

codes_prepare()

cdef enum:
    WIDTH = 131072              # keys of one range (docs/cohorts.md, chapter 4)
    HEAD_BYTES = 8              # u32 range, u32 count
    CHECKSUM_BYTES = 4
    DISTANCE_BYTES_MAX = 3      # 131,072 takes 17 bits and a distance less 1 fewer
    RESULT_QUARANTINED = 3
    REASON_EX_OFFICIO_REMOVAL = 23
    EPOCH_DAYS = 730425         # days from 0000-03-01 to 2000-01-01

cdef uint64_t KEYS = 10000000000
RANGE_KEYS = WIDTH


cdef int ascending(const void *a, const void *b) noexcept nogil:
    cdef uint64_t left = (<const uint64_t *>a)[0], right = (<const uint64_t *>b)[0]
    return (left > right) - (left < right)


cdef const unsigned char *u64_column(Py_buffer *view, object source) except? NULL:
    """The bytes of a contiguous buffer of u64; ``view`` must be released. ValueError for another length."""
    PyObject_GetBuffer(source, view, PyBUF_SIMPLE)
    if view.len % 8:
        PyBuffer_Release(view)
        raise ValueError("numbers are 8 bytes each")
    return <const unsigned char *>view.buf


def keys_of(codes):
    """The keys (bytes of u64) of strictly ascending codes. ValueError: not ascending, or no code."""
    cdef Py_buffer view
    cdef size_t i, count
    cdef uint64_t code, key, before = 0
    cdef bint whole = True
    cdef uint64_t *out
    cdef const unsigned char *source = u64_column(&view, codes)
    try:
        count = view.len // 8
        keys = PyBytes_FromStringAndSize(NULL, view.len)
        out = <uint64_t *>PyBytes_AS_STRING(keys)
        with nogil:
            for i in range(count):
                memcpy(&code, source + 8 * i, 8)
                key = code // 10
                if key >= KEYS or code_check_digit(key) != code % 10 or (i and key <= before):
                    whole = False
                    break
                before = out[i] = key
    finally:
        PyBuffer_Release(&view)
    if not whole:
        raise ValueError("codes are valid and ascend strictly")
    return keys


def codes_of(keys):
    """The codes (bytes of u64) of keys below 10^10."""
    cdef Py_buffer view
    cdef size_t i
    cdef uint64_t key
    cdef const unsigned char *source = u64_column(&view, keys)
    codes = PyBytes_FromStringAndSize(NULL, view.len)
    cdef uint64_t *out = <uint64_t *>PyBytes_AS_STRING(codes)
    for i in range(<size_t>view.len // 8):
        memcpy(&key, source + 8 * i, 8)
        out[i] = key * 10 + code_check_digit(key % KEYS)
    PyBuffer_Release(&view)
    return codes


cdef bytes encoded(const uint64_t *keys, size_t count, uint32_t number):
    """The value of one range: count keys, ascending, all in it."""
    cdef size_t i
    cdef uint32_t distance, checksum, counted = <uint32_t>count
    cdef uint64_t before = <uint64_t>number * WIDTH - 1      # wraps below 0 for the first range and comes back
    cdef unsigned char *start = <unsigned char *>malloc(HEAD_BYTES + count * DISTANCE_BYTES_MAX + CHECKSUM_BYTES)
    cdef unsigned char *out
    if start == NULL:
        raise MemoryError
    memcpy(start, &number, 4)
    memcpy(start + 4, &counted, 4)
    out = start + HEAD_BYTES
    for i in range(count):
        distance = <uint32_t>(keys[i] - before - 1)
        before = keys[i]
        while distance > 127:
            out[0] = <unsigned char>(distance & 127 | 128)
            distance >>= 7
            out += 1
        out[0] = <unsigned char>distance
        out += 1
    checksum = crc32c_update(0, start, out - start)
    memcpy(out, &checksum, 4)
    value = PyBytes_FromStringAndSize(<char *>start, out - start + CHECKSUM_BYTES)
    free(start)
    return value


cdef size_t counted_keys(const unsigned char *value, size_t length, uint32_t number) noexcept nogil:
    """How many keys a whole value says to hold; 0 when checksum or head do not hold."""
    cdef uint32_t checksum, named, count
    if length < HEAD_BYTES + CHECKSUM_BYTES + 1:
        return 0
    memcpy(&checksum, value + length - CHECKSUM_BYTES, 4)
    memcpy(&named, value, 4)
    memcpy(&count, value + 4, 4)
    if checksum != crc32c_update(0, value, length - CHECKSUM_BYTES) or named != number or count > WIDTH:
        return 0
    if count > length - HEAD_BYTES - CHECKSUM_BYTES:        # a key takes a byte at least
        return 0
    return count


cdef bint decoded(const unsigned char *value, size_t length, uint32_t number, size_t count, uint64_t *keys) noexcept nogil:
    """Unpack count keys; False when they contradict the value's lengths."""
    cdef const unsigned char *place = value + HEAD_BYTES
    cdef const unsigned char *end = value + length - CHECKSUM_BYTES
    cdef uint64_t first = <uint64_t>number * WIDTH
    cdef uint32_t distance, shift, offset = 0
    cdef unsigned char byte
    cdef size_t i
    for i in range(count):
        distance = shift = 0
        while True:
            if place == end or shift > 14:
                return False
            byte = place[0]
            place += 1
            distance |= <uint32_t>(byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        offset += distance
        if offset >= WIDTH:
            return False
        keys[i] = first + offset
        offset += 1
    return place == end


def encode_ranges(keys):
    """``[(number, value)]`` of ascending keys (buffer of u64): one for each range that has any. ValueError."""
    cdef Py_buffer view
    cdef size_t start = 0, stop, count
    cdef uint64_t number
    cdef const uint64_t *column
    u64_column(&view, keys)
    ranges = []
    try:
        column = <const uint64_t *>view.buf
        count = view.len // 8
        while start < count:
            number = column[start] // WIDTH
            if column[start] >= KEYS:
                raise ValueError("keys are below 10^10")
            stop = start + 1
            while stop < count and column[stop] // WIDTH == number:
                if column[stop] <= column[stop - 1]:
                    raise ValueError("keys ascend")
                stop += 1
            if stop < count and column[stop] < column[start]:
                raise ValueError("keys ascend")
            ranges.append((number, encoded(column + start, stop - start, <uint32_t>number)))
            start = stop
    finally:
        PyBuffer_Release(&view)
    return ranges


def decode_range(value, uint32_t number):
    """The keys (bytes of u64) of one range. StoreCorruptError when the value is damaged."""
    cdef Py_buffer view
    cdef size_t count
    cdef bint whole
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    try:
        count = counted_keys(<const unsigned char *>view.buf, view.len, number)
        keys = PyBytes_FromStringAndSize(NULL, 8 * count)
        whole = count > 0 and decoded(
            <const unsigned char *>view.buf, view.len, number, count, <uint64_t *>PyBytes_AS_STRING(keys)
        )
    finally:
        PyBuffer_Release(&view)
    if not whole:
        raise StoreCorruptError("a range of a cohort is damaged; drop the cohort and register it anew")
    return keys


def members(keys, uint64_t generation, get):
    """Those of ``keys`` (buffer of u64, ascending) that are in the cohort, as bytes of u64.

    get(packed u64 name of a range) -> its value or None. StoreCorruptError when a value is damaged.
    """
    cdef Py_buffer view
    cdef size_t count, i = 0, found = 0, have, at
    cdef uint64_t number, name
    cdef const uint64_t *column
    cdef const uint64_t *held
    u64_column(&view, keys)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, view.len)
    cdef uint64_t *members_out = <uint64_t *>PyBytes_AS_STRING(out)
    try:
        column = <const uint64_t *>view.buf
        count = view.len // 8
        while i < count:
            number = column[i] // WIDTH
            name = generation << 32 | number
            value = get(PyBytes_FromStringAndSize(<char *>&name, 8))
            range_keys = b"" if value is None else decode_range(value, <uint32_t>number)
            have = len(range_keys) // 8
            held = <const uint64_t *>PyBytes_AS_STRING(range_keys)
            at = 0
            while i < count and column[i] // WIDTH == number:
                while at < have and held[at] < column[i]:
                    at += 1
                if at < have and held[at] == column[i]:
                    members_out[found] = column[i]
                    found += 1
                i += 1
    finally:
        PyBuffer_Release(&view)
    return out[:8 * found]


def changed_keys(codes, codes_before, results, size_t start, size_t stop):
    """Keys (bytes of u64, ascending, each once) that rows [start, stop) of a journal entry tell of.

    codes, codes_before: buffers of u64; results: u8. Both codes of a change of code count; quarantined rows do not, nor
    what is no code.
    """
    cdef const uint64_t[::1] after = codes
    cdef const uint64_t[::1] before = codes_before
    cdef const uint8_t[::1] result = results
    cdef size_t row, count = 0, kept = 0, i
    cdef uint64_t code
    if start > stop or stop > <size_t>after.shape[0] or after.shape[0] != before.shape[0] or \
            after.shape[0] != result.shape[0]:
        raise ValueError("rows outside the entry")
    cdef uint64_t *out = <uint64_t *>malloc(16 * (stop - start) + 8)
    if out == NULL:
        raise MemoryError
    with nogil:
        for row in range(start, stop):
            if result[row] == RESULT_QUARANTINED:
                continue
            for i in range(2):
                code = before[row] if i else after[row]
                if code // 10 < KEYS and code_check_digit(code // 10) == code % 10 and (code or not i):
                    out[count] = code // 10
                    count += 1
        qsort(out, count, 8, ascending)
        for i in range(count):
            if not kept or out[i] != out[kept - 1]:
                out[kept] = out[i]
                kept += 1
    keys = PyBytes_FromStringAndSize(<char *>out, 8 * kept)
    free(out)
    return keys


def sorted_once(keys):
    """The keys (buffer of u64) ascending, each once, as bytes of u64."""
    cdef Py_buffer view
    cdef size_t i, count, kept = 0
    u64_column(&view, keys)
    cdef bytes out = PyBytes_FromStringAndSize(<char *>view.buf, view.len)
    PyBuffer_Release(&view)
    cdef uint64_t *column = <uint64_t *>PyBytes_AS_STRING(out)
    count = len(out) // 8
    with nogil:
        qsort(column, count, 8, ascending)
        for i in range(count):
            if not kept or column[i] != column[kept - 1]:
                column[kept] = column[i]
                kept += 1
    return out[:8 * kept]


cdef uint32_t decimal_of_day(uint32_t day) noexcept nogil:
    """The decimal date of a day counted from 2000-01-01 (civil calendar, years begun in March)."""
    cdef uint32_t days = day + EPOCH_DAYS
    cdef uint32_t era = days // 146097
    cdef uint32_t of_era = days % 146097
    cdef uint32_t year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    cdef uint32_t of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef uint32_t month = (5 * of_year + 2) // 153
    cdef uint32_t year = year_of_era + era * 400 + (month >= 10)
    return year * 10000 + (month + 3 if month < 10 else month - 9) * 100 + of_year - (153 * month + 2) // 5 + 1


ctypedef struct StandingColumns:
    uint8_t *outcomes
    uint8_t *reasons
    uint32_t *change_dates
    uint32_t *registered_dates


cdef int write_standing(void *context, size_t row, const Entry *entries, size_t count) noexcept nogil:
    cdef StandingColumns *columns = <StandingColumns *>context
    cdef size_t i
    cdef uint64_t status
    for i in range(count):
        columns.outcomes[row + i] = entries[i].outcome
        status = entries[i].status if OUTCOME_CURRENT <= entries[i].outcome <= OUTCOME_CODE_CHANGED else 0
        columns.reasons[row + i] = status_reason(status)
        columns.change_dates[row + i] = decimal_date(status_change_date(status)) if status else 0
        columns.registered_dates[row + i] = decimal_of_day(status_registered_day(status)) if status else 0
    return SWEEP_DONE


def standings(Snapshot snapshot not None, codes):
    """How codes (buffer of u64) stand: (outcomes u8, reasons u8, change dates u32, registered dates u32) as bytes.

    Dates are decimal; 0 where an outcome tells of nobody. StoreCorruptError when a block is damaged.
    """
    cdef Py_buffer view
    cdef StandingColumns columns
    cdef int result
    cdef size_t count
    if snapshot.transaction is None:
        raise ValueError("the snapshot has ended")
    u64_column(&view, codes)
    count = view.len // 8
    cdef bytes outcomes = PyBytes_FromStringAndSize(NULL, count)
    cdef bytes reasons = PyBytes_FromStringAndSize(NULL, count)
    cdef bytes change_dates = PyBytes_FromStringAndSize(NULL, 4 * count)
    cdef bytes registered_dates = PyBytes_FromStringAndSize(NULL, 4 * count)
    columns.outcomes = <uint8_t *>PyBytes_AS_STRING(outcomes)
    columns.reasons = <uint8_t *>PyBytes_AS_STRING(reasons)
    columns.change_dates = <uint32_t *>PyBytes_AS_STRING(change_dates)
    columns.registered_dates = <uint32_t *>PyBytes_AS_STRING(registered_dates)
    with nogil:
        result = sweep(&snapshot.view, <const unsigned char *>view.buf, 0, count, False, write_standing, &columns)
    PyBuffer_Release(&view)
    if result != SWEEP_DONE:
        raise StoreCorruptError("a block is damaged; run `jukinet store check`")
    return outcomes, reasons, change_dates, registered_dates


ctypedef struct RemovedRows:
    uint8_t *chosen
    uint16_t day


cdef int choose_removed(void *context, size_t row, const Entry *entries, size_t count) noexcept nogil:
    cdef RemovedRows *rows = <RemovedRows *>context
    cdef size_t i
    for i in range(count):
        rows.chosen[row + i] = (
            entries[i].outcome == OUTCOME_REMOVED
            and status_reason(entries[i].status) == REASON_EX_OFFICIO_REMOVAL
            and status_registered_day(entries[i].status) >= rows.day
        )
    return SWEEP_DONE


def removed_since(Snapshot snapshot not None, keys, uint16_t day):
    """Those of ``keys`` (bytes of u64) whose record was removed ex officio on ``day`` (from 2000-01-01) or later."""
    cdef RemovedRows rows
    cdef int result
    cdef size_t i, count = len(keys) // 8, kept = 0
    if snapshot.transaction is None:
        raise ValueError("the snapshot has ended")
    cdef bytes codes = codes_of(keys)
    cdef bytes chosen = PyBytes_FromStringAndSize(NULL, count)
    rows.chosen = <uint8_t *>PyBytes_AS_STRING(chosen)
    rows.day = day
    cdef const unsigned char *column = <const unsigned char *>PyBytes_AS_STRING(codes)
    with nogil:
        result = sweep(&snapshot.view, column, 0, count, False, choose_removed, &rows)
    if result != SWEEP_DONE:
        raise StoreCorruptError("a block is damaged; run `jukinet store check`")
    return b"".join([keys[8 * i:8 * i + 8] for i in range(count) if rows.chosen[i]])
