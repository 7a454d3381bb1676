"""Where a query command's codes (and claims) come from: arguments, text, CSV or Parquet, read batch by batch.

Rows keep their places: text that is no code becomes MALFORMED_CODE and its row answers MALFORMED. Only what cannot be
read at all (encoding, missing column, a claim that is no date) stops the reading, naming the row and never its content.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from jukinet.clients.columns import optional
from jukinet.clients.errors import UsageError
from jukinet.clients.partial_date import decimal_from_date
from jukinet.clients.requests import Claims
from jukinet.core.codes import parse_codes, parse_lines
from jukinet.core.vocabulary import CODE_END, MALFORMED_CODE, Sex

ENCODINGS: Final = ("utf-8", "utf-8-sig", "cp932")
LINE_CHARACTERS_MAX: Final = 1_048_576
TEXT_READ_BYTES: Final = 1_048_576
COLUMNS_MAX: Final = 4_096
CLAIMS: Final = ("name", "birth_date", "sex", "address")
SEX_WORDS: Final = {"": 0, "男": 1, "女": 2, "m": 1, "f": 2, "male": 1, "female": 2}


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """How to read a file: which column holds what, by name (a header row is there) or by number from 1."""

    kind: str
    """text, csv or parquet."""
    encoding: str = "utf-8"
    column: str = "code"
    claim_columns: dict[str, str] = field(default_factory=dict)
    """Claim (name, birth_date, sex, address) to column."""
    header: bool | None = None
    """Whether a CSV file's first row names its columns; None: not said, allowed when columns are named."""


class CodeSource(ABC):
    """Gives batches of codes with their claims, once."""

    rows: int | None = None
    """Rows in all, where it is known beforehand."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[Claims]:
        """Batches of ``size`` rows, the last one shorter. UsageError when the input cannot be read."""

    def fraction(self) -> float | None:
        """How much of the input has been read, 0 to 1; None when nobody knows."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of the file."""


class ArgumentSource(CodeSource):
    """Codes from the command line, the same claims for each."""

    def __init__(self, codes: Sequence[str], claims: dict[str, str]) -> None:
        self._codes = codes
        self._claims = claims
        self.rows = len(codes)

    def batches(self, size: int) -> Iterator[Claims]:
        for start in range(0, len(self._codes), size):
            texts = self._codes[start : start + size]
            columns = {name: [text] * len(texts) for name, text in self._claims.items()}
            yield claims_of(memoryview(parse_codes(texts)), columns, start + 1)


class TextSource(CodeSource):
    """One code a line; blank lines are left out. Lines of ASCII are read natively: 40 M codes take a second or two."""

    def __init__(self, file: BinaryIO, size_bytes: int | None, encoding: str) -> None:
        self._file = file
        self._bytes = size_bytes
        self._encoding = encoding

    def fraction(self) -> float | None:
        return min(1.0, self._file.tell() / self._bytes) if self._bytes else None

    def close(self) -> None:
        self._file.close()

    def batches(self, size: int) -> Iterator[Claims]:
        waiting = array("Q")
        for codes in self._parts():
            waiting += codes
            start = 0
            while len(waiting) - start >= size:
                yield Claims(memoryview(waiting[start : start + size]))
                start += size
            if start:
                waiting = waiting[start:]
        if waiting:
            yield Claims(memoryview(waiting))

    def _parts(self) -> Iterator[array[int]]:
        """Codes of whole lines, part by part of the file."""
        mark = codecs.BOM_UTF8 if self._encoding == "utf-8-sig" else b""
        left = self._file.read(len(mark)).removeprefix(mark) if mark else b""
        encoding = "utf-8" if mark else self._encoding
        lines = 0
        while True:
            read = self._file.read(TEXT_READ_BYTES)
            data = left + read
            codes, odd, count, used = parse_lines(data, is_last=not read)
            blank = []
            for row, line, start, stop in odd:
                text = _decoded(data[start:stop], encoding, lines + line).strip()
                codes[row] = parse_codes((text,))[0]
                if not text:
                    blank.append(row)
            for row in reversed(blank):
                del codes[row]
            lines += count
            left = data[used:]
            if len(left) > LINE_CHARACTERS_MAX:
                raise UsageError(f"line {lines + 1} is longer than {LINE_CHARACTERS_MAX} characters: no text file")
            yield codes
            if not read:
                return


