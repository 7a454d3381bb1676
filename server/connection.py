"""One caller's connection after the handshake: bytes in, events to the service, answers out, deadlines, and its end.

Life of a connection: GREETING is sent, then frames are handled as they come. It ends in one of three ways: both sides
have said GOODBYE and nothing is under way; an error that closes was sent; the peer or a deadline cut it. In the first
two the last bytes are followed by TLS close_notify and the descriptor is kept until the peer has ended too (at most
waits.close_seconds).
"""

from __future__ import annotations

import select
import time
from collections import deque
from typing import Final

from jukinet.core.errors import ErrorCode, JukinetError, RemoteProtocolError
from jukinet.core.wire import ConnectionState, ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import AnswerFrame, answer_frame_bytes
from jukinet.core.wire.operator_proof import Parties
from jukinet.server.admission import BodyAdmission
from jukinet.server.event_log import Field
from jukinet.server.identity import Identity
from jukinet.server.operators.logins import ConnectionOperators
from jukinet.server.readiness import Readiness
from jukinet.server.service import Service
from jukinet.server.sessions import Session
from jukinet.server.slices import BulkRequest
from jukinet.server.transport import LOST, READABLE, RECORD_BYTES_MAX, WRITABLE, Bytes, TlsStream, TransportError

GONE: Final = select.EPOLLHUP | select.EPOLLERR
PROGRESS_SECONDS: Final = 1.0
SMALL_BUFFER_BYTES: Final = 65_536
READ_BYTES_PER_TURN_MAX: Final = 1 << 18
"""Then other connections have their turn."""


