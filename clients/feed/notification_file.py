"""Files of notifications: CSV, JSON lines and Parquet, read in bounded memory, with what is wrong told line by line."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from jukinet.clients.columns import optional
from jukinet.clients.errors import UsageError
from jukinet.clients.feed.notification_fields import (
    COLUMNS,
    PASSED_OVER,
    REQUIRED,
    LineFault,
    fault_of_line,
    read_fields,
)
from jukinet.core.notifications import Notification, NotificationBatch, faults_of
from jukinet.core.vocabulary import State

ENCODINGS: Final = ("utf-8", "cp932")
FORMATS: Final = ("csv", "jsonl", "parquet")
SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
LINE_BYTES_MAX: Final = 1_048_576
ROWS_PER_STEP: Final = 4_096
"""Rows whose values are checked together, natively."""
HASHED_BYTES: Final = 1_048_576

Line = tuple[int, Notification] | LineFault


class NotificationFile(ABC):
    """One file, read once from beginning to end. `digest` is that of all its bytes, when it has been read."""

    name: str
    rows: int | None = None
    """How many, where it is known beforehand."""

    def lines(self, prefecture: int, today: date) -> Iterator[Line]:
        """Each line in order, as a notification that may be sent or as a fault.

        UsageError when the file as a whole cannot be read: no such column, no CSV, no Parquet.
        """
        read = (
            fields if isinstance(fields, LineFault) else (line, read_fields(line, fields))
            for line, fields in self._records()
        )
        while step := list(itertools.islice(read, ROWS_PER_STEP)):
            yield from _judged(step, prefecture, today)

    @abstractmethod
    def _records(self) -> Iterator[tuple[int, dict[str, Any] | LineFault]]:
        """Each line's number and its fields by column."""

    @abstractmethod
    def digest(self) -> bytes:
        """32 bytes that are the file's own."""

    def fraction(self) -> float | None:
        """How much has been read, 0 to 1; None when nobody knows."""
        return None

    def close(self) -> None:  # noqa: B027 - a file in memory has nothing to close
        """Let go of the file."""


def _judged(step: list[Any], prefecture: int, today: date) -> Iterator[Line]:
    """The lines with those turned to faults that the rules for a single notification forbid."""
    whole = [each[1] for each in step if not isinstance(each, LineFault) and isinstance(each[1], Notification)]
    faults = iter(faults_of(NotificationBatch.from_notifications(whole), prefecture, today))
    for each in step:
        if isinstance(each, LineFault):
            yield each
        elif isinstance(each[1], LineFault):
            yield each[1]
        else:
            fault = next(faults)
            yield fault_of_line(each[0], fault) if fault else each


