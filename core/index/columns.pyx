"""Columns of an answer under way (docs/protocol.md, chapter 2): text columns that grow, and their final layout."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset


cdef bint text_prepare(TextColumn *column, size_t rows) noexcept nogil:
    cdef void *offsets
    cdef size_t room = pad8((rows + 1) * sizeof(uint32_t))
    if column.rows_room < rows + 1:
        offsets = realloc(column.offsets, room)
        if offsets == NULL:
            return False
        column.offsets = <uint32_t *>offsets
        column.rows_room = room // sizeof(uint32_t)
    column.used = 0
    column.offsets[0] = 0
    return True


cdef bint text_reserve(TextColumn *column, size_t more) noexcept nogil:
    cdef size_t room
    cdef void *data
    if column.used + more <= column.room:
        return True
    room = column.used + more
    if room < 2 * column.room:
        room = 2 * column.room
    data = realloc(column.data, room + COPY_WORD_BYTES)
    if data == NULL:
        return False
    column.data = <unsigned char *>data
    column.room = room
    return True


cdef void text_free(TextColumn *column) noexcept nogil:
    free(column.offsets)
    free(column.data)
    memset(column, 0, sizeof(TextColumn))


cdef size_t text_column_bytes(const TextColumn *column, size_t rows) noexcept nogil:
    return pad8((rows + 1) * 4) + pad8(column.used)


cdef size_t pad_in_place(unsigned char *column, size_t bytes) noexcept nogil:
    memset(column + bytes, 0, pad8(bytes) - bytes)
    return pad8(bytes)


cdef unsigned char *fixed_write(const void *column, size_t bytes, unsigned char *out) noexcept nogil:
    if bytes:
        memcpy(out, column, bytes)
    memset(out + bytes, 0, pad8(bytes) - bytes)
    return out + pad8(bytes)


cdef unsigned char *text_write(const TextColumn *column, size_t rows, unsigned char *out) noexcept nogil:
    return fixed_write(column.data, column.used, fixed_write(column.offsets, (rows + 1) * 4, out))
