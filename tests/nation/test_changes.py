"""The changes of a nation: the same every time, valid, in their numbers and season, and consistent for every person."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from jukinet.core.notifications import Notification as Row
from jukinet.core.notifications import NotificationBatch, faults_of
from jukinet.core.vocabulary import ChangeReason, State
from jukinet.server.nation import codes
from jukinet.server.nation.build import NATION_DATE
from jukinet.server.nation.change_calendar import POPULATION, YEARLY, Kind, is_business_day
from jukinet.server.nation.change_outcome import ExpectedRecord, built_record, outcome
from jukinet.server.nation.changes import DayOfChanges, NationChanges
from jukinet.server.nation.people import ABSENT_FIRST
from jukinet.server.nation.tables import NationTables

RESIDENTS = 200_000
SEED = 7
FIRST = NATION_DATE + datetime.timedelta(1)
DAYS = 365
LAST = FIRST + datetime.timedelta(DAYS - 1)
LATE_DAYS_MAX = 14
"""A late move out waits up to five days, and then for an open office."""
ENTRIES = {ChangeReason.MOVE_IN, ChangeReason.BIRTH, ChangeReason.EX_OFFICIO_ENTRY}
REMOVALS = {ChangeReason.MOVE_OUT, ChangeReason.DEATH, ChangeReason.EX_OFFICIO_REMOVAL}
CODE_CHANGES = {ChangeReason.CODE_CHANGE_REQUESTED, ChangeReason.CODE_CHANGE_EX_OFFICIO}


def changes_of(tables: NationTables, residents: int, days: int, seed: int = SEED) -> NationChanges:
    return NationChanges(tables, residents, seed, FIRST, days)


@pytest.fixture(scope="module")
def year(tables: NationTables) -> tuple[NationChanges, list[DayOfChanges]]:
    changes = changes_of(tables, RESIDENTS, DAYS)
    return changes, list(changes.by_day())


@pytest.fixture(scope="module")
def made(year: tuple[NationChanges, list[DayOfChanges]]) -> list[tuple[datetime.date, Row]]:
    return [(day.day, row) for day in year[1] for row in day.notifications]


@pytest.fixture(scope="module")
def people(made: list[tuple[datetime.date, Row]]) -> dict[int, list[tuple[datetime.date, Row]]]:
    """Each person's notifications in the order of their numbers, under the code they had first."""
    first_codes: dict[int, int] = {}
    found: dict[int, list[tuple[datetime.date, Row]]] = defaultdict(list)
    for _, row in made:
        if row.code_before:
            first_codes[row.code] = first_codes.get(row.code_before, row.code_before)
    for day, row in made:
        found[first_codes.get(row.code, row.code)].append((day, row))
    return {code: sorted(rows, key=lambda item: item[1].update_number) for code, rows in found.items()}


def may_be_cut_off(day: datetime.date, row: Row) -> bool:
    """Whether this may be a move in whose late move out comes after the last day."""
    return row.reason == ChangeReason.MOVE_IN and day > LAST - datetime.timedelta(LATE_DAYS_MAX)


def numbers_by_code(tables: NationTables) -> dict[int, int]:
    return {int(code): number for number, code in enumerate(codes.codes_between(SEED, RESIDENTS, 0, RESIDENTS))}


@pytest.fixture(scope="module")
def built(year: tuple[NationChanges, list[DayOfChanges]], tables: NationTables) -> dict[int, ExpectedRecord]:
    """The register as built, under the codes that the changes name."""
    changes = year[0]
    numbers = numbers_by_code(tables)
    named = {row.code for day in year[1] for row in day.notifications}
    named |= {row.code_before for day in year[1] for row in day.notifications if row.code_before}
    population, destinations = changes.people.population, changes.destinations
    return {code: built_record(population, destinations, numbers[code]) for code in named if code in numbers}


def rows_of(changes: NationChanges) -> list[list[Row]]:
    return [day.notifications for day in changes.by_day()]


def test_the_same_nation_and_days_give_the_same_changes(tables: NationTables) -> None:
    long = rows_of(changes_of(tables, 30_000, 40))
    assert long == rows_of(changes_of(tables, 30_000, 40))
    assert long[:15] == rows_of(changes_of(tables, 30_000, 15)), "a shorter run is the beginning of a longer one"
    other = rows_of(changes_of(tables, 30_000, 40, seed=SEED + 1))
    assert long != other
    assert sum(map(len, long)) > 300


