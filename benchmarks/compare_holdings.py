"""Comparing two holdings of a prefecture that differ in a few codes: seconds, and the bytes that the wire would carry.

Both sides are registers of this machine and answer in turn, so that the time is the work of both and nothing of a line.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from figures import Options, Report, options, say, whole_number
from jukinet.core.codes import code_from_key
from jukinet.core.feed.comparison import Answer, Comparison, Difference, HoldingsAnswers, Question, Side, descent
from jukinet.core.feed.range_survey import range_entries
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.writer import RegisterWriter
from jukinet.core.wire.feed_columns import compare_payload, compared_parts
from jukinet.core.wire.feed_messages import Compare, Compared
from jukinet.core.wire.frames import HEADER_BYTES
from nation_register import WrongAnswerError, build_command

PREFECTURE: Final = 13
DIFFERENCES: Final = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefecture", type=whole_number, default=PREFECTURE, metavar="P", help="1 to 47 (13)")
    parser.add_argument(
        "--differences", type=whole_number, default=DIFFERENCES, metavar="N", help="codes that differ (10)"
    )


def sampled_keys(reader: RegisterReader, prefecture: int, count: int, seed: int) -> list[int]:
    """Keys of random current residents of the prefecture, far apart."""
    generator = np.random.default_rng(seed)
    keys: set[int] = set()
    with reader.pin() as snapshot:
        while len(keys) < count:
            first = int(generator.integers(0, 10**10 - 10**8))
            listed = range_entries(
                snapshot, prefecture, np.array([[first, first + 10**8]], dtype=np.uint64).data, 10**7
            )
            if listed is not None and listed[0][0]:
                keys.add(int.from_bytes(listed[1][:8], "little"))
    return sorted(keys)


def alter(directory: Path, keys: list[int]) -> list[Difference]:
    """Take every third resident away and correct the others; what a comparison with the register before must find."""
    wanted = []
    with RegisterWriter(directory) as writer, writer.transaction() as change:
        for number, key in enumerate(keys):
            resident = change.get(key)
            if resident is None:
                raise WrongAnswerError("a sampled resident is not in the register")
            if number % 3 == 0:
                change.remove(key)
            else:
                change.put(msgspec.structs.replace(resident, update_number=resident.update_number + 1))
            wanted.append(Difference(code_from_key(key), Side.OWN_ONLY if number % 3 == 0 else Side.BOTH))
        change.commit()
    return wanted


class Exchange:
    """The other side, and the bytes of the frames that would go to and fro."""

    def __init__(self, there: HoldingsAnswers, version: int) -> None:
        self._there = there
        self._version = version
        self.bytes = 0
        self.questions = 0

    def ask(self, question: Question) -> Answer:
        answer = self._there.answer(question)
        if answer is None:
            raise WrongAnswerError("an answer is too long")
        request = compare_payload(Compare(self.questions, question.kind, question.ranges))
        told = Compared.of_rows(self.questions, question.kind, self._version, 1, answer.rows, answer.counts)
        self.questions += 1
        self.bytes += 2 * HEADER_BYTES + len(request) + sum(map(len, compared_parts(told)))
        return answer


def compare(own: HoldingsAnswers, there: HoldingsAnswers, version: int) -> tuple[Comparison, Exchange]:
    exchange = Exchange(there, version)
    steps = descent(own, there.total())
    try:
        question = next(steps)
        while True:
            question = steps.send(exchange.ask(question))
    except StopIteration as ended:
        return ended.value, exchange


def run(chosen: Options, prefecture: int, differences: int) -> None:
    report = Report("Comparing holdings", chosen)
    here, there = chosen.work / "here", chosen.work / "there"
    say("building the prefecture's holdings twice")
    words = [*build_command(chosen.residents, chosen.seed, here), "--prefecture", str(prefecture)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    there.mkdir()
    shutil.copyfile(here / "data.mdb", there / "data.mdb")
    with RegisterReader(here) as reader:
        keys = sampled_keys(reader, prefecture, differences, chosen.seed)
    wanted = alter(there, keys)
    with RegisterReader(here) as mine, RegisterReader(there) as theirs:
        mine.warm()
        theirs.warm()
        with mine.pin() as a, theirs.pin() as b:
            own, other = (
                HoldingsAnswers(snapshot, reader.databases, prefecture) for snapshot, reader in ((a, mine), (b, theirs))
            )
            held = own.total().count
            seconds: list[float] = []
            for _ in report.rounds(seconds):
                started = time.perf_counter()
                result, exchange = compare(own, other, b.version)
                seconds.append(time.perf_counter() - started)
                if result != Comparison(differences=wanted):
                    raise WrongAnswerError("the comparison does not find the codes that were changed")
    report.fact("prefecture", prefecture)
    report.fact("differences", differences)
    report.figure("holdings", held, "current residents and retired codes of the prefecture", 0)
    report.spread("seconds", seconds, "both sides' work, from the greeting's total to the differing codes", 4)
    report.figure("bytes_exchanged", exchange.bytes, "frames in both directions, without TLS", 0)
    report.figure("questions", exchange.questions, "exchanges", 0)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more.prefecture, more.differences)
    return 0


if __name__ == "__main__":
    sys.exit(main())
