"""Kernel of loading: statements sorted by key become entries, merged with the blocks of their buckets.

A row is *plain* when it has no fault, its key has neither an entry nor a history, and its block has room: then it is
shown as it is. A row whose entry is already there, byte for byte, changes nothing. Every other row is *general* and left
to the engine.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from jukinet.core.feed.digest_kernel cimport (
    AREA_NUMBERS, DigestTotals, Places, area_prefecture, places_of, tally_add,
)
from jukinet.core.identity.changes cimport IdentityChanges
from jukinet.core.records.record cimport (
    PART_NOTIFIED, STATE_CURRENT, STATE_RETIRED, ResidentRecord, packed_from_decimal, record_decode, record_encode, status_area, status_encode,
    status_state,
)
from jukinet.core.store.block cimport (
    BLOCK_RECORDS_BYTES_MAX, BlockView, block_bytes, block_delta, block_encode, block_record_start, block_status,
    block_usable, block_view,
)
from jukinet.core.store.snapshot cimport PlaceTables

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError, StoreError
from jukinet.core.feed.errors import RangeError

cdef enum:
    POSITIONS = 21
    JIS_END = 100_000
    NO_AREA = 0xFFFF
    TEXT_BYTES_MAX = 255
    RECORD_ROOM_BYTES = 1100
    RECORD_BYTES_FIXED = 16     # of a person's record without its texts
    ENTRIES_MAX = 65535
    LENGTHS_MAX = 256           # a town's text has at most 255 bytes

cdef enum:
    FATE_PLAIN = 0
    FATE_GENERAL = 1

cdef uint64_t DAY_BITS = <uint64_t>0xFFFF << 43


cdef inline uint64_t hash_step(uint64_t hashed, unsigned char byte) noexcept nogil:
    """FNV-1a, one byte at a time, so that all prefixes of an address are hashed in one pass."""
    return (hashed ^ byte) * <uint64_t>0x100000001B3


cdef class TownIndex:
    """Finds the longest town text of an area that an address begins with. Of equal texts the first town counts."""

    cdef readonly PlaceTables places
    cdef uint32_t *slots                # town numbers from 1 by hash; 0: free
    cdef uint16_t *town_areas           # by town number
    cdef uint8_t *longest               # per area: bit i of 32 bytes tells that a text of i bytes exists
    cdef uint16_t *area_of_jis          # JIS_END numbers; NO_AREA where there is no area
    cdef uint8_t *is_connected          # by number of the area
    cdef uint64_t mask

    def __cinit__(self, PlaceTables places not None, list towns not None):
        cdef uint32_t number
        cdef uint64_t slot, slots = 1024
        cdef uint32_t start, length
        self.places = places
        if len(towns) != places.towns_count:
            raise ValueError("the towns are not those of the tables")
        while slots < 2 * <uint64_t>len(towns):
            slots *= 2
        self.mask = slots - 1
        self.slots = <uint32_t *>calloc(slots, sizeof(uint32_t))
        self.town_areas = <uint16_t *>calloc(len(towns) + 1, sizeof(uint16_t))
        self.longest = <uint8_t *>calloc(AREA_NUMBERS, 32)
        self.area_of_jis = <uint16_t *>malloc(JIS_END * sizeof(uint16_t))
        self.is_connected = <uint8_t *>calloc(AREA_NUMBERS, sizeof(uint8_t))
        if (
            self.slots == NULL or self.town_areas == NULL or self.longest == NULL or self.area_of_jis == NULL
            or self.is_connected == NULL
        ):
            raise MemoryError
        memset(self.area_of_jis, 0xFF, JIS_END * sizeof(uint16_t))
        for number in range(places.areas_count):
            if places.jis[number] < JIS_END:
                self.area_of_jis[places.jis[number]] = <uint16_t>number
                self.is_connected[number] = places.connected[number] != 0
        for number in range(1, places.towns_count + 1):
            self.town_areas[number] = <uint16_t>(<uint32_t>towns[number - 1].area & 4095)
            start = places.offsets[number - 1]
            length = places.offsets[number] - start
            if length == 0:
                continue
            slot = self.find(self.town_areas[number], places.text + start, length, hash_of(places.text + start, length))
            if self.slots[slot] == 0:
                self.slots[slot] = number
                self.longest[self.town_areas[number] * 32 + length // 8] |= <uint8_t>(1 << length % 8)

    def __dealloc__(self):
        free(self.slots)
        free(self.town_areas)
        free(self.longest)
        free(self.area_of_jis)
        free(self.is_connected)

    cdef uint64_t find(self, uint32_t area, const unsigned char *text, uint32_t length, uint64_t hashed) noexcept nogil:
        """The slot of the town of this area with this text, or the free one where it would stand."""
        cdef uint64_t slot = (hashed ^ hashed >> 29 ^ <uint64_t>area * <uint64_t>0x9E3779B1) & self.mask
        cdef uint32_t number, start
        while True:
            number = self.slots[slot]
            if number == 0:
                return slot
            start = self.places.offsets[number - 1]
            if (self.town_areas[number] == area and self.places.offsets[number] - start == length
                    and memcmp(self.places.text + start, text, length) == 0):
                return slot
            slot = (slot + 1) & self.mask

    cdef uint32_t longest_town(
        self, uint32_t area, const unsigned char *address, uint32_t length, uint32_t *town_bytes
    ) noexcept nogil:
        """The town's number and the bytes of its text; 0 and 0 when none fits."""
        cdef uint64_t hashes[LENGTHS_MAX]
        cdef uint64_t hashed = <uint64_t>0xCBF29CE484222325
        cdef const uint8_t *lengths = self.longest + area * 32
        cdef uint32_t i, number, top = length if length <= TEXT_BYTES_MAX else TEXT_BYTES_MAX
        for i in range(top):
            hashed = hash_step(hashed, address[i])
            hashes[i + 1] = hashed
        for i in range(top, 0, -1):
            if lengths[i // 8] >> (i % 8) & 1:
                number = self.slots[self.find(area, address, i, hashes[i])]
                if number:
                    town_bytes[0] = i
                    return number
        town_bytes[0] = 0
        return 0

    def split(self, uint32_t area, bytes address not None):
        """(town number from 1, bytes of its text), or (0, 0). For the twin."""
        cdef uint32_t town_bytes = 0, number
        if area >= AREA_NUMBERS:
            raise IndexError("no such area")
        number = self.longest_town(area, address, <uint32_t>len(address), &town_bytes)
        return number, town_bytes


cdef uint64_t hash_of(const unsigned char *text, uint32_t length) noexcept nogil:
    cdef uint64_t hashed = <uint64_t>0xCBF29CE484222325
    cdef uint32_t i
    for i in range(length):
        hashed = hash_step(hashed, text[i])
    return hashed


ctypedef struct Columns:
    const unsigned char *payload
    size_t at[POSITIONS]


cdef inline uint32_t load_u32(const unsigned char *place) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return value


cdef inline uint64_t load_u64(const unsigned char *place) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, place, 8)
    return value


