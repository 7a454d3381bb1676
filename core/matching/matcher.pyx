"""MATCH in place: rows of questions against the register, with the memory of many rows under way (docs/matching.md).

Theory of operation. Rows go in groups. For the rows of a group that have no answer yet each step gathers keys from the identity
index, finds the records of all of them in one sweep of the resident table (core.index.gather), compares, and judges. Most
rows end with the first step, in which every access to memory was asked for in advance. Index entries of earlier names lead
to persons whose present record does not agree; the history of these few is read with the GIL, between two steps.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from jukinet.core.folding.addresses cimport Address, fold_address
from jukinet.core.matching.candidates cimport (
    CHANGES_MAX, EARLIER_MAX, GROUP, STEPS, Candidate, Followed, Gathering, Row, agrees_with_index, follow, gather,
    gathering_free, gathering_prepare,
)
from jukinet.core.matching.items cimport (
    ADDRESS_ROOM, ITEM_BAD_ADDRESS, ITEM_BAD_KANA, ITEM_BAD_NAME, Asked, Levels, ask, compare_record,
)
from jukinet.core.matching.judging cimport (
    AREAS_KNOWN, FOUND_BAD_ADDRESS, FOUND_BAD_KANA, FOUND_BAD_NAME, FOUND_TOO_FEW_ITEMS, HITS_MAX, LEVELS_ROW, Judging,
    Searched, judge, tell_hits, tell_nothing,
)
from jukinet.core.matching.model cimport Model
from jukinet.core.records.record cimport ResidentRecord, record_decode
from jukinet.core.store.snapshot cimport RegisterView, Snapshot

from jukinet.core.errors import StoreCorruptError


cdef double NOBODY = -1e300


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


cdef class MatchBatch:
    """One MATCH under way; reusable. begin() states questions and answers, run() answers rows [start, stop) in ascending pieces.

    model: core.matching.model.Model. rules: columns.MatchRules. histories: a callable key -> list of (status, record bytes)
    of the earlier records of a key that may be used; it is called with the GIL, for few rows, in the thread of run().
    """

    cdef Model model
    cdef Py_buffer buffers[15]
    cdef int buffers_held
    cdef Columns columns
    cdef Gathering gathering
    cdef Judging judging
    cdef Row *rows                  # those of gathering
    cdef readonly size_t count
    cdef readonly size_t done
    cdef readonly uint64_t version
    cdef uint64_t ended[STEPS]
    cdef object areas               # of which judging knows those that are not connected

    def __cinit__(self, Model model not None, rules):
        self.buffers_held = 0
        self.model = model
        memset(&self.judging, 0, sizeof(Judging))
        self.judging.model = &model.view
        self.judging.match_threshold = rules.match_threshold
        self.judging.candidate_threshold = rules.candidate_threshold
        self.judging.margin_min = rules.margin_min
        if not gathering_prepare(&self.gathering, &model.view):
            raise MemoryError
        self.rows = self.gathering.rows

    def __dealloc__(self):
        self._let_go()
        gathering_free(&self.gathering)

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
        self.judging.told.statuses = <uint8_t *>self._take(answers.statuses, n, True)
        self.judging.told.keys = <uint64_t *>self._take(answers.keys, 8 * n, True)
        self.judging.told.grades = <uint8_t *>self._take(answers.grades, n, True)
        self.judging.told.probabilities = <float *>self._take(answers.probabilities, 4 * n, True)
        self.judging.told.margins = <float *>self._take(answers.margins, 4 * n, True)
        self.judging.told.levels = <uint8_t *>self._take(answers.levels, LEVELS_ROW * n, True)
        self.judging.told.candidates = <uint16_t *>self._take(answers.candidates, 2 * n, True)
        memset(self.ended, 0, sizeof(self.ended))
        self.gathering.compared = self.gathering.placed = 0
        self.count = n

    @property
    def work(self):
        """Rows that ended with each step, and records compared, of the batch so far: for measurements."""
        return [self.ended[step] for step in range(STEPS)], self.gathering.compared

    @property
    def placed(self):
        """People of whom only the area was looked at, of the batch so far: for measurements."""
        return self.gathering.placed

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
        self._learn_areas(snapshot)
        self.version = snapshot.version
        for first in range(start, stop, GROUP):
            count = stop - first if stop - first < GROUP else GROUP
            self._group(snapshot, first, count, histories, observe)
        self.done = stop

    cdef int _learn_areas(self, Snapshot snapshot) except -1:
        """The municipalities that are not connected, as folded addresses name them; once for each list of areas."""
        cdef Address parts
        cdef uint8_t folded[ADDRESS_ROOM]
        cdef bytes text
        if self.areas is snapshot.places.areas:
            return 0
        self.areas = snapshot.places.areas
        self._place_areas()
        self.judging.not_connected_count = 0
        self.judging.not_all_known = False
        for area in snapshot.places.areas:
            if area.connected:
                continue
            text = area.name.encode()
            if (
                fold_address(text, <int>len(text), folded, ADDRESS_ROOM, &parts) < 0 or parts.municipality == 0
                or self.judging.not_connected_count == AREAS_KNOWN
            ):
                self.judging.not_all_known = True
                continue
            self.judging.not_connected[self.judging.not_connected_count] = parts.municipality
            self.judging.not_connected_count += 1
        return 0

    cdef int _place_areas(self) except -1:
        """Municipality and prefecture of each area, as folded addresses name them."""
        cdef Address parts
        cdef uint8_t folded[ADDRESS_ROOM]
        cdef bytes text
        cdef size_t place
        for place, area in enumerate(self.areas):
            text = area.name.encode()
            if fold_address(text, <int>len(text), folded, ADDRESS_ROOM, &parts) < 0:
                parts.municipality = parts.prefecture = 0
            self.gathering.municipalities[place] = parts.municipality
            self.gathering.prefectures[place] = parts.prefecture
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
                whole = gather(&self.gathering, &snapshot.view, &snapshot.identity, step, count, &wanted)
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
            row.elsewhere = 0
            row.open = True
            if self.judging.told.statuses[at] != 0:         # refused before; left as it is
                tell_nothing(&self.judging, at, row, self.judging.told.statuses[at])
                continue
            ask(
                asked, c.names + c.name_offsets[at], c.name_offsets[at + 1] - c.name_offsets[at],
                c.kanas + c.kana_offsets[at], c.kana_offsets[at + 1] - c.kana_offsets[at], c.birth_dates[at], c.sexes[at],
                c.addresses + c.address_offsets[at], c.address_offsets[at + 1] - c.address_offsets[at])
            if asked.bad & ITEM_BAD_NAME:
                tell_nothing(&self.judging, at, row, FOUND_BAD_NAME)
            elif asked.bad & ITEM_BAD_KANA:
                tell_nothing(&self.judging, at, row, FOUND_BAD_KANA)
            elif asked.bad & ITEM_BAD_ADDRESS:
                tell_nothing(&self.judging, at, row, FOUND_BAD_ADDRESS)
            elif not (asked.kana_length or asked.name_length) or not (asked.birth_date or asked.placed):
                tell_nothing(&self.judging, at, row, FOUND_TOO_FEW_ITEMS)

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
                if looked < EARLIER_MAX:
                    looked += 1
                    if candidate.successor:
                        candidate.compared = 1
                        candidate.levels.ratio = NOBODY
                    for status, data in histories(candidate.key):
                        self._compare_earlier(row, candidate, &snapshot.view, status, data)
                if candidate.compared == 1 and (
                    candidate.levels.ratio == NOBODY or not agrees_with_index(candidate)
                ):
                    candidate.compared = 2      # another name with the same bits of its hash
                elif candidate.successor and candidate.compared == 1:
                    self._follow(row, candidate, &snapshot.view)
        return 0

    cdef int _follow(self, Row *row, Candidate *candidate, const RegisterView *view) except -1:
        """A candidate under a code that was changed becomes whoever has the code that followed; nobody, if nobody has."""
        cdef Followed followed
        cdef size_t k
        cdef int steps
        cdef uint64_t key = 0
        followed.model, followed.view, followed.asked = &self.model.view, view, &row.asked
        followed.successor, followed.person = candidate.successor, False
        for steps in range(CHANGES_MAX):
            if followed.successor == 0:
                break
            key = followed.successor - 1
            if not follow(&followed, key):
                raise StoreCorruptError("a block or record is damaged; run `jukinet store check`")
        if not followed.person:
            candidate.compared = 2
            return 0
        for k in range(row.count):
            if row.candidates[k].key == key:
                # Found by this code as well: the better of the two is theirs.
                if row.candidates[k].compared == 1 and candidate.levels.ratio > row.candidates[k].levels.ratio:
                    row.candidates[k].levels = candidate.levels
                    row.candidates[k].earlier = 1
                    row.candidates[k].by |= candidate.by
                if row.candidates[k].compared == 1:
                    candidate.compared = 2
                    return 0
                row.candidates[k].wants_history = 2
        candidate.key = key
        candidate.earlier = followed.levels.ratio < candidate.levels.ratio
        if not candidate.earlier:
            candidate.levels = followed.levels
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
                judge(&self.judging, &self.rows[i], first + i, step)
                still += self.rows[i].open
                self.ended[step] += not self.rows[i].open
        return still

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
        self._learn_areas(snapshot)
        for first in range(start, stop, GROUP):
            count = stop - first if stop - first < GROUP else GROUP
            with nogil:
                self._ask(first, count)
            for step in range(2):
                with nogil:
                    whole = gather(&self.gathering, &snapshot.view, &snapshot.identity, step, count, &wanted)
                if not whole:
                    raise StoreCorruptError("a block or record is damaged; run `jukinet store check`")
                if wanted:
                    self._look_back(snapshot, count, histories)
                with nogil:
                    for i in range(count):
                        row = &self.rows[i]
                        # A whole date is looked for among equal dates; lists are for dates known in part, and for none.
                        if row.open and (step == 1 or row.asked.birth_date & 0x1F):
                            tell_hits(&self.judging, row, first + i, step, &told)
