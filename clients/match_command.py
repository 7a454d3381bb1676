"""`jukinet match`: records as people have them in, whom they mean out, with a report."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from jukinet.clients.blocking_client import connect_blocking
from jukinet.clients.errors import EXIT_ROWS_IN_ERROR, UsageError
from jukinet.clients.matching.column_names import ITEMS, Mapping, mapping_of
from jukinet.clients.matching.match_job import Ask, RecordSource, after, fill
from jukinet.clients.matching.media_exchange import MediaAnswers, write_request
from jukinet.clients.matching.record_file import ENCODINGS, SEPARATORS, RecordFile, encoding_name, open_records
from jukinet.clients.matching.record_rows import Reader
from jukinet.clients.matching.report_page import report_page
from jukinet.clients.matching.report_text import About, report_text
from jukinet.clients.matching.result_file import (
    FORMATS,
    OUT_ENCODINGS,
    ResultWriter,
    batches_of,
    finished,
    kept_names,
    output_format,
)
from jukinet.clients.matching.tally import Tally, tally_of
from jukinet.clients.matching.understanding import columns_used, how_read, not_understood, understood
from jukinet.clients.persons import MatchAnswer, Persons
from jukinet.clients.query.connection_settings import add_connection_arguments, connection_settings, media_settings
from jukinet.clients.query.job import Job, Progress, open_job
from jukinet.clients.query.progress_line import ProgressLine
from jukinet.clients.query_command import ITEM_NAMES, item_list, positive
from jukinet.clients.settings import IN_FLIGHT_DEFAULT, Deadlines, Retry
from jukinet.core.folding.dates import EraDigits
from jukinet.core.limits import CODES_PER_REQUEST_MAX
from jukinet.core.vocabulary import Item

BATCH_DEFAULT: Final = 8_192
IN_FLIGHT_MAX: Final = 64
TRIES_DEFAULT: Final = 10
RETRY_LONGEST_SECONDS: Final = 60.0
DRY_ROWS_DEFAULT: Final = 10
DRY_ROWS_MAX: Final = 1_000
SEPARATOR_NAMES: Final = {name: separator for separator, name in SEPARATORS.items()}
ITEM_OF: Final = {name: Item[name.upper()] for name in ITEMS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("records", metavar="FILE", help="records: CSV, or Parquet by the name .parquet")
    add_input_arguments(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="FILE", help="results: .parquet, .arrow or .csv")
    group.add_argument("--format", choices=FORMATS, default=None, help="default: by the name of --out")
    group.add_argument("--out-encoding", choices=OUT_ENCODINGS, default="utf-8", help="of CSV (default utf-8)")
    group.add_argument("--items", type=item_list, metavar="LIST", default=None,
                       help=f"items wanted of the persons: {', '.join(ITEM_NAMES)}; default: all")  # fmt: skip
    group.add_argument("--report", metavar="FILE", default=None,
                       help="HTML report; default: beside --out with the ending .html")  # fmt: skip
    group.add_argument("--no-report", action="store_true", help="write no HTML report")
    again = group.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a broken job for --out")
    again.add_argument("--overwrite", action="store_true", help="begin anew, replacing --out at the end")
    media = parser.add_argument_group("without a line (docs/media.md)").add_mutually_exclusive_group()
    media.add_argument("--media-out", metavar="FILE", default=None,
                       help="write a signed request for `jukinet media answer` instead of asking")  # fmt: skip
    media.add_argument("--media-in", metavar="FILE", default=None,
                       help="take the answers from a signed file; give all else as with --media-out")  # fmt: skip
    running = parser.add_argument_group("running")
    running.add_argument("--batch", type=positive(CODES_PER_REQUEST_MAX), default=BATCH_DEFAULT, metavar="ROWS",
                         help=f"rows a request (default {BATCH_DEFAULT})")  # fmt: skip
    running.add_argument("--in-flight", type=positive(IN_FLIGHT_MAX), default=IN_FLIGHT_DEFAULT, metavar="REQUESTS",
                         help=f"requests under way (default {IN_FLIGHT_DEFAULT})")  # fmt: skip
    running.add_argument("--tries", type=positive(100), default=TRIES_DEFAULT, metavar="N",
                         help=f"tries while connection or server fail (default {TRIES_DEFAULT})")  # fmt: skip
    running.add_argument("--request-seconds", type=positive(86_400), default=300, metavar="S",
                         help="longest wait for one answer (default 300)")  # fmt: skip
    running.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None,
                         help="progress on stderr; default: when it is a terminal")  # fmt: skip
    running.add_argument("--quiet", action="store_true", help="no report on standard output")
    add_connection_arguments(parser)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """How the file is read; what is not said is found out."""
    group = parser.add_argument_group("input", "What is not said is found out from the beginning of the file.")
    group.add_argument("--encoding", type=encoding_name, choices=ENCODINGS, default=None,
                       help="of CSV; Shift_JIS is cp932")  # fmt: skip
    group.add_argument("--separator", choices=list(SEPARATOR_NAMES), default=None, help="of CSV")
    group.add_argument("--header", action=argparse.BooleanOptionalAction, default=None,
                       help="whether a CSV file begins with a row of column names")  # fmt: skip
    group.add_argument("--map", action="append", default=[], metavar="ITEM=COLUMN",
                       help=f"which column, by name or number from 1, holds an item ({', '.join(ITEMS)}); columns that "
                       "together hold one are joined by +, as name=姓+名; ITEM= leaves the item out")  # fmt: skip
    group.add_argument("--keep", action="append", default=None, metavar="COLUMN",
                       help="column that is passed on to the results; default: one of numbers of your own")  # fmt: skip
    group.add_argument("--era-digits", choices=("in-order", "odd"), default="in-order",
                       help="what the first of seven digits says of the era: in-order 1 明治 2 大正 3 昭和 4 平成, "
                       "odd 1 3 5 7 as in pension records (default in-order)")  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="show what is understood of the file; nothing is asked")
    group.add_argument("--rows", type=positive(DRY_ROWS_MAX), default=DRY_ROWS_DEFAULT, metavar="N",
                       help=f"rows that a dry run shows (default {DRY_ROWS_DEFAULT})")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit code. Raises JukinetError and OSError."""
    path = Path(arguments.records)
    with ExitStack() as stack:
        file = open_records(
            path,
            encoding=arguments.encoding,
            separator=SEPARATOR_NAMES.get(arguments.separator),
            header=arguments.header,
        )
        stack.callback(file.close)
        try:
            mapping = mapping_of(file.names, arguments.map, arguments.keep)
        except UsageError:
            if arguments.dry_run:
                sys.stdout.write(not_understood(file, path.name, arguments.rows))
            raise
        era_digits = EraDigits.ODD if arguments.era_digits == "odd" else EraDigits.IN_ORDER
        if arguments.dry_run:
            text, faults = understood(file, mapping, Reader(mapping, era_digits), path.name, arguments.rows)
            sys.stdout.write(text)
            return EXIT_ROWS_IN_ERROR if faults else 0
        source = RecordSource(file, Reader(mapping, era_digits), mapping)
        if arguments.media_out is not None:
            return to_media(arguments, source)
        if arguments.out is None:
            raise UsageError("give --out FILE for the results, or --dry-run to see what is understood of the records")
        format_name = output_format(arguments.format, Path(arguments.out))
        if arguments.media_in is not None:
            return from_media(arguments, Match(arguments, format_name, file, mapping, source))
        settings = connection_settings(arguments)
        deadlines = Deadlines(request=float(arguments.request_seconds), idle=float(arguments.request_seconds))
        retry = Retry(tries=arguments.tries, first=0.2, longest=RETRY_LONGEST_SECONDS)
        client = stack.enter_context(
            connect_blocking(settings.host, settings.port, tls=settings.tls, deadlines=deadlines, retry=retry)
        )
        session = stack.enter_context(client.session(**settings.opening))
        mapping = allowed(mapping, session.items)
        source = RecordSource(file, Reader(mapping, era_digits), mapping)
        match = Match(arguments, format_name, file, mapping, source)
        match.missing_areas = list(client.greeting.areas_not_connected)
        items = Item(arguments.items or session.items) & session.items
        size = min(arguments.batch, session.codes_per_request_max)

        def ask(persons: Iterator[Persons]) -> Iterable[MatchAnswer]:
            return session.match_many(persons, items=items, in_flight=arguments.in_flight)

        return match.run(ask, items, size, settings.affair)


