# Digests of holdings (docs/store-format.md, "Holdings and digests"): order-free sums of entries' hashes.
#
# A DigestTally hashes entries eight at a time and adds them to sums of leaves and areas; what waits in it counts only after
# tally_flush. It may be used by one thread at a time.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.records.record cimport STATE_CURRENT, STATE_RETIRED, ResidentRecord
from jukinet.core.store.snapshot cimport PlaceTables

cdef enum:
    LEAF_KEYS = 2441407             # keys of a leaf; this and the next three as core/limits.py says
    LEAVES = 4096
    LEAVES_PER_PAGE = 64
    PAGES = LEAVES // LEAVES_PER_PAGE
    PREFECTURES_END = 48            # prefectures are 1 to 47
    AREA_NUMBERS = 4096
    MESSAGE_BYTES_ROOM = 1920       # 32 fixed, 255 name, 3 * 255 kana, 255 alias, 510 address; then whole blocks of 128
    LANES = 8

# Entries and the sum of their hashes modulo 2^128: as stored, as sent and in memory.
ctypedef struct DigestSum:
    uint64_t count
    uint64_t low
    uint64_t high

# Where the parts of an address and an area's JIS number are looked up.
ctypedef struct Places:
    const uint32_t *area_jis        # room for AREA_NUMBERS
    uint32_t towns
    const uint32_t *town_offsets
    const unsigned char *town_text

# Eight messages that wait for hashing together, with the sums that each goes to.
ctypedef struct LaneSet:
    uint32_t waiting
    uint32_t lengths[LANES]
    DigestSum *leaf[LANES]
    DigestSum *area[LANES]
    unsigned char messages[LANES * MESSAGE_BYTES_ROOM]

ctypedef struct DigestTally:
    Places places
    DigestSum *leaves               # PREFECTURES_END * LEAVES, or NULL: only `single` is added to
    DigestSum *areas                # AREA_NUMBERS
    DigestSum single
    uint8_t *pages_touched          # PREFECTURES_END * PAGES
    uint8_t *areas_touched          # AREA_NUMBERS
    LaneSet sets[3]                 # messages of one block, of two, and longer ones

cdef inline void sum_add(DigestSum *total, const uint64_t *digest) noexcept nogil:
    cdef uint64_t low = total.low + digest[0]
    total.high += digest[1] + (low < digest[0])
    total.low = low
    total.count += 1

cdef inline void sum_take(DigestSum *total, const uint64_t *digest) noexcept nogil:
    total.high -= digest[1] + (total.low < digest[0])
    total.low -= digest[0]
    total.count -= 1

cdef inline void sum_join(DigestSum *total, const DigestSum *other) noexcept nogil:
    cdef uint64_t low = total.low + other.low
    total.high += other.high + (low < other.low)
    total.low = low
    total.count += other.count

# The prefecture of an area, 0 when its number is none of the 47.
cdef inline uint32_t area_prefecture(const Places *places, uint32_t area) noexcept nogil:
    cdef uint32_t prefecture = places.area_jis[area] // 1000
    return prefecture if prefecture < PREFECTURES_END else 0

# Whether an entry in this state may belong to its area's holdings; of a retired code is_held tells.
cdef inline bint may_be_held(uint32_t state) noexcept nogil:
    return state == STATE_CURRENT or state == STATE_RETIRED

# Whether an entry belongs to its area's holdings: a current resident, or a retired code that leads to another.
cdef inline bint is_held(const ResidentRecord *record) noexcept nogil:
    return record.state == STATE_CURRENT or (record.state == STATE_RETIRED and record.successor_key != 0)

# The canonical bytes of an entry; returns their number. out has MESSAGE_BYTES_ROOM.
cdef size_t entry_message(const Places *places, uint64_t key, const ResidentRecord *record, unsigned char *out) noexcept nogil
# H(entry): two little-endian words, low first.
cdef void entry_hash(const Places *places, uint64_t key, const ResidentRecord *record, uint64_t *digest) noexcept nogil
# Adds an entry of the holdings; others are passed over.
cdef void tally_add(DigestTally *tally, uint64_t key, const ResidentRecord *record) noexcept nogil
# Takes an entry of the holdings away, at once.
cdef void tally_take(DigestTally *tally, uint64_t key, const ResidentRecord *record) noexcept nogil
cdef void tally_flush(DigestTally *tally) noexcept nogil
# Adds all current entries of a block; False when a record does not decode.
cdef bint tally_add_block(DigestTally *tally, const unsigned char *block, uint64_t width) noexcept nogil

cdef void places_of(PlaceTables tables, Places *places) noexcept

cdef class DigestTotals:
    cdef DigestTally *tally
    cdef readonly PlaceTables places
    cdef int _change(self, uint64_t key, object entry, bint added) except -1
