# Growing columns of an answer under way, as plain memory that kernels write without checks after reserving.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    FRAME_HEADER_BYTES = 16
    COPY_WORD_BYTES = 32

# A text column: offsets[rows + 1] and the bytes. data has COPY_WORD_BYTES of room beyond what is reserved, and offsets
# has room for its padding.
ctypedef struct TextColumn:
    uint32_t *offsets
    unsigned char *data
    size_t used
    size_t room
    size_t rows_room

cdef bint text_prepare(TextColumn *column, size_t rows) noexcept nogil      # False: no memory
cdef bint text_reserve(TextColumn *column, size_t more) noexcept nogil
cdef void text_free(TextColumn *column) noexcept nogil
cdef size_t text_column_bytes(const TextColumn *column, size_t rows) noexcept nogil
# Writes offsets and bytes with their padding; returns the place after.
cdef unsigned char *text_write(const TextColumn *column, size_t rows, unsigned char *out) noexcept nogil
# Writes the padding of a column behind it, where there must be room; returns its length with padding.
cdef size_t pad_in_place(unsigned char *column, size_t bytes) noexcept nogil
# Copies bytes of a fixed-width column with padding; returns the place after.
cdef unsigned char *fixed_write(const void *column, size_t bytes, unsigned char *out) noexcept nogil

cdef inline size_t pad8(size_t bytes) noexcept nogil:
    return (bytes + 7) & ~<size_t>7