def test_a_prefecture_alone_has_its_part_of_the_whole(tables: NationTables) -> None:
    whole = [row for day in rows_of(changes_of(tables, 30_000, 20)) for row in day]
    for prefecture in (13, 47):
        alone = list(changes_of(tables, 30_000, 20).of_prefecture(prefecture))
        assert alone == [row for row in whole if row.area // 1_000 == prefecture]
    assert any(row.area // 1_000 == 13 for row in whole)


def test_every_notification_is_valid_on_its_day(year: tuple[NationChanges, list[DayOfChanges]]) -> None:
    judged = 0
    for day in year[1]:
        by_prefecture = defaultdict(list)
        for row in day.notifications:
            by_prefecture[row.area // 1_000].append(row)
        for prefecture, rows in by_prefecture.items():
            faults = faults_of(NotificationBatch.from_notifications(rows), prefecture, day.day)
            assert not any(faults), Counter(faults)
            judged += len(rows)
    assert judged > 25_000


def test_only_connected_areas_notify(
    made: list[tuple[datetime.date, Row]], tables: NationTables, built: dict[int, ExpectedRecord]
) -> None:
    connected = {area.jis for area in tables.areas if area.connected}
    assert {row.area for _, row in made} <= connected
    # Somebody comes from where nothing is notified: the register had only their code.
    allotted = {code for code, record in built.items() if record.state == State.ALLOTTED}
    assert {row.reason for _, row in made if row.code in allotted and row.update_number} >= {ChangeReason.MOVE_IN}


def test_reasons_have_their_yearly_numbers(made: list[tuple[datetime.date, Row]]) -> None:
    counts = Counter(row.reason for _, row in made)

    def expected(*kinds: Kind) -> float:
        return sum(YEARLY[kind] for kind in kinds) * RESIDENTS / POPULATION

    for reason, wanted, tolerance in (
        (ChangeReason.BIRTH, expected(Kind.BIRTH), 0.05),
        (ChangeReason.DEATH, expected(Kind.DEATH), 0.05),
        (ChangeReason.MOVE_OUT, expected(Kind.MOVE, Kind.EMIGRATION), 0.05),
        (ChangeReason.MOVE_IN, expected(Kind.MOVE, Kind.IMMIGRATION), 0.06),
        (ChangeReason.MOVE_WITHIN, expected(Kind.MOVE_WITHIN), 0.05),
        (ChangeReason.EX_OFFICIO_CORRECTION, expected(Kind.NEW_NAME, Kind.MENDED), 0.08),
        (ChangeReason.MINOR_CORRECTION, expected(Kind.CHARACTER, Kind.RENAMED_PLACE), 0.25),
        (ChangeReason.EX_OFFICIO_REMOVAL, expected(Kind.EX_OFFICIO_REMOVAL, Kind.NATURALISATION), 0.25),
        (ChangeReason.EX_OFFICIO_ENTRY, expected(Kind.EX_OFFICIO_ENTRY, Kind.NATURALISATION), 0.25),
    ):
        assert counts[reason] == pytest.approx(wanted, rel=tolerance), reason
    assert 10 <= sum(counts[reason] for reason in CODE_CHANGES) <= 60
    # 65,000 to 80,000 on a business day of the whole country.
    quiet = [day for day, _ in made if is_business_day(day) and day.month not in (3, 4, 10)]
    a_day = len(quiet) / len(set(quiet)) * POPULATION / RESIDENTS
    assert 62_000 < a_day < 80_000


def test_spring_is_the_season_of_moves_and_weekends_are_quiet(made: list[tuple[datetime.date, Row]]) -> None:
    by_day = Counter(day for day, _ in made)
    quiet = [by_day[day] for day in by_day if is_business_day(day) and day.month in (11, 12, 1, 2)]
    peak = [
        by_day[day]
        for day in by_day
        if is_business_day(day) and datetime.date(2027, 3, 24) <= day <= datetime.date(2027, 4, 3)
    ]
    ordinary = sum(quiet) / len(quiet)
    assert 3.5 < sum(peak) / len(peak) / ordinary < 5.5
    closed = [by_day[FIRST + datetime.timedelta(place)] for place in range(DAYS)
              if not is_business_day(FIRST + datetime.timedelta(place))]  # fmt: skip
    assert 0 < sum(closed) / len(closed) < 0.1 * ordinary


def test_numbers_ascend_and_the_dead_stay_dead(people: dict[int, list[tuple[datetime.date, Row]]]) -> None:
    crossing = 0
    for rows in people.values():
        for (_, earlier), (day, later) in pairwise(rows):
            # A late move out at the end of the days may be missing between; nothing else is.
            missing = may_be_cut_off(day, later) and earlier.reason not in REMOVALS
            assert later.update_number - earlier.update_number == 1 + missing
        crossing += sum(later[0] < earlier[0] for earlier, later in pairwise(rows))
        by_area = defaultdict(list)
        for day, row in rows:
            by_area[row.area].append((day, row.update_number))
        for told in by_area.values():
            assert [number for _, number in sorted(told)] == sorted(number for _, number in told)
        reasons = [row.reason for _, row in rows]
        assert ChangeReason.DEATH not in reasons[:-1]
        assert ChangeReason.BIRTH not in reasons[1:]
        for (_, row), (day, following) in pairwise(rows):
            if row.reason in REMOVALS:
                assert following.reason in ENTRIES
            elif not may_be_cut_off(day, following):
                assert following.reason not in ENTRIES
                assert following.area == row.area
    assert crossing > 50, "some moves out are notified after the move in"
    moved = [rows for rows in people.values() if any(row.reason == ChangeReason.MOVE_IN for _, row in rows[:-1])]
    assert len(moved) > 100, "life goes on after a move"


def test_within_a_day_each_person_is_told_of_in_order(year: tuple[NationChanges, list[DayOfChanges]]) -> None:
    several = 0
    for day in year[1]:
        numbers = defaultdict(list)
        for row in day.notifications:
            numbers[row.code, row.area].append(row.update_number)
        for found in numbers.values():
            assert found == sorted(set(found))
            several += len(found) > 1
    assert several > 0, "naturalisations: removed and entered on one day"


def test_moves_have_both_halves(
    people: dict[int, list[tuple[datetime.date, Row]]], built: dict[int, ExpectedRecord]
) -> None:
    moves = crossing_prefectures = 0
    entered_together: Counter[tuple[datetime.date, str]] = Counter()
    for code, rows in people.items():
        for place, (day, row) in enumerate(rows):
            if row.reason != ChangeReason.MOVE_IN:
                continue
            if place == 0:
                # From abroad for the first time or back, or from an area that is not connected.
                abroad = code not in built or built[code].state in (State.MOVED_AWAY, State.ALLOTTED)
                assert abroad or may_be_cut_off(day, row)
                continue
            _, left = rows[place - 1]
            if left.reason != ChangeReason.MOVE_OUT:
                assert may_be_cut_off(day, row)
                continue
            moves += row.area != left.area
            crossing_prefectures += row.area // 1_000 != left.area // 1_000
            entered_together[day, row.address] += 1
    families = sum(count > 1 for count in entered_together.values())
    assert moves > 0.9 * YEARLY[Kind.MOVE] * RESIDENTS / POPULATION
    assert 0.4 < crossing_prefectures / moves < 0.55
    assert 0.1 < families / len(entered_together) < 0.5


def test_a_change_starts_from_the_person_as_changed_before(
    people: dict[int, list[tuple[datetime.date, Row]]], built: dict[int, ExpectedRecord]
) -> None:
    kept = 0
    for code, rows in people.items():
        told = [row for _, row in rows if row.name]
        known = built.get(code)
        if known is not None and known.state == State.CURRENT and not may_be_cut_off(*rows[0]):
            assert rows[0][1].update_number == known.update_number + 1
            assert rows[0][1].area == known.area
        for earlier, later in pairwise(told):
            if later.reason == ChangeReason.MOVE_WITHIN:
                same = (earlier.name, earlier.kana, earlier.alias, earlier.birth_date, earlier.sex)
                assert (later.name, later.kana, later.alias, later.birth_date, later.sex) == same
                assert later.address != earlier.address
                kept += 1
            elif later.reason in (ChangeReason.DEATH, *CODE_CHANGES):
                assert later.address == earlier.address
    assert kept > 100


def test_new_codes_are_beyond_the_nations(made: list[tuple[datetime.date, Row]], tables: NationTables) -> None:
    known = numbers_by_code(tables)
    given = {row.code for _, row in made} - set(known)
    numbers = sorted(int(number) for number in codes.numbers_of(SEED, sorted(given)))
    first = RESIDENTS + codes.retired_count(RESIDENTS) + ABSENT_FIRST
    assert numbers[0] >= first
    assert numbers[-1] < first + len(numbers) + 50, "one after another"
    assert {row.code for _, row in made if row.reason == ChangeReason.BIRTH} <= given


def test_children_are_born_into_their_mothers_homes(
    made: list[tuple[datetime.date, Row]], built: dict[int, ExpectedRecord], year: tuple[NationChanges, object]
) -> None:
    population = year[0].people.population
    homes = {built_record(population, year[0].destinations, number).address for number in range(RESIDENTS)}
    homes |= {row.address for _, row in made if row.reason != ChangeReason.BIRTH}
    births = [row for _, row in made if row.reason == ChangeReason.BIRTH]
    assert all(row.address in homes for row in births)
    assert all(row.birth_date == row.event_date and row.update_number == 1 for row in births)
    assert 0.45 < sum(row.sex == 1 for row in births) / len(births) < 0.58


def test_waves_rename_a_town_for_everyone_on_one_day(year: tuple[NationChanges, list[DayOfChanges]]) -> None:
    changes = year[0]
    largest = 0
    for day in year[1]:
        corrected = Counter(row.area for row in day.notifications if row.reason == ChangeReason.MINOR_CORRECTION)
        largest = max(largest, *corrected.values(), 0)
    assert largest >= 20
    texts = set(changes.destinations.town_texts)
    renamed = {town for town in range(len(texts)) if changes.renamed.town_text(town, 10**6) not in texts}
    assert 50 < len(renamed) < 2_000
    for town in renamed:
        assert changes.renamed.town_text(town, 0) == changes.destinations.town_texts[town]


def test_the_fold_of_all_notifications_is_the_record_expected(
    year: tuple[NationChanges, list[DayOfChanges]], built: dict[int, ExpectedRecord]
) -> None:
    changes, days = year
    rows = defaultdict(list)
    for day in days:
        for row in day.notifications:
            rows[row.code].append(row)
            if row.code_before:
                rows[row.code_before].append(row)
    expected = {record.code: record for record in changes.expected()}
    assert rows.keys() <= expected.keys()
    for code, record in expected.items():
        found = outcome(built.get(code), code, rows[code])
        assert found == record, (record.state, record.reason)
    states = Counter(record.state for record in expected.values())
    assert set(states) == {State.CURRENT, State.DEAD, State.MOVED_AWAY, State.REMOVED, State.RETIRED}


def test_late_removals_leave_nobody_entered_in_two_places(tables: NationTables) -> None:
    """With them each area's own last word about a person is a removal, but for the one where the person is now."""
    changes = changes_of(tables, 100_000, 180)
    rows = [row for day in changes.by_day() for row in day.notifications]
    late = changes.late_removals()
    assert late
    assert {row.reason for row in late} <= {*REMOVALS}
    stands: dict[int, set[int]] = defaultdict(set)
    for row in [*rows, *late]:
        if row.reason in REMOVALS:
            stands[row.code].discard(row.area)
        elif row.reason in {*ENTRIES, *CODE_CHANGES}:
            stands[row.code].add(row.area)
            stands.pop(row.code_before, None)
    assert max(map(len, stands.values())) == 1
    without: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        if row.reason in ENTRIES:
            without[row.code].add(row.area)
    assert any(row.code in without for row in late), "somebody was entered before the removal was notified"


def test_limits_are_refused(tables: NationTables) -> None:
    with pytest.raises(ValueError, match="days must be"):
        changes_of(tables, 100, 0)
    with pytest.raises(ValueError, match="after the nation's date"):
        NationChanges(tables, 100, SEED, NATION_DATE, 10)
    with pytest.raises(ValueError, match="residents must be"):
        changes_of(tables, 0, 10)


def test_a_nation_of_a_few_people_changes_too(tables: NationTables) -> None:
    rows = [row for day in rows_of(changes_of(tables, 20, 365)) for row in day]
    assert all(row.update_number < 100 for row in rows)
