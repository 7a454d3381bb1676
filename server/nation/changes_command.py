"""The command `jukinet nation changes`: files of notifications for each prefecture, and a table of what was made."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from jukinet.core.errors import ConfigurationError
from jukinet.core.vocabulary import ChangeReason, Prefecture

FORMATS: Final = ("jsonl", "parquet", "csv")
REPORT_SECONDS: Final = 5.0
NATION_DATE: Final = datetime.date(2026, 10, 1)

Counts = Counter[tuple[int, int, int]]
"""Notifications by year, month and reason."""


def changes_date(text: str) -> datetime.date:
    """An argparse type: a date YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date YYYY-MM-DD") from None


def prefecture(text: str) -> Prefecture:
    """An argparse type: a prefecture by its number or its romanised name."""
    found = Prefecture.of_body(text)
    if found is None and text.isdecimal() and 1 <= int(text) <= len(Prefecture):
        found = Prefecture(int(text))
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no prefecture: 1 to 47, or a name such as tokyo")
    return found


def fault_rate(text: str) -> float:
    """An argparse type: a share from 0 to 1."""
    try:
        rate = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= rate <= 1:
        raise argparse.ArgumentTypeError("must be 0 to 1")
    return rate


def add_command(commands: Any, add_nation: Callable[[argparse.ArgumentParser], None]) -> None:
    """The subcommand; ``add_nation`` adds what names a nation (--residents, --seed)."""
    parser = commands.add_parser("changes", help="notifications of a nation's changes, for `jukinet feed send`")
    add_nation(parser)
    parser.add_argument("--days", type=int, required=True, metavar="D", help="calendar days to make")
    parser.add_argument(
        "--date", type=changes_date, default=None, metavar="FIRST",
        help="first day, YYYY-MM-DD (default: the day after the nation's date)")  # fmt: skip
    parser.add_argument(
        "--nation-date", type=changes_date, default=NATION_DATE, metavar="YYYY-MM-DD",
        help="the date that the nation was built with (default 2026-10-01)")  # fmt: skip
    parser.add_argument(
        "--prefecture", type=prefecture, nargs="+", default=None, metavar="P",
        help="only these prefectures, by number or name (default: all 47)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory to make")
    parser.add_argument("--format", choices=FORMATS, default="jsonl", help="default jsonl")
    parser.add_argument("--daily", action="store_true", help="a file a day in a folder for each prefecture")
    parser.add_argument("--with-sequence", action="store_true", help="number each prefecture's rows from 1")
    parser.add_argument(
        "--faults", type=fault_rate, default=0.0, metavar="RATE",
        help="add faulty notifications for trials, this share of the true ones; faults.json lists them")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Make the files and print a table of counts. Raises ConfigurationError and StoreError."""
    from jukinet.server.nation.change_faults import FaultPlanter  # noqa: PLC0415
    from jukinet.server.nation.change_files import ChangeFiles  # noqa: PLC0415
    from jukinet.server.nation.changes import NationChanges, check_days  # noqa: PLC0415
    from jukinet.server.nation.tables import load_tables  # noqa: PLC0415

    if arguments.format == "parquet" and find_spec("pyarrow") is None:
        raise ConfigurationError("missing: pyarrow; run  pip install 'jukinet[files]'")
    first = arguments.date or arguments.nation_date + datetime.timedelta(1)
    try:
        check_days(first, arguments.days, arguments.nation_date)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    counts: Counts = Counter()
    started = time.monotonic()
    files = ChangeFiles(
        arguments.out, arguments.prefecture or list(Prefecture), file_format=arguments.format, daily=arguments.daily,
        with_sequence=arguments.with_sequence,
    )  # fmt: skip
    with shown_progress(arguments.days) as progress, files:
        try:
            changes = NationChanges(
                load_tables(), arguments.residents, arguments.seed, first, arguments.days,
                nation_date=arguments.nation_date,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        planter = FaultPlanter(changes, arguments.faults)
        for made in changes.by_day(progress):
            placed = list(planter.placed(made.notifications))
            files.write(made.day, placed)
            for entry in placed:
                if entry.fault is None and entry.prefecture in files.rows:
                    counts[made.day.year, made.day.month, entry.notification.reason] += 1
    show_summary(arguments.out, counts, files.faults, len(changes.people.changed), time.monotonic() - started)
    return 0


def show_summary(directory: Path, counts: Counts, faults: int, changed: int, seconds: float) -> None:
    """Counts by month and reason; nothing about anybody."""
    total = sum(counts.values())
    months = sorted({(year, month) for year, month, _ in counts})
    print(f"{directory}: {total:,} notifications; {changed:,} people of the nation changed")
    print("  month   " + "".join(f"{reason.value:>9}" for reason in ChangeReason) + "      all")
    for year, month in months:
        row = [counts[year, month, reason] for reason in ChangeReason]
        print(f"  {year}-{month:02d} " + "".join(f"{count:>9,}" for count in [*row, sum(row)]))
    sums = [sum(counts[year, month, reason] for year, month in months) for reason in ChangeReason]
    print("  all     " + "".join(f"{count:>9,}" for count in [*sums, total]))
    print("  " + ", ".join(f"{reason.value} {reason.name.lower().replace('_', ' ')}" for reason in ChangeReason))
    if faults:
        print(f"  {faults:,} faulty ones among them, listed in faults.json")
    print(f"  made in {seconds:.1f} s ({total / max(seconds, 0.001):,.0f} a second)")


@contextmanager
def shown_progress(days: int) -> Iterator[Callable[[int, int], None]]:
    """A bar of days with the count made on a terminal; a line every few seconds elsewhere. On stderr."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    if sys.stderr.isatty():
        columns = (
            TextColumn("making"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[made]:,} notifications"),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("making", total=days, made=0)
            yield lambda made, done: progress.update(task, completed=done, made=made)
        return
    reported = time.monotonic()

    def report(made: int, done: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            print(f"making: {done:,} of {days:,} days, {made:,} notifications", file=sys.stderr, flush=True)

    yield report
