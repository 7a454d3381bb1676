"""How well MATCH resolves records with errors, by kind of error, beside Splink on the same records in the same run.

The records and their errors are those of docs/matching.md, section 7. Parameters are estimated on one set of records
and judged on another.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from figures import Options, Report, options, say, whole_number
from jukinet.core.law.retention import Rule, cutoffs
from jukinet.core.matching import parameters
from jukinet.core.matching.batch import Matcher
from jukinet.core.matching.columns import Answers, MatchRules, Questions
from jukinet.core.matching.estimating import describe, estimate
from jukinet.core.matching.folded import Folded, fold
from jukinet.core.matching.model import Model
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import Found, Grade
from match_errors import ABSENT, SHAPES, SHARES, Person, Record, records
from match_nation import DAY, MatchNation, changed_register, rows_of
from match_served import WORKERS, measure_served
from served import Certificates, ServedRegister

if TYPE_CHECKING:
    from match_splink import SplinkRegister, Timed

RECORDS: Final = 200_000
RECORDS_SMOKE: Final = 400
SPLINK_RECORDS: Final = 100_000
SPLINK_FEW: Final = 10_000
"""Records of a small job beside the large one: what a job pays once, however many records it has, weighs more in it."""
ESTIMATION_RECORDS: Final = 20_000
SAMPLE: Final = 200_000
ABSENT_SHARE: Final = 0.1
PRECISIONS: Final = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Thresholds at which precision and recall are told besides the default."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--records", type=whole_number, metavar="N", help=f"unresolved records ({RECORDS:,})")
    parser.add_argument(
        "--splink-records", type=int, metavar="N", help=f"of them for Splink; 0 leaves it out ({SPLINK_RECORDS:,})"
    )
    parser.add_argument("--absent-share", type=float, default=ABSENT_SHARE, metavar="SHARE", help="not in the register")
    parser.add_argument("--shape", choices=tuple(SHAPES), help="items of all records, instead of the usual mix")
    parser.add_argument("--shipped", action="store_true", help="use the shipped parameters, estimate none")
    parser.add_argument("--write-parameters", type=Path, metavar="FILE", help="keep the parameters estimated")


def folded_people(people: list[Person]) -> list[Folded]:
    found = []
    for person in people:
        try:
            found.append(fold(person.name, person.kana, person.birth_date, person.sex, "", person.key))
        except ValueError:
            continue
    return found


def matcher_for(reader: RegisterReader, chosen: parameters.Parameters, rules: MatchRules) -> Matcher:
    model = Model(chosen, reader.meta.residents)
    return Matcher(model, rules, reader.databases, reader.meta.width, cutoffs(Rule.FIVE_YEARS, DAY))


def training_records(chosen: Options, nation: MatchNation, share: float, shapes: Mapping[str, int]) -> list[Record]:
    """Records to estimate from, other ones than those that are judged."""
    count = 300 if chosen.smoke else ESTIMATION_RECORDS
    return list(records(chosen.seed + 77, count, share, nation.person, nation.strangers(), shapes))


def estimated(
    chosen: Options, reader: RegisterReader, nation: MatchNation, unresolved: list[Record]
) -> parameters.Parameters:
    """Parameters from a sample of the people and from records of which nobody says whose they are."""
    say("estimating")
    people = folded_people(list(nation.people(2_000 if chosen.smoke else min(SAMPLE, chosen.residents))))
    origin = f"synthetic nation of {chosen.residents} residents, seed {chosen.seed}; records by the error model"
    start = describe(people, origin, bearers_min=2 if chosen.smoke else 10)
    seen: list[list[Any]] = []
    matcher = matcher_for(reader, start, MatchRules())
    matcher.begin(Questions.from_rows(rows_of(unresolved)))
    with reader.pin() as snapshot:
        matcher.run(snapshot, 0, len(unresolved), lambda _, found: seen.append(found))
    return estimate(start, reader.meta.residents, seen)


class Tally:
    """Rows answered ONE rightly and wrongly, by kind and (of those in the register) by shape."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.shapes: Counter[str] = Counter()
        self.right_shapes: Counter[str] = Counter()

    def add(self, record: Record, answered: int | None) -> None:
        self.rows[record.kind] += 1
        if record.kind != ABSENT:
            self.shapes[record.shape] += 1
            self.right_shapes[record.shape] += answered == record.key
        if answered is not None:
            (self.right if answered == record.key else self.wrong)[record.kind] += 1

    @property
    def precision(self) -> float:
        told = self.right.total() + self.wrong.total()
        return self.right.total() / told if told else 0.0

    @property
    def recall(self) -> float:
        present = self.rows.total() - self.rows[ABSENT]
        return self.right.total() / present if present else 0.0


