"""SEARCH and MATCH over a real server: who is found, who may ask, what is on record, and that nobody else waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead, Record
from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import ALL_ITEMS, MALFORMED_CODE, Found, Function, Grade, Item, Level, Outcome
from jukinet.core.wire import messages as m

from .serving import COMMON_DATE, Caller, Place, Server

ANY_MISSING = Found.NONE_NOT_CONNECTED
"""The register of these tests has an area that is not connected."""


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(place.configuration(tmp_path_factory.mktemp("finding"))) as server:
        yield server


@pytest.fixture
def caller(place: Place, server: Server) -> Iterator[Caller]:
    with Caller(place, server.port) as caller:
        opened = caller.open("74")
        assert opened.functions == Function.SEARCH | Function.MATCH
        yield caller


def persons(place: Place, count: int) -> list[Resident]:
    return [person for person in place.table.values() if person.has_person and person.kana != "シケンタロウ"][:count]


def row(person: Resident, **changes: Any) -> dict[str, Any]:
    return {"name": person.name, "kana": person.kana, "birth_date": person.birth_date, "sex": person.sex} | changes


def last_record(server: Server) -> Record:
    record = list(read_segments(server.directory / "record-of-use"))[-1]
    assert isinstance(record.head, ProvisionHead)
    return record


def test_each_row_of_a_match_has_its_own_answer(place: Place, server: Server, caller: Caller) -> None:
    first, second, third = persons(place, 3)
    rows = [
        row(first),
        row(second, name="", birth_date=19010101),
        {"sex": 1, "birth_date": third.birth_date},
        row(third, birth_date=19701301),
        row(third, sex=3),
        row(third, name="あ" * 342),
        row(third, name="居内太郎", kana="", birth_date=19000101, address="北海道札幌市1丁目2番"),
        row(third, name="居内太郎", kana="", birth_date=19000101, address="国立市東1丁目2番"),
        row(third, name=third.name.replace("試験", "試驗 ")),
    ]
    answer = caller.find(m.MatchRequest, rows)
    assert isinstance(answer, m.MatchAnswer)
    assert [Found(found) for found in answer.found] == [
        Found.ONE, ANY_MISSING, Found.TOO_FEW_ITEMS, Found.BAD_BIRTH_DATE, Found.BAD_SEX, Found.BAD_NAME,
        Found.NONE, Found.NONE_NOT_CONNECTED, Found.ONE,
    ]  # fmt: skip
    assert answer.codes is not None
    assert answer.names is not None
    assert list(answer.codes) == [code_from_key(first.key), *[0] * 7, code_from_key(third.key)]
    assert answer.names.to_list() == [first.name, *[""] * 7, third.name]
    assert (answer.grades[0], answer.grades[8]) == (Grade.EXACT, Grade.FOLDED)
    assert answer.levels[0] == Level.EXACT | Level.EXACT << 4 | Level.EXACT << 8 | Level.EXACT << 12
    assert answer.probabilities[0] >= 990_000
    assert list(answer.outcomes[1:8]) == [Outcome.UNKNOWN] * 7

    record = last_record(server)
    assert isinstance(record.head, ProvisionHead)
    assert (record.head.function, record.head.items) == (Function.MATCH, ALL_ITEMS)
    assert record.head.since == Item.NAME | Item.KANA | Item.BIRTH_DATE | Item.SEX | Item.ADDRESS
    codes, outcomes = record.provisions()
    assert list(codes) == [code or MALFORMED_CODE for code in answer.codes]
    assert outcomes == bytes(answer.outcomes)
    assert [told & 15 for told in record.matches] == list(answer.found)
    assert [told >> 4 for told in record.matches] == list(answer.grades)


def test_a_large_match_is_worked_off_in_slices_and_every_row_finds_its_person(place: Place, caller: Caller) -> None:
    everybody = persons(place, 1_000)
    answer = caller.find(m.MatchRequest, [row(person) for person in everybody], items=int(Item.CODE))
    assert isinstance(answer, m.MatchAnswer)
    assert answer.codes is not None
    assert answer.names is None
    assert list(answer.codes) == [code_from_key(person.key) for person in everybody]


def test_a_search_tells_all_whom_it_may_mean(place: Place, server: Server, caller: Caller) -> None:
    first, second = persons(place, 2)
    nobody = {"name": "居内太郎", "birth_date": 19000101}
    answer = caller.find(m.SearchRequest, [row(first, kana=""), nobody, row(second, kana="")], items=137)
    assert isinstance(answer, m.SearchAnswer)
    assert [Found(found) for found in answer.found] == [Found.ONE, ANY_MISSING, Found.ONE]
    assert list(answer.row_ends) == [1, 1, 2]
    assert answer.codes is not None
    assert list(answer.codes) == [code_from_key(first.key), code_from_key(second.key)]
    record = last_record(server)
    assert isinstance(record.head, ProvisionHead)
    assert (record.head.function, record.head.items) == (Function.SEARCH, 137)
    codes, outcomes = record.provisions()
    assert list(codes) == [code_from_key(first.key), MALFORMED_CODE, code_from_key(second.key)]
    assert outcomes[1] == Outcome.UNKNOWN
    assert [told & 15 for told in record.matches] == list(answer.found)


def test_names_may_be_beginnings_where_the_affair_says_so(place: Place, caller: Caller) -> None:
    person = persons(place, 1)[0]
    begins = [other for other in place.table.values() if other.has_person and other.birth_date == person.birth_date]
    assert 1 < len(begins) <= 64
    asked = {"name": "試", "birth_date": person.birth_date}
    assert list(caller.find(m.SearchRequest, [asked]).found) == [ANY_MISSING], "a beginning is not a name"
    answer = caller.find(m.SearchRequest, [asked], prefix=True)
    assert list(answer.found) == [Found.TOO_MANY]
    number = person.name.removeprefix("試験").removesuffix("太郎")
    answer = caller.find(m.SearchRequest, [{**asked, "name": f"試驗{number}太"}, asked], prefix=True)
    assert [Found(found) for found in answer.found] == [Found.ONE, Found.TOO_MANY]
    assert list(answer.codes) == [code_from_key(person.key)]
    assert answer.levels[0] == Level.PARTIAL | Level.EXACT << 8
    by_kana = caller.find(m.SearchRequest, [{"kana": person.kana[:5], "birth_date": person.birth_date}], prefix=True)
    assert code_from_key(person.key) in list(by_kana.codes)
    refused = caller.find(m.SearchRequest, [asked] * 17, prefix=True)
    assert refused.code is ErrorCode.TOO_MANY_CODES


def test_more_persons_than_the_cap_are_none(place: Place, caller: Caller) -> None:
    common = COMMON_DATE
    answer = caller.find(m.SearchRequest, [{"kana": "シケンタロウ", "birth_date": common}])
    assert isinstance(answer, m.SearchAnswer)
    assert list(answer.found) == [Found.TOO_MANY]
    assert list(answer.row_ends) == [0]
    match = caller.find(m.MatchRequest, [{"kana": "シケンタロウ", "birth_date": common}])
    assert match.found[0] in (Found.SEVERAL, Found.TOO_MANY)
    assert match.codes[0] == 0, "where several are meant, nobody is disclosed"


@pytest.mark.parametrize(
    ("item", "kind", "given", "items", "prefix"),
    [
        ("77", m.MatchRequest, {"name": "x", "birth_date": 19650220}, 0, False),
        ("77", m.SearchRequest, {"name": "x", "birth_date": 19650220}, 0, False),
        ("48", m.SearchRequest, {"name": "x", "birth_date": 19650220}, 0, True),
        ("48", m.MatchRequest, {"kana": "x", "birth_date": 19650220}, 0, False),
        ("48", m.MatchRequest, {"name": "x", "birth_date": 19650220, "sex": 1}, 0, False),
        ("48", m.MatchRequest, {"name": "x", "birth_date": 19650220}, int(Item.CODE), False),
    ],
)
def test_what_the_affair_does_not_allow_is_refused_and_leaves_no_record(
    server: Server, caller: Caller, item: str, kind: Any, given: dict[str, Any], items: int, prefix: bool
) -> None:
    caller.open(item)
    before = len(list(read_segments(server.directory / "record-of-use")))
    refused = caller.find(kind, [given], items, prefix)
    assert isinstance(refused, m.Error)
    assert refused.code is ErrorCode.NOT_AUTHORISED
    assert len(list(read_segments(server.directory / "record-of-use"))) == before


def test_items_wanted_bound_what_is_told(place: Place, caller: Caller) -> None:
    caller.open("48")
    person = persons(place, 1)[0]
    answer = caller.find(m.MatchRequest, [{"name": person.name, "birth_date": person.birth_date}])
    assert answer.items == Item.NAME | Item.BIRTH_DATE
    assert (answer.codes, answer.addresses, answer.kana) == (None, None, None)


def test_a_search_of_too_many_questions_is_refused(caller: Caller) -> None:
    refused = caller.find(m.SearchRequest, [{"name": "x", "birth_date": 19650220}] * 1_025)
    assert refused.code is ErrorCode.TOO_MANY_CODES


def test_others_do_not_wait_for_a_pathological_batch(place: Place, server: Server, caller: Caller) -> None:
    common = COMMON_DATE
    rows = [{"kana": "シケンタロウ", "birth_date": common}] * 500 + [{"kana": "シ" * 3_000, "birth_date": common}]
    large = caller.send(caller.finding(m.MatchRequest, rows))
    with Caller(place, server.port) as other:
        other.open("77")
        started = time.monotonic()
        assert isinstance(other.lookup(place.codes[:1]), m.LookupAnswer)
        waited = time.monotonic() - started
    answer = caller.event()
    while isinstance(answer, m.Progress):
        answer = caller.event()
    assert answer.request_id == large
    assert answer.found[500] == Found.BAD_KANA
    assert waited < 10.0


def test_a_cancelled_match_is_given_up_and_not_recorded(place: Place, server: Server, caller: Caller) -> None:
    before = len(list(read_segments(server.directory / "record-of-use")))
    rows = [row(persons(place, 1)[0])] * 20_000
    request_id = caller.send(caller.finding(m.MatchRequest, rows))
    answer = caller.ask(m.Cancel(request_id))
    assert (answer.request_id, answer.code) == (request_id, ErrorCode.CANCELLED)
    assert len(list(read_segments(server.directory / "record-of-use"))) == before
    assert isinstance(caller.find(m.MatchRequest, rows[:2]), m.MatchAnswer)


def test_nothing_of_a_person_is_logged(server: Server, tmp_path: Path) -> None:
    text = "".join(server.raw)
    for word in ("試験", "シケン", "居内"):
        assert word not in text
