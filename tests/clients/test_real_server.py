"""Clients and commands against `jukinet serve` over a small synthetic nation, also while its worker is killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet import clients
from jukinet.clients.demo.place import AFFAIR, Place, free_port, is_usable, make_certificates, write_settings
from jukinet.clients.demo.processes import ServerProcess, run_step
from jukinet.clients.places import PACKED_AFTER_CODES
from jukinet.core.vocabulary import Item, Match, Outcome

RESIDENTS = 20_000
WORDS = {"operator": "op", "reason": "test"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("real"), RESIDENTS, free_port())
    run_step("nation", "nation", "build", "--residents", str(RESIDENTS), "--seed", "1", "--store", str(made.nation))
    make_certificates(made)
    write_settings(made)
    return made


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[ServerProcess]:
    process = ServerProcess(place.configuration, place.directory / "server.log")
    try:
        process.wait()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def codes(place: Place) -> list[str]:
    return run_step(
        "codes", "nation", "codes", "--residents", str(RESIDENTS), "--seed", "1", "--count", "20000"
    ).split()


def worker_of(server: ServerProcess) -> int:
    """The process of its one worker, as soon as there is one: a killed one is started again after a moment."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
        listed = [int(number) for task in tasks for number in task.read_text().split()]
        if listed:
            return listed[-1]
        time.sleep(0.02)
    raise AssertionError("the server has no worker")


async def test_trio_client(server: ServerProcess, place: Place, codes: list[str]) -> None:
    async with clients.connect("localhost", place.port, tls=place.credentials) as client:
        async with client.session(**AFFAIR, **WORDS) as session:
            answer = await session.lookup(codes[:500])
            assert all(row.name for row in answer if row.outcome is Outcome.CURRENT)
            row = next(row for row in answer if row.outcome is Outcome.CURRENT)
            verified = await session.verify(
                [row.code], names=[row.name or ""], birth_dates=[row.birth_date], sexes=[row.sex or 0],
                addresses=[row.address or ""],
            )  # fmt: skip
            assert verified[0].agrees
            assert verified[0].address is Match.EXACT
            total = 0
            async for changes in session.status_many(clients.batches(codes, 3_000), since="2025-10-01"):
                total += len(changes)
            assert total == len(codes)
        with pytest.raises(clients.NotAuthorisedError):
            async with client.session(schedule=1, item="41", **WORDS):
                pass


def columns_of(answer: clients.LookupAnswer) -> dict[str, list[object]]:
    return {name: array.tolist() for name, array in answer.to_numpy().items()}


async def test_packed_answers_are_the_plain_ones(server: ServerProcess, place: Place, codes: list[str]) -> None:
    asked = [*codes[:3_000], "12345678901", "no code"]
    answers = []
    for packed in (True, False):
        async with clients.connect("localhost", place.port, tls=place.credentials, packed=packed) as client:
            async with client.session(**AFFAIR, **WORDS) as session:
                assert session.grant.packed
                many = [columns_of(answer) async for answer in session.lookup_many([asked, asked[:10]])]
                few = await session.lookup(asked, items=Item.NAME | Item.ADDRESS)
                row = await session.lookup_one(asked[0])
                assert row == (await session.lookup(asked[:1]))[0]
                answers.append((many, columns_of(few), few.to_arrow(), row, few.counts(), list(few)))
    assert answers[0] == answers[1]


def test_blocking_packed_answers_are_the_plain_ones(server: ServerProcess, place: Place, codes: list[str]) -> None:
    answers = []
    for packed in (True, False):
        with clients.connect_blocking("localhost", place.port, tls=place.credentials, packed=packed) as client:
            with client.session(**AFFAIR, **WORDS) as session:
                answers.append(list(map(columns_of, session.lookup_many(clients.batches(codes, 6_000)))))
                assert next(iter(session.lookup(codes[:100]))).address is not None
    assert answers[0] == answers[1]


