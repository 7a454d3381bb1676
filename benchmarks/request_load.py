"""A load generator of single lookups, run as a process of its own by single_lookup.py; prints its results as JSON.

It is made so that the server is what is measured: the session is opened through `jukinet.core.wire`, and from then on
each request is a frame made beforehand with another code put in, sent on a raw non-blocking TLS socket under epoll; of
an answer only type, length and outcome are looked at (the first answers are hashed in full, for comparison).

**Closed loop**: every connection asks again as soon as it has its answer. **Open loop**: request number i is due at
start + i / rate whatever happened before, and its latency counts from then, so a server that stalls is charged for
every request that came due meanwhile (no coordinated omission). A request that finds its connection's in-flight limit
used up waits, and that wait counts too.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import select
import socket
import ssl
import sys
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any, Final

from figures import process_cpu_seconds
from jukinet.core.wire import ClientConnection
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import ALPN_NAME, HEADER, HEADER_BYTES, QUESTION, QUESTION_HEAD_BYTES, MessageType

RECEIVE_BYTES: Final = 16_384
OUTCOME_PLACE: Final = HEADER_BYTES + 16
CLOSED_LOOP_ID: Final = 1_000
SENDS_AT_ONCE: Final = 32
"""An open loop that is behind looks for answers after so many sends."""
LATE_SECONDS_MAX: Final = 20.0
WAIT_SECONDS: Final = 30.0
_ANSWER: Final = int(MessageType.LOOKUP_ANSWER)


class LoadFailedError(Exception):
    """The server answered something else than a lookup, or not at all."""


class Peer:
    """One connection with an open session. ``due`` holds the numbers of requests that wait for room."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        self.wire = ClientConnection()
        self._event()
        self.in_flight_max = self.wire.limits.requests_in_flight_max
        self._send(m.OpenSession(1, 1, "77", 0, "benchmark", "measuring", "figures"))
        self.session_id: int = self._event().session_id
        self.head = QUESTION.pack(
            QUESTION_HEAD_BYTES + 8, int(MessageType.LOOKUP), 0, CLOSED_LOOP_ID, 0, self.session_id, 0, 1, 0
        )
        self.due: deque[int] = deque()
        self.under_way = 0
        self.rest = b""

    def _send(self, message: Any) -> None:
        data = self.wire.send(message)
        for part in data if isinstance(data, list) else [data]:
            self.socket.sendall(part)

    def _event(self) -> Any:
        while (event := self.wire.next_event()) is None:
            count = self.socket.recv_into(self.wire.get_buffer())
            if not count:
                raise LoadFailedError("the server closed the connection")
            self.wire.received(count)
        if isinstance(event, m.Error):
            raise LoadFailedError(f"the server refuses: {event.code.name}")
        return event

    def ask(self, code: bytes) -> bytes:
        """One lookup and its whole answer frame, blocking."""
        self.socket.sendall(self.head + code)
        answer = b""
        while len(answer) < HEADER_BYTES or len(answer) < HEADER_BYTES + int.from_bytes(answer[:4], "little"):
            piece = self.socket.recv(RECEIVE_BYTES)
            if not piece:
                raise LoadFailedError("the server closed the connection")
            answer += piece
        return answer

    def frame(self, request_id: int, code: bytes) -> bytes:
        head = HEADER.pack(QUESTION_HEAD_BYTES + 8, int(MessageType.LOOKUP), 0, request_id, 0)
        return head + self.head[HEADER_BYTES:] + code


def check_answer(answer: bytes) -> None:
    if answer[4] != _ANSWER:
        raise LoadFailedError(f"the server answers with message type {answer[4]}")
    if not 1 <= answer[OUTCOME_PLACE] <= 8:
        raise LoadFailedError("the server knows nothing of an existing code")


def answers_digest(peer: Peer, codes: list[bytes]) -> str:
    """Over the payloads of the first answers."""
    digest = hashlib.sha256()
    for code in codes:
        answer = peer.ask(code)
        check_answer(answer)
        digest.update(answer[HEADER_BYTES:])
    return digest.hexdigest()


def closed_loop(peers: list[Peer], codes: list[bytes], seconds: float) -> float:
    """Requests answered per second; every peer has exactly one under way."""
    by_number = {peer.socket.fileno(): (peer.socket.read, peer.socket.write, peer.head) for peer in peers}
    clock = time.perf_counter
    count, following = len(codes), 0
    answered = 0
    with select.epoll() as ready:
        for number in by_number:
            ready.register(number, select.EPOLLIN)
        started = now = clock()
        end = started + seconds
        for _, send, head in by_number.values():
            send(head + codes[following % count])
            following += 1
        outstanding = len(peers)
        while outstanding:
            events = ready.poll(WAIT_SECONDS)
            if not events:
                raise LoadFailedError("no answer came")
            for number, _ in events:
                receive, send, head = by_number[number]
                try:
                    answer = receive(RECEIVE_BYTES)
                except ssl.SSLWantReadError:
                    continue
                if len(answer) < OUTCOME_PLACE or len(answer) != HEADER_BYTES + int.from_bytes(answer[:4], "little"):
                    raise LoadFailedError("an answer came in pieces, or the server closed the connection")
                check_answer(answer)
                answered += 1
                if now < end:
                    send(head + codes[following % count])
                    following += 1
                else:
                    outstanding -= 1
            now = clock()
    return answered / (now - started)


