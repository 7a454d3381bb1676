"""Cohorts of a worker: COHORT_PUT and COHORT_CHANGES, one at a time, in a thread beside the loop (docs/cohorts.md).

A request is admitted like any other, waits its turn in a fair queue of their own, and is worked off in a thread. What
changed is a provision: its record of use holds the codes answered and is durable before the answer leaves. Registering
provides nothing and is answered when its chunk is stored.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct

from jukinet.core.cohort.changes import ChangeReader, Changes, Cursor
from jukinet.core.cohort.errors import CohortError
from jukinet.core.cohort.store import Cohort, CohortStore
from jukinet.core.errors import ErrorCode, JukinetError, RecordOfUseError
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import Function, Item
from jukinet.core.wire import cohorts as payloads
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import HEADER_BYTES
from jukinet.server.fair_queue import FairQueue
from jukinet.server.sessions import Session

if TYPE_CHECKING:
    from jukinet.server.connection import Connection
    from jukinet.server.service import Service

COHORT: Final = int(Function.COHORT)
STORED: Final = int(m.CohortStored.type)
CHANGES_ANSWER: Final = int(m.CohortChangesAnswer.type)
CHANGE_ITEMS: Final = int(Item.CHANGE)
"""What an answer holds of a person: reason and dates of the last change."""
ROW_BYTES: Final = 18
"""Of a COHORT_CHANGES_ANSWER."""
QUEUE_RETRY_MILLISECONDS: Final = 1_000
SHORT_STEPS: Final = (m.CohortStep.DROP, m.CohortStep.LIST)


class CohortRequest(Struct, eq=False):
    """A request that waits or is worked off.

    size: the bytes that it or its answer takes. count: codes of a chunk, rows asked for. reported: when the caller was
    last told of it. reading: what reads its changes, while that is under way. is_cancelled: nothing of it is provided.
    """

    connection: Connection
    question: m.CohortPut | m.CohortChanges
    session: Session
    size: int
    count: int
    arrived: float
    reported: float
    reading: ChangeReader | None = None
    is_cancelled: bool = False

    @property
    def done(self) -> int:
        """Rows found so far."""
        return 0 if self.reading is None else min(self.reading.found, self.count)


class Cohorts:
    """The cohorts that a worker serves; without a store every request is refused.

    Invariant: a connection is in the queue exactly while requests of it wait; the size of each request in
    ``_waiting``, and of the one under way, is counted in the service's and its connection's ``queued_bytes``.
    """

    def __init__(self, service: Service, store: CohortStore | None) -> None:
        self._service = service
        self._store = store
        self._limits = service.configuration.cohorts
        self._waiting: dict[Connection, deque[CohortRequest]] = {}
        self._queue: FairQueue[Connection] = FairQueue()
        self._under_way: CohortRequest | None = None
        self._wanted = trio.Event()

    @property
    def functions(self) -> int:
        """The functions that a session may be granted because of them."""
        return COHORT if self._store is not None else 0

    def take(self, connection: Connection, question: m.CohortPut | m.CohortChanges) -> None:
        """Queue a request that may be worked on now; otherwise it is refused."""
        service = self._service
        asks = isinstance(question, m.CohortChanges)
        rows = question.rows_max if isinstance(question, m.CohortChanges) else 0
        if self._store is None:
            connection.refuse(question.request_id, ErrorCode.NOT_AUTHORISED, "this server keeps no cohorts")
            return
        session = service.admit(connection, question, COHORT, CHANGE_ITEMS if asks else 0, rows)
        if session is None:
            return
        size = rows * ROW_BYTES if isinstance(question, m.CohortChanges) else question.codes.nbytes
        if service.queued_bytes + size > service.configuration.limits.queued_bytes_max:
            text = "the server's queue is full"
            connection.refuse(question.request_id, ErrorCode.TOO_MANY_REQUESTS, text, QUEUE_RETRY_MILLISECONDS)
            return
        connection.queued_bytes += size
        service.queued_bytes += size
        service.queued_requests += 1
        count = rows if isinstance(question, m.CohortChanges) else len(question.codes)
        request = CohortRequest(connection, question, session, size, count, service.now, service.now)
        self._waiting.setdefault(connection, deque()).append(request)
        self._queue.add(connection.body_key, connection)
        self._wanted.set()

    def cancel(self, connection: Connection, request_id: int) -> None:
        """Give up a request that waits, or the asking that is under way; a chunk that is being stored is answered."""
        for request in self._waiting.get(connection, ()):
            if request.question.request_id == request_id:
                self._forget(request)
                connection.refuse(request_id, ErrorCode.CANCELLED, "as asked")
                self._let_go(request)
                return
        request_now = self._under_way
        if request_now is None or request_now.connection is not connection:
            return
        if request_now.question.request_id == request_id and isinstance(request_now.question, m.CohortChanges):
            request_now.is_cancelled = True
            if request_now.reading is not None:
                request_now.reading.stop()

    def connection_closed(self, connection: Connection) -> None:
        """Nobody waits any more for what is being read for the connection; what waits is passed over."""
        request = self._under_way
        if request is not None and request.connection is connection and request.reading is not None:
            request.reading.stop()

    def _forget(self, request: CohortRequest) -> None:
        """Take a request out of those that wait."""
        connection = request.connection
        waiting = self._waiting[connection]
        waiting.remove(request)
        if not waiting:
            del self._waiting[connection]
            self._queue.remove(connection.body_key, connection)

    def report(self, connection: Connection, now: float, seconds: float) -> None:
        """Tell the caller of requests of which it has heard nothing for so long."""
        under_way = self._under_way
        mine = [under_way] if under_way is not None and under_way.connection is connection else []
        for request in (*mine, *self._waiting.get(connection, ())):
            if now - request.reported >= seconds and not request.is_cancelled:
                request.reported = now
                connection.send(m.Progress(request.question.request_id, request.done, request.count))

    def _next(self) -> CohortRequest | None:
        """The request whose turn it is: bodies take turns, and so do a body's connections; one's requests in order."""
        connection = self._queue.next()
        if connection is None:
            return None
        requests = self._waiting[connection]
        request = requests.popleft()
        if not requests:
            del self._waiting[connection]
            self._queue.remove(connection.body_key, connection)
        return request

    async def run(self) -> None:
        """Work off the requests until cancelled."""
        while True:
            request = self._next()
            if request is None:
                self._wanted = trio.Event()
                await self._wanted.wait()
                continue
            connection = request.connection
            self._under_way = request
            try:
                if not connection.closed:
                    await self._work(request)
            except CohortError as error:
                connection.refuse(request.question.request_id, error.code, str(error))
            except RecordOfUseError as error:
                self._failed(request, error, "the record of use cannot be kept; repeat later")
            except JukinetError as error:
                self._failed(request, error, "register or cohorts cannot be read; repeat later")
            except Exception as error:
                self._failed(request, error, "the server failed; report it")
            finally:
                self._under_way = None
                self._let_go(request)
            connection.flush()
            self._service.after_turn()
            await trio.lowlevel.checkpoint()

    def _let_go(self, request: CohortRequest) -> None:
        service = self._service
        request.connection.queued_bytes -= request.size
        service.queued_bytes -= request.size
        service.queued_requests -= 1
        request.connection.want_resume()

    def _failed(self, request: CohortRequest, error: Exception, message: str) -> None:
        self._service.log.failure("request_failed", error, connection=request.connection.number)
        code = error.code if isinstance(error, JukinetError) else ErrorCode.INTERNAL
        request.connection.refuse(request.question.request_id, code, message)

    async def _work(self, request: CohortRequest) -> None:
        question = request.question
        if isinstance(question, m.CohortChanges):
            await self._changes(request, question)
        else:
            await self._put(request, question)

    # Registering ---------------------------------------------------------------------------------------------------

    async def _put(self, request: CohortRequest, question: m.CohortPut) -> None:
        service = self._service
        reader = service.reader
        today = service.today.year * 10_000 + service.today.month * 100 + service.today.day
        if question.step in SHORT_STEPS:
            rows = await trio.to_thread.run_sync(self._listed_or_dropped, request.session.owner, question)
        else:
            rows = await trio.to_thread.run_sync(
                self._chunk, request.session, question, reader.identifier, reader.meta.journal_next, today
            )
        payload = payloads.stored_payload(question.step, reader.version, rows)
        self._answer(request, STORED, bytearray(HEADER_BYTES) + payload, len(question.codes))

    def _chunk(
        self, session: Session, question: m.CohortPut, register: str, journal_next: int, today: int
    ) -> tuple[m.CohortRow, ...]:
        """In the thread: store one chunk. Raises CohortError."""
        assert self._store is not None
        begin, end = bool(question.step & m.CohortStep.BEGIN), bool(question.step & m.CohortStep.END)
        stored = self._store.put(
            session.owner,
            question.name,
            question.codes,
            begin=begin,
            end=end,
            generation=session.registrations.get(question.name, 0),
            register=register,
            cursor=journal_next,
            today=today,
            now=int(time.time()),
            cohorts_max=self._limits.cohorts_per_body_max,
            codes_max=self._limits.codes_per_cohort_max,
        )
        if end:
            session.registrations.pop(question.name, None)
        else:
            session.registrations[question.name] = stored.generation
        return (m.CohortRow(question.name, stored.count, stored.cursor, 0, today if end else 0, end),)

    def _listed_or_dropped(self, owner: str, question: m.CohortPut) -> tuple[m.CohortRow, ...]:
        """In the thread: the cohorts of an affair, or the one that is no more. Raises CohortError."""
        assert self._store is not None
        if question.step == m.CohortStep.LIST:
            return tuple(_row(name, cohort) for name, cohort in self._store.listed(owner))
        cohort = self._store.find(owner, question.name)
        if cohort is None or not self._store.drop(owner, question.name):
            raise CohortError("no such cohort is registered for this affair")
        return (_row(question.name, cohort),)

    # Asking --------------------------------------------------------------------------------------------------------

    async def _changes(self, request: CohortRequest, question: m.CohortChanges) -> None:
        service, session = self._service, request.session
        journal_next = service.reader.meta.journal_next
        snapshot = service.reader.pin()
        try:
            changes = await trio.to_thread.run_sync(self._read, request, question, snapshot, journal_next)
        finally:
            snapshot.release()
        service.now = time.monotonic()
        if request.connection.closed:
            return
        if request.is_cancelled:
            request.connection.refuse(question.request_id, ErrorCode.CANCELLED, "as asked")
            return
        # What counts is the authority at the moment of providing.
        if service.grant_now(request.connection, session, question.request_id, COHORT, CHANGE_ITEMS) is None:
            return
        frame = bytearray(HEADER_BYTES) + payloads.changes_answer_payload(
            changes.more,
            changes.register_version,
            changes.cursor,
            (changes.codes, changes.outcomes, changes.reasons, changes.change_dates, changes.registered_dates),
        )
        count = len(changes.outcomes)
        if not count:
            self._answer(request, CHANGES_ANSWER, frame, 0)
            return
        ticket = service.recording.append(
            session.use,
            changes.codes,
            changes.outcomes,
            function=COHORT,
            items=CHANGE_ITEMS,
            register_version=changes.register_version,
            since=0,
            request_id=question.request_id,
            matches=None,
        )
        if session.watched is not None and service.watching is not None:
            service.watching.note(session.watched, changes.codes, changes.outcomes, COHORT)
        request.connection.hold(len(frame))
        service.recording.submit(
            ticket, request.connection, question.request_id, CHANGES_ANSWER, frame, request.arrived, True
        )
        self._count(count)

    def _read(
        self, request: CohortRequest, question: m.CohortChanges, snapshot: Snapshot, journal_next: int
    ) -> Changes:
        """In the thread: what changed. The snapshot is pinned meanwhile. Raises CohortError and StoreError."""
        assert self._store is not None
        reader = self._service.reader
        owner = request.session.owner
        with self._store.reading(owner, question.name) as members, reader.reading() as transaction:
            request.reading = ChangeReader(
                transaction,
                reader.databases["journal"],
                journal_next,
                snapshot,
                members,
                register=reader.identifier,
                rows_max=question.rows_max,
            )
            if request.is_cancelled:  # before it began
                request.reading.stop()
            return request.reading.read(Cursor(question.order, question.place))

    def _answer(self, request: CohortRequest, kind: int, frame: bytearray, count: int) -> None:
        """Send an answer that provides nothing."""
        if not request.connection.closed:
            request.connection.hold(len(frame))
            request.connection.release(request.question.request_id, kind, frame, True)
        self._count(count)

    def _count(self, codes: int) -> None:
        self._service.metrics.requests[COHORT] += 1
        self._service.metrics.codes[COHORT] += codes

    def close(self) -> None:
        """Close the store; nothing is under way any more."""
        if self._store is not None:
            self._store.close()


def _row(name: str, cohort: Cohort) -> m.CohortRow:
    """A cohort as it answers; one that was never complete as its registration stands."""
    if cohort.generation or cohort.loading is None:
        return m.CohortRow(name, cohort.count, cohort.cursor, 0, cohort.registered_date, bool(cohort.generation))
    return m.CohortRow(name, cohort.loading.count, cohort.loading.cursor, 0, 0, False)
