"""One run of `jukinet match`: rows in batches, answers beside them, and durable progress on the way."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from jukinet.clients.errors import UsageError
from jukinet.clients.matching.column_names import Mapping
from jukinet.clients.matching.csv_blocks import Columns, Row
from jukinet.clients.matching.record_columns import ColumnReader, Piece, joined, persons_of
from jukinet.clients.matching.record_file import RecordFile, undecodable
from jukinet.clients.matching.record_rows import Batch, Reader
from jukinet.clients.matching.result_file import ResultWriter
from jukinet.clients.persons import MatchAnswer, Persons
from jukinet.clients.query.job import Job, Progress
from jukinet.core.wire.columns import TextColumn

SAVE_SECONDS: Final = 1.0

Ask = Callable[[Iterator[Persons]], Iterable[MatchAnswer]]
"""Asks batch after batch, and gives the answers in their order."""


class RecordSource:
    """The rows of a file as batches of ``size`` rows, the last one shorter.

    ``digest`` of a batch is a CRC-32 over all that is asked up to it: a job that goes on can tell the same file.
    """

    def __init__(self, file: RecordFile, reader: Reader, mapping: Mapping) -> None:
        self._file = file
        self._reader = reader
        self._mapping = mapping
        self.beyond_era = 0
        """Birth dates in an era that had ended, so far."""

    @property
    def rows(self) -> int | None:
        """Rows in all, where it is known beforehand."""
        return self._file.rows_in_all

    def fraction(self) -> float | None:
        """How much has been read, 0 to 1."""
        return self._file.fraction()

    def batches(self, size: int) -> Iterator[Batch]:
        columns = ColumnReader(self._reader, self._mapping)
        waiting: list[Piece] = []
        digest = ready = 0
        for found in self._file.pieces():
            piece = columns.of_columns(found) if isinstance(found, Columns) else self._of_rows(columns, found)
            waiting.append(piece)
            ready += len(piece)
            if ready < size:
                continue
            whole = joined(waiting)
            for start in range(0, ready - size + 1, size):
                batch = self._batch(whole.part(start, start + size), digest)
                digest = batch.digest
                yield batch
            waiting, ready = [whole.part(ready - ready % size, ready)], ready % size
        if ready:
            yield self._batch(joined(waiting), digest)

    def _of_rows(self, columns: ColumnReader, rows: list[Row]) -> Piece:
        kept = (
            [clean(row.fields[place]) if place < len(row.fields) else "" for row in rows]
            for place in self._mapping.kept
        )
        return columns.of_rows(rows, kept)

    def _batch(self, piece: Piece, digest: int) -> Batch:
        self.beyond_era += piece.beyond_era
        persons = persons_of(piece, self._mapping.items)
        for column in (persons.names, persons.kana, persons.birth_dates, persons.sexes, persons.addresses):
            if isinstance(column, TextColumn):
                digest = zlib.crc32(column.data, zlib.crc32(column.offsets, digest))
            elif column is not None:
                digest = zlib.crc32(memoryview(column).cast("B"), digest)  # type: ignore[arg-type]
        return Batch(piece.numbers, persons, piece.faults, piece.reasons, piece.kept, digest)


def clean(text: str) -> str:
    """A text that can be written: bytes that could not be decoded become question marks."""
    return text.encode("utf-8", "replace").decode() if undecodable(text) else text


def after(batches: Iterator[Batch], rows: int, digest: int) -> Iterator[Batch]:
    """The batches behind the first ``rows`` rows. UsageError when those were not what was asked before."""
    passed = 0
    for batch in batches:
        if passed == rows:
            yield batch
            continue
        passed += len(batch)
        if passed > rows or (passed == rows and batch.digest != digest):
            raise UsageError("the input is not the one that the broken job began with; give --overwrite to begin anew")
    if passed < rows:
        raise UsageError("the input is shorter than the one that the broken job began with; give --overwrite")


def fill(
    job: Job,
    writer: ResultWriter,
    progress: Progress,
    batches: Iterator[Batch],
    ask: Ask,
    advance: Callable[[int], Any],
) -> None:
    """Ask all batches and write the answers; what is written is made durable about once a second, and at any end."""
    waiting: deque[Batch] = deque()

    def asked() -> Iterator[Persons]:
        for batch in batches:
            waiting.append(batch)
            yield batch.persons

    saved_at = time.monotonic()
    try:
        for answer in ask(asked()):
            batch = waiting.popleft()
            writer.write(batch, answer)
            progress.rows += len(batch)
            progress.crc = batch.digest
            progress.bytes = job.work.tell()
            advance(len(batch))
            if time.monotonic() - saved_at >= SAVE_SECONDS:
                job.save(progress)
                saved_at = time.monotonic()
    finally:
        # Also when interrupted: what was answered has been recorded as provided and should not be asked again.
        job.save(progress)
