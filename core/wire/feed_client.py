"""The client's end of a feed connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import control, feed_columns, feed_notices, feed_witness
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m
from jukinet.core.wire.client_end import ClientEnd, smaller_of
from jukinet.core.wire.connection import Sendable
from jukinet.core.wire.feed_frames import FeedMessageType, feed_payload_limits
from jukinet.core.wire.feed_states import (
    FEED_CONNECTION_TYPES,
    FEED_FROM_CLIENT,
    FEED_FROM_SERVER,
    FEED_SERVER_TYPES,
    QUESTIONS_OF,
    SEQUENCED,
    oldest_sequenced,
)
from jukinet.core.wire.frames import HEADER, HEADER_BYTES, PING_BYTES, frame

_T = FeedMessageType
_PING: Final = int(_T.PING)
_ANSWERS_IN_ORDER: Final = frozenset(answer for answer, questions in QUESTIONS_OF.items() if questions == SEQUENCED)


class FeedClientConnection(ClientEnd):
    """Sends a prefecture's batches, ranges, comparisons and notices; starts by receiving the FeedGreeting.

    ``limits`` are what this side bears whatever the server announces: the smaller of both holds. A Ping that comes out
    as an event is the server's: answer it with a Pong of request_id 0 and the same data.
    """

    _incoming_rows = FEED_FROM_SERVER
    _outgoing_rows = FEED_FROM_CLIENT
    _peer_types = FEED_SERVER_TYPES
    _message_types = FeedMessageType
    _questions_of = QUESTIONS_OF
    _connection_types = FEED_CONNECTION_TYPES

    def __init__(self, limits: f.FeedLimits | None = None) -> None:
        self.limits = limits = limits if limits is not None else f.FeedLimits()
        super().__init__(feed_payload_limits(limits.batch_bytes_max), limits.requests_in_flight_max)
        self.greeting: f.FeedGreeting | None = None
        self._ping_owed: bytes | None = None

    # Receiving.

    def _admit(self, kind: int, request_id: int, size: int) -> None:
        super()._admit(kind, request_id, size)
        if kind in _ANSWERS_IN_ORDER and oldest_sequenced(self.under_way) != request_id:
            raise RemoteProtocolError("an answer before those to earlier batches", Code.WRONG_STATE)
        if kind == _PING:
            if size != PING_BYTES:
                raise RemoteProtocolError("a PING has 8 bytes")
            if self._ping_owed is not None:
                raise RemoteProtocolError("a PING before the PONG to the last", Code.WRONG_STATE)

    def _accept_greeting(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        greeting = control.decode(_T.FEED_GREETING, request_id, payload)
        assert isinstance(greeting, f.FeedGreeting)
        if greeting.fault is not None:
            raise RemoteProtocolError(greeting.fault)
        self.greeting = greeting
        self.limits = smaller_of(self.limits, greeting.limits)
        self._in_flight_max = self.limits.requests_in_flight_max
        self._enter(self._incoming[_T.FEED_GREETING])
        return greeting

    def _accept_acknowledged(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.ACKNOWLEDGED, request_id, payload)
        assert isinstance(message, f.Acknowledged)
        _, last, numbers = self._asked[request_id]
        fault = feed_columns.acknowledged_fault(message, last, numbers)
        if fault is not None:
            raise RemoteProtocolError(fault)
        self._answered(request_id)
        return message

    def _accept_out_of_sequence(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.OUT_OF_SEQUENCE, request_id, payload)
        assert isinstance(message, f.OutOfSequence)
        if message.expected >= self._asked[request_id][0]:
            raise RemoteProtocolError("the sequence number expected leaves no gap")
        self._answered(request_id)
        return message

    def _accept_compared(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        assert self.greeting is not None
        kind, ranges = self._asked[request_id]
        message = feed_columns.parse_compared(request_id, kind, ranges, len(self.greeting.areas), payload)
        self._answered(request_id)
        return message

    def _accept_kept(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.NOTICE_KEPT, request_id, payload)
        self._answered(request_id)
        return message

    def _accept_notices(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.NOTICES, request_id, payload)
        assert isinstance(message, f.Notices)
        self._check_notices(request_id, message)
        assert self.greeting is not None
        if any(notice.to_area // 1000 != self.greeting.prefecture for notice in message.notices):
            raise RemoteProtocolError("a notice is for another prefecture")
        self._answered(request_id)
        return message

    def _accept_states(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.NOTICE_STATES, request_id, payload)
        assert isinstance(message, f.NoticeStates)
        self._check_notices(request_id, message)
        self._answered(request_id)
        return message

    def _check_notices(self, request_id: int, message: f.Notices | f.NoticeStates) -> None:
        after, notices_max = self._asked[request_id]
        numbers = [after, *(notice.number for notice in message.notices)]
        if len(message.notices) > notices_max or sorted(set(numbers)) != numbers:
            raise RemoteProtocolError("the notices are not those asked for, in ascending order")

    def _accept_closed(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.NOTICE_CLOSED, request_id, payload)
        assert isinstance(message, f.NoticeClosed)
        if message.closed > self._asked[request_id][0]:
            raise RemoteProtocolError("more notices closed than were named")
        self._answered(request_id)
        return message

    def _accept_checkpoint(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.CHECKPOINT, request_id, payload)
        assert isinstance(message, f.Checkpoint)
        if feed_witness.proof_fault(message.proof, self._asked[request_id][0]):
            raise RemoteProtocolError("the proof is not one that was asked for")
        self._answered(request_id)
        return message

    def _accept_cosigned(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        message = control.decode(_T.COSIGNED, request_id, payload)
        assert isinstance(message, f.Cosigned)
        if message.size != self._asked[request_id][0]:
            raise RemoteProtocolError("another checkpoint than the one that was cosigned")
        self._answered(request_id)
        return message

    def _accept_ping(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        self._ping_owed = bytes(payload)
        return m.Ping(request_id, self._ping_owed)

    _ACCEPT: ClassVar[Mapping[int, Callable[..., m.Message | None]]] = {
        _T.FEED_GREETING: _accept_greeting,
        _T.ACKNOWLEDGED: _accept_acknowledged,
        _T.OUT_OF_SEQUENCE: _accept_out_of_sequence,
        _T.COMPARED: _accept_compared,
        _T.NOTICE_KEPT: _accept_kept,
        _T.NOTICES: _accept_notices,
        _T.NOTICE_CLOSED: _accept_closed,
        _T.NOTICE_STATES: _accept_states,
        _T.CHECKPOINT: _accept_checkpoint,
        _T.COSIGNED: _accept_cosigned,
        _T.PING: _accept_ping,
        _T.PONG: ClientEnd._accept_pong,
        _T.ERROR: ClientEnd._accept_error,
        _T.GOODBYE: ClientEnd._accept_goodbye,
    }

    # Sending.

    def send(self, message: f.FeedClientMessage) -> Sendable:
        """The message's bytes; the state has moved. Raises LocalProtocolError: not allowed now, nothing changed.

        A NOTIFY or LOAD_RANGE is a list that refers to the batch's bytes: leave them unchanged until it is written.
        """
        return self._send(message)

    def _send_batch(
        self, message: f.Notify | f.LoadRange, last: int, rows_max: int, parts: feed_columns.Parts
    ) -> Sendable:
        if message.batch.count > rows_max:
            raise LocalProtocolError("more rows than the server allows: split the batch")
        size = sum(len(part) for part in parts)
        if size > self.limits.batch_bytes_max:
            raise LocalProtocolError("the batch is above batch_bytes_max: split it")
        first = message.first_sequence if isinstance(message, f.Notify) else message.sequence
        self._begin(message, first, last, feed_columns.reported_numbers(message))
        return [HEADER.pack(size, message.type, 0, message.request_id, 0), *parts]

    def _send_notify(self, message: f.Notify) -> Sendable:
        self._check_request(message.request_id)
        count = message.batch.count
        _local(feed_columns.notify_fault(message.first_sequence, count))
        last = message.first_sequence + count - 1
        return self._send_batch(
            message, last, self.limits.notifications_per_batch_max, feed_columns.notify_parts(message)
        )

    def _send_load_range(self, message: f.LoadRange) -> Sendable:
        self._check_request(message.request_id)
        _local(feed_columns.range_fault(message.sequence, message.first_key, message.stop_key))
        _local(feed_columns.range_rows_fault(message.first_key, message.stop_key, message.batch))
        return self._send_batch(
            message, message.sequence, self.limits.range_rows_max, feed_columns.range_parts(message)
        )

    def _send_compare(self, message: f.Compare) -> Sendable:
        self._check_request(message.request_id)
        _local(feed_columns.compare_fault(message.kind, message.ranges))
        data = frame(message.type, message.request_id, feed_columns.compare_payload(message))
        self._begin(message, f.CompareKind(message.kind), len(message.ranges))
        return data

    def _send_about_notices(self, message: f.NoticeLeave | f.NoticeTake | f.NoticeList | f.NoticeReceived) -> Sendable:
        self._check_request(message.request_id)
        assert self.greeting is not None
        _local(feed_notices.fault(message, self.greeting.prefecture))
        data = frame(message.type, message.request_id, control.encode(message))
        if len(data) - HEADER_BYTES > self._payload_max[message.type]:
            raise LocalProtocolError("the message is above the limit of its type")
        if isinstance(message, f.NoticeReceived):
            self._begin(message, len(set(message.numbers)))
        elif isinstance(message, f.NoticeLeave):
            self._begin(message)
        else:
            self._begin(message, message.after if isinstance(message, f.NoticeList) else 0, message.notices_max)
        return data

    def _send_as_witness(self, message: f.CheckpointAsk | f.Cosign) -> Sendable:
        self._check_request(message.request_id)
        _local(feed_witness.fault(message))
        data = frame(message.type, message.request_id, control.encode(message))
        self._begin(message, message.seen if isinstance(message, f.CheckpointAsk) else message.size)
        return data

    def _send_pong(self, message: m.Pong) -> Sendable:
        if message.request_id or self._ping_owed is None or message.data != self._ping_owed:
            raise LocalProtocolError("a PONG repeats the server's PING, with request_id 0")
        self._ping_owed = None
        return frame(message.type, 0, message.data)

    _SEND: ClassVar[Mapping[int, Callable[..., Sendable]]] = {
        _T.NOTIFY: _send_notify,
        _T.LOAD_RANGE: _send_load_range,
        _T.COMPARE: _send_compare,
        _T.NOTICE_LEAVE: _send_about_notices,
        _T.NOTICE_TAKE: _send_about_notices,
        _T.NOTICE_RECEIVED: _send_about_notices,
        _T.NOTICE_LIST: _send_about_notices,
        _T.CHECKPOINT_ASK: _send_as_witness,
        _T.COSIGN: _send_as_witness,
        _T.PING: ClientEnd._send_ping,
        _T.PONG: _send_pong,
        _T.GOODBYE: ClientEnd._send_goodbye,
    }


def _local(fault: str | None) -> None:
    if fault is not None:
        raise LocalProtocolError(fault)
