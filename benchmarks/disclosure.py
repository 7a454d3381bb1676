"""Disclosure to a resident: every provision found over a long log, proved, and the proofs checked.

The log holds random codes and, spread over it, the provisions of one resident. It is written and sealed first.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from figures import Options, Report, options, say, whole_number
from jukinet.core.audit.checkpoint import PrivateKey
from jukinet.core.audit.disclosure import Disclosure, DisclosureReader, check_disclosure, disclose
from jukinet.core.audit.runs import list_runs
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.writer import RecordOfUse, RecordOfUseWriter
from nation_register import BATCH_CODES, WrongAnswerError
from served import BODY

PROVISIONS: Final = 20_000_000
OF_RESIDENT: Final = 84
"""One a month for seven years."""
CODE: Final = 12345678903
ABSENT: Final = 24727059608
KEY: Final = PrivateKey("benchmark", secrets.token_bytes(32))
USE: Final = RecordOfUse(
    role="agency", body=BODY, operator="benchmark", schedule=1, item="77", number=0, reason="measuring"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--provisions", type=whole_number, metavar="N", help=f"provisions in the log ({PROVISIONS:,})")


def write_and_seal(chosen: Options, directory: Path, provisions: int, batch: int) -> int:
    """The log, sealed segment by segment as it grows; provisions written."""
    chance = np.random.default_rng(chosen.seed)
    batches = max(OF_RESIDENT, provisions // batch)
    places = set(chance.choice(batches, OF_RESIDENT, replace=False).tolist())
    with RecordOfUseWriter(directory, 0) as writer:
        for number in range(batches):
            asked = chance.integers(0, 10**11, batch, dtype=np.uint64)
            asked[asked == ABSENT] = 0
            if number in places:
                asked[number % batch] = CODE
            writer.append(USE, memoryview(asked), b"\1" * batch, function=1, items=255, register_version=1)
            writer.commit()
    with Sealer(directory, KEY) as sealer:
        while sealer.step() is not None:
            pass
    return batches * batch


def forget_pages(directory: Path) -> None:
    """Ask the kernel to drop the log from its cache."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def asked(directory: Path, code: int) -> Disclosure:
    """What `jukinet disclose CODE --json` does."""
    with DisclosureReader(directory) as reader:
        answer, _ = disclose(reader, [code], time.time_ns(), [])
    return Disclosure.decode(answer.encode())


def timed(directory: Path, code: int, expected: int, *, cold: bool = False) -> Iterator[float]:
    while True:
        if cold:
            forget_pages(directory)
        started = time.perf_counter()
        answer = asked(directory, code)
        seconds = time.perf_counter() - started
        if len(answer.provisions) != expected or check_disclosure(answer, KEY.public) != expected:
            raise WrongAnswerError("not every provision was found and proved")
        yield seconds


def run(chosen: Options, provisions: int) -> None:
    report = Report("Disclosure", chosen)
    directory = chosen.work / "log"
    say("writing and sealing a log")
    batch = 500 if chosen.smoke else BATCH_CODES
    written = write_and_seal(chosen, directory, provisions, batch)
    report.figure("provisions", written, f"in the log, {batch:,} to a record", 0)
    report.figure("runs", len(list_runs(directory / "tree")), "files of sorted codes that are searched", 0)
    for name, code, expected, cold, meaning in (
        ("disclose_seconds", CODE, OF_RESIDENT, False, f"{OF_RESIDENT} provisions found, proved and written as JSON"),
        ("disclose_cold_seconds", CODE, OF_RESIDENT, True, "the same with nothing of the log in memory"),
        ("disclose_none_seconds", ABSENT, 0, False, "no record exists"),
    ):
        results: list[float] = []
        rounds = timed(directory, code, expected, cold=cold)
        for _ in report.rounds(results):
            results.append(next(rounds))
        report.spread(name, results, meaning, 4)
    report.figure("answer_bytes", len(asked(directory, CODE).encode()), "the JSON with its proofs", 0)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "", extend=arguments) as (chosen, more):
        run(chosen, more.provisions or (50_000 if chosen.smoke else PROVISIONS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
