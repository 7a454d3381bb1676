"""`jukinet lookup`, `status`, `verify` and `history`: codes in, answers out, one job at a time."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from jukinet.clients.answers import Answer, VerifyAnswer
from jukinet.clients.blocking_client import BlockingSession, connect_blocking
from jukinet.clients.errors import EXIT_ROWS_IN_ERROR, UsageError
from jukinet.clients.partial_date import PartialDate
from jukinet.clients.query.answer_output import (
    FORMATS,
    OUT_ENCODINGS,
    AnswerWriter,
    ArrowWriter,
    CsvWriter,
    TableWriter,
    column_names,
    output_format,
)
from jukinet.clients.query.code_source import (
    CLAIMS,
    ENCODINGS,
    ArgumentSource,
    CodeSource,
    SourceFormat,
    open_source,
    sliced,
)
from jukinet.clients.query.connection_settings import add_connection_arguments, connection_settings
from jukinet.clients.query.job import Job, Progress, open_job
from jukinet.clients.query.progress_line import ProgressLine
from jukinet.clients.requests import Claims, history_codes_max
from jukinet.clients.settings import IN_FLIGHT_DEFAULT, Deadlines, Retry
from jukinet.core.limits import CODES_PER_REQUEST_MAX
from jukinet.core.vocabulary import ALL_ITEMS, FOUR_ITEMS, Item, Outcome

TABLE_ROWS_MAX: Final = 1_000
SAVE_SECONDS: Final = 1.0
IN_FLIGHT_MAX: Final = 64
BATCH_DEFAULT: Final = 16_384
TRIES_DEFAULT: Final = 10
RETRY_LONGEST_SECONDS: Final = 60.0
ITEM_NAMES: Final = {item.name.lower().replace("_", "-"): item for item in Item if item.name}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command that ``parser.get_default("command")`` names."""
    function = str(parser.get_default("command"))
    parser.add_argument("codes", nargs="*", metavar="CODE", help="resident record codes, 11 digits")
    _add_input_arguments(parser, function)
    if function in ("lookup", "history"):
        parser.add_argument(
            "--items", type=item_list, metavar="LIST", default=None,
            help=f"items wanted, joined by commas: {', '.join(ITEM_NAMES)}; default: all that the affair may see",
        )  # fmt: skip
    if function == "status":
        parser.add_argument("--since", type=full_date, required=True, metavar="DATE",
                            help="the day of the last check, such as 2024-04-01")  # fmt: skip
    _add_output_arguments(parser)
    running = parser.add_argument_group("running")
    running.add_argument("--batch", type=positive(CODES_PER_REQUEST_MAX), default=BATCH_DEFAULT, metavar="CODES",
                         help=f"codes a request (default {BATCH_DEFAULT})")  # fmt: skip
    running.add_argument("--in-flight", type=positive(IN_FLIGHT_MAX), default=IN_FLIGHT_DEFAULT, metavar="REQUESTS",
                         help=f"requests under way (default {IN_FLIGHT_DEFAULT})")  # fmt: skip
    running.add_argument("--tries", type=positive(100), default=TRIES_DEFAULT, metavar="N",
                         help=f"tries while connection or server fail (default {TRIES_DEFAULT})")  # fmt: skip
    running.add_argument("--request-seconds", type=positive(86_400), default=60, metavar="S",
                         help="longest wait for one answer (default 60)")  # fmt: skip
    running.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None,
                         help="progress on stderr; default: when it is a terminal")  # fmt: skip
    running.add_argument("--quiet", action="store_true", help="no summary on stderr")
    add_connection_arguments(parser)


