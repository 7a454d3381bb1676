"""The public API as a type checker sees it; test_types.py runs mypy over this file. Not run."""

from __future__ import annotations

import datetime
from array import array
from typing import Any, assert_type

import numpy as np

import jukinet.clients as clients
from jukinet.clients.requests import Claims, Grant
from jukinet.core.vocabulary import ChangeReason, Found, Item, Match, Outcome, Sex

TLS = clients.Credentials(root="root.pem", certificate="agency.pem", key="agency.key")


async def with_trio() -> None:
    async with clients.connect("host", 7700, tls=TLS, retry=clients.Retry(tries=3)) as client:
        assert_type(client, clients.Client)
        assert_type(await client.ping(), float)
        async with client.session(schedule=1, item="74", operator="op", reason="why") as session:
            assert_type(session, clients.Session)
            assert_type(session.grant, Grant)
            assert_type(session.codes_per_request_max, int)
            answer = await session.lookup(["01354788434"], items=Item.NAME | Item.ADDRESS)
            assert_type(answer, clients.LookupAnswer)
            row = answer[0]
            assert_type(row, clients.LookupRow)
            assert_type(row.outcome, Outcome)
            assert_type(row.name, str | None)
            assert_type(row.birth_date, datetime.date | clients.PartialDate | None)
            assert_type(row.sex, Sex | None)
            assert_type(row.change_reason, ChangeReason | None)
            assert_type(answer.counts(), dict[Outcome, int])
            assert_type(answer.to_numpy(), dict[str, np.ndarray[Any, Any]])
            assert_type(await session.lookup_one(1354788434), clients.LookupRow)
            earlier = await session.history(["01354788434"])
            assert_type(earlier, clients.HistoryAnswer)
            assert_type(earlier[0].records, tuple[clients.EarlierRecord, ...])
            changes = await session.status(array("Q", [1354788434]), since=datetime.date(2025, 10, 1))
            assert_type(changes, clients.StatusAnswer)
            assert_type(changes[0].change_date, datetime.date | clients.PartialDate | None)
            claims = await session.verify(["01354788434"], names=["x"], sexes=[Sex.MALE], birth_dates=["1965-02"])
            assert_type(claims, clients.VerifyAnswer)
            assert_type(claims[0].name, Match)
            async for looked_up in session.lookup_many(clients.batches(range(10), 5)):
                assert_type(looked_up, clients.LookupAnswer)
                for each in looked_up:
                    assert_type(each, clients.LookupRow)
            async for verified in session.verify_many([Claims(["1"], names=["x"])]):
                assert_type(verified, clients.VerifyAnswer)
            persons = clients.Persons(kana=["x"], birth_dates=["昭和40年2月20日"], sexes=[Sex.MALE])
            assert_type(await session.search(persons, prefix=True), clients.SearchAnswer)
            matched = await session.match(persons, items=Item.CODE)
            assert_type(matched, clients.MatchAnswer)
            assert_type(matched[0].person, clients.FoundPerson | None)
            assert_type(matched[0].found, Found)
            async for each_match in session.match_many([persons]):
                assert_type(each_match, clients.MatchAnswer)
            await session.lookup(12345)  # type: ignore[arg-type]
            await session.status(["1"])  # type: ignore[call-arg]


def blocking() -> None:
    with clients.connect_blocking("host", 7700, tls=TLS, deadlines=clients.Deadlines(request=5)) as client:
        assert_type(client, clients.BlockingClient)
        with client.session(schedule=1, item="74", operator="op", reason="why") as session:
            assert_type(session, clients.BlockingSession)
            assert_type(session.lookup(["1"]), clients.LookupAnswer)
            for answer in session.status_many([["1"]], since="2025-10-01"):
                assert_type(answer, clients.StatusAnswer)
            try:
                session.lookup_one("1")
            except clients.RateExceededError as error:
                assert_type(error.retry_after, float)
