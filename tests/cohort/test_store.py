from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.cohort.cohort_kernel import RANGE_KEYS
from jukinet.core.cohort.errors import CohortError, CohortLimitError, CohortStoreError
from jukinet.core.cohort.store import BROKEN_OFF_SECONDS, REMOVED_PER_STEP, CohortStore, Stored

OWNER = "agency/pensions/1-77-1"
REGISTER = "0" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CohortStore]:
    with CohortStore(tmp_path / "cohorts") as opened:
        yield opened


def put(store: CohortStore, keys: list[int], begin: bool = True, end: bool = True, **changed: object) -> Stored:
    fields: dict[str, object] = {
        "generation": 0, "register": REGISTER, "cursor": 5, "today": 20261124, "now": 1_000_000, "cohorts_max": 3,
        "codes_max": 100_000,
    }  # fmt: skip
    owner, name = changed.pop("owner", OWNER), changed.pop("name", "all")
    codes = array("Q", [code_from_key(key) for key in keys])
    return store.put(owner, name, codes, begin=begin, end=end, **{**fields, **changed})  # type: ignore[arg-type]


def members(store: CohortStore, name: str = "all") -> list[int]:
    with store.reading(OWNER, name) as cohort:
        return [key for keys in cohort.between(0, 10**10) for key in keys]


def values(store: CohortStore) -> int:
    with store._environment.begin() as transaction:
        return int(transaction.stat(store._members)["entries"])


def test_chunks_that_part_a_range_are_one_cohort(store: CohortStore) -> None:
    chunks = [[3, 9, 700], [701, 800], [RANGE_KEYS - 1, RANGE_KEYS, 4_000_000_000], [10**10 - 1]]
    stored = Stored(count=0, cursor=0, generation=0)
    for i, keys in enumerate(chunks):
        stored = put(store, keys, i == 0, i == len(chunks) - 1, generation=stored.generation, cursor=5 + i)
    assert (stored.count, stored.cursor) == (9, 5), "asking begins where the journal stood at the beginning"
    assert members(store) == [key for keys in chunks for key in keys]
    with store.reading(OWNER, "all") as cohort:
        assert array("Q", cohort.among(array("Q", [4, 9, 4_000_000_000]))).tolist() == [9, 4_000_000_000]
        assert [list(keys) for keys in cohort.between(700, RANGE_KEYS)] == [[700, 701, 800, RANGE_KEYS - 1]]
        assert cohort.cohort.registered_date == 20261124


def test_the_old_codes_answer_until_the_last_chunk(store: CohortStore) -> None:
    put(store, [1, 2, 3])
    under_way = put(store, [7], end=False)
    assert members(store) == [1, 2, 3]
    put(store, [900_000], begin=False, generation=under_way.generation)
    assert members(store) == [7, 900_000]
    assert values(store) == 2, "the old generation is removed"


def test_a_registration_begun_anew_takes_the_place_of_one_under_way(store: CohortStore) -> None:
    first = put(store, [1, 500_000], end=False)
    second = put(store, [2], end=False)
    with pytest.raises(CohortError, match="not under way"):
        put(store, [600_000], begin=False, generation=first.generation)
    put(store, [3], begin=False, generation=second.generation)
    assert members(store) == [2, 3]
    assert values(store) == 1


def test_a_registration_that_was_broken_off_is_removed_after_an_hour(store: CohortStore) -> None:
    put(store, [1], end=False, name="left")
    put(store, [2], name="other", now=1_000_000 + BROKEN_OFF_SECONDS)
    assert store.find(OWNER, "left") is not None
    put(store, [2], name="other", now=1_000_001 + BROKEN_OFF_SECONDS)
    assert store.find(OWNER, "left") is None
    assert values(store) == 1


def test_nothing_is_stored_of_a_chunk_that_is_refused(store: CohortStore) -> None:
    stored = put(store, [10], end=False)
    for keys in ([10], [9], [20, 20], [21, 20]):
        with pytest.raises(CohortError, match="ascend strictly"):
            put(store, keys, begin=False, generation=stored.generation)
    with pytest.raises(CohortLimitError, match="at most 2 codes"):
        put(store, [11, 12], begin=False, generation=stored.generation, codes_max=2)
    with pytest.raises(CohortError, match="valid"):
        store.put(
            OWNER, "all", array("Q", [12]), begin=False, end=True, generation=stored.generation, register=REGISTER,
            cursor=1, today=20261124, now=1, cohorts_max=1, codes_max=9,
        )  # fmt: skip
    with pytest.raises(CohortError, match="no such cohort"):
        members(store)
    put(store, [11], begin=False, generation=stored.generation)
    assert members(store) == [10, 11]


def test_cohorts_of_a_body_are_limited_and_owners_apart(store: CohortStore) -> None:
    for name in ("a", "b", "c"):
        put(store, [1], name=name)
    with pytest.raises(CohortLimitError, match="at most 3 cohorts"):
        put(store, [1], name="d")
    put(store, [4], name="c")
    put(store, [1], name="d", owner="agency/pensions-2/1-77-1")
    assert [name for name, _ in store.listed(OWNER)] == ["a", "b", "c"]
    assert store.listed("agency/pensions/1-77") == []
    assert store.find("agency/pensions-2/1-77-1", "a") is None


def test_a_dropped_cohort_leaves_nothing(store: CohortStore) -> None:
    put(store, [key * RANGE_KEYS for key in range(REMOVED_PER_STEP + 10)])
    put(store, [1], end=False)
    assert store.drop(OWNER, "all")
    assert not store.drop(OWNER, "all")
    assert values(store) == 0
    assert store.listed(OWNER) == []


def test_members_of_a_neighbouring_generation_stay(store: CohortStore) -> None:
    put(store, [1, 10**10 - 1], name="a")
    put(store, [2, 10**10 - 1], name="b")
    put(store, [3, 10**10 - 1], name="c")
    store.drop(OWNER, "b")
    assert members(store, "a") == [1, 10**10 - 1]
    assert members(store, "c") == [3, 10**10 - 1]


def test_an_empty_cohort_is_one(store: CohortStore) -> None:
    assert put(store, []).count == 0
    assert members(store) == []


def test_a_store_survives_being_closed_and_refuses_damage(tmp_path: Path, store: CohortStore) -> None:
    put(store, [1, 2])
    store.close()
    with CohortStore(tmp_path / "cohorts") as again:
        assert members(again) == [1, 2]
        with again._writing() as transaction:
            transaction.put(OWNER.encode() + b"\0all", b"damaged", db=again._cohorts)
        with pytest.raises((CohortStoreError, CohortError, Exception), match="damaged"):
            again.find(OWNER, "all")
