"""Questions to the identity index in place: equal keys, lists of a name, scans of a birth date (docs/identity-index.md, 5).

Theory of operation. A probe waits for memory up to three times: the directory's pointer, the block's header, and the entries.
Hashes are even, so the entries of one hash stand about where their rest says; the search starts there and
doubles its steps, which stays within a few lines of memory in all but the blocks of very common names.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from jukinet.core.identity.block cimport identity_count, identity_entries, identity_names
from jukinet.core.identity.entries cimport (
    DATE_BITS, KEY_BITS, KEY_MASK, KEYS, REST_BITS, TABLE_DATE, TABLE_KANA, TABLE_NAME, date_bucket, date_code,
    entry_date, packed_of_code, text_position,
)
from jukinet.core.store.snapshot cimport IdentityView, Snapshot

from jukinet.core.errors import StoreCorruptError

cdef extern from "scan.h" nogil:
    ctypedef struct ScanFilter "jukinet_date_filter":       # a DateFilter
        pass
    int scan_form "jukinet_scan_form"
    int scan_form_best "jukinet_scan_form_best" ()
    size_t scan_entries "jukinet_scan" (
        const uint64_t *entries, size_t count, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *out,
        size_t room)
    size_t list_entries "jukinet_list" (
        const uint64_t *entries, size_t count, uint64_t rest, const ScanFilter *filters, uint32_t filters_count,
        uint64_t *keys, uint32_t *codes, size_t room, size_t *visited)

cdef extern from *:
    """
    #define jukinet_prefetch(address) __builtin_prefetch((address), 0, 2)
    """
    void prefetch "jukinet_prefetch" (const void *address) noexcept nogil

cdef enum:
    GROUP_PROBES = 32
    STEP_FIRST = 8              # entries in a line of memory
    SHIFT_REST = KEY_BITS + DATE_BITS

assert (KEY_BITS, DATE_BITS, SHIFT_REST) == (34, 18, 52), "as scan.h has them"
scan_form = scan_form_best()
SCAN_FORMS = scan_form_best() + 1


cdef void text_begin(const IdentityView *view, uint32_t table, uint64_t hashed, TextProbe *probe) noexcept nogil:
    probe.position = text_position(view.layout, hashed)
    probe.table = table
    probe.count = 0
    probe.block = <const unsigned char *>(view.blocks[table] + (probe.position >> REST_BITS))
    prefetch(probe.block)


cdef inline uint32_t guess(const TextProbe *probe) noexcept nogil:
    return <uint32_t>((<uint64_t>probe.count * (probe.position & ((1 << REST_BITS) - 1))) >> REST_BITS)


cdef void text_block(TextProbe *probe) noexcept nogil:
    probe.block = (<const unsigned char **>probe.block)[0]
    if probe.block != NULL:
        prefetch(probe.block)


cdef bint text_check(TextProbe *probe) noexcept nogil:
    cdef const uint64_t *place
    if probe.block == NULL:
        return True
    if not identity_names(probe.block, probe.table, <uint32_t>(probe.position >> REST_BITS)):
        return False
    probe.count = identity_count(probe.block)
    place = identity_entries(probe.block) + guess(probe)
    prefetch(place)
    prefetch(place + STEP_FIRST)
    return True


cdef uint32_t first_not_below(const TextProbe *probe, uint64_t wanted) noexcept nogil:
    """The first entry that is not below wanted: steps that double from the guess, then halves."""
    cdef const uint64_t *entries = identity_entries(probe.block)
    cdef uint32_t count = probe.count, low, high, step = STEP_FIRST, middle
    low = high = guess(probe)
    if low >= count:
        low = high = count - 1
    if entries[low] < wanted:
        # Everything up to low is below.
        high = low
        while high < count and entries[high] < wanted:
            low = high
            high = high + step if count - high > step else count
            step <<= 1
        low += 1
    else:
        while low > 0 and entries[low] >= wanted:
            high = low
            low = low - step if low > step else 0
            step <<= 1
        if entries[low] < wanted:
            low += 1
        else:
            high = low
    while low < high:
        middle = low + ((high - low) >> 1)
        if entries[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline uint64_t rest_of(const TextProbe *probe) noexcept nogil:
    return (probe.position & ((1 << REST_BITS) - 1)) << SHIFT_REST


cdef Found text_equal(const TextProbe *probe, uint32_t code, uint64_t *keys, uint32_t room) noexcept nogil:
    cdef Found result
    cdef const uint64_t *entries
    cdef uint64_t wanted = rest_of(probe) | <uint64_t>code << KEY_BITS
    cdef uint32_t i
    result.found = 0
    result.more = False
    if probe.block == NULL:
        return result
    entries = identity_entries(probe.block)
    i = first_not_below(probe, wanted)
    while i < probe.count and entries[i] ^ wanted <= KEY_MASK:
        if result.found == room:
            result.more = True
            break
        keys[result.found] = entries[i] & KEY_MASK
        result.found += 1
        i += 1
    return result


cdef Found text_list(
    const TextProbe *probe, const DateFilter *filters, uint32_t filters_count, uint64_t *keys, uint32_t *codes,
    uint32_t room) noexcept nogil:
    cdef Found result
    cdef const uint64_t *entries
    cdef uint64_t wanted = rest_of(probe)
    cdef size_t first, count, kept, visited = 0
    result.found = 0
    result.more = False
    if probe.block == NULL:
        return result
    first = first_not_below(probe, wanted)
    entries = identity_entries(probe.block) + first
    count = probe.count - first
    kept = list_entries(
        entries, count if count < VISITED_MAX else VISITED_MAX, wanted >> SHIFT_REST, <const ScanFilter *>filters,
        filters_count, keys, codes, room, &visited)
    if kept > room:
        result.found, result.more = room, True
        return result
    result.found = <uint32_t>kept
    result.more = visited == VISITED_MAX and visited < count and entries[visited] >> SHIFT_REST == wanted >> SHIFT_REST
    return result


cdef uint32_t text_length(const TextProbe *probe) noexcept nogil:
    cdef uint64_t rest = probe.position & ((1 << REST_BITS) - 1)
    cdef uint32_t first
    if probe.block == NULL:
        return 0
    first = first_not_below(probe, rest << SHIFT_REST)
    if rest == (1 << REST_BITS) - 1:
        return probe.count - first
    return first_not_below(probe, (rest + 1) << SHIFT_REST) - first


cdef void scan_prefetch(const IdentityView *view, uint32_t code) noexcept nogil:
    cdef uint32_t bucket
    for bucket in range(date_bucket(view.layout, code, 0), date_bucket(view.layout, code, KEYS - 1) + 1):
        if view.blocks[TABLE_DATE][bucket] != NULL:
            prefetch(view.blocks[TABLE_DATE][bucket])
            prefetch(view.blocks[TABLE_DATE][bucket] + 64)


cdef int scan_date(
    const IdentityView *view, uint32_t code, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *keys,
    uint32_t *signatures, uint32_t room, Found *result) noexcept nogil:
    cdef uint32_t bucket, count, i, visited = 0, last = date_bucket(view.layout, code, KEYS - 1)
    cdef size_t kept
    cdef const unsigned char *block
    result.found = 0
    result.more = False
    for bucket in range(date_bucket(view.layout, code, 0), last + 1):
        block = view.blocks[TABLE_DATE][bucket]
        if block == NULL:
            continue
        if not identity_names(block, TABLE_DATE, bucket):
            return -1
        if bucket < last and view.blocks[TABLE_DATE][bucket + 1] != NULL:
            prefetch(view.blocks[TABLE_DATE][bucket + 1])
        count = identity_count(block)
        if count > VISITED_MAX - visited:
            count = VISITED_MAX - visited
            result.more = True
        kept = scan_entries(
            identity_entries(block), count, wanted, care, differ_max, keys + result.found, room - result.found)
        if kept > room - result.found:
            result.more = True
            kept = room - result.found
        for i in range(result.found, result.found + <uint32_t>kept):
            signatures[i] = <uint32_t>(keys[i] >> KEY_BITS)
            keys[i] &= KEY_MASK
        result.found += <uint32_t>kept
        if result.more:
            return 0
        visited += count
    return 0


def choose_form(int form):
    """For tests: scans and lists take form 0 to SCAN_FORMS - 1, of which all give the same; the last is the fastest."""
    global scan_form
    if not 0 <= form < SCAN_FORMS:
        raise ValueError(f"this processor has the forms 0 to {SCAN_FORMS - 1}")
    scan_form = form


cdef int checked_table(uint32_t table) except -1:
    if table != TABLE_KANA and table != TABLE_NAME:
        raise ValueError("a text is looked for in table 1 (by_kana) or 2 (by_name)")
    return 0


cdef int probe_now(Snapshot snapshot, uint32_t table, uint64_t hashed, TextProbe *probe) except -1:
    """All steps of one question at once."""
    checked_table(table)
    if snapshot.transaction is None:
        raise ValueError("the snapshot has ended")
    text_begin(&snapshot.identity, table, hashed, probe)
    text_block(probe)
    if not text_check(probe):
        raise StoreCorruptError("a block of the identity index is damaged; run `jukinet store check`")
    return 0


def equal(Snapshot snapshot not None, uint32_t table, uint64_t hashed, uint32_t date, uint32_t room=64):
    """(keys, more): who has this text and birth date (packed), at most ``room``. StoreCorruptError for a damaged block."""
    cdef TextProbe probe
    cdef Found result
    cdef uint64_t *keys
    probe_now(snapshot, table, hashed, &probe)
    keys = <uint64_t *>malloc(<size_t>room * 8 + 8)
    if keys == NULL:
        raise MemoryError
    try:
        result = text_equal(&probe, date_code(date), keys, room)
        return [keys[i] for i in range(result.found)], result.more
    finally:
        free(keys)


def listed(Snapshot snapshot not None, uint32_t table, uint64_t hashed, filters=(), uint32_t room=64):
    """(pairs of key and packed birth date, more): who has this text, by date; filters: (date code, mask) pairs."""
    cdef TextProbe probe
    cdef DateFilter chosen[DATE_FILTERS_MAX]
    cdef Found result
    cdef uint32_t count = 0
    cdef uint64_t *keys
    cdef uint32_t *codes
    if len(filters) > DATE_FILTERS_MAX:
        raise ValueError(f"at most {DATE_FILTERS_MAX} filters")
    for value, mask in filters:
        chosen[count].value, chosen[count].mask = value, mask
        count += 1
    probe_now(snapshot, table, hashed, &probe)
    keys = <uint64_t *>malloc(<size_t>room * 12 + 12)
    if keys == NULL:
        raise MemoryError
    codes = <uint32_t *>(keys + room)
    try:
        result = text_list(&probe, chosen, count, keys, codes, room)
        return [(keys[i], packed_of_code(codes[i])) for i in range(result.found)], result.more
    finally:
        free(keys)


def length(Snapshot snapshot not None, uint32_t table, uint64_t hashed):
    """How many entries the text has."""
    cdef TextProbe probe
    probe_now(snapshot, table, hashed, &probe)
    return text_length(&probe)


def scan(
    Snapshot snapshot not None, uint32_t date, uint32_t signature, uint32_t care, uint32_t differ_max, uint32_t room=1024
):
    """(pairs of key and signature, more): whose signature differs in at most differ_max of the bits of ``care``.

    date: packed; neighbouring dates may be among those found. StoreCorruptError for a damaged block.
    """
    cdef Found result
    cdef uint64_t *keys
    cdef uint32_t *signatures
    cdef int code
    if snapshot.transaction is None:
        raise ValueError("the snapshot has ended")
    keys = <uint64_t *>malloc(<size_t>room * 12 + 12)
    if keys == NULL:
        raise MemoryError
    signatures = <uint32_t *>(keys + room)
    try:
        with nogil:
            code = scan_date(
                &snapshot.identity, date_code(date), signature, care, differ_max, keys, signatures, room, &result)
        if code < 0:
            raise StoreCorruptError("a block of the identity index is damaged; run `jukinet store check`")
        return [(keys[i], signatures[i]) for i in range(result.found)], result.more
    finally:
        free(keys)


cdef bint equal_group(
    const IdentityView *view, uint32_t table, const uint64_t *hashes, const uint32_t *dates, size_t count,
    uint64_t *keys, uint32_t *found, uint32_t room
) noexcept nogil:
    """One group through all steps. False: the store is damaged."""
    cdef TextProbe probes[GROUP_PROBES]
    cdef Found result
    cdef size_t i
    for i in range(count):
        text_begin(view, table, hashes[i], &probes[i])
    for i in range(count):
        text_block(&probes[i])
    for i in range(count):
        if not text_check(&probes[i]):
            return False
    for i in range(count):
        result = text_equal(&probes[i], date_code(dates[i]), keys + i * room, room)
        found[i] = result.found + result.more
    return True


def equal_batch(
    Snapshot snapshot not None, uint32_t table, const uint64_t[::1] hashes not None, const uint32_t[::1] dates not None,
    uint64_t[:, ::1] keys not None, uint32_t[::1] found not None
):
    """Many equal() at once, without the GIL: hashes and packed dates (n), keys (n, room) and found (n) to be filled.

    found is how many keys there are, or room + 1 for more. ValueError for arrays that do not fit each other.
    """
    cdef size_t n = hashes.shape[0], at = 0, count
    cdef uint32_t room = <uint32_t>keys.shape[1]
    cdef bint whole = True
    checked_table(table)
    if dates.shape[0] != <Py_ssize_t>n or keys.shape[0] != <Py_ssize_t>n or found.shape[0] != <Py_ssize_t>n or room == 0:
        raise ValueError("hashes, dates, keys and found have one row each for a question, and keys room for one")
    if snapshot.transaction is None:
        raise ValueError("the snapshot has ended")
    with nogil:
        while whole and at < n:
            count = n - at if n - at < GROUP_PROBES else GROUP_PROBES
            whole = equal_group(
                &snapshot.identity, table, &hashes[at], &dates[at], count, &keys[at, 0], &found[at], room)
            at += count
    if not whole:
        raise StoreCorruptError("a block of the identity index is damaged; run `jukinet store check`")
