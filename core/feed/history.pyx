"""History blocks: the contributions of one bucket's keys that are not shown (docs/store-format.md, section 6)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from jukinet.core.checksum cimport crc32c_update
from jukinet.core.feed.expiry cimport Expiry, replaced_expired
from jukinet.core.records.record cimport status_registered_day, status_state

from jukinet.core.errors import StoreCorruptError, StoreError

cdef enum:
    HEADER_BYTES = 8            # u32 bucket, u16 count, u8 format, u8 zero
    ENTRY_BYTES = 17            # u32 delta, u8 standing, u16 day, u64 status, u16 length of the record
    CHECKSUM_BYTES = 4
    FORMAT = 1
    STANDING_REPLACED = 1
    STANDING_COMPOSED = 5
    STANDING_MAX = 5
    RECORD_BYTES_MIN = 3
    COUNT_MAX = 65535

ctypedef struct Kept:
    uint32_t delta
    uint8_t standing
    uint16_t day
    uint64_t status
    uint16_t length
    const unsigned char *record


cdef inline const unsigned char *read_kept(const unsigned char *place, Kept *kept) noexcept nogil:
    """The entry at place, and where the next one is."""
    memcpy(&kept.delta, place, 4)
    kept.standing = place[4]
    memcpy(&kept.day, place + 5, 2)
    memcpy(&kept.status, place + 7, 8)
    memcpy(&kept.length, place + 15, 2)
    kept.record = place + ENTRY_BYTES
    return kept.record + kept.length


cdef bint whole(const unsigned char *value, size_t length, uint32_t bucket) noexcept nogil:
    """Whether checksum, header and lengths hold and the deltas ascend: every other function trusts them then."""
    cdef uint32_t checksum, named, before = 0
    cdef uint16_t count
    cdef size_t i, left
    cdef const unsigned char *place = value + HEADER_BYTES
    cdef Kept kept
    if length < HEADER_BYTES + CHECKSUM_BYTES:
        return False
    memcpy(&checksum, value + length - CHECKSUM_BYTES, 4)
    memcpy(&named, value, 4)
    memcpy(&count, value + 4, 2)
    if checksum != crc32c_update(0, value, length - CHECKSUM_BYTES) or named != bucket or count == 0:
        return False
    if value[6] != FORMAT or value[7] != 0:
        return False
    left = length - HEADER_BYTES - CHECKSUM_BYTES
    for i in range(count):
        if left < ENTRY_BYTES:
            return False
        read_kept(place, &kept)
        if left < ENTRY_BYTES + <size_t>kept.length or kept.length < RECORD_BYTES_MIN:
            return False
        if kept.standing == 0 or kept.standing > STANDING_MAX or kept.delta < before:
            return False
        before = kept.delta
        left -= ENTRY_BYTES + kept.length
        place += ENTRY_BYTES + kept.length
    return left == 0


cdef const unsigned char *opened(const unsigned char[::1] value, uint32_t bucket, uint32_t *count) except NULL:
    """The first entry of a whole block, and how many there are."""
    cdef uint16_t counted
    if value.shape[0] < HEADER_BYTES or not whole(&value[0], <size_t>value.shape[0], bucket):
        raise StoreCorruptError(f"the history of bucket {bucket} is damaged; run `jukinet store check`")
    memcpy(&counted, &value[4], 2)
    count[0] = counted
    return &value[HEADER_BYTES]


def decode(const unsigned char[::1] value not None, uint32_t bucket):
    """All entries as (delta, standing, day, status, record bytes). Raises StoreCorruptError unless the block is whole."""
    cdef uint32_t count, i
    cdef Kept kept
    cdef const unsigned char *place = opened(value, bucket, &count)
    cdef list entries = []
    for i in range(count):
        place = read_kept(place, &kept)
        entries.append((kept.delta, kept.standing, kept.day, kept.status, kept.record[:kept.length]))
    return entries


def of_key(const unsigned char[::1] value not None, uint32_t bucket, uint32_t delta):
    """The entries of one key as (standing, day, status, record bytes), in their order."""
    cdef uint32_t count, i
    cdef Kept kept
    cdef const unsigned char *place = opened(value, bucket, &count)
    cdef list entries = []
    for i in range(count):
        place = read_kept(place, &kept)
        if kept.delta == delta:
            entries.append((kept.standing, kept.day, kept.status, kept.record[:kept.length]))
        elif kept.delta > delta:
            break
    return entries


def expired_deltas(const unsigned char[::1] value not None, uint32_t bucket, cutoffs):
    """Deltas of the keys that have an entry past its last day, ascending. What never stood expires like what was replaced."""
    cdef uint32_t count, i, last = 0
    cdef Kept kept
    cdef Expiry expiry
    cdef uint8_t state
    cdef const unsigned char *place = opened(value, bucket, &count)
    cdef list found = []
    expiry.day, expiry.short_day, expiry.long_day = cutoffs.day, cutoffs.short, cutoffs.long
    for i in range(count):
        place = read_kept(place, &kept)
        if kept.standing == STANDING_COMPOSED:
            continue
        state = status_state(kept.status) if kept.standing == STANDING_REPLACED else 0
        if replaced_expired(&expiry, state, status_registered_day(kept.status), kept.day):
            if not found or last != kept.delta:
                found.append(kept.delta)
            last = kept.delta
    return found


def merge(const unsigned char[::1] value, uint32_t bucket, changes):
    """The block after ``changes``: (delta, all entries of that key), deltas strictly ascending; None when none is left.

    ``value`` is the present block or None. Raises StoreCorruptError when it is not whole, StoreError when the result has
    more than 65,535 entries or a record of more than 65,535 bytes.
    """
    cdef uint32_t count = 0, i = 0, delta, total = 0, before = 0
    cdef bint first = True
    cdef size_t room = HEADER_BYTES + CHECKSUM_BYTES
    cdef const unsigned char *place = NULL
    cdef const unsigned char *next_place
    cdef unsigned char *out
    cdef unsigned char *start
    cdef Kept kept
    cdef uint32_t checksum
    cdef bytes made, record
    if value is not None:
        place = opened(value, bucket, &count)
        room += value.shape[0]
    for _, entries in changes:
        for _, _, _, record in entries:
            if not RECORD_BYTES_MIN <= PyBytes_GET_SIZE(record) <= 65535:
                raise StoreError("a record does not fit the history")
            room += ENTRY_BYTES + PyBytes_GET_SIZE(record)
    made = PyBytes_FromStringAndSize(NULL, room)
    start = <unsigned char *>PyBytes_AS_STRING(made)
    out = start + HEADER_BYTES
    for changed, entries in changes:
        delta = changed
        if not first and delta <= before:
            raise StoreError("the keys of a history must ascend")
        first, before = False, delta
        while i < count:
            next_place = read_kept(place, &kept)
            if kept.delta > delta:
                break
            if kept.delta < delta:
                memcpy(out, place, next_place - place)
                out += next_place - place
                total += 1
            place = next_place
            i += 1
        for kept.standing, kept.day, kept.status, record in entries:
            kept.length = <uint16_t>PyBytes_GET_SIZE(record)
            memcpy(out, &delta, 4)
            out[4] = kept.standing
            memcpy(out + 5, &kept.day, 2)
            memcpy(out + 7, &kept.status, 8)
            memcpy(out + 15, &kept.length, 2)
            memcpy(out + ENTRY_BYTES, PyBytes_AS_STRING(record), kept.length)
            out += ENTRY_BYTES + kept.length
            total += 1
    while i < count:
        next_place = read_kept(place, &kept)
        memcpy(out, place, next_place - place)
        out += next_place - place
        place = next_place
        total += 1
        i += 1
    if total == 0:
        return None
    if total > COUNT_MAX:
        raise StoreError(f"bucket {bucket} would have more than {COUNT_MAX} entries of history")
    memcpy(start, &bucket, 4)
    start[4] = <unsigned char>total
    start[5] = <unsigned char>(total >> 8)
    start[6] = FORMAT
    start[7] = 0
    checksum = crc32c_update(0, start, out - start)
    memcpy(out, &checksum, 4)
    return made[:out + CHECKSUM_BYTES - start]
