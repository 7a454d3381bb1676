# How far two folded names or readings are apart (docs/folding.md, section 6). Both sides are outputs of fold_kana or fold_name.

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    PATTERN_MAX = 64         # longest side that is compared by distance, in kana or characters, equal ends taken off

cdef enum:
    PARTS_EQUAL = 0
    PARTS_SWAPPED = 1        # the parts in the other order (one is a rotation of the other)
    PARTS_FIRST_ONLY = 2     # one side is the other's first part (surname) alone
    PARTS_SECOND_ONLY = 3    # one side is the other's second part (given name) alone
    PARTS_SAME_FIRST = 4     # equal first parts, different second parts
    PARTS_SAME_SECOND = 5    # equal second parts, different first parts: a name changed on marriage
    PARTS_DIFFERENT = 6

# Optimal string alignment distance (insert, delete, replace, exchange of neighbours), or limit + 1 when it is more than limit
# or when both sides are longer than PATTERN_MAX.
cdef int kana_distance(const uint8_t *one, int one_length, const uint8_t *other, int other_length, int limit) noexcept nogil
# The same over the code points of UTF-8.
cdef int name_distance(const uint8_t *one, int one_length, const uint8_t *other, int other_length, int limit) noexcept nogil
# Where the other begins in one: one == other[n - r:] + other[:n - r]; 0 when it is no rotation (or is equal).
cdef int rotation(const uint8_t *one, int one_length, const uint8_t *other, int other_length) noexcept nogil
# How the parts of two folded texts compare; a part of 0 says that the split is not known.
cdef int compare_parts(
    const uint8_t *one, int one_length, int one_part, const uint8_t *other, int other_length, int other_part
) noexcept nogil
