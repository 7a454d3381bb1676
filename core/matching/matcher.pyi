from collections.abc import Callable, Sequence

from jukinet.core.matching.columns import Answers, Hits, MatchRules, Questions
from jukinet.core.matching.model import Model
from jukinet.core.store.snapshot import Snapshot

Observed = tuple[int, int, int, int, int, float]
Histories = Callable[[int], Sequence[tuple[int, bytes]]]
Observer = Callable[[int, list[Observed]], None]

class MatchBatch:
    count: int
    done: int
    version: int
    @property
    def work(self) -> tuple[list[int], int]: ...
    @property
    def placed(self) -> int: ...
    def __init__(self, model: Model, rules: MatchRules) -> None: ...
    def begin(self, questions: Questions, answers: Answers) -> None: ...
    def run(
        self, snapshot: Snapshot, start: int, stop: int, histories: Histories, observe: Observer | None = None
    ) -> None: ...
    def search(self, snapshot: Snapshot, start: int, stop: int, histories: Histories, hits: Hits) -> None: ...
    def close(self) -> None: ...
