"""What the changes of a synthetic nation draw from its tables: addresses, given names, and who lives in some towns."""

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from jukinet.server.nation.draws cimport NameRow, chosen, upto
from jukinet.server.nation.permutation cimport mix64
from jukinet.server.nation.population cimport Life, Population

from array import array

cdef enum:
    FIRST_DECADE = 1900
    DECADES = 14
    REST_ROOM_BYTES = 512
    FOUND_ROOM = 8192


def address_rest(Population population, town: int, draws: int) -> str:
    """House number and flat in a town (place in the tables' towns) that 64 bits of draws give."""
    cdef unsigned char room[REST_ROOM_BYTES]
    cdef uint32_t place
    cdef unsigned char *end
    if not 0 <= town < len(population.keep.towns):
        raise ValueError("there is no such town")
    place = town
    end = population.write_rest(place, draws, room)
    return room[:end - room].decode()


cdef tuple name_of(Population population, uint32_t row):
    cdef const NameRow *name = population.tables.names + row
    cdef const unsigned char *text = population.tables.texts + name.offset
    return text[:name.text_bytes].decode(), text[name.text_bytes:name.text_bytes + name.kana_bytes].decode()


def given_name(Population population, number: int, sex: int, year: int, draws: int) -> tuple[str, str]:
    """A given name and its reading for a child of the resident with this number, born in a year.

    It comes from the resident's origin; sex is 1 or 2. Two given names of a foreign child are separated as its name is.
    """
    cdef Life life
    cdef uint64_t random = draws
    cdef uint32_t table, first, second
    cdef int32_t decade = (<int32_t>year - FIRST_DECADE) // 10
    if not 0 <= number < population.residents or sex not in (1, 2):
        raise ValueError("number is not below residents, or sex not 1 or 2")
    population.live(number, &life)
    if life.household.origin < 0:
        decade = min(max(decade, <int32_t>0), <int32_t>(DECADES - 1))
        table = population.tables.given_table + (<uint32_t>sex - 1) * DECADES + decade
        return name_of(population, chosen(&population.tables, table, random))
    table = population.tables.foreign_table + 3 * life.household.origin + <uint32_t>sex
    first = chosen(&population.tables, table, random)
    random = mix64(random)
    second = chosen(&population.tables, table, mix64(random))
    text, kana = name_of(population, first)
    if second != first and upto(random, 1000) < population.tables.origins[life.household.origin].two_given:
        second_text, second_kana = name_of(population, second)
        return f"{text} {second_text}", f"{kana}\u3000{second_kana}"
    return text, kana


cdef int64_t scan_towns(
    Population population, const uint8_t *wanted, uint64_t *number, uint64_t stop, uint64_t *out, int64_t room
) noexcept nogil:
    """Numbers from number[0] on that live in wanted towns, until out is full or stop is reached; moves number on."""
    cdef int64_t count = 0
    while number[0] < stop and count < room:
        if wanted[population.town_of(number[0])]:
            out[count] = number[0]
            count += 1
        number[0] += 1
    return count


def numbers_in_towns(Population population, wanted: object, first: int, stop: int) -> array:
    """Residents first to stop - 1 whose town, in the nation as built, is marked in wanted (one byte a town); u64."""
    cdef Py_buffer view
    cdef uint64_t number = first, last = stop
    cdef uint64_t out[FOUND_ROOM]
    cdef int64_t count
    found = array("Q")
    if not 0 <= first <= stop <= population.residents:
        raise ValueError("numbers must be below residents")
    PyObject_GetBuffer(wanted, &view, PyBUF_CONTIG_RO)
    try:
        if view.itemsize != 1 or <size_t>view.len != <size_t>len(population.keep.towns):
            raise ValueError("wanted must hold one byte a town")
        while number < last:
            with nogil:
                count = scan_towns(population, <const uint8_t *>view.buf, &number, last, out, FOUND_ROOM)
            found.frombytes((<const unsigned char *>out)[:8 * count])
    finally:
        PyBuffer_Release(&view)
    return found
