"""Starts workers, feed writer and sealer, restarts a dead one, passes signals on, drains, writes the metrics of all.

They are fresh processes (never forks of one that has the register open). The query port is bound here, not listened on,
which fixes its number and reserves it; each worker binds its own listening socket beside it (SO_REUSEPORT), so that
the kernel spreads connections over the workers and a dead worker takes only its own connections with it. The lock on
the record-of-use directory is inherited by the workers: it is free only when the last of them is gone. In the same way
the register is locked for the feed writer, the one process that writes in it. A feed writer or sealer that keeps dying
is started again and again, with a growing delay: queries go on without it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from jukinet.core.errors import ConfigurationError
from jukinet.server import administration, caps, control, metrics
from jukinet.server.administration_port import AdministrationPort
from jukinet.server.alarm_file import AlarmFile, AlarmsError
from jukinet.server.boundary import EndingWatch
from jukinet.server.configuration import Configuration
from jukinet.server.credentials import check_credentials
from jukinet.server.event_log import EventLog, Field, operating_error
from jukinet.server.listening import ServeError, listen, reserve_port
from jukinet.server.port_settings import OWN_PORTS
from jukinet.server.shared_counts import SharedCounts, bytes_needed

LOCK_NAME: Final = ".serving"
FEEDING_NAME: Final = ".feeding"
KILL_AFTER_SECONDS: Final = 2.0
"""Given to a worker beyond its own drain deadline before it is killed."""
EARLY_DEATH_SECONDS: Final = 60.0
"""A worker that served at least this long is restarted without a longer delay."""
EXIT_FAILED: Final = 5
ENDINGS_SECONDS: Final = 60.0
"""How often certificates and revocation lists are looked at for their end."""
ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""Environment of a worker: the C library keeps the memory of long answers instead of giving it back to the kernel after
each. Page faults on fresh memory measured 5 ms in an answer of 65,536 records, half the system time of bulk LOOKUP."""


class Post(NamedTuple):
    """A place that is kept filled with one process: a numbered query worker, the feed writer, or the sealer."""

    is_feed: bool
    number: int
    is_sealer: bool = False

    @property
    def is_worker(self) -> bool:
        """Whether it answers queries."""
        return not self.is_feed and not self.is_sealer

    @property
    def name(self) -> int | str:
        """What the log calls it in the field ``worker``."""
        if self.is_sealer:
            return "sealer"
        return "feed" if self.is_feed else self.number

    @property
    def module(self) -> str:
        """What its process runs."""
        if self.is_sealer:
            return "jukinet.server.sealer_process"
        return "jukinet.server.feed.process" if self.is_feed else "jukinet.server.worker_process"

    @property
    def ports(self) -> tuple[str, ...]:
        """The ports that its process serves, when they are open."""
        if self.is_sealer:
            return ()
        return ("feed", "witness") if self.is_feed else ("query",)

    @property
    def deaths(self) -> str:
        """The metric that counts how often it died."""
        if self.is_sealer:
            return "sealers_died_total"
        return "feed_writers_died_total" if self.is_feed else "workers_died_total"


def lock_record_of_use(directory: Path) -> int:
    """Make the directory when it is missing and lock it: the lock's descriptor. Raises ServeError."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ServeError(f"record_of_use.directory: {directory}: {error.strerror}") from None
    taken = f"another server uses the record of use in {directory}; stop it first"
    return _lock(directory / LOCK_NAME, "record_of_use.directory", taken)


def lock_register(directory: Path) -> int:
    """Lock the register for the feed writer: the lock's descriptor. Raises ServeError."""
    taken = f"another server takes feeds into the register in {directory}; stop it first"
    return _lock(directory / FEEDING_NAME, "register.store", taken)


