"""The feed writer's process: accepts the prefectures' connections and joins them, writer thread and register."""

from __future__ import annotations

import contextlib
import datetime
import gc
import signal
import socket
import time
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path
from typing import Final

import trio

from jukinet.core.errors import ConfigurationError, ErrorCode, JukinetError, StoreError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.holdings import Digest, HoldingsReader
from jukinet.core.feed.notices import NoticeBook, NoticeRules, Undelivered
from jukinet.core.feed.positions import read_feed
from jukinet.core.limits import DIGEST_BYTES
from jukinet.core.records.resident import REGISTERED_EPOCH
from jukinet.core.store import schema
from jukinet.core.store.reader import map_whole
from jukinet.core.vocabulary import Prefecture, Role
from jukinet.core.wire import feed_messages as fm
from jukinet.server import control
from jukinet.server.boundary import REVOCATIONS_PER_STEP, is_revoked
from jukinet.server.configuration import Notices
from jukinet.server.event_log import EventLog, operating_error
from jukinet.server.feed.applying import Applying, is_final
from jukinet.server.feed.claims import Claims
from jukinet.server.feed.comparing import Comparing
from jukinet.server.feed.connection import FeedConnection
from jukinet.server.feed.daily_purge import DailyPurge
from jukinet.server.feed.notice_alarm import NoticeAlarm
from jukinet.server.feed.port import FeedPort
from jukinet.server.feed.witness import witness_answer
from jukinet.server.listening import listen
from jukinet.server.metrics import Metrics, Snapshot
from jukinet.server.readiness import Readiness
from jukinet.server.transport import TlsStream

CHECK_SECONDS: Final = 0.25
"""How often deadlines are looked at; they are kept to within this."""
DRAIN_STEP_SECONDS: Final = 0.02
REST_SECONDS: Final = 1.0
NOTICES_SECONDS: Final = 10.0
NOTICES_SECONDS_MIN: Final = 0.5
NO_HOLDINGS: Final = Digest(0, bytes(DIGEST_BYTES))
EXIT_OK: Final = 0
EXIT_FAILED: Final = 5


