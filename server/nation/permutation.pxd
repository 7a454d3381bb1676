# The keyed permutation of resident numbers to code keys, and the mixing functions that all draws come from.

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    PERMUTATION_ROUNDS = 5
    HALF_KEYS = 100000          # the permutation is a balanced Feistel network over two halves of five decimal digits

ctypedef struct Permutation:
    uint64_t round_keys[PERMUTATION_ROUNDS]

# SplitMix64's finaliser (Steele, Lea, Flood 2014; constants of Stafford's variant 13): a bijection of 64 bits.
cdef inline uint64_t mix64(uint64_t value) noexcept nogil:
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EB
    return value ^ (value >> 31)

cdef inline uint64_t round_function(uint64_t half, uint64_t round_key) noexcept nogil:
    """A value below HALF_KEYS from the upper 32 bits of a keyed mix of one half."""
    cdef uint64_t mixed = (half ^ round_key) * <uint64_t>0x9E3779B97F4A7C15
    mixed = (mixed ^ (mixed >> 32)) * <uint64_t>0xD6E8FEB86659FD93
    return ((mixed >> 32) * HALF_KEYS) >> 32

cdef inline uint64_t below_half(uint64_t sum) noexcept nogil:
    """The remainder of a sum of two halves, without a branch: the comparison is a coin toss."""
    return sum - (HALF_KEYS & (0 - <uint64_t>(sum >= HALF_KEYS)))

cdef inline uint64_t key_of_number(const Permutation *permutation, uint64_t number) noexcept nogil:
    cdef uint64_t left = number // HALF_KEYS, right = number % HALF_KEYS, sum
    cdef int i
    for i in range(PERMUTATION_ROUNDS):
        sum = left + round_function(right, permutation.round_keys[i])
        left = right
        right = below_half(sum)
    return left * HALF_KEYS + right

cdef inline uint64_t number_of_key(const Permutation *permutation, uint64_t key) noexcept nogil:
    cdef uint64_t left = key // HALF_KEYS, right = key % HALF_KEYS, sum
    cdef int i
    for i in range(PERMUTATION_ROUNDS - 1, -1, -1):
        sum = right + HALF_KEYS - round_function(left, permutation.round_keys[i])
        right = left
        left = below_half(sum)
    return left * HALF_KEYS + right

cdef void permutation_prepare(Permutation *permutation, uint64_t seed) noexcept nogil

# Numbers and retired codes (docs/synthetic-nation.md, section 2).
cdef enum:
    RESIDENTS_PER_RETIRED_CODE = 500

cdef inline uint64_t resident_of_retired(uint64_t seed_key, uint64_t place) noexcept nogil:
    """The resident whose old code stands at this place (from 0) of the retired codes: one in each 500 residents."""
    return place * RESIDENTS_PER_RETIRED_CODE + (
        (mix64(seed_key + place) >> 32) * RESIDENTS_PER_RETIRED_CODE >> 32)

cdef uint64_t retired_seed_key(uint64_t seed) noexcept nogil