def _decoded(line: bytes, encoding: str, lines_before: int) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(error, lines_before) from None


def _wrong_encoding(error: UnicodeDecodeError, lines_before: int) -> UsageError:
    where = f"after line {lines_before}" if lines_before else "near its beginning"
    return UsageError(f"the input is not {error.encoding} {where}; give --encoding ({', '.join(ENCODINGS)})")


class CsvSource(CodeSource):
    """Columns of a CSV file. A row that is too short has an empty text there, so its code is malformed."""

    def __init__(self, file: BinaryIO, size_bytes: int | None, layout: SourceFormat) -> None:
        self._file = file
        self._bytes = size_bytes
        self._text: TextIO = io.TextIOWrapper(file, encoding=layout.encoding, newline="")
        self._layout = layout

    def fraction(self) -> float | None:
        if not self._bytes:
            return None
        return min(1.0, self._file.tell() / self._bytes)

    def close(self) -> None:
        self._text.close()

    def lines(self) -> Iterator[str]:
        number = 0
        try:
            while line := self._text.readline(LINE_CHARACTERS_MAX + 1):
                number += 1
                if len(line) > LINE_CHARACTERS_MAX:
                    raise UsageError(f"line {number} is longer than {LINE_CHARACTERS_MAX} characters: no text file")
                yield line
        except UnicodeDecodeError as error:
            raise _wrong_encoding(error, number) from None

    def batches(self, size: int) -> Iterator[Claims]:
        rows = csv.reader(self.lines(), strict=True)
        try:
            header = next(rows, []) if self._has_header() else None
            place = self._place(self._layout.column, header)
            claims = {name: self._place(column, header) for name, column in self._layout.claim_columns.items()}
            first = 1 if header is None else 2
            filled = filter(None, rows)
            while listed := list(itertools.islice(filled, size)):
                codes = memoryview(parse_codes(_column(listed, place)))
                yield claims_of(codes, {name: _column(listed, where) for name, where in claims.items()}, first)
                first += len(listed)
        except csv.Error as error:
            raise UsageError(f"the input is not CSV at line {rows.line_num}: {error}") from None

    def _has_header(self) -> bool:
        wanted = [self._layout.column, *self._layout.claim_columns.values()]
        named = not all(column.isdecimal() for column in wanted)
        if self._layout.header is None:
            if not named:
                raise UsageError("columns are given by number: say --header or --no-header, so that no row is lost")
            return True
        if named and not self._layout.header:
            raise UsageError("with --no-header give columns by number, from 1 (--column 1)")
        return self._layout.header

    def _place(self, column: str, header: list[str] | None) -> int:
        if column.isdecimal():
            if not 1 <= int(column) <= COLUMNS_MAX:
                raise UsageError(f"columns are numbered from 1 to {COLUMNS_MAX}")
            return int(column) - 1
        names = [name.strip() for name in header or []]
        if names and names[0].startswith("\ufeff"):
            raise UsageError("the input begins with a byte order mark; give --encoding utf-8-sig")
        if names.count(column) != 1:
            how = "more than one column" if column in names else "no column"
            shown = ", ".join(names[:20]) or "none"
            raise UsageError(f"{how} named {column!r} in the input; the header has: {shown}")
        return names.index(column)


