"""Administration: status, metrics, alarms and reload, on a UNIX socket or on the administration port.

One JSON object a line each way, at most REQUEST_BYTES_MAX, answered once; then the connection is closed. On the socket,
whose file has mode 0600, the kernel says who the peer is (SO_PEERCRED): only root and the account that runs the server
are answered. On the port (administration_port.py) a certificate does. Nothing of a request for data, an answer or the
register can be had here. Every command is logged with who gave it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import trio

from jukinet.core.errors import ConfigurationError
from jukinet.core.vocabulary import Role
from jukinet.server.event_log import EventLog, Field, operating_error
from jukinet.server.identity import from_certificate
from jukinet.server.listening import ServeError
from jukinet.server.transport import ADMINISTRATION_ALPN

REQUEST_BYTES_MAX: Final = 4_096
ANSWER_BYTES_MAX: Final = 1 << 20
CONNECTIONS_MAX: Final = 8
PATH_BYTES_MAX: Final = 100
"""sockaddr_un holds 108."""
EXCHANGE_SECONDS: Final = 30.0

Command = Callable[[], Awaitable[Mapping[str, Any]]]
"""What a command does; its result is the answer's fields."""


def open_socket(path: str) -> socket.socket:
    """Bind the socket; what a server that is gone has left there is removed. Raises ServeError."""
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ServeError(f"boundary.administration_socket: a path has at most {PATH_BYTES_MAX} bytes")
    found = Path(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if found.is_socket():
            found.unlink()
        bound.bind(path)
        found.chmod(0o600)
        bound.listen(CONNECTIONS_MAX)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise ServeError(f"boundary.administration_socket: {path}: {error.strerror}") from None
    return bound


def peer_account(connection: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel says."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


class Lines(Protocol):
    """What an exchange is made over; a trio.SocketStream is one."""

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Bytes, none at the end of the stream."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""
        ...


class Administration:
    """Answers commands; ``serve`` takes them from the socket until cancelled."""

    def __init__(self, commands: Mapping[str, Command], log: EventLog) -> None:
        self._commands = commands
        self._log = log
        self._room = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def serve(self, bound: socket.socket) -> None:
        """Accept and answer; a connection's failure ends that connection only."""
        listener = trio.socket.from_stdlib_socket(bound)
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    connection, _ = await listener.accept()
                except OSError as error:
                    self._log.error("accept_failed", reason=operating_error(error))
                    await trio.sleep(1)
                    continue
                nursery.start_soon(self._answer, trio.SocketStream(connection))

    async def _answer(self, stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            async with self._room, stream:
                account = peer_account(stream.socket)  # type: ignore[arg-type]
                with trio.move_on_after(EXCHANGE_SECONDS):
                    if account in (0, os.getuid()):
                        await self.exchange(stream, account=account)
                    else:
                        self._log.warning("administration_refused", account=account)
                        await stream.send_all(line({"error": "not for this account"}))

    async def exchange(self, stream: Lines, **who: Field) -> None:
        """Take one command and answer it. who: who asks, for the log."""
        await stream.send_all(line(await self._result(stream, who)))

    async def _result(self, stream: Lines, who: Mapping[str, Field]) -> Mapping[str, Any]:
        request = b""
        while not request.endswith(b"\n"):
            more = await stream.receive_some(REQUEST_BYTES_MAX)
            request += more
            if not more or len(request) > REQUEST_BYTES_MAX:
                return {"error": "not one line"}
        try:
            name = msgspec.json.decode(request, type=dict[str, str]).get("command", "")
        except msgspec.DecodeError:
            return {"error": "not a JSON object"}
        command = self._commands.get(name)
        if command is None:
            return {"error": f"no such command; there are {', '.join(self._commands)}"}
        self._log.info("administration", command=name, **who)
        try:
            return await command()
        except Exception as error:  # a defect here must not end the server
            self._log.failure("administration_failed", error)
            return {"error": "the server failed; see its log"}


def line(fields: Mapping[str, Any]) -> bytes:
    """An answer as it is sent."""
    return msgspec.json.encode(fields) + b"\n"


class Holder(NamedTuple):
    """PEM files: the root of the server's certificate, and an administrator's certificate and key."""

    root: str
    certificate: str
    key: str


def ask(path: str, command: str) -> dict[str, Any]:
    """Ask a running server through its socket, from another process. Raises OSError and ServeError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(EXCHANGE_SECONDS)
        connection.connect(path)
        return _asked(connection, command)


def ask_port(host: str, port: int, holder: Holder, command: str) -> dict[str, Any]:
    """Ask a running server through its administration port.

    Raises ConfigurationError for files that cannot be used, IdentityError when it is no server's certificate, OSError
    and ServeError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ADMINISTRATION_ALPN])
    try:
        context.load_verify_locations(holder.root)
        context.load_cert_chain(holder.certificate, holder.key)
    except OSError as error:
        reason = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or "not PEM"
        raise ConfigurationError(f"root, certificate or key cannot be used ({reason}); check the files") from None
    try:
        with (
            socket.create_connection((host, port), EXCHANGE_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=host) as connection,
        ):
            if connection.selected_alpn_protocol() != ADMINISTRATION_ALPN:
                raise ServeError(f"{host} port {port} is no administration port")
            from_certificate(connection.getpeercert(), frozenset({Role.SERVER}))
            return _asked(connection, command)
    except ssl.SSLError as error:  # in TLS 1.3 the server's refusal of a certificate comes with the first answer
        raise ServeError(f"{host} port {port}: TLS failed, one side refused the other ({error.reason})") from None


def _asked(connection: socket.socket, command: str) -> dict[str, Any]:
    connection.sendall(line({"command": command}))
    answer = b""
    while more := connection.recv(65_536):
        answer += more
        if len(answer) > ANSWER_BYTES_MAX:
            raise ServeError("the server's answer is too long")
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ServeError("the server closed the connection without an answer") from None
