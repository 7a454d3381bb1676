"""One TLS connection driven by Trio; requests of any number of tasks share it.

Theory of operation. The watch of the Trio run calls `Link.on_readable` when bytes are there. It reads straight into the
buffer of the protocol's connection (a non-blocking `ssl.SSLSocket`, no other copy) and wakes the tasks whose answers
are whole. So a request costs one send, one task switch and its share of a read. One task at a time empties ``outbox``;
the others only add to it. Answers are read whether or not somebody sends, so neither side can stall the other.

Cancellation keeps the connection usable: the request is abandoned with a CANCEL, and a frame that was half sent is
finished under a shield for at most ``Deadlines.cancel`` seconds (else the connection is closed).
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections import deque
from typing import Any, Final, cast

import trio

from jukinet.clients.errors import ConnectionLostError, DeadlineExceededError
from jukinet.clients.settings import QUERY, Credentials, Deadlines, Service, check_server
from jukinet.clients.transport.exchange import ErrorFactory, Exchange, Pending, ProgressCallback, Waiter, lost, parts
from jukinet.clients.transport.tls import loss, refusal, ungreeted, wrapped
from jukinet.clients.transport.trio_watch import NEVER, watch_of_this_run
from jukinet.core.errors import JukinetError, RemoteProtocolError
from jukinet.core.wire import Sendable
from jukinet.core.wire import messages as m

SHORT_READ_BYTES: Final = 8_192
"""A long answer comes in TLS records of 16 KiB: a shorter read is most often the end of what is there."""
RECORD_BYTES: Final = 16_384
"""Plain bytes of a full TLS record (RFC 8446, 5.1)."""
LONG_READ_BYTES: Final = 131_072
"""Room from which on a long answer is read record after record without looking at each."""
READ_BYTES_MAX: Final = 1_048_576
"""Read from one connection before others, and other tasks, have their turn."""


class Link:
    """One connection. Invariant: at most one task sends; ``slots_used`` counts the requests that the server still knows
    as under way; a waiter is in ``_parked`` exactly as long as its task sleeps."""

    def __init__(self, sock: ssl.SSLSocket, deadlines: Deadlines, exchange: Exchange | None = None) -> None:
        self.exchange = Exchange() if exchange is None else exchange
        self.deadlines = deadlines
        self.slots_used = 0
        self.certificates = (b"", b"")
        """SHA-256 of this side's certificate and of the server's, as presented on this connection."""
        self.operators: dict[str, float] = {}
        """Operators who have proved on it who they are."""
        self._sock = sock
        self._outbox: deque[memoryview] = deque()
        self._sending = False
        self._parked: dict[Waiter, trio.lowlevel.Task] = {}
        self._queue: deque[Waiter] = deque()
        self._last_read = NEVER
        self._watch = watch_of_this_run()
        self._watch.add(sock.fileno(), self)
        self.on_readable()

    # -- requests

    @property
    def socket(self) -> ssl.SSLSocket:
        """The connection itself, for whoever has to cut it from another thread."""
        return self._sock

    async def start(self, kind: Any, arguments: tuple[Any, ...], progress: ProgressCallback | None = None) -> Pending:
        """Send a request, waiting for room among the requests under way."""
        if self.slots_used >= self.exchange.slots or self._queue:
            await self._wait_for_slot()
        else:
            self.slots_used += 1
        try:
            pending, data = self.exchange.begin(kind, arguments, progress)
        except BaseException:
            self._release_slot()
            raise
        try:
            if self._sending:
                self._push(data)  # the task that sends takes it along
            elif not self._send_now(data):
                await self._flush()
        except BaseException:
            self.abandon(pending)
            raise
        return pending

    async def finish(self, pending: Pending) -> Any:
        """Wait for the answer; raises the request's failure. On cancellation the request is abandoned."""
        if pending.finished:
            await trio.lowlevel.checkpoint()
            return pending.result()
        try:
            await self._wait(pending)
        except BaseException:
            self.abandon(pending)
            raise
        return pending.result()

    async def ask(self, kind: Any, arguments: tuple[Any, ...], progress: ProgressCallback | None = None) -> Any:
        """`start` and `finish`."""
        return await self.finish(await self.start(kind, arguments, progress))

    def post(self, kind: Any, arguments: tuple[Any, ...]) -> None:
        """Send a request without waiting for room, for sending or for its answer; nothing when there is no room."""
        if self.slots_used >= self.exchange.slots or self.exchange.failure is not None:
            return
        self.slots_used += 1
        try:
            _, data = self.exchange.begin(kind, arguments)
            self._put(data)
        except JukinetError:
            self.fail(lost("a message could not be sent"))

    def abandon(self, pending: Pending) -> None:
        """Send CANCEL for a request that nobody waits for any more; without blocking (it may stay in the outbox)."""
        try:
            data = self.exchange.abandon(pending)
            if data is not None:
                self._put(data)
        except JukinetError:
            self.fail(lost("a request could not be cancelled"))

    # -- waiting

    async def _wait(self, waiter: Waiter) -> None:
        """Until ``waiter`` is finished; within the deadlines `request` and `idle`, which the watch's clock keeps."""
        if not waiter.finished and self.exchange.failure is None:
            await self._park(waiter)
        if waiter.finished:
            return
        if self.exchange.failure is not None:
            raise self.exchange.failure()
        raise DeadlineExceededError(
            f"no answer within {self.deadlines.request:g} s; the connection stays; ask for fewer codes at once or "
            "raise Deadlines.request"
        )

    def on_tick(self, now: float) -> bool:
        """Give waiters that are new their deadline, wake those past it, and end a connection that is silent."""
        deadlines = self.deadlines
        if not self._parked:
            self._last_read = NEVER
            return False
        if self._last_read == NEVER:
            self._last_read = now
        for waiter in list(self._parked):
            if waiter.limit == NEVER:
                waiter.limit = now + deadlines.request
            elif now >= waiter.limit:
                self._wake(waiter)
        if self._parked and now - self._last_read >= deadlines.idle:
            explanation = f"the server was silent for {deadlines.idle:g} s; the connection was closed"
            self.fail(lambda: DeadlineExceededError(f"{explanation}; try again or raise Deadlines.idle"))
        return True

    async def _park(self, waiter: Waiter) -> None:
        self._parked[waiter] = trio.lowlevel.current_task()
        waiter.limit = NEVER
        if self._watch.clock_sleeps:
            self._watch.wake_clock()

        def abort(_: Any) -> trio.lowlevel.Abort:
            del self._parked[waiter]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self, waiter: Waiter) -> None:
        task = self._parked.pop(waiter, None)
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def _wait_for_slot(self) -> None:
        waiter = Waiter()
        self._queue.append(waiter)
        try:
            await self._wait(waiter)
        except BaseException:
            if waiter.finished:
                self._release_slot()
            else:
                self._queue.remove(waiter)
            raise

    def _release_slot(self) -> None:
        """A request is over: its place goes to the first that waits for one."""
        if self._queue:
            waiter = self._queue.popleft()
            waiter.finished = True
            self._wake(waiter)
        else:
            self.slots_used -= 1

    # -- reading

    def on_readable(self) -> bool:
        """Read and hand out answers; whether bytes may be left in the TLS layer. Failures end the connection."""
        sock, connection = self._sock, self.exchange.connection
        left = READ_BYTES_MAX
        try:
            while self.exchange.failure is None:
                buffer = connection.get_buffer()
                count = sock.recv_into(buffer)
                if count == RECORD_BYTES and len(buffer) >= LONG_READ_BYTES:
                    count = self._fill(buffer[:left], count)
                self._received(count)
                if count < SHORT_READ_BYTES and not sock.pending():
                    # Most often there is no more; if there is, epoll tells at once.
                    return False
                left -= count
                if left <= 0:
                    return True
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self.fail(loss(error))
        except RemoteProtocolError as error:
            self.fail(self.exchange.broken(error))
        return False

    def _fill(self, buffer: memoryview, count: int) -> int:
        """Go on reading into a long answer's buffer, record after record; the bytes that it holds now."""
        read, size = self._sock.read, len(buffer)
        try:
            while count < size:
                more = cast(int, read(size - count, buffer[count:]))  # into a buffer: the number of bytes
                if not more:
                    break  # the next read tells of the end again
                count += more
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        return count

    def _received(self, count: int) -> None:
        exchange = self.exchange
        connection = exchange.connection
        self._last_read = NEVER
        if count:
            connection.received(count)
        else:
            connection.received_eof()
        while (event := connection.next_event()) is not None:
            finished = exchange.take(event)
            if finished is not None:
                self._wake(finished)
                self._release_slot()
            elif exchange.greeted.finished and exchange.greeted in self._parked:
                self._wake(exchange.greeted)
        while exchange.owed:
            self._put(exchange.owed.pop())
        if not count or exchange.failure is not None:
            self.fail(exchange.failure or lost("the server closed it", starting=True))

    # -- sending

    def _put(self, data: Sendable) -> None:
        """Send what the socket takes; the rest goes with the next request."""
        if self._sending:
            self._push(data)
        else:
            self._send_now(data)

    def _send_now(self, data: Sendable) -> bool:
        """Send without waiting; what does not fit goes to the outbox. Whether everything went out."""
        outbox = self._outbox
        if not outbox and type(data) is bytes:
            try:
                sent = self._sock.send(data)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                sent = 0
            except OSError as error:
                self.fail(loss(error))
                return True
            if sent == len(data):
                return True
            outbox.append(memoryview(data)[sent:])
            return False
        self._push(data)
        return self._drain()

    def _push(self, data: Sendable) -> None:
        self._outbox.extend(parts(data))

    def _drain(self) -> bool:
        """Send from the outbox until it is empty (True) or the socket is full (False)."""
        outbox = self._outbox
        try:
            while outbox:
                view = outbox[0]
                sent = self._sock.send(view)
                if sent == len(view):
                    outbox.popleft()
                else:
                    outbox[0] = view[sent:]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            self.fail(loss(error))
        return True

    async def _flush(self) -> None:
        """Empty the outbox. What is half sent when this is cancelled is still sent, or the connection closed."""
        self._sending = True
        try:
            with trio.move_on_after(self.deadlines.request) as scope:
                await self._drain_waiting()
            if scope.cancelled_caught:
                self.fail(lost("the server did not take a request"))
        except trio.Cancelled:
            with trio.move_on_after(self.deadlines.cancel, shield=True) as scope:
                await self._drain_waiting()
            if scope.cancelled_caught:
                self.fail(lost("a request was cancelled while it was being sent"))
            raise
        finally:
            self._sending = False

    async def _drain_waiting(self) -> None:
        while not self._drain():
            try:
                await trio.lowlevel.wait_writable(self._sock)
            except trio.ClosedResourceError:
                return  # the connection failed meanwhile: its requests hold the failure, and the outbox is empty

    # -- the end

    def fail(self, failure: ErrorFactory) -> None:
        """Close the connection; whatever was under way ends with this failure."""
        self.exchange.fail(failure)
        self._outbox.clear()
        if self._sock.fileno() >= 0:
            self._watch.remove(self._sock.fileno())
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        for waiter in list(self._parked):
            self._wake(waiter)

    async def aclose(self) -> None:
        """Say goodbye, for at most ``Deadlines.close`` seconds, and close."""
        if self.exchange.failure is None:
            with trio.move_on_after(self.deadlines.close, shield=True):
                try:
                    self._put(self.exchange.connection.send(m.Goodbye(reason="done")))
                    await self._drain_waiting()
                except JukinetError:
                    pass  # it was closed by the server first
        self.fail(lost("it was closed here"))


