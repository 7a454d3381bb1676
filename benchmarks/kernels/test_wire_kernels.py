"""The protocol's hot path on both sides, and packing of provisions for the record of use."""

from __future__ import annotations

from array import array
from typing import Any

from jukinet.core.audit.kernel import pack_provisions, unpack_provisions
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import ALL_ITEMS, Function, Outcome
from jukinet.core.wire import ClientConnection, ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import MessageType


def feed(connection: Any, data: Any) -> Any:
    """Give received bytes to a connection; its one event."""
    for part in data if isinstance(data, list) else [data]:
        view = memoryview(part).cast("B")
        while len(view):
            room = connection.get_buffer()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            connection.received(count)
            view = view[count:]
            if len(view):
                assert connection.next_event() is None
    return connection.next_event()


def opened() -> tuple[ClientConnection, ServerConnection, int]:
    """A connected pair with an open session."""
    client, server = ClientConnection(), ServerConnection()
    greeting = m.Greeting(
        server="jukinet", register="0" * 32, role="agency", body="kernels", limits=m.Limits(), areas_not_connected=[]
    )
    feed(client, server.send(greeting))
    feed(server, client.send(m.OpenSession(1, 1, "77", 0, "operator", "measuring", "")))
    feed(client, server.send(m.SessionOpened(1, 5, int(Function(7)), int(ALL_ITEMS), 65_536, 0)))
    return client, server, 5


def frame_of(snapshot: Snapshot, codes: memoryview) -> bytearray:
    batch = LookupBatch()
    batch.begin(codes, int(ALL_ITEMS))
    batch.run(snapshot, 0, len(codes))
    return batch.finish()


def exchange(codes: memoryview, frame: bytearray) -> Any:
    """A step that sends one LOOKUP through both ends and its answer back."""
    client, server, session_id = opened()
    request_id = 1

    def step() -> Any:
        nonlocal request_id
        request_id += 1
        asked = feed(server, client.send(m.LookupRequest(request_id, session_id, 0, codes)))
        answer = server.send_answer(asked.request_id, MessageType.LOOKUP_ANSWER, bytearray(frame))
        return feed(client, answer)

    return step


def test_exchange_of_one(benchmark: Any, snapshot: Snapshot, codes: memoryview) -> None:
    answer = benchmark(exchange(codes[:1], frame_of(snapshot, codes[:1])))
    assert answer.outcomes[0] == Outcome.CURRENT


def test_exchange_of_a_batch(benchmark: Any, snapshot: Snapshot, codes: memoryview) -> None:
    answer = benchmark(exchange(codes, frame_of(snapshot, codes)))
    assert len(answer.outcomes) == len(codes)


def test_packing_of_provisions(benchmark: Any, codes: memoryview) -> None:
    outcomes = bytes([Outcome.CURRENT]) * len(codes)
    packed = benchmark(pack_provisions, codes, outcomes)
    assert unpack_provisions(packed) == (array("Q", codes), outcomes)
