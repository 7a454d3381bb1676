"""The writer thread: batches of all feeds become transactions of the register, and answers leave after the commit.

Theory of operation
-------------------
Connections put what they received into a queue for each feed. One thread owns every write transaction. It takes a batch
from each feed in turn until the transaction is full (notifications or time) or nothing waits, commits, and hands the
results back; an eventfd in the readiness set wakes the loop, which sends them. While a commit waits for the disk the
queues fill, so a group grows by itself with the load. Many feeds with few notifications each would make many commits
of a few milliseconds all the same; so a transaction also waits for further batches until it is ``gather_seconds``
old, and SHARED_GATHERING times as long when the one before was of several feeds.

A transaction that the register cannot take (disk full, I/O error) is withdrawn as a whole: each of its batches, and
all that wait behind them, are answered REGISTER_UNAVAILABLE; nothing of them is kept. The next batch tries again. When
a batch fails for a reason of its own, those that came with it are tried again one by one, so that only it is refused.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, Protocol

import lmdb
from msgspec import Struct

from jukinet.core.errors import ErrorCode, StoreError
from jukinet.core.feed.engine import Applied, FeedRegister, FeedTransaction
from jukinet.core.feed.errors import NoticeRefusedError, SequenceGapError
from jukinet.core.feed.notices import NoticeBook
from jukinet.core.wire import feed_messages as fm
from jukinet.server.event_log import EventLog, operating_error
from jukinet.server.feed.daily_purge import CHECK_SECONDS, DailyPurge
from jukinet.server.metrics import Metrics
from jukinet.server.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable

READABLE: Final = 1  # EPOLLIN
UNAVAILABLE: Final = "the register cannot be written; nothing of this was applied"
FAILED: Final = "the server failed; nothing of this was applied; report it"
SHARED_GATHERING: Final = 25
"""How many times as long a transaction gathers when the one before was of several feeds. Rows share pages of trees and
digests, and a page written costs most where the file lies in large pages (docs/decisions.md, A longer gathering)."""


class Source(Protocol):
    """The connection that a batch came from."""

    closed: bool

    def finished(self, work: Work, result: Result) -> None:
        """The batch was committed, or refused. Never raises."""


NoticeRequest = fm.NoticeLeave | fm.NoticeTake | fm.NoticeReceived | fm.NoticeList
NoticeAnswer = fm.NoticeKept | fm.Notices | fm.NoticeClosed | fm.NoticeStates


class Work(Struct, eq=False):
    """One request on its way through the writer thread. size: bytes that it keeps while it waits."""

    source: Source
    prefecture: int
    message: fm.Notify | fm.LoadRange | NoticeRequest
    size: int
    arrived: float

    @property
    def notifications(self) -> int:
        """Rows, at least one, so that empty ranges and notices fill a transaction too."""
        return max(1, len(self.message.batch)) if isinstance(self.message, fm.Notify | fm.LoadRange) else 1


class Gap(Struct, frozen=True):
    """The batch would have left a gap; the feed goes on at ``expected``."""

    expected: int


class Refusal(Struct, frozen=True):
    """Nothing of the batch was applied."""

    code: ErrorCode
    message: str
    retry_after_ms: int = 0


Result = Applied | Gap | Refusal | NoticeAnswer


class Applying:
    """The queues and the thread.

    Invariant: a batch is in one queue, in the thread's hands, or in ``_results``, and its source hears of it exactly
    once unless it is withdrawn. Applied and Gap are handed out only after the commit of their transaction.
    """

    def __init__(
        self,
        register: FeedRegister,
        notices: NoticeBook,
        readiness: Readiness,
        metrics: Metrics,
        log: EventLog,
        broken: Callable[[], None],
        *,
        notifications_max: int,
        seconds_max: float,
        gather_seconds: float,
        retry_seconds: float,
        daily_purge: DailyPurge,
    ) -> None:
        """``broken`` is called in the loop when the register must be opened anew."""
        self._register = register
        self._notices = notices
        self._readiness = readiness
        self._metrics = metrics
        self._log = log
        self._broken = broken
        self._notifications_max = notifications_max
        self._seconds_max = seconds_max
        self._gather_seconds = gather_seconds
        self._is_shared = False
        self._retry_ms = max(1, int(retry_seconds * 1000))
        self._daily_purge = daily_purge
        self._queues: OrderedDict[int, deque[Work]] = OrderedDict()
        self._wanted = threading.Condition()
        self._busy = False
        self._purge_due = False
        self._ending = False
        self._results: deque[tuple[Work, Result]] = deque()
        self._outcomes: deque[_Outcome] = deque()
        self._done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.queued_bytes = 0
        self.writing = True
        readiness.add(self._done, READABLE, self._on_done)
        self._thread = threading.Thread(target=self._work, name="feed writer", daemon=True)
        self._thread.start()

    # In the loop ---------------------------------------------------------------------------------------------------

    def submit(self, work: Work) -> None:
        """Queue a batch behind the earlier ones of its feed."""
        self.queued_bytes += work.size
        with self._wanted:
            self._queues.setdefault(work.prefecture, deque()).append(work)
            self._wanted.notify()

    def withdraw(self, source: Source) -> None:
        """Forget what a closed connection left in the queue. What the thread has in hand may still be committed."""
        with self._wanted:
            for prefecture, queue in list(self._queues.items()):
                kept = deque(work for work in queue if work.source is not source)
                self.queued_bytes -= sum(work.size for work in queue) - sum(work.size for work in kept)
                if kept:
                    self._queues[prefecture] = kept
                else:
                    del self._queues[prefecture]

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, being written or waiting to be answered."""
        with self._wanted:
            return not (self._queues or self._busy or self._results)

    def purge_gauges(self) -> dict[str, float]:
        """How far the daily purge is behind."""
        return self._daily_purge.gauges()

    def purge_notices(self) -> None:
        """Let the thread delete what of received notices is past its days, before its next transaction."""
        with self._wanted:
            self._purge_due = True
            self._wanted.notify()

    def close(self) -> None:
        """End the thread after the transaction under way; batches that wait are given up, unacknowledged."""
        with self._wanted:
            self._ending = True
            self._queues.clear()
            self._wanted.notify()
        self._thread.join()
        self._readiness.remove(self._done)
        os.close(self._done)

    def _on_done(self, _events: int) -> None:
        os.eventfd_read(self._done)
        while self._outcomes:
            self._account(self._outcomes.popleft())
        while self._results:
            work, result = self._results.popleft()
            self.queued_bytes -= work.size
            if not work.source.closed:
                work.source.finished(work, result)

    def _account(self, outcome: _Outcome) -> None:
        metrics = self._metrics
        error = outcome.failure
        if error is None:
            metrics.plain["feed_transactions_total"] += 1
            metrics.feed_transaction_seconds.observe(outcome.seconds)
            metrics.feed_transaction_notifications.observe(outcome.notifications)
            if not self.writing:
                self.writing = True
                self._log.info("writing_resumed")
            return
        metrics.plain["feed_failures_total"] += 1
        if not is_of_the_store(error):
            self._log.failure("batch_failed", error, batches=outcome.batches)
            return
        self.writing = False
        self._log.error("writing_stopped", reason=reason_of(error.__cause__), batches=outcome.batches)
        if is_final(error) or self._is_lost():
            self._broken()

    def _is_lost(self) -> bool:
        """Whether LMDB trusts the environment no more: then nobody can be greeted either, and no batch would tell."""
        try:
            self._register.meta()
        except StoreError as error:
            return is_final(error)
        return False

    # In the thread -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """The thread: one transaction after the other."""
        while True:
            with self._wanted:
                self._busy = False
                purge_wanted = self._daily_purge.is_wanted()
                while not (self._queues or self._ending or self._purge_due or purge_wanted):
                    self._wanted.wait(CHECK_SECONDS)
                    purge_wanted = self._daily_purge.is_wanted()
                if self._ending:
                    return
                self._busy = True
                purge_due, self._purge_due = self._purge_due, False
            if purge_due:
                self._purge()
            if purge_wanted:
                self._daily_purge.step()
            first = self._take()
            if first is None:
                continue
            results = self._attempt(first)
            with self._wanted:
                self._results.extend(results)
            os.eventfd_write(self._done, 1)

    def _purge(self) -> None:
        outcome = _Outcome()
        try:
            with self._register.transaction() as transaction:
                if self._notices.purge(transaction.handle, int(time.time())):
                    transaction.commit()
        except Exception as error:
            outcome.failure = error
            self._outcomes.append(outcome)
            os.eventfd_write(self._done, 1)

    def _take(self, wait_seconds: float = 0.0) -> Work | None:
        """The next batch, of another feed each time; None when nothing waits, or comes in that time."""
        with self._wanted:
            if wait_seconds > 0.0 and not (self._queues or self._ending):
                self._wanted.wait(wait_seconds)
            while self._queues:
                prefecture, queue = self._queues.popitem(last=False)
                work = queue.popleft()
                if queue:
                    self._queues[prefecture] = queue
                return work
        return None

    def _attempt(self, first: Work) -> list[tuple[Work, Result]]:
        """A transaction that begins with ``first``, and what became of its batches."""
        taken = [first]
        outcome, results = self._transact(taken, self._take)
        if is_of_the_store(outcome.failure):
            while (work := self._take()) is not None:
                taken.append(work)
            outcome.batches = len(taken)
            refusal = Refusal(ErrorCode.REGISTER_UNAVAILABLE, UNAVAILABLE, self._retry_ms)
            results = [(work, refusal) for work in taken]
        elif outcome.failure is not None:
            if len(taken) > 1:
                return [pair for work in taken for pair in self._alone(work)]
            results = [(first, Refusal(ErrorCode.INTERNAL, FAILED, self._retry_ms))]
        self._outcomes.append(outcome)
        return results

    def _alone(self, work: Work) -> list[tuple[Work, Result]]:
        outcome, results = self._transact([work], lambda _seconds: None)
        self._outcomes.append(outcome)
        if is_of_the_store(outcome.failure):
            return [(work, Refusal(ErrorCode.REGISTER_UNAVAILABLE, UNAVAILABLE, self._retry_ms))]
        if outcome.failure is not None:
            return [(work, Refusal(ErrorCode.INTERNAL, FAILED, self._retry_ms))]
        return results

    def _transact(
        self, taken: list[Work], more: Callable[[float], Work | None]
    ) -> tuple[_Outcome, list[tuple[Work, Result]]]:
        """Apply what was taken, and more while there is room, in one transaction; then commit it."""
        outcome = _Outcome()
        results: list[tuple[Work, Result]] = []
        gather_seconds = gathering(self._gather_seconds, self._seconds_max, is_shared=self._is_shared)
        started = time.monotonic()
        try:
            with self._register.transaction() as transaction:
                work: Work | None = taken[0]
                while work is not None:
                    results.append((work, apply(transaction, self._notices, work)))
                    outcome.notifications += work.notifications
                    age = time.monotonic() - started
                    is_full = outcome.notifications >= self._notifications_max or age >= self._seconds_max
                    work = None if is_full else more(gather_seconds - age)
                    if work is not None:
                        taken.append(work)
                transaction.commit()
        except Exception as error:
            outcome.failure = error
            results = []
        self._is_shared = len({work.prefecture for work in taken}) > 1
        outcome.batches = len(taken)
        outcome.seconds = time.monotonic() - started
        return outcome, results


