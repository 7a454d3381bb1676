"""Which connections can be read or written: one epoll set a worker, watched by one task, handlers called without a
task switch.

Trio's own ``wait_readable`` costs a registration with the kernel and two task switches for each wait, which at tens of
thousands of small requests a second is more than the lookup itself. Here all connections stand in an epoll set of
their own, whose descriptor is itself readable for Trio as long as any connection is ready. One turn handles every
ready connection, then calls ``after_turn``: the place where the record of use is written for all requests of the turn
together.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Final

import trio

EVENTS_PER_TURN_MAX: Final = 512
TURNS_MAX: Final = 16
TURNS_SECONDS: Final = 0.002
"""Turns in a row, and how long, while there is always something ready; then Trio's other tasks have theirs."""
SOON_SECONDS: Final = 0.001
"""The shortest wait that epoll takes. A commit of the record of use lasts a fraction of it."""
Handler = Callable[[int], None]


class Readiness:
    """The epoll set and its handlers.

    Invariant: a descriptor is in the epoll set exactly as long as it has a handler. Handlers must not raise.
    """

    def __init__(self, before_turn: Callable[[], None], after_turn: Callable[[int], bool | None]) -> None:
        """``after_turn`` is given the number of connections that were ready, and says whether one will be ready soon:
        then the next turn waits for it here, at most SOON_SECONDS, which costs less than Trio's waiting.
        """
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._handlers: dict[int, Handler] = {}
        self._before_turn = before_turn
        self._after_turn = after_turn
        self._soon = 0.0

    def add(self, descriptor: int, events: int, handler: Handler) -> None:
        self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def change(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor; must be called before it is closed."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def wake(self) -> None:
        """Let there be another turn soon, although nothing may be ready."""
        os.eventfd_write(self._wake, 1)

    def turn(self) -> int:
        """Handle every connection that is ready now; their number."""
        ready = self._epoll.poll(self._soon, EVENTS_PER_TURN_MAX)
        handlers = self._handlers
        self._before_turn()
        for descriptor, events in ready:
            # A handler earlier in this turn may have closed this connection.
            handler = handlers.get(descriptor)
            if handler is not None:
                handler(events)
            elif descriptor == self._wake:
                os.eventfd_read(self._wake)
        self._soon = SOON_SECONDS if self._after_turn(len(ready)) else 0.0
        return len(ready)

    async def run(self) -> None:
        """Handle ready connections until cancelled."""
        descriptor = self._epoll.fileno()
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            turns, began = 0, time.monotonic()
            while self.turn():
                turns += 1
                if turns == TURNS_MAX or time.monotonic() - began >= TURNS_SECONDS:
                    turns, began = 0, time.monotonic()
                    await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._handlers.clear()
        self._epoll.close()
        os.close(self._wake)
