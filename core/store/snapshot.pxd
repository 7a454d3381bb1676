# The register as of one transaction, as kernels see it: plain pointers that stay good while the Snapshot is pinned.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.identity.entries cimport EntryLayout, LayoutView

ctypedef struct RegisterView:
    const unsigned char **directory     # one pointer a bucket, NULL for an empty one
    uint64_t buckets
    uint64_t width
    uint64_t width_reciprocal           # 2^64 / width, rounded up
    uint32_t late_delta                 # deltas above this probably lie beyond a block's first two cache lines
    uint32_t areas
    const uint32_t *area_jis            # five-digit numbers
    const uint8_t *area_connected       # 1 or 0
    uint32_t towns
    const uint32_t *town_offsets        # towns + 1; town n (from 1) is text[offsets[n - 1]:offsets[n]]
    const unsigned char *town_text      # 64 bytes of slack follow

# The identity index of the same transaction (docs/identity-index.md).
ctypedef struct IdentityView:
    const LayoutView *layout            # NULL when the snapshot has ended
    const unsigned char **blocks[4]     # by table number: one pointer a bucket, NULL for an empty one; 0 is not used

cdef class Directory:
    cdef const unsigned char **pointers
    cdef readonly uint64_t buckets      # of all tables together
    cdef readonly tuple starts          # the first place of each table, and the end of the last
    cdef public uint64_t version

cdef class PlaceTables:
    cdef uint32_t *jis
    cdef uint8_t *connected
    cdef uint32_t *offsets
    cdef unsigned char *text
    cdef readonly uint32_t areas_count
    cdef readonly uint32_t towns_count
    cdef readonly list areas
    cdef readonly list areas_not_connected

cdef class Snapshot:
    cdef RegisterView view
    cdef IdentityView identity
    cdef readonly EntryLayout layout
    cdef readonly Directory directory
    cdef readonly PlaceTables places
    cdef readonly uint64_t version
    cdef readonly object transaction
    cdef readonly int pins
    cdef bint retired
    cdef object on_idle
