"""Native kernel of the watch: notes requests, and works the notes off into sketches and findings (docs/detection.md).

Theory of operation. ``Notes`` belongs to one event loop: ``note`` writes one entry into a buffer of fixed size and never
waits; a full buffer loses the entry and counts it. ``Watch.work``, in another thread, exchanges the buffer for its empty
twin (both under the interpreter's lock, so they never meet) and works it off without that lock. All state lies in one
block of memory that the caller gives: several processes may share it when each holds a lock of the caller's around
``work``. Whatever stands in that memory, no index is taken from it unchecked.
"""

import hashlib

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport exp2, floor, ldexp, log
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport clock_gettime, timespec

from jukinet.core.vocabulary import CODE_END as CODE_END_VALUE
from jukinet.core.vocabulary import Function, Outcome
from jukinet.core.watch.rules import Finding, Rule

cdef extern from "<time.h>" nogil:
    int CLOCK_REALTIME_COARSE

cdef extern from *:
    int popcount "__builtin_popcountll" (uint64_t) nogil
    int trailing_zeros "__builtin_ctzll" (uint64_t) nogil

MAGIC = int.from_bytes(b"JKNWATC2", "little")

cdef enum:
    HEADER = 4_096
    OPERATORS = 4_096
    HABITS = 4_096
    ALARMS = 4_096
    PROBES = 8
    REGISTERS = 256
    ROWS = 4
    CELLS = 131_072
    SINGLE_MAX = 16
    FINDINGS_MAX = 256
    HOURS_MAX = 1_440       # 60 days: what is usual has faded by then to a two-thousandth
    FLAG_BY_CODE = 1
    FLAG_BATCH = 2

    ABSENT = 1
    CHECK_DIGITS = 2
    SEQUENTIAL = 3
    RATE = 4
    NIGHT = 5
    FIRST_USE = 6
    MANY_AFFAIRS = 7
    ONE_AT_A_TIME = 8

cdef uint64_t CODE_END = CODE_END_VALUE
cdef uint64_t MAGIC_NUMBER = MAGIC
cdef uint32_t BY_CODE = Function.LOOKUP | Function.STATUS | Function.VERIFY | Function.HISTORY
cdef uint8_t UNKNOWN = Outcome.UNKNOWN
cdef uint8_t BAD_CHECK_DIGIT = Outcome.BAD_CHECK_DIGIT
cdef uint8_t MALFORMED = Outcome.MALFORMED
cdef double USUAL_NONE = 0.01
cdef double JAPAN_SECONDS = 32_400.0

cdef struct Header:
    uint64_t magic
    uint64_t key[2]
    double created
    int64_t generation
    uint64_t alarms
    uint64_t affairs        # so many affairs have been numbered

cdef struct Operator:
    uint64_t key
    double seen
    double asked
    double absent
    double wrong
    double near
    int64_t hour
    double usual
    uint8_t registers[REGISTERS]

cdef struct Habit:
    uint64_t key
    double seen
    int64_t hour
    double count
    double usual[24]
    uint64_t number         # an affair's, from 1 in the order of first use; 0: none yet

cdef struct Given:
    uint64_t key
    double time

cdef struct Entry:
    double time
    uint64_t operator
    uint64_t body
    uint64_t affair
    uint32_t flags
    uint32_t asked
    uint32_t absent
    uint32_t wrong
    uint32_t near
    uint32_t singles        # so many codes, u64, follow

cdef struct Last:
    uint64_t operator
    uint64_t code

cdef struct Found:
    int rule
    double time
    uint64_t operator
    uint64_t body
    uint64_t affair
    uint64_t code
    double value
    double limit

cdef struct Limits:
    double half_life, absent_min, absent_share, wrong_min, wrong_share, near_min, near_share
    double rate_min, rate_factor
    int night_from, night_until
    double first_use
    int affairs_min
    double affairs, persons_min, persons_factor, learning, repeat

cdef struct State:
    Header *header
    Operator *operators
    Habit *habits
    Given *given
    uint64_t *cells
    Found *found
    size_t findings
    uint64_t suppressed
    uint64_t lost

