"""The server's end of a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import cohorts, control, persons, questions
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import Sendable
from jukinet.core.wire.frames import (
    HEADER,
    HEADER_BYTES,
    QUESTION_HEAD,
    QUESTION_HEAD_BYTES,
    AnswerFrame,
    MessageType,
    answer_frame_bytes,
    payload_limits,
)
from jukinet.core.wire.server_end import REFUSED, ServerEnd
from jukinet.core.wire.states import CLIENT_TYPES, FROM_CLIENT, FROM_SERVER, QUESTIONS_OF, REPORTED

Answer = TypeVar("Answer", bound=AnswerFrame)

_PING: Final = int(MessageType.PING)
_CANCEL: Final = int(MessageType.CANCEL)
_GOODBYE: Final = int(MessageType.GOODBYE)
_OPEN_SESSION: Final = int(MessageType.OPEN_SESSION)
_CLOSE_SESSION: Final = int(MessageType.CLOSE_SESSION)
_LOOKUP: Final = int(MessageType.LOOKUP)
_STATUS: Final = int(MessageType.STATUS)
_VERIFY: Final = int(MessageType.VERIFY)
_HISTORY: Final = int(MessageType.HISTORY)
_COHORT_PUT: Final = int(MessageType.COHORT_PUT)
_COHORT_CHANGES: Final = int(MessageType.COHORT_CHANGES)
_SEARCH: Final = int(MessageType.SEARCH)
_MATCH: Final = int(MessageType.MATCH)
_TOWNS: Final = int(MessageType.TOWNS)
_CODES_QUESTIONS: Final[dict[int, type[m.StatusRequest | m.HistoryRequest]]] = {
    _STATUS: m.StatusRequest,
    _HISTORY: m.HistoryRequest,
}


class ServerConnection(ServerEnd):
    """Receives requests, sends answers; starts by sending the Greeting.

    A request with values that are not allowed comes out as ``m.Refused``: send its ``answer()`` and go on. After
    RemoteProtocolError one ``m.Error`` with request_id 0 may still be sent, to tell the peer why.
    """

    _incoming_rows = FROM_CLIENT
    _outgoing_rows = FROM_SERVER
    _peer_types = CLIENT_TYPES
    _message_types = MessageType
    _untracked = frozenset((_CANCEL, _GOODBYE))
    _questions_of = QUESTIONS_OF
    _head_bytes = dict.fromkeys(REPORTED, QUESTION_HEAD_BYTES)

    def __init__(self, limits: m.Limits | None = None) -> None:
        self.limits = limits = limits if limits is not None else m.Limits()
        super().__init__(
            payload_limits(limits.request_bytes_max, limits.answer_bytes_max), limits.requests_in_flight_max
        )
        self.sessions: dict[int, m.SessionOpened] = {}
        """Sessions that questions may name: session_id -> what was granted."""
        self._closing_sessions: set[int] = set()
        self._cancelled: set[int] = set()
        """Requests under way whose Cancel was given out; a second one is ignored."""

    def _refuse_by_head(self, kind: int, request_id: int, size: int, head: bytes | bytearray) -> m.Refused | None:
        return self._refuse_question(kind, request_id, size, *QUESTION_HEAD.unpack_from(head))

    def _refuse_question(
        self, kind: int, request_id: int, size: int, session_id: int, second: int, count: int, reserved: int
    ) -> m.Refused | None:
        questions.check_head(kind, size, count, reserved)
        session = self.sessions.get(session_id)
        if session is None:
            return self._refuse(kind, request_id, Code.UNKNOWN_SESSION, "no such session on this connection")
        fault = questions.head_fault(kind, second, count)
        if fault is not None:
            return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
        if count > session.codes_per_request_max and kind != _TOWNS:
            return self._refuse(
                kind, request_id, Code.TOO_MANY_CODES, f"at most {session.codes_per_request_max} codes a request"
            )
        return None

    def _accept_codes(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        session_id, second, count, form = questions.parse_head(payload)
        refusal = self._refuse_question(kind, request_id, len(payload), session_id, second, count, form)
        if refusal is not None:
            return refusal
        self.under_way[request_id] = kind
        self._asked[request_id] = session_id
        if kind == _LOOKUP:
            return m.LookupRequest(request_id, session_id, second, questions.parse_codes(payload), form)
        return _CODES_QUESTIONS[kind](request_id, session_id, second, questions.parse_codes(payload))

    def _accept_lookup(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_codes(_LOOKUP, request_id, payload)

    def _accept_status(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_codes(_STATUS, request_id, payload)

    def _accept_history(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_codes(_HISTORY, request_id, payload)

    def _accept_cohort(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        session_id, step, count, _ = questions.parse_head(payload)
        refusal = self._refuse_by_head(kind, request_id, len(payload), payload)
        if refusal is not None:
            return refusal
        message: m.CohortPut | m.CohortChanges
        if kind == _COHORT_PUT:
            message = cohorts.parse_put(request_id, session_id, step, payload)
        else:
            message = cohorts.parse_changes(request_id, session_id, count, payload)
        fault = cohorts.name_fault(kind, step, message.name)
        if fault is not None:
            return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
        self.under_way[request_id] = kind
        self._asked[request_id] = session_id
        return message

    def _accept_cohort_put(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_cohort(_COHORT_PUT, request_id, payload)

    def _accept_cohort_changes(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_cohort(_COHORT_CHANGES, request_id, payload)

    def _accept_find(
        self, asked: type[m.SearchRequest | m.MatchRequest], request_id: int, payload: bytes | bytearray
    ) -> m.Message | m.Refused:
        session_id, second, count, _ = questions.parse_head(payload)
        kind = int(asked.type)
        refusal = self._refuse_by_head(kind, request_id, len(payload), payload)
        if refusal is not None:
            return refusal
        message = persons.parse_find(asked, request_id, session_id, second, count, payload)
        self.under_way[request_id] = kind
        self._asked[request_id] = session_id
        return message

    def _accept_search(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_find(m.SearchRequest, request_id, payload)

    def _accept_match(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_find(m.MatchRequest, request_id, payload)

    def _accept_towns(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        session_id, after, towns_max, _ = questions.parse_head(payload)
        refusal = self._refuse_by_head(_TOWNS, request_id, len(payload), payload)
        if refusal is not None:
            return refusal
        self.under_way[request_id] = _TOWNS
        self._asked[request_id] = session_id
        return m.TownsRequest(request_id, session_id, after, towns_max)

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

    def _accept_operator(self, kind: MessageType, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        message = control.decode(kind, request_id, payload)
        assert isinstance(message, m.OperatorLogin | m.OperatorProof)
        fault = control.operator_fault(message)
        if fault is not None:
            return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
        self.under_way[request_id] = int(kind)
        return message

    def _accept_operator_login(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_operator(MessageType.OPERATOR_LOGIN, request_id, payload)

    def _accept_operator_proof(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_operator(MessageType.OPERATOR_PROOF, request_id, payload)

    def _accept_close_session(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        message = control.decode(MessageType.CLOSE_SESSION, request_id, payload)
        assert isinstance(message, m.CloseSession)
        if self.sessions.pop(message.session_id, None) is None:
            return self._refuse(_CLOSE_SESSION, request_id, Code.UNKNOWN_SESSION, "no such session on this connection")
        self._closing_sessions.add(message.session_id)
        self.under_way[request_id] = _CLOSE_SESSION
        self._asked[request_id] = message.session_id
        return message

    def _accept_cancel(self, request_id: int, _: bytes | bytearray) -> m.Message | None:
        if self.under_way.get(request_id, REFUSED) == REFUSED or request_id in self._cancelled:
            return None
        self._cancelled.add(request_id)
        return m.Cancel(request_id)

    _ACCEPT: ClassVar[Mapping[int, Callable[..., m.Message | m.Refused | None]]] = {
        _LOOKUP: _accept_lookup,
        _STATUS: _accept_status,
        _VERIFY: _accept_verify,
        _HISTORY: _accept_history,
        _COHORT_PUT: _accept_cohort_put,
        _COHORT_CHANGES: _accept_cohort_changes,
        _SEARCH: _accept_search,
        _MATCH: _accept_match,
        _TOWNS: _accept_towns,
        int(MessageType.OPERATOR_LOGIN): _accept_operator_login,
        int(MessageType.OPERATOR_PROOF): _accept_operator_proof,
        _OPEN_SESSION: _accept_open_session,
        _CLOSE_SESSION: _accept_close_session,
        _PING: ServerEnd._accept_ping,
        _CANCEL: _accept_cancel,
        _GOODBYE: ServerEnd._accept_goodbye,
    }

    # Sending.

    def send(self, message: m.ServerMessage) -> Sendable:
        """The message's bytes; the state has moved. Raises LocalProtocolError: not allowed now, nothing changed.

        Answers to questions (LOOKUP and those after it) are made elsewhere and go through ``send_answer``.
        """
        return self._send(message)

    def send_answer(self, request_id: int, message_type: int, answer: Answer) -> Answer:
        """Fill in the header of an answer: ``answer`` is 16 bytes of room for it, then the payload. O(1).

        It may be a list of buffers to be sent in order, of which the first is a bytearray that begins with that room.

        Raises LocalProtocolError when no such request is under way, or the answer is above answer_bytes_max (then send
        an Error instead); nothing has changed then.
        """
        kind = self.under_way.get(request_id)
        if kind is None or kind not in REPORTED or kind + 1 != message_type:
            raise LocalProtocolError("the answer is to no request under way")
        if message_type not in self._outgoing:
            raise LocalProtocolError(f"an answer cannot be sent in state {self._state.name}")
        head = answer if isinstance(answer, bytearray) else answer[0]
        size = answer_frame_bytes(answer) - HEADER_BYTES if len(head) >= HEADER_BYTES else -1
        if size < 0 or size > self._payload_max[message_type]:
            raise LocalProtocolError("the answer is above answer_bytes_max, or has no room for its header")
        HEADER.pack_into(head, 0, size, message_type, 0, request_id, 0)
        del self._asked[request_id]
        self._end_request(request_id)
        return answer

    def _end_request(self, request_id: int) -> int:
        if self._cancelled:
            self._cancelled.discard(request_id)
        return super()._end_request(request_id)

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

    def _send_operator_answer(self, message: m.OperatorChallenge | m.OperatorAccepted) -> bytes:
        self._check_answer(message)
        data = self._encode(message)
        self._end_request(message.request_id)
        return data

    def _send_progress(self, message: m.Progress) -> bytes:
        if self.under_way.get(message.request_id, REFUSED) not in REPORTED or message.done > message.total:
            raise LocalProtocolError("progress is of a question under way, done at most total")
        return self._encode(message)

    def _give_up(self, request_id: int, asked: Any) -> None:
        if self.under_way[request_id] == _CLOSE_SESSION:
            self._closing_sessions.discard(asked)

    _SEND: ClassVar[Mapping[int, Callable[..., bytes]]] = {
        MessageType.GREETING: _send_greeting,
        MessageType.SESSION_OPENED: _send_session_opened,
        MessageType.SESSION_CLOSED: _send_session_closed,
        MessageType.OPERATOR_CHALLENGE: _send_operator_answer,
        MessageType.OPERATOR_ACCEPTED: _send_operator_answer,
        MessageType.PONG: ServerEnd._send_pong,
        MessageType.PROGRESS: _send_progress,
        MessageType.ERROR: ServerEnd._send_error,
        MessageType.GOODBYE: ServerEnd._send_goodbye,
    }
