"""CRC-32C (Castagnoli): the checksum of blocks and of the record of use."""

from libc.stdint cimport uint32_t


cdef extern from "checksum.h" nogil:
    void jukinet_crc_prepare()
    uint32_t jukinet_crc32c(uint32_t crc, const unsigned char *data, size_t length)
    uint32_t jukinet_crc_portable(uint32_t crc, const unsigned char *data, size_t length)


jukinet_crc_prepare()


cdef uint32_t crc32c_update(uint32_t crc, const unsigned char *data, size_t length) noexcept nogil:
    return jukinet_crc32c(crc, data, length)


def crc32c(const unsigned char[::1] data, uint32_t crc=0):
    """CRC-32C of a contiguous buffer; ``crc`` is the value of the bytes before it, 0 at the start."""
    if data.shape[0] == 0:
        return crc
    with nogil:
        crc = jukinet_crc32c(crc, &data[0], <size_t>data.shape[0])
    return crc


def crc32c_portable(const unsigned char[::1] data, uint32_t crc=0):
    """The same by the portable path, for machines without the instruction; kept reachable so that it is tested."""
    if data.shape[0] == 0:
        return crc
    with nogil:
        crc = ~jukinet_crc_portable(~crc, &data[0], <size_t>data.shape[0])
    return crc
