from __future__ import annotations

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

from .serving import AUTHORITY


@given(
    st.floats(1, 1e9),
    st.floats(1, 1e9),
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10**6)), max_size=50),
)
def test_bucket_never_gives_more_than_burst_and_rate(rate: float, burst: float, steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now = given_out = 0.0
    for wait, count in steps:
        now += wait
        refused_for = bucket.take(count, now)
        assert 0 <= bucket.level <= burst
        if refused_for == 0:
            given_out += count
        elif count <= burst:
            # A caller that waits as long as it was told gets its codes.
            now += refused_for / 1000 + 1e-6 * now
            assert bucket.take(count, now) == 0
            given_out += count
        assert given_out <= (burst + rate * now) * (1 + 1e-9) + 1e-6


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
    assert entry.bucket.take(65_536, entry.bucket.updated) == 0
    admission.release_body(entry)
    again = admission.admit_body(body)
    assert again is entry
    assert again.bucket.take(65_536, again.bucket.updated) > 60_000


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