def _add_input_arguments(parser: argparse.ArgumentParser, function: str) -> None:
    group = parser.add_argument_group("input (when no CODE is given)")
    group.add_argument("--input", metavar="FILE", default=None, help="file to read, - for standard input (the default)")
    group.add_argument("--input-format", choices=("text", "csv", "parquet"), default=None,
                       help="text: one code a line; default: by the file's name, else text")  # fmt: skip
    group.add_argument("--encoding", choices=ENCODINGS, default="utf-8", help="of text and CSV (default utf-8)")
    group.add_argument("--column", default="code", metavar="COLUMN",
                       help="column of the codes, by name or by number from 1 (default: code)")  # fmt: skip
    group.add_argument("--header", action=argparse.BooleanOptionalAction, default=None,
                       help="whether a CSV file begins with a row of column names")  # fmt: skip
    if function != "verify":
        return
    claims = parser.add_argument_group("claims (at least one)")
    for name in CLAIMS:
        option = name.replace("_", "-")
        words = name.replace("_", " ")
        claims.add_argument(f"--{option}", metavar="TEXT", default=None, help=f"{words} claimed, with CODE arguments")
        claims.add_argument(f"--{option}-column", metavar="COLUMN", default=None, help=f"column of the {words} claimed")


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="FILE", default=None, help="file to write; default, and -: standard output")
    group.add_argument("--format", choices=FORMATS, default=None,
                       help="default: by the name of --out (.csv .parquet .arrow), else table")  # fmt: skip
    group.add_argument("--out-encoding", choices=OUT_ENCODINGS, default="utf-8", help="of CSV (default utf-8)")
    again = group.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a broken job for --out")
    again.add_argument("--overwrite", action="store_true", help="begin anew, replacing --out at the end")


def run(arguments: argparse.Namespace) -> int:
    """Run the query; the exit code. Raises JukinetError and OSError."""
    if arguments.out == "-":
        arguments.out = None
    format_name = output_format(arguments.format, arguments.out)
    if arguments.out is None and format_name in ("parquet", "arrow"):
        raise UsageError(f"{format_name} is not written to standard output; give --out FILE")
    if arguments.out is not None and format_name == "table":
        raise UsageError("a table is for reading on a terminal; give --format csv, parquet or arrow")
    if arguments.resume and arguments.out is None:
        raise UsageError("--resume needs --out FILE, beside which the journal lies")
    settings = connection_settings(arguments)
    source = query_source(arguments)
    query = Query(arguments, format_name, source)
    with ExitStack() as stack:
        stack.callback(source.close)
        deadlines = Deadlines(request=float(arguments.request_seconds), idle=float(arguments.request_seconds))
        retry = Retry(tries=arguments.tries, first=0.2, longest=RETRY_LONGEST_SECONDS)
        client = stack.enter_context(
            connect_blocking(settings.host, settings.port, tls=settings.tls, deadlines=deadlines, retry=retry)
        )
        session = stack.enter_context(client.session(**settings.opening))
        if arguments.out is None:
            query.to_terminal(session)
        else:
            query.to_file(session, Path(arguments.out), settings.affair)
    if not arguments.quiet:
        print(query.summary(), file=sys.stderr)
    return query.exit_code()


