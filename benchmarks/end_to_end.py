"""Rates end to end: one server worker and one client process over mutual TLS, and Redis MGET over TLS beside it."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import trio

import redis_service
from claims import BatchClaims, claims_of
from figures import Options, Report, options, process_cpu_seconds, say
from jukinet.clients import Credentials, Session, connect
from jukinet.clients.requests import Claims
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.index.status import StatusBatch
from jukinet.core.store.reader import RegisterReader
from jukinet.core.wire.answers import parse_status_answer
from jukinet.core.wire.columns import TextColumn
from jukinet.core.wire.frames import HEADER_BYTES
from jukinet.server.nation import codes as nation_codes
from nation_register import (
    BATCH_CODES,
    SINCE,
    WrongAnswerError,
    answer_of,
    built_register,
    check_lookups,
    in_batches,
    looked_up,
    random_codes,
    sorted_third,
)
from plain_records import plain_count
from served import AFFAIR, Certificates, ServedRegister

CONNECTIONS: Final = 3
IN_FLIGHT: Final = 2
SAMPLE_CODES: Final = 48 * BATCH_CODES
VERIFY_BATCHES: Final = 12
SMALL_BATCHES: Final = (1_000, 8_000)
MGET_SAMPLE_KEYS: Final = 1_000_000
MGET_KEYS_EACH: Final = (100, 1_000)
MGET_SHAPES: Final = ((1, 4), (3, 2), (8, 2))
"""Connections and commands under way on each; the best is reported."""

Stream = Callable[[Session, Iterator[Any]], Any]
"""Makes the iterator of answers to a stream of batches."""


def lookups(in_flight: int) -> Stream:
    return lambda session, batches: session.lookup_many(batches, in_flight=in_flight)


def unpacked_lookups(in_flight: int) -> Stream:
    return lambda session, batches: Unpacking(session).lookup_many(batches, in_flight)


def statuses(in_flight: int) -> Stream:
    return lambda session, batches: session.status_many(batches, since=SINCE, in_flight=in_flight)


def verifications(in_flight: int) -> Stream:
    return lambda session, batches: session.verify_many(batches, in_flight=in_flight)


class Bench:
    """Open sessions on a few connections, and rounds of questions over all of them."""

    def __init__(self, chosen: Options, report: Report, server: ServedRegister, sessions: Sequence[Session]) -> None:
        self.chosen = chosen
        self.report = report
        self.server = server
        self.sessions = sessions

    async def round(self, stream: Stream, batches: Sequence[Any], seconds: float) -> float:
        """Codes answered per second while every connection asks its share of the batches over and over."""
        end = trio.current_time() + seconds
        answered = 0

        def upcoming(share: Sequence[Any]) -> Iterator[Any]:
            for batch in itertools.cycle(share):
                yield batch
                if trio.current_time() >= end:
                    return

        async def ask(session: Session, share: Sequence[Any]) -> None:
            nonlocal answered
            async for answer in stream(session, upcoming(share)):
                answered += len(answer.outcomes)

        started = time.perf_counter()
        count = len(self.sessions)
        async with trio.open_nursery() as nursery:
            for place, session in enumerate(self.sessions):
                nursery.start_soon(ask, session, batches[place::count] or batches)
        return answered / (time.perf_counter() - started)

    async def rate(self, name: str, stream: Stream, batches: Sequence[Any], meaning: str) -> float:
        """All rounds of one measurement, and how busy both processes were."""
        await self.round(stream, batches, self.chosen.seconds / 2)
        before = time.perf_counter(), self.server.cpu_seconds(), process_cpu_seconds(os.getpid())
        results: list[float] = []
        for _ in self.report.rounds(results):
            results.append(await self.round(stream, batches, self.chosen.seconds))
        after = time.perf_counter(), self.server.cpu_seconds(), process_cpu_seconds(os.getpid())
        elapsed = after[0] - before[0]
        median = self.report.rate(name, results, meaning)
        part = name.removesuffix("_codes_per_second")
        self.report.fact(f"{part}_server_cpu_percent", round(100 * (after[1] - before[1]) / elapsed))
        self.report.fact(f"{part}_client_cpu_percent", round(100 * (after[2] - before[2]) / elapsed))
        return median

    async def pass_once(self, stream: Stream, batches: Sequence[Any]) -> float:
        """Seconds to ask every batch exactly once, shared over the connections."""
        queue = iter(batches)

        async def ask(session: Session) -> None:
            async for _ in stream(session, queue):
                pass

        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for session in self.sessions:
                nursery.start_soon(ask, session)
        return time.perf_counter() - started


def same_bytes(told: Any, held: Any) -> bool:
    """Whether two answers hold the same columns."""
    for name in held.__struct_fields__:
        one, other = getattr(told, name), getattr(held, name)
        if isinstance(other, TextColumn):
            if bytes(one.offsets) != bytes(other.offsets) or bytes(one.data) != bytes(other.data):
                return False
        elif isinstance(other, memoryview):
            if bytes(one) != bytes(other):
                return False
        elif name != "request_id" and one != other:
            return False
    return True


class Unpacking:
    """A session whose answers are unpacked into all their columns before they count: a caller reads them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def lookup_many(self, batches: Iterator[Any], in_flight: int) -> AsyncIterator[Any]:
        async for answer in self.session.lookup_many(batches, in_flight=in_flight):
            answer.wire.unpacked()
            yield answer


