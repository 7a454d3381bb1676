"""LOOKUP: the records of a batch of codes, written straight into the columns of the answer (docs/protocol.md, 3.3)."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.columns.bits cimport (
    ITEM_NAME, ITEM_KANA, ITEM_ALIAS, ITEM_BIRTH_DATE, ITEM_SEX, ITEM_ADDRESS, ITEM_CHANGE, ITEM_CODE,
)
from jukinet.core.index.columns cimport (
    COPY_WORD_BYTES, FRAME_HEADER_BYTES, TextColumn, fixed_write, pad8, pad_in_place, text_column_bytes, text_free,
    text_prepare, text_reserve, text_write,
)
from jukinet.core.index.gather cimport (
    GROUP_ROWS, OUTCOME_CODE_CHANGED, OUTCOME_CURRENT, SWEEP_DAMAGED, SWEEP_DONE, SWEEP_NO_MEMORY, Entry, sweep, tells_of_person,
)
from jukinet.core.index.packed cimport (
    PACKED_HEADER_BYTES, PackedColumns, packed_append, packed_bytes, packed_free, packed_head, packed_prepare, packed_room,
    packed_write,
)
from jukinet.core.records.record cimport (
    ResidentRecord, decimal_date, kana_unpack, record_decode, status_area, status_change_date, status_reason,
)
from jukinet.core.store.snapshot cimport RegisterView, Snapshot

from jukinet.core.errors import StoreCorruptError

codes_prepare()

cdef extern from *:
    """
    #define jukinet_prefetch(address) __builtin_prefetch((address), 0, 2)
    """
    void prefetch "jukinet_prefetch" (const void *address) noexcept nogil

cdef enum:
    FORM_PACKED = 1
    TEXT_BYTES_MAX = 255
    KANA_UTF8_BYTES_MAX = 3 * TEXT_BYTES_MAX
    FIXED_ROW_BYTES = 1 + 4 + 1 + 4 + 1 + 4 + 8
    ANSWER_HEADER_BYTES = 16
    PARTS_ANSWER_BYTES_MIN = 524_288     # below this, handling many short pieces costs more than copying them together
    SPARES_MAX = 8

OUTCOME_OF_ROW = bytes(row & 15 for row in range(256))


# Fixed-width columns of a batch, all in one piece of memory; each has room for its padding.
ctypedef struct FixedColumns:
    unsigned char *memory
    size_t rows_room
    uint64_t *successor_codes
    uint32_t *birth_dates
    uint32_t *areas
    uint32_t *change_dates
    uint8_t *outcomes
    uint8_t *sexes
    uint8_t *reasons


cdef bint fixed_prepare(FixedColumns *columns, size_t rows) noexcept nogil:
    cdef void *memory
    rows = pad8(rows)
    if columns.rows_room < rows:
        memory = realloc(columns.memory, rows * FIXED_ROW_BYTES)
        if memory == NULL:
            return False
        columns.memory = <unsigned char *>memory
        columns.rows_room = rows
    rows = columns.rows_room
    columns.successor_codes = <uint64_t *>columns.memory
    columns.birth_dates = <uint32_t *>(columns.successor_codes + rows)
    columns.areas = columns.birth_dates + rows
    columns.change_dates = columns.areas + rows
    columns.outcomes = <uint8_t *>(columns.change_dates + rows)
    columns.sexes = columns.outcomes + rows
    columns.reasons = columns.sexes + rows
    return True


cdef inline void append_text(TextColumn *column, size_t row, const unsigned char *text, size_t length) noexcept nogil:
    """Room was reserved, and both sides have slack: short texts, nearly all, are copied as words."""
    if length <= COPY_WORD_BYTES:
        memcpy(column.data + column.used, text, COPY_WORD_BYTES)
    else:
        memcpy(column.data + column.used, text, length)
    column.used += length
    column.offsets[row + 1] = <uint32_t>column.used


cdef inline void append_nothing(TextColumn *column, size_t row) noexcept nogil:
    column.offsets[row + 1] = <uint32_t>column.used


cdef bint write_texts(TextColumn *column, uint32_t item, size_t first_row, const ResidentRecord *records, size_t count) noexcept nogil:
    cdef size_t i
    if not text_reserve(column, count * TEXT_BYTES_MAX):
        return False
    if item == ITEM_NAME:
        for i in range(count):
            if records[i].name != NULL:
                append_text(column, first_row + i, records[i].name, records[i].name_bytes)
            else:
                append_nothing(column, first_row + i)
    else:
        for i in range(count):
            if records[i].name != NULL and records[i].alias_bytes:
                append_text(column, first_row + i, records[i].alias, records[i].alias_bytes)
            else:
                append_nothing(column, first_row + i)
    return True


cdef bint write_kana(TextColumn *column, size_t first_row, const ResidentRecord *records, size_t count) noexcept nogil:
    cdef size_t i
    if not text_reserve(column, count * KANA_UTF8_BYTES_MAX):
        return False
    for i in range(count):
        if records[i].name == NULL:
            append_nothing(column, first_row + i)
        elif records[i].kana_packed:
            column.used += kana_unpack(records[i].kana, records[i].kana_bytes, column.data + column.used)
            column.offsets[first_row + i + 1] = <uint32_t>column.used
        else:
            append_text(column, first_row + i, records[i].kana, records[i].kana_bytes)
    return True


cdef void find_towns(
    const RegisterView *view, const ResidentRecord *records, size_t count, uint32_t *starts, uint32_t *lengths,
) noexcept nogil:
    """Where each row's town text lies, asking for its first and last cache line."""
    cdef size_t i
    cdef uint32_t town
    for i in range(count):
        town = records[i].town
        lengths[i] = 0
        if town and town <= view.towns:
            starts[i] = view.town_offsets[town - 1]
            lengths[i] = view.town_offsets[town] - starts[i]
            prefetch(view.town_text + starts[i])
            prefetch(view.town_text + view.town_offsets[town] - 1)


