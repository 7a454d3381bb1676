"""How a query command writes answers: CSV rows, Arrow batches, a readable table.

Rows come in the order of the input. While a job runs, its work file holds CSV text or an Arrow stream; both can be cut
back to any point at which they were synced. `finish` turns an Arrow stream into an Arrow or Parquet file.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from jukinet.clients.answers import Answer, HistoryAnswer, VerifyAnswer, code_text
from jukinet.clients.columns import optional
from jukinet.clients.errors import UsageError
from jukinet.clients.partial_date import PartialDate
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.vocabulary import CODE_END, ChangeReason, Item, Match, Outcome, Sex
from jukinet.core.wire.columns import TextColumn

FORMATS: Final = ("table", "csv", "parquet", "arrow")
SUFFIXES: Final = {".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
OUT_ENCODINGS: Final = ("utf-8", "utf-8-sig")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

LOOKUP_COLUMNS: Final[tuple[tuple[str, str, Item], ...]] = (
    ("name", "names", Item.NAME),
    ("kana", "kana", Item.KANA),
    ("alias", "aliases", Item.ALIAS),
    ("birth_date", "birth_dates", Item.BIRTH_DATE),
    ("sex", "sexes", Item.SEX),
    ("area", "areas", Item.ADDRESS),
    ("address", "addresses", Item.ADDRESS),
    ("change_reason", "reasons", Item.CHANGE),
    ("change_date", "change_dates", Item.CHANGE),
    ("successor_code", "successor_codes", Item.CODE),
)
HISTORY_COLUMNS: Final = tuple(column for column in LOOKUP_COLUMNS if column[2] is not Item.CODE)
VERIFY_ITEMS: Final = (
    ("name", Item.NAME, 0), ("birth_date", Item.BIRTH_DATE, 2), ("sex", Item.SEX, 4), ("address", Item.ADDRESS, 6),
)  # fmt: skip


@lru_cache(maxsize=65_536)
def date_text(number: int) -> str:
    """A decimal date for people and CSV: 1965-02-20, 1965-02, 1965, or empty for 0."""
    return PartialDate.from_decimal(number).isoformat() if number else ""


@lru_cache(maxsize=8_192)
def area_text(number: int) -> str:
    """JIS X 0402, five digits; empty for 0."""
    return f"{number:05}" if number else ""


def successor_text(number: int) -> str:
    return code_text(number) if number else ""


OUTCOME_TEXTS: Final = {int(outcome): outcome.name for outcome in Outcome}
MATCH_TEXTS: Final = tuple(match.name for match in Match)
RENDER: Final[dict[str, Callable[[int], str]]] = {
    "birth_date": date_text,
    "change_date": date_text,
    "replaced_date": date_text,
    "area": area_text,
    "sex": {0: "", **{int(sex): str(int(sex)) for sex in Sex if sex}}.__getitem__,
    "change_reason": {0: "", **{int(reason): reason.name for reason in ChangeReason}}.__getitem__,
    "successor_code": successor_text,
}
"""How a number of a column reads; looked up, for there are many of them."""


def text_columns(answer: Answer[Any]) -> list[tuple[str, list[str]]]:
    """The answer as columns of text with their names, the code first. RemoteProtocolError for a number that is none."""
    wire = answer.wire
    if isinstance(answer, HistoryAnswer):
        return history_text_columns(answer)
    try:
        columns: list[tuple[str, list[str]]] = [
            ("code", list(map(code_text, answer.codes))),
            ("outcome", [OUTCOME_TEXTS[value] for value in wire.outcomes]),
        ]
        if isinstance(answer, VerifyAnswer):
            for name, item, shift in VERIFY_ITEMS:
                if wire.items & item:
                    columns.append((name, [MATCH_TEXTS[value >> shift & 3] for value in wire.matches]))
            return columns
        for name, field, _ in LOOKUP_COLUMNS:
            column = getattr(wire, field, None)
            if isinstance(column, TextColumn):
                columns.append((name, column.to_list()))
            elif column is not None:
                columns.append((name, list(map(RENDER[name], column))))
    except (ValueError, KeyError):
        raise RemoteProtocolError("the answer holds a value that cannot be") from None
    return columns


def history_text_columns(answer: HistoryAnswer) -> list[tuple[str, list[str]]]:
    """A line for each earlier record, and one for each code that has none."""
    wire = answer.wire
    rows, records = answer.places()
    try:
        columns = [
            ("code", [code_text(answer.codes[row]) for row in rows]),
            ("outcome", [OUTCOME_TEXTS[wire.outcomes[row]] for row in rows]),
        ]
        for name, field in (
            ("replaced_date", "replaced_dates"),
            *((name, field) for name, field, _ in HISTORY_COLUMNS),
        ):
            column = getattr(wire, field)
            if column is not None:
                is_text = isinstance(column, TextColumn)
                texts = column.to_list() if is_text else list(map(RENDER[name], column))
                columns.append((name, ["" if at is None else texts[at] for at in records]))
    except (ValueError, KeyError):
        raise RemoteProtocolError("the answer holds a value that cannot be") from None
    return columns


def column_names(function: str, items: Item) -> list[str]:
    """The names of the columns of an answer to this function with these items."""
    if function == "status":
        return ["code", "outcome", "change_date"]
    if function == "history":
        names = (name for name, _, item in HISTORY_COLUMNS if items & item)
        return ["code", "outcome", "replaced_date", *names]
    if function == "verify":
        return ["code", "outcome", *(name for name, item, _ in VERIFY_ITEMS if items & item)]
    return ["code", "outcome", *(name for name, _, item in LOOKUP_COLUMNS if items & item)]


class AnswerWriter(ABC):
    """Writes answers to a binary stream that stands at the place where the next row goes."""

    @abstractmethod
    def begin(self) -> None:
        """What stands before the first row; not called when a job goes on."""

    @abstractmethod
    def write(self, answer: Answer[Any]) -> None: ...

    def finish(self, work: Path, format_name: str) -> Path:  # noqa: ARG002 - CSV is finished as it is
        """Make the finished file from the work file; where it is."""
        return work


class CsvWriter(AnswerWriter):
    """RFC 4180 with line feeds."""

    def __init__(self, stream: BinaryIO, names: list[str], encoding: str) -> None:
        self._stream = stream
        self._names = names
        self._encoding = encoding

    def begin(self) -> None:
        if self._encoding == "utf-8-sig":
            self._stream.write(BYTE_ORDER_MARK)
        self._write([self._names])

    def write(self, answer: Answer[Any]) -> None:
        self._write(zip(*(column for _, column in text_columns(answer)), strict=True))

    def _write(self, rows: Iterable[Iterable[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._stream.write(text.getvalue().encode())


class ArrowWriter(AnswerWriter):
    """An Arrow stream of record batches: codes, outcomes and matches as text, dates as decimal numbers.

    No column is a dictionary: those need messages of their own, and a stream that is cut back must stay whole.
    """

    def __init__(self, stream: BinaryIO, function: str, items: Item) -> None:
        pa = optional("pyarrow")
        self._pa = pa
        self._compute = optional("pyarrow.compute")
        self._stream = stream
        self._function = function
        self._matches = pa.array([match.name for match in Match])
        self.schema = pa.schema([(name, self._type(name)) for name in column_names(function, items)])

    def begin(self) -> None:
        self._stream.write(self.schema.serialize().to_pybytes())

    def write(self, answer: Answer[Any]) -> None:
        self._stream.write(self.batch(answer).serialize().to_pybytes())

    def batch(self, answer: Answer[Any]) -> Any:
        """The answer as a record batch of ``schema``; texts and dates still point into the received bytes."""
        pa = self._pa
        received = answer.to_arrow()
        by_name = dict(zip(received.schema.names, received.columns, strict=True))
        arrays = []
        for name in self.schema.names:
            if name in ("code", "successor_code"):
                arrays.append(self._codes(by_name[name]))
            elif name == "outcome":
                arrays.append(by_name[name].dictionary_decode())
            elif isinstance(answer, VerifyAnswer):
                arrays.append(self._match(by_name["matches"], name))
            elif name == "area":
                padded = self._compute.utf8_lpad(by_name[name].cast(pa.string()), 5, "0")
                arrays.append(self._null_where(padded, self._compute.equal(by_name[name], 0)))
            else:
                arrays.append(by_name[name])
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def finish(self, work: Path, format_name: str) -> Path:
        pa = self._pa
        target = work.with_name(work.name + "." + format_name)
        with pa.memory_map(str(work)) as source:
            # The work file has no end mark: batches are read one by one until it ends.
            schema = pa.ipc.read_schema(source)
            with _file_writer(format_name, target, schema) as writer:
                while source.tell() < source.size():
                    writer.write_batch(pa.ipc.read_record_batch(pa.ipc.read_message(source), schema))
        return target

    def _type(self, name: str) -> Any:
        pa = self._pa
        if self._function == "verify":
            return pa.string()
        kinds = {
            "birth_date": pa.uint32(),
            "change_date": pa.uint32(),
            "replaced_date": pa.uint32(),
            "sex": pa.uint8(),
            "change_reason": pa.uint8(),
        }
        return kinds.get(name, pa.string())

    def _codes(self, column: Any) -> Any:
        compute = self._compute
        padded = compute.utf8_lpad(column.cast(self._pa.string()), 11, "0")
        number = self._pa.uint64()
        none = compute.or_(
            compute.greater_equal(column, self._pa.scalar(CODE_END, number)),
            compute.equal(column, self._pa.scalar(0, number)),
        )
        return self._null_where(padded, none)

    def _match(self, matches: Any, name: str) -> Any:
        pa, compute = self._pa, self._compute
        shift = next(shift for item_name, _, shift in VERIFY_ITEMS if item_name == name)
        shifted = compute.shift_right(matches, pa.scalar(shift, pa.uint8()))
        return self._matches.take(compute.bit_wise_and(shifted, pa.scalar(3, pa.uint8())))

    def _null_where(self, values: Any, none: Any) -> Any:
        return self._compute.if_else(none, self._pa.scalar(None, self._pa.string()), values)


class TableWriter:
    """A readable table on a terminal; East Asian characters take two columns."""

    def __init__(self, stream: TextIO, names: list[str]) -> None:
        self._stream = stream
        self._names = names
        self._rows: list[tuple[str, ...]] = []

    def write(self, answer: Answer[Any]) -> None:
        self._rows.extend(zip(*(column for _, column in text_columns(answer)), strict=True))

    def close(self) -> None:
        """Print it all: the widths depend on every row."""
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - loaded only for a table
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        shown = [place for place in range(len(self._names)) if place < 2 or any(row[place] for row in self._rows)]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for place in shown:
            table.add_column(self._names[place].replace("_", " "), overflow="fold")
        for row in self._rows:
            style = "" if row[1] in ("CURRENT", "CHANGED") else "dim"
            table.add_row(*(Text(row[place]) for place in shown), style=style)
        console = Console(file=self._stream, highlight=False)
        if not console.is_terminal:
            console.width = 10_000
        console.print(table)


def output_format(name: str | None, out: str | None) -> str:
    """The format asked, or the one that the file's name says; a table without a file. UsageError when unclear."""
    if name is not None:
        return name
    if out is None:
        return "table"
    found = SUFFIXES.get(Path(out).suffix.lower())
    if found is None:
        raise UsageError(f"{out}: no format follows from this name; give --format ({', '.join(FORMATS[1:])})")
    return found


def _file_writer(format_name: str, target: Path, schema: Any) -> Any:
    if format_name == "parquet":
        return optional("pyarrow.parquet").ParquetWriter(str(target), schema, compression="zstd")
    return optional("pyarrow").ipc.new_file(str(target), schema)
