"""Native kernel of the sorted codes: collecting, sorting, packing and finding (docs/record-of-use.md, chapter 9)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from jukinet.core.checksum cimport crc32c_update

cdef enum:
    RECORD_HEADER = 32
    GROUP_HEADER = 40
    HEAD_VARIABLE = 41
    PROVISION = 6
    KIND_PROVISION = 1
    BLOCK_ENTRIES = 256
    TABLE_ROW = 24
    TABLE_PAGE = 4096
    PAGE_ROWS = 170             # and a page's own number and checksum
    PAGE_TRAILER = 16
    ENTRY_BYTES_MAX = 16        # code difference 6, leaf difference 6, row 3
    DIGITS = 8192               # of 13 bits: a code's 37 bits take three

cdef uint32_t GROUP_MAGIC = 0x50555247
cdef uint64_t NO_CODE = (1ULL << 37) - 1
cdef uint64_t CODE_END = 100_000_000_000
cdef uint64_t DAY_NS = 86_400_000_000_000
cdef uint64_t JAPAN_NS = 32_400_000_000_000

cdef extern from "<endian.h>" nogil:
    uint64_t be64toh(uint64_t)
    uint32_t be32toh(uint32_t)

cdef struct Entry:
    uint64_t code
    uint64_t place              # leaf (48 bits), row (16 bits)


cdef inline uint32_t load_u32(const unsigned char *place) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return value


cdef inline uint64_t load_u64(const unsigned char *place) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, place, 8)
    return value


cdef inline unsigned char *put(unsigned char *out, uint64_t value) noexcept nogil:
    while value >= 128:
        out[0] = <unsigned char>(value | 128)
        value >>= 7
        out += 1
    out[0] = <unsigned char>value
    return out + 1


cdef inline const unsigned char *take(const unsigned char *place, const unsigned char *end, uint64_t *value) noexcept nogil:
    """The place behind the number, or NULL."""
    cdef int shift = 0
    value[0] = 0
    while place < end and shift < 63:
        value[0] |= <uint64_t>(place[0] & 127) << shift
        if place[0] < 128:
            return place + 1
        place += 1
        shift += 7
    return NULL


cdef void sort_entries(Entry *entries, Entry *spare, size_t count, uint32_t *counts) noexcept nogil:
    """By code, keeping the order of equal codes; three passes, so the result is copied back at the end."""
    cdef size_t row, digit, before, here
    cdef int shift
    cdef Entry *source = entries
    cdef Entry *target = spare
    cdef Entry *swapped
    if count == 0:
        return
    for shift in range(0, 37, 13):
        memset(counts, 0, DIGITS * sizeof(uint32_t))
        for row in range(count):
            counts[(source[row].code >> shift) & (DIGITS - 1)] += 1
        before = 0
        for digit in range(DIGITS):
            here = counts[digit]
            counts[digit] = <uint32_t>before
            before += here
        for row in range(count):
            digit = (source[row].code >> shift) & (DIGITS - 1)
            target[counts[digit]] = source[row]
            counts[digit] += 1
        swapped = source
        source = target
        target = swapped
    if source != entries:
        memcpy(entries, source, count * sizeof(Entry))


cdef class RunTable:
    """A run's table in its file: pages of 170 rows, each of which is checked before its first row is looked at.

    So a search takes a row that the disk has changed for damage, never for another code's.
    """

    cdef const unsigned char[::1] _pages
    cdef readonly size_t rows
    cdef uint32_t _seed
    cdef unsigned char *_checked

    def __cinit__(self, const unsigned char[::1] pages, size_t rows, uint32_t seed):
        """seed: the checksum of the run's header. Raises ValueError for pages that do not hold so many rows."""
        cdef size_t whole = (rows + PAGE_ROWS - 1) // PAGE_ROWS
        if <size_t>pages.shape[0] != rows * TABLE_ROW + whole * PAGE_TRAILER:
            raise ValueError("a run's table")
        self._checked = <unsigned char *>calloc(whole + 1, 1)
        if self._checked == NULL:
            raise MemoryError
        self._pages = pages
        self.rows = rows
        self._seed = seed

    def __dealloc__(self):
        free(self._checked)

    def close(self):
        """Let the pages go; the table has no rows from then on."""
        self.rows = 0
        self._pages = None

    cdef const unsigned char *row(self, size_t number) except NULL:
        """A row, ``number`` < ``rows``. Raises ValueError when its page is damaged."""
        cdef size_t page = number // PAGE_ROWS, length
        cdef const unsigned char *place = &self._pages[page * TABLE_PAGE]
        if not self._checked[page]:
            length = min(self.rows - page * PAGE_ROWS, <size_t>PAGE_ROWS) * TABLE_ROW + PAGE_TRAILER
            if (
                load_u64(place + length - PAGE_TRAILER) != page or load_u32(place + length - 8) != 0
                or crc32c_update(self._seed, place, length - 4) != load_u32(place + length - 4)
            ):
                raise ValueError("a run's table")
            self._checked[page] = 1
        return place + (number - page * PAGE_ROWS) * TABLE_ROW

    def place(self, size_t number):
        """``(offset, bytes)`` of a block by its row. Raises ValueError as ``row`` does, IndexError for no row."""
        cdef const unsigned char *row
        if number >= self.rows:
            raise IndexError(number)
        row = self.row(number)
        return load_u64(row + 8), load_u32(row + 16)


