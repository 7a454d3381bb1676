"""Single lookups over mutual TLS: requests a second on 1, 32 and 256 connections, latency at half the highest rate."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any, Final

import redis_service
from figures import Options, Report, options, say
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire.frames import HEADER_BYTES
from jukinet.server.nation import codes as nation_codes
from nation_register import Codes, WrongAnswerError, built_register, in_batches, looked_up, random_codes
from plain_records import plain_count
from served import Certificates, ServedRegister

CONNECTIONS: Final = (1, 32, 256)
OPEN_LOOP_CONNECTIONS: Final = 32
QUANTILES: Final = (("p50_ms", 50.0), ("p90_ms", 90.0), ("p99_ms", 99.0), ("p999_ms", 99.9))
SAMPLE_CODES: Final = 500_000
DIGEST_CODES: Final = 200
LATENCY_MICROSECONDS_MAX: Final = 60_000_000
GENERATOR_SECONDS_MAX: Final = 600


class Generator:
    """Runs request_load.py against one server."""

    def __init__(self, chosen: Options, server: ServedRegister, certificates: Certificates, codes: Codes) -> None:
        self.chosen = chosen
        self._codes = chosen.work / "codes"
        self._codes.write_bytes(codes.tobytes())
        self._latencies = chosen.work / "latencies"
        self._words: list[Any] = [
            "--port", server.port, "--root", certificates.root, "--certificate", certificates.agency,
            "--key", certificates.agency_key, "--codes", self._codes, "--latencies", self._latencies,
            "--server", server.workers()[0],
        ]  # fmt: skip

    def run(self, mode: str, **wishes: Any) -> dict[str, Any]:
        """One run in a process of its own; WrongAnswerError with its last words when it fails."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in wishes.items()]
        program = Path(__file__).with_name("request_load.py")
        command = [sys.executable, program, mode, *self._words, *words]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, timeout=GENERATOR_SECONDS_MAX
        )
        if done.returncode:
            raise WrongAnswerError(f"the load generator failed: {done.stderr.strip().splitlines()[-1:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def latencies(self) -> array[int]:
        """Nanoseconds of every request of the last open loop."""
        return array("q", self._latencies.read_bytes())


def expected_digest(reader: RegisterReader, codes: Codes) -> str:
    """What the generator must find: the hash of the same answers made in process."""
    digest = hashlib.sha256()
    batch = LookupBatch()
    with reader.pin() as snapshot:
        for column in in_batches(codes, 1):
            digest.update(looked_up(batch, snapshot, column)[HEADER_BYTES:])
    return digest.hexdigest()


def measure_rates(chosen: Options, report: Report, generator: Generator, digest: str) -> float:
    """Closed loops; returns the highest rate."""
    highest = 0.0
    for connections in CONNECTIONS:
        rates: list[float] = []
        busy: list[float] = []
        for _ in report.rounds(rates):
            told = generator.run("closed", digest_codes=DIGEST_CODES, connections=connections, seconds=chosen.seconds)
            if told["digest"] != digest:
                raise WrongAnswerError("single lookups are served otherwise than the register holds")
            rates.append(told["rate"])
            busy.append(100 * told["server_cpu_seconds"] / told["seconds"])
        meaning = f"single lookups, closed loop, {connections} connection{'s' * (connections > 1)}"
        highest = max(highest, report.rate(f"requests_per_second_{connections}", rates, meaning))
        report.fact(f"server_cpu_percent_{connections}", round(statistics.median(busy)))
    return highest


def measure_latency(chosen: Options, report: Report, generator: Generator, rate: float) -> None:
    """Open loops at ``rate``: quantiles of the latency from each request's due time, medians over rounds."""
    try:
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415
    except ImportError:
        raise SystemExit("missing: hdrhistogram; run  pip install 'jukinet[bench]'") from None
    found: list[dict[str, float]] = []
    for _ in report.rounds(found):
        told = generator.run("open", connections=OPEN_LOOP_CONNECTIONS, rate=rate, seconds=chosen.seconds)
        histogram = HdrHistogram(1, LATENCY_MICROSECONDS_MAX, 3)
        for nanoseconds in generator.latencies():
            histogram.record_value(min(max(1, nanoseconds // 1_000), LATENCY_MICROSECONDS_MAX))
        quantiles = {name: histogram.get_value_at_percentile(percentile) / 1_000 for name, percentile in QUANTILES}
        achieved = told["requests"] / told["seconds"]
        late = told["late_sends_p99_ms"]
        found.append({**quantiles, "max_ms": histogram.get_max_value() / 1_000, "achieved": achieved, "late": late})
    columns = {name: [row[name] for row in found] for name in found[0]}
    report.figure("open_loop_requests_per_second", rate, "the open loop's schedule: half the highest rate", 0)
    report.fact("open_loop_requests_per_second_achieved", round(statistics.median(columns["achieved"])))
    report.fact("open_loop_connections", OPEN_LOOP_CONNECTIONS)
    report.fact("open_loop_requests_per_round", told["requests"])
    report.fact("open_loop_late_sends_p99_ms", round(statistics.median(columns["late"]), 3))
    for name, percentile in QUANTILES:
        report.spread(
            name, columns[name], f"{percentile:g} % of the single lookups took at most this, from due to answered"
        )
    report.spread("max_ms", columns["max_ms"], "the slowest of a round")


def measure_redis(chosen: Options, report: Report, reader: RegisterReader, certificates: Certificates) -> None:
    count = plain_count(chosen)
    with redis_service.RedisService(chosen, certificates) as service:
        report.fact("redis_version", service.version())
        report.fact("redis_keys", count)
        codes = nation_codes.codes_between(chosen.seed, chosen.residents, 0, count)
        redis_service.load_by_number(service, reader, codes)
        redis_service.get_hit(service, count)
        redis_service.get_rate(service, count, chosen.seconds / 2)
        found = report.measured(lambda: redis_service.get_rate(service, count, chosen.seconds))
    report.rate("redis_get_requests_per_second_32", found, "Redis GET over TLS, 32 connections, by redis-benchmark")


def main() -> int:
    with options(__doc__ or "") as (chosen, _), built_register(chosen) as reader:
        report = Report("Single lookups", chosen)
        certificates = Certificates(chosen.work / "pki")
        codes = random_codes(chosen, 2_000 if chosen.smoke else SAMPLE_CODES)
        digest = expected_digest(reader, codes[:DIGEST_CODES])
        say("starting the server")
        with ServedRegister(chosen, certificates) as server:
            say("measuring")
            generator = Generator(chosen, server, certificates, codes)
            highest = measure_rates(chosen, report, generator, digest)
            measure_latency(chosen, report, generator, highest / 2)
        report.fact("answers_checked", True)
        if redis_service.installed():
            measure_redis(chosen, report, reader, certificates)
        else:
            say(redis_service.MISSING)
        report.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
