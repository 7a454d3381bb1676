"""The people of a synthetic nation: household, ages, names, address and changes of the resident with a given number.

General theory. Numbers form groups of 16; a pattern, chosen by a hash of the group, divides a group into households. Every
draw is a hash of (seed, household or resident, number of the draw), so that one resident can be made alone and two residents
of one household agree about all that they share. Ages are in days before the nation's date.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from jukinet.core.records.record cimport (
    STATE_ALLOTTED, STATE_CURRENT, STATE_DEAD, STATE_MOVED_AWAY, STATE_REMOVED, STATE_RETIRED, decimal_date,
)
from jukinet.server.nation.draws cimport (
    AreaRow, DrawRow, KindRow, MemberRow, NameRow, OriginRow, RangeRow, TownRow, between, chosen, date_of_day,
    days_of_years, drawn, peaked, per_million, upto,
)
from jukinet.server.nation.permutation cimport (
    RESIDENTS_PER_RETIRED_CODE, key_of_number, mix64, permutation_prepare, resident_of_retired, retired_seed_key,
)

import datetime

from jukinet.core.records.resident import Resident
from jukinet.server.nation.codes import check_plan, retired_count
from jukinet.server.nation.households import KINDS

cdef enum:
    # Numbers of a household's draws.
    DRAW_BAND = 1
    DRAW_AGE
    DRAW_FAMILY
    DRAW_TOWN
    DRAW_HOUSE
    DRAW_BUILDING
    DRAW_FOREIGN
    DRAW_MOVE
    DRAW_AWAY
    DRAW_ALIAS
    # Numbers of a resident's draws.
    DRAW_MEMBER_AGE
    DRAW_GIVEN
    DRAW_STATE
    DRAW_STATE_DAY
    DRAW_CHANGE
    DRAW_CHANGE_DAY
    DRAW_REGISTERED
    DRAW_CODE
    DRAW_UNKNOWN
    DRAW_SECOND_GIVEN

cdef enum:
    REASON_MOVE_IN = 11
    REASON_BIRTH = 12
    REASON_EX_OFFICIO_ENTRY = 13
    REASON_MOVE_OUT = 21
    REASON_DEATH = 22
    REASON_EX_OFFICIO_REMOVAL = 23
    REASON_MOVE_WITHIN = 31
    REASON_MINOR_CORRECTION = 32
    REASON_EX_OFFICIO_CORRECTION = 33
    REASON_CODE_REQUESTED = 41
    REASON_CODE_EX_OFFICIO = 42

cdef enum:
    REFERENCE = 0
    HUSBAND
    WIFE
    CHILD
    MOTHER
    FATHER

cdef enum:
    STYLE_LOT = 0
    STYLE_BLOCK
    STYLE_CHOME

cdef enum:
    EPOCH_2000 = 10957          # 2000-01-01 in days since 1970
    NETWORK_START = 11904       # 2002-08-05: every municipality registered all its residents
    FOREIGN_START = 15894       # 2013-07-08: foreign residents joined the network
    CODE_CHANGES_START = 12289  # 2003-08-25: the network's second stage
    DECADES = 14
    FIRST_DECADE = 1900
    BANDS = 20
    OLDEST_BAND_YEARS = 14
    RETENTION_DAYS = 1826       # Order 30-11: five years
    DATE_FIRST = 16071          # 2014-01-01, the earliest nation's date: after every date that history fixes
    DATE_LAST = 54785           # 2119-12-31
    NEVER = -1000000            # before every birth

# Shares of flats per 2^16 by kind of municipality: village, town, city, ward, special ward (this project's estimate).
cdef uint16_t *FLATS = [1300, 3300, 13100, 24900, 31500]
# UTF-8 of 一 to 九, 丁目, 番地, 番, 号.
cdef const char *NUMERALS = b"\xe4\xb8\x80\xe4\xba\x8c\xe4\xb8\x89\xe5\x9b\x9b\xe4\xba\x94\xe5\x85\xad\xe4\xb8\x83\xe5\x85\xab\xe4\xb9\x9d"
cdef const char *CHOME = b"\xe4\xb8\x81\xe7\x9b\xae"
cdef const char *BANCHI = b"\xe7\x95\xaa\xe5\x9c\xb0"
cdef const char *BAN = b"\xe7\x95\xaa"
cdef const char *GO = b"\xe5\x8f\xb7"


cdef inline unsigned char *put_text(unsigned char *place, const char *text, size_t length) noexcept nogil:
    memcpy(place, text, length)
    return place + length


cdef inline unsigned char *put_number(unsigned char *place, uint32_t number) noexcept nogil:
    """Decimal digits of a number below 10,000."""
    if number >= 1000:
        place[0] = <unsigned char>(48 + number // 1000)
        place += 1
    if number >= 100:
        place[0] = <unsigned char>(48 + number // 100 % 10)
        place += 1
    if number >= 10:
        place[0] = <unsigned char>(48 + number // 10 % 10)
        place += 1
    place[0] = <unsigned char>(48 + number % 10)
    return place + 1


cdef inline unsigned char *put_separator(unsigned char *place) noexcept nogil:
    """U+3000 between family and given name, in names and in readings."""
    place[0] = 0xE3
    place[1] = 0x80
    place[2] = 0x80
    return place + 3


cdef unsigned char *put_house(unsigned char *place, uint8_t style, bint words, uint64_t random) noexcept nogil:
    """House number in the town's style, in words (二丁目3番4号, 12番地3) or with hyphens (2-3-4, 12-3)."""
    cdef uint32_t first, second = 1 + <uint32_t>(random & 31), third = 1 + <uint32_t>(random >> 5 & 31)
    if style == STYLE_LOT:
        # Small lot numbers are the more frequent ones.
        first = 1 + (upto(random, 3000) * (<uint32_t>(random >> 10) & 1023) >> 10)
        place = put_number(place, first)
        if words:
            place = put_text(place, BANCHI, 6)
        if random >> 22 & 3 == 0:
            if not words:
                place[0] = c'-'
                place += 1
            place = put_number(place, second)
        return place
    if style == STYLE_CHOME:
        first = 1 + (upto(random, 8) * (<uint32_t>(random >> 10) & 1023) >> 10)
        if words:
            place = put_text(place, NUMERALS + 3 * (first - 1), 3)
            place = put_text(place, CHOME, 6)
        else:
            place = put_number(place, first)
            place[0] = c'-'
            place += 1
    place = put_number(place, second)
    if words:
        place = put_text(place, BAN, 3)
        place = put_number(place, third)
        return put_text(place, GO, 3)
    place[0] = c'-'
    return put_number(place + 1, third)


