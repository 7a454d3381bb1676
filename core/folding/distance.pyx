"""How far two folded names or readings are apart: bounded distance by bit vectors, exchanged and missing parts.

The distance is optimal string alignment after Hyyrö (A bit-vector algorithm for computing Levenshtein and Damerau edit
distances, 2003): one machine word holds a column of the matrix, so a comparison costs a few instructions a character.
"""

from enum import IntEnum

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from jukinet.core.folding.characters cimport decode_point

cdef enum:
    POINTS_MAX = 512


class PartsRelation(IntEnum):
    """How the parts of two names compare (the PARTS_ values of distance.pxd)."""

    EQUAL = 0
    SWAPPED = 1
    FIRST_ONLY = 2
    SECOND_ONLY = 3
    SAME_FIRST = 4
    SAME_SECOND = 5
    DIFFERENT = 6


# One column of the matrix: vertical differences, and what the last character left for exchanges.
ctypedef struct Column:
    uint64_t positive
    uint64_t negative
    uint64_t diagonal
    uint64_t matches
    uint64_t last            # the bit of the pattern's last row
    int score


cdef inline void begin(Column *column, int length) noexcept nogil:
    column.positive = <uint64_t>-1
    column.negative = column.diagonal = column.matches = 0
    column.last = <uint64_t>1 << (length - 1)
    column.score = length


cdef inline void step(Column *column, uint64_t matches) noexcept nogil:
    cdef uint64_t exchange = ((~column.diagonal & matches) << 1) & column.matches
    cdef uint64_t diagonal, up, down
    diagonal = (((matches & column.positive) + column.positive) ^ column.positive) | matches | column.negative | exchange
    up = column.negative | ~(diagonal | column.positive)
    down = diagonal & column.positive
    if up & column.last:
        column.score += 1
    if down & column.last:
        column.score -= 1
    up = up << 1 | 1
    down = down << 1
    column.positive = down | ~(diagonal | up)
    column.negative = up & diagonal
    column.diagonal = diagonal
    column.matches = matches


cdef int kana_distance(const uint8_t *one, int one_length, const uint8_t *other, int other_length, int limit) noexcept nogil:
    cdef uint64_t masks[256]
    cdef const uint8_t *swap
    cdef Column column
    cdef int i, swap_length
    while one_length and other_length and one[one_length - 1] == other[other_length - 1]:
        one_length -= 1
        other_length -= 1
    while one_length and other_length and one[0] == other[0]:
        one += 1
        other += 1
        one_length -= 1
        other_length -= 1
    if one_length > other_length:
        swap, swap_length = one, one_length
        one, one_length = other, other_length
        other, other_length = swap, swap_length
    if other_length - one_length > limit or one_length > PATTERN_MAX:
        return limit + 1
    if one_length == 0:
        return other_length
    for i in range(other_length):
        masks[other[i]] = 0
    for i in range(one_length):
        masks[one[i]] = 0
    for i in range(one_length):
        masks[one[i]] |= <uint64_t>1 << i
    begin(&column, one_length)
    for i in range(other_length):
        step(&column, masks[other[i]])
        if column.score - (other_length - 1 - i) > limit:
            return limit + 1
    return column.score if column.score <= limit else limit + 1


cdef int points_of(const uint8_t *text, int length, uint32_t *points) noexcept nogil:
    cdef int place = 0, count = 0
    while place < length:
        if count == POINTS_MAX or decode_point(text, length, &place, points + count) < 0:
            return -1
        count += 1
    return count


cdef int name_distance(const uint8_t *one, int one_length, const uint8_t *other, int other_length, int limit) noexcept nogil:
    cdef uint32_t one_points[POINTS_MAX]
    cdef uint32_t other_points[POINTS_MAX]
    cdef uint32_t *a = one_points
    cdef uint32_t *b = other_points
    cdef uint32_t *swap
    cdef uint64_t matches
    cdef Column column
    cdef int i, k, swap_count, count = points_of(one, one_length, a), others = points_of(other, other_length, b)
    if count < 0 or others < 0:
        return limit + 1
    while count and others and a[count - 1] == b[others - 1]:
        count -= 1
        others -= 1
    while count and others and a[0] == b[0]:
        a += 1
        b += 1
        count -= 1
        others -= 1
    if count > others:
        swap, swap_count = a, count
        a, count = b, others
        b, others = swap, swap_count
    if others - count > limit or count > PATTERN_MAX:
        return limit + 1
    if count == 0:
        return others
    begin(&column, count)
    for i in range(others):
        matches = 0
        for k in range(count):
            matches |= <uint64_t>(a[k] == b[i]) << k
        step(&column, matches)
        if column.score - (others - 1 - i) > limit:
            return limit + 1
    return column.score if column.score <= limit else limit + 1


