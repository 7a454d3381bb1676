"""Splink (PyPI, DuckDB) on the same records and the same register as MATCH.

It gets what MATCH gets: the same folding of readings, names and addresses, earlier names as further records of a
person, comparison levels for the same kinds of error, frequencies of names and readings, and blocking rules that cover
the same ways to a person. u is estimated by random sampling, m by expectation and maximisation, as its documentation
recommends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any, Final

import duckdb
import pyarrow as pa
import splink.comparison_level_library as cll
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
from splink.comparison_library import CustomComparison, DamerauLevenshteinAtThresholds, ExactMatch

from jukinet.core.folding.addresses import split_address
from jukinet.core.folding.kana import folded_kana, kana_text
from jukinet.core.folding.names import folded_name
from match_errors import Person, Record
from match_nation import MatchNation

COLUMNS: Final = ("kana", "name", "born", "sex", "town", "numbers")
PREDICTED_FROM: Final = 0.2
"""Pairs below this probability are not asked for."""
THRESHOLDS: Final = (
    0.5,
    0.8,
    0.9,
    0.95,
    0.98,
    0.99,
    0.995,
    0.999,
    0.9995,
    0.9999,
    0.99995,
    0.99999,
    0.999999,
    0.9999999,
)
EM_BLOCKING: Final = (("kana",), ("born",))
"""Columns that are equal in each training round; the others' m is estimated in it."""


def folded_row(
    number: str, name: str, kana: str, birth_date: int, sex: int, address: str
) -> tuple[str | None, ...] | None:
    """One row of Splink's input; items that are missing are None."""
    try:
        reading = kana_text(folded_kana(kana)) or None
        written = folded_name(name) or None
    except ValueError:
        return None
    place = split_address(address) if address else None
    return (
        number, reading, written, f"{birth_date:08d}" if birth_date else None, str(sex) if sex in (1, 2) else None,
        (place.municipality + place.town or None) if place else None, (place.numbers or None) if place else None,
    )  # fmt: skip


def rows_of_person(person: Person) -> Iterator[tuple[str | None, ...]]:
    """The person's records: as they are now, under an alias, and earlier ones. The number begins with the key."""
    shown = [(person.name, person.kana, person.address), *person.earlier]
    if person.alias:
        shown.append((person.alias, person.kana, person.address))
    for place, (name, kana, address) in enumerate(shown):
        row = folded_row(f"{person.key}-{place}", name, kana, person.birth_date, person.sex, address)
        if row is not None:
            yield row