async def check_answers(session: Session, reader: RegisterReader, column: memoryview, claims: BatchClaims) -> None:
    """The served answers are those of the register read in process. Raises WrongAnswerError."""
    with reader.pin() as snapshot:
        held = answer_of(looked_up(LookupBatch(), snapshot, column), len(column))
        status = StatusBatch()
        status.begin(column, SINCE)
        status.run(snapshot, 0, len(column))
        held_status = parse_status_answer(1, SINCE, len(column), status.finish()[HEADER_BYTES:])
    if not same_bytes((await session.lookup(column)).wire, held):
        raise WrongAnswerError("LOOKUP is served otherwise than the register holds")
    if not same_bytes((await session.status(column, since=SINCE)).wire, held_status):
        raise WrongAnswerError("STATUS is served otherwise than the register holds")
    answer = await session.verify(
        claims.codes, names=claims.names, birth_dates=claims.birth_dates, sexes=claims.sexes, addresses=claims.addresses
    )
    claims.check(answer.wire.outcomes, answer.wire.matches)


def verify_batches(reader: RegisterReader, columns: Sequence[memoryview]) -> list[BatchClaims]:
    batch = LookupBatch()
    with reader.pin() as snapshot:
        return [claims_of(answer_of(looked_up(batch, snapshot, column), len(column)), column) for column in columns]


async def measure_served(
    chosen: Options, report: Report, reader: RegisterReader, server: ServedRegister, certificates: Certificates
) -> tuple[float, float]:
    """Everything that the client asks of the server; returns the LOOKUP rate with all columns unpacked, and without."""
    tls = Credentials(certificates.root, certificates.agency, certificates.agency_key)
    sample = random_codes(chosen, 4_000 if chosen.smoke else SAMPLE_CODES)
    batches = in_batches(sample, 500 if chosen.smoke else BATCH_CODES)
    claimed = verify_batches(reader, batches[:VERIFY_BATCHES])
    async with AsyncExitStack() as stack:
        sessions = []
        plain = []
        for packed, opened in ((True, sessions), (False, plain)):
            for _ in range(CONNECTIONS):
                client = await stack.enter_async_context(connect("localhost", server.port, tls=tls, packed=packed))
                opened.append(await stack.enter_async_context(client.session(**AFFAIR)))
        for session in (sessions[0], plain[0]):
            await check_answers(session, reader, batches[0], claimed[0])
        bench = Bench(chosen, report, server, sessions)
        say("measuring")
        rate = await bench.rate(
            "lookup_codes_per_second",
            unpacked_lookups(IN_FLIGHT),
            batches,
            "LOOKUP, full records, 65,536 codes a request, packed, unpacked into every column",
        )
        wire_rate = await bench.rate(
            "lookup_packed_wire_codes_per_second",
            lookups(IN_FLIGHT),
            batches,
            "the same, checked, not unpacked",
        )
        await Bench(chosen, report, server, plain).rate(
            "lookup_plain_codes_per_second", lookups(IN_FLIGHT), batches, "the same, asked for in plain form"
        )
        for size in SMALL_BATCHES:
            await bench.rate(
                f"lookup_{size}_codes_per_second",
                unpacked_lookups(4),
                in_batches(sample, size),
                f"LOOKUP, {size:,} codes a request",
            )
        await bench.rate("status_codes_per_second", statuses(IN_FLIGHT), batches, "STATUS, random codes")
        ascending = in_batches(sorted_third(chosen))
        meaning = "STATUS of a third of the nation in the order of the codes"
        await bench.rate("status_sorted_codes_per_second", statuses(IN_FLIGHT), ascending, meaning)
        report.fact("status_pass_codes", sum(map(len, ascending)))
        seconds = await bench.pass_once(statuses(IN_FLIGHT), ascending)
        report.figure("status_pass_seconds", seconds, "to ask the status of that third once", 3)
        wanted = [Claims(c.codes, c.names, c.birth_dates, c.sexes, c.addresses) for c in claimed]
        await bench.rate("verify_codes_per_second", verifications(IN_FLIGHT), wanted, "VERIFY of four items a code")
    return rate, wire_rate


