"""VERIFY: which of the claimed items match the register, and nothing else (docs/protocol.md, 3.5)."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from jukinet.core.folding.addresses cimport ADDRESS_EQUAL, Address, compare_addresses, fold_address
from jukinet.core.columns.bits cimport ITEM_NAME, ITEM_BIRTH_DATE, ITEM_SEX, ITEM_ADDRESS
from jukinet.core.folding.characters cimport FOLDED_BYTES_MAX
from jukinet.core.folding.names cimport fold_name
from jukinet.core.index.columns cimport FRAME_HEADER_BYTES, fixed_write, pad8
from jukinet.core.index.gather cimport SWEEP_DAMAGED, SWEEP_DONE, Entry, sweep, tells_of_person
from jukinet.core.records.record cimport ResidentRecord, decimal_date, record_decode
from jukinet.core.store.snapshot cimport RegisterView, Snapshot

from jukinet.core.errors import StoreCorruptError

cdef enum:
    ITEMS_VERIFIABLE = ITEM_NAME | ITEM_BIRTH_DATE | ITEM_SEX | ITEM_ADDRESS
    ANSWER_HEADER_BYTES = 16
    ADDRESS_BYTES_MAX = 512
    MATCH_NOT_ASKED = 0
    MATCH_DIFFERENT = 1
    MATCH_EXACT = 2
    MATCH_FOLDED = 3
    SHIFT_NAME = 0
    SHIFT_BIRTH_DATE = 2
    SHIFT_SEX = 4
    SHIFT_ADDRESS = 6

ctypedef struct Claims:
    const unsigned char *name_offsets
    const unsigned char *names
    const unsigned char *birth_dates
    const unsigned char *sexes
    const unsigned char *address_offsets
    const unsigned char *addresses

ctypedef struct Text:
    const unsigned char *data
    size_t length


cdef inline uint32_t load32(const unsigned char *column, size_t row) noexcept nogil:
    """Columns of a request need no alignment."""
    cdef uint32_t value
    memcpy(&value, column + 4 * row, 4)
    return value


cdef inline Text claimed(const unsigned char *offsets, const unsigned char *data, size_t row) noexcept nogil:
    cdef Text text
    cdef uint32_t start = load32(offsets, row)
    text.data = data + start
    text.length = load32(offsets, row + 1) - start
    return text


cdef inline bint same(Text claim, const unsigned char *held, size_t length) noexcept nogil:
    return claim.length == length and memcmp(claim.data, held, length) == 0


cdef uint8_t match_name(Text claim, const ResidentRecord *record) noexcept nogil:
    cdef uint8_t wanted[FOLDED_BYTES_MAX]
    cdef uint8_t held[FOLDED_BYTES_MAX]
    cdef int wanted_bytes, held_bytes
    if record.name_bytes == 0 and record.alias_bytes == 0:
        return MATCH_NOT_ASKED
    if same(claim, record.name, record.name_bytes) or (
        record.alias_bytes and same(claim, record.alias, record.alias_bytes)
    ):
        return MATCH_EXACT
    wanted_bytes = fold_name(claim.data, <int>claim.length, wanted, FOLDED_BYTES_MAX)
    if wanted_bytes <= 0:
        return MATCH_DIFFERENT
    held_bytes = fold_name(record.name, record.name_bytes, held, FOLDED_BYTES_MAX)
    if held_bytes == wanted_bytes and memcmp(wanted, held, <size_t>held_bytes) == 0:
        return MATCH_FOLDED
    if record.alias_bytes:
        held_bytes = fold_name(record.alias, record.alias_bytes, held, FOLDED_BYTES_MAX)
        if held_bytes == wanted_bytes and memcmp(wanted, held, <size_t>held_bytes) == 0:
            return MATCH_FOLDED
    return MATCH_DIFFERENT


cdef uint8_t match_address(Text claim, const ResidentRecord *record, const RegisterView *view) noexcept nogil:
    cdef unsigned char address[ADDRESS_BYTES_MAX]
    cdef uint8_t wanted[FOLDED_BYTES_MAX]
    cdef uint8_t held[FOLDED_BYTES_MAX]
    cdef Address wanted_parts, held_parts
    cdef size_t length = 0
    cdef uint32_t start
    if record.town and record.town <= view.towns:
        start = view.town_offsets[record.town - 1]
        length = view.town_offsets[record.town] - start
        if length + record.rest_bytes > ADDRESS_BYTES_MAX:
            return MATCH_DIFFERENT
        memcpy(address, view.town_text + start, length)
    memcpy(address + length, record.rest, record.rest_bytes)
    length += record.rest_bytes
    if length == 0:
        return MATCH_NOT_ASKED
    if same(claim, address, length):
        return MATCH_EXACT
    if (
        fold_address(claim.data, <int>claim.length, wanted, FOLDED_BYTES_MAX, &wanted_parts) < 0
        or fold_address(address, <int>length, held, FOLDED_BYTES_MAX, &held_parts) < 0
        or compare_addresses(wanted, &wanted_parts, held, &held_parts) != ADDRESS_EQUAL
    ):
        return MATCH_DIFFERENT
    return MATCH_FOLDED


cdef uint8_t match_row(
    const Claims *claims, uint32_t items, size_t row, const ResidentRecord *record, const RegisterView *view,
) noexcept nogil:
    cdef uint8_t matches = 0
    cdef Text claim
    cdef uint32_t birth
    cdef uint8_t sex
    if items & ITEM_NAME:
        claim = claimed(claims.name_offsets, claims.names, row)
        if claim.length:
            matches |= match_name(claim, record) << SHIFT_NAME
    if items & ITEM_BIRTH_DATE:
        birth = load32(claims.birth_dates, row)
        if birth and record.birth_date:
            matches |= (MATCH_EXACT if birth == decimal_date(record.birth_date) else MATCH_DIFFERENT) << SHIFT_BIRTH_DATE
    if items & ITEM_SEX:
        sex = claims.sexes[row]
        if sex and record.sex:
            matches |= (MATCH_EXACT if sex == record.sex else MATCH_DIFFERENT) << SHIFT_SEX
    if items & ITEM_ADDRESS:
        claim = claimed(claims.address_offsets, claims.addresses, row)
        if claim.length:
            matches |= match_address(claim, record, view) << SHIFT_ADDRESS
    return matches


# What a sweep's consumer needs of a batch under way.
ctypedef struct VerifyColumns:
    const RegisterView *view
    uint32_t items
    Claims claims
    uint8_t *outcomes
    uint8_t *matches


cdef int compare_group(void *context, size_t row, const Entry *entries, size_t count) noexcept nogil:
    """Consumer of a VERIFY: one group's claims against their records."""
    cdef VerifyColumns *columns = <VerifyColumns *>context
    cdef ResidentRecord record
    cdef size_t i
    for i in range(count):
        columns.outcomes[row + i] = entries[i].outcome
        columns.matches[row + i] = 0
        if entries[i].record == NULL or not tells_of_person(entries[i].outcome):
            continue
        if record_decode(entries[i].record, entries[i].record_bytes, entries[i].status, &record) < 0:
            return SWEEP_DAMAGED
        columns.matches[row + i] = match_row(&columns.claims, columns.items, row + i, &record, columns.view)
    return SWEEP_DONE


