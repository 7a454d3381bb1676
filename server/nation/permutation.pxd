# The keyed permutation of resident numbers to code keys, and the mixing functions that all draws come from.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

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

cdef inline uint64_t code_of_key(uint64_t key) noexcept nogil:
    """The 11-digit code: the key and its check digit (Rule 1: weights 2 to 7 from the right, then 2 to 5).

    With quotients q[i] = key // 10^i and digits q[i] - 10 * q[i + 1], and because -10 is 1 modulo 11, the weighted sum is
    w[0] * q[0] + sum((w[i] + w[i - 1]) * q[i]) modulo 11. Each half of five digits is summed so on its own.
    """
    cdef uint32_t high = <uint32_t>(key // HALF_KEYS), low = <uint32_t>(key % HALF_KEYS)
    cdef uint32_t total = (
        2 * low + 5 * (low // 10) + 7 * (low // 100) + 9 * (low // 1000)
        + 7 * high + 9 * (high // 10) + 5 * (high // 100) + 7 * (high // 1000) + 9 * (high // 10000)
    ) % 11
    return key * 10 + (11 - total) * <uint32_t>(total > 1)
