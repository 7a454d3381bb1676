"""Native kernel of the tree: SHA-256, RFC 6962 hashes, and the commitments of records (docs/record-of-use.md, 7)."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cdef extern from "sha256.h" nogil:
    void jukinet_sha256_choose(int native)
    int jukinet_sha256_native
    void jukinet_sha256_two_pieces(
        const unsigned char *front, size_t front_bytes, const unsigned char *data, size_t data_bytes,
        unsigned char *digest)
    void jukinet_sha256_two_pieces_pair(
        const unsigned char *front_one, const unsigned char *front_two, size_t front_bytes, const unsigned char *one,
        const unsigned char *two, size_t data_bytes, unsigned char *digest_one, unsigned char *digest_two)
    void jukinet_sha256_two_pieces_mixed(
        const unsigned char *front_one, const unsigned char *front_two, size_t front_bytes, const unsigned char *one,
        size_t one_bytes, const unsigned char *two, size_t two_bytes, unsigned char *digest_one,
        unsigned char *digest_two)
    size_t JUKINET_SHA256_SHORT
    void jukinet_sha256_leaf_pair(const unsigned char *entries, size_t length, unsigned char *digests)
    size_t jukinet_sha256_level(unsigned char *hashes, size_t count)
    void jukinet_sha256_fold(unsigned char *hashes, size_t count)
    void jukinet_sha256_begin(uint32_t *state)
    void jukinet_sha256_end(const uint32_t *state, unsigned char *digest)
    size_t jukinet_sha256_pad(unsigned char *block, size_t used, uint64_t total)
    void jukinet_sha256_blocks(uint32_t *state, const unsigned char *data, size_t blocks)
    void jukinet_sha256_pair(
        uint32_t *one, uint32_t *two, const unsigned char *data_one, const unsigned char *data_two, size_t blocks)

cdef enum:
    HASH = 32
    TILE = 256
    RECORD_HEADER = 32
    GROUP_HEADER = 40
    PROVISION = 6
    ENTRY = 104
    SALT_INPUT = 52             # tag, segment salt, sequence, number
    MATCHES = 1                 # record flag
    MIDDLE_LEVEL = 8            # docs/record-of-use.md, 7.4
    MIDDLE_LEAVES = 256
    MIDDLE_PARTS_MIN = 1024     # below this, hashing all of a record again takes 0.1 ms
    MIDDLE_ROW = 8

cdef uint32_t GROUP_MAGIC = 0x50555247
cdef uint32_t CONTENT_SALT = <uint32_t>-1
cdef uint32_t HEAD_SALT = <uint32_t>-2

jukinet_sha256_choose(1)


def choose_native(bint native):
    """Use the machine's SHA instructions, or the portable code; whether they are used. For tests."""
    jukinet_sha256_choose(native)
    return bool(jukinet_sha256_native)


def sha256(const unsigned char[::1] data):
    """SHA-256 of a contiguous buffer."""
    cdef unsigned char digest[HASH]
    cdef size_t length = <size_t>data.shape[0]
    cdef const unsigned char *place = &data[0] if length else NULL
    with nogil:
        jukinet_sha256_two_pieces(NULL, 0, place, length, digest)
    return PyBytes_FromStringAndSize(<char *>digest, HASH)


def tree_root(const unsigned char[::1] hashes):
    """Root of the RFC 6962 tree whose nodes on one level are ``hashes`` (32 bytes each, at least one). ValueError."""
    cdef size_t count = <size_t>hashes.shape[0] // HASH
    cdef unsigned char *scratch
    if count == 0 or count * HASH != <size_t>hashes.shape[0]:
        raise ValueError("hashes are 32 bytes each, and at least one")
    scratch = <unsigned char *>malloc(count * HASH)
    if scratch == NULL:
        raise MemoryError
    memcpy(scratch, &hashes[0], count * HASH)
    with nogil:
        jukinet_sha256_fold(scratch, count)
    try:
        return PyBytes_FromStringAndSize(<char *>scratch, HASH)
    finally:
        free(scratch)


def tile_roots(const unsigned char[::1] hashes):
    """Roots of whole tiles of 256 hashes that lie one behind the other, 32 bytes each. ValueError for another length."""
    cdef size_t tiles = <size_t>hashes.shape[0] // (TILE * HASH)
    cdef size_t tile
    cdef unsigned char scratch[TILE * HASH]
    cdef bytes roots
    cdef unsigned char *out
    if tiles * TILE * HASH != <size_t>hashes.shape[0]:
        raise ValueError("whole tiles are 8,192 bytes each")
    roots = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(tiles * HASH))
    out = <unsigned char *>PyBytes_AS_STRING(roots)
    if tiles == 0:
        return roots
    with nogil:
        for tile in range(tiles):
            memcpy(scratch, &hashes[tile * TILE * HASH], TILE * HASH)
            jukinet_sha256_fold(scratch, TILE)
            memcpy(out + tile * HASH, scratch, HASH)
    return roots


