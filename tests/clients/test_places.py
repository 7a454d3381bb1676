"""When packed answers are asked for, and the towns that a client keeps for them."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import pytest

from jukinet import clients
from jukinet.clients.places import PACKED_AFTER_CODES, PACKED_CODES_MIN, Places
from jukinet.core.codes import code_from_key
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.vocabulary import Item
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn

ALL = 255


def page(after: int, texts: list[str], towns: int, areas: list[int]) -> m.TownsAnswer:
    return m.TownsAnswer(1, after, len(texts), 3, towns, memoryview(array("I", areas)), TextColumn.from_texts(texts))


def needing(towns: int, areas: int, items: int = ALL) -> Any:
    """What `suffice` reads of an answer."""
    return SimpleNamespace(items=items, columns=SimpleNamespace(towns=towns, areas=areas))


def test_packed_is_asked_for_when_it_is_worth_the_towns() -> None:
    places = Places("register", None)
    assert places.form(ALL, PACKED_CODES_MIN - 1) == 0
    assert places.form(int(Item.NAME), PACKED_CODES_MIN) == 1, "no addresses, no towns"
    asked = PACKED_CODES_MIN
    while asked + 65_536 <= PACKED_AFTER_CODES:
        assert places.form(ALL, 65_536) == 0
        asked += 65_536
    assert places.form(ALL, 65_536) == 1
    assert places.form(ALL, 1) == 0


def test_towns_that_are_known_decide_at_once() -> None:
    places = Places("register", None)
    assert places.take(page(0, ["丸の内"], 1, [13101]))
    assert places.form(ALL, PACKED_CODES_MIN) == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_a_caller_may_decide(wanted: bool) -> None:
    places = Places("register", wanted)
    assert places.form(ALL, 1) == places.form(ALL, 10**6) == int(wanted)


def test_pages_become_the_table() -> None:
    places = Places("register", True)
    assert places.suffice(needing(9, 9, int(Item.NAME)))
    assert not places.suffice(needing(2, 1))
    assert places.question()[0] == 0
    assert not places.take(page(0, ["丸の内", "東"], 3, [13101]))
    assert places.table.towns == 0, "an unfinished table serves nothing"
    assert not places.take(page(0, ["丸の内", "東"], 3, [13101])), "another task's page, already here"
    assert places.question()[0] == 2
    assert places.take(page(2, ["泉崎"], 3, [13101, 47201]))
    assert (places.table.towns, places.table.areas) == (3, 2)
    assert places.suffice(needing(3, 2))
    assert not places.suffice(needing(4, 2))
    assert not places.suffice(needing(3, 3))
    assert places.take(page(3, ["首里"], 4, [13101, 47201, 1100]))
    assert places.suffice(needing(4, 3))


def test_towns_never_become_fewer() -> None:
    places = Places("register", True)
    places.take(page(0, ["丸の内", "東"], 2, [13101]))
    with pytest.raises(RemoteProtocolError, match="fewer"):
        places.take(page(2, [], 1, [13101]))
    with pytest.raises(RemoteProtocolError, match="fewer"):
        places.take(page(2, [], 2, []))


def test_a_server_before_1_4_is_asked_for_plain_answers(make_peer: Any, tls: Any, affair: dict[str, Any]) -> None:
    codes = [code_from_key(key) for key in range(1000, 1300)]
    with clients.connect_blocking("localhost", make_peer().port, tls=tls, packed=True) as client:
        with client.session(**affair) as session:
            assert not session.grant.packed
            assert [row.code for row in session.lookup(codes)] == [f"{code:011}" for code in codes]
