# Folding of single characters, and UTF-8 to code points and back: what names and addresses have in common.

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    FOLDED_POINTS_MAX = 1536
    FOLDED_BYTES_MAX = 4 * FOLDED_POINTS_MAX

# Folded code points of a text in out (room FOLDED_POINTS_MAX): every white space as U+0020, dropped characters gone.
# Their count, or -1 when the text is no UTF-8 or too long to fold.
cdef int fold_characters(const uint8_t *text, int length, uint32_t *out) noexcept nogil
# The next code point of UTF-8, place moved behind it; -1 for bytes that are none or end too early.
cdef int decode_point(const uint8_t *text, int length, int *place, uint32_t *point) noexcept nogil
# Bytes written, or -1 when there is no room.
cdef int encode_points(const uint32_t *points, int count, uint8_t *out, int capacity) noexcept nogil
