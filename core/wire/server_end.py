"""What the server's ends of the query and the feed protocol share: request ids, refusals, PING, ERROR, GOODBYE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import control
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import BOTH_DONE, CLIENT_DONE, CLOSED, SERVER_DONE, Connection, Sendable
from jukinet.core.wire.frames import PING_BYTES, MessageType, frame
from jukinet.core.wire.states import CLOSING_CODES

REFUSED: Final = 0
"""Stands in under_way for a request that was refused and waits for its ERROR."""

_PING: Final = int(MessageType.PING)
_GOODBYE: Final = int(MessageType.GOODBYE)


class ServerEnd(Connection):
    """Receives requests and answers them; the subclass names its messages in the tables."""

    _untracked: ClassVar[frozenset[int]]
    """Messages of the client that are no requests."""
    _questions_of: ClassVar[Mapping[int, frozenset[int]]]
    _ACCEPT: ClassVar[Mapping[int, Callable[..., m.Message | m.Refused | None]]]
    _SEND: ClassVar[Mapping[int, Callable[..., Sendable]]]

    def __init__(self, payload_max: dict[int, int], requests_in_flight_max: int) -> None:
        super().__init__(payload_max)
        self._asked: dict[int, Any] = {}
        """What an answer must fit: request_id -> what the subclass keeps of the request."""
        self._in_flight_max = requests_in_flight_max
        self._may_explain = False

    # Receiving.

    def _admit(self, kind: int, request_id: int, size: int) -> m.Refused | None:
        if kind in self._untracked:
            if request_id and kind == _GOODBYE:
                raise RemoteProtocolError("a message of the connection has a request_id")
            return None
        under_way = self.under_way
        if request_id == 0 or request_id in under_way:
            raise RemoteProtocolError("the request_id is 0 or that of a request under way")
        if kind == _PING and size != PING_BYTES:
            raise RemoteProtocolError("a PING has 8 bytes")
        if self._state is SERVER_DONE:
            return self._refuse(kind, request_id, Code.DRAINING, "the server is stopping: connect again")
        if len(under_way) >= self._in_flight_max:
            return self._refuse(kind, request_id, Code.TOO_MANY_REQUESTS, "wait for answers before asking more")
        return None

    def _refuse(self, kind: int, request_id: int, code: Code, message: str) -> m.Refused:
        if len(self.under_way) >= 2 * self._in_flight_max:
            raise RemoteProtocolError("requests keep coming beyond requests_in_flight_max", Code.TOO_MANY_REQUESTS)
        self.under_way[request_id] = REFUSED
        return m.Refused(request_id, code, message, self._message_types(kind))

    def _accept(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused | None:
        return self._ACCEPT[kind](self, request_id, payload)

    def _accept_ping(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        self.under_way[request_id] = _PING
        return m.Ping(request_id, bytes(payload))

    def _accept_goodbye(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.GOODBYE, request_id, payload)
        self._enter(self._incoming[_GOODBYE])
        return message

    def _ended(self) -> None:
        # A client that said GOODBYE may close its side and still wait for its answers.
        if self._state is not CLIENT_DONE and self._state is not BOTH_DONE:
            self._enter(CLOSED)

    def _break(self) -> None:
        super()._break()
        self._may_explain = True

    # Sending.

    def _send(self, message: m.Message) -> Sendable:
        kind = message.type
        send = self._SEND.get(kind)
        if send is None:
            raise LocalProtocolError(f"{kind.name} is not sent with send()")
        if not (isinstance(message, m.Error) and self._may_close(message)):
            self._check_sendable(kind)
        return send(self, message)

    def _may_close(self, message: m.Error) -> bool:
        """Rule 2 of the state table, and one farewell after the peer broke the protocol."""
        return message.request_id == 0 and (self._state is not CLOSED or self._may_explain)

    def _encode(self, message: m.Message) -> bytes:
        payload = control.encode(message)
        try:
            control.decode(message.type, message.request_id, payload)
        except RemoteProtocolError as error:
            raise LocalProtocolError(str(error)) from None
        if len(payload) > self._payload_max[message.type]:
            raise LocalProtocolError("the message is above the limit of its type")
        return frame(message.type, message.request_id, payload)

    def _check_answer(self, message: m.Message) -> None:
        if self.under_way.get(message.request_id, REFUSED) not in self._questions_of[message.type]:
            raise LocalProtocolError("the answer is to no request under way")

    def _send_pong(self, message: m.Pong) -> bytes:
        self._check_answer(message)
        if len(message.data) != PING_BYTES:
            raise LocalProtocolError("a PONG repeats the PING's 8 bytes")
        self._end_request(message.request_id)
        return frame(message.type, message.request_id, message.data)

    def _send_error(self, message: m.Error) -> bytes:
        request_id = message.request_id
        if request_id == 0:
            data = self._encode(message)
            self._enter(CLOSED)
            self._may_explain = False
            return data
        if request_id not in self.under_way or message.code in CLOSING_CODES:
            raise LocalProtocolError("the error is of no request under way, or closes and needs request_id 0")
        data = self._encode(message)
        self._give_up(request_id, self._asked.pop(request_id, None))
        self._end_request(request_id)
        return data

    def _give_up(self, request_id: int, asked: Any) -> None:
        """A request under way ends with an ERROR: ``asked`` is what was kept of it, or None."""

    def _send_goodbye(self, message: m.Goodbye) -> bytes:
        if message.request_id:
            raise LocalProtocolError("a GOODBYE has request_id 0")
        data = self._encode(message)
        self._enter(self._outgoing[_GOODBYE])
        return data
