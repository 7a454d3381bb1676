"""Kernel: finds and checks the columns of a payload in one pass, without a Python object a row.

Every read is inside the buffer whatever the bytes say. The plain-Python twin stands in tests/wire/wire_twin.py.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t

from jukinet.core.columns.bits cimport (
    ITEM_NAME, ITEM_KANA, ITEM_ALIAS, ITEM_BIRTH_DATE, ITEM_SEX, ITEM_ADDRESS, ITEM_CHANGE, ITEM_CODE,
    ROW_OUTCOME, ROW_KANA_UTF8, ROW_ALIAS, ROW_SUCCESSOR,
)
from jukinet.core.columns.loading cimport load_u16, load_u24, load_u32, load_u64

cdef enum:
    SOUND = 0
    # The layout does not hold; nothing after it can be trusted.
    TRUNCATED = 1
    TRAILING = 2
    PADDING = 3
    OFFSETS = 4
    NOT_UTF8 = 5
    # The layout holds, a value is not allowed.
    VALUE = 16
    TEXT_TOO_LONG = 17

    COLUMNS_MAX = 24
    GIL_KEPT_BYTES_MAX = 4096          # below this, releasing the GIL costs more than the pass

cdef uint64_t ONE = 1
cdef uint64_t LOOKUP_OUTCOMES = 0b111111111010     # 1 and 3 to 11: CHANGED belongs to STATUS
cdef uint64_t STATUS_OUTCOMES = 0b111111111110
cdef uint64_t FOUND = 0b111111111110
cdef uint64_t GRADES = 0b1111111
cdef uint32_t MILLIONTHS_END = 1_000_001
cdef uint32_t LEVEL_NIBBLES = 0xFFFFF              # five items, four bits each
cdef uint64_t SEXES = 0b1000000111
cdef uint64_t REASONS = (1 | (ONE << 11) | (ONE << 12) | (ONE << 13) | (ONE << 21) | (ONE << 22) | (ONE << 23)
                         | (ONE << 31) | (ONE << 32) | (ONE << 33) | (ONE << 41) | (ONE << 42))
cdef uint32_t AREA_END = 100_000
cdef uint64_t SUCCESSOR_END = 100_000_000_000


class ColumnFault(ValueError):  # noqa: N818
    """A payload whose columns do not hold; ``fault`` says how, ``column`` which column of the plan (0-based)."""

    def __init__(self, fault, column):
        super().__init__(f"column {column}: {FAULT_NAMES[fault]}")
        self.fault = fault
        self.column = column

    @property
    def is_value(self):
        """True when the layout is sound and only a value is not allowed."""
        return self.fault >= VALUE


FAULT_NAMES = {
    TRUNCATED: "the payload is too short",
    TRAILING: "bytes follow the last column",
    PADDING: "padding is not zero",
    OFFSETS: "offsets do not start at 0 or decrease, or lengths do not add up",
    NOT_UTF8: "text is not UTF-8",
    VALUE: "a value is not allowed",
    TEXT_TOO_LONG: "a text is too long",
}


# UTF-8 (RFC 3629) byte by byte, each against the three before it, without a branch: compilers make 16 or 32 bytes a step
# of it. AVX2 is chosen when the module is loaded. In a trial of this loop alone on Japanese text (2 shared cores, GCC 12):
# 9 GB/s with AVX2, 3 GB/s without, which is about what a loop that decodes character by character reached.
cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \\
        !defined(__SANITIZE_ADDRESS__)
    #define JUKINET_CLONES __attribute__((target_clones("avx2", "default")))
    #else
    #define JUKINET_CLONES
    #endif

    /* Not 0 when byte c cannot follow p, q and r (p the nearest; 0 where there is none). */
    #define JUKINET_UTF8_BAD(c, p, q, r)                                                                            \\
        (((unsigned char)(((c) & 0xC0) == 0x80) ^ (unsigned char)(((p) >= 0xC0) | ((q) >= 0xE0) | ((r) >= 0xF0)))   \\
         | (unsigned char)(((c) >= 0xF5) | ((c) == 0xC0) | ((c) == 0xC1))                                           \\
         | (unsigned char)((((p) == 0xE0) & ((c) < 0xA0)) | (((p) == 0xED) & ((c) > 0x9F))                          \\
                           | (((p) == 0xF0) & ((c) < 0x90)) | (((p) == 0xF4) & ((c) > 0x8F))))

    JUKINET_CLONES int jukinet_utf8_holds(const unsigned char *text, size_t size)
    {
        unsigned char bad = 0;
        size_t i;
        for (i = 0; i < size && i < 3; i++)
            bad |= JUKINET_UTF8_BAD(text[i], i > 0 ? text[i - 1] : 0, i > 1 ? text[i - 2] : 0, 0);
        for (i = 3; i < size; i++) {
            unsigned char c = text[i], p = text[i - 1], q = text[i - 2], r = text[i - 3];
            bad |= JUKINET_UTF8_BAD(c, p, q, r);
        }
        /* The last characters must be whole. */
        bad |= (size > 0 && text[size - 1] >= 0xC0) | (size > 1 && text[size - 2] >= 0xE0)
               | (size > 2 && text[size - 3] >= 0xF0);
        return bad == 0;
    }

    typedef uint32_t jukinet_u32 __attribute__((aligned(1), may_alias));

    /* Whether offsets never decrease; the longest step between two goes to *longest. */
    JUKINET_CLONES int jukinet_offsets_ascend(const unsigned char *place, size_t count, uint32_t *longest)
    {
        const jukinet_u32 *offsets = (const jukinet_u32 *)place;
        uint32_t bad = 0, most = 0;
        size_t i;
        for (i = 0; i < count; i++) {
            uint32_t previous = offsets[i], offset = offsets[i + 1], step = offset - previous;
            bad |= offset < previous;
            most = step > most ? step : most;
        }
        *longest = most;
        return bad == 0;
    }

    /* 0, or year 1 to 9999, month 0 to 12, day 0 to 31, and no day without a month. */
    JUKINET_CLONES int jukinet_dates_hold(const unsigned char *place, size_t count)
    {
        const jukinet_u32 *dates = (const jukinet_u32 *)place;
        uint32_t bad = 0;
        size_t i;
        for (i = 0; i < count; i++) {
            uint32_t value = dates[i], year = value / 10000, rest = value - year * 10000;
            uint32_t month = rest / 100, day = rest - month * 100;
            bad |= (value != 0) & ((year - 1 > 9998) | (month > 12) | (day > 31) | ((month == 0) & (day != 0)));
        }
        return bad == 0;
    }
    """
    bint utf8_holds "jukinet_utf8_holds"(const unsigned char *text, size_t size) noexcept nogil
    bint offsets_ascend "jukinet_offsets_ascend"(const unsigned char *place, size_t count, uint32_t *longest) noexcept nogil
    bint dates_hold "jukinet_dates_hold"(const unsigned char *place, size_t count) noexcept nogil


