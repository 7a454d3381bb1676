"""CANCEL and PROGRESS of requests about cohorts: those that wait, and the asking that is under way."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet.core.audit.reader import read_segments
from jukinet.core.codes import code_from_key
from jukinet.core.errors import ErrorCode
from jukinet.core.wire import messages as m

from ..serving import Caller, Place, Server
from .feeding import Feed, FeedPlace, entries, feed_port, key_of

CODES = array("Q", sorted(code_from_key(key_of(1_000 + number)) for number in range(40)))
# Read by the interpreter of every process of the server when it starts: reading an entry of the journal takes as long
# as a file is there, as the journal of a whole nation's day would.
SLOW_JOURNAL = """
import os, time
from jukinet.core.cohort.changes import ChangeReader
real, stop = ChangeReader._entry, os.environ["SLOW_JOURNAL"]
def entry(self, *arguments):
    found = real(self, *arguments)
    while os.path.exists(stop) and not self._is_stopped:
        time.sleep(0.01)
    return found
ChangeReader._entry = entry
"""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(SLOW_JOURNAL)
    return tmp_path / "journal-is-slow"


@pytest.fixture
def server(place: Place, tmp_path: Path, slow: Path) -> Iterator[Server]:
    fed = FeedPlace(tmp_path, place)
    environment = {"PYTHONPATH": str(tmp_path / "start"), "SLOW_JOURNAL": str(slow)}
    with Server(fed.configuration(tmp_path, cohorts={"directory": "cohorts"}), environment) as running:
        running.fed = fed  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    fed: FeedPlace = server.fed  # type: ignore[attr-defined]
    with Caller(fed, server.port) as connected:
        connected.open()
        put = m.CohortPut(connected.new(), connected.session, m.CohortStep.ALL, "all", memoryview(CODES))
        assert isinstance(connected.ask(put), m.CohortStored)
        with Feed(fed, feed_port(server)) as feed:
            feed.notify(1, entries(40))
        question = m.CohortChanges(connected.new(), connected.session, 100, "all", 1, 0)
        while not connected.ask(question).count:
            question = m.CohortChanges(connected.new(), connected.session, 100, "all", 1, 0)
        yield connected


def ask(caller: Caller) -> int:
    return caller.send(m.CohortChanges(caller.new(), caller.session, 100, "all", 1, 0))


def answer(caller: Caller) -> tuple[Any, list[m.Progress]]:
    """The next answer, and what was told of progress before it."""
    told: list[m.Progress] = []
    while isinstance(event := caller.event(), m.Progress):
        told.append(event)
    return event, told


def test_what_waits_and_what_is_under_way_is_cancelled_and_not_recorded(
    server: Server, caller: Caller, slow: Path
) -> None:
    recorded = len(list(read_segments(server.directory / "record-of-use")))
    slow.touch()
    first, second, third = ask(caller), ask(caller), ask(caller)
    time.sleep(0.2)
    caller.send(m.Cancel(second))
    found, _ = answer(caller)
    assert (found.request_id, found.code) == (second, ErrorCode.CANCELLED)
    caller.send(m.Cancel(first))
    found, _ = answer(caller)
    assert (found.request_id, found.code) == (first, ErrorCode.CANCELLED)
    slow.unlink()
    found, _ = answer(caller)
    assert isinstance(found, m.CohortChangesAnswer)
    assert (found.request_id, found.count) == (third, 40)
    server.wait_for_metric("jukinet_queued_bytes 0")
    assert len(list(read_segments(server.directory / "record-of-use"))) == recorded + 1


def test_progress_is_told_of_both(caller: Caller, slow: Path) -> None:
    slow.touch()
    first, second = ask(caller), ask(caller)
    told: list[m.Progress] = []
    while {event.request_id for event in told} != {first, second}:
        event = caller.event()
        assert isinstance(event, m.Progress)
        told.append(event)
    slow.unlink()
    assert all(event.total == 100 for event in told)
    assert next(event.done for event in told if event.request_id == first) == 40
    assert next(event.done for event in told if event.request_id == second) == 0
    for _ in range(2):
        found, _ = answer(caller)
        assert found.count == 40


def test_a_chunk_that_is_stored_is_answered_although_it_is_cancelled(caller: Caller) -> None:
    for _ in range(5):
        put = m.CohortPut(caller.new(), caller.session, m.CohortStep.ALL, "all", memoryview(CODES))
        number = caller.send(put)
        caller.send(m.Cancel(number))
        found, _ = answer(caller)
        assert found.request_id == number
        assert isinstance(found, m.CohortStored) or found.code == ErrorCode.CANCELLED
    assert caller.ask(m.CohortChanges(caller.new(), caller.session, 100, "all", 1, 0)).count == 40
