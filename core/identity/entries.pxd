# Entries of the identity index (docs/identity-index.md, sections 2 and 3): what a record gives, and where it stands.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from jukinet.core.records.record cimport ResidentRecord

cdef enum:
    TABLE_KANA = 1
    TABLE_NAME = 2
    TABLE_DATE = 3
    TABLES_END = 4

cdef enum:
    KEY_BITS = 34
    DATE_BITS = 18
    REST_BITS = 12
    KANA_SIGNATURE_BITS = 18
    NAME_SIGNATURE_BITS = 12
    YEARS = 403                 # rows of year_buckets: 0 unknown, 1 to 401 the years 1800 to 2200, 402 beyond
    YEAR_BEFORE = 1799          # a date code's year counts from here
    YEAR_PLACES = 385           # of a year: unknown month, then 32 a month
    RECORD_ENTRIES_MAX = 5
    FOLDED_BYTES_MAX = 1024

cdef extern from *:
    """
    #define JUKINET_IDENTITY_KEY_MASK ((uint64_t)0x3FFFFFFFF)
    #define JUKINET_IDENTITY_KEYS ((uint64_t)10000000000ULL)
    static inline uint64_t jukinet_fold128(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)(product >> 64) ^ (uint64_t)product;
    }
    static inline uint64_t jukinet_high128(uint64_t a, uint64_t b) {
        return (uint64_t)(((unsigned __int128)a * b) >> 64);
    }
    """
    const uint64_t KEY_MASK "JUKINET_IDENTITY_KEY_MASK"
    const uint64_t KEYS "JUKINET_IDENTITY_KEYS"
    uint64_t fold128 "jukinet_fold128" (uint64_t a, uint64_t b) noexcept nogil
    uint64_t high128 "jukinet_high128" (uint64_t a, uint64_t b) noexcept nogil

# How many buckets the tables have; plain numbers, never changed once made.
ctypedef struct LayoutView:
    uint64_t text_buckets
    uint64_t date_buckets
    uint32_t year_first[YEARS]      # the year's first bucket
    uint32_t year_buckets[YEARS]

# One entry and where it stands.
ctypedef struct PlacedEntry:
    uint32_t table
    uint32_t bucket
    uint64_t entry

# Hash of a folded text (section 2).
cdef inline uint64_t text_hash(const unsigned char *text, size_t length) noexcept nogil:
    cdef uint64_t hashed = 0x9E3779B97F4A7C15u, word
    cdef size_t i = 0
    while i + 8 <= length:
        memcpy(&word, text + i, 8)
        hashed = fold128(hashed ^ word, 0xD6E8FEB86659FD93u)
        i += 8
    if i < length:
        word = 0
        memcpy(&word, text + i, length - i)
        hashed = fold128(hashed ^ word, 0xD6E8FEB86659FD93u)
    return fold128(hashed ^ length, 0xA0761D6478BD642Fu)

# 18-bit date code of a packed date (docs/store-format.md, section 4).
cdef inline uint32_t date_code(uint32_t packed) noexcept nogil:
    cdef uint32_t year = packed >> 9
    if year == 0:
        return 0
    if year <= YEAR_BEFORE:
        year = 1
    else:
        year -= YEAR_BEFORE
        if year > YEARS - 1:
            year = YEARS - 1
    return year << 9 | (packed & 511)

# The packed date of a date code.
cdef inline uint32_t packed_of_code(uint32_t code) noexcept nogil:
    if code >> 9 == 0:
        return 0
    return ((code >> 9) + YEAR_BEFORE) << 9 | (code & 511)

# Bucket and rest of a hash: position >> REST_BITS and position & 4095.
cdef inline uint64_t text_position(const LayoutView *layout, uint64_t hashed) noexcept nogil:
    return high128(hashed, layout.text_buckets << REST_BITS)

# The bucket of a birth date (date code) and a key.
cdef inline uint32_t date_bucket(const LayoutView *layout, uint32_t code, uint64_t key) noexcept nogil:
    cdef uint32_t year = code >> 9, month = code >> 5 & 15
    cdef uint64_t place = key
    if year >= YEARS:
        year = YEARS - 1
    if year == 0:
        return layout.year_first[0] + <uint32_t>(key * layout.year_buckets[0] // KEYS)
    if month > 12:
        month = 12
    if month:
        place += (1 + (month - 1) * 32 + (code & 31)) * KEYS
    return layout.year_first[year] + <uint32_t>(place * layout.year_buckets[year] // (YEAR_PLACES * KEYS))

cdef inline uint32_t entry_date(uint64_t entry) noexcept nogil:
    return <uint32_t>(entry >> KEY_BITS) & ((1 << DATE_BITS) - 1)

# Signature bits of a folded reading (one byte a kana) and of a folded name (UTF-8).
cdef uint32_t kana_signature(const unsigned char *folded, size_t length) noexcept nogil
cdef uint32_t name_signature(const unsigned char *folded, size_t length) noexcept nogil

# Entries of a record that holds a person, distinct; at most RECORD_ENTRIES_MAX. 0 for one without a person.
cdef size_t record_entries(
    const LayoutView *layout, uint64_t key, const ResidentRecord *record, PlacedEntry *out
) noexcept nogil
# Sorts by table, bucket, entry and drops repetitions; for a handful.
cdef size_t distinct_entries(PlacedEntry *entries, size_t count) noexcept nogil

cdef class EntryLayout:
    cdef LayoutView view
    cdef readonly object plan
