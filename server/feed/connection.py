"""A prefecture's or a witness's connection after the handshake: bytes in, batches to the writer thread, answers out.

Life of a connection: it claims its feed (claims.py); once it holds it, FEED_GREETING is sent and frames are handled as
they come. It ends like a query connection: both sides have said GOODBYE and nothing is under way; an error that closes
was sent; the peer, a deadline or a successor cut it. Batches that were not committed by then are forgotten, and the
feed sends them again.
"""

from __future__ import annotations

import os
import select
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from jukinet.core.errors import ErrorCode, JukinetError, RemoteProtocolError
from jukinet.core.feed.engine import Applied
from jukinet.core.wire import ConnectionState
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m
from jukinet.server.event_log import Field
from jukinet.server.feed.applying import Gap, Refusal, Result, Work
from jukinet.server.identity import Identity
from jukinet.server.transport import LOST, READABLE, WRITABLE, TlsStream, TransportError

if TYPE_CHECKING:
    from jukinet.core.vocabulary import Prefecture
    from jukinet.server.feed.hub import Hub
    from jukinet.server.feed.port import FeedPort

GONE: Final = select.EPOLLHUP | select.EPOLLERR
READ_BYTES_PER_TURN_MAX: Final = 1 << 20
"""Then other feeds have their turn."""
SMALL_BUFFER_BYTES: Final = 65_536
NOTICE_BYTES: Final = 2_048
"""What a request about notices counts for while it waits."""