cdef class VerifyBatch:
    """One VERIFY under way; used like LookupBatch."""

    cdef Py_buffer buffers[7]
    cdef int buffers_held
    cdef readonly size_t count
    cdef readonly size_t done
    cdef readonly uint64_t version
    cdef const unsigned char *codes
    cdef size_t rows_room
    cdef VerifyColumns columns

    def __cinit__(self):
        self.buffers_held = 0

    def __dealloc__(self):
        self._let_go()
        free(self.columns.outcomes)

    cdef void _let_go(self):
        while self.buffers_held:
            self.buffers_held -= 1
            PyBuffer_Release(&self.buffers[self.buffers_held])

    cdef const unsigned char *_take(self, object buffer, size_t bytes_wanted) except NULL:
        """Hold a buffer of exactly ``bytes_wanted``; any length when that is 0."""
        cdef Py_buffer *held = &self.buffers[self.buffers_held]
        PyObject_GetBuffer(buffer, held, PyBUF_SIMPLE)
        self.buffers_held += 1
        if bytes_wanted and <size_t>held.len != bytes_wanted:
            raise ValueError("a column of claims has another length than the codes")
        # An empty buffer may have no address; nothing is read from it.
        return <const unsigned char *>held.buf if held.buf != NULL else <const unsigned char *>b""

    cdef int _take_texts(self, object texts, size_t count, const unsigned char **offsets, const unsigned char **data) except -1:
        """Hold a text column, and make sure that no offset leads outside."""
        cdef size_t row
        cdef uint32_t before = 0, here
        offsets[0] = self._take(texts[0], 4 * (count + 1))
        data[0] = self._take(texts[1], 0)
        for row in range(count + 1):
            here = load32(offsets[0], row)
            if here < before:
                raise ValueError("the offsets of a text column decrease")
            before = here
        if before > <size_t>self.buffers[self.buffers_held - 1].len:
            raise ValueError("the offsets of a text column pass its end")
        return 0

    def begin(self, codes, uint32_t items, names=None, birth_dates=None, sexes=None, addresses=None):
        """Start a batch of contiguous u64 codes; each item set in ``items`` needs its column of claims.

        names, addresses: (u32 offsets of rows + 1, UTF-8 bytes). birth_dates: u32 decimal dates. sexes: u8. An empty text and
        a 0 claim nothing. ValueError when a column is missing or has another length.
        """
        cdef void *memory
        cdef size_t count
        self._let_go()
        self.count = self.done = 0      # a batch that could not be begun has no rows to run
        if items == 0 or items & ~<uint32_t>ITEMS_VERIFIABLE:
            raise ValueError("only name, birth date, sex and address can be verified")
        self.codes = self._take(codes, 0)
        if self.buffers[0].len % 8:
            raise ValueError("codes are 8 bytes each")
        count = self.buffers[0].len // 8
        self.columns.items = items
        self.version = 0
        if items & ITEM_NAME:
            self._take_texts(names, count, &self.columns.claims.name_offsets, &self.columns.claims.names)
        if items & ITEM_BIRTH_DATE:
            self.columns.claims.birth_dates = self._take(birth_dates, 4 * count)
        if items & ITEM_SEX:
            self.columns.claims.sexes = self._take(sexes, count)
        if items & ITEM_ADDRESS:
            self._take_texts(addresses, count, &self.columns.claims.address_offsets, &self.columns.claims.addresses)
        if count > self.rows_room:
            memory = realloc(self.columns.outcomes, 2 * count)
            if memory == NULL:
                raise MemoryError
            self.columns.outcomes = <uint8_t *>memory
            self.rows_room = count
        self.columns.matches = self.columns.outcomes + self.rows_room
        self.count = count

    def run(self, Snapshot snapshot not None, size_t start, size_t stop):
        """Answer rows [start, stop); see LookupBatch.run."""
        cdef int result
        if start != self.done or stop > self.count or stop < start:
            raise ValueError("a batch is run in ascending pieces")
        if self.version and self.version != snapshot.version:
            raise ValueError("a batch is run in one snapshot")
        if snapshot.transaction is None:
            raise ValueError("the snapshot has ended")
        self.version = snapshot.version
        self.columns.view = &snapshot.view
        with nogil:
            result = sweep(&snapshot.view, self.codes, start, stop, True, compare_group, &self.columns)
        self.columns.view = NULL
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
        return (<const char *>self.columns.outcomes)[:self.done] if self.done else b""

    @property
    def matches(self):
        """u8 matches of each row answered so far (a copy; docs/protocol.md, 3.5)."""
        return (<const char *>self.columns.matches)[:self.done] if self.done else b""

    def finish(self):
        """The answer as a bytearray: 16 zero bytes for the frame header, then the VERIFY_ANSWER payload."""
        cdef size_t n = self.count
        cdef unsigned char *out
        if self.done != n:
            raise ValueError("the batch has rows that were not run")
        frame = PyByteArray_FromStringAndSize(NULL, FRAME_HEADER_BYTES + ANSWER_HEADER_BYTES + 2 * pad8(n))
        out = <unsigned char *>PyByteArray_AS_STRING(frame)
        memset(out, 0, FRAME_HEADER_BYTES)
        out += FRAME_HEADER_BYTES
        (<uint32_t *>out)[0] = self.columns.items
        (<uint32_t *>out)[1] = <uint32_t>n
        (<uint64_t *>out)[1] = self.version
        fixed_write(self.columns.matches, n, fixed_write(self.columns.outcomes, n, out + ANSWER_HEADER_BYTES))
        self._let_go()
        return frame
