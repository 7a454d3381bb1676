"""Entries, their places, and the plan of buckets, against the twin."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.errors import RecordFormatError, StoreCorruptError, StoreError
from jukinet.core.identity import entries, layout
from jukinet.core.identity.entries import EntryLayout
from jukinet.core.identity.layout import IdentityLayout, plan_layout
from jukinet.core.records import record
from jukinet.core.records.resident import Resident

from ..core.strategies import partial_dates, residents
from . import identity_twin as twin

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Under the sanitizers, drawing is slow."""
LAYOUTS = [plan_layout(1), plan_layout(100_000), plan_layout(120_000_000)]


@UNHURRIED
@given(st.lists(residents(key=9_876_543_210), max_size=3), st.sampled_from(LAYOUTS))
def test_entries_are_the_twins(people: list[Resident], plan: IdentityLayout) -> None:
    found = entries.entries_of(EntryLayout(plan), 9_876_543_210, [record.encode(person) for person in people])
    assert found == sorted(twin.entries_of(plan, 9_876_543_210, people))


@UNHURRIED
@given(st.integers(0, 10**10 - 1), partial_dates(), st.sampled_from(LAYOUTS))
def test_every_date_has_a_bucket(key: int, date: int, plan: IdentityLayout) -> None:
    person = Resident(key=key, birth_date=date, name="山田", kana="ヤマダ")
    for table, bucket, entry in entries.entries_of(EntryLayout(plan), key, [record.encode(person)]):
        assert 0 <= bucket < plan.buckets[table - 1]
        assert entry & (1 << 34) - 1 == key


@UNHURRIED
@given(st.binary(max_size=40))
def test_hashes_are_the_twins(text: bytes) -> None:
    assert entries.hash_of(text) == twin.hash_of(text)


@UNHURRIED
@given(st.binary(max_size=20), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_signatures_are_the_twins(kana: bytes, name: str) -> None:
    assert entries.signature_of(kana, name.encode()) == twin.signature(kana, name.encode())


@UNHURRIED
@given(partial_dates())
def test_date_codes_lead_back(date: int) -> None:
    assert entries.code_of_date(twin.packed(date)) == twin.code(date)
    assert entries.date_of_code(twin.code(date)) == twin.packed(date)


@pytest.mark.parametrize("year", [1, 1799, 1800, 2200, 2201, 4095])
def test_years_beyond_the_calendar_share_its_ends(year: int) -> None:
    found = entries.code_of_date(year << 9 | 12 << 5 | 31)
    assert found >> 9 == min(max(year - 1799, 1), 402)


def test_a_name_beside_its_equal_alias_is_one_entry() -> None:
    person = Resident(key=1, birth_date=19800101, name="LEE ANNA", alias="LEE　ANNA", kana="リー　アンナ")
    found = entries.entries_of(EntryLayout(LAYOUTS[1]), 1, [record.encode(person)])
    assert [table for table, _, _ in found] == [1, 2, 3]


def test_whoever_holds_nobody_has_no_entries() -> None:
    shown = [record.encode(Resident(key=5, state=state)) for state in (5, 6, 7)]
    assert entries.entries_of(EntryLayout(LAYOUTS[0]), 5, shown) == []


def test_texts_that_fold_to_nothing_have_no_entry() -> None:
    person = Resident(key=5, birth_date=0, name="　 ", kana="")
    assert entries.entries_of(EntryLayout(LAYOUTS[0]), 5, [record.encode(person)]) == [(3, 0, 5)]


def test_damaged_records_are_refused() -> None:
    with pytest.raises(RecordFormatError):
        entries.entries_of(EntryLayout(LAYOUTS[0]), 5, [(1, b"\x01\x00")])
    with pytest.raises(ValueError, match="ten digits"):
        entries.entries_of(EntryLayout(LAYOUTS[0]), 10**10, [])


@UNHURRIED
@given(st.integers(1, 130_000_000), st.dictionaries(st.integers(1700, 2300), st.floats(0, 1e6), max_size=30))
def test_plans_are_usable(expected: int, births: dict[int, float]) -> None:
    plan = plan_layout(expected, births)
    assert layout.unpack_layout(layout.pack_layout(plan), "r") == plan
    EntryLayout(plan)


def test_the_nations_plan_spreads_a_birth_date() -> None:
    plan = plan_layout(120_000_000, dict.fromkeys(range(1930, 2027), 1.0))
    assert plan.year_buckets[1980 - 1799] % 385 == 0
    assert plan.year_buckets[2030 - 1799] == plan.year_buckets[2020 - 1799]
    assert plan.year_buckets[1850 - 1799] == 1


def test_other_folding_rules_are_refused() -> None:
    plan = plan_layout(100)
    other = IdentityLayout(plan.folding + 1, plan.text_buckets, plan.year_buckets)
    with pytest.raises(StoreError, match="folded by rules of version"):
        layout.unpack_layout(layout.pack_layout(other), "r")


@pytest.mark.parametrize(
    ("text", "years"), [(0, [1] * 403), (5, [1] * 402), (5, [0] + [1] * 402), (1 << 25, [1] * 403)]
)
def test_damaged_plans_are_refused(text: int, years: list[int]) -> None:
    damaged = IdentityLayout(plan_layout(1).folding, text, years)
    with pytest.raises(StoreCorruptError, match="out of range"):
        layout.unpack_layout(layout.pack_layout(damaged), "r")
    with pytest.raises(StoreCorruptError, match="cannot be read"):
        layout.unpack_layout(b"\xc1", "r")