class FeedConnection:
    """A connection of the feed port or the witness port.

    Invariants: ``queued_bytes`` is the bytes of its batches that were received and are not answered; the descriptor is
    in the readiness set until ``close``; after ``close`` nothing is sent and nothing of it is queued.
    """

    def __init__(
        self,
        number: int,
        stream: TlsStream,
        identity: Identity,
        prefecture: Prefecture | None,
        port: FeedPort,
        hub: Hub,
    ) -> None:
        self.port = port
        self.number = number
        self.identity = identity
        self.identity_fields: dict[str, Field] = {"role": str(identity.role), "body": identity.body}
        self.feed = identity.role, identity.body
        self.prefecture = 0 if prefecture is None else int(prefecture)
        self.closed = False
        self.paused = False
        self.queued_bytes = 0
        self.wire = port.wire(hub.limits)
        self._hub = hub
        self._stream = stream
        self._outgoing: deque[bytes | bytearray | memoryview] = deque()
        self._interest = READABLE
        self._peer_done = False
        self._broken = False
        self._finishing = False
        self._goodbye_at = 0.0
        self._ended = 0.0
        self._frames = 0
        self._frame_mark = -1
        self._frame_since = self._idle_since = hub.now
        self._idle_mark = -1
        self._write_since = 0.0
        hub.readiness.add(stream.descriptor, READABLE, self.on_ready)

    # Reading -------------------------------------------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """The descriptor is readable or writable. Never raises."""
        try:
            if self._ended:
                if self._stream.discard():
                    self.close("error" if self._broken else "done")
                return
            if events & GONE and not self._interest & READABLE:
                self.close("lost")
                return
            if events & WRITABLE:
                self.flush()
                if self._stream.read_wants_write:
                    self._stream.read_wants_write = False
                    events |= READABLE
            if events & ~WRITABLE and not self.closed:
                self._receive()
        except Exception as error:
            self._defect(error)

    def _defect(self, error: Exception) -> None:
        self._hub.events.failure("connection_failed", error, connection=self.number)
        self.close("defect")

    def _receive(self) -> None:
        wire, stream = self.wire, self._stream
        taken = 0
        try:
            while not self.paused:
                buffer = wire.get_buffer()
                count = stream.read(buffer)
                if count <= 0:
                    if count == 0:
                        self._peer_ended()
                    break
                wire.received(count)
                taken += count
                self._handle_events()
                if self.closed or self._ended or self._broken:
                    break
                if taken >= READ_BYTES_PER_TURN_MAX:
                    if stream.pending():
                        self._hub.resume_later(self)
                    break
                if count < len(buffer) <= SMALL_BUFFER_BYTES:
                    break
        except TransportError as error:
            self._lose(error.kind)
        if taken:
            self._hub.metrics.plain["received_bytes_total"] += taken
            if not self.closed:
                self._hub.claims.heard(self)
        if not self.closed:
            self.flush()

    def _handle_events(self) -> None:
        event: object = None
        try:
            while not self.paused and (event := self.wire.next_event()) is not None:
                self._frames += 1
                self._handle(event)
                if self.closed:
                    return
                self._judge_pause()
        except RemoteProtocolError as error:
            self.fail(error.error, str(error), "protocol_error")
        except JukinetError as error:
            self._hub.events.failure("request_failed", error, connection=self.number)
            request_id = getattr(event, "request_id", 0)
            if request_id not in self.wire.under_way:
                raise
            self.refuse(request_id, error.code, "the server failed; repeat later and report it")

    def _handle(self, event: object) -> None:
        hub = self._hub
        match event:
            case fm.Notify(batch=batch) | fm.LoadRange(batch=batch):
                self._submit(Work(self, self.prefecture, event, batch.payload.nbytes, hub.now))
            case fm.NoticeLeave() | fm.NoticeTake() | fm.NoticeReceived() | fm.NoticeList():
                self._submit(Work(self, self.prefecture, event, NOTICE_BYTES, hub.now))
            case fm.Compare():
                hub.compare(self, event)
            case fm.CheckpointAsk() | fm.Cosign():
                hub.witness(self, event)
            case m.Ping(request_id=request_id, data=data):
                self.send(m.Pong(request_id, data))
            case m.Pong():
                pass  # that something came is all that was asked
            case m.Refused():
                hub.metrics.count("errors_total", event.code.name)
                self.send(event.answer())
            case m.Goodbye():
                self._finishing = True
                self._finish_if_done()
            case _:
                raise AssertionError(f"event {type(event).__name__} is not handled")

    def _submit(self, work: Work) -> None:
        self.queued_bytes += work.size
        self._hub.applying.submit(work)

    def _judge_pause(self) -> None:
        self.paused = self.queued_bytes >= self._hub.configuration.feed.queued_bytes_max
        if not self.paused and self.queued_bytes and not self._hub.has_room:
            self.paused = True
            self._hub.resume_when_there_is_room(self)

    def resume(self) -> None:
        """Go on reading when there is room again: first what was received already. Never raises."""
        if self.closed or self._ended:
            return
        try:
            self._judge_pause()
            if not self.paused and not self._broken:
                self._handle_events()
                if not (self.closed or self._ended or self._peer_done) and self._stream.pending():
                    self._receive()
            if not self.closed:
                self.flush()
        except Exception as error:
            self._defect(error)

    def finished(self, work: Work, result: Result) -> None:
        """A batch was committed, or refused: tell the feed. Never raises."""
        self.queued_bytes -= work.size
        try:
            if not self._broken:
                self._answer(work, result)
            if self.paused:
                self._hub.resume_later(self)
            self.flush()
        except Exception as error:
            self._defect(error)

    def _answer(self, work: Work, result: Result) -> None:
        hub, request_id = self._hub, work.message.request_id
        match result:
            case Applied():
                self._count(result)
                hub.metrics.count("feed_batches_total", "applied")
                hub.metrics.feed_batch_seconds.observe(time.monotonic() - work.arrived)
                self.send(
                    fm.Acknowledged(
                        request_id,
                        position=result.position,
                        digest_count=result.digest.count,
                        digest_sum=result.digest.sum,
                        applied=result.applied,
                        kept=result.kept,
                        quarantined=result.quarantined,
                    )
                )
            case Gap(expected=expected):
                hub.metrics.count("feed_batches_total", "out_of_sequence")
                hub.events.warning("out_of_sequence", connection=self.number, expected=expected, **self.identity_fields)
                self.send(fm.OutOfSequence(request_id, expected))
            case fm.NoticeKept() | fm.Notices() | fm.NoticeClosed() | fm.NoticeStates():
                self.send(result)
            case Refusal():
                hub.metrics.count("feed_batches_total", "refused")
                self.refuse(request_id, result.code, result.message, result.retry_after_ms)

    def _count(self, applied: Applied) -> None:
        metrics = self._hub.metrics
        metrics.count("feed_notifications_total", "applied", applied.applied)
        metrics.count("feed_notifications_total", "kept", applied.kept)
        if applied.quarantined:
            faults = Counter(fault.name for _, fault in applied.quarantined)
            for name, times in faults.items():
                metrics.count("feed_faults_total", name, times)
            told = " ".join(f"{name}:{times}" for name, times in sorted(faults.items()))
            self._hub.events.warning("faults_reported", connection=self.number, faults=told, **self.identity_fields)

    # Sending -------------------------------------------------------------------------------------------------------

    def greet(self, greeting: fm.FeedGreeting) -> None:
        """Send the greeting: the feed is the connection's."""
        self.send(greeting)
        self.flush()

    def probe(self) -> None:
        """Make a live peer say something: another connection claims the feed."""
        ending = self.closed or self._broken or self._ended
        if self.wire.state is ConnectionState.OPEN and not (ending or self.wire.is_pinged):
            self.send(m.Ping(0, os.urandom(8)))
            self.flush()

    def send(self, message: fm.FeedServerMessage) -> None:
        """Queue a message; ``flush`` follows."""
        data = self.wire.send(message)
        if isinstance(data, list):
            self._outgoing.extend(data)
        else:
            self._outgoing.append(data)

    def refuse(self, request_id: int, code: ErrorCode, message: str, retry_after_ms: int = 0) -> None:
        """End a request with an ERROR."""
        if self.closed or self._broken:
            return
        self._hub.metrics.count("errors_total", code.name)
        self.send(m.Error(request_id, code, message, retry_after_ms))

    def flush(self) -> None:
        """Send what the peer takes now; the rest when it can be written. Never raises."""
        outgoing = self._outgoing
        if self.closed:
            return
        try:
            sent = self._stream.write_parts(outgoing, sum(map(len, outgoing)))
        except TransportError as error:
            self._lose(error.kind)
            return
        self._hub.metrics.plain["sent_bytes_total"] += sent
        if sent or not outgoing:
            self._write_since = 0.0
        if self._finishing and not outgoing:
            self._finish_if_done()
        if not self.closed:
            self._watch()

    def _watch(self) -> None:
        """Set what the readiness set watches for."""
        interest = READABLE if self._ended or not (self.paused or self._broken or self._peer_done) else 0
        if self._outgoing or self._stream.read_wants_write:
            interest |= WRITABLE
            if self._outgoing and not self._write_since:
                self._write_since = self._hub.now
        if interest != self._interest:
            self._interest = interest
            self._hub.readiness.change(self._stream.descriptor, interest)

    # Ending --------------------------------------------------------------------------------------------------------

    @property
    def certificate(self) -> bytes | None:
        """The peer's certificate (DER); None when it is gone."""
        return None if self.closed else self._stream.certificate_bytes()

    def goodbye(self, reason: str) -> None:
        """Say that new requests will be refused; the connection ends when the peer says so too, or soon after."""
        if self.closed or self._ended or self._broken or self._goodbye_at:
            return
        if self.wire.state is ConnectionState.GREETING:  # it still waits for its feed
            self.fail(ErrorCode.FEED_TAKEN, "the server is stopping", "turned_away")
            return
        self._finishing = True
        self._goodbye_at = self._hub.now
        self.send(m.Goodbye(reason=reason))
        self.flush()

    def _finish_if_done(self) -> None:
        """End the connection when nothing is under way and there is nothing more to come."""
        if self._outgoing or self._ended or self.closed:
            return
        if self._broken:
            self._end()
            return
        state = self.wire.state
        if state is ConnectionState.CLIENT_DONE and not self.wire.under_way:
            self.send(m.Goodbye(reason="as asked"))
            self.flush()
        elif state in (ConnectionState.BOTH_DONE, ConnectionState.CLOSED) and not self.wire.under_way:
            self._end()

    def _peer_ended(self) -> None:
        """The peer's stream is over. After its GOODBYE it still waits for answers; otherwise it is gone."""
        if self.wire.is_inside_frame:
            self.close("lost")
            return
        self.wire.received_eof()
        self._handle_events()
        if self.closed or self._broken:
            return
        if self.wire.state in (ConnectionState.CLIENT_DONE, ConnectionState.BOTH_DONE):
            self._peer_done = self._finishing = True
            self._finish_if_done()
            return
        self.close("lost" if self.wire.under_way else "ended")

    def fail(self, code: ErrorCode, message: str, kind: str) -> None:
        """Tell the peer why the connection ends, and end it; batches that wait are forgotten."""
        if self.closed or self._broken:
            return
        self._hub.events.warning(
            "connection_error", connection=self.number, kind=kind, code=code.name, **self.identity_fields
        )
        self._hub.metrics.count("errors_total", code.name)
        self._hub.applying.withdraw(self)
        self.send(m.Error(0, code, message))
        self._broken = self._finishing = True
        self.flush()

    def _end(self) -> None:
        self._ended = self._hub.now
        self._stream.end()
        self._watch()

    def _lose(self, kind: str) -> None:
        """Close after the transport failed."""
        if kind == LOST:
            if self._broken:
                kind = "error"
            elif self.wire.under_way or self.wire.is_inside_frame or self._outgoing:
                kind = "lost"
            else:
                kind = "ended"
        self.close(kind)

    def close(self, kind: str) -> None:
        """Close at once and give everything back."""
        if self.closed:
            return
        self.closed = True
        self._hub.applying.withdraw(self)
        self._outgoing.clear()
        self._hub.readiness.remove(self._stream.descriptor)
        self._stream.close()
        self._hub.connection_closed(self, kind)

    def check(self, now: float) -> None:
        """Hold the connection to its deadlines; called a few times a second. Never raises."""
        try:
            self._check(now)
        except Exception as error:
            self._defect(error)

    def _check(self, now: float) -> None:
        waits = self._hub.configuration.waits
        if self._ended:
            if now - self._ended >= waits.close_seconds:
                self.close("error" if self._broken else "done")
            return
        if self._write_since and now - self._write_since >= waits.write_seconds:
            self.close("write_timeout")
            return
        if self._broken or self.wire.state is ConnectionState.GREETING:
            return
        if self._frames != self._frame_mark or not self.wire.is_inside_frame or self.paused:
            self._frame_mark, self._frame_since = self._frames, now
        elif now - self._frame_since >= waits.frame_seconds:
            self.fail(ErrorCode.TIMED_OUT, "the rest of the frame did not come", "frame_timeout")
            return
        self._check_idle(now)
        self.flush()

    def _check_idle(self, now: float) -> None:
        if self.wire.under_way or self._outgoing or self._frames != self._idle_mark:
            self._idle_mark, self._idle_since = self._frames, now
        elif self._goodbye_at:
            if now - max(self._goodbye_at, self._idle_since) >= self._hub.configuration.waits.close_seconds:
                self._end()
        elif now - self._idle_since >= self._hub.configuration.feed.idle_seconds:
            self.goodbye("idle")
        elif time.time() >= self.identity.valid_until:
            self.goodbye("certificate expired")
