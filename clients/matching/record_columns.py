"""Rows of a file turned into persons column by column; a row with anything unusual is turned by itself.

The measure is record_rows.Reader: what is done here in columns gives what it gives, and whatever may be a fault is left
to it, so that a fault is found and worded in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from jukinet.clients.columns import optional
from jukinet.clients.matching.column_names import Mapping
from jukinet.clients.matching.csv_blocks import Columns, Row
from jukinet.clients.matching.record_rows import FIRST_DATE, Person, Reader, joined_date, read_sex
from jukinet.clients.persons import Persons
from jukinet.core import limits
from jukinet.core.folding.column_folding import read_dates
from jukinet.core.wire.columns import TextColumn

SPACES: Final = "".join(chr(point) for point in range(0x3001) if chr(point).isspace())
"""What str.strip() takes away."""
_CLASS: Final = "".join(f"\\x{{{ord(space):x}}}" for space in SPACES)
KANA_ONLY: Final = rf"\A[\x{{3041}}-\x{{3096}}\x{{30a1}}-\x{{30fa}}\x{{30fc}}\x{{ff66}}-\x{{ff9f}}・.{_CLASS}]+\z"
"""record_rows' pattern of a name that is a reading, as Arrow's RE2 takes it."""
TEXTS: Final = ("name", "kana", "address")


class Piece(Struct, frozen=True):
    """Rows as they are asked, in columns: Arrow string arrays, numpy arrays of u32 decimal dates and u8 sexes."""

    numbers: Sequence[int]
    texts: dict[str, Any]
    dates: Any
    sexes: Any
    faults: list[str]
    reasons: list[str]
    kept: list[Any]
    """A string array for each column that is passed on."""
    beyond_era: int

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> Piece:
        """The rows from start to stop; what is counted stays with the first part."""
        return Piece(
            self.numbers[start:stop],
            {item: column.slice(start, stop - start) for item, column in self.texts.items()},
            self.dates[start:stop],
            self.sexes[start:stop],
            self.faults[start:stop],
            self.reasons[start:stop],
            [column.slice(start, stop - start) for column in self.kept],
            0 if start else self.beyond_era,
        )


def joined(pieces: Sequence[Piece]) -> Piece:
    """Pieces as one."""
    if len(pieces) == 1:
        return pieces[0]
    pa, np = optional("pyarrow"), optional("numpy")
    return Piece(
        [number for piece in pieces for number in piece.numbers],
        {item: pa.concat_arrays([piece.texts[item] for piece in pieces]) for item in TEXTS},
        np.concatenate([piece.dates for piece in pieces]),
        np.concatenate([piece.sexes for piece in pieces]),
        [fault for piece in pieces for fault in piece.faults],
        [reason for piece in pieces for reason in piece.reasons],
        [pa.concat_arrays([piece.kept[place] for piece in pieces]) for place in range(len(pieces[0].kept))],
        sum(piece.beyond_era for piece in pieces),
    )


class ColumnReader:
    """Turns pieces of a file into persons in columns, as ``reader`` turns rows of the same mapping.

    A column that the mapping names and the file has not is an empty one.
    """

    def __init__(self, reader: Reader, mapping: Mapping) -> None:
        self._reader = reader
        self._items = mapping.items
        self._kept = mapping.kept
        self._readings = mapping.readings
        self._era_digits = reader.era_digits
        self._sexes: dict[str, int] = {}
        self._pa = optional("pyarrow")
        self._compute = optional("pyarrow.compute")
        self._np = optional("numpy")

    def of_rows(self, rows: Sequence[Row], cleaned: Iterable[Sequence[str]]) -> Piece:
        """Rows one by one; ``cleaned``: the texts of each column that is passed on."""
        pa, np = self._pa, self._np
        people = [self._reader.person(row) for row in rows]
        return Piece(
            [row.number for row in rows],
            {item: pa.array([getattr(person, item) for person in people], pa.string()) for item in TEXTS},
            np.array([person.birth_date for person in people], np.uint32),
            np.array([person.sex for person in people], np.uint8),
            [person.fault for person in people],
            [person.reason for person in people],
            [pa.array(texts, pa.string()) for texts in cleaned],
            sum(person.beyond_era for person in people),
        )

    def of_columns(self, found: Columns) -> Piece:
        """Whole columns at once."""
        compute, np = self._compute, self._np
        count = len(found.columns[0])
        texts = {item: self._text(found, item, " " if item in ("name", "kana") else "", count) for item in TEXTS}
        in_kana = self._take_readings(texts)
        dates, results = self._dates(self._date_text(found, count))
        sexes = self._sexes_of(self._text(found, "sex", "", count))
        named = compute.or_(*(compute.not_equal(texts[item], "") for item in ("name", "kana")))
        told = (dates > 0) | as_numpy(compute.not_equal(texts["address"], ""))
        unusual = (results < 0) | (sexes < 0) | ~(as_numpy(named) & told)
        unusual |= (dates > 0) & ((dates < FIRST_DATE) | (dates > self._reader.last_date))
        if not self._readings and in_kana is not None:
            unusual |= as_numpy(in_kana)
        for item in TEXTS:
            lengths = compute.binary_length(texts[item]).to_numpy(zero_copy_only=False)
            unusual |= lengths > limits.CLAIM_TEXT_BYTES_MAX
        beyond = int(np.count_nonzero((results == 1) & ~unusual))
        return self._mended(found, texts, dates, sexes, np.flatnonzero(unusual).tolist(), beyond)

    def _mended(
        self, found: Columns, texts: dict[str, Any], dates: Any, sexes: Any, unusual: list[int], beyond: int
    ) -> Piece:
        """The piece, its unusual rows turned one by one."""
        count = len(dates)
        faults, reasons = [""] * count, [""] * count
        people: list[Person] = []
        for place in unusual:
            fields = [column[place].as_py() for column in found.columns]
            person = self._reader.person(Row(found.first + place, fields))
            people.append(person)
            faults[place], reasons[place] = person.fault, person.reason
            dates[place], sexes[place] = person.birth_date, person.sex
            beyond += person.beyond_era
        if people:
            places = self._np.zeros(count, bool)
            places[unusual] = True
            mask = self._pa.array(places)
            for item in TEXTS:
                mended = self._pa.array([getattr(person, item) for person in people], self._pa.string())
                texts[item] = self._compute.replace_with_mask(texts[item], mask, mended)
        absent = self._pa.array([""] * count, self._pa.string())
        return Piece(
            range(found.first, found.first + count),
            texts,
            dates,
            sexes.astype(self._np.uint8),
            faults,
            reasons,
            [found.columns[place] if place < len(found.columns) else absent for place in self._kept],
            beyond,
        )

    def _text(self, found: Columns, item: str, between: str, count: int) -> Any:
        """An item's text: its columns as one, without spaces at their ends."""
        compute = self._compute
        held = [place for place in self._items.get(item, ()) if place < len(found.columns)]
        columns = [compute.utf8_trim(found.columns[place], characters=SPACES) for place in held]
        if not columns:
            return self._pa.array([""] * count, self._pa.string())
        whole = columns[0]
        for column in columns[1:]:
            both = compute.and_(compute.not_equal(whole, ""), compute.not_equal(column, ""))
            whole = compute.binary_join_element_wise(whole, compute.if_else(both, between, ""), column, "")
        return whole

    def _date_text(self, found: Columns, count: int) -> Any:
        """The text of birth dates, in one column or in several."""
        held = [place for place in self._items.get("birth_date", ()) if place < len(found.columns)]
        if len(held) < 2:
            return self._text(found, "birth_date", "", count)
        parts = zip(*(found.columns[place].to_pylist() for place in held), strict=True)
        return self._pa.array(map(joined_date, parts), self._pa.string())

    def _take_readings(self, texts: dict[str, Any]) -> Any:
        """A reading in the column of names, as on old records, is asked as one. Which rows have it; None: no row."""
        compute = self._compute
        alone = compute.and_(compute.not_equal(texts["name"], ""), compute.equal(texts["kana"], ""))
        if not compute.any(alone).as_py():
            return None
        reading = compute.and_(alone, compute.match_substring_regex(texts["name"], KANA_ONLY))
        texts["kana"] = compute.if_else(reading, texts["name"], texts["kana"])
        texts["name"] = compute.if_else(reading, "", texts["name"])
        return reading

    def _dates(self, column: Any) -> tuple[Any, Any]:
        np = self._np
        text = text_column(column)
        read = read_dates(text.offsets.cast("B"), text.data, self._era_digits)
        return np.frombuffer(read.decimals, np.uint32).copy(), np.frombuffer(read.results, np.int8)

    def _sexes_of(self, column: Any) -> Any:
        """i16 sexes, -1 for a word that is none. A file has few such words."""
        coded = column.dictionary_encode()
        numbers = []
        for word in coded.dictionary.to_pylist():
            if word not in self._sexes and len(self._sexes) < limits.AREAS_MAX:
                self._sexes[word] = read_sex(word)
            numbers.append(self._sexes[word] if word in self._sexes else read_sex(word))
        return self._np.array(numbers or [0], self._np.int16)[coded.indices.to_numpy()]