def to_media(arguments: argparse.Namespace, source: RecordSource) -> int:
    """Write a signed request; the exit code."""
    credentials, affair = media_settings(arguments)
    shown = sys.stderr.isatty() if arguments.progress is None else arguments.progress
    with ProgressLine("request", source, 0, shown=shown, unit="records") as line:
        items = int(arguments.items or 0)
        batches = source.batches(arguments.batch)
        rows = write_request(Path(arguments.media_out), batches, affair, items, credentials, line.advance)
    if not arguments.quiet:
        print(
            f"{arguments.media_out}: {rows:,} records, signed; it holds personal data in clear, so protect the medium"
        )
    return 0


def from_media(arguments: argparse.Namespace, match: Match) -> int:
    """Take the answers from a signed file; the exit code."""
    credentials, affair = media_settings(arguments)
    with Path(arguments.media_in).open("rb") as file:
        answers = MediaAnswers(file, credentials)
        match.missing_areas = answers.head.areas_not_connected

        def ask(persons: Iterator[Persons]) -> Iterable[MatchAnswer]:
            return answers.ask(persons, int(arguments.items or 0))

        return match.run(ask, answers.items, arguments.batch, affair)


def allowed(mapping: Mapping, granted: Item) -> Mapping:
    """The mapping without items that the affair may not ask by; it is said on stderr what is left out."""
    items = {item: places for item, places in mapping.items.items() if granted & ITEM_OF[item]}
    for item in mapping.items.keys() - items.keys():
        print(f"jukinet match: {item} is not asked by, for the affair may not see it", file=sys.stderr)
    if not (("name" in items or "kana" in items) and ("birth_date" in items or "address" in items)):
        raise UsageError("the items that the affair may see are less than a match asks by")
    return Mapping(items, mapping.kept, mapping.guessed, readings=bool(granted & Item.KANA))