cdef bint write_addresses(
    TextColumn *column, const RegisterView *view, size_t first_row, const ResidentRecord *records, size_t count,
    const uint32_t *starts, const uint32_t *lengths,
) noexcept nogil:
    cdef size_t i
    if not text_reserve(column, count * 2 * TEXT_BYTES_MAX):
        return False
    for i in range(count):
        if lengths[i]:
            append_text(column, first_row + i, view.town_text + starts[i], lengths[i])
        if records[i].name != NULL:
            append_text(column, first_row + i, records[i].rest, records[i].rest_bytes)
        else:
            append_nothing(column, first_row + i)
    return True


cdef void write_fixed(
    FixedColumns *columns, const RegisterView *view, size_t first_row, const Entry *entries,
    const ResidentRecord *records, size_t count,
) noexcept nogil:
    cdef size_t i, row
    cdef uint64_t successor
    for i in range(count):
        row = first_row + i
        columns.outcomes[row] = entries[i].outcome
        columns.birth_dates[row] = decimal_date(records[i].birth_date)
        columns.sexes[row] = records[i].sex
        successor = records[i].successor_key
        if successor:
            successor -= 1
            successor = successor * 10 + code_check_digit(successor)
        columns.successor_codes[row] = successor
        if records[i].name != NULL:
            columns.areas[row] = view.area_jis[status_area(entries[i].status)]
        else:
            columns.areas[row] = 0
        if records[i].name != NULL or entries[i].outcome == OUTCOME_CODE_CHANGED:
            columns.reasons[row] = status_reason(entries[i].status)
            columns.change_dates[row] = decimal_date(status_change_date(entries[i].status))
        else:
            columns.reasons[row] = 0
            columns.change_dates[row] = 0


cdef bint decode_group(const RegisterView *view, const Entry *entries, ResidentRecord *records, size_t count) noexcept nogil:
    """Unpack each disclosed record and ask for its town's offset; rows that disclose nothing become empty records."""
    cdef size_t i
    for i in range(count):
        if entries[i].record == NULL or not (tells_of_person(entries[i].outcome) or entries[i].outcome == OUTCOME_CODE_CHANGED):
            memset(&records[i], 0, sizeof(ResidentRecord))
        elif record_decode(entries[i].record, entries[i].record_bytes, entries[i].status, &records[i]) < 0:
            return False
        elif records[i].town and records[i].town <= view.towns:
            prefetch(view.town_offsets + records[i].town - 1)
    return True


# What a sweep's consumer needs of a batch under way.
ctypedef struct LookupColumns:
    const RegisterView *view
    uint32_t items
    FixedColumns fixed
    TextColumn names
    TextColumn kana
    TextColumn aliases
    TextColumn addresses
    PackedColumns packed
    uint32_t form


