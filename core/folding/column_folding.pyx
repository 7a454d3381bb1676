"""Folding of whole columns of texts, and reading of columns of dates, without a Python object for a row.

A column of texts is (u32 offsets of rows + 1, UTF-8 bytes), as in frames and in Apache Arrow. A row that cannot be folded or read is
a result of its own and never an exception: the other rows are done.
"""

from enum import IntEnum
from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from jukinet.core.folding.addresses cimport Address, fold_address
from jukinet.core.folding.characters cimport FOLDED_BYTES_MAX
from jukinet.core.folding.dates cimport parse_date
from jukinet.core.folding.kana cimport fold_kana, fold_kana_exact
from jukinet.core.folding.names cimport fold_name
from jukinet.core.records.record cimport decimal_date

from jukinet.core.folding.dates import EraDigits

cdef enum:
    NAME = 0
    KANA = 1
    KANA_EXACT = 2
    ADDRESS = 3
    FOLDED_COLUMN_BYTES_MAX = 1 << 28    # folded texts, at most 16 times as long, stay below the 4 GiB of an offset


class Folding(IntEnum):
    """What a column holds."""

    NAME = 0
    KANA = 1
    KANA_EXACT = 2
    ADDRESS = 3
    """Folded to town, numbers and building; municipality and prefecture fall away."""


class FoldedTexts(NamedTuple):
    """u32 offsets of rows + 1 and the folded bytes; i8 results: 0, or the kernel's error for a row, which is then empty."""

    offsets: bytes
    data: bytes
    results: bytes


class DatesRead(NamedTuple):
    """u32 decimal dates (0: unknown, or none was read) and i8 results (the DATE_ values of dates.pxd)."""

    decimals: bytes
    results: bytes


cdef size_t check_column(const uint8_t[::1] offsets, const uint8_t[::1] data) except? 0:
    """Rows of a column. ValueError when an offset leads outside."""
    cdef size_t rows, row
    cdef uint32_t before = 0, here = 0
    if offsets.shape[0] < 4 or offsets.shape[0] % 4:
        raise ValueError("offsets are 4 bytes each, and one more than the rows")
    rows = offsets.shape[0] // 4 - 1
    for row in range(rows + 1):
        memcpy(&here, &offsets[4 * row], 4)
        if here < before:
            raise ValueError("the offsets of a text column decrease")
        before = here
    if before > <size_t>data.shape[0]:
        raise ValueError("the offsets of a text column pass its end")
    return rows


cdef inline int fold_one(int folding, const uint8_t *text, int length, uint8_t *out) noexcept nogil:
    cdef Address address
    if folding == NAME:
        return fold_name(text, length, out, FOLDED_BYTES_MAX)
    if folding == KANA:
        return fold_kana(text, length, out, FOLDED_BYTES_MAX, NULL)
    if folding == KANA_EXACT:
        return fold_kana_exact(text, length, out, FOLDED_BYTES_MAX, NULL)
    return fold_address(text, length, out, FOLDED_BYTES_MAX, &address)


def fold_texts(folding, const uint8_t[::1] offsets not None, const uint8_t[::1] data not None):
    """Fold a column of texts (bytes-like: u32 offsets, UTF-8). ValueError when the column is malformed."""
    cdef size_t rows = check_column(offsets, data), row, written = 0, room = 4096
    cdef int kind = int(Folding(folding)), count
    cdef uint32_t start = 0, end = 0
    cdef bint failed = False
    cdef uint8_t folded[FOLDED_BYTES_MAX]
    cdef uint8_t *out
    cdef uint8_t *grown
    cdef bytes new_offsets = PyBytes_FromStringAndSize(NULL, 4 * (rows + 1))
    cdef bytes results = PyBytes_FromStringAndSize(NULL, rows)
    cdef uint8_t *offset_bytes = <uint8_t *>PyBytes_AS_STRING(new_offsets)
    cdef int8_t *result = <int8_t *>PyBytes_AS_STRING(results)
    cdef const uint8_t *texts = &data[0] if data.shape[0] else <const uint8_t *>b""
    if data.shape[0] > FOLDED_COLUMN_BYTES_MAX:
        raise ValueError("a column of this size is folded in parts")
    out = <uint8_t *>malloc(room)
    if out == NULL:
        raise MemoryError
    try:
        with nogil:
            memcpy(offset_bytes, &written, 4)
            for row in range(rows):
                memcpy(&start, &offsets[4 * row], 4)
                memcpy(&end, &offsets[4 * row + 4], 4)
                count = -1 if end - start > FOLDED_BYTES_MAX else fold_one(kind, texts + start, <int>(end - start), folded)
                result[row] = <int8_t>(count if count < 0 else 0)
                if count > 0:
                    if written + count > room:
                        room = 2 * (written + count)
                        grown = <uint8_t *>realloc(out, room)
                        if grown == NULL:
                            failed = True
                            break
                        out = grown
                    memcpy(out + written, folded, count)
                    written += count
                memcpy(offset_bytes + 4 * (row + 1), &written, 4)
        if failed:
            raise MemoryError
        return FoldedTexts(new_offsets, (<const char *>out)[:written], results)
    finally:
        free(out)


def read_dates(const uint8_t[::1] offsets not None, const uint8_t[::1] data not None, era_digits=EraDigits.IN_ORDER):
    """Read a column of dates (bytes-like: u32 offsets, UTF-8). ValueError when the column is malformed."""
    cdef size_t rows = check_column(offsets, data), row
    cdef int digits = int(era_digits), found
    cdef uint32_t start = 0, end = 0, packed = 0, decimal = 0
    cdef bytes decimals = PyBytes_FromStringAndSize(NULL, 4 * rows)
    cdef bytes results = PyBytes_FromStringAndSize(NULL, rows)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(decimals)
    cdef int8_t *result = <int8_t *>PyBytes_AS_STRING(results)
    cdef const uint8_t *texts = &data[0] if data.shape[0] else <const uint8_t *>b""
    with nogil:
        for row in range(rows):
            memcpy(&start, &offsets[4 * row], 4)
            memcpy(&end, &offsets[4 * row + 4], 4)
            found = parse_date(texts + start, <int>(end - start) if end - start < 4096 else 4096, digits, &packed)
            decimal = decimal_date(packed) if found >= 0 else 0
            memcpy(out + 4 * row, &decimal, 4)
            result[row] = <int8_t>found
    return DatesRead(decimals, results)