cdef class CodeBuffer:
    """Codes in memory with leaf and row, until they are packed as one run."""

    cdef Entry *_entries
    cdef size_t _capacity
    cdef readonly size_t entries

    def __dealloc__(self):
        free(self._entries)

    cdef int _reserve(self, size_t more) except -1:
        cdef size_t needed = self.entries + more
        cdef Entry *memory
        if needed <= self._capacity:
            return 0
        needed = max(needed, self._capacity + self._capacity // 2, 1 << 16)
        memory = <Entry *>realloc(self._entries, needed * sizeof(Entry))
        if memory == NULL:
            raise MemoryError
        self._entries = memory
        self._capacity = needed
        return 0

    def collect(self, const unsigned char[::1] data, uint64_t leaf):
        """Add the codes of all provision records in ``data`` (verified records); ``leaf``: of the first record."""
        cdef size_t place = 0, length = <size_t>data.shape[0], total, count, row, head
        cdef uint64_t word
        cdef const unsigned char *rows
        cdef Entry *out
        while place + RECORD_HEADER <= length:
            total = load_u32(&data[place + 4])
            if total == GROUP_MAGIC:
                place += GROUP_HEADER
                continue
            count = load_u32(&data[place + 24])
            head = load_u32(&data[place + 20])
            if total < RECORD_HEADER + head + count * PROVISION or place + total > length:
                raise ValueError("records that do not fill the group")
            if data[place + 18] == KIND_PROVISION and data[place + 19] == 0:
                self._reserve(count)
                rows = &data[place] + RECORD_HEADER + head
                out = self._entries + self.entries
                with nogil:
                    for row in range(count):
                        word = 0
                        memcpy(&word, rows + row * PROVISION, PROVISION)
                        word &= NO_CODE
                        if word < CODE_END:
                            out.code = word
                            out.place = leaf << 16 | row
                            out += 1
                self.entries = <size_t>(out - self._entries)
            place += total
            leaf += 1
        if place != length:
            raise ValueError("records that do not fill the group")

    def add(self, uint64_t code, uint64_t leaf, uint16_t row):
        """Add one entry."""
        self._reserve(1)
        self._entries[self.entries].code = code & NO_CODE
        self._entries[self.entries].place = leaf << 16 | row
        self.entries += 1

    def unpack(self, const unsigned char[::1] blocks, RunTable table not None, uint64_t first_leaf, size_t entries):
        """Add all entries of a run. Raises ValueError when it is not whole."""
        cdef size_t block, left = entries, found
        self._reserve(entries)
        for block in range(table.rows):
            found = block_read(
                blocks, table.row(block), first_leaf, min(left, <size_t>BLOCK_ENTRIES), self._entries + self.entries
            )
            if found == 0:
                raise ValueError("a run's block")
            self.entries += found
            left -= found
        if left:
            raise ValueError("a run with fewer entries than it says")

    def pack(self, uint64_t first_leaf):
        """``(blocks, rows of the table)`` of all entries, sorted by code, equal ones as they came. Empties the buffer."""
        cdef size_t count = self.entries, row = 0, start, number = 0
        cdef size_t blocks = (count + BLOCK_ENTRIES - 1) // BLOCK_ENTRIES
        cdef Entry *spare
        cdef uint32_t *counts
        cdef bytes table = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(blocks * TABLE_ROW))
        cdef unsigned char *rows = <unsigned char *>PyBytes_AS_STRING(table)
        cdef unsigned char *packed
        cdef unsigned char *out
        cdef unsigned char *begun
        cdef uint64_t before, offset
        cdef uint32_t length, checksum
        spare = <Entry *>malloc((count + 1) * sizeof(Entry))
        counts = <uint32_t *>malloc(DIGITS * sizeof(uint32_t))
        if spare == NULL or counts == NULL:
            free(spare)
            free(counts)
            raise MemoryError
        with nogil:
            sort_entries(self._entries, spare, count, counts)
        free(counts)
        free(spare)
        packed = <unsigned char *>malloc(count * ENTRY_BYTES_MAX + 1)
        if packed == NULL:
            raise MemoryError
        out = packed
        with nogil:
            while row < count:
                start = row
                begun = out
                before = self._entries[row].code
                memcpy(rows + number * TABLE_ROW, &before, 8)
                offset = <uint64_t>(begun - packed)
                while row < count and row < start + BLOCK_ENTRIES:
                    out = put(out, self._entries[row].code - before)
                    out = put(out, (self._entries[row].place >> 16) - first_leaf)
                    out = put(out, self._entries[row].place & 0xFFFF)
                    before = self._entries[row].code
                    row += 1
                length = <uint32_t>(out - begun)
                checksum = crc32c_update(0, begun, length)
                memcpy(rows + number * TABLE_ROW + 8, &offset, 8)
                memcpy(rows + number * TABLE_ROW + 16, &length, 4)
                memcpy(rows + number * TABLE_ROW + 20, &checksum, 4)
                number += 1
        try:
            self.entries = 0
            return PyBytes_FromStringAndSize(<char *>packed, <Py_ssize_t>(out - packed)), table
        finally:
            free(packed)

    def digest(self, uint64_t multiplier, uint64_t addend, uint64_t base=0):
        """An order-free sum over all entries, for comparing two sets of them; keys are to be drawn anew each time.

        base: subtracted from each leaf. Whoever makes two sets without knowing the keys cannot make their sums meet.
        """
        cdef size_t row
        cdef uint64_t total = 0, mixed
        with nogil:
            for row in range(self.entries):
                mixed = (self._entries[row].code ^ addend) * (multiplier | 1)
                mixed ^= mixed >> 32
                mixed = (mixed + self._entries[row].place - (base << 16)) * 0x9E3779B97F4A7C15ULL + addend
                mixed ^= mixed >> 29
                mixed *= (multiplier ^ 0xBF58476D1CE4E5B9ULL) | 1
                mixed ^= mixed >> 32
                total += mixed
        return total

    def clear(self):
        """Forget all entries."""
        self.entries = 0