class ParquetSource(CodeSource):
    """Columns of a Parquet file: codes as text or whole numbers. Needs the extra ``jukinet[files]``."""

    def __init__(self, path: str, layout: SourceFormat) -> None:
        parquet = optional("pyarrow.parquet")
        try:
            self._file = parquet.ParquetFile(path, memory_map=True)
        except FileNotFoundError:
            raise
        except (OSError, ValueError):
            raise UsageError(f"{path}: not a Parquet file") from None
        self.rows = self._file.metadata.num_rows
        names = self._file.schema_arrow.names
        wanted = {"code": layout.column, **layout.claim_columns}
        self._names: dict[str, str] = {}
        for part, column in wanted.items():
            place = int(column) - 1 if column.isdecimal() and column not in names else -1
            if column not in names and not 0 <= place < len(names):
                raise UsageError(f"{path}: no column {column!r}; it has: {', '.join(names[:20])}")
            self._names[part] = column if column in names else names[place]

    def batches(self, size: int) -> Iterator[Claims]:
        first = 1
        for batch in self._file.iter_batches(size, columns=list(dict.fromkeys(self._names.values()))):
            columns = {
                part: [_claim_text(value) for value in batch.column(name).to_pylist()]
                for part, name in self._names.items()
                if part != "code"
            }
            yield claims_of(_parquet_codes(batch.column(self._names["code"])), columns, first)
            first += batch.num_rows

    def close(self) -> None:
        self._file.close()


def open_source(path: str, layout: SourceFormat) -> CodeSource:
    """A source over a file, or over standard input for ``-``. UsageError or OSError when it cannot be opened."""
    if layout.kind == "parquet":
        if path == "-":
            raise UsageError("Parquet cannot be read from standard input; give --input FILE")
        return ParquetSource(path, layout)
    file: BinaryIO = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115 - the source closes it
    size = Path(path).stat().st_size if path != "-" else None
    if layout.kind == "csv":
        return CsvSource(file, size, layout)
    return TextSource(file, size, layout.encoding)


def claims_of(codes: memoryview[int], columns: dict[str, list[str]], first_row: int) -> Claims:
    """Claims with their texts turned into dates and sexes; UsageError names the row of one that is none."""
    dates = columns.get("birth_date")
    sexes = columns.get("sex")
    return Claims(
        codes,
        columns.get("name"),
        None if dates is None else _each(dates, decimal_from_date, "birth date", first_row),
        None if sexes is None else _each(sexes, _sex, "sex", first_row),
        columns.get("address"),
    )


def sliced(claims: Claims, start: int) -> Claims:
    """The rows from ``start`` on."""
    parts: list[Any] = [claims.codes, claims.names, claims.birth_dates, claims.sexes, claims.addresses]
    codes, *rest = (None if part is None else part[start:] for part in parts)
    return Claims(codes or (), *rest)


def _each(texts: list[str], read: Any, what: str, first_row: int) -> list[int]:
    row = first_row
    values = []
    try:
        for text in texts:
            values.append(read(text))
            row += 1
    except ValueError:
        hint = "1965-02-20, 1965-02, 1965 or 19650220" if what == "birth date" else "0, 1, 2, 9, 男 or 女"
        raise UsageError(f"row {row} of the input: the {what} cannot be read; write {hint}, or nothing") from None
    return values


def _sex(text: str) -> int:
    word = text.strip().lower()
    found = SEX_WORDS.get(word)
    return int(Sex(int(word))) if found is None else found


def _column(rows: list[list[str]], place: int) -> list[str]:
    return [row[place].strip() if place < len(row) else "" for row in rows]


def _claim_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)


def _parquet_codes(column: Any) -> memoryview[int]:
    pa, np = optional("pyarrow"), optional("numpy")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type):
        numbers = column.cast(pa.uint64(), safe=False).fill_null(MALFORMED_CODE).to_numpy(zero_copy_only=False)
        return memoryview(np.where(numbers < CODE_END, numbers, np.uint64(MALFORMED_CODE)))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return memoryview(parse_codes(text and text.strip() for text in column.to_pylist()))
    raise UsageError(f"the column of codes holds {column.type}; texts or whole numbers are needed")