def gathering(gather_seconds: float, seconds_max: float, *, is_shared: bool) -> float:
    """Seconds that a transaction waits for further batches; is_shared: the one before was of several feeds.

    A lone feed that waits for each answer is not kept waiting; many that send a little each share their commits.
    """
    return min(seconds_max, gather_seconds * (SHARED_GATHERING if is_shared else 1))


FINAL_CAUSES: Final = (lmdb.PanicError, lmdb.MapResizedError, lmdb.BadRslotError)
"""After these the environment must be opened anew."""


def is_final(error: Exception | None) -> bool:
    """Whether the environment must be opened anew."""
    return error is not None and isinstance(error.__cause__, FINAL_CAUSES)


def is_of_the_store(error: Exception | None) -> bool:
    """Whether no batch could have been applied; otherwise it is one batch's own (a block that is full, a defect)."""
    return isinstance(error, StoreError) and isinstance(error.__cause__, lmdb.Error | OSError)


def reason_of(cause: BaseException | None) -> str:
    """What LMDB or the operating system said: the call and the error, never a value."""
    if isinstance(cause, OSError):
        return operating_error(cause)
    return f"{type(cause).__name__}: {cause}"


class _Outcome(Struct, eq=False):
    """One transaction, for the log and the metrics."""

    batches: int = 0
    notifications: int = 0
    seconds: float = 0.0
    failure: Exception | None = None


