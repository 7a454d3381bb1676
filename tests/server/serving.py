"""A real server process over a small register, and a plain blocking caller that speaks the protocol with core.wire."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jukinet.core.codes import code_from_key
from jukinet.core.records.resident import Resident
from jukinet.core.wire import ClientConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn
from jukinet.server.pki.trial import IssuedFiles, TrialAuthority

from ..core.stores import AREAS, build_store

START_SECONDS = 30.0
STEP_SECONDS = 15.0

AUTHORITY = """
format = 1
title = "for tests"

[[body]]
role = "agency"
name = "pensions"
display = "Pensions"
codes_per_second_max = 100_000_000
connections_max = 40

[[body.affair]]
schedule = 1
item = "77"
title = "National pensions"
legal_basis = "schedule 1"
functions = ["LOOKUP", "STATUS", "VERIFY", "COHORT"]
items = ["ALL"]
valid_from = 2002-08-05

[[body.affair]]
schedule = 1
item = "72"
title = "Health insurance"
legal_basis = "schedule 1"
functions = ["LOOKUP", "HISTORY"]
items = ["NAME", "BIRTH_DATE", "SEX", "ADDRESS", "CHANGE"]
valid_from = 2002-08-05

[[body.affair]]
schedule = 1
item = "39"
title = "Deposits"
legal_basis = "schedule 1"
functions = ["LOOKUP"]
items = ["NAME", "BIRTH_DATE"]
codes_per_request_max = 100
valid_from = 2002-08-05

[[body.affair]]
schedule = 1
item = "16"
title = "Over"
legal_basis = "schedule 1"
functions = ["LOOKUP"]
items = ["NAME"]
valid_from = 2002-08-05
valid_until = 2003-08-05

[[body.affair]]
schedule = 1
item = "74"
title = "Employees' pensions"
legal_basis = "schedule 1"
functions = ["SEARCH", "MATCH"]
items = ["ALL"]
valid_from = 2002-08-05
matching = { prefix = true, hits_max = 5 }

[[body.affair]]
schedule = 1
item = "48"
title = "Private-school mutual aid"
legal_basis = "schedule 1"
functions = ["SEARCH", "MATCH"]
items = ["NAME", "BIRTH_DATE"]
valid_from = 2002-08-05

[[body]]
role = "agency"
name = "slow"
display = "A body with a low rate"
codes_per_second_max = 1_000
connections_max = 2