cdef int write_group_packed(void *context, size_t row, const Entry *entries, size_t count) noexcept nogil:
    """Consumer of a LOOKUP in packed form."""
    cdef LookupColumns *columns = <LookupColumns *>context
    cdef ResidentRecord records[GROUP_ROWS]
    if not decode_group(columns.view, entries, records, count):
        return SWEEP_DAMAGED
    if not packed_append(&columns.packed, columns.items, row, entries, records, count):
        return SWEEP_NO_MEMORY
    return SWEEP_DONE


cdef int write_group(void *context, size_t row, const Entry *entries, size_t count) noexcept nogil:
    """Consumer of a LOOKUP: one group's rows, column by column."""
    cdef LookupColumns *columns = <LookupColumns *>context
    cdef ResidentRecord records[GROUP_ROWS]
    cdef uint32_t town_starts[GROUP_ROWS]
    cdef uint32_t town_lengths[GROUP_ROWS]
    cdef uint32_t items = columns.items
    if not decode_group(columns.view, entries, records, count):
        return SWEEP_DAMAGED
    if items & ITEM_ADDRESS:
        find_towns(columns.view, records, count, town_starts, town_lengths)
    write_fixed(&columns.fixed, columns.view, row, entries, records, count)
    if items & ITEM_NAME and not write_texts(&columns.names, ITEM_NAME, row, records, count):
        return SWEEP_NO_MEMORY
    if items & ITEM_KANA and not write_kana(&columns.kana, row, records, count):
        return SWEEP_NO_MEMORY
    if items & ITEM_ALIAS and not write_texts(&columns.aliases, ITEM_ALIAS, row, records, count):
        return SWEEP_NO_MEMORY
    if items & ITEM_ADDRESS and not write_addresses(
        &columns.addresses, columns.view, row, records, count, town_starts, town_lengths
    ):
        return SWEEP_NO_MEMORY
    return SWEEP_DONE


cdef int columns_prepare(LookupColumns *columns, size_t rows) except -1:
    if columns.form == FORM_PACKED:
        if not packed_prepare(&columns.packed, rows):
            raise MemoryError
        return 0
    if (not fixed_prepare(&columns.fixed, rows) or not text_prepare(&columns.names, rows)
            or not text_prepare(&columns.kana, rows) or not text_prepare(&columns.aliases, rows)
            or not text_prepare(&columns.addresses, rows)):
        raise MemoryError
    return 0


cdef void columns_free(LookupColumns *columns) noexcept nogil:
    free(columns.fixed.memory)
    text_free(&columns.names)
    text_free(&columns.kana)
    text_free(&columns.aliases)
    text_free(&columns.addresses)
    packed_free(&columns.packed)


# Memory that no batch or answer uses; touched under the GIL only. Reused, because the kernel hands out new pages slowly.
# By form, for the memory of one would make a short answer of the other keep too much.
cdef LookupColumns spares[2][SPARES_MAX]
cdef size_t spares_held[2]
spares_held[0] = spares_held[1] = 0


cdef class ColumnMemory:
    """The columns of one batch. A batch has it alone, until an answer in parts takes it along."""

    cdef LookupColumns columns

    def __cinit__(self, uint32_t form):
        if spares_held[form]:
            spares_held[form] -= 1
            self.columns = spares[form][spares_held[form]]
        else:
            memset(&self.columns, 0, sizeof(LookupColumns))
        self.columns.form = form

    def __dealloc__(self):
        cdef uint32_t form = self.columns.form
        if spares_held[form] < SPARES_MAX:
            spares[form][spares_held[form]] = self.columns
            spares_held[form] += 1
            return
        columns_free(&self.columns)

    cdef size_t room(self) noexcept:
        """The bytes that are allocated."""
        cdef size_t offsets_rows = (
            self.columns.names.rows_room + self.columns.kana.rows_room
            + self.columns.aliases.rows_room + self.columns.addresses.rows_room
        )
        return (
            self.columns.fixed.rows_room * FIXED_ROW_BYTES + 4 * offsets_rows + self.columns.names.room
            + self.columns.kana.room + self.columns.aliases.room + self.columns.addresses.room
            + packed_room(&self.columns.packed)
        )


cdef class AnswerPart:
    """Read-only bytes of a column; they stay as they are as long as somebody holds the part."""

    cdef ColumnMemory memory
    cdef unsigned char *start
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.size, True, flags)


cdef object part_of(ColumnMemory memory, void *start, size_t size):
    """A column's bytes with their padding, which its memory has room for, as a memoryview."""
    cdef AnswerPart part = AnswerPart()
    part.memory = memory
    part.start = <unsigned char *>start
    part.size = pad_in_place(<unsigned char *>start, size)
    return memoryview(part)


