"""The client's end of a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import answers, cohorts, control, packed, persons, questions
from jukinet.core.wire import messages as m
from jukinet.core.wire.client_end import ClientEnd, smaller_of
from jukinet.core.wire.connection import Sendable
from jukinet.core.wire.frames import HEADER_BYTES, QUESTION_HEAD_BYTES, MessageType, frame, payload_limits
from jukinet.core.wire.states import (
    ANSWER_OF,
    CONNECTION_TYPES,
    FROM_CLIENT,
    FROM_SERVER,
    QUESTIONS_OF,
    REPORTED,
    SERVER_TYPES,
)

_PROGRESS: Final = int(MessageType.PROGRESS)
_REPORTS: Final = frozenset(ANSWER_OF[question] for question in REPORTED)
_STATUS: Final = int(MessageType.STATUS)
_VERIFY: Final = int(MessageType.VERIFY)


class ClientConnection(ClientEnd):
    """Sends requests, receives answers; starts by receiving the Greeting, whose limits it then keeps.

    ``limits`` are what this side bears whatever the server announces: the smaller of both holds. A server that answers
    nothing that was asked, other rows than asked, or columns that do not hold gives RemoteProtocolError.
    """

    _incoming_rows = FROM_SERVER
    _outgoing_rows = FROM_CLIENT
    _peer_types = SERVER_TYPES
    _message_types = MessageType
    _questions_of = QUESTIONS_OF
    _connection_types = CONNECTION_TYPES

    def __init__(self, limits: m.Limits | None = None) -> None:
        self.limits = limits = limits if limits is not None else m.Limits()
        super().__init__(
            payload_limits(limits.request_bytes_max, limits.answer_bytes_max), limits.requests_in_flight_max
        )
        self.greeting: m.Greeting | None = None
        self.sessions: dict[int, m.SessionOpened] = {}
        """Sessions that are open: session_id -> what was granted."""
        self._codes_max = 0

    # Receiving.

    def _admit(self, kind: int, request_id: int, size: int) -> None:
        super()._admit(kind, request_id, size)
        if kind in _REPORTS:
            exact = answers.answer_bytes(kind, self._asked[request_id][1])
            if exact is not None and size != exact:
                raise RemoteProtocolError("the answer's length does not fit the count asked")
        elif kind == _PROGRESS and self.under_way.get(request_id) not in REPORTED:
            raise RemoteProtocolError("it concerns no request under way", Code.WRONG_STATE)

    def _accept_lookup_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        items, count, form = self._asked[request_id]
        message: m.Message
        if form == packed.FORM_PACKED:
            message = packed.parse_packed_answer(request_id, items, count, payload)
        else:
            message = answers.parse_lookup_answer(request_id, items, count, payload)
        self._answered(request_id)
        return message

    def _accept_towns_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        after, towns_max = self._asked[request_id]
        message = packed.parse_towns_answer(request_id, after, towns_max, payload)
        self._answered(request_id)
        return message

    def _accept_status_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        since, count = self._asked[request_id]
        message = answers.parse_status_answer(request_id, since, count, payload)
        self._answered(request_id)
        return message

    def _accept_verify_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        items, count = self._asked[request_id]
        message = answers.parse_verify_answer(request_id, items, count, payload)
        self._answered(request_id)
        return message

    def _accept_history_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        items, count = self._asked[request_id]
        message = answers.parse_history_answer(request_id, items, count, payload)
        self._answered(request_id)
        return message

    def _accept_cohort_stored(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = cohorts.parse_stored(request_id, self._asked[request_id][0], payload)
        self._answered(request_id)
        return message

    def _accept_cohort_changes_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = cohorts.parse_changes_answer(request_id, self._asked[request_id][1], payload)
        self._answered(request_id)
        return message

    def _accept_search_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        items, count = self._asked[request_id]
        message = persons.parse_search_answer(request_id, items, count, payload)
        self._answered(request_id)
        return message

    def _accept_match_answer(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        items, count = self._asked[request_id]
        message = persons.parse_match_answer(request_id, items, count, payload)
        self._answered(request_id)
        return message

    def _accept_greeting(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        greeting = control.decode(MessageType.GREETING, request_id, payload)
        assert isinstance(greeting, m.Greeting)
        self.greeting = greeting
        self.limits = smaller_of(self.limits, greeting.limits)
        self._payload_max = payload_limits(self.limits.request_bytes_max, self.limits.answer_bytes_max)
        self._in_flight_max = self.limits.requests_in_flight_max
        room = (self.limits.request_bytes_max - QUESTION_HEAD_BYTES) // 8
        self._codes_max = min(self.limits.codes_per_request_max, room)
        self._enter(self._incoming[MessageType.GREETING])
        return greeting

    def _accept_session_opened(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.SESSION_OPENED, request_id, payload)
        assert isinstance(message, m.SessionOpened)
        if message.session_id in self.sessions:
            raise RemoteProtocolError("the session_id is in use")
        self.sessions[message.session_id] = message
        self._answered(request_id)
        return message

    def _accept_session_closed(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.SESSION_CLOSED, request_id, payload)
        assert isinstance(message, m.SessionClosed)
        if self._asked[request_id] != (message.session_id,):
            raise RemoteProtocolError("another session was to be closed")
        self._answered(request_id)
        return message

    def _accept_operator_challenge(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.OPERATOR_CHALLENGE, request_id, payload)
        self._answered(request_id)
        return message

    def _accept_operator_accepted(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.OPERATOR_ACCEPTED, request_id, payload)
        self._answered(request_id)
        return message

    def _accept_progress(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(MessageType.PROGRESS, request_id, payload)
        assert isinstance(message, m.Progress)
        if message.total != self._asked[request_id][1] or message.done > message.total:
            raise RemoteProtocolError("the progress is not of the codes asked")
        return message

    _ACCEPT: ClassVar[Mapping[int, Callable[..., m.Message | None]]] = {
        MessageType.LOOKUP_ANSWER: _accept_lookup_answer,
        MessageType.STATUS_ANSWER: _accept_status_answer,
        MessageType.VERIFY_ANSWER: _accept_verify_answer,
        MessageType.HISTORY_ANSWER: _accept_history_answer,
        MessageType.COHORT_STORED: _accept_cohort_stored,
        MessageType.COHORT_CHANGES_ANSWER: _accept_cohort_changes_answer,
        MessageType.SEARCH_ANSWER: _accept_search_answer,
        MessageType.MATCH_ANSWER: _accept_match_answer,
        MessageType.TOWNS_ANSWER: _accept_towns_answer,
        MessageType.GREETING: _accept_greeting,
        MessageType.SESSION_OPENED: _accept_session_opened,
        MessageType.SESSION_CLOSED: _accept_session_closed,
        MessageType.OPERATOR_CHALLENGE: _accept_operator_challenge,
        MessageType.OPERATOR_ACCEPTED: _accept_operator_accepted,
        MessageType.PONG: ClientEnd._accept_pong,
        MessageType.PROGRESS: _accept_progress,
        MessageType.ERROR: ClientEnd._accept_error,
        MessageType.GOODBYE: ClientEnd._accept_goodbye,
    }

    # Sending.

    def send(self, message: m.ClientMessage) -> Sendable:
        """The message's bytes; the state has moved. Raises LocalProtocolError: not allowed now, nothing changed.

        A large LOOKUP or STATUS is a list that refers to the caller's codes: leave them unchanged until it is written.
        """
        return self._send(message)

    def _check_question(self, session_id: int, count: int) -> m.SessionOpened:
        session = self.sessions.get(session_id)
        if session is None:
            raise LocalProtocolError("no such session is open")
        if count > session.codes_per_request_max or count > self._codes_max:
            raise LocalProtocolError("more codes than codes_per_request_max or request_bytes_max: split the batch")
        return session

    def _send_lookup(self, message: m.LookupRequest) -> Sendable:
        request_id, items, codes = message.request_id, message.items, message.codes
        self._check_request(request_id)
        count = len(codes)
        session = self._check_question(message.session_id, count)
        if message.form not in packed.FORMS or (message.form and not session.functions & packed.PACKED_BIT):
            raise LocalProtocolError("the server takes no such form in this session")
        data = questions.encode_codes_question(message.type, request_id, message.session_id, items, codes, message.form)
        self.under_way[request_id] = message.type
        self._asked[request_id] = (items or session.items, count, message.form)
        return data

    def _send_history(self, message: m.HistoryRequest) -> Sendable:
        request_id, items, codes = message.request_id, message.items, message.codes
        self._check_request(request_id)
        count = len(codes)
        session = self._check_question(message.session_id, count)
        data = questions.encode_codes_question(message.type, request_id, message.session_id, items, codes)
        self.under_way[request_id] = message.type
        self._asked[request_id] = (items or session.items, count)
        return data

    def _send_towns(self, message: m.TownsRequest) -> Sendable:
        self._check_request(message.request_id)
        session = self.sessions.get(message.session_id)
        if session is None or not session.functions & packed.PACKED_BIT:
            raise LocalProtocolError("no such session is open, or its server knows no TOWNS")
        data = packed.encode_towns(message)
        self._begin(message, message.after, message.towns_max)
        return data

    def _send_status(self, message: m.StatusRequest) -> Sendable:
        request_id, codes = message.request_id, message.codes
        self._check_request(request_id)
        count = len(codes)
        self._check_question(message.session_id, count)
        data = questions.encode_codes_question(_STATUS, request_id, message.session_id, message.since, codes)
        self.under_way[request_id] = _STATUS
        self._asked[request_id] = (message.since, count)
        return data

    def _send_verify(self, message: m.VerifyRequest) -> Sendable:
        request_id = message.request_id
        self._check_request(request_id)
        count = len(message.codes)
        self._check_question(message.session_id, count)
        data = questions.encode_verify(message)
        if len(data) > self._payload_max[_VERIFY]:
            raise LocalProtocolError("the claims are above request_bytes_max: split the batch")
        self.under_way[request_id] = _VERIFY
        self._asked[request_id] = (message.items, count)
        return data

    def _send_find(self, message: m.SearchRequest | m.MatchRequest) -> Sendable:
        self._check_request(message.request_id)
        session = self._check_question(message.session_id, message.count)
        data = persons.encode_find(message)
        if len(data) - HEADER_BYTES > self._payload_max[message.type]:
            raise LocalProtocolError("the persons are above request_bytes_max: split the batch")
        self._begin(message, message.items or session.items, message.count)
        return data

    def _send_cohort_put(self, message: m.CohortPut) -> Sendable:
        self._check_request(message.request_id)
        codes = questions.as_codes(message.codes)
        count = codes.nbytes >> 3
        self._check_question(message.session_id, count)
        data = cohorts.encode_put(message, codes)
        if cohorts.payload_bytes(message.type, count) > self._payload_max[message.type]:
            raise LocalProtocolError("the codes are above request_bytes_max: split the chunk")
        self._begin(message, message.step, count)
        return data

    def _send_cohort_changes(self, message: m.CohortChanges) -> Sendable:
        self._check_request(message.request_id)
        self._check_question(message.session_id, message.rows_max)
        data = cohorts.encode_changes(message)
        self._begin(message, 0, message.rows_max)
        return data

    def _send_open_session(self, message: m.OpenSession) -> Sendable:
        self._check_request(message.request_id)
        fault = control.open_session_fault(message)
        if fault is not None:
            raise LocalProtocolError(fault)
        data = frame(message.type, message.request_id, control.encode(message))
        self.under_way[message.request_id] = message.type
        return data

    def _send_close_session(self, message: m.CloseSession) -> Sendable:
        self._check_request(message.request_id)
        if message.session_id not in self.sessions:
            raise LocalProtocolError("no such session is open")
        data = frame(message.type, message.request_id, control.encode(message))
        del self.sessions[message.session_id]
        self.under_way[message.request_id] = message.type
        self._asked[message.request_id] = (message.session_id,)
        return data

    def _send_operator(self, message: m.OperatorLogin | m.OperatorProof) -> Sendable:
        self._check_request(message.request_id)
        fault = control.operator_fault(message)
        if fault is not None:
            raise LocalProtocolError(fault)
        data = frame(message.type, message.request_id, control.encode(message))
        self.under_way[message.request_id] = message.type
        return data

    def _send_cancel(self, message: m.Cancel) -> Sendable:
        if message.request_id not in self.under_way:
            raise LocalProtocolError("no such request is under way")
        return frame(message.type, message.request_id, b"")

    _SEND: ClassVar[Mapping[int, Callable[..., Sendable]]] = {
        MessageType.LOOKUP: _send_lookup,
        MessageType.STATUS: _send_status,
        MessageType.VERIFY: _send_verify,
        MessageType.HISTORY: _send_history,
        MessageType.TOWNS: _send_towns,
        MessageType.COHORT_PUT: _send_cohort_put,
        MessageType.COHORT_CHANGES: _send_cohort_changes,
        MessageType.SEARCH: _send_find,
        MessageType.MATCH: _send_find,
        MessageType.OPEN_SESSION: _send_open_session,
        MessageType.CLOSE_SESSION: _send_close_session,
        MessageType.OPERATOR_LOGIN: _send_operator,
        MessageType.OPERATOR_PROOF: _send_operator,
        MessageType.PING: ClientEnd._send_ping,
        MessageType.CANCEL: _send_cancel,
        MessageType.GOODBYE: ClientEnd._send_goodbye,
    }
