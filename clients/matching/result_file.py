"""Results of a match as a file: an Arrow stream while the job goes on, then Parquet, Arrow or CSV.

One row for each row of the input, in its order: the row's number, the columns that are passed on, how it was answered,
and the person where one was found. No column is a dictionary: a stream that is cut back must stay whole.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from jukinet.clients.columns import FOUND_NAMES, GRADE_NAMES, OUTCOME_NAMES, optional
from jukinet.clients.errors import UsageError
from jukinet.clients.matching.record_rows import REASONS, Batch, Fault
from jukinet.clients.persons import LEVEL_ITEMS, MatchAnswer
from jukinet.clients.query.answer_output import date_text
from jukinet.core.vocabulary import ChangeReason, Found, Item, Level
from jukinet.core.wire.columns import TextColumn

FORMATS: Final = ("parquet", "arrow", "csv")
SUFFIXES: Final = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".csv": "csv"}
OUT_ENCODINGS: Final = ("utf-8", "utf-8-sig")
LEVEL_NAMES: Final = tuple(level.name for level in Level)
REASON_NAMES: Final = {int(reason): reason.name for reason in ChangeReason}
REFUSED: Final[dict[int, str]] = {
    Found.TOO_FEW_ITEMS: REASONS[Fault.TOO_FEW_ITEMS],
    Found.BAD_NAME: "the name is too long when folded, or holds characters that no name has",
    Found.BAD_KANA: "the reading holds other characters than kana, or is too long when folded",
    Found.BAD_BIRTH_DATE: "the register takes the birth date for none",
    Found.BAD_SEX: "the register takes the sex for none",
    Found.BAD_ADDRESS: "the address is too long when folded, or holds characters that no address has",
}
"""Why the register did not look for a row."""
MILLION: Final = 1_000_000
FIRST_COLUMNS: Final = ("found", "reason", "grade", "probability", "margin", "candidates")
PERSON_COLUMNS: Final[tuple[tuple[str, str, Item], ...]] = (
    ("code", "codes", Item.CODE),
    ("name", "names", Item.NAME),
    ("kana", "kana", Item.KANA),
    ("alias", "aliases", Item.ALIAS),
    ("birth_date", "birth_dates", Item.BIRTH_DATE),
    ("sex", "sexes", Item.SEX),
    ("area", "areas", Item.ADDRESS),
    ("address", "addresses", Item.ADDRESS),
    ("change_reason", "reasons", Item.CHANGE),
    ("change_date", "change_dates", Item.CHANGE),
)
"""Columns of the person found, the fields of the answer that hold them, and the item that brings them."""
DATES: Final = ("birth_date", "change_date")


def output_format(name: str | None, out: Path) -> str:
    """The format asked, or that of the file's name. UsageError when none follows."""
    found = name or SUFFIXES.get(out.suffix.lower())
    if found is None:
        raise UsageError(f"{out}: no format follows from this name; give --format ({', '.join(FORMATS)})")
    return found


def kept_names(names: Sequence[str], items: Item) -> list[str]:
    """The names of columns that are passed on, none of them twice or that of a result's own column."""
    taken = {"row", *FIRST_COLUMNS, "outcome", *(f"{item}_level" for item in LEVEL_ITEMS)}
    taken |= {name for name, _, item in PERSON_COLUMNS if items & item}
    found: list[str] = []
    for name in names:
        unique = name if name not in taken else f"input_{name}"
        while unique in taken:
            unique += "_"
        taken.add(unique)
        found.append(unique)
    return found