STATE_BYTES = HEADER + OPERATORS * sizeof(Operator) + HABITS * sizeof(Habit) + ALARMS * sizeof(Given) \
    + 2 * ROWS * CELLS * sizeof(uint64_t)
"""Length of the shared memory: header, tables and sketches."""
SINGLE_CODES_MAX = SINGLE_MAX
"""A request of at most so many codes asks for persons singly."""


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    """splitmix64 (Steele, Lea, Flood 2014)."""
    value += <uint64_t>0x9E3779B97F4A7C15
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EB
    return value ^ (value >> 31)


cdef inline bint is_near(uint64_t code, uint64_t other, uint64_t gap) noexcept nogil:
    return code != other and (code - other if code > other else other - code) <= gap


cdef class Watched:
    """Whose requests they are: the keyed hashes of operator, body and affair."""

    cdef readonly uint64_t operator, body, affair
    cdef readonly bint batch

    def __cinit__(self, uint64_t operator, uint64_t body, uint64_t affair, bint batch=False):
        self.operator, self.body, self.affair, self.batch = operator, body, affair, batch


cdef class Notes:
    """Requests that wait to be worked off, in a buffer of ``bytes_max``.

    Invariant: the first ``used`` bytes of ``memory`` are whole entries, each followed by its codes. What each operator
    asked last is kept here, in this process's own memory, and never in the state, which is a file.
    """

    cdef Last *last
    cdef unsigned char *memory
    cdef unsigned char *spare
    cdef size_t used, bytes_max
    cdef readonly uint64_t noted, passed_over
    cdef uint64_t gap

    def __cinit__(self, size_t bytes_max, uint64_t gap):
        if bytes_max < sizeof(Entry) + SINGLE_MAX * 8:
            raise ValueError("the buffer cannot hold one entry")
        self.bytes_max, self.gap = bytes_max, gap
        self.memory = <unsigned char *>malloc(bytes_max)
        self.spare = <unsigned char *>malloc(bytes_max)
        self.last = <Last *>calloc(OPERATORS, sizeof(Last))
        if self.memory == NULL or self.spare == NULL or self.last == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.memory)
        free(self.spare)
        free(self.last)

    def note(self, Watched whose not None, codes, outcomes, uint32_t function, double time=0.0):
        """Note a request that was answered. codes: u64; outcomes: u8, one for each code; time: seconds since 1970, 0: now.

        Raises ValueError for columns of different lengths.
        """
        cdef Py_buffer code_view, outcome_view
        cdef timespec now
        PyObject_GetBuffer(codes, &code_view, PyBUF_SIMPLE)
        try:
            PyObject_GetBuffer(outcomes, &outcome_view, PyBUF_SIMPLE)
            try:
                if code_view.len % 8 or code_view.len // 8 != outcome_view.len:
                    raise ValueError("codes must be u64 and outcomes u8, one for each code")
                if self.used + sizeof(Entry) + SINGLE_MAX * 8 > self.bytes_max:
                    self.passed_over += 1
                    return
                if time == 0.0:
                    clock_gettime(CLOCK_REALTIME_COARSE, &now)
                    time = <double>now.tv_sec + <double>now.tv_nsec * 1e-9
                self._write(
                    whose, <const unsigned char *>code_view.buf, <const uint8_t *>outcome_view.buf,
                    <size_t>outcome_view.len, function, time,
                )
                self.noted += 1
            finally:
                PyBuffer_Release(&outcome_view)
        finally:
            PyBuffer_Release(&code_view)

    cdef void _write(
        self, Watched whose, const unsigned char *codes, const uint8_t *outcomes, size_t count, uint32_t function,
        double time,
    ) noexcept:
        cdef Entry entry
        cdef unsigned char *out = self.memory + self.used + sizeof(Entry)
        cdef uint64_t code = 0, before = 0, gap = self.gap
        cdef uint32_t absent = 0, wrong = 0, near = 0
        cdef size_t row
        cdef uint8_t outcome
        cdef Last *last = self.last + ((whose.operator >> 1) & (OPERATORS - 1))
        memset(&entry, 0, sizeof(Entry))
        entry.time, entry.operator, entry.body, entry.affair = time, whose.operator, whose.body, whose.affair
        entry.asked = <uint32_t>count
        if whose.batch:
            entry.flags |= FLAG_BATCH
        if function & BY_CODE and count:
            entry.flags |= FLAG_BY_CODE
            for row in range(count):
                outcome = outcomes[row]
                absent += outcome == UNKNOWN
                wrong += <int>(outcome == BAD_CHECK_DIGIT) | <int>(outcome == MALFORMED)
            memcpy(&before, codes, 8)
            near = last.operator == whose.operator and is_near(before, last.code, gap)
            for row in range(1, count):
                memcpy(&code, codes + row * 8, 8)
                near += is_near(code, before, gap)
                before = code
            last.operator, last.code = whose.operator, before
            entry.absent, entry.wrong, entry.near = absent, wrong, near
        if count <= SINGLE_MAX:
            for row in range(count):
                memcpy(&code, codes + row * 8, 8)
                if code >= CODE_END or (entry.flags & FLAG_BY_CODE and UNKNOWN <= outcomes[row] <= MALFORMED):
                    continue
                memcpy(out, &code, 8)
                out += 8
                entry.singles += 1
        memcpy(self.memory + self.used, &entry, sizeof(Entry))
        self.used = <size_t>(out - self.memory)


