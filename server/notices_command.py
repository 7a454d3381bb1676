"""``jukinet notices``: the move-in notices that were not received, and printing those that are to go on paper."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Final

from jukinet.core.errors import StoreError
from jukinet.core.feed import notices
from jukinet.core.store import schema
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire.feed_messages import Notice
from jukinet.server.configuration import Feed

OVERDUE_SECONDS: Final = Feed().notice_overdue_seconds
PAGE: Final = """\
転入通知  第{number}号

転入先  {from_area}    転出元  {to_area}
住民票コード  {code:011d}
氏名  {name}  ({kana})
生年月日  {birth_date}    性別  {sex}
転入後の住所  {address}
転入年月日  {event_date}
受付  {left_at}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``jukinet notices list|print --store DIR``."""
    commands = parser.add_subparsers(dest="notices_command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="number, areas, age and state of each that was not received")
    printing = commands.add_parser("print", help="write those that are overdue to a file, a page each, to go on paper")
    for command in (listing, printing):
        command.add_argument("--store", type=Path, required=True, metavar="DIR", help="the register's directory")
        command.add_argument(
            "--overdue-seconds",
            type=int,
            default=OVERDUE_SECONDS,
            metavar="S",
            help="as feed.notice_overdue_seconds (default %(default)s)",
        )
    printing.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file, readable by you only")


def run(arguments: argparse.Namespace) -> int:
    """0: no notice is overdue, or they were written; 1: some are overdue. Raises StoreError."""
    now = int(time.time())
    found = waiting(arguments.store, now, arguments.overdue_seconds)
    overdue = [notice for notice in found if notice.state is NoticeState.OVERDUE]
    if arguments.notices_command == "list":
        for notice in found:
            sys.stdout.write(line(notice, now))
        sys.stdout.write(f"{len(found)} not received, {len(overdue)} overdue\n")
        return 1 if overdue else 0
    try:
        descriptor = os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StoreError(f"{arguments.out}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\f".join(map(page, overdue)))
    sys.stdout.write(f"{len(overdue)} notices in {arguments.out}\n")
    return 0


def waiting(directory: Path, now: int, overdue_seconds: int) -> list[Notice]:
    """Every notice of a register that was not received, oldest first. Raises StoreError."""
    environment = schema.open_environment(directory, readonly=True)
    try:
        schema.open_databases(environment, directory)
        try:
            database = schema.open_database(environment, b"notices", integer=True, create=False)
        except StoreError:
            return []  # no feed was ever taken
        with environment.begin(buffers=True) as transaction:
            return notices.open_notices(transaction, database, now, overdue_seconds)
    finally:
        environment.close()


def line(notice: Notice, now: int) -> str:
    """What tells an operator of a notice, and nothing of its person."""
    hours = (now - notice.left_at) / 3_600
    state = notice.state.name.lower()
    return f"{notice.number:>10}  from {notice.from_area:05d} to {notice.to_area:05d}  {hours:8.1f} h  {state}\n"


def page(notice: Notice) -> str:
    """The paper notice."""
    fields = {name: getattr(notice, name) for name in notice.__struct_fields__}
    for name in ("birth_date", "event_date"):
        fields[name] = f"{fields[name] // 10_000:04d}-{fields[name] // 100 % 100:02d}-{fields[name] % 100:02d}"
    fields["left_at"] = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(notice.left_at))
    return PAGE.format(**fields)
