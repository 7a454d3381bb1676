"""TLS 1.3 over a non-blocking socket: the handshake as an async call, reads and writes as plain calls that never wait.

Theory of operation
-------------------
A worker spends most of its time on small requests, so the way of a byte from the socket to the protocol has no task
switch on it. After the handshake a stream is driven by readiness events (readiness.py): ``read`` and ``write`` do what
can be done at once and return 0 progress otherwise. ``ssl.SSLSocket`` works on the socket's descriptor directly, which
measured faster than memory BIOs.

Cancellation: ``handshake`` and ``finish`` may be cancelled at any checkpoint and leave a stream that can only be
closed. ``read`` and ``write`` have no checkpoints. ``close`` never waits.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import select
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import trio

from jukinet.core.errors import JukinetError
from jukinet.server.configuration import Tls

ALPN: Final = "jukinet/1"
ADMINISTRATION_ALPN: Final = "jukinet-admin/1"
DISCARD_BYTES: Final = 65_536
LOST: Final = "connection_lost"
"""Kind of TransportError when the peer is gone."""
RECORD_BYTES_MAX: Final = 16_384
"""Plain bytes of a TLS record (RFC 8446, 5.1)."""
Bytes = bytes | bytearray | memoryview

_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "certificate_missing",
    "UNSUPPORTED_PROTOCOL": "tls_version",
    "TLSV1_ALERT_PROTOCOL_VERSION": "tls_version",
    "WRONG_VERSION_NUMBER": "not_tls",
    "HTTP_REQUEST": "not_tls",
    "WRONG_SSL_VERSION": "not_tls",
    "BAD_RECORD_TYPE": "not_tls",
}
_VERIFY: Final = {
    3: "revocation_list_missing",
    9: "certificate_not_yet_valid",
    10: "certificate_expired",
    12: "revocation_list_expired",
    23: "certificate_revoked",
}
"""OpenSSL's X509_V_ERR_UNABLE_TO_GET_CRL, _CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _CRL_HAS_EXPIRED, _CERT_REVOKED."""


class TransportError(JukinetError):
    """A stream that cannot go on. ``kind`` is one of a few fixed words, for the log and the metrics."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail


def server_context(settings: Tls, alpn: str = ALPN) -> ssl.SSLContext:
    """The context of a port: TLS 1.3 only, callers' certificates required, no resumption, one protocol.

    Raises OSError (of which ssl.SSLError is one) when a file cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(settings.certificate, settings.key, password=_no_password)
    context.load_verify_locations(settings.roots)
    if settings.revocation_list:
        context.load_verify_locations(settings.revocation_list)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    context.set_alpn_protocols([alpn])
    context.num_tickets = 0
    return context


def _no_password() -> bytes:
    raise ssl.SSLError("the private key is encrypted")


def _refusal(error: OSError) -> TransportError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransportError(_VERIFY.get(error.verify_code, "certificate_untrusted"), error.verify_message)
    if isinstance(error, ssl.SSLEOFError):
        return TransportError(LOST)
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if "ALERT" in reason:
            return TransportError(_REASONS.get(reason, "refused_by_peer"), reason)
        return TransportError(_REASONS.get(reason, "tls_failed"), reason)
    return TransportError(LOST, errno.errorcode.get(error.errno or 0, ""))


