"""Kernel: the columns of a packed LOOKUP_ANSWER as those of the plain one (docs/protocol.md, 3.3.1).

Every read is inside the buffers whatever the bytes say. The plain-Python twin stands in tests/wire/packed_twin.py.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from jukinet.core.columns.bits cimport (
    ITEM_NAME, ITEM_KANA, ITEM_ALIAS, ITEM_BIRTH_DATE, ITEM_SEX, ITEM_ADDRESS, ITEM_CHANGE, ITEM_CODE,
    ROW_OUTCOME, ROW_KANA_UTF8, ROW_ALIAS, ROW_SUCCESSOR,
)
from jukinet.core.columns.loading cimport load_u16, load_u24, load_u32, load_u64
from jukinet.core.records.record cimport decimal_date, kana_unpack

from jukinet.core.columns.column_kernel import locate_packed

cdef extern from *:
    """
    #define jukinet_prefetch(address) __builtin_prefetch((address), 0, 2)
    """
    void prefetch "jukinet_prefetch" (const void *address) noexcept nogil

cdef enum:
    OUTCOME_REMOVED = 5         # up to here an outcome tells of a person
    WORD_BYTES = 32             # short texts are copied so many bytes at once; outputs have as much room behind
    GROUP_ROWS = 32             # rows whose towns are prefetched together
    TEXT_COLUMNS = 4
    TOWN_BYTES_MAX = 255
    AREAS_MAX = 4095


cdef class TownTable:
    """The areas and towns of a register, by number. Never changes once made, so threads may share it.

    areas: JIS numbers, from area 0 on. pages: pairs of u32 offsets and UTF-8 bytes, town 1 first, as checked text columns
    give them. ValueError when offsets lead outside their bytes, a town is longer than 255 bytes, or there are more areas
    than 4,095.
    """

    cdef uint32_t *offsets
    cdef unsigned char *text
    cdef uint32_t *jis
    cdef readonly uint32_t towns
    cdef readonly uint32_t areas

    def __cinit__(self, areas, pages):
        cdef Py_buffer offsets, text
        cdef size_t total = 0, towns = 0, used = 0, i
        cdef uint64_t room = 0
        cdef uint32_t start, stop, number = 0
        numbers = list(areas)
        if len(numbers) > AREAS_MAX:
            raise ValueError("more areas than their numbers reach")
        for page_offsets, page_text in pages:
            towns += max(memoryview(page_offsets).nbytes // 4, 1) - 1
            total += memoryview(page_text).nbytes
        if towns >= 1 << 24 or total > 0xFFFFFFFF:
            raise ValueError("more towns than their numbers reach")
        self.offsets = <uint32_t *>calloc(towns + 1, sizeof(uint32_t))
        self.text = <unsigned char *>calloc(total + WORD_BYTES, 1)
        self.jis = <uint32_t *>calloc(AREAS_MAX + 1, sizeof(uint32_t))
        if self.offsets == NULL or self.text == NULL or self.jis == NULL:
            raise MemoryError
        for i in range(len(numbers)):
            self.jis[i] = numbers[i]
        self.areas = <uint32_t>len(numbers)
        for page_offsets, page_text in pages:
            PyObject_GetBuffer(page_offsets, &offsets, PyBUF_SIMPLE)
            try:
                PyObject_GetBuffer(page_text, &text, PyBUF_SIMPLE)
                try:
                    for i in range(1, <size_t>offsets.len // 4):
                        start = load_u32(<const unsigned char *>offsets.buf + 4 * i - 4)
                        stop = load_u32(<const unsigned char *>offsets.buf + 4 * i)
                        if stop < start or stop > text.len or stop - start > TOWN_BYTES_MAX or used + stop - start > total:
                            raise ValueError("a town leads outside its page, or is too long")
                        if number >= towns:
                            raise ValueError("a page has changed")
                        memcpy(self.text + used, <const unsigned char *>text.buf + start, stop - start)
                        used += stop - start
                        number += 1
                        self.offsets[number] = <uint32_t>used
                finally:
                    PyBuffer_Release(&text)
            finally:
                PyBuffer_Release(&offsets)
        self.towns = number

    def __dealloc__(self):
        free(self.offsets)
        free(self.text)
        free(self.jis)


# One text column being written: offsets has a place a row and one more, data has WORD_BYTES of slack.
ctypedef struct Output:
    uint32_t *offsets
    unsigned char *data
    size_t used


# Where everything lies. Columns that items leaves out are not read.
ctypedef struct Unpacking:
    uint32_t items
    size_t count
    const unsigned char *rows
    const unsigned char *name_bytes
    const unsigned char *kana_bytes
    const unsigned char *alias_bytes
    const unsigned char *births
    const unsigned char *areas
    const unsigned char *towns
    const unsigned char *rest_bytes
    const unsigned char *changes
    const unsigned char *successors
    const unsigned char *text
    const unsigned char *word_end       # texts that start up to here may be read in words
    const uint32_t *town_offsets
    const unsigned char *town_text
    uint32_t towns_count
    const uint32_t *jis
    Output names
    Output kana
    Output aliases
    Output addresses
    uint8_t *outcomes
    uint32_t *birth_dates
    uint8_t *sexes
    uint32_t *area_numbers
    uint8_t *reasons
    uint32_t *change_dates
    uint64_t *successor_codes


cdef inline size_t put_text(
    unsigned char *out, const unsigned char *text, size_t length, const unsigned char *word_end,
) noexcept nogil:
    """Nearly every text has at most two words: they are copied without a branch that depends on which of both. Gives length."""
    cdef size_t second = length - WORD_BYTES if length > WORD_BYTES else 0
    if length <= 2 * WORD_BYTES and text <= word_end:
        memcpy(out, text, WORD_BYTES)
        memcpy(out + second, text + second, WORD_BYTES)
    else:
        memcpy(out, text, length)
    return length


cdef inline const unsigned char *town_of(const Unpacking *all, size_t row, size_t *length) noexcept nogil:
    """A row's town; length 0 when it has none."""
    cdef uint32_t town = load_u24(all.towns + 3 * row)
    length[0] = 0
    if town == 0 or town > all.towns_count:
        return all.town_text
    length[0] = all.town_offsets[town] - all.town_offsets[town - 1]
    return all.town_text + all.town_offsets[town - 1]