class Connection:
    """A connection after its handshake.

    Invariants: ``unsent`` is the bytes of answers made and not yet taken by the peer, durable or not; the descriptor
    is in the readiness set until ``close``; after ``close`` nothing is sent and no job of it is queued.
    """

    __slots__ = (
        "_broken",
        "_closing_sessions",
        "_ended",
        "_finishing",
        "_frame_mark",
        "_frame_since",
        "_frames",
        "_goodbye_at",
        "_goodbye_said",
        "_held",
        "_idle_mark",
        "_idle_since",
        "_interest",
        "_left",
        "_outgoing",
        "_paused",
        "_peer_done",
        "_piece_left",
        "_readiness",
        "_sessions_begun",
        "_stream",
        "_write_since",
        "admission",
        "body_key",
        "closed",
        "identity",
        "identity_fields",
        "jobs",
        "number",
        "operators",
        "queued_bytes",
        "service",
        "sessions",
        "wire",
    )

    def __init__(
        self,
        number: int,
        stream: TlsStream,
        wire: ServerConnection,
        identity: Identity,
        admission: BodyAdmission | None,
        service: Service,
        readiness: Readiness,
        parties: Parties,
    ) -> None:
        self.operators = ConnectionOperators(parties)
        self.number = number
        self.wire = wire
        self.identity = identity
        self.identity_fields: dict[str, Field] = {"role": str(identity.role), "body": identity.body}
        self.body_key = (identity.role, identity.body)
        self.admission = admission
        self.service = service
        self.sessions: dict[int, Session] = {}
        self.jobs: deque[BulkRequest] = deque()
        self.queued_bytes = 0
        self.closed = False
        self._stream = stream
        self._readiness = readiness
        self._outgoing: deque[Bytes] = deque()
        self._interest = READABLE
        self._paused = False
        self._peer_done = False
        self._broken = False
        self._finishing = False
        self._held = 0
        self._left = 0
        self._ended = 0.0
        self._sessions_begun = 0
        self._closing_sessions: list[tuple[m.CloseSession, set[int]]] = []
        self._goodbye_said = False
        self._goodbye_at = 0.0
        self._frames = 0
        self._frame_mark = -1
        self._frame_since = 0.0
        self._idle_mark = -1
        self._idle_since = service.now
        self._write_since = 0.0
        self._piece_left = service.configuration.fairness.write_bytes

    @property
    def certificate(self) -> bytes | None:
        """The peer's certificate (DER); None when it is gone."""
        return None if self.closed else self._stream.certificate_bytes()

    # Reading -------------------------------------------------------------------------------------------------------

    def start(self, greeting: m.Greeting) -> None:
        """Send the greeting and begin to read."""
        self._readiness.add(self._stream.descriptor, READABLE, self.on_ready)
        self.send(greeting)
        self.flush()
        self.want_resume()

    def turn_away(self, code: ErrorCode, message: str) -> None:
        """Say why the connection is not served, and end it; no greeting is sent."""
        self._readiness.add(self._stream.descriptor, READABLE, self.on_ready)
        self.fail(code, message, "turned_away")

    def on_ready(self, events: int) -> None:
        """The descriptor is readable or writable. Never raises."""
        try:
            if self._ended:
                self._linger()
                return
            if events & GONE and not self._interest & READABLE:
                # Both directions are over, and nothing is read that would notice it.
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
            self.service.log.failure("connection_failed", error, connection=self.number)
            self.close("defect")

    def _receive(self) -> None:
        wire, stream = self.wire, self._stream
        taken = 0
        try:
            while not self._paused:
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
                        self.want_resume()
                    break
                # A read gives one TLS record at most, so with room left over nothing is pending inside TLS. Into a
                # large buffer, that of a bulk request, reading goes on until the descriptor has nothing more.
                if count < len(buffer) <= SMALL_BUFFER_BYTES:
                    break
        except TransportError as error:
            self._lose(error.kind)
        self.service.metrics.plain["received_bytes_total"] += taken
        if stream.read_wants_write and not self.closed:
            self._watch()
        if self._outgoing and not self.closed:
            self.flush()

    def _handle_events(self) -> None:
        wire, service = self.wire, self.service
        try:
            while not self._paused and (event := wire.next_event()) is not None:
                self._frames += 1
                if isinstance(event, m.LookupRequest):
                    service.lookup(self, event)
                elif isinstance(event, m.StatusRequest):
                    service.status(self, event)
                elif isinstance(event, m.VerifyRequest):
                    service.verify(self, event)
                elif isinstance(event, m.HistoryRequest):
                    service.history(self, event)
                else:
                    self._handle_control(event)
                if self.closed:
                    return
                if self._left or self._held or self.queued_bytes:
                    self._judge_pause()
        except RemoteProtocolError as error:
            self.fail(error.error, str(error), "protocol_error")
        except JukinetError as error:
            self._request_failed(event, error, error.code)
        except Exception as error:
            self._request_failed(event, error, ErrorCode.INTERNAL)

    def _request_failed(self, event: object, error: Exception, code: ErrorCode) -> None:
        self.service.log.failure("request_failed", error, connection=self.number)
        request_id = getattr(event, "request_id", 0)
        if request_id in self.wire.under_way:
            self.refuse(request_id, code, "the server failed; repeat later and report it")
            self.want_resume()
        else:
            self.close("defect")

    def _handle_control(self, event: object) -> None:
        match event:
            case m.TownsRequest():
                self.service.towns(self, event)
            case m.MatchRequest():
                self.service.match(self, event)
            case m.SearchRequest():
                self.service.search(self, event)
            case m.CohortPut() | m.CohortChanges():
                self.service.cohorts.take(self, event)
            case m.Ping(request_id=request_id, data=data):
                self.send(m.Pong(request_id, data))
            case m.OpenSession():
                self.service.open_session(self, event)
            case m.OperatorLogin() | m.OperatorProof():
                self.service.operators.take(self, event)
            case m.CloseSession():
                self._close_session(event)
            case m.Cancel(request_id=request_id):
                self._cancel(request_id)
            case m.Refused():
                self.service.metrics.count("errors_total", event.code.name)
                self.send(event.answer())
            case m.Goodbye():
                self._finishing = True
                self._finish_if_done()
            case _:
                raise AssertionError(f"event {type(event).__name__} is not handled")

    def _close_session(self, event: m.CloseSession) -> None:
        session = self.sessions.pop(event.session_id, None)
        if session is None:
            self.refuse(event.request_id, ErrorCode.UNKNOWN_SESSION, "no such session is open")
            return
        if session.login is not None:
            session.login.sessions.discard(session)
        # Earlier CLOSE_SESSIONs that wait are no answers to wait for.
        closing = {waiting.request_id for waiting, _ in self._closing_sessions}
        earlier = set(self.wire.under_way) - closing - {event.request_id}
        if earlier:
            self._closing_sessions.append((event, earlier))
        else:
            self.send(m.SessionClosed(event.request_id, event.session_id))

    def _cancel(self, request_id: int) -> None:
        """A request whose answer is already made is answered; another is given up and nothing of it is recorded."""
        for job in self.jobs:
            if job.question.request_id == request_id:
                self.service.drop(self, job)
                self.refuse(request_id, ErrorCode.CANCELLED, "as asked")
                return
        self.service.cohorts.cancel(self, request_id)

    def next_session_id(self) -> int:
        self._sessions_begun += 1
        return self._sessions_begun

    # Pausing -------------------------------------------------------------------------------------------------------

    @property
    def may_work(self) -> bool:
        """Whether a bulk request waits here and the caller has taken enough of its earlier answers."""
        return (
            self._held + self._left < self.service.configuration.limits.unsent_bytes_per_connection_max
            and self.job_to_give is not None
        )

    @property
    def job_to_give(self) -> BulkRequest | None:
        """The first bulk request that has slices to be given."""
        for job in self.jobs:
            if job.given < job.count:
                return job
        return None

    def _judge_pause(self) -> None:
        limits = self.service.configuration.limits
        self._paused = (
            self._held + self._left >= limits.unsent_bytes_per_connection_max
            or self.queued_bytes >= limits.queued_bytes_per_connection_max
        )

    def want_resume(self) -> None:
        """Look again at the end of the turn whether there is something to read."""
        if not self.closed:
            self.service.resume_later(self)

    def resume(self) -> None:
        """Go on reading when there is room again: first what was received already. Never raises."""
        if self.closed or self._ended:
            return
        try:
            self._judge_pause()
            if not self._paused and not self._broken:
                self._handle_events()
                if not (self.closed or self._ended or self._peer_done) and self._stream.pending():
                    self._receive()
            if not self.closed:
                self.flush()
        except Exception as error:
            self.service.log.failure("connection_failed", error, connection=self.number)
            self.close("defect")

    # Sending -------------------------------------------------------------------------------------------------------

    def send(self, message: m.ServerMessage) -> None:
        """Queue a control message; ``flush`` follows at the latest at the end of the turn."""
        data = self.wire.send(message)
        if isinstance(data, list):
            for part in data:
                self._queue(part)
        else:
            self._queue(data)

    def _queue(self, data: Bytes) -> None:
        self._outgoing.append(data)
        if self._left:
            self._left += len(data)
            self.service.unsent_changed(len(data))

    def refuse(self, request_id: int, code: ErrorCode, message: str, retry_after_ms: int = 0) -> None:
        """End a request with an ERROR."""
        if self.closed or self._broken:
            return
        self.service.metrics.count("errors_total", code.name)
        self.send(m.Error(request_id, code, message, retry_after_ms))
        if self._closing_sessions:
            self._request_ended(request_id)
        self.want_resume()

    def hold(self, count: int) -> None:
        """Count the bytes of a bulk answer that was made and is not durable yet."""
        self._held += count
        self.service.unsent_changed(count)

    def let_go(self, count: int) -> None:
        """Stop counting them."""
        self._held -= count
        self.service.unsent_changed(-count)

    def release(self, request_id: int, message_type: int, frame: AnswerFrame, bulk: bool) -> None:
        """Queue an answer whose record of use is durable. ``bulk``: its bytes were counted with ``hold``."""
        if bulk:
            self.let_go(answer_frame_bytes(frame))
        if self._broken:
            return  # the stream was given up after the request was accepted
        answer = self.wire.send_answer(request_id, message_type, frame)
        if isinstance(answer, list):
            for part in answer:
                self._queue(part)
        else:
            self._queue(answer)
        if self._closing_sessions:
            self._request_ended(request_id)

    def _request_ended(self, request_id: int) -> None:
        for entry in list(self._closing_sessions):
            event, earlier = entry
            earlier.discard(request_id)
            if not earlier:
                self._closing_sessions.remove(entry)
                self.send(m.SessionClosed(event.request_id, event.session_id))

    def flush(self) -> None:
        """Send what the peer takes now, at most fairness.write_bytes; the rest when it can be written. Never raises."""
        outgoing = self._outgoing
        if self.closed:
            return
        try:
            if len(outgoing) == 1 and not self._left and len(outgoing[0]) <= RECORD_BYTES_MAX:
                # Nearly always: one small answer, and the peer takes it.
                head = outgoing[0]
                count = self._stream.write(head)
                self.service.metrics.plain["sent_bytes_total"] += count
                if count == len(head):
                    outgoing.clear()
                    if self._paused:
                        self.want_resume()
                elif count:
                    outgoing[0] = memoryview(head)[count:]
            if outgoing:
                self._flush_long()
        except TransportError as error:
            self._lose(error.kind)
            return
        if self._finishing and not outgoing:
            self._finish_if_done()

    def _flush_long(self) -> None:
        budget = self.service.configuration.fairness.write_bytes
        self._count_sent(self._stream.write_parts(self._outgoing, budget), budget)
        self._watch()

    def _count_sent(self, sent: int, whole: int) -> None:
        """Count what waits, and the progress that the write deadline is about."""
        left = self._left - sent if self._left else sum(map(len, self._outgoing))
        self.service.unsent_changed(left - self._left)
        self._left = left
        self.service.metrics.plain["sent_bytes_total"] += sent
        self._piece_left -= sent
        if self._piece_left <= 0 or not self._outgoing:
            self._piece_left = whole
            self._write_since = 0.0
        if self.jobs:
            self.service.schedule(self)
        if self._paused and sent:
            self.want_resume()

    def _watch(self) -> None:
        """Set what the readiness set watches for."""
        interest = READABLE if self._ended or not (self._paused or self._broken or self._peer_done) else 0
        if self._outgoing or self._stream.read_wants_write:
            interest |= WRITABLE
            if self._outgoing and not self._write_since:
                self._write_since = self.service.now
        if interest != self._interest:
            self._interest = interest
            self._readiness.change(self._stream.descriptor, interest)

    # Ending --------------------------------------------------------------------------------------------------------

    def goodbye(self, reason: str, now: float) -> None:
        """Say that new requests will be refused; the connection ends when the peer says so too, or soon after."""
        if self.closed or self._ended or self._broken or self._goodbye_said:
            return
        self._goodbye_said = self._finishing = True
        self._goodbye_at = now
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
            self._watch()
            self._finish_if_done()
            return
        self.close("lost" if self.wire.under_way else "ended")

    def fail(self, code: ErrorCode, message: str, kind: str) -> None:
        """Tell the peer why the connection ends, and end it; requests under way are given up."""
        if self.closed or self._broken:
            return
        self.service.log.warning(
            "connection_error", connection=self.number, kind=kind, code=code.name, **self.identity_fields
        )
        self.service.metrics.count("errors_total", code.name)
        self._give_up_jobs()
        self.send(m.Error(0, code, message))
        self._broken = self._finishing = True
        self._watch()
        self.flush()

    def _end(self) -> None:
        self._ended = self.service.now
        self._stream.end()
        self._watch()

    def _lose(self, kind: str) -> None:
        """Close after the transport failed. A peer that closes when it has all its answers may reset the connection
        with that, since it does not read the last control messages: nothing is lost then."""
        if kind == LOST:
            if self._broken:
                kind = "error"
            elif self.wire.under_way or self.wire.is_inside_frame:
                kind = "lost"
            elif self.wire.state in (ConnectionState.CLIENT_DONE, ConnectionState.BOTH_DONE, ConnectionState.CLOSED):
                kind = "done"
            else:
                kind = "lost" if self._outgoing else "ended"
        self.close(kind)

    def _linger(self) -> None:
        if self._stream.discard():
            self.close("error" if self._broken else "done")

    def _give_up_jobs(self) -> None:
        for job in list(self.jobs):
            self.service.drop(self, job)

    def close(self, kind: str) -> None:
        """Close at once and give everything back."""
        if self.closed:
            return
        self.closed = True
        self._give_up_jobs()
        self.service.unsent_changed(-self._held - self._left)
        self._held = self._left = 0
        self._outgoing.clear()
        self._readiness.remove(self._stream.descriptor)
        self._stream.close()
        self.service.cohorts.connection_closed(self)
        self.service.connection_closed(self, kind)

    def check(self, now: float) -> None:
        """Hold the connection to its deadlines; called a few times a second. Never raises."""
        try:
            self._check(now)
        except Exception as error:  # one connection's defect must not end the others
            self.service.log.failure("connection_failed", error, connection=self.number)
            self.close("defect")

    def _check(self, now: float) -> None:
        waits = self.service.configuration.waits
        if self._ended:
            if now - self._ended >= waits.close_seconds:
                self.close("error" if self._broken else "done")
            return
        if self._write_since and now - self._write_since >= waits.write_seconds:
            self.close("write_timeout")
            return
        if self._broken:
            return
        if self._frames != self._frame_mark or not self.wire.is_inside_frame or self._paused:
            self._frame_mark, self._frame_since = self._frames, now
        elif now - self._frame_since >= waits.frame_seconds:
            self.fail(ErrorCode.TIMED_OUT, "the rest of the frame did not come", "frame_timeout")
            return
        self._check_idle(now, waits.idle_seconds, waits.close_seconds)
        for job in self.jobs:
            if now - job.reported >= PROGRESS_SECONDS and not self._left:
                job.reported = now
                self.send(m.Progress(job.question.request_id, job.done, job.count))
        if not self._left:
            self.service.cohorts.report(self, now, PROGRESS_SECONDS)
        if self._outgoing:
            self.flush()

    def _check_idle(self, now: float, idle_seconds: float, close_seconds: float) -> None:
        if self.wire.under_way or self._outgoing or self._frames != self._idle_mark:
            self._idle_mark, self._idle_since = self._frames, now
        elif self._goodbye_said:
            if now - max(self._goodbye_at, self._idle_since) >= close_seconds:
                self._end()
        elif now - self._idle_since >= idle_seconds:
            self.goodbye("idle", now)
        elif time.time() >= self.identity.valid_until:
            self.goodbye("certificate expired", now)