class Hub:
    """Everything of the feed writer's process.

    Invariant: ``_connections`` holds exactly the connections that passed the handshake and are not closed.
    """

    def __init__(self, start: control.Start, channel: control.Channel) -> None:
        self.configuration = start.configuration
        feed = start.configuration.feed
        self.limits = fm.FeedLimits(
            batch_bytes_max=feed.batch_bytes_max,
            requests_in_flight_max=feed.requests_in_flight_max,
            idle_seconds_max=max(1, int(feed.idle_seconds)),
        )
        self.events = EventLog(start.configuration.observation.log_level, worker="feed")
        self.metrics = Metrics()
        self.now = time.monotonic()
        self.readiness = Readiness(self._begin_turn, self._after_turn)
        self.claims = Claims(feed.takeover_seconds, self._admit, self._turn_away_taken)
        self.applying: Applying
        self._start = start
        self._channel = channel
        self._ports = [
            FeedPort(name, start.configuration, self._take, self.metrics, self.events)
            for name in ("feed", "witness")
            if name in start.configuration.own_ports()
        ]
        self._connections: set[FeedConnection] = set()
        self._resumable: set[FeedConnection] = set()
        self._starved: set[FeedConnection] = set()
        self._draining = trio.Event()
        self._is_broken = False
        self._notices: NoticeBook
        self._alarm = NoticeAlarm()
        self._witnessing = trio.CapacityLimiter(1)
        self._register: FeedRegister
        self._comparing: Comparing
        self._nursery: trio.Nursery
        self._product = f"jukinet {metadata.version('jukinet')}"

    async def run(self) -> int:
        """Serve until told to drain: the exit code."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's SIGHUP arrives as a Reload message
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that may not grow is an error of the write
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heed_signals, signals)
                nursery.start_soon(self._watch_supervisor)
                code = await self._serve()
                nursery.cancel_scope.cancel()
        return code

    async def _serve(self) -> int:
        settings = self.configuration
        listeners: list[tuple[FeedPort, socket.socket]] = []
        try:
            for port in self._ports:
                port.credentials = port.load()
            self._register = await trio.to_thread.run_sync(FeedRegister, settings.register.store)
            self._notices = NoticeBook.of(self._register.writer, notice_rules(settings.notices))
            identifier = self._meta().identifier
            for port in self._ports:
                place = settings.own_ports()[port.name]
                bound = listen(place.address, self._start.ports[port.name], settings.server.backlog, port.name)
                listeners.append((port, bound))
        except JukinetError as error:
            self.events.error("start_failed", reason=str(error))
            await self._channel.send(control.Failed(str(error)))
            return EXIT_FAILED
        self._comparing = Comparing(self._register)
        self.applying = Applying(
            self._register,
            self._notices,
            self.readiness,
            self.metrics,
            self.events,
            self._broken,
            notifications_max=settings.feed.transaction_notifications_max,
            seconds_max=settings.feed.transaction_milliseconds_max / 1000,
            gather_seconds=settings.feed.gather_milliseconds / 1000,
            retry_seconds=settings.feed.retry_seconds,
            daily_purge=DailyPurge(self._register, settings.retention, self.events, self.metrics),
        )
        gc.collect()
        gc.freeze()  # areas, towns and modules stay; the collector need not look at them
        ports = {f"{name}_port": number for name, number in self._start.ports.items()}
        self.events.info("feed_writer_ready", register=identifier, **ports)
        await self._channel.send(control.Ready(identifier))
        with contextlib.ExitStack() as held:
            for _, listener in listeners:
                held.enter_context(listener)
            async with trio.open_nursery() as serving:
                self._nursery = serving
                serving.start_soon(self.readiness.run)
                serving.start_soon(self._check_deadlines)
                serving.start_soon(self._watch_notices)
                serving.start_soon(self._report)
                serving.start_soon(self._map_register)
                for port, listener in listeners:
                    serving.start_soon(port.acceptor.accept, listener, serving)
                await self._draining.wait()
                for port, listener in listeners:
                    port.acceptor.end(listener)
                await self._drain()
                serving.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._channel.send(control.Figures(self._snapshot()))
        self.applying.close()
        with contextlib.suppress(JukinetError):
            self._comparing.close()
            self._register.close()
        self.readiness.close()
        self.events.info("worker_stopped")
        return EXIT_FAILED if self._is_broken else EXIT_OK

    async def _map_register(self) -> None:
        """Map the register in large pages, as workers do, while feeds are taken already."""
        settings = self.configuration.register
        if not settings.warm:
            return

        def progress(_done: int, _total: int) -> None:
            if self._draining.is_set():
                raise StoreError("mapping was broken off")  # or the process would not end before all is read

        try:
            await trio.to_thread.run_sync(map_whole, Path(settings.store) / "data.mdb", progress)
        except StoreError:
            return
        except OSError as error:
            self.events.warning("register_not_mapped", reason=operating_error(error))

    def _broken(self) -> None:
        """The register must be opened anew: end, and be started again."""
        if self._is_broken:
            return
        self.events.error("register_lost")
        self.metrics.plain["feed_register_lost_total"] += 1
        self._is_broken = True
        self._draining.set()

    # Connections ---------------------------------------------------------------------------------------------------

    def _take(self, port: FeedPort, number: int, stream: TlsStream) -> None:
        """Take a connection after its handshake. Raises IdentityError; what fails later ends this one only."""
        identity = port.admit(stream)
        self.now = time.monotonic()
        prefecture = Prefecture.of_body(identity.body) if identity.role is Role.PREFECTURE else None
        connection = FeedConnection(number, stream, identity, prefecture, port, self)
        self._connections.add(connection)
        try:
            if prefecture is None and port.name == "feed":
                port.acceptor.refused(number, "not_a_feed", **connection.identity_fields)
                connection.fail(ErrorCode.NOT_A_FEED, "this port serves prefectures only", "turned_away")
            elif self._draining.is_set():
                connection.goodbye("draining")
            else:
                self.claims.claim(connection, self.now)
        except Exception as error:
            self.events.failure("connection_failed", error, connection=number)
            connection.close("defect")

    def _admit(self, connection: FeedConnection) -> None:
        """The feed, or the witness's place, is the connection's: greet it. Never raises."""
        try:
            greeting = self._greeting(connection)
        except JukinetError as error:
            self.events.failure("request_failed", error, connection=connection.number)
            connection.fail(error.code, "the register cannot be read; connect again later", "turned_away")
            if is_final(error):
                self._broken()
            return
        except Exception as error:
            self.events.failure("connection_failed", error, connection=connection.number)
            connection.close("defect")
            return
        self.events.info("connection_opened", connection=connection.number, **connection.identity_fields)
        connection.greet(greeting)

    def _turn_away_taken(self, connection: FeedConnection) -> None:
        connection.port.acceptor.refused(connection.number, "feed_taken", **connection.identity_fields)
        connection.fail(ErrorCode.FEED_TAKEN, "another client of this body is connected", "turned_away")

    def _greeting(self, connection: FeedConnection) -> fm.FeedGreeting:
        """Where the feed stands, in one snapshot; a witness has none. Raises StoreError."""
        writer, prefecture = self._register.writer, connection.prefecture
        with writer.reading() as transaction:
            meta = schema.read_meta(transaction, writer.databases["meta"], writer.directory)
            digest, position = NO_HOLDINGS, 0
            if prefecture:
                digest = HoldingsReader(transaction, writer.databases, writer.places).prefecture(prefecture)
                position = read_feed(transaction, writer.databases["feeds"], prefecture).position
        today = (self._register.today() - REGISTERED_EPOCH).days
        day = REGISTERED_EPOCH + datetime.timedelta(max(today, meta.newest_day))  # as the engine reckons it
        return fm.FeedGreeting(
            server=self._product,
            register=meta.identifier,
            role=str(connection.identity.role),
            body=connection.identity.body,
            prefecture=prefecture,
            position=position,
            digest_count=digest.count,
            digest_sum=digest.sum,
            areas=sorted(a.jis for a in writer.areas if a.connected and a.jis // 1000 == prefecture),
            today=day.year * 10_000 + day.month * 100 + day.day,
            limits=self.limits,
        )

    def _meta(self) -> schema.Meta:
        writer = self._register.writer
        with writer.reading() as transaction:
            return schema.read_meta(transaction, writer.databases["meta"], writer.directory)

    def connection_closed(self, connection: FeedConnection, kind: str) -> None:
        """A connection has given everything back."""
        self._connections.discard(connection)
        self._starved.discard(connection)
        connection.port.admission.connections -= 1
        self.metrics.count("connections_closed_total", kind)
        self.events.info("connection_closed", connection=connection.number, kind=kind, **connection.identity_fields)
        self.claims.closed(connection)

    # Requests ------------------------------------------------------------------------------------------------------

    def compare(self, connection: FeedConnection, message: fm.Compare) -> None:
        """Answer a COMPARE, in a thread."""
        self._nursery.start_soon(self._compare, connection, message)

    async def _compare(self, connection: FeedConnection, message: fm.Compare) -> None:
        try:
            answer = await self._comparing.compare(connection.prefecture, message)
            if not connection.closed:
                connection.send(answer)
        except JukinetError as error:
            if error.code is not ErrorCode.BAD_REQUEST:
                self.events.failure("request_failed", error, connection=connection.number)
            text = str(error) if error.code is ErrorCode.BAD_REQUEST else "the register cannot be read; repeat later"
            connection.refuse(message.request_id, error.code, text)
        except Exception as error:
            self.events.failure("connection_failed", error, connection=connection.number)
            connection.close("defect")
        connection.flush()

    def witness(self, connection: FeedConnection, message: fm.CheckpointAsk | fm.Cosign) -> None:
        """Give the newest checkpoint of the record of use, or keep a cosignature, in a thread."""
        self._nursery.start_soon(self._witness, connection, message)

    async def _witness(self, connection: FeedConnection, message: fm.CheckpointAsk | fm.Cosign) -> None:
        directory = Path(self.configuration.record_of_use.directory)
        try:
            answer = await trio.to_thread.run_sync(
                witness_answer, directory, connection.identity.body, message, limiter=self._witnessing
            )
            if not connection.closed:
                connection.send(answer)
            if isinstance(message, fm.Cosign):
                self.events.info(
                    "checkpoint_cosigned",
                    connection=connection.number,
                    leaves=message.size,
                    **connection.identity_fields,
                )
        except (JukinetError, OSError) as error:
            code = error.code if isinstance(error, JukinetError) else ErrorCode.INTERNAL
            known = code in (ErrorCode.BAD_REQUEST, ErrorCode.NOT_AUTHORISED)
            if not known:
                self.events.failure("request_failed", error, connection=connection.number)
            connection.refuse(
                message.request_id, code, str(error) if known else "the tree cannot be read; repeat later"
            )
        except Exception as error:
            self.events.failure("connection_failed", error, connection=connection.number)
            connection.close("defect")
        connection.flush()

    # Turns and time ------------------------------------------------------------------------------------------------

    def resume_later(self, connection: FeedConnection) -> None:
        """Let the connection go on at the end of a turn; there will be one."""
        if not self._resumable:
            self.readiness.wake()
        self._resumable.add(connection)

    @property
    def has_room(self) -> bool:
        """Whether the batches of all feeds that wait are below their bound."""
        return self.applying.queued_bytes < self.configuration.feed.queued_bytes_total_max

    def resume_when_there_is_room(self, connection: FeedConnection) -> None:
        """Let the connection go on when the batches of all feeds are below their bound again."""
        self._starved.add(connection)

    def _feed_starved(self) -> None:
        """Those that waited for room go on; who has to wait again says so."""
        if self._starved and self.has_room:
            starved, self._starved = self._starved, set()
            for connection in starved:
                self.resume_later(connection)

    def _begin_turn(self) -> None:
        self.now = time.monotonic()

    def _after_turn(self, _ready: int) -> None:
        self._feed_starved()
        if self._resumable:
            resumable, self._resumable = self._resumable, set()
            for connection in resumable:
                connection.resume()

    async def _check_deadlines(self) -> None:
        rested = time.monotonic()
        while True:
            await trio.sleep(CHECK_SECONDS)
            self.now = now = time.monotonic()
            for connection in list(self._connections):
                connection.check(now)
            self.claims.check(now)
            if now - rested >= REST_SECONDS:
                rested = now
                try:
                    await self._comparing.rest()
                except JukinetError as error:
                    self.events.failure("register_not_refreshed", error)

    async def _watch_notices(self) -> None:
        """Count open notices, tell of overdue ones, and let go of those whose retention is over."""
        while True:
            try:
                found = await trio.to_thread.run_sync(self._count_notices, int(time.time()))
                if self._alarm.is_due(found, time.monotonic()):
                    self.events.error(
                        "notices_overdue",
                        overdue=found.overdue,
                        undelivered=found.count,
                        oldest_seconds=found.oldest_seconds,
                    )
                self.applying.purge_notices()
            except JukinetError as error:
                self.events.failure("notices_not_counted", error)
            await trio.sleep(max(NOTICES_SECONDS_MIN, min(NOTICES_SECONDS, self.configuration.notices.alarm_seconds)))

    def _count_notices(self, now: int) -> Undelivered:
        with self._register.writer.reading() as transaction:
            return self._notices.undelivered(transaction, now)

    async def _report(self) -> None:
        """Hand the metrics to the supervisor."""
        while True:
            await trio.sleep(min(1.0, self.configuration.observation.metrics_seconds))
            await self._channel.send(control.Figures(self._snapshot()))

    def _snapshot(self) -> Snapshot:
        self.metrics.gauges = {
            "feed_connections": self.claims.count(Role.PREFECTURE),
            "witness_connections": self.claims.count(Role.WITNESS),
            "feed_queued_bytes": self.applying.queued_bytes,
            "feed_writing": int(self.applying.writing),
            **self._alarm.gauges(),
            **self.applying.purge_gauges(),
        }
        return self.metrics.snapshot()

    # Being told ----------------------------------------------------------------------------------------------------

    async def _heed_signals(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self._draining.set()

    async def _watch_supervisor(self) -> None:
        """Reload when the supervisor says so, drain when it is gone."""
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, control.Reload):
                await self._reload()
        self.events.error("supervisor_gone")
        self._draining.set()

    async def _reload(self) -> None:
        """Take up the certificates as they are now; when they cannot be used, they stay as they were."""
        try:
            loaded = [await trio.to_thread.run_sync(port.load) for port in self._ports]
        except ConfigurationError as error:
            self.metrics.count("reloads_total", "failed")
            self.events.error("reload_failed", reason=str(error))
            return
        for port, credentials in zip(self._ports, loaded, strict=True):
            port.credentials = credentials
        for number, connection in enumerate(list(self._connections), 1):
            if number % REVOCATIONS_PER_STEP == 0:
                await trio.lowlevel.checkpoint()
            try:
                port = connection.port
                if is_revoked(connection.certificate, port.credentials.revoked):
                    connection.fail(port.unserved, "the certificate was revoked", "certificate_revoked")
            except Exception as error:
                self.events.failure("connection_failed", error, connection=connection.number)
                connection.close("defect")
        self.metrics.count("reloads_total", "done")
        self.events.info("reloaded")

    async def _drain(self) -> None:
        """Say goodbye to every connection and commit what is under way, within waits.drain_seconds."""
        self.now = time.monotonic()
        self.events.info("worker_draining", connections=len(self._connections))
        for connection in list(self._connections):
            connection.goodbye("draining")
        with trio.move_on_after(0 if self._is_broken else self.configuration.waits.drain_seconds) as scope:
            while self._connections or not self.applying.idle:
                await trio.sleep(DRAIN_STEP_SECONDS)
        if scope.cancelled_caught and not self._is_broken:
            self.events.warning("drain_cut_off", connections=len(self._connections))
        for connection in list(self._connections):
            connection.close("drained")


def notice_rules(settings: Notices) -> NoticeRules:
    """The settings as the register's rules."""
    return NoticeRules(
        alarm_seconds=settings.alarm_seconds,
        retention_days=settings.retention_days,
        receipt_days=settings.receipt_days,
        open_per_feed_max=settings.open_per_feed_max,
    )
