"""Candidates of a group of rows, from the identity index to compared records, with the memory of many rows under way.

Theory of operation. For the rows of a group that have no answer yet a step gathers keys from the identity index, finds the
records of all of them in one sweep of the resident table (core.index.gather), and compares. Most rows end with the first
step, in which every access to memory was asked for in advance.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.math cimport log
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.folding.dates cimport DATES_FAR, DATES_UNKNOWN, DATES_YEAR, compare_dates
from jukinet.core.identity.entries cimport (
    TABLE_KANA, TABLE_NAME, date_code, kana_signature, name_signature, packed_of_code, text_hash,
)
from jukinet.core.identity.probe cimport (
    CARE_KANA, CARE_NAME, MASK_DAY, MASK_MONTH, MASK_YEAR, DateFilter, Found, TextProbe, scan_date, scan_prefetch,
    text_begin, text_block, text_check, text_equal, text_length, text_list,
)
from jukinet.core.index.gather cimport (
    OUTCOME_CODE_CHANGED, SWEEP_DAMAGED, SWEEP_DONE, Entry, sweep, tells_of_person,
)
from jukinet.core.matching.items cimport BEARERS_UNKNOWN, NAME_ROOM, Asked, compare_record
from jukinet.core.matching.model cimport D_DIFFERENT, D_EQUAL, N_PART, N_SWAPPED, P_AREA, ModelView
from jukinet.core.records.record cimport ResidentRecord, record_decode, status_area
from jukinet.core.store.snapshot cimport IdentityView, RegisterView

from jukinet.core import limits
from jukinet.core.folding.kana import folded_kana
from jukinet.core.matching.levels import LOOKALIKE_KANA

codes_prepare()

cdef enum:
    LEFT_OUT = 255              # more bits than a signature has

cdef extern from *:
    """
    /* Without a call or the processor's own instruction, so that loops over it take several numbers at a time. */
    static inline uint32_t jukinet_bits_of(uint32_t value) {
        value -= value >> 1 & 0x55555555u;
        value = (value & 0x33333333u) + (value >> 2 & 0x33333333u);
        value = (value + (value >> 4)) & 0x0F0F0F0Fu;
        return (value * 0x01010101u) >> 24;
    }
    """
    uint32_t bits_of "jukinet_bits_of" (uint32_t value) noexcept nogil

assert CANDIDATES_MAX >= (
    4 * EQUAL_ROOM + 2 * (LIST_ROOM + ELSEWHERE_KEPT) + 3 * SCAN_KEPT + 2 * SLIP_ROOM + NEIGHBOURS_ROOM)
assert LISTED_ROOM >= SCAN_ROOM >= CROWD_ROOM and LISTED_ROOM >= NEIGHBOURS_LISTED
assert SLIP_PROBES >= 3 * SLIP_LENGTH_MAX - 1 and SLIP_PROBES >= EXCHANGED_PROBES
assert CANDIDATES_MAX >= 2 * (WIDE_ROOM + ELSEWHERE_KEPT)
assert CANDIDATES_MAX == limits.MATCH_CANDIDATES_MAX
assert LISTED_ROOM == limits.MATCH_LISTED_MAX
assert AREAS_ROOM > limits.AREAS_MAX


cdef uint8_t lookalike[256]
memset(lookalike, 0, sizeof(lookalike))
for pair in LOOKALIKE_KANA:
    one, other = folded_kana(pair)
    lookalike[one], lookalike[other] = other, one


# What a sweep's consumer needs.
ctypedef struct Comparing:
    const RegisterView *view
    const ModelView *model
    Row *rows
    const uint32_t *owners      # row << 16 | place, of each key of the sweep


# What the sweep over a long list needs.
ctypedef struct Placing:
    Gathering *work
    Row *row
    uint32_t first              # place of the sweep's first key in the list
    uint32_t *elsewhere         # places of people in other municipalities
    uint32_t elsewhere_count
    uint32_t room               # of those who may live there, so many are taken
    uint32_t taken
    bint full                   # there were more
    uint8_t by


cdef void add(Row *row, uint64_t key, uint8_t by) noexcept nogil:
    cdef uint32_t i
    for i in range(row.count):
        if row.candidates[i].key == key:
            # Whoever counts by themselves does not stand for others as well.
            row.candidates[i].by |= by if row.candidates[i].by & BY_ELSEWHERE else by & ~BY_ELSEWHERE
            return
    if row.count == CANDIDATES_MAX:
        row.more = True
        return
    row.candidates[row.count].key = key
    row.candidates[row.count].by = by
    row.candidates[row.count].compared = 0
    row.candidates[row.count].successor = 0
    row.candidates[row.count].earlier = 0
    row.candidates[row.count].wants_history = 0
    row.count += 1


cdef int compare_keys(void *context, size_t first, const Entry *entries, size_t count) noexcept nogil:
    """Consumer of a sweep: compares the records that keys led to."""
    cdef Comparing *comparing = <Comparing *>context
    cdef ResidentRecord record
    cdef Row *row
    cdef Candidate *candidate
    cdef uint32_t owner
    cdef size_t i
    for i in range(count):
        owner = comparing.owners[first + i]
        row = &comparing.rows[owner >> 16]
        candidate = &row.candidates[owner & 0xFFFF]
        candidate.compared = 2
        if entries[i].record == NULL or not (tells_of_person(entries[i].outcome) or entries[i].outcome == OUTCOME_CODE_CHANGED):
            continue
        if record_decode(entries[i].record, entries[i].record_bytes, entries[i].status, &record) < 0:
            return SWEEP_DAMAGED
        if entries[i].outcome == OUTCOME_CODE_CHANGED:
            # Whoever had this code had this text: what was theirs under it is looked at, and who has the next code.
            if candidate.by & (BY_KANA | BY_NAME):
                candidate.successor = record.successor_key
                candidate.wants_history = record.successor_key > 0
            continue
        if record.name == NULL:
            continue
        if not compare_record(
            comparing.model, &row.asked, &record, comparing.view, candidate.by == BY_DATE, &candidate.levels
        ):
            continue
        # A text with the same bits of its hash, or an earlier one, is not the one looked up.
        if candidate.by & ~(BY_SLIP | BY_SWAPPED | BY_DATE | BY_NEIGHBOUR) == 0 and candidate.by != BY_DATE and not (
            (candidate.by & BY_SLIP and candidate.levels.kana <= N_PART)
            or (candidate.by & BY_NEIGHBOUR and (whole_name(candidate.levels.kana) or whole_name(candidate.levels.name)))
            or (candidate.by & BY_SWAPPED and (candidate.levels.kana == N_SWAPPED or candidate.levels.name == N_SWAPPED))
        ):
            if not candidate.by & BY_DATE or not compare_record(
                comparing.model, &row.asked, &record, comparing.view, True, &candidate.levels
            ):
                continue
        candidate.compared = 1
        # The index says that this person had this text; when the record shown has another, an earlier one has it.
        if candidate.by & BY_KANA and not whole_name(candidate.levels.kana):
            candidate.wants_history = 1
        elif candidate.by & BY_NAME and not whole_name(candidate.levels.name):
            candidate.wants_history = 1
        elif candidate.by & (BY_KANA | BY_NAME) and (
            candidate.levels.date == D_DIFFERENT
            or (candidate.levels.date == D_EQUAL and candidate.levels.place >= P_AREA)
        ):
            candidate.wants_history = 1
    return SWEEP_DONE


cdef int take_followed(void *context, size_t first, const Entry *entries, size_t count) noexcept nogil:
    """Consumer of a sweep over one key."""
    cdef Followed *followed = <Followed *>context
    cdef ResidentRecord record
    if entries[0].record == NULL:
        return SWEEP_DONE
    if record_decode(entries[0].record, entries[0].record_bytes, entries[0].status, &record) < 0:
        return SWEEP_DAMAGED
    if entries[0].outcome == OUTCOME_CODE_CHANGED:
        followed.successor = record.successor_key
    elif tells_of_person(entries[0].outcome) and record.name != NULL:
        compare_record(followed.model, followed.asked, &record, followed.view, False, &followed.levels)
        followed.person = True
    return SWEEP_DONE


cdef bint follow(Followed *followed, uint64_t key) noexcept nogil:
    cdef uint64_t code = key * 10 + code_check_digit(key)
    followed.successor = 0
    followed.person = False
    return sweep(followed.view, <const unsigned char *>&code, 0, 1, True, take_followed, followed) == SWEEP_DONE


cdef inline bint near(uint32_t asked, uint32_t held) noexcept nogil:
    """Whether two packed dates are near (weighing.NEAR_DATES)."""
    cdef int how = compare_dates(asked, held)
    if how == DATES_YEAR:
        return asked & 0x1E0 != 0
    return how != DATES_FAR and how != DATES_UNKNOWN


cdef uint32_t near_filters(uint32_t code, DateFilter *filters) noexcept nogil:
    """Filters that let through the dates near a date code that is known at least by its year; few others pass them."""
    filters[0].value, filters[0].mask = code, MASK_YEAR
    filters[1].value, filters[1].mask = code, MASK_MONTH | MASK_DAY
    return 2 if code & MASK_MONTH else 1


cdef void exchanged(const uint8_t *text, int length, int part, uint8_t *out) noexcept nogil:
    """The text with its second part first."""
    cdef int i
    for i in range(length - part):
        out[i] = text[part + i]
    for i in range(part):
        out[length - part + i] = text[i]


cdef bint gathering_prepare(Gathering *work, const ModelView *model) noexcept nogil:
    cdef Candidate *candidates = <Candidate *>malloc(GROUP * CANDIDATES_MAX * sizeof(Candidate))
    cdef size_t i
    work.model = model
    work.compared = work.placed = 0
    memset(work.municipalities, 0, sizeof(work.municipalities))
    memset(work.prefectures, 0, sizeof(work.prefectures))
    work.rows = <Row *>malloc(GROUP * sizeof(Row))
    work.keys = <uint64_t *>malloc((LISTED_ROOM + SWEEP_KEYS) * sizeof(uint64_t))
    work.notes = <uint32_t *>malloc((LISTED_ROOM + SWEEP_KEYS) * sizeof(uint32_t))
    if candidates == NULL or work.rows == NULL or work.keys == NULL or work.notes == NULL:
        free(candidates)
        free(work.rows)
        free(work.keys)
        free(work.notes)
        work.rows = NULL
        return False
    work.codes = work.keys + LISTED_ROOM
    work.owners = work.notes + LISTED_ROOM
    for i in range(GROUP):
        work.rows[i].candidates = candidates + i * CANDIDATES_MAX
    return True


cdef void gathering_free(Gathering *work) noexcept nogil:
    if work.rows != NULL:
        free(work.rows[0].candidates)
        free(work.rows)
        free(work.keys)
        free(work.notes)
        work.rows = NULL


cdef bint gather(Gathering *work, const RegisterView *view, const IdentityView *identity, int step, size_t count, bint *wanted
) noexcept nogil:
    """Candidates of one step for all open rows, compared. False: the store is damaged."""
    cdef size_t i, k
    cdef uint32_t before[GROUP]
    for i in range(count):
        before[i] = work.rows[i].count
    if step == 2:
        if not scan_dates(work, view, identity, count):
            return False
        for i in range(count):
            if not take_others(work, identity, &work.rows[i]) or not take_neighbours(work, view, i):
                return False
    elif not probe_texts(work, view, identity, step, count):
        return False
    if not compare(work, view, before, count):
        return False
    wanted[0] = False
    for i in range(count):
        if work.rows[i].open:
            for k in range(before[i], work.rows[i].count):
                wanted[0] |= work.rows[i].candidates[k].wants_history
    return True


cdef bint probe_texts(
    Gathering *work, const RegisterView *view, const IdentityView *identity, int step, size_t count
) noexcept nogil:
    """Steps 1 and 2: by the reading's and the name's hashes. False: the store is damaged."""
    cdef size_t i
    cdef Row *row
    cdef const Asked *asked
    cdef TextProbe *probe
    for i in range(count):
        row = &work.rows[i]
        asked = &row.asked
        if row.open and (step or asked.birth_date):
            if asked.kana_length:
                text_begin(identity, TABLE_KANA, text_hash(asked.kana, asked.kana_length), &work.probes[2 * i])
            if asked.name_length:
                text_begin(identity, TABLE_NAME, text_hash(asked.name, asked.name_length), &work.probes[2 * i + 1])
    for i in range(2 * count):
        if has_probe(work, i, step):
            text_block(&work.probes[i])
    for i in range(2 * count):
        if has_probe(work, i, step) and not text_check(&work.probes[i]):
            return False
    for i in range(2 * count):
        if not has_probe(work, i, step):
            continue
        row = &work.rows[i >> 1]
        probe = &work.probes[i]
        if step == 0 or not row.asked.birth_date:
            count_bearers(work.model, &row.asked, probe, i & 1)
        if step == 0:
            take_equal(work, row, probe, row.asked.birth_date, BY_NAME if i & 1 else BY_KANA)
        elif row.asked.birth_date:
            if not take_near(work, view, row, probe, BY_NAME if i & 1 else BY_KANA):
                return False
            if not take_exchanged(work, identity, row, i & 1):
                return False
        elif i & 1 or row.asked.name_length == 0:
            if not take_without_date(work, view, row, probe, BY_NAME if i & 1 else BY_KANA):
                return False
    return True


cdef void count_bearers(const ModelView *model, Asked *asked, const TextProbe *probe, bint written) noexcept nogil:
    """What share of the people has the row's text, one of them left out: whoever is meant is among them."""
    cdef uint32_t bearers = text_length(probe)
    cdef double share = log((bearers - 1) / model.residents) if bearers > 1 else BEARERS_UNKNOWN
    if written:
        asked.name_log_share = share
    else:
        asked.kana_log_share = share


