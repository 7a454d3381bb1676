"""`jukinet cohort`: put, changes, list and drop. Cursors lie in a file, which is written when the answers are."""

from __future__ import annotations

import argparse
import os
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from jukinet.clients.answers import code_text
from jukinet.clients.blocking_client import BlockingSession, connect_blocking
from jukinet.clients.codes import batches
from jukinet.clients.cohorts import ChangesAnswer, Cohort, Cursor
from jukinet.clients.columns import optional
from jukinet.clients.errors import MissingExtraError, UsageError
from jukinet.clients.query.answer_output import OUTCOME_TEXTS, RENDER, date_text
from jukinet.clients.query.code_source import ENCODINGS, SourceFormat, open_source
from jukinet.clients.query.connection_settings import add_connection_arguments, connection_settings
from jukinet.clients.settings import Deadlines
from jukinet.core.codes import are_ascending, count_invalid

READ_CODES: Final = 65_536
CURSOR_BYTES_MAX: Final = 64
HEADER: Final = b"code,outcome,change_reason,change_date,registered_date\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jukinet cohort`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="put|changes|list|drop")
    put = actions.add_parser("put", help="register codes under a name, in place of those kept before")
    put.add_argument("name", help="1 to 32 characters of a-z, 0-9 and '-'")
    put.add_argument("--input", metavar="FILE", default="-", help="codes in any order; -: standard input (the default)")
    put.add_argument("--input-format", choices=("text", "csv", "parquet"), default=None,
                     help="text: one code a line; default: by the file's name, else text")  # fmt: skip
    put.add_argument("--encoding", choices=ENCODINGS, default="utf-8", help="of text and CSV (default utf-8)")
    put.add_argument("--column", default="code", metavar="COLUMN", help="column of the codes (default: code)")
    put.add_argument("--cursor-file", metavar="FILE", help="write here where asking begins")
    changes = actions.add_parser("changes", help="the codes that changed since the cursor, as CSV")
    changes.add_argument("name")
    cursor = changes.add_mutually_exclusive_group(required=True)
    cursor.add_argument("--cursor", metavar="ORDER.PLACE", help="as the last run told")
    cursor.add_argument("--cursor-file", metavar="FILE", help="read the cursor here, and write the next one here")
    changes.add_argument("--out", metavar="FILE", help="file to write; default: standard output")
    actions.add_parser("list", help="the cohorts kept for the affair")
    drop = actions.add_parser("drop", help="have the register forget a cohort")
    drop.add_argument("name")
    for action in actions.choices.values():
        action.add_argument("--request-seconds", type=float, default=60.0, metavar="S",
                            help="longest wait for one answer (default 60)")  # fmt: skip
        add_connection_arguments(action)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; the exit code. Raises JukinetError and OSError."""
    settings = connection_settings(arguments)
    codes = _codes(arguments) if arguments.action == "put" else array("Q")
    deadlines = Deadlines(request=arguments.request_seconds, idle=arguments.request_seconds)
    with (
        connect_blocking(settings.host, settings.port, tls=settings.tls, deadlines=deadlines) as client,
        client.session(**settings.opening) as session,
    ):
        if arguments.action == "put":
            return _put(session, arguments, codes)
        if arguments.action == "changes":
            return _changes(session, arguments)
        if arguments.action == "drop":
            _tell("dropped", session.drop_cohort(arguments.name))
        else:
            for cohort in session.cohorts():
                _tell("kept" if cohort.complete else "under way", cohort)
    return 0


def _codes(arguments: argparse.Namespace) -> array[int]:
    """The input's codes, ascending, each once. UsageError when one of them is none: nothing is registered then."""
    kind = arguments.input_format or {".csv": "csv", ".parquet": "parquet"}.get(
        Path(arguments.input).suffix.lower(), "text"
    )
    source = open_source(arguments.input, SourceFormat(kind, arguments.encoding, arguments.column))
    codes = array("Q")
    try:
        for batch in source.batches(READ_CODES):
            codes.frombytes(memoryview(batch.codes).cast("B"))  # type: ignore[arg-type]
    finally:
        source.close()
    codes = _ascending(codes)
    wrong = count_invalid(codes)
    if wrong:
        raise UsageError(f"no resident record codes: {wrong:,} of the input's texts; nothing was registered")
    if not codes:
        raise UsageError("the input holds no codes; nothing was registered (`jukinet cohort drop` forgets a cohort)")
    return codes