def table(rows: list[tuple[str | None, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    names = ("unique_id", *COLUMNS)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})


def birth_dates() -> CustomComparison:
    """Levels of a date of eight digits with unknown parts as zeros."""
    both = "{0}(born_l, {1}) = {0}(born_r, {1})"
    month = "substr(born_l, 1, 6) = substr(born_r, 1, 6)"
    year = "substr(born_l, 1, 4) = substr(born_r, 1, 4)"
    unknown_day = "(substr(born_l, 7, 2) = '00' or substr(born_r, 7, 2) = '00')"
    exchanged = "substr(born_l, 5, 2) = substr(born_r, 7, 2) and substr(born_l, 7, 2) = substr(born_r, 5, 2)"
    unknown_month = "(substr(born_l, 5, 2) = '00' or substr(born_r, 5, 2) = '00')"
    return CustomComparison(
        output_column_name="born",
        comparison_levels=[
            cll.NullLevel("born"),
            cll.ExactMatchLevel("born"),
            cll.CustomLevel(f"{month} and {unknown_day}", "day unknown"),
            cll.CustomLevel(f"{year} and {unknown_month}", "month unknown"),
            cll.DamerauLevenshteinLevel("born", 1),
            cll.CustomLevel(both.format("right", 4), "same month and day"),
            cll.CustomLevel(f"{year} and {exchanged}", "month and day exchanged"),
            cll.ElseLevel(),
        ],
    )


def places() -> CustomComparison:
    return CustomComparison(
        output_column_name="town",
        comparison_levels=[
            cll.NullLevel("town"),
            cll.CustomLevel("town_l = town_r and numbers_l = numbers_r", "same house"),
            cll.ExactMatchLevel("town"),
            cll.ElseLevel(),
        ],
    )


def settings(residents: int, absent_share: float) -> SettingsCreator:
    rules = [
        block_on("kana", "born"),
        block_on("name", "born"),
        block_on("kana", "substr(born, 5, 4)"),
        block_on("kana", "substr(born, 1, 4)"),
        block_on("name", "substr(born, 5, 4)"),
        block_on("name", "substr(born, 1, 4)"),
        block_on("born", "substr(kana, 1, 2)"),
        block_on("born", "right(kana, 2)"),
        block_on("born", "town"),
        block_on("born", "sex", "length(kana)"),
    ]
    return SettingsCreator(
        link_type="link_only",
        probability_two_random_records_match=(1.0 - absent_share) / residents,
        comparisons=[
            DamerauLevenshteinAtThresholds("kana", [1, 2]).configure(term_frequency_adjustments=True),
            DamerauLevenshteinAtThresholds("name", [1]).configure(term_frequency_adjustments=True),
            birth_dates(),
            ExactMatch("sex"),
            places(),
        ],
        blocking_rules_to_generate_predictions=rules,
        retain_matching_columns=False,
    )


class Linked:
    """What Splink said: of each row the likeliest person and their probability."""

    def __init__(self, best: dict[int, tuple[float, int]], pairs: int, seconds: float, training: float) -> None:
        self._best = best
        self.pairs = pairs
        self.seconds = seconds
        self.training_seconds = training
        self.version = metadata.version("splink")

    @staticmethod
    def thresholds() -> tuple[float, ...]:
        return THRESHOLDS

    def answer(self, row: int, threshold: float) -> int | None:
        """The key of the one match at a threshold."""
        probability, key = self._best.get(row, (0.0, 0))
        return key if probability >= threshold else None


def link(asked: list[Record], nation: MatchNation, seed: int, absent_share: float) -> Linked:
    """Link records with everybody of the register; loading is not timed."""
    register = [row for person in nation.everybody() for row in rows_of_person(person)]
    unresolved = []
    for number, record in enumerate(asked):
        row = folded_row(str(number), record.name, record.kana, record.birth_date, record.sex, record.address)
        if row is not None:
            unresolved.append(row)
    connection = duckdb.connect()
    api = DuckDBAPI(connection)
    people = table(register)
    rows = table(unresolved)
    del register, unresolved
    frames = [api.register(rows, dataset_display_name="asked"), api.register(people, dataset_display_name="held")]
    linker = Linker(frames, settings(people.num_rows, absent_share), log_level=None)
    started = time.perf_counter()
    linker.training.estimate_u_using_random_sampling(max_pairs=1e7, seed=seed)
    for columns in EM_BLOCKING:
        linker.training.estimate_parameters_using_expectation_maximisation(
            block_on(*columns), fix_probability_two_random_records_match=True
        )
    training = time.perf_counter() - started
    started = time.perf_counter()
    predicted = linker.inference.predict(threshold_match_probability=PREDICTED_FROM)
    found = predicted.as_duckdbpyrelation()
    best, pairs = best_of(found)
    return Linked(best, pairs, time.perf_counter() - started, training)


def best_of(found: Any) -> tuple[dict[int, tuple[float, int]], int]:
    """The likeliest person of each row; a person's records count once.

    Splink weighs each pair by itself. As a row means at most one person, the odds of a row's persons are put together
    (o / (1 + sum of all o)), as MATCH does: that makes Splink's answers more precise at the same recall.
    """
    columns = found.select("unique_id_l, unique_id_r, match_probability").fetchall()
    of_row: dict[int, dict[int, float]] = {}
    for left, right, probability in columns:
        record, person = (left, right) if "-" in right else (right, left)
        people = of_row.setdefault(int(record), {})
        key = int(person.partition("-")[0])
        people[key] = max(people.get(key, 0.0), min(probability, 1.0 - 1e-15))
    best = {}
    for row, people in of_row.items():
        odds = {key: probability / (1.0 - probability) for key, probability in people.items()}
        total = 1.0 + sum(odds.values())
        key = max(odds, key=odds.__getitem__)
        best[row] = (odds[key] / total, key)
    return best, len(columns)