cdef inline bint has_probe(Gathering *work, size_t i, int step) noexcept nogil:
    """Whether probe i (the reading's and the name's of each row, in turn) is of use in this step."""
    cdef const Row *row = &work.rows[i >> 1]
    if not row.open or not (step or row.asked.birth_date):
        return False
    return row.asked.name_length > 0 if i & 1 else row.asked.kana_length > 0


cdef void take_equal(Gathering *work, Row *row, const TextProbe *probe, uint32_t date, uint8_t by) noexcept nogil:
    cdef uint32_t k
    cdef Found found = text_equal(probe, date_code(date), work.keys, EQUAL_ROOM)
    for k in range(found.found):
        add(row, work.keys[k], by)
    row.more |= found.more


cdef inline bint names_municipality(const Asked *asked) noexcept nogil:
    return asked.placed and asked.address_parts.municipality != 0


cdef bint take_near(Gathering *work, const RegisterView *view, Row *row, const TextProbe *probe, uint8_t by) noexcept nogil:
    """People of the text with a near date, the equal ones being known; of many, as of those without a date, those who live where
    the address says, and some others. False: the store is damaged."""
    cdef DateFilter filters[LIST_FILTERS]
    cdef uint32_t k, count, kept = 0, date = row.asked.birth_date
    cdef Found found
    count = near_filters(date_code(date), filters)
    found = text_list(probe, filters, count, work.keys, work.notes, SCAN_ROOM)
    row.more |= found.more
    for k in range(found.found):
        if packed_of_code(work.notes[k]) != date and near(date, packed_of_code(work.notes[k])):
            work.keys[kept] = work.keys[k]
            kept += 1
    if LIST_ROOM < kept <= CROWD_ROOM and not found.more and names_municipality(&row.asked):
        return take_placed(work, view, row, kept, by, LIST_ROOM)
    row.more |= kept > LIST_ROOM
    for k in range(kept if kept < LIST_ROOM else LIST_ROOM):
        add(row, work.keys[k], by)
    return True


