"""Files of move-in notices (転入通知): those to leave are read, those taken are written, for their owner alone."""

from __future__ import annotations

import contextlib
import csv
import datetime
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from jukinet.clients.errors import UsageError
from jukinet.clients.feed.notification_fields import READERS, FieldError, LineFault
from jukinet.clients.feed.notification_file import SUFFIXES, CsvFile, JsonLinesFile
from jukinet.core.limits import NOTICE_ID_MAX
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire.feed_notices import leave_fault

COLUMNS: Final = (
    "notice_id", "from_area", "to_area", "code", "name", "kana", "birth_date", "sex", "address", "event_date",
)  # fmt: skip
REQUIRED: Final = ("notice_id", "from_area", "to_area", "code", "name", "event_date")
TAKEN_COLUMNS: Final = ("number", *COLUMNS, "left_at", "state")
NOTICES_PER_FILE_MAX: Final = 100_000
ID_DIGITS_MAX: Final = len(str(NOTICE_ID_MAX))


class NoticeCsv(CsvFile):
    """CSV with the columns of notices."""

    columns = COLUMNS
    required = REQUIRED


class NoticeJsonLines(JsonLinesFile):
    """JSON lines with the columns of notices."""

    columns = COLUMNS
    required = REQUIRED


def read_notices(path: str, prefecture: int, kind: str | None, encoding: str) -> Iterator[f.NoticeLeave | LineFault]:
    """Each line as the message to send, request_id 0, or what is wrong with it; two lines may not share a notice_id.

    UsageError when the file cannot be read as a whole, or has more than NOTICES_PER_FILE_MAX lines.
    """
    kind = kind or SUFFIXES.get(Path(path).suffix.lower())
    if kind not in ("csv", "jsonl"):
        raise UsageError("notices are read from CSV or JSON lines: name the file so, or give --input-format")
    if encoding != "utf-8" and kind != "csv":
        raise UsageError(f"--encoding {encoding} is for CSV; {kind} has one encoding")
    file: BinaryIO = sys.stdin.buffer if path == "-" else Path(path).open("rb", buffering=0)  # noqa: SIM115
    opened = NoticeCsv(path, file, None, encoding) if kind == "csv" else NoticeJsonLines(path, file, None)
    seen: set[int] = set()
    try:
        for count, (line, fields) in enumerate(opened._records(), 1):
            if count > NOTICES_PER_FILE_MAX:
                raise UsageError(f"a file holds at most {NOTICES_PER_FILE_MAX:,} notices: split it")
            read = fields if isinstance(fields, LineFault) else read_notice(line, fields, prefecture)
            if isinstance(read, f.NoticeLeave):
                if read.notice_id in seen:
                    read = LineFault(line, "notice_id", "an earlier line has the same one: give each notice its own")
                else:
                    seen.add(read.notice_id)
            yield read
    finally:
        opened.close()


def read_notice(line: int, fields: Mapping[str, Any], prefecture: int) -> f.NoticeLeave | LineFault:
    """The message of one line. A fault never repeats what stands there."""
    values: dict[str, Any] = {}
    for column in COLUMNS:
        try:
            values[column] = _read(column, _text(column, fields.get(column)))
        except FieldError as error:
            return LineFault(line, column, str(error))
    message = f.NoticeLeave(0, **values)
    fault = leave_fault(message, prefecture)
    return message if fault is None else LineFault(line, "", f"the rule is: {fault}")


def _text(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise FieldError("not in the encoding that was given: see --encoding")
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:011}" if column == "code" else str(value)
    raise FieldError("write a text or a whole number")


def _read(column: str, text: str) -> Any:
    if column == "notice_id":
        if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX):
            raise FieldError("write a whole number, each notice its own")
        return int(text)
    return READERS["area" if column.endswith("_area") else column](text)


class TakenFile:
    """A new CSV file of taken notices, mode 0600. What `add` was given is durable when it returns.

    Broken off, the file stays: whatever it lacks was not confirmed and comes again.
    """

    def __init__(self, path: str) -> None:
        target = Path(path)
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            raise UsageError(f"{path} exists; name another file") from None
        os.fchmod(descriptor, 0o600)
        self._path = target
        self._is_empty = True
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(TAKEN_COLUMNS)
        self._sync()
        directory = os.open(target.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def add(self, notices: Iterable[f.Notice]) -> None:
        """Write notices. OSError when the disk cannot take them: then they must not be confirmed."""
        self._is_empty = False
        self._writer.writerows(texts_of(notice) for notice in notices)
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> TakenFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After an error a file in which nothing stands is taken away, so that the same can be tried again."""
        with contextlib.suppress(OSError) if kind is not None else contextlib.nullcontext():
            self.close()
        if kind is not None and self._is_empty:
            self._path.unlink(missing_ok=True)


def texts_of(notice: f.Notice) -> list[str]:
    """One line of a file of taken notices."""
    texts = {column: str(getattr(notice, column)) for column in ("number", *COLUMNS)}
    texts["code"] = f"{notice.code:011}"
    for column in ("from_area", "to_area"):
        texts[column] = f"{getattr(notice, column):05}"
    left_at = datetime.datetime.fromtimestamp(notice.left_at, datetime.UTC)
    return [*texts.values(), left_at.strftime("%Y-%m-%dT%H:%M:%SZ"), notice.state.name.lower()]


def read_numbers(path: str) -> list[int]:
    """The numbers in a file that `take` wrote. UsageError when it is none."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if "number" not in (rows.fieldnames or ()):
                raise UsageError(f"{path} has no column number: it was not written by `take`")
            found = [row["number"] for row in itertools.islice(rows, NOTICES_PER_FILE_MAX + 1)]
    except (csv.Error, UnicodeDecodeError):
        raise UsageError(f"{path} is no CSV in UTF-8") from None
    if len(found) > NOTICES_PER_FILE_MAX or not all(n and n.isascii() and n.isdigit() for n in found):
        raise UsageError(f"{path} has a line without a number, or more than {NOTICES_PER_FILE_MAX:,} lines")
    return [int(number) for number in found]
