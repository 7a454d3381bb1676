"""What both ends of a connection share: bytes in, events out, the state, and the requests under way. No I/O.

General theory of operation. A transport reads into ``get_buffer()``, says how much with ``received(n)`` (or
``received_eof()``) and then takes events with ``next_event()`` until it gives None. ``send(message)`` serialises a
message and moves the state. A frame's header is checked as soon as it is here, before a byte of its payload is kept:
flags and reserved, type, length against the limit of its type, state, request_id. ``RemoteProtocolError`` means that
the stream cannot be trusted: the connection is then CLOSED and what was received is dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar, Final, NoReturn

from jukinet.core.errors import ErrorCode as Code
from jukinet.core.errors import LocalProtocolError, RemoteProtocolError
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import MessageType
from jukinet.core.wire.intake import DIRECT_BYTES_MIN, FrameIntake
from jukinet.core.wire.states import ConnectionState, Row

Sendable = bytes | bytearray | list[bytes | memoryview]
"""What ``send`` gives to the transport; a list is to be written in order."""

GREETING: Final = ConnectionState.GREETING
OPEN: Final = ConnectionState.OPEN
SERVER_DONE: Final = ConnectionState.SERVER_DONE
CLIENT_DONE: Final = ConnectionState.CLIENT_DONE
BOTH_DONE: Final = ConnectionState.BOTH_DONE
CLOSED: Final = ConnectionState.CLOSED

_GOODBYE: Final = int(MessageType.GOODBYE)


class Connection(ABC):
    """Invariant: under_way holds every request accepted or sent and not yet answered, and is bounded by the limits."""

    _incoming_rows: ClassVar[Mapping[ConnectionState, Row]]
    _outgoing_rows: ClassVar[Mapping[ConnectionState, Row]]
    _peer_types: ClassVar[frozenset[int]]
    _message_types: ClassVar[type[IntEnum]]
    _head_bytes: ClassVar[Mapping[int, int]]
    """Types whose payload begins with a head that is checked before the rest is kept: its length."""

    def __init__(self, payload_max: dict[int, int]) -> None:
        self.under_way: dict[int, int] = {}
        """request_id -> type of the request."""
        self._intake = FrameIntake()
        self._state = GREETING
        self._incoming = self._incoming_rows[GREETING]
        self._outgoing = self._outgoing_rows[GREETING]
        self._payload_max = payload_max
        self._pending: tuple[int, int, int] | None = None
        self._is_ended = False

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def is_inside_frame(self) -> bool:
        """True when received bytes belong to a frame that is not complete: for a transport's read deadline."""
        return self._pending is not None or self._intake.is_inside_frame

    @property
    def is_ended(self) -> bool:
        """True once the peer can send nothing more (``received_eof``)."""
        return self._is_ended

    def __repr__(self) -> str:
        return f"{type(self).__name__}(state={self._state.name}, under_way={len(self.under_way)})"

    # Bytes in, events out.

    def get_buffer(self) -> memoryview:
        """A writable buffer for the next received bytes; never empty, valid until the next call on this object."""
        return self._intake.get_buffer()

    def received(self, count: int) -> None:
        """count bytes were written to the buffer. In CLOSED they are dropped."""
        self._intake.received(count)
        if self._state is CLOSED:
            self._intake.clear()

    def received_eof(self) -> None:
        """The peer will send nothing more: take the events that are left, then the state tells how it ended."""
        self._is_ended = True

    def next_event(self) -> m.Message | m.Refused | None:
        """The next event, or None: more bytes are needed, or the connection is CLOSED. Raises RemoteProtocolError."""
        intake = self._intake
        try:
            while self._state is not CLOSED:
                pending = self._pending
                if pending is None:
                    header = intake.take_header()
                    if header is None:
                        self._at_end()
                        return None
                    size, kind, flags, request_id, reserved = header
                    if flags | reserved or kind not in self._incoming or size > self._payload_max[kind]:
                        self._refute(kind, size, flags | reserved)
                    refusal = self._admit(kind, request_id, size)
                    if refusal is not None:
                        intake.skip(size)
                        return refusal
                else:
                    kind, request_id, size = pending
                payload = intake.take(size)
                if payload is None:
                    self._pending = (kind, request_id, size)
                    refusal = self._begin_large(kind, request_id, size)
                    if refusal is None:
                        self._at_end()
                    return refusal
                self._pending = None
                event = self._accept(kind, request_id, payload)
                if event is not None:
                    return event
        except RemoteProtocolError:
            self._break()
            raise
        return None

    def _begin_large(self, kind: int, request_id: int, size: int) -> m.Refused | None:
        """Give a large payload its own buffer, once its head, where it has one, has been checked too."""
        intake = self._intake
        if size <= DIRECT_BYTES_MIN or intake.is_direct:
            return None
        head_bytes = self._head_bytes.get(kind, 0)
        if head_bytes:
            head = intake.peek(head_bytes)
            if head is None:
                return None
            refusal = self._refuse_by_head(kind, request_id, size, head)
            if refusal is not None:
                self._pending = None
                intake.skip(size)
                return refusal
        intake.begin_direct(size)
        return None

    def _at_end(self) -> None:
        if not self._is_ended:
            return
        if self._intake.is_inside_frame or self._pending is not None:
            raise RemoteProtocolError("the connection ended inside a frame")
        self._ended()

    def _break(self) -> None:
        """The stream cannot be trusted any more."""
        self._enter(CLOSED)
        self._pending = None
        self._intake.clear()

    # What the two ends do differently.

    @abstractmethod
    def _admit(self, kind: int, request_id: int, size: int) -> m.Refused | None:
        """Check the request_id of a header whose type and length are allowed. Raises RemoteProtocolError.

        Gives a refusal when the payload is to be skipped.
        """

    @abstractmethod
    def _accept(self, kind: int, request_id: int, payload: bytes | bytearray) -> m.Message | m.Refused | None:
        """Check a payload and move the state; None: nothing to tell."""

    @abstractmethod
    def _ended(self) -> None:
        """The peer closed its side between two frames."""

    @abstractmethod
    def _refuse_by_head(self, kind: int, request_id: int, size: int, head: bytes | bytearray) -> m.Refused | None:
        """Check that head. Raises RemoteProtocolError; gives a refusal: the rest is to be skipped."""

    # States.

    def _refute(self, kind: int, size: int, zero: int) -> NoReturn:
        """Say what is wrong with a header, first things first. Raises RemoteProtocolError."""
        if zero:
            raise RemoteProtocolError("flags and reserved are not zero")
        if kind not in self._peer_types:
            raise RemoteProtocolError("no such message, or not from this side", Code.UNKNOWN_TYPE)
        if size > self._payload_max[kind]:
            raise RemoteProtocolError("the frame is above the limit of its type", Code.FRAME_TOO_LARGE)
        raise RemoteProtocolError(f"not allowed in state {self._state.name}", Code.WRONG_STATE)

    def _enter(self, state: ConnectionState) -> None:
        if state is BOTH_DONE and not self.under_way:
            state = CLOSED
        self._state = state
        self._incoming = self._incoming_rows[state]
        self._outgoing = self._outgoing_rows[state]

    def _end_request(self, request_id: int) -> int:
        """Forget a request that was answered; gives its type. Rule 3 of the state table."""
        kind = self.under_way.pop(request_id)
        if self._state is BOTH_DONE and not self.under_way:
            self._enter(CLOSED)
        return kind

    def _check_sendable(self, kind: int) -> None:
        if kind not in self._outgoing:
            raise LocalProtocolError(f"{self._message_types(kind).name} cannot be sent in state {self._state.name}")