cdef void unpack_numbers(const Unpacking *all) noexcept nogil:
    # Pointers are local, because a store of bytes could be to the struct for all that the compiler knows.
    cdef size_t i, count = all.count
    cdef uint32_t number
    cdef const unsigned char *rows = all.rows
    cdef const unsigned char *place
    cdef const uint32_t *jis = all.jis
    cdef uint8_t *bytes_out = all.outcomes
    cdef uint32_t *words_out
    cdef uint64_t *codes_out
    for i in range(count):
        bytes_out[i] = rows[i] & ROW_OUTCOME
    place = all.births
    if all.items & ITEM_BIRTH_DATE:
        words_out = all.birth_dates
        for i in range(count):
            words_out[i] = decimal_date(load_u24(place + 3 * i) & 0x1FFFFF)
    if all.items & ITEM_SEX:
        bytes_out = all.sexes
        for i in range(count):
            number = place[3 * i + 2] >> 5 & 3
            bytes_out[i] = 9 if number == 3 else <uint8_t>number
    if all.items & ITEM_ADDRESS:
        words_out, place = all.area_numbers, all.areas
        for i in range(count):
            number = jis[load_u16(place + 2 * i) & AREAS_MAX]
            words_out[i] = number if rows[i] & ROW_OUTCOME <= OUTCOME_REMOVED else 0
    if all.items & ITEM_CHANGE:
        words_out, bytes_out, place = all.change_dates, all.reasons, all.changes
        for i in range(count):
            number = load_u32(place + 4 * i)
            bytes_out[i] = <uint8_t>(number >> 21 & 63)
            words_out[i] = decimal_date(number & 0x1FFFFF)
    if all.items & ITEM_CODE:
        codes_out, place = all.successor_codes, all.successors
        for i in range(count):
            codes_out[i] = 0
            if rows[i] & ROW_SUCCESSOR:
                codes_out[i] = load_u64(place)
                place += 8


