"""Digests of holdings: an entry's canonical bytes, their BLAKE2b hash, and sums of hashes over leaves, areas and ranges.

H(entry) and the sums are defined in docs/store-format.md, section 11. Messages wait in sets of eight
until a set is full: machines with wide registers hash eight in the time of one or two.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from jukinet.core.records.record cimport (
    STATE_RETIRED, ResidentRecord, decimal_date, kana_unpack, record_decode, status_area, status_state,
)
from jukinet.core.store.block cimport (
    BlockView, block_delta, block_record_start, block_status, block_view,
)
from jukinet.core.store.snapshot cimport PlaceTables

from jukinet.core import limits
from jukinet.core.errors import RecordFormatError, StoreCorruptError

cdef extern from "store/memory.h" nogil:
    void *large_calloc "jukinet_large_calloc" (size_t bytes)

cdef extern from "blake2b.h" nogil:
    void blake2b_prepare "jukinet_blake2b_prepare" ()
    int blake2b_best "jukinet_blake2b_best"
    void blake2b "jukinet_blake2b" (const unsigned char *data, size_t length, uint64_t *digest)
    void blake2b_eight "jukinet_blake2b_eight" (
        int path, const unsigned char *data, size_t stride, const uint32_t *lengths, uint64_t (*digests)[2])

blake2b_prepare()

cdef enum:
    HASH_BLOCK_BYTES = 128
    KEYS_END = 10_000_000_000

# The kernel's sizes are known when it is compiled; their one home is core/limits.py.
assert (LEAF_KEYS, LEAVES_PER_PAGE, PAGES) == (
    limits.DIGEST_LEAF_KEYS, limits.DIGEST_LEAVES_PER_PAGE, limits.DIGEST_PAGES)

PATHS = blake2b_best + 1
"""Ways of hashing eight messages that this machine has, the best one last; for tests."""


cdef inline unsigned char *put_text(unsigned char *place, const unsigned char *text, uint16_t length) noexcept nogil:
    memcpy(place, &length, 2)
    if length:
        memcpy(place + 2, text, length)
    return place + 2 + length


cdef size_t entry_message(
    const Places *places, uint64_t key, const ResidentRecord *record, unsigned char *out
) noexcept nogil:
    cdef unsigned char *place = out + 24
    cdef uint32_t number
    cdef uint16_t length, town_bytes = 0
    memcpy(out, &key, 8)
    number = places.area_jis[record.area]
    memcpy(out + 8, &number, 4)
    number = decimal_date(record.birth_date)
    memcpy(out + 12, &number, 4)
    number = decimal_date(record.change_date)
    memcpy(out + 16, &number, 4)
    memcpy(out + 20, &record.update_number, 2)
    out[22] = record.reason
    out[23] = record.sex
    place = put_text(place, record.name, record.name_bytes)
    if record.kana_packed:
        length = <uint16_t>kana_unpack(record.kana, record.kana_bytes, place + 2)
        memcpy(place, &length, 2)
        place += 2 + length
    else:
        place = put_text(place, record.kana, record.kana_bytes)
    place = put_text(place, record.alias, record.alias_bytes)
    if 0 < record.town <= places.towns:
        number = places.town_offsets[record.town - 1]
        town_bytes = <uint16_t>(places.town_offsets[record.town] - number)
        memcpy(place + 2, places.town_text + number, town_bytes)
    length = town_bytes + record.rest_bytes
    memcpy(place, &length, 2)
    place += 2 + town_bytes
    if record.rest_bytes:
        memcpy(place, record.rest, record.rest_bytes)
    place += record.rest_bytes
    if record.state == STATE_RETIRED:
        memcpy(place, &record.successor_key, 8)
        place += 8
    return place - out


cdef void entry_hash(const Places *places, uint64_t key, const ResidentRecord *record, uint64_t *digest) noexcept nogil:
    cdef unsigned char message[MESSAGE_BYTES_ROOM]
    cdef size_t length = entry_message(places, key, record, message)
    blake2b(message, length, digest)


cdef void set_flush(LaneSet *lanes) noexcept nogil:
    """Hash what waits and add it. Lanes without a message hash their stale bytes, which go nowhere."""
    cdef uint64_t digests[LANES][2]
    cdef uint32_t i
    if lanes.waiting == 0:
        return
    for i in range(lanes.waiting, LANES):
        lanes.lengths[i] = 0
    blake2b_eight(blake2b_best, lanes.messages, MESSAGE_BYTES_ROOM, lanes.lengths, digests)
    for i in range(lanes.waiting):
        sum_add(lanes.leaf[i], digests[i])
        if lanes.area[i] != NULL:
            sum_add(lanes.area[i], digests[i])
    lanes.waiting = 0


cdef void tally_flush(DigestTally *tally) noexcept nogil:
    cdef int i
    for i in range(3):
        set_flush(&tally.sets[i])


cdef inline void tally_places(
    DigestTally *tally, uint64_t key, uint32_t area, DigestSum **leaf_sum, DigestSum **area_sum
) noexcept nogil:
    """The sums that an entry goes to. Areas outside the 47 prefectures go to leaves of prefecture 0, which nobody reads."""
    cdef uint32_t prefecture, leaf
    area_sum[0] = NULL
    leaf_sum[0] = &tally.single
    if tally.leaves == NULL:
        return
    prefecture = area_prefecture(&tally.places, area)
    leaf = <uint32_t>(key // LEAF_KEYS)
    leaf_sum[0] = tally.leaves + prefecture * LEAVES + leaf
    area_sum[0] = tally.areas + area
    tally.pages_touched[prefecture * PAGES + leaf // LEAVES_PER_PAGE] = 1
    tally.areas_touched[area] = 1


cdef void tally_add(DigestTally *tally, uint64_t key, const ResidentRecord *record) noexcept nogil:
    cdef unsigned char message[MESSAGE_BYTES_ROOM]
    cdef LaneSet *lanes
    cdef unsigned char *place
    cdef size_t length, padded
    if not is_held(record):
        return
    length = entry_message(&tally.places, key, record, message)
    padded = (length + HASH_BLOCK_BYTES - 1) & ~<size_t>(HASH_BLOCK_BYTES - 1)
    lanes = &tally.sets[0 if padded == HASH_BLOCK_BYTES else (1 if padded == 2 * HASH_BLOCK_BYTES else 2)]
    place = lanes.messages + <size_t>lanes.waiting * MESSAGE_BYTES_ROOM
    memcpy(place, message, length)
    memset(place + length, 0, padded - length)
    lanes.lengths[lanes.waiting] = <uint32_t>length
    tally_places(tally, key, record.area, &lanes.leaf[lanes.waiting], &lanes.area[lanes.waiting])
    lanes.waiting += 1
    if lanes.waiting == LANES:
        set_flush(lanes)


cdef void tally_take(DigestTally *tally, uint64_t key, const ResidentRecord *record) noexcept nogil:
    cdef uint64_t digest[2]
    cdef DigestSum *leaf_sum
    cdef DigestSum *area_sum
    if not is_held(record):
        return
    entry_hash(&tally.places, key, record, digest)
    tally_places(tally, key, record.area, &leaf_sum, &area_sum)
    sum_take(leaf_sum, digest)
    if area_sum != NULL:
        sum_take(area_sum, digest)


cdef inline int view_record(const BlockView *view, uint32_t i, ResidentRecord *record) noexcept nogil:
    cdef uint32_t start = block_record_start(view, i)
    return record_decode(view.records + start, block_record_start(view, i + 1) - start, block_status(view, i), record)


cdef bint tally_add_block(DigestTally *tally, const unsigned char *block, uint64_t width) noexcept nogil:
    cdef BlockView view
    cdef ResidentRecord record
    cdef uint32_t i
    cdef uint64_t first
    block_view(block, &view)
    first = <uint64_t>view.bucket * width
    for i in range(view.count):
        if not may_be_held(status_state(block_status(&view, i))):
            continue
        if view_record(&view, i, &record) < 0 or first + block_delta(&view, i) >= KEYS_END:
            return False
        tally_add(tally, first + block_delta(&view, i), &record)
    return True


cdef void places_of(PlaceTables tables, Places *places) noexcept:
    places.area_jis = tables.jis
    places.towns = tables.towns_count
    places.town_offsets = tables.offsets
    places.town_text = tables.text


cdef class DigestTotals:
    """Sums per leaf of each prefecture and per area, from nothing or as changes to what is stored (modulo 2^64, 2^128).

    Leaves and areas that were added to are remembered as touched. 4.9 MB; one thread at a time.
    """

    def __cinit__(self, PlaceTables places not None):
        self.places = places
        self.tally = <DigestTally *>calloc(1, sizeof(DigestTally))
        if self.tally == NULL:
            raise MemoryError
        places_of(places, &self.tally.places)
        self.tally.leaves = <DigestSum *>large_calloc(PREFECTURES_END * LEAVES * sizeof(DigestSum))
        self.tally.areas = <DigestSum *>calloc(AREA_NUMBERS, sizeof(DigestSum))
        self.tally.pages_touched = <uint8_t *>calloc(PREFECTURES_END * PAGES, 1)
        self.tally.areas_touched = <uint8_t *>calloc(AREA_NUMBERS, 1)
        if (self.tally.leaves == NULL or self.tally.areas == NULL or self.tally.pages_touched == NULL
                or self.tally.areas_touched == NULL):
            raise MemoryError

    def __dealloc__(self):
        if self.tally != NULL:
            free(self.tally.leaves)
            free(self.tally.areas)
            free(self.tally.pages_touched)
            free(self.tally.areas_touched)
            free(self.tally)

    def add_block(self, uint64_t width, const unsigned char[::1] block not None):
        """Add what one whole block holds. StoreCorruptError when a record does not decode."""
        cdef bint whole
        if block.shape[0] < limits.BLOCK_BYTES_MIN:
            raise StoreCorruptError("a block is too short")
        with nogil:
            whole = tally_add_block(self.tally, &block[0], width)
        if not whole:
            raise StoreCorruptError("a record of a block does not decode")

    def add_blocks(self, uint64_t width, const unsigned char[::1] blocks not None, const uint64_t[::1] ends not None):
        """Add blocks that lie end to end in ``blocks``; ends[i] is where block i ends. Releases the GIL for all."""
        cdef Py_ssize_t i
        cdef uint64_t start = 0
        cdef bint whole = True
        for i in range(ends.shape[0]):
            if ends[i] < start + 2048 or ends[i] > <uint64_t>blocks.shape[0]:
                raise ValueError("the ends of blocks are out of order or out of range")
            start = ends[i]
        start = 0
        with nogil:
            for i in range(ends.shape[0]):
                whole = whole and tally_add_block(self.tally, &blocks[start], width)
                start = ends[i]
        if not whole:
            raise StoreCorruptError("a record of a block does not decode")

    def change(self, uint64_t key, before, after):
        """Take the entry ``before`` away and add ``after``: (status, record bytes), or None where there is none.

        RecordFormatError when a record does not decode; then nothing was changed.
        """
        cdef ResidentRecord record
        if key >= KEYS_END:
            raise RecordFormatError("a key has at most ten digits")
        for entry in (before, after):
            if entry is not None and record_decode(entry[1], len(entry[1]), entry[0], &record) < 0:
                raise RecordFormatError("the record does not decode")
        if before is not None:
            self._change(key, before, False)
        if after is not None:
            self._change(key, after, True)

    cdef int _change(self, uint64_t key, object entry, bint added) except -1:
        cdef ResidentRecord record
        cdef bytes data = entry[1]
        cdef uint64_t status = entry[0]
        record_decode(data, <size_t>len(data), status, &record)
        if added:
            # The message is copied into its lane, so the record's bytes may go.
            tally_add(self.tally, key, &record)
        else:
            tally_take(self.tally, key, &record)
        return 0

    def join(self, DigestTotals other not None):
        """Add all sums of ``other``, which must have the same tables of places."""
        cdef size_t i
        tally_flush(other.tally)
        tally_flush(self.tally)
        for i in range(PREFECTURES_END * LEAVES):
            sum_join(self.tally.leaves + i, other.tally.leaves + i)
        for i in range(PREFECTURES_END * PAGES):
            self.tally.pages_touched[i] |= other.tally.pages_touched[i]
        for i in range(AREA_NUMBERS):
            sum_join(self.tally.areas + i, other.tally.areas + i)
            self.tally.areas_touched[i] |= other.tally.areas_touched[i]

    def touched_pages(self):
        """(prefecture, page) of each page of a prefecture's leaves that was added to, ascending."""
        cdef uint32_t i
        return [
            (i // PAGES, i % PAGES) for i in range(PAGES, PREFECTURES_END * PAGES) if self.tally.pages_touched[i]
        ]

    def touched_areas(self):
        """Numbers of the areas that were added to, ascending."""
        cdef uint32_t i
        return [i for i in range(AREA_NUMBERS) if self.tally.areas_touched[i]]

    def page(self, uint32_t prefecture, uint32_t page):
        """The 64 sums of a page, 24 bytes each: u64 count, sum of 16 bytes."""
        if prefecture >= PREFECTURES_END or page >= PAGES:
            raise IndexError("no such prefecture or page")
        tally_flush(self.tally)
        return (<const unsigned char *>(self.tally.leaves + prefecture * LEAVES + page * LEAVES_PER_PAGE))[
            :LEAVES_PER_PAGE * sizeof(DigestSum)
        ]

    def area(self, uint32_t area):
        """The sum of an area, 24 bytes."""
        if area >= AREA_NUMBERS:
            raise IndexError("no such area")
        tally_flush(self.tally)
        return (<const unsigned char *>(self.tally.areas + area))[:sizeof(DigestSum)]

    def prefecture(self, uint32_t prefecture):
        """The sum of all areas of a prefecture, 24 bytes."""
        cdef DigestSum total
        cdef uint32_t i
        if prefecture >= PREFECTURES_END:
            raise IndexError("no such prefecture")
        tally_flush(self.tally)
        memset(&total, 0, sizeof(total))
        for i in range(self.places.areas_count):
            if self.tally.areas_touched[i] and area_prefecture(&self.tally.places, i) == prefecture:
                sum_join(&total, self.tally.areas + i)
        return (<const unsigned char *>&total)[:sizeof(DigestSum)]


def joined(const unsigned char[::1] first not None, const unsigned char[::1] second not None):
    """Sums added one by one: two buffers of equally many 24-byte sums."""
    cdef size_t i, count = first.shape[0] // sizeof(DigestSum)
    cdef DigestSum total, other
    if first.shape[0] != second.shape[0] or first.shape[0] % sizeof(DigestSum):
        raise ValueError("buffers of sums must be of one length, a multiple of 24 bytes")
    out = PyBytes_FromStringAndSize(NULL, first.shape[0])
    cdef char *place = PyBytes_AS_STRING(out)
    for i in range(count):
        memcpy(&total, &first[i * sizeof(DigestSum)], sizeof(DigestSum))
        memcpy(&other, &second[i * sizeof(DigestSum)], sizeof(DigestSum))
        sum_join(&total, &other)
        memcpy(place + i * sizeof(DigestSum), &total, sizeof(DigestSum))
    return out


def entry_bytes(PlaceTables places not None, uint64_t key, uint64_t status, bytes data not None):
    """The canonical bytes of an entry. RecordFormatError when the record does not decode."""
    cdef ResidentRecord record
    cdef Places held
    cdef unsigned char message[MESSAGE_BYTES_ROOM]
    if record_decode(data, <size_t>len(data), status, &record) < 0:
        raise RecordFormatError("the record does not decode")
    places_of(places, &held)
    return message[:entry_message(&held, key, &record, message)]


def blake2b_16(const unsigned char[::1] message not None):
    """The 16-byte BLAKE2b digest of a message (RFC 7693)."""
    cdef uint64_t digest[2]
    cdef unsigned char none = 0
    blake2b(&message[0] if message.shape[0] else &none, <size_t>message.shape[0], digest)
    return (<const unsigned char *>digest)[:16]


def blake2b_16_of_eight(messages, int path):
    """The same of eight messages of at most 1,920 bytes at once; ``path`` is below PATHS. For tests of every path."""
    cdef unsigned char *room = <unsigned char *>calloc(LANES, MESSAGE_BYTES_ROOM)
    cdef uint32_t lengths[LANES]
    cdef uint64_t digests[LANES][2]
    cdef bytes message
    cdef int i
    try:
        if room == NULL:
            raise MemoryError
        if len(messages) != LANES or max(map(len, messages)) > MESSAGE_BYTES_ROOM or not 0 <= path <= blake2b_best:
            raise ValueError("eight messages of at most 1,920 bytes and a path that this machine has")
        for i in range(LANES):
            message = messages[i]
            lengths[i] = <uint32_t>len(message)
            memcpy(room + i * MESSAGE_BYTES_ROOM, <const unsigned char *>message, lengths[i])
        blake2b_eight(path, room, MESSAGE_BYTES_ROOM, lengths, digests)
        return [(<const unsigned char *>digests[i])[:16] for i in range(LANES)]
    finally:
        free(room)
