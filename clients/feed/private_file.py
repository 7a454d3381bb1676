"""Files that hold somebody's data: readable for their owner alone, and there only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from jukinet.clients.errors import UsageError


@contextmanager
def private_csv(path: str) -> Iterator[TextIO]:
    """Write a new text file, mode 0600, which takes its name at the end. UsageError when there is one already."""
    target = Path(path)
    if target.exists() or target.is_symlink():
        raise UsageError(f"{path} exists; name another file")
    work = target.with_name(target.name + ".work")
    descriptor = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        work.rename(target)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