cdef void unpack_texts(Unpacking *all) noexcept nogil:
    cdef size_t i = 0, j, stop, length, count = all.count
    cdef const unsigned char *text = all.text
    cdef const unsigned char *word_end = all.word_end
    cdef const unsigned char *town
    cdef const unsigned char *rows = all.rows
    cdef const unsigned char *name_bytes = all.name_bytes
    cdef const unsigned char *kana_bytes = all.kana_bytes
    cdef const unsigned char *alias_bytes = all.alias_bytes
    cdef const unsigned char *rest_bytes = all.rest_bytes
    cdef Output names = all.names, kana = all.kana, aliases = all.aliases, addresses = all.addresses
    cdef uint32_t items = all.items
    cdef const unsigned char *towns[GROUP_ROWS]
    cdef size_t town_lengths[GROUP_ROWS]
    while i < count:
        stop = i + GROUP_ROWS
        if stop > count:
            stop = count
        if items & ITEM_ADDRESS:
            for j in range(i, stop):
                towns[j - i] = town_of(all, j, &town_lengths[j - i])
                prefetch(towns[j - i])
                prefetch(towns[j - i] + town_lengths[j - i])
        for j in range(i, stop):
            if items & ITEM_NAME:
                length = name_bytes[j]
                names.used += put_text(names.data + names.used, text, length, word_end)
                text += length
                names.offsets[j + 1] = <uint32_t>names.used
            if items & ITEM_KANA:
                length = kana_bytes[j]
                if rows[j] & ROW_KANA_UTF8:
                    kana.used += put_text(kana.data + kana.used, text, length, word_end)
                else:
                    kana.used += kana_unpack(text, length, kana.data + kana.used)
                text += length
                kana.offsets[j + 1] = <uint32_t>kana.used
            if items & ITEM_ADDRESS:
                town, length = towns[j - i], town_lengths[j - i]
                addresses.used += put_text(addresses.data + addresses.used, town, length, town)
                length = rest_bytes[j]
                addresses.used += put_text(addresses.data + addresses.used, text, length, word_end)
                text += length
                addresses.offsets[j + 1] = <uint32_t>addresses.used
            if items & ITEM_ALIAS:
                if rows[j] & ROW_ALIAS:
                    length = alias_bytes[0]
                    alias_bytes += 1
                    aliases.used += put_text(aliases.data + aliases.used, text, length, word_end)
                    text += length
                aliases.offsets[j + 1] = <uint32_t>aliases.used
        i = stop
    all.names.used, all.kana.used, all.aliases.used, all.addresses.used = names.used, kana.used, aliases.used, addresses.used


cdef size_t sum_bytes(const unsigned char *place, size_t count) noexcept nogil:
    cdef size_t i, total = 0
    for i in range(count):
        total += place[i]
    return total


cdef size_t town_bytes(const Unpacking *all) noexcept nogil:
    cdef size_t i, length, total = 0
    for i in range(all.count):
        town_of(all, i, &length)
        total += length
    return total


cdef object numbers_of(size_t size, void **place):
    """A new buffer of so many bytes."""
    buffer = PyByteArray_FromStringAndSize(NULL, size)
    place[0] = PyByteArray_AS_STRING(buffer)
    return buffer


cdef object texts_of(Output *out, size_t count, size_t data_bytes):
    """New buffers of a text column: offsets and data, the second with slack."""
    offsets = PyByteArray_FromStringAndSize(NULL, 4 * (count + 1))
    data = PyByteArray_FromStringAndSize(NULL, data_bytes + WORD_BYTES)
    out.offsets = <uint32_t *>PyByteArray_AS_STRING(offsets)
    out.data = <unsigned char *>PyByteArray_AS_STRING(data)
    out.offsets[0] = 0
    out.used = 0
    return offsets, data


