"""Splink (PyPI, DuckDB) on the same records and the same register as MATCH.

It gets what MATCH gets: the same folding of readings, names and addresses, earlier names as further records of a
person, comparison levels for the same kinds of error, frequencies of names and readings, and blocking rules that cover
the same ways to a person. u is estimated by random sampling, m by expectation and maximisation, as its documentation
recommends, on records of their own and a sample of the register.

What each second is of: *loading* is what DuckDB and Splink do with the rows of register and records before a pair is
made (folding them came before and is not counted); *prediction* is blocking and scoring; *training* is done once for
many jobs.
"""

from __future__ import annotations

import datetime
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import splink.comparison_level_library as cll
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
from splink.comparison_library import CustomComparison, DamerauLevenshteinAtThresholds, ExactMatch

from figures import Options
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
TRAINING_PEOPLE: Final = 1_000_000
"""People of the register that Splink is trained on, beside those whom the training records mean."""
PREPARING_PROCESSES: Final = 2
PREPARED_ROWS: Final = 250_000
"""Rows of one group of a file."""
PREDICTION_MEMORY: Final = "17GB"
"""What DuckDB may use; the rest it writes beside the register."""
IN_MEMORY_PEOPLE_MAX: Final = 20_000_000
"""With more residents DuckDB works on a database file, which it compresses, as rows in memory (some 600 bytes a person
with Splink's copy) would have to be written out again and again. At 10 M a job's pairs take as long either way, loading
longer in a file (8 s, 3 s in memory)."""


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
    names = ("unique_id", *COLUMNS)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
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


class Timed(NamedTuple):
    """What one job of Splink took, in seconds, and the pairs that it scored."""

    loading: float
    blocking: float
    scoring: float
    choosing: float
    pairs: int

    @property
    def prediction(self) -> float:
        return self.blocking + self.scoring

    @property
    def job(self) -> float:
        return self.loading + self.prediction + self.choosing


class Linked:
    """What Splink said: of each row the likeliest person and their probability."""

    def __init__(self, best: dict[int, tuple[float, int]], timed: Timed) -> None:
        self._best = best
        self.timed = timed

    @staticmethod
    def thresholds() -> tuple[float, ...]:
        return THRESHOLDS

    def answer(self, row: int, threshold: float) -> int | None:
        """The key of the one match at a threshold."""
        probability, key = self._best.get(row, (0.0, 0))
        return key if probability >= threshold else None