cdef size_t block_read(
    const unsigned char[::1] blocks, const unsigned char *row, uint64_t first_leaf, size_t count, Entry *out
) except? 0:
    """Entries of the block that a row of the table names; 0 when it is not whole."""
    cdef uint64_t code = load_u64(row), offset = load_u64(row + 8), difference, leaf, line
    cdef uint32_t length = load_u32(row + 16)
    cdef const unsigned char *place
    cdef const unsigned char *end
    cdef size_t number
    if length == 0 or offset > <uint64_t>blocks.shape[0] or length > <uint64_t>blocks.shape[0] - offset:
        return 0
    place = &blocks[offset]
    end = place + length
    if crc32c_update(0, place, length) != load_u32(row + 20):
        return 0
    for number in range(count):
        place = take(place, end, &difference)
        if place == NULL:
            return 0
        place = take(place, end, &leaf)
        if place == NULL:
            return 0
        place = take(place, end, &line)
        if place == NULL or line > 0xFFFF:
            return 0
        code += difference
        out[number].code = code
        out[number].place = (first_leaf + leaf) << 16 | line
    return count if place == end else 0


cdef (size_t, size_t) blocks_of(RunTable table, uint64_t code) except *:
    """First and next of the blocks that may hold a code: the last that begins below it, and all that begin with it.

    Codes are random, so the search begins where the code would stand among evenly spread ones and goes on from there in
    growing steps: one page of the table instead of one for each halving, and right for any codes.
    """
    cdef size_t count = table.rows, low = 0, high = count, middle, step = 32, place
    if count == 0:
        return 0, 0
    place = <size_t>(<double>min(code, CODE_END - 1) / <double>CODE_END * <double>count)
    place = min(place, count - 1)
    if load_u64(table.row(place)) < code:
        low = place + 1
        while step < count - place:
            if load_u64(table.row(place + step)) >= code:
                high = place + step
                break
            low = place + step + 1
            step *= 2
    else:
        high = place
        while step <= place:
            if load_u64(table.row(place - step)) < code:
                low = place - step + 1
                break
            high = place - step
            step *= 2
    while low < high:                       # the first block whose first code is not below
        middle = (low + high) // 2
        if load_u64(table.row(middle)) < code:
            low = middle + 1
        else:
            high = middle
    if low > 0:
        low -= 1
    high = low
    while high < count and load_u64(table.row(high)) <= code:
        high += 1
    return low, high


