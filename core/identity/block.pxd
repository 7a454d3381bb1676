# Blocks of the identity index (docs/identity-index.md, section 4). Readers compare table and bucket, and trust the rest.

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    IDENTITY_HEADER_BYTES = 16
    IDENTITY_TRAILER_BYTES = 8
    IDENTITY_BLOCK_BYTES_MIN = 2048
    IDENTITY_BLOCK_FORMAT = 1

# The first 8 bytes of every block of a bucket.
cdef inline uint64_t identity_head(uint32_t table, uint32_t bucket) noexcept nogil:
    return <uint64_t>bucket | <uint64_t>IDENTITY_BLOCK_FORMAT << 32 | <uint64_t>table << 40

cdef inline bint identity_names(const unsigned char *block, uint32_t table, uint32_t bucket) noexcept nogil:
    return (<const uint64_t *>block)[0] == identity_head(table, bucket)

cdef inline uint32_t identity_count(const unsigned char *block) noexcept nogil:
    return (<const uint32_t *>(block + 8))[0]

cdef inline const uint64_t *identity_entries(const unsigned char *block) noexcept nogil:
    return <const uint64_t *>(block + IDENTITY_HEADER_BYTES)

# The first of count ascending entries that is not below wanted.
cdef inline uint32_t lower_bound(const uint64_t *entries, uint32_t count, uint64_t wanted) noexcept nogil:
    cdef uint32_t low = 0, half
    while count > 0:
        half = count >> 1
        if entries[low + half] < wanted:
            low += half + 1
            count -= half + 1
        else:
            count = half
    return low

# Bytes of a block of so many entries.
cdef size_t identity_block_bytes(size_t count) noexcept nogil
# Writes header, padding and checksum around entries that stand in out already, from IDENTITY_HEADER_BYTES on.
cdef void identity_block_close(uint32_t table, uint32_t bucket, size_t count, unsigned char *out) noexcept nogil
# Whether the lengths, the names and the checksum hold.
cdef bint identity_block_whole(
    const unsigned char *block, size_t length, uint32_t table, uint32_t bucket) noexcept nogil
