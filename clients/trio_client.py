"""The Trio client: `connect`, `Client`, `Session`. See docs/clients.md for a tour."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import trio

from jukinet.clients import requests
from jukinet.clients.answers import Answer, HistoryAnswer, LookupAnswer, LookupRow, StatusAnswer, VerifyAnswer
from jukinet.clients.card_watch import CardWatch
from jukinet.clients.codes import Code, Codes, code_number
from jukinet.clients.cohorts import (
    NO_CODES,
    ChangesAnswer,
    Cohort,
    Cursor,
    changes_request,
    cohorts_of,
    put_requests,
)
from jukinet.clients.errors import ClientError, ConnectionLostError, DrainingError, OperatorCardRemovedError
from jukinet.clients.operators import OperatorCredential, proof_of
from jukinet.clients.persons import MatchAnswer, Persons, PersonsAnswer, SearchAnswer, find_arguments, search_rows_max
from jukinet.clients.places import PackedColumnsOnDemand, Places
from jukinet.clients.requests import Affair, Claims, DateLike, Grant
from jukinet.clients.settings import IN_FLIGHT_DEFAULT, Credentials, Deadlines, Retry
from jukinet.clients.transport.exchange import Pending, ProgressCallback
from jukinet.clients.transport.trio_link import Link, open_link
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.vocabulary import Function, Item, Sex
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import TextColumn

AnyAnswer = TypeVar("AnyAnswer", bound=Answer[Any] | PersonsAnswer[Any])


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    *,
    tls: Credentials,
    deadlines: Deadlines | None = None,
    retry: Retry | None = None,
    packed: bool | None = None,
) -> AsyncIterator[Client]:
    """Connect to a query service, and again when the connection is lost, as ``retry`` says.

    ConfigurationError for unusable credentials, ConnectionFailedError or DeadlineExceededError when there is no
    connection to be had, UnknownBodyError when the register does not know the certificate's body.

    packed: whether answers to lookups come in fewer bytes and are unpacked here, which is the same to the caller; None:
    when it is worth fetching the register's towns first.
    """
    client = Client(host, port, tls, deadlines or Deadlines(), retry or Retry(), packed)
    await client._begin()
    try:
        yield client
    finally:
        await client._aclose()


class Client:
    """One connection to the register, made anew when it is lost. For any number of tasks of one Trio run; open several
    clients for several connections. Made by `connect`."""

    def __init__(
        self, host: str, port: int, tls: Credentials, deadlines: Deadlines, retry: Retry, packed: bool | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.retry = retry
        self._tls = tls
        self._deadlines = deadlines
        self._link: Link | None = None
        self._replaced: list[Link] = []
        self._connecting = trio.Lock()
        self._closed = False
        self._packed = packed
        self._places: Places | None = None
        self._fetching = trio.Lock()

    @property
    def greeting(self) -> m.Greeting:
        """What the server said of itself, of this peer and of its limits, on the latest connection."""
        greeting = self._link.exchange.greeting if self._link is not None else None
        if greeting is None:
            raise RuntimeError("not connected: use `async with connect(...)`")
        assert isinstance(greeting, m.Greeting)
        return greeting

    async def ping(self) -> float:
        """Ask the server for a sign of life; the round trip in seconds."""
        started = trio.current_time()
        link = await self._connected()
        await link.ask(m.Ping, ())
        return trio.current_time() - started

    @asynccontextmanager
    async def session(
        self,
        *,
        schedule: int,
        item: str,
        number: int = 0,
        operator: str,
        reason: str,
        case_reference: str = "",
        credential: OperatorCredential | None = None,
    ) -> AsyncIterator[Session]:
        """Open an affair session: the authority under which is asked, by whom and why (all of it is recorded).

        credential: what the operator proves itself with; None where the register takes the body's word for it.
        OperatorRefusedError when that fails, OperatorRequiredError when it is missing or the operator was idle.

        NotAuthorisedError when the body has no authority for the affair today.
        """
        affair = Affair(schedule, item, number, operator, reason, case_reference)
        session = Session(self, affair, credential)
        await session._retrying(session._ready)
        watch = CardWatch(credential, session._socket)
        watch.begin()
        try:
            yield session
        except BaseException:
            session._leave()
            raise
        finally:
            watch.end()
        await session._close()

    async def _begin(self) -> None:
        """The first connection, tried again while the server seems to be starting."""
        began, failures = trio.current_time(), 0
        while True:
            try:
                await self._connected()
            except ClientError as error:
                failures += 1
                wait = self.retry.wait_for_start(error, failures, trio.current_time() - began)
                if wait is None:
                    raise
            else:
                return
            await trio.sleep(wait)

    async def _connected(self) -> Link:
        if self._link is not None and self._link.exchange.usable:
            return self._link
        async with self._connecting:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._link is None or not self._link.exchange.usable:
                link = await open_link(self.host, self.port, self._tls, self._deadlines)
                if self._link is not None:
                    self._replaced.append(self._link)  # requests under way there may still be answered
                self._link = link
                for old in [old for old in self._replaced if not old.exchange.pending]:
                    self._replaced.remove(old)
                    await old.aclose()
            return self._link

    def _places_of(self, link: Link) -> Places:
        """What is known of the places of the link's register."""
        greeting = link.exchange.greeting
        assert isinstance(greeting, m.Greeting)
        if self._places is None or self._places.register != greeting.register:
            self._places = Places(greeting.register, self._packed)
        return self._places

    async def _aclose(self) -> None:
        self._closed = True
        for link in (*self._replaced, self._link):
            if link is not None:
                await link.aclose()


