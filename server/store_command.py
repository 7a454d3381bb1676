"""The command `jukinet store`: the offline check of a register, and a short description of it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from jukinet.core import limits
from jukinet.core.errors import StoreError
from jukinet.core.feed.holdings import HoldingsReader
from jukinet.core.feed.positions import FeedState, unpack_feed
from jukinet.core.identity.layout import TABLES
from jukinet.core.store import schema
from jukinet.core.store.check import CheckReport, check_register
from jukinet.core.store.reader import RegisterReader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands `check DIR` and `info DIR`."""
    commands = parser.add_subparsers(dest="store_command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="verify every block, list and pointer; exit 1 when anything is wrong")
    info = commands.add_parser("info", help="describe a register")
    for command in (check, info):
        command.add_argument("directory", type=Path, metavar="DIR", help="the register's directory")
        command.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """0 when all is well, 1 when the check found faults. Raises StoreError when there is no register to look at."""
    if arguments.store_command == "check":
        return check(arguments.directory, as_json=arguments.json)
    return info(arguments.directory, as_json=arguments.json)


def check(directory: Path, *, as_json: bool) -> int:
    """Check with a progress bar on stderr; the report goes to stdout."""
    started = time.monotonic()
    columns = (TextColumn("checking"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("checking", total=None)
        report = check_register(directory, lambda done, total: progress.update(task, completed=done, total=total))
    seconds = time.monotonic() - started
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        show_report(directory, report, seconds)
    return 1 if report.faults_count else 0


def show_report(directory: Path, report: CheckReport, seconds: float) -> None:
    """Counts and faults; a fault names a bucket, never a person."""
    print(f"{directory}: {report.entries:,} entries in {report.blocks:,} blocks read in {seconds:.1f} s")
    states = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in report.by_state.items() if count)
    print(f"  {states or 'nobody'}")
    if report.journal_entries:
        print(
            f"  {report.contributions:,} contributions in the history, {report.journal_entries:,} journal entries, "
            f"{report.quarantined:,} rows in quarantine"
        )
    size = report.identity_bytes / 1e6
    print(f"  identity index: {report.identity_entries:,} entries in {report.identity_blocks:,} blocks, {size:,.1f} MB")
    if report.successors_awaited:
        print(f"  {report.successors_awaited:,} stated retired codes lead to a code that no feed has brought yet")
    if report.notices:
        print(f"  {report.notices:,} move-in notices and receipts")
    for fault in report.faults:
        print(f"  fault: {fault}")
    if report.faults_count > len(report.faults):
        print(f"  and {report.faults_count - len(report.faults):,} more faults")
    print("no faults" if not report.faults_count else f"{report.faults_count:,} faults: restore from a good copy")


def holdings_of(reader: RegisterReader) -> dict[int, dict[str, Any]]:
    """Count and digest of what each prefecture holds, by its number; without those that hold nobody."""
    with reader.pin() as snapshot:
        if snapshot.transaction is None:
            raise StoreError("the snapshot has ended")
        holdings = HoldingsReader(snapshot.transaction, reader.databases, snapshot.places)
        digests = {prefecture: holdings.prefecture(prefecture) for prefecture in range(1, limits.PREFECTURES + 1)}
    return {number: {"count": held.count, "sum": held.sum.hex()} for number, held in digests.items() if held.count}


def identity_of(reader: RegisterReader) -> dict[str, dict[str, int]]:
    """Buckets, blocks and bytes on disk of each table of the identity index."""
    found = {}
    with reader.reading() as transaction:
        for name, buckets in zip(TABLES, reader.layout.buckets, strict=True):
            counted = transaction.stat(reader.databases[name])
            pages = counted["branch_pages"] + counted["leaf_pages"] + counted["overflow_pages"]
            size = pages * counted["psize"]
            found[name] = {"buckets": buckets, "blocks": counted["entries"], "bytes": size}
    return found


def feeds_of(reader: RegisterReader) -> dict[int, FeedState]:
    """Where each feed that ever sent stands, by its prefecture's number."""
    with reader.pin() as snapshot:
        if snapshot.transaction is None:
            raise StoreError("the snapshot has ended")
        with snapshot.transaction.cursor(db=reader.databases["feeds"]) as cursor:
            return {
                schema.NUMBER.unpack(key)[0]: unpack_feed(value)
                for key, value in cursor.iternext(keys=True, values=True)
            }


def info(directory: Path, *, as_json: bool) -> int:
    """What the register says of itself, and how large it is."""
    with RegisterReader(directory) as reader:
        meta = reader.meta
        held = holdings_of(reader)
        identity = identity_of(reader)
        feeds = feeds_of(reader)
        size = (directory / "data.mdb").stat().st_size
        described = {
            "directory": str(directory),
            "identifier": meta.identifier,
            "format": meta.format,
            "version": meta.version,
            "entries": meta.entries,
            "residents": meta.residents,
            "bucket_width": meta.width,
            "buckets": reader.buckets,
            "areas": meta.areas,
            "areas_not_connected": reader.areas_not_connected,
            "towns": meta.towns,
            "identity_index": identity,
            "holdings": held,
            "feeds": feeds,
            "journal_next": meta.journal_next,
            "bytes": size,
            "bytes_per_entry": round(size / max(1, meta.entries), 1),
            "origin": meta.origin,
        }
    if as_json:
        print(msgspec.json.encode(described).decode())
        return 0
    table = Table(show_header=False, box=None)
    for name, value in described.items():
        if isinstance(value, list):
            shown = ", ".join(f"{area:05d}" for area in value) or "none"
        elif name == "identity_index":
            shown = ", ".join(f"{table} {row['bytes']:,} bytes" for table, row in identity.items())
        elif name == "holdings":
            count = sum(row["count"] for row in held.values())
            shown = f"{len(held)} prefectures hold {count:,} residents and retired codes"
        elif name == "feeds":
            counted = [sum(getattr(feed, count) for feed in feeds.values()) for count in ("applied", "quarantined")]
            shown = f"{len(feeds)} sent, {counted[0]:,} notifications applied, {counted[1]:,} refused"
        elif isinstance(value, dict):
            shown = ", ".join(f"{key} {item}" for key, item in value.items())
        else:
            shown = f"{value:,}" if isinstance(value, int | float) else str(value)
        table.add_row(name.replace("_", " "), shown)
    Console().print(table)
    return 0