def apply(transaction: FeedTransaction, notices: NoticeBook, work: Work) -> Result:
    """Apply one batch or range, or do what is asked about notices. Raises StoreError."""
    message = work.message
    try:
        if isinstance(message, fm.Notify):
            return transaction.apply(work.prefecture, message.first_sequence, message.batch)
        if isinstance(message, fm.LoadRange):
            return transaction.apply_range(
                work.prefecture, message.sequence, message.first_key, message.stop_key, message.batch
            )
    except SequenceGapError as gap:
        return Gap(gap.expected)
    try:
        return about_notices(transaction, notices, work.prefecture, message, int(time.time()))
    except NoticeRefusedError as refused:
        return Refusal(refused.code, str(refused))
    except lmdb.Error as error:
        raise StoreError("the notices could not be written") from error


def about_notices(
    transaction: FeedTransaction, notices: NoticeBook, prefecture: int, message: NoticeRequest, now: int
) -> NoticeAnswer:
    """The answer to one request about move-in notices. What only asks leaves the transaction with nothing to commit.

    Raises NoticeRefusedError and StoreError.
    """
    request_id = message.request_id
    match message:
        case fm.NoticeLeave():
            return fm.NoticeKept(request_id, notices.leave(transaction.handle, prefecture, message, now))
        case fm.NoticeTake(notices_max=notices_max):
            found, remaining = notices.waiting(transaction.view, prefecture, notices_max, now)
            if not all(notice.taken_at for notice in found):
                found = notices.mark_taken(transaction.handle, found, now)
            return fm.Notices(request_id, found, remaining)
        case fm.NoticeReceived(numbers=numbers):
            return fm.NoticeClosed(request_id, notices.receive(transaction.handle, prefecture, numbers, now))
        case fm.NoticeList(after=after, notices_max=notices_max):
            return fm.NoticeStates(request_id, *notices.own(transaction.view, prefecture, after, notices_max, now))
