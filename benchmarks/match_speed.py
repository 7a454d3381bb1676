"""How fast SEARCH and MATCH are: in process on one core, and MATCH end to end over TLS with its record of use.

The records are those of match_quality.py: the error model of docs/matching.md, with people who married and moved.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from figures import Options, Report, options, say, timed_rate, whole_number
from jukinet.core.matching import parameters
from jukinet.core.matching.batch import Matcher
from jukinet.core.matching.columns import Answers, Hits, MatchRules, Questions
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import Found
from jukinet.server.store_command import identity_of
from match_errors import Person, Record, records
from match_nation import MatchNation, changed_register, packed, rows_of
from match_quality import matcher_for, tally
from match_served import BATCH_RECORDS, RIGHT_SHARE_MIN, WORKERS, measure_served
from nation_register import WrongAnswerError, build_command
from served import Certificates, ServedRegister

RECORDS: Final = 200_000
RECORDS_SMOKE: Final = 300
SEARCH_CAP: Final = 50
ABSENT_SHARE: Final = 0.1
SEARCH_BATCH: Final = 1_024
TOLD: Final = re.compile(r"identity index: [\d,]+ bytes, ([\d.]+) s")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--records", type=whole_number, metavar="N", help=f"records asked over and over ({RECORDS:,})")
    parser.add_argument(
        "--workers", type=whole_number, default=WORKERS, metavar="N", help=f"worker processes of the server ({WORKERS})"
    )
    parser.add_argument("--build", action="store_true", help="build the nation once more, to time its identity index")


def measure_build(chosen: Options, report: Report) -> None:
    """What the identity index adds to a build, by a build of its own."""
    target = chosen.work / "built"
    command = build_command(chosen.residents, chosen.seed, target)
    told = TOLD.search(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if told is None:
        raise WrongAnswerError("the build does not tell of its identity index")
    report.figure("index_build_seconds", float(told[1]), "what it added to the build")


def questions_of(some: list[Record]) -> Questions:
    return Questions.from_rows(rows_of(some))


def measure_in_process(
    report: Report, snapshot: Snapshot, matcher: Matcher, asked: list[Record], nation: MatchNation
) -> Answers:
    """MATCH of all records, and SEARCH with equal keys."""
    batches = [questions_of(asked[at : at + BATCH_RECORDS]) for at in range(0, len(asked), BATCH_RECORDS)]

    def match_all() -> int:
        return sum(matcher.match(snapshot, batch).count for batch in batches)

    match_all()
    seconds = report.options.seconds
    report.rate(
        "match_in_process_records_per_second",
        report.measured(lambda: timed_rate(seconds, match_all)),
        "MATCH in process, one core",
    )
    report.rate(
        "match_in_process_records_per_cpu_second",
        report.measured(lambda: cpu_rate(seconds, match_all)),
        "the same by CPU time, which a busy machine changes less",
    )
    ended, compared = matcher.work
    report.figure(
        "compared_per_record", compared / max(sum(ended), 1), "records read and compared for a row, last batch"
    )
    people = list(nation.people(min(len(asked), 100_000)))
    rows = [(p.name, "", packed(p.birth_date), 0, "") for p in people if p.birth_date % 100]
    searches = [Questions.from_rows(rows[at : at + SEARCH_BATCH]) for at in range(0, len(rows), SEARCH_BATCH)]

    def search_all() -> int:
        for batch in searches:
            found = Hits.empty(batch.count, SEARCH_CAP)
            matcher.search(snapshot, batch, False, 0, batch.count, found)
        return len(rows)

    measure_crowd(report, snapshot, matcher, people)
    check_search(snapshot, matcher, searches[0])
    report.rate(
        "search_per_second",
        report.measured(lambda: timed_rate(seconds, search_all)),
        "SEARCH by name and birth date in process, one core",
    )
    report.rate("search_per_cpu_second", report.measured(lambda: cpu_rate(seconds, search_all)), "the same by CPU time")
    return matcher.match(snapshot, questions_of(asked))


def cpu_rate(seconds: float, step: Callable[[], int]) -> float:
    """Units per second of this process's CPU time, called until about so many wall-clock seconds are over."""
    started, end = time.process_time(), time.perf_counter() + seconds
    done = step()
    while time.perf_counter() < end:
        done += step()
    return done / (time.process_time() - started)


def measure_crowd(report: Report, snapshot: Snapshot, matcher: Matcher, people: list[Person]) -> None:
    """The most common reading with its bearers' most common birth date, its year alone, and nothing but an address."""
    kana = Counter(person.kana for person in people if person.birth_date).most_common(1)[0][0]
    bearers = [person for person in people if person.kana == kana and person.birth_date]
    date = Counter(packed(person.birth_date) for person in bearers).most_common(1)[0][0]
    rows = [
        ("", kana, date, 0, ""),
        ("", kana, date & ~0x1FF, 0, ""),
        (bearers[0].name, kana, 0, 0, bearers[0].address),
    ]
    for name, row in zip(("date", "year", "address"), rows, strict=True):
        crowd = Questions.from_rows([row] * SEARCH_BATCH)
        rate = report.measured(
            lambda crowd=crowd: timed_rate(report.options.seconds / 4, lambda: matcher.match(snapshot, crowd).count)
        )
        report.rate(
            f"most_common_name_with_{name}_per_second", rate, "rows of the most common name, in process, one core"
        )


def check_search(snapshot: Snapshot, matcher: Matcher, questions: Questions) -> None:
    """A person of the register is found by their own name and birth date. WrongAnswerError otherwise."""
    found = Hits.empty(questions.count, SEARCH_CAP)
    matcher.search(snapshot, questions, False, 0, questions.count, found)
    if not set(found.statuses) <= {Found.ONE, Found.SEVERAL}:
        raise WrongAnswerError("a SEARCH does not find who is in the register")


def run(chosen: Options, more: argparse.Namespace) -> None:
    report = Report("Speed of matching", chosen)
    if more.build:
        say("building once more")
        measure_build(chosen, report)
    reader, nation = changed_register(chosen)
    count = more.records or (RECORDS_SMOKE if chosen.smoke else RECORDS)
    asked = list(records(chosen.seed, count, ABSENT_SHARE, nation.person, nation.strangers()))
    report.fact("records", count)
    with reader:
        reader.warm()
        size = sum(table["bytes"] for table in identity_of(reader).values())
        report.figure("index_bytes", size, "the identity index on disk", 0)
        expected = measure_register(report, reader, asked, nation)
        directory = reader.directory
    certificates = Certificates(chosen.work / "pki")
    say("starting the server")
    report.fact("server_workers", more.workers)
    with ServedRegister(msgspec.structs.replace(chosen, store=directory), certificates, workers=more.workers) as server:
        rates = trio.run(measure_served, report, server, certificates, asked, expected)
    report.rate("match_records_per_second", rates, "MATCH end to end: TLS, authority, record of use")
    report.fact("answers_checked", True)
    report.finish()


def measure_register(report: Report, reader: RegisterReader, asked: list[Record], nation: MatchNation) -> Answers:
    matcher = matcher_for(reader, parameters.shipped(), MatchRules())
    with reader.pin() as snapshot:
        answers = measure_in_process(report, snapshot, matcher, asked, nation)
    told = tally(asked, answers)
    if told.precision < RIGHT_SHARE_MIN:
        raise WrongAnswerError("MATCH finds the wrong people")
    report.figure("precision", told.precision, "of these records, with the shipped parameters", 5)
    report.figure("recall", told.recall, "of those whose person is in the register", 4)
    return answers


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