class Match:
    """One run: what is asked, where the results go, what is told at the end."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        format_name: str,
        file: RecordFile,
        mapping: Mapping,
        source: RecordSource,
    ) -> None:
        self.arguments = arguments
        self.format_name = format_name
        self.file = file
        self.mapping = mapping
        self.source = source
        self.out = Path(arguments.out)
        self.missing_areas: list[int] = []
        self._started = time.monotonic()
        self._asked = 0

    def run(self, ask: Ask, items: Item, size: int, affair: dict[str, Any]) -> int:
        """Ask everything, in batches of ``size`` rows, and write the results; the exit code. items: of the answers."""
        job = open_job(
            self.out, self._identity(affair, items), resume=self.arguments.resume, overwrite=self.arguments.overwrite
        )
        if job is None:
            return 0
        if self.arguments.media_in is not None and job.saved.rows and not job.saved.complete:
            job.close()
            raise UsageError("answers from media are taken in one go; give --overwrite")
        try:
            tally = self._results(job, ask, items, size)
        except BaseException:
            if job.saved.rows:
                print(f"jukinet match: {job.saved.rows:,} rows are kept; --resume goes on", file=sys.stderr)
            raise
        finally:
            job.close()
        return EXIT_ROWS_IN_ERROR if tally.asked < tally.rows else 0

    def _results(self, job: Job, ask: Ask, items: Item, size: int) -> Tally:
        names = [self.file.names[place] for place in self.mapping.kept]
        writer = ResultWriter(job.work, kept_names(names, items), items)
        progress = Progress(job.saved.rows, job.saved.bytes, job.saved.crc)
        if not job.saved.complete:
            if not progress.bytes:
                writer.begin()
                progress.bytes = job.work.tell()
            self._ask_all(job, writer, progress, ask, size)
            job.mark_complete()
        tally = tally_of(batches_of(job.work_path))
        self._report(tally)
        job.publish(finished(job.work_path, writer.schema, self.format_name, self.arguments.out_encoding))
        return tally

    def _ask_all(self, job: Job, writer: ResultWriter, progress: Progress, ask: Ask, size: int) -> None:
        batches = self.source.batches(size)
        if self.arguments.media_in is None:
            batches = after(batches, progress.rows, progress.crc)
        shown = sys.stderr.isatty() if self.arguments.progress is None else self.arguments.progress

        with ProgressLine("match", self.source, progress.rows, shown=shown, unit="records") as line:

            def advance(rows: int) -> None:
                self._asked += rows
                line.advance(rows)

            fill(job, writer, progress, batches, ask, advance)

    def _identity(self, affair: dict[str, Any], items: Item) -> dict[str, Any]:
        identity = {"function": "match", "items": int(items), "batch": self.arguments.batch}
        identity |= {name: affair[name] for name in ("schedule", "item", "number")}
        identity |= {"kept": list(self.mapping.kept)}
        return identity | {item: list(places) for item, places in self.mapping.items.items()}

    def _report(self, tally: Tally) -> None:
        about = About(
            how_read(self.file, Path(self.arguments.records).name),
            self.out.name,
            columns_used(self.file, self.mapping),
            time.monotonic() - self._started,
            self._asked,
            self.missing_areas,
            self.source.beyond_era,
        )
        if not self.arguments.quiet:
            sys.stdout.write(report_text(tally, about))
        if not self.arguments.no_report:
            place = Path(self.arguments.report) if self.arguments.report else self.out.with_suffix(".html")
            new = place.with_name(place.name + ".new")
            new.write_text(report_page(tally, about), encoding="utf-8")
            new.replace(place)
