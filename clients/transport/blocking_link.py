"""One TLS connection for blocking callers: a non-blocking socket and poll, so that every wait has its deadline.

While it waits to send it also reads: a server that takes no more before its answers are taken cannot stall it. Threads
take turns: `start` and `finish` hold one lock.
"""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import threading
import time
from collections import deque
from typing import Any

from jukinet.clients.errors import ConnectionLostError, DeadlineExceededError
from jukinet.clients.settings import Credentials, Deadlines, check_server
from jukinet.clients.transport.exchange import ErrorFactory, Exchange, Pending, ProgressCallback, Waiter, lost, parts
from jukinet.clients.transport.tls import loss, refusal, ungreeted, wrapped
from jukinet.core.errors import JukinetError, RemoteProtocolError
from jukinet.core.wire import Sendable
from jukinet.core.wire import messages as m


class BlockingLink:
    """One connection. Invariant: ``slots_used`` counts the requests that the server still knows as under way."""

    def __init__(self, sock: ssl.SSLSocket, deadlines: Deadlines) -> None:
        self.exchange = Exchange()
        self.deadlines = deadlines
        self.slots_used = 0
        self.certificates = (b"", b"")
        """SHA-256 of this side's certificate and of the server's, as presented on this connection."""
        self.operators: dict[str, float] = {}
        """Operators who have proved on it who they are."""
        self._sock = sock
        self._outbox: deque[memoryview] = deque()
        self._turn = threading.RLock()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    @property
    def socket(self) -> ssl.SSLSocket:
        """The connection itself, for whoever has to cut it from another thread."""
        return self._sock

    # -- requests

    def start(self, kind: Any, arguments: tuple[Any, ...], progress: ProgressCallback | None = None) -> Pending:
        """Send a request, waiting for room among the requests under way."""
        limit = time.monotonic() + self.deadlines.request
        with self._turn:
            while self.slots_used >= self.exchange.slots and self.exchange.failure is None:
                self._read_once(limit)
            pending, data = self.exchange.begin(kind, arguments, progress)
            self.slots_used += 1
            self._push(data)
            try:
                self._flush(limit)
            except BaseException:
                # A frame that is half sent cannot be taken back.
                if self._outbox:
                    self.fail(lost("a request was interrupted while it was being sent"))
                raise
            return pending

    def finish(self, pending: Pending, seconds: float | None = None) -> Any:
        """Wait for the answer; raises the request's failure. When interrupted the request is abandoned."""
        limit = time.monotonic() + (self.deadlines.request if seconds is None else seconds)
        with self._turn:
            try:
                self._wait(pending, limit)
            except BaseException:
                self.abandon(pending)
                raise
            return pending.result()

    def ask(
        self,
        kind: Any,
        arguments: tuple[Any, ...],
        progress: ProgressCallback | None = None,
        seconds: float | None = None,
    ) -> Any:
        """`start` and `finish`; ``seconds`` in place of `Deadlines.request`."""
        return self.finish(self.start(kind, arguments, progress), seconds)

    def post(self, kind: Any, arguments: tuple[Any, ...]) -> None:
        """Send a request without waiting for its answer; nothing when there is no room."""
        with self._turn:
            if self.slots_used >= self.exchange.slots or self.exchange.failure is not None:
                return
            self.slots_used += 1
            try:
                _, data = self.exchange.begin(kind, arguments)
                self._push(data)
                self._drain()
            except JukinetError:
                self.fail(lost("a message could not be sent"))

    def abandon(self, pending: Pending) -> None:
        """Send CANCEL for a request that nobody waits for any more."""
        with self._turn:
            try:
                data = self.exchange.abandon(pending)
                if data is not None:
                    self._push(data)
                    self._drain()
            except JukinetError:
                self.fail(lost("a request could not be cancelled"))

    # -- waiting and reading

    def _wait(self, waiter: Waiter, limit: float) -> None:
        while not waiter.finished:
            if self.exchange.failure is not None:
                raise self.exchange.failure()
            self._read_once(limit)

    def _read_once(self, limit: float) -> None:
        """Wait for bytes and hand out what they finish; also sends what waits in the outbox."""
        sock, connection = self._sock, self.exchange.connection
        try:
            if not sock.pending():
                self._ready(limit, select.POLLIN | (select.POLLOUT if self._outbox else 0))
                if self._outbox:
                    self._drain()
            while True:
                count = sock.recv_into(connection.get_buffer())
                if self._received(count) or self.exchange.failure is not None:
                    return
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            self._ready(limit, select.POLLOUT)
        except OSError as error:
            self.fail(loss(error))
        except RemoteProtocolError as error:
            self.fail(self.exchange.broken(error))

    def _received(self, count: int) -> bool:
        """Whether a request was finished."""
        exchange = self.exchange
        connection = exchange.connection
        finished = False
        if count:
            connection.received(count)
        else:
            connection.received_eof()
        while (event := connection.next_event()) is not None:
            if exchange.take(event) is not None:
                self.slots_used -= 1
                finished = True
            elif exchange.greeted.finished:
                finished = True
        if not count or exchange.failure is not None:
            self.fail(exchange.failure or lost("the server closed it", starting=True))
        return finished

    def _ready(self, limit: float, events: int) -> None:
        """Poll within the deadlines; DeadlineExceededError when one passes."""
        now = time.monotonic()
        seconds = min(limit - now, self.deadlines.idle)
        self._poll.modify(self._sock, events)
        if seconds > 0 and self._poll.poll(seconds * 1_000):
            return
        if time.monotonic() >= limit:
            raise DeadlineExceededError(
                "no answer within the deadline; the connection stays; ask for fewer codes at once or "
                "raise Deadlines.request"
            )
        explanation = f"the server was silent for {self.deadlines.idle:g} s"
        self.fail(lost(explanation))
        raise DeadlineExceededError(f"{explanation}; the connection was closed; try again or raise Deadlines.idle")

    # -- sending

    def _push(self, data: Sendable) -> None:
        self._outbox.extend(parts(data))

    def _drain(self) -> bool:
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

    def _flush(self, limit: float) -> None:
        while not self._drain():
            self._read_once(limit)

    # -- the end

    def fail(self, failure: ErrorFactory) -> None:
        """Close the connection; whatever was under way ends with this failure."""
        self.exchange.fail(failure)
        self._outbox.clear()
        if self._sock.fileno() >= 0:
            self._poll.unregister(self._sock)
            self._sock.close()

    def close(self) -> None:
        """Say goodbye, for at most ``Deadlines.close`` seconds, and close."""
        if self.exchange.failure is None:
            try:
                self._push(self.exchange.connection.send(m.Goodbye(reason="done")))
                self._flush(time.monotonic() + self.deadlines.close)
            except JukinetError:
                pass  # closed by the server first, or it does not read
        self.fail(lost("it was closed here"))


