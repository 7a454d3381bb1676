"""Folding of names and addresses before they are compared.

A name is folded character by character: NFKC form in upper case, half-width kana with its voicing mark as one character,
kanji variants (core.index.variants) as their common form; spaces and variation selectors fall away.

An address is folded as a name and then its numbers are brought to one form: kanji numerals before 丁目 become digits;
丁目, 番地, 番, 号, の and dashes after a number become one hyphen when another number follows, and nothing otherwise; 大字 and
字 fall away. So 一丁目２番地の３, 1丁目2番3号 and 1-2-3 are one.
"""

import unicodedata

from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memmove

from jukinet.core.index.variants import VARIANTS

cdef enum:
    PAGE_POINTS = 256
    PAGES = 0x110000 // PAGE_POINTS
    EXPANSION_POINTS_MAX = 18
    EXPANSIONS_MAX = 4096
    DROPPED = 0x110000           # the character falls away
    FIRST_EXPANSION = 0x110001   # the character becomes several: expansions[value - FIRST_EXPANSION]
    VOICED = 0x3099
    SEMI_VOICED = 0x309A

# Two-level table: NULL pages map every character to itself.
cdef uint32_t *pages[PAGES]
cdef uint32_t expansions[EXPANSIONS_MAX][EXPANSION_POINTS_MAX]
cdef int expansion_lengths[EXPANSIONS_MAX]
cdef int expansions_count = 0

FOLDED_RANGES = (
    (0x0000, 0x3400), (0xA640, 0xABFF), (0xF900, 0x10000), (0x10400, 0x10800), (0x10C80, 0x10D00), (0x118A0, 0x118E0),
    (0x16E40, 0x16E80), (0x1D400, 0x1D800), (0x1E900, 0x1E950), (0x1EE00, 0x1EF00), (0x1F100, 0x1F300),
    (0x1FBF0, 0x1FC00), (0x2F800, 0x2FA20),
)
"""Where NFKC or case changes a character; CJK ideographs outside change only by the variants."""


