"""The consistency check: whether the centre holds what the prefecture holds, and which codes differ if not.

One exchange proves equality: the greeting's digest against that of the holdings. Otherwise `core.feed.comparison`
descends both sides' digests, and its questions go over the feed's connection. What differs is mended by sending it
again from the source (Act 30-11(5)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from jukinet.clients.errors import EXIT_SERVER, ClientError
from jukinet.clients.feed.holdings import Holdings
from jukinet.clients.feed.sender import FeedSender
from jukinet.clients.transport.trio_link import Link
from jukinet.core.feed.comparison import Answer, Difference, HoldingsAnswers, Question, Side, descent
from jukinet.core.feed.comparison import Comparison as Found
from jukinet.core.feed.holdings import Digest
from jukinet.core.wire.feed_messages import Compare, Compared

MENDED_ROWS: Final = 10_000
SIDE_WORDS: Final = {Side.OWN_ONLY: "only_here", Side.OTHER_ONLY: "only_there", Side.BOTH: "unequal"}


class ComparisonError(ClientError):
    """The two sides cannot be compared as they are now; the message says what to do."""

    exit_code = EXIT_SERVER


@dataclass(slots=True)
class Differences:
    """Codes by what is the matter with them, and what the comparison cost.

    ``complete``: False when more differ than are listed. ``bytes``: of payloads asked and answered behind the greeting.
    """

    found: list[Difference] = field(default_factory=list, repr=False)
    complete: bool = True
    held_here: int = 0
    held_there: int = 0
    exchanges: int = 1
    bytes: int = 0

    def count(self, word: str | None = None) -> int:
        """How many differ, or differ in the way that `rows` names with this word."""
        return sum(word is None or SIDE_WORDS[each.side] == word for each in self.found)

    def rows(self) -> Iterator[tuple[int, str]]:
        """(code, what is the matter), by code."""
        return ((each.code, SIDE_WORDS[each.side]) for each in self.found)


class Comparison:
    """One comparison over one connection. Everything in the outbox must be delivered and in the holdings."""

    def __init__(self, sender: FeedSender, holdings: Holdings) -> None:
        self._sender = sender
        self._holdings = holdings
        self._position = 0
        self.differences = Differences()

    async def run(self) -> Differences:
        """What differs. ComparisonError when rows are still on their way; else raises as `FeedSender.connected`."""
        link = await self._sender.connected()
        try:
            greeting, state = self._sender.greeting, self._sender.outbox.state
            assert greeting is not None
            assert state.base is not None
            self._position = greeting.position
            if state.waiting or state.held != state.last or greeting.position != state.last + state.base:
                raise ComparisonError("rows are still on their way: deliver them first")
            there = Digest(greeting.digest_count, greeting.digest_sum)
            with self._holdings.snapshot() as snapshot:
                databases = self._holdings.register.writer.databases
                own = HoldingsAnswers(snapshot, databases, self._holdings.prefecture)
                found = self.differences
                found.held_here, found.held_there = own.total().count, there.count
                outcome = await self._descend(link, own, there)
                found.found, found.complete = outcome.differences, outcome.complete
        finally:
            await link.aclose()
        return found

    async def _descend(self, link: Link, own: HoldingsAnswers, there: Digest) -> Found:
        """Take the descent's questions to the register."""
        steps = descent(own, there)
        answer: Any = None
        try:
            while True:
                answer = await self._ask(link, steps.send(answer))
        except StopIteration as end:
            outcome: Found = end.value
            return outcome
        finally:
            steps.close()

    async def _ask(self, link: Link, question: Question) -> Answer:
        answer: Compared = await link.ask(Compare, (question.kind, question.ranges))
        if answer.position != self._position:
            raise ComparisonError("the feed went on while it was compared: compare again when nothing else is sent")
        found = self.differences
        found.exchanges += 1
        found.bytes += 16 * len(question.ranges) + len(answer.rows)
        counts = None
        if answer.offsets is not None:
            found.bytes += 4 * len(answer.offsets)
            counts = [stop - start for start, stop in pairwise(answer.offsets)]
        return Answer(bytes(answer.rows), counts)


def mend(holdings: Holdings, differences: Differences) -> int:
    """Put again what differs, as statements of the holdings; what they do not hold, as a range with nothing in it.

    How many rows were put. They still have to be delivered.
    """
    codes = [each.code for each in differences.found]
    for start in range(0, len(codes), MENDED_ROWS):
        keys = [code // 10 for code in codes[start : start + MENDED_ROWS]]
        statements = holdings.statements_of(keys)
        holdings.outbox.put([(each, "compare") for each in statements if each is not None])
        holdings.catch_up()
        for key, statement in zip(keys, statements, strict=True):
            if statement is None:
                holdings.put_nothing_at(key)
    return len(codes)