cdef void add_texts(list parts, ColumnMemory memory, TextColumn *column, size_t rows):
    parts.append(part_of(memory, column.offsets, 4 * (rows + 1)))
    if column.used:
        parts.append(part_of(memory, column.data, column.used))


cdef size_t groups_bytes(const LookupColumns *columns, size_t n) noexcept nogil:
    """Room of the items' groups."""
    cdef size_t total = 0
    if columns.items & ITEM_NAME:
        total += text_column_bytes(&columns.names, n)
    if columns.items & ITEM_KANA:
        total += text_column_bytes(&columns.kana, n)
    if columns.items & ITEM_ALIAS:
        total += text_column_bytes(&columns.aliases, n)
    if columns.items & ITEM_BIRTH_DATE:
        total += pad8(4 * n)
    if columns.items & ITEM_SEX:
        total += pad8(n)
    if columns.items & ITEM_ADDRESS:
        total += pad8(4 * n) + text_column_bytes(&columns.addresses, n)
    if columns.items & ITEM_CHANGE:
        total += pad8(n) + pad8(4 * n)
    if columns.items & ITEM_CODE:
        total += 8 * n
    return total


cdef void write_groups(const LookupColumns *columns, size_t n, unsigned char *out) noexcept nogil:
    if columns.items & ITEM_NAME:
        out = text_write(&columns.names, n, out)
    if columns.items & ITEM_KANA:
        out = text_write(&columns.kana, n, out)
    if columns.items & ITEM_ALIAS:
        out = text_write(&columns.aliases, n, out)
    if columns.items & ITEM_BIRTH_DATE:
        out = fixed_write(columns.fixed.birth_dates, 4 * n, out)
    if columns.items & ITEM_SEX:
        out = fixed_write(columns.fixed.sexes, n, out)
    if columns.items & ITEM_ADDRESS:
        out = fixed_write(columns.fixed.areas, 4 * n, out)
        out = text_write(&columns.addresses, n, out)
    if columns.items & ITEM_CHANGE:
        out = fixed_write(columns.fixed.reasons, n, out)
        out = fixed_write(columns.fixed.change_dates, 4 * n, out)
    if columns.items & ITEM_CODE:
        fixed_write(columns.fixed.successor_codes, 8 * n, out)


