"""A real `jukinet serve` for benchmarks: one worker, trial certificates, authority and the durable record of use on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from figures import Options, process_cpu_seconds
from jukinet.core.vocabulary import Prefecture, Role
from jukinet.server.pki import make_trial

BODY: Final = "japan-pension-service"
CONNECTIONS_MAX: Final = 512
START_SECONDS: Final = 900.0
STOP_SECONDS: Final = 60.0
AFFAIR: Final[dict[str, Any]] = {
    "schedule": 1, "item": "77", "operator": "benchmark", "reason": "measuring", "case_reference": "figures",
}  # fmt: skip

AUTHORITY: Final = f"""format = 1

[[body]]
role = "agency"
name = "{BODY}"
display = "Japan Pension Service"
codes_per_second_max = 1_000_000_000
connections_max = {CONNECTIONS_MAX}

[[body.affair]]
schedule = 1
item = "77"
title = "National pensions"
legal_basis = "Basic Resident Register Act, schedule 1, item 77"
functions = ["LOOKUP", "STATUS", "VERIFY", "SEARCH", "MATCH"]
items = ["ALL"]
valid_from = 2002-08-05
"""


class Certificates:
    """Trial certificates for one benchmark: root, server, one agency, and prefectures. Redis uses the same ones."""

    def __init__(self, directory: Path, prefectures: Iterable[Prefecture] = ()) -> None:
        feeds = [(Role.PREFECTURE, prefecture.body) for prefecture in prefectures]
        issued = make_trial(directory, bodies=[(Role.AGENCY, BODY), *feeds])
        self.prefectures = {
            prefecture: (Path(files.certificate), Path(files.key))
            for prefecture in prefectures
            for files in [issued[Role.PREFECTURE, prefecture.body]]
        }
        agency, server = issued[(Role.AGENCY, BODY)], issued[("server", "trial")]
        self.root = directory / "root.pem"
        self.server, self.server_key = Path(server.certificate), Path(server.key)
        self.agency, self.agency_key = Path(agency.certificate), Path(agency.key)


class ServedRegister:
    """The server as a process of its own. Leaving the context drains and ends it; nothing is left running."""

    def __init__(
        self,
        chosen: Options,
        certificates: Certificates,
        *,
        fed: Path | None = None,
        workers: int = 1,
        more: Mapping[str, Mapping[str, Any]] | None = None,
        sealing_key: Path | None = None,
        matching: Path | None = None,
    ) -> None:
        """fed: a register to serve in place of the chosen one, which also takes feeds. more: settings by section.
        sealing_key: seal the record of use as it grows, in segments of 16 MiB. matching: the affair's parameter file.
        """
        directory = chosen.work / ("server" if sealing_key is None else "sealing-server")
        directory.mkdir(exist_ok=True)
        named = "" if matching is None else f"matching = {{ parameters = {json.dumps(str(matching.absolute()))} }}\n"
        (directory / "authority.toml").write_text(AUTHORITY + named)
        path = directory / "server.toml"
        sections = dict(more or {})
        if sealing_key is not None:
            sections["record_of_use"] = {"segment_bytes_max": 16 * 1_024 * 1_024}
            sections["sealing"] = {"key": str(sealing_key.absolute())}
        path.write_text(self._settings(fed or chosen.store, certificates, fed is not None, workers, sections))
        self._lines: list[str] = []
        self._heard = threading.Condition()
        self._serving: dict[str, Any] | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jukinet.clients.command", "serve", "--config", str(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self.port = self.feed_port = 0

    @staticmethod
    def _settings(
        store: Path, certificates: Certificates, is_fed: bool, workers: int, more: Mapping[str, Mapping[str, Any]]
    ) -> str:
        sections: dict[str, dict[str, Any]] = {
            "server": {"port": 0, "workers": workers},
            "register": {"store": str(store.absolute())},
            "feed": {"enabled": is_fed, "port": 0, "roots": str(certificates.root.absolute())},
            "tls": {
                "certificate": str(certificates.server.absolute()),
                "key": str(certificates.server_key.absolute()),
                "roots": str(certificates.root.absolute()),
            },
            "authority": {"file": "authority.toml"},
            "operators": {"required": False},
            "record_of_use": {"directory": "record-of-use"},
        }
        for section, added in more.items():
            sections.setdefault(section, {}).update(added)
        lines: list[str] = []
        for section, values in sections.items():
            lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
        return "\n".join(lines) + "\n"

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode(errors="replace")
            with self._heard:
                self._lines = [*self._lines[-49:], text]
                try:
                    record = json.loads(text)
                except ValueError:
                    continue
                if record.get("event") == "serving":
                    self._serving = record
                    self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    def __enter__(self) -> Self:
        with self._heard:
            self._heard.wait_for(lambda: self._serving is not None or self._process.poll() is not None, START_SECONDS)
            serving = self._serving
        if serving is None:
            self.stop()
            raise SystemExit("the server did not start:\n" + "".join(self._lines[-20:]))
        self.port = int(serving["port"])
        self.feed_port = int(serving.get("feed_port", 0))
        return self

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def workers(self) -> list[int]:
        """Process ids of the supervisor's children."""
        threads = Path(f"/proc/{self._process.pid}/task").iterdir()
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]

    def kill_feed_writer(self) -> bool:
        """SIGKILL to the feed writer; False while there is none."""
        for process in self.workers():
            with contextlib.suppress(OSError):  # it has just ended
                if b"jukinet.server.feed.process" in Path(f"/proc/{process}/cmdline").read_bytes():
                    os.kill(process, signal.SIGKILL)
                    return True
        return False

    def cpu_seconds(self) -> float:
        """CPU time of the worker so far."""
        return sum(map(process_cpu_seconds, self.workers()))