cdef inline bint zeros(const unsigned char *place, size_t size) noexcept nogil:
    cdef unsigned char seen = 0
    cdef size_t i
    for i in range(size):
        seen |= place[i]
    return seen == 0


cdef bint bytes_in(const unsigned char *place, size_t count, uint64_t allowed) noexcept nogil:
    """Whether every byte is below 64 and its bit stands in `allowed`."""
    cdef size_t i
    cdef uint64_t seen = 0
    cdef unsigned char all_bits = 0
    for i in range(count):
        seen |= ONE << (place[i] & 63)
        all_bits |= place[i]
    return all_bits < 64 and (seen & ~allowed) == 0


cdef bint below_u32(const unsigned char *place, size_t count, uint32_t end) noexcept nogil:
    cdef size_t i
    cdef unsigned int bad = 0
    for i in range(count):
        bad |= load_u32(place + 4 * i) >= end
    return bad == 0


cdef bint below_u64(const unsigned char *place, size_t count, uint64_t end) noexcept nogil:
    cdef size_t i
    cdef unsigned int bad = 0
    for i in range(count):
        bad |= load_u64(place + 8 * i) >= end
    return bad == 0


cdef bint levels_hold(const unsigned char *place, size_t count) noexcept nogil:
    """Whether every u32 holds five levels of 0 to 9 in four bits each, and nothing above them."""
    cdef size_t i
    cdef uint32_t value, bad = 0
    for i in range(count):
        value = load_u32(place + 4 * i)
        # A nibble above 9 has its highest bit and one of the two below it.
        bad |= (value & ~LEVEL_NIBBLES) | ((value >> 3) & ((value >> 2) | (value >> 1)) & 0x11111)
    return bad == 0


