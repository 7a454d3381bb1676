"""A year of the nation's changes through 47 real clients, over lines that break, while processes are killed.

A nation that is a year and more old is built, with each prefecture's own holdings. A year of its changes is handed to
47 `jukinet feed run` processes, part by part into their inboxes. They deliver it to a real `jukinet serve` through a
relay that cuts every connection after a random number of bytes, while clients and the feed writer are killed with
SIGKILL. At the end the register must be, byte for byte, what a straight run in one process makes, and what its own
journal makes of the nation as it was.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from breaking_line import BreakingLine
from feed_clients import FeedClient
from figures import Options, Report, options, say, whole_number
from jukinet.core.feed.engine import FeedRegister, day_in_japan
from jukinet.core.feed.positions import PREFECTURES, read_feed
from jukinet.core.notifications import Notification
from jukinet.core.store import schema
from jukinet.core.store.check import check_register
from jukinet.core.vocabulary import Prefecture
from jukinet.server.nation.build import build_nation
from jukinet.server.nation.changes import NationChanges
from jukinet.server.nation.tables import load_tables
from nation_register import WrongAnswerError
from prefecture_holdings import split
from register_equality import by_day, difference, replay, straight_run
from served import Certificates, ServedRegister

DAYS: Final = 365
AGE_DAYS: Final = DAYS + 45
"""How old the nation is today: a year, and the days for which moves out are told ahead; no event may lie ahead."""
CUT_BYTES_LEAST: Final = 2_000
CUT_BYTES_MOST: Final = 400_000
"""From the middle of the handshake to many batches. Clients wait longer after each failure, so most must not fail."""
BYTES_A_ROW: Final = 200
STANDSTILL_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 0.05
GOES_ON_SHARE: Final = 0.6
"""The next part comes when this share of all that was handed over is applied: feeds never are in step."""

Feeds = dict[int, list[Notification]]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=whole_number, default=DAYS, metavar="D", help="days of changes (365)")
    parser.add_argument("--parts", type=whole_number, metavar="P", help="files of each prefecture (52; smoke: 5)")
    parser.add_argument("--writer-kills", type=int, metavar="K", help="SIGKILLs of the feed writer (100; smoke: 6)")
    parser.add_argument("--client-kills", type=int, metavar="K", help="SIGKILLs of clients (200; smoke: 10)")
    parser.add_argument(
        "--feeds", type=whole_number, metavar="F",
        help="so many of the largest prefectures have clients; of the others all is applied beforehand (47; smoke: 12)",
    )  # fmt: skip
    parser.add_argument("--batch", type=whole_number, metavar="N", help="notifications sent at once (200; smoke: 10)")


def made_changes(changes: NationChanges) -> Feeds:
    """Each prefecture's notifications in its order, with those removals that come after the last day."""
    feeds: Feeds = defaultdict(list)
    for day in changes.by_day():
        for row in day.notifications:
            feeds[row.area // 1_000].append(row)
    for row in changes.late_removals():
        feeds[row.area // 1_000].append(row)
    return {prefecture: feeds[prefecture] for prefecture in PREFECTURES}


class Positions:
    """How far each feed is applied durably, read from the register beside the server."""

    def __init__(self, directory: Path) -> None:
        self._environment = schema.open_environment(directory, readonly=True)
        self._feeds = schema.open_databases(self._environment, directory)["feeds"]

    def read(self, prefectures: Iterable[int]) -> dict[int, int]:
        with self._environment.begin(buffers=True) as transaction:
            return {p: read_feed(transaction, self._feeds, p).position for p in prefectures}

    def close(self) -> None:
        self._environment.close()


class Year:
    """The run: hands the parts over, kills, and waits. Everything that is drawn comes from the seed.

    Invariant: outside of a kill each client is a process that runs; one that ended by itself is an error.
    """

    def __init__(self, server: ServedRegister, clients: dict[int, FeedClient], feeds: Feeds, seed: int) -> None:
        self.writer_kills = self.client_kills = 0
        self._server = server
        self._clients = clients
        self._feeds = feeds
        self._random = Random(f"feed year {seed}")

    def run(self, positions: Positions, parts: int, writer_kills: int, client_kills: int) -> None:
        """All parts, and as many kills as wanted, spread evenly over them and at random instants inside each."""
        handed = dict.fromkeys(self._clients, 0)
        for part in range(parts):
            say(f"part {part + 1} of {parts}: {sum(positions.read(self._clients).values()):,} applied")
            for prefecture, client in self._clients.items():
                rows = self._feeds[prefecture]
                stop = len(rows) * (part + 1) // parts
                client.hand_over(part, rows[handed[prefecture] : stop])
                handed[prefecture] = stop
            kills: list[Callable[[], None]] = [self._kill_writer] * share(writer_kills, part, parts)
            kills += [self._kill_client] * share(client_kills, part, parts)
            self._random.shuffle(kills)
            for kill in kills:
                time.sleep(self._random.random() * 0.4)
                kill()
            wanted = GOES_ON_SHARE * sum(handed.values())
            self._wait(positions, lambda now, wanted=wanted: sum(now.values()) >= wanted)  # type: ignore[misc]
        self._wait(positions, lambda now: now == handed)

    def _wait(self, positions: Positions, is_reached: Callable[[dict[int, int]], bool]) -> None:
        last, moved_at = positions.read(self._clients), time.monotonic()
        while not is_reached(last):
            time.sleep(LOOK_SECONDS)
            for client in self._clients.values():
                client.must_run()
            now = positions.read(self._clients)
            if now != last:
                last, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > STANDSTILL_SECONDS:
                behind = [Prefecture(p).body for p in self._clients if now[p] < len(self._feeds[p])]
                raise WrongAnswerError(f"nothing was applied for {STANDSTILL_SECONDS:g} s; waiting: {behind}")

    def _kill_writer(self) -> None:
        end = time.monotonic() + STANDSTILL_SECONDS
        while not self._server.kill_feed_writer():
            if time.monotonic() > end:
                raise WrongAnswerError("the feed writer was not started again")
            time.sleep(LOOK_SECONDS)
        self.writer_kills += 1

    def _kill_client(self) -> None:
        client = self._random.choice(list(self._clients.values()))
        client.must_run()
        client.kill()
        client.start()
        self.client_kills += 1


def share(whole: int, part: int, parts: int) -> int:
    """The part's share of a whole number; all parts' shares make the whole."""
    return whole * (part + 1) // parts - whole * part // parts


def compared(clients: dict[int, FeedClient]) -> Iterator[int]:
    """`jukinet feed compare` of each prefecture: how many residents it holds. Raises WrongAnswerError."""
    for prefecture, client in clients.items():
        code, told = client.command("compare")
        if code != 0 or not told.startswith("equal"):
            raise WrongAnswerError(f"feed compare of {Prefecture(prefecture).body} ended with {code}: {told}")
        yield int(told.split()[1].replace(",", ""))


def verify(report: Report, served: Path, copies: dict[str, Path], feeds: Feeds) -> None:
    """Registers of the straight run and of the journal against the one that was served. Raises WrongAnswerError."""
    with FeedRegister(served) as register:
        quarantined = sum(register.feed(prefecture).quarantined for prefecture in PREFECTURES)
        batches = sum(1 for _ in register.journal())
        report.figure("residents_held", register.meta().residents, "in the register at the end", 0)
    say("straight run")
    for day, rows in by_day(served, feeds):
        straight_run(copies["straight"], rows, day)
    say("replaying the journal")
    replay(served, copies["replayed"])
    for name, directory in copies.items():
        different = difference(served, directory)
        if different:
            raise WrongAnswerError(f"the served register and the {name} one differ: {different}")
    if quarantined:
        raise WrongAnswerError("notifications of a consistent nation were refused")
    report.figure("batches", batches, "batches that were applied", 0)
    say("store check")
    if check_register(served).faults:
        raise WrongAnswerError("store check finds faults in the register")


def run(chosen: Options, more: argparse.Namespace) -> None:
    smoke = chosen.smoke
    parts = more.parts or (5 if smoke else 52)
    writer_kills = more.writer_kills if more.writer_kills is not None else (6 if smoke else 100)
    client_kills = more.client_kills if more.client_kills is not None else (10 if smoke else 200)
    report = Report("A year of changes by 47 feeds", chosen)
    say(f"seed {chosen.seed}: building the nation")
    tables = load_tables()
    today = datetime.datetime.now(datetime.UTC).date()
    date = today - datetime.timedelta(AGE_DAYS)
    served = chosen.work / "served"
    build_nation(served, chosen.residents, chosen.seed, date=date, tables=tables)
    copies = {name: chosen.work / name for name in ("straight", "replayed")}
    for directory in copies.values():
        shutil.copytree(served, directory)
    say("making the year's changes")
    first = date + datetime.timedelta(1)
    feeds = made_changes(NationChanges(tables, chosen.residents, chosen.seed, first, more.days, nation_date=date))
    most = sorted(PREFECTURES, key=lambda prefecture: -len(feeds[prefecture]))
    sending = sorted(most[: more.feeds or (12 if smoke else len(most))])
    places = {prefecture: FeedClient.place_of(chosen.work, prefecture) / "holdings" for prefecture in sending}
    split(served, places)
    others = {prefecture: rows for prefecture, rows in feeds.items() if prefecture not in places}
    straight_run(served, others, day_in_japan())
    certificates = Certificates(chosen.work, [Prefecture(prefecture) for prefecture in sending])
    rows = sum(len(feeds[prefecture]) for prefecture in sending)
    settings: dict[str, dict[str, Any]] = {
        "feed": {"takeover_seconds": 0.5, "retry_seconds": 0.1},
        "supervision": {"restart_delay_seconds": 0.05, "restart_delay_seconds_max": 0.05},
        "retention": {"at": ""},
    }
    started = time.monotonic()
    with ServedRegister(chosen, certificates, fed=served, more=settings) as server:
        bytes_most = max(CUT_BYTES_MOST, BYTES_A_ROW * rows // len(sending))
        with BreakingLine(server.feed_port, f"line {chosen.seed}", CUT_BYTES_LEAST, bytes_most) as line:
            clients = {
                prefecture: FeedClient(
                    chosen.work, prefecture, certificates, line.port, more.batch or (10 if smoke else 200)
                )
                for prefecture in sending
            }
            say(f"sending {rows:,} notifications")
            positions = Positions(served)
            try:
                for client in clients.values():
                    client.start()
                year = Year(server, clients, feeds, chosen.seed)
                year.run(positions, parts, writer_kills, client_kills)
                seconds = time.monotonic() - started
                for client in clients.values():
                    client.end()
            finally:
                positions.close()
                for client in clients.values():
                    client.kill()
        say("comparing holdings")
        for client in clients.values():
            client.connect(server.feed_port)
        held = sum(compared(clients))
    report.fact("days", more.days)
    report.figure("clients", len(clients), "processes that ran at once", 0)
    report.figure("notifications", rows, "sent by clients", 0)
    report.figure("seconds", seconds, "until the last was applied, with all restarts")
    report.rate("notifications_per_second", [rows / seconds], "on the whole")
    report.figure("writer_kills", year.writer_kills, "SIGKILLs of the feed writer", 0)
    report.figure("client_kills", year.client_kills, "SIGKILLs of clients", 0)
    report.figure("connections", line.connections, "of clients, through the relay", 0)
    report.figure("cuts", line.cuts, "connections that the relay cut", 0)
    verify(report, served, copies, feeds)
    report.figure("equal_prefectures", len(clients), "`jukinet feed compare` says equal", 0)
    report.figure("residents_compared", held, "current residents and retired codes in their holdings", 0)
    report.fact("equal", True)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that clients and server are ended
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
