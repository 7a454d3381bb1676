# The record codec (docs/store-format.md, sections 4 and 5).
#
# A ResidentRecord is the unpacked form of one entry. Its texts are pointers into memory that the caller owns (encoding) or
# into the block (decoding); nothing is copied and nothing is terminated by a zero.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef struct ResidentRecord:
    uint64_t key                    # first ten digits of the code
    uint8_t state                   # core.vocabulary.State
    uint8_t reason                  # core.vocabulary.ChangeReason, 0 none
    uint8_t sex                     # ISO/IEC 5218
    uint8_t kana_packed             # set by decoding: kana points to packed kana
    uint8_t notified                # 1: made by an ordinary notification, 0: by a statement or in bulk
    uint16_t area                   # number in the areas table
    uint32_t change_date            # packed date
    uint16_t registered_day         # days since 2000-01-01
    uint32_t birth_date             # packed date
    uint16_t update_number
    uint32_t town                   # number in the towns table from 1; 0: the whole address is in rest
    uint64_t successor_key          # key that replaced a retired code, plus one; 0: none
    const unsigned char *name       # NULL: the entry holds no person
    const unsigned char *kana
    const unsigned char *alias
    const unsigned char *rest
    uint16_t name_bytes
    uint16_t kana_bytes
    uint16_t alias_bytes
    uint16_t rest_bytes

cdef enum:
    PART_PERSON = 1
    PART_KANA_PACKED = 2
    PART_ALIAS = 4
    PART_SUCCESSOR = 8
    PART_TOWN = 16
    PART_NOTIFIED = 32

cdef enum:
    STATE_CURRENT = 1
    STATE_DEAD = 2
    STATE_MOVED_AWAY = 3
    STATE_REMOVED = 4
    STATE_RETIRED = 5
    STATE_ALLOTTED = 6
    STATE_EXPIRED = 7

# Errors of record_encode and record_decode, all negative.
cdef enum:
    RECORD_TEXT_TOO_LONG = -1
    RECORD_VALUE_OUT_OF_RANGE = -2
    RECORD_TRUNCATED = -3
    RECORD_UNKNOWN_PARTS = -4
    RECORD_TRAILING_BYTES = -5

cdef inline uint32_t packed_date(uint32_t year, uint32_t month, uint32_t day) noexcept nogil:
    return year << 9 | month << 5 | day

cdef inline uint32_t decimal_date(uint32_t packed) noexcept nogil:
    """yyyymmdd of a packed date; unknown parts stay 0."""
    return (packed >> 9) * 10000 + ((packed >> 5) & 15) * 100 + (packed & 31)

cdef inline uint32_t packed_from_decimal(uint32_t decimal) noexcept nogil:
    return packed_date(decimal // 10000, (decimal // 100) % 100, decimal % 100)

cdef inline uint8_t status_state(uint64_t status) noexcept nogil:
    return <uint8_t>(status & 15)

cdef inline uint8_t status_reason(uint64_t status) noexcept nogil:
    return <uint8_t>((status >> 4) & 63)

cdef inline uint16_t status_area(uint64_t status) noexcept nogil:
    return <uint16_t>((status >> 10) & 4095)

cdef inline uint32_t status_change_date(uint64_t status) noexcept nogil:
    return <uint32_t>((status >> 22) & 0x1FFFFF)

cdef inline uint16_t status_registered_day(uint64_t status) noexcept nogil:
    return <uint16_t>((status >> 43) & 0xFFFF)

# Bytes written to out (room for RECORD_BYTES_MAX), or a negative error.
cdef int record_encode(const ResidentRecord *record, unsigned char *out) noexcept nogil
# The entry's status column; fields are masked to their width, record_encode is what checks them.
cdef uint64_t status_encode(const ResidentRecord *record) noexcept nogil
# Fills record from a record's bytes and its status; 0 or a negative error. Never reads outside data[0:length].
cdef int record_decode(const unsigned char *data, size_t length, uint64_t status, ResidentRecord *record) noexcept nogil
# UTF-8 of packed kana; returns bytes written, at most 3 * length; out needs one byte more than that.
cdef size_t kana_unpack(const unsigned char *packed, size_t length, unsigned char *out) noexcept nogil
# Packs a UTF-8 reading; bytes written, or -1 when a character has no packed form.
cdef int kana_pack(const unsigned char *text, size_t length, unsigned char *out) noexcept nogil
