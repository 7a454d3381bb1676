"""Delivers an outbox to the register over the feed protocol, for Trio: whatever breaks, each row arrives once.

General theory of operation. `FeedSender` connects, compares the register's position with what the outbox has sent
(`Outbox.bind`), and sends behind the last row that is acknowledged here, several batches under way. Also rows that the
register has already: they change nothing there, and its answer repeats what it put into quarantine, which a lost
answer would have kept from the prefecture. An answer is made durable in the outbox before the next is looked at. When
the connection ends it all begins again, after a wait that grows; a row is in doubt only as long as no answer to it is
here. While batches are under way a batch that is not full waits for more rows; otherwise rows go after
``linger_seconds``. Reading, packing and syncing happen in worker threads, which a cancellation waits for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from jukinet.clients.errors import ClientError, ConnectionLostError, DrainingError
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import (
    Entry,
    OutboxError,
    PositionError,
    RowKind,
    read_notification_row,
    read_range_row,
)
from jukinet.clients.settings import FEED, Credentials, Deadlines, Retry
from jukinet.clients.transport.exchange import Exchange, Pending
from jukinet.clients.transport.trio_link import Link, open_link
from jukinet.core.errors import ConfigurationError, ErrorCode
from jukinet.core.limits import NOTIFICATIONS_PER_BATCH_MAX
from jukinet.core.notifications import NotificationBatch
from jukinet.core.vocabulary import Prefecture
from jukinet.core.wire import FeedClientConnection
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m

FEED_DEADLINES: Final = Deadlines(request=600.0, idle=300.0)
"""An answer waits for a durable commit behind the batches of the other feeds."""
FEED_RETRY: Final = Retry(tries=10, first=0.2, longest=60.0)
COLUMN_BYTES_A_ROW: Final = 64
"""What a row's columns can take beyond its form in the outbox."""
HEAD_BYTES: Final = 64
LOOK_SECONDS: Final = 1.0
"""How soon the end of a connection on which nothing goes is noticed."""
PING_SHARE: Final = 3
"""A connection with nothing to send is kept by a PING three times in the server's idle_seconds_max."""


@dataclass(frozen=True, slots=True)
class SendSettings:
    """How much goes at once: rows and bytes of a batch, batches under way (the server's limits hold besides), and how
    long a batch waits for more rows when nothing else is under way."""

    notifications_max: int = NOTIFICATIONS_PER_BATCH_MAX
    bytes_max: int = 8 * 1_024 * 1_024
    in_flight_max: int = 4
    linger_seconds: float = 0.05

    def __post_init__(self) -> None:
        if self.notifications_max < 1 or self.bytes_max < 1 or self.in_flight_max < 1:
            raise ConfigurationError("a batch holds at least one notification and one byte, and one is under way")
        if not 0 <= self.linger_seconds <= 3_600:
            raise ConfigurationError("linger_seconds must be 0 to 3600")


@dataclass(slots=True)
class Delivery:
    """What this sender has done so far, for progress lines and for whoever waits for the end."""

    rows: int = 0
    """Acknowledged."""
    batches: int = 0
    applied: int = 0
    kept: int = 0
    quarantined: int = 0
    connections: int = 0
    position: int = 0
    """The register's, as last heard of."""
    waiting: int = 0
    """Rows that are not acknowledged."""
    digest: tuple[int, bytes] | None = None
    """Of the prefecture's holdings at ``position``."""
    trouble: str = ""
    """Why nothing goes at the moment; empty when all is well."""


@dataclass(slots=True)
class _Flight:
    """One batch or range on its way."""

    last: int
    rows: int
    is_range: bool
    pending: Pending | None = None


@dataclass(slots=True)
class _Packed:
    """A message to send, made in a worker thread."""

    kind: Any
    arguments: tuple[Any, ...]
    flight: _Flight = field(repr=False)


