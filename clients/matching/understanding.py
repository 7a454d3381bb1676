"""The dry run: what was understood of a file and of its first rows, before anything is asked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from jukinet.clients.matching.column_names import Mapping
from jukinet.clients.matching.record_file import ENCODING_NAMES, SEPARATORS, RecordFile
from jukinet.clients.matching.record_rows import Person, Reader
from jukinet.clients.partial_date import PartialDate
from jukinet.core.vocabulary import Sex

SEX_NAMES = {0: "", 1: "male", 2: "female", 9: "not applicable"}
VALUES_SHOWN = 3
VALUE_CHARACTERS = 24
COLUMNS_SHOWN = 100
assert set(SEX_NAMES) == set(map(int, Sex))


def how_read(file: RecordFile, name: str) -> str:
    """The file and how it is read, in one line."""
    if not file.encoding:
        return f"{name}: {file.kind}, {len(file.names)} columns"
    first = "column names in the first row" if file.has_names else "no row of column names"
    return (
        f"{name}: {file.kind}, {ENCODING_NAMES[file.encoding]}, separated by {SEPARATORS[file.separator]}, "
        f"{len(file.names)} columns, {first}"
    )


def columns_used(file: RecordFile, mapping: Mapping) -> list[tuple[str, str]]:
    """Each item with the columns that hold it, then the columns that are passed on."""

    def named(places: Sequence[int]) -> str:
        return " + ".join(
            f"column {place + 1}" + (f" {file.names[place]}" if file.has_names else "") for place in places
        )

    used = [(item, named(places)) for item, places in mapping.items.items()]
    return [*used, ("passed on", named(mapping.kept))] if mapping.kept else used


def not_understood(file: RecordFile, name: str, rows_max: int) -> str:
    """What the dry run prints of a file whose columns do not say enough: each column with what stands in it.

    Like `understood` it is for the eyes of whoever has the file, to choose --map by.
    """
    rows = [row.fields for row in itertools.islice(file.rows(), min(rows_max, VALUES_SHOWN)) if not row.fault]
    lines = [how_read(file, name), "", "its columns, and what stands in the first rows:"]
    for place, column in enumerate(file.names[:COLUMNS_SHOWN]):
        values = " · ".join(shortened(fields[place]) for fields in rows if place < len(fields))
        lines.append(f"  {place + 1:>4}" + (f" {column}" if file.has_names else "") + f": {values}")
    return "\n".join([*lines, "", "nothing was asked"]) + "\n"


def shortened(text: str) -> str:
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"


def understood(file: RecordFile, mapping: Mapping, reader: Reader, name: str, rows_max: int) -> tuple[str, int]:
    """What the dry run prints, and how many of the rows shown cannot be asked.

    It shows what the rows say, for that is what is to be checked: it is for the eyes of whoever has the file.
    """
    lines = [how_read(file, name)]
    used = {place for places in (*mapping.items.values(), mapping.kept) for place in places}
    unused = [column for place, column in enumerate(file.names) if place not in used]
    lines += [f"  {item.replace('_', ' '):<11} {columns}" for item, columns in columns_used(file, mapping)]
    if unused and file.has_names:
        lines.append(f"  not used    {', '.join(unused[:20])}")
    lines += ["", f"first {rows_max} rows as they are understood:"]
    faults = 0
    for row in itertools.islice(file.rows(), rows_max):
        person = reader.person(row)
        faults += bool(person.fault)
        lines.append(f"  {row.number:>4}  {told(person)}")
    lines += ["", "nothing was asked" + (f"; {faults} of these rows cannot be asked" if faults else "")]
    return "\n".join(lines) + "\n", faults


def told(person: Person) -> str:
    """A person in words."""
    if person.fault:
        return f"{person.fault}: {person.reason}"
    parts = []
    if person.name:
        parts.append(f"name {person.name}")
    if person.kana:
        parts.append(f"reading {person.kana}")
    if person.birth_date:
        date = PartialDate.from_decimal(person.birth_date)
        parts.append(f"born {date.isoformat()} ({date.era()})" + (", era ended" if person.beyond_era else ""))
    if person.sex:
        parts.append(SEX_NAMES[person.sex])
    if person.address:
        parts.append(f"address {person.address}")
    return " · ".join(parts)