cdef inline size_t column_width(unsigned char kind) noexcept nogil:
    if kind == c"k" or kind == c"c":
        return 8
    return 4 if kind == c"d" or kind == c"a" or kind == c"w" or kind == c"l" or kind == c"q" else 1


cdef inline bint value_holds(unsigned char kind, const unsigned char *place, size_t count,
                             unsigned char matches_mask) noexcept nogil:
    cdef size_t i
    cdef unsigned char seen = 0
    if kind == c"o":
        return bytes_in(place, count, LOOKUP_OUTCOMES)
    if kind == c"p":
        return bytes_in(place, count, STATUS_OUTCOMES)
    if kind == c"s":
        return bytes_in(place, count, SEXES)
    if kind == c"r":
        return bytes_in(place, count, REASONS)
    if kind == c"m":
        for i in range(count):
            seen |= place[i]
        return (seen & ~matches_mask) == 0
    if kind == c"d":
        return dates_hold(place, count)
    if kind == c"a":
        return below_u32(place, count, AREA_END)
    if kind == c"c":
        return below_u64(place, count, SUCCESSOR_END)
    if kind == c"u":
        return bytes_in(place, count, FOUND)
    if kind == c"g":
        return bytes_in(place, count, GRADES)
    if kind == c"l":
        return levels_hold(place, count)
    if kind == c"q":
        return below_u32(place, count, MILLIONTHS_END)
    return True          # "k", "b", "w": any value; what is wrong with it is told row by row


cdef int text_fault(const unsigned char *payload, size_t size, size_t at, size_t count, size_t text_bytes_max,
                    size_t *data_at, size_t *data_bytes) noexcept nogil:
    """Checks the text column at `at`; SOUND or TEXT_TOO_LONG fill data_at and data_bytes."""
    cdef size_t offsets_bytes = 4 * (count + 1)
    cdef size_t data_start = (at + offsets_bytes + 7) & ~<size_t>7
    cdef const unsigned char *offsets = payload + at
    cdef const unsigned char *data
    cdef size_t i, last
    cdef uint32_t longest = 0
    cdef unsigned int bad = 0
    if data_start > size:
        return TRUNCATED
    if not zeros(payload + at + offsets_bytes, data_start - at - offsets_bytes):
        return PADDING
    if load_u32(offsets) != 0:
        return OFFSETS
    if not offsets_ascend(offsets, count, &longest):
        return OFFSETS
    last = load_u32(offsets + 4 * count)
    if ((last + 7) & ~<size_t>7) > size - data_start:
        return TRUNCATED
    data = payload + data_start
    if not zeros(data + last, (8 - (last & 7)) & 7):
        return PADDING
    if not utf8_holds(data, last):
        return NOT_UTF8
    # The whole is UTF-8, so each row is when no row starts inside a character.
    while count and load_u32(offsets + 4 * count - 4) == last:
        count -= 1      # rows that start at the end, where no byte needs to be
    for i in range(1, count):
        bad |= (data[load_u32(offsets + 4 * i)] & 0xC0) == 0x80
    if bad:
        return NOT_UTF8
    data_at[0] = data_start
    data_bytes[0] = last
    return TEXT_TOO_LONG if longest > text_bytes_max else SOUND


