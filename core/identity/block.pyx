"""Blocks of the identity index: writing, merging and verifying the entries of one bucket (docs/identity-index.md, 4)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from jukinet.core.checksum cimport crc32c_update
from jukinet.core.identity.entries cimport (
    KEY_MASK, KEYS, TABLE_DATE, EntryLayout,
)

from jukinet.core.errors import StoreCorruptError


cdef size_t identity_block_bytes(size_t count) noexcept nogil:
    cdef size_t bytes = IDENTITY_HEADER_BYTES + 8 * count + IDENTITY_TRAILER_BYTES
    return bytes if bytes > IDENTITY_BLOCK_BYTES_MIN else <size_t>IDENTITY_BLOCK_BYTES_MIN


cdef void identity_block_close(uint32_t table, uint32_t bucket, size_t count, unsigned char *out) noexcept nogil:
    cdef size_t used = IDENTITY_HEADER_BYTES + 8 * count, padded = identity_block_bytes(count)
    cdef uint32_t checksum
    (<uint64_t *>out)[0] = identity_head(table, bucket)
    (<uint64_t *>(out + 8))[0] = count
    memset(out + used, 0, padded - used)
    checksum = crc32c_update(0, out, used)
    memcpy(out + padded - 4, &checksum, 4)


cdef bint identity_block_whole(
    const unsigned char *block, size_t length, uint32_t table, uint32_t bucket) noexcept nogil:
    cdef size_t count
    cdef uint32_t checksum
    if length < IDENTITY_BLOCK_BYTES_MIN or not identity_names(block, table, bucket):
        return False
    count = identity_count(block)
    if count == 0 or (<const uint32_t *>(block + 12))[0] != 0 or length != identity_block_bytes(count):
        return False
    memcpy(&checksum, block + length - 4, 4)
    return crc32c_update(0, block, IDENTITY_HEADER_BYTES + 8 * count) == checksum


def encode(uint32_t table, uint32_t bucket, entries):
    """A block of strictly ascending entries, at least one. ValueError when they are not."""
    cdef size_t count = len(entries), i = 0
    cdef uint64_t entry, before = 0
    cdef unsigned char *out
    if count == 0 or count > 0xFFFFFFFF:
        raise ValueError("a block has at least one entry")
    made = PyBytes_FromStringAndSize(NULL, identity_block_bytes(count))
    out = <unsigned char *>PyBytes_AS_STRING(made)
    for entry in entries:
        if i and entry <= before:
            raise ValueError("the entries of a block ascend")
        memcpy(out + IDENTITY_HEADER_BYTES + 8 * i, &entry, 8)
        before = entry
        i += 1
    identity_block_close(table, bucket, count, out)
    return made


def decode(const unsigned char[::1] block not None, uint32_t table, uint32_t bucket):
    """The entries of a block. StoreCorruptError unless it is whole and this bucket's."""
    cdef uint32_t i
    if not identity_block_whole(&block[0], <size_t>block.shape[0], table, bucket):
        raise StoreCorruptError(f"bucket {bucket} of identity table {table} is damaged; run `jukinet store check`")
    return [identity_entries(&block[0])[i] for i in range(identity_count(&block[0]))]


cdef bint zeros(const unsigned char *place, const unsigned char *stop) noexcept nogil:
    while place < stop:
        if place[0]:
            return False
        place += 1
    return True




def fault_of(const unsigned char[::1] block not None, EntryLayout layout not None, uint32_t table, uint32_t bucket):
    """None for a whole block, otherwise what is wrong with it in words without content."""
    cdef uint32_t i, count
    cdef size_t length = block.shape[0]
    cdef const uint64_t *entries
    cdef bint ascending = True, in_range = True, padded
    if length < IDENTITY_BLOCK_BYTES_MIN:
        return "too short"
    if not identity_names(&block[0], table, bucket):
        return "header names another table or bucket"
    if not identity_block_whole(&block[0], length, table, bucket):
        return "length or checksum"
    count = identity_count(&block[0])
    entries = identity_entries(&block[0])
    with nogil:
        padded = zeros(&block[0] + IDENTITY_HEADER_BYTES + 8 * <size_t>count, &block[0] + length - 4)
        for i in range(count):
            ascending = ascending and (i == 0 or entries[i - 1] < entries[i])
            in_range = in_range and entries[i] & KEY_MASK < KEYS
    if bucket >= (layout.view.date_buckets if table == TABLE_DATE else layout.view.text_buckets):
        return "a bucket beyond the last"
    if not padded:
        return "padding is not zero"
    if not ascending:
        return "entries out of order"
    return None if in_range else "a key beyond the last"