# ------------------------------------------------------------------------------------------------------ tables

cdef Operator *operator_of(State *state, uint64_t key, double time, int64_t hour) noexcept nogil:
    cdef Operator *slot
    cdef Operator *oldest = NULL
    cdef size_t probe
    for probe in range(PROBES):
        slot = state.operators + ((key + probe) & (OPERATORS - 1))
        if slot.key == key:
            return slot
        if slot.key == 0:
            oldest = slot
            break
        if oldest == NULL or slot.seen < oldest.seen:
            oldest = slot
    memset(oldest, 0, sizeof(Operator))
    oldest.key, oldest.seen, oldest.hour = key, time, hour
    return oldest


cdef Habit *habit_of(State *state, uint64_t key, double time, int64_t hour, bint *is_new) noexcept nogil:
    cdef Habit *slot
    cdef Habit *oldest = NULL
    cdef size_t probe
    is_new[0] = False
    for probe in range(PROBES):
        slot = state.habits + ((key + probe) & (HABITS - 1))
        if slot.key == key:
            return slot
        if slot.key == 0:
            oldest = slot
            break
        if oldest == NULL or slot.seen < oldest.seen:
            oldest = slot
    is_new[0] = True
    memset(oldest, 0, sizeof(Habit))
    oldest.key, oldest.seen, oldest.hour = key, time, hour
    return oldest


cdef bint may_alarm(State *state, uint64_t subject, int rule, double time, double repeat) noexcept nogil:
    """Whether no alarm of this rule about this subject was given lately; it counts as given now."""
    cdef uint64_t key = mixed(subject ^ mixed(<uint64_t>rule)) | 1
    cdef Given *slot
    cdef Given *oldest = NULL
    cdef size_t probe
    for probe in range(PROBES):
        slot = state.given + ((key + probe) & (ALARMS - 1))
        if slot.key == key:
            if slot.time <= time and time - slot.time < repeat:
                return False
            oldest = slot
            break
        if slot.key == 0:
            oldest = slot
            break
        if oldest == NULL or slot.time < oldest.time:
            oldest = slot
    oldest.key, oldest.time = key, time
    return True


cdef void alarm(
    State *state, const Limits *limits, const Entry *entry, int rule, uint64_t subject, uint64_t code, double value,
    double limit,
) noexcept nogil:
    cdef Found *found
    if state.findings == FINDINGS_MAX:
        state.lost += 1
        return
    if not may_alarm(state, subject, rule, entry.time, limits.repeat):
        state.suppressed += 1
        return
    found = state.found + state.findings
    state.findings += 1
    found.rule, found.time, found.code, found.value, found.limit = rule, entry.time, code, value, limit
    found.operator, found.body, found.affair = entry.operator, entry.body, entry.affair


# ------------------------------------------------------------------------------------------------------- rules