def find_blocks(RunTable table not None, uint64_t code):
    """``(first, next)``: which blocks of a run with this table may hold a code. Raises ValueError for a damaged page."""
    return blocks_of(table, code)


def find_code(
    const unsigned char[::1] blocks, RunTable table not None, uint64_t first_leaf, size_t entries, uint64_t code
):
    """``[(leaf, row), ...]`` of a code in a run, in the order of the tree. Raises ValueError when what is read is damaged."""
    cdef size_t low, high, found, number
    cdef Entry block[BLOCK_ENTRIES]
    cdef list places = []
    low, high = blocks_of(table, code)
    while low < high:
        found = block_read(
            blocks, table.row(low), first_leaf, min(entries - low * BLOCK_ENTRIES, <size_t>BLOCK_ENTRIES), block
        )
        if found == 0:
            raise ValueError("a run's block")
        for number in range(found):
            if block[number].code == code:
                places.append((block[number].place >> 16, block[number].place & 0xFFFF))
        low += 1
    return places


# ---------------------------------------------------------------------------------------------- records one by one

def scan_codes(const unsigned char[::1] data, uint64_t code):
    """``[(offset, row), ...]``: records in ``data`` (verified records) that provide a code, by where they begin in it."""
    cdef size_t place = 0, length = <size_t>data.shape[0], total, count, row, head
    cdef uint64_t word
    cdef const unsigned char *rows
    cdef list found = []
    while place + RECORD_HEADER <= length:
        total = load_u32(&data[place + 4])
        if total == GROUP_MAGIC:
            place += GROUP_HEADER
            continue
        count = load_u32(&data[place + 24])
        head = load_u32(&data[place + 20])
        if total < RECORD_HEADER + head + count * PROVISION or place + total > length:
            raise ValueError("records that do not fill the group")
        if data[place + 18] == KIND_PROVISION and data[place + 19] == 0:
            rows = &data[place] + RECORD_HEADER + head
            for row in range(count):
                word = 0
                memcpy(&word, rows + row * PROVISION, PROVISION)
                if word & NO_CODE == code:
                    found.append((place, row))
        place += total
    return found


