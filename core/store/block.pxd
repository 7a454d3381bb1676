# A block: all entries of one bucket, packed in columns (docs/store-format.md, section 3).
#
# Readers here trust a block's header and columns: blocks come from our own writers through LMDB, and `store check` uses
# block_verify, which trusts nothing. The one thing that every reader compares is the bucket number.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    BLOCK_HEADER_BYTES = 8
    BLOCK_ENTRY_BYTES = 10      # u16 record start, u64 status
    BLOCK_TRAILER_BYTES = 8     # u32 length, u32 CRC-32C
    BLOCK_FORMAT = 1
    BLOCK_SLACK_BYTES = 32      # zero bytes after the records: texts may be copied in words of up to this
    BLOCK_BYTES_MIN = 2048
    BLOCK_RECORDS_BYTES_MAX = 65535
    BLOCK_FIRST_DELTAS = 48     # of two bytes: with LMDB's 16 bytes and the header they end before byte 128 of a page

# What block_verify found wrong first; 0 is nothing.
cdef enum BlockFault:
    FAULT_NONE = 0
    FAULT_TOO_SHORT
    FAULT_FORMAT
    FAULT_BUCKET
    FAULT_COUNT
    FAULT_LENGTH
    FAULT_CHECKSUM
    FAULT_PADDING
    FAULT_ORDER
    FAULT_KEY_RANGE
    FAULT_OFFSETS
    FAULT_STATUS
    FAULT_RECORD
    FAULT_TEXT
    FAULT_DATE
    FAULT_TOWN
    FAULT_AREA

# Pointers to the parts of a block. Entries and deltas need no alignment.
ctypedef struct BlockView:
    uint32_t bucket
    uint32_t count
    bint wide
    const unsigned char *deltas
    const unsigned char *entries
    const unsigned char *records

cdef inline uint32_t block_bucket(const unsigned char *block) noexcept nogil:
    return (<const uint32_t *>block)[0]

cdef inline void block_view(const unsigned char *block, BlockView *view) noexcept nogil:
    view.bucket = (<const uint32_t *>block)[0]
    view.count = (<const uint16_t *>(block + 4))[0]
    view.wide = block[7]
    view.deltas = block + BLOCK_HEADER_BYTES
    view.entries = view.deltas + <size_t>view.count * (4 if view.wide else 2)
    view.records = view.entries + <size_t>view.count * BLOCK_ENTRY_BYTES + 2

cdef inline uint64_t block_status(const BlockView *view, size_t i) noexcept nogil:
    cdef uint64_t status
    memcpy(&status, view.entries + i * BLOCK_ENTRY_BYTES + 2, 8)
    return status

# Where record i starts; i may be count, for the end of the last.
cdef inline uint32_t block_record_start(const BlockView *view, size_t i) noexcept nogil:
    cdef uint16_t start
    memcpy(&start, view.entries + i * BLOCK_ENTRY_BYTES, 2)
    return start

# Number of deltas below wanted: the place where wanted is, or would be. All deltas of a piece are counted, so that the
# compiler uses vector compares and no branch is mispredicted. The first piece ends inside a block's second cache line: nine
# searches in ten need not touch the third.
cdef inline uint32_t block_rank(const BlockView *view, uint32_t wanted) noexcept nogil:
    cdef uint32_t i, count = view.count
    cdef uint16_t below16 = 0
    cdef uint32_t below32 = 0
    cdef const uint16_t *narrow
    cdef const uint32_t *wide
    cdef uint16_t wanted16
    if view.wide:
        wide = <const uint32_t *>view.deltas
        for i in range(count):
            below32 += wide[i] < wanted
        return below32
    narrow = <const uint16_t *>view.deltas
    wanted16 = <uint16_t>wanted
    if count >= BLOCK_FIRST_DELTAS:
        if narrow[BLOCK_FIRST_DELTAS - 1] >= wanted16:
            for i in range(BLOCK_FIRST_DELTAS):
                below16 += narrow[i] < wanted16
            return below16
        narrow += BLOCK_FIRST_DELTAS
        count -= BLOCK_FIRST_DELTAS
        below16 = BLOCK_FIRST_DELTAS
    for i in range(count):
        below16 += narrow[i] < wanted16
    return below16

cdef inline bint block_has(const BlockView *view, uint32_t rank, uint32_t wanted) noexcept nogil:
    if rank >= view.count:
        return False
    if view.wide:
        return (<const uint32_t *>view.deltas)[rank] == wanted
    return (<const uint16_t *>view.deltas)[rank] == wanted

cdef inline uint32_t block_delta(const BlockView *view, uint32_t i) noexcept nogil:
    if view.wide:
        return (<const uint32_t *>view.deltas)[i]
    return (<const uint16_t *>view.deltas)[i]

# Bytes of a padded block.
cdef size_t block_bytes(size_t count, size_t records_bytes, bint wide) noexcept nogil
# Writes a padded block to out (block_bytes of room); returns its bytes, or 0 when count or records exceed the format.
# deltas ascend strictly; record i is records[record_ends[i - 1]:record_ends[i]], record 0 starts at 0.
cdef size_t block_encode(
    uint32_t bucket, size_t count, bint wide, const uint32_t *deltas, const uint64_t *statuses,
    const uint32_t *record_ends, const unsigned char *records, unsigned char *out,
) noexcept nogil
# Whether a block that may be damaged is safe to read: header of this bucket, lengths and checksum.
cdef bint block_usable(const unsigned char *data, size_t length, uint32_t bucket, bint wide) noexcept nogil
# Checks every byte; width, areas and towns bound what the entries may say. Reads only data[0:length].
cdef BlockFault block_verify(
    const unsigned char *data, size_t length, uint32_t bucket, uint64_t width, bint wide,
    uint32_t areas, uint32_t towns,
) noexcept nogil
