"""Notices when the whole machine stood still, as virtual machines do, so that a round spoilt by it can be repeated.

A process of its own sleeps for SLEEP_SECONDS at a time. When it finds that a sleep took longer than STANDSTILL_SECONDS,
nothing on the machine can have been working: the scheduler gives a process that has slept its turn within milliseconds
even when every core is busy. A server that stalls does not hinder it, so no stall of ours is ever excused.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

SLEEP_SECONDS: Final = 0.02
STANDSTILL_SECONDS: Final = 0.25
SETTLE_SECONDS: Final = 0.06
"""After a standstill the watching process may wake after its reader; this is how long the reader waits for it."""
WATCHING: Final = f"""
import os, time
before = time.monotonic()
parent = os.getppid()
while os.getppid() == parent:
    time.sleep({SLEEP_SECONDS})
    now = time.monotonic()
    if now - before > {STANDSTILL_SECONDS}:
        os.write(1, b'.')
    before = now
"""


class StandstillWatch:
    """Watches from its making until ``close``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-S", "-c", WATCHING], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)

    def stood_still(self) -> bool:
        """Whether the machine stood still since this was last asked."""
        time.sleep(SETTLE_SECONDS)
        try:
            return bool(os.read(self._pipe, 65_536))
        except BlockingIOError:
            return False

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
