"""One query worker: accepts connections, lets bodies in, and keeps register, authority and clock up to date."""

from __future__ import annotations

import contextlib
import gc
import mmap
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
import trio

from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.cohort.store import CohortStore
from jukinet.core.errors import ConfigurationError, ErrorCode, JukinetError, StoreError
from jukinet.core.law.authority import Authority
from jukinet.core.limits import ANSWER_BYTES_MAX
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire import ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.operator_proof import Parties
from jukinet.server import caps as caps_file
from jukinet.server import control
from jukinet.server.acceptor import Acceptor, error_frame
from jukinet.server.admission import Admission
from jukinet.server.authority_follower import AuthorityFollower
from jukinet.server.boundary import REVOCATIONS_PER_STEP, boundary_of, is_revoked
from jukinet.server.caps import Caps
from jukinet.server.connection import Connection
from jukinet.server.credentials import Credentials, load_credentials
from jukinet.server.event_log import EventLog, operating_error
from jukinet.server.identity import Identity
from jukinet.server.listening import listen
from jukinet.server.metrics import Metrics, Snapshot
from jukinet.server.readiness import Readiness
from jukinet.server.recording import Recording
from jukinet.server.service import Service
from jukinet.server.shared_counts import SharedCounts
from jukinet.server.transport import TlsStream
from jukinet.server.watching import Watching

CHECK_SECONDS: Final = 0.25
"""How often deadlines are looked at; they are kept to within this."""
BEHIND_SECONDS: Final = 1.0
"""A worker that could not follow the register for so long says so; it looks every few milliseconds."""
DRAIN_STEP_SECONDS: Final = 0.05
REFRESH_BUCKETS: Final = 512
"""Changed buckets that are looked up in one turn: half a millisecond that requests wait, so that 10,000 changes of one
transaction (10 ms at once) do not hold them up."""
WARM_LOG_SECONDS: Final = 5.0
RECORD_CLOSE_SECONDS: Final = 1.0
"""Beyond the drain deadline, for the record of use to be closed: less than the supervisor waits before it kills."""
GARBAGE_THRESHOLDS: Final = (20_000, 50, 100)
"""Requests leave no cycles behind; with Python's own thresholds the collector would run every few dozen requests."""
EXIT_OK: Final = 0
EXIT_FAILED: Final = 5


