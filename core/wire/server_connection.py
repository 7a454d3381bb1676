"""The server's end of a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import control, questions
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import BOTH_DONE, CLIENT_DONE, CLOSED, SERVER_DONE, Connection, Sendable
from jukinet.core.wire.frames import (
    HEADER,
    HEADER_BYTES,
    PING_BYTES,
    QUESTION_HEAD,
    MessageType,
    frame,
)
from jukinet.core.wire.states import ANSWER_OF, CLIENT_TYPES, CLOSING_CODES, FROM_CLIENT, FROM_SERVER, REPORTED

REFUSED: Final = 0
"""Stands in under_way for a request that was refused and waits for its ERROR."""

_PING: Final = int(MessageType.PING)
_CANCEL: Final = int(MessageType.CANCEL)
_GOODBYE: Final = int(MessageType.GOODBYE)
_OPEN_SESSION: Final = int(MessageType.OPEN_SESSION)
_CLOSE_SESSION: Final = int(MessageType.CLOSE_SESSION)
_LOOKUP: Final = int(MessageType.LOOKUP)
_STATUS: Final = int(MessageType.STATUS)
_VERIFY: Final = int(MessageType.VERIFY)
_UNTRACKED: Final = frozenset((_CANCEL, _GOODBYE))


class ServerConnection(Connection):
    """Receives requests, sends answers; starts by sending the Greeting.

    A request with values that are not allowed comes out as ``m.Refused``: send its ``answer()`` and go on. After
    RemoteProtocolError one ``m.Error`` with request_id 0 may still be sent, to tell the peer why.
    """

    _incoming_rows = FROM_CLIENT
    _outgoing_rows = FROM_SERVER
    _peer_types = CLIENT_TYPES
    _headed_types = REPORTED

    def __init__(self, limits: m.Limits | None = None) -> None:
        super().__init__(limits if limits is not None else m.Limits())
        self.sessions: dict[int, m.SessionOpened] = {}
        """Sessions that questions may name: session_id -> what was granted."""
        self._closing_sessions: set[int] = set()
        self._cancelled: set[int] = set()
        """Requests under way whose Cancel was given out; a second one is ignored."""
        self._asked: dict[int, int] = {}
        self._in_flight_max = self.limits.requests_in_flight_max
        self._may_explain = False

    # Receiving.

    def _admit(self, kind: int, request_id: int, size: int) -> m.Refused | None:
        if kind in _UNTRACKED:
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
        return m.Refused(request_id, code, message, MessageType(kind))

    def _refuse_by_head(self, kind: int, request_id: int, size: int, head: bytes | bytearray) -> m.Refused | None:
        session_id, second, count, reserved = QUESTION_HEAD.unpack_from(head)
        questions.check_head(kind, size, count, reserved)
        session = self.sessions.get(session_id)
        if session is None:
            return self._refuse(kind, request_id, Code.UNKNOWN_SESSION, "no such session on this connection")
        fault = questions.head_fault(kind, second, count)
        if fault is not None:
            return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
        if count > session.codes_per_request_max:
            return self._refuse(
                kind, request_id, Code.TOO_MANY_CODES, f"at most {session.codes_per_request_max} codes a request"
            )
        return None

    def _accept(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused | None:
        return self._ACCEPT[kind](self, request_id, payload)

    def _accept_codes(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        session_id, second, _, _ = questions.parse_head(payload)
        refusal = self._refuse_by_head(kind, request_id, len(payload), payload)
        if refusal is not None:
            return refusal
        self.under_way[request_id] = kind
        self._asked[request_id] = session_id
        question = m.LookupRequest if kind == _LOOKUP else m.StatusRequest
        return question(request_id, session_id, second, questions.parse_codes(payload))

    def _accept_lookup(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_codes(_LOOKUP, request_id, payload)

    def _accept_status(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_codes(_STATUS, request_id, payload)

    def _accept_verify(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        session_id, items, count, _ = questions.parse_head(payload)
        refusal = self._refuse_by_head(_VERIFY, request_id, len(payload), payload)
        if refusal is not None:
            return refusal
        try:
            message = questions.parse_verify(request_id, session_id, items, count, payload)
        except ColumnFault as fault:
            if fault.is_value:
                return self._refuse(_VERIFY, request_id, Code.BAD_REQUEST, f"a claim is not allowed: {fault}")
            raise RemoteProtocolError(f"the claims do not hold: {fault}") from None
        self.under_way[request_id] = _VERIFY
        self._asked[request_id] = session_id
        return message

    def _accept_open_session(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        message = control.decode(MessageType.OPEN_SESSION, request_id, payload)
        assert isinstance(message, m.OpenSession)
        fault = control.open_session_fault(message)
        if fault is not None:
            return self._refuse(_OPEN_SESSION, request_id, Code.BAD_REQUEST, fault)
        opening = sum(kind == _OPEN_SESSION for kind in self.under_way.values())
        if len(self.sessions) + len(self._closing_sessions) + opening >= self.limits.sessions_max:
            return self._refuse(_OPEN_SESSION, request_id, Code.TOO_MANY_SESSIONS, "close sessions first")
        self.under_way[request_id] = _OPEN_SESSION
        return message

    def _accept_close_session(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        message = control.decode(MessageType.CLOSE_SESSION, request_id, payload)
        assert isinstance(message, m.CloseSession)
        if self.sessions.pop(message.session_id, None) is None:
            return self._refuse(_CLOSE_SESSION, request_id, Code.UNKNOWN_SESSION, "no such session on this connection")
        self._closing_sessions.add(message.session_id)
        self.under_way[request_id] = _CLOSE_SESSION
        self._asked[request_id] = message.session_id
        return message

    def _accept_ping(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        self.under_way[request_id] = _PING
        return m.Ping(request_id, bytes(payload))

    def _accept_cancel(self, request_id: int, _: bytes | bytearray) -> m.Message | None:
        if self.under_way.get(request_id, REFUSED) == REFUSED or request_id in self._cancelled:
            return None
        self._cancelled.add(request_id)
        return m.Cancel(request_id)

    def _accept_goodbye(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.GOODBYE, request_id, payload)
        self._enter(self._incoming[_GOODBYE])
        return message

    _ACCEPT: ClassVar[dict[int, Callable[..., m.Message | m.Refused | None]]] = {
        _LOOKUP: _accept_lookup,
        _STATUS: _accept_status,
        _VERIFY: _accept_verify,
        _OPEN_SESSION: _accept_open_session,
        _CLOSE_SESSION: _accept_close_session,
        _PING: _accept_ping,
        _CANCEL: _accept_cancel,
        _GOODBYE: _accept_goodbye,
    }

    def _ended(self) -> None:
        # A client that said GOODBYE may close its side and still wait for its answers.
        if self._state is not CLIENT_DONE and self._state is not BOTH_DONE:
            self._enter(CLOSED)

    def _break(self) -> None:
        super()._break()
        self._may_explain = True

    # Sending.

    def send(self, message: m.ServerMessage) -> Sendable:
        """The message's bytes; the state has moved. Raises LocalProtocolError: not allowed now, nothing changed.

        Answers to LOOKUP, STATUS and VERIFY are made elsewhere and go through ``send_answer``.
        """
        kind = message.type
        send = self._SEND.get(kind)
        if send is None:
            raise LocalProtocolError(f"{MessageType(kind).name} is not sent with send()")
        if kind not in self._outgoing and not (isinstance(message, m.Error) and self._may_close(message)):
            raise LocalProtocolError(f"{MessageType(kind).name} cannot be sent in state {self.state.name}")
        return send(self, message)

    def send_answer(self, request_id: int, message_type: int, answer: bytearray) -> bytearray:
        """Fill in the header of an answer: ``answer`` is 16 bytes of room for it, then the payload. O(1).

        Raises LocalProtocolError when no such request is under way, or the answer is above answer_bytes_max (then send
        an Error instead); nothing has changed then.
        """
        kind = self.under_way.get(request_id)
        if kind is None or kind not in REPORTED or kind + 1 != message_type:
            raise LocalProtocolError("the answer is to no request under way")
        if message_type not in self._outgoing:
            raise LocalProtocolError(f"an answer cannot be sent in state {self._state.name}")
        size = len(answer) - HEADER_BYTES
        if size < 0 or size > self._payload_max[message_type]:
            raise LocalProtocolError("the answer is above answer_bytes_max, or has no room for its header")
        HEADER.pack_into(answer, 0, size, message_type, 0, request_id, 0)
        del self._asked[request_id]
        self._end_request(request_id)
        return answer

    def _end_request(self, request_id: int) -> int:
        if self._cancelled:
            self._cancelled.discard(request_id)
        return super()._end_request(request_id)

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
        if ANSWER_OF.get(self.under_way.get(message.request_id, REFUSED)) != message.type:
            raise LocalProtocolError("the answer is to no request under way")

    def _send_greeting(self, message: m.Greeting) -> bytes:
        if message.request_id or message.limits != self.limits:
            raise LocalProtocolError("the greeting's limits are those of the connection, its request_id is 0")
        data = self._encode(message)
        self._enter(self._outgoing[MessageType.GREETING])
        return data

    def _send_session_opened(self, message: m.SessionOpened) -> bytes:
        self._check_answer(message)
        if message.session_id in self.sessions or message.session_id in self._closing_sessions:
            raise LocalProtocolError("the session_id is in use")
        if message.codes_per_request_max > self.limits.codes_per_request_max:
            raise LocalProtocolError("codes_per_request_max is above the connection's")
        data = self._encode(message)
        self.sessions[message.session_id] = message
        self._end_request(message.request_id)
        return data

    def _send_session_closed(self, message: m.SessionClosed) -> bytes:
        self._check_answer(message)
        asked = self._asked
        if asked[message.request_id] != message.session_id:
            raise LocalProtocolError("another session was to be closed")
        if sum(session_id == message.session_id for session_id in asked.values()) > 1:
            raise LocalProtocolError("requests of the session are under way")
        data = self._encode(message)
        del asked[message.request_id]
        self._closing_sessions.discard(message.session_id)
        self._end_request(message.request_id)
        return data

    def _send_pong(self, message: m.Pong) -> bytes:
        self._check_answer(message)
        if len(message.data) != PING_BYTES:
            raise LocalProtocolError("a PONG repeats the PING's 8 bytes")
        self._end_request(message.request_id)
        return frame(message.type, message.request_id, message.data)

    def _send_progress(self, message: m.Progress) -> bytes:
        if self.under_way.get(message.request_id, REFUSED) not in REPORTED or message.done > message.total:
            raise LocalProtocolError("progress is of a question under way, done at most total")
        return self._encode(message)

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
        session_id = self._asked.pop(request_id, 0)
        if self.under_way[request_id] == _CLOSE_SESSION:
            self._closing_sessions.discard(session_id)
        self._end_request(request_id)
        return data

    def _send_goodbye(self, message: m.Goodbye) -> bytes:
        if message.request_id:
            raise LocalProtocolError("a GOODBYE has request_id 0")
        data = self._encode(message)
        self._enter(self._outgoing[_GOODBYE])
        return data

    _SEND: ClassVar[dict[int, Callable[..., bytes]]] = {
        MessageType.GREETING: _send_greeting,
        MessageType.SESSION_OPENED: _send_session_opened,
        MessageType.SESSION_CLOSED: _send_session_closed,
        MessageType.PONG: _send_pong,
        MessageType.PROGRESS: _send_progress,
        MessageType.ERROR: _send_error,
        MessageType.GOODBYE: _send_goodbye,
    }
