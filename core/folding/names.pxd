# Folding of names (docs/folding.md, section 2).

from libc.stdint cimport uint8_t

# The folded name, as UTF-8 without spaces, in out; bytes written, or -1 when the text is no UTF-8 or does not fit.
cdef int fold_name(const uint8_t *text, int length, uint8_t *out, int capacity) noexcept nogil
# The same, and in part the byte at which the name's second part (the given name) begins, 0 when the name has one part.
# The folded bytes are equal to fold_name's.
cdef int fold_name_parts(const uint8_t *text, int length, uint8_t *out, int capacity, int *part) noexcept nogil