cdef inline const unsigned char *text_of(
    const Columns *columns, size_t column, size_t row, uint32_t *length
) noexcept nogil:
    cdef const unsigned char *offsets = columns.payload + columns.at[column] + 4 * row
    cdef uint32_t start = load_u32(offsets)
    length[0] = load_u32(offsets + 4) - start
    return columns.payload + columns.at[column + 1] + start


cdef int columns_begin(Columns *columns, Py_buffer *view, size_t count, tuple positions) except -1:
    """Positions must be those of a NotificationBatch over these bytes: only their ends are checked again."""
    cdef size_t i
    cdef size_t *widths = [1, 1, 1, 4, 4, 4, 4, 8, 8]
    if len(positions) != POSITIONS:
        raise ValueError("positions are those of a NotificationBatch")
    columns.payload = <const unsigned char *>view.buf
    for i in range(POSITIONS):
        columns.at[i] = positions[i]
    for i in range(9):
        if columns.at[i] + widths[i] * count > <size_t>view.len:
            raise ValueError("positions are those of a NotificationBatch of count rows in payload")
    for i in range(9, POSITIONS, 3):
        if columns.at[i] + 4 * (count + 1) > <size_t>view.len or columns.at[i + 2] > <size_t>view.len:
            raise ValueError("positions are those of a NotificationBatch of count rows in payload")
    return 0


