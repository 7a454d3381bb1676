"""A line that breaks: a TCP relay in a thread of its own that cuts every connection after a random number of bytes."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import threading
from random import Random
from types import TracebackType
from typing import Final, Self

RECEIVE_BYTES: Final = 65_536
WAITING_BYTES_MAX: Final = 262_144
"""Bytes kept for a side that does not take them; until it does, the other side is not read."""
TURN_SECONDS: Final = 0.2
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of a connection that ends with a reset, as when a machine between the two has lost it."""


class Side:
    """One end of a relayed connection, what waits to be sent to it, and how many bytes the connection has left."""

    def __init__(self, end: socket.socket, bytes_left: int) -> None:
        self.socket = end
        self.waiting = bytearray()
        self.left = bytes_left
        self.other: Side


class BreakingLine:
    """Relays connections from ``port`` to the target and cuts each, in either direction, after a number of bytes.

    The number is drawn anew for each connection, evenly by its logarithm between least and most, so that it falls into
    handshakes, greetings, batches and acknowledgements alike. Half of the cuts are resets, the others look orderly.

    Invariant: both sides of every connection are in ``_sides``, or neither is.
    """

    def __init__(self, target_port: int, seed: str, bytes_least: int, bytes_most: int) -> None:
        self.cuts = 0
        self.connections = 0
        self._target = ("127.0.0.1", target_port)
        self._random = Random(seed)
        self._least, self._most = math.log(bytes_least), math.log(bytes_most)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._sides: dict[int, Side] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="breaking line")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        with self._listener, self._poll:
            while not self._ending.is_set():
                for number, events in self._poll.poll(TURN_SECONDS):
                    if number == self._listener.fileno():
                        self._accept()
                    elif number in self._sides:  # its connection may have ended in this turn
                        self._move(self._sides[number], events)
            for side in list(self._sides.values()):
                if side.socket.fileno() >= 0:
                    self._end(side, by_reset=False)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            ours, _ = self._listener.accept()
            try:
                theirs = socket.create_connection(self._target, timeout=1.0)
            except OSError:  # the feed writer is being started again
                ours.close()
                return
            bytes_left = round(math.exp(self._random.uniform(self._least, self._most)))
            near, far = Side(ours, bytes_left), Side(theirs, bytes_left)
            near.other, far.other = far, near
            for side in (near, far):
                side.socket.setblocking(False)
                side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._poll.register(side.socket, select.EPOLLIN)
                self._sides[side.socket.fileno()] = side
            self.connections += 1

    def _move(self, side: Side, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._send(side)
            if events & ~select.EPOLLOUT and not self._receive(side):
                return
            for each in (side, side.other):
                self._watch(each)
        except OSError:
            self._end(side, by_reset=False)

    def _receive(self, side: Side) -> bool:
        """Take what came and pass it on; False when that was the end of the connection. Raises OSError."""
        try:
            data = side.socket.recv(min(RECEIVE_BYTES, side.left))
        except BlockingIOError:
            return True
        if not data:
            self._end(side, by_reset=False)
            return False
        side.other.waiting += data
        self._send(side.other)
        side.left = side.other.left = side.left - len(data)
        if side.left <= 0:
            self.cuts += 1
            self._end(side, by_reset=self._random.random() < 0.5)
        return side.left > 0

    @staticmethod
    def _send(side: Side) -> None:
        with contextlib.suppress(BlockingIOError):
            del side.waiting[: side.socket.send(side.waiting)]

    def _watch(self, side: Side) -> None:
        """Wait for what the side can do: be read while the other has room, be written while something waits."""
        events = select.EPOLLIN if len(side.other.waiting) < WAITING_BYTES_MAX else 0
        self._poll.modify(side.socket, events | (select.EPOLLOUT if side.waiting else 0))

    def _end(self, side: Side, *, by_reset: bool) -> None:
        for each in (side, side.other):
            del self._sides[each.socket.fileno()]
            self._poll.unregister(each.socket)
            if by_reset:
                with contextlib.suppress(OSError):
                    each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            each.socket.close()
