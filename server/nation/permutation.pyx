"""Codes of resident numbers by a keyed permutation of 10^10 keys; works on whole arrays with the GIL released."""

from cpython.buffer cimport PyBUF_CONTIG, PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

from jukinet.core.codes cimport code_check_digit, codes_prepare

SEED_END = 1 << 63
KEYS = 10_000_000_000

codes_prepare()


cdef inline uint64_t code_of_key(uint64_t key) noexcept nogil:
    return key * 10 + code_check_digit(key)


cdef void permutation_prepare(Permutation *permutation, uint64_t seed) noexcept nogil:
    cdef int i
    for i in range(PERMUTATION_ROUNDS):
        permutation.round_keys[i] = mix64(mix64(seed) + (i + 1) * <uint64_t>0x9E3779B97F4A7C15)


cdef uint64_t retired_seed_key(uint64_t seed) noexcept nogil:
    return mix64(mix64(seed) ^ <uint64_t>0x7265746972656421)


cdef Permutation prepared(seed) except *:
    cdef Permutation permutation
    if not 0 <= seed < SEED_END:
        raise ValueError(f"seed must be 0 to {SEED_END - 1}")
    permutation_prepare(&permutation, seed)
    return permutation


def key_of(seed: int, number: int) -> int:
    """The key (first ten digits of the code) of one number below 10^10."""
    cdef Permutation permutation = prepared(seed)
    if not 0 <= number < KEYS:
        raise ValueError("number must be below 10^10")
    return key_of_number(&permutation, number)


def number_of(seed: int, key: int) -> int:
    """The inverse of key_of."""
    cdef Permutation permutation = prepared(seed)
    if not 0 <= key < KEYS:
        raise ValueError("key must be below 10^10")
    return number_of_key(&permutation, key)


def resident_of_retired_place(seed: int, place: int) -> int:
    """The resident number that gave up the retired code at this place, from 0."""
    prepared(seed)
    if not 0 <= place < KEYS // RESIDENTS_PER_RETIRED_CODE:
        raise ValueError("place is out of range")
    return resident_of_retired(retired_seed_key(seed), place)


cdef object convert(seed, source, target, int direction):
    cdef Permutation permutation = prepared(seed)
    cdef Py_buffer numbers, values
    cdef const uint64_t *input
    cdef uint64_t *output
    cdef Py_ssize_t i, count
    cdef uint64_t highest = 0
    PyObject_GetBuffer(source, &numbers, PyBUF_CONTIG_RO)
    try:
        PyObject_GetBuffer(target, &values, PyBUF_CONTIG)
        try:
            if numbers.itemsize != 8 or values.itemsize != 8 or numbers.len != values.len:
                raise ValueError("both buffers must hold the same count of 8-byte integers")
            count = numbers.len // 8
            input = <const uint64_t *>numbers.buf
            output = <uint64_t *>values.buf
            with nogil:
                for i in range(count):
                    highest = max(highest, input[i])
            if highest >= <uint64_t>10_000_000_000:
                raise ValueError("a number or key is not below 10^10")
            with nogil:
                if direction == 0:
                    for i in range(count):
                        output[i] = code_of_key(key_of_number(&permutation, input[i]))
                else:
                    for i in range(count):
                        output[i] = number_of_key(&permutation, input[i])
        finally:
            PyBuffer_Release(&values)
    finally:
        PyBuffer_Release(&numbers)


def fill_codes(seed: int, numbers: object, codes: object) -> None:
    """Write the 11-digit code of each number (u64 buffer) to codes (writable u64 buffer of the same length)."""
    convert(seed, numbers, codes, 0)


def fill_numbers(seed: int, keys: object, numbers: object) -> None:
    """Write the number of each key (u64 buffer) to numbers (writable u64 buffer of the same length)."""
    convert(seed, keys, numbers, 1)