cdef void operator_rules(State *state, const Limits *limits, const Entry *entry, Operator *slot) noexcept nogil:
    cdef double age = entry.time - slot.seen
    cdef double factor = exp2(-age / limits.half_life) if age > 0 else 1.0
    slot.asked = slot.asked * factor + entry.asked
    slot.absent = slot.absent * factor + entry.absent
    slot.wrong = slot.wrong * factor + entry.wrong
    slot.near = slot.near * factor + entry.near
    if limits.absent_min > 0 and slot.absent >= limits.absent_min and slot.absent >= limits.absent_share * slot.asked:
        alarm(state, limits, entry, ABSENT, slot.key, CODE_END, slot.absent, limits.absent_min)
    if limits.wrong_min > 0 and slot.wrong >= limits.wrong_min and slot.wrong >= limits.wrong_share * slot.asked:
        alarm(state, limits, entry, CHECK_DIGITS, slot.key, CODE_END, slot.wrong, limits.wrong_min)
    if limits.near_min > 0 and slot.near >= limits.near_min and slot.near >= limits.near_share * slot.asked:
        alarm(state, limits, entry, SEQUENTIAL, slot.key, CODE_END, slot.near, limits.near_min)


cdef double different(const uint8_t *registers) noexcept nogil:
    """HyperLogLog's estimate (Flajolet and others 2007), linear counting while registers are empty."""
    cdef double total = 0.0, estimate
    cdef int row, empty = 0
    for row in range(REGISTERS):
        total += ldexp(1.0, -<int>registers[row])
        empty += registers[row] == 0
    estimate = 0.7213 / (1.0 + 1.079 / REGISTERS) * REGISTERS * REGISTERS / total
    if estimate <= 2.5 * REGISTERS and empty:
        estimate = REGISTERS * log(<double>REGISTERS / empty)
    return estimate


cdef void person_rule(
    State *state, const Limits *limits, const Entry *entry, const unsigned char *codes, Operator *slot, int64_t hour,
) noexcept nogil:
    cdef uint64_t code, value
    cdef uint8_t rank
    cdef double persons, limit
    cdef bint changed = False
    cdef size_t row
    if hour > slot.hour:
        persons = different(slot.registers)
        if persons > 0:
            slot.usual += (persons - slot.usual) / 8
        memset(slot.registers, 0, REGISTERS)
        slot.hour = hour
    for row in range(entry.singles):
        memcpy(&code, codes + row * 8, 8)
        value = mixed(mixed(code ^ state.header.key[0]) ^ state.header.key[1])
        rank = <uint8_t>(1 + trailing_zeros((value >> 8) | <uint64_t>1 << 56))
        if rank > slot.registers[value & (REGISTERS - 1)]:
            slot.registers[value & (REGISTERS - 1)] = rank
            changed = True
    if changed and limits.persons_min > 0:
        persons = different(slot.registers)
        limit = max(limits.persons_min, limits.persons_factor * slot.usual)
        if persons > limit:
            alarm(state, limits, entry, ONE_AT_A_TIME, slot.key, CODE_END, persons, limit)


cdef void affair_count_rule(
    State *state, const Limits *limits, const Entry *entry, const unsigned char *codes, uint64_t number,
) noexcept nogil:
    cdef int64_t generation = <int64_t>floor(entry.time / (limits.affairs / 2))
    cdef uint64_t code, value, step, place, bit = <uint64_t>1 << (number & 63), common
    cdef uint64_t *now
    cdef uint64_t *past
    cdef size_t row, line
    if generation > state.header.generation:
        memset(state.cells + (generation & 1) * ROWS * CELLS, 0, ROWS * CELLS * 8)
        if generation - 1 != state.header.generation:
            memset(state.cells + (1 - (generation & 1)) * ROWS * CELLS, 0, ROWS * CELLS * 8)
        state.header.generation = generation
    now = state.cells + (state.header.generation & 1) * ROWS * CELLS
    past = state.cells + (1 - (state.header.generation & 1)) * ROWS * CELLS
    for row in range(entry.singles):
        memcpy(&code, codes + row * 8, 8)
        value = mixed(code ^ state.header.key[0])
        step = mixed(value ^ state.header.key[1]) | 1
        common = <uint64_t>-1
        for line in range(ROWS):
            place = line * CELLS + ((value + line * step) & (CELLS - 1))
            now[place] |= bit
            common &= now[place] | past[place]
        if popcount(common) >= limits.affairs_min:
            alarm(state, limits, entry, MANY_AFFAIRS, value, code, popcount(common), limits.affairs_min)


