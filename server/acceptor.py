"""Accepts connections on one port and brings them through the TLS handshake, whatever is spoken behind it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import trio

from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m
from jukinet.core.wire.control import encode
from jukinet.core.wire.frames import MessageType, frame
from jukinet.server.admission import Admission
from jukinet.server.event_log import EventLog, Field, operating_error
from jukinet.server.identity import IdentityError
from jukinet.server.metrics import Metrics
from jukinet.server.transport import TlsStream, TransportError

ACCEPT_PAUSE_SECONDS: Final = 0.05
LAST_WORDS_SECONDS: Final = 1.0
"""For a peer that is not served to read why."""


class Acceptor:
    """The way of a connection from the kernel to ``hand_over``.

    ``open_stream`` wraps an accepted socket in the certificates of the moment. ``hand_over(number, stream)`` takes a
    stream after its handshake and owns it from then on, together with its place in ``admission``; when it raises
    IdentityError it has not taken it, and the peer is sent what ``unserved`` makes of its words. ``allows_address``
    judges a peer's address before its handshake. Whatever fails is counted and logged, and ends that connection only.
    """

    def __init__(
        self,
        port: str,
        open_stream: Callable[[socket.socket], TlsStream],
        hand_over: Callable[[int, TlsStream], None],
        admission: Admission,
        metrics: Metrics,
        log: EventLog,
        handshake_seconds: float,
        unserved: Callable[[str], bytes],
        allows_address: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """port: its name in the log."""
        self._port = port
        self._allows_address = allows_address
        self._open_stream = open_stream
        self._hand_over = hand_over
        self._admission = admission
        self._metrics = metrics
        self._log = log
        self._handshake_seconds = handshake_seconds
        self._unserved = unserved
        self._numbers = 0
        self._ended = False

    def end(self, listener: socket.socket) -> None:
        """Accept no more."""
        self._ended = True
        trio.lowlevel.notify_closing(listener)
        listener.close()

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Accept connections while there is room; while there is none they wait in the kernel."""
        while not self._ended:
            if self._admission.full or self._admission.handshakes_full:
                await trio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            try:
                connection, address = listener.accept()
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_readable(listener)
                except (trio.ClosedResourceError, OSError, ValueError):
                    return
                continue
            except OSError as error:
                # Out of descriptors, or the connection was reset before it was accepted.
                if listener.fileno() < 0:
                    return
                self._log.error("accept_failed", reason=operating_error(error))
                await trio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            self._metrics.plain["connections_accepted_total"] += 1
            if not self._allows_address(address[0]):
                connection.close()
                self._numbers += 1
                self.refused(self._numbers, "address_not_allowed")
                await trio.lowlevel.checkpoint()
                continue
            self._admission.connections += 1
            nursery.start_soon(self._greet, connection)
            await trio.lowlevel.checkpoint()

    async def _greet(self, accepted: socket.socket) -> None:
        """The handshake within its deadline, then the stream is handed over."""
        self._numbers += 1
        number = self._numbers
        stream: TlsStream | None = None
        handed_over = False
        try:
            stream = self._open_stream(accepted)
            with self._admission.handshake(self._handshake_seconds) as scope:
                await stream.handshake()
            if scope.cancelled_caught:
                self.refused(number, "handshake_timeout")
            else:
                self._hand_over(number, stream)
                handed_over = True
        except TransportError as error:
            self.refused(number, error.kind, detail=error.detail)
        except IdentityError as error:
            self.refused(number, "certificate_identity", detail=str(error))
            if stream is not None:
                await _tell(stream, self._unserved(str(error)))
        except Exception as error:
            self._log.failure("connection_failed", error, connection=number)
        finally:
            if not handed_over:
                self._admission.connections -= 1
                if stream is not None:
                    stream.close()
                else:
                    accepted.close()

    def refused(self, number: int, kind: str, **fields: Field) -> None:
        """Count and log a connection that is not served."""
        self._metrics.count("connections_refused_total", kind)
        self._log.warning("connection_refused", port=self._port, connection=number, kind=kind, **fields)


def error_frame(code: ErrorCode, words: str) -> bytes:
    """An ERROR in place of the greeting, which query and feed protocol have in the same bytes."""
    return frame(MessageType.ERROR, 0, encode(m.Error(0, code, words)))


async def _tell(stream: TlsStream, words: bytes) -> None:
    """The last words, and the end of the stream; the peer may have asked already, and must still read them."""
    try:
        stream.write(words)
    except TransportError:
        return
    await stream.finish(LAST_WORDS_SECONDS)