# ------------------------------------------------------------------------------------------------- commitments

cdef inline uint32_t load_u32(const unsigned char *place) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return value


cdef inline void store_u32(unsigned char *place, uint32_t value) noexcept nogil:
    memcpy(place, &value, 4)


cdef inline uint64_t load_u64(const unsigned char *place) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, place, 8)
    return value


cdef inline void salt_input(unsigned char *block, const unsigned char *segment_salt, uint64_t sequence) noexcept nogil:
    """A padded block of one salt: only its number, at byte 48, is still to be set."""
    memcpy(block, <const char *>b"JKN-SALT", 8)
    memcpy(block + 8, segment_salt, 32)
    memcpy(block + 40, &sequence, 8)
    jukinet_sha256_pad(block, SALT_INPUT, SALT_INPUT)


cdef inline void salt_of(unsigned char *block, uint32_t number, unsigned char *salt) noexcept nogil:
    cdef uint32_t state[8]
    memcpy(block + 48, &number, 4)
    jukinet_sha256_begin(state)
    jukinet_sha256_blocks(state, block, 1)
    jukinet_sha256_end(state, salt)


cdef inline void salt_pair(
    unsigned char *one, unsigned char *two, uint32_t number, uint32_t other, unsigned char *salts
) noexcept nogil:
    """Salts ``number`` of one input and ``other`` of the other, 64 bytes."""
    cdef uint32_t first[8]
    cdef uint32_t second[8]
    memcpy(one + 48, &number, 4)
    memcpy(two + 48, &other, 4)
    jukinet_sha256_begin(first)
    jukinet_sha256_begin(second)
    jukinet_sha256_pair(first, second, one, two, 1)
    jukinet_sha256_end(first, salts)
    jukinet_sha256_end(second, salts + 32)