cdef class LookupBatch:
    """One LOOKUP under way; reusable, so that its memory is allocated once.

    begin() states the batch, run() answers rows [start, stop) in ascending pieces with the GIL released, outcomes tells
    what each row will say (for the record of use), finish() lays out the answer frame, finish_in_parts() gives it without
    copying the columns.
    """

    cdef Py_buffer codes
    cdef bint holds_codes
    cdef readonly size_t count
    cdef readonly size_t done
    cdef readonly uint64_t version
    cdef ColumnMemory memory
    cdef LookupColumns *columns      # those of memory

    def __cinit__(self):
        self.holds_codes = False
        self._take_memory(0)

    def __dealloc__(self):
        self._let_go()

    cdef void _take_memory(self, uint32_t form):
        self.memory = ColumnMemory(form)
        self.columns = &self.memory.columns

    cdef void _let_go(self):
        if self.holds_codes:
            self.holds_codes = False
            PyBuffer_Release(&self.codes)

    def begin(self, codes, uint32_t items, uint32_t form=0):
        """Start a batch: a contiguous buffer of u64 codes, kept until finish() or the next begin(), an items mask, and the
        answer's form, 0 plain or 1 packed."""
        cdef size_t count
        self._let_go()
        self.count = self.done = 0      # a batch that could not be begun has no rows to run
        self.version = 0
        PyObject_GetBuffer(codes, &self.codes, PyBUF_SIMPLE)
        self.holds_codes = True
        if self.codes.len % 8 or items > 255 or form > FORM_PACKED:
            raise ValueError("codes are 8 bytes each, items a mask of 8 bits, and form 0 or 1")
        count = self.codes.len // 8
        self.columns.items = items
        if self.columns.form != form:
            self._take_memory(form)
            self.columns.items = items
        columns_prepare(self.columns, count)
        self.count = count

    def run(self, Snapshot snapshot not None, size_t start, size_t stop):
        """Answer rows [start, stop); start is where the last piece ended. All pieces must use the same snapshot.

        Raises StoreCorruptError when the store contradicts itself; nothing of the batch may be provided then.
        """
        cdef int result
        if start != self.done or stop > self.count or stop < start:
            raise ValueError("a batch is run in ascending pieces")
        if self.version and self.version != snapshot.version:
            raise ValueError("a batch is run in one snapshot")
        if snapshot.transaction is None:
            raise ValueError("the snapshot has ended")
        self.version = snapshot.version
        self.columns.view = &snapshot.view
        self.columns.packed.towns_known = snapshot.view.towns
        self.columns.packed.areas_known = snapshot.view.areas
        with nogil:
            result = sweep(
                &snapshot.view, <const unsigned char *>self.codes.buf, start, stop, True,
                write_group_packed if self.columns.form else write_group, self.columns
            )
        self.columns.view = NULL
        if result == SWEEP_NO_MEMORY:
            raise MemoryError
        if result != SWEEP_DONE:
            raise StoreCorruptError("a block or record is damaged; run `jukinet store check`")
        self.done = stop

    @property
    def items(self):
        """The items mask of the batch."""
        return self.columns.items

    @property
    def outcomes(self):
        """u8 outcome of each row answered so far (a copy)."""
        if self.columns.form == FORM_PACKED:
            return (<const char *>self.columns.packed.rows)[:self.done].translate(OUTCOME_OF_ROW)
        return (<const char *>self.columns.fixed.outcomes)[:self.done]

    def finish(self):
        """The answer as a bytearray: 16 zero bytes for the frame header, then the LOOKUP_ANSWER payload."""
        cdef unsigned char *out
        if self.done != self.count:
            raise ValueError("the batch has rows that were not run")
        frame = PyByteArray_FromStringAndSize(NULL, FRAME_HEADER_BYTES + self._answer_bytes())
        out = <unsigned char *>PyByteArray_AS_STRING(frame)
        with nogil:
            if self.columns.form:
                memset(out, 0, FRAME_HEADER_BYTES)
                packed_write(&self.columns.packed, self.columns.items, self.count, self.version, out + FRAME_HEADER_BYTES)
            else:
                self._lay_out(out)
        self._let_go()
        return frame

    cdef size_t _answer_bytes(self) noexcept nogil:
        """The length of the answer's payload."""
        if self.columns.form:
            return packed_bytes(&self.columns.packed, self.columns.items, self.count)
        return ANSWER_HEADER_BYTES + pad8(self.count) + groups_bytes(self.columns, self.count)

    def finish_in_parts(self):
        """The answer as a list of buffers to be sent in order: a bytearray as finish() gives it at the front, then
        read-only memoryviews of the columns where they lie.

        What stays allocated until the last part is dropped is at most twice the answer's bytes: a shorter answer, or one
        that is far below its memory's size, is a single bytearray.
        """
        cdef size_t n = self.count, total
        cdef LookupColumns *columns = self.columns
        cdef ColumnMemory memory = self.memory
        cdef uint32_t items = columns.items
        cdef list parts = []
        if self.done != n:
            raise ValueError("the batch has rows that were not run")
        total = self._answer_bytes()
        if total < PARTS_ANSWER_BYTES_MIN or memory.room() > 2 * total:
            return [self.finish()]
        if columns.form == FORM_PACKED:
            self._add_packed(parts)
            return self._parts_taken(parts)
        parts.append(self._head())
        if items & ITEM_NAME:
            add_texts(parts, memory, &columns.names, n)
        if items & ITEM_KANA:
            add_texts(parts, memory, &columns.kana, n)
        if items & ITEM_ALIAS:
            add_texts(parts, memory, &columns.aliases, n)
        if items & ITEM_BIRTH_DATE:
            parts.append(part_of(memory, columns.fixed.birth_dates, 4 * n))
        if items & ITEM_SEX:
            parts.append(part_of(memory, columns.fixed.sexes, n))
        if items & ITEM_ADDRESS:
            parts.append(part_of(memory, columns.fixed.areas, 4 * n))
            add_texts(parts, memory, &columns.addresses, n)
        if items & ITEM_CHANGE:
            parts.append(part_of(memory, columns.fixed.reasons, n))
            parts.append(part_of(memory, columns.fixed.change_dates, 4 * n))
        if items & ITEM_CODE:
            parts.append(part_of(memory, columns.fixed.successor_codes, 8 * n))
        return self._parts_taken(parts)

    cdef list _parts_taken(self, list parts):
        self._let_go()
        self.count = self.done = 0      # the columns are the answer's now
        self._take_memory(self.columns.form)
        return parts

    cdef void _add_packed(self, list parts):
        cdef PackedColumns *columns = &self.columns.packed
        cdef ColumnMemory memory = self.memory
        cdef uint32_t items = self.columns.items
        cdef size_t n = self.count
        head = PyByteArray_FromStringAndSize(NULL, FRAME_HEADER_BYTES + PACKED_HEADER_BYTES)
        memset(PyByteArray_AS_STRING(head), 0, FRAME_HEADER_BYTES)
        packed_head(columns, items, n, self.version, <unsigned char *>PyByteArray_AS_STRING(head) + FRAME_HEADER_BYTES)
        parts.append(head)
        parts.append(part_of(memory, columns.rows, n))
        if items & ITEM_NAME:
            parts.append(part_of(memory, columns.name_bytes, n))
        if items & ITEM_KANA:
            parts.append(part_of(memory, columns.kana_bytes, n))
        if items & ITEM_ALIAS and columns.aliases:
            parts.append(part_of(memory, columns.alias_bytes, columns.aliases))
        if items & (ITEM_BIRTH_DATE | ITEM_SEX):
            parts.append(part_of(memory, columns.births, 3 * n))
        if items & ITEM_ADDRESS:
            parts.append(part_of(memory, columns.areas, 2 * n))
            parts.append(part_of(memory, columns.towns, 3 * n))
            parts.append(part_of(memory, columns.rest_bytes, n))
        if items & ITEM_CHANGE:
            parts.append(part_of(memory, columns.changes, 4 * n))
        if items & ITEM_CODE and columns.successors_used:
            parts.append(part_of(memory, columns.successors, 8 * columns.successors_used))
        if columns.texts_used:
            parts.append(part_of(memory, columns.texts, columns.texts_used))

    cdef object _head(self):
        """Room for the frame header, the answer's header and the outcomes."""
        head = PyByteArray_FromStringAndSize(NULL, FRAME_HEADER_BYTES + ANSWER_HEADER_BYTES + pad8(self.count))
        self._write_head(<unsigned char *>PyByteArray_AS_STRING(head))
        return head

    cdef unsigned char *_write_head(self, unsigned char *out) noexcept nogil:
        memset(out, 0, FRAME_HEADER_BYTES)
        out += FRAME_HEADER_BYTES
        (<uint32_t *>out)[0] = self.columns.items
        (<uint32_t *>out)[1] = <uint32_t>self.count
        (<uint64_t *>out)[1] = self.version
        return fixed_write(self.columns.fixed.outcomes, self.count, out + ANSWER_HEADER_BYTES)

    cdef void _lay_out(self, unsigned char *out) noexcept nogil:
        write_groups(self.columns, self.count, self._write_head(out))


