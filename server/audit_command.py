"""The command `jukinet audit`: keys, sealing by hand, verification, ledger and report, export of a record of use."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import secrets
import shutil
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from jukinet.core.audit import erasure, inbox
from jukinet.core.audit.checkpoint import (
    COSIGNATURE,
    SIGNATURE,
    Checkpoint,
    Note,
    PrivateKey,
    check,
    read_private_key,
    read_public_key,
)
from jukinet.core.audit.directory import KIND_SEGMENT, SealDirectory
from jukinet.core.audit.erasure import RETENTION_YEARS
from jukinet.core.audit.errors import NotProvedError
from jukinet.core.audit.layout import list_segments
from jukinet.core.audit.ledger import Ledger
from jukinet.core.audit.merkle import leaf_hash
from jukinet.core.audit.operator_changes import OPERATORS, changes_path, list_changes
from jukinet.core.audit.seal import SEALS, list_seals, open_seal, seal_name
from jukinet.core.audit.sealing import CHECKPOINT, TREE, Sealer, open_tree
from jukinet.core.audit.tree_files import TreeFiles
from jukinet.core.audit.tree_kernel import entry_hashes
from jukinet.core.audit.verification import Verification, VerifyReport
from jukinet.core.errors import ConfigurationError
from jukinet.core.law.grant import day_in_japan
from jukinet.server import ledger_page
from jukinet.server.names_in_law import NamesInLaw
from jukinet.server.recorded_changes import RecordedChanges, changes_on_record

CHANGES = "changes.jsonl"
"""In an export: what `jukinet audit changes --json` gives."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Subcommands."""
    commands = parser.add_subparsers(dest="audit_command", required=True, metavar="COMMAND")
    key = commands.add_parser("key", help="make a key pair that signs checkpoints: FILE and FILE.pub")
    key.add_argument("file", type=Path, metavar="FILE", help="where the private key goes")
    key.add_argument("--name", required=True, help="of the log or witness, as in example.jp/record-of-use")
    key.add_argument("--witness", action="store_true", help="a witness's key, which cosigns")
    seal = commands.add_parser("seal", help="seal what is closed, with no server running")
    seal.add_argument("directory", type=Path, metavar="DIR", help="directory of the record of use")
    seal.add_argument("--key", required=True, metavar="FILE", help="the private key")
    seal.add_argument("--authority", default="", metavar="PATH", help="put its new versions on record too")
    seal.add_argument("--operators", default="", metavar="FILE", help="database whose changes are put on record too")
    seal.add_argument("--retention-years", type=int, default=0, help="also erase months past so many years")
    seal.add_argument(
        "--date", type=datetime.date.fromisoformat, metavar="DAY", help="today, where the clock would not be trusted"
    )
    verify = commands.add_parser("verify", help="check everything from the first byte; exit 1 when anything is wrong")
    verify.add_argument("directory", type=Path, metavar="DIR", help="directory of the record of use")
    verify.add_argument("--key", required=True, metavar="PUBLIC", help="the log's public key: a file, or the text")
    verify.add_argument(
        "--checkpoint", action="append", default=[], type=Path, metavar="FILE", help="seen before; may be repeated"
    )
    verify.add_argument(
        "--witness", action="append", default=[], metavar="PUBLIC", help="must have cosigned; may be repeated"
    )
    verify.add_argument("--deep", action="store_true", help="also compute each record's parts, and compare the codes")
    verify.add_argument(
        "--retention-years", type=int, default=RETENTION_YEARS, help="erasing younger content is a fault (default 7)"
    )
    verify.add_argument("--without-content", action="store_true", help="segments need not be there (an export)")
    verify.add_argument("--json", action="store_true", help="one JSON object instead of text")
    ledger = commands.add_parser("ledger", help="what each recipient was provided, month by month, for ever")
    ledger.add_argument("directory", type=Path, metavar="DIR", help="directory of the record of use")
    ledger.add_argument("--json", action="store_true", help="one JSON object a row, with affair and function")
    ledger.add_argument("--authority", metavar="PATH", help="file or history: what recipients are called")
    changes = commands.add_parser("changes", help="changes of authority and operators, erasures and notes on record")
    changes.add_argument("directory", type=Path, metavar="DIR", help="directory of the record of use")
    changes.add_argument("--json", action="store_true", help="one JSON object a row")
    report = commands.add_parser("report", help="the yearly report: recipient, month, count, method")
    report.add_argument("directory", type=Path, metavar="DIR", help="directory of the record of use")
    report.add_argument("--year", type=int, required=True, help="calendar year")
    report.add_argument("--authority", metavar="PATH", help="file or history: what recipients are called")
    report.add_argument("--html", type=Path, metavar="FILE", help="one HTML file with plots instead of text")
    export = commands.add_parser("export", help="copy what an auditor needs into a new directory")
    export.add_argument("directory", type=Path, metavar="DIR", help="directory of the record of use")
    export.add_argument("target", type=Path, metavar="TARGET", help="must not be there yet")
    export.add_argument("--with-content", action="store_true", help="the segments too, which name residents")


