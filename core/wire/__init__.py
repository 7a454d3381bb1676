"""The wire protocol without I/O: frames, messages, columns and the states of a connection (docs/protocol.md)."""

from jukinet.core.wire import columns, feed_messages, messages
from jukinet.core.wire.client_connection import ClientConnection
from jukinet.core.wire.connection import Sendable
from jukinet.core.wire.feed_client import FeedClientConnection
from jukinet.core.wire.feed_frames import FEED_ALPN_NAME, FeedMessageType
from jukinet.core.wire.feed_server import FeedServerConnection, WitnessServerConnection
from jukinet.core.wire.frames import ALPN_NAME, MessageType
from jukinet.core.wire.server_connection import ServerConnection
from jukinet.core.wire.states import ConnectionState

__all__ = [
    "ALPN_NAME",
    "FEED_ALPN_NAME",
    "ClientConnection",
    "ConnectionState",
    "FeedClientConnection",
    "FeedMessageType",
    "FeedServerConnection",
    "MessageType",
    "Sendable",
    "ServerConnection",
    "WitnessServerConnection",
    "columns",
    "feed_messages",
    "messages",
]
