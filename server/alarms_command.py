"""``jukinet alarms``: lists and acknowledges alarms of misuse, stops and releases operators (docs/detection.md)."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core.vocabulary import Role
from jukinet.core.watch.rules import BY_WORD
from jukinet.server.alarm_file import Acknowledged, Alarm, AlarmFile, Alarms, AlarmsError, Released, Stopped, moment

EXIT_OK, EXIT_WAITING = 0, 1
TEXT_CHARACTERS_MAX: Final = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``jukinet alarms list|acknowledge|stop|release|stopped|rotate DIR``."""
    commands = parser.add_subparsers(dest="alarms_command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="alarms that were not acknowledged; exit 1 when there are any")
    acknowledging = commands.add_parser("acknowledge", help="say that alarms were looked into")
    stopping = commands.add_parser("stop", help="refuse an operator from now on")
    releasing = commands.add_parser("release", help="serve a stopped operator again")
    stopped = commands.add_parser("stopped", help="operators that are stopped")
    rotating = commands.add_parser("rotate", help="put the alarms file aside, and begin a new one")
    for command in (listing, acknowledging, stopping, releasing, stopped, rotating):
        command.add_argument("directory", type=Path, metavar="DIR", help="as watch.directory")
    listing.add_argument("--all", action="store_true", help="acknowledged ones too")
    listing.add_argument("--rule", choices=sorted(BY_WORD), metavar="RULE", help="of one rule only")
    listing.add_argument("--codes", action="store_true", help="with residents' codes")
    for command in (listing, stopped):
        command.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    acknowledging.add_argument("numbers", type=int, nargs="+", metavar="NUMBER")
    acknowledging.add_argument("--note", default="", help="what was found")
    for command in (stopping, releasing):
        command.add_argument("operator", metavar="BODY/OPERATOR")
        command.add_argument("--role", choices=[str(role) for role in Role], default="agency")
    for command in (acknowledging, stopping, releasing):
        command.add_argument("--by", required=True, metavar="NAME", help="who does it")
    rotating.add_argument("name", metavar="NAME", help="the name it gets, in the same directory")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when alarms wait (list) or a number or operator is not there. Raises AlarmsError."""
    if not arguments.directory.is_dir():
        raise AlarmsError(f"{arguments.directory}: is not a directory; see watch.directory")
    file = AlarmFile(arguments.directory)
    file.follow()
    match arguments.alarms_command:
        case "list":
            return show(file.known, arguments)
        case "acknowledge":
            return acknowledge(file, arguments)
        case "stop" | "release":
            return stop_or_release(file, arguments)
        case "stopped":
            return show_stopped(file.known, as_json=arguments.json)
    if "/" in arguments.name or arguments.name in ("", ".", ".."):
        raise AlarmsError("the new name is a file's name, without a directory")
    print(f"put aside as {file.rotate(arguments.name)}")
    return EXIT_OK


def show(known: Alarms, arguments: argparse.Namespace) -> int:
    """The alarms, oldest first: 1 when any of those asked for waits to be acknowledged."""
    waiting = {alarm.number for alarm in known.waiting}
    shown = [
        alarm
        for number, alarm in sorted(known.alarms.items())
        if (arguments.all or number in waiting) and arguments.rule in (None, alarm.rule)
    ]
    for alarm in shown:
        if not arguments.codes:
            alarm = msgspec.structs.replace(alarm, code="")  # noqa: PLW2901
        acknowledged = known.acknowledged.get(alarm.number)
        if arguments.json:
            fields = msgspec.to_builtins(alarm)
            if acknowledged is not None:
                fields["acknowledged"] = msgspec.to_builtins(acknowledged)
            print(msgspec.json.encode(fields).decode())
        else:
            print(line_of(alarm, acknowledged))
    if not arguments.json:
        print(f"{len(shown):,} alarms, {len(waiting):,} wait; {len(known.stopped):,} operators are stopped")
        if known.unreadable:
            print(f"{known.unreadable:,} lines of the file cannot be read")
    return EXIT_WAITING if any(alarm.number in waiting for alarm in shown) else EXIT_OK


def line_of(alarm: Alarm, acknowledged: Acknowledged | None) -> str:
    """One alarm as a line of text."""
    text = (
        f"{alarm.number:>6}  {alarm.time}  {alarm.rule:14} {alarm.role}/{alarm.body}/{alarm.operator} "
        f"{alarm.affair}  {alarm.value:g} (limit {alarm.limit:g})"
    )
    if alarm.code:
        text += f"  code {alarm.code}"
    if acknowledged is not None:
        text += f"  acknowledged by {acknowledged.by}" + (f": {acknowledged.note}" if acknowledged.note else "")
    return text


def acknowledge(file: AlarmFile, arguments: argparse.Namespace) -> int:
    """Acknowledge alarms; nothing is written when one of the numbers is no alarm."""
    missing = [number for number in arguments.numbers if number not in file.known.alarms]
    if missing:
        print(f"no alarm has the number {', '.join(map(str, missing))}; nothing was acknowledged")
        return EXIT_WAITING
    now = moment(time.time())
    by, note = arguments.by[:TEXT_CHARACTERS_MAX], arguments.note[:TEXT_CHARACTERS_MAX]
    file.append([Acknowledged(time=now, numbers=arguments.numbers, by=by, note=note)])
    print(f"acknowledged {len(arguments.numbers):,}")
    return EXIT_OK


def stop_or_release(file: AlarmFile, arguments: argparse.Namespace) -> int:
    """Stop an operator, or release a stopped one."""
    body, separator, operator = arguments.operator.partition("/")
    if not (separator and body and operator):
        raise AlarmsError("an operator is named as BODY/OPERATOR")
    known = (arguments.role, body, operator) in file.known.stopped
    stops = arguments.alarms_command == "stop"
    if known == stops:
        print("is stopped already" if stops else "is not stopped")
        return EXIT_OK if stops else EXIT_WAITING
    kind = Stopped if stops else Released
    file.append(
        [
            kind(
                time=moment(time.time()),
                role=arguments.role,
                body=body,
                operator=operator,
                by=arguments.by[:TEXT_CHARACTERS_MAX],
            )
        ]
    )
    print("stopped" if stops else "released")
    return EXIT_OK


def show_stopped(known: Alarms, *, as_json: bool) -> int:
    """The operators that are stopped, since when and by whom."""
    for stop in known.stopped.values():
        if as_json:
            print(msgspec.json.encode(stop).decode())
        else:
            print(f"{stop.role}/{stop.body}/{stop.operator}  since {stop.time}, by {stop.by}")
    return EXIT_OK
