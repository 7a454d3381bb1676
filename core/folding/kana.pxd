# Folding of readings in kana (docs/folding.md, section 3): one byte a kana.
#
# Each function takes a text as UTF-8, or (_packed) packed kana as a record holds it, and writes the folded reading to out.
# Bytes written, or a negative error. `part` may be NULL; it becomes the byte at which the second part (the given name)
# begins, 0 when the reading has one part.

from libc.stdint cimport uint8_t

cdef enum:
    FOLDED_KANA_MAX = 256
    KANA_TOO_LONG = -1       # more than capacity or FOLDED_KANA_MAX bytes, or no UTF-8
    KANA_NOT_KANA = -2       # a character that no reading holds (kanji, signs)

# Folded: large katakana without voicing; Latin letters and digits as bytes of their own. The key of the index.
cdef int fold_kana(const uint8_t *text, int length, uint8_t *out, int capacity, int *part) noexcept nogil
cdef int fold_kana_packed(const uint8_t *packed, int length, uint8_t *out, int capacity, int *part) noexcept nogil
# Exact: katakana with voicing and small kana kept; only width, script, spaces and middle dots are gone.
cdef int fold_kana_exact(const uint8_t *text, int length, uint8_t *out, int capacity, int *part) noexcept nogil
cdef int fold_kana_exact_packed(const uint8_t *packed, int length, uint8_t *out, int capacity, int *part) noexcept nogil
# Folded from exact, both with one byte a kana; `part` in exact (0 none) becomes the one in out through part.
cdef int fold_exact_kana(const uint8_t *exact, int length, uint8_t *out, int capacity, int *part) noexcept nogil