def check_rows(payload, tuple positions not None, size_t count, uint64_t first_key, uint64_t stop_key):
    """RangeError unless the rows are statements with ascending keys inside [first_key, stop_key)."""
    cdef Py_buffer view
    cdef Columns columns
    cdef uint64_t key, lowest = first_key
    cdef size_t row
    cdef bint ascending = True, statements = True
    if not first_key < stop_key <= 10_000_000_000u:
        raise RangeError("a range of keys is empty or leaves the keys")
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        columns_begin(&columns, &view, count, positions)
        with nogil:
            for row in range(count):
                key = load_u64(columns.payload + columns.at[7] + 8 * row) // 10
                ascending = ascending and lowest <= key < stop_key
                lowest = key + 1
                statements = statements and columns.payload[columns.at[1] + row] != 0
    finally:
        PyBuffer_Release(&view)
    if not ascending:
        raise RangeError("the keys of a range must ascend and lie inside it")
    if not statements:
        raise RangeError("the rows of a range are statements")


# Entries of one bucket on their way into a block.
ctypedef struct Bucket:
    uint32_t count
    uint32_t bytes
    uint32_t count_due          # entries of the present block that are still to come, for which room is kept
    uint32_t bytes_due
    uint32_t deltas[ENTRIES_MAX]
    uint64_t statuses[ENTRIES_MAX]
    uint32_t ends[ENTRIES_MAX]
    unsigned char records[BLOCK_RECORDS_BYTES_MAX]


cdef bint bucket_put(
    Bucket *bucket, uint32_t delta, uint64_t status, const unsigned char *record, uint32_t length
) noexcept nogil:
    """False when the bucket has no room beside what is due."""
    if (bucket.count + bucket.count_due >= ENTRIES_MAX
            or bucket.bytes + bucket.bytes_due + length > BLOCK_RECORDS_BYTES_MAX):
        return False
    memcpy(bucket.records + bucket.bytes, record, length)
    bucket.bytes += length
    bucket.deltas[bucket.count] = delta
    bucket.statuses[bucket.count] = status
    bucket.ends[bucket.count] = bucket.bytes
    bucket.count += 1
    return True


