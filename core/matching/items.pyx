"""Questions and records item by item: folding, comparison levels, and the likelihood ratio they add up to.

The plain twin is core.matching.comparing with core.matching.weighing; both give the same levels and, but for rounding, the
same ratio.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from jukinet.core.folding.addresses cimport (
    ADDRESS_BUT_BUILDING, ADDRESS_EQUAL, ADDRESS_SAME_AREA, ADDRESS_COMPATIBLE, ADDRESS_SAME_TOWN, ADDRESS_UNKNOWN,
    Address, compare_addresses, fold_address,
)
from jukinet.core.folding.dates cimport (
    DATES_COMPATIBLE, DATES_DIGIT, DATES_EQUAL, DATES_ERA, DATES_MONTH_DAY, DATES_TRANSPOSED, DATES_UNKNOWN, DATES_YEAR,
    compare_dates,
)
from jukinet.core.folding.distance cimport kana_distance, name_distance
from jukinet.core.folding.kana cimport fold_exact_kana, fold_kana_exact, fold_kana_exact_packed
from jukinet.core.folding.names cimport fold_name_parts
from jukinet.core.matching.model cimport (
    D_DIFFERENT, D_DIGIT, D_EQUAL, D_ERA, D_MISSING, D_MONTH, D_MONTH_AND_DAY, D_TRANSPOSED, D_YEAR, D_YEAR_AND_MONTH,
    MODEL_DECADES, MODEL_YEAR_FIRST, MODEL_YEARS, N_DIFFERENT, N_EQUAL, N_FOLDED, N_GIVEN, N_MISSING, N_PART, N_SLIP,
    N_SLIPS, N_SURNAME, N_SWAPPED, P_AREA, P_BUILDING, P_DIFFERENT, P_EQUAL, P_MISSING, P_TOWN, R_MISSING,
    TABLE_GIVEN, TABLE_GIVEN_KANA, TABLE_SURNAME, TABLE_SURNAME_KANA, X_DIFFERENT, X_EQUAL, X_MISSING, log_share,
)

from jukinet.core.matching.comparing import TWO_SLIPS_LENGTH_MIN
from jukinet.core.matching.levels import READING_OF_LEVEL
from jukinet.core.matching.weighing import DECADE_UNKNOWN_YEAR, FOLDED_AGAIN, NAMESAKE_AT_HOME, SAME_HOUSEHOLD

from libc.math cimport log

cdef enum:
    HELD_ADDRESS_BYTES = 512
    SLIP_NONE = 0
    SLIP_SURNAME_EQUAL = 1
    SLIP_GIVEN_EQUAL = 2

BEARERS_UNKNOWN = -1e300
cdef int SLIPS_LENGTH_MIN = TWO_SLIPS_LENGTH_MIN
cdef uint32_t YEAR_UNKNOWN = DECADE_UNKNOWN_YEAR
cdef double LOG_AGAIN = log(FOLDED_AGAIN)
cdef double LOG_HOUSEHOLD = log(SAME_HOUSEHOLD)
cdef double LOG_AT_HOME = log(NAMESAKE_AT_HOME)
cdef uint8_t reading_of_level[10]
for place in range(10):
    reading_of_level[place] = <uint8_t>int(READING_OF_LEVEL[place])


# A name or reading of a record: folded bytes, the given name's start, and the shares of its parts.
ctypedef struct Held:
    const uint8_t *text
    int length
    int part
    double surname
    double given

# A level with the part that is equal, at SLIP, SLIPS and PART.
ctypedef struct TextLevel:
    uint8_t level
    uint8_t slip


cdef void ask(
    Asked *asked, const uint8_t *name, uint32_t name_length, const uint8_t *kana, uint32_t kana_length,
    uint32_t birth_date, uint8_t sex, const uint8_t *address, uint32_t address_length
) noexcept nogil:
    cdef int i
    asked.exact_length = asked.kana_length = asked.name_length = asked.address_length = 0
    asked.kana_part = asked.name_part = asked.name_points = 0
    asked.bad = asked.placed = 0
    asked.birth_date = birth_date
    asked.kana_log_share = asked.name_log_share = BEARERS_UNKNOWN
    asked.sex = sex
    asked.raw_name, asked.raw_name_length = name, name_length
    asked.raw_address, asked.raw_address_length = address, address_length
    if kana_length:
        asked.exact_length = fold_kana_exact(kana, <int>kana_length, asked.exact, KANA_ROOM, &asked.kana_part)
        if asked.exact_length < 0:
            asked.bad |= ITEM_BAD_KANA
            asked.exact_length = asked.kana_part = 0
        asked.kana_length = fold_exact_kana(asked.exact, asked.exact_length, asked.kana, KANA_ROOM, &asked.kana_part)
    if name_length:
        asked.name_length = fold_name_parts(name, <int>name_length, asked.name, NAME_ROOM, &asked.name_part)
        if asked.name_length < 0:
            asked.bad |= ITEM_BAD_NAME
            asked.name_length = asked.name_part = 0
        for i in range(asked.name_length):
            asked.name_points += asked.name[i] & 0xC0 != 0x80
    if address_length:
        asked.address_length = fold_address(
            address, <int>address_length, asked.address, ADDRESS_ROOM, &asked.address_parts)
        if asked.address_length < 0:
            asked.bad |= ITEM_BAD_ADDRESS
            asked.address_length = 0
        else:
            asked.placed = (
                asked.address_length > 0 or asked.address_parts.municipality > 0 or asked.address_parts.prefecture > 0)


cdef inline bint same(const uint8_t *one, int one_length, const uint8_t *other, int other_length) noexcept nogil:
    return one_length == other_length and memcmp(one, other, one_length) == 0


cdef bint equal_but_spaces(const uint8_t *one, uint32_t one_length, const uint8_t *other, uint32_t other_length) noexcept nogil:
    """Whether two names are the same characters, U+0020 and U+3000 left out."""
    cdef uint32_t i = 0, k = 0
    while True:
        while i < one_length and (one[i] == 0x20 or (
            i + 2 < one_length and one[i] == 0xE3 and one[i + 1] == 0x80 and one[i + 2] == 0x80
        )):
            i += 1 if one[i] == 0x20 else 3
        while k < other_length and (other[k] == 0x20 or (
            k + 2 < other_length and other[k] == 0xE3 and other[k + 1] == 0x80 and other[k + 2] == 0x80
        )):
            k += 1 if other[k] == 0x20 else 3
        if i == one_length or k == other_length:
            return i == one_length and k == other_length
        if one[i] != other[k]:
            return False
        i += 1
        k += 1


cdef TextLevel compare_texts(const uint8_t *asked, int length, int points, const Held *held, bint reading) noexcept nogil:
    """Two folded texts that are not equal."""
    cdef TextLevel out
    cdef int surname = held.part, given = held.length - held.part, steps
    cdef const uint8_t *given_text = held.text + held.part
    cdef bint starts, ends
    out.slip = SLIP_NONE
    if held.part == 0:
        given = 0
    starts = surname and length >= surname and memcmp(asked, held.text, surname) == 0
    ends = given and length >= given and memcmp(asked + length - given, given_text, given) == 0
    if given and length == held.length and memcmp(asked, given_text, given) == 0 and memcmp(
        asked + given, held.text, surname
    ) == 0:
        out.level = N_SWAPPED
        return out
    if starts and length == surname:
        out.level, out.slip = N_PART, SLIP_SURNAME_EQUAL
        return out
    if ends and length == given:
        out.level, out.slip = N_PART, SLIP_GIVEN_EQUAL
        return out
    if reading:
        steps = kana_distance(asked, length, held.text, held.length, 2)
    else:
        steps = name_distance(asked, length, held.text, held.length, 2)
    if steps == 1 or (steps == 2 and points >= SLIPS_LENGTH_MIN):
        out.level = N_SLIP if steps == 1 else N_SLIPS
        out.slip = SLIP_SURNAME_EQUAL if starts else SLIP_GIVEN_EQUAL if ends else SLIP_NONE
    elif ends:
        out.level, out.slip = N_GIVEN, SLIP_GIVEN_EQUAL
    elif starts:
        out.level, out.slip = N_SURNAME, SLIP_SURNAME_EQUAL
    else:
        out.level = N_DIFFERENT
    return out


cdef inline bint says_surname(TextLevel level) noexcept nogil:
    """Whether the surnames are equal."""
    return level.slip == SLIP_SURNAME_EQUAL or level.level == N_EQUAL or level.level == N_FOLDED or level.level == N_SWAPPED


cdef inline bint says_given(TextLevel level) noexcept nogil:
    return level.slip == SLIP_GIVEN_EQUAL or level.level == N_EQUAL or level.level == N_FOLDED or level.level == N_SWAPPED


cdef inline int points_of(const uint8_t *text, int length) noexcept nogil:
    cdef int i, count = 0
    for i in range(length):
        count += text[i] & 0xC0 != 0x80
    return count


cdef inline int length_class(int length) noexcept nogil:
    return 0 if length <= 2 else 1 if length == 3 else 2


cdef double log_other(
    const ModelView *model, TextLevel level, const Held *held, int surname_points, int given_points, bint reading,
    double whole
) noexcept nogil:
    """Logarithm of u of a level (weighing.Weighing.name_other). whole: least share of an equal text."""
    cdef int surname_class = length_class(surname_points), given_class = length_class(given_points)
    cdef double surname = held.surname, given = held.given
    if surname + given > whole:
        whole = surname + given
    if level.level == N_EQUAL:
        return whole
    if level.level == N_FOLDED:
        return whole + model.voicing
    if level.level == N_SWAPPED:
        return surname + given + LOG_AGAIN
    if level.level == N_SLIP:
        if not reading:
            return (surname if level.slip == SLIP_SURNAME_EQUAL else given) + model.name_slip
        if level.slip != SLIP_GIVEN_EQUAL:
            return surname + model.given_slips[0][given_class]
        return given + model.surname_slips[0][surname_class]
    if level.level == N_SLIPS:
        if level.slip == SLIP_NONE:
            return model.given_slips[0][given_class] + model.surname_slips[0][surname_class]
        if level.slip == SLIP_SURNAME_EQUAL:
            return surname + model.given_slips[1][given_class]
        return given + model.surname_slips[1][surname_class]
    if level.level == N_PART:
        return surname if level.slip == SLIP_SURNAME_EQUAL else given
    if level.level == N_GIVEN:
        return given
    return surname if level.level == N_SURNAME else 0.0


cdef inline void shares_at(const ModelView *model, Held *held, int part, uint32_t table) noexcept nogil:
    """Logarithms of the shares of both parts, the given name beginning at ``part``."""
    held.surname = log_share(model, TABLE_SURNAME if table == TABLE_GIVEN else TABLE_SURNAME_KANA, held.text, part)
    held.given = log_share(model, table, held.text + part, held.length - part)
    if table == TABLE_GIVEN:
        held.given += model.fashion
        if held.given > 0.0:
            held.given = 0.0


cdef void find_shares(const ModelView *model, Held *held, uint32_t birth_date, bint reading) noexcept nogil:
    """Shares of a text's parts; of its likeliest parts when it is not known where the given name begins."""
    cdef uint32_t year = birth_date >> 9, table = TABLE_GIVEN
    cdef int decade, place
    cdef double surname = 0.0, given = -1e300
    if reading:
        if year == 0:
            year = YEAR_UNKNOWN
        decade = (<int>year - MODEL_YEAR_FIRST) // 10 if year > MODEL_YEAR_FIRST else 0
        table = TABLE_GIVEN_KANA + (decade if decade < MODEL_DECADES else MODEL_DECADES - 1)
    if held.part:
        shares_at(model, held, held.part, table)
        return
    for place in range(1, held.length if held.length > 1 else 2):
        if held.length > 1 and not reading and held.text[place] & 0xC0 == 0x80:
            continue
        shares_at(model, held, place, table)
        if held.surname + held.given > surname + given:
            surname, given = held.surname, held.given
    held.surname, held.given = surname, given


