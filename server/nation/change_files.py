"""Files of notifications for `jukinet feed send`: one for each prefecture, or one a day; JSON lines, CSV, Parquet."""

from __future__ import annotations

import csv
import datetime
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import msgspec

from jukinet.core.errors import ConfigurationError, StoreError
from jukinet.core.notifications import Notification
from jukinet.core.vocabulary import Prefecture
from jukinet.server.nation.change_faults import PlacedNotification

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Final = (
    "sequence", "reason", "state", "code", "code_before", "area", "event_date", "update_number", "birth_date", "sex",
    "name", "kana", "alias", "address",
)  # fmt: skip
FORMATS: Final = ("jsonl", "csv", "parquet")
ROWS_PER_GROUP: Final = 50_000
"""Rows that a Parquet file's writer holds until it writes them."""
FAULTS_FILE: Final = "faults.json"
FAULTS_MAX: Final = 10_000_000

Row = dict[str, Any]


def row_of(notification: Notification, sequence: int | None) -> Row:
    """A row as all formats hold it: codes as 11 digits, dates as decimal numbers, no key for what is not asked for."""
    row: Row = {} if sequence is None else {"sequence": sequence}
    row["reason"] = int(notification.reason)
    row["state"] = notification.state
    row["code"] = f"{notification.code:011d}"
    row["code_before"] = f"{notification.code_before:011d}" if notification.code_before else ""
    row["area"] = notification.area
    row["event_date"] = notification.event_date
    row["update_number"] = notification.update_number
    row["birth_date"] = notification.birth_date
    row["sex"] = notification.sex
    row["name"] = notification.name
    row["kana"] = notification.kana
    row["alias"] = notification.alias
    row["address"] = notification.address
    return row


class RowWriter(Protocol):
    """One open file of notifications."""

    def write(self, rows: list[Row]) -> None: ...

    def close(self) -> None: ...


class JsonLinesWriter:
    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        del columns
        self._file = path.open("xb")
        self._encoder = msgspec.json.Encoder()

    def write(self, rows: list[Row]) -> None:
        self._file.write(self._encoder.encode_lines(rows))

    def close(self) -> None:
        self._file.close()


class CsvWriter:
    """CSV in UTF-8 without a byte order mark, lines ended as RFC 4180 says."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._file = path.open("x", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, columns)
        self._writer.writeheader()

    def write(self, rows: list[Row]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._file.close()


class ParquetWriter:
    """Row groups of ROWS_PER_GROUP; a file without rows has its columns too."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 - optional package

        self._schema = parquet_schema(columns)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def write(self, rows: list[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


def parquet_schema(columns: tuple[str, ...]) -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415

    types = {"sequence": pa.uint64(), "reason": pa.uint8(), "state": pa.uint8(), "sex": pa.uint8()}
    texts = {"code", "code_before", "name", "kana", "alias", "address"}
    return pa.schema([(name, types.get(name, pa.string() if name in texts else pa.uint32())) for name in columns])


WRITERS: Final[dict[str, Callable[[Path, tuple[str, ...]], RowWriter]]] = {
    "jsonl": JsonLinesWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
}


class ChangeFiles:
    """The files of one run in ``directory``: `tokyo.jsonl`, or with ``daily`` `tokyo/2026-10-02.jsonl`.

    They are made in `DIRECTORY.building`, which takes the name when everything is written. Raises StoreError when the
    directory is taken or a file cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        prefectures: Iterable[Prefecture],
        *,
        file_format: str = "jsonl",
        daily: bool = False,
        with_sequence: bool = False,
    ) -> None:
        if file_format not in WRITERS:
            raise ConfigurationError(f"{file_format}: no such format; there are {', '.join(FORMATS)}")
        self.directory = directory
        self.rows: dict[int, int] = dict.fromkeys(sorted(set(prefectures)), 0)
        self._building = directory.with_name(directory.name + ".building")
        self._format = file_format
        self._daily = daily
        self._with_sequence = with_sequence
        self._columns = COLUMNS if with_sequence else COLUMNS[1:]
        self._open: dict[int, RowWriter] = {}
        self._faults: list[dict[str, object]] = []

    def __enter__(self) -> Self:
        directory, building = self.directory, self._building
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoreError(f"{directory}: exists and is not an empty directory; name another")
        try:
            if building.exists():
                shutil.rmtree(building)  # what a run that was killed left
            building.mkdir(parents=True)
            if not self._daily:
                for prefecture in self.rows:
                    self._open[prefecture] = self._writer(Path(f"{Prefecture(prefecture).body}.{self._format}"))
        except OSError as error:
            raise StoreError(f"{building}: cannot be made: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._close()
            if kind is None:
                (self._building / FAULTS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self._faults)))
                if self.directory.exists():
                    self.directory.rmdir()
                self._building.rename(self.directory)
        except OSError as fault:
            raise StoreError(f"{self._building}: cannot be written: {fault.strerror}") from fault
        finally:
            if self._building.exists():
                shutil.rmtree(self._building)

    def _writer(self, path: Path) -> RowWriter:
        return WRITERS[self._format](self._building / path, self._columns)

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def write(self, day: datetime.date, placed: Iterable[PlacedNotification]) -> None:
        """Append one day's notifications of the chosen prefectures, in their order."""
        rows: dict[int, list[Row]] = {prefecture: [] for prefecture in self.rows}
        for entry in placed:
            own = rows.get(entry.prefecture)
            if own is None:
                continue
            self.rows[entry.prefecture] += 1
            own.append(row_of(entry.notification, self.rows[entry.prefecture] if self._with_sequence else None))
            if entry.fault is not None:
                self._note_fault(entry, day, len(own))
        try:
            for prefecture, own in rows.items():
                if own:
                    self._write_rows(Prefecture(prefecture), day, own)
        except OSError as error:
            raise StoreError(f"{self._building}: cannot be written: {error.strerror}") from error

    def _write_rows(self, prefecture: Prefecture, day: datetime.date, rows: list[Row]) -> None:
        if not self._daily:
            self._open[prefecture].write(rows)
            return
        (self._building / prefecture.body).mkdir(exist_ok=True)
        writer = self._writer(Path(prefecture.body) / f"{day}.{self._format}")
        writer.write(rows)
        writer.close()

    def _note_fault(self, entry: PlacedNotification, day: datetime.date, row_of_day: int) -> None:
        """Where a faulty row stands, without a word of whom it names. Rows count from 1."""
        assert entry.fault is not None
        if len(self._faults) >= FAULTS_MAX:
            raise ConfigurationError(f"more than {FAULTS_MAX:,} faults; choose a lower rate")
        row = row_of_day if self._daily else self.rows[entry.prefecture]
        self._faults.append(
            {
                "prefecture": Prefecture(entry.prefecture).body,
                "day": day.isoformat(),
                "row": row,
                "sequence": self.rows[entry.prefecture],
                "fault": entry.fault.name,
            }
        )

    @property
    def faults(self) -> int:
        return len(self._faults)
