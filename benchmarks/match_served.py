"""MATCH end to end, for the benchmarks of matching: a real server and a client that reads the answers off the wire."""

from __future__ import annotations

import time
from array import array
from contextlib import AsyncExitStack
from typing import Any, Final

import trio

from figures import Report
from jukinet.clients import Credentials, Session, connect
from jukinet.clients.persons import Persons
from jukinet.core.columns.layout import TextColumn
from jukinet.core.matching.columns import Answers
from jukinet.core.vocabulary import Found
from match_errors import Record
from nation_register import WrongAnswerError
from served import AFFAIR, Certificates, ServedRegister

BATCH_RECORDS: Final = 8_192
CONNECTIONS: Final = 6
WORKERS: Final = 2
IN_FLIGHT: Final = 4
RIGHT_SHARE_MIN: Final = 0.99


def persons_of(some: list[Record]) -> Persons:
    """A batch as a client holds it that read its file into columns."""
    return Persons(
        names=TextColumn.from_texts(record.name for record in some),
        kana=TextColumn.from_texts(record.kana for record in some),
        birth_dates=memoryview(array("I", [record.birth_date for record in some])),
        sexes=memoryview(bytes(record.sex for record in some)),
        addresses=TextColumn.from_texts(record.address for record in some),
    )


async def ask_all(session: Session, batches: list[Persons]) -> int:
    """Every batch once; the rows answered."""
    count = 0
    async for answer in session.match_many(batches, in_flight=IN_FLIGHT):
        count += len(answer)
    return count


async def measure_served(
    report: Report, server: ServedRegister, certificates: Certificates, asked: list[Record], expected: Answers
) -> list[float]:
    """Records a second of each round: TLS, authority, and a durable record of use before every answer."""
    tls = Credentials(certificates.root, certificates.agency, certificates.agency_key)
    batches = [persons_of(asked[at : at + BATCH_RECORDS]) for at in range(0, len(asked), BATCH_RECORDS)]
    results: list[float] = []
    async with AsyncExitStack() as stack:
        sessions = []
        for _ in range(CONNECTIONS):
            client = await stack.enter_async_context(connect("localhost", server.port, tls=tls))
            sessions.append(await stack.enter_async_context(client.session(**AFFAIR)))
        await check_served(sessions[0], batches[0], expected)
        for _ in report.rounds(results):
            started = time.perf_counter()
            counts: list[int] = []

            async def repeat(session: Session, started: float = started, counts: list[int] = counts) -> None:
                while time.perf_counter() < started + report.options.seconds:
                    counts.append(await ask_all(session, batches))

            async with trio.open_nursery() as nursery:
                for session in sessions:
                    nursery.start_soon(repeat, session)
            results.append(sum(counts) / (time.perf_counter() - started))
    return results


async def check_served(session: Session, batch: Persons, expected: Answers) -> None:
    """The served answers find whom the matcher finds in process. WrongAnswerError otherwise."""
    wire: Any = (await session.match(batch)).wire
    count = len(wire.found)
    same = sum(
        left == right or {left, right} <= {Found.NONE, Found.NONE_NOT_CONNECTED}
        for left, right in zip(wire.found, expected.statuses[:count], strict=True)
    )
    if same < RIGHT_SHARE_MIN * count:
        raise WrongAnswerError("MATCH is served otherwise than in process")
