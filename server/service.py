"""Answers requests: the one module where messages, authority, register and record of use meet.

A small request is answered here and now, within the turn that received it. A longer one becomes a ``BulkRequest`` in
the fair queue, from which the thread for slices (slices.py) is kept supplied. Both end in ``Recording.submit``: nothing
leaves before its record of use is durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from jukinet.core import limits
from jukinet.core.cohort.store import CohortStore
from jukinet.core.errors import ErrorCode, JukinetError, NotAuthorisedError, RecordOfUseError
from jukinet.core.index import HistoryBatch, LookupBatch, StatusBatch, VerifyBatch
from jukinet.core.index.history import HistoryTooLongError
from jukinet.core.law.authority import Grant, day_in_japan
from jukinet.core.law.retention import Rule, cutoffs
from jukinet.core.matching.answering import MatchBatch, SearchBatch
from jukinet.core.matching.batch import MatcherOf
from jukinet.core.matching.columns import MatchRules
from jukinet.core.matching.models import Models
from jukinet.core.store.reader import RegisterReader
from jukinet.core.vocabulary import Function
from jukinet.core.watch.rules import OperatorStoppedError
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import answer_frame_bytes
from jukinet.core.wire.packed import PACKED_BIT
from jukinet.server.admission import Admission
from jukinet.server.caps import Caps
from jukinet.server.cohorts import Cohorts
from jukinet.server.configuration import Configuration
from jukinet.server.credentials import Credentials
from jukinet.server.event_log import EventLog
from jukinet.server.fair_queue import FairQueue
from jukinet.server.metrics import Metrics
from jukinet.server.operators.logins import Operators
from jukinet.server.readiness import Readiness
from jukinet.server.recording import Recording
from jukinet.server.sessions import Session
from jukinet.server.slices import (
    BEGUN_BY_THE_LOOP,
    SLICES_GIVEN_MAX,
    Batch,
    BulkAnswer,
    BulkRequest,
    Question,
    SliceThread,
    asked_of,
    find_slice_rows,
    finished,
    question_bytes,
    state,
)
from jukinet.server.towns import answer_towns
from jukinet.server.watching import Watching

if TYPE_CHECKING:
    from jukinet.server.connection import Connection

LOOKUP: Final = int(Function.LOOKUP)
STATUS: Final = int(Function.STATUS)
VERIFY: Final = int(Function.VERIFY)
HISTORY: Final = int(Function.HISTORY)
SEARCH: Final = int(Function.SEARCH)
MATCH: Final = int(Function.MATCH)
PROVIDED: Final = LOOKUP | STATUS | VERIFY | HISTORY | SEARCH | MATCH
LOOKUP_ANSWER: Final = int(m.LookupAnswer.type)
ANSWER_TYPES: Final = {
    LOOKUP: LOOKUP_ANSWER,
    STATUS: int(m.StatusAnswer.type),
    VERIFY: int(m.VerifyAnswer.type),
    HISTORY: int(m.HistoryAnswer.type),
    SEARCH: int(m.SearchAnswer.type),
    MATCH: int(m.MatchAnswer.type),
}
FUNCTION_NAMES: Final = {
    LOOKUP: "lookup",
    STATUS: "status",
    VERIFY: "verify",
    HISTORY: "history",
    SEARCH: "search",
    MATCH: "match",
}
BATCHES: Final[dict[int, type[Batch]]] = {
    LOOKUP: LookupBatch,
    STATUS: StatusBatch,
    VERIFY: VerifyBatch,
    HISTORY: HistoryBatch,
    SEARCH: SearchBatch,
    MATCH: MatchBatch,
}

QUEUE_RETRY_MILLISECONDS: Final = 1_000
INLINE_CODES: Final = 1_024
"""A whole request of so many codes, about 0.15 ms, is worked off in the loop: a thread and a loop that hand it to each
other take as long, and measured a sixth slower (docs/decisions.md)."""
INLINE_CODES_PER_TURN_MAX: Final = 2_048
HISTORY_SLICE_CODES: Final = 64
"""Some 2 ms of work, in the loop, for it reads LMDB; one slice a turn."""
FIND_INLINE_ROWS: Final = 1
"""A row that meets the most common name may cost a millisecond: more than one of them are worked off in the thread."""
RECENT_SCRATCH_MAX: Final = 4
"""Batches kept for reuse: each holds the columns of the longest request it has done."""


class Service:
    """What all connections of a worker share."""

    def __init__(
        self,
        configuration: Configuration,
        credentials: Credentials,
        reader: RegisterReader,
        recording: Recording,
        admission: Admission,
        metrics: Metrics,
        log: EventLog,
        connection_closed: Callable[[Connection, str], None],
        readiness: Readiness,
        caps: Caps,
        cohorts: CohortStore | None = None,
        watching: Watching | None = None,
    ) -> None:
        self.caps = caps
        self.watching = watching
        self.connection_closed = connection_closed
        self._wake = readiness.wake
        self._slices = SliceThread(readiness, self._slice_over)
        self.configuration = configuration
        self.credentials = credentials
        self.reader = reader
        self.recording = recording
        self.admission = admission
        self.metrics = metrics
        self.log = log
        self.queue: FairQueue[Connection] = FairQueue()
        self.queued_bytes = 0
        self.queued_requests = 0
        self.unsent_bytes = 0
        self.today = day_in_japan()
        self.day = self.today.toordinal()
        self.now = time.monotonic()
        self._resumable: set[Connection] = set()
        self._scratch: dict[int, list[Batch]] = {function: [] for function in BATCHES}
        self._interactive: dict[int, Batch] = {function: batch() for function, batch in BATCHES.items()}
        self._rule = Rule(configuration.retention.rule)
        self._interactive_codes_max = configuration.fairness.interactive_codes_max
        self._slice_codes = configuration.fairness.slice_codes
        self.models = Models()
        self.cohorts = Cohorts(self, cohorts)
        self.operators = Operators(self, configuration.operators)

    # Sessions ------------------------------------------------------------------------------------------------------

    def open_session(self, connection: Connection, opening: m.OpenSession) -> None:
        """Open an affair session, or refuse it."""
        request_id = opening.request_id
        if len(connection.sessions) >= self.configuration.limits.sessions_per_connection_max:
            connection.refuse(request_id, ErrorCode.TOO_MANY_SESSIONS, "close a session first")
            return
        affair = f"{opening.schedule}-{opening.item}-{opening.number}"
        try:
            login = self.operators.login_for(connection, opening.operator)
            session = Session(connection.next_session_id(), connection.number, connection.identity, opening, login)
            grant = session.judge(self.credentials.authority, self.today, self.caps)
            if self.watching is not None:
                identity = connection.identity
                session.watched = self.watching.identify(str(identity.role), identity.body, opening.operator, affair)
        except (NotAuthorisedError, OperatorStoppedError) as error:
            self.log.warning(
                "session_refused", connection=connection.number, affair=affair, **connection.identity_fields
            )
            connection.refuse(request_id, error.code, str(error))
            return
        connection.sessions[session.session_id] = session
        if login is not None:
            login.sessions.add(session)
            login.used = self.now
        self.metrics.plain["sessions_opened_total"] += 1
        self.log.info("session_opened", connection=connection.number, affair=affair, **connection.identity_fields)
        functions = grant.functions & (PROVIDED | self.cohorts.functions)
        connection.send(
            m.SessionOpened(
                request_id,
                session.session_id,
                functions | (PACKED_BIT if functions & LOOKUP else 0),
                grant.items,
                min(grant.codes_per_request_max, self.configuration.limits.codes_per_request_max),
                grant.valid_until_decimal,
            )
        )

    def admit(
        self,
        connection: Connection,
        question: Question | m.CohortPut | m.CohortChanges,
        function: int,
        items: int,
        count: int,
    ) -> Session | None:
        """The session, when the request may be worked on now; otherwise it is refused and None returned."""
        request_id = question.request_id
        session = connection.sessions.get(question.session_id)
        if session is None:
            connection.refuse(request_id, ErrorCode.UNKNOWN_SESSION, "open a session first")
            return None
        grant = self.grant_now(connection, session, request_id, function, items)
        if grant is None:
            return None
        if session.login is not None:
            session.login.used = self.now
        if count > grant.codes_per_request_max:
            text = f"this affair allows {grant.codes_per_request_max:,} codes a request"
            connection.refuse(request_id, ErrorCode.TOO_MANY_CODES, text)
            return None
        wait = self.recording.may_provide(self.now)
        if wait:
            connection.refuse(
                request_id,
                ErrorCode.RECORD_OF_USE_UNAVAILABLE,
                "nothing is provided until the record can be written",
                wait,
            )
            return None
        return session if self._take_codes(connection, session, request_id, count) else None

    def _take_codes(self, connection: Connection, session: Session, request_id: int, count: int) -> bool:
        """Whether rate and caps have room for the codes, which are then taken; otherwise the request was refused."""
        assert connection.admission is not None
        wait = connection.admission.bucket.take(count, self.now)
        if wait:
            connection.refuse(request_id, ErrorCode.RATE_EXCEEDED, "the body's codes a second are used up", wait)
            return False
        if session.caps is not None and (excess := self.caps.excess(session.caps, count)):
            connection.refuse(request_id, ErrorCode.CAP_EXCEEDED, excess)
            return False
        return True

    def grant_now(
        self, connection: Connection, session: Session, request_id: int, function: int, items: int
    ) -> Grant | None:
        """The grant when authority file and day allow the request now; otherwise it is refused and None returned."""
        grant = session.grant
        if (
            grant is not None
            and session.authority is self.credentials.authority
            and grant.allows(function, items, self.day)
        ):
            return grant
        return self._judge_again(connection, session, request_id, function, items)

    def _judge_again(
        self, connection: Connection, session: Session, request_id: int, function: int, items: int
    ) -> Grant | None:
        """The grant by the authority file and the day as they are now; None when the request was refused."""
        try:
            if self.watching is not None and session.watched is not None:
                self.watching.check(session.watched)
            grant = session.judge(self.credentials.authority, self.today, self.caps)
        except (NotAuthorisedError, OperatorStoppedError) as error:
            connection.refuse(request_id, error.code, str(error))
            return None
        if not grant.allows(function, items, self.day):
            text = "function or items are outside the affair's authority"
            connection.refuse(request_id, ErrorCode.NOT_AUTHORISED, text)
            return None
        return grant

    # Requests ------------------------------------------------------------------------------------------------------

    def lookup(self, connection: Connection, question: m.LookupRequest) -> None:
        """Answer or queue a LOOKUP."""
        count = len(question.codes)
        session = self.admit(connection, question, LOOKUP, question.items, count)
        if session is not None:
            assert session.grant is not None
            self._begin(connection, question, session, LOOKUP, question.items or session.grant.items, count)

    def towns(self, connection: Connection, question: m.TownsRequest) -> None:
        """Answer a TOWNS: no data of a resident, so it is not recorded."""
        answer_towns(self, connection, question)

    def status(self, connection: Connection, question: m.StatusRequest) -> None:
        """Answer or queue a STATUS."""
        count = len(question.codes)
        session = self.admit(connection, question, STATUS, 0, count)
        if session is not None:
            self._begin(connection, question, session, STATUS, 0, count)

    def verify(self, connection: Connection, question: m.VerifyRequest) -> None:
        """Answer or queue a VERIFY."""
        count = len(question.codes)
        session = self.admit(connection, question, VERIFY, question.items, count)
        if session is not None:
            self._begin(connection, question, session, VERIFY, question.items, count)

    def history(self, connection: Connection, question: m.HistoryRequest) -> None:
        """Answer or queue a HISTORY."""
        count = len(question.codes)
        if count > limits.HISTORY_CODES_MAX:
            text = f"a HISTORY takes {limits.HISTORY_CODES_MAX:,} codes at most"
            connection.refuse(question.request_id, ErrorCode.TOO_MANY_CODES, text)
            return
        session = self.admit(connection, question, HISTORY, question.items, count)
        if session is not None:
            assert session.grant is not None
            self._begin(connection, question, session, HISTORY, question.items or session.grant.items, count)

    def search(self, connection: Connection, question: m.SearchRequest) -> None:
        """Answer or queue a SEARCH."""
        if question.count > limits.SEARCH_QUESTIONS_MAX:
            text = f"a SEARCH takes {limits.SEARCH_QUESTIONS_MAX:,} questions at most"
            connection.refuse(question.request_id, ErrorCode.TOO_MANY_CODES, text)
            return
        if question.prefix and question.count > limits.SEARCH_BEGINNINGS_MAX:
            text = f"a SEARCH by beginnings of names takes {limits.SEARCH_BEGINNINGS_MAX} questions at most"
            connection.refuse(question.request_id, ErrorCode.TOO_MANY_CODES, text)
            return
        self._find(connection, question, SEARCH)

    def match(self, connection: Connection, question: m.MatchRequest) -> None:
        """Answer or queue a MATCH."""
        self._find(connection, question, MATCH)

    def _find(self, connection: Connection, question: m.SearchRequest | m.MatchRequest, function: int) -> None:
        # What is given is compared, and the answer says how: so it must be granted like what is wanted.
        session = self.admit(connection, question, function, question.items | question.given, question.count)
        if session is None:
            return
        assert session.grant is not None
        if not self._may_begin(connection, session, question):
            return
        items = question.items or session.grant.items
        if question.count <= FIND_INLINE_ROWS:
            self._answer_now(connection, question, session, function, items, question.count)
        else:
            self._enqueue(connection, question, session, function, items)

    def _may_begin(self, connection: Connection, session: Session, question: m.SearchRequest | m.MatchRequest) -> bool:
        """Whether names may be beginnings, if they are; otherwise the request was refused."""
        assert session.grant is not None
        if not question.prefix or session.grant.matching.prefix:
            return True
        text = "names by their beginning are outside the affair's authority"
        connection.refuse(question.request_id, ErrorCode.NOT_AUTHORISED, text)
        return False

    def _begin(
        self, connection: Connection, question: Question, session: Session, function: int, items: int, count: int
    ) -> None:
        if count > self._interactive_codes_max:
            self._enqueue(connection, question, session, function, items)
        else:
            self._answer_now(connection, question, session, function, items, count)

    def _answer_now(
        self, connection: Connection, question: Question, session: Session, function: int, items: int, count: int
    ) -> None:
        """Answer a small request within this turn."""
        batch = self._interactive[function]
        snapshot = self.reader.pin()
        try:
            self._begin_batch(batch, question, items, session)
            batch.run(snapshot, 0, count)
            answer = finished(batch, question, snapshot.version)
        except HistoryTooLongError as error:
            connection.refuse(question.request_id, error.code, str(error))
            return
        finally:
            snapshot.release()
        self._record(connection, question, session, function, items, answer, self.now, count, False)

    def _record(
        self,
        connection: Connection,
        question: Question,
        session: Session,
        function: int,
        items: int,
        answer: BulkAnswer,
        arrived: float,
        count: int,
        bulk: bool,
    ) -> None:
        """Append the record of use; the answer leaves when it is durable."""
        request_id = question.request_id
        ticket = self.recording.append(
            session.use,
            answer.codes,
            answer.outcomes,
            function=function,
            items=items,
            register_version=answer.version,
            since=asked_with(question),
            request_id=request_id,
            matches=answer.matches,
        )
        frame = answer.frame
        if bulk:
            connection.hold(answer_frame_bytes(frame))
        self.recording.submit(ticket, connection, request_id, ANSWER_TYPES[function], frame, arrived, bulk)
        if session.watched is not None and self.watching is not None:
            self.watching.note(session.watched, answer.codes, answer.outcomes, function)
        self.metrics.requests[function] += 1
        self.metrics.codes[function] += count

    # Bulk requests -------------------------------------------------------------------------------------------------

    def _enqueue(self, connection: Connection, question: Question, session: Session, function: int, items: int) -> None:
        size = question_bytes(question)
        if self.queued_bytes + size > self.configuration.limits.queued_bytes_max:
            connection.refuse(
                question.request_id,
                ErrorCode.TOO_MANY_REQUESTS,
                "the server's queue is full",
                QUEUE_RETRY_MILLISECONDS,
            )
            return
        connection.jobs.append(BulkRequest(connection, question, session, function, items, size, self.now))
        connection.queued_bytes += size
        self.queued_bytes += size
        self.queued_requests += 1
        self.schedule(connection)

    def schedule(self, connection: Connection) -> None:
        """Put the connection in the queue when it has bulk work that may be done now, otherwise take it out.

        At the end of the turn the thread for slices is supplied from the queue.
        """
        if connection.may_work:
            self.queue.add(connection.body_key, connection)
        else:
            self.queue.remove(connection.body_key, connection)

    def drop(self, connection: Connection, job: BulkRequest) -> None:
        """Take a request out of the queue on whatever path it ends; its snapshot and its memory are released."""
        connection.jobs.remove(job)
        connection.queued_bytes -= job.size
        self.queued_bytes -= job.size
        self.queued_requests -= 1
        job.dropped = True
        if not job.running:
            self._let_go(job)
        self.schedule(connection)
        connection.want_resume()

    def _let_go(self, job: BulkRequest) -> None:
        """Release what a dropped request held; not while a slice of it is worked on."""
        if job.snapshot is not None:
            job.snapshot.release()
            job.snapshot = None
        if job.batch is not None:
            scratch = self._scratch[job.function]
            # Only a finished batch has let go of the question's memory.
            if job.answer is not None and len(scratch) < RECENT_SCRATCH_MAX:
                scratch.append(job.batch)
            job.batch = None

    def _supply(self) -> None:
        """Give the thread its next slices: about two of the longest, so that it never waits for the loop."""
        slices, inline = self._slices, 0
        while slices.rows < 2 * self._slice_codes and slices.slices < SLICES_GIVEN_MAX:
            connection = self.queue.next() if self.unsent_bytes < self.configuration.limits.unsent_bytes_max else None
            if connection is None:
                return
            job = connection.job_to_give
            assert job is not None
            if job.batch is None:
                scratch = self._scratch[job.function]
                job.batch = scratch.pop() if scratch else BATCHES[job.function]()
                job.snapshot = self.reader.pin()
                if isinstance(job.batch, BEGUN_BY_THE_LOOP):
                    self._begin_batch(job.batch, job.question, job.items, job.session)
            if isinstance(job.question, m.SearchRequest | m.MatchRequest):
                rows = find_slice_rows(job.question, job.given)
                slices.give(job, min(job.given + rows, job.count), max(1, self._slice_codes // rows))
                if job.given == job.count:
                    self.queue.pass_on(connection.body_key, connection)
                    self.schedule(connection)
                continue
            if job.function == HISTORY:
                slices.work_now(job, min(job.given + HISTORY_SLICE_CODES, job.count))
                if self.queue:
                    self._wake()
                return
            if job.count > INLINE_CODES or self._slice_codes < job.count:
                slices.give(job, min(job.given + self._slice_codes, job.count))
                if job.given == job.count:
                    self.queue.pass_on(connection.body_key, connection)
                    self.schedule(connection)
                continue
            self.queue.pass_on(connection.body_key, connection)
            slices.work_now(job, job.count)
            inline += job.count
            if inline >= INLINE_CODES_PER_TURN_MAX and self.queue:
                self._wake()
                return

    def _slice_over(self, job: BulkRequest) -> None:
        """A slice is over: record the request's answer if that was its last one. Never raises."""
        connection = job.connection
        try:
            if job.dropped:  # cancelled, or its connection ended, meanwhile
                if not job.running:
                    self._let_go(job)
                return
            if job.answer is not None:
                self._provide(connection, job)
            elif job.failure is not None:
                raise job.failure  # noqa: TRY301
        except HistoryTooLongError as error:
            self.drop(connection, job)
            connection.refuse(job.question.request_id, error.code, str(error))
        except RecordOfUseError as error:
            self._bulk_failed(connection, job, error, error.code, "the record of use cannot be kept; repeat later")
        except JukinetError as error:
            self._bulk_failed(connection, job, error, error.code, "the register cannot be read; repeat later")
        except Exception as error:
            self._bulk_failed(connection, job, error, ErrorCode.INTERNAL, "the server failed; report it")
        connection.flush()

    def _bulk_failed(
        self, connection: Connection, job: BulkRequest, error: Exception, code: ErrorCode, message: str
    ) -> None:
        self.log.failure("request_failed", error, connection=connection.number)
        if not job.dropped:
            self.drop(connection, job)
            connection.refuse(job.question.request_id, code, message)

    def _provide(self, connection: Connection, job: BulkRequest) -> None:
        """Record what a finished bulk request is told; its answer leaves when that is durable."""
        answer = job.answer
        assert answer is not None
        # A bulk request may have waited: what counts is the authority at the moment of providing.
        question = job.question
        given = question.given if isinstance(question, m.FindRequest) else 0
        grant = self.grant_now(connection, job.session, question.request_id, job.function, job.items | given)
        if grant is None:
            self.drop(connection, job)
            return
        if isinstance(job.batch, SearchBatch | MatchBatch) and grant.matching != job.batch.rules:
            text = "the affair's settings have changed meanwhile; ask again"
            self.drop(connection, job)
            connection.refuse(question.request_id, ErrorCode.NOT_AUTHORISED, text)
            return
        self._record(
            connection, job.question, job.session, job.function, job.items, answer, job.arrived, job.count, True
        )
        # After its record is kept, so that a request whose record is refused is still there to be told so.
        self.drop(connection, job)

    def _begin_batch(self, batch: Batch, question: Question, items: int, session: Session) -> None:
        """Begin a batch with what was asked."""
        if not isinstance(batch, BEGUN_BY_THE_LOOP):
            state(batch, question, items)
        elif isinstance(batch, HistoryBatch) and isinstance(question, m.HistoryRequest):
            reader = self.reader
            rule = cutoffs(self._rule, self.today)
            batch.begin(question.codes, items, reader.databases, reader.meta.width, rule)
        elif isinstance(batch, SearchBatch | MatchBatch) and isinstance(question, m.SearchRequest | m.MatchRequest):
            assert session.grant is not None
            matcher, asked = self._matcher(session.grant.matching), asked_of(question)
            if isinstance(batch, SearchBatch):
                batch.begin(asked, items, matcher, question.prefix)
            else:
                batch.begin(asked, items, matcher)
        else:
            raise TypeError("the batch is not of the question's kind")

    def _matcher(self, rules: MatchRules) -> MatcherOf:
        """What a matcher for these rules is made of, today. Raises ConfigurationError."""
        reader = self.reader
        model = self.models.model(rules, reader.residents)
        return MatcherOf(model, rules, reader.databases, reader.meta.width, cutoffs(self._rule, self.today))

    def close(self) -> None:
        """End the thread for slices; all connections must be closed."""
        self._slices.close()
        self.operators.close()

    # Turns ---------------------------------------------------------------------------------------------------------

    def after_turn(self, ready: int = 0) -> bool:
        """End of a turn: supply the thread for slices, go on with connections that may be read again, then begin the
        commit if it is time. Whether one, or a slice, will end soon."""
        if self._resumable:
            resumable, self._resumable = self._resumable, set()
            for connection in resumable:
                connection.resume()
        self._supply()
        return self.recording.after_turn(ready, self.now) or self._slices.slices > 0

    def resume_later(self, connection: Connection) -> None:
        """Let the connection go on at the end of a turn; there will be one."""
        if not self._resumable:
            self._wake()
        self._resumable.add(connection)

    def unsent_changed(self, more: int) -> None:
        """So many more bytes of answers wait for their callers; fewer when negative."""
        self.unsent_bytes += more

    def new_day(self) -> None:
        """Take up the calendar day in Japan, by which authority begins and ends."""
        self.today = day_in_japan()
        self.day = self.today.toordinal()
        self.caps.set_day(self.today)


def asked_with(question: Question) -> int:
    """What the record of use says of a question besides: the date of a STATUS, the items given of SEARCH and MATCH."""
    if isinstance(question, m.LookupRequest):
        return 0  # as nearly always
    if isinstance(question, m.StatusRequest):
        return question.since
    if isinstance(question, m.FindRequest):
        return question.given | question.prefix << 8
    return 0