class Session:
    """Questions under one affair. A lost connection is made anew and the session opened again, within ``retry``."""

    def __init__(self, client: Client, affair: Affair, credential: OperatorCredential | None = None) -> None:
        self.affair = affair
        self._credential = credential
        self._client = client
        self._link: Link | None = None
        self._grant: Grant | None = None
        self._opening = trio.Lock()

    @property
    def grant(self) -> Grant:
        """What the affair may do: functions, items, codes a request, last day."""
        if self._grant is None:
            raise RuntimeError("the session is not open: use `async with client.session(...)`")
        return self._grant

    @property
    def functions(self) -> Function:
        return self.grant.functions

    @property
    def items(self) -> Item:
        return self.grant.items

    @property
    def codes_per_request_max(self) -> int:
        return self.grant.codes_per_request_max

    async def lookup(
        self, codes: Codes, *, items: Item | None = None, progress: ProgressCallback | None = None
    ) -> LookupAnswer:
        """The items of each code's resident; None asks for all that the affair may see. At most
        ``codes_per_request_max`` codes: TooManyCodesError. Items outside the grant: NotAuthorisedError."""
        arguments = requests.lookup_arguments(codes, items, self.codes_per_request_max)
        return LookupAnswer(await self._ask(m.LookupRequest, arguments, progress), arguments[1])

    async def lookup_one(self, code: Code, *, items: Item | None = None) -> LookupRow:
        """`lookup` of a single code, as its row."""
        column = memoryview(code_number(code).to_bytes(8, "little")).cast("Q")
        answer = await self._ask(m.LookupRequest, (0 if items is None else int(items), column), None)
        return LookupAnswer(answer, column)[0]

    async def status(self, codes: Codes, *, since: DateLike, progress: ProgressCallback | None = None) -> StatusAnswer:
        """What became of each code: CHANGED when something was registered on or after ``since``, a full date."""
        arguments = requests.status_arguments(codes, since, self.codes_per_request_max)
        return StatusAnswer(await self._ask(m.StatusRequest, arguments, progress), arguments[1])

    async def verify(
        self,
        codes: Codes,
        *,
        names: Iterable[str] | TextColumn | None = None,
        birth_dates: Iterable[DateLike] | memoryview[int] | None = None,
        sexes: Iterable[int | Sex] | memoryview[int] | None = None,
        addresses: Iterable[str] | TextColumn | None = None,
        progress: ProgressCallback | None = None,
    ) -> VerifyAnswer:
        """Whether the claimed items agree with the register; nothing else is disclosed. One claim a code in each column
        given; an empty text, date 0 or sex 0 claims nothing."""
        claims = Claims(codes, names, birth_dates, sexes, addresses)
        arguments = requests.verify_arguments(claims, self.codes_per_request_max)
        return VerifyAnswer(await self._ask(m.VerifyRequest, arguments, progress), arguments[1])

    async def history(
        self, codes: Codes, *, items: Item | None = None, progress: ProgressCallback | None = None
    ) -> HistoryAnswer:
        """The earlier records under each code, inside their retention, the latest first; None asks for all items that
        the affair may see. At most 1,024 codes, and no more than ``codes_per_request_max``: TooManyCodesError."""
        arguments = requests.history_arguments(codes, items, self.codes_per_request_max)
        return HistoryAnswer(await self._ask(m.HistoryRequest, arguments, progress), arguments[1])

    async def search(
        self,
        persons: Persons,
        *,
        items: Item | None = None,
        prefix: bool = False,
        progress: ProgressCallback | None = None,
    ) -> SearchAnswer:
        """All persons whom each row may mean, at most as many as the affair's cap; None asks for all items that the
        affair may see. prefix: names and readings may be beginnings. At most 1,024 rows: TooManyCodesError."""
        rows_max = search_rows_max(self.codes_per_request_max)
        arguments = find_arguments(persons, items, prefix, rows_max)
        return SearchAnswer(await self._ask(m.SearchRequest, arguments, progress), arguments[1])

    async def match(
        self, persons: Persons, *, items: Item | None = None, progress: ProgressCallback | None = None
    ) -> MatchAnswer:
        """The one person whom each row means, where the affair's threshold is reached; None asks for all items that the
        affair may see. At most ``codes_per_request_max`` rows: TooManyCodesError."""
        arguments = find_arguments(persons, items, False, self.codes_per_request_max)
        return MatchAnswer(await self._ask(m.MatchRequest, arguments, progress), arguments[1])

    def match_many(
        self, batches: Iterable[Persons], *, items: Item | None = None, in_flight: int = IN_FLIGHT_DEFAULT
    ) -> AnswersInOrder[MatchAnswer]:
        """`match` of batch after batch, like `lookup_many`."""

        def arguments(batch: Persons) -> tuple[Any, ...]:
            return find_arguments(batch, items, False, self.codes_per_request_max)

        return AnswersInOrder(self, m.MatchRequest, MatchAnswer, map(arguments, batches), in_flight)

    def lookup_many(
        self, batches: Iterable[Codes], *, items: Item | None = None, in_flight: int = IN_FLIGHT_DEFAULT
    ) -> AnswersInOrder[LookupAnswer]:
        """Look up batch after batch, up to ``in_flight`` requests under way; answers in the order of the batches."""

        def arguments(batch: Codes) -> tuple[Any, ...]:
            return requests.lookup_arguments(batch, items, self.codes_per_request_max)

        return AnswersInOrder(self, m.LookupRequest, LookupAnswer, map(arguments, batches), in_flight)

    def history_many(
        self, batches: Iterable[Codes], *, items: Item | None = None, in_flight: int = IN_FLIGHT_DEFAULT
    ) -> AnswersInOrder[HistoryAnswer]:
        """`history` of batch after batch, like `lookup_many`."""

        def arguments(batch: Codes) -> tuple[Any, ...]:
            return requests.history_arguments(batch, items, self.codes_per_request_max)

        return AnswersInOrder(self, m.HistoryRequest, HistoryAnswer, map(arguments, batches), in_flight)

    def status_many(
        self, batches: Iterable[Codes], *, since: DateLike, in_flight: int = IN_FLIGHT_DEFAULT
    ) -> AnswersInOrder[StatusAnswer]:
        """`status` of batch after batch, like `lookup_many`."""

        def arguments(batch: Codes) -> tuple[Any, ...]:
            return requests.status_arguments(batch, since, self.codes_per_request_max)

        return AnswersInOrder(self, m.StatusRequest, StatusAnswer, map(arguments, batches), in_flight)

    def verify_many(
        self, batches: Iterable[Claims], *, in_flight: int = IN_FLIGHT_DEFAULT
    ) -> AnswersInOrder[VerifyAnswer]:
        """`verify` of batch after batch, like `lookup_many`."""

        def arguments(batch: Claims) -> tuple[Any, ...]:
            return requests.verify_arguments(batch, self.codes_per_request_max)

        return AnswersInOrder(self, m.VerifyRequest, VerifyAnswer, map(arguments, batches), in_flight)

    async def register_cohort(self, name: str, batches: Iterable[Codes]) -> Cohort:
        """Have the register keep these codes, ascending strictly over all batches, in place of what it kept before.

        The old codes answer until the last are stored. ``jukinet.clients.batches`` cuts a sorted column. A connection
        that is lost on the way ends the registration (BadRequestError): begin anew.
        """
        stored: Any = None
        for arguments in put_requests(name, batches, self.codes_per_request_max):
            stored = await self._ask(m.CohortPut, arguments, None)
        return cohorts_of(stored)[0]

    async def cohort_changes(self, name: str, cursor: Cursor, *, rows_max: int | None = None) -> ChangesAnswer:
        """The cohort's codes that changed since the cursor and how they stand now; its ``cursor`` is the next one.

        CursorExpiredError when the register no longer knows so far back: ask `status` of all codes, register anew.
        """
        arguments = changes_request(name, cursor, rows_max, self.codes_per_request_max)
        return ChangesAnswer(await self._ask(m.CohortChanges, arguments, None))

    async def cohorts(self) -> list[Cohort]:
        """The cohorts that the register keeps for this affair."""
        return cohorts_of(await self._ask(m.CohortPut, (int(m.CohortStep.LIST), "", NO_CODES), None))

    async def drop_cohort(self, name: str) -> Cohort:
        """Have the register forget a cohort; the one that was dropped. BadRequestError when there is none."""
        return cohorts_of(await self._ask(m.CohortPut, (int(m.CohortStep.DROP), name, NO_CODES), None))[0]

    async def _ask(self, kind: Any, arguments: tuple[Any, ...], progress: ProgressCallback | None) -> Any:
        failures = 0
        while True:
            try:
                link = await self._ready()
                pending = await link.start(kind, self._fields(link, kind, arguments), progress)
                return await self._complete(link, await link.finish(pending))
            except ClientError as error:
                failures += 1
                await self._back_off(error, failures)

    def _fields(self, link: Link, kind: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """A request's fields, with the form of its answer for LOOKUP."""
        grant = self.grant
        if kind is not m.LookupRequest or not grant.packed:
            return grant.session_id, *arguments
        items, codes = arguments
        form = self._client._places_of(link).form(items or grant.items, len(codes))
        return grant.session_id, items, codes, form

    async def _complete(self, link: Link, answer: Any) -> Any:
        """The answer, of which a packed one can be unpacked now: the towns that it needs are known."""
        if not isinstance(answer, m.PackedLookupAnswer):
            return answer
        places = self._client._places_of(link)
        if not places.suffice(answer):
            async with self._client._fetching:
                while not places.suffice(answer):
                    if link is not self._link or not link.exchange.usable:
                        raise ConnectionLostError("the connection ended before the register's towns were here")
                    fields = (self.grant.session_id, *places.question())
                    if places.take(await link.ask(m.TownsRequest, fields)) and not places.suffice(answer):
                        raise RemoteProtocolError("an answer names more towns than the register has")
        return PackedColumnsOnDemand(answer, places.table)

    async def _retrying(self, step: Callable[[], Any]) -> Any:
        failures = 0
        while True:
            try:
                return await step()
            except ClientError as error:
                failures += 1
                await self._back_off(error, failures)

    async def _back_off(self, error: ClientError, failures: int) -> None:
        """Wait before the next try, or raise the error again when there is to be none."""
        if isinstance(error, DrainingError) and self._link is not None:
            self._link.exchange.draining = True
        wait = self._client.retry.wait_after(error, failures)
        if wait is None:
            raise error
        await trio.sleep(wait)

    async def _ready(self) -> Link:
        """The connection on which the session is open, opening it again where needed."""
        link = self._link
        if self._credential is not None:
            await self._heed_card(self._credential)
        if link is not None and link.exchange.usable and self._is_proved(link):
            return link
        async with self._opening:
            link = await self._client._connected()
            await self._log_in(link)
            if link is not self._link:
                opened = await link.ask(m.OpenSession, self.affair.fields())
                self._grant = requests.grant_from_wire(opened)
                self._link = link
        return link

    async def _heed_card(self, credential: OperatorCredential) -> None:
        """Close the connection when the operator's card is gone."""
        try:
            credential.check_present()
        except OperatorCardRemovedError:
            if self._link is not None:
                await self._link.aclose()
            raise

    def _socket(self) -> socket.socket | None:
        """What the session lies on, for its card's watch."""
        return None if self._link is None else self._link.socket

    def _is_proved(self, link: Link) -> bool:
        """Whether nothing need be proved now: a key signs anew after a while, or the register takes it for gone."""
        if self._credential is None:
            return True
        proved = link.operators.get(self.affair.operator)
        return proved is not None and not self._credential.is_old(trio.current_time() - proved)

    async def _log_in(self, link: Link) -> None:
        """Prove on this connection who the operator is, when that is due."""
        name = self.affair.operator
        if self._credential is None or self._is_proved(link):
            return
        now = trio.current_time()
        challenge = await link.ask(m.OperatorLogin, (name,))
        greeting = link.exchange.greeting
        assert isinstance(greeting, m.Greeting)
        proof = await trio.to_thread.run_sync(proof_of, self._credential, challenge, greeting, link.certificates, name)
        await link.ask(m.OperatorProof, (name, proof))
        link.operators[name] = now

    async def _close(self) -> None:
        link = self._link
        if link is None or not link.exchange.usable:
            return
        with trio.move_on_after(link.deadlines.close):
            try:
                await link.ask(m.CloseSession, (self.grant.session_id,))
            except ClientError:
                pass  # the server forgets the session with its connection

    def _leave(self) -> None:
        """Close without waiting for the answer."""
        if self._link is not None and self._link.exchange.usable:
            self._link.post(m.CloseSession, (self.grant.session_id,))


class _Flight:
    """One batch on its way: its request's fields, and where it is under way."""

    __slots__ = ("arguments", "link", "pending")

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.link: Link | None = None
        self.pending: Pending | None = None

    def land(self) -> None:
        """Forget a failed try of the kind that passes, so that the batch is started again."""
        pending = self.pending
        if pending is not None and pending.failure is not None and pending.failure().repeatable:
            self.pending = None


class AnswersInOrder(Generic[AnyAnswer]):
    """Async iterator over the answers to many batches, in order, several requests under way at a time.

    An error that `Retry` does not cover ends it. After leaving early call `close`, or the batches under way are still
    answered (and recorded as provided).
    """

    def __init__(
        self,
        session: Session,
        kind: Any,
        wrap: Callable[[Any, Any], AnyAnswer],
        arguments: Iterator[tuple[Any, ...]],
        in_flight: int,
    ) -> None:
        if in_flight < 1:
            raise ValueError("in_flight must be at least 1")
        self._session = session
        self._kind = kind
        self._wrap = wrap
        self._arguments = arguments
        self._in_flight = in_flight
        self._flights: deque[_Flight] = deque()
        self._exhausted = False

    def __aiter__(self) -> AnswersInOrder[AnyAnswer]:
        return self

    async def __anext__(self) -> AnyAnswer:
        try:
            await self._fill()
            answer = await self._head() if self._flights else None
        except BaseException:
            self.close()
            raise
        if answer is None:
            raise StopAsyncIteration
        flight = self._flights.popleft()
        return self._wrap(answer, flight.arguments[1])

    def close(self) -> None:
        """Cancel what is under way; the iterator is at its end."""
        self._exhausted = True
        while self._flights:
            flight = self._flights.popleft()
            if flight.link is not None and flight.pending is not None:
                flight.link.abandon(flight.pending)

    async def _fill(self) -> None:
        while not self._exhausted and len(self._flights) < self._in_flight:
            arguments = next(self._arguments, None)
            if arguments is None:
                self._exhausted = True
                return
            flight = _Flight(arguments)
            self._flights.append(flight)
            try:
                await self._start(flight)
            except ClientError as error:
                if not error.repeatable:
                    raise
                return  # started again when its turn comes

    async def _start(self, flight: _Flight) -> None:
        session = self._session
        flight.link = await session._ready()
        flight.pending = await flight.link.start(self._kind, session._fields(flight.link, self._kind, flight.arguments))

    async def _head(self) -> Any:
        failures = 0
        head = self._flights[0]
        while True:
            try:
                for flight in self._flights:
                    if flight.pending is None:
                        await self._start(flight)
                assert head.link is not None
                assert head.pending is not None
                return await self._session._complete(head.link, await head.link.finish(head.pending))
            except ClientError as error:
                failures += 1
                if head.pending is not None and head.pending.answer is not None:
                    head.pending = None  # it came in a form that cannot be read any more: ask again
                await self._session._back_off(error, failures)
                for flight in self._flights:
                    flight.land()