cdef int locate(const unsigned char *payload, size_t size, size_t at, size_t count,
                const unsigned char *plan, size_t columns, unsigned char matches_mask, size_t text_bytes_max,
                size_t *positions, size_t *column) noexcept nogil:
    """Walks the plan. A fault of the layout ends it; the first fault of a value is kept while the layout is checked."""
    cdef size_t width, length, end, data_at, data_bytes
    cdef size_t filled = 0
    cdef size_t i
    cdef size_t value_column = 0
    cdef int value_fault = SOUND
    cdef int fault
    cdef unsigned char kind
    for i in range(columns):
        column[0] = i
        kind = plan[i]
        if kind == c"t":
            data_at = data_bytes = 0
            if at > size:
                return TRUNCATED
            fault = text_fault(payload, size, at, count, text_bytes_max, &data_at, &data_bytes)
            if fault != SOUND and fault != TEXT_TOO_LONG:
                return fault
            positions[filled] = at
            positions[filled + 1] = data_at
            positions[filled + 2] = data_at + data_bytes
            filled += 3
            at = (data_at + data_bytes + 7) & ~<size_t>7
        else:
            width = column_width(kind)
            length = width * count
            end = (at + length + 7) & ~<size_t>7
            if end > size:
                return TRUNCATED
            if not zeros(payload + at + length, end - at - length):
                return PADDING
            fault = SOUND if value_holds(kind, payload + at, count, matches_mask) else VALUE
            positions[filled] = at
            filled += 1
            at = end
        if fault != SOUND and value_fault == SOUND:
            value_fault = fault
            value_column = i
    if at != size:
        return TRAILING
    column[0] = value_column
    return value_fault


def locate_columns(payload, size_t start, size_t count, bytes plan, unsigned char matches_mask, size_t text_bytes_max):
    """Positions of the columns of a payload, checked.

    payload: contiguous bytes; start: where the first column is (a multiple of 8); count: rows; plan: one letter a column
    (jukinet.core.columns.layout and jukinet.core.wire.columns name them). Gives one position a column, three for a text column: offsets, data, end of
    data. Raises ColumnFault; a fault of the layout in any column goes before a fault of a value.
    """
    cdef Py_buffer view
    cdef size_t positions[3 * COLUMNS_MAX]
    cdef size_t column = 0
    cdef size_t i
    cdef size_t columns = len(plan)
    cdef size_t filled = 0
    cdef const unsigned char *letters = plan
    cdef int fault
    if columns > COLUMNS_MAX or start % 8 or count > 0xFFFFFFFF:
        raise ValueError("a plan has at most 24 columns, starts at a multiple of 8, and rows are counted in 32 bits")
    for i in range(columns):
        filled += 3 if letters[i] == c"t" else 1
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        if view.len <= GIL_KEPT_BYTES_MAX:
            fault = locate(<const unsigned char *>view.buf, view.len, start, count, letters, columns, matches_mask,
                           text_bytes_max, positions, &column)
        else:
            with nogil:
                fault = locate(<const unsigned char *>view.buf, view.len, start, count, letters, columns, matches_mask,
                               text_bytes_max, positions, &column)
    finally:
        PyBuffer_Release(&view)
    if fault != SOUND:
        raise ColumnFault(fault, column)
    return tuple([positions[i] for i in range(filled)])


# Packed answers (docs/protocol.md, 3.3.1).
cdef enum:
    PACKED_HEADER_BYTES = 40
    PACKED_COLUMNS = 11
    TOWNS_END = 1 << 24
    AREAS_END = 4096


