"""A small TLS server over core.wire.ServerConnection that answers from a rule, and misbehaves when told to."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jukinet.core.codes import is_valid
from jukinet.core.errors import ErrorCode, RemoteProtocolError
from jukinet.core.vocabulary import MALFORMED_CODE, Item, Outcome
from jukinet.core.wire import MessageType, ServerConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn

VERSION = 42


@dataclass
class Person:
    outcome: Outcome
    name: str = ""
    kana: str = ""
    alias: str = ""
    birth_date: int = 0
    sex: int = 0
    area: int = 0
    address: str = ""
    reason: int = 0
    change_date: int = 0
    successor: int = 0


def person(code: int) -> Person:
    """The register's rule: everything follows from the code's number."""
    if code == MALFORMED_CODE:
        return Person(Outcome.MALFORMED)
    if not is_valid(code):
        return Person(Outcome.BAD_CHECK_DIGIT)
    key = code // 10
    kind = key % 10
    if kind == 9:
        return Person(Outcome.UNKNOWN)
    if kind == 8:
        return Person(Outcome.CODE_CHANGED, reason=41, change_date=20230405, successor=12345678903)
    outcome = Outcome.DEAD if kind == 7 else Outcome.CURRENT
    birth_date = {3: 19650200, 4: 19650000, 5: 0}.get(kind, 19650220)
    return Person(
        outcome, f"山田 花子{key % 1000}", "ヤマダ ハナコ", "Hanako" if kind == 1 else "", birth_date, 1 + key % 2,
        13101, f"東京都千代田区丸の内{key % 50}番地", 22 if kind == 7 else 11, 20240601,
    )  # fmt: skip


def pad8(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def texts(values: list[str]) -> bytes:
    offsets, data = [0], b""
    for value in values:
        data += value.encode()
        offsets.append(len(data))
    return pad8(struct.pack(f"<{len(offsets)}I", *offsets)) + pad8(data)


def u32s(values: list[int]) -> bytes:
    return pad8(struct.pack(f"<{len(values)}I", *values))


def lookup_payload(items: int, codes: list[int]) -> bytes:
    found = [person(code) for code in codes]
    payload = struct.pack("<IIQ", items, len(codes), VERSION) + pad8(bytes(p.outcome for p in found))
    groups: list[tuple[Item, Callable[[], bytes]]] = [
        (Item.NAME, lambda: texts([p.name for p in found])),
        (Item.KANA, lambda: texts([p.kana for p in found])),
        (Item.ALIAS, lambda: texts([p.alias for p in found])),
        (Item.BIRTH_DATE, lambda: u32s([p.birth_date for p in found])),
        (Item.SEX, lambda: pad8(bytes(p.sex for p in found))),
        (Item.ADDRESS, lambda: u32s([p.area for p in found]) + texts([p.address for p in found])),
        (Item.CHANGE, lambda: pad8(bytes(p.reason for p in found)) + u32s([p.change_date for p in found])),
        (Item.CODE, lambda: struct.pack(f"<{len(found)}Q", *(p.successor for p in found))),
    ]
    return payload + b"".join(make() for item, make in groups if items & item)


def status_payload(since: int, codes: list[int]) -> bytes:
    found = [person(code) for code in codes]
    outcomes, dates = [], []
    for code, p in zip(codes, found, strict=True):
        changed = p.outcome == Outcome.CURRENT and (code // 10) % 2
        outcomes.append(Outcome.CHANGED if changed else p.outcome)
        dates.append(p.change_date if changed or p.outcome in (Outcome.DEAD, Outcome.CODE_CHANGED) else 0)
    return struct.pack("<IIQ", since, len(codes), VERSION) + pad8(bytes(outcomes)) + u32s(dates)


def verify_payload(request: Any, codes: list[int]) -> bytes:
    matches = []
    for row, code in enumerate(codes):
        p, byte = person(code), 0
        claims: list[tuple[Any, Any]] = [
            (request.names, p.name), (request.birth_dates, p.birth_date), (request.sexes, p.sex),
            (request.addresses, p.address),
        ]  # fmt: skip
        for place, (column, held) in enumerate(claims):
            if column is None or not p.name:
                continue
            claim = column.to_list()[row] if isinstance(column, TextColumn) else column[row]
            if claim:
                byte |= (2 if claim == held else 1) << 2 * place
        matches.append(byte)
    found = bytes(person(code).outcome for code in codes)
    return struct.pack("<IIQ", request.items, len(codes), VERSION) + pad8(found) + pad8(bytes(matches))


@dataclass
class Behaviour:
    """What to do to one question. The default answers it at once."""

    delay: float = 0.0
    error: ErrorCode | None = None
    retry_after_ms: int = 0
    hold: bool = False
    """Never answer, except a CANCEL."""
    progress: bool = False
    goodbye: bool = False
    """Say goodbye (draining) and answer nothing more on this connection."""


@dataclass
class Peer:
    """Runs in threads; `plan` gives the behaviour of each question by its running number, `cuts` ends connection by
    connection after so many bytes (None: never)."""

    certificates: Path
    plan: Callable[[int, Any], Behaviour] = field(default=lambda number, question: Behaviour())
    cuts: list[int | None] = field(default_factory=list)
    limits: m.Limits = field(default_factory=m.Limits)
    functions: int = 7
    items: int = 255
    refuse_session: ErrorCode | None = None
    greeting_error: ErrorCode | None = None
    silent: bool = False
    """Accept and shake hands, then say nothing."""
    garbage: bytes = b""
    alpn: str = "jukinet/1"
    server_name: str = "server"
    slow_reads: float = 0.0
    late_seconds: float = 0.0
    """Connections are refused for so long first."""

    def __post_init__(self) -> None:
        self.questions = 0
        self.connections = 0
        self.cancelled: list[int] = []
        self.asked: list[int] = []
        self.affairs: list[Any] = []
        self.errors: list[BaseException] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        if not self.late_seconds:
            self.listener.listen()
        self.listener.settimeout(0.02)
        self.port = self.listener.getsockname()[1]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(
            self.certificates / f"{self.server_name}.pem", self.certificates / f"{self.server_name}.key"
        )
        self.context.load_verify_locations(self.certificates / "root.pem")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.set_alpn_protocols([self.alpn])

    def __enter__(self) -> Peer:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)
        self.listener.close()
        assert not any(thread.is_alive() for thread in self._threads)
        if self.errors:
            raise self.errors[0]

    def converse(self, sock: ssl.SSLSocket, cut: int | None) -> None:
        """One connection, until its end."""
        Line(self, sock, cut).run()

    def _accept(self) -> None:
        if self.late_seconds:
            self._stopping.wait(self.late_seconds)
            self.listener.listen()
        while not self._stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            cut = self.cuts[self.connections] if self.connections < len(self.cuts) else None
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, cut), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, raw: socket.socket, cut: int | None) -> None:
        raw.settimeout(5)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock = self.context.wrap_socket(raw, server_side=True)
        except OSError:
            raw.close()
            return
        try:
            self.converse(sock, cut)
        except (OSError, RemoteProtocolError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            sock.close()


class CutError(OSError):
    """The line was cut on purpose."""


class Line:
    """One connection."""

    def __init__(self, peer: Peer, sock: ssl.SSLSocket, cut: int | None) -> None:
        self.peer = peer
        self.sock = sock
        self.cut = cut
        self.sent = 0
        self.connection = ServerConnection(peer.limits)
        self.waiting: dict[int, tuple[float, Any, Behaviour]] = {}
        self.drained = False

    def send(self, data: Any) -> None:
        joined = b"".join(data) if isinstance(data, list) else bytes(data)
        if self.cut is not None and self.sent + len(joined) > self.cut:
            with contextlib.suppress(OSError):
                self.sock.sendall(joined[: self.cut - self.sent])
            raise CutError
        self.sock.sendall(joined)
        self.sent += len(joined)

    def run(self) -> None:
        peer = self.peer
        if peer.silent:
            peer._stopping.wait(5)
            return
        if peer.greeting_error is not None:
            self.send(self.connection.send(m.Error(0, peer.greeting_error, "no")))
            return
        if peer.garbage:
            self.send(peer.garbage)
            peer._stopping.wait(0.2)
            return
        self.send(self.connection.send(m.Greeting(
            server="peer", register="0" * 32, role="agency", body="test", limits=peer.limits, areas_not_connected=[],
        )))  # fmt: skip
        while not peer._stopping.is_set() and self.connection.state.name != "CLOSED":
            if not self.sock.pending() and not select.select([self.sock], [], [], 0.005)[0]:
                self.work()
                continue
            if peer.slow_reads:
                time.sleep(peer.slow_reads)
            count = self.sock.recv_into(self.connection.get_buffer())
            if count == 0:
                return
            self.connection.received(count)
            while (event := self.connection.next_event()) is not None:
                self.take(event)
            self.work()

    def take(self, event: Any) -> None:
        peer, connection = self.peer, self.connection
        if isinstance(event, m.Refused):
            self.send(connection.send(event.answer()))
        elif isinstance(event, m.OpenSession):
            peer.affairs.append(event)
            if peer.refuse_session is not None:
                self.send(connection.send(m.Error(event.request_id, peer.refuse_session, "the affair is not granted")))
                return
            session_id = len(peer.affairs)
            self.send(connection.send(m.SessionOpened(
                event.request_id, session_id, peer.functions, peer.items, peer.limits.codes_per_request_max, 20301231,
            )))  # fmt: skip
        elif isinstance(event, m.CloseSession):
            self.send(connection.send(m.SessionClosed(event.request_id, event.session_id)))
        elif isinstance(event, m.Ping):
            self.send(connection.send(m.Pong(event.request_id, event.data)))
        elif isinstance(event, m.Cancel):
            peer.cancelled.append(event.request_id)
            if self.waiting.pop(event.request_id, None) is not None:
                self.send(connection.send(m.Error(event.request_id, ErrorCode.CANCELLED, "as asked")))
        elif isinstance(event, m.Goodbye):
            if not self.waiting and not self.drained:
                self.send(connection.send(m.Goodbye(reason="bye")))
        else:
            with peer._lock:
                behaviour = peer.plan(peer.questions, event)
                peer.questions += 1
                peer.asked.extend(event.codes)
            self.waiting[event.request_id] = (time.monotonic() + behaviour.delay, event, behaviour)

    def work(self) -> None:
        for request_id, (due, question, behaviour) in list(self.waiting.items()):
            if behaviour.progress:
                self.send(self.connection.send(m.Progress(request_id, 1, len(question.codes))))
                behaviour.progress = False
            if behaviour.goodbye and not self.drained:
                self.drained = True
                self.send(self.connection.send(m.Goodbye(reason="draining")))
                self.send(self.connection.send(m.Error(request_id, ErrorCode.DRAINING, "the server is stopping")))
                del self.waiting[request_id]
                continue
            if behaviour.hold or time.monotonic() < due:
                continue
            del self.waiting[request_id]
            if behaviour.error is not None:
                self.send(self.connection.send(
                    m.Error(request_id, behaviour.error, "on purpose", behaviour.retry_after_ms)
                ))  # fmt: skip
                continue
            codes = list(question.codes)
            if isinstance(question, m.LookupRequest):
                kind = MessageType.LOOKUP_ANSWER
                payload = lookup_payload(question.items or self.peer.items, codes)
            elif isinstance(question, m.StatusRequest):
                kind, payload = MessageType.STATUS_ANSWER, status_payload(question.since, codes)
            else:
                kind, payload = MessageType.VERIFY_ANSWER, verify_payload(question, codes)
            self.send(self.connection.send_answer(request_id, kind, bytearray(16) + payload))
