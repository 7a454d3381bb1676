"""A prefecture's first load and its re-load, range after range, each range durable: in process, without the wire."""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from figures import Options, Report, options, say, whole_number
from jukinet.core import limits
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.holdings import Digest, HoldingsReader
from jukinet.core.feed.range_statements import statements
from jukinet.core.notifications import NotificationBatch
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import RegisterReader
from nation_register import WrongAnswerError, build_command

PREFECTURE: Final = 13
DAY: Final = datetime.date(2026, 10, 6)

Range = tuple[int, int, NotificationBatch]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefecture", type=whole_number, default=PREFECTURE, metavar="P", help="1 to 47 (13)")
    parser.add_argument(
        "--range-rows", type=whole_number, default=limits.RANGE_ROWS_MAX, metavar="N", help="rows of a range (65,536)"
    )
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


def run(chosen: Options, prefecture: int, rows_max: int, *, check: bool) -> None:
    report = Report("Loading a prefecture", chosen)
    say("building the prefecture's holdings and an empty register")
    holdings = built(chosen, chosen.work / "holdings", "--prefecture", str(prefecture))
    target = built(chosen, chosen.work / "loaded", "--areas-only")
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
        if digest != held or digest_again != held or again != rows:
            raise WrongAnswerError("the loaded register does not hold what the prefecture holds")
    if (check or chosen.smoke) and check_register(target).faults:
        raise WrongAnswerError("store check finds faults in the loaded register")
    report.fact("prefecture", prefecture)
    report.fact("range_rows", rows_max)
    report.figure("loaded_residents", rows, "statements of the prefecture", 0)
    report.rate("residents_per_second", [rows / seconds], "first load, each range durable before the next")
    report.rate("reloaded_per_second", [again / again_seconds], "the same again: everything is there already")
    report.figure("store_bytes", (target / "data.mdb").stat().st_size, "of the loaded register, journal included", 0)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more.prefecture, 100 if chosen.smoke else more.range_rows, check=more.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
