# Questions to the identity index, for kernels (docs/identity-index.md, section 5). All of it without the GIL, on the
# `identity` of a pinned Snapshot (`&snapshot.identity`). Keys that are found are candidates: compare their records.
#
# One question about a text goes in steps, so that a batch can have the memory of many under way:
#     text_begin    asks for the directory's pointer
#     text_block    reads it, asks for the block's header and for the place where the entries should be
#     text_check    compares the block's names; False: the store is damaged
#     text_equal, text_list, text_length    read the entries
# Called one after the other at once they are the same, only slower.

from libc.stdint cimport uint32_t, uint64_t

from jukinet.core.store.snapshot cimport IdentityView

cdef enum:
    VISITED_MAX = 65536         # entries that one list or scan looks at
    DATE_FILTERS_MAX = 16
    # Masks of date codes (core.identity.entries.date_code of a packed date).
    MASK_YEAR = 0x3FE00
    MASK_MONTH = 0x1E0
    MASK_DAY = 0x1F
    MASK_DATE = 0x3FFFF
    # The bits of a signature that tell of the reading, and of the name.
    CARE_KANA = 0x3FFFF
    CARE_NAME = 0x3FFC0000

# A date code agrees when (code ^ value) & mask is 0.
ctypedef struct DateFilter:
    uint32_t value
    uint32_t mask

ctypedef struct TextProbe:
    uint64_t position           # bucket << 12 | rest
    const unsigned char *block  # NULL: the bucket is empty
    uint32_t table              # TABLE_KANA or TABLE_NAME
    uint32_t count              # entries of the block

# What a list or scan came to. found: keys written; more: there are more than the room, or than VISITED_MAX entries to see.
ctypedef struct Found:
    uint32_t found
    bint more

cdef void text_begin(const IdentityView *view, uint32_t table, uint64_t hashed, TextProbe *probe) noexcept nogil
cdef void text_block(TextProbe *probe) noexcept nogil
cdef bint text_check(TextProbe *probe) noexcept nogil
# Keys of the text with this birth date (date code), ascending.
cdef Found text_equal(const TextProbe *probe, uint32_t code, uint64_t *keys, uint32_t room) noexcept nogil
# Keys and date codes of the text, by date, as far as one of the filters agrees; without filters all. A key stands once
# for each birth date that it was ever registered with.
cdef Found text_list(
    const TextProbe *probe, const DateFilter *filters, uint32_t filters_count, uint64_t *keys, uint32_t *codes,
    uint32_t room) noexcept nogil
# How many entries the text has: its frequency in the register (with what 12 bits cannot tell apart).
cdef uint32_t text_length(const TextProbe *probe) noexcept nogil

# Keys and signatures of a birth date (date code) whose signature differs from `wanted` in at most differ_max of the
# bits of `care`. -1: the store is damaged; otherwise 0, and result is set. For a beginning: care = wanted, differ_max 0.
cdef int scan_date(
    const IdentityView *view, uint32_t code, uint32_t wanted, uint32_t care, uint32_t differ_max, uint64_t *keys,
    uint32_t *signatures, uint32_t room, Found *result) noexcept nogil
# Asks for the pointers and first lines of a date's blocks, for a scan that follows later.
cdef void scan_prefetch(const IdentityView *view, uint32_t code) noexcept nogil
