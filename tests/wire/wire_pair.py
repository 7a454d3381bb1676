"""Both ends of a connection in memory: what one sends, the other receives."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from hypothesis import HealthCheck, settings

from jukinet.core.wire import ClientConnection, Sendable, ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import Connection

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For property tests: a busy machine or a sanitizer build is no failure."""
GREETING = {"server": "jukinet 0.1", "register": "0123456789abcdef" * 2, "role": "agency", "body": "pension-service"}
SESSION = 7


def joined(data: Sendable) -> bytes:
    return b"".join(data) if isinstance(data, list) else bytes(data)


def deliver(connection: Connection, data: Sendable, chunk: int = 1 << 30) -> list[m.Message | m.Refused]:
    """Receive the bytes, at most chunk at a time; all events."""
    left = memoryview(joined(data))
    events: list[m.Message | m.Refused] = []
    while left:
        buffer = connection.get_buffer()
        count = min(len(buffer), len(left), chunk)
        buffer[:count] = left[:count]
        connection.received(count)
        left = left[count:]
        while (event := connection.next_event()) is not None:
            events.append(event)
    return events


def greeting(limits: m.Limits) -> m.Greeting:
    return m.Greeting(**GREETING, limits=limits, areas_not_connected=[7483, 13215])


def open_session(request_id: int = 1) -> m.OpenSession:
    return m.OpenSession(request_id, 1, "77-2", 3, "op-1", "yearly status", "2024/17")


def greeted(limits: m.Limits | None = None) -> tuple[ServerConnection, ClientConnection]:
    server = ServerConnection(limits)
    client = ClientConnection()
    deliver(client, server.send(greeting(server.limits)))
    return server, client


def opened(limits: m.Limits | None = None, codes_max: int | None = None) -> tuple[ServerConnection, ClientConnection]:
    """A pair with one open session, SESSION."""
    server, client = greeted(limits)
    deliver(server, client.send(open_session()))
    granted = m.SessionOpened(1, SESSION, 135, 255, codes_max or server.limits.codes_per_request_max, 20301231)
    deliver(client, server.send(granted))
    return server, client


def codes(values: Iterable[int]) -> memoryview:
    return memoryview(array("Q", values))


def answer(payload: bytes) -> bytearray:
    """As the index makes it: room for the header, then the payload."""
    return bytearray(16) + payload
