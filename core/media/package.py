"""The file format: head, frames, certificates, signature (docs/media.md). Nothing here knows what a frame says."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import BinaryIO, Final

from msgspec import Struct

from jukinet.core.errors import ErrorCode, JukinetError
from jukinet.core.wire.frames import HEADER, HEADER_BYTES

MAGIC: Final = b"JKN-MED\0"
FORMAT: Final = 1
HEAD_BYTES_MAX: Final = 65_536
CERTIFICATES_BYTES_MAX: Final = 65_536
SIGNATURE_BYTES_MAX: Final = 1_024
FRAMES_MAX: Final = 1_000_000
_START: Final = struct.Struct("<8sIII")
_LENGTH: Final = struct.Struct("<I")
_END_OF_FRAMES: Final = bytes(HEADER_BYTES)


class MediaError(JukinetError):
    """A file that is no media file, is damaged, or is not signed by whom it should be. The message says what to do."""

    code = ErrorCode.BAD_REQUEST
    exit_code = 2


class Kind(IntEnum):
    """What a file holds."""

    REQUEST = 1
    ANSWER = 2


class Frame(Struct, frozen=True):
    """One frame of a file."""

    type: int
    request_id: int
    payload: bytes


class PackageWriter:
    """Writes one file. Invariant: the digest is that of every byte written so far."""

    def __init__(self, file: BinaryIO, kind: Kind, head: bytes) -> None:
        """head: at most HEAD_BYTES_MAX bytes of MessagePack."""
        if len(head) > HEAD_BYTES_MAX:
            raise MediaError(f"the head takes {len(head)} bytes, more than {HEAD_BYTES_MAX}")
        self._file = file
        self._digest = hashlib.sha256()
        self._frames = 0
        self._write(_START.pack(MAGIC, FORMAT, kind, len(head)))
        self._write(head)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)

    def add(self, kind: int, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        """Add a frame whose payload is these parts."""
        payload = list(parts)
        self._frames += 1
        self._write(HEADER.pack(sum(map(len, payload)), kind, 0, self._frames, 0))
        for part in payload:
            self._write(part)

    def finish(self, certificates: bytes, sign: Callable[[bytes], bytes]) -> None:
        """End the file. certificates: PEM; sign: the signature of a SHA-256 digest."""
        self._write(_END_OF_FRAMES)
        self._write(_LENGTH.pack(len(certificates)))
        self._write(certificates)
        signature = sign(self._digest.digest())
        self._file.write(_LENGTH.pack(len(signature)))
        self._file.write(signature)


class Package:
    """A file whose structure was checked; whose signature and signer must be checked before its frames are used."""

    def __init__(self, file: BinaryIO, payload_bytes_max: int) -> None:
        """Read the file once, from its beginning to its end. payload_bytes_max: of a frame. Raises MediaError."""
        self._file = file
        self._digest = hashlib.sha256()
        self._left = _size_of(file)
        file.seek(0)
        magic, form, kind, head_bytes = _START.unpack(self._take(_START.size))
        if magic != MAGIC:
            raise MediaError("this is no media file of the register")
        if form != FORMAT or kind not in tuple(Kind) or head_bytes > HEAD_BYTES_MAX:
            raise MediaError(f"the media file has format {form} and kind {kind}, which this version does not know")
        self.kind = Kind(kind)
        self.head = self._take(head_bytes)
        self._frames_at = _START.size + head_bytes
        self._frames_digest = hashlib.sha256()
        self.frames_count = self._pass_frames(payload_bytes_max)
        self.frames_digest = self._frames_digest.digest()
        """SHA-256 of the frames, with their headers: what was asked, whoever signed it and when."""
        self.certificates = self._take(self._length(CERTIFICATES_BYTES_MAX))
        self.digest = self._digest.digest()
        """SHA-256 of what is signed."""
        self.signature = self._take(self._length(SIGNATURE_BYTES_MAX))
        if self._left:
            raise MediaError("bytes follow the media file's signature; it is damaged")

    def frames(self) -> Iterator[Frame]:
        """The frames in order. Read the file in one place at a time."""
        self._file.seek(self._frames_at)
        for _ in range(self.frames_count):
            size, kind, _, request_id, _ = HEADER.unpack(self._file.read(HEADER_BYTES))
            yield Frame(kind, request_id, self._file.read(size))

    def _pass_frames(self, payload_bytes_max: int) -> int:
        for number in range(1, FRAMES_MAX + 2):
            header = self._take(HEADER_BYTES)
            if header == _END_OF_FRAMES:
                return number - 1
            size, _, flags, request_id, reserved = HEADER.unpack(header)
            if flags or reserved or request_id != number or size > payload_bytes_max:
                break
            self._frames_digest.update(header)
            self._pass(size)
        raise MediaError("the media file's frames do not hold; it is damaged")

    def _length(self, most: int) -> int:
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        if length > most:
            raise MediaError("a length in the media file does not hold; it is damaged")
        return int(length)

    def _take(self, size: int) -> bytes:
        if size > self._left:
            raise MediaError("the media file ends before its signature; it was cut off")
        data = self._file.read(size)
        self._left -= size
        self._digest.update(data)
        return data

    def _pass(self, size: int) -> None:
        while size:
            data = self._take(min(size, 1 << 20))
            self._frames_digest.update(data)
            size -= len(data)


def _size_of(file: BinaryIO) -> int:
    return file.seek(0, 2)