def measure_redis(chosen: Options, report: Report, reader: RegisterReader, certificates: Certificates) -> float:
    """The best MGET rate of the shapes tried."""
    count = plain_count(chosen)
    with redis_service.RedisService(chosen, certificates) as service:
        report.fact("redis_version", service.version())
        report.fact("redis_keys", count)
        before = service.memory_bytes()
        redis_service.load_by_code(service, reader, nation_codes.codes_between(chosen.seed, chosen.residents, 0, count))
        report.figure(
            "redis_bytes_per_key", (service.memory_bytes() - before) / count, "memory of Redis for one record", 0
        )
        sample = random_codes(chosen, 4_000 if chosen.smoke else MGET_SAMPLE_KEYS, among=count, salt=1)
        best: list[float] = []
        for keys_each in MGET_KEYS_EACH:
            prepared = redis_service.mget_commands(reader, sample, keys_each)
            found = best_mget(chosen, report, service, prepared)
            report.rate(f"redis_mget_{keys_each}_codes_per_second", found, f"Redis MGET of {keys_each:,} keys over TLS")
            best = max(best, found, key=lambda results: statistics.median(results) if results else 0.0)
    return report.rate("redis_mget_codes_per_second", best, "Redis MGET over TLS, the better of these")


def best_mget(
    chosen: Options, report: Report, service: redis_service.RedisService, prepared: redis_service.Commands
) -> list[float]:
    """Rounds in the shape (connections, commands under way) that a short trial finds best."""
    trials = {shape: redis_service.mget_rate(service, prepared, chosen.seconds / 2, *shape) for shape in MGET_SHAPES}
    shape = max(trials, key=lambda candidate: trials[candidate])
    return report.measured(lambda: redis_service.mget_rate(service, prepared, chosen.seconds, *shape))


def main() -> int:
    with options(__doc__ or "") as (chosen, _), built_register(chosen) as reader:
        report = Report("End to end", chosen)
        with reader.pin() as snapshot:
            report.fact("answers_digest", check_lookups(chosen, reader, snapshot, 200 if chosen.smoke else 1_000))
        certificates = Certificates(chosen.work / "pki")
        say("starting the server")
        with ServedRegister(chosen, certificates) as server:
            rate, wire_rate = trio.run(measure_served, chosen, report, reader, server, certificates)
        report.fact("answers_checked", True)
        if redis_service.installed():
            mget = measure_redis(chosen, report, reader, certificates)
            report.figure("lookup_to_redis_ratio", rate / mget, "how many times Redis' rate, every column unpacked", 1)
            meaning = "the same without unpacking; the client of Redis does not parse its replies either"
            report.figure("lookup_packed_wire_to_redis_ratio", wire_rate / mget, meaning, 1)
        else:
            say(redis_service.MISSING)
        report.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
