"""The demo's directory: nation, trial certificates, authority, configuration of the server, profile of the client."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jukinet.clients.demo.processes import DemoError, run_step
from jukinet.clients.settings import Credentials

SEED: Final = 1
BODY: Final = "japan-pension-service"
HOST: Final = "localhost"
MARKER: Final = "demo.json"
AFFAIR: Final[dict[str, Any]] = {"schedule": 1, "item": "74", "number": 0}
REFUSED_AFFAIR: Final[dict[str, Any]] = {"schedule": 1, "item": "41", "number": 0}
"""Passports: an affair of the Ministry of Foreign Affairs."""

AUTHORITY: Final = """\
# Authority of the demo: one agency, two affairs. docs/authority.md tells the format.
format = 1
title = "Authority of the demo"

[[body]]
role = "agency"
name = "japan-pension-service"
display = "Japan Pension Service (日本年金機構)"
codes_per_second_max = 50_000_000
connections_max = 64

[[body.affair]]
schedule = 1
item = "74"
title = "Employees' pensions"
legal_basis = "Basic Resident Register Act, schedule 1, item 74"
functions = ["LOOKUP", "STATUS", "VERIFY", "SEARCH", "MATCH"]
items = ["ALL"]
valid_from = 2002-08-05

[[body.affair]]
schedule = 1
item = "77"
title = "National pensions"
legal_basis = "Basic Resident Register Act, schedule 1, item 77"
functions = ["STATUS", "VERIFY"]
items = ["NAME", "BIRTH_DATE"]
valid_from = 2002-08-05
"""

CONFIGURATION: Final = """\
# Written by `jukinet demo`. Every setting: jukinet serve --print-defaults
[server]
address = "127.0.0.1"
port = {port}

[register]
store = "{nation}"

[tls]
certificate = "pki/server.pem"
key = "pki/server.key"
roots = "pki/root.pem"

[authority]
file = "authority.toml"

[operators]
required = false

[record_of_use]
directory = "record-of-use"

[observation]
metrics_file = "metrics.prom"
"""

PROFILE: Final = """\
# Written by `jukinet demo`. Use it with jukinet lookup, status and verify: --profile THIS
[server]
host = "{host}"
port = {port}

[tls]
root = "pki/root.pem"
certificate = "pki/agency-japan-pension-service.pem"
key = "pki/agency-japan-pension-service.key"

[affair]
schedule = 1
item = "74"
number = 0
operator = "demo-operator"
reason = "demonstration"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo's files are."""

    directory: Path
    residents: int
    port: int

    @property
    def nation(self) -> Path:
        return self.directory / f"nation-{self.residents}"

    @property
    def record_of_use(self) -> Path:
        return self.directory / "record-of-use"

    @property
    def configuration(self) -> Path:
        return self.directory / "server.toml"

    @property
    def credentials(self) -> Credentials:
        pki = self.directory / "pki"
        return Credentials(pki / "root.pem", pki / f"agency-{BODY}.pem", pki / f"agency-{BODY}.key")


def take(directory: Path) -> int:
    """Make the directory, or take one that an earlier demo made; the descriptor of its lock, to be kept open.

    DemoError when the directory holds something else, or when another demo runs there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    marker = directory / MARKER
    if not marker.exists() and any(directory.iterdir()):
        raise DemoError(f"{directory} holds files that are not the demo's; give another --directory")
    marker.write_text(json.dumps({"made_by": "jukinet demo", "seed": SEED}) + "\n")
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DemoError(f"another demo runs in {directory}; give another --directory") from None
    return lock


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def is_usable(nation: Path) -> bool:
    """Whether a register is there that was finished and that this version can read."""
    if not nation.exists():
        return False
    try:
        run_step("looking at the nation", "store", "info", str(nation))
    except DemoError:
        return False
    return True


def make_certificates(place: Place) -> None:
    """Fresh trial certificates each time: they hold a few days only."""
    pki = place.directory / "pki"
    shutil.rmtree(pki, ignore_errors=True)
    run_step("making the trial root", "pki", "init", str(pki), "--host", HOST, "--host", "127.0.0.1")
    run_step("making the agency's certificate", "pki", "issue", str(pki), "agency", BODY)


def write_settings(place: Place) -> None:
    (place.directory / "authority.toml").write_text(AUTHORITY)
    place.configuration.write_text(CONFIGURATION.format(port=place.port, nation=place.nation.name))
    (place.directory / "profile.toml").write_text(PROFILE.format(host=HOST, port=place.port))


def size_bytes(directory: Path) -> int:
    """Bytes that the files of a directory take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
