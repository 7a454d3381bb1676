"""Reports of quarantined notifications: told without anybody's data, or written with it into a private file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final, TextIO

from jukinet.clients.feed.notification_fields import COLUMNS, REMEDIES
from jukinet.clients.feed.notification_file import text_of
from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import Report
from jukinet.core.notifications import Fault

STEP: Final = 1_000
REPORT_COLUMNS: Final = ("position", "reported", "fault", "look_at", "remedy", "origin")


def _steps(outbox: Outbox) -> Iterator[tuple[bytes, Report]]:
    after = b""
    while step := outbox.reports(after, STEP):
        yield from step
        after = step[-1][0]


def fault_words(number: int) -> tuple[str, str, str]:
    """Name, column and remedy of a fault; one that this program does not know is named by its number."""
    try:
        fault = Fault(number)
    except ValueError:
        return f"fault {number}", "", "ask the centre: this program is older than the register"
    return (fault.name, *REMEDIES[fault])


def report_lines(outbox: Outbox) -> Iterator[tuple[bytes, str]]:
    """Each report's key, and a line without personal data."""
    for key, report in _steps(outbox):
        name, column, remedy = fault_words(report.fault)
        yield key, f"position {report.position}  {report.day}  {name}  {report.origin}  {column}: {remedy}"


def write_reports(outbox: Outbox, file: TextIO) -> list[bytes]:
    """Write each report with its notification in the columns that `jukinet feed send` reads; their keys."""
    writer = csv.writer(file)
    writer.writerow((*REPORT_COLUMNS, *COLUMNS))
    keys = []
    for key, report in _steps(outbox):
        row = (report.position, report.day, *fault_words(report.fault), report.origin)
        writer.writerow((*row, *text_of(report.notification).values()))
        keys.append(key)
    return keys