cdef inline bint packed_date_holds(uint32_t date) noexcept nogil:
    """0, or a year, with a month of 1 to 12 or none, and no day without a month."""
    cdef uint32_t year = date >> 9, month = date >> 5 & 15, day = date & 31
    return date == 0 or (year != 0 and month <= 12 and (month != 0 or day == 0))


cdef inline bint kana_byte_holds(unsigned char byte) noexcept nogil:
    return byte == 1 or byte == 2 or 0x20 <= byte <= 0x7B


cdef int packed_values(const unsigned char *payload, uint32_t items, size_t count, const size_t *at, uint32_t towns,
                       uint32_t areas, size_t aliases, size_t successors) noexcept nogil:
    """SOUND, or VALUE for a number that is not allowed."""
    cdef size_t i
    cdef uint32_t number
    cdef unsigned int bad = 0
    cdef size_t with_alias = 0, with_successor = 0
    cdef unsigned char row, allowed = ROW_OUTCOME
    if items & ITEM_KANA:
        allowed |= ROW_KANA_UTF8
    if items & ITEM_ALIAS:
        allowed |= ROW_ALIAS
    if items & ITEM_CODE:
        allowed |= ROW_SUCCESSOR
    for i in range(count):
        row = payload[at[0] + i]
        bad |= (row & ~allowed) | ((LOOKUP_OUTCOMES >> (row & ROW_OUTCOME)) & 1 ^ 1)
        with_alias += (row & ROW_ALIAS) != 0
        with_successor += (row & ROW_SUCCESSOR) != 0
    bad |= (with_alias != aliases) | (with_successor != successors)
    if items & (ITEM_BIRTH_DATE | ITEM_SEX):
        for i in range(count):
            number = load_u24(payload + at[4] + 3 * i)
            bad |= (number >> 23) | (not packed_date_holds(number & 0x1FFFFF))
    if items & ITEM_ADDRESS:
        for i in range(count):
            number = load_u16(payload + at[5] + 2 * i)
            bad |= number != 0 and number >= areas
            bad |= load_u24(payload + at[6] + 3 * i) > towns
    if items & ITEM_CHANGE:
        for i in range(count):
            number = load_u32(payload + at[8] + 4 * i)
            bad |= (number >> 27) | (not packed_date_holds(number & 0x1FFFFF)) | (((REASONS >> (number >> 21 & 63)) & 1) ^ 1)
    if items & ITEM_CODE:
        bad |= not below_u64(payload + at[9], successors, SUCCESSOR_END)
    return VALUE if bad else SOUND


cdef int packed_texts(const unsigned char *payload, uint32_t items, size_t count, const size_t *at,
                      size_t text_bytes) noexcept nogil:
    """SOUND, or what is wrong with the run of texts: lengths that do not add up to it, or bytes that are no text."""
    cdef const unsigned char *texts = payload + at[10]
    cdef size_t i, j, place = 0, length, alias = 0
    cdef unsigned int bad = 0
    if not utf8_holds(texts, text_bytes):
        return NOT_UTF8
    # The whole is UTF-8, so each text is when none starts inside a character. A text is never longer than 255 bytes.
    for i in range(count):
        if items & ITEM_NAME:
            place += payload[at[1] + i]
            if place > text_bytes:
                return OFFSETS
            bad |= place < text_bytes and (texts[place] & 0xC0) == 0x80
        if items & ITEM_KANA:
            length = payload[at[2] + i]
            if length > text_bytes - place:
                return OFFSETS
            if not payload[at[0] + i] & ROW_KANA_UTF8:
                for j in range(place, place + length):
                    bad |= not kana_byte_holds(texts[j])
            place += length
            bad |= place < text_bytes and (texts[place] & 0xC0) == 0x80
        if items & ITEM_ADDRESS:
            place += payload[at[7] + i]
            if place > text_bytes:
                return OFFSETS
            bad |= place < text_bytes and (texts[place] & 0xC0) == 0x80
        if payload[at[0] + i] & ROW_ALIAS:
            place += payload[at[3] + alias]
            alias += 1
            if place > text_bytes:
                return OFFSETS
            bad |= place < text_bytes and (texts[place] & 0xC0) == 0x80
    if place != text_bytes:
        return OFFSETS
    return NOT_UTF8 if bad else SOUND