class SplinkRegister:
    """The register's rows as files that DuckDB reads, and a model trained on a sample of them."""

    def __init__(self, nation: MatchNation, chosen: Options, training: list[Record], absent_share: float) -> None:
        """Folds everybody, which takes a while, and trains."""
        self.version = metadata.version("splink")
        self._directory = chosen.work / "splink"
        self._directory.mkdir()
        self._files = prepared_register(nation, chosen, self._directory)
        self._absent_share = absent_share
        self.in_memory = chosen.residents <= IN_MEMORY_PEOPLE_MAX
        self._connection = self._connect()
        self._load_register()
        self.people = self._count("register")
        started = time.perf_counter()
        self._model = self._trained(training, chosen.seed)
        self.training_seconds = time.perf_counter() - started
        self._connection.close()

    def _connect(self) -> Any:
        """A new, empty database."""
        settings = {"memory_limit": PREDICTION_MEMORY, "temp_directory": str(self._directory / "spilled")}
        if self.in_memory:
            return duckdb.connect(config=settings)
        file = self._directory / "splink.duckdb"
        file.unlink(missing_ok=True)
        # Rows in no order: as DuckDB's documentation advises where they do not fit in memory.
        return duckdb.connect(str(file), config=settings | {"preserve_insertion_order": False})

    def _load_register(self) -> None:
        files = [str(path) for path in self._files]
        self._connection.execute("create table register as select * from read_parquet($files)", {"files": files})

    def _count(self, table: str) -> int:
        [(count,)] = self._connection.execute(f"select count(*) from {table}").fetchall()
        return int(count)

    def _trained(self, training: list[Record], seed: int) -> dict[str, Any]:
        """The model as Splink keeps it, without term frequencies, which are the register's."""
        meant = pa.table({"key": pa.array([str(record.key) for record in training], pa.string())})
        self._connection.register("meant", meant)
        share = max(self.people // TRAINING_PEOPLE, 1)
        self._connection.execute(
            "create table sampled as select * from register where hash(split_part(unique_id, '-', 1)) % $share = 0 "
            "or split_part(unique_id, '-', 1) in (select key from meant)", {"share": share},
        )  # fmt: skip
        api = DuckDBAPI(self._connection)
        frames = [
            api.register(folded_records(training), dataset_display_name="asked"),
            api.register(self._connection.table("sampled"), dataset_display_name="sample"),
        ]
        linker = Linker(frames, settings(self._count("sampled"), self._absent_share), log_level=None)
        linker.training.estimate_u_using_random_sampling(max_pairs=1e7, seed=seed)
        for columns in EM_BLOCKING:
            linker.training.estimate_parameters_using_expectation_maximisation(
                block_on(*columns), fix_probability_two_random_records_match=True
            )
        return linker.misc.save_model_to_json()

    def link(self, asked: list[Record]) -> Linked:
        """One job as an agency has it: load the register and the records, link, and choose one person a record."""
        self._connection = self._connect()
        rows = folded_records(asked)
        started = time.perf_counter()
        self._load_register()
        api = DuckDBAPI(self._connection)
        frames = [
            api.register(rows, dataset_display_name="asked"),
            api.register(self._connection.table("register"), dataset_display_name="held"),
        ]
        model = self._model | {"probability_two_random_records_match": (1.0 - self._absent_share) / self.people}
        linker = Linker(frames, model, log_level=None)
        for column in ("kana", "name"):
            linker.table_management.compute_tf_table(column)
        loaded = time.perf_counter()
        blocked = linker.inference.compute_blocked_pairs_for_predict()
        paired = time.perf_counter()
        predicted = linker.inference.predict(threshold_match_probability=PREDICTED_FROM)
        scored = time.perf_counter()
        best = best_of(predicted.as_duckdbpyrelation())
        chosen = time.perf_counter()
        [(pairs,)] = blocked.as_duckdbpyrelation().count("*").fetchall()
        self._connection.close()
        timed = Timed(loaded - started, paired - loaded, scored - paired, chosen - scored, int(pairs))
        return Linked(best, timed)


def folded_records(asked: list[Record]) -> pa.Table:
    found = []
    for number, record in enumerate(asked):
        row = folded_row(str(number), record.name, record.kana, record.birth_date, record.sex, record.address)
        if row is not None:
            found.append(row)
    return table(found)


def prepared_register(nation: MatchNation, chosen: Options, directory: Path) -> list[Path]:
    """Everybody's rows, folded, as Parquet files: who changed by this process, the others by processes of their own."""
    changed = directory / "changed.parquet"
    write_rows(changed, nation.changed.values())
    context = multiprocessing.get_context("spawn")
    step = -(-chosen.residents // PREPARING_PROCESSES)
    tasks = [
        (chosen, nation.date, range(first, min(first + step, chosen.residents)), frozenset(nation.changed),
         directory / f"held-{number}.parquet")
        for number, first in enumerate(range(0, chosen.residents, step))
    ]  # fmt: skip
    with context.Pool(PREPARING_PROCESSES) as pool:
        return [changed, *pool.starmap(write_unchanged, tasks)]


def write_unchanged(chosen: Options, date: datetime.date, numbers: range, changed: frozenset[int], path: Path) -> Path:
    """The rows of those of the residents who did not change, in a process of its own."""
    nation = MatchNation(chosen, date)
    people = (nation.person_or_undated(number) for number in numbers if number not in changed)
    write_rows(path, (person for person in people if person is not None))
    return path


def write_rows(path: Path, people: Iterable[Person]) -> None:
    rows = (row for person in people for row in rows_of_person(person))
    with pq.ParquetWriter(path, table([]).schema) as file:
        while some := list(islice(rows, PREPARED_ROWS)):
            file.write_table(table(some))


def best_of(found: Any) -> dict[int, tuple[float, int]]:
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
    return best
