"""An answer's columns by name, and their way into NumPy and Arrow without copying a byte."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from jukinet.clients.errors import MissingExtraError
from jukinet.core.vocabulary import Found, Grade, Outcome
from jukinet.core.wire.columns import TextColumn

if TYPE_CHECKING:
    import numpy
    import pyarrow

Columns: TypeAlias = "list[tuple[str, memoryview[int] | TextColumn]]"

NAMES: Final[tuple[tuple[str, str], ...]] = (
    ("found", "found"),
    ("row_ends", "row_ends"),
    ("candidates", "candidates"),
    ("grade", "grades"),
    ("levels", "levels"),
    ("probability", "probabilities"),
    ("margin", "margins"),
    ("outcome", "outcomes"),
    ("replaced_date", "replaced_dates"),
    ("name", "names"),
    ("kana", "kana"),
    ("alias", "aliases"),
    ("birth_date", "birth_dates"),
    ("sex", "sexes"),
    ("area", "areas"),
    ("address", "addresses"),
    ("change_reason", "reasons"),
    ("change_date", "change_dates"),
    ("registered_date", "registered_dates"),
    ("successor_code", "successor_codes"),
    ("matches", "matches"),
)
"""A column's name to a caller, and the message's field."""
OUTCOME_NAMES: Final = ("", *(outcome.name for outcome in Outcome))
"""By number, so that the received bytes are the indices."""
FOUND_NAMES: Final = ("", *(found.name for found in Found))
GRADE_NAMES: Final = tuple(grade.name for grade in Grade)
DICTIONARIES: Final = {"outcome": OUTCOME_NAMES, "found": FOUND_NAMES, "grade": GRADE_NAMES}
assert [FOUND_NAMES[found] for found in Found] == [found.name for found in Found]
assert [GRADE_NAMES[grade] for grade in Grade] == [grade.name for grade in Grade]
assert [OUTCOME_NAMES[outcome] for outcome in Outcome] == [outcome.name for outcome in Outcome]


def of_answer(wire: Any, codes: memoryview[int]) -> Columns:
    """The columns that an answer holds, the codes asked first."""
    return [("code", codes), *_present(wire)]


def of_persons(wire: Any) -> Columns:
    """The columns of a search or match; ``code`` is of the persons found."""
    found: Columns = list(_present(wire))
    return found if wire.codes is None else [*found, ("code", wire.codes)]


def of_history(wire: Any, codes: memoryview[int]) -> Columns:
    """The columns of a history: some have a place for each code, the others one for each record."""
    by_code, by_record = halves_of_history(wire, codes)
    return [*by_code, ("row_ends", wire.row_ends), *by_record]


def halves_of_history(wire: Any, codes: memoryview[int]) -> tuple[Columns, Columns]:
    """The columns of the codes, and those of the records."""
    outcome, *records = (column for column in _present(wire) if column[0] != "row_ends")
    return [("code", codes), outcome], records


def joined(
    left: pyarrow.RecordBatch, left_rows: list[int], right: pyarrow.RecordBatch, right_rows: list[int | None]
) -> pyarrow.RecordBatch:
    """Rows of ``left`` beside rows of ``right``; None gives nulls."""
    pa = optional("pyarrow")
    arrays = [column.take(pa.array(left_rows, pa.int64())) for column in left.columns]
    arrays += [column.take(pa.array(right_rows, pa.int64())) for column in right.columns]
    return pa.RecordBatch.from_arrays(arrays, names=[*left.schema.names, *right.schema.names])


def _present(wire: Any) -> Iterator[tuple[str, Any]]:
    for name, field in NAMES:
        column = getattr(wire, field, None)
        if column is not None:
            yield name, column


def optional(module: str) -> Any:
    """Import a package of the extra ``jukinet[files]``."""
    try:
        return import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise MissingExtraError(f"{name} is needed for this: pip install 'jukinet[files]'") from None


def to_numpy(columns: Columns) -> dict[str, numpy.ndarray[Any, Any]]:
    """Arrays over the columns' memory, by name."""
    np = optional("numpy")
    arrays: dict[str, Any] = {}
    for name, column in columns:
        if isinstance(column, TextColumn):
            arrays[f"{name}_offsets"] = np.frombuffer(column.offsets, dtype=np.uint32)
            arrays[f"{name}_data"] = np.frombuffer(column.data, dtype=np.uint8)
        else:
            arrays[name] = np.frombuffer(column, dtype=np.dtype(column.format))
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def to_arrow(columns: Columns) -> pyarrow.RecordBatch:
    """A record batch over the columns' memory.

    ``outcome``, ``found`` and ``grade`` are dictionaries of names whose indices are the received bytes. Texts are
    ``utf8``: the wire's unsigned offsets stay below 2^31, for a frame is at most 128 MiB. Dates are decimal u32
    (19650220, unknown parts 0), because Arrow's own dates cannot say that a part is unknown.
    """
    pa = optional("pyarrow")
    kinds = {"B": pa.uint8(), "I": pa.uint32(), "Q": pa.uint64(), "L": pa.uint64()}
    arrays: list[Any] = []
    for name, column in columns:
        if isinstance(column, TextColumn):
            buffers = [None, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
            arrays.append(pa.Array.from_buffers(pa.utf8(), len(column), buffers))
            continue
        array = pa.Array.from_buffers(kinds[column.format], len(column), [None, pa.py_buffer(column)])
        if name in DICTIONARIES:
            array = pa.DictionaryArray.from_arrays(array, pa.array(DICTIONARIES[name]))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=[name for name, _ in columns])