cdef int locate_packed_columns(const unsigned char *payload, size_t size, uint32_t items, size_t count,
                               size_t *at, size_t *column) noexcept nogil:
    cdef uint32_t towns = load_u32(payload + 16), areas = load_u32(payload + 20)
    cdef size_t aliases = load_u32(payload + 24), successors = load_u32(payload + 28)
    cdef uint64_t text_bytes = load_u64(payload + 32)
    cdef size_t lengths[PACKED_COLUMNS]
    cdef size_t i, place = PACKED_HEADER_BYTES, end
    cdef int fault
    if towns >= TOWNS_END or areas >= AREAS_END or aliases > count or successors > count or text_bytes > size:
        return VALUE
    lengths[0] = count
    lengths[1] = count if items & ITEM_NAME else 0
    lengths[2] = count if items & ITEM_KANA else 0
    lengths[3] = aliases if items & ITEM_ALIAS else 0
    lengths[4] = 3 * count if items & (ITEM_BIRTH_DATE | ITEM_SEX) else 0
    lengths[5] = 2 * count if items & ITEM_ADDRESS else 0
    lengths[6] = 3 * count if items & ITEM_ADDRESS else 0
    lengths[7] = count if items & ITEM_ADDRESS else 0
    lengths[8] = 4 * count if items & ITEM_CHANGE else 0
    lengths[9] = 8 * successors if items & ITEM_CODE else 0
    lengths[10] = <size_t>text_bytes
    for i in range(PACKED_COLUMNS):
        column[0] = i
        at[i] = place
        end = (place + lengths[i] + 7) & ~<size_t>7
        if end > size:
            return TRUNCATED
        if not zeros(payload + place + lengths[i], end - place - lengths[i]):
            return PADDING
        place = end
    if place != size:
        return TRAILING
    column[0] = 0
    fault = packed_values(payload, items, count, at, towns, areas, aliases, successors)
    if fault != SOUND:
        return fault
    column[0] = 10
    return packed_texts(payload, items, count, at, <size_t>text_bytes)


def locate_packed(payload, uint32_t items, size_t count):
    """Positions of the eleven columns of a packed LOOKUP_ANSWER, checked: rows, name lengths, kana lengths, alias
    lengths, births, areas, towns, rest lengths, changes, successors, texts. A column that items leaves out is empty.

    payload: contiguous bytes whose header's items and count were compared. Raises ColumnFault; ``column`` counts as above.
    """
    cdef Py_buffer view
    cdef size_t at[PACKED_COLUMNS]
    cdef size_t column = 0
    cdef size_t i
    cdef int fault
    if items > 255 or count > 0xFFFFFFFF:
        raise ValueError("items is a mask of 8 bits, and rows are counted in 32 bits")
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        if view.len < PACKED_HEADER_BYTES:
            fault = TRUNCATED
        elif view.len <= GIL_KEPT_BYTES_MAX:
            fault = locate_packed_columns(<const unsigned char *>view.buf, view.len, items, count, at, &column)
        else:
            with nogil:
                fault = locate_packed_columns(<const unsigned char *>view.buf, view.len, items, count, at, &column)
    finally:
        PyBuffer_Release(&view)
    if fault != SOUND:
        raise ColumnFault(fault, column)
    return tuple([at[i] for i in range(PACKED_COLUMNS)])


def unfilled(Py_ssize_t size):
    """A bytearray whose bytes are not set yet: the caller fills all of it before anyone reads it."""
    if size < 0:
        raise ValueError("size is negative")
    return PyByteArray_FromStringAndSize(NULL, size)
