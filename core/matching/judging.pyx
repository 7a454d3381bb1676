"""What a row is answered: the probability of its candidates, who is told, and how they were found."""

from libc.math cimport exp, log
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from jukinet.core.matching.candidates cimport BY_ELSEWHERE, STEPS, Candidate, Row, whole_name
from jukinet.core.matching.items cimport Asked, Levels
from jukinet.core.matching.model cimport (
    D_EQUAL, D_YEAR, N_FOLDED, N_MISSING, P_BUILDING, P_EQUAL, P_MISSING, P_TOWN, X_EQUAL, ModelView, found_share,
)

from jukinet.core import limits
from jukinet.core.matching.levels import TOLD_OF_DATE, TOLD_OF_KANA, TOLD_OF_NAME, TOLD_OF_PLACE, TOLD_OF_SEX

cdef enum:
    GRADE_EXACT = 1
    GRADE_FOLDED = 2
    GRADE_KANA = 3
    GRADE_EARLIER = 4
    GRADE_NEAR_DATE = 5
    GRADE_NEAR_NAME = 6
    LEVEL_FOLDED = 2
    LEVEL_EARLIER = 4

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


cdef void tell_nothing(Judging *judging, size_t at, Row *row, uint8_t status) noexcept nogil:
    judging.told.statuses[at] = status
    judging.told.keys[at] = 0
    judging.told.grades[at] = 0
    judging.told.probabilities[at] = judging.told.margins[at] = 0.0
    judging.told.candidates[at] = 0
    memset(judging.told.levels + LEVELS_ROW * at, 0, LEVELS_ROW)
    row.open = False


cdef double not_compared(const ModelView *model, const Row *row, double highest) noexcept nogil:
    """Weight of the people elsewhere who were not compared: each weighs what those of them weigh in the mean who were."""
    cdef double weight = 0.0
    cdef uint32_t k, compared = 0
    for k in range(row.count):
        if row.candidates[k].by & BY_ELSEWHERE:
            compared += 1
            if row.candidates[k].compared == 1:
                weight += exp(model.log_in_register + row.candidates[k].levels.ratio - highest)
    return weight / compared * (row.elsewhere - compared) if 0 < compared < row.elsewhere else 0.0


cdef void judge(Judging *judging, Row *row, size_t at, int step) noexcept nogil:
    """Weigh a row's candidates; answer it when one is sure enough, or after the last step."""
    cdef const ModelView *model = judging.model
    cdef double share = found_share(model, step, row.asked.kana_length > 0, row.asked.birth_date != 0)
    cdef double nobody = log((1.0 - model.in_register * share) * model.residents)
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
    weight += not_compared(model, row, highest)
    total += weight
    chance = exp(best - highest) / total if any_found else 0.0
    next_chance = exp(second - highest) / total if second > -1e299 else 0.0
    if chance >= judging.match_threshold and chance - next_chance >= judging.margin_min and not row.more:
        tell_one(judging, row, &row.candidates[best_place], at, chance, chance - next_chance, highest, total)
        return
    if step < STEPS - 1 and not (step == 1 and not row.asked.birth_date):
        return
    for k in range(row.count):
        if row.candidates[k].compared == 1:
            value = exp(model.log_in_register + row.candidates[k].levels.ratio - highest) / total
            above += value >= judging.candidate_threshold
    tell_nothing(judging, at, row, FOUND_NONE)
    if row.more:
        judging.told.statuses[at] = FOUND_TOO_MANY
    elif weight / total >= judging.candidate_threshold and any_found:
        judging.told.statuses[at] = FOUND_SEVERAL
        judging.told.probabilities[at] = <float>chance
        judging.told.margins[at] = <float>(chance - next_chance)
        judging.told.candidates[at] = <uint16_t>(above if above else 1)
    elif may_be_elsewhere(judging, &row.asked):
        judging.told.statuses[at] = FOUND_NONE_NOT_CONNECTED


cdef bint may_be_elsewhere(Judging *judging, const Asked *asked) noexcept nogil:
    """Whether an area that is not connected could hold the person."""
    cdef int i
    if judging.not_connected_count == 0 and not judging.not_all_known:
        return False
    if not asked.placed or asked.address_parts.municipality == 0 or judging.not_all_known:
        return True
    for i in range(judging.not_connected_count):
        if judging.not_connected[i] == asked.address_parts.municipality:
            return True
    return False


cdef void tell_one(Judging *judging, Row *row, const Candidate *candidate, size_t at, double chance, double margin, double highest, double total
) noexcept nogil:
    cdef uint32_t k, above = 0
    for k in range(row.count):
        if row.candidates[k].compared == 1:
            above += exp(
                judging.model.log_in_register + row.candidates[k].levels.ratio - highest
            ) / total >= judging.candidate_threshold
    judging.told.statuses[at] = FOUND_ONE
    judging.told.keys[at] = candidate.key
    judging.told.grades[at] = grade_of(candidate)
    judging.told.probabilities[at] = <float>chance
    judging.told.margins[at] = <float>margin
    judging.told.candidates[at] = <uint16_t>above
    tell_levels(candidate, judging.told.levels + LEVELS_ROW * at)
    row.open = False


cdef void tell_hits(Judging *judging, Row *row, size_t at, int step, const Searched *told) noexcept nogil:
    """Answer a row of a SEARCH with the candidates that agree, the likeliest first."""
    cdef const ModelView *model = judging.model
    cdef double share = found_share(model, step, row.asked.kana_length > 0, row.asked.birth_date != 0)
    cdef double highest = log((1.0 - model.in_register * share) * model.residents), total, value
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
    tell_nothing(judging, at, row, FOUND_NONE)
    told.found[at] = 0
    if more:
        judging.told.statuses[at] = FOUND_TOO_MANY
        return
    if hits == 0:
        if may_be_elsewhere(judging, &row.asked):
            judging.told.statuses[at] = FOUND_NONE_NOT_CONNECTED
        return
    total = exp(nobody - highest)
    for k in range(row.count):
        if row.candidates[k].compared == 1:
            total += exp(model.log_in_register + row.candidates[k].levels.ratio - highest)
    total += not_compared(model, row, highest)
    judging.told.statuses[at] = FOUND_ONE if hits == 1 else FOUND_SEVERAL
    told.found[at] = <uint8_t>hits
    for place in range(hits):
        candidate = &row.candidates[chosen[place]]
        told.keys[out + place] = candidate.key
        told.grades[out + place] = grade_of(candidate)
        told.probabilities[out + place] = <float>(
            exp(model.log_in_register + candidate.levels.ratio - highest) / total)
        tell_levels(candidate, told.levels + LEVELS_ROW * (out + place))