cdef class SortedRows:
    """The rows of one range, encoded, and what became of each; ``merge`` takes them bucket by bucket, ascending.

    faults: one byte a row, from faults_of. day: days since 2000-01-01 of their registration. general_keys: ascending
    keys that have a history or are at work in the transaction. The rows must have passed check_rows.
    others: keys of the range with a current entry of the prefecture that no row names.
    """

    cdef TownIndex towns
    cdef Places places
    cdef size_t count, next
    cdef uint64_t *keys
    cdef uint64_t *statuses
    cdef uint32_t *ends
    cdef uint8_t *fates
    cdef unsigned char *records
    cdef Bucket *bucket
    cdef uint8_t wanted[AREA_NUMBERS]
    cdef readonly long entries_added, persons_added
    cdef readonly list others

    def __cinit__(
        self, TownIndex towns not None, payload, tuple positions not None, size_t count, bytes faults not None,
        uint32_t prefecture, uint16_t day, list general_keys not None,
    ):
        cdef Py_buffer view
        cdef Columns columns
        cdef const unsigned char *fault_bytes = faults
        cdef size_t i, text_bytes = 0
        cdef uint32_t area
        if len(faults) != <Py_ssize_t>count or count > <size_t>limits.RANGE_ROWS_MAX:
            raise ValueError("a fault for each row, and at most as many rows as a range may have")
        self.towns = towns
        self.count = count
        self.others = []
        places_of(towns.places, &self.places)
        for area in range(towns.places.areas_count):
            self.wanted[area] = area_prefecture(&self.places, area) == prefecture
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            columns_begin(&columns, &view, count, positions)
            for i in range(9, POSITIONS, 3):
                text_bytes += columns.at[i + 2] - columns.at[i + 1]
            self.keys = <uint64_t *>malloc((count + 1) * 21)
            self.records = <unsigned char *>malloc(text_bytes + count * RECORD_BYTES_FIXED + RECORD_ROOM_BYTES)
            self.bucket = <Bucket *>malloc(sizeof(Bucket))
            if self.keys == NULL or self.records == NULL or self.bucket == NULL:
                raise MemoryError
            self.statuses = self.keys + count
            self.ends = <uint32_t *>(self.statuses + count)
            self.fates = <uint8_t *>(self.ends + count)
            with nogil:
                self.encode_all(&columns, fault_bytes, day)
        finally:
            PyBuffer_Release(&view)
        self._mark_general(general_keys)

    def __dealloc__(self):
        free(self.keys)
        free(self.records)
        free(self.bucket)

    cdef void encode_all(self, const Columns *columns, const unsigned char *faults, uint16_t day) noexcept nogil:
        cdef size_t row
        cdef uint32_t end = 0
        cdef int written
        for row in range(self.count):
            self.keys[row] = load_u64(columns.payload + columns.at[7] + 8 * row) // 10
            self.statuses[row] = 0
            written = -1 if faults[row] else self.encode(columns, row, day, self.records + end)
            self.fates[row] = FATE_GENERAL if written < 0 else FATE_PLAIN
            if written > 0:
                end += <uint32_t>written
            self.ends[row] = end

    cdef int encode(self, const Columns *columns, size_t row, uint16_t day, unsigned char *out) noexcept nogil:
        """Bytes of the record written to out, or a negative number when the row is a matter for the engine."""
        cdef const unsigned char *payload = columns.payload
        cdef ResidentRecord record
        cdef uint32_t jis = load_u32(payload + columns.at[4] + 4 * row), length, town_bytes
        cdef int written
        if jis >= JIS_END or self.towns.area_of_jis[jis] == NO_AREA:
            return -1
        memset(&record, 0, sizeof(record))
        record.key = self.keys[row]
        record.reason = payload[columns.at[0] + row]
        record.state = payload[columns.at[1] + row]
        record.sex = payload[columns.at[2] + row]
        record.update_number = <uint16_t>load_u32(payload + columns.at[3] + 4 * row)
        record.area = self.towns.area_of_jis[jis]
        if record.state != STATE_RETIRED and not self.towns.is_connected[record.area]:
            return -1
        record.change_date = packed_from_decimal(load_u32(payload + columns.at[5] + 4 * row))
        record.birth_date = packed_from_decimal(load_u32(payload + columns.at[6] + 4 * row))
        record.registered_day = day
        if record.state == STATE_RETIRED:
            record.successor_key = load_u64(payload + columns.at[8] + 8 * row) // 10 + 1
            written = record_encode(&record, out)
            if written > 0:
                self.statuses[row] = status_encode(&record)
            return written
        record.name = text_of(columns, 9, row, &length)
        record.name_bytes = <uint16_t>length
        record.kana = text_of(columns, 12, row, &length)
        record.kana_bytes = <uint16_t>length
        record.alias = text_of(columns, 15, row, &length)
        record.alias_bytes = <uint16_t>length
        record.rest = text_of(columns, 18, row, &length)
        record.town = self.towns.longest_town(record.area, record.rest, length, &town_bytes)
        record.rest += town_bytes
        record.rest_bytes = <uint16_t>(length - town_bytes)
        written = record_encode(&record, out)
        if written > 0:
            self.statuses[row] = status_encode(&record)
        return written

    cdef int _mark_general(self, list general_keys) except -1:
        cdef size_t row = 0
        cdef uint64_t key
        for key in general_keys:
            while row < self.count and self.keys[row] < key:
                row += 1
            if row < self.count and self.keys[row] == key:
                self.fates[row] = FATE_GENERAL
        return 0

    cdef bint same(self, size_t row, const BlockView *view, uint32_t i) noexcept nogil:
        """Whether entry i is what the row states, but for the day of its registration.

        A retired code is the same whether a code change or a statement made it: the mark of the first stays.
        """
        cdef uint32_t start = block_record_start(view, i), length = block_record_start(view, i + 1) - start
        cdef uint32_t own = self.ends[row - 1] if row else 0
        cdef const unsigned char *there = view.records + start
        cdef const unsigned char *stated = self.records + own
        cdef unsigned char ignored = PART_NOTIFIED if status_state(self.statuses[row]) == STATE_RETIRED else 0
        return (
            (block_status(view, i) ^ self.statuses[row]) & ~DAY_BITS == 0 and self.ends[row] - own == length
            and (there[0] ^ stated[0]) & ~ignored == 0 and memcmp(there + 1, stated + 1, length - 1) == 0
        )

    cdef bint put_row(
        self, size_t row, uint32_t delta, DigestTotals digests, IdentityChanges identity
    ) noexcept nogil:
        cdef ResidentRecord record
        cdef uint32_t own = self.ends[row - 1] if row else 0
        if not bucket_put(self.bucket, delta, self.statuses[row], self.records + own, self.ends[row] - own):
            self.fates[row] = FATE_GENERAL
            return False
        record_decode(self.records + own, self.ends[row] - own, self.statuses[row], &record)
        tally_add(digests.tally, self.keys[row], &record)
        self.entries_added += 1
        if record.name != NULL:
            self.persons_added += 1
            if identity is not None:
                identity.take_record(self.keys[row], &record, 1)
        return True

    cdef bint put_present(self, const BlockView *view, uint32_t i) noexcept nogil:
        cdef uint32_t start = block_record_start(view, i), length = block_record_start(view, i + 1) - start
        self.bucket.count_due -= 1
        self.bucket.bytes_due -= length
        return bucket_put(self.bucket, block_delta(view, i), block_status(view, i), view.records + start, length)

    cdef int merge_entries(
        self, const BlockView *view, uint64_t low, uint64_t end_key, uint64_t first_key, uint64_t stop_key,
        DigestTotals digests, IdentityChanges identity
    ) except -1:
        """Entries and rows of one bucket in the order of keys; how many rows were put."""
        cdef uint32_t i = 0
        cdef uint64_t key = 0, status
        cdef int put = 0
        cdef bint room = True, held
        self.bucket.count_due = view.count
        self.bucket.bytes_due = block_record_start(view, view.count) if view.count else 0
        while room and (i < view.count or (self.next < self.count and self.keys[self.next] < end_key)):
            held = i < view.count
            if held:
                key = low + block_delta(view, i)
            if self.next < self.count and self.keys[self.next] < end_key and (not held or self.keys[self.next] <= key):
                if held and self.keys[self.next] == key:
                    if self.fates[self.next] == FATE_PLAIN and not self.same(self.next, view, i):
                        self.fates[self.next] = FATE_GENERAL
                    room = self.put_present(view, i)
                    i += 1
                elif self.fates[self.next] == FATE_PLAIN:
                    put += self.put_row(self.next, <uint32_t>(self.keys[self.next] - low), digests, identity)
                self.next += 1
                continue
            status = block_status(view, i)
            if status_state(status) == STATE_CURRENT and first_key <= key < stop_key and self.wanted[status_area(status)]:
                self.others.append(key)
            room = self.put_present(view, i)
            i += 1
        if not room:
            raise StoreError("the entries of a bucket do not fit a block")
        return put

    def merge(
        self, uint32_t bucket, uint64_t width, bint wide, present, uint64_t first_key, uint64_t stop_key,
        DigestTotals digests not None, IdentityChanges identity,
    ):
        """The new block of a bucket, or None when it stays as it is. ``present`` is the stored one or None.

        Rows for which there is no room become general ones. Raises StoreCorruptError when the present block is damaged.
        """
        cdef Py_buffer buffer
        cdef BlockView view
        cdef uint64_t low = bucket * width
        cdef int put
        view.count = 0
        self.bucket.count = self.bucket.bytes = 0
        if present is None:
            put = self.merge_entries(&view, low, low + width, first_key, stop_key, digests, identity)
        else:
            PyObject_GetBuffer(present, &buffer, PyBUF_SIMPLE)
            try:
                if not block_usable(<const unsigned char *>buffer.buf, <size_t>buffer.len, bucket, wide):
                    raise StoreCorruptError(f"the block of bucket {bucket} is damaged; run `jukinet store check`")
                block_view(<const unsigned char *>buffer.buf, &view)
                put = self.merge_entries(&view, low, low + width, first_key, stop_key, digests, identity)
            finally:
                PyBuffer_Release(&buffer)
        if put == 0:
            return None
        out = PyBytes_FromStringAndSize(NULL, block_bytes(self.bucket.count, self.bucket.bytes, wide))
        block_encode(
            bucket, self.bucket.count, wide, self.bucket.deltas, self.bucket.statuses, self.bucket.ends,
            self.bucket.records, <unsigned char *>PyBytes_AS_STRING(out))
        return out

    def general_rows(self):
        """Numbers of the rows that are left to the engine, ascending."""
        cdef size_t row
        return [row for row in range(self.count) if self.fates[row] == FATE_GENERAL]