class ResultWriter:
    """Writes answers to a stream that stands where the next row goes."""

    def __init__(self, stream: BinaryIO, kept: Sequence[str], items: Item) -> None:
        """kept: names of the columns that are passed on; items: of the persons found."""
        pa = self._pa = optional("pyarrow")
        self._compute = optional("pyarrow.compute")
        self._stream = stream
        self._names = {
            name: pa.array(values)
            for name, values in (
                ("found", FOUND_NAMES),
                ("grade", GRADE_NAMES),
                ("outcome", OUTCOME_NAMES),
                ("level", LEVEL_NAMES),
                ("refused", [REFUSED.get(place) for place in range(len(FOUND_NAMES))]),
                ("change_reason", [REASON_NAMES.get(number) for number in range(max(REASON_NAMES) + 1)]),
            )
        }
        kinds = {"probability": pa.float64(), "margin": pa.float64(), "candidates": pa.uint32()}
        kinds |= dict.fromkeys(DATES, pa.uint32()) | {"sex": pa.uint8()}
        columns = [name for name, _, item in PERSON_COLUMNS if items & item]
        names = [*FIRST_COLUMNS, *(f"{item}_level" for item in LEVEL_ITEMS), "outcome", *columns]
        self._kept = len(kept)
        self.schema = pa.schema(
            [("row", pa.uint64()), *((name, pa.string()) for name in kept)]
            + [(name, kinds.get(name, pa.string())) for name in names]
        )

    def begin(self) -> None:
        """What stands before the first row."""
        self._stream.write(self.schema.serialize().to_pybytes())

    def write(self, batch: Batch, answer: MatchAnswer) -> None:
        """The rows of a batch with their answers."""
        self._stream.write(self.batch(batch, answer).serialize().to_pybytes())

    def batch(self, batch: Batch, answer: MatchAnswer) -> Any:
        """The rows of a batch with their answers, as a record batch of ``schema``."""
        pa, compute, wire = self._pa, self._compute, answer.wire
        faults = pa.array([fault or None for fault in batch.faults], pa.string())
        found = self._named("found", wire.found)
        one = compute.equal(found, Found.ONE.name)
        arrays: dict[str, Any] = {
            "row": pa.array(batch.numbers, pa.uint64()),
            "found": compute.coalesce(faults, found),
            "reason": compute.coalesce(
                pa.array([reason or None for reason in batch.reasons], pa.string()), self._named("refused", wire.found)
            ),
            "grade": self._only(one, self._named("grade", wire.grades)),
            "probability": self._share(wire.probabilities),
            "margin": self._share(wire.margins),
            "candidates": self._numbers(wire.candidates),
            "outcome": self._only(one, self._named("outcome", wire.outcomes)),
        }
        levels = self._numbers(wire.levels)
        for place, item in enumerate(LEVEL_ITEMS):
            shifted = compute.shift_right(levels, pa.scalar(4 * place, pa.uint32()))
            index = compute.bit_wise_and(shifted, pa.scalar(15, pa.uint32()))
            arrays[f"{item}_level"] = self._only(one, self._names["level"].take(index))
        for name, field, _ in PERSON_COLUMNS:
            column = getattr(wire, field)
            if column is not None:
                arrays[name] = self._only(one, self._person_column(name, column))
        names = self.schema.names
        kept = dict(zip(names[1 : 1 + self._kept], batch.kept, strict=True))
        columns = [kept[name] if name in kept else arrays[name] for name in names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _person_column(self, name: str, column: Any) -> Any:
        pa, compute = self._pa, self._compute
        if isinstance(column, TextColumn):
            buffers = [None, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
            return pa.Array.from_buffers(pa.utf8(), len(column), buffers)
        numbers = self._numbers(column)
        if name in ("code", "area"):
            return compute.utf8_lpad(numbers.cast(pa.string()), 11 if name == "code" else 5, "0")
        if name == "change_reason":
            return self._names["change_reason"].take(numbers)
        return numbers

    def _numbers(self, column: Any) -> Any:
        pa = self._pa
        kinds = {"B": pa.uint8(), "I": pa.uint32(), "Q": pa.uint64()}
        return pa.Array.from_buffers(kinds[column.format], len(column), [None, pa.py_buffer(column)])

    def _named(self, kind: str, column: Any) -> Any:
        return self._names[kind].take(self._numbers(column))

    def _share(self, column: Any) -> Any:
        return self._compute.divide(self._numbers(column).cast(self._pa.float64()), float(MILLION))

    def _only(self, chosen: Any, values: Any) -> Any:
        """The values where ``chosen``, nulls elsewhere."""
        return self._compute.if_else(chosen, values, self._pa.scalar(None, values.type))


def batches_of(work: Path) -> Iterator[Any]:
    """The record batches of a work file, one by one: it has no end mark."""
    pa = optional("pyarrow")
    with pa.memory_map(str(work)) as source:
        schema = pa.ipc.read_schema(source)
        while source.tell() < source.size():
            yield pa.ipc.read_record_batch(pa.ipc.read_message(source), schema)


def finished(work: Path, schema: Any, format_name: str, encoding: str) -> Path:
    """The finished file, made from the work file beside it."""
    target = work.with_name(f"{work.name}.{format_name}")
    if format_name == "csv":
        with target.open("w", encoding=encoding, newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(schema.names)
            for batch in batches_of(work):
                writer.writerows(zip(*map(_texts, batch.schema.names, batch.columns), strict=True))
        return target
    if format_name == "parquet":
        writer = optional("pyarrow.parquet").ParquetWriter(str(target), schema, compression="zstd")
    else:
        writer = optional("pyarrow").ipc.new_file(str(target), schema)
    with writer:
        for batch in batches_of(work):
            writer.write_batch(batch)
    return target


def _texts(name: str, column: Any) -> list[str]:
    values = column.to_pylist()
    if name in DATES:
        return ["" if value is None else date_text(value) for value in values]
    return ["" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value) for value in values]
