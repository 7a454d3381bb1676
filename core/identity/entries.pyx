"""Entries of the identity index: what a record gives, and where each entry stands (docs/identity-index.md, 2 and 3)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from jukinet.core.identity.folds cimport folded_kana, folded_name, folded_reading
from jukinet.core.records.record cimport STATE_CURRENT, ResidentRecord, record_decode

from jukinet.core.errors import RecordFormatError

cdef enum:
    BIT_MULTIPLIER = 0x9E3779B1

# Signature bit of each byte of a folded reading.
cdef uint32_t kana_bits[256]


cdef inline uint32_t signature_bit(uint32_t value, uint32_t bits) noexcept nogil:
    return <uint32_t>(((<uint32_t>(value * <uint32_t>0x9E3779B1u)) >> 16) * bits) >> 16


cdef void prepare_bits() noexcept:
    cdef uint32_t value
    for value in range(256):
        kana_bits[value] = <uint32_t>1 << signature_bit(value, KANA_SIGNATURE_BITS)


prepare_bits()


cdef uint32_t kana_signature(const unsigned char *folded, size_t length) noexcept nogil:
    cdef uint32_t signature = 0
    cdef size_t i
    for i in range(length):
        signature |= kana_bits[folded[i]]
    return signature


cdef uint32_t name_signature(const unsigned char *folded, size_t length) noexcept nogil:
    """A code point is whatever its leading byte and the continuation bytes behind it hold: damage gives some bit."""
    cdef uint32_t signature = 0, point
    cdef size_t i = 0
    while i < length:
        point = folded[i]
        i += 1
        if point >= 0xC0:
            point &= 0x3F if point < 0xE0 else (0x0F if point < 0xF0 else 0x07)
            if folded[i - 1] < 0xE0:
                point &= 0x1F
            while i < length and folded[i] & 0xC0 == 0x80:
                point = point << 6 | (folded[i] & 0x3F)
                i += 1
        signature |= <uint32_t>1 << (KANA_SIGNATURE_BITS + signature_bit(point, NAME_SIGNATURE_BITS))
    return signature


cdef inline bint comes_before(const PlacedEntry *one, const PlacedEntry *other) noexcept nogil:
    if one.table != other.table:
        return one.table < other.table
    if one.bucket != other.bucket:
        return one.bucket < other.bucket
    return one.entry < other.entry


cdef size_t distinct_entries(PlacedEntry *entries, size_t count) noexcept nogil:
    cdef size_t i, j, kept = 0
    cdef PlacedEntry moved
    for i in range(1, count):
        moved = entries[i]
        j = i
        while j > 0 and comes_before(&moved, &entries[j - 1]):
            entries[j] = entries[j - 1]
            j -= 1
        entries[j] = moved
    for i in range(count):
        if i == 0 or comes_before(&entries[kept - 1], &entries[i]):
            entries[kept] = entries[i]
            kept += 1
    return kept


cdef inline void place_text(
    const LayoutView *layout, uint32_t table, uint64_t hashed, uint32_t code, uint64_t key, PlacedEntry *out
) noexcept nogil:
    cdef uint64_t position = text_position(layout, hashed)
    out.table = table
    out.bucket = <uint32_t>(position >> REST_BITS)
    out.entry = (position & ((1 << REST_BITS) - 1)) << (KEY_BITS + DATE_BITS) | <uint64_t>code << KEY_BITS | key


cdef inline void place_date(
    const LayoutView *layout, uint32_t code, uint32_t signature, uint64_t key, PlacedEntry *out
) noexcept nogil:
    out.table = TABLE_DATE
    out.bucket = date_bucket(layout, code, key)
    out.entry = <uint64_t>signature << KEY_BITS | key


cdef size_t record_entries(
    const LayoutView *layout, uint64_t key, const ResidentRecord *record, PlacedEntry *out
) noexcept nogil:
    cdef unsigned char folded[FOLDED_BYTES_MAX]
    cdef uint32_t code, kana_part
    cdef size_t length, count = 0, texts, i
    if record.name == NULL:
        return 0
    code = date_code(record.birth_date)
    length = folded_reading(record, folded, FOLDED_BYTES_MAX)
    kana_part = kana_signature(folded, length)
    if length:
        place_text(layout, TABLE_KANA, text_hash(folded, length), code, key, &out[count])
        count += 1
    texts = 2 if record.alias_bytes else 1
    for i in range(texts):
        if i == 0:
            length = folded_name(record.name, record.name_bytes, folded, FOLDED_BYTES_MAX)
        else:
            length = folded_name(record.alias, record.alias_bytes, folded, FOLDED_BYTES_MAX)
        if length:
            place_text(layout, TABLE_NAME, text_hash(folded, length), code, key, &out[count])
            count += 1
        place_date(layout, code, kana_part | name_signature(folded, length), key, &out[count])
        count += 1
    return distinct_entries(out, count) if texts == 2 else count


cdef class EntryLayout:
    """An IdentityLayout as kernels take it. ``plan`` is the layout that it was made from."""

    def __cinit__(self, plan):
        cdef uint32_t year
        cdef uint64_t first = 0, count
        if len(plan.year_buckets) != YEARS or plan.text_buckets < 1:
            raise ValueError("a layout has text buckets, and numbers of buckets for 403 years")
        self.plan = plan
        memset(&self.view, 0, sizeof(LayoutView))
        self.view.text_buckets = plan.text_buckets
        for year in range(YEARS):
            count = plan.year_buckets[year]
            if count < 1 or count > 1 << 20 or first + count >= 1 << 30:
                raise ValueError("a layout's years have too few or too many buckets")
            self.view.year_first[year] = <uint32_t>first
            self.view.year_buckets[year] = <uint32_t>count
            first += count
        self.view.date_buckets = first


def folded_texts(bytes name not None, bytes kana not None):
    """The folded forms of a name and of a reading, as the index hashes them."""
    cdef unsigned char folded[FOLDED_BYTES_MAX]
    cdef size_t length
    length = folded_name(name, <size_t>len(name), folded, FOLDED_BYTES_MAX)
    first = folded[:length]
    length = folded_kana(kana, <size_t>len(kana), folded, FOLDED_BYTES_MAX)
    return first, folded[:length]


def hash_of(bytes folded not None):
    """The hash of a folded text."""
    return text_hash(folded, <size_t>len(folded))


def signature_of(bytes folded_reading not None, bytes folded_written not None):
    """The signature of a folded reading and a folded name."""
    return kana_signature(folded_reading, <size_t>len(folded_reading)) | name_signature(
        folded_written, <size_t>len(folded_written))


def code_of_date(uint32_t packed):
    """The 18-bit date code of a packed date."""
    return date_code(packed)


def date_of_code(uint32_t code):
    """The packed date of a date code."""
    return packed_of_code(code)


def entries_of(EntryLayout layout not None, uint64_t key, records):
    """The distinct entries of a key's records, (table, bucket, entry), sorted.

    records: (status, record bytes) pairs; those without a person give none. RecordFormatError when one does not decode.
    """
    cdef PlacedEntry out[RECORD_ENTRIES_MAX]
    cdef ResidentRecord record
    cdef bytes data
    cdef uint64_t status
    cdef size_t count, i
    found = set()
    if key >= KEYS:
        raise ValueError("a key has at most ten digits")
    for status, data in records:
        if record_decode(data, <size_t>len(data), status, &record) < 0:
            raise RecordFormatError("a record does not decode")
        count = record_entries(&layout.view, key, &record, out)
        for i in range(count):
            found.add((out[i].table, out[i].bucket, out[i].entry))
    return sorted(found)
