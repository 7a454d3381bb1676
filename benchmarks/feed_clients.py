"""A prefecture as an operator has it: profile, inbox, outbox and holdings, and `jukinet feed run` as a process."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from jukinet.clients.command import main
from jukinet.core.notifications import Notification
from jukinet.core.vocabulary import Prefecture
from jukinet.server.nation.change_files import COLUMNS, JsonLinesWriter, row_of
from nation_register import WrongAnswerError

END_SECONDS: Final = 60.0
LINGER_MILLISECONDS: Final = 20
TOLD_CHARACTERS: Final = 300


class FeedClient:
    """One prefecture's client: started, killed and started again; its inbox is filled from outside."""

    def __init__(self, work: Path, prefecture: int, certificates: Any, port: int, batch_notifications: int) -> None:
        """``certificates``: as served.Certificates. ``port``: of the line that leads to the register."""
        self.directory = self.place_of(work, prefecture)
        self._body = Prefecture(prefecture).body
        self._files = (
            certificates.root.absolute(),
            *(path.absolute() for path in certificates.prefectures[Prefecture(prefecture)]),
        )
        self._batch_notifications = batch_notifications
        self._process: subprocess.Popen[bytes] | None = None
        (self.directory / "inbox").mkdir()
        self.connect(port)

    @staticmethod
    def place_of(work: Path, prefecture: int) -> Path:
        """Where the prefecture's files lie; its holdings are built there beforehand."""
        return work / "feeds" / Prefecture(prefecture).body

    def connect(self, port: int) -> None:
        """Write the profile, for the next process that is started."""
        root, certificate, key = self._files
        (self.directory / "feed.toml").write_text(
            f'[server]\nhost = "localhost"\nport = {port}\n'
            f'[tls]\nroot = "{root}"\ncertificate = "{certificate}"\nkey = "{key}"\n'
            f'[feed]\nprefecture = "{self._body}"\noutbox = "outbox"\nholdings = "holdings"\ninbox = "inbox"\n'
            f"batch_notifications = {self._batch_notifications}\nlinger_milliseconds = {LINGER_MILLISECONDS}\n"
            "in_flight = 2\noutbox_bytes_max = 1000000000\n"
        )

    def hand_over(self, part: int, rows: list[Notification]) -> None:
        """Put a file into the inbox, whole."""
        made = self.directory / f"{part:04}.tmp"
        writer = JsonLinesWriter(made, COLUMNS)
        writer.write([row_of(row, None) for row in rows])
        writer.close()
        made.rename(self.directory / "inbox" / f"{part:04}.jsonl")

    def _words(self, action: str) -> list[str]:
        profile = str(self.directory / "feed.toml")
        return [sys.executable, "-m", "jukinet.clients.command", "feed", action, "--no-progress", "--profile", profile]

    def start(self) -> None:
        """Start `jukinet feed run`."""
        with (self.directory / "told").open("ab") as told:
            self._process = subprocess.Popen(
                self._words("run"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told
            )

    def must_run(self) -> None:
        """Raise WrongAnswerError when the process has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise WrongAnswerError(f"feed run of {self._body} ended with {self._process.returncode}: {self._told()}")

    def _told(self) -> str:
        return (self.directory / "told").read_text(errors="replace")[-TOLD_CHARACTERS:]

    def kill(self) -> None:
        """SIGKILL; no effect when no process runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """SIGTERM, and wait. Raises WrongAnswerError for an exit code above 0, and for files that were refused."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(END_SECONDS)
        self._process = None
        if code != 0:
            raise WrongAnswerError(f"feed run of {self._body} ended with {code}: {self._told()}")
        if list((self.directory / "inbox" / "refused").iterdir()):
            raise WrongAnswerError(f"{self._body}: a file of notifications was refused")

    def command(self, action: str) -> tuple[int, str]:
        """Run another command of the prefecture, in this process: its exit code and what it said."""
        told, trouble = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(trouble):
            code = main(self._words(action)[3:])
        return code, told.getvalue().strip() or trouble.getvalue().strip()[-TOLD_CHARACTERS:]
