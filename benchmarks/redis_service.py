"""Redis for comparison: a server over TLS with the same certificates, its load, and the fastest fair clients.

The MGET client prepares every command beforehand and knows how long each reply will be, so that in the measured time it
does nothing but TLS, send and receive: no client that looks at its answers is faster. The first replies of each run are
compared byte for byte with what they must be.
"""

from __future__ import annotations

import csv
import shutil
import socket
import ssl
import subprocess
import time
from collections import deque
from collections.abc import Iterable
from select import EPOLLIN, EPOLLOUT, epoll
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from figures import Options, process_cpu_seconds, say
from jukinet.core.store.reader import RegisterReader
from nation_register import Codes, WrongAnswerError
from plain_records import all_plain_rows
from served import Certificates

MISSING: Final = "redis-server is not installed (apt-get install redis-server): its figures are left out"
START_SECONDS: Final = 30.0
RECEIVE_BYTES: Final = 1 << 18
GET_CONNECTIONS: Final = 32
NOTHING: Final = pa.scalar("", pa.string())
NOTHING_BINARY: Final = pa.scalar(b"", pa.binary())


def installed() -> bool:
    return shutil.which("redis-server") is not None


class RedisService:
    """redis-server with Debian's defaults, but TLS 1.3 with client certificates and no persistence."""

    def __init__(self, chosen: Options, certificates: Certificates) -> None:
        self.certificates = certificates
        directory = chosen.work / "redis"
        directory.mkdir()
        self._socket = directory / "redis.sock"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        settings = {
            "port": 0, "tls-port": self.port, "bind": "127.0.0.1", "unixsocket": self._socket, "dir": directory,
            "tls-cert-file": certificates.server, "tls-key-file": certificates.server_key,
            "tls-ca-cert-file": certificates.root, "tls-auth-clients": "yes", "tls-protocols": "TLSv1.3",
            "io-threads": 1, "save": "", "appendonly": "no", "daemonize": "no", "logfile": directory / "redis.log",
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(["redis-server", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._log = directory / "redis.log"

    def __enter__(self) -> Self:
        end = time.monotonic() + START_SECONDS
        while not self._socket.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                self.__exit__(None, None, None)
                raise SystemExit("redis-server did not start:\n" + self._log.read_text()[-2_000:])
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu_seconds(self) -> float:
        return process_cpu_seconds(self._process.pid)

    def loader(self) -> socket.socket:
        """A plain local connection for loading."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._socket))
        connection.settimeout(300)
        return connection

    def memory_bytes(self) -> int:
        """Redis' own count of the memory it uses."""
        with self.loader() as connection:
            connection.sendall(b"INFO memory\r\n")
            told = connection.recv(RECEIVE_BYTES).decode()
        return int(told.partition("used_memory:")[2].split()[0])

    def connection(self) -> ssl.SSLSocket:
        """A TLS connection that presents the agency's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.certificates.root)
        context.load_cert_chain(self.certificates.agency, self.certificates.agency_key)
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = context.wrap_socket(raw, server_hostname="localhost")
        secured.setblocking(False)
        return secured

    def version(self) -> str:
        told = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
        return told.partition("v=")[2].split()[0]


def key_texts(codes: Codes) -> Any:
    """Codes as Redis keys: 11 digits, as an Arrow array of text."""
    return pc.utf8_lpad(pa.array(codes).cast(pa.string()), 11, "0")


def number_texts(first: int, count: int) -> Any:
    """Resident numbers as keys in the form of redis-benchmark's ``__rand_int__``: 12 digits."""
    return pc.utf8_lpad(pa.array(np.arange(first, first + count)).cast(pa.string()), 12, "0")


def load_by_code(service: RedisService, reader: RegisterReader, codes: Codes) -> None:
    """Plain records under their codes."""
    say(f"loading {len(codes):,} keys into Redis")
    load(service, ((key_texts(part), rows) for part, rows in all_plain_rows(reader, codes)))


def load_by_number(service: RedisService, reader: RegisterReader, codes: Codes) -> None:
    """Plain records under 12-digit numbers from 0, which is all that redis-benchmark can ask for at random."""
    say(f"loading {len(codes):,} keys into Redis")
    first = 0

    def batches() -> Iterable[tuple[Any, Any]]:
        nonlocal first
        for part, rows in all_plain_rows(reader, codes):
            yield number_texts(first, len(part)), rows
            first += len(part)

    load(service, batches())


def load(service: RedisService, batches: Iterable[tuple[Any, Any]]) -> None:
    with service.loader() as connection:
        for keys, rows in batches:
            connection.sendall(set_commands(keys, rows))
            expect(connection, b"+OK\r\n" * len(rows))


def set_commands(keys: Any, rows: Any) -> memoryview:
    """SET commands for all rows, end to end."""
    key_bytes = len(keys[0].as_py())
    lengths = pc.binary_length(rows).cast(pa.string())
    heads = pc.binary_join_element_wise(f"*3\r\n$3\r\nSET\r\n${key_bytes}\r\n", keys, "\r\n$", lengths, "\r\n", NOTHING)
    commands = pc.binary_join_element_wise(heads.cast(pa.binary()), rows, pa.scalar(b"\r\n"), NOTHING_BINARY)
    _, offsets, data = commands.buffers()
    return memoryview(data)[: int(np.frombuffer(offsets, np.int32, len(rows) + 1)[-1])]


def expect(connection: socket.socket, wanted: bytes) -> None:
    """Receive exactly these bytes, or raise."""
    got = bytearray()
    while len(got) < len(wanted):
        piece = connection.recv(min(RECEIVE_BYTES, len(wanted) - len(got)))
        if not piece:
            break
        got += piece
    if got != wanted:
        raise WrongAnswerError("Redis did not answer as it must")


class Commands(msgspec.Struct, frozen=True):
    """MGET commands made beforehand: each command's bytes, its reply's length, and the first reply in full."""

    keys_each: int
    commands: list[bytes]
    reply_bytes: list[int]
    first_reply: bytes


def mget_commands(reader: RegisterReader, codes: Codes, keys_each: int) -> Commands:
    """All of ``codes`` in MGETs of ``keys_each`` keys; a rest is left out."""
    commands: list[bytes] = []
    lengths: list[int] = []
    first_reply = b""
    for part, rows in all_plain_rows(reader, codes):
        keys = key_texts(part).to_pylist()
        sizes = pc.binary_length(rows).to_numpy().astype(np.int64)
        replies = sizes + np.char.str_len(sizes.astype(str)) + len("$\r\n\r\n")
        for start in range(0, len(keys) - keys_each + 1, keys_each):
            body = "".join([f"$11\r\n{key}\r\n" for key in keys[start : start + keys_each]])
            commands.append(f"*{keys_each + 1}\r\n$4\r\nMGET\r\n{body}".encode())
            lengths.append(int(replies[start : start + keys_each].sum()) + len(f"*{keys_each}\r\n"))
            if not first_reply:
                values = rows[:keys_each].to_pylist()
                first_reply = f"*{keys_each}\r\n".encode() + b"".join(b"$%d\r\n%b\r\n" % (len(v), v) for v in values)
    return Commands(keys_each, commands, lengths, first_reply)


class MgetConnection:
    """One connection that keeps ``depth`` MGETs under way and counts the bytes of their replies."""

    def __init__(self, service: RedisService, depth: int) -> None:
        self.socket = service.connection()
        self.depth = depth
        self.awaited: deque[int] = deque()
        self.unsent = b""
        self.answered = 0

    def send(self, command: bytes, reply_bytes: int) -> None:
        self.awaited.append(reply_bytes)
        self.unsent += command
        self.flush()

    def flush(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass

    def received(self, count: int) -> int:
        """Count received bytes; returns how many replies became complete."""
        complete = 0
        while count:
            head = self.awaited[0]
            if count < head:
                self.awaited[0] = head - count
                break
            count -= head
            self.awaited.popleft()
            complete += 1
        self.answered += complete
        return complete


def mget_rate(service: RedisService, prepared: Commands, seconds: float, connections: int, depth: int) -> float:
    """Keys per second over so many seconds."""
    check_first(service, prepared)
    commands, reply_bytes = prepared.commands, prepared.reply_bytes
    buffer = bytearray(RECEIVE_BYTES)
    opened = {peer.socket.fileno(): peer for peer in (MgetConnection(service, depth) for _ in range(connections))}
    following = 0
    with epoll() as ready:
        for number in opened:
            ready.register(number, EPOLLIN)
        started = time.perf_counter()
        for peer in list(opened.values()) * depth:
            peer.send(commands[following % len(commands)], reply_bytes[following % len(commands)])
            following += 1
        while time.perf_counter() < started + seconds:
            for number, _ in ready.poll(1.0):
                peer = opened[number]
                try:
                    count = peer.socket.recv_into(buffer)
                except ssl.SSLWantReadError:
                    count = 0
                for _ in range(peer.received(count)):
                    place = following % len(commands)
                    peer.send(commands[place], reply_bytes[place])
                    following += 1
                ready.modify(number, EPOLLIN | EPOLLOUT if peer.unsent else EPOLLIN)
                if peer.unsent:
                    peer.flush()
        elapsed = time.perf_counter() - started
    for peer in opened.values():
        peer.socket.close()
    return sum(peer.answered for peer in opened.values()) * prepared.keys_each / elapsed


def check_first(service: RedisService, prepared: Commands) -> None:
    with service.connection() as connection:
        connection.setblocking(True)
        connection.sendall(prepared.commands[0])
        expect(connection, prepared.first_reply)


def get_rate(service: RedisService, keys: int, seconds: float, expected_per_second: int = 60_000) -> float:
    """GET requests per second on GET_CONNECTIONS connections, as redis-benchmark tells."""
    certificates = service.certificates
    words = [
        "redis-benchmark", "-h", "127.0.0.1", "-p", service.port, "--tls", "--cacert", certificates.root, "--cert",
        certificates.agency, "--key", certificates.agency_key, "-c", GET_CONNECTIONS, "--threads", 1, "-r", keys,
        "-n", max(1_000, int(seconds * expected_per_second)), "--csv", "GET", "__rand_int__",
    ]  # fmt: skip
    told = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True, timeout=600).stdout
    rows = list(csv.DictReader(told.splitlines()))
    return float(rows[0]["rps"])


def get_hit(service: RedisService, keys: int) -> None:
    """Raise WrongAnswerError unless the first and the last number have a record."""
    with service.loader() as connection:
        for number in (0, keys - 1):
            connection.sendall(f"STRLEN {number:012d}\r\n".encode())
            if int(connection.recv(64).decode().strip().lstrip(":")) == 0:
                raise WrongAnswerError("Redis lacks a key that will be asked for")
