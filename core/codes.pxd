# Resident record codes for kernels. A module that cimports these calls codes_prepare() once when it is imported.

from libc.stdint cimport uint32_t, uint64_t

cdef extern from "codes.h" nogil:
    void codes_prepare "jukinet_codes_prepare" ()
    # key: the first ten digits, below 10^10
    uint32_t code_check_digit "jukinet_check_digit" (uint64_t key)
