"""What the TLS layer says, put into words that a caller can act on."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final

from jukinet.clients.errors import ConnectionFailedError
from jukinet.clients.transport.exchange import ErrorFactory, lost

ALERTS: Final[dict[str, str]] = {
    "CERTIFICATE_REQUIRED": "the server wants a client certificate and got none",
    "UNKNOWN_CA": "the server does not trust the authority that signed this certificate: ask for one from its own",
    "CERTIFICATE_EXPIRED": "this certificate has expired: renew it",
    "CERTIFICATE_REVOKED": "this certificate was revoked: ask the register's operator for a new one",
    "BAD_CERTIFICATE": "the server refused this certificate: check that it is the one for this register",
    "CERTIFICATE_UNKNOWN": "the server refused this certificate: check that it is the one for this register",
    "ACCESS_DENIED": "the server refused this certificate: its body is not known there",
    "NO_APPLICATION_PROTOCOL": "the server does not speak the protocol of this service: check host and port",
    "PROTOCOL_VERSION": "the server does not offer TLS 1.3",
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS: check host and port",
}
"""By the words that end OpenSSL's reason names, such as TLSV13_ALERT_CERTIFICATE_REQUIRED."""


def explain(error: ssl.SSLError) -> str | None:
    """Why the peer refused the connection, None when the error is not about that."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate does not hold ({error.verify_message}): check host, root and the machine's clock"
        )
    reason = error.reason or ""
    for words, meaning in ALERTS.items():
        if reason.endswith(words):
            return meaning
    return None


def wrapped(context: ssl.SSLContext, connected: socket.socket, host: str) -> ssl.SSLSocket:
    """A connected socket with TLS, before the handshake. OSError, and the socket is closed, when the peer has reset it
    meanwhile. That is asked for first, as `wrap_socket` leaves its own half-made socket to the collector then."""
    try:
        try:
            connected.getpeername()
        except OSError:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
        return context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        connected.close()
        raise


BROKEN: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""What the TLS layer raises when the line ended in the middle of the handshake: nobody refused anything."""


def refusal(host: str, port: int, error: OSError) -> ConnectionFailedError:
    """The error of a connection that could not be made. Repeatable unless one side refused the other."""
    if isinstance(error, BROKEN):
        meaning = "the line broke during the handshake: check the line, and that this port speaks TLS"
    elif isinstance(error, ssl.SSLError):
        meaning = explain(error) or f"TLS failed ({error.reason or type(error).__name__})"
    elif isinstance(error, ConnectionRefusedError):
        meaning = "nothing listens there: check host and port, and that the server runs"
    else:
        meaning = f"{error.strerror or error or type(error).__name__}: check host, port and the line"
    return ConnectionFailedError(
        f"cannot connect to {host} port {port}: {meaning}",
        repeatable=isinstance(error, BROKEN) or not isinstance(error, ssl.SSLError),
        starting=isinstance(error, (ConnectionError, *BROKEN)),
    )


def ungreeted(host: str, port: int) -> ConnectionFailedError:
    """The error of a connection that ended before its greeting, and nobody said why."""
    return ConnectionFailedError(
        f"cannot connect to {host} port {port}: the connection ended before the server's greeting: the server may be "
        "starting, or does not serve this address",
        repeatable=True,
        starting=True,
    )


def loss(error: OSError) -> ErrorFactory:
    """The failure of a connection that was up. In TLS 1.3 the server's refusal of a certificate comes only here."""
    if isinstance(error, ssl.SSLError):
        meaning = explain(error)
        if meaning is not None:
            return lambda: ConnectionFailedError(f"the server ended the connection: {meaning}")
        return lost(f"TLS: {error.reason or type(error).__name__}", starting=isinstance(error, BROKEN))
    return lost(error.strerror or type(error).__name__, starting=isinstance(error, ConnectionError))