cdef uint8_t date_level(uint32_t asked, uint32_t held) noexcept nogil:
    cdef int how
    if not asked or not held:
        return D_MISSING
    how = compare_dates(asked, held)
    if how == DATES_EQUAL:
        if asked & 31:
            return D_EQUAL
        # Known in part on both sides: that agrees in part only.
        return D_MONTH if asked & 0x1E0 else D_YEAR
    if how == DATES_COMPATIBLE:
        return D_MONTH if asked & 0x1E0 and held & 0x1E0 else D_YEAR
    if how == DATES_ERA:
        return D_ERA
    if how == DATES_MONTH_DAY or how == DATES_TRANSPOSED:
        return D_TRANSPOSED
    if how == DATES_DIGIT:
        return D_DIGIT
    if how == DATES_YEAR and asked & 0x1E0:
        return D_MONTH_AND_DAY
    if how == DATES_UNKNOWN:
        return D_MISSING
    return D_YEAR_AND_MONTH if asked >> 5 == held >> 5 and asked & 0x1E0 else D_DIFFERENT


cdef double log_date(const ModelView *model, uint8_t level, uint32_t held) noexcept nogil:
    cdef uint32_t year = held >> 9
    cdef double other
    if level == D_MISSING:
        return 0.0
    if level == D_DIFFERENT:
        return model.date[level]
    year = year - MODEL_YEAR_FIRST if year > MODEL_YEAR_FIRST else 0
    if year >= MODEL_YEARS:
        year = MODEL_YEARS - 1
    other = model.births[year] + model.date_other[level]
    return model.date[level] - (other if other < 0.0 else 0.0)


