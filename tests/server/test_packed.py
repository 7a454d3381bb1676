"""Packed answers from a real server, and the towns that they need."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from jukinet.core import limits
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.columns.packed_kernel import TownTable
from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import QUESTION, MessageType
from jukinet.core.wire.packed import FORM_PACKED, unpacked

from .serving import Caller, Place, Server


@pytest.fixture(scope="module")
def server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(place.configuration(tmp_path_factory.mktemp("serve"))) as running:
        yield running


@pytest.fixture
def caller(place: Place, server: Server) -> Iterator[Caller]:
    with Caller(place, server.port) as connected:
        assert isinstance(connected.open(), m.SessionOpened)
        yield connected


def towns_of(caller: Caller, towns_max: int = limits.TOWNS_PER_ANSWER_MAX) -> TownTable:
    """Fetch the whole table, page by page."""
    pages: list[Any] = []
    after = 0
    while True:
        page = caller.ask(m.TownsRequest(caller.new(), caller.session, after, towns_max))
        assert isinstance(page, m.TownsAnswer)
        assert page.count <= towns_max
        pages.append((page.texts.offsets, page.texts.data))
        after += page.count
        if after == page.towns:
            return TownTable(page.areas.tolist(), pages)


def packed(caller: Caller, codes: Any, items: int = 0) -> Any:
    return caller.ask(m.LookupRequest(caller.new(), caller.session, items, memoryview(array("Q", codes)), FORM_PACKED))


def told(answer: m.LookupAnswer) -> list[Any]:
    return [getattr(answer, name) for name in answer.__struct_fields__ if name != "request_id"]


def test_packed_answers_say_the_same(place: Place, caller: Caller) -> None:
    table = towns_of(caller)
    codes = [*place.codes[:300], 7, 2**64 - 1]
    for items in (0, 1, 2, 4, 8, 16, 32, 64, 128, 41):
        answer = packed(caller, codes, items)
        assert isinstance(answer, m.PackedLookupAnswer)
        assert told(unpacked(answer, table)) == told(caller.lookup(codes, items))


def test_long_packed_answers_too(place: Place, caller: Caller) -> None:
    table = towns_of(caller, 1)
    codes = (place.codes * (20_000 // len(place.codes) + 1))[:20_000]
    assert told(unpacked(packed(caller, codes), table)) == told(caller.lookup(codes))


def test_the_record_of_use_does_not_know_forms(place: Place, caller: Caller, server: Server) -> None:
    packed(caller, place.codes[:3])
    caller.lookup(place.codes[:3])
    records = read_segments(server.directory / "record-of-use")
    provisions = [record for record in records if isinstance(record.head, ProvisionHead)][-2:]
    first, second = (record.provisions() for record in provisions)
    assert first == second


def test_towns_are_for_sessions_that_see_addresses(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.open("39")
        refused = caller.ask(m.TownsRequest(caller.new(), caller.session, 0, 10))
        assert refused.code is ErrorCode.NOT_AUTHORISED
        answer = packed(caller, place.codes[:2])
        assert unpacked(answer, TownTable((), ())).addresses is None
        caller.open()
        beyond = caller.ask(m.TownsRequest(caller.new(), caller.session, limits.TOWNS_MAX, 10))
        assert (beyond.count, len(beyond.texts)) == (0, 0)


def test_too_many_towns_are_a_bad_request(place: Place, server: Server) -> None:
    with Caller(place, server.port) as caller:
        caller.open()
        caller.wire.under_way[9_999] = int(MessageType.TOWNS)
        for towns_max in (0, limits.TOWNS_PER_ANSWER_MAX + 1):
            caller.wire.under_way[9_999] = int(MessageType.TOWNS)
            numbers = (caller.session, 0, towns_max, 0)
            caller.socket.sendall(QUESTION.pack(16, MessageType.TOWNS, 0, 9_999, 0, *numbers))
            assert caller.event().code is ErrorCode.BAD_REQUEST
