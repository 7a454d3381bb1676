# CRC-32C for every format of the product. crc is the value so far, 0 for a first piece.

from libc.stdint cimport uint32_t

cdef uint32_t crc32c_update(uint32_t crc, const unsigned char *data, size_t length) noexcept nogil
