"""What feeds do to those who ask: when a commit is visible to every worker, and how fast LOOKUP is meanwhile."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final

import trio

from end_to_end import CONNECTIONS, IN_FLIGHT, Bench, in_batches, lookups, random_codes
from feed_traffic import Batches, FeedLink, Traffic, prefecture_files
from figures import Options, Report, say
from jukinet.clients import Credentials, connect, connect_blocking
from jukinet.core.codes import code_from_key
from jukinet.core.vocabulary import Prefecture
from served import AFFAIR, Certificates, ServedRegister

RATE_PER_SECOND: Final = 2_000
WORKERS: Final = 2
LINKS: Final = 12
"""The kernel spreads connections over the workers; with so many, each worker has some (but for one case in 2,000)."""
COMMITS: Final = 200
SAMPLE_CODES: Final = 65_536 * 16
ROUNDS: Final = 5


def visible_ms(port: int, certificates: Certificates, feed_port: int, batches: Batches, code: int) -> list[float]:
    """For each batch: milliseconds from its acknowledgement until every worker answers from its version."""
    tls = Credentials(certificates.root, certificates.agency, certificates.agency_key)
    feeds: dict[int, FeedLink] = {}
    found: list[float] = []
    with ExitStack() as held:
        sessions = []
        for _ in range(LINKS):
            client = held.enter_context(connect_blocking("localhost", port, tls=tls))
            sessions.append(held.enter_context(client.session(**AFFAIR)))
        version = max(session.lookup([code]).wire.register_version for session in sessions)
        for prefecture, batch in batches:
            if prefecture not in feeds:
                feeds[prefecture] = link = FeedLink(
                    feed_port, certificates.root, *prefecture_files(certificates, prefecture)
                )
                held.callback(link.close)
            feeds[prefecture].notify(batch)
            acknowledged = time.perf_counter()
            version += 1
            waiting = list(sessions)
            while waiting:
                waiting = [s for s in waiting if s.lookup([code]).wire.register_version < version]
            found.append((time.perf_counter() - acknowledged) * 1000)
            time.sleep(0.013)  # so that acknowledgements do not keep step with the workers' looking
    return found


async def ratio_under_feed(
    chosen: Options, report: Report, server: ServedRegister, certificates: Certificates, batches: Batches
) -> None:
    """Bulk LOOKUP with feeds at RATE_PER_SECOND and without, in turn."""
    tls = Credentials(certificates.root, certificates.agency, certificates.agency_key)
    codes = in_batches(random_codes(chosen, 4_000 if chosen.smoke else SAMPLE_CODES), 500 if chosen.smoke else 65_536)
    plain: list[float] = []
    fed: list[float] = []
    sent, sending = 0, 0.0
    rounds = 2 if chosen.smoke else ROUNDS
    share = len(batches) // rounds
    async with AsyncExitStack() as stack:
        sessions = []
        for _ in range(CONNECTIONS):
            client = await stack.enter_async_context(connect("localhost", server.port, tls=tls))
            sessions.append(await stack.enter_async_context(client.session(**AFFAIR)))
        bench = Bench(chosen, report, server, sessions)
        stream = lookups(IN_FLIGHT)
        await bench.round(stream, codes, chosen.seconds)
        for number in range(rounds):
            plain.append(await bench.round(stream, codes, chosen.seconds))
            work = chosen.work / f"traffic-{number}"
            work.mkdir()
            part = batches[number * share : (number + 1) * share]
            traffic = Traffic(work, server.feed_port, certificates, part, RATE_PER_SECOND)
            with traffic:
                started = time.perf_counter()
                fed.append(await bench.round(stream, codes, chosen.seconds))
                sending += time.perf_counter() - started
            sent += traffic.sent
    report.rate("lookup_codes_per_second", plain, "LOOKUP without feeds, 65,536 codes a request")
    report.rate("lookup_under_feed_codes_per_second", fed, "LOOKUP while feeds run")
    report.figure("fed_per_second", sent / sending, "notifications applied a second meanwhile", 0)
    ratios = [one / other for one, other in zip(fed, plain, strict=True)]
    report.figure("lookup_ratio_under_feed", statistics.median(ratios), "of the rate without feeds", 3)


def measure_freshness(
    chosen: Options, report: Report, directory: Path, prepared: Sequence[Batches], seen_key: int
) -> None:
    """``prepared``: transactions for the register in ``directory``, which no process has open; none was applied yet."""
    batches = list(itertools.chain.from_iterable(prepared))
    certificates = Certificates(chosen.work / "pki", Prefecture)
    commits = min(len(batches) // 3, 10 if chosen.smoke else COMMITS)
    say("starting the server, for freshness")
    with ServedRegister(chosen, certificates, fed=directory, workers=WORKERS) as server:
        code = code_from_key(seen_key)
        found = visible_ms(server.port, certificates, server.feed_port, batches[:commits], code)
    report.figure("visible_ms_p50", statistics.median(found), "from the acknowledgement to every worker, ms", 1)
    report.figure("visible_ms_max", max(found), "the longest of these, ms", 1)
    report.fact("visible_workers", WORKERS)
    say("starting the server, for LOOKUP under feeds")
    with ServedRegister(chosen, certificates, fed=directory) as server:
        trio.run(ratio_under_feed, chosen, report, server, certificates, batches[commits:])
