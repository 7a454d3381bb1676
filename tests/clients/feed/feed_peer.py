"""A small feed server over core.wire.FeedServerConnection: a register in memory that misbehaves when told to."""

from __future__ import annotations

import select
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from peer import CutError, Peer

from jukinet.core.errors import ErrorCode
from jukinet.core.notifications import Fault, Notification
from jukinet.core.wire import FeedServerConnection
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m

REGISTER = "0" * 32


@dataclass
class Turn:
    """What to do with one batch or range. The default applies it and acknowledges at once."""

    delay: float = 0.0
    error: ErrorCode | None = None
    retry_after_ms: int = 0
    lose_answer: bool = False
    """Apply it, then end the connection without an answer."""
    goodbye: bool = False
    gap: bool = False
    """Say that an earlier row is expected."""


@dataclass
class FeedPeer(Peer):
    """`turns` gives what happens to each batch by its running number; `fault` what is put into quarantine.

    `batches` holds what came, `rows` what was applied by position: one notification, or a list for a range.
    """

    turns: Callable[[int], Turn] = field(default=lambda number: Turn())
    fault: Callable[[Notification], Fault | None] = field(default=lambda notification: None)
    feed_limits: f.FeedLimits = field(default_factory=f.FeedLimits)
    position: int = 0
    register_id: str = REGISTER
    prefecture: int = 13
    ping: bool = False
    alpn: str = "jukinet-feed/1"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rows: dict[int, Any] = {}
        self.batches: list[tuple[int, int]] = []
        self.under_way_max = 0
        self.pongs = 0

    def converse(self, sock: ssl.SSLSocket, cut: int | None) -> None:
        FeedLine(self, sock, cut).run()


class FeedLine:
    """One connection."""

    def __init__(self, peer: FeedPeer, sock: ssl.SSLSocket, cut: int | None) -> None:
        self.peer = peer
        self.sock = sock
        self.cut = cut
        self.sent = 0
        self.connection = FeedServerConnection(peer.feed_limits)
        self.drained = False
        self.waiting: list[tuple[float, Any, Turn]] = []

    def send(self, data: Any) -> None:
        joined = b"".join(data) if isinstance(data, list) else bytes(data)
        if self.cut is not None and self.sent + len(joined) > self.cut:
            self.sock.sendall(joined[: self.cut - self.sent])
            raise CutError
        self.sock.sendall(joined)
        self.sent += len(joined)

    def greet(self) -> None:
        peer = self.peer
        if peer.greeting_error is not None:
            self.send(self.connection.send(m.Error(0, peer.greeting_error, "no")))
            return
        self.send(self.connection.send(f.FeedGreeting(
            server="peer", register=peer.register_id, body="tokyo", prefecture=peer.prefecture,
            position=peer.position, digest_count=len(peer.rows), digest_sum=bytes(16), areas=[], today=20261124,
            limits=peer.feed_limits,
        )))  # fmt: skip
        if peer.ping:
            self.send(self.connection.send(m.Ping(0, b"areyouup")))

    def run(self) -> None:
        peer = self.peer
        self.greet()
        while not peer._stopping.is_set() and self.connection.state.name != "CLOSED":
            if not self.sock.pending() and not select.select([self.sock], [], [], 0.005)[0]:
                self.work()
                continue
            count = self.sock.recv_into(self.connection.get_buffer())
            if count == 0:
                return
            self.connection.received(count)
            while (event := self.connection.next_event()) is not None:
                self.take(event)
            self.work()

    def take(self, event: Any) -> None:
        peer = self.peer
        if isinstance(event, m.Refused):
            self.send(self.connection.send(event.answer()))
        elif isinstance(event, m.Ping):
            self.send(self.connection.send(m.Pong(event.request_id, event.data)))
        elif isinstance(event, m.Pong):
            peer.pongs += 1
        elif isinstance(event, m.Goodbye):
            if not self.drained:
                self.send(self.connection.send(m.Goodbye(reason="bye")))
        else:
            turn = peer.turns(peer.questions)
            peer.questions += 1
            self.waiting.append((time.monotonic() + turn.delay, event, turn))
            peer.under_way_max = max(peer.under_way_max, len(self.waiting))

    def work(self) -> None:
        while self.waiting and time.monotonic() >= self.waiting[0][0]:
            _, event, turn = self.waiting.pop(0)
            with self.peer._lock:
                self.answer(event, turn)

    def answer(self, event: Any, turn: Turn) -> None:
        peer, connection = self.peer, self.connection
        if turn.goodbye and not self.drained:
            self.drained = True
            self.send(connection.send(m.Goodbye(reason="draining")))
        if turn.error is not None:
            self.send(connection.send(m.Error(event.request_id, turn.error, "on purpose", turn.retry_after_ms)))
            return
        is_range = isinstance(event, f.LoadRange)
        first = event.sequence if is_range else event.first_sequence
        if turn.gap:
            self.send(connection.send(f.OutOfSequence(event.request_id, first - 1)))
            return
        if first > peer.position + 1:
            self.send(connection.send(f.OutOfSequence(event.request_id, peer.position + 1)))
            return
        rows = list(event.batch)
        peer.batches.append((first, len(rows)))
        faults = []
        for place, row in enumerate(rows):
            fault = peer.fault(row)
            if fault is not None:
                faults.append((place if is_range else first + place, fault))
        if is_range:
            peer.rows.setdefault(first, (event.first_key, event.stop_key, rows))
        else:
            for place, row in enumerate(rows):
                assert peer.rows.setdefault(first + place, row) == row, "a position has two contents"
        peer.position = max(peer.position, first if is_range else first + len(rows) - 1)
        if turn.lose_answer:
            raise CutError
        self.send(connection.send(f.Acknowledged(
            event.request_id, position=peer.position, digest_count=len(peer.rows), digest_sum=bytes(16),
            applied=len(rows) - len(faults), kept=0, quarantined=faults,
        )))  # fmt: skip
