"""What the client's ends of the query and the feed protocol share: request ids, errors, PING, GOODBYE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from msgspec import Struct

from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import control
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import CLOSED, SERVER_DONE, Connection, Sendable
from jukinet.core.wire.frames import PING_BYTES, REQUEST_ID_MAX, MessageType, frame
from jukinet.core.wire.states import CLOSING_CODES

_ERROR: Final = int(MessageType.ERROR)
_GOODBYE: Final = int(MessageType.GOODBYE)


_L = TypeVar("_L", bound=Struct)


def smaller_of(own: _L, told: _L) -> _L:
    """The smaller of each of two sets of limits."""
    return type(own)(*(min(getattr(own, name), getattr(told, name)) for name in own.__struct_fields__))


class ClientEnd(Connection):
    """Sends requests and receives answers; the subclass names its messages in the tables."""

    _head_bytes = {}  # noqa: RUF012
    _questions_of: ClassVar[Mapping[int, frozenset[int]]]
    _connection_types: ClassVar[frozenset[int]]
    """Messages of the server that belong to no request."""
    _ACCEPT: ClassVar[Mapping[int, Callable[..., m.Message | None]]]
    _SEND: ClassVar[Mapping[int, Callable[..., Sendable]]]
    _in_flight_max: int

    def __init__(self, payload_max: dict[int, int], requests_in_flight_max: int) -> None:
        super().__init__(payload_max)
        self._asked: dict[int, tuple[Any, ...]] = {}
        self._last_request_id = 0
        self._in_flight_max = requests_in_flight_max

    def new_request_id(self) -> int:
        """An id that no request under way has."""
        request_id = self._last_request_id
        while True:
            request_id = request_id + 1 if request_id < REQUEST_ID_MAX else 1
            if request_id not in self.under_way:
                self._last_request_id = request_id
                return request_id

    # Receiving.

    def _admit(self, kind: int, request_id: int, size: int) -> None:  # noqa: ARG002
        questions = self._questions_of.get(kind)
        if questions is not None:
            if self.under_way.get(request_id) not in questions:
                raise RemoteProtocolError("an answer to no request under way", Code.WRONG_STATE)
        elif request_id and kind in self._connection_types:
            raise RemoteProtocolError("a message of the connection has a request_id")
        elif kind == _ERROR and request_id and request_id not in self.under_way:
            raise RemoteProtocolError("it concerns no request under way", Code.WRONG_STATE)

    def _accept(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | None:
        return self._ACCEPT[kind](self, request_id, payload)

    def _answered(self, request_id: int) -> None:
        self._asked.pop(request_id, None)
        self._end_request(request_id)

    def _accept_pong(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        if self._asked[request_id] != (payload,):
            raise RemoteProtocolError("the PONG does not repeat its PING")
        self._answered(request_id)
        return m.Pong(request_id, bytes(payload))

    def _accept_error(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.ERROR, request_id, payload)
        assert isinstance(message, m.Error)
        if request_id == 0:
            self._enter(CLOSED)
        elif message.code in CLOSING_CODES:
            raise RemoteProtocolError("an error that closes the connection names a request")
        else:
            self._answered(request_id)
        return message

    def _accept_goodbye(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.GOODBYE, request_id, payload)
        self._enter(self._incoming[_GOODBYE])
        return message

    def _ended(self) -> None:
        self._enter(CLOSED)

    def _refuse_by_head(self, *_: object) -> None:
        raise AssertionError("a client refuses nothing")

    # Sending.

    def _send(self, message: m.Message) -> Sendable:
        self._check_sendable(message.type)
        return self._SEND[message.type](self, message)

    def _check_request(self, request_id: int) -> None:
        under_way = self.under_way
        if self._state is SERVER_DONE:
            raise LocalProtocolError("the server is stopping: connect again")
        if not 0 < request_id <= REQUEST_ID_MAX or request_id in under_way:
            raise LocalProtocolError("a request_id is 1 to 4294967295, and not that of a request under way")
        if len(under_way) >= self._in_flight_max:
            raise LocalProtocolError("requests_in_flight_max requests are under way")

    def _begin(self, message: m.Message, *asked: Any) -> None:
        """The request is under way: ``asked`` is what its answer must fit."""
        self.under_way[message.request_id] = message.type
        self._asked[message.request_id] = asked

    def _send_ping(self, message: m.Ping) -> Sendable:
        self._check_request(message.request_id)
        if len(message.data) != PING_BYTES:
            raise LocalProtocolError("a PING has 8 bytes")
        self._begin(message, message.data)
        return frame(message.type, message.request_id, message.data)

    def _send_goodbye(self, message: m.Goodbye) -> Sendable:
        if message.request_id:
            raise LocalProtocolError("a GOODBYE has request_id 0")
        payload = control.encode(message)
        try:
            control.decode(MessageType.GOODBYE, 0, payload)
        except RemoteProtocolError as error:
            raise LocalProtocolError(str(error)) from None
        self._enter(self._outgoing[_GOODBYE])
        return frame(message.type, 0, payload)
