"""The feed's test vectors: the implementation writes and reads exactly these frames."""

from __future__ import annotations

import datetime
from itertools import pairwise
from typing import Any

import make_feed_vectors as made
import pytest
from make_vectors import FOLDER, text_of
from test_vectors import load
from wire_pair import deliver, joined

from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.notifications import Fault, Notification, NotificationBatch, faults_of
from jukinet.core.vocabulary import State
from jukinet.core.wire import (
    ConnectionState,
    FeedClientConnection,
    FeedMessageType,
    FeedServerConnection,
    WitnessServerConnection,
)
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m

S = ConnectionState
LIMITS = f.FeedLimits(**made.LIMITS)
CLASSES = {
    int(cls.type): cls
    for cls in vars(f).values()
    if isinstance(cls, type) and issubclass(cls, m.Message) and cls is not m.Message
}


def notification_of(row: dict[str, Any]) -> Notification:
    return Notification(**{name: int(value) if name.startswith("code") else value for name, value in row.items()})


def message_of(step: dict[str, Any]) -> m.Message:
    """The message that a step describes."""
    fields = dict(step["fields"])
    kind, request_id = FeedMessageType[step["type"]], step["request_id"]
    if "notifications" in fields:
        fields["batch"] = NotificationBatch.from_notifications(list(map(notification_of, fields.pop("notifications"))))
    if kind is FeedMessageType.COMPARED:
        rows = b"".join(number.to_bytes(8, "little") + bytes.fromhex(digest) for number, digest in fields["rows"])
        offsets = fields["offsets"]
        counts = None if offsets is None else [stop - start for start, stop in pairwise(offsets)]
        at = fields["register_version"], fields["position"]
        return f.Compared.of_rows(request_id, f.CompareKind(fields["kind"]), *at, rows, counts)
    for name, make in {
        "data": bytes.fromhex,
        "digest_sum": bytes.fromhex,
        "proof": bytes.fromhex,
        "limits": lambda limits: f.FeedLimits(**limits),
        "ranges": lambda ranges: [tuple(pair) for pair in ranges],
        "quarantined": lambda rows: [(row, Fault(fault)) for row, fault in rows],
        "notices": lambda rows: [f.Notice(**dict(zip(f.Notice.__struct_fields__, row, strict=True))) for row in rows],
        "kind": f.CompareKind,
        "code": int,
    }.items():
        if name in fields:
            fields[name] = make(fields[name])
    return CLASSES[kind](request_id=request_id, **fields)


def replay(
    steps: list[dict[str, Any]], end: type[FeedServerConnection] = FeedServerConnection
) -> tuple[FeedServerConnection, FeedClientConnection]:
    server, client = end(LIMITS), FeedClientConnection()
    for step in steps:
        message, frame = message_of(step), bytes.fromhex(step["frame"])
        sender, receiver = (client, server) if step["from"] == "client" else (server, client)
        assert joined(sender.send(message)) == frame  # type: ignore[arg-type, attr-defined]
        assert deliver(receiver, frame) == [message]
    assert server.state is client.state
    assert server.under_way == client.under_way
    return server, client


@pytest.mark.parametrize("name", sorted(made.vectors()))
def test_the_files_are_what_the_program_makes(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == text_of(made.vectors()[name])


def test_every_type_occurs() -> None:
    seen = {step["type"] for name in made.CONVERSATIONS for step in load(f"{name}.json")["frames"]}
    assert seen == set(FeedMessageType.__members__)
    assert dict(FeedMessageType.__members__) == made.TYPES


def test_a_retired_code_is_stated_among_the_ranges_of_a_load() -> None:
    """And is a row in which a register finds no fault: without its person, leading to the code that followed."""
    stated = [
        NotificationBatch.from_notifications([notification_of(row)])
        for step in load("feed-load.json")["frames"]
        if step["type"] == "LOAD_RANGE"
        for row in step["fields"]["notifications"]
        if row["state"] == State.RETIRED
    ]
    assert stated
    for batch in stated:
        row = batch.row(0)
        assert bytes(faults_of(batch, 13, datetime.date(2024, 4, 2))) == b"\0"
        assert row.code_before not in (0, row.code)
        assert (row.name, row.kana, row.address, row.birth_date, row.sex) == ("", "", "", 0, 0)


@pytest.mark.parametrize(
    ("name", "state"),
    [(name, S.CLOSED if name in ("feed-closing", "feed-taken") else S.OPEN) for name in made.CONVERSATIONS],
)
def test_conversation(name: str, state: S) -> None:
    end = WitnessServerConnection if name == "feed-witness-port" else FeedServerConnection
    server, _ = replay(load(f"{name}.json")["frames"], end)
    assert server.state is state


REFUSED = load("feed-refused.json")


@pytest.mark.parametrize("case", REFUSED["frames"], ids=lambda case: case["title"])
def test_refused(case: dict[str, Any]) -> None:
    server, client = replay(REFUSED["opening"])
    code = ErrorCode[case["error"]]
    connection: FeedServerConnection | FeedClientConnection = server
    if case["from"] == "server":
        connection = client
        for step in REFUSED["under_way"]:
            client.send(message_of(step))  # type: ignore[arg-type]
    if case["closes"]:
        with pytest.raises(RemoteProtocolError) as caught:
            deliver(connection, bytes.fromhex(case["frame"]))
        assert caught.value.error is code
        assert connection.state is S.CLOSED
    else:
        (event,) = deliver(connection, bytes.fromhex(case["frame"]))
        assert isinstance(event, m.Refused)
        assert event.code is code
        assert connection.state is S.OPEN