cdef unsigned char *put_flat(
    const Tables *tables, unsigned char *place, bint named, uint64_t random, uint64_t name
) noexcept nogil:
    """A room, after its building's name where that is given: " グリーンハイツ203" or "-203"."""
    cdef const NameRow *row
    cdef uint32_t floor = 1 + <uint32_t>(random >> 16 & 255) * <uint32_t>(random >> 24 & 255) // 8192
    if named:
        row = tables.names + chosen(tables, tables.building_table, name)
        place[0] = c' '
        place = put_text(place + 1, <const char *>tables.texts + row.offset, row.text_bytes)
    else:
        place[0] = c'-'
        place += 1
    return put_number(place, floor * 100 + 1 + (random >> 40 & 7))


cdef void household_prepare(
    const Tables *tables, uint64_t draws, uint32_t kind, int64_t nation_day, Household *household
) noexcept nogil:
    cdef uint64_t random = drawn(draws, DRAW_AGE), way
    cdef uint32_t quantile, share
    cdef int64_t limit, days, span
    household.draws = draws
    household.kind = kind
    household.band = chosen(tables, tables.band_table + kind, drawn(draws, DRAW_BAND))
    # An even draw in the band; in the last band the smaller of two, so that it thins out.
    share = <uint32_t>(random >> 32)
    span = 5
    if household.band == BANDS - 1:
        share = min(share, <uint32_t>random)
        span = OLDEST_BAND_YEARS
    household.reference_days = <int64_t>(
        (household.band * <uint64_t>5 * 3652425 + (span * 3652425 * <uint64_t>share >> 32)) // 10000)
    household.town = chosen(tables, tables.town_table, drawn(draws, DRAW_TOWN))
    random = drawn(draws, DRAW_FAMILY)
    way = drawn(draws, DRAW_FOREIGN)
    household.alias_family = chosen(tables, tables.surname_table, random)
    household.family = household.alias_family
    household.origin = -1
    household.aliased = False
    if <uint32_t>way < tables.foreign_thresholds[household.band]:
        household.origin = <int32_t>chosen(tables, tables.origin_table, mix64(way))
        household.family = chosen(tables, tables.foreign_table + 3 * household.origin, mix64(random))
        household.aliased = upto(drawn(draws, DRAW_ALIAS), 1000) < tables.origins[household.origin].alias
    # The last move of the household, since the reference member grew up.
    random = drawn(draws, DRAW_MOVE)
    quantile = <uint32_t>(random >> 56)
    days = tables.move_days[quantile]
    days += (tables.move_days[quantile + 1] - days) * <int64_t>(random >> 40 & 0xFFFF) >> 16
    limit = max(<int64_t>30, household.reference_days - days_of_years(18))
    if household.origin >= 0 and days >= limit:
        days = 1 + (limit - 1) * <int64_t>(random >> 24 & 0xFFFF) // 0x10000
    household.move_day = nation_day - days if days < limit else NEVER
    random = drawn(draws, DRAW_AWAY)
    household.away = <uint32_t>random < per_million(25000 if household.origin >= 0 else 4000)
    household.away_day = nation_day - upto(random, RETENTION_DAYS)


cdef int64_t member_days(const KindRow *kind, const MemberRow *member, int64_t reference, uint64_t random) noexcept nogil:
    """Age in days of a member; the same formulas as households.member_age."""
    cdef int64_t span, spouse
    cdef uint64_t share = peaked(random)
    spouse = (days_of_years(10) * <int64_t>share >> 32) - days_of_years(3)
    if member.relation == REFERENCE:
        return reference
    if member.relation == HUSBAND:
        return max(days_of_years(18), reference + spouse)
    if member.relation == WIFE:
        return max(days_of_years(18), reference - spouse)
    if member.relation == CHILD:
        span = min(days_of_years(40), reference) - days_of_years(20)
        return reference - days_of_years(20) - <int64_t>(
            (<uint64_t>span * ((<uint64_t>member.child << 32) + share) >> 32) // kind.children)
    reference += days_of_years(20) + (days_of_years(18) * <int64_t>share >> 32)
    if member.relation == MOTHER:
        return reference
    return reference + (days_of_years(10) * <int64_t>peaked(mix64(random)) >> 32) - days_of_years(3)


cdef class Population:
    """The residents of one nation. ``tables`` is tables.NationTables; ``date`` is the nation's date.

    Raises ValueError for a seed, size or date outside its limits.
    """

    def __init__(self, tables, seed: int, residents: int, date: datetime.date) -> None:
        check_plan(seed, residents)
        day = (date - datetime.date(1970, 1, 1)).days
        if not DATE_FIRST <= day <= DATE_LAST:
            raise ValueError("the nation's date must be 2014-01-01 to 2119-12-31")
        self.seed = seed
        self.residents = residents
        self.retired = retired_count(residents)
        self.nation_day = day
        self.household_seed = mix64(mix64(<uint64_t>seed) ^ <uint64_t>0x686F757365686F6C)
        self.member_seed = mix64(mix64(<uint64_t>seed) ^ <uint64_t>0x7265736964656E74)
        self.pattern_seed = mix64(mix64(<uint64_t>seed) ^ <uint64_t>0x7061747465726E73)
        self.retired_seed = retired_seed_key(seed)
        permutation_prepare(&self.permutation, seed)
        self.keep = tables
        self.set_tables(tables)

    cdef int set_tables(self, tables) except -1:
        self.tables.texts = <const unsigned char *>address(tables.texts, 1)
        self.tables.names = <const NameRow *>address(tables.names, sizeof(NameRow))
        self.tables.draws = <const DrawRow *>address(tables.draws, sizeof(DrawRow))
        self.tables.ranges = <const RangeRow *>address(tables.ranges, sizeof(RangeRow))
        self.tables.towns = <const TownRow *>address(tables.towns, sizeof(TownRow))
        self.tables.areas = <const AreaRow *>address(tables.area_rows, sizeof(AreaRow))
        self.tables.kinds = <const KindRow *>address(tables.kinds, sizeof(KindRow))
        self.tables.origins = <const OriginRow *>address(tables.origins, sizeof(OriginRow))
        self.tables.patterns = <const uint32_t *>address(tables.patterns, 4)
        self.tables.move_days = <const int32_t *>address(tables.move_days, 4)
        self.tables.foreign_thresholds = <const uint32_t *>address(tables.foreign_thresholds, 4)
        if len(tables.patterns) != PATTERNS * GROUP_MEMBERS or len(tables.foreign_thresholds) != BANDS:
            raise ValueError("the tables do not have the kernel's layout")
        self.tables.surname_table = tables.surname_table
        self.tables.town_table = tables.town_table
        self.tables.given_table = tables.given_table
        self.tables.building_table = tables.building_table
        self.tables.origin_table = tables.origin_table
        self.tables.foreign_table = tables.foreign_table
        self.tables.band_table = tables.band_table
        return 0

    cdef void live(self, uint64_t number, Life *life) noexcept nogil:
        cdef uint64_t group = number // GROUP_MEMBERS, random
        cdef uint32_t pattern = <uint32_t>(mix64(self.pattern_seed + group) % PATTERNS)
        cdef uint32_t entry = self.tables.patterns[pattern * GROUP_MEMBERS + number % GROUP_MEMBERS]
        cdef uint64_t household = group * GROUP_MEMBERS + (entry >> 8 & 255)
        cdef const KindRow *kind = self.tables.kinds + (entry & 255)
        cdef const MemberRow *member = &kind.members[entry >> 16]
        cdef int64_t days
        household_prepare(
            &self.tables, mix64(self.household_seed + household), entry & 255, self.nation_day, &life.household)
        life.draws = mix64(self.member_seed + number)
        life.place = entry >> 16
        random = drawn(life.draws, DRAW_MEMBER_AGE)
        days = member_days(kind, member, life.household.reference_days, random)
        life.birth_day = self.nation_day - days
        life.sex = member.sex
        if life.sex == 0:
            life.sex = 1 if mix64(random) & 1023 < 525 else 2       # 105 boys to 100 girls
        life.birth_date = date_of_day(life.birth_day)
        self.forget_birth(life, days)
        if self.tables.areas[self.tables.towns[life.household.town].area].connected == 0:
            life.state = STATE_ALLOTTED
        elif member.dead:
            life.state = STATE_DEAD
        else:
            self.choose_state(life, days)
        self.choose_change(life)
        self.choose_code_day(life, number)
        life.registered_day = self.registration(life, life.change_day)

    cdef void forget_birth(self, Life *life, int64_t days) noexcept nogil:
        """Partly unknown birth dates: 100 in a million, more among the very old and the foreign."""
        cdef uint64_t random = drawn(life.draws, DRAW_UNKNOWN)
        cdef uint32_t share = 100
        if life.household.origin >= 0:
            share = 600
        elif days > days_of_years(85):
            share = 1500
        if <uint32_t>random < per_million(share):
            if random >> 62 == 0:
                life.birth_date = 0
            elif random >> 62 == 1:
                life.birth_date &= ~<uint32_t>31
            else:
                life.birth_date &= ~<uint32_t>511

    cdef void choose_state(self, Life *life, int64_t days) noexcept nogil:
        cdef uint64_t random = drawn(life.draws, DRAW_STATE)
        cdef uint32_t moved = 1000, removed = 1200
        life.state = STATE_CURRENT
        if life.household.away:
            life.state = STATE_MOVED_AWAY
            return
        if days_of_years(18) <= days < days_of_years(45):
            moved = 9000
        if life.household.origin >= 0:
            moved += 30000
            removed = 9000
        elif days > days_of_years(100):
            removed = 40000
        if <uint32_t>random < per_million(moved):
            life.state = STATE_MOVED_AWAY
        elif <uint32_t>random < per_million(moved + removed):
            life.state = STATE_REMOVED

    cdef void choose_change(self, Life *life) noexcept nogil:
        """The last change: how and when the resident came to what the register holds now."""
        cdef uint64_t random = drawn(life.draws, DRAW_CHANGE)
        cdef uint32_t when = <uint32_t>drawn(life.draws, DRAW_CHANGE_DAY)
        cdef int64_t left
        life.change_day = life.birth_day
        life.reason = REASON_BIRTH
        life.update_number = 1
        if life.household.move_day > life.birth_day:
            life.change_day = life.household.move_day
            life.reason = REASON_MOVE_IN if life.household.draws & 127 < 70 else REASON_MOVE_WITHIN
            life.update_number += <uint16_t>(1 + (random >> 60 & 3) * (random >> 58 & 3) // 2)
        elif life.birth_date & 31 == 0:
            # Without a birth date there was no birth notification: an entry ex officio.
            life.reason = REASON_EX_OFFICIO_ENTRY
            life.change_day = between(life.birth_day, self.nation_day, when)
        if life.state == STATE_CURRENT:
            self.correct(life, random, when)
            return
        left = self.nation_day - upto(drawn(life.draws, DRAW_STATE_DAY), RETENTION_DAYS)
        life.update_number += 1
        if life.state == STATE_DEAD:
            life.reason = REASON_DEATH
            life.change_day = max(left, life.birth_day)
            return
        life.reason = REASON_EX_OFFICIO_REMOVAL
        if life.state == STATE_MOVED_AWAY:
            life.reason = REASON_MOVE_OUT
            if life.household.away:
                left = life.household.away_day
        life.change_day = max(left, life.change_day)

    cdef void correct(self, Life *life, uint64_t random, uint32_t when) noexcept nogil:
        """Corrections of current residents: renamed places, a new name on marriage, character identification."""
        cdef int64_t merger = self.tables.areas[self.tables.towns[life.household.town].area].merger_day
        cdef int64_t days = self.nation_day - life.birth_day
        cdef uint32_t named = 4000
        if merger > life.change_day:
            life.reason = REASON_MINOR_CORRECTION
            life.change_day = merger
            life.update_number += 1
        if life.sex == 2 and days_of_years(22) <= days < days_of_years(50):
            named = 30000
        if <uint32_t>random < per_million(named):
            life.reason = REASON_EX_OFFICIO_CORRECTION
        elif <uint32_t>random < per_million(named + 8000):
            life.reason = REASON_MINOR_CORRECTION
        else:
            return
        life.change_day = between(life.change_day, self.nation_day, when)
        life.update_number += 1

    cdef void choose_code_day(self, Life *life, uint64_t number) noexcept nogil:
        """One resident in 500 has a new code; for current residents that is the last change."""
        cdef uint64_t place = number // RESIDENTS_PER_RETIRED_CODE
        cdef uint64_t random
        cdef int64_t first
        life.code_day = 0
        if place >= self.retired or resident_of_retired(self.retired_seed, place) != number:
            return
        random = drawn(life.draws, DRAW_CODE)
        first = max(life.birth_day, <int64_t>(FOREIGN_START if life.household.origin >= 0 else CODE_CHANGES_START))
        if life.state != STATE_CURRENT:
            life.code_day = between(min(first, life.change_day), life.change_day, <uint32_t>random)
            return
        life.code_day = between(max(first, life.change_day), self.nation_day, <uint32_t>random)
        life.change_day = life.code_day
        life.reason = code_reason(life.draws)
        life.update_number += 1

    cdef int64_t registration(self, const Life *life, int64_t day) noexcept nogil:
        """The day a change was registered: within two weeks, one in a hundred late, none before the network began."""
        cdef uint64_t random = drawn(life.draws, DRAW_REGISTERED) + <uint64_t>day
        if <uint32_t>random < per_million(10000):
            day += 15 + upto(random, 400)
        else:
            day += upto(random, 15)
        day = max(day, <int64_t>(FOREIGN_START if life.household.origin >= 0 else NETWORK_START))
        return min(day, self.nation_day)

    cdef void resident(self, uint64_t number, uint64_t key, ResidentRecord *record, unsigned char *room) noexcept nogil:
        cdef Life life
        memset(record, 0, sizeof(ResidentRecord))
        record.key = key
        if number >= self.residents:
            self.retire(resident_of_retired(self.retired_seed, number - self.residents), record)
            return
        self.live(number, &life)
        record.state = life.state
        record.area = self.tables.towns[life.household.town].area
        if life.state == STATE_ALLOTTED:
            return
        record.reason = life.reason
        record.sex = life.sex
        record.change_date = date_of_day(life.change_day)
        record.registered_day = <uint16_t>(life.registered_day - EPOCH_2000)
        record.birth_date = life.birth_date
        record.update_number = life.update_number
        record.town = life.household.town + 1
        self.write_texts(&life, record, room)

    cdef void retire(self, uint64_t number, ResidentRecord *record) noexcept nogil:
        """The stub under the old code of a resident."""
        cdef Life life
        self.live(number, &life)
        record.state = STATE_RETIRED
        record.reason = code_reason(life.draws)
        record.area = self.tables.towns[life.household.town].area
        record.change_date = date_of_day(life.code_day)
        record.registered_day = <uint16_t>(self.registration(&life, life.code_day) - EPOCH_2000)
        record.update_number = life.update_number
        record.successor_key = key_of_number(&self.permutation, number) + 1

    cdef void write_texts(self, Life *life, ResidentRecord *record, unsigned char *room) noexcept nogil:
        cdef const Tables *tables = &self.tables
        cdef const NameRow *family = tables.names + life.household.family
        cdef unsigned char *name = room
        cdef unsigned char *kana = room + 256
        cdef unsigned char *place = room + 512
        cdef int32_t decade = (<int32_t>(date_of_day(life.birth_day) >> 9) - FIRST_DECADE) // 10
        # Brothers and sisters draw from different parts of the table, so that they rarely share a name.
        cdef uint64_t given = life.household.draws + <uint64_t>life.place * <uint64_t>0x9E3779B97F4A7C15
        given = (given & <uint64_t>0xFFFFFFFF00000000) | <uint32_t>drawn(life.draws, DRAW_GIVEN)
        record.name = name
        record.kana = kana
        record.rest = place
        decade = min(max(decade, <int32_t>0), <int32_t>(DECADES - 1))
        given = chosen(tables, tables.given_table + (life.sex - 1) * DECADES + decade, given)
        if life.household.origin < 0:
            name = put_joined(tables, family, tables.names + given, name, &kana)
        else:
            record.alias = room + 768
            if life.household.aliased:
                record.alias_bytes = <uint16_t>(put_alias(
                    tables, tables.names + life.household.alias_family, tables.names + given, room + 768) - record.alias)
            name = put_foreign(tables, life, family, name, &kana)
        record.name_bytes = <uint16_t>(name - record.name)
        record.kana_bytes = <uint16_t>(kana - record.kana)
        record.rest_bytes = <uint16_t>(self.write_rest(life.household.town, life.household.draws, place) - record.rest)

    cdef unsigned char *write_rest(self, uint32_t place, uint64_t draws, unsigned char *rest) noexcept nogil:
        """The address behind the town's text: house number and flat that the draws give in a town."""
        cdef const TownRow *town = self.tables.towns + place
        cdef uint64_t random = drawn(draws, DRAW_HOUSE)
        cdef bint words = self.tables.areas[town.area].words
        if random & 7 == 7:
            words = not words       # one household in eight writes as its neighbours do not
        rest = put_house(rest, town.style, words, mix64(random))
        random = drawn(draws, DRAW_BUILDING)
        if <uint32_t>(random & 0xFFFF) < FLATS[town.kind]:
            rest = put_flat(&self.tables, rest, words or random >> 63, random, mix64(random))
        return rest

    cdef uint32_t town_of(self, uint64_t number) noexcept nogil:
        """The town that household_prepare draws for a resident, alone."""
        cdef uint64_t group = number // GROUP_MEMBERS
        cdef uint32_t pattern = <uint32_t>(mix64(self.pattern_seed + group) % PATTERNS)
        cdef uint32_t entry = self.tables.patterns[pattern * GROUP_MEMBERS + number % GROUP_MEMBERS]
        cdef uint64_t household = group * GROUP_MEMBERS + (entry >> 8 & 255)
        return chosen(&self.tables, self.tables.town_table, drawn(mix64(self.household_seed + household), DRAW_TOWN))

    def describe(self, number: int) -> Resident:
        """The entry with this number, below residents + retired, as the register will hold it."""
        cdef ResidentRecord record
        cdef unsigned char room[TEXT_ROOM_BYTES]
        if not 0 <= number < self.residents + self.retired:
            raise ValueError("number is not below residents + retired")
        self.resident(number, key_of_number(&self.permutation, number), &record, room)
        return Resident(
            key=record.key,
            state=record.state,
            reason=record.reason,
            sex=record.sex,
            area=record.area,
            change_date=decimal_date(record.change_date),
            registered_day=record.registered_day,
            birth_date=decimal_date(record.birth_date),
            update_number=record.update_number,
            town=record.town,
            successor_key=record.successor_key - 1 if record.successor_key else None,
            name=record.name[:record.name_bytes].decode() if record.name else "",
            kana=record.kana[:record.kana_bytes].decode() if record.kana else "",
            alias=record.alias[:record.alias_bytes].decode() if record.alias else "",
            address_rest=record.rest[:record.rest_bytes].decode() if record.rest else "",
        )

    def household_of(self, number: int) -> tuple[int, str]:
        """First number of a resident's household and the name of its kind."""
        cdef uint32_t pattern
        cdef uint32_t entry
        if not 0 <= number < self.residents:
            raise ValueError("number is not below residents")
        pattern = <uint32_t>(mix64(self.pattern_seed + <uint64_t>number // GROUP_MEMBERS) % PATTERNS)
        entry = self.tables.patterns[pattern * GROUP_MEMBERS + <uint64_t>number % GROUP_MEMBERS]
        return number // GROUP_MEMBERS * GROUP_MEMBERS + (entry >> 8 & 255), KINDS[entry & 255].name


cdef inline uint8_t code_reason(uint64_t draws) noexcept nogil:
    return REASON_CODE_EX_OFFICIO if draws & 31 == 0 else REASON_CODE_REQUESTED


cdef inline unsigned char *put_name(
    const Tables *tables, const NameRow *row, unsigned char *name, unsigned char **kana
) noexcept nogil:
    """A name's text to name and its reading to kana, which moves on."""
    memcpy(name, tables.texts + row.offset, row.text_bytes)
    memcpy(kana[0], tables.texts + row.offset + row.text_bytes, row.kana_bytes)
    kana[0] += row.kana_bytes
    return name + row.text_bytes


cdef unsigned char *put_joined(
    const Tables *tables, const NameRow *family, const NameRow *given, unsigned char *name, unsigned char **kana
) noexcept nogil:
    name = put_separator(put_name(tables, family, name, kana))
    kana[0] = put_separator(kana[0])
    return put_name(tables, given, name, kana)


cdef unsigned char *put_alias(
    const Tables *tables, const NameRow *family, const NameRow *given, unsigned char *alias
) noexcept nogil:
    memcpy(alias, tables.texts + family.offset, family.text_bytes)
    alias = put_separator(alias + family.text_bytes)
    memcpy(alias, tables.texts + given.offset, given.text_bytes)
    return alias + given.text_bytes


cdef unsigned char *put_foreign(
    const Tables *tables, const Life *life, const NameRow *family, unsigned char *name, unsigned char **kana
) noexcept nogil:
    """Family name and one or two given names in Latin letters; the reading is separated as Japanese readings are."""
    cdef uint64_t random = drawn(life.draws, DRAW_SECOND_GIVEN)
    cdef uint32_t table = tables.foreign_table + 3 * life.household.origin + life.sex
    cdef uint32_t first = chosen(tables, table, random), second
    name = put_name(tables, family, name, kana)
    name[0] = c' '
    kana[0] = put_separator(kana[0])
    name = put_name(tables, tables.names + first, name + 1, kana)
    random = mix64(random)
    second = chosen(tables, table, mix64(random))
    if second == first or upto(random, 1000) >= tables.origins[life.household.origin].two_given:
        return name
    name[0] = c' '
    kana[0] = put_separator(kana[0])
    return put_name(tables, tables.names + second, name + 1, kana)


cdef const void *address(array, size_t itemsize) except NULL:
    """Address of a C-contiguous array of the expected row size; the caller keeps the array alive."""
    if array.dtype.itemsize != itemsize or not array.flags.c_contiguous or len(array) == 0:
        raise ValueError("a table does not have the kernel's layout")
    return <const void *><size_t>array.ctypes.data
