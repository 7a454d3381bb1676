"""The people: ages, households, names, addresses, states and changes, against docs/synthetic-nation.md."""

from __future__ import annotations

import datetime
import unicodedata
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core import limits
from jukinet.core.records.resident import REGISTERED_EPOCH, Resident
from jukinet.core.vocabulary import ChangeReason, State
from jukinet.server.nation import households, permutation
from jukinet.server.nation.build import NATION_DATE
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import NationTables

SAMPLE = 60_000
NETWORK_START = (datetime.date(2002, 8, 5) - REGISTERED_EPOCH).days
TODAY = (NATION_DATE - REGISTERED_EPOCH).days
PERSON = (State.CURRENT, State.DEAD, State.MOVED_AWAY, State.REMOVED)


@pytest.fixture(scope="module")
def sample(population: Population) -> list[Resident]:
    return [population.describe(number) for number in range(SAMPLE)]


def day(decimal: int) -> datetime.date | None:
    """The day of a date that is wholly known."""
    year, month, of_month = decimal // 10_000, decimal // 100 % 100, decimal % 100
    return datetime.date(year, month, of_month) if of_month else None


def is_latin(name: str) -> bool:
    return name.isascii() and name != ""


@given(number=st.integers(0, 2_003_999))
def test_every_entry_is_consistent(population: Population, tables: NationTables, number: int) -> None:
    resident = population.describe(number)
    assert resident == population.describe(number)
    assert resident.key == permutation.key_of(population.seed, number)
    assert 0 <= resident.area < len(tables.areas)
    if number >= population.residents:
        check_retired(population, resident, number - population.residents)
    elif resident.state == State.ALLOTTED:
        assert not tables.areas[resident.area].connected
        assert not resident.name
        assert resident.birth_date == resident.change_date == resident.reason == resident.town == 0
    else:
        check_person(tables, resident)


def check_retired(population: Population, resident: Resident, place: int) -> None:
    owner = permutation.resident_of_retired_place(population.seed, place)
    assert resident.state == State.RETIRED
    assert resident.successor_key == permutation.key_of(population.seed, owner)
    assert resident.reason in (ChangeReason.CODE_CHANGE_REQUESTED, ChangeReason.CODE_CHANGE_EX_OFFICIO)
    assert not resident.name
    changed = day(resident.change_date)
    assert changed is not None
    assert changed <= NATION_DATE
    now = population.describe(owner)
    if now.state == State.CURRENT:
        assert (now.reason, now.change_date) == (resident.reason, resident.change_date)


def check_person(tables: NationTables, resident: Resident) -> None:
    assert resident.state in PERSON
    assert tables.areas[resident.area].connected
    assert tables.town_texts[resident.town - 1][0] == resident.area
    for text, most in (
        (resident.name, limits.NAME_BYTES_MAX),
        (resident.kana, limits.KANA_BYTES_MAX),
        (resident.address_rest, limits.ADDRESS_REST_BYTES_MAX),
    ):
        assert 0 < len(text.encode()) <= most
    assert all("ァ" <= letter <= "ヿ" or letter in " 　" for letter in resident.kana)  # a few given names are two words
    assert resident.sex in (1, 2)
    check_dates(resident)
    removal = {State.DEAD: 22, State.MOVED_AWAY: 21, State.REMOVED: 23}.get(State(resident.state))
    assert resident.reason == removal or (removal is None and resident.reason in (11, 12, 13, 31, 32, 33, 41, 42))
    assert 1 <= resident.update_number < 100


def check_dates(resident: Resident) -> None:
    born, changed = day(resident.birth_date), day(resident.change_date)
    assert changed is not None
    assert changed <= NATION_DATE
    assert resident.registered_day <= TODAY
    # Registered on or after the day it arose, or on the day the network began.
    assert resident.registered_day >= min(TODAY, max(NETWORK_START, (changed - REGISTERED_EPOCH).days))
    if born is not None:
        assert born <= changed
        assert (NATION_DATE - born).days < 115 * 365.2425
    if resident.reason == ChangeReason.BIRTH:
        assert resident.birth_date == resident.change_date


