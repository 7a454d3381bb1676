"""``jukinet notices``: the move-in notices that were not received, and printing those that are to go on paper."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from jukinet.core.errors import StoreError
from jukinet.core.feed.notice_records import Kept, Passage
from jukinet.core.feed.notices import NoticeBook, NoticeRules
from jukinet.core.store import schema
from jukinet.core.store.writer import RegisterWriter
from jukinet.core.vocabulary import NoticeState
from jukinet.server.configuration import Notices
from jukinet.server.notice_paper import document

ALARM_HOURS: Final = Notices().alarm_hours
PRINTED_AT_ONCE_MAX: Final = 10_000
"""Pages in one file; print by area where there are more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``jukinet notices list|print --store DIR``."""
    commands = parser.add_subparsers(dest="notices_command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="number, areas, age and state of each that was not received")
    printing = commands.add_parser("print", help="write notices to a file, a page each, to go on paper; they stay open")
    for command in (listing, printing):
        command.add_argument("--store", type=Path, required=True, metavar="DIR", help="the register's directory")
        command.add_argument(
            "--alarm-hours",
            type=float,
            default=ALARM_HOURS,
            metavar="H",
            help="as notices.alarm_hours (default %(default)s)",
        )
    which = printing.add_mutually_exclusive_group(required=True)
    which.add_argument("--area", type=int, metavar="JIS", help="all for the area that was left")
    which.add_argument("--number", type=int, metavar="N", help="the one of this number")
    which.add_argument("--overdue", action="store_true", help="all that are overdue and were not printed yet")
    printing.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a new HTML file, readable by you only"
    )


def run(arguments: argparse.Namespace) -> int:
    """list: 1 when notices are overdue, else 0; print: 0. Raises StoreError."""
    now = int(time.time())
    rules = NoticeRules(alarm_seconds=arguments.alarm_hours * 3_600)
    if arguments.notices_command == "list":
        return show(arguments.store, rules, now)
    return put_on_paper(arguments.store, rules, chosen(arguments, rules, now), arguments.out, now)


def show(directory: Path, rules: NoticeRules, now: int) -> int:
    """A line for each, and how many there are."""
    count = overdue = 0
    with read_only(directory, rules) as (book, transaction):
        for kept in [] if book is None else book.all_open(transaction):
            count += 1
            overdue += kept.passage.state(now, rules.alarm_seconds) is NoticeState.OVERDUE
            sys.stdout.write(line(kept.passage, now, rules.alarm_seconds))
    sys.stdout.write(f"{count} not received, {overdue} overdue\n")
    return 1 if overdue else 0


@contextmanager
def read_only(directory: Path, rules: NoticeRules) -> Iterator[tuple[NoticeBook | None, lmdb.Transaction]]:
    """The book of a register, None where it was never fed, in a transaction that reads. Raises StoreError."""
    environment = schema.open_environment(directory, readonly=True)
    try:
        databases = schema.open_databases(environment, directory)
        with environment.begin(buffers=True) as transaction:
            yield (NoticeBook(databases, [], rules) if "notices" in databases else None), transaction
    except lmdb.Error as error:
        raise StoreError(f"{directory}: the register cannot be read: {error}") from error
    finally:
        environment.close()


def line(passage: Passage, now: int, alarm_seconds: float) -> str:
    """What tells an operator of a notice, and nothing of its person."""
    hours = (now - passage.left_at) / 3_600
    state = passage.state(now, alarm_seconds).name.lower() + (", printed" if passage.printed_at else "")
    return f"{passage.number:>10}  from {passage.from_area:05d} to {passage.to_area:05d}  {hours:8.1f} h  {state}\n"


Chooser = Callable[[Kept], bool]


def chosen(arguments: argparse.Namespace, rules: NoticeRules, now: int) -> Chooser:
    """Which open notices the options mean."""
    if arguments.area is not None:
        return lambda kept: kept.passage.to_area == arguments.area
    if arguments.number is not None:
        return lambda kept: kept.passage.number == arguments.number
    return lambda kept: (
        not kept.passage.printed_at and kept.passage.state(now, rules.alarm_seconds) is NoticeState.OVERDUE
    )


def put_on_paper(directory: Path, rules: NoticeRules, is_chosen: Chooser, out: Path, now: int) -> int:
    """Write the pages durably, then note that the notices were printed. Nothing is written where there are none."""
    with RegisterWriter(directory) as writer:
        book = NoticeBook.of(writer, rules)
        with writer.reading() as transaction:
            found = [kept for kept in book.all_open(transaction) if is_chosen(kept)]
        if len(found) > PRINTED_AT_ONCE_MAX:
            raise StoreError(f"{len(found)} notices are more than one file holds: print them by --area")
        if not found:
            sys.stdout.write("no open notice is meant by this; nothing was written\n")
            return 0
        write_private(out, document(found, {area.jis: area.name for area in writer.areas}, now))
        with writer.transaction() as change:
            book.mark_printed(change.handle, [kept.passage.number for kept in found], now)
            change.commit(always=True)
    sys.stdout.write(f"{len(found)} notices in {out}, marked as printed; they stay open until they are received\n")
    return 0


def write_private(path: Path, text: str) -> None:
    """A new file for its owner alone, durable when this returns; StoreError when there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
