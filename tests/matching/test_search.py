"""SEARCH in place against a plain comparison of every person, over small registers in which names and dates meet."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.folding.kana import folded_kana
from jukinet.core.folding.names import folded_name
from jukinet.core.law.retention import Cutoffs
from jukinet.core.matching.batch import Matcher, model_for
from jukinet.core.matching.columns import LEVELS, Hits, MatchRules, Questions
from jukinet.core.matching.comparing import compare
from jukinet.core.matching.folded import fold
from jukinet.core.matching.levels import DateLevel, NameLevel, PlaceLevel, SexLevel
from jukinet.core.records.resident import Resident
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import Found, Grade, Level

from ..core.stores import TOWNS, build_store

SURNAMES = [("髙橋", "タカハシ"), ("高橋", "タカハシ"), ("濱﨑", "ハマサキ"), ("浜崎", "ハマザキ"), ("林", "ハヤシ")]
GIVEN = [("𠮷子", "ヨシコ"), ("吉子", "ヨシコ"), ("太郎", "タロウ"), ("一", "ハジメ")]
DATES = [19650220, 19650221, 19650200, 19650000, 0, 19400105]
PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def people(count: int) -> list[Resident]:
    draw = random.Random(4)
    found = []
    for number in range(count):
        surname, given_name = draw.choice(SURNAMES), draw.choice(GIVEN)
        town = draw.choice([1, 3, 4])
        found.append(
            Resident(
                key=draw.randrange(10**10),
                state=draw.choice([1, 1, 1, 2, 3]),
                reason=11,
                sex=draw.choice([0, 1, 2]),
                area=TOWNS[town - 1].area,
                change_date=20100401,
                registered_day=8_000,
                birth_date=draw.choice(DATES),
                update_number=1,
                town=town,
                name=f"{surname[0]} {given_name[0]}",
                kana=f"{surname[1]} {given_name[1]}",
                address_rest=f"{number % 3 + 1}丁目{number % 4 + 1}番",
            )
        )
    return found


class Place:
    """A register, and its people as plain comparison takes them."""

    def __init__(self, directory: Path) -> None:
        self.table = build_store(directory, people(160))
        self.reader = RegisterReader(directory)
        self.folded = {
            key: fold(p.name, p.kana, p.birth_date, p.sex, TOWNS[p.town - 1].text + p.address_rest, key)
            for key, p in self.table.items()
        }

    def matcher(self, rules: MatchRules) -> Matcher:
        width = self.reader.meta.width
        return Matcher(model_for(rules, len(self.table)), rules, self.reader.databases, width, Cutoffs(0, 0, 0))

    def search(self, rows: list[tuple[str, str, int, int, str]], prefix: bool = False, cap: int = 64) -> Hits:
        packed = [(n, k, d // 10_000 << 9 | d // 100 % 100 << 5 | d % 100, s, a) for n, k, d, s, a in rows]
        hits = Hits.empty(len(rows), cap)
        with self.reader.pin() as snapshot:
            self.matcher(MatchRules(hits_max=cap)).search(
                snapshot, Questions.from_rows(packed), prefix, 0, len(rows), hits
            )
        return hits

    def expected(self, row: tuple[str, str, int, int, str]) -> set[int]:
        asked = fold(row[0], row[1], row[2], row[3], row[4])
        return {key for key, held in self.folded.items() if agrees(compare(asked, held))}


def agrees(found: object) -> bool:
    kana, name, date, sex, place = (getattr(found, field) for field in ("kana", "name", "date", "sex", "place"))
    whole = (NameLevel.MISSING, NameLevel.EQUAL, NameLevel.FOLDED)
    if kana not in whole or name not in whole or (kana, name) == (NameLevel.MISSING, NameLevel.MISSING):
        return False
    dates = (DateLevel.MISSING, DateLevel.EQUAL, DateLevel.MONTH, DateLevel.YEAR)
    places = (PlaceLevel.MISSING, PlaceLevel.EQUAL, PlaceLevel.BUILDING, PlaceLevel.TOWN)
    return date in dates and sex != SexLevel.DIFFERENT and place in places


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("search") / "register")


def names(part: int) -> st.SearchStrategy[str]:
    return st.builds(
        lambda surname, given_name: f"{surname[part]}{given_name[part]}",
        st.sampled_from(SURNAMES),
        st.sampled_from(GIVEN),
    )


ROWS = st.lists(
    st.tuples(
        st.just("") | names(0),
        st.just("") | names(1),
        st.sampled_from([19650220, 19650221, 19400105, 19991231]),
        st.sampled_from([0, 1, 2]),
        st.just("") | st.sampled_from(["東京都千代田区丸の内1丁目1番", "大阪市北区梅田２－２", "沖縄県那覇市泉崎"]),
    ).filter(lambda row: row[0] or row[1]),
    min_size=1,
    max_size=70,
)


@PATIENT
@given(ROWS)
def test_those_who_agree_are_found_and_nobody_else(place: Place, rows: list[tuple[str, str, int, int, str]]) -> None:
    hits = place.search(rows)
    for number, row in enumerate(rows):
        found = list(hits.keys[number * 64 : number * 64 + hits.found[number]])
        assert set(found) == {key for key in place.expected(row) if place.table[key].birth_date == row[2]}, (
            "a whole date finds those of that date"
        )
        assert len(found) == len(set(found))
        status = Found(hits.statuses[number])
        if found:
            assert status is (Found.ONE if len(found) == 1 else Found.SEVERAL)
            shares = list(hits.probabilities[number * 64 : number * 64 + len(found)])
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) <= 1.000_1
        else:
            assert status in (Found.NONE, Found.NONE_NOT_CONNECTED)


@PATIENT
@given(
    names(0), st.sampled_from([0, 19650200, 19650000]), st.sampled_from(["東京都千代田区丸の内1丁目1番", "那覇市泉崎"])
)
def test_dates_known_in_part_and_no_date(place: Place, name: str, date: int, address: str) -> None:
    row = (name, "", date, 0, address)
    hits = place.search([row])
    found = set(hits.keys[: hits.found[0]])
    expected = place.expected(row)
    if date:
        expected = {key for key in expected if place.table[key].birth_date}
        assert found <= expected
        assert {key for key in expected if place.table[key].birth_date % 100} <= found
    else:
        assert found == expected


def test_more_than_the_cap_answer_too_many(place: Place) -> None:
    row = ("", "タカハシヨシコ", 19650220, 0, "")
    count = len(place.expected(row) & {k for k, p in place.table.items() if p.birth_date == 19650220})
    assert count > 1
    assert place.search([row], cap=count).found[0] == count
    hits = place.search([row], cap=count - 1)
    assert (hits.statuses[0], hits.found[0], list(hits.keys)) == (Found.TOO_MANY, 0, [0] * (count - 1))


@PATIENT
@given(names(0), names(1), st.integers(0, 6), st.integers(0, 9), st.sampled_from([19650220, 19400105]))
def test_beginnings_find_all_who_begin_so(
    place: Place, name: str, kana: str, name_length: int, kana_length: int, date: int
) -> None:
    name, kana = name[:name_length], kana[:kana_length]
    if not name and not kana:
        return
    hits = place.search([(name, kana, date, 0, "")], prefix=True)
    expected = {
        key
        for key, person in place.table.items()
        if person.birth_date == date
        and folded_name(person.name).startswith(folded_name(name))
        and folded_kana(person.kana).startswith(folded_kana(kana))
    }
    assert set(hits.keys[: hits.found[0]]) == expected
    for at in range(hits.found[0]):
        assert hits.grades[at] in (Grade.EXACT, Grade.FOLDED, Grade.KANA, Grade.NEAR_NAME)
        assert hits.levels[at * LEVELS + 2] == Level.EXACT


def test_rows_that_were_refused_stay_so(place: Place) -> None:
    rows = [("林太郎", "", 19650220, 0, "")] * 3
    hits = Hits.empty(3, 8)
    hits.statuses[1] = Found.BAD_SEX
    packed = [(n, k, 1965 << 9 | 2 << 5 | 20, s, a) for n, k, _, s, a in rows]
    with place.reader.pin() as snapshot:
        place.matcher(MatchRules()).search(snapshot, Questions.from_rows(packed), True, 0, 3, hits)
    assert (hits.statuses[1], hits.found[1]) == (Found.BAD_SEX, 0)
    assert hits.statuses[0] == hits.statuses[2]


def test_hits_without_room_are_refused(place: Place) -> None:
    questions = Questions.from_rows([("林太郎", "", 0, 0, "")] * 2)
    with place.reader.pin() as snapshot:
        for hits in (Hits.empty(1, 8), Hits.empty(2, 65)):
            with pytest.raises(ValueError, match=r"place|column|rows"):
                place.matcher(MatchRules()).search(snapshot, questions, False, 0, 2, hits)