cdef void roll(Habit *slot, int64_t hour) noexcept nogil:
    """Take the hours that have passed into what is usual."""
    cdef int64_t passed
    if slot.hour >= hour:
        return
    if slot.hour < max(<int64_t>0, hour - HOURS_MAX):
        memset(slot.usual, 0, sizeof(slot.usual))
    else:
        slot.usual[slot.hour % 24] += (slot.count - slot.usual[slot.hour % 24]) / 8
        for passed in range(slot.hour + 1, hour):
            slot.usual[passed % 24] -= slot.usual[passed % 24] / 8
    slot.count = 0
    slot.hour = hour


cdef inline bint is_night(const Limits *limits, int hour) noexcept nogil:
    if limits.night_from <= limits.night_until:
        return limits.night_from <= hour < limits.night_until
    return hour >= limits.night_from or hour < limits.night_until


cdef uint64_t habit_rules(State *state, const Limits *limits, const Entry *entry, int64_t hour) noexcept nogil:
    """The number of the entry's affair."""
    cdef bint learned = entry.time - state.header.created >= limits.learning
    cdef bint is_new
    cdef int of_day = <int>(hour % 24)
    cdef double away, limit
    cdef Habit *slot = habit_of(state, entry.body, entry.time, hour, &is_new)
    roll(slot, hour)
    slot.count += entry.asked
    slot.seen = max(slot.seen, entry.time)
    limit = max(limits.rate_min, limits.rate_factor * slot.usual[of_day])
    if limits.rate_min > 0 and learned and slot.count > limit:
        alarm(state, limits, entry, RATE, slot.key, CODE_END, slot.count, limit)
    slot = habit_of(state, entry.affair, entry.time, hour, &is_new)
    away = entry.time - slot.seen
    if limits.first_use > 0 and learned and (is_new or away > limits.first_use):
        alarm(state, limits, entry, FIRST_USE, slot.key, CODE_END, 0.0 if is_new else away / 86_400, limits.first_use / 86_400)
    roll(slot, hour)
    if limits.night_from != limits.night_until and learned and is_night(limits, of_day) and (
        slot.usual[of_day] < USUAL_NONE
    ):
        alarm(state, limits, entry, NIGHT, mixed(entry.operator) ^ entry.affair, CODE_END, of_day, limits.night_from)
    slot.count += entry.asked
    slot.seen = max(slot.seen, entry.time)
    if slot.number == 0:
        state.header.affairs += 1
        slot.number = state.header.affairs
    return slot.number


cdef void work_off(State *state, const Limits *limits, const unsigned char *memory, size_t used) noexcept nogil:
    cdef Entry entry
    cdef const unsigned char *codes
    cdef size_t place = 0
    cdef Operator *slot
    cdef int64_t hour
    cdef uint64_t number
    while place < used:
        memcpy(&entry, memory + place, sizeof(Entry))
        codes = memory + place + sizeof(Entry)
        place += sizeof(Entry) + entry.singles * 8
        hour = <int64_t>floor((entry.time + JAPAN_SECONDS) / 3_600)
        slot = operator_of(state, entry.operator, entry.time, hour)
        if entry.flags & FLAG_BY_CODE:
            operator_rules(state, limits, &entry, slot)
        slot.seen = max(slot.seen, entry.time)
        if entry.singles and not entry.flags & FLAG_BATCH:
            person_rule(state, limits, &entry, codes, slot, hour)
        number = habit_rules(state, limits, &entry, hour)
        if entry.singles and limits.affairs_min > 0:
            affair_count_rule(state, limits, &entry, codes, number)