class Query:
    """One run of a command: what is asked, and what has come back."""

    def __init__(self, arguments: argparse.Namespace, format_name: str, source: CodeSource) -> None:
        self.function: str = arguments.command
        self.arguments = arguments
        self.format_name = format_name
        self.source = source
        self.counts: dict[Outcome, int] = {}
        self.differences = 0
        self.rows = 0
        self.resumed_rows = 0
        self._started = time.monotonic()

    def to_terminal(self, session: BlockingSession) -> None:
        """Write to standard output as answers come (CSV) or at the end (table)."""
        batches = self.source.batches(self._batch_rows(session))
        if self.format_name == "table":
            batches = self._few(batches)
        names = column_names(self.function, self._items(session))
        if self.format_name == "csv":
            writer = CsvWriter(sys.stdout.buffer, names, self.arguments.out_encoding)
            writer.begin()
            for answer in self._answers(session, batches):
                writer.write(answer)
                sys.stdout.buffer.flush()
            return
        table = TableWriter(sys.stdout, names)
        for answer in self._answers(session, batches):
            table.write(answer)
        table.close()

    def to_file(self, session: BlockingSession, out: Path, affair: dict[str, Any]) -> None:
        """Write to a file that appears whole at the end; progress is durable on the way."""
        items = self._items(session)
        identity = self._identity(affair, items)
        job = open_job(out, identity, resume=self.arguments.resume, overwrite=self.arguments.overwrite)
        if job is None:
            return
        try:
            writer = self._writer(job, items)
            progress = Progress(job.saved.rows, job.saved.bytes, job.saved.crc)
            self.resumed_rows = progress.rows
            if not job.saved.complete:
                if progress.rows == 0 and progress.bytes == 0:
                    writer.begin()
                    progress.bytes = job.work.tell()
                self._fill(session, job, writer, progress)
                job.mark_complete()
            job.publish(writer.finish(job.work_path, self.format_name))
        except BaseException:
            if job.saved.rows:
                print(f"jukinet {self.function}: {job.saved.rows:,} rows are kept; --resume goes on", file=sys.stderr)
            raise
        finally:
            job.close()

    def _fill(self, session: BlockingSession, job: Job, writer: AnswerWriter, progress: Progress) -> None:
        batches = after(self.source.batches(self._batch_rows(session)), progress.rows, progress.crc)
        saved_at = time.monotonic()
        try:
            for answer in self._answers(session, batches):
                writer.write(answer)
                progress.add(answer.codes)
                progress.bytes = job.work.tell()
                if time.monotonic() - saved_at >= SAVE_SECONDS:
                    job.save(progress)
                    saved_at = time.monotonic()
        finally:
            # Also when interrupted: what was answered has been recorded as provided and should not be asked again.
            job.save(progress)

    def _answers(self, session: BlockingSession, batches: Iterator[Claims]) -> Iterator[Answer[Any]]:
        in_flight = self.arguments.in_flight
        many: Any
        if self.function == "lookup":
            many = session.lookup_many((b.codes for b in batches), items=self.arguments.items, in_flight=in_flight)
        elif self.function == "history":
            many = session.history_many((b.codes for b in batches), items=self.arguments.items, in_flight=in_flight)
        elif self.function == "status":
            many = session.status_many((b.codes for b in batches), since=self.arguments.since, in_flight=in_flight)
        else:
            many = session.verify_many(batches, in_flight=in_flight)
        shown = sys.stderr.isatty() if self.arguments.progress is None else self.arguments.progress
        with ProgressLine(self.function, self.source, self.resumed_rows, shown=shown) as line:
            for answer in many:
                self.rows += len(answer)
                for outcome, count in answer.counts().items():
                    self.counts[outcome] = self.counts.get(outcome, 0) + count
                if isinstance(answer, VerifyAnswer):
                    self.differences += answer.differences()
                yield answer
                line.advance(len(answer))

    def _few(self, batches: Iterator[Claims]) -> Iterator[Claims]:
        """Refuse before anything is asked: what is provided is recorded, whether it is shown or not."""
        first = list(itertools.islice(batches, TABLE_ROWS_MAX + 1))
        if sum(len(column(batch)) for batch in first) > TABLE_ROWS_MAX:
            raise UsageError(f"a table shows at most {TABLE_ROWS_MAX} rows, and nothing was asked; give --out FILE")
        return iter(first)

    def _batch_rows(self, session: BlockingSession) -> int:
        most = session.codes_per_request_max
        return min(int(self.arguments.batch), history_codes_max(most) if self.function == "history" else most)

    def _items(self, session: BlockingSession) -> Item:
        if self.function == "verify":
            return claimed_items(self.arguments)
        if self.function == "status":
            return Item(0)
        return Item(self.arguments.items or session.items) & ALL_ITEMS

    def _identity(self, affair: dict[str, Any], items: Item) -> dict[str, Any]:
        identity = {"function": self.function, "format": self.format_name, "items": int(items)}
        identity |= {name: affair[name] for name in ("schedule", "item", "number")}
        if self.function == "status":
            identity["since"] = self.arguments.since.to_decimal()
        return identity

    def _writer(self, job: Job, items: Item) -> AnswerWriter:
        if self.format_name == "csv":
            return CsvWriter(job.work, column_names(self.function, items), self.arguments.out_encoding)
        return ArrowWriter(job.work, self.function, items)

    def summary(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-6)
        kept = f" after {self.resumed_rows:,} kept from before" if self.resumed_rows else ""
        counts = ", ".join(f"{count:,} {outcome.name}" for outcome, count in self.counts.items())
        differences = f"; {self.differences:,} rows differ" if self.differences else ""
        found = f": {counts}" if counts else ""
        return f"{self.function}: {self.rows:,} codes{kept} in {seconds:.1f} s{found}{differences}"

    def exit_code(self) -> int:
        wrong = self.counts.get(Outcome.MALFORMED, 0) + self.counts.get(Outcome.BAD_CHECK_DIGIT, 0)
        return EXIT_ROWS_IN_ERROR if wrong or self.differences else 0


