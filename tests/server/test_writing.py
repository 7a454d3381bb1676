"""Long answers become whole TLS records, whatever parts they consist of, and nothing is sent twice or left out."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.server.transport import RECORD_BYTES_MAX, Bytes, TlsStream, TransportError


class Taker:
    """A peer that takes so many records, then none until it is asked again; like OpenSSL it takes a record whole, and
    a record that it did not take must come again, at least as long."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.left = 0
        self.records: list[bytes] = []
        self.refused = b""

    def write(self, data: Bytes) -> int:
        if not self.left:
            self.left = self.takes.pop(0) if self.takes else 10_000
            if self.left == 0:
                self.refused = bytes(data)
                raise ssl.SSLWantWriteError
        assert bytes(data).startswith(self.refused)
        self.refused = b""
        self.left -= 1
        self.records.append(bytes(data))
        return len(data)


def stream_to(write: Callable[[Bytes], int]) -> TlsStream:
    stream = TlsStream.__new__(TlsStream)
    stream._write = write  # type: ignore[assignment]
    stream._set = lambda *_: None  # type: ignore[assignment]
    stream._written = 0
    return stream


SIZES = st.one_of(st.integers(1, 100), st.integers(16_300, 16_500), st.integers(1, 90_000))


@given(st.lists(SIZES, max_size=12), st.lists(st.integers(0, 4), max_size=8), st.sampled_from([4_096, 50_000, 262_144]))
def test_every_byte_leaves_once_and_in_order(sizes: list[int], takes: list[int], budget: int) -> None:
    data = bytes(number % 251 for number in range(sum(sizes)))
    parts: deque[Bytes] = deque()
    at = 0
    for size in sizes:
        parts.append(memoryview(data)[at : at + size])
        at += size
    peer = Taker(takes)
    stream = stream_to(peer.write)
    taken = 0
    for _ in range(1_000):
        if not parts:
            break
        before = sum(map(len, peer.records))
        count = stream.write_parts(parts, budget)
        assert count == sum(map(len, peer.records)) - before <= budget
        taken += count
        assert taken + sum(map(len, parts)) == len(data)
    assert b"".join(peer.records) == data
    assert all(0 < len(record) <= RECORD_BYTES_MAX for record in peer.records)


def test_parts_share_records() -> None:
    peer = Taker([])
    parts: deque[Bytes] = deque([bytes(10), bytearray(40_000), memoryview(bytes(3)), bytes(20_000), bytes(7)])
    assert stream_to(peer.write).write_parts(parts, 1 << 20) == 60_020
    assert [len(record) for record in peer.records] == [16_384, 16_384, 16_384, 10_868]


def test_lost_connection_is_told() -> None:
    def lost(_data: Bytes) -> int:
        raise ConnectionResetError

    with pytest.raises(TransportError):
        stream_to(lost).write_parts(deque([bytes(50_000)]), 1 << 20)
