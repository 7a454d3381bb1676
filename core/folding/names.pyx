"""Folding of names: characters folded, spaces and the marks between parts dropped, repeat signs written out."""

from libc.stdint cimport uint8_t, uint32_t

from jukinet.core.folding.characters cimport FOLDED_BYTES_MAX, FOLDED_POINTS_MAX, encode_points, fold_characters


cdef inline bint is_between(uint32_t point) noexcept nogil:
    """Space, middle dot, comma: what stands between a name's parts."""
    return point == 0x20 or point == 0x30FB or point == 0xB7 or point == 0x2C or point == 0x3001 or point == 0x2022


cdef inline bint is_dropped(uint32_t point) noexcept nogil:
    """Apostrophes, full stops, hyphens and double hyphens: written or left out in one and the same name."""
    return (
        point == 0x27 or point == 0x2E or point == 0x2D or point == 0x60 or point == 0x3D or point == 0x3002
        or 0x2010 <= point <= 0x2019 or point == 0x2212 or point == 0x2BC or point == 0x2BB or point == 0x30A0
        or point == 0x2032 or point == 0x2027
    )


cdef inline uint32_t repeated(uint32_t before, uint32_t sign) noexcept nogil:
    """What a repeat sign behind a character stands for, 0 when it is none."""
    cdef uint32_t kana = before - 0x3041 + 0x30A1 if 0x3041 <= before <= 0x3096 else before
    if sign == 0x3005:
        return before
    if not (sign == 0x309D or sign == 0x309E or sign == 0x30FD or sign == 0x30FE) or not 0x30A1 <= kana <= 0x30FA:
        return 0
    # Plain: the kana without its voicing mark. With a mark: the voiced kana, where there is one.
    if 0x30AB <= kana <= 0x30C2:
        if kana & 1 == 0:
            before -= 1
        return before + 1 if sign == 0x309E or sign == 0x30FE else before
    if 0x30C4 <= kana <= 0x30C9:
        if kana & 1:
            before -= 1
        return before + 1 if sign == 0x309E or sign == 0x30FE else before
    if kana == 0x30A6 or kana == 0x30F4:
        before -= kana - 0x30A6
        return before + 0x4E if sign == 0x309E or sign == 0x30FE else before
    if 0x30CF <= kana <= 0x30DD:
        before -= (kana - 0x30CF) % 3
        return before + 1 if sign == 0x309E or sign == 0x30FE else before
    return before


cdef int fold_name_parts(const uint8_t *text, int length, uint8_t *out, int capacity, int *part) noexcept nogil:
    cdef uint32_t points[FOLDED_POINTS_MAX]
    cdef int count = fold_characters(text, length, points)
    cdef int i, written = 0, first_end = 0, result
    cdef uint32_t point, other
    cdef bint between = False
    part[0] = 0
    for i in range(count):
        point = points[i]
        if is_between(point):
            between = written > 0
        elif not is_dropped(point):
            if between and not first_end:
                first_end = written
            if written and (point == 0x3005 or 0x309D <= point <= 0x30FE):
                other = repeated(points[written - 1], point)
                if other:
                    point = other
            points[written] = point
            written += 1
    if count < 0:
        return -1
    result = encode_points(points, written, out, capacity)
    if result >= 0 and first_end:
        part[0] = encode_points(points, first_end, out, capacity)
    return result


cdef int fold_name(const uint8_t *text, int length, uint8_t *out, int capacity) noexcept nogil:
    cdef int part
    return fold_name_parts(text, length, out, capacity, &part)


def folded_name(str text not None):
    """The folded form of a name. ValueError when it is too long to fold or no text (lone surrogates)."""
    return "".join(folded_name_parts(text))


def folded_name_parts(str text not None):
    """The folded form in two: the first part and the others together, the second empty for a name of one part."""
    cdef uint8_t folded[FOLDED_BYTES_MAX]
    cdef bytes encoded = text.encode()
    cdef int part = 0, written
    if len(encoded) > 0x7FFFFFFF:
        raise ValueError("a text of this length is not folded")
    written = fold_name_parts(encoded, <int>len(encoded), folded, FOLDED_BYTES_MAX, &part)
    if written < 0:
        raise ValueError("a text of this length is not folded")
    if not part:
        part = written
    return (<char *>folded)[:part].decode(), (<char *>folded)[part:written].decode()
