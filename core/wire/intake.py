"""Intake: received bytes become frames, with one fixed buffer for small frames and an exact one for each large payload.

General theory of operation. Bytes are received into a staging buffer of fixed size; frames are taken from its front by
moving a position, so many small frames in one read cost no moving of bytes. What is left of a last, partial frame moves
to the front only when the space behind it runs short; that is at most DIRECT_BYTES_MIN bytes when the owner takes every
event before it asks for the next buffer. A payload longer than that is not staged: once its header has been checked,
the owner calls ``begin_direct`` and the rest is received straight into a buffer of its own, which the message keeps.
"""

from __future__ import annotations

from typing import Final

from jukinet.core.columns.column_kernel import unfilled
from jukinet.core.errors import LocalProtocolError
from jukinet.core.wire.frames import HEADER, HEADER_BYTES

STAGING_BYTES: Final = 65_536
DIRECT_BYTES_MIN: Final = 16_384
"""A payload longer than this that is not here whole gets its own buffer (one TLS record is 16,384 bytes)."""
SPACE_BYTES_MIN: Final = 16_384

assert HEADER_BYTES + DIRECT_BYTES_MIN + SPACE_BYTES_MIN <= STAGING_BYTES


class FrameIntake:
    """Invariant: 0 <= start <= end <= STAGING_BYTES; a payload being skipped or filled directly has no byte staged."""

    __slots__ = ("_direct", "_direct_filled", "_end", "_skipping", "_staging", "_start", "_view")

    def __init__(self) -> None:
        self._staging = bytearray(STAGING_BYTES)
        self._view = memoryview(self._staging)
        self._start = 0
        self._end = 0
        self._direct: bytearray | None = None
        self._direct_filled = 0
        self._skipping = 0

    def get_buffer(self) -> memoryview:
        """Where the next received bytes go; never empty. Raises LocalProtocolError when events were left untaken."""
        direct = self._direct
        if direct is not None and self._direct_filled < len(direct):
            return memoryview(direct)[self._direct_filled :]
        if self._start == self._end:
            self._start = self._end = 0
        elif STAGING_BYTES - self._end < SPACE_BYTES_MIN and self._start > 0:
            left = self._end - self._start
            self._view[:left] = self._view[self._start : self._end]
            self._start, self._end = 0, left
        if self._end == STAGING_BYTES:
            raise LocalProtocolError("the buffer is full: take the events before receiving more")
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """The transport wrote count bytes into the buffer that get_buffer gave last."""
        direct = self._direct
        if direct is not None and self._direct_filled < len(direct):
            if not 0 <= count <= len(direct) - self._direct_filled:
                raise LocalProtocolError("more bytes received than the buffer holds")
            self._direct_filled += count
            return
        if not 0 <= count <= STAGING_BYTES - self._end:
            raise LocalProtocolError("more bytes received than the buffer holds")
        self._end += count
        if self._skipping:
            self._drop()

    def _drop(self) -> None:
        dropped = min(self._skipping, self._end - self._start)
        self._skipping -= dropped
        self._start += dropped

    def take_header(self) -> tuple[int, int, int, int, int] | None:
        """(payload_bytes, type, flags, request_id, reserved) of the next frame, or None: not here yet."""
        start = self._start
        if self._end - start < HEADER_BYTES or self._skipping:
            return None
        self._start = start + HEADER_BYTES
        return HEADER.unpack_from(self._staging, start)

    def take(self, size: int) -> bytes | bytearray | None:
        """The payload of the frame whose header was taken, or None: not here yet. It is the caller's to keep."""
        direct = self._direct
        if direct is not None:
            if self._direct_filled < len(direct):
                return None
            self._direct = None
            return direct
        start = self._start
        end = start + size
        if end > self._end:
            return None
        self._start = end
        return self._view[start:end].tobytes()

    def peek(self, size: int) -> bytes | None:
        """The first bytes of the payload whose header was taken, or None: not here yet, or no longer staged."""
        if self._direct is not None or self._end - self._start < size:
            return None
        return self._view[self._start : self._start + size].tobytes()

    def begin_direct(self, size: int) -> None:
        """Receive the rest of the payload into a buffer of its own. The header must have been checked."""
        direct = unfilled(size)
        filled = self._end - self._start
        direct[:filled] = self._view[self._start : self._end]
        self._start = self._end = 0
        self._direct = direct
        self._direct_filled = filled

    def skip(self, size: int) -> None:
        """Drop the payload whose header was taken, without keeping any of it."""
        self._skipping = size
        self._drop()

    @property
    def is_direct(self) -> bool:
        """True while a payload has a buffer of its own."""
        return self._direct is not None

    @property
    def is_inside_frame(self) -> bool:
        """True when received bytes belong to a frame that is not complete."""
        return self._end > self._start or self._direct is not None or self._skipping > 0

    def clear(self) -> None:
        """Forget everything received."""
        self._start = self._end = self._skipping = 0
        self._direct = None
