"""What a message does in a state, checked against the rows of a state table: for the tests of both protocols."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pytest
from wire_pair import deliver

from jukinet.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import ConnectionState as S
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import Connection

Rows = Mapping[S, Mapping[int, S]]


def received(
    connection: Connection, frame: bytes, kind: int, types: Collection[int], rows: Rows
) -> m.Message | m.Refused | None:
    """The event that a sound frame gives when its sender's row allows it; None when it was dropped or refused."""
    state = connection.state
    if state is S.CLOSED:
        assert deliver(connection, frame) == []
        return None
    if kind not in types or kind not in rows[state]:
        with pytest.raises(RemoteProtocolError) as caught:
            deliver(connection, frame)
        assert caught.value.error == (ErrorCode.WRONG_STATE if kind in types else ErrorCode.UNKNOWN_TYPE)
        assert connection.state is S.CLOSED
        return None
    (event,) = deliver(connection, frame)
    assert connection.state is rows[state][kind]
    return event


def check_sent(connection: Connection, send: Callable[[], object], kind: int, rows: Rows, *, is_allowed: bool) -> None:
    """A message that may be sent moves the state as its row says; another changes nothing."""
    state, before = connection.state, dict(connection.under_way)
    if is_allowed:
        send()
        assert connection.state is rows[state][kind]
    else:
        with pytest.raises(LocalProtocolError):
            send()
        assert connection.state is state
        assert connection.under_way == before


def without_error_of_the_connection(rows: Rows) -> Rows:
    """The server's rows for frames that name a request: rule 2 speaks of an ERROR with request_id 0."""
    return {**rows, S.GREETING: {kind: to for kind, to in rows[S.GREETING].items() if to is not S.CLOSED}}