cdef bint take_exchanged(Gathering *work, const IdentityView *identity, Row *row, bint written) noexcept nogil:
    """People of the date whose text is the question's with its parts exchanged."""
    cdef uint8_t text[NAME_ROOM]
    cdef TextProbe probe
    cdef const Asked *asked = &row.asked
    if written:
        if asked.name_part == 0:
            return True
        exchanged(asked.name, asked.name_length, asked.name_part, text)
        text_begin(identity, TABLE_NAME, text_hash(text, asked.name_length), &probe)
    else:
        if asked.kana_part == 0:
            return True
        exchanged(asked.kana, asked.kana_length, asked.kana_part, text)
        text_begin(identity, TABLE_KANA, text_hash(text, asked.kana_length), &probe)
    text_block(&probe)
    if not text_check(&probe):
        return False
    take_equal(work, row, &probe, asked.birth_date, BY_EXCHANGED)
    return True


cdef bint take_without_date(
    Gathering *work, const RegisterView *view, Row *row, const TextProbe *probe, uint8_t by
) noexcept nogil:
    """Everybody of the name and of the reading. Either list leads to whoever is meant, so one of them may be too long."""
    cdef bint more
    if not take_all(work, view, row, probe, by):
        return False
    if by == BY_KANA or row.asked.kana_length == 0:
        return True
    more, row.more = row.more, False
    if not take_all(work, view, row, probe - 1, BY_KANA):
        return False
    row.more = (more and row.more) or ((more or row.more) and row.count == 0)
    return True


