"""A real file system of its own for a test: ext4 in a file, mounted, so that it can be full or frozen."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def run(*words: str | Path) -> bool:
    environment = {**os.environ, "PATH": PATH}
    words = tuple(str(word) for word in words)
    return subprocess.run(words, capture_output=True, env=environment, check=False).returncode == 0


@contextlib.contextmanager
def small_disk(directory: Path, mebibytes: int) -> Iterator[Path]:
    """The mount point; skips the test where mounting is not permitted."""
    if any(shutil.which(tool, path=PATH) is None for tool in TOOLS):
        pytest.skip("needs mount(8), fsfreeze(8) and mkfs.ext4(8)")
    image, place = directory / "disk.img", directory / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    if not run("mkfs.ext4", "-q", "-m", "0", image) or not run("mount", "-o", "loop", image, place):
        pytest.skip("this machine does not let a test mount a file system")
    try:
        yield place
    finally:
        run("fsfreeze", "-u", place)
        if not run("umount", place):
            run("umount", "-l", place)


@contextlib.contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Whoever writes to the file system waits inside the kernel, where no signal reaches it."""
    assert run("fsfreeze", "-f", place)
    try:
        yield
    finally:
        assert run("fsfreeze", "-u", place)
