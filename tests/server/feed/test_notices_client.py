"""`jukinet feed notices` of two prefectures against a real server: left, killed, taken, confirmed, each once."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jukinet.clients.command import main
from jukinet.clients.feed.notice_file import COLUMNS
from jukinet.core.store.check import check_register

from ...feed.test_notices import left
from ..serving import Place, Server
from .feeding import FeedPlace, feed_port, feed_process


class Prefecture:
    """A profile, and the commands run in this process or in one of their own."""

    def __init__(self, fed: FeedPlace, directory: Path, port: int, body: str) -> None:
        self.directory = directory / body
        self.directory.mkdir()
        self.profile = self.directory / "feed.toml"
        files = fed.files[body]
        self.profile.write_text(
            f'[server]\nhost = "localhost"\nport = {port}\n'
            f'[tls]\nroot = "{fed.directory}/root.pem"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
            f'[feed]\nprefecture = "{body}"\noutbox = "outbox"\nnotices = "spool"\noutbox_bytes_max = 100000000\n'
        )

    def notices(self, action: str, *more: str) -> int:
        return main(["feed", "notices", action, "--profile", str(self.profile), *more])

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def file(self, name: str, ids: range, **changes: str) -> str:
        with Path(self.path(name)).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for notice_id in ids:
                message = left(notice_id)
                row = {column: str(getattr(message, column)) for column in COLUMNS}
                writer.writerow({**row, "code": f"{message.code:011}", **changes}.values())
        return self.path(name)


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def server(fed: FeedPlace, tmp_path: Path) -> Iterator[Server]:
    with Server(fed.configuration(tmp_path)) as running:
        yield running


@pytest.fixture
def tokyo(fed: FeedPlace, server: Server, tmp_path: Path) -> Prefecture:
    return Prefecture(fed, tmp_path, feed_port(server), "tokyo")


@pytest.fixture
def osaka(fed: FeedPlace, server: Server, tmp_path: Path) -> Prefecture:
    return Prefecture(fed, tmp_path, feed_port(server), "osaka")


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def soon(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def test_left_by_one_and_taken_by_the_other_each_once(
    fed: FeedPlace, server: Server, tokyo: Prefecture, osaka: Prefecture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokyo.notices("leave", tokyo.file("a.csv", range(1, 31))) == 0
    first = capsys.readouterr()
    os.kill(feed_process(server), signal.SIGKILL)
    assert tokyo.notices("leave", tokyo.path("a.csv")) == 0  # everything again, while the writer comes back
    again = capsys.readouterr()
    assert sorted(first.out.split()) == sorted(again.out.split())
    assert len(first.out.split()) == 31
    assert tokyo.notices("list") == 0
    listed = capsys.readouterr().out
    assert listed.count("waiting") == 30
    assert osaka.notices("take", "--out", osaka.path("first.csv")) == 0
    os.kill(feed_process(server), signal.SIGKILL)
    assert osaka.notices("take", "--out", osaka.path("second.csv"), "--confirm") == 0
    taken = rows(osaka.path("second.csv"))
    assert [row["number"] for row in taken] == [row["number"] for row in rows(osaka.path("first.csv"))]
    assert {row["name"] for row in taken} == {f"秘密{n}" for n in range(1, 31)}
    assert stat.S_IMODE(Path(osaka.path("second.csv")).stat().st_mode) == 0o600
    assert osaka.notices("received", "--from", osaka.path("first.csv")) == 0
    said = capsys.readouterr()
    assert "0 notices closed, 30 were not open" in said.err
    assert tokyo.notices("list") == 0
    assert capsys.readouterr().out.count("\n") == 1
    for text in (first.out, first.err, again.err, listed, said.out, said.err, *server.raw):
        assert "秘密" not in text
    server.__exit__(None, None, None)
    assert check_register(fed.store).faults == []


def test_notices_for_a_municipality_that_is_not_connected_are_named(
    server: Server, tokyo: Prefecture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokyo.notices("leave", tokyo.file("a.csv", range(1, 3), to_area="13215")) == 0
    assert tokyo.notices("leave", tokyo.file("b.csv", range(3, 4), to_area="13102")) == 1, "no area of this register"
    capsys.readouterr()
    assert tokyo.notices("take", "--out", tokyo.path("first.csv")) == 0
    wanted = "2 for 13215: not connected, to be handed on by other means\n"
    said = capsys.readouterr().err
    assert said.endswith(f"2 notices in {tokyo.path('first.csv')}, to be confirmed with `received`\n{wanted}")
    line = [sys.executable, "-m", "jukinet.clients.command", "feed", "run", "--profile", str(tokyo.profile)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        soon(lambda: len(list((Path(tokyo.path("spool")) / "taken").glob("*.csv"))) == 1)
        server.wait_for_metric("jukinet_notices_undelivered 0")
    finally:
        process.terminate()
        _, told = process.communicate(timeout=30)
    assert wanted in told.decode()


def test_bad_lines_and_refusals(tokyo: Prefecture, osaka: Prefecture, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokyo.notices("leave", tokyo.file("a.csv", range(1, 3))) == 0
    capsys.readouterr()
    assert tokyo.notices("leave", tokyo.file("bad.csv", range(3, 4), from_area="27127")) == 1
    assert "nothing was left" in capsys.readouterr().err
    assert tokyo.notices("leave", tokyo.file("b.csv", range(2, 5), to_area="27128")) == 1
    said = capsys.readouterr()
    assert "0 notices left, 3 refused" in said.err
    assert "notice_id 2: refused: another notice" in said.err
    assert "notice_id 3: refused: to_area" in said.err
    assert osaka.notices("received", "1", "77") == 0
    assert "1 notices closed, 1 were not open" in capsys.readouterr().err
    assert osaka.notices("received") == 2
    assert osaka.notices("take", "--out", tokyo.path("a.csv")) == 2  # never over a file


FULL_DISK = """
import resource, sys
from jukinet.clients.command import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
sys.exit(main(sys.argv[1:]))
"""


def test_what_the_disk_does_not_take_is_not_confirmed(
    tokyo: Prefecture, osaka: Prefecture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokyo.notices("leave", tokyo.file("a.csv", range(1, 31))) == 0
    words = ["feed", "notices", "take", "--profile", str(osaka.profile), "--confirm", "--out", osaka.path("cut.csv")]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, *words], check=False, capture_output=True, timeout=60)
    assert done.returncode not in (0, -signal.SIGXFSZ)
    assert "秘密" not in (done.stdout + done.stderr).decode()
    assert osaka.notices("take", "--out", osaka.path("whole.csv"), "--confirm") == 0
    assert len(rows(osaka.path("whole.csv"))) == 30
    capsys.readouterr()


def test_no_connection_leaves_no_file(server: Server, osaka: Prefecture) -> None:
    server.__exit__(None, None, None)
    assert osaka.notices("take", "--out", osaka.path("none.csv"), "--tries", "1") == 4
    assert not Path(osaka.path("none.csv")).exists()


def test_beside_a_run_that_is_killed(server: Server, tokyo: Prefecture, osaka: Prefecture) -> None:
    def start(prefecture: Prefecture) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "jukinet.clients.command", "feed", "run", "--profile", str(prefecture.profile)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    spool, there = Path(tokyo.path("spool")), Path(osaka.path("spool"))
    (spool / "leave").mkdir(parents=True)
    shutil.move(tokyo.file("a.csv", range(1, 11)), spool / "leave" / "a.csv")
    shutil.move(tokyo.file("b.csv", range(11, 13), to_area="27128"), spool / "leave" / "b.csv")
    running = [start(tokyo)]
    try:
        soon(lambda: (spool / "done" / "a.csv").exists() and (spool / "refused" / "b.csv").exists())
        assert (spool / "done" / "a.csv.receipts").read_text().count("\n") == 11
        assert "to_area" in (spool / "refused" / "b.csv.errors").read_text()
        running[0].kill()
        shutil.move(spool / "done" / "a.csv", spool / "leave" / "a.csv")  # as if it was killed before it moved it
        running += [start(tokyo), start(osaka)]
        soon((spool / "done" / "a.csv").exists)
        soon(lambda: len(list((there / "taken").glob("*.csv"))) == 1)
        server.wait_for_metric("jukinet_notices_undelivered 0")
        for process in running[1:]:
            process.terminate()
            assert process.wait(30) == 0
    finally:
        for process in running:
            process.kill()
            process.communicate()
    (path,) = (there / "taken").glob("*.csv")
    assert sorted(row["name"] for row in rows(str(path))) == sorted(f"秘密{n}" for n in range(1, 11))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
