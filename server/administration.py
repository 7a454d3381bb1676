"""The administration's UNIX socket: status, metrics, alarms and reload, for the account that runs the server and root.

One JSON object a line each way, at most REQUEST_BYTES_MAX, answered once; then the connection is closed. There is no
network port for administration and no certificate: the kernel says who the peer is (SO_PEERCRED), and the socket's file
has mode 0600. Nothing of a request, an answer or the register can be had here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from jukinet.server.event_log import EventLog, operating_error
from jukinet.server.listening import ServeError

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


class Administration:
    """Serves the socket until cancelled."""

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
                with trio.move_on_after(EXCHANGE_SECONDS):
                    await stream.send_all(msgspec.json.encode(await self._result(stream)) + b"\n")

    async def _result(self, stream: trio.SocketStream) -> Mapping[str, Any]:
        if peer_account(stream.socket) not in (0, os.getuid()):  # type: ignore[arg-type]
            self._log.warning("administration_refused")
            return {"error": "not for this account"}
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
        self._log.info("administration", command=name)
        try:
            return await command()
        except Exception as error:  # a defect here must not end the server
            self._log.failure("administration_failed", error)
            return {"error": "the server failed; see its log"}


def ask(path: str, command: str) -> dict[str, Any]:
    """Ask a running server, from another process. Raises OSError and ServeError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(EXCHANGE_SECONDS)
        connection.connect(path)
        connection.sendall(msgspec.json.encode({"command": command}) + b"\n")
        answer = b""
        while more := connection.recv(65_536):
            answer += more
            if len(answer) > ANSWER_BYTES_MAX:
                raise ServeError("the server's answer is too long")
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ServeError("the server closed the connection without an answer") from None