def tally(asked: list[Record], answers: Answers) -> Tally:
    """What the answers are worth."""
    found = Tally()
    for row, record in enumerate(asked):
        found.add(record, answers.keys[row] if answers.statuses[row] == Found.ONE else None)
    return found


def check_answers(asked: list[Record], answers: Answers) -> None:
    """Only a row answered ONE tells of anybody. AssertionError otherwise."""
    for row in range(len(asked)):
        one = answers.statuses[row] == Found.ONE
        assert one == (answers.grades[row] != Grade.NONE), "a grade without a match"
        assert one or answers.keys[row] == 0, "a key is told without a match"
        assert one or not any(answers.levels[5 * row : 5 * row + 5]), "levels are told without a match"


def measure(report: Report, asked: list[Record], reader: RegisterReader, chosen: parameters.Parameters) -> Answers:
    questions = Questions.from_rows(rows_of(asked))
    with reader.pin() as snapshot:
        matcher = matcher_for(reader, chosen, MatchRules())
        matcher.match(snapshot, questions)
        started = time.perf_counter()
        answers = matcher.match(snapshot, questions)
        seconds = time.perf_counter() - started
    check_answers(asked, answers)
    told = tally(asked, answers)
    report.figure("precision", told.precision, "of rows answered with one match, at the default threshold", 5)
    report.figure("recall", told.recall, "of rows whose person is in the register", 4)
    report.figure("wrong_matches", told.wrong.total(), "rows answered with somebody else", 0)
    report.figure("wrong_matches_absent", told.wrong[ABSENT], "of them: rows whose person is not in the register", 0)
    report.figure("records_per_second", len(asked) / seconds, "in process, one core", 0)
    tell_kinds(report, "", told)
    for shape in sorted(told.shapes):
        share = told.right_shapes[shape] / told.shapes[shape]
        report.figure(f"recall_of_shape_{shape}", share, f"{told.shapes[shape]:,} rows", 4)
    for threshold in PRECISIONS:
        with reader.pin() as snapshot:
            at = tally(
                asked, matcher_for(reader, chosen, MatchRules(match_threshold=threshold)).match(snapshot, questions)
            )
        name = f"{threshold:g}".replace(".", "")
        report.figure(f"precision_at_{name}", at.precision, f"were the threshold {threshold:g}", 5)
        report.figure(f"recall_at_{name}", at.recall, "", 4)
    for grade in Grade:
        if grade is not Grade.NONE:
            report.figure(f"grade_{grade.name.lower()}", bytes(answers.grades).count(grade), "rows of this grade", 0)
    return answers


def tell_kinds(report: Report, name: str, told: Tally) -> None:
    """Recall and precision by error kind; no precision of a kind of which no row was answered with one match."""
    for kind in SHARES:
        if told.rows[kind]:
            report.figure(f"{name}recall_{kind}", told.right[kind] / told.rows[kind], f"{told.rows[kind]:,} rows", 4)
        answered = told.right[kind] + told.wrong[kind]
        if answered:
            report.figure(f"{name}precision_{kind}", told.right[kind] / answered, f"{answered:,} rows answered", 5)


