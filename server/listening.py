"""The ports: reserved by the supervisor, listened on by workers and feed writer beside it (SO_REUSEPORT)."""

from __future__ import annotations

import ipaddress
import socket

from jukinet.core.errors import JukinetError
from jukinet.server.event_log import operating_error


class ServeError(JukinetError):
    """The server cannot start or go on; the message says why and what to do."""


def bind(address: str, port: int, section: str = "server") -> socket.socket:
    """A socket bound to a section's port, which other sockets of this user may share. Raises ServeError."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        raise ServeError(f"{section}.address: {address} is not an IP address") from None
    bound = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise ServeError(f"{section}.port: cannot use {address} port {port}: {error.strerror}") from None
    return bound


def reserve_port(address: str, port: int, section: str = "server") -> socket.socket:
    """Bind the port for as long as the server lives; one that another server shares is refused. Raises ServeError."""
    if port:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise ServeError(f"{section}.port: cannot use {address} port {port}: {error.strerror}") from None
    return bind(address, port, section)


def listen(address: str, port: int, backlog: int, section: str = "server") -> socket.socket:
    """A non-blocking socket that listens beside the reserved port. Raises ServeError."""
    listener = bind(address, port, section)
    try:
        listener.setblocking(False)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise ServeError(f"cannot listen: {operating_error(error)}") from None
    return listener