class TlsStream:
    """One accepted connection.

    Invariant: after ``close`` no call reaches the descriptor, whose number may already name another connection.
    """

    __slots__ = (
        "_read",
        "_set",
        "_socket",
        "_write",
        "_written",
        "closed",
        "descriptor",
        "pending",
        "read_wants_write",
    )

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except OSError:
            connection.close()
            raise TransportError(LOST) from None
        self._socket = wrapped
        self._set = wrapped.setsockopt
        self._read = wrapped.read
        self._write = wrapped.write
        self._written = 0
        self.pending = wrapped.pending
        """Number of plain bytes that can be read although the descriptor may not be ready."""
        self.descriptor = wrapped.fileno()
        self.read_wants_write = False
        self.closed = False

    async def handshake(self) -> None:
        """Complete the TLS handshake; the caller sets the deadline. Raises TransportError."""
        while True:
            try:
                self._socket.do_handshake()
                break
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise _refusal(error) from None
        await trio.lowlevel.checkpoint()
        if self._socket.version() != "TLSv1.3":
            raise TransportError("tls_version")
        if self._socket.selected_alpn_protocol() is None:  # the port's own name, or none
            raise TransportError("alpn_missing")

    def certificate(self) -> Mapping[str, Any] | None:
        """The peer's certificate as ``ssl.SSLSocket.getpeercert`` gives it."""
        return self._socket.getpeercert()

    def certificate_digest(self) -> bytes:
        """SHA-256 of the peer's certificate as it was presented on this connection."""
        return hashlib.sha256(self._socket.getpeercert(True) or b"").digest()

    def certificate_bytes(self) -> bytes | None:
        """The peer's certificate, DER."""
        return self._socket.getpeercert(binary_form=True)

    def read(self, buffer: memoryview) -> int:
        """Fill the front of ``buffer``: the bytes read, 0 at the end of the stream, -1 when there is nothing now.

        Raises TransportError when the connection is lost or the peer breaks TLS.
        """
        try:
            return self._read(len(buffer), buffer)  # type: ignore[return-value]
        except ssl.SSLWantReadError:
            return -1
        except ssl.SSLWantWriteError:
            self.read_wants_write = True
            return -1
        except OSError as error:
            raise _refusal(error) from None

    def write(self, data: Bytes) -> int:
        """Send the front of ``data``: the bytes taken, 0 when the peer must read first. Raises TransportError.

        After 0 or a part the next call must begin with the bytes not yet taken.
        """
        try:
            return self._write(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise _refusal(error) from None

    def write_parts(self, parts: deque[Bytes], budget: int) -> int:
        """Send the front of ``parts``, record after record, until ``budget`` bytes are taken, nothing is left, or the
        peer must read first: the bytes taken, which are in ``parts`` no more. Raises TransportError.

        OpenSSL hands on one record a call. Corked, several records leave in one segment, which costs both sides less.
        """
        left = budget
        try:
            self._set(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            try:
                while parts and left > 0:
                    left -= self._write_front(parts, left)
            finally:
                self._set(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            left -= self._written
        except OSError as error:
            raise _refusal(error) from None
        return budget - left

    def _write_front(self, parts: deque[Bytes], budget: int) -> int:
        """Send the first part but for a rest that makes no whole record by itself: the bytes taken.

        When the peer must read first this raises, and ``_written`` tells the bytes taken.
        """
        if len(parts) > 1 and len(parts[0]) < RECORD_BYTES_MAX:
            _join_record(parts)
        write, taken, part = self._write, 0, memoryview(parts[0])
        size = min(len(part), budget)
        last = size - RECORD_BYTES_MAX if len(parts) > 1 and size == len(part) else size - 1
        try:
            while taken <= last:
                taken += write(part[taken : min(taken + RECORD_BYTES_MAX, size)])
        finally:
            self._written = taken
            if taken == len(part):
                parts.popleft()
            elif taken:
                parts[0] = part[taken:]
        return taken

    def end(self) -> None:
        """Tell the peer that nothing follows: TLS close_notify and TCP FIN. Never waits, never fails."""
        if not self.closed:
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def discard(self) -> bool:
        """Throw away what the peer still sends after ``end``; True once it has ended too.

        Closing a socket that holds unread bytes would reset the connection, and the peer could lose the last message.
        """
        try:
            while taken := socket.socket.recv(self._socket, DISCARD_BYTES):
                if len(taken) < DISCARD_BYTES:
                    return False
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    async def finish(self, seconds: float) -> None:
        """``end``, and at most so long for the peer's end, so that it reads the last message; ``close`` follows."""
        self.end()
        with trio.move_on_after(seconds):
            while not self.discard():
                await trio.lowlevel.wait_readable(self.descriptor)

    def close(self) -> None:
        """Close at once. May be called again."""
        self.closed = True
        self._socket.close()


def _join_record(parts: deque[Bytes]) -> None:
    """Make one part of the front of ``parts``: a whole record, or all that there is."""
    pieces: list[Bytes] = []
    room = RECORD_BYTES_MAX
    while parts and room:
        part = memoryview(parts.popleft())
        if len(part) > room:
            parts.appendleft(part[room:])
            part = part[:room]
        pieces.append(part)
        room -= len(part)
    parts.appendleft(b"".join(pieces))


READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
