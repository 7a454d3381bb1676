# What a transaction changes in the identity index, collected entry by entry.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from jukinet.core.identity.entries cimport EntryLayout, PlacedEntry
from jukinet.core.records.record cimport ResidentRecord

# An entry to be added (1) or taken away (-1); several about one entry are summed.
ctypedef struct EntryChange:
    PlacedEntry placed
    int32_t sign

cdef class IdentityChanges:
    cdef readonly EntryLayout layout
    cdef EntryChange *changes
    cdef size_t count, room
    cdef size_t netted_count, at    # once begun: changes left after netting, and how many are written
    cdef readonly size_t blocks_left
    cdef readonly bint begun
    cdef bint failed                # memory ran out: write() raises MemoryError

    # Adds (sign 1) or takes away (-1) the entries of a record. False: no memory.
    cdef bint take_record(self, uint64_t key, const ResidentRecord *record, int32_t sign) noexcept nogil
    cdef bint take(self, const PlacedEntry *placed, int32_t sign) noexcept nogil
    cdef void _spent(self) noexcept
    cdef set _entries(self, uint64_t key, records)
    cdef object _merged(self, uint32_t table, uint32_t bucket, present, size_t first, size_t stop)
