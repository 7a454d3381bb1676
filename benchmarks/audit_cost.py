"""What the record of use costs: LOOKUP with and without sealing, a single durable record, sealing, and verification.

The two servers run side by side and take turns, so that the machine's moods meet both; the one that seals does so while
it is measured.
"""

from __future__ import annotations

import secrets
import shutil
import statistics
import sys
import time
from array import array
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import numpy as np
import trio

from end_to_end import CONNECTIONS, IN_FLIGHT, SAMPLE_CODES, Bench, lookups
from figures import Options, Report, options, say
from jukinet.clients import Credentials, connect
from jukinet.core.audit.checkpoint import PrivateKey
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.verification import Verification
from jukinet.core.audit.writer import RecordOfUse, RecordOfUseWriter
from nation_register import BATCH_CODES, WrongAnswerError, built_register, in_batches, random_codes
from served import AFFAIR, BODY, Certificates, ServedRegister

SEALED_CODES: Final = 20_000_000
SINGLES: Final = 2_000
KEY: Final = PrivateKey("benchmark", secrets.token_bytes(32))
USE: Final = RecordOfUse(
    role="agency", body=BODY, operator="benchmark", schedule=1, item="77", number=0, reason="measuring"
)


async def measure_served(
    chosen: Options, report: Report, plain: ServedRegister, sealing: ServedRegister, certificates: Certificates
) -> None:
    """LOOKUP of both servers in turn."""
    tls = Credentials(certificates.root, certificates.agency, certificates.agency_key)
    sample = random_codes(chosen, 4_000 if chosen.smoke else SAMPLE_CODES)
    batches = in_batches(sample, 500 if chosen.smoke else BATCH_CODES)
    async with AsyncExitStack() as stack:
        benches = []
        for server in (plain, sealing):
            sessions = []
            for _ in range(CONNECTIONS):
                client = await stack.enter_async_context(connect("localhost", server.port, tls=tls))
                sessions.append(await stack.enter_async_context(client.session(**AFFAIR)))
            benches.append(Bench(chosen, report, server, sessions))
        say("measuring LOOKUP")
        for bench in benches:
            await bench.round(lookups(IN_FLIGHT), batches, chosen.seconds / 2)
        pairs: list[tuple[float, float]] = []
        for _ in report.rounds(pairs):
            without = await benches[0].round(lookups(IN_FLIGHT), batches, chosen.seconds)
            with_audit = await benches[1].round(lookups(IN_FLIGHT), batches, chosen.seconds)
            pairs.append((without, with_audit))
    report.rate(
        "lookup_codes_per_second_without", [one for one, _ in pairs], "LOOKUP, durable record, no seals, no watch"
    )
    report.rate(
        "lookup_codes_per_second_with_audit", [two for _, two in pairs], "LOOKUP while seals and watch are at work"
    )
    ratios = [two / one for one, two in pairs]
    report.spread("lookup_ratio_with_audit", ratios, "of the rates of each pair of rounds")


def measure_single(chosen: Options, report: Report) -> None:
    """The time that the durable record adds to a single lookup: append and commit, one fdatasync each."""
    directory = chosen.work / "single"
    one, outcome = array("Q", [12345678903]), b"\1"
    times = []
    with RecordOfUseWriter(directory, 0) as writer:
        for number in range(50 if chosen.smoke else SINGLES):
            started = time.perf_counter()
            writer.append(USE, one, outcome, function=1, items=255, register_version=1, request_id=number)
            writer.commit()
            times.append(1_000 * (time.perf_counter() - started))
    report.figure("added_ms_median", statistics.median(times), "one record appended and made durable alone", 3)
    report.figure("added_ms_p99", sorted(times)[len(times) * 99 // 100], "the same, one in a hundred takes longer", 3)
    shutil.rmtree(directory)


def written_log(chosen: Options, directory: Path, codes: int, batch: int) -> int:
    """A closed log of so many provisions; its bytes."""
    chance = np.random.default_rng(chosen.seed)
    with RecordOfUseWriter(directory, 0) as writer:
        for _ in range(max(1, codes // batch)):
            asked = chance.integers(0, 10**11, batch, dtype=np.uint64)
            writer.append(USE, memoryview(asked), bytes(batch), function=1, items=255, register_version=1)
            writer.commit()
    return sum(path.stat().st_size for path in directory.glob("*.rou"))


def seal(directory: Path) -> None:
    """All that is closed."""
    with Sealer(directory, KEY) as sealer:
        while sealer.step() is not None:
            pass


def measure_sealing(chosen: Options, report: Report) -> None:
    """Sealing and verifying a log of bulk requests, by one thread."""
    directory = chosen.work / "log"
    codes, batch = (20_000, 1_000) if chosen.smoke else (SEALED_CODES, BATCH_CODES)
    say("writing a log")
    size = written_log(chosen, directory, codes, batch)
    report.figure("sealed_codes", codes // batch * batch, f"provisions, {batch:,} to a record", 0)
    report.figure("log_bytes", size, "segments", 0)
    rates: list[tuple[float, float]] = []
    say("sealing")
    for _ in report.rounds(rates):
        shutil.rmtree(directory / "tree", ignore_errors=True)
        started, used = time.perf_counter(), time.process_time()
        seal(directory)
        done = codes // batch * batch
        rates.append((done / (time.perf_counter() - started), done / (time.process_time() - used)))
    report.rate("seal_codes_per_second", [one for one, _ in rates], "read, checked, hashed, sorted, written, signed")
    report.rate("seal_codes_per_cpu_second", [two for _, two in rates], "the same by the CPU time that it took")
    tree = sum(path.stat().st_size for path in (directory / "tree").rglob("*") if path.is_file())
    report.figure("tree_bytes_per_code", tree / (codes // batch * batch), "seals, hashes and sorted codes")
    for name, deep, meaning in (
        ("verify_bytes_per_second", False, "every record, seal and signature"),
        ("verify_deep_bytes_per_second", True, "and every row's commitment and the sorted codes"),
    ):
        speeds: list[tuple[float, float]] = []
        for _ in report.rounds(speeds):
            started, used = time.perf_counter(), time.process_time()
            found = Verification(directory, KEY.public, deep=deep).run()
            speeds.append((found.bytes / (time.perf_counter() - started), found.bytes / (time.process_time() - used)))
            if found.findings:
                raise WrongAnswerError("the log does not verify")
        report.rate(name, [one for one, _ in speeds], meaning)
        report.rate(name.replace("_per_second", "_per_cpu_second"), [two for _, two in speeds], "by CPU time")


def run(chosen: Options) -> None:
    report = Report("Cost of the record of use", chosen)
    with built_register(chosen):
        pass
    certificates = Certificates(chosen.work / "certificates")
    key = chosen.work / "log.key"
    key.write_text(KEY.encode())
    with (
        ServedRegister(chosen, certificates) as plain,
        ServedRegister(chosen, certificates, sealing_key=key, more={"watch": {"directory": "watch"}}) as sealing,
    ):
        trio.run(measure_served, chosen, report, plain, sealing, certificates)
    log = chosen.work / "sealing-server" / "record-of-use"
    seal(log)
    if Verification(log, KEY.public).run().findings:
        raise WrongAnswerError("the served log does not verify")
    measure_single(chosen, report)
    measure_sealing(chosen, report)
    report.fact("answers_checked", True)
    report.finish()


def main() -> int:
    with options(__doc__ or "") as (chosen, _):
        run(chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
