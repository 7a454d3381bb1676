"""Caps of a day and a year: the native counts against a plain twin, durability, and a server that keeps to them."""

from __future__ import annotations

import datetime
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.errors import ConfigurationError, ErrorCode, RecordOfUseError
from jukinet.core.wire import messages as m
from jukinet.server import caps
from jukinet.server.cap_counts import DAY, FILE_BYTES, YEAR, CapCounts
from jukinet.server.caps import Caps, SessionCaps, fiscal_year

from .serving import AUTHORITY, Caller, Place, Server

CAPPED = AUTHORITY.replace(
    'functions = ["LOOKUP", "STATUS", "VERIFY", "COHORT"]',
    'functions = ["LOOKUP", "STATUS", "VERIFY", "COHORT"]\ncodes_per_day_max = 10\ncodes_per_year_max = 100_000',
)


class CountTwin:
    """One cell's count of one kind of period, in plain Python."""

    def __init__(self) -> None:
        self.period = self.used = 0

    def take(self, period: int, count: int, cap: int) -> bool:
        if period > self.period:
            self.period, self.used = period, 0
        if count > cap or self.used + count > cap:
            return False
        self.used += count
        return True


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([DAY, YEAR]), st.integers(1, 4), st.integers(1, 70_000)),
        max_size=40,
    ),
    st.integers(1, 200_000),
)
def test_counts_agree_with_their_twin(asked: list[tuple[str, int, int, int]], cap: int) -> None:
    counts = CapCounts(bytearray(FILE_BYTES))
    twins: dict[tuple[str, int], CountTwin] = {}
    for owner, which, period, count in asked:
        cell = counts.cell(owner)
        twin = twins.setdefault((owner, which), CountTwin())
        # A refused question does not begin a new period in the cell, and need not.
        before = (twin.period, twin.used)
        expected = twin.take(period, count, cap)
        if not expected:
            twin.period, twin.used = before
        result = counts.take(cell, which, period, count, cap)
        assert (result >= 0) == expected
        if expected:
            assert counts.used(cell, which, period) == twin.used
            assert counts.reserved(cell, which) & 0xFFFF_FFFF_FFFF >= twin.used
            if result:
                counts.confirm(cell, which, counts.reserved(cell, which))
            assert counts.take(cell, which, period, 0, cap) == 0, "what is confirmed needs no disk"


@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(-1, 70_000))
def test_counts_refuse_what_is_out_of_range(cell: int, which: int, period: int) -> None:
    counts = CapCounts(bytearray(FILE_BYTES))
    if cell >= 16_384 or which > 1:
        with pytest.raises((IndexError, OverflowError)):
            counts.take(cell, which, max(period, 1), 1, 1)
    elif period < 0:
        with pytest.raises(OverflowError):
            counts.take(cell, which, period, 1, 1)
    elif not 0 < period < 65_536:
        assert counts.take(cell, which, period, 1, 1) == -1
    with pytest.raises(ValueError, match="too short"):
        CapCounts(bytearray(FILE_BYTES - 1))


def test_fiscal_year() -> None:
    assert fiscal_year(datetime.date(2027, 3, 31)) == 2026
    assert fiscal_year(datetime.date(2027, 4, 1)) == 2027


def used(path: Path, owner: str) -> int:
    with path.open("r+b") as file:
        counts = CapCounts(bytearray(file.read()))
    period = caps.day_number(caps.datetime.datetime.now(caps.JAPAN).date())
    return counts.used(counts.cell(owner), DAY, period)


def counted(path: Path, count: int, cap: int = 6_400) -> str:
    made = Caps(path)
    excess = made.excess(SessionCaps(made._counts.cell("owner"), cap, 0), count)
    made.make_durable()
    return excess


def test_counts_last_over_restarts_and_are_never_too_low_after_a_crash_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = caps.prepare(tmp_path)
    assert counted(path, 10) == ""
    assert caps.prepare(tmp_path) == path
    assert used(path, "owner") == 10, "processes end, the machine goes on: exact"
    monkeypatch.setattr(caps, "_boot_id", lambda: bytes(range(16)))
    caps.prepare(tmp_path)
    assert used(path, "owner") == 10 + 100, "a 64th of the cap was reserved"
    assert "6,400 codes of this day" in counted(path, 6_300)


def test_a_refused_cap_of_the_year_gives_the_day_back(tmp_path: Path) -> None:
    made = Caps(caps.prepare(tmp_path))
    cell = made._counts.cell("owner")
    assert made.excess(SessionCaps(cell, 100, 50), 40) == ""
    assert "fiscal year" in made.excess(SessionCaps(cell, 100, 50), 20)
    assert made.excess(SessionCaps(cell, 100, 0), 60) == ""
    assert "day" in made.excess(SessionCaps(cell, 100, 0), 1)


@pytest.mark.parametrize("content", [b"", b"x" * FILE_BYTES, bytes(FILE_BYTES)])
def test_a_file_that_is_none_stops_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / caps.FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigurationError, match="restore it"):
        caps.prepare(tmp_path)


def test_a_reservation_that_cannot_be_written_holds_answers_back(tmp_path: Path) -> None:
    class Broken:
        def flush(self, *_: int) -> None:
            raise OSError(5, "input/output error")

    made = Caps(caps.prepare(tmp_path))
    made.excess(SessionCaps(made._counts.cell("owner"), 100, 0), 1)
    kept, made._memory = made._memory, Broken()  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(RecordOfUseError):
            made.make_durable()
    made._memory = kept
    made.make_durable()


def test_a_server_keeps_to_the_cap_over_workers_and_restarts(place: Place, tmp_path: Path) -> None:
    configuration = place.configuration(tmp_path, server={"workers": 2})
    (tmp_path / "authority.toml").write_text(CAPPED)

    def ask(server: Server, count: int) -> m.Message:
        with Caller(place, server.port) as caller:
            assert isinstance(caller.open(), m.SessionOpened)
            answer: m.Message = caller.lookup(place.codes[:count])
            return answer

    with Server(configuration) as server:
        assert [type(ask(server, 2)) for _ in range(3)] == [m.LookupAnswer] * 3
        answer = ask(server, 5)
        assert isinstance(answer, m.Error)
        assert (answer.code, answer.retry_after_ms) == (ErrorCode.CAP_EXCEEDED, 0)
        for worker in server.worker_processes():
            os.kill(worker, signal.SIGKILL)
        server.wait_for("worker_restart", 2)
        server.wait_for("worker_ready", 4)
        assert isinstance(ask(server, 2), m.LookupAnswer)
    with Server(configuration) as server:
        assert isinstance(ask(server, 3), m.Error)
        assert isinstance(ask(server, 2), m.LookupAnswer)
        assert isinstance(ask(server, 1), m.Error)
