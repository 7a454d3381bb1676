"""SEARCH and MATCH over both ends: what one side sends, the other receives, whatever items are given."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
import wire_twin as twin
from hypothesis import given
from hypothesis import strategies as st
from wire_pair import PATIENT, SESSION, answer, deliver, joined, opened

from jukinet.core.errors import LocalProtocolError
from jukinet.core.wire import MessageType
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
U32 = st.integers(0, 2**32 - 1)


def column(name: str, values: list[Any]) -> Any:
    if name in ("names", "kana", "addresses"):
        return TextColumn.from_texts(values)
    return memoryview(array("I", values)) if name == "birth_dates" else memoryview(bytes(values))


@st.composite
def persons(draw: st.DrawFn) -> tuple[int, dict[str, list[Any]]]:
    """Columns of some rows, among them the least that is asked by. Values need not be sensible."""
    count = draw(st.integers(1, 9))
    names = draw(st.sets(st.sampled_from(list(twin.GIVEN_BITS))))
    names |= {draw(st.sampled_from(["names", "kana"])), draw(st.sampled_from(["birth_dates", "addresses"]))}
    kinds = {"birth_dates": U32, "sexes": st.integers(0, 255)}
    rows = {"min_size": count, "max_size": count}
    return count, {name: draw(st.lists(kinds.get(name, TEXTS), **rows)) for name in twin.GIVEN_BITS if name in names}


@PATIENT
@given(persons(), st.integers(0, 255), st.booleans())
def test_a_question_arrives_as_it_was_sent(case: tuple[int, dict[str, list[Any]]], items: int, search: bool) -> None:
    count, columns = case
    mask = sum(twin.GIVEN_BITS[name] for name in columns)
    kind = m.SearchRequest if search else m.MatchRequest
    server, client = opened()
    message = kind(5, SESSION, items, mask, search, count, **{n: column(n, v) for n, v in columns.items()})
    data = joined(client.send(message))
    assert data == twin.frame(twin.find(SESSION, items, count, search, **columns), kind.type, 5)
    assert deliver(server, data, chunk=7) == [message]


@PATIENT
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_persons_arrive_with_their_question(hits: list[int], data: st.DataObject) -> None:
    server, client = opened()
    count, rows = len(hits), sum(hits)
    columns = {"names": TextColumn.from_texts(["x"] * count), "birth_dates": memoryview(array("I", [0] * count))}
    deliver(server, client.send(m.SearchRequest(5, SESSION, 137, 9, False, count, **columns)))
    ends = [sum(hits[: i + 1]) for i in range(count)]
    names = data.draw(st.lists(TEXTS, min_size=rows, max_size=rows))
    payload = twin.search_answer(
        137, 42, [4] * count, ends, [1] * rows, grades=[1] * rows, levels=[0x99999] * rows,
        probabilities=[1_000_000] * rows, names=names, birth_dates=[19650220] * rows, codes=[24727059608] * rows,
    )  # fmt: skip
    sent = joined(server.send_answer(5, MessageType.SEARCH_ANSWER, answer(payload)))
    (received,) = deliver(client, sent, chunk=11)
    assert isinstance(received, m.SearchAnswer)
    assert received.row_ends.tolist() == ends
    assert received.names is not None
    assert received.names.to_list() == names
    assert received.codes is not None
    assert received.codes.tolist() == [24727059608] * rows


@pytest.mark.parametrize(
    "fields",
    [
        {"given": 8},
        {"given": 1},
        {"given": 4 | 9},
        {"given": 11},
        {"items": 256},
        {"count": 2},
        {"count": 0},
        {"prefix": True},
        {"birth_dates": memoryview(b"\0")},
    ],
    ids=str,
)
def test_a_client_sends_nothing_that_the_server_would_refuse(fields: dict[str, Any]) -> None:
    _, client = opened()
    sound = {
        "items": 0, "given": 9, "prefix": False, "count": 1,
        "names": TextColumn.from_texts(["x"]), "birth_dates": memoryview(array("I", [0])),
    }  # fmt: skip
    with pytest.raises(LocalProtocolError):
        client.send(m.MatchRequest(5, SESSION, **{**sound, **fields}))
    assert client.under_way == {}