cdef void row_leaves(
    const unsigned char *rows, const unsigned char *matches, size_t count, const unsigned char *segment_salt,
    uint64_t sequence, size_t first, unsigned char *hashes,
) noexcept nogil:
    """Leaf hashes of the rows, 32 bytes each; four rows take two salts. first: number of the first row, a multiple of 4."""
    cdef unsigned char one[64]
    cdef unsigned char two[64]
    cdef unsigned char salts[64]
    cdef unsigned char block[2][64]
    cdef uint32_t state[2][8]
    cdef size_t row, lane, used = 1 + 16 + PROVISION + (0 if matches == NULL else 1)
    salt_input(one, segment_salt, sequence)
    salt_input(two, segment_salt, sequence)
    for lane in range(2):
        block[lane][0] = 0
        jukinet_sha256_pad(block[lane], used, used)
    row = 0
    while row < count:
        if row % 4 == 0:
            salt_pair(one, two, <uint32_t>((first + row) // 2), <uint32_t>((first + row) // 2) + 1, salts)
        for lane in range(2):
            if row + lane < count:
                memcpy(block[lane] + 1, salts + (row + lane) % 4 * 16, 16)
                memcpy(block[lane] + 17, rows + (row + lane) * PROVISION, PROVISION)
                if matches != NULL:
                    block[lane][17 + PROVISION] = matches[row + lane]
        jukinet_sha256_begin(state[0])
        if row + 1 < count:
            jukinet_sha256_begin(state[1])
            jukinet_sha256_pair(state[0], state[1], block[0], block[1], 1)
            jukinet_sha256_end(state[1], hashes + (row + 1) * HASH)
        else:
            jukinet_sha256_blocks(state[0], block[0], 1)
        jukinet_sha256_end(state[0], hashes + row * HASH)
        row += 2


cdef class Commitments:
    """The entries of one segment's records, made group by group.

    ``commit`` must be given records that were verified before (kernel.check_records or the reader); lengths are still
    held to. With ``parts`` the parts of each record are hashed; otherwise those of ``expected`` entries are taken over,
    so that a check of the content costs one hash over each record.

    ``middle``: what the last ``commit`` that hashed parts left for a parts file (7.4): a table of u32 number of the
    record in that call and u32 hashes of it, and the hashes.
    """

    cdef bytes _salt
    cdef uint16_t _worker
    cdef uint64_t _segment
    cdef unsigned char *_scratch
    cdef size_t _scratch_hashes
    cdef readonly tuple middle

    def __cinit__(self, uint16_t worker, uint64_t segment, bytes salt):
        if len(salt) != 32:
            raise ValueError("a segment's salt has 32 bytes")
        self._worker = worker
        self._segment = segment
        self._salt = salt
        self.middle = (b"", b"")

    def __dealloc__(self):
        free(self._scratch)

    cdef int _reserve(self, size_t hashes) except -1:
        cdef unsigned char *memory
        if hashes > self._scratch_hashes:
            memory = <unsigned char *>realloc(self._scratch, hashes * HASH)
            if memory == NULL:
                raise MemoryError
            self._scratch = memory
            self._scratch_hashes = hashes
        return 0

    def commit(self, const unsigned char[::1] data, uint64_t offset, size_t records, expected=None, bint leaves=True):
        """``(entries, leaf_hashes)`` of ``records`` whole records in ``data``, which begins at ``offset`` in its segment.

        Headers of groups between them are passed over. 104 and 32 bytes a record. expected: entries of these records
        whose ``parts`` are taken over. leaves: False leaves the leaf hashes out. Raises ValueError when the records do
        not fill ``data`` or ``expected`` is not as many.
        """
        cdef bytes entries = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(records * ENTRY))
        cdef bytes hashes = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(records * HASH if leaves else 0))
        cdef unsigned char *entry = <unsigned char *>PyBytes_AS_STRING(entries)
        cdef unsigned char *leaf = <unsigned char *>PyBytes_AS_STRING(hashes)
        cdef const unsigned char *salt = <const unsigned char *>PyBytes_AS_STRING(self._salt)
        cdef const unsigned char[::1] given
        cdef const unsigned char *taken = NULL
        cdef const unsigned char *record
        cdef size_t place = 0, done, total, length = <size_t>data.shape[0], largest = 0
        cdef const unsigned char *before = NULL
        cdef size_t before_total = 0, middle_records = 0, middle_hashes = 0, parts
        cdef bytes middle_table, middle_nodes
        cdef unsigned char *table_out = NULL
        cdef unsigned char *node_out = NULL
        if expected is not None:
            given = expected
            if <size_t>given.shape[0] != records * ENTRY:
                raise ValueError("as many expected entries as records")
            if records:
                taken = &given[0]
        for done in range(records):
            if place + GROUP_HEADER <= length and load_u32(&data[place + 4]) == GROUP_MAGIC:
                place += GROUP_HEADER
            if place + RECORD_HEADER > length:
                raise ValueError("records that do not fill the group")
            total = load_u32(&data[place + 4])
            if total < RECORD_HEADER or place + total > length:
                raise ValueError("records that do not fill the group")
            if not record_fits(&data[place], total):
                raise ValueError("a record longer than itself")
            parts = 1 + <size_t>load_u32(&data[place + 24])
            largest = max(largest, parts)
            if parts >= MIDDLE_PARTS_MIN:
                middle_records += 1
                middle_hashes += (parts + MIDDLE_LEAVES - 1) // MIDDLE_LEAVES
            place += total
        if place != length:
            raise ValueError("records that do not fill the group")
        if taken == NULL:
            self._reserve(largest)
            middle_table = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(middle_records * MIDDLE_ROW))
            middle_nodes = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(middle_hashes * HASH))
            table_out = <unsigned char *>PyBytes_AS_STRING(middle_table)
            node_out = <unsigned char *>PyBytes_AS_STRING(middle_nodes)
            self.middle = (middle_table, middle_nodes)
        place = 0
        with nogil:
            for done in range(records):
                if load_u32(&data[place + 4]) == GROUP_MAGIC:
                    place += GROUP_HEADER
                record = &data[place]
                total = load_u32(record + 4)
                entry_fields(record, self._worker, self._segment, offset + place, entry)
                if taken == NULL:
                    parts = self._parts(record, salt, node_out)
                    if parts:
                        store_u32(table_out, <uint32_t>done)
                        store_u32(table_out + 4, <uint32_t>parts)
                        table_out += MIDDLE_ROW
                        node_out += parts * HASH
                    memcpy(entry + 72, self._scratch, HASH)
                else:
                    memcpy(entry + 72, taken + done * ENTRY + 72, HASH)
                # Two records of one length, or two short ones, are hashed together: the first waits for the second.
                if before == NULL:
                    before = record
                elif before_total == total or before_total + total <= JUKINET_SHA256_SHORT:
                    content_pair(before, before_total, record, total, salt, entry - ENTRY, entry)
                    before = NULL
                else:
                    content_one(before, before_total, salt, entry - ENTRY)
                    before = record
                before_total = total
                entry += ENTRY
                place += total
            if before != NULL:
                content_one(before, before_total, salt, entry - ENTRY)
            if leaves:
                leaves_write(entry - records * ENTRY, records, leaf)
        return entries, hashes

    cdef size_t _parts(self, const unsigned char *record, const unsigned char *salt, unsigned char *middle) noexcept nogil:
        """The root of the record's parts, as the first hash of the scratch memory; hashes written to ``middle``."""
        cdef size_t count = 1 + <size_t>load_u32(record + 24), kept = 0, level
        parts_write(record, salt, self._scratch)
        if count >= MIDDLE_PARTS_MIN:
            for level in range(MIDDLE_LEVEL):
                count = jukinet_sha256_level(self._scratch, count)
            kept = count
            memcpy(middle, self._scratch, kept * HASH)
        jukinet_sha256_fold(self._scratch, count)
        return kept

    def row_leaves(self, uint64_t sequence, size_t first, const unsigned char[::1] rows, matches=None):
        """Leaf hashes of rows ``first`` (a multiple of 4) and on of the record with this sequence, 32 bytes each.

        rows: 6 bytes each, and matches: a byte each, of the same rows. Raises ValueError for lengths that do not fit.
        """
        cdef size_t count = <size_t>rows.shape[0] // PROVISION
        cdef const unsigned char[::1] told
        cdef const unsigned char *told_by_row = NULL
        cdef bytes hashes
        if count == 0 or count * PROVISION != <size_t>rows.shape[0] or first % 4:
            raise ValueError("rows are 6 bytes each, at least one, from a multiple of 4")
        if matches is not None:
            told = matches
            if <size_t>told.shape[0] != count:
                raise ValueError("as many matches as rows")
            told_by_row = &told[0]
        hashes = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(count * HASH))
        row_leaves(
            &rows[0], told_by_row, count, <const unsigned char *>PyBytes_AS_STRING(self._salt), sequence, first,
            <unsigned char *>PyBytes_AS_STRING(hashes),
        )
        return hashes

    def parts(self, const unsigned char[::1] record):
        """Leaf hashes of one whole record's parts: head, then rows, 32 bytes each. Raises ValueError."""
        cdef size_t total = <size_t>record.shape[0]
        cdef bytes hashes
        if total < RECORD_HEADER or load_u32(&record[4]) != total or not record_fits(&record[0], total):
            raise ValueError("not one whole record")
        hashes = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>((1 + load_u32(&record[24])) * HASH))
        parts_write(
            &record[0], <const unsigned char *>PyBytes_AS_STRING(self._salt), <unsigned char *>PyBytes_AS_STRING(hashes)
        )
        return hashes

    def prove(self, const unsigned char[::1] record, size_t row):
        """``(root, head_path, row_path)`` of one whole record's parts: the paths of the head and of a row, each as a
        list of hashes, lowest sibling first. Raises ValueError.
        """
        cdef size_t total = <size_t>record.shape[0], count, place, other
        cdef size_t at[2]
        cdef list paths = [[], []]
        cdef const unsigned char *salt = <const unsigned char *>PyBytes_AS_STRING(self._salt)
        if total < RECORD_HEADER or load_u32(&record[4]) != total or not record_fits(&record[0], total):
            raise ValueError("not one whole record")
        count = 1 + load_u32(&record[24])
        if row + 1 >= count:
            raise ValueError("no such row")
        self._reserve(count)
        with nogil:
            parts_write(&record[0], salt, self._scratch)
        at[0], at[1] = 0, row + 1
        while count > 1:
            for place in range(2):
                other = at[place] ^ 1
                if other < count:
                    (<list>paths[place]).append(PyBytes_FromStringAndSize(<char *>self._scratch + other * HASH, HASH))
                at[place] >>= 1
            with nogil:
                count = jukinet_sha256_level(self._scratch, count)
        return PyBytes_FromStringAndSize(<char *>self._scratch, HASH), paths[0], paths[1]

    def salt(self, uint64_t sequence, uint32_t number):
        """``salt(number)`` of the record with this sequence, 32 bytes."""
        cdef unsigned char block[64]
        cdef unsigned char salt[32]
        salt_input(block, <const unsigned char *>PyBytes_AS_STRING(self._salt), sequence)
        salt_of(block, number, salt)
        return PyBytes_FromStringAndSize(<char *>salt, 32)


