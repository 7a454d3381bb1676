"""Who is let in and how much they may ask.

A body's connections and codes a second are counted over all workers (shared_counts.pyx); what protects a worker's own
memory and descriptors, connections in all and handshakes, it counts for itself.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from jukinet.core.law.authority import Authority, BodyAuthority
from jukinet.server.configuration import Limits
from jukinet.server.shared_counts import SharedCounts, bytes_needed

HANDSHAKE_GRACE_SECONDS = 0.5
"""A handshake younger than this is not ended to make room for another."""


class TokenBucket:
    """Codes that a body may still ask for of the whole server. Filled at ``rate`` codes a second up to ``burst``.

    The level is in the shared memory: all workers take from one bucket, and it outlives each of them.
    """

    __slots__ = ("_cell", "_counts", "burst", "rate")

    def __init__(self, rate: float, burst: float, counts: SharedCounts, cell: int) -> None:
        self.rate = rate
        self.burst = burst
        self._counts = counts
        self._cell = cell

    def take(self, count: int, now: float) -> int:
        """Take ``count`` codes: 0 when they were there, otherwise nothing, and the milliseconds until they will be."""
        wait = self._counts.take(self._cell, count, self.rate, self.burst, now)
        return max(1, math.ceil(wait * 1000)) if wait else 0

    def resize(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst


class BodyAdmission:
    """What one body has in use: its bucket and cell in the shared memory, and its connections to this worker."""

    __slots__ = ("bucket", "cell", "connections")

    def __init__(self, bucket: TokenBucket, cell: int) -> None:
        self.connections = 0
        self.bucket = bucket
        self.cell = cell


class Admission:
    """Counts of a worker.

    Invariant: ``connections`` is the number of connections accepted and not closed, in handshake or after it; a body's
    count is the number of its connections that passed ``admit_body`` and not ``release_body``. Bodies are at most
    those of the authority files read.
    """

    def __init__(self, limits: Limits, counts: SharedCounts | None = None) -> None:
        """``counts``: this worker's view of the memory that all share; without it the worker is the only one."""
        self._limits = limits
        self._counts = counts or SharedCounts(bytearray(bytes_needed(1)), 1)
        self.connections = 0
        self._bodies: dict[tuple[str, str], BodyAdmission] = {}
        self._handshakes: OrderedDict[int, tuple[float, trio.CancelScope]] = OrderedDict()
        self._handshakes_begun = 0

    @property
    def full(self) -> bool:
        """Whether no further connection may be accepted now."""
        return self.connections >= self._limits.connections_max

    @contextmanager
    def handshake(self, seconds: float) -> Iterator[trio.CancelScope]:
        """A handshake's place and deadline. With no place left, the handshake that has waited longest loses its own.

        So callers that connect and say nothing cannot keep others out: an honest handshake takes milliseconds.
        """
        now = trio.current_time()
        if len(self._handshakes) >= self._limits.handshakes_max:
            begun, oldest = next(iter(self._handshakes.values()))
            if now - begun >= HANDSHAKE_GRACE_SECONDS:
                oldest.cancel()
                self._handshakes.popitem(last=False)
        self._handshakes_begun += 1
        key = self._handshakes_begun
        with trio.CancelScope(deadline=now + seconds) as scope:
            self._handshakes[key] = (now, scope)
            try:
                yield scope
            finally:
                self._handshakes.pop(key, None)

    @property
    def handshakes_full(self) -> bool:
        """Whether the next connection must wait: all places are taken by handshakes that have just begun."""
        if len(self._handshakes) < self._limits.handshakes_max:
            return False
        begun, _ = next(iter(self._handshakes.values()))
        return trio.current_time() - begun < HANDSHAKE_GRACE_SECONDS

    def admit_body(self, body: BodyAuthority) -> BodyAdmission | None:
        """Count a connection of the body; None when it has as many as it may."""
        entry = self._bodies.get((body.role, body.name))
        if entry is None:
            cell = self._counts.cell(body.role, body.name)
            if cell < 0:
                return None  # more bodies in the authority files since the server's start than cells
            entry = BodyAdmission(TokenBucket(body.codes_per_second_max, self._burst(body), self._counts, cell), cell)
            self._bodies[body.role, body.name] = entry
        if not self._counts.connect(entry.cell, min(body.connections_max, self._limits.connections_per_body_max)):
            return None
        entry.connections += 1
        return entry

    def release_body(self, entry: BodyAdmission) -> None:
        self._counts.disconnect(entry.cell)
        entry.connections -= 1

    def take_up(self, authority: Authority) -> None:
        """Rates of a newly read authority file; bodies not in it that have no connection are forgotten."""
        for key, entry in list(self._bodies.items()):
            body = authority.body(*key)
            if body is not None:
                entry.bucket.resize(body.codes_per_second_max, self._burst(body))
            elif entry.connections == 0:
                del self._bodies[key]

    def _burst(self, body: BodyAuthority) -> float:
        """At least one longest request, or it could never be answered."""
        return max(body.codes_per_second_max * self._limits.burst_seconds, float(self._limits.codes_per_request_max))