cdef class Tallies:
    """Counts what records provide, by the part of the head that a session's records share (chapter 11).

    ``counts``: (session's part of the head, function, interactive, day) -> [requests, provisions]; day counts from
    1970-01-01 in Japan. ``odd``: heads that do not have the writer's fixed widths, to be decoded one by one.
    """

    cdef readonly dict counts
    cdef readonly list odd
    cdef readonly uint64_t first_time_ns, last_time_ns, previous_ns, back_ns
    cdef size_t _interactive_max
    cdef bytes _last_part

    def __cinit__(self, size_t interactive_max, uint64_t previous_ns=0):
        """previous_ns: time of the worker's record before these, 0 when it is not known."""
        self._interactive_max = interactive_max
        self.counts = {}
        self.odd = []
        self.first_time_ns = 0
        self.last_time_ns = 0
        self.previous_ns = previous_ns
        self.back_ns = 0

    def count(self, const unsigned char[::1] data):
        """Count all provision records in ``data`` (verified records)."""
        cdef size_t place = 0, length = <size_t>data.shape[0], total, rows, head
        cdef const unsigned char *at
        while place + RECORD_HEADER <= length:
            at = &data[place]
            total = load_u32(at + 4)
            if total == GROUP_MAGIC:
                place += GROUP_HEADER
                continue
            rows = load_u32(at + 24)
            head = load_u32(at + 20)
            if total < RECORD_HEADER + head + rows * PROVISION or place + total > length:
                raise ValueError("records that do not fill the group")
            if at[18] == KIND_PROVISION and at[19] == 0:
                at += RECORD_HEADER
                if (
                    head > HEAD_VARIABLE and at[0] == 0xDC and at[3] == 0xCF and at[12] == 0xCE and at[17] == 0xCE
                    and at[22] == 0xCF and at[31] == 0xCE and at[36] == 0xCE
                ):
                    self._count(at, head, rows)
                else:
                    self.odd.append((PyBytes_FromStringAndSize(<const char *>at, <Py_ssize_t>head), rows))
            place += total

    cdef int _count(self, const unsigned char *head, size_t head_bytes, size_t rows) except -1:
        cdef uint64_t time_ns = be64toh(load_u64(head + 4))
        cdef uint32_t function = be32toh(load_u32(head + 13))
        cdef bytes part = self._last_part
        cdef size_t part_bytes = head_bytes - HEAD_VARIABLE
        cdef object key
        cdef list sums
        self.note_time(time_ns)
        if (
            part is None or <size_t>len(part) != part_bytes
            or memcmp(<const char *>PyBytes_AS_STRING(part), head + HEAD_VARIABLE, part_bytes) != 0
        ):
            part = PyBytes_FromStringAndSize(<const char *>head + HEAD_VARIABLE, <Py_ssize_t>part_bytes)
            self._last_part = part
        key = (part, function, rows <= self._interactive_max, (time_ns + JAPAN_NS) // DAY_NS)
        sums = self.counts.get(key)
        if sums is None:
            sums = self.counts[key] = [0, 0]
        sums[0] += 1
        sums[1] += rows
        return 0

    cpdef note_time(self, uint64_t time_ns):
        """A record's time: the first, the latest, and the largest step back from one record to the next."""
        if self.first_time_ns == 0:
            self.first_time_ns = time_ns
        if time_ns > self.last_time_ns:
            self.last_time_ns = time_ns
        if time_ns < self.previous_ns and self.previous_ns - time_ns > self.back_ns:
            self.back_ns = self.previous_ns - time_ns
        self.previous_ns = time_ns


# ------------------------------------------------------------------------------------------------ directory of seals

cdef enum:
    SEAL_ROW = 64
    SEAL_ROW_CHECKSUM = 28


def seal_rows_hold(const unsigned char[::1] rows):
    """Whether these are whole rows of 64 bytes, each with the checksum that it names at byte 28."""
    cdef size_t count = <size_t>rows.shape[0] // SEAL_ROW, place
    cdef unsigned char row[SEAL_ROW]
    if count * SEAL_ROW != <size_t>rows.shape[0]:
        return False
    for place in range(count):
        memcpy(row, &rows[place * SEAL_ROW], SEAL_ROW)
        memset(row + SEAL_ROW_CHECKSUM, 0, 4)
        if crc32c_update(0, row, SEAL_ROW) != load_u32(&rows[place * SEAL_ROW + SEAL_ROW_CHECKSUM]):
            return False
    return True
