"""A prefecture's entries in a range of keys as statements: the columns of a LOAD_RANGE, made from a snapshot's blocks."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.feed.digest_kernel cimport AREA_NUMBERS, Places, area_prefecture, is_held, places_of
from jukinet.core.records.record cimport (
    STATE_ALLOTTED, STATE_RETIRED, ResidentRecord, decimal_date, kana_unpack, record_decode, status_area, status_state,
)
from jukinet.core.store.block cimport (
    BlockView, block_bucket, block_delta, block_rank, block_record_start, block_status, block_view,
)
from jukinet.core.store.snapshot cimport Snapshot

from jukinet.core.errors import StoreCorruptError, StoreError

codes_prepare()

cdef enum:
    TEXTS = 4
    FIXED = 9
    FIXED_BYTES = 35            # of a row, beside its texts' offsets
    KANA_ROOM = 3 * 255 + 1
    COLUMNS_SLACK = 8 * (FIXED + 2 * TEXTS) + 4 * TEXTS

cdef size_t *widths = [1, 1, 1, 4, 4, 4, 4, 8, 8]


# One entry of the range, found in its block.
ctypedef struct Found:
    uint64_t key
    uint64_t status
    const unsigned char *record
    uint32_t record_bytes

ctypedef struct Walk:
    Places places
    uint8_t wanted[AREA_NUMBERS]
    Found *found
    size_t count, rows_max
    uint64_t text_bytes[TEXTS]
    uint64_t bytes, bytes_max
    uint64_t next_key
    bint full, damaged


cdef inline uint32_t town_bytes(const Places *places, uint32_t town) noexcept nogil:
    if town == 0 or town > places.towns:
        return 0
    return places.town_offsets[town] - places.town_offsets[town - 1]


cdef inline uint32_t kana_bytes(const ResidentRecord *record) noexcept nogil:
    cdef unsigned char out[KANA_ROOM]
    if record.kana_packed:
        return <uint32_t>kana_unpack(record.kana, record.kana_bytes, out)
    return record.kana_bytes


cdef bint take(Walk *walk, uint64_t key, uint64_t status, const unsigned char *data, uint32_t length) noexcept nogil:
    """Whether the walk goes on: False when there is no room for this entry, or it is damaged."""
    cdef ResidentRecord record
    cdef uint32_t texts[TEXTS]
    cdef uint64_t bytes = FIXED_BYTES + 4 * TEXTS
    cdef Found *found
    cdef int i
    if record_decode(data, length, status, &record) < 0 or (record.name == NULL) != (record.state == STATE_RETIRED):
        walk.damaged = True
        return False
    if record.state == STATE_RETIRED and not is_held(&record):
        return True                 # nobody knows what it leads to, so there is nothing to state
    texts[0], texts[1], texts[2] = record.name_bytes, kana_bytes(&record), record.alias_bytes
    texts[3] = town_bytes(&walk.places, record.town) + record.rest_bytes
    for i in range(TEXTS):
        bytes += texts[i]
    if walk.count == walk.rows_max or walk.bytes + bytes > walk.bytes_max:
        walk.full = True
        walk.next_key = key
        return False
    found = walk.found + walk.count
    found.key, found.status, found.record, found.record_bytes = key, status, data, length
    for i in range(TEXTS):
        walk.text_bytes[i] += texts[i]
    walk.bytes += bytes
    walk.count += 1
    return True


cdef void walk_range(Walk *walk, Snapshot snapshot, uint64_t first, uint64_t stop) noexcept nogil:
    cdef uint64_t width = snapshot.view.width, bucket, key, status
    cdef const unsigned char *block
    cdef BlockView view
    cdef uint32_t i, start
    for bucket in range(first // width, (stop - 1) // width + 1):
        block = snapshot.view.directory[bucket] if bucket < snapshot.view.buckets else NULL
        if block == NULL:
            continue
        if block_bucket(block) != bucket:
            walk.damaged = True
            return
        block_view(block, &view)
        i = block_rank(&view, <uint32_t>(first - bucket * width)) if first > bucket * width else 0
        while i < view.count:
            key = bucket * width + block_delta(&view, i)
            if key >= stop:
                return
            status = block_status(&view, i)
            if status_state(status) < STATE_ALLOTTED and walk.wanted[status_area(status)]:
                start = block_record_start(&view, i)
                if not take(walk, key, status, view.records + start, block_record_start(&view, i + 1) - start):
                    return
            i += 1


cdef inline size_t padded(size_t length) noexcept nogil:
    return (length + 7) & ~<size_t>7


cdef inline void put_u32(unsigned char *column, size_t row, uint32_t value) noexcept nogil:
    memcpy(column + 4 * row, &value, 4)


cdef inline unsigned char *put_text(unsigned char *place, const unsigned char *text, size_t length) noexcept nogil:
    if length:
        memcpy(place, text, length)
    return place + length


cdef void write_columns(const Walk *walk, unsigned char *out) noexcept nogil:
    cdef unsigned char *fixed[FIXED]
    cdef unsigned char *offsets[TEXTS]
    cdef unsigned char *data[TEXTS]
    cdef unsigned char *ends[TEXTS]
    cdef unsigned char kana[KANA_ROOM]
    cdef ResidentRecord record
    cdef const Found *found
    cdef size_t row
    cdef uint64_t code
    cdef uint32_t length
    cdef int i
    for i in range(FIXED):
        fixed[i] = out
        out += padded(widths[i] * walk.count)
    for i in range(TEXTS):
        offsets[i] = out
        out += padded(4 * (walk.count + 1))
        data[i] = ends[i] = out
        out += padded(walk.text_bytes[i])
    for row in range(walk.count):
        found = walk.found + row
        record_decode(found.record, found.record_bytes, found.status, &record)
        fixed[0][row], fixed[1][row], fixed[2][row] = record.reason, record.state, record.sex
        put_u32(fixed[3], row, record.update_number)
        put_u32(fixed[4], row, walk.places.area_jis[record.area])
        put_u32(fixed[5], row, decimal_date(record.change_date))
        put_u32(fixed[6], row, decimal_date(record.birth_date))
        code = found.key * 10 + code_check_digit(found.key)
        memcpy(fixed[7] + 8 * row, &code, 8)
        if record.state == STATE_RETIRED:
            code = (record.successor_key - 1) * 10 + code_check_digit(record.successor_key - 1)
            memcpy(fixed[8] + 8 * row, &code, 8)
        ends[0] = put_text(ends[0], record.name, record.name_bytes)
        if record.kana_packed:
            ends[1] = put_text(ends[1], kana, kana_unpack(record.kana, record.kana_bytes, kana))
        else:
            ends[1] = put_text(ends[1], record.kana, record.kana_bytes)
        ends[2] = put_text(ends[2], record.alias, record.alias_bytes)
        length = town_bytes(&walk.places, record.town)
        if length:
            ends[3] = put_text(ends[3], walk.places.town_text + walk.places.town_offsets[record.town - 1], length)
        ends[3] = put_text(ends[3], record.rest, record.rest_bytes)
        for i in range(TEXTS):
            put_u32(offsets[i], row + 1, <uint32_t>(ends[i] - data[i]))


def statements(
    Snapshot snapshot not None, uint32_t prefecture, uint64_t first_key, uint64_t stop_key, size_t rows_max,
    uint64_t bytes_max
):
    """(payload, rows, next key): what the prefecture's areas hold from first_key on, as NotificationBatch.parse takes it.

    Current residents, those removed whose record is still kept, and retired codes that lead to another. At most rows_max rows and about bytes_max bytes; next
    key is stop_key when everything below it is in. Raises ValueError for a range that is none, StoreCorruptError for a
    damaged block, StoreError when not even one entry fits.
    """
    cdef Walk *walk
    cdef uint32_t area
    cdef size_t length
    cdef unsigned char *place
    cdef int i
    if not first_key < stop_key <= 10_000_000_000u:
        raise ValueError("a range must have keys and end at 10^10 at the latest")
    if snapshot.transaction is None:
        raise StoreError("the snapshot has ended")
    walk = <Walk *>malloc(sizeof(Walk))
    if walk == NULL:
        raise MemoryError
    memset(walk, 0, sizeof(Walk))
    try:
        walk.found = <Found *>malloc(rows_max * sizeof(Found) + 1)
        if walk.found == NULL:
            raise MemoryError
        places_of(snapshot.places, &walk.places)
        for area in range(snapshot.view.areas):
            walk.wanted[area] = area_prefecture(&walk.places, area) == prefecture
        walk.rows_max, walk.next_key = rows_max, stop_key
        walk.bytes_max = bytes_max - min(bytes_max, COLUMNS_SLACK)
        with nogil:
            walk_range(walk, snapshot, first_key, stop_key)
        if walk.damaged:
            raise StoreCorruptError("a block of the register is damaged; run `jukinet store check`")
        if walk.full and walk.count == 0:
            raise StoreError("an entry is larger than a range may be")
        length = 0
        for i in range(FIXED):
            length += padded(widths[i] * walk.count)
        for i in range(TEXTS):
            length += padded(4 * (walk.count + 1)) + padded(walk.text_bytes[i])
        out = PyBytes_FromStringAndSize(NULL, length)
        place = <unsigned char *>PyBytes_AS_STRING(out)
        memset(place, 0, length)
        with nogil:
            write_columns(walk, place)
        return out, walk.count, walk.next_key
    finally:
        free(walk.found)
        free(walk)