class Worker:
    """Everything of one worker process.

    Invariant: ``_connections`` holds exactly the connections that were greeted and are not closed.
    """

    def __init__(self, start: control.Start, channel: control.Channel) -> None:
        self._start = start
        self._configuration = start.configuration
        self._channel = channel
        self._log = EventLog(start.configuration.observation.log_level, worker=start.worker)
        self._metrics = Metrics()
        workers = start.configuration.worker_count
        counts = SharedCounts(mmap.mmap(start.shared_counts, 0), workers, start.worker)
        self._admission = Admission(start.configuration.limits, counts)
        self._connections: set[Connection] = set()
        self._boundary = boundary_of("query", start.configuration.boundary)
        self._acceptor = Acceptor(
            "query",
            self._open_stream,
            self._take,
            self._admission,
            self._metrics,
            self._log,
            start.configuration.waits.handshake_seconds,
            partial(error_frame, ErrorCode.UNKNOWN_BODY),
            self._boundary.allows_address,
        )
        self._draining = trio.Event()
        self._drain_deadline = 0.0
        self._service: Service
        self._authority: AuthorityFollower
        self._serving = False
        self._locked = False
        self._refreshing = False
        self._refreshed = False
        self._refresh_at = 0.0
        self._followed_at = time.monotonic()
        self._is_behind = False
        self._readiness = Readiness(self._begin_turn, self._after_turn)
        self._product = f"jukinet {metadata.version('jukinet')}"

    async def run(self) -> int:
        """Serve until told to drain: the exit code."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's SIGHUP arrives as a Reload message
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed_signals, signals)
                nursery.start_soon(self._watch_supervisor)
                code = await self._serve()
                nursery.cancel_scope.cancel()
        return code

    async def _serve(self) -> int:
        try:
            load_credentials(self._configuration)  # what cannot be used is told before the register is warmed
            reader = await self._open_register()
            if reader is None:
                return EXIT_OK
            writer = self._open_record_of_use(reader.identifier)
            cohorts = self._open_cohorts()
            caps = Caps(Path(self._configuration.record_of_use.directory) / caps_file.FILE_NAME)
            watching = self._open_watch()
            place = self._configuration.server
            listener = listen(place.address, self._start.ports["query"], place.backlog)
            credentials = load_credentials(self._configuration)  # warming took its time: take them as they are now
        except JukinetError as error:
            self._log.error("start_failed", reason=str(error))
            await self._channel.send(control.Failed(str(error)))
            return EXIT_FAILED
        try:
            recording = self._make_service(credentials, reader, writer, caps, cohorts, watching)
            self._authority.prepare(credentials.reading)
        except ConfigurationError as error:
            await self._channel.send(control.Failed(str(error)))
            return EXIT_FAILED
        self._authority.take_up(credentials.reading)
        self._serving = True
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        self._log.info(
            "worker_ready", port=self._start.ports["query"], register=reader.identifier, residents=reader.residents
        )
        await self._channel.send(control.Ready(reader.identifier))
        with listener:
            async with trio.open_nursery() as serving:
                serving.start_soon(self._readiness.run)
                serving.start_soon(self._service.cohorts.run)
                serving.start_soon(self._service.operators.run)
                serving.start_soon(self._refresh)
                serving.start_soon(self._check_deadlines)
                serving.start_soon(self._authority.run)
                serving.start_soon(self._report)
                serving.start_soon(self._acceptor.accept, listener, serving)
                await self._draining.wait()
                self._acceptor.end(listener)
                await self._drain()
                serving.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._channel.send(control.Figures(self._snapshot()))
        self._close(reader, recording, watching)
        self._log.info("worker_stopped")
        return EXIT_OK

    def _make_service(
        self,
        credentials: Credentials,
        reader: RegisterReader,
        writer: RecordOfUseWriter,
        caps: Caps,
        cohorts: CohortStore | None,
        watching: Watching | None,
    ) -> Recording:
        settings = self._configuration.record_of_use
        recording = Recording(
            writer, self._readiness, self._metrics, self._log, settings.retry_seconds, settings.commit_seconds,
            caps.make_durable,
        )  # fmt: skip
        self._service = Service(
            self._configuration, credentials, reader, recording, self._admission, self._metrics, self._log,
            self._connection_closed,
            self._readiness, caps, cohorts, watching,
        )  # fmt: skip
        self._authority = AuthorityFollower(
            self._configuration.authority.file, recording, self._metrics, self._log, self._prepare, self._judge_by
        )
        return recording

    def _close(self, reader: RegisterReader, recording: Recording, watching: Watching | None) -> None:
        """End what was opened, after the last figures were sent."""
        self._service.close()
        if watching is not None:
            watching.close()
        drained_by = self._drain_deadline - trio.current_time()
        if not recording.close(max(0.0, drained_by) + RECORD_CLOSE_SECONDS):
            self._log.error("record_of_use_left_open", directory=self._configuration.record_of_use.directory)
        self._readiness.close()
        self._service.cohorts.close()
        with contextlib.suppress(StoreError):
            reader.close()

    # Starting ------------------------------------------------------------------------------------------------------

    async def _open_register(self) -> RegisterReader | None:
        """Open and warm the register; None when told to stop meanwhile. Raises StoreError."""
        settings = self._configuration.register
        reader = RegisterReader(settings.store)
        if not settings.warm:
            return reader
        started = logged = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal logged
            if self._draining.is_set():
                raise StoreError("warming was broken off")  # or the process would not end before all is read
            now = time.monotonic()
            if now - logged >= WARM_LOG_SECONDS:
                logged = now
                self._log.info("warming", done_bytes=done, total_bytes=total)

        failure: StoreError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_draining, nursery.cancel_scope)
            try:
                await trio.to_thread.run_sync(reader.warm, progress, abandon_on_cancel=True)
            except StoreError as error:
                failure = error  # raised outside: a nursery would wrap it in a group
            except OSError as error:
                failure = StoreError(f"{settings.store}: cannot be read: {operating_error(error)}")
            nursery.cancel_scope.cancel()
        if self._draining.is_set():
            return None
        if failure is not None:
            raise failure
        self._log.info("warmed", seconds=round(time.monotonic() - started, 3))
        if settings.lock_in_memory:
            await trio.to_thread.run_sync(self._lock_in_memory, reader)
        return reader

    def _lock_in_memory(self, reader: RegisterReader) -> None:
        """Lock the register, or what it has gained since; without leave for it the server goes on."""
        first = not self._locked
        try:
            locked = reader.lock_in_memory()
            self._locked = True
            if first:
                self._log.info("register_locked_in_memory", bytes=locked)
        except OSError as error:
            self._locked = False
            self._log.warning(
                "register_not_locked_in_memory",
                reason=operating_error(error),
                limit_bytes=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
                wanted_bytes=reader.file_bytes,
            )

    async def _cancel_when_draining(self, scope: trio.CancelScope) -> None:
        await self._draining.wait()
        scope.cancel()

    def _open_record_of_use(self, register: str) -> RecordOfUseWriter:
        settings = self._configuration.record_of_use
        return RecordOfUseWriter(
            settings.directory,
            self._start.worker,
            register=register,
            segment_bytes_max=settings.segment_bytes_max,
            segment_step_bytes=settings.segment_step_bytes,
            free_bytes_min=settings.free_bytes_min,
            segment_seconds_max=settings.segment_seconds_max,
        )

    def _open_cohorts(self) -> CohortStore | None:
        directory = self._configuration.cohorts.directory
        return CohortStore(directory) if directory else None

    def _open_watch(self) -> Watching | None:
        settings = self._configuration.watch
        if not settings.directory:
            return None
        return Watching(settings, self._readiness, self._metrics, self._log, self._judge_all_again)

    def _judge_all_again(self) -> None:
        """Operators were stopped or released: every session is judged again at its next request."""
        for connection in self._connections:
            for session in connection.sessions.values():
                session.authority = None

    # Accepting -----------------------------------------------------------------------------------------------------

    def _open_stream(self, accepted: socket.socket) -> TlsStream:
        return TlsStream(accepted, self._credentials.context)

    def _take(self, number: int, stream: TlsStream) -> None:
        """Take a connection after its handshake. Raises IdentityError; what fails later ends this one only."""
        identity = self._boundary.admit(stream, self._credentials.revoked, self._log)
        self._begin(self._connection(number, stream, identity))

    def _connection(self, number: int, stream: TlsStream, identity: Identity) -> Connection:
        """The connection after its handshake; from here on it gives everything back when it closes."""
        service, limits = self._service, self._configuration.limits
        told = m.Limits(
            request_bytes_max=limits.request_bytes_max,
            answer_bytes_max=ANSWER_BYTES_MAX,
            codes_per_request_max=limits.codes_per_request_max,
            requests_in_flight_max=limits.requests_in_flight_max,
            sessions_max=limits.sessions_per_connection_max,
            idle_seconds_max=max(1, int(self._configuration.waits.idle_seconds)),
        )
        body = service.credentials.authority.body(identity.role, identity.body)
        entry = self._admission.admit_body(body) if body is not None else None
        parties = Parties(
            service.reader.identifier,
            stream.certificate_digest(),
            service.credentials.certificate_digest,
            str(identity.role),
            identity.body,
        )
        wire = ServerConnection(told)
        connection = Connection(number, stream, wire, identity, entry, service, self._readiness, parties)
        self._connections.add(connection)
        return connection

    def _begin(self, connection: Connection) -> None:
        """Greet, or say why not; both kinds of connection end by themselves."""
        try:
            self._greet_or_turn_away(connection)
        except Exception as error:
            self._log.failure("connection_failed", error, connection=connection.number)
            connection.close("defect")
        self._service.after_turn()

    def _greet_or_turn_away(self, connection: Connection) -> None:
        service, identity, number = self._service, connection.identity, connection.number
        fields = connection.identity_fields
        if service.credentials.authority.body(identity.role, identity.body) is None:
            self._acceptor.refused(number, "unknown_body", **fields)
            connection.turn_away(ErrorCode.UNKNOWN_BODY, "the certificate's body has no authority here")
        elif connection.admission is None:
            self._acceptor.refused(number, "too_many_connections", **fields)
            connection.turn_away(ErrorCode.TOO_MANY_CONNECTIONS, "the body's connections are used up")
        else:
            self._log.info("connection_opened", connection=number, **fields)
            connection.start(
                m.Greeting(
                    server=self._product,
                    register=service.reader.identifier,
                    role=str(identity.role),
                    body=identity.body,
                    limits=connection.wire.limits,
                    areas_not_connected=list(service.reader.areas_not_connected),
                )
            )
            if self._draining.is_set():
                connection.goodbye("draining", service.now)

    def _connection_closed(self, connection: Connection, kind: str) -> None:
        self._connections.discard(connection)
        self._admission.connections -= 1
        if connection.admission is not None:
            self._admission.release_body(connection.admission)
            self._metrics.count("connections_closed_total", kind)
            self._log.info("connection_closed", connection=connection.number, kind=kind, **connection.identity_fields)

    # Keeping up ----------------------------------------------------------------------------------------------------

    @property
    def _credentials(self) -> Credentials:
        return self._service.credentials

    def _begin_turn(self) -> None:
        now = self._service.now = time.monotonic()
        if now >= self._authority.due:
            self._authority.take_up_due()

    def _prepare(self, authority: Authority) -> None:
        """Make ready what judging by it needs; in a thread. Raises ConfigurationError."""
        self._service.models.prepare(authority.match_rules(), self._service.reader.residents)

    def _judge_by(self, authority: Authority) -> None:
        """Judge every request by this authority from now on."""
        self._service.credentials = msgspec.structs.replace(self._credentials, authority=authority)
        self._admission.take_up(authority)

    def _after_turn(self, ready: int) -> bool:
        """End a turn, and follow the register between turns. Whether something will be ready soon."""
        service = self._service
        soon = service.after_turn(ready)
        if self._refreshing or service.now >= self._refresh_at:
            self._follow()
        return soon

    def _follow(self) -> None:
        """Follow the register's writer, a step at a time. Never raises.

        It is done between turns and not in a task of its own, since tasks wait for many turns when there is much to do.
        """
        reader = self._service.reader
        try:
            if not self._refreshing:
                self._refreshing = reader.begin_refresh()
            elif reader.advance(REFRESH_BUCKETS):
                self._refreshing, self._refreshed = False, True
                self._metrics.plain["register_refreshes_total"] += 1
                self._log.debug("register_refreshed", version=reader.version)
            if not self._refreshing:
                self._followed_at = time.monotonic()
            wait = self._configuration.register.refresh_milliseconds / 1000
        except Exception as error:
            self._refreshing = False
            self._metrics.plain["register_refresh_failures_total"] += 1
            self._log.failure("register_not_refreshed", error)
            wait = CHECK_SECONDS
        if self._refreshing:
            self._readiness.wake()
        else:
            self._refresh_at = time.monotonic() + wait

    def _look_whether_behind(self, now: float) -> None:
        """Say once when what is answered may be older than a second, and once when it is not any more."""
        seconds = now - self._followed_at
        if (seconds > BEHIND_SECONDS) != self._is_behind:
            self._is_behind = not self._is_behind
            if self._is_behind:
                self._log.error("register_behind", seconds=round(seconds, 3))
            else:
                self._log.info("register_followed_again")

    async def _refresh(self) -> None:
        """See that there are turns, in which the register is followed, while there are no requests."""
        while True:
            await trio.sleep(self._configuration.register.refresh_milliseconds / 1000)
            if time.monotonic() >= self._refresh_at:
                self._readiness.wake()
            if self._locked and self._refreshed:
                self._refreshed = False
                await trio.to_thread.run_sync(self._lock_in_memory, self._service.reader)

    async def _check_deadlines(self) -> None:
        while True:
            await trio.sleep(CHECK_SECONDS)
            now = self._service.now = time.monotonic()
            self._service.new_day()
            self._service.recording.check(now)
            self._look_whether_behind(now)
            self._service.operators.check(now)
            for connection in list(self._connections):
                connection.check(now)
            self._service.after_turn()

    async def _report(self) -> None:
        """Hand the metrics to the supervisor."""
        while True:
            await trio.sleep(min(1.0, self._configuration.observation.metrics_seconds))
            await self._channel.send(control.Figures(self._snapshot()))

    def _snapshot(self) -> Snapshot:
        service = self._service
        self._metrics.gauges = {
            "connections": self._admission.connections,
            "requests_queued": service.queued_requests,
            "queued_bytes": service.queued_bytes,
            "unsent_bytes": service.unsent_bytes,
            "workers_behind": int(self._is_behind),
            "providing": int(service.recording.providing),
        }
        return self._metrics.snapshot()

    async def _heed_signals(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self._draining.set()

    async def _watch_supervisor(self) -> None:
        """Reload when the supervisor says so, drain when it is gone."""
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, control.Reload):
                await self._reload()
        self._log.error("supervisor_gone")
        self._draining.set()

    async def _reload(self) -> None:
        """Take up authority and certificates as they are now; when either cannot be used, both stay as they were."""
        if not self._serving:
            return  # still warming: the files are read again before the worker serves
        try:
            credentials = await trio.to_thread.run_sync(load_credentials, self._configuration)
            await trio.to_thread.run_sync(self._authority.prepare, credentials.reading)
            self._authority.take_up(credentials.reading)
        except ConfigurationError as error:
            self._metrics.count("reloads_total", "failed")
            self._log.error("reload_failed", reason=str(error))
            return
        self._service.credentials = msgspec.structs.replace(
            credentials, authority=self._authority.authority or credentials.authority
        )
        for number, connection in enumerate(list(self._connections), 1):
            if number % REVOCATIONS_PER_STEP == 0:
                await trio.lowlevel.checkpoint()
            try:
                if is_revoked(connection.certificate, credentials.revoked):
                    connection.fail(ErrorCode.UNKNOWN_BODY, "the certificate was revoked", "certificate_revoked")
            except Exception as error:
                self._log.failure("connection_failed", error, connection=connection.number)
                connection.close("defect")
        self._metrics.count("reloads_total", "done")
        self._log.info("reloaded", authority=credentials.authority.digest)

    async def _drain(self) -> None:
        """Say goodbye to every connection and let what is under way finish, within waits.drain_seconds."""
        service = self._service
        service.now = time.monotonic()
        self._log.info("worker_draining", connections=len(self._connections))
        for connection in list(self._connections):
            connection.goodbye("draining", service.now)
        service.after_turn()
        self._drain_deadline = trio.current_time() + self._configuration.waits.drain_seconds
        with trio.move_on_at(self._drain_deadline) as scope:
            while self._connections or not service.recording.idle:
                await trio.sleep(DRAIN_STEP_SECONDS)
        if scope.cancelled_caught:
            self._log.warning("drain_cut_off", connections=len(self._connections))
        for connection in list(self._connections):
            connection.close("drained")
