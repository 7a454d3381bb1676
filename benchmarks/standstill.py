"""Notices when the whole machine stood still, as virtual machines do, so that a round spoilt by it can be repeated.

A process of its own, which has nothing to do with what is measured, sleeps for SLEEP_SECONDS at a time. When a sleep
took longer than STANDSTILL_SECONDS, it could not run either, and the round is not one of the program alone. Why is not
known: a halted virtual machine looks like this, and so might extreme load. A server that merely stalls does not hinder
it.

The rule can only take slow rounds out, so every report tells how often it did (``rounds_repeated``).
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