cdef inline bint record_fits(const unsigned char *record, size_t total) noexcept nogil:
    cdef size_t row_bytes = PROVISION + (1 if load_u32(record + 28) & MATCHES else 0)
    return RECORD_HEADER + <size_t>load_u32(record + 20) + <size_t>load_u32(record + 24) * row_bytes <= total


cdef void parts_write(const unsigned char *record, const unsigned char *salt, unsigned char *hashes) noexcept nogil:
    cdef unsigned char block[64]
    cdef unsigned char front[33]
    cdef uint64_t sequence = load_u64(record + 8)
    cdef size_t head = load_u32(record + 20), count = load_u32(record + 24)
    cdef const unsigned char *rows = record + RECORD_HEADER + head
    front[0] = 0
    salt_input(block, salt, sequence)
    salt_of(block, HEAD_SALT, front + 1)
    jukinet_sha256_two_pieces(front, 33, record + 8, RECORD_HEADER - 8 + head, hashes)
    row_leaves(
        rows, rows + count * PROVISION if load_u32(record + 28) & MATCHES else NULL, count, salt, sequence, 0,
        hashes + HASH,
    )


cdef void entry_fields(
    const unsigned char *record, uint16_t worker, uint64_t segment, uint64_t offset, unsigned char *entry
) noexcept nogil:
    """Everything but content and parts."""
    memcpy(entry, <const char *>b"JKRE", 4)
    memcpy(entry + 4, &worker, 2)
    memcpy(entry + 6, record + 18, 2)
    memcpy(entry + 8, &segment, 8)
    memcpy(entry + 16, record + 8, 8)
    memcpy(entry + 24, &offset, 8)
    memcpy(entry + 32, record + 4, 4)
    memcpy(entry + 36, record + 24, 4)


