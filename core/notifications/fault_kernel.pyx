"""Kernel: the stateless faults of a batch's rows, found without an object a row. Its twin stands in tests/notifications."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.columns.loading cimport load_u32, load_u64

from jukinet.core import limits

codes_prepare()

cdef enum:
    UNKNOWN_REASON = 1
    BAD_CODE = 2
    AREA_NOT_OF_FEED = 3
    BAD_DATE = 5
    BAD_BIRTH_DATE = 6
    BAD_SEX = 7
    BAD_TEXT = 8
    BAD_ADDRESS = 9
    BAD_CODE_BEFORE = 10
    UNEXPECTED_PERSON = 11
    BAD_UPDATE_NUMBER = 12
    BAD_STATE = 13

    MOVE_OUT = 21
    DEATH = 22
    EX_OFFICIO_REMOVAL = 23
    CODE_CHANGE_REQUESTED = 41
    CODE_CHANGE_EX_OFFICIO = 42

    CURRENT = 1
    DEAD = 2
    MOVED_AWAY = 3
    REMOVED = 4
    RETIRED = 5

    POSITIONS = 21
    FIRST_DAY = 18680125               # the first day of Meiji, before which no register of today reaches

cdef uint64_t ONE = 1
cdef uint64_t REASONS = ((ONE << 11) | (ONE << 12) | (ONE << 13) | (ONE << 21) | (ONE << 22) | (ONE << 23)
                         | (ONE << 31) | (ONE << 32) | (ONE << 33) | (ONE << 41) | (ONE << 42))
cdef uint64_t CODE_END = 100_000_000_000
cdef uint32_t name_bytes_max = limits.NAME_BYTES_MAX
cdef uint32_t kana_bytes_max = limits.KANA_BYTES_MAX
cdef uint32_t alias_bytes_max = limits.ALIAS_BYTES_MAX
cdef uint32_t address_bytes_max = limits.ADDRESS_BYTES_MAX
cdef uint32_t update_number_max = limits.UPDATE_NUMBER_MAX

FIXED_BYTES = (1, 1, 1, 4, 4, 4, 4, 8, 8)
"""Bytes a row of the columns before the texts."""

cdef struct Columns:
    const unsigned char *payload
    size_t at[POSITIONS]
    uint32_t prefecture
    uint32_t today
    uint32_t last_day
    uint32_t last_move_out_day


cdef inline bint code_holds(uint64_t code) noexcept nogil:
    return code < CODE_END and code_check_digit(code // 10) == code % 10


cdef inline bint is_full_date(uint32_t date) noexcept nogil:
    """Whether the day exists in the calendar (proleptic Gregorian, years 1 to 9999)."""
    cdef uint32_t year = date // 10_000, month = date // 100 % 100, day = date % 100
    cdef uint32_t days
    if year == 0 or year > 9999 or month == 0 or month > 12 or day == 0:
        return False
    if month == 2:
        days = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        days = 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    return day <= days


cdef inline bint birth_date_holds(uint32_t date) noexcept nogil:
    """0, or a full date, or a month or year whose smaller parts are unknown (0)."""
    cdef uint32_t year = date // 10_000, month = date // 100 % 100, day = date % 100
    if date == 0:
        return True
    if year == 0 or year > 9999 or month > 12:
        return False
    return is_full_date(date) if day else True


cdef inline bint text_holds(const Columns *columns, size_t column, size_t row, uint32_t bytes_max,
                            uint32_t *length) noexcept nogil:
    """No control character (U+0000 to U+001F, U+007F to U+009F), at most bytes_max bytes. The text is UTF-8."""
    cdef const unsigned char *offsets = columns.payload + columns.at[column] + 4 * row
    cdef uint32_t start = load_u32(offsets)
    cdef const unsigned char *text = columns.payload + columns.at[column + 1] + start
    cdef uint32_t i
    cdef unsigned int bad = 0
    length[0] = load_u32(offsets + 4) - start
    if length[0] > bytes_max:
        return False
    for i in range(length[0]):
        bad |= (text[i] < 0x20) | (text[i] == 0x7F)
    for i in range(1, length[0]):
        bad |= (text[i - 1] == 0xC2) & (text[i] < 0xA0)
    return bad == 0


cdef inline bint state_fits(uint8_t state, uint8_t reason) noexcept nogil:
    """A statement's state and the last change that it states agree; 0 is a change of which none is recorded."""
    if state == 0 or (reason == 0 and state <= REMOVED):
        return True
    if reason == MOVE_OUT:
        return state == MOVED_AWAY
    if reason == DEATH:
        return state == DEAD
    if reason == EX_OFFICIO_REMOVAL:
        return state == REMOVED
    if state == RETIRED:
        return reason == CODE_CHANGE_REQUESTED or reason == CODE_CHANGE_EX_OFFICIO
    return state == CURRENT