cdef inline bint same_numbers(
    const uint8_t *one, const Address *one_parts, const uint8_t *other, const Address *other_parts
) noexcept nogil:
    """Whether two addresses say the same house number."""
    cdef int length = one_parts.numbers - one_parts.town
    return length > 0 and same(
        one + one_parts.town, length, other + other_parts.town, other_parts.numbers - other_parts.town)


cdef uint8_t place_level(
    const Asked *asked, const ResidentRecord *record, const RegisterView *view, uint8_t *exact
) noexcept nogil:
    cdef uint8_t text[HELD_ADDRESS_BYTES]
    cdef uint8_t folded[ADDRESS_ROOM]
    cdef Address parts
    cdef uint32_t start, length = 0
    cdef int folded_length, how
    exact[0] = False
    if not asked.placed:
        return P_MISSING
    if record.town and record.town <= view.towns:
        start = view.town_offsets[record.town - 1]
        length = view.town_offsets[record.town] - start
        if length + record.rest_bytes > HELD_ADDRESS_BYTES:
            return P_MISSING
        memcpy(text, view.town_text + start, length)
    memcpy(text + length, record.rest, record.rest_bytes)
    length += record.rest_bytes
    if length == 0:
        return P_MISSING
    if asked.raw_address_length == length and memcmp(asked.raw_address, text, length) == 0:
        exact[0] = True
        return P_EQUAL
    folded_length = fold_address(text, <int>length, folded, ADDRESS_ROOM, &parts)
    if folded_length < 0:
        return P_MISSING
    how = compare_addresses(asked.address, &asked.address_parts, folded, &parts)
    if how == ADDRESS_EQUAL:
        return P_EQUAL
    if how == ADDRESS_BUT_BUILDING:
        return P_BUILDING
    if how == ADDRESS_COMPATIBLE and same_numbers(asked.address, &asked.address_parts, folded, &parts):
        return P_BUILDING
    if how == ADDRESS_COMPATIBLE or how == ADDRESS_SAME_TOWN:
        return P_TOWN
    if how == ADDRESS_SAME_AREA:
        return P_AREA
    return P_MISSING if how == ADDRESS_UNKNOWN else P_DIFFERENT