def test_ages_of_current_residents_follow_the_pyramid(sample: list[Resident]) -> None:
    bands = [0] * households.BANDS
    for resident in sample:
        born = day(resident.birth_date)
        if resident.state == State.CURRENT and born is not None:
            age = (NATION_DATE - born).days / 365.2425
            bands[min(households.BANDS - 1, int(age // households.BAND_YEARS))] += 1
    people, millions = sum(bands), sum(households.PYRAMID_MILLIONS)
    for found, wanted in zip(bands, households.PYRAMID_MILLIONS, strict=True):
        expected = people * wanted / millions
        # Five deviations, and 4 % because those who moved away are not spread evenly over the ages.
        assert abs(found - expected) < 5 * expected**0.5 + 0.04 * expected


def test_the_fitted_model_follows_the_pyramid_exactly() -> None:
    living = [0.0] * (households.BANDS + 1)
    for kind, bands in zip(households.KINDS, households.household_model().bands, strict=True):
        for band, weight in bands:
            for age, count in households.expected_members(kind, band).items():
                living[age] += weight * count
    people, millions = sum(living[: households.BANDS]), sum(households.PYRAMID_MILLIONS)
    for found, wanted in zip(living, households.PYRAMID_MILLIONS, strict=False):
        assert found / people == pytest.approx(wanted / millions, rel=0.002)
    assert living[households.BANDS] / people == pytest.approx(households.DEAD_SHARE, rel=0.01)


def test_patterns_divide_every_group_into_whole_households() -> None:
    patterns = households.household_model().patterns
    assert len(patterns) == households.PATTERNS * households.GROUP_MEMBERS
    for start in range(0, len(patterns), households.GROUP_MEMBERS):
        place = 0
        while place < households.GROUP_MEMBERS:
            kind = households.KINDS[patterns[start + place][0]]
            for member in range(len(kind.members)):
                assert patterns[start + place + member][1:] == (place, member)
            place += len(kind.members)
        assert place == households.GROUP_MEMBERS


def test_households_share_surname_and_address(population: Population, sample: list[Resident]) -> None:
    members: dict[int, list[int]] = defaultdict(list)
    for number in range(SAMPLE):
        members[population.household_of(number)[0]].append(number)
    shared = 0
    for numbers in members.values():
        people = [sample[number] for number in numbers if sample[number].has_person]
        if len(people) > 1:
            shared += 1
            assert len({(person.town, person.address_rest) for person in people}) == 1
            separator = " " if is_latin(people[0].name) else "　"
            families = {person.name.split(separator)[0] for person in people}
            assert len(families) == 1
    assert shared > SAMPLE / 10


def test_parents_are_older_than_their_children_by_a_generation(population: Population, sample: list[Resident]) -> None:
    seen = 0
    for number in range(SAMPLE - 8):
        first, kind = population.household_of(number)
        if kind != "couple, two children" or first != number:
            continue
        born = [day(sample[number + place].birth_date) for place in range(4)]
        mother, father, elder, younger = born
        if mother is None or father is None or elder is None or younger is None:
            continue
        seen += 1
        assert 19.9 <= (elder - mother).days / 365.2425 <= 40.1
        assert 19.9 <= (younger - mother).days / 365.2425 <= 40.1
        assert elder <= younger
        assert -7.1 <= (father - mother).days / 365.2425 <= 3.1
        assert (sample[number].sex, sample[number + 1].sex) == (2, 1)
    assert seen > 500


def test_shares_of_states_and_kinds_of_people(sample: list[Resident]) -> None:
    states = Counter(State(resident.state) for resident in sample)
    assert 0.94 < states[State.CURRENT] / SAMPLE < 0.96
    assert 0.034 < states[State.DEAD] / SAMPLE < 0.043
    assert 0.006 < states[State.MOVED_AWAY] / SAMPLE < 0.011
    assert 0.0007 < states[State.REMOVED] / SAMPLE < 0.002
    people = [resident for resident in sample if resident.has_person]
    foreign = [person for person in people if is_latin(person.name)]
    assert 0.015 < len(foreign) / len(people) < 0.026
    assert 0.08 < sum(person.alias != "" for person in foreign) / len(foreign) < 0.25
    assert not any(person.alias for person in people if not is_latin(person.name))
    unknown = sum(person.birth_date % 100 == 0 for person in people) / len(people)
    assert 0.00005 < unknown < 0.0005
    assert 0.49 < sum(person.sex == 2 for person in people) / len(people) < 0.54


def test_variant_kanji_occur_with_variation_selectors_and_beyond_the_basic_plane(sample: list[Resident]) -> None:
    letters = Counter(letter for person in sample for letter in person.name)
    assert letters["髙"] > 0
    assert letters["﨑"] > 0
    assert letters["𠮷"] > 0
    assert any(0xE0100 <= ord(letter) <= 0xE01EF for letter in letters)
    compatibility = [letter for letter in letters if unicodedata.normalize("NFC", letter) != letter]
    assert compatibility


def test_surnames_and_given_names_follow_their_frequencies(sample: list[Resident]) -> None:
    japanese = [person for person in sample if person.has_person and not is_latin(person.name)]
    families = Counter(person.name.split("　")[0] for person in japanese)
    # Sato: 1,887,000 of 99.6 million listed, less the rare names' share.
    assert 0.013 < families["佐藤"] / len(japanese) < 0.024
    assert {name for name, _ in families.most_common(2)} == {"佐藤", "鈴木"}
    women = [person for person in japanese if person.sex == 2 and person.birth_date]
    old = [person for person in women if person.birth_date < 1955_00_00]
    young = [person for person in women if person.birth_date > 2005_00_00]
    assert sum(person.name.endswith("子") for person in old) / len(old) > 0.6
    assert sum(person.name.endswith("子") for person in young) / len(young) < 0.15


def test_prefectures_have_their_share(sample: list[Resident], tables: NationTables) -> None:
    prefectures = Counter(tables.areas[resident.area].jis // 1000 for resident in sample)
    for number, thousands in ((13, 13_159), (27, 8_865), (1, 5_506), (31, 589), (47, 1_393)):
        expected = SAMPLE * thousands / 128_057
        # Households move together: the variance is about three times that of single people.
        assert abs(prefectures[number] - expected) < 5 * (3 * expected) ** 0.5


def test_the_two_areas_that_are_not_connected_are_marked(tables: NationTables) -> None:
    outside = {(area.jis, area.name) for area in tables.areas if not area.connected}
    assert outside == {(7482, "福島県東白川郡矢祭町"), (13215, "東京都国立市")}


@pytest.mark.parametrize("date", [datetime.date(2013, 12, 31), datetime.date(2120, 1, 1)])
def test_dates_outside_the_limits_are_refused(tables: NationTables, date: datetime.date) -> None:
    with pytest.raises(ValueError, match="date"):
        Population(tables, 1, 10, date)


def test_numbers_outside_the_nation_are_refused(tables: NationTables) -> None:
    small = Population(tables, 1, 10, NATION_DATE)
    for number in (-1, 10):
        with pytest.raises(ValueError, match="number"):
            small.describe(number)
        with pytest.raises(ValueError, match="number"):
            small.household_of(number)


@pytest.mark.parametrize("date", [datetime.date(2014, 1, 1), datetime.date(2119, 12, 31)])
def test_nothing_happens_after_another_nations_date(tables: NationTables, date: datetime.date) -> None:
    people = Population(tables, 3, 5_000, date)
    for number in range(5_000):
        resident = people.describe(number)
        if resident.has_person:
            changed = day(resident.change_date)
            assert changed is not None
            assert changed <= date
            assert resident.registered_day <= (date - REGISTERED_EPOCH).days
