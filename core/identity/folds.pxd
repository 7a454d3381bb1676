# The texts of a record as the identity index takes them.

from libc.stdint cimport uint8_t

from jukinet.core.records.record cimport ResidentRecord

# Bytes of the folded text written to out, which has `room` bytes; 0 when nothing is left of it or it does not fold.
cdef size_t folded_name(const unsigned char *text, size_t length, unsigned char *out, size_t room) noexcept nogil
cdef size_t folded_kana(const unsigned char *text, size_t length, unsigned char *out, size_t room) noexcept nogil
# The reading of a record, packed or not.
cdef size_t folded_reading(const ResidentRecord *record, unsigned char *out, size_t room) noexcept nogil