cdef TextLevel reading_level(const Asked *asked, const ResidentRecord *record, Held *held, uint8_t *text) noexcept nogil:
    """The reading's level; the record's folded reading goes into text (KANA_ROOM) when it is compared."""
    cdef uint8_t exact[KANA_ROOM]
    cdef int length
    cdef TextLevel out
    out.level, out.slip = N_MISSING, SLIP_NONE
    held.part = held.length = 0
    held.text = text
    if asked.kana_length == 0:
        return out
    if record.kana_packed:
        length = fold_kana_exact_packed(record.kana, record.kana_bytes, exact, KANA_ROOM, &held.part)
    else:
        length = fold_kana_exact(record.kana, record.kana_bytes, exact, KANA_ROOM, &held.part)
    if length <= 0:
        return out
    held.length = fold_exact_kana(exact, length, text, KANA_ROOM, &held.part)
    if held.length <= 0:
        return out
    if same(asked.exact, asked.exact_length, exact, length):
        out.level = N_EQUAL
    elif same(asked.kana, asked.kana_length, text, held.length):
        out.level = N_FOLDED
    else:
        out = compare_texts(asked.kana, asked.kana_length, asked.kana_length, held, True)
    return out


cdef TextLevel written_level(
    const Asked *asked, const uint8_t *name, uint32_t length, bint folding, Held *held, uint8_t *text
) noexcept nogil:
    """The level of the name as written. Folds the record's name only when that is asked for, or the names differ."""
    cdef TextLevel out
    cdef bint equal
    out.level, out.slip = N_MISSING, SLIP_NONE
    held.part = held.length = 0
    held.text = text
    if asked.name_length == 0 or length == 0:
        return out
    equal = equal_but_spaces(asked.raw_name, asked.raw_name_length, name, length)
    if equal and not folding:
        out.level = N_EQUAL
        return out
    held.length = fold_name_parts(name, <int>length, text, NAME_ROOM, &held.part)
    if held.length <= 0:
        held.length = held.part = 0
        return out
    if equal:
        out.level = N_EQUAL
    elif same(asked.name, asked.name_length, text, held.length):
        out.level = N_FOLDED
    else:
        out = compare_texts(asked.name, asked.name_length, asked.name_points, held, False)
    return out


