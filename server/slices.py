"""Bulk requests and the thread that works them off, slice by slice.

Theory of operation
-------------------
The kernels release the GIL, so a thread of its own answers rows while the loop encrypts, writes and serves small
requests. The loop gives it a few slices ahead, in the order of the fair queue: the thread goes from one to the next
without waiting for the loop, which only hears of them afterwards. When a slice is over, an eventfd in the readiness
set wakes the loop; what it hears of together, it handles in one turn.

What is given ahead is bounded in rows, because it is what a caller whose turn is next has to wait for.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from jukinet.core.columns.layout import TextColumn
from jukinet.core.index import HistoryBatch, LookupBatch, StatusBatch, VerifyBatch
from jukinet.core.matching.answering import Asked, MatchBatch, SearchBatch
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.wire import messages as m
from jukinet.core.wire.frames import AnswerFrame
from jukinet.server.readiness import Readiness
from jukinet.server.sessions import Session

if TYPE_CHECKING:
    from jukinet.server.connection import Connection

Question = m.LookupRequest | m.StatusRequest | m.VerifyRequest | m.HistoryRequest | m.SearchRequest | m.MatchRequest
Batch = LookupBatch | StatusBatch | VerifyBatch | HistoryBatch | SearchBatch | MatchBatch
READABLE: Final = 1  # EPOLLIN
TOLD_BY_ROW: Final = (VerifyBatch, SearchBatch, MatchBatch)
"""Batches whose record of use holds a byte a row besides the outcome."""
BEGUN_BY_THE_LOOP: Final = (HistoryBatch, SearchBatch, MatchBatch)
FIND_SLICE_ROWS: Final = 128
"""Of a SEARCH or MATCH: about a millisecond of work in a realistic mix; docs/matching.md bounds what a row may cost at
the worst."""
FIND_SLICE_ROWS_UNDATED: Final = 16
"""Of a slice with more rows than so many that have no birth date: each may look at limits.MATCH_LISTED_MAX people."""
SLICES_GIVEN_MAX: Final = 16
"""Short requests are given many at once: each costs the loop more to hear of than the thread to answer."""


class BulkAnswer(NamedTuple):
    """What a finished request provides: codes, outcomes and matches for the record of use, and the frame."""

    codes: memoryview
    outcomes: bytes
    matches: bytes | None
    frame: AnswerFrame
    version: int


class BulkRequest:
    """A request that is worked off in slices.

    Rows below ``done`` are answered, rows below ``given`` are the thread's. Invariant: ``snapshot`` is pinned, and
    ``batch`` the request's own, exactly from its first slice until it is dropped and no slice of it is ``running``
    (given and not reported). While any is, only ``work_off`` touches batch, snapshot, done, answer and failure.
    """

    __slots__ = (
        "answer",
        "arrived",
        "batch",
        "connection",
        "count",
        "done",
        "dropped",
        "failure",
        "function",
        "given",
        "items",
        "question",
        "reported",
        "running",
        "session",
        "size",
        "snapshot",
    )

    def __init__(
        self,
        connection: Connection,
        question: Question,
        session: Session,
        function: int,
        items: int,
        size: int,
        arrived: float,
    ) -> None:
        self.connection = connection
        self.question = question
        self.session = session
        self.function = function
        self.items = items
        self.count = rows_of(question)
        self.size = size
        self.arrived = arrived
        self.reported = arrived
        self.given = 0
        self.done = 0
        self.running = 0
        self.batch: Batch | None = None
        self.snapshot: Snapshot | None = None
        self.answer: BulkAnswer | None = None
        self.failure: Exception | None = None
        self.dropped = False


class SliceThread:
    """The thread, and what it was given.

    Invariant: ``rows`` and ``slices`` count what was given and not reported to ``over`` yet.
    """

    def __init__(self, readiness: Readiness, over: Callable[[BulkRequest], None]) -> None:
        """over: told in a turn of the loop of each slice that is over, in the order given. It must not raise."""
        self.rows = 0
        self.slices = 0
        self._over = over
        self._readiness = readiness
        self._orders: SimpleQueue[tuple[BulkRequest, int, int] | None] = SimpleQueue()
        self._reports: deque[tuple[BulkRequest, int]] = deque()
        self._told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._work, name="bulk slices", daemon=True)
        self._thread.start()
        readiness.add(self._told, READABLE, self._hear)

    def give(self, request: BulkRequest, stop: int, weight: int = 1) -> None:
        """Let the thread answer the request's rows up to ``stop`` when it is done with what it was given before.

        weight: how many rows of a LOOKUP one of these rows counts for.
        """
        rows = (stop - request.given) * weight
        request.given = stop
        request.running += 1
        self.rows += rows
        self.slices += 1
        self._orders.put((request, stop, rows))

    def work_now(self, request: BulkRequest, stop: int) -> None:
        """Answer rows of a request, of which the thread has nothing, here; ``over`` is told before this returns."""
        request.given = stop
        try:
            work_off(request, stop)
        except Exception as error:
            request.failure = error
        self._over(request)

    def close(self) -> None:
        """End the thread after the slice under way. The requests of what it was given must have been dropped."""
        self._orders.put(None)
        self._thread.join()
        self._report()
        self._readiness.remove(self._told)
        os.close(self._told)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            request, stop, rows = order
            if not request.dropped and request.failure is None:
                try:
                    work_off(request, stop)
                except Exception as error:
                    request.failure = error
            self._reports.append((request, rows))
            os.eventfd_write(self._told, 1)

    def _hear(self, _events: int) -> None:
        os.eventfd_read(self._told)
        self._report()

    def _report(self) -> None:
        while self._reports:
            request, rows = self._reports.popleft()
            request.running -= 1
            self.rows -= rows
            self.slices -= 1
            self._over(request)


def work_off(request: BulkRequest, stop: int) -> None:
    """Answer rows up to ``stop``, and lay out the answer after the last. Touches nothing but the request."""
    batch, snapshot = request.batch, request.snapshot
    assert batch is not None
    assert snapshot is not None
    if request.done == 0 and not isinstance(batch, BEGUN_BY_THE_LOOP):
        state(batch, request.question, request.items)
    batch.run(snapshot, request.done, stop)
    request.done = stop
    if stop == request.count:
        request.answer = finished(batch, request.question, snapshot.version)


def finished(batch: Batch, question: Question, version: int) -> BulkAnswer:
    """What a batch provides whose rows are all answered; the batch lets go of the question."""
    if isinstance(batch, LookupBatch) and isinstance(question, m.LookupRequest):
        return BulkAnswer(question.codes, batch.outcomes, None, batch.finish_in_parts(), version)
    matches = batch.matches if isinstance(batch, TOLD_BY_ROW) else None
    if isinstance(batch, SearchBatch):
        codes, outcomes = batch.recorded()
    elif isinstance(batch, MatchBatch):
        codes, outcomes = batch.codes, batch.outcomes
    else:
        assert not isinstance(question, m.SearchRequest | m.MatchRequest)
        codes, outcomes = question.codes, batch.outcomes
    assert not isinstance(batch, LookupBatch)
    return BulkAnswer(codes, outcomes, matches, batch.finish(), version)


def state(batch: Batch, question: Question, items: int) -> None:
    """Begin a batch with what was asked."""
    if isinstance(batch, LookupBatch) and isinstance(question, m.LookupRequest):
        batch.begin(question.codes, items, question.form)
    elif isinstance(batch, StatusBatch) and isinstance(question, m.StatusRequest):
        batch.begin(question.codes, question.since)
    elif isinstance(batch, VerifyBatch) and isinstance(question, m.VerifyRequest):
        names, addresses = question.names, question.addresses
        batch.begin(
            question.codes,
            items,
            names=None if names is None else (names.offsets, names.data),
            birth_dates=question.birth_dates,
            sexes=question.sexes,
            addresses=None if addresses is None else (addresses.offsets, addresses.data),
        )
    else:
        raise TypeError("the batch is not of the question's kind")


def rows_of(question: Question) -> int:
    """The rows that a question asks about."""
    return question.count if isinstance(question, m.SearchRequest | m.MatchRequest) else len(question.codes)


def find_slice_rows(question: m.SearchRequest | m.MatchRequest, start: int) -> int:
    """How many rows make a slice that begins at ``start``: fewer where rows without a birth date cost more."""
    dates = question.birth_dates
    rows = min(FIND_SLICE_ROWS, question.count - start)
    undated = rows if dates is None else dates[start : start + rows].tolist().count(0)
    return FIND_SLICE_ROWS_UNDATED if undated > FIND_SLICE_ROWS_UNDATED else FIND_SLICE_ROWS


def asked_of(question: m.SearchRequest | m.MatchRequest) -> Asked:
    """The rows of a SEARCH or MATCH for the matcher, over the question's memory."""
    return Asked(
        question.count,
        names=question.names,
        kana=question.kana,
        birth_dates=question.birth_dates,
        sexes=question.sexes,
        addresses=question.addresses,
    )


def question_bytes(question: Question) -> int:
    """The memory that a question keeps while it waits."""
    size = 0
    texts: list[TextColumn | None] = []
    if isinstance(question, m.SearchRequest | m.MatchRequest):
        texts = [question.names, question.kana, question.addresses]
    else:
        size = question.codes.nbytes
        if isinstance(question, m.VerifyRequest):
            texts = [question.names, question.addresses]
    if isinstance(question, m.VerifyRequest | m.FindRequest):
        size += sum(text.offsets.nbytes + text.data.nbytes for text in texts if text is not None)
        size += sum(column.nbytes for column in (question.birth_dates, question.sexes) if column is not None)
    return size
