"""A cohort of a third of the nation: registered in chunks, then asked what changed after a day of changes, in process.

The changes are the real mix, applied by the engine; the answer is compared with the codes that the notifications name.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import time
from typing import Final

import numpy as np

from feed_apply import DAY, apply_one, copied
from figures import Options, Report, options, say, whole_number
from jukinet.core.cohort.changes import ChangeReader, Cursor
from jukinet.core.cohort.changes import Changes as Answer
from jukinet.core.cohort.store import CohortStore
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.store.reader import RegisterReader
from jukinet.server.nation.population import Population
from jukinet.server.nation.tables import load_tables
from nation_notifications import Batches, Changes
from nation_register import Codes, WrongAnswerError, built_register, in_batches, sorted_third

CHANGES: Final = 80_000
TRANSACTION_ROWS: Final = 10_000
OWNER: Final = "agency/benchmark/1-77-1"
ROWS_MAX: Final = 65_536


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--changes", type=whole_number, metavar="N", help=f"notifications of the day ({CHANGES})")


def register_cohort(store: CohortStore, reader: RegisterReader, codes: Codes) -> Cursor:
    """One whole registration, each chunk durable; the cursor that it ends with."""
    chunks = in_batches(codes)
    generation = cursor = 0
    for number, chunk in enumerate(chunks):
        stored = store.put(
            OWNER, "all", chunk, begin=number == 0, end=number == len(chunks) - 1, generation=generation,
            register=reader.identifier, cursor=reader.meta.journal_next, today=20261006, now=0, cohorts_max=1,
            codes_max=1 << 32,
        )  # fmt: skip
        generation, cursor = stored.generation, stored.cursor
    if stored.count != len(codes):
        raise WrongAnswerError("not all codes were stored")
    return Cursor(cursor)


def ask(register: FeedRegister, reader: RegisterReader, store: CohortStore, cursor: Cursor) -> list[Answer]:
    """All answers from the cursor to the journal's end."""
    answers = []
    more = True
    while more:
        with (
            reader.pin() as snapshot,
            register.writer.reading() as transaction,
            store.reading(OWNER, "all") as members,
        ):
            answer = ChangeReader(
                transaction, reader.databases["journal"], reader.meta.journal_next, snapshot, members,
                register=reader.identifier, rows_max=ROWS_MAX,
            ).read(cursor)  # fmt: skip
        answers.append(answer)
        cursor, more = answer.cursor, answer.more
    return answers


def check(answers: list[Answer], codes: Codes, applied: list[Batches]) -> int:
    """The answers name the cohort's codes among those of the notifications; how many codes that is."""
    named = [
        np.frombuffer(column, dtype=np.uint64)
        for batches in applied
        for _, batch in batches
        for column in (batch.codes, batch.codes_before)
    ]
    wanted = np.intersect1d(np.concatenate(named), codes)
    told = np.unique(np.concatenate([np.frombuffer(answer.codes, dtype=np.uint64) for answer in answers]))
    if not np.array_equal(told, wanted):
        raise WrongAnswerError("the answers are not the cohort's changed codes")
    return len(wanted)


def run(chosen: Options, changes: int) -> None:
    report = Report("Cohorts", chosen)
    with built_register(chosen) as reader:
        date = reader.meta.origin["date"]
    directory = copied(chosen)
    codes = sorted_third(chosen)
    cohorts = chosen.work / "cohorts"
    with FeedRegister(directory, today=lambda: DAY) as register, CohortStore(cohorts) as store:
        say("making notifications")
        population = Population(load_tables(), chosen.seed, chosen.residents, DAY.fromisoformat(date))
        rows = min(TRANSACTION_ROWS, changes)
        made = list(
            itertools.islice(Changes(register, population, chosen.seed).transactions(rows), max(1, changes // rows))
        )
        seconds: list[float] = []
        with register.reader() as reader:
            say("registering")
            for _ in report.rounds(seconds):
                started = time.perf_counter()
                cursor = register_cohort(store, reader, codes)
                seconds.append(time.perf_counter() - started)
        size = (cohorts / "data.mdb").stat().st_size
        say("applying a day's changes")
        for batches in made:
            apply_one(register, batches)
        asked: list[float] = []
        with register.reader() as reader:
            reader.warm()
            for _ in report.rounds(asked):
                started = time.perf_counter()
                answers = ask(register, reader, store, cursor)
                asked.append(time.perf_counter() - started)
        told = check(answers, codes, made)
    shutil.rmtree(directory)
    finish(report, len(codes), size, seconds, asked, told, sum(len(b) for batches in made for _, b in batches))


def finish(
    report: Report, codes: int, size: int, seconds: list[float], asked: list[float], told: int, changes: int
) -> None:
    report.figure("cohort_codes", codes, "codes in the cohort", 0)
    report.spread("register_seconds", seconds, "all chunks of 65,536 codes, each durable; the old cohort removed", 4)
    report.figure("cohort_bytes", size, "file after several registrations: two generations side by side", 0)
    report.figure("changes", changes, "notifications applied since the cursor", 0)
    report.figure("told_codes", told, "codes of the cohort among them", 0)
    report.spread("ask_seconds", asked, "all answers from the cursor to the journal's end", 4)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more.changes or (500 if chosen.smoke else CHANGES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
