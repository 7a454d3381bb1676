"""What the changes draw from the tables: the kernel against the nation as built and a plain Python twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.vocabulary import State
from jukinet.server.nation.change_kernel import address_rest, given_name, numbers_in_towns
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import NationTables

WORD = (1 << 64) - 1


def mix64(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB & WORD
    return value ^ value >> 31


def household_draws(population: Population, number: int) -> int:
    """The draws of a resident's household (Population's household_seed, and the household's first number)."""
    seed = mix64(mix64(population.seed) ^ 0x686F757365686F6C)
    return mix64(seed + population.household_of(number)[0] & WORD)


@given(number=st.integers(0, 1_999_999))
def test_the_draws_of_a_household_give_its_home(population: Population, number: int) -> None:
    resident = population.describe(number)
    if resident.town:
        rest = address_rest(population, resident.town - 1, household_draws(population, number))
        assert rest == resident.address_rest


@given(town=st.integers(0, 100_000), draws=st.integers(0, WORD))
def test_every_home_has_a_number(population: Population, town: int, draws: int) -> None:
    rest = address_rest(population, town, draws)
    assert any(letter.isdecimal() for letter in rest)
    assert len(rest.encode()) < 120
    assert rest == address_rest(population, town, draws)


def test_residents_of_towns_are_those_who_live_there(population: Population, tables: NationTables) -> None:
    homes = {number: population.describe(number).town - 1 for number in range(20_000)}
    wanted = bytearray(len(tables.towns))
    for town in list(homes.values())[::500]:
        wanted[town] = town >= 0
    found = numbers_in_towns(population, wanted, 0, 20_000)
    described = [number for number, town in homes.items() if town >= 0 and wanted[town]]
    # Who lives where nothing is notified has no town in the register, but has one in the model.
    assert [number for number in found if homes[number] >= 0] == described
    assert all(population.describe(number).state == State.ALLOTTED for number in set(found) - set(described))
    assert len(described) > 40
    parts = numbers_in_towns(population, wanted, 0, 7_001) + numbers_in_towns(population, wanted, 7_001, 20_000)
    assert parts == found
    assert len(numbers_in_towns(population, bytes([1]) * len(wanted), 0, 20_000)) == 20_000


def test_children_have_given_names_of_their_origin_and_time(population: Population) -> None:
    japanese = next(number for number in range(2_000) if not population.describe(number).name.isascii())
    foreign = next(
        number for number in range(20_000)
        if population.describe(number).name and population.describe(number).name.isascii()
    )  # fmt: skip
    boys = {given_name(population, japanese, 1, 2026, mix64(draws)) for draws in range(300)}
    girls = {given_name(population, japanese, 2, 2026, mix64(draws)) for draws in range(300)}
    assert len(boys) > 100
    assert len(girls) > 100
    assert len(boys & girls) < 30
    assert all(text and kana and "\u3000" not in text and not text.isascii() for text, kana in boys | girls)
    latin = {given_name(population, foreign, 2, 2026, mix64(draws)) for draws in range(100)}
    assert all(text.isascii() and kana and text.count(" ") == kana.count("\u3000") <= 1 for text, kana in latin)
    assert given_name(population, japanese, 1, 1700, 5) == given_name(population, japanese, 1, 1900, 5)
    assert given_name(population, japanese, 1, 2500, 5) == given_name(population, japanese, 1, 2035, 5)


def test_arguments_outside_their_ranges_are_refused(population: Population, tables: NationTables) -> None:
    for town in (-1, len(tables.towns)):
        with pytest.raises(ValueError, match="no such town"):
            address_rest(population, town, 1)
    for number, sex in ((-1, 1), (population.residents, 1), (0, 0), (0, 9)):
        with pytest.raises(ValueError, match="number is not below residents"):
            given_name(population, number, sex, 2026, 1)
    with pytest.raises(ValueError, match="one byte a town"):
        numbers_in_towns(population, b"123", 0, 10)
    with pytest.raises(ValueError, match="below residents"):
        numbers_in_towns(population, bytes(len(tables.towns)), 0, population.residents + 1)
