"""Both Python clients against a real server: search and match, with typed rows and columns."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest

import jukinet.clients as clients
from jukinet.core.codes import code_from_key, format_code
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import Found, Grade, Item, Level, Outcome

from .serving import COMMON_DATE, Place, Server

AFFAIR = {"schedule": 1, "item": "74", "operator": "op-17", "reason": "tests"}


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(place.configuration(tmp_path_factory.mktemp("finding-clients"))) as server:
        yield server


@pytest.fixture
def tls(place: Place) -> clients.Credentials:
    files = place.files["pensions"]
    return clients.Credentials(root=place.directory / "root.pem", certificate=files.certificate, key=files.key)


def persons(place: Place, count: int) -> list[Resident]:
    return [person for person in place.table.values() if person.has_person and person.kana != "シケンタロウ"][:count]


async def test_the_trio_client(place: Place, server: Server, tls: clients.Credentials) -> None:
    people = persons(place, 40)
    asked = clients.Persons(
        kana=[person.kana for person in people], birth_dates=[person.birth_date for person in people]
    )
    async with clients.connect("localhost", server.port, tls=tls) as client, client.session(**AFFAIR) as session:
        answer = await session.match(asked)
        assert answer.counts() == {Found.ONE: 40}
        assert answer.given == Item.KANA | Item.BIRTH_DATE
        row = answer[0]
        assert row.person is not None
        assert row.person.code == format_code(code_from_key(people[0].key))
        assert (row.person.name, row.person.grade) == (people[0].name, Grade.KANA)
        assert row.person.levels.birth_date is Level.EXACT
        assert row.person.levels.address is Level.NOT_COMPARED
        assert isinstance(row.person.birth_date, datetime.date)
        assert 0.9 < row.probability <= 1.0
        assert row.candidates == 1
        assert people[0].name not in repr(row)
        several = await session.match(clients.Persons(kana=["シケンタロウ"], birth_dates=[COMMON_DATE]))
        assert several[0].found in (Found.SEVERAL, Found.TOO_MANY)
        assert several[0].person is None
        batches = [asked, clients.Persons(names=["居内太郎"], addresses=["北海道札幌市1-1"])]
        found = [[row.found for row in part] async for part in session.match_many(batches)]
        assert found == [[Found.ONE] * 40, [Found.NONE]]
        with pytest.raises(clients.ClientError, match="the least is"):
            await session.match(clients.Persons(names=["x"], sexes=[1]))
        with pytest.raises(clients.TooManyCodesError):
            await session.search(clients.Persons(names=["x"] * 1_025, birth_dates=[0] * 1_025))
        with pytest.raises(clients.ClientError, match="different lengths"):
            await session.match(clients.Persons(names=["x", "y"], birth_dates=[0]))


def test_the_blocking_client(place: Place, server: Server, tls: clients.Credentials) -> None:
    first, second = persons(place, 2)
    with clients.connect_blocking("localhost", server.port, tls=tls) as client, client.session(**AFFAIR) as session:
        asked = clients.Persons(
            names=[first.name, "居内太郎", second.name],
            birth_dates=[first.birth_date, "昭和元年12月25日", second.birth_date],
        )
        answer = session.search(asked, items=Item.NAME | Item.CODE)
        assert [row.found for row in answer] == [Found.ONE, Found.NONE_NOT_CONNECTED, Found.ONE]
        assert [len(row.persons) for row in answer] == [1, 0, 1]
        person = answer[-1].persons[0]
        assert (person.name, person.code) == (second.name, format_code(code_from_key(second.key)))
        assert person.outcome in (Outcome.CURRENT, Outcome.DEAD, Outcome.MOVED_AWAY)
        assert person.birth_date is None
        columns = answer.to_numpy()
        assert list(columns["row_ends"]) == [1, 1, 2]
        matched = session.match(asked)
        table = matched.to_arrow()
        assert table.column("found").to_pylist() == ["ONE", "NONE_NOT_CONNECTED", "ONE"]
        assert table.column("grade").to_pylist() == ["EXACT", "NONE", "EXACT"]
        assert table.column("code").to_pylist()[1] == 0
        with pytest.raises(IndexError):
            matched[3]
