"""MATCH for one affair: the model of its parameters, its rules, and where the register keeps earlier records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import lmdb
from msgspec.structs import replace

from jukinet.core.errors import StoreError
from jukinet.core.feed import history
from jukinet.core.index.history import READING, earlier_records
from jukinet.core.law.retention import Cutoffs
from jukinet.core.matching import beginnings, parameters
from jukinet.core.matching.columns import Answers, Hits, MatchRules, Questions
from jukinet.core.matching.matcher import MatchBatch
from jukinet.core.matching.model import Model
from jukinet.core.store import schema
from jukinet.core.store.snapshot import Snapshot

if TYPE_CHECKING:
    from jukinet.core.matching.matcher import Observer


def model_for(rules: MatchRules, residents: int) -> Model:
    """The model of an affair's parameters, the shipped ones where it names none; some milliseconds of work, to be kept.

    residents: people in the register. ConfigurationError for a file that cannot be used.
    """
    chosen = parameters.read(Path(rules.parameters)) if rules.parameters else parameters.shipped()
    return Model(chosen, residents)


class MatcherOf(NamedTuple):
    """What a matcher is made of; equal ones make matchers that answer the same."""

    model: Model
    rules: MatchRules
    databases: Mapping[str, lmdb._Database]
    width: int
    cutoffs: Cutoffs

    def make(self) -> Matcher:
        """A new matcher, with some megabytes of memory of its own."""
        return Matcher(*self)


class Matcher:
    """Answers batches for one affair; one batch at a time, in one thread.

    databases and width are the register's; cutoffs the retention rule as of today: an earlier record past it finds
    nobody.
    """

    def __init__(
        self, model: Model, rules: MatchRules, databases: Mapping[str, lmdb._Database], width: int, cutoffs: Cutoffs
    ) -> None:
        self._batch = MatchBatch(model, rules)
        self._databases = databases
        self._width = width
        self._cutoffs = cutoffs
        self._snapshot: Snapshot | None = None
        self._answers = Answers.empty(0)

    def begin(self, questions: Questions) -> Answers:
        """Start a batch; its answers, which run() fills."""
        self._answers = Answers.empty(questions.count)
        self._batch.begin(questions, self._answers)
        return self._answers

    @property
    def done(self) -> int:
        """Rows answered so far."""
        return self._batch.done

    def run(self, snapshot: Snapshot, start: int, stop: int, observe: Observer | None = None) -> None:
        """Answer rows [start, stop), in ascending pieces of one pinned snapshot. Raises StoreError.

        observe: sees the candidates of each row, for estimation (matcher.MatchBatch.run).
        """
        self._snapshot = snapshot
        try:
            self._batch.run(snapshot, start, stop, self._histories, observe)
        except lmdb.Error as error:
            raise StoreError("the history cannot be read") from error
        finally:
            self._snapshot = None

    @property
    def work(self) -> tuple[list[int], int]:
        """Rows that ended with each step of the last batch, and records compared for it: for measurements."""
        return self._batch.work

    def finish(self) -> Answers:
        """The answers of a batch whose rows are all run; lets the questions go."""
        if self._batch.done != self._answers.count:
            raise ValueError("the batch has rows that were not run")
        self._batch.close()
        return self._answers

    def match(self, snapshot: Snapshot, questions: Questions) -> Answers:
        """A whole batch at once. Raises StoreError."""
        self.begin(questions)
        self.run(snapshot, 0, questions.count)
        return self.finish()

    def search(self, snapshot: Snapshot, questions: Questions, prefix: bool, start: int, stop: int, hits: Hits) -> None:
        """SEARCH: fill rows [start, stop) of hits; prefix: names and readings may be beginnings. Raises StoreError."""
        answers = replace(Answers.empty(questions.count), statuses=hits.statuses)
        self._snapshot = snapshot
        try:
            self._batch.begin(questions, answers)
            self._batch.search(snapshot, start, stop, self._histories, hits)
            if prefix:
                beginnings.search(snapshot, questions, start, stop, hits)
        except lmdb.Error as error:
            raise StoreError("the history cannot be read") from error
        finally:
            self._batch.close()
            self._snapshot = None

    def _histories(self, key: int) -> list[tuple[int, bytes]]:
        """(status, record) of a person's earlier records inside retention."""
        assert self._snapshot is not None
        transaction = self._snapshot.transaction
        assert transaction is not None
        bucket, delta = divmod(key, self._width)
        with READING:
            value = transaction.get(schema.NUMBER.pack(bucket), None, self._databases["history"])
        if value is None:
            return []
        kept = history.of_key(value, bucket, delta)
        return [(status, bytes(data)) for _, status, data in earlier_records(kept, self._cutoffs)]
