"""A prefecture's first load and its re-load, each range durable: over the wire into a real server, and in process."""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from feed_traffic import FeedLink, prefecture_files
from figures import Options, Report, options, say, whole_number
from jukinet.core import limits
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.holdings import Digest, HoldingsReader
from jukinet.core.feed.range_statements import statements
from jukinet.core.notifications import NotificationBatch
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import Prefecture
from nation_register import WrongAnswerError, build_command
from served import Certificates, ServedRegister

PREFECTURE: Final = 13
DAY: Final = datetime.date(2026, 10, 6)

Range = tuple[int, int, NotificationBatch]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefecture", type=whole_number, default=PREFECTURE, metavar="P", help="1 to 47 (13)")
    parser.add_argument(
        "--range-rows", type=whole_number, default=limits.RANGE_ROWS_MAX, metavar="N", help="rows of a range (65,536)"
    )
    parser.add_argument("--in-flight", type=whole_number, default=4, metavar="N", help="ranges under way at once (4)")
    parser.add_argument("--check", action="store_true", help="store check at the end, also of a large register")


def built(chosen: Options, directory: Path, *more: str) -> Path:
    """A register of the chosen nation with more words on the command line of its build."""
    subprocess.run(
        [*build_command(chosen.residents, chosen.seed, directory), *more], check=True, stdout=subprocess.DEVNULL
    )
    return directory


def ranges(source: RegisterReader, prefecture: int, rows_max: int) -> Iterator[Range]:
    """(first key, stop key, statements) of all that the prefecture holds."""
    first = 0
    with source.pin() as snapshot:
        while first < limits.RESIDENT_KEYS:
            payload, rows, following = statements(
                snapshot, prefecture, first, limits.RESIDENT_KEYS, rows_max, limits.BATCH_BYTES_MAX
            )
            yield first, following, NotificationBatch.parse(payload, rows)
            first = following


def load(register: FeedRegister, prefecture: int, pieces: Iterator[Range]) -> tuple[int, float, Digest]:
    """Rows, seconds in the register alone (not in making the ranges), and the digest that the last answer told."""
    rows, seconds, digest = 0, 0.0, Digest()
    sequence = register.feed(prefecture).position
    for first, stop, batch in pieces:
        sequence += 1
        started = time.perf_counter()
        with register.transaction() as transaction:
            applied = transaction.apply_range(prefecture, sequence, first, stop, batch)
            transaction.commit()
        seconds += time.perf_counter() - started
        if applied.quarantined or applied.applied != len(batch):
            raise WrongAnswerError("a valid statement was refused")
        rows += len(batch)
        digest = applied.digest
    return rows, seconds, digest


def load_by_wire(
    chosen: Options, target: Path, source: RegisterReader, prefecture: int, rows_max: int, in_flight: int
) -> list[tuple[int, float, Digest]]:
    """A load and a re-load into a real server: rows, seconds from the first read of the holdings to the last
    acknowledgement, and the digest told there. Mutual TLS 1.3, one connection."""
    certificates = Certificates(chosen.work, [Prefecture(prefecture)])
    found = []
    with ServedRegister(chosen, certificates, fed=target, more={"retention": {"at": ""}}) as server:
        link = FeedLink(server.feed_port, certificates.root, *prefecture_files(certificates, prefecture))
        for _ in range(2):
            started = time.perf_counter()
            rows, digest = link.load(ranges(source, prefecture, rows_max), in_flight)
            found.append((rows, time.perf_counter() - started, digest))
        link.close()
    return found


def run(chosen: Options, prefecture: int, rows_max: int, in_flight: int, *, check: bool) -> None:
    report = Report("Loading a prefecture", chosen)
    say("building the prefecture's holdings and an empty register")
    holdings = built(chosen, chosen.work / "holdings", "--prefecture", str(prefecture))
    target = built(chosen, chosen.work / "loaded", "--areas-only")
    served = built(chosen, chosen.work / "served", "--areas-only")
    with RegisterReader(holdings) as source:
        source.warm()
        with source.pin() as snapshot:
            assert snapshot.transaction is not None
            held = HoldingsReader(snapshot.transaction, source.databases, snapshot.places).prefecture(prefecture)
        with FeedRegister(target, today=lambda: DAY) as register:
            say("loading")
            rows, seconds, digest = load(register, prefecture, ranges(source, prefecture, rows_max))
            say("loading again")
            again, again_seconds, digest_again = load(register, prefecture, ranges(source, prefecture, rows_max))
        say("loading over the wire, twice")
        wire = load_by_wire(chosen, served, source, prefecture, rows_max, in_flight)
        if digest != held or digest_again != held or again != rows:
            raise WrongAnswerError("the loaded register does not hold what the prefecture holds")
        if any((count, told) != (rows, held) for count, _, told in wire):
            raise WrongAnswerError("the register loaded over the wire does not hold what the prefecture holds")
    for directory in (target, served):
        if (check or chosen.smoke) and check_register(directory).faults:
            raise WrongAnswerError("store check finds faults in the loaded register")
    report.fact("prefecture", prefecture)
    report.fact("range_rows", rows_max)
    report.figure("loaded_residents", rows, "statements of the prefecture", 0)
    report.fact("ranges_in_flight", in_flight)
    report.rate("residents_per_second", [rows / wire[0][1]], "first load over the wire, each range durable")
    report.rate("reloaded_per_second", [rows / wire[1][1]], "the same again: everything is there already")
    report.rate("in_process_per_second", [rows / seconds], "first load without the wire, the register's part alone")
    report.rate("in_process_reloaded_per_second", [again / again_seconds], "the same again")
    report.figure("store_bytes", (target / "data.mdb").stat().st_size, "of the loaded register, journal included", 0)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more.prefecture, 100 if chosen.smoke else more.range_rows, more.in_flight, check=more.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
