"""The demo's processes: each in a group of its own, none left behind on any path."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from jukinet.clients.errors import ClientError

STOP_SECONDS: Final = 40.0
"""The server drains for 30 s at most."""
KILL_SECONDS: Final = 5.0
START_SECONDS_MAX: Final = 900.0
STEP_SECONDS_MAX: Final = 3_600.0
LOG_LINES_KEPT: Final = 20
PR_SET_PDEATHSIG: Final = 1


class DemoError(ClientError):
    """A step of the demo failed; the message says which and what it said."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: end as after Ctrl-C."""


def jukinet(*words: str) -> list[str]:
    """The command line of `jukinet`, run with this interpreter."""
    return [sys.executable, "-m", "jukinet.clients.command", *words]


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that every ``finally`` runs."""

    def raise_terminated(*_: int | FrameType | None) -> NoReturn:
        raise Terminated

    before = {number: signal.signal(number, raise_terminated) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(line: list[str], **settings: Any) -> subprocess.Popen[str]:
    """Start a process as the leader of its own group; it gets SIGTERM when this process dies, however it dies."""
    library = ctypes.CDLL(None, use_errno=True)
    return subprocess.Popen(  # noqa: S603 - our own command
        line,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - no threads run yet
        **settings,
    )


def stop(process: subprocess.Popen[str], seconds: float = STOP_SECONDS) -> int:
    """SIGTERM to the leader, then SIGKILL to whatever is left of its group; the exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    return process.wait(KILL_SECONDS)


def run_step(what: str, *words: str, shown: bool = False) -> str:
    """Run `jukinet WORDS` to its end; its standard output. With ``shown`` its stderr (a progress bar) is passed on.

    DemoError with what it said when it fails.
    """
    process = start(jukinet(*words), stdout=subprocess.PIPE, stderr=None if shown else subprocess.PIPE)
    try:
        out, said = process.communicate(timeout=STEP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise DemoError(f"{what} took longer than {STEP_SECONDS_MAX:g} s") from None
    finally:
        stop(process)
    if process.returncode:
        lines = (said or out or "").strip().splitlines()
        tail = "; ".join(lines[-3:]) or "see above"
        raise DemoError(f"{what} failed (jukinet {words[0]}, exit code {process.returncode}): {tail}")
    return out


class ServerProcess:
    """`jukinet serve`, from start to stop. Its log goes to a file; its last lines are kept for errors."""

    def __init__(self, configuration: Path, log: Path) -> None:
        self.ready_seconds = 0.0
        self.workers = 0
        self._stopped = False
        self._log = log
        self._lines: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._serving = threading.Event()
        self._started = time.monotonic()
        self.process = start(jukinet("serve", "--config", str(configuration)), stderr=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> None:
        """Until the server says that it serves. DemoError when it ends or takes too long."""
        limit = self._started + START_SECONDS_MAX
        while not self._serving.wait(0.05):
            if self.process.poll() is not None:
                self._reader.join(KILL_SECONDS)
                raise DemoError(
                    f"the server ended with exit code {self.process.returncode}: " + " ".join(list(self._lines)[-2:])
                )
            if time.monotonic() > limit:
                raise DemoError(f"the server was not ready after {START_SECONDS_MAX:g} s; see {self._log}")
        self.ready_seconds = time.monotonic() - self._started

    def stop(self) -> float:
        """Drain and end it; the seconds that took (0 when it was stopped before)."""
        began = time.monotonic()
        if self._stopped:
            return 0.0
        stop(self.process)
        self._stopped = True
        self._reader.join(KILL_SECONDS)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return time.monotonic() - began

    def _read(self) -> None:
        stream = self.process.stderr
        if stream is None:
            return
        with self._log.open("w") as log:
            for line in stream:
                log.write(line)
                log.flush()
                self._lines.append(line.strip())
                if '"serving"' not in line:
                    continue
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if record.get("event") == "serving":
                    self.workers = int(record.get("workers", 0))
                    self._serving.set()
