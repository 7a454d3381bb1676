"""Move-in notices (転入通知) over a feed's connection, for Trio: each call may be repeated, and takes effect once.

A notice is known by the number that its sender gives it (``notice_id``, with the prefecture) and by the register's own.
So after a lost answer the same is simply asked again: a notice is kept once, is given until its receipt is durable, and
a receiver knows by the number what it already has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import msgspec
import trio

from jukinet.clients.errors import BadRequestError, ClientError, ConnectionFailedError
from jukinet.clients.feed.sender import FEED_DEADLINES, FEED_RETRY
from jukinet.clients.settings import FEED, Credentials, Deadlines, Retry
from jukinet.clients.transport.exchange import Exchange
from jukinet.clients.transport.trio_link import Link, open_link
from jukinet.core.limits import NOTICES_MAX
from jukinet.core.vocabulary import Prefecture
from jukinet.core.wire import FeedClientConnection
from jukinet.core.wire import feed_messages as f

NUMBERS_AT_ONCE: Final = 1_000
assert NUMBERS_AT_ONCE <= NOTICES_MAX

Result = TypeVar("Result")


class NoticeClient:
    """Leaves and takes notices over a connection that its owner closes: one of `open_notices`, or `FeedSender.link`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def leave(self, notice: f.NoticeLeave) -> int:
        """Leave a notice (its request_id does not matter); the register's number for it, once it is durable.

        BadRequestError: an area that the register does not have, or other content under a known notice_id.
        RateExceededError: too many of this prefecture's notices were not received yet.
        """
        fields = msgspec.structs.asdict(notice)
        del fields["request_id"]
        answer = await self._link.ask(_Leave(fields), ())
        assert isinstance(answer, f.NoticeKept)
        return answer.number

    async def take(self, notices_max: int = NOTICES_MAX) -> tuple[list[f.Notice], int]:
        """The oldest notices for this prefecture that it has not confirmed, and how many more there are."""
        answer = await self._link.ask(f.NoticeTake, (notices_max,))
        assert isinstance(answer, f.Notices)
        return answer.notices, answer.remaining

    def to_hand_on(self, notices: Iterable[f.Notice]) -> Counter[int]:
        """How many of the notices taken are for each municipality of this prefecture that is not connected, by area.

        The register gives them to the prefecture all the same; it has to hand them on by other means.
        """
        greeting = self._link.exchange.greeting
        assert isinstance(greeting, f.FeedGreeting)
        return Counter(notice.to_area for notice in notices if notice.to_area not in greeting.areas)

    async def received(self, numbers: Iterable[int]) -> int:
        """Confirm notices that are durably kept here; how many of them were open until now."""
        closed = 0
        for some in _batches(numbers):
            answer = await self._link.ask(f.NoticeReceived, (some,))
            assert isinstance(answer, f.NoticeClosed)
            closed += answer.closed
        return closed

    async def own(self) -> AsyncIterator[f.Notice]:
        """This prefecture's own notices that were not received, by number."""
        after, remaining = 0, 1
        while remaining:
            answer = await self._link.ask(f.NoticeList, (after, NOTICES_MAX))
            assert isinstance(answer, f.NoticeStates)
            for notice in answer.notices:
                yield notice
            remaining = answer.remaining if answer.notices else 0
            after = answer.notices[-1].number if answer.notices else after


def hand_on_words(to_hand_on: Counter[int]) -> str:
    """What an operator is told of `NoticeClient.to_hand_on`, where there is any: areas and counts, nobody's data."""
    listed = ", ".join(f"{count:,} for {area:05d}" for area, count in sorted(to_hand_on.items()))
    return f"{listed}: not connected, to be handed on by other means"


class _Leave:
    """Makes the message when its request_id is known: its fields go by name."""

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def __call__(self, request_id: int) -> f.NoticeLeave:
        return f.NoticeLeave(request_id, **self._fields)  # type: ignore[arg-type]


def _batches(numbers: Iterable[int]) -> Iterable[list[int]]:
    listed = list(numbers)
    return [listed[start : start + NUMBERS_AT_ONCE] for start in range(0, len(listed), NUMBERS_AT_ONCE)]


@asynccontextmanager
async def open_notices(
    host: str, port: int, *, tls: Credentials, prefecture: int, deadlines: Deadlines | None = None
) -> AsyncIterator[NoticeClient]:
    """Notices over a connection of its own; raises as `open_link_of`."""
    async with open_link_of(host, port, tls=tls, body=Prefecture(prefecture).body, deadlines=deadlines) as link:
        yield NoticeClient(link)


@asynccontextmanager
async def open_link_of(
    host: str, port: int, *, tls: Credentials, body: str, deadlines: Deadlines | None = None
) -> AsyncIterator[Link]:
    """A connection of a prefecture or witness. It has one at a time: FeedTakenError while another client is connected.

    ConnectionFailedError where the certificate is another body's; otherwise raises what `open_link` does.
    """
    link = await open_link(host, port, tls, deadlines or FEED_DEADLINES, FEED, Exchange(FeedClientConnection()))
    try:
        greeting = link.exchange.greeting
        assert isinstance(greeting, f.FeedGreeting)
        if greeting.body != body:
            raise ConnectionFailedError(f"the certificate is that of {greeting.body}, not that of {body}")
        yield link
    finally:
        await link.aclose()


async def tried(work: Callable[[], Awaitable[Result]], retry: Retry = FEED_RETRY) -> Result:
    """Do the work, anew after what passes by itself: each try begins with a connection of its own."""
    failures = 0
    while True:
        try:
            return await work()
        except ClientError as error:
            failures += 1
            if isinstance(error, BadRequestError) or not error.repeatable or failures >= retry.tries:
                raise
            await trio.sleep(retry.wait_seconds(failures, float(getattr(error, "retry_after", 0.0))))
