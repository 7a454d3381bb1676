"""Notifications applied durably: the real mix of all 47 feeds, 10,000 to a transaction, with every table in it.

Then the register is served and fed: how soon a commit is visible, and LOOKUP with feeds at 2,000 a second.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from feed_freshness import RATE_PER_SECOND, measure_freshness
from figures import Options, Report, options, say, whole_number
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import State
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import load_tables
from nation_notifications import Batches, Changes
from nation_register import WrongAnswerError, built_register

TRANSACTION_ROWS: Final = 10_000
TRANSACTIONS: Final = 20
WARMING_TRANSACTIONS: Final = 2
SERVED_TRANSACTIONS: Final = 20
"""Of RATE_PER_SECOND rows: for visibility, then for five rounds of two seconds under feeds."""
DAY: Final = datetime.date(2026, 10, 6)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--transaction-rows", type=whole_number, default=TRANSACTION_ROWS, metavar="N")
    parser.add_argument("--transactions", type=whole_number, metavar="N", help=f"in all rounds ({TRANSACTIONS})")


def copied(chosen: Options) -> Path:
    """A copy of the register that may be changed, without its bytes where the file system can share them.

    It is written out, and neither copy is left in the page cache: two registers of 120 M residents do not fit 24 GiB,
    and a file that was just written lies in the cache in small pieces, where one that was built and then read does not.
    """
    target = chosen.work / "fed"
    target.mkdir()
    say("copying the register")
    subprocess.run(
        ["cp", "--reflink=auto", str(chosen.store / "data.mdb"), str(target / "data.mdb")],
        check=True,
    )
    leave_cache(chosen.store)
    leave_cache(target)
    return target


def leave_cache(store: Path) -> None:
    """Write a register that nobody has open to the disk, and let it go from the page cache."""
    descriptor = os.open(store / "data.mdb", os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def apply_one(register: FeedRegister, batches: Batches) -> tuple[int, float]:
    """Apply one transaction durably; rows and seconds. WrongAnswerError when a row was not simply accepted."""
    positions = {prefecture: register.feed(prefecture).position for prefecture, _ in batches}
    started = time.perf_counter()
    with register.transaction() as transaction:
        told = [transaction.apply(prefecture, positions[prefecture] + 1, batch) for prefecture, batch in batches]
        transaction.commit()
    seconds = time.perf_counter() - started
    if any(applied.quarantined for applied in told):
        raise WrongAnswerError("a valid notification was refused")
    return sum(applied.applied + applied.kept for applied in told), seconds


def check_applied(register: FeedRegister, batches: Batches) -> None:
    """The register shows what the last notification about a code says."""
    last = {n.code: n for _, batch in batches for n in sorted(batch, key=lambda n: n.update_number)}
    with register.writer.transaction() as change:
        for code, n in itertools.islice(last.items(), 500):
            found = change.get(code // 10)
            if found is None or not shows(found, n.update_number, n.reason):
                raise WrongAnswerError("the register does not show what was applied")


def shows(found: Resident, update_number: int, reason: int) -> bool:
    if found.update_number > update_number or found.state == State.RETIRED:
        return True
    return (found.update_number, found.reason) == (update_number, reason)


def run(chosen: Options, rows: int, transactions: int) -> None:
    with built_register(chosen) as reader:
        date = datetime.date.fromisoformat(reader.meta.origin["date"])
    directory = copied(chosen)
    report = Report("Applying notifications", chosen)
    with FeedRegister(directory, today=lambda: DAY) as register:
        with register.reader() as reader:
            reader.warm()
        say("making notifications")
        changes = Changes(register, Population(load_tables(), chosen.seed, chosen.residents, date), chosen.seed)
        prepared = list(itertools.islice(changes.transactions(rows), transactions + WARMING_TRANSACTIONS))
        served_rows = 60 if chosen.smoke else RATE_PER_SECOND
        served = list(itertools.islice(changes.transactions(served_rows), 3 if chosen.smoke else SERVED_TRANSACTIONS))
        say("applying")
        for batches in prepared[:WARMING_TRANSACTIONS]:
            apply_one(register, batches)
        results = []
        before = (directory / "data.mdb").stat().st_size
        for batches in prepared[WARMING_TRANSACTIONS:]:
            applied, seconds = apply_one(register, batches)
            results.append(applied / seconds)
        check_applied(register, prepared[-1])
        report.fact("transaction_rows", rows)
        report.rate("applied_per_second", results, "notifications applied durably, all tables included")
        grown = (directory / "data.mdb").stat().st_size - before
        report.figure("grown_bytes", grown, "the store's file grew by this", 0)
    measure_freshness(chosen, report, directory, served, prepared[0][0][1].codes[0] // 10)
    shutil.rmtree(directory)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        rows = 300 if chosen.smoke else more.transaction_rows
        run(chosen, rows, more.transactions or (3 if chosen.smoke else TRANSACTIONS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
