"""The administration port: the commands of the UNIX socket over TLS 1.3, for administrators with certificates."""

from __future__ import annotations

import socket
from typing import Final

import msgspec
import trio

from jukinet.core.vocabulary import Role
from jukinet.server.acceptor import Acceptor
from jukinet.server.administration import CONNECTIONS_MAX, EXCHANGE_SECONDS, Administration, line
from jukinet.server.admission import Admission
from jukinet.server.boundary import boundary_of, is_revoked
from jukinet.server.configuration import Configuration
from jukinet.server.credentials import PortCredentials, load_port
from jukinet.server.event_log import EventLog
from jukinet.server.identity import Identity
from jukinet.server.metrics import Metrics
from jukinet.server.transport import TlsStream, TransportError

NAME: Final = "administration"
ROLES: Final = frozenset({Role.ADMINISTRATOR})


class TlsLines:
    """A TlsStream as what an exchange is made over. Raises TransportError."""

    def __init__(self, stream: TlsStream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int) -> bytes:
        """Bytes, none at the end of the stream."""
        buffer = bytearray(max_bytes)
        while (count := self._stream.read(memoryview(buffer))) < 0:
            await trio.lowlevel.wait_readable(self._stream.descriptor)
        return bytes(buffer[:count])

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""
        left = memoryview(data)
        while left:
            sent = self._stream.write(left)
            left = left[sent:]
            if not sent:
                await trio.lowlevel.wait_writable(self._stream.descriptor)


class AdministrationPort:
    """Serves the port until cancelled.

    Invariant: ``_exchanges`` holds exactly the connections that passed the handshake and are not closed.
    """

    def __init__(
        self, configuration: Configuration, administration: Administration, metrics: Metrics, log: EventLog
    ) -> None:
        """Raises ConfigurationError when its certificates cannot be used."""
        self._configuration = configuration
        self._administration = administration
        self._metrics = metrics
        self._log = log
        self._credentials = self.load()
        self._boundary = boundary_of(NAME, configuration.boundary)
        self._admission = Admission(
            msgspec.structs.replace(
                configuration.limits, connections_max=2 * CONNECTIONS_MAX, handshakes_max=CONNECTIONS_MAX
            )
        )
        self._room = trio.CapacityLimiter(CONNECTIONS_MAX)
        self._acceptor = Acceptor(
            NAME,
            lambda accepted: TlsStream(accepted, self._credentials.context),
            self._take,
            self._admission,
            metrics,
            log,
            configuration.waits.handshake_seconds,
            lambda words: line({"error": words}),
            self._boundary.allows_address,
        )
        self._exchanges: dict[TlsStream, trio.CancelScope] = {}
        self._nursery: trio.Nursery

    async def serve(self, listener: socket.socket) -> None:
        """Accept and answer; a connection's failure ends that connection only."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._acceptor.accept(listener, nursery)

    def load(self) -> PortCredentials:
        """The certificates as the files are now. Raises ConfigurationError."""
        return load_port(self._configuration, NAME)

    def take_up(self, credentials: PortCredentials) -> None:
        """Use these from now on; an exchange whose certificate they revoke ends."""
        self._credentials = credentials
        for stream, scope in self._exchanges.items():
            if is_revoked(stream.certificate_bytes(), credentials.revoked):
                self._log.warning("connection_error", port=NAME, kind="certificate_revoked")
                scope.cancel()

    def _take(self, number: int, stream: TlsStream) -> None:
        """Take a connection after its handshake. Raises IdentityError."""
        identity = self._boundary.admit(stream, self._credentials.revoked, self._log, ROLES)
        self._exchanges[stream] = scope = trio.CancelScope()
        self._nursery.start_soon(self._exchange, number, stream, identity, scope)

    async def _exchange(self, number: int, stream: TlsStream, identity: Identity, scope: trio.CancelScope) -> None:
        kind = "done"
        try:
            scope.deadline = trio.current_time() + EXCHANGE_SECONDS
            with scope:
                async with self._room:
                    await self._administration.exchange(
                        TlsLines(stream),
                        connection=number,
                        role=str(identity.role),
                        body=identity.body,
                        certificate=stream.certificate_digest().hex(),
                    )
                await stream.finish(self._configuration.waits.close_seconds)
            if scope.cancelled_caught:
                kind = "error"
        except TransportError as error:
            kind = error.kind
        except Exception as error:  # a defect here must not end the server
            self._log.failure("connection_failed", error, connection=number)
            kind = "defect"
        finally:
            del self._exchanges[stream]
            stream.close()
            self._admission.connections -= 1
            self._metrics.count("connections_closed_total", kind)
