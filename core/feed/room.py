"""Whether a block has room for one more contribution: a row for which there is none is refused, and its feed goes on.

A block's records take at most 65,535 bytes together. Codes are random, so a block of about 60 residents never comes
near that; what does is a register whose buckets are far too wide for its nation, or a source that makes codes up.
Without this, the transaction would fail at its end and the feed would stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from jukinet.core import limits
from jukinet.core.store import block

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from jukinet.core.feed.contribution import Contribution
    from jukinet.core.feed.key_state import KeyState


class BlockRoom:
    """The bytes of the blocks that a transaction touches, and what the batch under way may add to them.

    The judgement depends on what the batches before have left and on the rows before in the same batch, never on how
    batches share transactions: replaying the journal comes to the same.

    Invariant: between batches ``_used`` is what the blocks would hold if the transaction were committed now.
    """

    def __init__(self, width: int, stored: Callable[[int], Buffer | None]) -> None:
        """``stored``: the block of a bucket as the transaction has written it, without entries changed one by one."""
        self._width = width
        self._stored = stored
        self._used: dict[int, int] = {}
        self._growth: dict[int, int] = {}
        self._growing: dict[int, int] = {}

    def takes(self, state: KeyState, c: Contribution) -> bool:
        """Whether there is room for what the key may show with ``c``; the room is then reserved until ``settled``."""
        if len(state.contributions) >= limits.CONTRIBUTIONS_PER_KEY_MAX:
            return False
        # Any of its contributions may come to be shown: a new one can settle a conflict among the others.
        longest = max([len(c.record), *(len(other.record) for other in state.contributions)])
        growth = max(0, longest - _length(state))
        bucket = state.key // self._width
        used = self._used.get(bucket)
        if used is None:
            used = self._used[bucket] = self._size(bucket)
        growing = self._growing.get(bucket, 0) - self._growth.get(state.key, 0) + growth
        if used + growing > limits.BLOCK_RECORDS_BYTES_MAX:
            return False
        self._growth[state.key] = growth
        self._growing[bucket] = growing
        return True

    def moved(self, key: int, before: int, after: int) -> None:
        """Called for each key that shows something else at the end of a batch: bytes of its record before and after."""
        bucket = key // self._width
        if bucket in self._used:
            self._used[bucket] += after - before

    def settled(self) -> None:
        """The batch is at its end; what was reserved is in ``moved``."""
        self._growth.clear()
        self._growing.clear()

    def rewritten(self, buckets: range, states: Mapping[int, KeyState], lengths: Callable[[int], int]) -> None:
        """Blocks were written as a whole; ``lengths``: bytes of a key's record in its block, 0 when it has none."""
        known = [bucket for bucket in self._used if bucket in buckets]
        for bucket in known:
            self._used[bucket] = self._size(bucket)
        for key, state in _of_buckets(states, known, self._width):
            self._used[key // self._width] += _length(state) - lengths(key)

    def _size(self, bucket: int) -> int:
        present = self._stored(bucket)
        return 0 if present is None else block.records_bytes(present)


def _length(state: KeyState) -> int:
    return 0 if state.shown is None else len(state.shown[1])


def _of_buckets(states: Mapping[int, KeyState], buckets: Iterable[int], width: int) -> list[tuple[int, KeyState]]:
    wanted = set(buckets)
    return [(key, state) for key, state in states.items() if key // width in wanted] if wanted else []
