# Numbers at any place of a payload, without the compiler's knowing their alignment.

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline uint32_t load_u16(const unsigned char *place) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, place, 2)
    return value


cdef inline uint32_t load_u24(const unsigned char *place) noexcept nogil:
    return place[0] | <uint32_t>place[1] << 8 | <uint32_t>place[2] << 16


cdef inline uint32_t load_u32(const unsigned char *place) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return value


cdef inline uint64_t load_u64(const unsigned char *place) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, place, 8)
    return value
