"""What the demo asks, as an agency would, and what came of it: figures and a few rows."""

from __future__ import annotations

import random
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from jukinet.clients.answers import LookupAnswer, LookupRow, StatusRow, VerifyRow
from jukinet.clients.blocking_client import BlockingClient, BlockingSession
from jukinet.clients.codes import batches
from jukinet.clients.demo.place import AFFAIR, HOST, REFUSED_AFFAIR, SEED, Place
from jukinet.clients.demo.processes import DemoError, run_step
from jukinet.clients.errors import NotAuthorisedError
from jukinet.clients.persons import Persons
from jukinet.clients.requests import Claims
from jukinet.clients.trio_client import connect
from jukinet.core.codes import parse_codes
from jukinet.core.vocabulary import Found, Match, Outcome
from jukinet.core.wire.columns import TextColumn

CODES_MAX: Final = 1_000_000
ABSENT: Final = 10_000
RETIRED_MAX: Final = 2_000
BATCH: Final = 32_768
CONNECTIONS: Final = 32
SINGLE_SECONDS: Final = 2.0
VERIFY_ROWS: Final = 131_072
WRONG_ONE_IN: Final = 100
SPACED_ONE_IN: Final = 10
SINCE: Final = "2025-10-01"
"""A year before the synthetic nation's own date (jukinet nation build --date)."""
SHOWN: Final = (
    Outcome.CURRENT, Outcome.CURRENT, Outcome.DEAD, Outcome.MOVED_AWAY, Outcome.REMOVED, Outcome.CODE_CHANGED,
    Outcome.NOT_CONNECTED, Outcome.UNKNOWN, Outcome.BAD_CHECK_DIGIT, Outcome.MALFORMED,
)  # fmt: skip
WORDS: Final[dict[str, Any]] = {"operator": "demo-operator", "reason": "demonstration", "case_reference": "demo"}


@dataclass(slots=True)
class Measured:
    """One act: codes or requests answered, seconds, answers by outcome, and rows worth showing."""

    answered: int = 0
    seconds: float = 0.0
    counts: Counter[Outcome] = field(default_factory=Counter)
    text_bytes: int = 0

    @property
    def rate(self) -> float:
        return self.answered / max(self.seconds, 1e-9)


@dataclass(slots=True)
class Matched(Measured):
    """A match of records without codes: one match, and of these another person than the record is of."""

    one: int = 0
    wrong: int = 0


@dataclass(slots=True)
class Verified(Measured):
    """A verification whose result is known beforehand: what was altered, and what was found."""

    altered: int = 0
    spaced: int = 0
    different: int = 0
    folded: int = 0
    examples: list[tuple[VerifyRow, str]] = field(default_factory=list)


@dataclass(slots=True)
class Singles(Measured):
    """Single lookups: latencies in seconds, sorted."""

    latencies: list[float] = field(default_factory=list)

    def at(self, share: float) -> float:
        """The latency in milliseconds that this share of the requests did not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))] * 1_000


def gather_codes(place: Place) -> array[int]:
    """Codes of residents, retired and absent ones, and a few that are mistyped, in random order."""
    residents = min(place.residents, CODES_MAX)
    retired = min(place.residents // 500, RETIRED_MAX)
    out = run_step(
        "computing codes", "nation", "codes", "--residents", str(place.residents), "--seed", str(SEED),
        "--count", str(residents), "--absent", str(ABSENT), "--retired", str(retired),
    )  # fmt: skip
    texts = out.split()
    # The tenth digit of one and the length of another are mistyped.
    texts += [texts[0][:-1] + str((int(texts[0][-1]) + 1) % 10), texts[0][:-1]]
    random.Random(SEED).shuffle(texts)  # noqa: S311 - the same order each time, no secret
    return parse_codes(texts)


def look_up(session: BlockingSession, codes: array[int]) -> tuple[Measured, list[LookupRow], list[LookupAnswer]]:
    """Everything of everybody; the figures, one row of each kind of outcome, and some answers to build claims from."""
    result = Measured()
    rows: dict[Outcome, list[LookupRow]] = {}
    kept: list[LookupAnswer] = []
    began = time.monotonic()
    for answer in session.lookup_many(batches(codes, _rows(session))):
        result.answered += len(answer)
        result.counts.update(answer.counts())
        if len(kept) * BATCH < VERIFY_ROWS:
            kept.append(answer)
        result.text_bytes += _text_bytes(answer)
        for outcome in set(SHOWN) - rows.keys():
            place = bytes(answer.outcomes).find(outcome)
            if place >= 0:
                later = bytes(answer.outcomes).find(outcome, place + 1)
                rows[outcome] = [answer[at] for at in (place, later) if at >= 0]
    result.seconds = time.monotonic() - began
    shown = []
    for outcome in SHOWN:
        if rows.get(outcome):
            shown.append(rows[outcome].pop(0))
    return result, shown, kept


def check_status(session: BlockingSession, codes: array[int]) -> tuple[Measured, list[StatusRow]]:
    """The mass check that replaces pensioners' yearly reports."""
    result = Measured()
    rows: dict[Outcome, StatusRow] = {}
    began = time.monotonic()
    for answer in session.status_many(batches(codes, _rows(session)), since=SINCE):
        result.answered += len(answer)
        result.counts.update(answer.counts())
        for outcome in answer.counts().keys() - rows.keys():
            rows[outcome] = answer[bytes(answer.outcomes).find(outcome)]
    result.seconds = time.monotonic() - began
    return result, [rows[outcome] for outcome in Outcome if outcome in rows]


