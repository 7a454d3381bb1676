"""The command `jukinet record`: verifies a record of use and counts what it holds, without showing any of it."""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from pathlib import Path
from typing import Any

from jukinet.core.audit.errors import RecordOfUseDamagedError
from jukinet.core.audit.reader import SegmentReport, read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.vocabulary import Function


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommand `check DIR`."""
    commands = parser.add_subparsers(dest="record_command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="verify every byte that counts; exit 1 when anything is damaged")
    check.add_argument("directory", type=Path, metavar="DIR", help="directory of the segments")
    check.add_argument("--json", action="store_true", help="one JSON object instead of text")


def run(arguments: argparse.Namespace) -> int:
    """0 when every record verifies, 1 when one is damaged. Raises RecordOfUseError when it cannot be read."""
    try:
        counted = count(arguments.directory)
    except RecordOfUseDamagedError as error:
        print(f"damaged: {error}")
        return 1
    if arguments.json:
        print(json.dumps(counted))
        return 0
    print(f"{arguments.directory}: {counted['segments']:,} segments, {counted['bytes']:,} bytes, every record verifies")
    print(f"  {counted['provisions']:,} provisions in {counted['requests']:,} requests")
    for name, provisions in counted["by_function"].items():
        print(f"  {name:8} {provisions:>15,} provisions")
    if counted["first"]:
        print(f"  from {counted['first']} to {counted['last']}")
    return 0


def count(directory: Path) -> dict[str, Any]:
    """Read and verify all of it: requests and provisions (rows answered), in all and by function; times of the first
    and last record (UTC, ISO 8601); segments and bytes.

    Raises RecordOfUseError and RecordOfUseDamagedError.
    """
    reports: list[SegmentReport] = []
    by_function: Counter[str] = Counter()
    requests = 0
    first = last = 0
    for record in read_segments(directory, on_report=reports.append):
        if not isinstance(record.head, ProvisionHead):
            continue
        requests += 1
        by_function[Function(record.head.function).name or "?"] += record.count
        first = min(first or record.head.time_ns, record.head.time_ns)
        last = max(last, record.head.time_ns)
    return {
        "provisions": sum(by_function.values()),
        "requests": requests,
        "by_function": dict(sorted(by_function.items())),
        "first": _moment(first),
        "last": _moment(last),
        "segments": len(reports),
        "bytes": sum(report.end_bytes for report in reports),
    }


def _moment(time_ns: int) -> str:
    if not time_ns:
        return ""
    return datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.UTC).isoformat(timespec="milliseconds")