cdef bint take_all(Gathering *work, const RegisterView *view, Row *row, const TextProbe *probe, uint8_t by) noexcept nogil:
    """Everybody of the text, where no date is asked for; of many, those who live where the address says, and some others.

    With too many of them nobody is taken: whatever they were, the row could not be answered. False: the store is damaged.
    """
    cdef uint32_t k
    cdef Found found = text_list(probe, NULL, 0, work.keys, work.notes, LISTED_ROOM)
    if found.more:
        row.more = True
        return True
    if found.found <= WIDE_ROOM:
        for k in range(found.found):
            add(row, work.keys[k], by)
        return True
    return take_placed(work, view, row, found.found, by, WIDE_ROOM)


cdef bint take_placed(
    Gathering *work, const RegisterView *view, Row *row, uint32_t count, uint8_t by, uint32_t room
) noexcept nogil:
    """Of the first keys in ``work`` those who live in the address's municipality, and a few of the others for all of them.

    With more than ``room`` of the former nobody is taken. False: the store is damaged.
    """
    cdef uint32_t k = 0, step, before = row.count
    cdef Placing placing
    place_begin(&placing, work, row, by, room)
    if not place_all(view, &placing, count):
        return False
    if placing.full:
        row.more = True
        row.count = before
        return True
    if placing.elsewhere_count > row.elsewhere:
        row.elsewhere = placing.elsewhere_count
    # They stand by birth date: evenly spaced ones are of all ages.
    step = placing.elsewhere_count // ELSEWHERE_KEPT + 1
    while k < placing.elsewhere_count:
        add(row, work.keys[work.notes[k]], by | BY_ELSEWHERE)
        k += step
    return True


