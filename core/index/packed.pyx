"""The packed form of a LOOKUP's answer: what records hold, nearly as they hold it (docs/protocol.md, 3.3)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.columns.bits cimport (
    ITEM_NAME, ITEM_KANA, ITEM_ALIAS, ITEM_BIRTH_DATE, ITEM_SEX, ITEM_ADDRESS, ITEM_CHANGE, ITEM_CODE,
    ROW_KANA_UTF8, ROW_ALIAS, ROW_SUCCESSOR,
)
from jukinet.core.index.columns cimport COPY_WORD_BYTES, fixed_write, pad8
from jukinet.core.index.gather cimport OUTCOME_CODE_CHANGED, Entry
from jukinet.core.records.record cimport ResidentRecord, status_change_date, status_reason
from jukinet.core.store.snapshot cimport RegisterView

codes_prepare()

cdef enum:
    ALL_TEXTS = ITEM_NAME | ITEM_KANA | ITEM_ALIAS | ITEM_ADDRESS
    ROW_TEXT_BYTES_MAX = 4 * 255
    FIXED_ROW_BYTES = 8 + 4 + 2 + 3 + 3 + 1 + 1 + 1 + 1 + 1
    REASON_SHIFT = 21


cdef bint packed_prepare(PackedColumns *columns, size_t rows) noexcept nogil:
    cdef void *memory
    rows = pad8(rows)
    columns.aliases = columns.successors_used = columns.texts_used = 0
    if columns.rows_room < rows:
        memory = realloc(columns.memory, rows * FIXED_ROW_BYTES)
        if memory == NULL:
            return False
        columns.memory = <unsigned char *>memory
        columns.rows_room = rows
    rows = columns.rows_room
    columns.successors = <uint64_t *>columns.memory
    columns.changes = <uint32_t *>(columns.successors + rows)
    columns.areas = <uint16_t *>(columns.changes + rows)
    columns.births = <uint8_t *>(columns.areas + rows)
    columns.towns = columns.births + 3 * rows
    columns.rows = columns.towns + 3 * rows
    columns.name_bytes = columns.rows + rows
    columns.kana_bytes = columns.name_bytes + rows
    columns.rest_bytes = columns.kana_bytes + rows
    columns.alias_bytes = columns.rest_bytes + rows
    return True


cdef void packed_free(PackedColumns *columns) noexcept nogil:
    free(columns.memory)
    free(columns.texts)
    memset(columns, 0, sizeof(PackedColumns))


cdef size_t packed_room(const PackedColumns *columns) noexcept nogil:
    return columns.rows_room * FIXED_ROW_BYTES + columns.texts_room


cdef bint texts_reserve(PackedColumns *columns, size_t more) noexcept nogil:
    cdef size_t room
    cdef void *texts
    if columns.texts_used + more <= columns.texts_room:
        return True
    room = columns.texts_used + more
    if room < 2 * columns.texts_room:
        room = 2 * columns.texts_room
    texts = realloc(columns.texts, room + COPY_WORD_BYTES)
    if texts == NULL:
        return False
    columns.texts = <unsigned char *>texts
    columns.texts_room = room
    return True


cdef inline unsigned char *put_text(unsigned char *out, const unsigned char *text, size_t length) noexcept nogil:
    """Both sides have a word of slack. Up to two words, nearly always, are copied without a branch on which of both."""
    cdef size_t second = length - COPY_WORD_BYTES if length > COPY_WORD_BYTES else 0
    if length <= 2 * COPY_WORD_BYTES:
        memcpy(out, text, COPY_WORD_BYTES)
        memcpy(out + second, text + second, COPY_WORD_BYTES)
    else:
        memcpy(out, text, length)
    return out + length


cdef inline void put24(uint8_t *out, uint32_t value) noexcept nogil:
    out[0] = <uint8_t>value
    out[1] = <uint8_t>(value >> 8)
    out[2] = <uint8_t>(value >> 16)


cdef bint packed_append(
    PackedColumns *columns, uint32_t items, size_t first_row, const Entry *entries, const ResidentRecord *records, size_t count,
) noexcept nogil:
    cdef size_t i, row
    cdef const ResidentRecord *record
    cdef uint8_t told
    cdef uint32_t birth, sex
    cdef uint64_t successor
    cdef unsigned char *out
    if not texts_reserve(columns, count * ROW_TEXT_BYTES_MAX):
        return False
    out = columns.texts + columns.texts_used
    for i in range(count):
        row = first_row + i
        record = &records[i]
        told = entries[i].outcome
        if items & ITEM_CODE and record.successor_key:
            told |= ROW_SUCCESSOR
            successor = record.successor_key - 1
            columns.successors[columns.successors_used] = successor * 10 + code_check_digit(successor)
            columns.successors_used += 1
        if record.name == NULL:
            columns.name_bytes[row] = columns.kana_bytes[row] = columns.rest_bytes[row] = 0
            columns.areas[row] = 0
            put24(columns.births + 3 * row, 0)
            put24(columns.towns + 3 * row, 0)
            columns.changes[row] = 0
            if entries[i].outcome == OUTCOME_CODE_CHANGED:
                columns.changes[row] = (
                    status_change_date(entries[i].status) | <uint32_t>status_reason(entries[i].status) << REASON_SHIFT
                )
            columns.rows[row] = told
            continue
        columns.changes[row] = (
            status_change_date(entries[i].status) | <uint32_t>status_reason(entries[i].status) << REASON_SHIFT
        )
        birth = record.birth_date if items & ITEM_BIRTH_DATE else 0
        if items & ITEM_SEX:
            sex = 3 if record.sex == 9 else record.sex
            birth |= sex << REASON_SHIFT
        put24(columns.births + 3 * row, birth)
        columns.areas[row] = record.area
        put24(columns.towns + 3 * row, record.town if record.town <= columns.towns_known else 0)
        columns.name_bytes[row] = <uint8_t>record.name_bytes
        columns.kana_bytes[row] = <uint8_t>record.kana_bytes
        columns.rest_bytes[row] = <uint8_t>record.rest_bytes
        if items & ITEM_KANA and not record.kana_packed:
            told |= ROW_KANA_UTF8
        if items & ITEM_ALIAS and record.alias_bytes:
            told |= ROW_ALIAS
            columns.alias_bytes[columns.aliases] = <uint8_t>record.alias_bytes
            columns.aliases += 1
        columns.rows[row] = told
        if items & ALL_TEXTS == ALL_TEXTS:
            # They follow each other in the record.
            out = put_text(out, record.name, <size_t>(record.alias - record.name) + record.alias_bytes)
            continue
        if items & ITEM_NAME:
            out = put_text(out, record.name, record.name_bytes)
        if items & ITEM_KANA:
            out = put_text(out, record.kana, record.kana_bytes)
        if items & ITEM_ADDRESS:
            out = put_text(out, record.rest, record.rest_bytes)
        if items & ITEM_ALIAS:
            out = put_text(out, record.alias, record.alias_bytes)
    columns.texts_used = out - columns.texts
    return True


cdef size_t packed_bytes(const PackedColumns *columns, uint32_t items, size_t n) noexcept nogil:
    cdef size_t total = PACKED_HEADER_BYTES + pad8(n)
    if items & ITEM_NAME:
        total += pad8(n)
    if items & ITEM_KANA:
        total += pad8(n)
    if items & ITEM_ALIAS:
        total += pad8(columns.aliases)
    if items & (ITEM_BIRTH_DATE | ITEM_SEX):
        total += pad8(3 * n)
    if items & ITEM_ADDRESS:
        total += pad8(2 * n) + pad8(3 * n) + pad8(n)
    if items & ITEM_CHANGE:
        total += pad8(4 * n)
    if items & ITEM_CODE:
        total += 8 * columns.successors_used
    return total + pad8(columns.texts_used)


cdef void packed_head(
    const PackedColumns *columns, uint32_t items, size_t n, uint64_t version, unsigned char *out,
) noexcept nogil:
    cdef uint32_t *head = <uint32_t *>out
    head[0] = items
    head[1] = <uint32_t>n
    (<uint64_t *>head)[1] = version
    head[4] = columns.towns_known
    head[5] = columns.areas_known
    head[6] = <uint32_t>columns.aliases
    head[7] = <uint32_t>columns.successors_used
    (<uint64_t *>head)[4] = columns.texts_used


cdef unsigned char *packed_write(
    PackedColumns *columns, uint32_t items, size_t n, uint64_t version, unsigned char *out,
) noexcept nogil:
    packed_head(columns, items, n, version, out)
    out = fixed_write(columns.rows, n, out + PACKED_HEADER_BYTES)
    if items & ITEM_NAME:
        out = fixed_write(columns.name_bytes, n, out)
    if items & ITEM_KANA:
        out = fixed_write(columns.kana_bytes, n, out)
    if items & ITEM_ALIAS:
        out = fixed_write(columns.alias_bytes, columns.aliases, out)
    if items & (ITEM_BIRTH_DATE | ITEM_SEX):
        out = fixed_write(columns.births, 3 * n, out)
    if items & ITEM_ADDRESS:
        out = fixed_write(columns.areas, 2 * n, out)
        out = fixed_write(columns.towns, 3 * n, out)
        out = fixed_write(columns.rest_bytes, n, out)
    if items & ITEM_CHANGE:
        out = fixed_write(columns.changes, 4 * n, out)
    if items & ITEM_CODE:
        out = fixed_write(columns.successors, 8 * columns.successors_used, out)
    return fixed_write(columns.texts, columns.texts_used, out)
