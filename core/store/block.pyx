"""Blocks: writing, checking and merging the packed entries of one bucket (docs/store-format.md, section 3)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from jukinet.core.checksum cimport crc32c_update
from jukinet.core.records.record cimport (
    ResidentRecord, STATE_CURRENT, STATE_EXPIRED, STATE_RETIRED, kana_unpack, record_decode, status_area,
    status_change_date, status_reason, status_state,
)

from jukinet.core.errors import StoreCorruptError, StoreError

FAULTS = {
    FAULT_TOO_SHORT: "too short for its header",
    FAULT_FORMAT: "unknown format or width of deltas",
    FAULT_BUCKET: "header names another bucket",
    FAULT_COUNT: "no entries",
    FAULT_LENGTH: "length disagrees with the columns",
    FAULT_CHECKSUM: "checksum",
    FAULT_PADDING: "padding is missing or not zero",
    FAULT_ORDER: "keys out of order",
    FAULT_KEY_RANGE: "key outside the bucket",
    FAULT_OFFSETS: "record offsets out of order",
    FAULT_STATUS: "status column out of range",
    FAULT_RECORD: "a record does not decode",
    FAULT_TEXT: "a text is not UTF-8 or not packed kana",
    FAULT_DATE: "an impossible date",
    FAULT_TOWN: "a town number beyond the table",
    FAULT_AREA: "an area number beyond the table",
}
"""What each BlockFault means, for reports; never with content."""


cdef inline size_t columns_bytes(size_t count, bint wide) noexcept nogil:
    """Bytes before the first record."""
    return BLOCK_HEADER_BYTES + count * (4 if wide else 2) + count * BLOCK_ENTRY_BYTES + 2


cdef size_t block_bytes(size_t count, size_t records_bytes, bint wide) noexcept nogil:
    cdef size_t padded = columns_bytes(count, wide) + records_bytes + BLOCK_SLACK_BYTES + BLOCK_TRAILER_BYTES
    padded = (padded + 7) & ~<size_t>7
    return padded if padded > BLOCK_BYTES_MIN else <size_t>BLOCK_BYTES_MIN


cdef uint32_t block_checksum(const unsigned char *block, uint32_t length) noexcept nogil:
    return crc32c_update(crc32c_update(0, <const unsigned char *>&length, 4), block, length)


cdef inline uint32_t block_length(const unsigned char *block, size_t padded) noexcept nogil:
    return (<const uint32_t *>(block + padded - BLOCK_TRAILER_BYTES))[0]


cdef inline bint block_whole(const unsigned char *block, size_t padded) noexcept nogil:
    """Whether the length fits and the checksum agrees."""
    cdef uint32_t length = block_length(block, padded)
    return (
        length <= padded - BLOCK_TRAILER_BYTES
        and block_checksum(block, length) == (<const uint32_t *>(block + padded - 4))[0]
    )


cdef bint block_usable(const unsigned char *data, size_t length, uint32_t bucket, bint wide) noexcept nogil:
    return length >= BLOCK_BYTES_MIN and block_bucket(data) == bucket and data[7] == wide and block_whole(data, length)


cdef size_t block_encode(
    uint32_t bucket, size_t count, bint wide, const uint32_t *deltas, const uint64_t *statuses,
    const uint32_t *record_ends, const unsigned char *records, unsigned char *out,
) noexcept nogil:
    cdef size_t records_bytes, padded, i
    cdef uint16_t start = 0
    cdef unsigned char *place = out + BLOCK_HEADER_BYTES
    if count == 0 or count > 65535:
        return 0
    records_bytes = record_ends[count - 1]
    if records_bytes > BLOCK_RECORDS_BYTES_MAX:
        return 0
    padded = block_bytes(count, records_bytes, wide)
    (<uint32_t *>out)[0] = bucket
    (<uint16_t *>(out + 4))[0] = <uint16_t>count
    out[6] = BLOCK_FORMAT
    out[7] = wide
    if wide:
        memcpy(place, deltas, count * 4)
        place += count * 4
    else:
        for i in range(count):
            (<uint16_t *>place)[i] = <uint16_t>deltas[i]
        place += count * 2
    for i in range(count):
        memcpy(place, &start, 2)
        memcpy(place + 2, &statuses[i], 8)
        start = <uint16_t>record_ends[i]
        place += BLOCK_ENTRY_BYTES
    memcpy(place, &start, 2)
    memcpy(place + 2, records, records_bytes)
    place += 2 + records_bytes
    memset(place, 0, padded - (place - out))
    (<uint32_t *>(out + padded - BLOCK_TRAILER_BYTES))[0] = <uint32_t>(place - out)
    (<uint32_t *>(out + padded - 4))[0] = block_checksum(out, <uint32_t>(place - out))
    return padded


cdef bint utf8_valid(const unsigned char *text, size_t length) noexcept nogil:
    """Whether text is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms)."""
    cdef size_t i = 0
    cdef uint32_t point
    while i < length:
        if text[i] < 0x80:
            i += 1
        elif text[i] < 0xC2:
            return False
        elif text[i] < 0xE0:
            if i + 1 >= length or text[i + 1] & 0xC0 != 0x80:
                return False
            i += 2
        elif text[i] < 0xF0:
            if i + 2 >= length or text[i + 1] & 0xC0 != 0x80 or text[i + 2] & 0xC0 != 0x80:
                return False
            point = <uint32_t>(text[i] & 15) << 12 | <uint32_t>(text[i + 1] & 63) << 6 | (text[i + 2] & 63)
            if point < 0x800 or 0xD800 <= point <= 0xDFFF:
                return False
            i += 3
        else:
            if (text[i] > 0xF4 or i + 3 >= length or text[i + 1] & 0xC0 != 0x80
                    or text[i + 2] & 0xC0 != 0x80 or text[i + 3] & 0xC0 != 0x80):
                return False
            point = (<uint32_t>(text[i] & 7) << 18 | <uint32_t>(text[i + 1] & 63) << 12
                     | <uint32_t>(text[i + 2] & 63) << 6 | (text[i + 3] & 63))
            if point < 0x10000 or point > 0x10FFFF:
                return False
            i += 4
    return True


cdef bint date_valid(uint32_t packed) noexcept nogil:
    """A date of the Gregorian calendar, with unknown day, month or year as zeros (year, year-month, or nothing known)."""
    cdef uint32_t year = packed >> 9, month = packed >> 5 & 15, day = packed & 31, longest
    if year == 0:
        return packed == 0
    if year < 1800 or year > 2200 or month > 12:
        return False
    if month == 0:
        return day == 0
    if month == 2:
        longest = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        longest = 30 if month in (4, 6, 9, 11) else 31
    return day <= longest


cdef bint kana_valid(const unsigned char *packed, size_t length) noexcept nogil:
    cdef unsigned char out[4]
    cdef size_t i
    for i in range(length):
        if kana_unpack(packed + i, 1, out) == 0:
            return False
    return True


cdef BlockFault verify_entry(
    const unsigned char *record_bytes, size_t length, uint64_t status, uint32_t areas, uint32_t towns,
) noexcept nogil:
    cdef ResidentRecord record
    cdef uint8_t state = status_state(status), reason = status_reason(status)
    if status >> 59 or state < STATE_CURRENT or state > STATE_EXPIRED:
        return FAULT_STATUS
    if reason != 0 and reason not in (11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42):
        return FAULT_STATUS
    if status_area(status) >= areas:
        return FAULT_AREA
    if record_decode(record_bytes, length, status, &record) < 0:
        return FAULT_RECORD
    if (record.name == NULL) != (state >= STATE_RETIRED) or record.successor_key > 10_000_000_000u:
        return FAULT_RECORD
    if not date_valid(record.change_date) or not date_valid(record.birth_date):
        return FAULT_DATE
    if record.town > towns:
        return FAULT_TOWN
    if record.name == NULL:
        return FAULT_NONE
    if (not utf8_valid(record.name, record.name_bytes) or not utf8_valid(record.alias, record.alias_bytes)
            or not utf8_valid(record.rest, record.rest_bytes)):
        return FAULT_TEXT
    if record.kana_packed:
        return FAULT_NONE if kana_valid(record.kana, record.kana_bytes) else FAULT_TEXT
    return FAULT_NONE if utf8_valid(record.kana, record.kana_bytes) else FAULT_TEXT


cdef inline bint zeros(const unsigned char *data, const unsigned char *end) noexcept nogil:
    while data < end:
        if data[0]:
            return False
        data += 1
    return True


cdef BlockFault block_verify(
    const unsigned char *data, size_t length, uint32_t bucket, uint64_t width, bint wide,
    uint32_t areas, uint32_t towns,
) noexcept nogil:
    cdef BlockView view
    cdef size_t used, i
    cdef uint32_t delta, before = 0, end
    cdef BlockFault fault
    if length < BLOCK_BYTES_MIN or length & 7:
        return FAULT_TOO_SHORT
    if data[6] != BLOCK_FORMAT or data[7] != wide:
        return FAULT_FORMAT
    if block_bucket(data) != bucket:
        return FAULT_BUCKET
    block_view(data, &view)
    used = block_length(data, length)
    if view.count == 0:
        return FAULT_COUNT
    if used > length - BLOCK_TRAILER_BYTES or used < columns_bytes(view.count, wide):
        return FAULT_LENGTH
    if not block_whole(data, length):
        return FAULT_CHECKSUM
    if used != columns_bytes(view.count, wide) + block_record_start(&view, view.count) or block_record_start(&view, 0) != 0:
        return FAULT_LENGTH
    if (length != block_bytes(view.count, block_record_start(&view, view.count), wide)
            or not zeros(data + used, data + length - BLOCK_TRAILER_BYTES)):
        return FAULT_PADDING
    end = block_record_start(&view, view.count)
    for i in range(view.count):
        delta = block_delta(&view, <uint32_t>i)
        if i and delta <= before:
            return FAULT_ORDER
        before = delta
        if delta >= width or delta + <uint64_t>bucket * width >= 10_000_000_000u:
            return FAULT_KEY_RANGE
        if not block_record_start(&view, i) <= block_record_start(&view, i + 1) <= end:
            return FAULT_OFFSETS
        fault = verify_entry(
            view.records + block_record_start(&view, i),
            block_record_start(&view, i + 1) - block_record_start(&view, i),
            block_status(&view, i), areas, towns,
        )
        if fault != FAULT_NONE:
            return fault
    return FAULT_NONE


def verify(const unsigned char[::1] block not None, uint32_t bucket, uint64_t width, bint wide,
           uint32_t areas, uint32_t towns):
    """None for a whole block, otherwise what is wrong with it in words without content."""
    cdef BlockFault fault
    if block.shape[0] == 0:
        return FAULTS[FAULT_TOO_SHORT]
    with nogil:
        fault = block_verify(&block[0], <size_t>block.shape[0], bucket, width, wide, areas, towns)
    return FAULTS.get(fault)


def encode(uint32_t bucket, bint wide, entries):
    """A padded block of ``entries``: (delta, status, record bytes), deltas strictly ascending.

    Raises StoreError when there are none, too many, out of order, or more than 65,535 bytes of records.
    """
    cdef size_t count = len(entries), i = 0, written
    cdef uint32_t *deltas
    cdef uint32_t *ends
    cdef uint64_t *statuses
    cdef bytes records = b"".join([entry[2] for entry in entries])
    if count == 0 or count > 65535 or len(records) > BLOCK_RECORDS_BYTES_MAX:
        raise StoreError(f"a bucket of {count} entries and {len(records)} bytes of records does not fit a block")
    deltas = <uint32_t *>malloc(count * 16)
    if deltas == NULL:
        raise MemoryError
    ends = deltas + count
    statuses = <uint64_t *>(deltas + 2 * count)
    try:
        for delta, status, record in entries:
            deltas[i] = delta
            statuses[i] = status
            ends[i] = <uint32_t>len(record) + (ends[i - 1] if i else 0)
            if (i and deltas[i] <= deltas[i - 1]) or (not wide and deltas[i] > 65535):
                raise StoreError("the keys of a block must ascend and fit its width")
            i += 1
        out = PyBytes_FromStringAndSize(NULL, block_bytes(count, len(records), wide))
        block_encode(bucket, count, wide, deltas, statuses, ends, records, <unsigned char *>PyBytes_AS_STRING(out))
        return out
    finally:
        free(deltas)


def decode(const unsigned char[::1] block not None):
    """The entries of a block as (delta, status, record bytes). Raises StoreCorruptError unless the columns fit."""
    cdef BlockView view
    cdef uint32_t i
    cdef size_t length = block.shape[0]
    if length < BLOCK_BYTES_MIN or block[6] != BLOCK_FORMAT:
        raise StoreCorruptError("a block is too short or of unknown format")
    block_view(&block[0], &view)
    if (columns_bytes(view.count, view.wide) > length
            or view.records + block_record_start(&view, view.count) > &block[0] + length):
        raise StoreCorruptError("a block's columns pass its end")
    entries = []
    for i in range(view.count):
        if block_record_start(&view, i) > block_record_start(&view, i + 1):
            raise StoreCorruptError("a block's record offsets are out of order")
        entries.append(_entry(&view, i))
    return entries


cdef inline bint holds_person(uint64_t status) noexcept nogil:
    return STATE_CURRENT <= status_state(status) < STATE_RETIRED


cdef class _Merging:
    """The columns of a block that is being merged; freed with it."""

    cdef uint32_t *deltas
    cdef uint32_t *ends
    cdef uint64_t *statuses
    cdef unsigned char *records
    cdef size_t count, records_bytes

    def __cinit__(self, size_t entries_room, size_t records_room):
        self.statuses = <uint64_t *>malloc(entries_room * 16 + records_room + 1)
        if self.statuses == NULL:
            raise MemoryError
        self.deltas = <uint32_t *>(self.statuses + entries_room)
        self.ends = self.deltas + entries_room
        self.records = <unsigned char *>(self.ends + entries_room)

    def __dealloc__(self):
        free(self.statuses)

    cdef void take(self, const BlockView *view, uint32_t start, uint32_t stop) noexcept nogil:
        """Entries start to stop - 1 of the present block."""
        cdef uint32_t first, i
        if start >= stop:
            return
        first = block_record_start(view, start)
        for i in range(start, stop):
            self.deltas[self.count] = block_delta(view, i)
            self.statuses[self.count] = block_status(view, i)
            self.ends[self.count] = <uint32_t>self.records_bytes + block_record_start(view, i + 1) - first
            self.count += 1
        memcpy(self.records + self.records_bytes, view.records + first, block_record_start(view, stop) - first)
        self.records_bytes += block_record_start(view, stop) - first

    cdef void add(self, uint32_t delta, uint64_t status, const unsigned char *record, size_t length) noexcept nogil:
        self.deltas[self.count] = delta
        self.statuses[self.count] = status
        memcpy(self.records + self.records_bytes, record, length)
        self.records_bytes += length
        self.ends[self.count] = <uint32_t>self.records_bytes
        self.count += 1


def merge(const unsigned char[::1] block, uint32_t bucket, bint wide, changes):
    """(new block or None when nothing is left, change in entries, change in persons) of a bucket after ``changes``.

    ``block`` is the present one or None. ``changes`` are (delta, status, record bytes), deltas strictly ascending; an entry
    replaces the one with its delta or is added; record None takes it away. Raises StoreError when the result does not fit,
    StoreCorruptError when the present block is not whole.
    """
    cdef BlockView view
    cdef uint32_t i = 0, place, delta, before = 0
    cdef uint64_t status
    cdef long entries = 0, persons = 0
    cdef size_t room = 0
    cdef bint first = True
    cdef _Merging merged
    cdef bytes record
    view.count = 0
    if block is not None:
        if block.shape[0] < BLOCK_BYTES_MIN:
            raise StoreCorruptError(f"the block of bucket {bucket} is too short")
        block_view(&block[0], &view)
        if view.bucket != bucket or view.wide != wide or not block_whole(&block[0], <size_t>block.shape[0]):
            raise StoreCorruptError(f"the block of bucket {bucket} is damaged; run `jukinet store check`")
        room = block.shape[0]
    for _, _, record in changes:
        room += 0 if record is None else len(record)
    merged = _Merging(view.count + len(changes), room)
    for changed_delta, changed_status, record in changes:
        delta, status = changed_delta, changed_status
        if (not first and delta <= before) or (not wide and delta > 65535):
            raise StoreError("the keys of a block must ascend and fit its width")
        first, before = False, delta
        place = block_rank(&view, delta) if view.count else 0
        merged.take(&view, i, place)
        i = place
        if block_has(&view, place, delta):
            entries -= 1
            persons -= holds_person(block_status(&view, place))
            i += 1
        if record is not None:
            entries += 1
            persons += holds_person(status)
            merged.add(delta, status, record, len(record))
    merged.take(&view, i, view.count)
    if merged.count == 0:
        return None, entries, persons
    if merged.count > 65535 or merged.records_bytes > BLOCK_RECORDS_BYTES_MAX:
        raise StoreError(
            f"a bucket of {merged.count} entries and {merged.records_bytes} bytes of records does not fit a block"
        )
    out = PyBytes_FromStringAndSize(NULL, block_bytes(merged.count, merged.records_bytes, wide))
    block_encode(
        bucket, merged.count, wide, merged.deltas, merged.statuses, merged.ends, merged.records,
        <unsigned char *>PyBytes_AS_STRING(out),
    )
    return out, entries, persons


cdef tuple _entry(const BlockView *view, uint32_t i):
    cdef uint32_t start = block_record_start(view, i)
    return (
        block_delta(view, i),
        block_status(view, i),
        (view.records + start)[:block_record_start(view, i + 1) - start],
    )


def records_bytes(const unsigned char[::1] block not None):
    """Bytes of a block's records together."""
    cdef BlockView view
    cdef size_t length = block.shape[0]
    if length < BLOCK_BYTES_MIN:
        raise StoreCorruptError("a block is too short")
    block_view(&block[0], &view)
    if columns_bytes(view.count, view.wide) > length:
        raise StoreCorruptError("a block's columns pass its end")
    return block_record_start(&view, view.count)


def find(const unsigned char[::1] block not None, uint32_t delta):
    """(status, record bytes) of the entry with ``delta``, or None."""
    cdef BlockView view
    cdef uint32_t rank
    if block.shape[0] < BLOCK_BYTES_MIN:
        raise StoreCorruptError("a block is too short")
    block_view(&block[0], &view)
    rank = block_rank(&view, delta)
    if not block_has(&view, rank, delta):
        return None
    return _entry(&view, rank)[1:]
