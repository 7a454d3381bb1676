"""MATCH in place: rows of questions against the register, with the memory of many rows under way (docs/matching.md).

Theory of operation. Rows go in groups. For the rows of a group that have no answer yet each step gathers keys from the identity
index, finds the records of all of them in one sweep of the resident table (core.index.gather), compares, and judges. Most
rows end with the first step, in which every access to memory was asked for in advance. Index entries of earlier names lead
to persons whose present record does not agree; the history of these few is read with the GIL, between two steps.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport exp
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from jukinet.core.codes cimport code_check_digit, codes_prepare
from jukinet.core.folding.addresses cimport Address, fold_address
from jukinet.core.folding.dates cimport (
    DATES_FAR, DATES_UNKNOWN, DATES_YEAR, compare_dates,
)
from jukinet.core.identity.entries cimport (
    TABLE_KANA, TABLE_NAME, date_code, kana_signature, name_signature, packed_of_code, text_hash,
)
from jukinet.core.identity.probe cimport (
    CARE_KANA, CARE_NAME, MASK_DAY, MASK_MONTH, MASK_YEAR, DateFilter, Found, TextProbe, scan_date,
    scan_prefetch, text_begin, text_block, text_check, text_equal, text_list,
)
from jukinet.core.index.gather cimport SWEEP_DAMAGED, SWEEP_DONE, Entry, sweep, tells_of_person
from jukinet.core.matching.items cimport (
    ADDRESS_ROOM, ITEM_BAD_ADDRESS, ITEM_BAD_KANA, ITEM_BAD_NAME, KANA_ROOM, NAME_ROOM, Asked, Levels, ask,
    compare_record,
)
from jukinet.core.matching.model cimport (
    D_DIFFERENT, D_EQUAL, D_YEAR, N_EQUAL, N_FOLDED, N_MISSING, N_SWAPPED, P_AREA, P_BUILDING, P_EQUAL, P_MISSING, P_TOWN,
    X_EQUAL, Model, ModelView, found_share,
)
from jukinet.core.records.record cimport ResidentRecord, record_decode
from jukinet.core.store.snapshot cimport IdentityView, RegisterView, Snapshot

from jukinet.core import limits
from jukinet.core.errors import StoreCorruptError
from jukinet.core.matching.levels import TOLD_OF_DATE, TOLD_OF_KANA, TOLD_OF_NAME, TOLD_OF_PLACE, TOLD_OF_SEX

codes_prepare()

cdef enum:
    GROUP = 64                  # rows under way
    EQUAL_ROOM = 64             # keys of one probe by text and date
    LIST_ROOM = 128             # keys of one list that have a near date
    WIDE_ROOM = 1024            # keys of a list that is asked for without a date
    SCAN_ROOM = 4096            # keys of a scan, of which SCAN_KEPT with the nearest signatures are compared
    SCAN_KEPT = 96
    CANDIDATES_MAX = 1280       # of one row, all steps together
    EARLIER_MAX = 16            # persons of one row whose history is looked at
    STEPS = 3
    HITS_MAX = 64               # limits.SEARCH_HITS_MAX
    SWEEP_KEYS = 4096           # keys of one sweep
    LEVELS_ROW = 5
    LIST_FILTERS = 2
    SLIPS_BITS = 4              # bits of a signature that two slips change
    SLIP_BITS = 2
    SLIPS_LENGTH = 6

cdef enum:
    FOUND_ONE = 1
    FOUND_SEVERAL = 2
    FOUND_TOO_MANY = 3
    FOUND_NONE = 4
    FOUND_NONE_NOT_CONNECTED = 5
    FOUND_TOO_FEW_ITEMS = 6
    FOUND_BAD_NAME = 7
    FOUND_BAD_KANA = 8
    FOUND_BAD_ADDRESS = 11

cdef enum:
    GRADE_EXACT = 1
    GRADE_FOLDED = 2
    GRADE_KANA = 3
    GRADE_EARLIER = 4
    GRADE_NEAR_DATE = 5
    GRADE_NEAR_NAME = 6
    LEVEL_FOLDED = 2
    LEVEL_EARLIER = 4

# How a candidate was come by.
cdef enum:
    BY_KANA = 1
    BY_NAME = 2
    BY_DATE = 4
    BY_EXCHANGED = 8

assert CANDIDATES_MAX >= 2 * EQUAL_ROOM + 4 * LIST_ROOM + 2 * SCAN_KEPT
assert CANDIDATES_MAX >= WIDE_ROOM
assert CANDIDATES_MAX == limits.MATCH_CANDIDATES_MAX
assert HITS_MAX == limits.SEARCH_HITS_MAX

cdef uint8_t told_kana[10]
cdef uint8_t told_name[10]
cdef uint8_t told_date[10]
cdef uint8_t told_sex[3]
cdef uint8_t told_place[6]
for place in range(10):
    told_kana[place] = <uint8_t>int(TOLD_OF_KANA[place])
    told_name[place] = <uint8_t>int(TOLD_OF_NAME[place])
    told_date[place] = <uint8_t>int(TOLD_OF_DATE[place])
for place in range(3):
    told_sex[place] = <uint8_t>int(TOLD_OF_SEX[place])
for place in range(6):
    told_place[place] = <uint8_t>int(TOLD_OF_PLACE[place])


ctypedef struct Candidate:
    uint64_t key
    Levels levels
    uint8_t by
    uint8_t compared            # 0 not yet; 1 yes; 2 nobody: no person is held under the key
    uint8_t earlier             # the levels are those of an earlier record
    uint8_t wants_history

# One row under way.
ctypedef struct Row:
    Asked asked
    uint32_t count              # candidates
    uint8_t open                # not answered yet
    uint8_t more                # candidates were left out among those of the same name
    Candidate *candidates       # CANDIDATES_MAX of them

# What a sweep's consumer needs.
ctypedef struct Comparing:
    const RegisterView *view
    const ModelView *model
    Row *rows
    const uint32_t *owners      # row << 16 | place, of each key of the sweep

# The columns of the questions.
ctypedef struct Columns:
    const uint32_t *name_offsets
    const uint8_t *names
    const uint32_t *kana_offsets
    const uint8_t *kanas
    const uint32_t *birth_dates
    const uint8_t *sexes
    const uint32_t *address_offsets
    const uint8_t *addresses

# The columns of the answers.
ctypedef struct Told:
    uint8_t *statuses
    uint64_t *keys
    uint8_t *grades
    float *probabilities
    float *margins
    uint8_t *levels
    uint16_t *candidates


# Where the hits of a SEARCH go: cap places a row.
ctypedef struct Searched:
    size_t cap
    uint8_t *found
    uint64_t *keys
    uint8_t *grades
    float *probabilities
    uint8_t *levels


cdef inline bint whole_name(uint8_t level) noexcept nogil:
    """The level of a text that an equal hash leads to."""
    return level == N_EQUAL or level == N_FOLDED or level == N_SWAPPED


cdef void add(Row *row, uint64_t key, uint8_t by) noexcept nogil:
    cdef uint32_t i
    for i in range(row.count):
        if row.candidates[i].key == key:
            row.candidates[i].by |= by
            return
    if row.count == CANDIDATES_MAX:
        row.more = True
        return
    row.candidates[row.count].key = key
    row.candidates[row.count].by = by
    row.candidates[row.count].compared = 0
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
        if entries[i].record == NULL or not tells_of_person(entries[i].outcome):
            continue
        if record_decode(entries[i].record, entries[i].record_bytes, entries[i].status, &record) < 0:
            return SWEEP_DAMAGED
        if record.name == NULL:
            continue
        if not compare_record(
            comparing.model, &row.asked, &record, comparing.view, candidate.by == BY_DATE, &candidate.levels
        ):
            continue
        candidate.compared = 1
        # The index says that this person had this text; when the record shown has another, an earlier one has it.
        if candidate.by & BY_KANA and not whole_name(candidate.levels.kana):
            candidate.wants_history = 1
        elif candidate.by & BY_NAME and not whole_name(candidate.levels.name):
            candidate.wants_history = 1
        elif candidate.by & (BY_KANA | BY_NAME) and (
            candidate.levels.date == D_DIFFERENT or candidate.levels.date == D_EQUAL and candidate.levels.place >= P_AREA
        ):
            candidate.wants_history = 1
    return SWEEP_DONE


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


cdef class MatchBatch:
    """One MATCH under way; reusable. begin() states questions and answers, run() answers rows [start, stop) in ascending pieces.

    model: core.matching.model.Model. rules: columns.MatchRules. histories: a callable key -> list of (status, record bytes)
    of the earlier records of a key that may be used; it is called with the GIL, for few rows, in the thread of run().
    """

    cdef Model model
    cdef double match_threshold
    cdef double candidate_threshold
    cdef double margin_min
    cdef Py_buffer buffers[15]
    cdef int buffers_held
    cdef Columns columns
    cdef Told told
    cdef readonly size_t count
    cdef readonly size_t done
    cdef readonly uint64_t version
    cdef Row *rows
    cdef TextProbe probes[2 * GROUP]
    cdef uint64_t *keys             # SCAN_ROOM, then SWEEP_KEYS codes
    cdef uint64_t *codes
    cdef uint32_t *notes            # SCAN_ROOM signatures or dates
    cdef uint32_t *owners
    cdef uint32_t not_connected[64] # municipalities that are not connected
    cdef int not_connected_count
    cdef bint not_all_known         # an area that is not connected is no municipality that addresses fold to
    cdef uint64_t ended[STEPS]
    cdef uint64_t compared

    def __cinit__(self, Model model not None, rules):
        cdef size_t i
        cdef Candidate *candidates
        self.buffers_held = 0
        self.model = model
        self.match_threshold = rules.match_threshold
        self.candidate_threshold = rules.candidate_threshold
        self.margin_min = rules.margin_min
        self.rows = <Row *>malloc(GROUP * sizeof(Row))
        candidates = <Candidate *>malloc(GROUP * CANDIDATES_MAX * sizeof(Candidate))
        self.keys = <uint64_t *>malloc((SCAN_ROOM + SWEEP_KEYS) * 8)
        self.notes = <uint32_t *>malloc((SCAN_ROOM + SWEEP_KEYS) * 4)
        if self.rows == NULL or candidates == NULL or self.keys == NULL or self.notes == NULL:
            free(candidates)
            raise MemoryError
        self.codes = self.keys + SCAN_ROOM
        self.owners = self.notes + SCAN_ROOM
        for i in range(GROUP):
            self.rows[i].candidates = candidates + i * CANDIDATES_MAX
        self.not_connected_count = 0
        self.not_all_known = False

    def __dealloc__(self):
        self._let_go()
        if self.rows != NULL:
            free(self.rows[0].candidates)
        free(self.rows)
        free(self.keys)
        free(self.notes)

    cdef void _let_go(self):
        while self.buffers_held:
            self.buffers_held -= 1
            PyBuffer_Release(&self.buffers[self.buffers_held])

    cdef const void *_take(self, object buffer, size_t bytes_wanted, bint writable) except NULL:
        """Hold a buffer of at least ``bytes_wanted``."""
        cdef Py_buffer *held = &self.buffers[self.buffers_held]
        PyObject_GetBuffer(buffer, held, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.buffers_held += 1
        if <size_t>held.len < bytes_wanted:
            raise ValueError("a column is shorter than its rows")
        return held.buf if held.buf != NULL else <const void *>b""

    cdef int _take_texts(self, texts, size_t count, const uint32_t **offsets, const uint8_t **data) except -1:
        """Hold a text column, and make sure that no offset leads outside."""
        cdef size_t row
        offsets[0] = <const uint32_t *>self._take(texts.offsets, 4 * (count + 1), False)
        data[0] = <const uint8_t *>self._take(texts.data, 0, False)
        for row in range(count):
            if offsets[0][row] > offsets[0][row + 1]:
                raise ValueError("the offsets of a text column decrease")
        if offsets[0][count] > <size_t>self.buffers[self.buffers_held - 1].len:
            raise ValueError("the offsets of a text column pass its end")
        return 0

    def begin(self, questions, answers):
        """Start a batch: columns.Questions, and columns.Answers of as many rows, which are written.

        Both are held until the next begin() or close(). ValueError for columns that do not fit.
        """
        cdef size_t n = questions.count
        self._let_go()
        self.count = self.done = 0
        self.version = 0
        if answers.count != n:
            raise ValueError("there are as many answers as questions")
        self._take_texts(questions.names, n, &self.columns.name_offsets, &self.columns.names)
        self._take_texts(questions.kanas, n, &self.columns.kana_offsets, &self.columns.kanas)
        self._take_texts(questions.addresses, n, &self.columns.address_offsets, &self.columns.addresses)
        self.columns.birth_dates = <const uint32_t *>self._take(questions.birth_dates, 4 * n, False)
        self.columns.sexes = <const uint8_t *>self._take(questions.sexes, n, False)
        self.told.statuses = <uint8_t *>self._take(answers.statuses, n, True)
        self.told.keys = <uint64_t *>self._take(answers.keys, 8 * n, True)
        self.told.grades = <uint8_t *>self._take(answers.grades, n, True)
        self.told.probabilities = <float *>self._take(answers.probabilities, 4 * n, True)
        self.told.margins = <float *>self._take(answers.margins, 4 * n, True)
        self.told.levels = <uint8_t *>self._take(answers.levels, LEVELS_ROW * n, True)
        self.told.candidates = <uint16_t *>self._take(answers.candidates, 2 * n, True)
        memset(self.ended, 0, sizeof(self.ended))
        self.compared = 0
        self.count = n

    @property
    def work(self):
        """Rows that ended with each step, and records compared, of the batch so far: for measurements."""
        return [self.ended[step] for step in range(STEPS)], self.compared

    def close(self):
        """Let the columns go."""
        self._let_go()
        self.count = self.done = 0

    def run(self, Snapshot snapshot not None, size_t start, size_t stop, histories, observe=None):
        """Answer rows [start, stop) in the caller's thread; the GIL is released but for the histories of few rows.

        observe: for estimation; called as observe(row, candidates) for each row that was asked, with all steps taken.
        candidates: (reading, name, date, sex, place levels, log ratio) of each person compared.

        ValueError when rows are not asked in order or not in one snapshot; StoreCorruptError for a damaged store.
        """
        cdef size_t first, count
        if start != self.done or stop > self.count or stop < start:
            raise ValueError("a batch is run in ascending pieces")
        if self.version and self.version != snapshot.version:
            raise ValueError("a batch is run in one snapshot")
        if snapshot.transaction is None:
            raise ValueError("the snapshot has ended")
        if start == 0:
            self._learn_areas(snapshot)
        self.version = snapshot.version
        for first in range(start, stop, GROUP):
            count = stop - first if stop - first < GROUP else GROUP
            self._group(snapshot, first, count, histories, observe)
        self.done = stop

    cdef int _learn_areas(self, Snapshot snapshot) except -1:
        """The municipalities that are not connected, as folded addresses name them."""
        cdef Address parts
        cdef uint8_t folded[ADDRESS_ROOM]
        cdef bytes text
        self.not_connected_count = 0
        self.not_all_known = False
        for area in snapshot.places.areas:
            if area.connected:
                continue
            text = area.name.encode()
            if (
                fold_address(text, <int>len(text), folded, ADDRESS_ROOM, &parts) < 0 or parts.municipality == 0
                or self.not_connected_count == 64
            ):
                self.not_all_known = True
                continue
            self.not_connected[self.not_connected_count] = parts.municipality
            self.not_connected_count += 1
        return 0

    cdef int _group(self, Snapshot snapshot, size_t first, size_t count, histories, observe) except -1:
        """All steps for one group of rows."""
        cdef int step
        cdef bint whole, wanted = False
        cdef uint32_t still
        with nogil:
            self._ask(first, count)
        for step in range(STEPS):
            with nogil:
                whole = self._gather(&snapshot.view, &snapshot.identity, step, count, &wanted)
            if not whole:
                raise StoreCorruptError("a block or record is damaged; run `jukinet store check`")
            if wanted:
                self._look_back(snapshot, count, histories)
            if observe is not None and step < STEPS - 1:
                continue
            if observe is not None:
                self._show(first, count, observe)
            with nogil:
                still = self._judge_all(step, first, count)
            if still == 0:
                break
        return 0

    cdef int _show(self, size_t first, size_t count, observe) except -1:
        cdef size_t i, k
        cdef const Levels *levels
        for i in range(count):
            if self.rows[i].open:
                found = []
                for k in range(self.rows[i].count):
                    if self.rows[i].candidates[k].compared == 1:
                        levels = &self.rows[i].candidates[k].levels
                        found.append((levels.kana, levels.name, levels.date, levels.sex, levels.place, levels.ratio))
                observe(first + i, found)
        return 0

    cdef void _ask(self, size_t first, size_t count) noexcept nogil:
        """Fold the rows of a group; rows that cannot be asked are answered."""
        cdef size_t i, at
        cdef Row *row
        cdef Asked *asked
        cdef const Columns *c = &self.columns
        for i in range(count):
            at = first + i
            row = &self.rows[i]
            asked = &row.asked
            row.count = 0
            row.more = False
            row.open = True
            if self.told.statuses[at] != 0:         # refused before; left as it is
                self._tell_nothing(at, row, self.told.statuses[at])
                continue
            ask(
                asked, c.names + c.name_offsets[at], c.name_offsets[at + 1] - c.name_offsets[at],
                c.kanas + c.kana_offsets[at], c.kana_offsets[at + 1] - c.kana_offsets[at], c.birth_dates[at], c.sexes[at],
                c.addresses + c.address_offsets[at], c.address_offsets[at + 1] - c.address_offsets[at])
            if asked.bad & ITEM_BAD_NAME:
                self._tell_nothing(at, row, FOUND_BAD_NAME)
            elif asked.bad & ITEM_BAD_KANA:
                self._tell_nothing(at, row, FOUND_BAD_KANA)
            elif asked.bad & ITEM_BAD_ADDRESS:
                self._tell_nothing(at, row, FOUND_BAD_ADDRESS)
            elif not (asked.kana_length or asked.name_length) or not (asked.birth_date or asked.address_length):
                self._tell_nothing(at, row, FOUND_TOO_FEW_ITEMS)

    cdef void _tell_nothing(self, size_t at, Row *row, uint8_t status) noexcept nogil:
        self.told.statuses[at] = status
        self.told.keys[at] = 0
        self.told.grades[at] = 0
        self.told.probabilities[at] = self.told.margins[at] = 0.0
        self.told.candidates[at] = 0
        memset(self.told.levels + LEVELS_ROW * at, 0, LEVELS_ROW)
        row.open = False

    cdef bint _gather(
        self, const RegisterView *view, const IdentityView *identity, int step, size_t count, bint *wanted
    ) noexcept nogil:
        """Candidates of one step for all open rows, compared. False: the store is damaged."""
        cdef size_t i, k
        cdef uint32_t before[GROUP]
        for i in range(count):
            before[i] = self.rows[i].count
        if step == 2:
            if not self._scan_dates(identity, count):
                return False
        elif not self._probe_texts(identity, step, count):
            return False
        if not self._compare(view, before, count):
            return False
        wanted[0] = False
        for i in range(count):
            if self.rows[i].open:
                for k in range(before[i], self.rows[i].count):
                    wanted[0] |= self.rows[i].candidates[k].wants_history
        return True

    cdef bint _probe_texts(self, const IdentityView *identity, int step, size_t count) noexcept nogil:
        """Steps 1 and 2: by the reading's and the name's hashes. False: the store is damaged."""
        cdef size_t i
        cdef Row *row
        cdef const Asked *asked
        cdef TextProbe *probe
        for i in range(count):
            row = &self.rows[i]
            asked = &row.asked
            if row.open and (step or asked.birth_date):
                if asked.kana_length:
                    text_begin(identity, TABLE_KANA, text_hash(asked.kana, asked.kana_length), &self.probes[2 * i])
                if asked.name_length:
                    text_begin(identity, TABLE_NAME, text_hash(asked.name, asked.name_length), &self.probes[2 * i + 1])
        for i in range(2 * count):
            if self._has_probe(i, step):
                text_block(&self.probes[i])
        for i in range(2 * count):
            if self._has_probe(i, step) and not text_check(&self.probes[i]):
                return False
        for i in range(2 * count):
            if not self._has_probe(i, step):
                continue
            row = &self.rows[i >> 1]
            probe = &self.probes[i]
            if step == 0:
                self._take_equal(row, probe, row.asked.birth_date, BY_NAME if i & 1 else BY_KANA)
            elif row.asked.birth_date:
                self._take_near(row, probe, BY_NAME if i & 1 else BY_KANA)
                if not self._take_exchanged(identity, row, i & 1):
                    return False
            elif i & 1 or row.asked.name_length == 0 or row.count == 0:
                self._take_all(row, probe, BY_NAME if i & 1 else BY_KANA)
        return True

    cdef inline bint _has_probe(self, size_t i, int step) noexcept nogil:
        """Whether probe i (the reading's and the name's of each row, in turn) is of use in this step."""
        cdef const Row *row = &self.rows[i >> 1]
        if not row.open or not (step or row.asked.birth_date):
            return False
        return row.asked.name_length > 0 if i & 1 else row.asked.kana_length > 0

    cdef void _take_equal(self, Row *row, const TextProbe *probe, uint32_t date, uint8_t by) noexcept nogil:
        cdef uint32_t k
        cdef Found found = text_equal(probe, date_code(date), self.keys, EQUAL_ROOM)
        for k in range(found.found):
            add(row, self.keys[k], by)
        row.more |= found.more

    cdef void _take_near(self, Row *row, const TextProbe *probe, uint8_t by) noexcept nogil:
        """People of the text with a near date, the equal ones being known."""
        cdef DateFilter filters[LIST_FILTERS]
        cdef uint32_t k, count, taken = 0, date = row.asked.birth_date
        cdef Found found
        count = near_filters(date_code(date), filters)
        found = text_list(probe, filters, count, self.keys, self.notes, SCAN_ROOM)
        for k in range(found.found):
            if near(date, packed_of_code(self.notes[k])):
                if taken == LIST_ROOM:
                    row.more = True
                    return
                add(row, self.keys[k], by)
                taken += 1
        row.more |= found.more

    cdef bint _take_exchanged(self, const IdentityView *identity, Row *row, bint written) noexcept nogil:
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
        self._take_equal(row, &probe, asked.birth_date, BY_EXCHANGED)
        return True

    cdef void _take_all(self, Row *row, const TextProbe *probe, uint8_t by) noexcept nogil:
        """Everybody of the text, where no date is asked for."""
        cdef uint32_t k
        cdef Found found = text_list(probe, NULL, 0, self.keys, self.notes, WIDE_ROOM)
        for k in range(found.found):
            add(row, self.keys[k], by)
        row.more |= found.more

    cdef bint _scan_dates(self, const IdentityView *identity, size_t count) noexcept nogil:
        """Step 3: everybody of the birth date whose signature is close. False: the store is damaged."""
        cdef size_t i
        cdef uint32_t code, wanted, part, bits
        cdef const Asked *asked
        cdef Row *row
        for i in range(count):
            if self.rows[i].open and self.rows[i].asked.birth_date:
                scan_prefetch(identity, date_code(self.rows[i].asked.birth_date))
        for i in range(count):
            row = &self.rows[i]
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
                if not self._scan(identity, row, code, wanted, CARE_KANA, bits):
                    return False
            if asked.name_length:
                wanted = name_signature(asked.name, asked.name_length)
                bits = SLIPS_BITS if asked.name_points >= SLIPS_LENGTH else SLIP_BITS
                if asked.name_part or asked.kana_part == 0:
                    part |= name_signature(asked.name + asked.name_part, asked.name_length - asked.name_part)
                if asked.kana_length == 0 and not self._scan(identity, row, code, wanted, CARE_NAME, bits):
                    return False
            # The text may be one part of a name, or the given name alone may be right: its bits, and any others.
            if asked.kana_part == 0 or asked.name_length or asked.address_length:
                if not self._scan(identity, row, code, part, part, 0):
                    return False
        return True

    cdef bint _scan(
        self, const IdentityView *identity, Row *row, uint32_t code, uint32_t wanted, uint32_t care, uint32_t bits
    ) noexcept nogil:
        """Take the SCAN_KEPT people of a date whose signatures differ least; False: the store is damaged.

        With a name in ``wanted`` beside the reading, whoever differs much in the reading must not in the name.
        """
        cdef Found found
        cdef uint32_t k, differ, own, taken = 0
        cdef bint named = care == CARE_KANA and wanted & CARE_NAME != 0
        if scan_date(identity, code, wanted, care, bits, self.keys, self.notes, SCAN_ROOM, &found) < 0:
            return False
        for differ in range(bits + 1):
            for k in range(found.found):
                own = popcount((self.notes[k] ^ wanted) & care)
                if own != differ or (
                    named and own > SLIP_BITS and popcount((self.notes[k] ^ wanted) & CARE_NAME) > SLIP_BITS
                ):
                    continue
                if taken == SCAN_KEPT:
                    return True
                add(row, self.keys[k], BY_DATE)
                taken += 1
        return True

    cdef bint _compare(self, const RegisterView *view, const uint32_t *before, size_t count) noexcept nogil:
        """Compare the candidates that came with this step, in sweeps over all rows. False: the store is damaged."""
        cdef size_t i, k, n = 0
        cdef uint64_t key
        cdef Comparing comparing
        comparing.view = view
        comparing.model = &self.model.view
        comparing.rows = self.rows
        comparing.owners = self.owners
        for i in range(count):
            for k in range(before[i], self.rows[i].count):
                key = self.rows[i].candidates[k].key
                self.codes[n] = key * 10 + code_check_digit(key)
                self.owners[n] = <uint32_t>(i << 16 | k)
                n += 1
                self.compared += 1
                if n == SWEEP_KEYS:
                    if sweep(view, <const unsigned char *>self.codes, 0, n, True, compare_keys, &comparing) != SWEEP_DONE:
                        return False
                    n = 0
        return sweep(view, <const unsigned char *>self.codes, 0, n, True, compare_keys, &comparing) == SWEEP_DONE

    cdef int _look_back(self, Snapshot snapshot, size_t count, histories) except -1:
        """Compare the earlier records of candidates whose record shown does not agree with the index."""
        cdef size_t i, k
        cdef int looked
        cdef Row *row
        cdef Candidate *candidate
        for i in range(count):
            row = &self.rows[i]
            if not row.open:
                continue
            looked = 0
            for k in range(row.count):
                candidate = &row.candidates[k]
                if candidate.wants_history != 1:
                    continue
                candidate.wants_history = 2
                if looked == EARLIER_MAX:
                    continue
                looked += 1
                for status, data in histories(candidate.key):
                    self._compare_earlier(row, candidate, &snapshot.view, status, data)
        return 0

    cdef int _compare_earlier(
        self, Row *row, Candidate *candidate, const RegisterView *view, uint64_t status, const unsigned char[::1] data
    ) except -1:
        cdef ResidentRecord record
        cdef Levels levels
        if data.shape[0] == 0 or record_decode(&data[0], <size_t>data.shape[0], status, &record) < 0:
            raise StoreCorruptError("an earlier record is damaged; run `jukinet store check`")
        if record.name == NULL:
            return 0
        compare_record(&self.model.view, &row.asked, &record, view, False, &levels)
        if levels.ratio > candidate.levels.ratio:
            candidate.levels = levels
            candidate.earlier = 1
        return 0

    cdef uint32_t _judge_all(self, int step, size_t first, size_t count) noexcept nogil:
        """Judge open rows; how many stay open."""
        cdef size_t i
        cdef uint32_t still = 0
        for i in range(count):
            if self.rows[i].open:
                self._judge(&self.rows[i], first + i, step)
                still += self.rows[i].open
                self.ended[step] += not self.rows[i].open
        return still

    cdef void _judge(self, Row *row, size_t at, int step) noexcept nogil:
        """Weigh a row's candidates; answer it when one is sure enough, or after the last step."""
        cdef const ModelView *model = &self.model.view
        cdef double share = found_share(model, step, row.asked.kana_length > 0, row.asked.birth_date != 0)
        cdef double nobody = log_of((1.0 - model.in_register * share) * model.residents)
        cdef double highest = nobody, best = -1e300, second = -1e300, total, chance, next_chance, value, weight = 0.0
        cdef uint32_t k, best_place = 0, above = 0
        cdef Candidate *candidate
        cdef bint any_found = False
        for k in range(row.count):
            candidate = &row.candidates[k]
            if candidate.compared != 1:
                continue
            any_found = True
            value = model.log_in_register + candidate.levels.ratio
            if value > best or (value == best and candidate.key < row.candidates[best_place].key):
                second = best
                best = value
                best_place = k
            elif value > second:
                second = value
        if best > highest:
            highest = best
        total = exp(nobody - highest)
        for k in range(row.count):
            if row.candidates[k].compared == 1:
                value = exp(model.log_in_register + row.candidates[k].levels.ratio - highest)
                weight += value
        total += weight
        chance = exp(best - highest) / total if any_found else 0.0
        next_chance = exp(second - highest) / total if second > -1e299 else 0.0
        if chance >= self.match_threshold and chance - next_chance >= self.margin_min and not row.more:
            self._tell_one(row, &row.candidates[best_place], at, chance, chance - next_chance, highest, total)
            return
        if step < STEPS - 1 and not (step == 1 and not row.asked.birth_date):
            return
        for k in range(row.count):
            if row.candidates[k].compared == 1:
                value = exp(model.log_in_register + row.candidates[k].levels.ratio - highest) / total
                above += value >= self.candidate_threshold
        self._tell_nothing(at, row, FOUND_NONE)
        if row.more:
            self.told.statuses[at] = FOUND_TOO_MANY
        elif weight / total >= self.candidate_threshold and any_found:
            self.told.statuses[at] = FOUND_SEVERAL
            self.told.probabilities[at] = <float>chance
            self.told.margins[at] = <float>(chance - next_chance)
            self.told.candidates[at] = <uint16_t>(above if above else 1)
        elif self._may_be_elsewhere(&row.asked):
            self.told.statuses[at] = FOUND_NONE_NOT_CONNECTED

    cdef bint _may_be_elsewhere(self, const Asked *asked) noexcept nogil:
        """Whether an area that is not connected could hold the person."""
        cdef int i
        if self.not_connected_count == 0 and not self.not_all_known:
            return False
        if asked.address_length == 0 or asked.address_parts.municipality == 0 or self.not_all_known:
            return True
        for i in range(self.not_connected_count):
            if self.not_connected[i] == asked.address_parts.municipality:
                return True
        return False

    cdef void _tell_one(
        self, Row *row, const Candidate *candidate, size_t at, double chance, double margin, double highest, double total
    ) noexcept nogil:
        cdef uint32_t k, above = 0
        for k in range(row.count):
            if row.candidates[k].compared == 1:
                above += exp(
                    self.model.view.log_in_register + row.candidates[k].levels.ratio - highest
                ) / total >= self.candidate_threshold
        self.told.statuses[at] = FOUND_ONE
        self.told.keys[at] = candidate.key
        self.told.grades[at] = grade_of(candidate)
        self.told.probabilities[at] = <float>chance
        self.told.margins[at] = <float>margin
        self.told.candidates[at] = <uint16_t>above
        tell_levels(candidate, self.told.levels + LEVELS_ROW * at)
        row.open = False

    def search(self, Snapshot snapshot not None, size_t start, size_t stop, histories, hits):
        """SEARCH: whom rows [start, stop) may mean, all items agreeing, into columns.Hits of as many rows.

        The batch was begun with Answers whose statuses are those of hits. Rows need not be asked in order. Raises as run().
        """
        cdef size_t first, count, i
        cdef int step
        cdef bint whole, wanted = False
        cdef Row *row
        cdef Searched told
        cdef uint8_t[::1] found = hits.found, grades = hits.grades, levels = hits.levels
        cdef uint64_t[::1] keys = hits.keys
        cdef float[::1] probabilities = hits.probabilities
        told.cap = hits.cap
        if stop > self.count or stop < start or snapshot.transaction is None:
            raise ValueError("rows outside the batch, or the snapshot has ended")
        if (
            told.cap < 1 or told.cap > HITS_MAX or <size_t>found.shape[0] < stop or <size_t>keys.shape[0] < stop * told.cap
            or <size_t>grades.shape[0] < stop * told.cap or <size_t>probabilities.shape[0] < stop * told.cap
            or <size_t>levels.shape[0] < stop * told.cap * LEVELS_ROW
        ):
            raise ValueError("the hits have fewer places than rows times their cap")
        if start == stop:
            return
        told.found, told.keys, told.grades = &found[0], &keys[0], &grades[0]
        told.probabilities, told.levels = &probabilities[0], &levels[0]
        if start == 0 or self.version != snapshot.version:
            self._learn_areas(snapshot)
            self.version = snapshot.version
        for first in range(start, stop, GROUP):
            count = stop - first if stop - first < GROUP else GROUP
            with nogil:
                self._ask(first, count)
            for step in range(2):
                with nogil:
                    whole = self._gather(&snapshot.view, &snapshot.identity, step, count, &wanted)
                if not whole:
                    raise StoreCorruptError("a block or record is damaged; run `jukinet store check`")
                if wanted:
                    self._look_back(snapshot, count, histories)
                with nogil:
                    for i in range(count):
                        row = &self.rows[i]
                        # A whole date is looked for among equal dates; lists are for dates known in part, and for none.
                        if row.open and (step == 1 or row.asked.birth_date & 0x1F):
                            self._tell_hits(row, first + i, step, &told)

    cdef void _tell_hits(self, Row *row, size_t at, int step, const Searched *told) noexcept nogil:
        """Answer a row of a SEARCH with the candidates that agree, the likeliest first."""
        cdef const ModelView *model = &self.model.view
        cdef double share = found_share(model, step, row.asked.kana_length > 0, row.asked.birth_date != 0)
        cdef double highest = log_of((1.0 - model.in_register * share) * model.residents), total, value
        cdef double nobody = highest
        cdef uint32_t chosen[HITS_MAX]
        cdef uint32_t k, place, hits = 0
        cdef size_t out = at * told.cap
        cdef const Candidate *candidate
        cdef bint more = row.more
        for k in range(row.count):
            candidate = &row.candidates[k]
            if candidate.compared != 1:
                continue
            value = model.log_in_register + candidate.levels.ratio
            if value > highest:
                highest = value
            if not agrees(&candidate.levels):
                continue
            if hits == told.cap:
                more = True
                break
            place = hits
            while place and before(candidate, &row.candidates[chosen[place - 1]]):
                chosen[place] = chosen[place - 1]
                place -= 1
            chosen[place] = k
            hits += 1
        self._tell_nothing(at, row, FOUND_NONE)
        told.found[at] = 0
        if more:
            self.told.statuses[at] = FOUND_TOO_MANY
            return
        if hits == 0:
            if self._may_be_elsewhere(&row.asked):
                self.told.statuses[at] = FOUND_NONE_NOT_CONNECTED
            return
        total = exp(nobody - highest)
        for k in range(row.count):
            if row.candidates[k].compared == 1:
                total += exp(model.log_in_register + row.candidates[k].levels.ratio - highest)
        self.told.statuses[at] = FOUND_ONE if hits == 1 else FOUND_SEVERAL
        told.found[at] = <uint8_t>hits
        for place in range(hits):
            candidate = &row.candidates[chosen[place]]
            told.keys[out + place] = candidate.key
            told.grades[out + place] = grade_of(candidate)
            told.probabilities[out + place] = <float>(
                exp(model.log_in_register + candidate.levels.ratio - highest) / total)
            tell_levels(candidate, told.levels + LEVELS_ROW * (out + place))