def after(batches: Iterator[Claims], rows: int, crc: int) -> Iterator[Claims]:
    """The batches without the first ``rows``; UsageError when the CRC-32 of their codes is not ``crc``."""
    left = rows
    seen = Progress()
    for batch in batches:
        codes = column(batch)
        count = len(codes)
        if left >= count:
            seen.add(codes)
            left -= count
            remains = None
        elif left:
            seen.add(codes[:left])
            remains = sliced(batch, left)
            left = 0
        else:
            remains = batch
        if left == 0 and seen.crc != crc:
            break
        if remains is not None:
            yield remains
    if left or seen.crc != crc:
        raise UsageError("the input is not the one that the broken job was given; give that one, or --overwrite")


def column(batch: Claims) -> memoryview[int]:
    """The codes of a batch: a source always gives a column."""
    assert isinstance(batch.codes, memoryview)
    return batch.codes


def query_source(arguments: argparse.Namespace) -> CodeSource:
    """The source that the arguments describe; UsageError when they contradict each other."""
    verify = arguments.command == "verify"
    given = {name: getattr(arguments, name) for name in CLAIMS} if verify else {}
    columns = {name: getattr(arguments, f"{name}_column") for name in CLAIMS} if verify else {}
    given = {name: text for name, text in given.items() if text is not None}
    columns = {name: column for name, column in columns.items() if column is not None}
    if arguments.codes:
        if arguments.input is not None or columns:
            raise UsageError("give codes as arguments or a file with --input, not both")
        if verify and not given:
            raise UsageError("claim something: --name, --birth-date, --sex or --address")
        return ArgumentSource(arguments.codes, given)
    path = arguments.input or "-"
    if path == "-" and sys.stdin.isatty():
        raise UsageError("no codes: give them as arguments, with --input FILE, or through a pipe")
    kind = arguments.input_format or {".csv": "csv", ".parquet": "parquet"}.get(Path(path).suffix.lower(), "text")
    if verify and (given or not columns):
        raise UsageError("with a file give the claims as columns: --name-column, --birth-date-column, ...")
    if verify and kind == "text":
        raise UsageError("claims need columns: give --input-format csv or parquet")
    layout = SourceFormat(kind, arguments.encoding, arguments.column, columns, arguments.header)
    return open_source(path, layout)


def claimed_items(arguments: argparse.Namespace) -> Item:
    items = Item(0)
    for name in CLAIMS:
        if getattr(arguments, name) is not None or getattr(arguments, f"{name}_column") is not None:
            items |= ITEM_NAMES[name.replace("_", "-")]
    return items & FOUR_ITEMS


def item_list(text: str) -> Item:
    """Argument type: item names joined by commas."""
    items = Item(0)
    for word in text.split(","):
        found = ITEM_NAMES.get(word.strip().lower().replace("_", "-"))
        if found is None:
            raise argparse.ArgumentTypeError(f"no item {word.strip()!r}; there are {', '.join(ITEM_NAMES)}")
        items |= found
    return items


def full_date(text: str) -> PartialDate:
    """Argument type: a date with year, month and day."""
    try:
        date = PartialDate.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not date.known:
        raise argparse.ArgumentTypeError("year, month and day are needed, such as 2024-04-01")
    return date


class positive:  # noqa: N801 - reads as a type in add_argument
    """Argument type: a whole number from 1 to a limit."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= self.most:
            raise argparse.ArgumentTypeError(f"a whole number from 1 to {self.most} is needed")
        return int(text)
