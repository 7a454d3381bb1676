"""Records from a file as people have it: CSV in the encodings that occur, or Parquet, row by row, none of them lost.

What is not said is found out from the beginning of the file: encoding, separator, whether a row of column names comes
first. A byte that the encoding does not have is kept as a lone surrogate (PEP 383), so that the row it stands in can be
told apart and the others go on.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from jukinet.clients.columns import optional
from jukinet.clients.errors import UsageError
from jukinet.clients.matching.column_names import looks_like_names
from jukinet.clients.matching.csv_blocks import ENCODINGS as ENCODINGS_OF_BLOCKS
from jukinet.clients.matching.csv_blocks import Columns, CsvBlocks, CsvRows, Row, listed

SAMPLE_BYTES: Final = 1 << 18
FIELD_CHARACTERS_MAX: Final = 131_072
"""What the CSV reader takes by itself; a longer field makes its row unreadable."""
COLUMNS_MAX: Final = 4_096
SEPARATORS: Final = {",": "comma", "\t": "tab", ";": "semicolon"}
ENCODING_NAMES: Final = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with a byte order mark",
    "cp932": "Shift_JIS as Windows writes it (CP932)",
    "utf-16": "UTF-16",
}
ENCODINGS: Final = tuple(ENCODING_NAMES)
OTHER_NAMES: Final = {
    **dict.fromkeys(("shift_jis", "shiftjis", "sjis", "ms932", "windows_31j", "932"), "cp932"),
    **dict.fromkeys(("utf8", "utf_8"), "utf-8"),
    **dict.fromkeys(("utf_8_sig", "utf8_sig", "utf_8_bom"), "utf-8-sig"),
    **dict.fromkeys(("utf16", "utf_16"), "utf-16"),
}
"""What people call the encodings, in lower case and with low lines."""
ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""The surrogates that stand for bytes which could not be decoded."""
ESCAPE_WIDE: Final = "jukinet-escape-wide"
"""The error handler of UTF-16, for which surrogateescape is not made."""


class RecordFile(ABC):
    """A file of records, read once. ``names`` are its columns' names, or '1', '2', ... where it has none."""

    kind: str
    encoding: str = ""
    separator: str = ""
    has_names: bool = True
    names: list[str]
    rows_in_all: int | None = None

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Every record in order."""

    def pieces(self) -> Iterator[Columns | list[Row]]:
        """The same records, in columns where they can be had so. Of rows() and pieces() one is called, once."""
        return listed(self.rows())

    def fraction(self) -> float | None:
        """How much has been read, 0 to 1; None when nobody knows."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of the file."""


def undecodable(text: str) -> bool:
    """Whether some of the text's bytes did not belong to the file's encoding."""
    return ESCAPED.search(text) is not None


def _escape_wide(error: UnicodeError) -> tuple[str, int]:
    """One surrogate for each part that could not be decoded."""
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    raise error


codecs.register_error(ESCAPE_WIDE, _escape_wide)


def encoding_name(text: str) -> str:
    """An encoding's name in ENCODINGS, from one that people use; another text as it is."""
    return OTHER_NAMES.get(text.strip().lower().replace("-", "_"), text)


def found_encoding(sample: bytes) -> str:
    """The encoding of a file that begins so: by its mark, else UTF-8 or CP932, whichever leaves fewer bytes over."""
    if sample.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    faults = {}
    for encoding in ("utf-8", "cp932"):
        faults[encoding] = len(ESCAPED.findall(sample.decode(encoding, "surrogateescape")))
    return "cp932" if faults["cp932"] < faults["utf-8"] else "utf-8"


def found_separator(lines: Sequence[str]) -> str:
    """The separator that occurs in every one of the first lines, the most frequent of such; a comma when none does."""
    counted = {
        separator: min((line.count(separator) for line in lines if line.strip()), default=0) for separator in SEPARATORS
    }
    best = max(counted, key=lambda separator: counted[separator])
    return best if counted[best] else ","