async def open_link(
    host: str,
    port: int,
    tls: Credentials,
    deadlines: Deadlines,
    service: Service = QUERY,
    exchange: Exchange | None = None,
) -> Link:
    """Connect, shake hands and wait for the greeting.

    ConnectionFailedError when that cannot be done, DeadlineExceededError when it takes too long, ConfigurationError for
    credentials that cannot be used, and the server's own refusal (`UnknownBodyError`, `TooManyConnectionsError`, ...).
    """
    context = tls.context(service)
    try:
        with trio.fail_after(deadlines.connect):
            stream = await trio.open_tcp_stream(host, port)
    except trio.TooSlowError:
        raise DeadlineExceededError(
            f"no connection to {host} port {port} within {deadlines.connect:g} s: check host, port and the line",
            repeatable=True,
        ) from None
    except OSError as error:
        raise refusal(host, port, innermost(error)) from None
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = wrapped(context, sock, host)
    except OSError as error:
        sock.close()
        raise refusal(host, port, error) from None
    link: Link | None = None
    try:
        with trio.fail_after(deadlines.handshake):
            await _shake_hands(secured)
            check_server(secured.getpeercert(), secured.selected_alpn_protocol(), service)
            certificates = (tls.certificate_digest(), hashlib.sha256(secured.getpeercert(True) or b"").digest())
            link = Link(secured, deadlines, exchange)  # from here on it may close the socket at any time
            link.certificates = certificates
            await link._wait(link.exchange.greeted)
    except BaseException as error:
        if link is not None:
            link.fail(lost("handshake"))
        secured.close()
        if isinstance(error, trio.TooSlowError):
            raise DeadlineExceededError(
                f"{host} port {port} accepted the connection but did not greet within {deadlines.handshake:g} s: check "
                f"that it is a {service.name} and not overloaded",
                repeatable=True,
            ) from None
        if isinstance(error, OSError):
            raise refusal(host, port, error) from None
        if isinstance(error, ConnectionLostError) and error.starting:
            raise ungreeted(host, port) from None
        raise
    return link


async def _shake_hands(sock: ssl.SSLSocket) -> None:
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(sock)
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(sock)
        else:
            return


def innermost(error: OSError) -> OSError:
    """The cause that tells most, from what happy eyeballs wrap around it."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error
