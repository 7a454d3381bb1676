"""Folding of single characters: NFKC, lower case, letters without marks, kanji variants, kana with its voicing mark.

One table, filled when the module is loaded, says for each code point what it becomes: nothing, one code point, or several.
Kanji variants come from core.folding.variants. The rules stand in docs/folding.md.
"""

import unicodedata

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc

from jukinet.core.folding.variants import VARIANTS

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
    (0x1FBF0, 0x1FC00), (0x2F800, 0x2FA20), (0x110B0, 0x110D0), (0x13430, 0x13440), (0x1BCA0, 0x1BCA4), (0x1D150, 0x1D1C8),
    (0xE0001, 0xE0080), (0xE0100, 0xE01F0),
)
"""Where NFKC, case or marks change a character; CJK ideographs outside change only by the variants."""
LETTERS = {
    "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ĸ": "k", "ł": "l", "ŋ": "n", "ø": "o", "ŧ": "t", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th",
    "ə": "e", "ơ": "o", "ư": "u", "ヶ": "ケ", "ヵ": "カ", "〻": "々",
}
"""Letters that no mark can be taken from, and small kana that stand for the large one."""


def fold_character(character):
    """What one character folds to, on its own: a string of 0 to 18 characters."""
    point = ord(character)
    if 0xFE00 <= point <= 0xFE0F or 0xE0100 <= point <= 0xE01EF or 0x300 <= point <= 0x36F:
        return ""
    if point in (0x309B, 0xFF9E):
        return chr(VOICED)
    if point in (0x309C, 0xFF9F):
        return chr(SEMI_VOICED)
    if character.isspace():
        return " "
    if unicodedata.category(character) in ("Cc", "Cf"):
        return ""
    folded = unicodedata.normalize("NFKD", character).casefold()
    folded = "".join(part for part in unicodedata.normalize("NFKD", folded) if not "\u0300" <= part <= "\u036f")
    folded = "".join(LETTERS.get(part, part) for part in unicodedata.normalize("NFC", folded))
    return "".join(" " if part.isspace() else VARIANTS.get(part, part) for part in folded)


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


def prepare_tables():
    """Fill the tables, once, in some tens of milliseconds."""
    for first, end in FOLDED_RANGES:
        for point in range(first, end):
            if not 0xD800 <= point <= 0xDFFF:
                folded = fold_character(chr(point))
                if folded != chr(point):
                    set_folding(point, folded)
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


cdef int decode_point(const uint8_t *text, int length, int *place, uint32_t *point) noexcept nogil:
    cdef const uint8_t *at = text + place[0]
    cdef int left = length - place[0]
    cdef uint32_t value
    if left <= 0:
        return -1
    value = at[0]
    if value < 0x80:
        point[0] = value
        place[0] += 1
        return 0
    if value < 0xC2 or value > 0xF4:
        return -1
    if value < 0xE0:
        if left < 2 or at[1] & 0xC0 != 0x80:
            return -1
        point[0] = (value & 31) << 6 | (at[1] & 63)
        place[0] += 2
        return 0
    if value < 0xF0:
        if left < 3 or at[1] & 0xC0 != 0x80 or at[2] & 0xC0 != 0x80:
            return -1
        value = (value & 15) << 12 | <uint32_t>(at[1] & 63) << 6 | (at[2] & 63)
        if value < 0x800 or 0xD800 <= value <= 0xDFFF:
            return -1
        point[0] = value
        place[0] += 3
        return 0
    if left < 4 or at[1] & 0xC0 != 0x80 or at[2] & 0xC0 != 0x80 or at[3] & 0xC0 != 0x80:
        return -1
    value = (value & 7) << 18 | <uint32_t>(at[1] & 63) << 12 | <uint32_t>(at[2] & 63) << 6 | (at[3] & 63)
    if value < 0x10000 or value > 0x10FFFF:
        return -1
    point[0] = value
    place[0] += 4
    return 0


cdef int encode_points(const uint32_t *points, int count, uint8_t *out, int capacity) noexcept nogil:
    cdef int i, written = 0
    cdef uint32_t point
    for i in range(count):
        point = points[i]
        if written + 4 > capacity and written + (
            1 if point < 0x80 else 2 if point < 0x800 else 3 if point < 0x10000 else 4
        ) > capacity:
            return -1
        if point < 0x80:
            out[written] = <uint8_t>point
            written += 1
        elif point < 0x800:
            out[written] = <uint8_t>(0xC0 | point >> 6)
            out[written + 1] = <uint8_t>(0x80 | (point & 63))
            written += 2
        elif point < 0x10000:
            out[written] = <uint8_t>(0xE0 | point >> 12)
            out[written + 1] = <uint8_t>(0x80 | (point >> 6 & 63))
            out[written + 2] = <uint8_t>(0x80 | (point & 63))
            written += 3
        else:
            out[written] = <uint8_t>(0xF0 | point >> 18)
            out[written + 1] = <uint8_t>(0x80 | (point >> 12 & 63))
            out[written + 2] = <uint8_t>(0x80 | (point >> 6 & 63))
            out[written + 3] = <uint8_t>(0x80 | (point & 63))
            written += 4
    return written


cdef int fold_characters(const uint8_t *text, int length, uint32_t *out) noexcept nogil:
    cdef int place = 0, count = 0, i
    cdef uint32_t point = 0, value
    cdef uint32_t *page
    while place < length:
        if count + EXPANSION_POINTS_MAX >= FOLDED_POINTS_MAX or decode_point(text, length, &place, &point) < 0:
            return -1
        page = pages[point // PAGE_POINTS]
        value = point if page == NULL else page[point % PAGE_POINTS]
        if value < DROPPED:
            count = append_point(out, count, value)
        elif value >= FIRST_EXPANSION:
            value -= FIRST_EXPANSION
            for i in range(expansion_lengths[value]):
                count = append_point(out, count, expansions[value][i])
    return count