class OpenLoop:
    """Requests on a fixed schedule over some connections. All times are in nanoseconds of time.perf_counter_ns."""

    def __init__(self, peers: list[Peer], codes: list[bytes], rate: float, seconds: float) -> None:
        self.peers = peers
        self.codes = codes
        self.total = max(1, int(rate * seconds))
        self.interval = 1e9 / rate
        self.latencies = array("q")
        self.lateness = array("q")
        self.start = 0

    def run(self) -> float:
        """Send and receive everything; returns seconds from the first due time to the last answer."""
        by_number = {peer.socket.fileno(): peer for peer in self.peers}
        clock = time.perf_counter_ns
        with select.epoll() as ready:
            for number in by_number:
                ready.register(number, select.EPOLLIN)
            waited_for = [ready.fileno()]
            self.start = clock() + 10_000_000
            sent = 0
            while len(self.latencies) < self.total:
                now = clock()
                sent = self._send_due(sent, now)
                left = (self.start + sent * self.interval - clock()) / 1e9 if sent < self.total else 1.0
                if left > 0:
                    select.select(waited_for, (), (), min(left, 1.0))
                for number, _ in ready.poll(0):
                    self._receive(by_number[number])
                if now > self.start + (self.total * self.interval) + LATE_SECONDS_MAX * 1e9:
                    raise LoadFailedError("answers stay away")
        return (clock() - self.start) / 1e9

    def _send_due(self, sent: int, now: int) -> int:
        due = min(self.total, sent + SENDS_AT_ONCE, int((now - self.start) / self.interval) + 1)
        peers = self.peers
        while sent < due:
            self._send(peers[sent % len(peers)], sent)
            sent += 1
        return sent

    def _send(self, peer: Peer, number: int) -> None:
        if peer.under_way >= peer.in_flight_max:
            peer.due.append(number)
            return
        peer.under_way += 1
        peer.socket.send(peer.frame(number + 1, self.codes[number % len(self.codes)]))
        self.lateness.append(time.perf_counter_ns() - int(self.start + number * self.interval))

    def _receive(self, peer: Peer) -> None:
        try:
            data = peer.rest + peer.socket.recv(RECEIVE_BYTES)
        except ssl.SSLWantReadError:
            return
        if not data:
            raise LoadFailedError("the server closed the connection")
        now = time.perf_counter_ns()
        place = 0
        while len(data) - place >= HEADER_BYTES:
            size, kind, _, request_id, _ = HEADER.unpack_from(data, place)
            if len(data) - place < HEADER_BYTES + size:
                break
            if kind != _ANSWER:
                raise LoadFailedError(f"the server answers with message type {kind}")
            self.latencies.append(now - int(self.start + (request_id - 1) * self.interval))
            place += HEADER_BYTES + size
            peer.under_way -= 1
            if peer.due:
                self._send(peer, peer.due.popleft())
        peer.rest = data[place:]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("closed", "open"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--codes", type=Path, required=True, help="file of u64 codes")
    parser.add_argument("--digest-codes", type=int, default=0, help="hash the answers to so many codes first")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--server", type=int, required=True, help="process id of the worker that answers")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the loop; half as long goes before it")
    parser.add_argument("--rate", type=float, default=1_000.0, help="open loop: requests per second")
    parser.add_argument("--latencies", type=Path, help="open loop: write nanoseconds (i64) of every request here")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN_NAME])
    context.load_verify_locations(chosen.root)
    context.load_cert_chain(chosen.certificate, chosen.key)
    packed = chosen.codes.read_bytes()
    codes = [packed[start : start + 8] for start in range(0, len(packed), 8)]
    peers = [Peer(context, chosen.port) for _ in range(chosen.connections)]
    told: dict[str, Any] = {"digest": answers_digest(peers[0], codes[: chosen.digest_codes])}
    for peer in peers:
        peer.socket.setblocking(False)
    gc.collect()
    gc.disable()
    closed_loop(peers, codes, chosen.seconds / 2)
    if chosen.mode == "closed":
        before = process_cpu_seconds(chosen.server)
        told["seconds"] = time.perf_counter()
        told["rate"] = closed_loop(peers, codes, chosen.seconds)
        told["seconds"] = time.perf_counter() - told["seconds"]
        told["server_cpu_seconds"] = process_cpu_seconds(chosen.server) - before
    else:
        loop = OpenLoop(peers, codes, chosen.rate, chosen.seconds)
        told["seconds"] = loop.run()
        told["requests"] = loop.total
        late = sorted(loop.lateness)
        told["late_sends_p99_ms"] = late[int(0.99 * (len(late) - 1))] / 1e6
        chosen.latencies.write_bytes(loop.latencies.tobytes())
    for peer in peers:
        peer.socket.close()
    json.dump(told, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
