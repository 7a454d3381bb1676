"""Asking the kernel to read parts of files before they are needed, so that a disk reads many at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def will_need(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    """Begin to read (offset, length) ranges of a file, without waiting. What cannot be opened is left to the reader."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for offset, length in ranges:
                os.posix_fadvise(descriptor, max(0, offset), length, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)
