"""The folding rules that the identity index is made by (docs/folding.md), for records and for questions."""

from libc.stdint cimport uint8_t

from jukinet.core.folding.kana cimport fold_kana, fold_kana_packed
from jukinet.core.folding.names cimport fold_name
from jukinet.core.records.record cimport ResidentRecord


cdef size_t folded_name(const unsigned char *text, size_t length, unsigned char *out, size_t room) noexcept nogil:
    cdef int written = fold_name(text, <int>length, out, <int>room)
    return <size_t>written if written > 0 else 0


cdef size_t folded_kana(const unsigned char *text, size_t length, unsigned char *out, size_t room) noexcept nogil:
    cdef int written = fold_kana(text, <int>length, out, <int>room, NULL)
    return <size_t>written if written > 0 else 0


cdef size_t folded_reading(const ResidentRecord *record, unsigned char *out, size_t room) noexcept nogil:
    cdef int written
    if not record.kana_packed:
        return folded_kana(record.kana, record.kana_bytes, out, room)
    written = fold_kana_packed(record.kana, record.kana_bytes, out, <int>room, NULL)
    return <size_t>written if written > 0 else 0
