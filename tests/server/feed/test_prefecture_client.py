"""`jukinet feed` against a real server: send, kill, load, compare, mend, run."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jukinet.clients.command import main
from jukinet.clients.feed.notification_file import write_csv
from jukinet.clients.feed.outbox import Outbox
from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.holdings import Digest
from jukinet.core.notifications import Fault, Notification
from jukinet.core.records.resident import Resident
from jukinet.core.store.check import check_register

from ...core.stores import build_store
from ..serving import Place, Server
from .feeding import FeedPlace, entries, entry, feed_port, feed_process, key_of

KILLS = int(os.environ.get("JUKINET_CLIENT_KILLS", "20"))
"""How often the client is killed; 200 in a long test."""
PERSON = {"area": 0, "town": 1, "birth_date": 19500101, "reason": 12, "change_date": 20200102, "update_number": 1}


def residents(count: int) -> list[Resident]:
    return [Resident(key=key_of(9_000_000 + n), name=f"居住{n}", **PERSON) for n in range(count)]  # type: ignore[arg-type]


class Prefecture:
    """Tokyo: a profile, an outbox, holdings, and the commands run in this process or in one of their own."""

    def __init__(self, fed: FeedPlace, directory: Path, port: int) -> None:
        self.directory = directory
        self.holdings = directory / "holdings"
        self.profile = directory / "feed.toml"
        files = fed.files["tokyo"]
        self.profile.write_text(
            f'[server]\nhost = "localhost"\nport = {port}\n'
            f'[tls]\nroot = "{fed.directory}/root.pem"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
            '[feed]\nprefecture = "tokyo"\noutbox = "outbox"\nholdings = "holdings"\ninbox = "inbox"\n'
            "batch_notifications = 500\noutbox_bytes_max = 100000000\n"
        )

    def words(self, action: str, *more: str) -> list[str]:
        return ["feed", action, "--profile", str(self.profile), *more]

    def run(self, action: str, *more: str) -> int:
        return main(self.words(action, *more))

    def start(self, action: str, *more: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "jukinet.clients.command", *self.words(action, *more)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def file(self, name: str, rows: Iterable[Notification]) -> str:
        path = self.directory / name
        with path.open("w", newline="") as file:
            write_csv(file, rows)
        return str(path)

    def outbox(self) -> Outbox:
        return Outbox(self.directory / "outbox", readonly=True, bytes_max=100_000_000)

    def digest(self) -> Digest:
        with FeedRegister(self.holdings) as register:
            return register.holdings(13)


@pytest.fixture
def fed(place: Place, tmp_path: Path) -> FeedPlace:
    return FeedPlace(tmp_path, place)


@pytest.fixture
def tokyo(fed: FeedPlace, tmp_path: Path) -> Iterator[Prefecture]:
    """A server, and a prefecture that holds what the server's register says of it."""
    shutil.copytree(fed.store, tmp_path / "holdings")
    with Server(fed.configuration(tmp_path)) as running:
        made = Prefecture(fed, tmp_path, feed_port(running))
        made.server = running  # type: ignore[attr-defined]
        yield made


def stop(tokyo: Prefecture) -> None:
    tokyo.server.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_send_status_reports_compare(tokyo: Prefecture, fed: FeedPlace, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*entries(1_200), entry(2, key_of(1_000), name="秘密新名")]
    refused = entry(2, key_of(5_000_000), reason=33)
    assert tokyo.run("send", tokyo.file("a.csv", rows), tokyo.file("b.csv", [refused])) == 1
    out, err = capsys.readouterr()
    assert "a.csv: 1,201 notifications put" in err
    assert "1 put into quarantine" in err
    assert tokyo.run("send", tokyo.file("again.csv", rows)) == 2
    assert "--again" in capsys.readouterr().err
    assert tokyo.run("status") == 0
    out = capsys.readouterr().out
    assert "acknowledged   1,202 of 1,202 rows" in out
    assert "holdings       1,202 of 1,202 rows" in out
    assert tokyo.run("reports") == 1
    told = capsys.readouterr().out
    assert "position 1202" in told
    assert "NOT_ENTERED  b.csv:2" in told
    assert "秘密" not in told
    written = tokyo.directory / "reports.csv"
    assert tokyo.run("reports", "--out", str(written), "--forget") == 1
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    with written.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["fault"], row["name"], row["code"]) == ("NOT_ENTERED", refused.name, f"{refused.code:011}")
    capsys.readouterr()
    assert tokyo.run("reports") == 0
    assert capsys.readouterr() == ("", "no reports\n")
    assert tokyo.run("compare") == 0
    out, err = capsys.readouterr()
    assert "equal: 1,500 residents and retired codes (1 exchange, 0 bytes behind the greeting)" in out
    for text in (told, out, err):
        assert "秘密" not in text


