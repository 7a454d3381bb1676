"""The test vectors in docs/vectors: the implementation writes and reads exactly these frames."""

from __future__ import annotations

import json
from array import array
from typing import Any

import make_feed_vectors
import make_vectors
import pytest
from wire_pair import answer, deliver, joined

from jukinet.core.columns.packed_kernel import TownTable
from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.wire import ClientConnection, ConnectionState, MessageType, ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn
from jukinet.core.wire.packed import unpacked

LIMITS = m.Limits(**make_vectors.LIMITS)
CLASSES = {
    cls.type: cls
    for cls in vars(m).values()
    if isinstance(cls, type) and issubclass(cls, m.Message) and hasattr(cls, "type") and cls is not m.PackedLookupAnswer
}
FORMATS = {
    "codes": "Q",
    "successor_codes": "Q",
    "birth_dates": "I",
    "change_dates": "I",
    "areas": "I",
    "row_ends": "I",
    "replaced_dates": "I",
    "registered_dates": "I",
    "candidates": "I",
    "levels": "I",
    "probabilities": "I",
    "margins": "I",
}


def message_of(step: dict[str, Any]) -> m.Message:
    """The message that a step describes."""
    fields = {name: value for name, value in step["fields"].items() if name != "packed"}
    for name, value in fields.items():
        if name == "texts":
            fields[name] = TextColumn.from_texts(value)
        elif name in ("data", "nonce", "salt", "proof"):
            fields[name] = bytes.fromhex(value)
        elif name == "limits":
            fields[name] = m.Limits(**value)
        elif name == "cohorts":
            fields[name] = tuple(m.CohortRow(**row) for row in value)
        elif name in ("names", "kana", "aliases", "addresses"):
            fields[name] = TextColumn.from_texts(value)
        elif isinstance(value, list) and name != "areas_not_connected":
            fields[name] = memoryview(array(FORMATS.get(name, "B"), [int(number) for number in value]))
    return CLASSES[MessageType[step["type"]]](request_id=step["request_id"], **fields)


def replay(steps: list[dict[str, Any]]) -> tuple[ServerConnection, ClientConnection]:
    server, client = ServerConnection(LIMITS), ClientConnection()
    pages: list[tuple[memoryview, memoryview]] = []
    areas: list[int] = []
    for step in steps:
        message, frame = message_of(step), bytes.fromhex(step["frame"])
        if step["from"] == "client":
            assert joined(client.send(message)) == frame  # type: ignore[arg-type]
            assert deliver(server, frame) == [message]
        else:
            if message.type >= MessageType.LOOKUP:
                sent = joined(server.send_answer(message.request_id, message.type, answer(frame[16:])))
            else:
                sent = joined(server.send(message))  # type: ignore[arg-type]
            assert sent == frame
            (event,) = deliver(client, frame)
            if isinstance(event, m.TownsAnswer):
                pages.append((event.texts.offsets, event.texts.data))
                areas = event.areas.tolist()
            elif isinstance(event, m.PackedLookupAnswer):
                event = unpacked(event, TownTable(areas, pages))
            assert event == message
    assert server.state is client.state
    assert server.under_way == client.under_way
    return server, client


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((make_vectors.FOLDER / name).read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("name", sorted(make_vectors.vectors()))
def test_the_files_are_what_the_program_makes(name: str) -> None:
    assert (make_vectors.FOLDER / name).read_text(encoding="utf-8") == make_vectors.text_of(
        make_vectors.vectors()[name]
    )


def test_every_file_is_checked_and_every_type_occurs() -> None:
    assert {path.name for path in make_vectors.FOLDER.glob("*")} == {
        *make_vectors.vectors(),
        *make_feed_vectors.vectors(),
    }
    seen = {step["type"] for name in make_vectors.CONVERSATIONS for step in load(f"{name}.json")["frames"]}
    assert seen == set(MessageType.__members__)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("session", ConnectionState.CLOSED),
        ("lookup", ConnectionState.OPEN),
        ("packed", ConnectionState.OPEN),
        ("status", ConnectionState.OPEN),
        ("verify", ConnectionState.OPEN),
        ("history", ConnectionState.OPEN),
        ("cohort", ConnectionState.OPEN),
        ("persons", ConnectionState.OPEN),
        ("under-way", ConnectionState.CLOSED),
        ("closing", ConnectionState.CLOSED),
    ],
)
def test_conversation(name: str, state: ConnectionState) -> None:
    server, _ = replay(load(f"{name}.json")["frames"])
    assert server.state is state


REFUSED = load("refused.json")


@pytest.mark.parametrize("case", REFUSED["frames"], ids=lambda case: case["title"])
def test_refused(case: dict[str, Any]) -> None:
    server, client = replay(REFUSED["opening"])
    code = ErrorCode[case["error"]]
    connection = server
    if case["from"] == "server":
        connection = client  # type: ignore[assignment]
        client.send(message_of(REFUSED["under_way"]))  # type: ignore[arg-type]
    if case["closes"]:
        with pytest.raises(RemoteProtocolError) as caught:
            deliver(connection, bytes.fromhex(case["frame"]))
        assert caught.value.error is code
        assert connection.state is ConnectionState.CLOSED
    else:
        (event,) = deliver(connection, bytes.fromhex(case["frame"]))
        assert isinstance(event, m.Refused)
        assert event.code is code
        assert connection.state is ConnectionState.OPEN