cdef uint8_t person_fault(const Columns *columns, size_t row, bint is_person, uint32_t event_date) noexcept nogil:
    cdef const unsigned char *payload = columns.payload
    cdef uint32_t birth_date = load_u32(payload + columns.at[6] + 4 * row)
    cdef uint8_t sex = payload[columns.at[2] + row]
    cdef uint32_t name, kana, alias, address
    cdef bint texts_hold = text_holds(columns, 9, row, name_bytes_max, &name)
    cdef bint address_holds
    texts_hold &= text_holds(columns, 12, row, kana_bytes_max, &kana)
    texts_hold &= text_holds(columns, 15, row, alias_bytes_max, &alias)
    address_holds = text_holds(columns, 18, row, address_bytes_max, &address)
    if not is_person:
        return UNEXPECTED_PERSON if birth_date or sex or name or kana or alias or address else 0
    # Unknown parts are 0, so a month or year in which the event lies is not after it.
    if not birth_date_holds(birth_date) or birth_date > (event_date or columns.today):
        return BAD_BIRTH_DATE
    if sex > 2 and sex != 9:
        return BAD_SEX
    if name == 0 or not texts_hold:
        return BAD_TEXT
    return 0 if address_holds else BAD_ADDRESS


cdef uint8_t row_fault(const Columns *columns, size_t row) noexcept nogil:
    cdef const unsigned char *payload = columns.payload
    cdef uint8_t reason = payload[columns.at[0] + row]
    cdef uint8_t state = payload[columns.at[1] + row]
    cdef uint32_t update_number = load_u32(payload + columns.at[3] + 4 * row)
    cdef uint32_t area = load_u32(payload + columns.at[4] + 4 * row)
    cdef uint32_t event_date = load_u32(payload + columns.at[5] + 4 * row)
    cdef uint64_t code = load_u64(payload + columns.at[7] + 8 * row)
    cdef uint64_t code_before = load_u64(payload + columns.at[8] + 8 * row)
    cdef bint is_code_change = reason == CODE_CHANGE_REQUESTED or reason == CODE_CHANGE_EX_OFFICIO
    cdef bint is_removal = reason == MOVE_OUT or reason == DEATH or reason == EX_OFFICIO_REMOVAL
    if reason > 63 or ((REASONS >> reason) & 1) == 0:
        if reason != 0 or state == 0:
            return UNKNOWN_REASON
    if not state_fits(state, reason):
        return BAD_STATE
    if not code_holds(code):
        return BAD_CODE
    if area // 1000 != columns.prefecture or area % 1000 == 0:
        return AREA_NOT_OF_FEED
    if event_date == 0 and reason == 0:
        pass                           # a statement of which no change is recorded
    elif not is_full_date(event_date) or event_date < FIRST_DAY:
        return BAD_DATE
    elif event_date > (columns.last_move_out_day if reason == MOVE_OUT else columns.last_day):
        return BAD_DATE
    if update_number == 0 or update_number > update_number_max:
        return BAD_UPDATE_NUMBER
    if code_before == 0:
        if (reason == CODE_CHANGE_REQUESTED and state == 0) or state == RETIRED:
            return BAD_CODE_BEFORE
    elif not is_code_change or (state and state != RETIRED) or not code_holds(code_before) or code_before == code:
        return BAD_CODE_BEFORE
    return person_fault(columns, row, state != RETIRED if state else not is_removal, event_date)


def find_faults(payload, size_t count, tuple positions, uint32_t prefecture, uint32_t today, uint32_t last_day,
                uint32_t last_move_out_day):
    """One byte a row: 0, or the row's first fault. payload and positions are those of a NotificationBatch.

    today, last_day and last_move_out_day are decimal dates: an event may not lie after the second, a move out not after
    the third.
    """
    cdef Columns columns
    cdef Py_buffer view
    cdef size_t i
    cdef unsigned char *out
    cdef list ends = []
    if len(positions) != POSITIONS:
        raise ValueError("positions are those of a NotificationBatch")
    for i in range(POSITIONS):
        columns.at[i] = positions[i]
    for i in range(len(FIXED_BYTES)):
        ends.append(positions[i] + FIXED_BYTES[i] * count)
    for i in range(9, POSITIONS, 3):
        ends += [positions[i] + 4 * (count + 1), positions[i + 2]]
    if max(ends) > len(memoryview(payload).cast("B")):
        raise ValueError("positions are those of a NotificationBatch of count rows in payload")
    columns.prefecture = prefecture
    columns.today = today
    columns.last_day = last_day
    columns.last_move_out_day = last_move_out_day
    faults = PyBytes_FromStringAndSize(NULL, count)
    out = <unsigned char *>PyBytes_AS_STRING(faults)
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    columns.payload = <const unsigned char *>view.buf
    try:
        with nogil:
            for i in range(count):
                out[i] = row_fault(&columns, i)
    finally:
        PyBuffer_Release(&view)
    return faults


def keys_ascend(const uint64_t[::1] codes, uint64_t first_key, uint64_t stop_key):
    """Whether the keys of these codes ascend strictly from first_key at least to below stop_key."""
    cdef size_t i
    cdef size_t count = codes.shape[0]
    cdef uint64_t least = first_key
    cdef uint64_t key
    cdef bint holds = True
    with nogil:
        for i in range(count):
            key = codes[i] // 10
            if key < least or key >= stop_key:
                holds = False
                break
            least = key + 1
    return holds