cdef bint take_neighbours(Gathering *work, const RegisterView *view, size_t i) noexcept nogil:
    """People of the name as written, else of the reading, whatever their date, who live in the municipality of the row's address.

    Only of a list that is not long: of a longer one most who live there are others. False: the store is damaged.
    """
    cdef Placing placing
    cdef Row *row = &work.rows[i]
    cdef const TextProbe *probe
    cdef Found found
    if not row.open or not row.asked.birth_date or not names_municipality(&row.asked):
        return True
    probe = &work.probes[2 * i + (row.asked.name_length > 0)]       # begun for step 2
    if text_length(probe) > NEIGHBOURS_LISTED:
        return True
    found = text_list(probe, NULL, 0, work.keys, work.notes, NEIGHBOURS_LISTED)
    place_begin(&placing, work, row, BY_NEIGHBOUR, NEIGHBOURS_ROOM)
    return place_all(view, &placing, found.found)


cdef inline void place_begin(Placing *placing, Gathering *work, Row *row, uint8_t by, uint32_t room) noexcept nogil:
    placing.work, placing.row, placing.by, placing.room = work, row, by, room
    placing.elsewhere, placing.elsewhere_count, placing.taken, placing.full = work.notes, 0, 0, False


cdef bint place_all(const RegisterView *view, Placing *placing, uint32_t count) noexcept nogil:
    """Take those of the keys in ``work`` who live in the address's municipality. False: the store is damaged."""
    cdef uint32_t first, n, k
    cdef uint64_t key
    placing.work.placed += count
    first = 0
    while first < count:
        n = count - first if count - first < SWEEP_KEYS else SWEEP_KEYS
        placing.first = first
        for k in range(n):
            key = placing.work.keys[first + k]
            placing.work.codes[k] = key * 10 + code_check_digit(key)
        if sweep(view, <const unsigned char *>placing.work.codes, 0, n, False, place_keys, placing) != SWEEP_DONE:
            return False
        first += SWEEP_KEYS
    return True


cdef int place_keys(void *context, size_t first, const Entry *entries, size_t count) noexcept nogil:
    """Consumer of a sweep over a long list."""
    cdef Placing *placing = <Placing *>context
    cdef size_t i
    for i in range(count):
        if not tells_of_person(entries[i].outcome):
            continue
        if not may_live_there(placing.work, &placing.row.asked, status_area(entries[i].status)):
            placing.elsewhere[placing.elsewhere_count] = placing.first + <uint32_t>(first + i)
            placing.elsewhere_count += 1
        elif placing.taken == placing.room:
            placing.full = True
        else:
            add(placing.row, placing.work.keys[placing.first + first + i], placing.by)
            placing.taken += 1
    return SWEEP_DONE


