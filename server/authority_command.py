"""``jukinet authority``: check, compare, propose, approve, apply, show what bodies are allowed (docs/authority.md)."""

from __future__ import annotations

import argparse
import base64
import getpass
import json
import sys
import time
from pathlib import Path

import msgspec

from jukinet.core.errors import ConfigurationError, JukinetError
from jukinet.core.law import history
from jukinet.core.law.authority import Authority
from jukinet.core.law.differences import differences, grant_fields
from jukinet.core.signatures import PrivateKey

EXIT_OK, EXIT_DIFFERENT, EXIT_USAGE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "What bodies are allowed, as versions that two people approve: docs/authority.md."
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("check", help="check a file, or a whole history with every signature")
    one.add_argument("path", help="authority file, or directory of a history")
    one = what.add_parser("diff", help="what NEW allows more, less or otherwise than OLD; exit code 1 when they differ")
    one.add_argument("old", help="file, directory (its newest version) or DIRECTORY@NUMBER")
    one.add_argument("new", help="as OLD")
    one.add_argument("--json", action="store_true", help="one JSON object a line")
    one = what.add_parser("propose", help="write the statement by which a file would be the next version")
    one.add_argument("directory")
    one.add_argument("file")
    one.add_argument(
        "--from", dest="begin", required=True, metavar="TIME", help="such as 2026-12-01T00:00:00+09:00, or at-once"
    )
    one.add_argument("--out", required=True, metavar="PROPOSAL", help="file to write; it must not exist")
    one = what.add_parser("approve", help="add an approver's signature to a proposal")
    one.add_argument("proposal")
    one.add_argument("--file", required=True, help="the authority file that it is about")
    one.add_argument("--approver", required=True, metavar="NAME")
    one.add_argument("--key", required=True, metavar="FILE", help="the approver's private key (PEM)")
    one.add_argument("--ask-password", action="store_true", help="ask for the key file's password")
    one = what.add_parser("apply", help="make a proposal that two approved the next version")
    one.add_argument("directory")
    one.add_argument("file")
    one.add_argument("proposal")
    one = what.add_parser("show", help="the versions of a history, and which one is in force")
    one.add_argument("path", help="directory of a history, or an authority file")
    one.add_argument("--at", metavar="TIME", help="in force then (default: now)")
    one.add_argument("--body", metavar="NAME", help="show this body's rows")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked: the exit code (0 done, 1 different, 2 refused)."""
    try:
        done: int = ACTIONS[arguments.what](arguments)
    except JukinetError as error:
        sys.stderr.write(f"jukinet authority: {error}\n")
        return EXIT_USAGE
    return done


def _check(arguments: argparse.Namespace) -> int:
    path = Path(arguments.path)
    if path.is_dir():
        versions = history.read_history(path)
        if not versions:
            raise ConfigurationError(f"{path}: holds no version")
        print(f"{path}: in order up to version {len(versions)}, newest record {versions[-1].authority.record}")
        return EXIT_OK
    authority = Authority.load(path)
    rows = sum(len(grants) for body in authority.bodies.values() for grants in body.grants.values())
    print(f"{path}: in order, {len(authority.bodies)} bodies, {rows} rows, SHA-256 {authority.digest}")
    return EXIT_OK


def _diff(arguments: argparse.Namespace) -> int:
    found = list(differences(_named(arguments.old), _named(arguments.new)))
    for difference in found:
        if arguments.json:
            print(json.dumps(msgspec.structs.asdict(difference), ensure_ascii=False))
        else:
            print(f"{difference.change:<8}{difference.where}: {difference.what}")
    return EXIT_DIFFERENT if found else EXIT_OK


def _named(text: str) -> Authority:
    """The authority that FILE, DIRECTORY or DIRECTORY@NUMBER names. Raises ConfigurationError."""
    path, _, number = text.rpartition("@")
    if path and number.isdecimal() and Path(path).is_dir():
        versions = history.read_history(path)
        if not 1 <= int(number) <= len(versions):
            raise ConfigurationError(f"{path}: has no version {number}")
        return versions[int(number) - 1].authority
    if Path(text).is_dir():
        versions = history.read_history(text)
        if not versions:
            raise ConfigurationError(f"{text}: holds no version")
        return versions[-1].authority
    return Authority.load(text)


def _moment(text: str) -> int | None:
    try:
        return history.seconds_of(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no time: {error}") from None


def _propose(arguments: argparse.Namespace) -> int:
    directory = Path(arguments.directory)
    if not directory.exists():
        try:
            directory.mkdir(mode=0o750)
        except OSError as error:
            raise ConfigurationError(f"{directory}: {error.strerror}") from None
    proposal = history.propose(directory, arguments.file, _moment(arguments.begin))
    _write(Path(arguments.out), proposal, new=True)
    sys.stdout.write(proposal.statement)
    return EXIT_OK


def _write(path: Path, proposal: history.Proposal, *, new: bool) -> None:
    try:
        with path.open("xb" if new else "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(proposal), indent=2) + b"\n")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None


def _approve(arguments: argparse.Namespace) -> int:
    proposal, statement = history.read_proposal(arguments.proposal)
    history.check_content(statement, Authority.load(arguments.file), arguments.file)
    password = getpass.getpass("Password of the key: ").encode() if arguments.ask_password else None
    signature = PrivateKey(arguments.key, password).sign(proposal.statement.encode())
    approval = history.Approval(arguments.approver, base64.b64encode(signature).decode())
    others = tuple(one for one in proposal.approvals if one.approver != approval.approver)
    _write(Path(arguments.proposal), msgspec.structs.replace(proposal, approvals=(*others, approval)), new=False)
    print(f"approved by {', '.join(one.approver for one in (*others, approval))}")
    return EXIT_OK


def _apply(arguments: argparse.Namespace) -> int:
    proposal, _ = history.read_proposal(arguments.proposal)
    version = history.apply(
        arguments.directory, arguments.file, proposal, now=int(time.time()), applied_by=getpass.getuser()
    )
    print(f"version {version.authority.version} in force from {history.time_text(version.effective)}")
    print(f"record {version.authority.record}")
    return EXIT_OK


def _show(arguments: argparse.Namespace) -> int:
    at = _moment(arguments.at) if arguments.at else None
    now = time.time() if at is None else at
    path = Path(arguments.path)
    authority: Authority | None
    if path.is_dir():
        versions = history.read_history(path)
        current = history.in_force(versions, now)
        coming = history.planned(versions, now)
        for version in versions:
            state = "in force" if version is current else "planned" if version in coming else "replaced"
            approvers = ", ".join(approval.approver for approval in version.record.approvals)
            since = history.time_text(version.effective)
            print(f"{version.authority.version:>6}  {state:<9} from {since}, approved by {approvers}")
            print(f"        record {version.authority.record}")
        authority = current.authority if current else None
    else:
        authority = Authority.load(path)
        print(f"{path}: {authority.title or 'no title'}, SHA-256 {authority.digest}")
    if arguments.body and authority is not None:
        _show_body(authority, arguments.body)
    return EXIT_OK


def _show_body(authority: Authority, name: str) -> None:
    for (role, body_name), body in sorted(authority.bodies.items()):
        if body_name != name:
            continue
        print(f"{role} {body_name}: {body.display}, {body.codes_per_second_max:,} codes/s")
        for (schedule, item, number), grants in sorted(body.grants.items()):
            for grant in grants:
                words = "; ".join(f"{key} {value}" for key, value in grant_fields(grant).items())
                print(f"  {schedule}-{item}-{number} from {grant.valid_from}: {words}")


ACTIONS = {
    "check": _check,
    "diff": _diff,
    "propose": _propose,
    "approve": _approve,
    "apply": _apply,
    "show": _show,
}
