"""The command `jukinet retention`: takes out of a register what is past its retention, in bounded steps."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from jukinet.core.errors import ConfigurationError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.feed.retention_run import PurgeCounts, RetentionRun
from jukinet.core.law.retention import Rule
from jukinet.server import configuration
from jukinet.server.configuration import Retention


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommand `run`."""
    commands = parser.add_subparsers(dest="retention_command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="purge what is past its retention; feeds and queries may go on meanwhile")
    where = run.add_mutually_exclusive_group(required=True)
    where.add_argument("--store", type=Path, metavar="DIR", help="the register's directory")
    where.add_argument("--config", metavar="FILE", help="the server's configuration file: its store and [retention]")
    run.add_argument("--rule", choices=[rule.value for rule in Rule], help="instead of the configured rule")
    run.add_argument(
        "--date", type=_date, metavar="DAY", help="judge as of this day, YYYY-MM-DD, not after today (default: today)"
    )
    run.add_argument("--dry-run", action="store_true", help="only count what would go")
    run.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """0 when the purge came to its end. Raises ConfigurationError and StoreError."""
    store, retention = _settings(arguments)
    rule = Rule(arguments.rule or retention.rule)
    with FeedRegister(store) as register:
        purge = RetentionRun(register, rule=rule, journal_days=retention.journal_days, date=arguments.date)
        counts = _run(purge, dry_run=arguments.dry_run)
    if arguments.json:
        described = {"rule": rule, "day": purge.date.isoformat(), "dry_run": arguments.dry_run}
        print(msgspec.json.encode({**described, **msgspec.structs.asdict(counts)}).decode())
    else:
        show(store, rule, purge.date, counts, dry_run=arguments.dry_run)
    return 0


def _settings(arguments: argparse.Namespace) -> tuple[Path, Retention]:
    if arguments.config is None:
        return arguments.store, Retention()
    settings = configuration.load(arguments.config)
    if not Path(settings.register.store).is_dir():
        raise ConfigurationError(f"register.store: {settings.register.store} is not a directory")
    return Path(settings.register.store), settings.retention


def _run(purge: RetentionRun, *, dry_run: bool) -> PurgeCounts:
    columns = (TextColumn("purging"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("purging", total=None)
        steps = purge.rehearse if dry_run else purge.all_steps
        return steps(lambda done, total: progress.update(task, completed=done, total=total))


def show(store: Path, rule: Rule, day: datetime.date, counts: PurgeCounts, *, dry_run: bool) -> None:
    """Counts, never a person."""
    verb = "would be" if dry_run else "were"
    print(f"{store}: by the rule of {rule.value} as of {day}, in {counts.steps:,} steps")
    print(f"  {counts.dead:,} records of the dead and {counts.removed:,} of other removed persons {verb} purged")
    print(f"  {counts.contributions:,} earlier records {verb} purged")
    print(f"  {counts.journal_entries:,} journal entries and {counts.quarantined:,} quarantined rows {verb} trimmed")


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a day is written YYYY-MM-DD") from None