cdef int set_folding(uint32_t point, str folded) except -1:
    global expansions_count
    cdef uint32_t *page = pages[point // PAGE_POINTS]
    cdef uint32_t i, value
    if page == NULL:
        page = <uint32_t *>calloc(PAGE_POINTS, sizeof(uint32_t))
        if page == NULL:
            raise MemoryError
        for i in range(PAGE_POINTS):
            page[i] = point // PAGE_POINTS * PAGE_POINTS + i
        pages[point // PAGE_POINTS] = page
    if folded == "":
        value = DROPPED
    elif len(folded) == 1:
        value = ord(folded)
    else:
        if expansions_count == EXPANSIONS_MAX or len(folded) > EXPANSION_POINTS_MAX:
            raise AssertionError("the folding tables are too small for this Unicode version")
        value = FIRST_EXPANSION + expansions_count
        for i in range(len(folded)):
            expansions[expansions_count][i] = ord(folded[i])
        expansion_lengths[expansions_count] = <int>len(folded)
        expansions_count += 1
    page[point % PAGE_POINTS] = value
    return 0


def fold_character(character):
    """What one character folds to, on its own: a string of 0 to 18 characters."""
    point = ord(character)
    if 0xFE00 <= point <= 0xFE0F or 0xE0100 <= point <= 0xE01EF:
        return ""
    if point in (0x309B, 0xFF9E):
        return chr(VOICED)
    if point in (0x309C, 0xFF9F):
        return chr(SEMI_VOICED)
    folded = unicodedata.normalize("NFKC", character).upper()
    folded = unicodedata.normalize("NFKC", folded)
    return "".join(VARIANTS.get(part, part) for part in folded if not part.isspace())


def prepare_tables():
    """Fill the tables, once, in some tens of milliseconds."""
    for first, end in FOLDED_RANGES:
        for point in range(first, end):
            if not 0xD800 <= point <= 0xDFFF:
                folded = fold_character(chr(point))
                if folded != chr(point):
                    set_folding(point, folded)
    for point in range(0xE0100, 0xE01F0):
        set_folding(point, "")
    for variant in VARIANTS:
        set_folding(ord(variant), fold_character(variant))


prepare_tables()


cdef inline uint32_t voiced(uint32_t base, uint32_t mark) noexcept nogil:
    """The kana that a base and a combining mark make together, 0 when there is none (Unicode's compositions)."""
    cdef uint32_t kana = base, hiragana = 0
    if 0x3041 <= base <= 0x3096:
        kana = base + 0x60
        hiragana = 0x60
    if mark == VOICED:
        if kana == 0x30A6:
            return 0x30F4 - hiragana
        if 0x30EF <= base <= 0x30F2:
            return base + 8
        if base == 0x30FD or base == 0x309D:
            return base + 1
        if 0x30AB <= kana <= 0x30C2 and kana & 1:
            return kana + 1 - hiragana
        if 0x30C4 <= kana <= 0x30C8 and not kana & 1:
            return kana + 1 - hiragana
        if 0x30CF <= kana <= 0x30DD and kana % 3 == 0x30CF % 3:
            return kana + 1 - hiragana
    elif 0x30CF <= kana <= 0x30DD and kana % 3 == 0x30CF % 3:
        return kana + 2 - hiragana
    return 0


cdef inline int append_point(uint32_t *out, int count, uint32_t point) noexcept nogil:
    cdef uint32_t together
    if count and (point == VOICED or point == SEMI_VOICED):
        together = voiced(out[count - 1], point)
        if together:
            out[count - 1] = together
            return count
    out[count] = point
    return count + 1


cdef inline int decode_point(const unsigned char *text, size_t length, size_t *place, uint32_t *point) noexcept nogil:
    """The next code point of UTF-8; -1 for a sequence that is none (the text was checked on its way in)."""
    cdef unsigned char first = text[place[0]]
    cdef size_t left = length - place[0], more = 0, i
    cdef uint32_t value = first
    if first >= 0xF0:
        more, value = 3, first & 7
    elif first >= 0xE0:
        more, value = 2, first & 15
    elif first >= 0xC0:
        more, value = 1, first & 31
    elif first >= 0x80:
        return -1
    if more >= left:
        return -1
    for i in range(more):
        value = value << 6 | (text[place[0] + 1 + i] & 63)
    if value >= 0x110000:
        return -1
    point[0] = value
    place[0] += 1 + more
    return 0


cdef int fold_name(const unsigned char *text, size_t length, uint32_t *out) noexcept nogil:
    cdef size_t place = 0
    cdef int count = 0, i
    cdef uint32_t point = 0, value
    while place < length:
        if count + EXPANSION_POINTS_MAX >= FOLDED_POINTS_MAX or decode_point(text, length, &place, &point) < 0:
            return -1
        value = point
        if pages[point // PAGE_POINTS] != NULL:
            value = pages[point // PAGE_POINTS][point % PAGE_POINTS]
        if value < DROPPED:
            count = append_point(out, count, value)
        elif value >= FIRST_EXPANSION:
            value -= FIRST_EXPANSION
            for i in range(expansion_lengths[value]):
                count = append_point(out, count, expansions[value][i])
    return count


cdef inline bint is_digit(uint32_t point) noexcept nogil:
    return 0x30 <= point <= 0x39


cdef inline bint is_dash(uint32_t point) noexcept nogil:
    return (
        point == 0x2D or 0x2010 <= point <= 0x2015 or point == 0x2212 or point == 0x30FC or point == 0x306E or point == 0x30CE
    )


cdef inline int kanji_digit(uint32_t point) noexcept nogil:
    """1 to 9 for 一 to 九, 10 for 十, 0 for 〇, -1 for anything else."""
    if point == 0x4E00:
        return 1
    if point == 0x4E8C:
        return 2
    if point == 0x4E09:
        return 3
    if point == 0x56DB:
        return 4
    if point == 0x4E94:
        return 5
    if point == 0x516D:
        return 6
    if point == 0x4E03:
        return 7
    if point == 0x516B:
        return 8
    if point == 0x4E5D:
        return 9
    if point == 0x5341:
        return 10
    if point == 0x3007:
        return 0
    return -1


cdef int kanji_number(const uint32_t *points, int count, int start, int *value) noexcept nogil:
    """Length of a kanji numeral below 100 at start that 丁目 follows, else 0; its value in value."""
    cdef int place = start, digit, total = 0
    while place < count and place - start < 3:
        digit = kanji_digit(points[place])
        if digit < 0:
            break
        if digit == 10:
            total = (total if total else 1) * 10
        else:
            total = total + digit if total % 10 == 0 and total >= 10 else digit
        place += 1
    if place == start or place + 1 >= count or points[place] != 0x4E01 or points[place + 1] != 0x76EE or total > 99:
        return 0
    value[0] = total
    return place - start


cdef inline int counter_length(const uint32_t *points, int count, int place) noexcept nogil:
    """Length of 丁目, 番地, 番, 号 or a dash at place, else 0."""
    if place >= count:
        return 0
    if place + 1 < count:
        if points[place] == 0x4E01 and points[place + 1] == 0x76EE:
            return 2
        if points[place] == 0x756A and points[place + 1] == 0x5730:
            return 2
    if points[place] == 0x756A or points[place] == 0x53F7 or is_dash(points[place]):
        return 1
    return 0


cdef int drop_sections(uint32_t *points, int count) noexcept nogil:
    """Take 大字, and 字 that is not at the start, out of an address, in place."""
    cdef int place = 0, written = 0
    while place < count:
        if points[place] == 0x5927 and place + 1 < count and points[place + 1] == 0x5B57:
            place += 2
        elif points[place] == 0x5B57 and written:
            place += 1
        else:
            points[written] = points[place]
            written += 1
            place += 1
    return written


cdef int fold_numbers(uint32_t *points, int count) noexcept nogil:
    """Bring an address's numbers to one form, in place; the result is never longer."""
    cdef int place = 0, written = 0, length, value = 0
    cdef bint after_number = False
    while place < count:
        length = 0 if after_number else kanji_number(points, count, place, &value)
        if length:
            if value >= 10:
                points[written] = 0x30 + value // 10
                written += 1
            points[written] = 0x30 + value % 10
            written += 1
            place += length
            after_number = True
            continue
        length = counter_length(points, count, place) if after_number else 0
        if length:
            while length:
                place += length
                length = counter_length(points, count, place)
            if place < count and (is_digit(points[place]) or kanji_number(points, count, place, &value)):
                points[written] = 0x2D
                written += 1
            after_number = False
            continue
        after_number = is_digit(points[place])
        points[written] = points[place]
        written += 1
        place += 1
    return written


cdef int fold_address(const unsigned char *text, size_t length, uint32_t *out) noexcept nogil:
    cdef int count = fold_name(text, length, out)
    return count if count < 0 else fold_numbers(out, drop_sections(out, count))


cdef str text_of(const uint32_t *points, int count):
    return "".join([chr(points[i]) for i in range(count)])


def folded_name(str text not None):
    """The folded form of a name. ValueError when it is too long to fold."""
    cdef uint32_t points[FOLDED_POINTS_MAX]
    cdef bytes encoded = text.encode()
    cdef int count = fold_name(encoded, len(encoded), points)
    if count < 0:
        raise ValueError("a text of this length is not folded")
    return text_of(points, count)


def folded_address(str text not None):
    """The folded form of an address. ValueError when it is too long to fold."""
    cdef uint32_t points[FOLDED_POINTS_MAX]
    cdef bytes encoded = text.encode()
    cdef int count = fold_address(encoded, len(encoded), points)
    if count < 0:
        raise ValueError("a text of this length is not folded")
    return text_of(points, count)