def persons_of(piece: Piece, given: Iterable[str]) -> Persons:
    """The persons as columns of a question; only the items that the file has.

    Rows that cannot be asked have empty items: a reading in the column of names shows only where one may be asked by.
    """
    compute = optional("pyarrow.compute")
    items = set(given)

    def has(item: str) -> bool:
        return bool(compute.any(compute.not_equal(piece.texts[item], "")).as_py())

    # A name in kana is asked as a reading, whatever column it came from.
    with_kana = "kana" in items or has("kana")
    with_name = "name" in items and (has("name") or not with_kana)
    return Persons(
        names=text_column(piece.texts["name"]) if with_name else None,
        kana=text_column(piece.texts["kana"]) if with_kana else None,
        birth_dates=memoryview(piece.dates) if "birth_date" in items else None,
        sexes=memoryview(piece.sexes) if "sex" in items else None,
        addresses=text_column(piece.texts["address"]) if "address" in items else None,
    )


def as_numpy(column: Any) -> Any:
    """A numpy array of an Arrow one, also of bits."""
    return column.to_numpy(zero_copy_only=False)


def text_column(column: Any) -> TextColumn:
    """An Arrow string array without nulls as a column of a question; offsets begin at 0."""
    np = optional("numpy")
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    first, last = int(bounds[0]), int(bounds[-1])
    text = memoryview(data)[first:last] if data is not None else memoryview(b"")
    return TextColumn(memoryview((bounds - first).astype(np.uint32)), text.cast("B"))
