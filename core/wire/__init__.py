"""The wire protocol without I/O: frames, messages, columns and the states of a connection (docs/protocol.md)."""

from jukinet.core.wire import columns, messages
from jukinet.core.wire.client_connection import ClientConnection
from jukinet.core.wire.connection import Sendable
from jukinet.core.wire.frames import ALPN_NAME, MessageType
from jukinet.core.wire.server_connection import ServerConnection
from jukinet.core.wire.states import ConnectionState

__all__ = [
    "ALPN_NAME",
    "ClientConnection",
    "ConnectionState",
    "MessageType",
    "Sendable",
    "ServerConnection",
    "columns",
    "messages",
]
