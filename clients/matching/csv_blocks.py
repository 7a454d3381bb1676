"""CSV in blocks: whole blocks as Arrow columns where nothing is unusual in them, row by row where something is.

Theory of operation. A block ends with a line. A block whose bytes all belong to the encoding, whose quotes enclose
whole fields of one line and whose rows all have the file's number of columns means the same to every reader, so it goes
to Arrow's parser as a whole. Any other block is read by Python's reader, which is the measure: it takes what Arrow
refuses, and says which rows are at fault. A row that is open at the end of a block takes the next block with it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

from jukinet.clients.columns import optional

BLOCK_BYTES: Final = 1 << 18
"""Some thousands of rows: a bad row costs the speed of so many."""
LINE_BYTES_MAX: Final = 1 << 22
"""A block without an end of line in so many bytes is read as a stream."""
ENCODINGS: Final = ("utf-8", "utf-8-sig", "cp932")
"""Encodings in which the bytes of line ends, quotes and separators are never part of another character."""
ROWS_LISTED: Final = 4_096
UNREADABLE: Final = "the line is not CSV: a quote is not closed, or a field is too long"


class Row(NamedTuple):
    """One record: its number from 1, its fields, and why it could not be read ('' when it could)."""

    number: int
    fields: Sequence[str]
    fault: str = ""


class Columns(NamedTuple):
    """Rows as they stand in the file: the number of the first one, and an Arrow string array for each column."""

    first: int
    columns: list[Any]


class CsvRows:
    """Rows of CSV from lines, numbered from 1, the row of names not among them."""

    def __init__(self, separator: str, has_names: bool) -> None:
        self.separator = separator
        self.number = -1 if has_names else 0
        """Of the last row read."""
        self.open = False
        """Whether a line was taken whose row is not complete."""

    def rows(self, lines: Iterator[str]) -> Iterator[Row]:
        """The rows of these lines. Lines end as in the file."""
        reader = csv.reader(lines, delimiter=self.separator)
        while True:
            try:
                fields = next(reader, None)
            except csv.Error:
                self.open = False
                self.number += 1
                yield Row(max(self.number, 1), (), UNREADABLE)
                continue
            self.open = False
            if fields is None:
                return
            if not fields:
                continue  # a blank line
            self.number += 1
            if self.number > 0:
                yield Row(self.number, fields)


class CsvBlocks:
    """The rows of a file from where it stands, as pieces in their order: Columns, or lists of rows."""

    def __init__(self, file: BinaryIO, encoding: str, separator: str, columns: int, has_names: bool) -> None:
        self._file = file
        self._encoding = encoding
        self._columns = columns
        self._csv = CsvRows(separator, has_names)
        self._kept = b""
        self._stream: io.TextIOWrapper | None = None
        """The rest of a file that has no blocks."""
        field = rb'"[^"\r\n]*"'
        border = re.escape(separator.encode())
        self._quoted = re.compile(rb"(?:(?<=[\n" + border + rb"])|\A)" + field + rb"(?=[\r\n" + border + rb"]|\Z)")

    def pieces(self) -> Iterator[Columns | list[Row]]:
        """Every row once."""
        at_start = True
        while block := self._block():
            if at_start and self._encoding == "utf-8-sig":
                block = block.removeprefix(codecs.BOM_UTF8)
            # The row of names is read with care.
            columns = None if at_start else self._as_columns(block)
            at_start = False
            if columns is not None:
                yield columns
            else:
                yield from listed(self._csv.rows(self._lines(block)))
        if self._stream is not None:
            yield from listed(self._csv.rows(iter(self._stream)))

    def close(self) -> None:
        """Let the file go, which stays its opener's to close."""
        if self._stream is not None:
            self._stream.detach()
            self._stream = None

    def _block(self) -> bytes:
        """The next bytes up to the end of a line; nothing at the end, or when the rest is to be streamed."""
        if self._stream is not None:
            return b""
        data, self._kept = self._kept + self._file.read(BLOCK_BYTES), b""
        while (end := data.rfind(b"\n") + 1) == 0:
            if len(data) > LINE_BYTES_MAX:
                self._file.seek(-len(data), io.SEEK_CUR)
                mark = self._encoding == "utf-8-sig" and self._file.tell() > 0
                self._stream = io.TextIOWrapper(
                    self._file, encoding="utf-8" if mark else self._encoding, errors="surrogateescape", newline=""
                )
                return b""
            more = self._file.read(BLOCK_BYTES)
            if not more:
                return data
            data += more
        self._kept = data[end:]
        return data[:end]

    def _lines(self, block: bytes) -> Iterator[str]:
        while block:
            text = block.decode("cp932" if self._encoding == "cp932" else "utf-8", "surrogateescape")
            for line in io.StringIO(text, newline=""):
                self._csv.open = True
                yield line
            block = self._block() if self._csv.open else b""
        while self._csv.open and self._stream is not None:
            line = self._stream.readline()
            if not line:
                return
            yield line

    def _as_columns(self, block: bytes) -> Columns | None:
        """A block as Arrow columns; None when it is to be read with care."""
        if (
            self._columns < 2
            or b"\0" in block
            or block.startswith(codecs.BOM_UTF8)
            or not block.endswith(b"\n")
            or block.count(b"\r") != block.count(b"\r\n")
        ):
            return None
        quotes = block.count(b'"')
        if quotes and quotes != 2 * len(self._quoted.findall(block)):
            return None
        try:
            text = block.decode("cp932" if self._encoding == "cp932" else "utf-8")
        except UnicodeDecodeError:
            return None
        found = self._parsed(text.encode() if self._encoding == "cp932" else block)
        if found is None:
            return None
        columns = [column.combine_chunks() for column in found.columns]
        if found.num_rows == 0 or any(longest(column) > csv.field_size_limit() for column in columns):
            return None
        first = self._csv.number + 1
        self._csv.number += found.num_rows
        return Columns(first, columns)

    def _parsed(self, data: bytes) -> Any:
        """Arrow's table of strings; None when a row has more or fewer columns than the file."""
        pa, arrow_csv = optional("pyarrow"), optional("pyarrow.csv")
        names = [str(place) for place in range(self._columns)]
        try:
            return arrow_csv.read_csv(
                pa.BufferReader(data),
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
                parse_options=arrow_csv.ParseOptions(delimiter=self._csv.separator, quote_char='"', double_quote=True),
                convert_options=arrow_csv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[],
                    strings_can_be_null=False,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None


def longest(column: Any) -> int:
    """Bytes of the longest text."""
    compute = optional("pyarrow.compute")
    return int(compute.max(compute.binary_length(column)).as_py() or 0)


def listed(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows in lists of at most ROWS_LISTED."""
    found: list[Row] = []
    for row in rows:
        found.append(row)
        if len(found) == ROWS_LISTED:
            yield found
            found = []
    if found:
        yield found
