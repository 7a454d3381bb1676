# Folding of texts before comparison: what two people would call the same name or the same address.

from libc.stdint cimport uint32_t

cdef enum:
    FOLDED_POINTS_MAX = 1536

# Code points of the folded text in out (room FOLDED_POINTS_MAX); -1 when the text is no UTF-8 or too long to fold.
cdef int fold_name(const unsigned char *text, size_t length, uint32_t *out) noexcept nogil
cdef int fold_address(const unsigned char *text, size_t length, uint32_t *out) noexcept nogil