def open_blocking_link(host: str, port: int, tls: Credentials, deadlines: Deadlines) -> BlockingLink:
    """Connect, shake hands and wait for the greeting. Raises as `trio_link.open_link`."""
    context = tls.context()
    try:
        sock = socket.create_connection((host, port), timeout=deadlines.connect)
    except TimeoutError:
        raise DeadlineExceededError(
            f"no connection to {host} port {port} within {deadlines.connect:g} s: check host, port and the line",
            repeatable=True,
        ) from None
    except OSError as error:
        raise refusal(host, port, error) from None
    limit = time.monotonic() + deadlines.handshake
    try:
        sock.settimeout(deadlines.handshake)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = secured = wrapped(context, sock, host)
        secured.do_handshake()
        secured.setblocking(False)
    except TimeoutError:
        sock.close()
        raise _late(host, port, deadlines) from None
    except OSError as error:
        sock.close()
        raise refusal(host, port, error) from None
    link = BlockingLink(secured, deadlines)
    try:
        link.certificates = (tls.certificate_digest(), hashlib.sha256(secured.getpeercert(True) or b"").digest())
        check_server(secured.getpeercert(), secured.selected_alpn_protocol())
        link._wait(link.exchange.greeted, limit)
    except DeadlineExceededError:
        link.fail(lost("handshake"))
        raise _late(host, port, deadlines) from None
    except BaseException as error:
        link.fail(lost("handshake"))
        if isinstance(error, ConnectionLostError) and error.starting:
            raise ungreeted(host, port) from None
        raise
    return link


def _late(host: str, port: int, deadlines: Deadlines) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"{host} port {port} accepted the connection but did not greet within {deadlines.handshake:g} s: check that it "
        "is a query service and not overloaded",
        repeatable=True,
    )
