"""The folding rules that the identity index is made by (docs/folding.md), for records and for questions."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from jukinet.core.records.record cimport ResidentRecord, kana_unpack

FOLDING_VERSION = 1
"""Stored with a register: an index made by other rules would not find what these ask for."""


cdef size_t folded_name(const unsigned char *text, size_t length, unsigned char *out, size_t room) noexcept nogil:
    if length > room:
        return 0
    memcpy(out, text, length)
    return length


cdef size_t folded_kana(const unsigned char *text, size_t length, unsigned char *out, size_t room) noexcept nogil:
    if length > room:
        return 0
    memcpy(out, text, length)
    return length


cdef size_t folded_reading(const ResidentRecord *record, unsigned char *out, size_t room) noexcept nogil:
    cdef unsigned char unpacked[3 * 255 + 1]
    if record.kana_packed:
        return folded_kana(unpacked, kana_unpack(record.kana, record.kana_bytes, unpacked), out, room)
    return folded_kana(record.kana, record.kana_bytes, out, room)
