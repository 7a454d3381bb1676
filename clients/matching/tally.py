"""What came of a job, counted: rows by answer, by grade, by area, by what differed, and why rows were not asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct, field

from jukinet.clients.columns import optional
from jukinet.clients.persons import LEVEL_ITEMS
from jukinet.core.vocabulary import Found, Grade, Level, Prefecture

PROBABILITY_STEPS: Final = (0.0, 0.5, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0)
"""Borders of the classes in which probabilities of matches are counted."""
ASKED: Final = (Found.ONE, Found.SEVERAL, Found.TOO_MANY, Found.NONE, Found.NONE_NOT_CONNECTED)
"""Answers of rows that were looked for, in the order of a report; others were not asked."""


class Tally(Struct):
    """Counts of rows. No text of a record is among them."""

    rows: int = 0
    found: Counter[str] = field(default_factory=Counter)
    grades: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(answer, why) of rows that were not asked."""
    levels: dict[str, Counter[str]] = field(default_factory=dict)
    """Of matches: for each item, how it compared."""
    areas: Counter[str] = field(default_factory=Counter)
    """Of matches: the area in which the person lives, where the affair may see it."""
    outcomes: Counter[str] = field(default_factory=Counter)
    probabilities: Counter[int] = field(default_factory=Counter)
    """Of matches: place of the class in PROBABILITY_STEPS."""

    @property
    def asked(self) -> int:
        """Rows that were looked for."""
        return sum(self.found[found.name] for found in ASKED)

    @property
    def matched(self) -> int:
        return self.found[Found.ONE.name]

    def prefectures(self) -> list[tuple[str, int]]:
        """Matches by prefecture, in the prefectures' own order."""
        counted: Counter[int] = Counter()
        for area, rows in self.areas.items():
            counted[int(area) // 1000] += rows
        return [(Prefecture(number).name.capitalize(), rows) for number, rows in sorted(counted.items()) if number]

    def deviations(self) -> list[tuple[str, int]]:
        """Matches in which an item differs, by item and how, the most frequent first."""
        same = {Level.NOT_COMPARED.name, Level.EXACT.name}
        found = [
            (f"{item.replace('_', ' ')} {level.lower().replace('_', ' ')}", rows)
            for item, counted in self.levels.items()
            for level, rows in counted.items()
            if level not in same
        ]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def tally_of(batches: Iterable[Any]) -> Tally:
    """Count the record batches of a result."""
    tally = Tally(levels={item: Counter() for item in LEVEL_ITEMS})
    for batch in batches:
        add(tally, batch)
    return tally


def add(tally: Tally, batch: Any) -> None:
    """Count one record batch."""
    tally.rows += batch.num_rows
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    count(tally.found, columns["found"])
    count(tally.grades, columns["grade"])
    count(tally.outcomes, columns["outcome"])
    if "area" in columns:
        count(tally.areas, columns["area"])
    for item in LEVEL_ITEMS:
        count(tally.levels[item], columns[f"{item}_level"])
    compute, np = optional("pyarrow.compute"), optional("numpy")
    refused = compute.invert(compute.is_in(columns["found"], value_set=asked_names()))
    pairs = (columns["found"].filter(refused).to_pylist(), columns["reason"].filter(refused).to_pylist())
    for found, reason in zip(*pairs, strict=True):
        tally.reasons[found, reason or ""] += 1
    matched = compute.equal(columns["found"], Found.ONE.name)
    shares = columns["probability"].filter(matched).to_numpy(zero_copy_only=False)
    for place, rows in enumerate(np.bincount(class_of(shares), minlength=1).tolist()):
        if rows:
            tally.probabilities[place] += rows


def asked_names() -> Any:
    """The answers of rows that were looked for, as an Arrow array."""
    return optional("pyarrow").array([found.name for found in ASKED])


def count(counter: Counter[str], column: Any) -> None:
    for pair in column.value_counts().to_pylist():
        if pair["values"] is not None:
            counter[pair["values"]] += pair["counts"]


def class_of(shares: Any) -> Any:
    """For each share (a numpy array) the place of the last border that it reaches; 1.0 is of the class below it."""
    return optional("numpy").searchsorted(PROBABILITY_STEPS[1:-1], shares, side="right")


def class_names() -> list[str]:
    return [f"{PROBABILITY_STEPS[i]:g} to {PROBABILITY_STEPS[i + 1]:g}" for i in range(len(PROBABILITY_STEPS) - 1)]


GRADES: Final = tuple(grade.name for grade in Grade if grade)
