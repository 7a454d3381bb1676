"""A port of the feed writer: the feed port, or the witness port; who is let in there, and with which certificates."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from jukinet.core.errors import ErrorCode
from jukinet.core.vocabulary import Role
from jukinet.core.wire import FeedServerConnection, WitnessServerConnection
from jukinet.server.acceptor import Acceptor, error_frame
from jukinet.server.admission import Admission
from jukinet.server.boundary import boundary_of
from jukinet.server.configuration import Configuration
from jukinet.server.credentials import PortCredentials, load_port
from jukinet.server.event_log import EventLog
from jukinet.server.identity import Identity
from jukinet.server.metrics import Metrics
from jukinet.server.transport import TlsStream

ROLES: Final = {"feed": frozenset(Role), "witness": frozenset({Role.WITNESS})}
"""Whom each port looks at. The feed port reads all roles, so that a wrong one is told that it is no feed."""
UNSERVED: Final = {"feed": ErrorCode.NOT_A_FEED, "witness": ErrorCode.UNKNOWN_BODY}
"""What each port tells others."""


class FeedPort:
    """One of the ports, by the name of its section. ``credentials`` are replaced whole at a reload."""

    credentials: PortCredentials

    def __init__(
        self,
        name: str,
        configuration: Configuration,
        take: Callable[[FeedPort, int, TlsStream], None],
        metrics: Metrics,
        log: EventLog,
    ) -> None:
        self.name = name
        self.unserved = UNSERVED[name]
        self.wire: type[FeedServerConnection] = WitnessServerConnection if name == "witness" else FeedServerConnection
        self.admission = Admission(configuration.limits)
        """The port's own, so that who fills one port does not close the other."""
        self._configuration = configuration
        self._log = log
        self._boundary = boundary_of(name, configuration.boundary)
        self.acceptor = Acceptor(
            name,
            self._open_stream,
            partial(take, self),
            self.admission,
            metrics,
            log,
            configuration.waits.handshake_seconds,
            partial(error_frame, self.unserved),
            self._boundary.allows_address,
        )

    def load(self) -> PortCredentials:
        """The certificates as the files are now. Raises ConfigurationError."""
        return load_port(self._configuration, self.name)

    def admit(self, stream: TlsStream) -> Identity:
        """The peer of a stream after its handshake. Raises IdentityError when it is not served."""
        return self._boundary.admit(stream, self.credentials.revoked, self._log, ROLES[self.name])

    def _open_stream(self, accepted: socket.socket) -> TlsStream:
        return TlsStream(accepted, self.credentials.context)
