# The matching model as kernels take it: logarithms of all shares, and frequencies of names by hash.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    NAME_LEVELS = 10
    READINGS = 8
    DATE_LEVELS = 10
    PLACE_LEVELS = 6
    MODEL_YEARS = 200
    MODEL_YEAR_FIRST = 1860
    MODEL_DECADES = 20
    PART_LENGTHS = 3
    # Tables of frequencies.
    TABLE_SURNAME_KANA = 0
    TABLE_SURNAME = 1
    TABLE_GIVEN = 2
    TABLE_GIVEN_KANA = 3            # and the decades after it
    FREQUENCY_TABLES = 3 + MODEL_DECADES

# core.matching.levels
cdef enum:
    N_MISSING = 0
    N_EQUAL = 1
    N_FOLDED = 2
    N_SLIP = 3
    N_SLIPS = 4
    N_SWAPPED = 5
    N_PART = 6
    N_GIVEN = 7
    N_SURNAME = 8
    N_DIFFERENT = 9
    D_MISSING = 0
    D_EQUAL = 1
    D_MONTH = 2
    D_YEAR = 3
    D_DIGIT = 4
    D_TRANSPOSED = 5
    D_ERA = 6
    D_MONTH_AND_DAY = 7
    D_YEAR_AND_MONTH = 8
    D_DIFFERENT = 9
    X_MISSING = 0
    X_EQUAL = 1
    X_DIFFERENT = 2
    P_MISSING = 0
    P_EQUAL = 1
    P_BUILDING = 2
    P_TOWN = 3
    P_AREA = 4
    P_DIFFERENT = 5
    R_MISSING = 0

ctypedef struct Frequency:
    uint64_t hashed                 # 0: free
    double logarithm

# All logarithms are natural ones.
ctypedef struct ModelView:
    double residents
    double in_register
    double log_in_register
    double kana[NAME_LEVELS]                        # m
    double name[READINGS][NAME_LEVELS]              # m less u, but for R_MISSING m alone
    double name_written[NAME_LEVELS]                # m where there is no reading
    double date[DATE_LEVELS]                        # m
    double date_other[DATE_LEVELS]
    double births[MODEL_YEARS]                      # of one day of the year
    double place[PLACE_LEVELS]                      # m less u
    double sex_equal[2]                             # m less u: given names differ, are equal
    double sex_different[2]
    double voicing
    double name_slip
    double surname_slips[2][PART_LENGTHS]
    double given_slips[2][PART_LENGTHS]
    double fashion
    double rare[FREQUENCY_TABLES]
    double found_kana[3]                            # shares of EQUAL and FOLDED, SWAPPED, of readings
    double found_name[3]
    double found_date[2]                            # shares of EQUAL, of all near levels
    Frequency *frequencies
    uint64_t frequencies_mask

cdef class Model:
    cdef ModelView view
    cdef readonly object parameters

    cdef int _shares(self, p, residents) except -1
    cdef int _frequencies(self, p) except -1
    cdef int _put(self, uint32_t table, bytes text, double logarithm) except -1

# Logarithm of a name's share in one of the tables.
cdef double log_share(const ModelView *model, uint32_t table, const uint8_t *text, int length) noexcept nogil
# c of docs/matching.md after each of the three steps.
cdef double found_share(const ModelView *model, int step, bint reading, bint date) noexcept nogil
