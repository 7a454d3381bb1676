"""The channel between the supervisor and a worker: one MessagePack message a packet on a socket pair.

The supervisor sends Start once, and Reload on SIGHUP. A worker sends Ready or Failed once, then Figures now and then.
Each side sees the other's death as the end of the channel: a worker whose supervisor is gone drains and ends, so that
no process is ever left behind.
"""

from __future__ import annotations

import socket

import msgspec
import trio
from msgspec import Struct

from jukinet.server.configuration import Configuration
from jukinet.server.metrics import Snapshot

PACKET_BYTES_MAX = 128 * 1024


class Start(Struct, tag=True, frozen=True):
    """What a process needs: its number (0 for the feed writer), the ports' numbers and the settings that were read."""

    worker: int
    ports: dict[str, int]
    """Of the ports that this process serves, by name."""
    configuration: Configuration
    shared_counts: int
    """Descriptor of the memory that all workers share, inherited (shared_counts.pyx)."""


class Reload(Struct, tag=True, frozen=True):
    """Read authority file and certificates again."""


class Ready(Struct, tag=True, frozen=True):
    """The worker serves."""

    register: str


class Failed(Struct, tag=True, frozen=True):
    """The worker cannot start; the reason is one sentence for the operator."""

    reason: str


class Figures(Struct, tag=True, frozen=True):
    """The worker's metrics."""

    snapshot: Snapshot


Message = Start | Reload | Ready | Failed | Figures


class Channel:
    """One end. ``receive`` gives None once the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._end = trio.socket.from_stdlib_socket(end)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Message)

    async def send(self, message: Message) -> bool:
        """False when the other end is gone."""
        try:
            await self._end.send(self._encoder.encode(message))
        except OSError:
            return False
        return True

    async def receive(self) -> Message | None:
        try:
            packet = await self._end.recv(PACKET_BYTES_MAX)
        except OSError:
            return None
        return self._decoder.decode(packet) if packet else None

    def close(self) -> None:
        self._end.close()


def channel_pair() -> tuple[Channel, socket.socket]:
    """The supervisor's end, and the end whose descriptor the worker inherits."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return Channel(ours), theirs


def inherited_channel(descriptor: int) -> Channel:
    """The worker's end."""
    end = socket.socket(fileno=descriptor)
    end.setblocking(False)
    return Channel(end)