def _ascending(codes: array[int]) -> array[int]:
    """Sorted, each once."""
    if are_ascending(codes):
        return codes
    try:
        numpy = optional("numpy")
    except MissingExtraError:
        return array("Q", sorted(set(codes)))
    # numpy.unique goes by hashing since numpy 2.3: 5.5 s of CPU for 4 M codes, where this takes 0.08 s.
    column = numpy.sort(numpy.frombuffer(codes, dtype=numpy.uint64))
    is_first = numpy.ones(len(column), dtype=bool)
    numpy.not_equal(column[1:], column[:-1], out=is_first[1:])
    return array("Q", column[is_first].tobytes())


def _put(session: BlockingSession, arguments: argparse.Namespace, codes: array[int]) -> int:
    cohort = session.register_cohort(arguments.name, batches(codes, session.codes_per_request_max))
    if arguments.cursor_file is not None:
        _keep_cursor(Path(arguments.cursor_file), cohort.cursor)
    _tell("kept", cohort)
    return 0


def _changes(session: BlockingSession, arguments: argparse.Namespace) -> int:
    """Write the changes, then the next cursor: one that is kept has been answered, and the answers are in the file."""
    cursor_file = None if arguments.cursor_file is None else Path(arguments.cursor_file)
    text = arguments.cursor if cursor_file is None else _read_cursor(cursor_file)
    cursor, more, rows = Cursor.parse(text), True, 0
    with _output(arguments.out) as out:
        out.write(HEADER)
        while more:
            answer = session.cohort_changes(arguments.name, cursor)
            out.write(csv_rows(answer))
            cursor, more, rows = answer.cursor, answer.more, rows + len(answer)
    if cursor_file is not None:
        _keep_cursor(cursor_file, cursor)
    print(f"cohort {arguments.name}: {rows:,} codes changed; next cursor {cursor}", file=sys.stderr)
    return 0


def csv_rows(answer: ChangesAnswer) -> bytes:
    """The rows of an answer as CSV, without a header."""
    wire = answer.wire
    columns = (
        map(code_text, answer.codes),
        map(OUTCOME_TEXTS.__getitem__, wire.outcomes),
        map(RENDER["change_reason"], wire.reasons),
        map(date_text, wire.change_dates),
        map(date_text, wire.registered_dates),
    )
    return "".join(f"{','.join(row)}\n" for row in zip(*columns, strict=True)).encode()


@contextmanager
def _output(path: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears whole and durable at the end."""
    if path is None or path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with _replaced(Path(path)) as file:
        yield file


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    work = path.with_name(path.name + ".part")
    with work.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    work.replace(path)


def _read_cursor(path: Path) -> str:
    """What may be a cursor. UsageError when it cannot be one."""
    with path.open("rb") as file:
        text = file.read(CURSOR_BYTES_MAX + 1)
    if len(text) > CURSOR_BYTES_MAX or not text.isascii():
        raise UsageError(f"{path} holds no cursor: give the file that `put` or the last `changes` wrote")
    return text.decode("ascii")


def _keep_cursor(path: Path, cursor: Cursor) -> None:
    with _replaced(path) as file:
        file.write(f"{cursor}\n".encode())


def _tell(what: str, cohort: Cohort) -> None:
    date = f", registered {cohort.registered_date}" if cohort.registered_date is not None else ""
    print(f"{cohort.name}: {what}, {cohort.codes:,} codes{date}, cursor {cohort.cursor}")