cdef class PackedColumns:
    """The columns of a packed LOOKUP_ANSWER, checked, over its payload, which must not change.

    payload: the whole payload, whose header's items and count were compared with what was asked. ColumnFault when it
    does not hold. ``towns`` and ``areas`` are how many the register has: unpack() needs a table of as many.
    """

    cdef Py_buffer view
    cdef bint holds_view
    cdef size_t at[11]
    cdef readonly uint32_t items
    cdef readonly size_t count
    cdef readonly uint32_t towns
    cdef readonly uint32_t areas

    def __cinit__(self, payload, uint32_t items, size_t count):
        self.holds_view = False
        for i, place in enumerate(locate_packed(payload, items, count)):
            self.at[i] = place
        PyObject_GetBuffer(payload, &self.view, PyBUF_SIMPLE)
        self.holds_view = True
        self.items, self.count = items, count
        self.towns = load_u32(<const unsigned char *>self.view.buf + 16)
        self.areas = load_u32(<const unsigned char *>self.view.buf + 20)

    def __dealloc__(self):
        if self.holds_view:
            PyBuffer_Release(&self.view)

    def outcomes(self):
        """u8 outcome of each row (a copy)."""
        cdef uint8_t *place
        cdef const unsigned char *rows = <const unsigned char *>self.view.buf + self.at[0]
        cdef size_t i
        outcomes = numbers_of(self.count, <void **>&place)
        for i in range(self.count):
            place[i] = rows[i] & ROW_OUTCOME
        return outcomes

    cdef void _point(self, Unpacking *all, TownTable table) noexcept:
        cdef const unsigned char *start = <const unsigned char *>self.view.buf
        memset(all, 0, sizeof(Unpacking))
        all.items, all.count = self.items, self.count
        all.rows, all.name_bytes, all.kana_bytes = start + self.at[0], start + self.at[1], start + self.at[2]
        all.alias_bytes, all.births, all.areas = start + self.at[3], start + self.at[4], start + self.at[5]
        all.towns, all.rest_bytes, all.changes = start + self.at[6], start + self.at[7], start + self.at[8]
        all.successors, all.text = start + self.at[9], start + self.at[10]
        all.word_end = start + self.view.len - WORD_BYTES
        all.town_offsets, all.town_text, all.towns_count, all.jis = table.offsets, table.text, table.towns, table.jis

    def unpack(self, TownTable table not None):
        """The columns in the order of the plain answer's groups, of new memory.

        A list: outcomes, then name, kana, alias, birth date, sex, area, address, reason, change date, successor. None for
        an item that was not asked; a bytearray for numbers; (offsets, data, used) for texts, of whose data ``used`` bytes
        count. ValueError when addresses were asked and the table knows fewer towns or areas than the answer's register.
        """
        cdef Unpacking all
        cdef size_t room, count = self.count
        cdef uint32_t items = self.items
        cdef list columns = [None] * 11
        if items & ITEM_ADDRESS and (self.towns > table.towns or self.areas > table.areas):
            raise ValueError("the table of towns is older than the answer")
        self._point(&all, table)
        columns[0] = numbers_of(count, <void **>&all.outcomes)
        if items & ITEM_NAME:
            columns[1] = texts_of(&all.names, count, sum_bytes(all.name_bytes, count))
        if items & ITEM_KANA:
            columns[2] = texts_of(&all.kana, count, 3 * sum_bytes(all.kana_bytes, count))
        if items & ITEM_ALIAS:
            room = sum_bytes(all.alias_bytes, load_u32(<const unsigned char *>self.view.buf + 24))
            columns[3] = texts_of(&all.aliases, count, room)
        if items & ITEM_BIRTH_DATE:
            columns[4] = numbers_of(4 * count, <void **>&all.birth_dates)
        if items & ITEM_SEX:
            columns[5] = numbers_of(count, <void **>&all.sexes)
        if items & ITEM_ADDRESS:
            columns[6] = numbers_of(4 * count, <void **>&all.area_numbers)
            room = sum_bytes(all.rest_bytes, count) + town_bytes(&all)
            columns[7] = texts_of(&all.addresses, count, room)
        if items & ITEM_CHANGE:
            columns[8] = numbers_of(count, <void **>&all.reasons)
            columns[9] = numbers_of(4 * count, <void **>&all.change_dates)
        if items & ITEM_CODE:
            columns[10] = numbers_of(8 * count, <void **>&all.successor_codes)
        with nogil:
            unpack_numbers(&all)
            unpack_texts(&all)
        for place, used in ((1, all.names.used), (2, all.kana.used), (3, all.aliases.used), (7, all.addresses.used)):
            if columns[place] is not None:
                columns[place] = (*columns[place], used)
        return columns