def _lock(path: Path, setting: str, taken: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServeError(f"{setting}: {path.parent}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ServeError(taken) from None
    return descriptor


class Supervisor:
    """The parent of all workers, of the feed writer and of the sealer.

    Invariant: ``_processes`` holds exactly the processes that were started and have not been waited for.
    """

    def __init__(self, configuration: Configuration, log: EventLog) -> None:
        self._configuration = configuration
        self._log = log
        self._metrics = metrics.Metrics()
        self._posts = [Post(False, number) for number in range(configuration.worker_count)]
        if configuration.feed.enabled:
            self._posts.append(Post(True, 0))
        if configuration.sealing.key:
            self._posts.append(Post(False, 0, is_sealer=True))
        self._processes: dict[Post, trio.Process] = {}
        self._channels: dict[Post, control.Channel] = {}
        self._figures: dict[Post, metrics.Snapshot] = {}
        self._past = metrics.Snapshot({}, {}, {})
        self._ready: set[Post] = set()
        self._announced = False
        self._stopping = trio.Event()
        self._failure: str | None = None
        self._restarts: deque[float] = deque()
        self._ports: dict[str, int] = {}
        self._administration_port: AdministrationPort | None = None
        self._locks: list[int] = []
        self._shared = os.memfd_create("jukinet-counts", os.MFD_CLOEXEC)
        os.ftruncate(self._shared, bytes_needed(configuration.worker_count))
        self._certificate_ends: float | None = None
        self._counts = SharedCounts(mmap.mmap(self._shared, 0), configuration.worker_count)

    async def run(self) -> int:
        """Serve until told to stop: the exit code. Raises ServeError before anything was started."""
        settings = self._configuration
        with contextlib.ExitStack() as held:
            self._hold(held, lock_record_of_use(Path(settings.record_of_use.directory)))
            caps.prepare(Path(settings.record_of_use.directory))
            if settings.feed.enabled:
                self._hold(held, lock_register(Path(settings.register.store)))
            for name, place in settings.own_ports().items():
                self._reserve(held, name, place.address, place.port, name)
            self._reserve(held, "query", settings.server.address, settings.server.port, "server")
            administrations = self._open_administration(held)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                query = self._ports["query"]
                self._log.info("starting", port=query, workers=settings.worker_count, process=os.getpid())
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_metrics)
                    nursery.start_soon(self._watch_endings)
                    for serve_administration in administrations:
                        nursery.start_soon(serve_administration)
                    nursery.start_soon(self._heed_signals, signals)
                    async with trio.open_nursery() as workers:
                        nursery.start_soon(self._kill_late, workers.cancel_scope)
                        for post in self._posts:
                            workers.start_soon(self._keep, post)
                    nursery.cancel_scope.cancel()
                self._write_metrics_once()
        if self._failure is not None:
            self._log.error("failed", reason=self._failure)
            return EXIT_FAILED
        self._log.info("stopped")
        return 0

    def _reserve(self, held: contextlib.ExitStack, name: str, address: str, port: int, section: str) -> None:
        self._ports[name] = held.enter_context(reserve_port(address, port, section)).getsockname()[1]

    def _hold(self, held: contextlib.ExitStack, lock: int) -> None:
        self._locks.append(lock)
        held.callback(os.close, lock)

    async def _keep(self, post: Post) -> None:
        """Keep one post filled until the server stops."""
        settings = self._configuration.supervision
        early_deaths = 0
        while not self._stopping.is_set():
            started = trio.current_time()
            served, ending = await self._run_worker(post)
            if self._stopping.is_set():
                return
            self._metrics.plain[post.deaths] += 1
            self._log.error("worker_died", worker=post.name, ending=ending)
            if not self._announced and not served:
                self._give_up(f"worker {post.name} could not start: {ending}")
                return
            now = trio.current_time()
            if post.is_worker and self._too_many_restarts(now):
                return
            early_deaths = 0 if served and now - started >= EARLY_DEATH_SECONDS else early_deaths + 1
            delay = min(
                settings.restart_delay_seconds * 2 ** min(max(early_deaths - 1, 0), 30),
                settings.restart_delay_seconds_max,
            )
            self._log.info("worker_restart", worker=post.name, delay_seconds=delay)
            with trio.move_on_after(delay):
                await self._stopping.wait()

    def _too_many_restarts(self, now: float) -> bool:
        """Count the death of a query worker; whether the server gives up."""
        settings = self._configuration.supervision
        self._restarts.append(now)
        while self._restarts and self._restarts[0] < now - settings.restart_window_seconds:
            self._restarts.popleft()
        if len(self._restarts) <= settings.restarts_max:
            return False
        self._give_up(f"workers died {len(self._restarts)} times in {settings.restart_window_seconds:g} s")
        return True

    async def _run_worker(self, post: Post) -> tuple[bool, str]:
        """One life of a process: whether it ever served, and how it ended."""
        channel, theirs = control.channel_pair()
        try:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", post.module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), self._shared, *self._locks],
                process_group=0,
                env={**ALLOCATOR, **os.environ},
            )
        finally:
            theirs.close()
        if post.is_worker:
            self._metrics.plain["workers_started_total"] += 1
        self._processes[post] = process
        self._channels[post] = channel
        reason = ""
        try:
            if self._stopping.is_set():
                process.terminate()
            ports = {name: self._ports[name] for name in post.ports if name in self._ports}
            await channel.send(control.Start(post.number, ports, self._configuration, self._shared))
            reason = await self._listen(post, process, channel)
            status = await process.wait()
        finally:
            channel.close()
            if process.returncode is None:
                process.kill()
                with trio.move_on_after(KILL_AFTER_SECONDS, shield=True):
                    await process.wait()
            del self._processes[post], self._channels[post]
            served = post in self._ready
            self._ready.discard(post)
            if process.returncode is not None and post.is_worker:
                self._counts.forget(post.number)
            self._keep_counts(post)
        ending = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        if self._stopping.is_set() and served and status != 0:
            self._failure = self._failure or f"worker {post.name} did not drain: {ending}"
        return served, reason or ending

    async def _listen(self, post: Post, process: trio.Process, channel: control.Channel) -> str:
        """Take a process's messages until it closes the channel: the reason it gave for not starting, or ''."""
        reason = ""
        limit = self._configuration.supervision.start_seconds
        with trio.CancelScope(deadline=trio.current_time() + limit) as start:
            while (message := await channel.receive()) is not None:
                match message:
                    case control.Ready():
                        start.deadline = float("inf")
                        self._ready.add(post)
                        self._announce()
                    case control.Failed(reason=said):
                        reason = said
                    case control.Figures(snapshot=snapshot):
                        self._figures[post] = snapshot
                    case _:
                        break
        if start.cancelled_caught:
            process.kill()
            reason = f"not ready within supervision.start_seconds = {limit:g}"
        return reason

    def _announce(self) -> None:
        if not self._announced and len(self._ready) == len(self._posts):
            self._announced = True
            settings = self._configuration
            own: dict[str, Field] = {}
            for name, place in settings.own_ports().items():
                own |= {f"{name}_address": place.address, f"{name}_port": self._ports[name]}
            self._log.info(
                "serving",
                address=settings.server.address,
                port=self._ports["query"],
                workers=settings.worker_count,
                process=os.getpid(),
                **own,
            )

    def _keep_counts(self, post: Post) -> None:
        """A dead process's counters stay in the sums, its gauges do not."""
        figures = self._figures.pop(post, None)
        if figures is not None:
            figures.gauges = {}
            self._past = metrics.merge([self._past, figures])

    def _give_up(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._stop()

    def _stop(self) -> None:
        """Begin to drain: workers finish what is under way."""
        self._stopping.set()
        self._signal_workers(signal.SIGTERM)

    def _signal_workers(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            process.send_signal(number)

    async def _heed_signals(self, signals: AsyncIterator[int]) -> None:
        """SIGHUP is passed on; the first SIGTERM or SIGINT drains, the second kills."""
        async for number in signals:
            if number == signal.SIGHUP:
                await self._reload()
            elif self._stopping.is_set():
                self._log.warning("killing", signal=signal.Signals(number).name)
                self._signal_workers(signal.SIGKILL)
            else:
                self._log.info("draining", signal=signal.Signals(number).name)
                self._stop()

    async def _reload(self) -> None:
        self._log.info("reload_asked")
        for channel in list(self._channels.values()):
            await channel.send(control.Reload())
        if (port := self._administration_port) is not None:
            try:
                port.take_up(await trio.to_thread.run_sync(port.load))
            except ConfigurationError as error:
                self._metrics.count("reloads_total", "failed")
                self._log.error("reload_failed", reason=str(error))
            else:
                self._metrics.count("reloads_total", "done")
                self._log.info("reloaded", port="administration")

    # Administration ------------------------------------------------------------------------------------------------

    def _open_administration(self, held: contextlib.ExitStack) -> list[Callable[[], Awaitable[None]]]:
        """Open socket and port, each when it is set: what serves them. Raises ServeError and ConfigurationError."""
        settings = self._configuration
        commands = {
            "status": self._tell_status,
            "metrics": self._tell_metrics,
            "alarms": self._tell_alarms,
            "reload": self._reload_checked,
        }
        served: list[Callable[[], Awaitable[None]]] = []
        answers = administration.Administration(commands, self._log)
        if settings.boundary.administration_socket:
            bound = administration.open_socket(settings.boundary.administration_socket)
            held.callback(bound.close)
            served.append(partial(answers.serve, bound))
        if settings.administration.enabled:
            place = settings.administration
            self._administration_port = AdministrationPort(settings, answers, self._metrics, self._log)
            listener = listen(place.address, self._ports["administration"], settings.server.backlog, "administration")
            held.enter_context(listener)
            served.append(partial(self._administration_port.serve, listener))
        return served

    async def _tell_status(self) -> Mapping[str, Any]:
        return {
            "serving": self._announced and not self._stopping.is_set(),
            "port": self._ports["query"],
            **{f"{name}_port": self._ports.get(name, 0) for name in OWN_PORTS},
            "processes": {str(post.name): process.pid for post, process in self._processes.items()},
            "ready": sorted(str(post.name) for post in self._ready),
            "certificate_ends": self._certificate_ends,
        }

    async def _tell_metrics(self) -> Mapping[str, Any]:
        return {"metrics": self._metrics_text()}

    async def _tell_alarms(self) -> Mapping[str, Any]:
        if not self._configuration.watch.directory:
            return {"error": "nothing is watched"}
        file = AlarmFile(self._configuration.watch.directory)
        try:
            await trio.to_thread.run_sync(file.follow)
        except AlarmsError as error:
            return {"error": str(error)}
        known = file.known
        return {"alarms": len(known.alarms), "waiting": len(known.waiting), "stopped": len(known.stopped)}

    async def _reload_checked(self) -> Mapping[str, Any]:
        """As SIGHUP, but what cannot be used is told to who asks, and nothing is taken up then."""
        try:
            await trio.to_thread.run_sync(check_credentials, self._configuration)
        except ConfigurationError as error:
            return {"error": str(error)}
        await self._reload()
        return {"reloading": len(self._channels)}

    async def _watch_endings(self) -> None:
        watch = EndingWatch(self._configuration, self._log)
        while True:
            self._certificate_ends = await trio.to_thread.run_sync(watch.look, time.time())
            await trio.sleep(ENDINGS_SECONDS)

    async def _kill_late(self, workers: trio.CancelScope) -> None:
        """Workers end by themselves at the drain deadline; one that does not is killed.

        One that waits for a hung disk inside the kernel does not even end then. It is left behind, and with it the lock
        on the record of use, so that no other server writes there before it has ended.
        """
        await self._stopping.wait()
        await trio.sleep(self._configuration.waits.drain_seconds + KILL_AFTER_SECONDS)
        self._log.error("drain_deadline", workers=len(self._processes))
        self._signal_workers(signal.SIGKILL)
        await trio.sleep(KILL_AFTER_SECONDS)
        self._failure = self._failure or "a worker cannot be ended: it waits for a disk that does not answer"
        workers.cancel()

    async def _write_metrics(self) -> None:
        while True:
            await trio.sleep(self._configuration.observation.metrics_seconds)
            self._write_metrics_once()

    def _write_metrics_once(self) -> None:
        name = self._configuration.observation.metrics_file
        if not name:
            return
        try:
            metrics.write_file(Path(name), self._metrics_text())
        except OSError as error:
            self._log.error("metrics_not_written", reason=operating_error(error))

    def _metrics_text(self) -> str:
        own = self._metrics.snapshot()
        own.gauges["workers"] = sum(post.is_worker for post in self._ready)
        if self._certificate_ends is not None:
            own.gauges["certificate_left_seconds"] = round(self._certificate_ends - time.time())
        return metrics.prometheus_text(metrics.merge([self._past, own, *self._figures.values()]))


def serve(configuration: Configuration) -> int:
    """Run the server until SIGTERM or SIGINT: the process's exit code. Raises ServeError."""
    return trio.run(Supervisor(configuration, EventLog(configuration.observation.log_level)).run)