cdef inline double household(TextLevel level) noexcept nogil:
    """Logarithm of the share that a surname has at one address, given how the whole text compares."""
    if level.level == N_EQUAL or level.level == N_FOLDED or level.level == N_SWAPPED:
        return LOG_HOUSEHOLD + LOG_AT_HOME
    return LOG_HOUSEHOLD


cdef double log_names(
    const ModelView *model, const Asked *asked, TextLevel kana, Held *reading, TextLevel name, Held *written,
    uint32_t birth_date, bint same_place
) noexcept nogil:
    cdef double ratio = 0.0
    if kana.level != N_MISSING:
        find_shares(model, reading, birth_date, True)
        if same_place and says_surname(kana):
            reading.surname = household(kana)
        ratio = model.kana[kana.level] - log_other(
            model, kana, reading, reading.part, reading.length - reading.part, True,
            BEARERS_UNKNOWN if same_place else asked.kana_log_share)
        if name.level != N_MISSING:
            ratio += model.name[reading_of_level[kana.level]][name.level]
    elif name.level != N_MISSING:
        find_shares(model, written, birth_date, False)
        if same_place and says_surname(name):
            written.surname = household(name)
        ratio = model.name_written[name.level] - log_other(
            model, name, written, points_of(written.text, written.part),
            points_of(written.text + written.part, written.length - written.part), False,
            BEARERS_UNKNOWN if same_place else asked.name_log_share)
    return ratio


cdef inline bint is_close(const Asked *asked, TextLevel level, int part) noexcept nogil:
    """Whether somebody of the same birth date may be meant. An equal given name alone says so only when the question's parts
    are known (part: where its given name begins) and there is more to tell by than sex."""
    if level.level == N_GIVEN:
        return part > 0 and (asked.name_length > 0 or asked.placed)
    return level.level != N_MISSING and level.level != N_SURNAME and level.level != N_DIFFERENT


cdef bint compare_record(
    const ModelView *model, const Asked *asked, const ResidentRecord *record, const RegisterView *view, bint by_date, Levels *out
) noexcept nogil:
    cdef uint8_t kana_text[KANA_ROOM]
    cdef uint8_t name_text[NAME_ROOM]
    cdef Held reading, written
    cdef TextLevel kana, name, best_name
    cdef double ratio, better = 0.0, rest
    cdef bint same_place, alias = record.alias_bytes and asked.name_length
    cdef int turn
    out.date = date_level(asked.birth_date, record.birth_date)
    if by_date and asked.birth_date != record.birth_date:
        return False
    kana = reading_level(asked, record, &reading, kana_text)
    if by_date and kana.level != N_MISSING and not is_close(asked, kana, asked.kana_part):
        return False
    name = written_level(asked, record.name, record.name_bytes, kana.level == N_MISSING, &written, name_text)
    if by_date and kana.level == N_MISSING and not is_close(asked, name, asked.name_part) and not alias:
        return False
    out.place = place_level(asked, record, view, &out.place_exact)
    out.sex = X_MISSING
    if (asked.sex == 1 or asked.sex == 2) and (record.sex == 1 or record.sex == 2):
        out.sex = X_EQUAL if asked.sex == record.sex else X_DIFFERENT
    same_place = out.place == P_EQUAL or out.place == P_BUILDING
    rest = log_date(model, out.date, record.birth_date) + model.place[out.place]
    best_name = name
    for turn in range(2 if alias else 1):
        if turn == 1:
            name = written_level(
                asked, record.alias, record.alias_bytes, kana.level == N_MISSING, &written, name_text)
        ratio = rest + log_names(
            model, asked, kana, &reading, name, &written, record.birth_date, same_place)
        if out.sex != X_MISSING:
            if says_given(name if kana.level == N_MISSING else kana):
                ratio += model.sex_equal[1] if out.sex == X_EQUAL else model.sex_different[1]
            else:
                ratio += model.sex_equal[0] if out.sex == X_EQUAL else model.sex_different[0]
        if turn == 0 or ratio > better:
            better = ratio
            best_name = name
    out.kana = kana.level
    out.name = best_name.level
    out.ratio = better
    return not by_date or kana.level != N_MISSING or is_close(asked, best_name, asked.name_part)