class HashedFile(io.RawIOBase):
    """A binary file that hashes what is read through it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.hash = hashlib.blake2b(digest_size=32)
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        count = self.file.readinto(view)  # type: ignore[attr-defined]
        self.hash.update(view[:count])
        self.count += count
        return int(count)

    def close(self) -> None:
        if self.file is not sys.stdin.buffer:
            self.file.close()
        super().close()


class TextFile(NotificationFile):
    """What CSV and JSON lines share: numbered lines of bytes, and which columns there may be."""

    columns: tuple[str, ...] = COLUMNS
    required: tuple[str, ...] = REQUIRED

    def __init__(self, name: str, file: BinaryIO, size_bytes: int | None) -> None:
        self.name = name
        self._hashed = HashedFile(file)
        self._file = io.BufferedReader(self._hashed, HASHED_BYTES)
        self._bytes = size_bytes

    def fraction(self) -> float | None:
        return min(1.0, self._hashed.count / self._bytes) if self._bytes else None

    def digest(self) -> bytes:
        while self._file.read(HASHED_BYTES):
            pass
        return self._hashed.hash.digest()

    def close(self) -> None:
        self._file.close()

    def _lines(self) -> Iterator[bytes]:
        first = True
        number = 0
        while line := self._file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                raise UsageError(f"line {number} is longer than {LINE_BYTES_MAX} bytes: no file of notifications")
            yield line.removeprefix(b"\xef\xbb\xbf") if first else line
            first = False


class CsvFile(TextFile):
    """CSV (RFC 4180) whose first row names the columns."""

    def __init__(self, name: str, file: BinaryIO, size_bytes: int | None, encoding: str) -> None:
        super().__init__(name, file, size_bytes)
        self._encoding = encoding

    def _records(self) -> Iterator[tuple[int, dict[str, Any] | LineFault]]:
        # Bytes that are no text become lone surrogates, which `read_fields` finds in their column. A line feed is
        # never part of a character, in either encoding.
        rows = csv.reader((line.decode(self._encoding, "surrogateescape") for line in self._lines()), strict=True)
        header = [name.strip() for name in _next_row(rows, 1) or []]
        check_columns(header, self.columns, self.required)
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error:
                yield line, LineFault(line, "", "not CSV: is a quotation mark missing or one too many?")
                continue
            if row is None:
                return
            if not row:
                continue
            if len(row) != len(header):
                yield line, LineFault(line, "", f"has {len(row)} fields, the first row names {len(header)}")
                continue
            yield line, dict(zip(header, row, strict=True))


def _next_row(rows: Any, line: int) -> list[str] | None:
    try:
        found: list[str] | None = next(rows, None)
    except csv.Error:
        raise UsageError(f"line {line} is not CSV") from None
    return found


class JsonLinesFile(TextFile):
    """JSON lines, UTF-8: one object a line, with the columns as keys."""

    def _records(self) -> Iterator[tuple[int, dict[str, Any] | LineFault]]:
        decode = msgspec.json.Decoder(dict[str, str | int | None]).decode
        known = {*self.columns, *PASSED_OVER}
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            try:
                fields = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                yield number, LineFault(number, "", "write one JSON object of texts and whole numbers, in UTF-8")
                continue
            unknown = fields.keys() - known
            if unknown:
                yield number, LineFault(number, "", f"has a key that is no column; there are {', '.join(self.columns)}")
                continue
            yield number, fields


class ParquetFile(NotificationFile):
    """Parquet; a line is a row, counted from 1. Needs the extra ``jukinet[files]``."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._read = 0
        parquet = optional("pyarrow.parquet")
        try:
            self._file = parquet.ParquetFile(path, memory_map=True)
        except FileNotFoundError:
            raise
        except (OSError, ValueError):
            raise UsageError(f"{path}: not a Parquet file") from None
        self.rows = self._file.metadata.num_rows
        self._names = self._file.schema_arrow.names
        check_columns(self._names)

    def _records(self) -> Iterator[tuple[int, dict[str, Any] | LineFault]]:
        number = 0
        for batch in self._file.iter_batches(ROWS_PER_STEP):
            for row in batch.to_pylist():
                number += 1
                yield number, row
            self._read = number

    def fraction(self) -> float | None:
        return self._read / self.rows if self.rows else None

    def digest(self) -> bytes:
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest()

    def close(self) -> None:
        self._file.close()


def check_columns(
    names: Iterable[str], columns: tuple[str, ...] = COLUMNS, required: tuple[str, ...] = REQUIRED
) -> None:
    """UsageError when a file's columns are not those of notifications, or those given."""
    listed = list(names)
    absent = [column for column in required if column not in listed]
    if absent:
        raise UsageError(f"the file has no column {', '.join(absent)}; its columns are to be {', '.join(columns)}")
    strange = [name for name in listed if name not in columns and name not in PASSED_OVER]
    if strange:
        # Not repeated: where the first row is missing, it would be somebody's data.
        raise UsageError(
            f"{len(strange)} columns of the file are not known; take them out or name them as in {', '.join(columns)}"
        )
    if len(set(listed)) != len(listed):
        raise UsageError("the file names a column twice")


def open_file(path: str, kind: str | None = None, encoding: str = "utf-8") -> NotificationFile:
    """Open FILE, or standard input for ``-``; the kind by its name unless given. UsageError, OSError."""
    kind = kind or SUFFIXES.get(Path(path).suffix.lower())
    if kind is None:
        raise UsageError(f"say what the input is: --input-format {', '.join(FORMATS)}")
    if encoding != "utf-8" and kind != "csv":
        raise UsageError(f"--encoding {encoding} is for CSV; {kind} has one encoding")
    if kind == "parquet":
        if path == "-":
            raise UsageError("Parquet cannot be read from standard input; name the file")
        return ParquetFile(Path(path))
    file: BinaryIO = sys.stdin.buffer if path == "-" else Path(path).open("rb", buffering=0)  # noqa: SIM115
    name = "stdin" if path == "-" else Path(path).name
    size = None if path == "-" else Path(path).stat().st_size
    return CsvFile(name, file, size, encoding) if kind == "csv" else JsonLinesFile(name, file, size)


def write_csv(file: io.TextIOBase, notifications: Iterable[Notification]) -> int:
    """Write notifications as `open_file` reads them; how many. ``file`` must have been opened with newline=''."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    count = 0
    for each in notifications:
        writer.writerow(text_of(each).values())
        count += 1
    return count


def text_of(notification: Notification) -> dict[str, str]:
    """The columns of one notification as texts."""
    texts = {column: str(getattr(notification, column, "")) for column in COLUMNS}
    texts["code"] = f"{notification.code:011}"
    other = f"{notification.code_before:011}" if notification.code_before else ""
    is_retired = notification.state == State.RETIRED
    texts["code_before"], texts["code_after"] = ("", other) if is_retired else (other, "")
    texts["area"] = f"{notification.area:05}"
    return texts
