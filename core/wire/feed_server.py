"""The server's end of a feed connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import control, feed_columns, feed_notices, feed_witness
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m
from jukinet.core.wire.connection import Sendable
from jukinet.core.wire.feed_frames import HEAD_BYTES, FeedMessageType, feed_payload_limits
from jukinet.core.wire.feed_states import (
    FEED_CLIENT_TYPES,
    FEED_FROM_CLIENT,
    FEED_FROM_SERVER,
    QUESTIONS_OF,
    WITNESS_CLIENT_TYPES,
    WITNESS_FROM_CLIENT,
    WITNESS_FROM_SERVER,
    oldest_sequenced,
)
from jukinet.core.wire.frames import HEADER, PING_BYTES, frame
from jukinet.core.wire.server_end import ServerEnd

_T = FeedMessageType
_NOTIFY: Final = int(_T.NOTIFY)
_LOAD_RANGE: Final = int(_T.LOAD_RANGE)
_PONG: Final = int(_T.PONG)


class FeedServerConnection(ServerEnd):
    """Receives batches, ranges, comparisons and notices, answers them; starts by sending the FeedGreeting.

    A request with values that are not allowed comes out as ``m.Refused``: send its ``answer()`` and go on. Whether a
    sequence number fits is for the owner to judge, who knows what is applied: answer Acknowledged or OutOfSequence, in
    the order of the requests. After RemoteProtocolError one ``m.Error`` with request_id 0 may still be sent.
    """

    _incoming_rows = FEED_FROM_CLIENT
    _outgoing_rows = FEED_FROM_SERVER
    _peer_types = FEED_CLIENT_TYPES
    _message_types = FeedMessageType
    _untracked = frozenset((_PONG, int(_T.GOODBYE)))
    _questions_of = QUESTIONS_OF
    _head_bytes = HEAD_BYTES

    def __init__(self, limits: f.FeedLimits | None = None) -> None:
        self.limits = limits = limits if limits is not None else f.FeedLimits()
        super().__init__(feed_payload_limits(limits.batch_bytes_max), limits.requests_in_flight_max)
        self.greeting: f.FeedGreeting | None = None
        self._pinged: bytes | None = None

    @property
    def is_pinged(self) -> bool:
        """True while a PING of this side waits for its PONG."""
        return self._pinged is not None

    # Receiving.

    def _admit(self, kind: int, request_id: int, size: int) -> m.Refused | None:
        if kind == _PONG:
            if request_id or size != PING_BYTES:
                raise RemoteProtocolError("a client's PONG has request_id 0 and 8 bytes")
            if self._pinged is None:
                raise RemoteProtocolError("a PONG to no PING", Code.WRONG_STATE)
        return super()._admit(kind, request_id, size)

    def _refuse_by_head(self, kind: int, request_id: int, size: int, head: bytes | bytearray) -> m.Refused | None:
        sequence, first_key, stop_key, count, reserved = feed_columns.batch_head(kind, head)
        feed_columns.check_batch_head(size, count, reserved)
        if kind == _NOTIFY:
            fault = feed_columns.notify_fault(sequence, count)
            rows_max = self.limits.notifications_per_batch_max
        else:
            fault = feed_columns.range_fault(sequence, first_key, stop_key)
            rows_max = self.limits.range_rows_max
        if fault is not None:
            return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
        if count > rows_max:
            return self._refuse(kind, request_id, Code.TOO_MANY_CODES, f"at most {rows_max} rows")
        return None

    def _accept_batch(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        sequence, first_key, stop_key, count, _ = feed_columns.batch_head(kind, payload)
        refusal = self._refuse_by_head(kind, request_id, len(payload), payload)
        if refusal is not None:
            return refusal
        batch = feed_columns.parse_batch(kind, payload, count)
        message: f.Notify | f.LoadRange
        if kind == _NOTIFY:
            message, last = f.Notify(request_id, sequence, batch), sequence + count - 1
        else:
            fault = feed_columns.range_rows_fault(first_key, stop_key, batch)
            if fault is not None:
                return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
            message, last = f.LoadRange(request_id, sequence, first_key, stop_key, batch), sequence
        self.under_way[request_id] = kind
        self._asked[request_id] = (sequence, last, feed_columns.reported_numbers(message))
        return message

    def _accept_notify(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_batch(_NOTIFY, request_id, payload)

    def _accept_load_range(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_batch(_LOAD_RANGE, request_id, payload)

    def _accept_compare(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        kind, ranges = feed_columns.parse_compare(payload)
        fault = feed_columns.compare_fault(kind, ranges)
        if fault is not None:
            return self._refuse(_T.COMPARE, request_id, Code.BAD_REQUEST, fault)
        self.under_way[request_id] = _T.COMPARE
        self._asked[request_id] = (kind, len(ranges))
        return f.Compare(request_id, f.CompareKind(kind), ranges)

    def _accept_about_notices(
        self, kind: FeedMessageType, request_id: int, payload: bytes | bytearray
    ) -> m.Message | m.Refused:
        message = control.decode(kind, request_id, payload)
        assert isinstance(message, f.NoticeLeave | f.NoticeTake | f.NoticeList | f.NoticeReceived)
        assert self.greeting is not None
        fault = feed_notices.fault(message, self.greeting.prefecture)
        if fault is not None:
            return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
        self.under_way[request_id] = kind
        return message

    def _accept_leave(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_about_notices(_T.NOTICE_LEAVE, request_id, payload)

    def _accept_take(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_about_notices(_T.NOTICE_TAKE, request_id, payload)

    def _accept_received(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_about_notices(_T.NOTICE_RECEIVED, request_id, payload)

    def _accept_list(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_about_notices(_T.NOTICE_LIST, request_id, payload)

    def _accept_as_witness(
        self, kind: FeedMessageType, request_id: int, payload: bytes | bytearray
    ) -> m.Message | m.Refused:
        message = control.decode(kind, request_id, payload)
        assert isinstance(message, f.CheckpointAsk | f.Cosign)
        fault = feed_witness.fault(message)
        if fault is not None:
            return self._refuse(kind, request_id, Code.BAD_REQUEST, fault)
        self.under_way[request_id] = kind
        self._asked[request_id] = (message.seen if isinstance(message, f.CheckpointAsk) else message.size, 0)
        return message

    def _accept_checkpoint_ask(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_as_witness(_T.CHECKPOINT_ASK, request_id, payload)

    def _accept_cosign(self, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused:
        return self._accept_as_witness(_T.COSIGN, request_id, payload)

    def _accept_pong(self, request_id: int, payload: bytes | bytearray) -> m.Message:
        if payload != self._pinged:
            raise RemoteProtocolError("the PONG does not repeat its PING")
        self._pinged = None
        return m.Pong(request_id, bytes(payload))

    _ACCEPT: ClassVar[Mapping[int, Callable[..., m.Message | m.Refused | None]]] = {
        _T.NOTIFY: _accept_notify,
        _T.LOAD_RANGE: _accept_load_range,
        _T.COMPARE: _accept_compare,
        _T.NOTICE_LEAVE: _accept_leave,
        _T.NOTICE_TAKE: _accept_take,
        _T.NOTICE_RECEIVED: _accept_received,
        _T.NOTICE_LIST: _accept_list,
        _T.CHECKPOINT_ASK: _accept_checkpoint_ask,
        _T.COSIGN: _accept_cosign,
        _T.PING: ServerEnd._accept_ping,
        _T.PONG: _accept_pong,
        _T.GOODBYE: ServerEnd._accept_goodbye,
    }

    # Sending.

    def send(self, message: f.FeedServerMessage) -> Sendable:
        """The message's bytes; the state has moved. Raises LocalProtocolError: not allowed now, nothing changed.

        A COMPARED is a list that refers to the message's rows: leave them unchanged until it is written.
        """
        return self._send(message)

    def _send_greeting(self, message: f.FeedGreeting) -> bytes:
        if message.request_id or message.limits != self.limits:
            raise LocalProtocolError("the greeting's limits are those of the connection, its request_id is 0")
        if message.fault is not None:
            raise LocalProtocolError(message.fault)
        data = self._encode(message)
        self.greeting = message
        self._enter(self._outgoing[_T.FEED_GREETING])
        return data

    def _check_in_order(self, message: m.Message) -> tuple[int, int, range]:
        """The first and last sequence number of the request that the message answers, and what faults may name."""
        self._check_answer(message)
        if oldest_sequenced(self.under_way) != message.request_id:
            raise LocalProtocolError("batches and ranges are answered in the order in which they came")
        first, last, numbers = self._asked[message.request_id]
        return first, last, numbers

    def _answer(self, message: m.Message) -> bytes:
        data = self._encode(message)
        self._asked.pop(message.request_id, None)
        self._end_request(message.request_id)
        return data

    def _send_acknowledged(self, message: f.Acknowledged) -> bytes:
        _, last, numbers = self._check_in_order(message)
        fault = feed_columns.acknowledged_fault(message, last, numbers)
        if fault is not None:
            raise LocalProtocolError(fault)
        return self._answer(message)

    def _send_out_of_sequence(self, message: f.OutOfSequence) -> bytes:
        if message.expected >= self._check_in_order(message)[0]:
            raise LocalProtocolError("the sequence number asked for leaves no gap")
        return self._answer(message)

    def _send_compared(self, message: f.Compared) -> Sendable:
        self._check_answer(message)
        assert self.greeting is not None
        kind, ranges = self._asked[message.request_id]
        parts = feed_columns.compared_parts(message)
        try:
            areas = len(self.greeting.areas)
            feed_columns.parse_compared(message.request_id, f.CompareKind(kind), ranges, areas, b"".join(parts))
        except RemoteProtocolError as error:
            raise LocalProtocolError(str(error)) from None
        header = HEADER.pack(sum(len(part) for part in parts), _T.COMPARED, 0, message.request_id, 0)
        del self._asked[message.request_id]
        self._end_request(message.request_id)
        return [header, *parts]

    def _send_notice_answer(self, message: m.Message) -> bytes:
        self._check_answer(message)
        return self._answer(message)

    def _send_checkpoint(self, message: f.Checkpoint) -> bytes:
        self._check_answer(message)
        if feed_witness.proof_fault(message.proof, self._asked[message.request_id][0]):
            raise LocalProtocolError("the proof is not one that was asked for")
        return self._answer(message)

    def _send_cosigned(self, message: f.Cosigned) -> bytes:
        self._check_answer(message)
        if message.size != self._asked[message.request_id][0]:
            raise LocalProtocolError("another checkpoint than the one that was cosigned")
        return self._answer(message)

    def _send_ping(self, message: m.Ping) -> bytes:
        if message.request_id or len(message.data) != PING_BYTES:
            raise LocalProtocolError("a server's PING has request_id 0 and 8 bytes")
        if self._pinged is not None:
            raise LocalProtocolError("a PING is under way")
        self._pinged = message.data
        return frame(message.type, 0, message.data)

    _SEND: ClassVar[Mapping[int, Callable[..., Sendable]]] = {
        _T.FEED_GREETING: _send_greeting,
        _T.ACKNOWLEDGED: _send_acknowledged,
        _T.OUT_OF_SEQUENCE: _send_out_of_sequence,
        _T.COMPARED: _send_compared,
        _T.NOTICE_KEPT: _send_notice_answer,
        _T.NOTICES: _send_notice_answer,
        _T.NOTICE_CLOSED: _send_notice_answer,
        _T.NOTICE_STATES: _send_notice_answer,
        _T.CHECKPOINT: _send_checkpoint,
        _T.COSIGNED: _send_cosigned,
        _T.PING: _send_ping,
        _T.PONG: ServerEnd._send_pong,
        _T.ERROR: ServerEnd._send_error,
        _T.GOODBYE: ServerEnd._send_goodbye,
    }


class WitnessServerConnection(FeedServerConnection):
    """The same on the witness port: checkpoints, cosignatures and PING, and no other request."""

    _incoming_rows = WITNESS_FROM_CLIENT
    _outgoing_rows = WITNESS_FROM_SERVER
    _peer_types = WITNESS_CLIENT_TYPES