cdef int rotation(const uint8_t *one, int one_length, const uint8_t *other, int other_length) noexcept nogil:
    cdef int r
    if one_length != other_length or memcmp(one, other, one_length) == 0:
        return 0
    for r in range(1, one_length):
        if (
            other[r] == one[0] and memcmp(one, other + r, one_length - r) == 0
            and memcmp(one + one_length - r, other, r) == 0
        ):
            return r
    return 0


cdef inline bint same(const uint8_t *one, int one_length, const uint8_t *other, int other_length) noexcept nogil:
    return one_length == other_length and one_length > 0 and memcmp(one, other, one_length) == 0


cdef int compare_parts(
    const uint8_t *one, int one_length, int one_part, const uint8_t *other, int other_length, int other_part
) noexcept nogil:
    if one_length == 0 or other_length == 0:
        return PARTS_DIFFERENT
    if same(one, one_length, other, other_length):
        return PARTS_EQUAL
    if one_length == other_length:
        # With both splits known the parts must be the same ones; with one known, the rotation must be at it.
        if one_part or other_part:
            if one_part and same(one, one_part, other + (other_length - one_part), one_part) and same(
                one + one_part, one_length - one_part, other, other_length - one_part
            ):
                return PARTS_SWAPPED
            if other_part and same(other, other_part, one + (one_length - other_part), other_part) and same(
                other + other_part, other_length - other_part, one, one_length - other_part
            ):
                return PARTS_SWAPPED
        elif rotation(one, one_length, other, other_length):
            return PARTS_SWAPPED
    if other_part and not one_part:
        if same(one, one_length, other, other_part):
            return PARTS_FIRST_ONLY
        if same(one, one_length, other + other_part, other_length - other_part):
            return PARTS_SECOND_ONLY
        if one_length > other_part and same(one, other_part, other, other_part):
            return PARTS_SAME_FIRST
        if one_length > other_length - other_part and same(
            one + one_length - (other_length - other_part), other_length - other_part, other + other_part, other_length - other_part
        ):
            return PARTS_SAME_SECOND
        return PARTS_DIFFERENT
    if one_part and not other_part:
        return compare_parts(other, other_length, 0, one, one_length, one_part)
    if one_part and other_part:
        if same(one, one_part, other, other_part):
            return PARTS_SAME_FIRST
        if same(one + one_part, one_length - one_part, other + other_part, other_length - other_part):
            return PARTS_SAME_SECOND
    return PARTS_DIFFERENT


def distance_of_kana(bytes one not None, bytes other not None, int limit):
    """Distance of two folded readings, or limit + 1 when it is larger."""
    if not 0 <= limit < 1 << 20:
        raise ValueError("a limit is 0 or more")
    return kana_distance(one, <int>len(one), other, <int>len(other), limit)


def distance_of_names(str one not None, str other not None, int limit):
    """Distance of two folded names in characters, or limit + 1 when it is larger."""
    cdef bytes first = one.encode(), second = other.encode()
    if not 0 <= limit < 1 << 20:
        raise ValueError("a limit is 0 or more")
    return name_distance(first, <int>len(first), second, <int>len(second), limit)


def parts_relation(tuple one not None, tuple other not None):
    """How two folded texts of two parts each compare; an empty second part says that the split is not known."""
    cdef bytes first = b"".join(one), second = b"".join(other)
    return PartsRelation(
        compare_parts(
            first, <int>len(first), <int>len(one[0]) if one[1] else 0, second, <int>len(second),
            <int>len(other[0]) if other[1] else 0,
        )
    )