class FeedSender:
    """Delivers one outbox. Invariant: what the outbox calls acknowledged was acknowledged by the register, and one
    connection at a time is sent on."""

    def __init__(
        self,
        outbox: Outbox,
        host: str,
        port: int,
        *,
        tls: Credentials,
        settings: SendSettings | None = None,
        deadlines: Deadlines | None = None,
        retry: Retry | None = None,
        progress: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.outbox = outbox
        self.host = host
        self.port = port
        self.settings = settings or SendSettings()
        self.delivery = Delivery()
        self.greeting: f.FeedGreeting | None = None
        self.link: Link | None = None
        """The connection while there is one: a feed has one at a time, so what else is asked goes over it too."""
        self._tls = tls
        self._deadlines = deadlines or FEED_DEADLINES
        self._retry = retry or FEED_RETRY
        self._progress = progress
        self._wanted = trio.Event()
        self._progressed = trio.Event()
        self._failures = 0

    def wake(self) -> None:
        """Tell that rows were put (from the Trio thread); `run` looks by itself only when it has been told."""
        self._wanted.set()

    async def deliver(self, until: Callable[[], bool] | None = None) -> Delivery:
        """Send until everything in the outbox is acknowledged and ``until``, where given, says that no more comes.

        Raises PositionError when register and outbox do not fit, the last error when the tries of ``retry`` are used up
        (`FeedTakenError`, `ConnectionLostError`, ...), and what no repeating helps at once (`NotAFeedError`, ...).
        """
        await self._until_done(until or (lambda: True), self._retry.tries)
        return self.delivery

    async def run(self) -> None:
        """Deliver until cancelled. What passes by itself is waited for however long; other errors are raised."""
        await self._until_done(lambda: False, None)

    async def rebind(self) -> None:
        """Go on behind the register's position whatever was sent before (`Outbox.rebind`)."""
        await (await self.connected(self.outbox.rebind)).aclose()

    async def connected(self, meet: Callable[[str, int], Any] | None = None) -> Link:
        """A connection whose register and position fit the outbox (as `Outbox.bind`, or ``meet``, sees it); the caller
        closes it."""
        connection = FeedClientConnection()
        link = await open_link(self.host, self.port, self._tls, self._deadlines, FEED, Exchange(connection))
        try:
            greeting = link.exchange.greeting
            assert isinstance(greeting, f.FeedGreeting)
            self.greeting = greeting
            _check_prefecture(greeting, self.outbox.state.prefecture)
            await trio.to_thread.run_sync(meet or self.outbox.bind, greeting.register, greeting.position)
        except BaseException:
            await link.aclose()
            raise
        self.delivery.connections += 1
        self.delivery.position = greeting.position
        self.delivery.digest = (greeting.digest_count, greeting.digest_sum)
        self._tell("")
        return link

    async def progressed(self) -> None:
        """Wait until something is acknowledged, or this sender connects anew."""
        await self._progressed.wait()

    async def _until_done(self, is_done: Callable[[], bool], tries: int | None) -> None:
        self._failures = 0
        while True:
            try:
                link = await self.connected()
                try:
                    self.link = link
                    await self._converse(link, is_done)
                    return
                finally:
                    self.link = None
                    await link.aclose()
            except ClientError as error:
                self._failures += 1
                wait = self._wait_after(error, tries)
                if wait is None:
                    raise
                self._tell(str(error))
                await trio.sleep(wait)

    def _wait_after(self, error: ClientError, tries: int | None) -> float | None:
        """Seconds to wait before the next try; None when there is to be none."""
        least = float(getattr(error, "retry_after", 0.0))
        if isinstance(error, OutboxError) or not error.repeatable or (tries is not None and self._failures >= tries):
            return None
        return self._retry.wait_seconds(self._failures, least)

    async def _converse(self, link: Link, is_done: Callable[[], bool]) -> None:
        """Send on one connection until nothing is left and ``is_done`` says so."""
        flights: deque[_Flight] = deque()
        sent = self.outbox.state.acknowledged
        while True:
            if link.exchange.failure is not None:
                raise link.exchange.failure()
            if link.exchange.draining and not flights:
                raise DrainingError("the server is stopping", ErrorCode.DRAINING)
            sent = await self._fill(link, flights, sent)
            if flights:
                await self._land(link, flights.popleft())
            elif is_done():
                if not self.outbox.state.waiting:
                    return
            else:
                await self._wait_for_rows(link)

    async def _fill(self, link: Link, flights: deque[_Flight], sent: int) -> int:
        """Send batches while there is room for them; the last sequence that was sent."""
        limits = link.exchange.connection.limits
        assert isinstance(limits, f.FeedLimits)
        room = min(self.settings.in_flight_max, limits.requests_in_flight_max)
        while len(flights) < room and not link.exchange.draining:
            self._wanted = trio.Event()
            packed = await trio.to_thread.run_sync(self._pack, sent, limits, bool(flights))
            if packed is None:
                break
            packed.flight.pending = await link.start(packed.kind, packed.arguments)
            flights.append(packed.flight)
            sent = packed.flight.last
        return sent

    def _pack(self, sent: int, limits: f.FeedLimits, only_full: bool) -> _Packed | None:
        """The next batch or range behind ``sent``, announced in the outbox; None when there is none to send now."""
        outbox, settings = self.outbox, self.settings
        rows_max = min(settings.notifications_max, limits.notifications_per_batch_max)
        bytes_max = min(settings.bytes_max, limits.batch_bytes_max)
        entries = outbox.read(sent, rows_max, bytes_max)
        if not entries:
            return None
        base = outbox.state.base
        assert base is not None
        if entries[0].kind is RowKind.RANGE:
            return self._pack_range(entries[0], base, limits)
        taken: list[Entry] = []
        size = HEAD_BYTES
        for entry in entries:
            size += entry.size + COLUMN_BYTES_A_ROW
            if entry.kind is not RowKind.NOTIFICATION or (taken and size > bytes_max):
                break
            taken.append(entry)
        if only_full and len(taken) == len(entries) < rows_max and taken[-1].sequence == outbox.state.last:
            return None
        batch = NotificationBatch.from_notifications([read_notification_row(entry.body)[0] for entry in taken])
        first, last = taken[0].sequence, taken[-1].sequence
        outbox.announce(last)
        return _Packed(f.Notify, (first + base, batch), _Flight(last, len(taken), is_range=False))

    def _pack_range(self, entry: Entry, base: int, limits: f.FeedLimits) -> _Packed:
        first_key, stop_key, count, columns = read_range_row(entry.body)
        if count > limits.range_rows_max or len(entry.body) + HEAD_BYTES > limits.batch_bytes_max:
            raise OutboxError(
                f"a range of {count} residents is above the server's limits ({limits.range_rows_max} rows, "
                f"{limits.batch_bytes_max} bytes): ask the centre to raise them, or load anew with fewer --range-rows"
            )
        batch = NotificationBatch.parse(bytes(columns), count)
        self.outbox.announce(entry.sequence)
        arguments = (entry.sequence + base, first_key, stop_key, batch)
        return _Packed(f.LoadRange, arguments, _Flight(entry.sequence, 1, is_range=True))

    async def _land(self, link: Link, flight: _Flight) -> None:
        """Wait for the answer to the oldest batch and make it durable."""
        assert flight.pending is not None
        answer = await link.finish(flight.pending)
        if isinstance(answer, f.OutOfSequence):
            raise ConnectionLostError(f"the register expects row {answer.expected} again; the sending begins anew")
        assert isinstance(answer, f.Acknowledged)
        base = self.outbox.state.base
        assert base is not None
        if flight.is_range:
            faults = [(flight.last, row, int(fault)) for row, fault in answer.quarantined]
        else:
            faults = [(row - base, 0, int(fault)) for row, fault in answer.quarantined]
        await trio.to_thread.run_sync(self.outbox.acknowledge, flight.last, faults)
        self._failures = 0
        delivery = self.delivery
        delivery.rows += flight.rows
        delivery.batches += 1
        delivery.applied += answer.applied
        delivery.kept += answer.kept
        delivery.quarantined += len(faults)
        delivery.position = answer.position
        delivery.digest = (answer.digest_count, answer.digest_sum)
        self._tell("")

    async def _wait_for_rows(self, link: Link) -> None:
        """Until rows were put; meanwhile the connection is kept, and its end noticed."""
        pause = link.exchange.connection.limits.idle_seconds_max / PING_SHARE
        ping_at = trio.current_time() + pause
        while link.exchange.usable:
            with trio.move_on_after(LOOK_SECONDS):
                await self._wanted.wait()
                break
            if trio.current_time() >= ping_at:
                await link.ask(m.Ping, (b"feedping",))
                ping_at = trio.current_time() + pause
        await trio.sleep(self.settings.linger_seconds)

    def _tell(self, trouble: str) -> None:
        self.delivery.trouble = trouble
        self._progressed.set()
        self._progressed = trio.Event()
        self.delivery.waiting = self.outbox.state.waiting
        if self._progress is not None:
            self._progress(self.delivery)


def _check_prefecture(greeting: f.FeedGreeting, prefecture: int) -> None:
    if greeting.prefecture != prefecture:
        raise PositionError(
            f"the certificate is that of {greeting.body}, the outbox that of {Prefecture(prefecture).body}: use the "
            "prefecture's own"
        )