cdef inline bint may_live_there(const Gathering *work, const Asked *asked, uint32_t area) noexcept nogil:
    """Whether an area can be that of the address, as far as both are known."""
    cdef uint16_t municipality = work.municipalities[area]
    cdef uint8_t prefecture = work.prefectures[area]
    if asked.address_parts.municipality and municipality and asked.address_parts.municipality != municipality:
        return False
    return not asked.address_parts.prefecture or not prefecture or asked.address_parts.prefecture == prefecture


cdef bint scan_dates(
    Gathering *work, const RegisterView *view, const IdentityView *identity, size_t count
) noexcept nogil:
    """Step 3: everybody of the birth date whose signature is close. False: the store is damaged."""
    cdef size_t i
    cdef uint32_t code, wanted, part, bits
    cdef const Asked *asked
    cdef Row *row
    for i in range(count):
        if work.rows[i].open and work.rows[i].asked.birth_date:
            scan_prefetch(identity, date_code(work.rows[i].asked.birth_date))
    for i in range(count):
        row = &work.rows[i]
        asked = &row.asked
        if not row.open or not asked.birth_date:
            continue
        code = date_code(asked.birth_date)
        part = 0
        if asked.kana_length:
            wanted = kana_signature(asked.kana, asked.kana_length)
            bits = SLIPS_BITS if asked.kana_length >= SLIPS_LENGTH else SLIP_BITS
            part |= kana_signature(asked.kana + asked.kana_part, asked.kana_length - asked.kana_part)
            if asked.name_length:
                wanted |= name_signature(asked.name, asked.name_length)
            if not scan(work, view, identity, row, code, wanted, CARE_KANA, bits):
                return False
        if asked.name_length:
            wanted = name_signature(asked.name, asked.name_length)
            bits = SLIPS_BITS if asked.name_points >= SLIPS_LENGTH else SLIP_BITS
            if asked.name_part or asked.kana_part == 0:
                part |= name_signature(asked.name + asked.name_part, asked.name_length - asked.name_part)
            if asked.kana_length == 0 and not scan(work, view, identity, row, code, wanted, CARE_NAME, bits):
                return False
        # The text may be one part of a name, or the given name alone may be right: its bits, and any others.
        if asked.kana_part == 0 or asked.name_length or asked.placed:
            if not scan(work, view, identity, row, code, part, part, 0):
                return False
    return True


cdef bint scan(
    Gathering *work, const RegisterView *view, const IdentityView *identity, Row *row, uint32_t code, uint32_t wanted,
    uint32_t care, uint32_t bits
) noexcept nogil:
    """Take the SCAN_KEPT people of a date whose signatures differ least; False: the store is damaged.

    With a name in ``wanted`` beside the reading, whoever differs much in the reading must not in the name. Of more people whose
    signatures differ in nothing, those are taken who live in the municipality of the row's address.
    """
    cdef Found found
    cdef Placing placing
    cdef uint32_t k, differ, own, taken = 0
    cdef bint named = care == CARE_KANA and wanted & CARE_NAME != 0
    if scan_date(identity, code, wanted, care, bits, work.keys, work.notes, SCAN_ROOM, &found) < 0:
        return False
    if bits == 0 and SCAN_KEPT < found.found <= CROWD_ROOM and names_municipality(&row.asked):
        place_begin(&placing, work, row, BY_DATE, SCAN_KEPT)
        return place_all(view, &placing, found.found)
    for k in range(found.found):
        differ = work.notes[k] ^ wanted
        own = bits_of(differ & care)
        work.notes[k] = LEFT_OUT if named and own > SLIP_BITS and bits_of(differ & CARE_NAME) > SLIP_BITS else own
    for differ in range(bits + 1):
        for k in range(found.found):
            if work.notes[k] != differ:
                continue
            if taken == SCAN_KEPT:
                return True
            add(row, work.keys[k], BY_DATE)
            taken += 1
    return True


cdef int slipped(const uint8_t *text, int length, int number, uint8_t *out) noexcept nogil:
    """Reading number ``number`` of those one slip away: a kana fewer, two exchanged, one for its like. Its length, or 0."""
    cdef int way = number // length, place = number % length
    cdef uint8_t other
    memcpy(out, text, length)
    if way == 0:
        if place and text[place] == text[place - 1]:
            return 0
        memmove(out + place, out + place + 1, length - 1 - place)
        return length - 1
    if way == 1:
        if place + 1 >= length or text[place] == text[place + 1]:
            return 0
        out[place], out[place + 1] = text[place + 1], text[place]
        return length
    other = lookalike[text[place]]
    out[place] = other
    return length if other else 0