cdef void content_one(
    const unsigned char *record, size_t total, const unsigned char *salt, unsigned char *entry
) noexcept nogil:
    cdef unsigned char block[64]
    cdef unsigned char front[32]
    salt_input(block, salt, load_u64(record + 8))
    salt_of(block, CONTENT_SALT, front)
    jukinet_sha256_two_pieces(front, 32, record + 8, total - 8, entry + 40)


cdef void content_pair(
    const unsigned char *one, size_t one_total, const unsigned char *two, size_t two_total, const unsigned char *salt,
    unsigned char *entry_one, unsigned char *entry_two,
) noexcept nogil:
    """Two records of one length, or together no longer than JUKINET_SHA256_SHORT."""
    cdef unsigned char block_one[64]
    cdef unsigned char block_two[64]
    cdef unsigned char front[64]
    salt_input(block_one, salt, load_u64(one + 8))
    salt_input(block_two, salt, load_u64(two + 8))
    salt_pair(block_one, block_two, CONTENT_SALT, CONTENT_SALT, front)
    if one_total + two_total <= JUKINET_SHA256_SHORT:
        jukinet_sha256_two_pieces_mixed(
            front, front + 32, 32, one + 8, one_total - 8, two + 8, two_total - 8, entry_one + 40, entry_two + 40
        )
    else:
        jukinet_sha256_two_pieces_pair(
            front, front + 32, 32, one + 8, two + 8, one_total - 8, entry_one + 40, entry_two + 40
        )


cdef void leaves_write(const unsigned char *entries, size_t count, unsigned char *hashes) noexcept nogil:
    cdef unsigned char zero = 0
    cdef size_t place = 0
    while place + 2 <= count:
        jukinet_sha256_leaf_pair(entries + place * ENTRY, ENTRY, hashes + place * HASH)
        place += 2
    if place < count:
        jukinet_sha256_two_pieces(&zero, 1, entries + place * ENTRY, ENTRY, hashes + place * HASH)


def entry_provisions(const unsigned char[::1] entries):
    """How many provisions the records of these entries hold together. ValueError unless they are 104 bytes each."""
    cdef size_t count = <size_t>entries.shape[0] // ENTRY, place
    cdef uint64_t total = 0
    if count * ENTRY != <size_t>entries.shape[0]:
        raise ValueError("entries are 104 bytes each")
    for place in range(count):
        total += load_u32(&entries[place * ENTRY + 36])
    return total


def entry_hashes(const unsigned char[::1] entries):
    """Leaf hashes of record entries of 104 bytes each that lie one behind the other, 32 bytes each. ValueError."""
    cdef size_t count = <size_t>entries.shape[0] // ENTRY
    cdef bytes hashes
    cdef unsigned char *out
    if count * ENTRY != <size_t>entries.shape[0]:
        raise ValueError("entries are 104 bytes each")
    hashes = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(count * HASH))
    out = <unsigned char *>PyBytes_AS_STRING(hashes)
    if count:
        with nogil:
            leaves_write(&entries[0], count, out)
    return hashes
