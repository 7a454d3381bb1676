"""Feeds as traffic: a process that sends prepared batches of all prefectures at a rate, and a plain connection."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from jukinet.core.feed.holdings import Digest
from jukinet.core.notifications import NotificationBatch
from jukinet.core.vocabulary import Prefecture
from jukinet.core.wire import FEED_ALPN_NAME, FeedClientConnection
from jukinet.core.wire import feed_messages as fm
from jukinet.core.wire import messages as m

THREADS: Final = 47
"""One for each prefecture: each waits for its own answers only, as prefectures do."""
STEP_SECONDS: Final = 60.0

Batches = Sequence[tuple[int, NotificationBatch]]


class FeedLink:
    """One prefecture's connection: a batch at a time, each acknowledged before the next."""

    def __init__(self, port: int, root: Path, certificate: Path, key: Path) -> None:
        context = ssl.create_default_context(cafile=str(root))
        context.set_alpn_protocols([FEED_ALPN_NAME])
        context.load_cert_chain(certificate, key)
        raw = socket.create_connection(("localhost", port), timeout=STEP_SECONDS)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(raw, server_hostname="localhost")
        self._wire = FeedClientConnection()
        greeting = self._event()
        if not isinstance(greeting, fm.FeedGreeting):
            raise SystemExit(f"the feed port answered {type(greeting).__name__}")
        self.position = greeting.position

    def _event(self) -> Any:
        while True:
            event = self._wire.next_event()
            if isinstance(event, m.Ping):
                self._send(m.Pong(0, event.data))
            elif event is not None:
                return event
            else:
                count = self._socket.recv_into(self._wire.get_buffer())
                if count == 0:
                    raise SystemExit("the server closed a feed")
                self._wire.received(count)

    def _send(self, message: Any) -> None:
        data = self._wire.send(message)
        self._socket.sendall(b"".join(data) if isinstance(data, list) else data)

    def notify(self, batch: NotificationBatch) -> None:
        """Returns when the batch is acknowledged, whole."""
        self._send(fm.Notify(self._wire.new_request_id(), self.position + 1, batch))
        answer = self._event()
        if not isinstance(answer, fm.Acknowledged) or answer.quarantined:
            raise SystemExit(f"a batch was answered {type(answer).__name__}, or in part refused")
        self.position = answer.position

    def load(self, ranges: Iterable[tuple[int, int, NotificationBatch]], in_flight: int) -> tuple[int, Digest]:
        """Send ranges, so many under way at a time: rows, and the digest that the last acknowledgement told."""
        rows = under_way = 0
        digest = Digest()
        for first_key, stop_key, batch in ranges:
            if under_way == in_flight:
                digest = self._taken()
                under_way -= 1
            sequence = self.position + under_way + 1
            self._send(fm.LoadRange(self._wire.new_request_id(), sequence, first_key, stop_key, batch))
            under_way += 1
            rows += len(batch)
        for _ in range(under_way):
            digest = self._taken()
        return rows, digest

    def _taken(self) -> Digest:
        answer = self._event()
        if not isinstance(answer, fm.Acknowledged) or answer.quarantined:
            raise SystemExit(f"a range was answered {type(answer).__name__}, or in part refused")
        self.position = answer.position
        return Digest(answer.digest_count, answer.digest_sum)

    def close(self) -> None:
        self._socket.close()


class Traffic:
    """The sending process. Leaving the context ends it; ``sent`` counts the notifications that were acknowledged."""

    def __init__(self, work: Path, port: int, certificates: Any, batches: Batches, per_second: int) -> None:
        self.sent = 0
        parts = []
        for number, (prefecture, batch) in enumerate(batches):
            name = f"batch-{number}"
            (work / name).write_bytes(batch.payload)
            parts.append([prefecture, len(batch), name])
        files = {int(p): [str(c), str(k)] for p, (c, k) in certificates.prefectures.items()}
        plan = {"port": port, "root": str(certificates.root), "files": files, "parts": parts, "rate": per_second}
        (work / "traffic.json").write_text(json.dumps(plan))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(work / "traffic.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"sending\n":
            raise SystemExit("the feeds could not be sent")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        told, _ = self._process.communicate(b"end\n", STEP_SECONDS)
        if kind is None:
            self.sent, behind_ms = json.loads(told)
            if behind_ms > 2_000:
                print(f"the feeds fell {behind_ms} ms behind their rate", file=sys.stderr)


def send(plan: dict[str, Any], directory: Path) -> None:
    """Send the batches at the rate, until told to end: prints how many were sent and how far behind it was."""
    parts = [(p, NotificationBatch.parse((directory / name).read_bytes(), count)) for p, count, name in plan["parts"]]
    links = {
        int(p): FeedLink(plan["port"], Path(plan["root"]), Path(certificate), Path(key))
        for p, (certificate, key) in plan["files"].items()
    }
    ending = threading.Event()
    sent, behind = [0] * THREADS, [0.0] * THREADS
    rows_before = [0]
    for _, batch in parts:
        rows_before.append(rows_before[-1] + len(batch))
    started = time.monotonic()

    def work(thread: int) -> None:
        for number, (prefecture, batch) in enumerate(parts):
            if prefecture % THREADS != thread:
                continue
            due = started + rows_before[number] / plan["rate"]
            behind[thread] = max(behind[thread], time.monotonic() - due)
            if ending.wait(max(0.0, due - time.monotonic())):
                return
            links[prefecture].notify(batch)
            sent[thread] += len(batch)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    print("sending", flush=True)
    sys.stdin.readline()
    ending.set()
    for thread in threads:
        thread.join()
    for link in links.values():
        link.close()
    print(json.dumps([sum(sent), round(max(behind) * 1000)]), flush=True)


def prefecture_files(certificates: Any, prefecture: int) -> tuple[Path, Path]:
    """Certificate and key of a prefecture."""
    certificate, key = certificates.prefectures[Prefecture(prefecture)]
    return certificate, key


if __name__ == "__main__":
    place = Path(sys.argv[1])
    send(json.loads(place.read_text()), place.parent)
