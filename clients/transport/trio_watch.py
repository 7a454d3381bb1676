"""One watch a Trio run: which connections have bytes to read, and whose deadlines have passed.

Trio's ``wait_readable`` with a cancel scope costs, for each wait, a registration with the kernel, two task switches and
the scope's bookkeeping: more than a small request itself. Here every connection of the run stands in one epoll set,
whose descriptor is itself readable for Trio; one system task reads for all connections that are ready, and a clock
looks through the waiting requests now and then, so that a request costs nothing for having a deadline.
"""

from __future__ import annotations

import math
import select
from typing import Final, Protocol

import trio

EVENTS_PER_TURN_MAX: Final = 512
TICK_SECONDS: Final = 0.05
"""A deadline passes up to two ticks late."""
TICKS_IDLE_MAX: Final = 20
"""The clock sleeps after so many ticks in which nobody waited."""


class Watched(Protocol):
    """A connection. Neither method may raise or wait."""

    def on_readable(self) -> bool:
        """Read what is there, up to a limit; whether bytes may be left that epoll does not know of."""

    def on_tick(self, now: float) -> bool:
        """End what is past its deadline; whether anybody waits."""


class Watch:
    """Invariant: a connection is in the epoll set exactly as long as it is in ``_connections``."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, Watched] = {}
        self._unread: set[Watched] = set()
        self._somebody_waits = trio.Event()
        self.clock_sleeps = True

    def add(self, descriptor: int, connection: Watched) -> None:
        self._epoll.register(descriptor, select.EPOLLIN)
        self._connections[descriptor] = connection

    def remove(self, descriptor: int) -> None:
        """Must be called before the descriptor is closed."""
        connection = self._connections.pop(descriptor, None)
        if connection is not None:
            self._unread.discard(connection)
            if not self._epoll.closed:
                self._epoll.unregister(descriptor)

    def wake_clock(self) -> None:
        """Somebody waits for an answer."""
        self.clock_sleeps = False
        self._somebody_waits.set()

    async def read(self) -> None:
        """System task: hand bytes to connections until the run ends."""
        descriptor = self._epoll.fileno()
        try:
            while True:
                if self._unread:
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.wait_readable(descriptor)
                self._turn()
        finally:
            self._epoll.close()

    def _turn(self) -> None:
        ready = self._unread
        self._unread = set()
        for descriptor, _ in self._epoll.poll(0, EVENTS_PER_TURN_MAX):
            # An earlier connection of this turn may have led to this one being closed.
            connection = self._connections.get(descriptor)
            if connection is not None and connection not in ready and connection.on_readable():
                self._unread.add(connection)
        for connection in ready:
            if connection.on_readable():
                self._unread.add(connection)

    async def tick(self) -> None:
        """System task: the clock."""
        idle = 0
        while True:
            if idle > TICKS_IDLE_MAX:
                self.clock_sleeps = True
                self._somebody_waits = trio.Event()
                await self._somebody_waits.wait()
                idle = 0
            await trio.sleep(TICK_SECONDS)
            now = trio.current_time()
            waiting = [connection.on_tick(now) for connection in list(self._connections.values())]
            idle = 0 if any(waiting) else idle + 1


_watch: trio.lowlevel.RunVar[Watch] = trio.lowlevel.RunVar("jukinet.clients.watch")


def watch_of_this_run() -> Watch:
    """The watch, started with the first connection of a Trio run; it ends with the run."""
    try:
        return _watch.get()
    except LookupError:
        watch = Watch()
        trio.lowlevel.spawn_system_task(watch.read, name="jukinet connections")
        trio.lowlevel.spawn_system_task(watch.tick, name="jukinet deadlines")
        _watch.set(watch)
        return watch


NEVER: Final = math.inf
