"""A server that takes feeds, with a small register of its own, and a plain blocking prefecture."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import lmdb

from jukinet.core.codes import code_from_key
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store import schema
from jukinet.core.wire import FEED_ALPN_NAME, FeedClientConnection
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m
from jukinet.server.pki.trial import TrialAuthority

from ...core.stores import build_store
from ..serving import STEP_SECONDS, Place, Server, tls_connection

TOKYO, SAPPORO, OSAKA, NAHA = 13101, 1100, 27127, 47201
BODIES = {13: "tokyo", 1: "hokkaido", 27: "osaka", 47: "okinawa"}
AREA_OF = {13: TOKYO, 1: SAPPORO, 27: OSAKA, 47: NAHA}


def entry(number: int, key: int, area: int = TOKYO, **fields: Any) -> Notification:
    """The ``number``-th notification of a person: a move in, whose texts nothing else may show."""
    values: dict[str, Any] = {
        "reason": 11,
        "birth_date": 19800101,
        "sex": 2,
        "name": f"秘密花子{number}",
        "kana": "ヒミツハナコ",
        "address": "東京都千代田区丸の内１－１",
        "event_date": 20261101,
    }
    return Notification(**{**values, "code": code_from_key(key), "area": area, "update_number": number, **fields})


def key_of(person: int) -> int:
    """Keys spread like real codes: many in a row would all lie in one block."""
    return person * 611_953 % 10**10


def entries(count: int, first: int = 1_000, area: int = TOKYO, number: int = 1) -> list[Notification]:
    """One entry each of so many persons."""
    return [entry(number, key_of(first + i), area) for i in range(count)]


class FeedPlace(Place):
    """Certificates and settings as for queries; the register is this test's own, and prefectures have their root."""

    def __init__(self, directory: Path, shared: Place, residents: int = 300) -> None:
        self.directory = shared.directory
        self.files = dict(shared.files)
        self.root = shared.root
        self.codes = shared.codes
        self.store = directory / "fed"
        self.work = directory
        people = [
            Resident(key=key * 100_003, name=f"始{key}", area=0, town=1, birth_date=19500101, update_number=1)
            for key in range(1, residents + 1)
        ]
        self.table = build_store(self.store, people, expected_entries=100_000)
        (directory / "prefectures").mkdir()
        self.prefectures = TrialAuthority.make()
        self.prefectures.write(directory / "prefectures")
        for body in (*BODIES.values(), "atlantis"):
            self.files[body] = self.prefectures.issue_files(directory / "prefectures", "prefecture", body)
        self.files["agency"] = self.prefectures.issue_files(directory / "prefectures", "agency", "pensions")

    def configuration(self, directory: Path, **sections: dict[str, Any]) -> Path:
        feed = {
            "enabled": True,
            "port": 0,
            "roots": str(self.work / "prefectures" / "root.pem"),
            "takeover_seconds": 0.5,
            "retry_seconds": 0.1,
            **sections.pop("feed", {}),
        }
        supervision = {"restart_delay_seconds": 0.05, "restart_delay_seconds_max": 0.05}
        return super().configuration(directory, feed=feed, supervision=supervision, **sections)

    def context(self, body: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.directory / "root.pem"))
        context.set_alpn_protocols([FEED_ALPN_NAME])
        if body is not None:
            context.load_cert_chain(self.files[body].certificate, self.files[body].key)
        return context

    def dump(self, *, without: tuple[str, ...] = ("changes", "meta")) -> dict[str, list[tuple[bytes, bytes]]]:
        """Every key and value of the register's databases."""
        return dump(self.store, without=without)


def dump(directory: Path, *, without: tuple[str, ...] = ("changes", "meta")) -> dict[str, list[tuple[bytes, bytes]]]:
    environment = lmdb.open(str(directory), max_dbs=32, readonly=True, lock=False)
    found = {}
    for name in schema.DATABASES:
        if name not in without:
            database = environment.open_db(name.encode(), integerkey=name != "meta", create=False)
            with environment.begin() as transaction, transaction.cursor(db=database) as cursor:
                found[name] = [(bytes(key), bytes(value)) for key, value in cursor.iternext(keys=True, values=True)]
    environment.close()
    return found


def feed_port(server: Server) -> int:
    port = server.wait_for("serving")["feed_port"]
    assert isinstance(port, int)
    return port


def feed_process(server: Server) -> int:
    """The process id of the feed writer that runs now."""
    for process in server.worker_processes():
        if b"jukinet.server.feed.process" in Path(f"/proc/{process}/cmdline").read_bytes():
            return process
    raise AssertionError("no feed writer runs")


class Feed:
    """A prefecture's connection: send, take events, answer the server's PING unless told to be silent."""

    def __init__(self, place: FeedPlace, port: int, body: str = "tokyo", *, greeted: bool = True) -> None:
        self.wire = FeedClientConnection()
        self.socket = tls_connection(place.context(body), port)
        self.greeting: fm.FeedGreeting
        if greeted:
            try:
                event = self.event()
            except BaseException:
                self.socket.close()
                raise
            assert isinstance(event, fm.FeedGreeting), event
            self.greeting = event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def event(self) -> Any:
        """The next message; EOFError when the server has closed."""
        while True:
            event = self.wire.next_event()
            if isinstance(event, m.Ping):
                self.send(m.Pong(0, event.data))
            elif event is not None:
                return event
            else:
                count = self.socket.recv_into(self.wire.get_buffer())
                if count == 0:
                    raise EOFError
                self.wire.received(count)

    def send(self, message: Any) -> None:
        data = self.wire.send(message)
        for part in data if isinstance(data, list) else [data]:
            self.socket.sendall(part)

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self.event()

    def notify(self, first_sequence: int, notifications: list[Notification]) -> Any:
        """The answer to one batch."""
        return self.ask(self.batch(first_sequence, notifications))

    def batch(self, first_sequence: int, notifications: list[Notification]) -> fm.Notify:
        return fm.Notify(
            self.wire.new_request_id(), first_sequence, NotificationBatch.from_notifications(notifications)
        )

    def compare(self, kind: fm.CompareKind, ranges: list[tuple[int, int]] | None = None) -> fm.Compared:
        answer = self.ask(fm.Compare(self.wire.new_request_id(), kind, ranges or []))
        assert isinstance(answer, fm.Compared), answer
        return answer


def connected(place: FeedPlace, port: int, body: str = "tokyo", seconds: float = STEP_SECONDS) -> Feed:
    """A connection, as soon as the feed writer listens (again)."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Feed(place, port, body)
        except (OSError, EOFError):
            if time.monotonic() >= end:
                raise
            time.sleep(0.01)


def chunks(notifications: list[Notification], size: int) -> Iterator[tuple[int, list[Notification]]]:
    for start in range(0, len(notifications), size):
        yield start + 1, notifications[start : start + size]