def run(arguments: argparse.Namespace) -> int:
    """The exit code of the subcommand."""
    commands = {
        "key": make_key,
        "seal": seal,
        "verify": verify,
        "ledger": show_ledger,
        "changes": show_changes,
        "report": show_report,
        "export": export,
    }
    return commands[arguments.audit_command](arguments)


def make_key(arguments: argparse.Namespace) -> int:
    """Write a new key pair; the public key is printed. Raises ConfigurationError and OSError."""
    key = PrivateKey(arguments.name, secrets.token_bytes(32), COSIGNATURE if arguments.witness else SIGNATURE)
    public = Path(f"{arguments.file}.pub")
    for path in (arguments.file, public):
        if path.exists():
            raise ConfigurationError(f"{path} is there already; a key is never written over")
    descriptor = os.open(arguments.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.encode() + "\n")
    public.write_text(key.public.encode() + "\n")
    print(key.public.encode())
    return 0


def seal(arguments: argparse.Namespace) -> int:
    """Seal closed segments and waiting statements. Raises RecordOfUseError and OSError."""
    key = read_private_key(arguments.key)
    if arguments.date not in (None, day_in_japan()):
        raise ConfigurationError(f"--date: the clock says {day_in_japan()} in Japan; set it first")
    seals = records = 0
    with Sealer(arguments.directory, key) as sealer:
        erasure.finish(sealer)
        while (statement := sealer.step()) is not None:
            seals += 1
            records += statement.records
        seals += inbox.take_in(sealer)
        following = RecordedChanges(arguments.authority, arguments.operators)
        seals += following.take_in(sealer)
        for fault in following.faults:
            print(f"not put on record: {fault}", file=sys.stderr)
        while sealer.mend() is not None:
            pass
        erased, complete = erase(sealer, arguments.retention_years, trusted=arguments.date is not None)
        seals += erased
        print(f"{arguments.directory}: {seals:,} added, {records:,} records; the tree has {sealer.size:,} leaves")
    return 0 if complete else 1


def erase(sealer: Sealer, years: int, *, trusted: bool) -> tuple[int, bool]:
    """Erase what is past its ``years`` (0: nothing): months erased, and whether none was left. Raises as ``seal``."""
    months = 0
    while years and (month := erasure.due_month(sealer, years)) is not None:
        if not trusted and (reason := erasure.distrust(sealer)):
            print(f"not erased: {reason}; set it, or name today with --date", file=sys.stderr)
            return months, False
        if erasure.erase_month(sealer, month, years) is None:
            print(f"not erased: a worker's newest segment is of {month // 100}-{month % 100:02d}", file=sys.stderr)
            return months, False
        print(f"erased {month // 100}-{month % 100:02d}")
        months += 1
    return months, True


