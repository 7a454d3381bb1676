"""`jukinet search`: whom a name, a birth date, a sex, an address may mean."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from contextlib import ExitStack
from typing import Any, Final

from jukinet.clients.blocking_client import connect_blocking
from jukinet.clients.errors import EXIT_ROWS_IN_ERROR, UsageError
from jukinet.clients.matching.record_rows import read_birth_date, read_sex
from jukinet.clients.persons import LEVEL_ITEMS, FoundPerson, Persons, SearchRow
from jukinet.clients.query.connection_settings import add_connection_arguments, connection_settings
from jukinet.clients.query_command import ITEM_NAMES, item_list
from jukinet.core.folding.dates import EraDigits
from jukinet.core.vocabulary import Found, Level, Outcome

NAMES: Final = (
    "code", "outcome", "grade", "probability", "matched", "name", "kana", "alias", "birth_date", "sex", "area",
    "address", "change_reason", "change_date",
)  # fmt: skip
WORDS: Final = {
    Found.TOO_MANY: "too many persons are meant; say more of the person",
    Found.NONE: "nobody is meant",
    Found.NONE_NOT_CONNECTED: "nobody was found, but areas in which the person could live are not connected",
    Found.TOO_FEW_ITEMS: "the least is a name or reading, with a birth date or address",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    group = parser.add_argument_group("the person (name or kana, with birth date or address, at least)")
    group.add_argument("--name", default="", help="name as written")
    group.add_argument("--kana", default="", help="reading")
    group.add_argument("--birth-date", default="", metavar="DATE", help="such as 1965-02-20, 昭和40年2月20日, S40.2.20")
    group.add_argument("--sex", default="", help="男 女, 1 2, m f")
    group.add_argument("--address", default="", help="address")
    group.add_argument("--prefix", action="store_true", help="name and reading may be beginnings")
    parser.add_argument("--items", type=item_list, metavar="LIST", default=None,
                        help=f"items wanted: {', '.join(ITEM_NAMES)}; default: all")  # fmt: skip
    parser.add_argument("--format", choices=("table", "csv"), default="table", help="default: table")
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit code: 0 when persons were found. Raises JukinetError and OSError."""
    person = asked(arguments)
    settings = connection_settings(arguments)
    with ExitStack() as stack:
        client = stack.enter_context(connect_blocking(settings.host, settings.port, tls=settings.tls))
        session = stack.enter_context(client.session(**settings.opening))
        answer = session.search(person, items=arguments.items, prefix=arguments.prefix)[0]
        missing = client.greeting.areas_not_connected
    show(answer, arguments.format)
    if answer.found in WORDS:
        print(f"jukinet search: {WORDS[answer.found]}", file=sys.stderr)
    if missing and (answer.persons or answer.found is Found.TOO_MANY):
        print("jukinet search: others could live in areas that are not connected", file=sys.stderr)
    return 0 if answer.persons else EXIT_ROWS_IN_ERROR


def asked(arguments: argparse.Namespace) -> Persons:
    """The person of the options. UsageError, which does not repeat what was said of the person."""
    columns: dict[str, Any] = {}
    for column, text in (("names", arguments.name), ("kana", arguments.kana), ("addresses", arguments.address)):
        if text.strip():
            columns[column] = [text.strip()]
    if arguments.birth_date:
        date, fault, _ = read_birth_date(arguments.birth_date, EraDigits.IN_ORDER)
        if fault:
            raise UsageError(f"--birth-date: {fault}")
        if date:
            columns["birth_dates"] = [date]
    sex = read_sex(arguments.sex)
    if sex < 0:
        raise UsageError("--sex: one of 男 女 1 2 m f")
    if sex:
        columns["sexes"] = [sex]
    if not ({"names", "kana"} & columns.keys() and {"birth_dates", "addresses"} & columns.keys()):
        raise UsageError("give --name or --kana, with --birth-date or --address; less is not asked by")
    return Persons(**columns)


def matched(person: FoundPerson) -> str:
    """Which items matched, and how."""
    told = [(item, getattr(person.levels, item)) for item in LEVEL_ITEMS]
    return ", ".join(
        f"{item.replace('_', ' ')} {level.name.lower()}" for item, level in told if level is not Level.NOT_COMPARED
    )


def cells(person: FoundPerson) -> dict[str, str]:
    """A person as texts by column."""
    found: dict[str, str] = {}
    for name in NAMES:
        if name == "matched":
            found[name] = matched(person)
            continue
        value = getattr(person, name)
        if isinstance(value, float):
            found[name] = f"{value:.6f}"
        else:
            found[name] = "" if value is None else getattr(value, "name", None) or str(value)
    return found


def show(answer: SearchRow, format_name: str) -> None:
    """Write the persons to standard output."""
    rows = [cells(person) for person in answer.persons]
    if format_name == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, NAMES, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        sys.stdout.write(text.getvalue())
        return
    if not rows:
        return
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - loaded only for a table
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = [name for name in NAMES if any(row[name] for row in rows)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in shown:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(row[name]) for name in shown), style="" if row["outcome"] == Outcome.CURRENT.name else "dim"
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    console.print(table)