def compare_with_splink(report: Report, asked: list[Record], answers: Answers, register: SplinkRegister) -> None:
    """The same records for Splink; its best threshold, and the one at which it is as precise. Then a small job."""
    own = tally(asked, answers)
    say(f"Splink on {len(asked):,} records")
    linked = register.link(asked)
    report.fact("splink_version", register.version)
    report.fact("splink_in_memory", register.in_memory)
    report.figure("splink_records", len(asked), "records for Splink, and for the comparison", 0)
    report.figure("splink_training_seconds", register.training_seconds, "its parameters, once for many jobs", 1)
    report.figure("precision_beside_splink", own.precision, "this matcher on these records", 5)
    report.figure("recall_beside_splink", own.recall, "", 4)
    best = Tally()
    chosen_at = 1.0
    most_precise = Tally()
    for threshold in linked.thresholds():
        told = Tally()
        for row, record in enumerate(asked):
            told.add(record, linked.answer(row, threshold))
        if told.right.total() and told.precision >= most_precise.precision:
            most_precise = told
        if told.precision >= min(own.precision, 0.999) and told.recall > best.recall:
            best, chosen_at = told, threshold
    if not best.right.total():
        best = most_precise
    report.figure(
        "splink_precision",
        best.precision,
        f"Splink, where it is as precise or at its most precise ({chosen_at:.7g})",
        5,
    )
    report.figure("splink_recall", best.recall, "Splink at that threshold", 4)
    tell_kinds(report, "splink_", best)
    tell_rates(report, "splink", len(asked), linked.timed)
    few = asked[:SPLINK_FEW]
    if len(few) < len(asked):
        say(f"Splink on {len(few):,} records")
        report.figure("splink_few_records", len(few), "records of a small job", 0)
        tell_rates(report, "splink_few", len(few), register.link(few).timed)


def tell_rates(report: Report, name: str, count: int, timed: Timed) -> None:
    """What a job of Splink took, and how many times that rate ours is: prediction alone, and the whole job."""
    ours = float(report.values["match_records_per_second"])
    report.figure(f"{name}_pairs", timed.pairs, "pairs that it scored", 0)
    report.figure(f"{name}_loading_seconds", timed.loading, "register and records into DuckDB, frequencies", 1)
    report.figure(f"{name}_blocking_seconds", timed.blocking, "making pairs", 1)
    report.figure(f"{name}_scoring_seconds", timed.scoring, "weighing them", 1)
    report.figure(f"{name}_choosing_seconds", timed.choosing, "one person a record", 1)
    report.figure(f"{name}_records_per_second", count / timed.prediction, "prediction alone, all cores", 1)
    report.figure(f"{name}_job_records_per_second", count / timed.job, "the whole job, all cores", 1)
    ratio = ours * timed.prediction / count
    report.figure(f"rate_against_{name}", ratio, "MATCH over TLS against prediction alone", 1)
    report.figure(f"rate_against_{name}_job", ours * timed.job / count, "MATCH over TLS against the whole job", 1)


def serve(
    report: Report, chosen: Options, directory: Path, used: parameters.Parameters, asked: list[Record], answers: Answers
) -> None:
    """The same records over TLS, with the parameters that were estimated."""
    say("starting the server")
    file = chosen.work / "parameters.json"
    file.write_bytes(parameters.encode(used))
    certificates = Certificates(chosen.work / "pki")
    served = msgspec.structs.replace(chosen, store=directory)
    report.fact("server_workers", WORKERS)
    with ServedRegister(served, certificates, workers=WORKERS, matching=file) as server:
        rates = trio.run(measure_served, report, server, certificates, asked, answers)
    report.rate("match_records_per_second", rates, "MATCH end to end: TLS, authority, record of use")


def run(chosen: Options, more: argparse.Namespace) -> None:
    reader, nation = changed_register(chosen)
    report = Report("Quality of matching", chosen)
    with reader:
        shapes = {more.shape: 1} if more.shape else SHAPES
        report.fact("shape", more.shape or "mixed")
        count = more.records or (RECORDS_SMOKE if chosen.smoke else RECORDS)
        asked = list(records(chosen.seed, count, more.absent_share, nation.person, nation.strangers(), shapes))
        training = training_records(chosen, nation, more.absent_share, shapes)
        used = parameters.shipped() if more.shipped else estimated(chosen, reader, nation, training)
        if more.write_parameters is not None:
            more.write_parameters.write_bytes(parameters.encode(used))
        report.fact("records", count)
        report.fact("absent_share", more.absent_share)
        report.fact("parameters", used.origin)
        answers = measure(report, asked, reader, used)
        directory = reader.directory
    serve(report, chosen, directory, used, asked, answers)
    shutil.rmtree(directory)  # Splink writes as much beside its register while it works
    linked = SPLINK_RECORDS if more.splink_records is None and not chosen.smoke else more.splink_records
    if linked and find_spec("splink") is None:
        say("Splink is not installed: pip install 'jukinet[bench]'")
    elif linked:
        from match_splink import SplinkRegister  # noqa: PLC0415 - an optional package

        say("preparing the register for Splink")
        register = SplinkRegister(nation, chosen, training, more.absent_share)
        compare_with_splink(report, asked[:linked], answers, register)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