cdef class Watch:
    """The rules over one state.

    memory: STATE_BYTES of writable memory, which may be shared; it must be held exclusively during ``work`` and
    ``next_alarm``. thresholds: jukinet.core.watch.rules.Thresholds.
    """

    cdef Py_buffer view
    cdef bint has_view
    cdef State state
    cdef Limits limits
    cdef readonly uint64_t suppressed, lost

    def __cinit__(self, memory, thresholds):
        cdef unsigned char *place
        PyObject_GetBuffer(memory, &self.view, PyBUF_WRITABLE)
        self.has_view = True
        if <size_t>self.view.len < <size_t>STATE_BYTES:
            raise ValueError("the state is too short")
        place = <unsigned char *>self.view.buf
        self.state.header = <Header *>place
        place += HEADER
        self.state.operators = <Operator *>place
        place += OPERATORS * sizeof(Operator)
        self.state.habits = <Habit *>place
        place += HABITS * sizeof(Habit)
        self.state.given = <Given *>place
        place += ALARMS * sizeof(Given)
        self.state.cells = <uint64_t *>place
        self.state.found = <Found *>malloc(FINDINGS_MAX * sizeof(Found))
        if self.state.found == NULL:
            raise MemoryError
        self._take_up(thresholds)

    cdef _take_up(self, thresholds):
        cdef Limits *limits = &self.limits
        limits.half_life = thresholds.half_life_seconds
        limits.absent_min, limits.absent_share = thresholds.absent_codes_min, thresholds.absent_share_min
        limits.wrong_min, limits.wrong_share = thresholds.check_digit_codes_min, thresholds.check_digit_share_min
        limits.near_min, limits.near_share = thresholds.sequential_codes_min, thresholds.sequential_share_min
        limits.rate_min, limits.rate_factor = thresholds.rate_codes_min, thresholds.rate_factor
        limits.night_from, limits.night_until = thresholds.night_from, thresholds.night_until
        limits.first_use = thresholds.first_use_seconds
        limits.affairs_min, limits.affairs = thresholds.affairs_min, thresholds.affairs_seconds
        limits.persons_min, limits.persons_factor = thresholds.persons_per_hour_min, thresholds.persons_factor
        limits.learning, limits.repeat = thresholds.learning_seconds, thresholds.repeat_seconds
        if limits.half_life <= 0 or limits.affairs <= 0:
            raise ValueError("half-life and window must be above zero")

    def __dealloc__(self):
        free(self.state.found)
        if self.has_view:
            PyBuffer_Release(&self.view)

    @property
    def is_begun(self):
        """Whether the memory holds a state of this version."""
        return self.state.header.magic == MAGIC_NUMBER

    def begin(self, bytes key not None, double now):
        """Begin the state anew. key: 16 random bytes; now: seconds since 1970."""
        if len(key) != 16:
            raise ValueError("a key has 16 bytes")
        memset(self.view.buf, 0, <size_t>STATE_BYTES)
        self.state.header.key[0] = int.from_bytes(key[:8], "little")
        self.state.header.key[1] = int.from_bytes(key[8:], "little")
        self.state.header.created = now
        self.state.header.generation = -1
        self.state.header.magic = MAGIC_NUMBER

    @property
    def created(self):
        """When the state was begun, seconds since 1970."""
        return self.state.header.created

    def key_of(self, *words):
        """The keyed hash, not 0, of texts that together name an operator, a body or an affair."""
        cdef bytes key = (
            int(self.state.header.key[0]).to_bytes(8, "little") + int(self.state.header.key[1]).to_bytes(8, "little")
        )
        text = "\0".join(words).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "little") | 1

    def next_alarm(self, uint64_t above=0):
        """The number of the next alarm, above the last one given and above ``above``."""
        self.state.header.alarms = max(self.state.header.alarms, above) + 1
        return self.state.header.alarms

    def work(self, Notes notes not None):
        """Work off what was noted: the findings, at most 256; what is beyond is counted in ``lost``."""
        cdef unsigned char *memory = notes.memory
        cdef size_t used = notes.used
        cdef Found found
        notes.memory, notes.spare, notes.used = notes.spare, memory, 0
        self.state.findings = 0
        with nogil:
            work_off(&self.state, &self.limits, memory, used)
        self.suppressed, self.lost = self.state.suppressed, self.state.lost
        findings = []
        for row in range(self.state.findings):
            found = self.state.found[row]
            findings.append(
                Finding(
                    Rule(found.rule), found.time, found.operator, found.body, found.affair,
                    None if found.code == CODE_END else found.code, found.value, found.limit,
                )
            )
        return findings
