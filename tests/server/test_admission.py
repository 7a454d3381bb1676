from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.law.authority import Authority
from jukinet.server.admission import Admission, TokenBucket
from jukinet.server.configuration import Limits
from jukinet.server.fair_queue import FairQueue
from jukinet.server.identity import Identity, IdentityError, from_certificate
from jukinet.server.shared_counts import CELLS_MAX, SharedCounts, bytes_needed

from .serving import AUTHORITY


class BucketTwin:
    """A bucket in plain Python, by its level instead of by the moment at which it is empty."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst, self.level, self.updated = rate, burst, burst, now

    def wait(self, count: int, now: float) -> float:
        """Seconds until ``count`` codes are there; below 0 when more are."""
        self.level = min(self.burst, self.level + (now - self.updated) * self.rate)
        self.updated = now
        return (count - self.level) / self.rate


def counts(workers: int = 1) -> list[SharedCounts]:
    memory = bytearray(bytes_needed(workers))
    return [SharedCounts(memory, workers, worker) for worker in range(workers)]


@given(
    st.floats(1, 1e6),
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10**6), st.integers(0, 2)), max_size=50),
)
def test_one_bucket_serves_all_workers(rate: float, burst: float, steps: list[tuple[float, int, int]]) -> None:
    """Whatever worker is asked, all of them together give what one bucket would."""
    workers = counts(3)
    buckets = [TokenBucket(rate, burst, each, each.cell("agency", "a")) for each in workers]
    start = now = 2e6
    given_out = 0.0
    twin = BucketTwin(rate, burst, now)
    for wait, count, worker in steps:
        now += wait
        expected = twin.wait(count, now)
        refused_for = buckets[worker].take(count, now)
        if abs(expected) > 1e-4:
            assert (refused_for == 0) == (expected < 0)
        if refused_for:
            assert abs(refused_for / 1000 - expected) < 0.002 + expected * 1e-6
        else:
            twin.level -= count
            given_out += count
        assert given_out <= (burst + rate * (now - start)) * (1 + 1e-9) + rate * 1e-5
    if rate > burst:
        return
    assert buckets[0].take(1, now + burst / rate + 1) == 0, "a quiet body has its burst again"


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("+-d"), st.sampled_from("ab")), max_size=80))
def test_connections_are_counted_over_all_workers(steps: list[tuple[int, str, str]]) -> None:
    workers = counts(3)
    model: dict[tuple[int, str], int] = {}
    for worker, step, body in steps:
        cell = workers[worker].cell("agency", body)
        total = sum(number for (_, name), number in model.items() if name == body)
        here = model.get((worker, body), 0)
        if step == "+":
            assert workers[worker].connect(cell, 4) == (total < 4)
            model[worker, body] = here + (total < 4)
        elif step == "d":  # the worker dies, and the supervisor clears what it held
            workers[0].forget(worker)
            model = {key: number for key, number in model.items() if key[0] != worker}
        elif here:
            workers[worker].disconnect(cell)
            model[worker, body] = here - 1
        else:
            with pytest.raises(ValueError, match="no such connection"):
                workers[worker].disconnect(cell)
        assert workers[2].connections(cell) == sum(number for (_, name), number in model.items() if name == body)


def test_each_body_has_a_cell_of_its_own_until_there_are_none() -> None:
    (one,) = counts()
    cells = {one.cell("agency", f"body-{number}") for number in range(CELLS_MAX)}
    assert cells == set(range(CELLS_MAX))
    assert one.cell("agency", "body-7") in cells
    assert one.cell("agency", "one-more") == -1
    for wrong in (-1, CELLS_MAX):
        with pytest.raises((IndexError, OverflowError)):
            one.connect(wrong, 1)
    with pytest.raises(ValueError, match="short"):
        SharedCounts(bytearray(100), 1)


TAKES = """
import mmap, sys, time
from jukinet.server.shared_counts import SharedCounts, bytes_needed
memory = mmap.mmap(int(sys.argv[1]), 0)
mine = SharedCounts(memory, 3, int(sys.argv[2]))
cell = mine.cell("agency", "a")
taken = sum(mine.take(cell, 1, 1e6, 50_000.0, 5_000.0) == 0.0 for _ in range(100_000))
held = sum(mine.connect(cell, 1_000) for _ in range(5_000))
print(taken, held)
"""


def test_processes_that_take_at_once_never_take_more_than_there_is() -> None:
    """At one moment of the clock there are exactly 50,000 codes and 1,000 places."""
    shared = os.memfd_create("test")
    os.ftruncate(shared, bytes_needed(3))
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKES, str(shared), str(worker)], pass_fds=[shared], stdout=subprocess.PIPE
        )
        for worker in range(3)
    ]
    taken = [[int(word) for word in taker.communicate()[0].split()] for taker in takers]
    os.close(shared)
    assert abs(sum(codes for codes, _ in taken) - 50_000) <= 1
    assert sum(places for _, places in taken) <= 1_000


def authority(tmp_path: Path, text: str = AUTHORITY) -> Authority:
    path = tmp_path / "authority.toml"
    path.write_text(text)
    return Authority.load(path)


async def test_rate_survives_the_last_connection(tmp_path: Path) -> None:
    admission = Admission(Limits())
    body = authority(tmp_path).body("agency", "slow")
    assert body is not None
    entry = admission.admit_body(body)
    assert entry is not None
    now = time.monotonic() + 1e5
    assert entry.bucket.take(65_536, now) == 0
    admission.release_body(entry)
    again = admission.admit_body(body)
    assert again is entry
    assert again.bucket.take(65_536, now) > 60_000


async def test_new_authority_changes_rates_and_forgets_bodies(tmp_path: Path) -> None:
    admission = Admission(Limits())
    body = authority(tmp_path).body("agency", "slow")
    assert body is not None
    entry = admission.admit_body(body)
    assert entry is not None
    admission.take_up(authority(tmp_path, AUTHORITY.replace("= 1_000\n", "= 5_000_000\n")))
    assert entry.bucket.rate == 5_000_000
    without = authority(tmp_path, AUTHORITY.replace('"slow"', '"other"'))
    admission.take_up(without)
    assert admission.admit_body(body) is entry, "it still has a connection"
    admission.release_body(entry)
    admission.release_body(entry)
    admission.take_up(without)
    assert admission.admit_body(body) is not entry


async def test_longest_handshake_makes_room(autojump_clock: trio.testing.MockClock) -> None:
    admission = Admission(Limits(handshakes_max=2))
    cancelled: list[str] = []

    async def handshake(name: str, seconds: float) -> None:
        with admission.handshake(10) as scope:
            await trio.sleep(seconds)
        if scope.cancelled_caught:
            cancelled.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handshake, "first", 100)
        await trio.sleep(1)
        nursery.start_soon(handshake, "second", 100)
        await trio.sleep(0.1)
        assert not admission.handshakes_full, "the first has had its time"
        nursery.start_soon(handshake, "third", 0.1)
        await trio.sleep(0.05)
        assert cancelled == ["first"]
        assert admission.handshakes_full, "both others have just begun"
        await trio.sleep(1)
        assert not admission.handshakes_full
    assert cancelled == ["first", "second"]


def test_bodies_take_turns_whatever_their_connections() -> None:
    queue: FairQueue[str] = FairQueue()
    for caller in "abc":
        queue.add("large", caller)
    queue.add("small", "x")
    turns = []
    for _ in range(12):
        caller = queue.next()
        assert caller is not None
        turns.append(caller)
        queue.pass_on("small" if caller == "x" else "large", caller)
    assert turns.count("x") == 6
    assert {caller: turns.count(caller) for caller in "abc"} == {"a": 2, "b": 2, "c": 2}
    queue.remove("small", "x")
    queue.remove("small", "x")
    queue.remove("large", "b")
    assert {queue.next() for _ in range(4)} == {"a"}, "a request goes on until its connection passes on"
    queue.pass_on("large", "a")
    assert queue.next() == "c"
    queue.remove("large", "a")
    queue.remove("large", "c")
    assert queue.next() is None
    assert len(queue) == 0


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "next"]), st.integers(0, 3), st.integers(0, 4))))
def test_queue_gives_only_callers_that_are_in_it(steps: list[tuple[str, int, int]]) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    model: set[tuple[int, int]] = set()
    for step, body, caller in steps:
        if step == "add":
            queue.add(body, (body, caller))
            model.add((body, caller))
        elif step == "remove":
            queue.remove(body, (body, caller))
            model.discard((body, caller))
        else:
            assert queue.next() in (model or {None})
        assert len(queue) == len(model)


NOT_AFTER = "Jan  5 09:34:43 2027 GMT"


def test_identity_is_the_one_uri() -> None:
    names = (("DNS", "x.example.jp"), ("URI", "urn:jukinet:prefecture:13"))
    identity = from_certificate({"subjectAltName": names, "notAfter": NOT_AFTER})
    assert identity == Identity("prefecture", "13", 1799141683.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "uri", ["urn:jukinet:agency:", "urn:jukinet:agency:a\n", "urn:jukinet:agency:é", "urn:jukinet:agency:" + "a" * 65]
)
def test_odd_uri_is_no_identity(uri: str) -> None:
    with pytest.raises(IdentityError) as caught:
        from_certificate({"subjectAltName": (("URI", uri),), "notAfter": NOT_AFTER})
    assert uri not in str(caught.value)


def test_no_certificate_is_no_identity() -> None:
    with pytest.raises(IdentityError):
        from_certificate(None)
