"""``jukinet operator``: add, disable, list and unlock the operators of bodies (docs/operators.md)."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import getpass
import json
import re
import sys
from pathlib import Path
from typing import Final

from jukinet.core.audit.erasure import RETENTION_YEARS
from jukinet.core.audit.ledger import JAPAN
from jukinet.core.errors import ConfigurationError, JukinetError
from jukinet.core.law.authority_file import BODY_ROLES, NAME_PATTERN
from jukinet.core.law.grant import day_in_japan
from jukinet.core.law.history import time_text
from jukinet.core.signatures import PersonalKey
from jukinet.server.operators.classes import CLASSES
from jukinet.server.operators.database import (
    Identifier,
    Operator,
    OperatorDatabase,
    last_day_after,
    with_key,
    with_password,
)

CHANGE_NAMES: Final = ("at", "what", "by", "role", "body", "name", "detail")
EXIT_OK, EXIT_NONE, EXIT_USAGE = 0, 1, 2
PASSWORD_DAYS: Final = 90
DAYS_MAX: Final = 3_650
FILE_BYTES_MAX: Final = 16_384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "The operators of bodies, their classes and credentials: docs/operators.md."
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("add", help="add an operator, or give one a new credential and class")
    _name(one)
    one.add_argument("--class", dest="operator_class", choices=sorted(CLASSES), required=True)
    how = one.add_mutually_exclusive_group(required=True)
    how.add_argument("--password-file", metavar="FILE", help="the password: the first line of this file")
    how.add_argument("--ask-password", action="store_true", help="ask for the password on the terminal")
    how.add_argument("--public-key", metavar="FILE", help="public key (PEM) of a card or of a batch system")
    one.add_argument(
        "--days", type=int, help=f"days until the credential ends, 0 never (passwords: {PASSWORD_DAYS}, keys: 0)"
    )
    _name(what.add_parser("disable", help="the operator is out within a second and cannot come in"))
    _name(what.add_parser("unlock", help="after too many failures; also enables a disabled operator"))
    one = what.add_parser("forget", help="take out old changes, and operators disabled since before them")
    one.add_argument("--database", required=True, metavar="FILE", help="the operators' database")
    one.add_argument(
        "--before",
        required=True,
        type=datetime.date.fromisoformat,
        metavar="DAY",
        help=f"at least {RETENTION_YEARS} years ago",
    )
    one = what.add_parser("list", help="operators, their classes and states")
    one.add_argument("--database", required=True, metavar="FILE")
    one.add_argument("--body", default="", help="of this body only")
    one.add_argument("--json", action="store_true", help="one JSON object a line")
    one.add_argument("--changes", action="store_true", help="who changed what, and when, instead")


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", required=True, metavar="FILE", help="the operators' database")
    parser.add_argument("--role", choices=[str(role) for role in BODY_ROLES], default="agency")
    parser.add_argument("--body", required=True, help="as in the body's certificate")
    parser.add_argument("--name", required=True, help="the operator's name")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked: the exit code (0 done, 1 no such operator, 2 refused)."""
    try:
        with contextlib.closing(OperatorDatabase(arguments.database, make=arguments.what == "add")) as database:
            done: int = ACTIONS[arguments.what](arguments, database)
    except JukinetError as error:
        sys.stderr.write(f"jukinet operator: {error}\n")
        return EXIT_USAGE
    return done


def _who(arguments: argparse.Namespace) -> Identifier:
    if not NAME_PATTERN.fullmatch(arguments.body):
        raise ConfigurationError("--body has 1 to 64 characters of a-z 0-9 -")
    return Identifier(arguments.role, arguments.body, arguments.name)


def _add(arguments: argparse.Namespace, database: OperatorDatabase) -> int:
    who = _who(arguments)
    days = arguments.days if arguments.days is not None else 0 if arguments.public_key else PASSWORD_DAYS
    if not 0 <= days <= DAYS_MAX:
        raise ConfigurationError(f"--days is 0 to {DAYS_MAX:,}")
    last_day = last_day_after(days)
    if arguments.public_key:
        operator = with_key(who, arguments.operator_class, _public_key(arguments.public_key), last_day)
    else:
        operator = with_password(who, arguments.operator_class, _password(arguments), last_day)
    database.put(operator, getpass.getuser())
    print(f"{who.role} {who.body} {who.name}: class {operator.operator_class}, by {operator.method}")
    return EXIT_OK


def _password(arguments: argparse.Namespace) -> str:
    if arguments.ask_password:
        password = getpass.getpass("New password: ")
        if getpass.getpass("Again: ") != password:
            raise ConfigurationError("the two passwords differ")
        return password
    return _read(arguments.password_file).partition("\n")[0]


def _public_key(path: str) -> PersonalKey:
    lines = re.fullmatch(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*", _read(path))
    if lines is None:
        raise ConfigurationError(f"{path}: not a public key in PEM (BEGIN PUBLIC KEY)")
    return PersonalKey("".join(lines[1].split()))


def _read(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(FILE_BYTES_MAX)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({type(error).__name__})") from None


def _disable(arguments: argparse.Namespace, database: OperatorDatabase) -> int:
    return _set(arguments, database, disabled=True)


def _unlock(arguments: argparse.Namespace, database: OperatorDatabase) -> int:
    return _set(arguments, database, disabled=False)


def _set(arguments: argparse.Namespace, database: OperatorDatabase, *, disabled: bool) -> int:
    if database.set_state(_who(arguments), disabled=disabled, by=getpass.getuser()):
        return EXIT_OK
    sys.stderr.write("jukinet operator: there is no such operator\n")
    return EXIT_NONE


def _forget(arguments: argparse.Namespace, database: OperatorDatabase) -> int:
    day: datetime.date = arguments.before
    today = day_in_japan()
    if (day.year + RETENTION_YEARS, day.month, day.day) > (today.year, today.month, today.day):
        raise ConfigurationError(f"--before is a day {RETENTION_YEARS} years ago or earlier: younger ones are kept")
    begin = datetime.datetime.combine(day, datetime.time(), JAPAN)
    changes, operators = database.forget(int(begin.timestamp()))
    print(f"{changes:,} changes and {operators:,} operators are forgotten")
    return EXIT_OK


def _list(arguments: argparse.Namespace, database: OperatorDatabase) -> int:
    rows: list[dict[str, str | int]]
    if arguments.changes:
        rows = [dict(zip(CHANGE_NAMES, (time_text(at), *rest), strict=True)) for _, at, *rest in database.changes()]
    else:
        today = day_in_japan()
        rows = [
            _told(operator, operator.may_come_in(today) or "good", today.toordinal())
            for operator in database.operators(arguments.body)
        ]
    if rows and not arguments.json:
        print("\t".join(rows[0]))
    for row in rows:
        print(json.dumps(row, ensure_ascii=False) if arguments.json else "\t".join(map(str, row.values())))
    return EXIT_OK


def _told(operator: Operator, state: str, today: int) -> dict[str, str | int]:
    return {
        "role": operator.role,
        "body": operator.body,
        "name": operator.name,
        "class": operator.operator_class,
        "method": operator.method,
        "state": state,
        "days_left": operator.last_day - today if operator.last_day else "no end",
        "failures": operator.failures,
    }


ACTIONS = {"add": _add, "disable": _disable, "unlock": _unlock, "forget": _forget, "list": _list}
