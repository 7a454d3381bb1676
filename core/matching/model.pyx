"""The matching model made ready for kernels: logarithms of shares, and one hash table of all names' frequencies."""

from libc.math cimport log
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from jukinet.core.folding.kana import folded_kana
from jukinet.core.matching.parameters import DECADES
from jukinet.core.matching.weighing import (
    AGREES_IN_PART, DAYS_A_YEAR, FOUND_SHARE_MAX, NEAR_DATES, SCAN_SHARE,
)

cdef double FOUND_MAX = FOUND_SHARE_MAX
cdef double SCANNED = SCAN_SHARE

cdef extern from *:
    """
    static inline uint64_t jukinet_fold128(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)(product >> 64) ^ (uint64_t)product;
    }
    """
    uint64_t fold128 "jukinet_fold128" (uint64_t a, uint64_t b) noexcept nogil


cdef inline uint64_t hash_of(uint32_t table, const uint8_t *text, int length) noexcept nogil:
    cdef uint64_t hashed = 0x9E3779B97F4A7C15u ^ (<uint64_t>table << 32 | <uint64_t>length), word
    cdef int i = 0
    while i + 8 <= length:
        memcpy(&word, text + i, 8)
        hashed = fold128(hashed ^ word, 0xD6E8FEB86659FD93u)
        i += 8
    word = 0
    memcpy(&word, text + i, length - i)
    hashed = fold128(hashed ^ word, 0xD6E8FEB86659FD93u)
    return hashed if hashed else 1


cdef double log_share(const ModelView *model, uint32_t table, const uint8_t *text, int length) noexcept nogil:
    cdef uint64_t hashed = hash_of(table, text, length), place = hashed & model.frequencies_mask
    while model.frequencies[place].hashed:
        if model.frequencies[place].hashed == hashed:
            return model.frequencies[place].logarithm
        place = (place + 1) & model.frequencies_mask
    return model.rare[table]


cdef double found_share(const ModelView *model, int step, bint reading, bint date) noexcept nogil:
    cdef const double *name = &model.found_kana[0]
    cdef double share
    if not reading:
        name = &model.found_name[0]
    if not date:
        share = name[0] if step > 0 else 0.0
        return share if share < FOUND_MAX else FOUND_MAX
    share = name[0] * model.found_date[0]
    if step > 0:
        share += name[1] * model.found_date[0] + name[0] * (model.found_date[1] - model.found_date[0])
    if step > 1:
        share += (1.0 - name[0] - name[1]) * model.found_date[0] * SCANNED
    return share if share < FOUND_MAX else FOUND_MAX


cdef class Model:
    """A parameter set made ready for a register of ``residents`` people. MemoryError when there is no room."""

    def __cinit__(self, parameters, residents):
        self.parameters = parameters
        self.view.frequencies = NULL
        self._shares(parameters, max(int(residents), 1))
        self._frequencies(parameters)

    def __dealloc__(self):
        free(self.view.frequencies)

    cdef int _shares(self, p, residents) except -1:
        cdef ModelView *view = &self.view
        cdef int i, k
        view.residents = residents
        view.in_register = p.in_register
        view.log_in_register = log(p.in_register)
        for i in range(NAME_LEVELS):
            view.kana[i] = log(p.kana[i])
            view.name_written[i] = log(p.name[0][i])
            for k in range(READINGS):
                view.name[k][i] = log(p.name[k][i] / p.name_other[k][i])
        for i in range(DATE_LEVELS):
            view.date[i] = log(p.date[i])
            view.date_other[i] = log(max(p.date_other[i], 1e-9))
        view.kana[N_PART] = view.name_written[N_PART] = log(AGREES_IN_PART)
        view.date[D_MONTH] = view.date[D_YEAR] = log(AGREES_IN_PART)
        for i in range(MODEL_YEARS):
            view.births[i] = log(p.births[i] / DAYS_A_YEAR)
        for i in range(1, PLACE_LEVELS):
            other = p.place_other[i]
            if i in (P_EQUAL, P_BUILDING):
                other = min(other / residents, 1.0)
            view.place[i] = log(p.place[i] / other)
        view.place[P_MISSING] = 0.0
        for i in range(2):
            view.sex_equal[i] = log(p.sex / p.sex_other[i])
            view.sex_different[i] = log((1.0 - p.sex) / (1.0 - p.sex_other[i]))
        view.voicing = log(p.voicing)
        view.name_slip = log(p.name_slip)
        view.fashion = log(p.fashion)
        for i in range(PART_LENGTHS):
            view.surname_slips[0][i] = log(p.surname_slips.one[i])
            view.surname_slips[1][i] = log(p.surname_slips.two[i])
            view.given_slips[0][i] = log(p.given_slips.one[i])
            view.given_slips[1][i] = log(p.given_slips.two[i])
        view.found_kana[0] = p.kana[N_EQUAL] + p.kana[N_FOLDED]
        view.found_kana[1] = p.kana[N_SWAPPED]
        view.found_name[0] = p.name[0][N_EQUAL] + p.name[0][N_FOLDED]
        view.found_name[1] = p.name[0][N_SWAPPED]
        view.found_date[0] = p.date[D_EQUAL]
        view.found_date[1] = sum(p.date[level] for level in NEAR_DATES)
        return 0

    cdef int _frequencies(self, p) except -1:
        tables = [
            (TABLE_SURNAME_KANA, p.surname_kana, True), (TABLE_SURNAME, p.surname, False), (TABLE_GIVEN, p.given, False),
            *((TABLE_GIVEN_KANA + decade, p.given_kana[decade], True) for decade in range(DECADES)),
        ]
        names = sum(len(frequencies.shares) for _, frequencies, _ in tables)
        rooms = 1 << max(int(2 * names).bit_length(), 4)
        self.view.frequencies = <Frequency *>calloc(rooms, sizeof(Frequency))
        if self.view.frequencies == NULL:
            raise MemoryError
        self.view.frequencies_mask = <uint64_t>rooms - 1
        for table, frequencies, reading in tables:
            self.view.rare[table] = log(frequencies.rare)
            for text, share in frequencies.shares.items():
                self._put(table, folded_kana(text) if reading else text.encode(), log(share))
        return 0

    cdef int _put(self, uint32_t table, bytes text, double logarithm) except -1:
        cdef uint64_t hashed = hash_of(table, text, <int>len(text)), place = hashed & self.view.frequencies_mask
        while self.view.frequencies[place].hashed and self.view.frequencies[place].hashed != hashed:
            place = (place + 1) & self.view.frequencies_mask
        self.view.frequencies[place].hashed = hashed
        self.view.frequencies[place].logarithm = logarithm
        return 0