def test_what_waits_is_delivered_whatever_becomes_of_the_files(
    tokyo: Prefecture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokyo.run("send", "--no-deliver", tokyo.file("a.csv", entries(5))) == 0
    assert tokyo.run("send", tokyo.file("same.csv", entries(5))) == 2, "as after a command that was killed"
    assert "5 rows delivered, position 5" in capsys.readouterr().err
    strange = tokyo.directory / "strange.csv"
    strange.write_text("x,y\n")
    more = [tokyo.file("b.csv", entries(3, first=100)), str(strange), tokyo.file("c.csv", entries(3, first=200))]
    assert tokyo.run("send", *more) == 2
    said = capsys.readouterr().err
    assert "3 rows delivered, position 8" in said
    assert "strange.csv: the file has no column reason" in said
    assert "c.csv" not in said
    with tokyo.outbox() as outbox:
        assert (outbox.state.waiting, outbox.state.files) == (0, 2)


def test_bad_lines(tokyo: Prefecture, capsys: pytest.CaptureFixture[str]) -> None:
    rows = entries(30)
    bad = entry(1, key_of(77), name="")
    assert tokyo.run("send", tokyo.file("a.csv", [*rows, bad])) == 1
    err = capsys.readouterr().err
    assert "a.csv: line 32: name: " in err
    assert "nothing was put" in err
    with tokyo.outbox() as outbox:
        assert outbox.state.last == 0
    assert tokyo.run("send", "--skip-bad", tokyo.file("a.csv", [*rows, bad])) == 1
    assert "30 notifications put, 1 bad lines left out" in capsys.readouterr().err
    assert tokyo.run("compare") == 0


def test_differences_are_found_listed_and_mended(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = residents(30_000)
    there = {each.key: each for each in held}
    chance = random.Random(5)
    gone, extra, altered = chance.sample(held, 7), residents(30_004)[-4:], chance.sample(held, 5)
    for each in gone:
        del there[each.key]
    for each in extra:
        there[each.key] = each
    for each in altered:
        if each.key in there:
            fields: dict[str, Any] = {**PERSON, "birth_date": 19500102}
            there[each.key] = Resident(key=each.key, name=each.name, **fields)
    changed = {each.key for each in altered} & there.keys()
    fed = FeedPlace(tmp_path, place)
    shutil.rmtree(fed.store)
    build_store(fed.store, there.values(), expected_entries=100_000)
    build_store(tmp_path / "holdings", held, expected_entries=60_000)
    with Server(fed.configuration(tmp_path)) as server:
        tokyo = Prefecture(fed, tmp_path, feed_port(server))
        listing = tmp_path / "differences.csv"
        assert tokyo.run("compare", "--out", str(listing)) == 1
        out = capsys.readouterr().out
        assert f"{11 + len(changed)} codes differ: 7 only here, 4 only there, {len(changed)} unequal" in out
        with listing.open(newline="") as file:
            found = {(row["code"], row["difference"]) for row in csv.DictReader(file)}
        assert found == {
            *((f"{code_from_key(each.key):011}", "only_here") for each in gone),
            *((f"{code_from_key(each.key):011}", "only_there") for each in extra),
            *((f"{code_from_key(key):011}", "unequal") for key in changed),
        }
        assert stat.S_IMODE(listing.stat().st_mode) == 0o600
        for each in gone:
            assert f"{code_from_key(each.key):011}" not in out
        assert tokyo.run("compare", "--out", str(listing)) == 2
        tokyo.run("compare", "--mend")
        out = capsys.readouterr().out
        assert "equal now: 30,000 residents" in out
    check_register(fed.store)
    check_register(tokyo.holdings)


def test_a_load_that_is_killed_and_changes_meanwhile(place: Place, tmp_path: Path) -> None:
    held = residents(4_000)
    fed = FeedPlace(tmp_path, place)
    given_up = {key_of(20_000_000 + n): held[n].key for n in range(60)}
    stubs = [
        Resident(key=key, state=5, area=0, reason=41, change_date=20200102, update_number=1, successor_key=following)
        for key, following in given_up.items()
    ]
    build_store(tmp_path / "holdings", [*held, *stubs], expected_entries=60_000)
    chance = random.Random(3)
    with Server(fed.configuration(tmp_path)) as server:
        tokyo = Prefecture(fed, tmp_path, feed_port(server))
        assert tokyo.run("send", tokyo.file("first.csv", entries(1, first=2_000))) == 0
        broken_off = 0
        for life in range(6):
            with tokyo.outbox() as outbox, tokyo.start("load", "--range-rows", "40") as process:
                until = outbox.state.last + chance.randrange(3, 40)
                while outbox.state.last < until and process.poll() is None:
                    time.sleep(0.001)
                process.kill()
                begun = outbox.state.load
                broken_off += begun is not None and begun.next_key < 10**10
            change = entry(1, key_of(1_000 + life), name=f"新{life}")
            person = held[chance.randrange(len(held))]
            fixed = entry(2 + life, person.key, reason=33, name=f"正{life}")
            # 1: a change of somebody who is not loaded yet is reported, and comes with the range.
            assert tokyo.run("send", tokyo.file(f"{life}.csv", [change, fixed])) in (0, 1)
        assert broken_off, "no load was killed in its middle"
        assert tokyo.run("load", "--range-rows", "40") == 0
        with tokyo.outbox() as outbox:
            load = outbox.state.load
            assert load is not None
            assert load.ranges >= 100
        assert tokyo.run("compare") == 0
        assert tokyo.digest().count == 4_067
        with tokyo.outbox() as outbox:
            assert {report.fault for _, report in outbox.reports()} <= {Fault.NOT_ENTERED}
        # The same again, with a code that was given up since: nothing is different afterwards.
        new, old = key_of(30_000_000), held[100].key
        change_of_code = entry(20, new, reason=41, code_before=code_from_key(old), name="改")
        assert tokyo.run("send", tokyo.file("code.csv", [change_of_code])) == 0
        assert tokyo.run("load", "--range-rows", "1000", "--anew") == 0
        assert tokyo.run("compare") == 0
        assert tokyo.digest().count == 4_068
    report = check_register(fed.store)
    assert (report.faults, report.retired, report.successors_awaited) == ([], 61, 0)
    with FeedRegister(fed.store) as register, register.writer.transaction() as change:
        for key, following in {**given_up, old: new}.items():
            found = change.get(key)
            assert found is not None
            assert (found.state, found.successor_key) == (5, following)


@pytest.mark.slow
def test_the_client_is_killed_at_random_instants(tokyo: Prefecture, fed: FeedPlace) -> None:
    chance = random.Random(11)
    count = 400 * KILLS
    rows = entries(count)
    files = [tokyo.file(f"{start}.csv", rows[start : start + 1_000]) for start in range(0, count, 1_000)]
    for _ in range(KILLS):
        process = tokyo.start("send", *files)
        time.sleep(chance.uniform(0.3, 1.0))
        process.kill()
        process.communicate()
    for file in files:
        assert tokyo.run("send", file) in (0, 2), "put now, or known as put before"
    assert tokyo.run("compare") == 0
    with tokyo.outbox() as outbox:
        assert outbox.state.acknowledged == outbox.state.last == count
    stop(tokyo)
    assert check_register(fed.store).faults == []
    with FeedRegister(fed.store) as register:
        assert register.feed(13).notifications == count
        assert register.holdings(13) == tokyo.digest()


def test_run_takes_the_inbox_and_outlives_the_feed_writer(tokyo: Prefecture) -> None:
    inbox = tokyo.directory / "inbox"
    process = tokyo.start("run")
    try:
        deadline = time.monotonic() + 20
        while not (inbox / "done").is_dir():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for number in range(4):
            Path(tokyo.file(f"{number}.tmp", entries(100, first=1_000 + 100 * number))).rename(inbox / f"{number}.csv")
            if number == 1:
                os.kill(feed_process(tokyo.server), signal.SIGKILL)  # type: ignore[attr-defined]
        Path(tokyo.file("bad.tmp", [entry(1, key_of(7), name="")])).rename(inbox / "bad.csv")
        while True:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            if (inbox / "refused" / "bad.csv.errors").exists() and (tokyo.directory / "outbox").exists():
                with tokyo.outbox() as outbox:
                    if outbox.state.acknowledged == 400:
                        break
        assert sorted(path.name for path in (inbox / "done").iterdir()) == [f"{n}.csv" for n in range(4)]
        assert "line 2: name: " in (inbox / "refused" / "bad.csv.errors").read_text()
        assert main(tokyo.words("send", tokyo.file("x.csv", entries(1)))) == 2, "the outbox is in use"
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err.decode()
    assert "秘密" not in (out + err).decode()
    assert tokyo.run("compare") == 0


def test_usage(tokyo: Prefecture, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokyo.run("status") == 5
    assert "holds no outbox" in capsys.readouterr().err
    assert tokyo.run("load", "--range-rows", "0") == 2
    assert tokyo.run("status", "--prefecture", "atlantis") == 2
    assert tokyo.run("compare", "--holdings", "") == 2
    assert "--holdings DIR" in capsys.readouterr().err
    assert tokyo.run("send", "--port", "1", "--tries", "1", tokyo.file("a.csv", entries(1))) == 4
    assert "nothing listens" in capsys.readouterr().err
    assert tokyo.run("compare") == 0


def test_holdings_must_belong_to_the_outbox(tokyo: Prefecture, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(tokyo.holdings, tokyo.directory / "old")
    assert tokyo.run("send", tokyo.file("a.csv", entries(5))) == 0
    shutil.rmtree(tokyo.holdings)
    shutil.copytree(tokyo.directory / "old", tokyo.holdings)
    capsys.readouterr()
    assert tokyo.run("compare") == 2
    assert "--adopt-holdings" in capsys.readouterr().err
    assert tokyo.run("compare", "--adopt-holdings") == 1
    assert "5 only there" in capsys.readouterr().out


def test_a_lost_outbox_and_a_register_put_back_from_a_copy(
    tokyo: Prefecture, fed: FeedPlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokyo.run("send", tokyo.file("a.csv", entries(20))) == 0
    shutil.rmtree(tokyo.directory / "outbox")
    assert tokyo.run("send", tokyo.file("b.csv", entries(20, first=2_000))) == 0, "goes on behind the position"
    assert tokyo.run("compare") == 0
    stop(tokyo)
    copy = tmp_path / "copy"
    shutil.copytree(fed.store, copy)
    with Server(fed.configuration(tmp_path)) as server:
        again = Prefecture(fed, tmp_path, feed_port(server))
        assert again.run("send", again.file("c.csv", entries(20, first=3_000))) == 0
    shutil.rmtree(fed.store)
    copy.rename(fed.store)
    with Server(fed.configuration(tmp_path)) as server:
        again = Prefecture(fed, tmp_path, feed_port(server))
        capsys.readouterr()
        assert again.run("send", again.file("d.csv", entries(1, first=4_000))) == 5
        assert "load --rebind" in capsys.readouterr().err
        assert again.run("load", "--rebind") == 0
        assert again.run("compare") == 0
    check_register(fed.store)
