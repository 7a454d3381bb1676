"""One segment while it is written: made, given room, written group by group, cut back after a failure, closed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jukinet.core.audit.layout import (
    END_MARK,
    GROUP_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    GroupHeader,
    SegmentHeader,
    segment_checksum,
    segment_name,
)

if TYPE_CHECKING:  # not a dependency at run time
    from typing_extensions import Buffer

FILE_MODE = 0o600
NEW_SUFFIX = ".new"


def sync_directory(directory: Path) -> None:
    """Make names in ``directory`` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def holds_no_group(path: Path) -> bool:
    """Whether no group was ever begun in a segment: zeros stand where the first would. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        file.seek(SEGMENT_HEADER_BYTES)
        return not any(file.read(GROUP_HEADER_BYTES))


class SegmentFile:
    """The segment that a worker writes.

    Invariant: SEGMENT_HEADER_BYTES <= ``durable`` and ``durable`` + an end mark <= ``allocated``; every byte below
    ``durable`` is durable, and from there to ``allocated`` the file holds zeros, unless ``doubtful``.
    """

    def __init__(self, path: Path, descriptor: int, header: SegmentHeader, encoded: bytes) -> None:
        self.path = path
        self.header = header
        self.durable = SEGMENT_HEADER_BYTES
        self.allocated = SEGMENT_HEADER_BYTES
        self.doubtful = False
        """Nobody knows what stands behind ``durable``: nothing more may be written here."""
        self._seed = segment_checksum(encoded)
        self._descriptor = descriptor

    @classmethod
    def create(
        cls,
        directory: Path,
        *,
        register: bytes,
        worker: int,
        segment: int,
        first_sequence: int,
        previous_end: int,
        step_bytes: int,
        free_bytes_min: int,
    ) -> SegmentFile:
        """A new segment with a durable header and a first step of room. Raises OSError; then nothing may be left.

        What an earlier attempt left because it could not be removed either is replaced.
        """
        header = SegmentHeader(
            register=register,
            worker=worker,
            segment=segment,
            first_sequence=first_sequence,
            created=time.time_ns(),
            previous_end=previous_end,
            salt=secrets.token_bytes(32),
        )
        encoded = header.encode()
        path = directory / segment_name(worker, segment)
        making = path.with_name(path.name + NEW_SUFFIX)
        if path.exists() and not holds_no_group(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        making.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self = cls(path, os.open(making, flags, FILE_MODE), header, encoded)
        try:
            self._write_all([encoded], 0)
            self.make_room(0, step_bytes, free_bytes_min)
            os.fsync(self._descriptor)
            making.rename(path)
        except BaseException:
            self.abandon()
            with contextlib.suppress(OSError):  # the next attempt removes it
                making.unlink(missing_ok=True)
            raise
        try:
            sync_directory(directory)
        except BaseException:
            self.abandon()
            with contextlib.suppress(OSError):  # the next attempt replaces it
                path.unlink(missing_ok=True)
            raise
        return self

    def make_room(self, more: int, step_bytes: int, free_bytes_min: int) -> None:
        """Reserve room for ``more`` bytes and an end mark. Raises OSError; then nothing has changed."""
        needed = self.durable + more + GROUP_HEADER_BYTES
        if needed <= self.allocated:
            return
        length = max(needed - self.allocated, step_bytes)
        room = os.fstatvfs(self._descriptor)
        if room.f_bavail * room.f_frsize < length + free_bytes_min:
            raise OSError(errno.ENOSPC, f"fewer than {free_bytes_min:,} bytes would stay free")
        try:
            os.posix_fallocate(self._descriptor, self.allocated, length)
        except OSError:
            with contextlib.suppress(OSError):  # a part of it may have been given
                os.ftruncate(self._descriptor, self.allocated)
            raise
        self.allocated += length

    def write_group(
        self,
        pieces: Sequence[Buffer],
        first_sequence: int,
        records: int,
        wanted: Callable[[], None] | None = None,
    ) -> None:
        """Write records as one group and make it durable. Room must have been made.

        ``wanted`` is called when the group is durable; what it raises takes the group back, as a failed write would.
        Raises OSError; then the group does not count, and ``doubtful`` tells whether the segment can go on.
        """
        assert not self.doubtful
        size = GROUP_HEADER_BYTES + sum(memoryview(piece).nbytes for piece in pieces)
        assert self.durable + size + GROUP_HEADER_BYTES <= self.allocated
        header = GroupHeader(
            offset=self.durable, group_bytes=size, first_sequence=first_sequence, records=records
        ).encode(self._seed)
        try:
            self._write_all([header, *pieces], self.durable)
        except BaseException:
            self._cut_back()
            raise
        try:
            os.fdatasync(self._descriptor)
        except BaseException:
            self._cut_back()
            self.doubtful = True  # the kernel may have dropped the pages and the error; only another file is certain
            raise
        if wanted is not None:
            try:
                wanted()
            except BaseException:
                self._cut_back()
                raise
        self.durable += size

    def _write_all(self, pieces: Sequence[Buffer], offset: int) -> None:
        left = [memoryview(piece).cast("B") for piece in pieces]
        try:
            while left:
                written = os.pwritev(self._descriptor, left, offset)
                if written == 0:
                    raise OSError(errno.ENOSPC, "nothing more can be written")
                offset += written
                while left and written >= left[0].nbytes:
                    written -= left.pop(0).nbytes
                if written:
                    left[0] = left[0][written:]
        finally:
            left.clear()

    def _cut_back(self) -> None:
        """Remove what stands behind ``durable``, and the room with it."""
        try:
            os.ftruncate(self._descriptor, self.durable)
            self.allocated = self.durable
            os.fdatasync(self._descriptor)
        except OSError:
            self.doubtful = True

    def close(self, next_sequence: int) -> int:
        """Write the end mark, give back the room left, and close. Returns what counts of the file, in bytes.

        A failure leaves the segment without an end mark, which its successor's ``previous_end`` makes good.
        """
        end = self.durable
        mark = GroupHeader(
            offset=end, group_bytes=GROUP_HEADER_BYTES, first_sequence=next_sequence, records=0, flags=END_MARK
        ).encode(self._seed)
        try:
            if not self.doubtful:
                self._write_all([mark], end)
                os.ftruncate(self._descriptor, end + GROUP_HEADER_BYTES)
                os.fsync(self._descriptor)
                self.durable = self.allocated = end + GROUP_HEADER_BYTES
        except OSError:
            self._cut_back()
        self.abandon()
        return self.durable

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