def read_checkpoint(path: Path, key_text: str) -> Checkpoint:
    """A checkpoint that was kept, after its signature. Raises ConfigurationError and NotProvedError."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(1 << 16)
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{path}: cannot be read") from None
    Note.decode(text)
    return check(text, read_public_key(key_text))


def verify(arguments: argparse.Namespace) -> int:
    """0 when all is whole, 1 when anything is wrong. Raises ConfigurationError and RecordOfUseError."""
    earlier = []
    for path in arguments.checkpoint:
        try:
            earlier.append(read_checkpoint(path, arguments.key))
        except NotProvedError as error:
            raise ConfigurationError(f"{path}: {error}") from None
    columns = (
        TextColumn("verifying"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        total = sum(
            path.stat().st_size for path in arguments.directory.glob("**/*") if path.suffix in (".rou", ".seal")
        )
        task = progress.add_task("verifying", total=total)
        report = Verification(
            arguments.directory,
            read_public_key(arguments.key),
            earlier=earlier,
            witnesses=[read_public_key(one) for one in arguments.witness],
            deep=arguments.deep,
            content=not arguments.without_content,
            retention_years=arguments.retention_years,
            on_progress=lambda done: progress.update(task, completed=done),
        ).run()
    if arguments.json:
        print(json.dumps(msgspec.to_builtins(report), ensure_ascii=False))
    else:
        show(arguments.directory, report, deep=arguments.deep)
    return 1 if report.findings else 0


def current_ledger(directory: Path) -> tuple[Ledger, str]:
    """The ledger of all seals, and the newest checkpoint. Raises TreeDamagedError."""
    tree = open_tree(directory)
    rows = SealDirectory.load(tree)
    ledger = Ledger(tree)
    ledger.bring_up(len(rows.rows), rows.size)
    note = ""
    if rows.rows:
        with open_seal(tree, len(rows.rows) - 1) as newest:
            note = newest.note
    return ledger, note


def show_ledger(arguments: argparse.Namespace) -> int:
    """Print the rows. Raises TreeDamagedError."""
    ledger, _ = current_ledger(arguments.directory)
    if arguments.json:
        for tally in ledger.tallies():
            print(json.dumps({name: getattr(tally, name) for name in tally.__struct_fields__}, ensure_ascii=False))
    else:
        print(ledger_page.as_text(ledger.tallies(), NamesInLaw(arguments.authority)), end="")
    return 0


def show_changes(arguments: argparse.Namespace) -> int:
    """Print them. Raises TreeDamagedError."""
    for row in changes_on_record(open_tree(arguments.directory)):
        if arguments.json:
            print(json.dumps(row, ensure_ascii=False))
        else:
            print("\t".join(" ".join(value) if isinstance(value, list) else str(value) for value in row.values()))
    return 0


def show_report(arguments: argparse.Namespace) -> int:
    """Print or write the report of a year. Raises TreeDamagedError and OSError."""
    ledger, note = current_ledger(arguments.directory)
    names = NamesInLaw(arguments.authority)
    tallies = ledger_page.of_year(ledger.tallies(), arguments.year)
    if arguments.html is None:
        print(ledger_page.as_text(tallies, names), end="")
        return 0
    arguments.html.write_text(ledger_page.document(tallies, arguments.year, ledger.leaf, note, names), encoding="utf-8")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Copy seals and checkpoint, and the segments on demand; write the changes on record. ConfigurationError, OSError.

    Seals are complete before they have their names, so a running sealer does no harm; the checkpoint is that of the
    last seal copied.
    """
    tree = open_tree(arguments.directory)
    target: Path = arguments.target
    if target.exists():
        raise ConfigurationError(f"{target} is there already")
    numbers = list_seals(tree)
    (target / TREE / SEALS).mkdir(parents=True, mode=0o700)
    for number in numbers:
        shutil.copyfile(tree / SEALS / seal_name(number), target / TREE / SEALS / seal_name(number))
    if numbers:
        with open_seal(target / TREE, numbers[-1]) as newest:
            (target / TREE / CHECKPOINT).write_text(newest.note)
    (target / TREE / OPERATORS).mkdir(mode=0o700)
    for number in sorted(list_changes(tree) & set(numbers)):
        shutil.copyfile(changes_path(tree, number), changes_path(target / TREE, number))
    copied = 0
    if arguments.with_content:
        sealed = {
            (row.worker, row.segment) for row in SealDirectory.load(target / TREE).rows if row.kind == KIND_SEGMENT
        }
        for worker, segments in list_segments(arguments.directory).items():
            for segment, path in segments:
                if (worker, segment) in sealed:
                    shutil.copyfile(path, target / path.name)
                    copied += 1
    restore_derived(target / TREE)
    with (target / CHANGES).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in changes_on_record(target / TREE))
    print(f"{target}: {len(numbers):,} seals and {copied:,} segments")
    return 0


def restore_derived(tree: Path) -> None:
    """Make hashes, directory and ledger of a copy from its seals. Raises OSError and TreeDamagedError."""
    rows = SealDirectory.load(tree)
    rows.save(tree)
    hashes = TreeFiles(tree, writable=True)
    try:
        for number in range(len(rows.rows)):
            with open_seal(tree, number) as copy:
                hashes.append(entry_hashes(copy.entries()))
                hashes.append(leaf_hash(copy.statement))
    finally:
        hashes.close()
    ledger = Ledger(tree)
    ledger.bring_up(len(rows.rows), rows.size)
    ledger.save()


def show(directory: Path, report: VerifyReport, *, deep: bool) -> None:
    """Faults first, then what was read; never content."""
    for finding in report.findings:
        print(finding)
    if report.findings:
        print(f"{directory}: {len(report.findings):,} faults")
    else:
        print(f"{directory}: whole, and as it was signed" + ("" if deep else " (without --deep: parts and codes)"))
    print(f"  {report.leaves:,} leaves in {report.seals:,} seals, root {report.root}")
    print(
        f"  {report.segments:,} segments with {report.records:,} records and {report.provisions:,} provisions, "
        f"{report.bytes:,} bytes"
    )
    if report.erased_segments:
        print(f"  {report.erased_segments:,} segments erased, as is on record:")
        for one in report.erasures:
            print(f"    {one}")
    if report.absent_segments:
        print(f"  {report.absent_segments:,} segments not there: their content was not checked")
    if report.unsealed_segments:
        print(
            f"  {report.unsealed_segments:,} segments with {report.unsealed_records:,} records are not sealed yet: "
            "checked by their checksums only"
        )
    if report.clock_back:
        print(f"  the clock was set back in {report.clock_back:,} of the seals")
    for name in report.cosigned:
        print(f"  cosigned by {name}")