def verify(session: BlockingSession, answers: list[LookupAnswer]) -> Verified:
    """Claim what was looked up, with some birth dates wrong and some names written without their space; what comes back
    must be exactly that."""
    result = Verified()
    claims = [_claims(answer, result) for answer in answers]
    matches: list[memoryview[int]] = []
    began = time.monotonic()
    for answer in session.verify_many(claims):
        result.answered += len(answer)
        result.counts.update(answer.counts())
        matches.append(answer.wire.matches)
    result.seconds = time.monotonic() - began
    for column in matches:
        found = Counter(bytes(column))
        result.different += sum(n for byte, n in found.items() if byte >> 2 & 3 == Match.DIFFERENT)
        result.folded += sum(n for byte, n in found.items() if byte & 3 == Match.FOLDED)
    return result


def match(session: BlockingSession, answers: list[LookupAnswer]) -> Matched:
    """Ask whom reading, birth date and sex alone mean, as records without a code have them; what comes back must be who
    they were taken from."""
    result = Matched()
    asked = [_unresolved(answer) for answer in answers]
    began = time.monotonic()
    found = []
    for answer in session.match_many(persons for persons, _ in asked):
        result.answered += len(answer)
        found.append((bytes(answer.wire.found), answer.wire.codes))
    result.seconds = time.monotonic() - began
    for (_, codes), (statuses, matched) in zip(asked, found, strict=True):
        for code, status, other in zip(codes, statuses, matched, strict=True):
            result.one += status == Found.ONE
            result.wrong += status == Found.ONE and code != other
    return result


def ask_singly(place: Place, codes: array[int]) -> Singles:
    """Lookups of one code each over many connections of one process, one under way on each."""
    result = Singles()
    try:
        trio.run(_ask_singly, place, codes, result)
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    result.latencies.sort()
    return result


def be_refused(client: BlockingClient) -> str:
    """Open a session for an affair of another ministry; the refusal. DemoError when it is granted."""
    try:
        with client.session(**REFUSED_AFFAIR, **WORDS):
            pass
    except NotAuthorisedError as error:
        return error.server_message
    raise DemoError("the server granted an affair that it must refuse")


def be_refused_a_function(client: BlockingClient, code: int) -> str:
    """Look up under an affair that may only verify and check status; the refusal."""
    with client.session(schedule=1, item="77", **WORDS) as session:
        try:
            session.lookup([code])
        except NotAuthorisedError as error:
            return error.server_message
    raise DemoError("the server granted a function that it must refuse")


def _rows(session: BlockingSession) -> int:
    return min(BATCH, session.codes_per_request_max)


def _text_bytes(answer: LookupAnswer) -> int:
    wire = answer.wire
    return sum(
        len(column.data) for column in (wire.names, wire.kana, wire.aliases, wire.addresses) if column is not None
    )


def _claims(answer: LookupAnswer, result: Verified) -> Claims:
    wire = answer.wire
    names = wire.names.to_list()
    birth_dates = array("I", wire.birth_dates)
    for row in range(0, len(names), SPACED_ONE_IN):
        joined = names[row].replace("\u3000", "").replace(" ", "")
        result.spaced += joined != names[row]
        names[row] = joined
    for row in range(5, len(names), WRONG_ONE_IN):
        if names[row] and birth_dates[row]:
            birth_dates[row] = 19010101 if birth_dates[row] != 19010101 else 19010102
            result.altered += 1
    return Claims(answer.codes, TextColumn.from_texts(names), memoryview(birth_dates), wire.sexes)


def _unresolved(answer: LookupAnswer) -> tuple[Persons, list[int]]:
    """The persons of an answer as records without a code: reading, birth date, sex; and their codes."""
    wire = answer.wire
    rows = [row for row, kana in enumerate(wire.kana.to_list()) if kana and wire.birth_dates[row] % 100]
    persons = Persons(
        kana=[wire.kana[row] for row in rows],
        birth_dates=[wire.birth_dates[row] for row in rows],
        sexes=[wire.sexes[row] for row in rows],
    )
    return persons, [answer.codes[row] for row in rows]


async def _ask_singly(place: Place, codes: array[int], result: Singles) -> None:
    ready = trio.Event()
    waiting = CONNECTIONS

    async def ask(numbers: Iterator[int]) -> None:
        nonlocal waiting
        async with connect(HOST, place.port, tls=place.credentials) as client:  # noqa: SIM117
            async with client.session(**AFFAIR, **WORDS) as session:
                waiting -= 1
                if not waiting:
                    ready.set()
                await ready.wait()
                clock = time.perf_counter
                before = clock()
                end = before + SINGLE_SECONDS
                while before < end:
                    await session.lookup_one(next(numbers))
                    now = clock()
                    result.latencies.append(now - before)
                    before = now

    async with trio.open_nursery() as nursery:
        for number in range(CONNECTIONS):
            nursery.start_soon(ask, iter(_around(codes, number * len(codes) // CONNECTIONS)))
        await ready.wait()
        began = trio.current_time()
    result.seconds = trio.current_time() - began
    result.answered = len(result.latencies)


def _around(codes: array[int], first: int) -> Iterator[int]:
    while True:
        for place in range(first, len(codes)):
            yield codes[place]
        first = 0


def session_words() -> dict[str, Any]:
    """The affair under which the demo asks."""
    return {**AFFAIR, **WORDS}