def test_towns_are_fetched_when_enough_was_asked(server: ServerProcess, place: Place, codes: list[str]) -> None:
    with clients.connect_blocking("localhost", place.port, tls=place.credentials) as client:
        with client.session(**AFFAIR, **WORDS) as session:
            held = columns_of(session.lookup(codes))
            asked = len(codes)
            while asked + len(codes) <= PACKED_AFTER_CODES:
                session.lookup(codes)
                asked += len(codes)
            assert client._places is not None
            assert client._places.table.towns == 0
            assert columns_of(session.lookup(codes)) == held
            assert client._places.table.towns > 0


def test_a_client_that_begins_while_the_worker_is_restarted(
    server: ServerProcess, place: Place, codes: list[str], tmp_path: Path
) -> None:
    os.kill(worker_of(server), signal.SIGKILL)
    with clients.connect_blocking("localhost", place.port, tls=place.credentials) as client:
        with client.session(**AFFAIR, **WORDS) as session:
            assert len(session.lookup(codes[:10])) == 10
    os.kill(worker_of(server), signal.SIGKILL)
    out = tmp_path / "out.csv"
    profile = str(place.directory / "profile.toml")
    line = [sys.executable, "-m", "jukinet.clients.command", "status", "--since", "2025-10-01", "--profile", profile]
    done = subprocess.run(
        [*line, "--out", str(out), *codes[:10]], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    with out.open(newline="") as file:
        assert [row["code"] for row in csv.DictReader(file)] == codes[:10]


def test_a_worker_killed_in_the_middle_of_a_pipeline(server: ServerProcess, place: Place, codes: list[str]) -> None:
    retry = clients.Retry(tries=30, first=0.05, longest=1.0)
    with clients.connect_blocking("localhost", place.port, tls=place.credentials, retry=retry) as client:
        with client.session(**AFFAIR, **WORDS) as session:
            asked = codes * 10
            found: list[str] = []
            for number, answer in enumerate(session.lookup_many(clients.batches(asked, 5_000), in_flight=3)):
                if number in (3, 20):
                    os.kill(worker_of(server), signal.SIGKILL)
                found.extend(f"{code:011}" for code in answer.codes)
                assert Outcome.UNKNOWN not in answer.counts()
            assert found == asked


def test_a_bulk_job_survives_kills_of_both_sides(
    server: ServerProcess, place: Place, codes: list[str], tmp_path: Path
) -> None:
    source = tmp_path / "codes.txt"
    source.write_text("\n".join(codes * 20))
    out = tmp_path / "out.csv"
    line = [
        sys.executable, "-m", "jukinet.clients.command", "lookup", "--profile", str(place.directory / "profile.toml"),
        "--input", str(source), "--out", str(out), "--batch", "2000",
    ]  # fmt: skip
    journal = tmp_path / "out.csv.journal"
    killer = threading.Timer(0.8, lambda: os.kill(worker_of(server), signal.SIGKILL))
    killer.start()
    with subprocess.Popen(line, stderr=subprocess.PIPE) as process:
        limit = time.monotonic() + 30
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
            assert time.monotonic() < limit
            time.sleep(0.01)
        process.kill()
        process.communicate()
    killer.join()
    if not out.exists():  # unless the machine was faster than one second
        done = subprocess.run([*line, "--resume"], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    with out.open(newline="") as file:
        assert [row["code"] for row in csv.DictReader(file)] == codes * 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes.txt", "out.csv"]


async def test_a_drained_server_and_its_successor(place: Place, server: ServerProcess, codes: list[str]) -> None:
    retry = clients.Retry(tries=60, first=0.05, longest=0.5)
    async with clients.connect("localhost", place.port, tls=place.credentials, retry=retry) as client:
        async with client.session(**AFFAIR, **WORDS) as session:
            assert len(await session.lookup(codes[:10])) == 10
            server.stop()
            successor = ServerProcess(place.configuration, place.directory / "server.log")
            try:
                assert len(await session.lookup(codes[:10])) == 10
            finally:
                successor.stop()


def test_the_demo_knows_a_register_that_it_cannot_use(place: Place, tmp_path: Path) -> None:
    assert is_usable(place.nation)
    assert not is_usable(tmp_path / "absent")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(bytes(4096))
    assert not is_usable(tmp_path / "broken")