[[body.affair]]
schedule = 1
item = "77"
title = "National pensions"
legal_basis = "schedule 1"
functions = ["LOOKUP", "STATUS"]
items = ["ALL"]
valid_from = 2002-08-05
"""


GIVEN: tuple[tuple[str, str, int, Any], ...] = (
    ("name", "names", 1, ""),
    ("kana", "kana", 2, ""),
    ("birth_date", "birth_dates", 8, 0),
    ("sex", "sexes", 16, 0),
    ("address", "addresses", 32, ""),
)


COMMON_DATE = 19650220
"""One in fifty has the reading シケンタロウ and was born on this day."""


def reading(number: int) -> str:
    """A reading of its own for each number."""
    return "シケン" + "".join("アカサタナハマヤラワ"[int(digit)] for digit in f"{number:04}") + "ロウ"


def residents(count: int) -> list[Resident]:
    """Believable enough, and every text is unmistakable when it turns up where it must not."""
    chooser = random.Random(11)
    found = []
    for number in range(count):
        key = chooser.randrange(10**10)
        found.append(
            Resident(
                key=key,
                state=chooser.choice([1, 1, 1, 1, 1, 1, 2, 3]),
                reason=11,
                sex=chooser.choice([1, 2]),
                area=chooser.choice([0, 2, 3, 4]),
                change_date=20100401,
                registered_day=chooser.randrange(3_000, 9_000),
                birth_date=COMMON_DATE if number % 50 == 0 else chooser.randrange(1930, 2020) * 10_000 + 220,
                update_number=1,
                town=chooser.choice([1, 3, 4, 5]),
                name=f"試験{number}太郎",
                kana="シケンタロウ" if number % 50 == 0 else reading(number),
                address_rest=f"{number % 9 + 1}丁目{number}番",
            )
        )
    return found


class Place:
    """A directory with everything a server needs: register, certificates, authority file."""

    def __init__(self, directory: Path, count: int = 3_000) -> None:
        self.directory = directory
        self.store = directory / "register"
        self.table = build_store(self.store, residents(count))
        self.codes = array("Q", sorted(code_from_key(key) for key in self.table))
        self.root = TrialAuthority.make()
        self.root.write(directory)
        self.files: dict[str, IssuedFiles] = {
            "server": self.root.issue_files(
                directory, "server", "trial", hosts=["localhost", "127.0.0.1"], stem="server"
            )
        }
        for body in ("pensions", "slow", "strangers"):
            self.files[body] = self.root.issue_files(directory, "agency", body)

    def configuration(self, directory: Path, **sections: dict[str, Any]) -> Path:
        """A configuration file in ``directory``; sections override the settings for tests."""
        (directory / "authority.toml").write_text(AUTHORITY)
        settings: dict[str, dict[str, Any]] = {
            "server": {"port": 0, "workers": 1},
            "register": {"store": str(self.store)},
            "tls": {
                "certificate": str(self.files["server"].certificate),
                "key": str(self.files["server"].key),
                "roots": str(self.directory / "root.pem"),
            },
            "authority": {"file": "authority.toml"},
            "operators": {"required": False},
            "record_of_use": {
                "directory": "record-of-use",
                "retry_seconds": 0.2,
                "segment_bytes_max": 1 << 20,
                "segment_step_bytes": 1 << 16,
            },
            "waits": {"close_seconds": 0.3, "drain_seconds": 5.0},
            "observation": {"metrics_file": "metrics.prom", "metrics_seconds": 0.2},
        }
        for section, values in sections.items():
            settings.setdefault(section, {}).update(values)
        lines = []
        for section, values in settings.items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        path = directory / "server.toml"
        path.write_text("\n".join(lines) + "\n")
        return path


class Server:
    """``jukinet serve`` as a process of its own; a context that drains it and leaves nothing running."""

    def __init__(self, configuration: Path, environment: dict[str, str] | None = None) -> None:
        """``environment``: variables that its processes have besides this one's."""
        self.directory = configuration.parent
        self.records: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._seen = threading.Condition()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import argparse; from jukinet.server import serve_command; parser = argparse.ArgumentParser();"
                "serve_command.add_arguments(parser); raise SystemExit(serve_command.run(parser.parse_args()))",
                "--config",
                str(configuration),
            ],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stderr, self.process.stdout)
        ]
        for reader in self._readers:
            reader.start()
        self.port = 0

    def _read(self, stream: Any) -> None:
        for line in stream:
            text = line.decode()
            with self._seen:
                self.raw.append(text)
                try:
                    self.records.append(json.loads(text))
                except ValueError:
                    pass
                self._seen.notify_all()
        with self._seen:
            self._seen.notify_all()

    def wait_for(self, event: str, count: int = 1, seconds: float = START_SECONDS, **fields: Any) -> dict[str, Any]:
        """The ``count``-th log record with this event and these fields."""

        def found() -> list[dict[str, Any]]:
            return [r for r in self.records if r["event"] == event and fields.items() <= r.items()]

        with self._seen:
            if not self._seen.wait_for(lambda: len(found()) >= count, seconds):
                raise AssertionError(f"no {event} {fields} in:\n" + "".join(self.raw[-40:]))
            return found()[count - 1]

    def __enter__(self) -> Self:
        try:
            self.port = self.wait_for("serving")["port"]
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, number: signal.Signals | None = signal.SIGTERM, seconds: float = START_SECONDS) -> int:
        """Signal the server (None: only wait) and wait for its end: the exit code."""
        if self.process.poll() is None and number is not None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the server did not end:\n" + "".join(self.raw[-40:])) from None
        finally:
            for reader in self._readers:
                reader.join(STEP_SECONDS)
            for stream in (self.process.stdout, self.process.stderr):
                assert stream is not None
                stream.close()
        return code

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        code = self.stop()
        if kind is None:
            assert code == 0, f"exit code {code}:\n" + "".join(self.raw[-40:])

    def worker_processes(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    def metrics(self) -> str:
        return (self.directory / "metrics.prom").read_text()

    def wait_for_metric(self, line: str, seconds: float = STEP_SECONDS) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (self.directory / "metrics.prom").exists() and line in self.metrics().splitlines():
                return
            time.sleep(0.05)
        raise AssertionError(f"{line!r} is not in\n{self.metrics()}")


def client_context(place: Place, body: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(place.directory / "root.pem"))
    context.set_alpn_protocols(["jukinet/1"])
    if body is not None:
        files = place.files[body]
        context.load_cert_chain(files.certificate, files.key)
    return context


def tls_connection(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """To a port of this machine. It is wrapped before it connects: wrapping one that the peer, killed perhaps, has just
    reset fails and leaves its socket open."""
    secured = context.wrap_socket(socket.socket(), server_hostname="localhost")
    try:
        secured.settimeout(STEP_SECONDS)
        secured.connect(("127.0.0.1", port))
    except BaseException:
        secured.close()
        raise
    return secured


class Caller:
    """A blocking connection: send a message, take events."""

    def __init__(
        self, place: Place, port: int, body: str | None = "pensions", context: ssl.SSLContext | None = None
    ) -> None:
        self.wire = ClientConnection()
        self.socket = tls_connection(context or client_context(place, body), port)
        self.session = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def event(self) -> Any:
        """The next message; EOFError when the server has closed."""
        while True:
            event = self.wire.next_event()
            if event is not None:
                return event
            count = self.socket.recv_into(self.wire.get_buffer())
            if count == 0:
                raise EOFError
            self.wire.received(count)

    def send(self, message: Any) -> int:
        data = self.wire.send(message)
        for part in data if isinstance(data, list) else [data]:
            self.socket.sendall(part)
        request_id: int = message.request_id
        return request_id

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self.event()

    def ask_unchecked(self, message: Any, session: int, codes: Any) -> Any:
        """Ask what ClientConnection would not send: its own checks are passed by."""
        body = array("Q", codes).tobytes()
        head = struct.pack("<IHHIIIIII", 16 + len(body), message.type, 0, 9_999, 0, session, 0, len(body) // 8, 0)
        self.wire.under_way[9_999] = int(message.type)
        self.socket.sendall(head + body)
        return self.event()

    def new(self) -> int:
        return self.wire.new_request_id()

    def open(self, item: str = "77", schedule: int = 1) -> Any:
        """Greeting and an affair session; the answer to OPEN_SESSION."""
        if self.wire.greeting is None:
            event = self.event()
            assert isinstance(event, m.Greeting), event
        answer = self.ask(
            m.OpenSession(self.new(), schedule, item, 0, "operator-7731", "reason-for-tests", "case-reference-9917")
        )
        if isinstance(answer, m.SessionOpened):
            self.session = answer.session_id
        return answer

    def lookup(self, codes: Any, items: int = 0) -> Any:
        return self.ask(m.LookupRequest(self.new(), self.session, items, memoryview(array("Q", codes))))

    def find(self, kind: Any, rows: list[dict[str, Any]], items: int = 0, prefix: bool = False) -> Any:
        """SEARCH or MATCH (the request's class) of rows with name, kana, birth_date, sex, address."""
        answer = self.ask(self.finding(kind, rows, items, prefix))
        while isinstance(answer, m.Progress):
            answer = self.event()
        return answer

    def finding(self, kind: Any, rows: list[dict[str, Any]], items: int = 0, prefix: bool = False) -> Any:
        given, columns = 0, {}
        for name, field, bit, empty in GIVEN:
            if any(name in row for row in rows):
                values = [row.get(name, empty) for row in rows]
                given |= bit
                columns[field] = (
                    TextColumn.from_texts(values)
                    if empty == ""
                    else memoryview(array("I" if name == "birth_date" else "B", values))
                )
        return kind(self.new(), self.session, items, given, prefix, len(rows), **columns)

    def status(self, codes: Any, since: int = 20150401) -> Any:
        return self.ask(m.StatusRequest(self.new(), self.session, since, memoryview(array("Q", codes))))


def processes_gone(numbers: list[int], seconds: float = STEP_SECONDS) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(Path(f"/proc/{number}").exists() for number in numbers):
            return True
        time.sleep(0.02)
    return False


__all__ = ["AREAS", "Caller", "Place", "Server", "client_context", "processes_gone"]