def record_groups(Snapshot snapshot not None, rows, uint32_t items):
    """The groups of a LOOKUP_ANSWER (docs/protocol.md, 3.3) of records given one by one, as bytes.

    rows: a list of (status, record bytes), each of a person. Raises StoreCorruptError when one does not decode.
    """
    cdef LookupColumns columns
    cdef Entry entries[GROUP_ROWS]
    cdef size_t n = len(rows), at = 0, i, count, used = 0
    cdef int result = SWEEP_DONE
    cdef bytes joined = b"".join([record for _, record in rows]) + bytes(COPY_WORD_BYTES)
    cdef const unsigned char *place = joined
    if snapshot.transaction is None:
        raise ValueError("the snapshot has ended")
    memset(&columns, 0, sizeof(columns))
    columns.items, columns.view = items, &snapshot.view
    try:
        columns_prepare(&columns, n)
        while at < n and result == SWEEP_DONE:
            count = min(n - at, <size_t>GROUP_ROWS)
            for i in range(count):
                status, record = rows[at + i]
                entries[i].status, entries[i].outcome = status, OUTCOME_CURRENT
                entries[i].record, entries[i].record_bytes = place + used, <uint32_t>len(record)
                if status_area(entries[i].status) >= snapshot.view.areas:
                    raise StoreCorruptError("an earlier record is damaged; run `jukinet store check`")
                used += entries[i].record_bytes
            result = write_group(&columns, at, entries, count)
            at += count
        if result == SWEEP_NO_MEMORY:
            raise MemoryError
        if result != SWEEP_DONE:
            raise StoreCorruptError("an earlier record is damaged; run `jukinet store check`")
        out = PyByteArray_FromStringAndSize(NULL, groups_bytes(&columns, n))
        write_groups(&columns, n, <unsigned char *>PyByteArray_AS_STRING(out))
        return out
    finally:
        columns_free(&columns)
