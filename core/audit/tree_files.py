"""The tree's hashes: in memory as far as its root needs them, on disk level by level (docs/record-of-use.md, 7.3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.merkle import EMPTY_ROOT, HASH_BYTES, consistency_path, path_among
from jukinet.core.audit.tree_kernel import tile_roots, tree_root
from jukinet.core.errors import RecordOfUseError

TILE_HASHES: Final = 256
TILE_BYTES: Final = TILE_HASHES * HASH_BYTES
LEVELS: Final = (0, 8, 16, 24, 32)
"""Levels that are kept: 2^40 leaves, 10,000 single requests a second for three years."""
SIZE_MAX: Final = 1 << 40


class TreeFront:
    """The right edge of a growing tree: enough to append leaves and to know the root.

    Invariant: ``_partial[i]`` holds the nodes of level ``LEVELS[i]`` that are in no whole tile yet.
    """

    def __init__(self) -> None:
        self.size = 0
        self._partial = [b""] * len(LEVELS)

    def append(self, hashes: bytes) -> None:
        """Add leaf hashes, 32 bytes each."""
        count = len(hashes) // HASH_BYTES
        assert count * HASH_BYTES == len(hashes)
        if self.size + count > SIZE_MAX:
            raise RecordOfUseError("the tree over the record of use is full")
        for place in range(len(LEVELS)):
            if not hashes:
                break
            self._keep(place, hashes)
            pending = self._partial[place] + hashes
            whole = len(pending) // TILE_BYTES * TILE_BYTES
            self._partial[place] = pending[whole:]
            hashes = tile_roots(memoryview(pending)[:whole])
        self.size += count

    def _keep(self, place: int, hashes: bytes) -> None:
        """Nodes were made on level ``LEVELS[place]``."""

    def root(self) -> bytes:
        rest = b""
        for partial in self._partial:
            nodes = partial + rest
            rest = tree_root(nodes) if nodes else b""
        return rest or EMPTY_ROOT


class TreeFiles(TreeFront):
    """The tree's hashes in ``hashes-00``, ``hashes-08`` ... of a directory, for one writer and any readers.

    A reader uses what lies below the size of a checkpoint; a writer ``rewind``s to such a size first.
    """

    def __init__(self, directory: Path, *, writable: bool = False) -> None:
        """Raises RecordOfUseError when a file cannot be opened."""
        super().__init__()
        self._paths = [directory / f"hashes-{level:02d}" for level in LEVELS]
        self._files: list[int] = []
        flags = (os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY) | os.O_CLOEXEC
        try:
            for path in self._paths:
                self._files.append(os.open(path, flags, 0o600))
        except OSError as error:
            self.close()
            raise RecordOfUseError(f"{path}: cannot be opened ({error.strerror})") from error

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []

    def rewind(self, size: int) -> bool:
        """Go on from a tree of ``size`` leaves; what lies behind is cut off. False when the files hold less."""
        partial = []
        for place, level in enumerate(LEVELS):
            count = size >> level
            if os.fstat(self._files[place]).st_size < count * HASH_BYTES:
                return False
            os.ftruncate(self._files[place], count * HASH_BYTES)
            partial.append(self.nodes(place, count // TILE_HASHES * TILE_HASHES, count))
        self._partial = partial
        self.size = size
        return True

    def _keep(self, place: int, hashes: bytes) -> None:
        data = memoryview(hashes)
        offset = (self.size >> LEVELS[place]) * HASH_BYTES
        while data:
            written = os.pwrite(self._files[place], data, offset)
            data, offset = data[written:], offset + written

    def sync(self) -> None:
        for descriptor in self._files:
            os.fdatasync(descriptor)

    def nodes(self, place: int, first: int, end: int) -> bytes:
        """Nodes ``first`` to ``end`` - 1 of level ``LEVELS[place]``. Raises TreeDamagedError: the file is shorter."""
        wanted = (end - first) * HASH_BYTES
        data = os.pread(self._files[place], wanted, first * HASH_BYTES)
        if len(data) != wanted:
            raise TreeDamagedError(self._paths[place], "shorter than the tree")
        return data

    def expect(self, leaves: Sequence[int]) -> None:
        """Have the kernel read the lowest hashes of these leaves' paths, without waiting."""
        for place in range(2):
            for tile in {leaf >> LEVELS[place] + LEVELS[1] for leaf in leaves}:
                os.posix_fadvise(self._files[place], tile * TILE_BYTES, TILE_BYTES, os.POSIX_FADV_WILLNEED)

    def root_between(self, first: int, end: int) -> bytes:
        """Root over leaves ``first`` to ``end`` - 1; ``first``: a multiple of a power of two not below their number."""
        rest = b""
        place = 0
        while end - first > TILE_HASHES or (rest and end - first == TILE_HASHES):
            over = end % TILE_HASHES
            if over or rest:
                rest = tree_root(self.nodes(place, end - over, end) + rest)
            first, end, place = first // TILE_HASHES, end // TILE_HASHES, place + 1
        return tree_root(self.nodes(place, first, end) + rest)

    def inclusion_path(self, leaf: int, size: int) -> list[bytes]:
        """The path of a leaf in the tree of the first ``size`` leaves, lowest sibling first."""
        if not 0 <= leaf < size:
            raise ValueError("a leaf outside the tree")
        path: list[bytes] = []
        index, count, rest = leaf, size, b""
        for place in range(len(LEVELS)):
            first = index // TILE_HASHES * TILE_HASHES
            end = min(first + TILE_HASHES, count)
            nodes = self.nodes(place, first, end) + (rest if end - first < TILE_HASHES else b"")
            path += path_among(nodes, index - first)
            over = count % TILE_HASHES
            last = self.nodes(place, count - over, count) + rest
            rest = tree_root(last) if last else b""
            index, count = index // TILE_HASHES, count // TILE_HASHES
            if count == 0:
                break
        return path

    def consistency(self, old_size: int, size: int) -> list[bytes]:
        """The proof that the tree of ``old_size`` > 0 leaves is the beginning of that of ``size``."""
        return consistency_path(old_size, size, self.root_between)