cdef inline bint agrees(const Levels *levels) noexcept nogil:
    """Whether every item that is compared is equal after folding; a date as far as it is known, an address to the town."""
    if levels.kana > N_FOLDED or levels.name > N_FOLDED or (levels.kana == N_MISSING and levels.name == N_MISSING):
        return False
    return levels.date <= D_YEAR and levels.sex <= X_EQUAL and levels.place <= P_TOWN


cdef inline bint before(const Candidate *one, const Candidate *other) noexcept nogil:
    if one.levels.ratio != other.levels.ratio:
        return one.levels.ratio > other.levels.ratio
    return one.key < other.key


cdef void tell_levels(const Candidate *candidate, uint8_t *out) noexcept nogil:
    cdef const Levels *levels = &candidate.levels
    out[0] = told_name[levels.name]
    out[1] = told_kana[levels.kana]
    out[2] = told_date[levels.date]
    out[3] = told_sex[levels.sex]
    out[4] = told_place[levels.place]
    if levels.place == P_EQUAL and not levels.place_exact:
        out[4] = LEVEL_FOLDED
    if candidate.earlier:
        if whole_name(levels.name):
            out[0] = LEVEL_EARLIER
        if whole_name(levels.kana):
            out[1] = LEVEL_EARLIER
        if levels.place == P_EQUAL or levels.place == P_BUILDING:
            out[4] = LEVEL_EARLIER


cdef uint8_t grade_of(const Candidate *candidate) noexcept nogil:
    """The least certain thing that was needed."""
    cdef const Levels *levels = &candidate.levels
    cdef bint near_reading = levels.kana > N_FOLDED, near_written = levels.name > N_FOLDED
    if (near_reading or levels.kana == N_MISSING) and (near_written or levels.name == N_MISSING):
        return GRADE_NEAR_NAME
    if levels.date > D_EQUAL:
        return GRADE_NEAR_DATE
    if candidate.earlier:
        return GRADE_EARLIER
    if near_reading or levels.name == N_MISSING or near_written:
        return GRADE_KANA if not near_reading else GRADE_NEAR_NAME
    if levels.name == N_FOLDED or levels.kana == N_FOLDED or (levels.place != P_MISSING and not levels.place_exact):
        return GRADE_FOLDED
    return GRADE_EXACT


cdef extern from *:
    """
    #include <math.h>
    #define jukinet_popcount(value) __builtin_popcount(value)
    #define jukinet_log(value) log(value)
    """
    int popcount "jukinet_popcount" (uint32_t value) noexcept nogil
    double log_of "jukinet_log" (double value) noexcept nogil