class CsvFile(RecordFile):
    """CSV: any encoding of ENCODINGS, comma, tab or semicolon, quoted as RFC 4180 says."""

    kind = "CSV"

    def __init__(self, path: Path, encoding: str | None, separator: str | None, header: bool | None) -> None:
        self._file: BinaryIO = path.open("rb")
        self._blocks: CsvBlocks | None = None
        try:
            self._bytes = path.stat().st_size
            self._look(path, encoding, separator, header)
        except BaseException:
            self._file.close()
            raise

    def _look(self, path: Path, encoding: str | None, separator: str | None, header: bool | None) -> None:
        """Find out from the file's beginning what was not said."""
        sample = self._file.read(SAMPLE_BYTES)
        if len(sample) == SAMPLE_BYTES:
            sample = sample[: sample.rfind(b"\n") + 1 or SAMPLE_BYTES]
        if b"\0" in sample and not sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError(f"{path}: holds zero bytes; this is no CSV file")
        self.encoding = encoding or found_encoding(sample)
        if self.encoding == "utf-8" and sample.startswith(codecs.BOM_UTF8):
            self.encoding = "utf-8-sig"  # the mark is no part of the first name
        errors = "surrogateescape" if self.encoding != "utf-16" else ESCAPE_WIDE
        lines = sample.decode(self.encoding, errors).splitlines()[:20]
        self.separator = separator or found_separator(lines)
        first = next(iter(csv.reader(lines[:1], delimiter=self.separator)), [])
        if not first:
            raise UsageError(f"{path}: is empty, or its first line is")
        if len(first) > COLUMNS_MAX:
            raise UsageError(f"{path}: has more than {COLUMNS_MAX} columns; this is no CSV file of records")
        self.has_names = looks_like_names(first) if header is None else header
        self.names = [name.strip() for name in first] if self.has_names else [str(i + 1) for i in range(len(first))]
        self._file.seek(0)
        self._text = io.TextIOWrapper(self._file, encoding=self.encoding, errors=errors, newline="")

    def rows(self) -> Iterator[Row]:
        return CsvRows(self.separator, self.has_names).rows(iter(self._text))

    def pieces(self) -> Iterator[Columns | list[Row]]:
        if self.encoding not in ENCODINGS_OF_BLOCKS:
            return super().pieces()
        self._blocks = CsvBlocks(self._file, self.encoding, self.separator, len(self.names), self.has_names)
        return self._blocks.pieces()

    def fraction(self) -> float | None:
        return min(1.0, self._file.tell() / self._bytes) if self._bytes else None

    def close(self) -> None:
        if self._blocks is not None:
            self._blocks.close()
        self._text.close()


class ParquetFile(RecordFile):
    """Parquet: whatever type a column has, its values are read as text; nulls are empty."""

    kind = "Parquet"

    def __init__(self, path: Path) -> None:
        parquet = optional("pyarrow.parquet")
        pa = optional("pyarrow")
        try:
            self._file: Any = parquet.ParquetFile(str(path))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UsageError(f"{path}: is no Parquet file that can be read ({type(error).__name__})") from None
        self.names = list(self._file.schema_arrow.names)
        self.rows_in_all = self._file.metadata.num_rows
        self._read = 0

    def rows(self) -> Iterator[Row]:
        for piece in self.pieces():
            assert isinstance(piece, Columns)
            for place, fields in enumerate(zip(*(column.to_pylist() for column in piece.columns), strict=True)):
                self._read = piece.first + place
                yield Row(piece.first + place, fields)

    def pieces(self) -> Iterator[Columns | list[Row]]:
        pa, compute = optional("pyarrow"), optional("pyarrow.compute")
        first = 1
        for batch in self._file.iter_batches(batch_size=16_384):
            columns = []
            for column in batch.columns:
                text = column if pa.types.is_string(column.type) else column.cast(pa.string())
                columns.append(compute.fill_null(text, ""))
            self._read = first + batch.num_rows - 1
            yield Columns(first, columns)
            first += batch.num_rows

    def fraction(self) -> float | None:
        return self._read / self.rows_in_all if self.rows_in_all else None

    def close(self) -> None:
        self._file.close()


def open_records(
    path: Path, *, encoding: str | None = None, separator: str | None = None, header: bool | None = None
) -> RecordFile:
    """The file, by its name Parquet or CSV; None: found out. Raises UsageError and OSError."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return ParquetFile(path)
    return CsvFile(path, encoding, separator, header)