cdef int slip_probes(const IdentityView *identity, const Asked *asked, TextProbe *probes) noexcept nogil:
    """Begin a probe for each reading one slip away; how many. None for a row that has a name as written, whose list led to
    everybody of it with a near date."""
    cdef uint8_t text[NAME_ROOM]
    cdef int i, length, count = 0
    if asked.name_length or asked.kana_length < SLIP_LENGTH_MIN or asked.kana_length > SLIP_LENGTH_MAX:
        return 0
    for i in range(3 * asked.kana_length):
        length = slipped(asked.kana, asked.kana_length, i, text)
        if length:
            text_begin(identity, TABLE_KANA, text_hash(text, length), &probes[count])
            count += 1
    return count


cdef int exchanged_probes(const IdentityView *identity, const Asked *asked, TextProbe *probes) noexcept nogil:
    """Begin a probe for the name, else the reading, with its parts exchanged; for each place where the given name may begin
    when that is not known. How many."""
    cdef uint8_t text[NAME_ROOM]
    cdef const uint8_t *own = asked.name
    cdef int part, length = asked.name_length, known = asked.name_part, table = TABLE_NAME, count = 0
    if length == 0 or (known == 0 and asked.kana_part):
        own, length, known, table = asked.kana, asked.kana_length, asked.kana_part, TABLE_KANA
    for part in range(known if known else 1, known + 1 if known else length):
        if table == TABLE_NAME and own[part] & 0xC0 == 0x80:
            continue
        if count == EXCHANGED_PROBES:
            return 0
        exchanged(own, length, part, text)
        text_begin(identity, table, text_hash(text, length), &probes[count])
        count += 1
    return count


cdef bint take_listed(
    Gathering *work, const IdentityView *identity, Row *row, TextProbe *probes, int count, uint8_t by
) noexcept nogil:
    """People of other texts than the question's whose date is near. False: the store is damaged."""
    cdef DateFilter filters[LIST_FILTERS]
    cdef uint32_t k, filters_count, taken = 0, date = row.asked.birth_date
    cdef int i
    cdef Found found
    for i in range(count):
        text_block(&probes[i])
    for i in range(count):
        if not text_check(&probes[i]):
            return False
    filters_count = near_filters(date_code(date), filters)
    for i in range(count):
        found = text_list(&probes[i], filters, filters_count, work.keys, work.notes, SCAN_ROOM)
        for k in range(found.found):
            # Those of the date itself are the scan's.
            if packed_of_code(work.notes[k]) != date and near(date, packed_of_code(work.notes[k])):
                if taken == SLIP_ROOM:
                    return True
                add(row, work.keys[k], by)
                taken += 1
    return True


cdef bint take_others(Gathering *work, const IdentityView *identity, Row *row) noexcept nogil:
    """People whose date is near and whose reading is one slip away, or whose parts are exchanged. False: damaged."""
    cdef TextProbe probes[SLIP_PROBES]
    if not row.open or not row.asked.birth_date:
        return True
    return take_listed(
        work, identity, row, probes, slip_probes(identity, &row.asked, probes), BY_SLIP
    ) and take_listed(
        work, identity, row, probes, exchanged_probes(identity, &row.asked, probes), BY_SWAPPED)


cdef bint compare(Gathering *work, const RegisterView *view, const uint32_t *before, size_t count) noexcept nogil:
    """Compare the candidates that came with this step, in sweeps over all rows. False: the store is damaged."""
    cdef size_t i, k, n = 0
    cdef uint64_t key
    cdef Comparing comparing
    comparing.view = view
    comparing.model = work.model
    comparing.rows = work.rows
    comparing.owners = work.owners
    for i in range(count):
        for k in range(before[i], work.rows[i].count):
            key = work.rows[i].candidates[k].key
            work.codes[n] = key * 10 + code_check_digit(key)
            work.owners[n] = <uint32_t>(i << 16 | k)
            n += 1
            work.compared += 1
            if n == SWEEP_KEYS:
                if sweep(view, <const unsigned char *>work.codes, 0, n, True, compare_keys, &comparing) != SWEEP_DONE:
                    return False
                n = 0
    return sweep(view, <const unsigned char *>work.codes, 0, n, True, compare_keys, &comparing) == SWEEP_DONE
