# The packed form of a LOOKUP's answer under way (docs/protocol.md, 3.3): columns of short numbers, and one run of texts.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from jukinet.core.index.gather cimport Entry
from jukinet.core.records.record cimport ResidentRecord
from jukinet.core.store.snapshot cimport RegisterView

cdef enum:
    PACKED_HEADER_BYTES = 40

# Columns of a batch. Each of the fixed ones has room for its padding; aliases and successors for a value a row.
ctypedef struct PackedColumns:
    unsigned char *memory
    size_t rows_room
    uint64_t *successors
    uint32_t *changes
    uint16_t *areas
    uint8_t *births         # three bytes a row
    uint8_t *towns          # three bytes a row
    uint8_t *rows
    uint8_t *name_bytes
    uint8_t *kana_bytes
    uint8_t *rest_bytes
    uint8_t *alias_bytes
    size_t aliases
    size_t successors_used
    unsigned char *texts
    size_t texts_used
    size_t texts_room
    uint32_t towns_known    # of the register, at the snapshot
    uint32_t areas_known

cdef bint packed_prepare(PackedColumns *columns, size_t rows) noexcept nogil        # False: no memory
cdef void packed_free(PackedColumns *columns) noexcept nogil
cdef size_t packed_room(const PackedColumns *columns) noexcept nogil
# Appends one group of rows; only what items grants is written. False: no memory.
cdef bint packed_append(
    PackedColumns *columns, uint32_t items, size_t first_row, const Entry *entries, const ResidentRecord *records, size_t count,
) noexcept nogil
# The payload's length.
cdef size_t packed_bytes(const PackedColumns *columns, uint32_t items, size_t n) noexcept nogil
# Writes the payload's header.
cdef void packed_head(
    const PackedColumns *columns, uint32_t items, size_t n, uint64_t version, unsigned char *out,
) noexcept nogil
# Writes the payload; returns the place after.
cdef unsigned char *packed_write(
    PackedColumns *columns, uint32_t items, size_t n, uint64_t version, unsigned char *out,
) noexcept nogil
