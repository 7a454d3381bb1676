"""The demo with a small nation: what it shows, and that nothing is left running on any path."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def command_line(directory: Path, *words: str) -> list[str]:
    base = [sys.executable, "-m", "jukinet.clients.command", "demo", "--residents", "20000"]
    return [*base, "--directory", str(directory), *words]


def processes_about(directory: Path) -> list[int]:
    """Processes whose command line names the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in line:
                found.append(int(entry.name))
    return found


def wait_until_gone(directory: Path, seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while processes_about(directory):
        assert time.monotonic() < limit, "a process is left"
        time.sleep(0.05)


@pytest.mark.slow
def test_demo_from_start_to_end(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    done = subprocess.run(command_line(directory), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    for words in ("NOT_CONNECTED", "CODE_CHANGED", "UNKNOWN", "MALFORMED", "(exactly those)", "no authority", "昭和"):
        assert words in out
    held = re.search(r"holds\s+([\d,]+) provisions in", out)
    assert held is not None
    assert int(held[1].replace(",", "")) > 80_000
    assert not processes_about(directory)
    # Again in the same place: the nation is found, and the record of use goes on.
    with subprocess.Popen(command_line(directory), stdout=subprocess.PIPE, text=True) as again:
        assert again.stdout is not None
        for line in again.stdout:
            if "ready in" in line:
                break
        other = subprocess.run(command_line(directory), capture_output=True, text=True, timeout=30, check=False)
        assert other.returncode == 5
        assert "another demo runs" in other.stderr
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=60)
    assert again.returncode == 130
    wait_until_gone(directory)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    directory = tmp_path / "demo"
    with subprocess.Popen(
        command_line(directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "authority" in line:  # the server is being started
                break
        time.sleep(0.3)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in said
    wait_until_gone(directory)


def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = subprocess.run(command_line(tmp_path), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 5
    assert "not the demo's" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
