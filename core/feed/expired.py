"""What is left of a code's contributions when some are past their last day (docs/retention.md, chapter 3).

Pure and without storage. What is left must fold to the same record as before. So whatever ranks below an expired
contribution that took effect goes with it: it was replaced before that one. And when the first that is left is a
correction or a removal, which means nothing without what it followed, it becomes a statement of the record as it then
stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from jukinet.core.feed.contribution import (
    PART_NOTIFIED,
    Contribution,
    Kind,
    Standing,
    from_stored,
    is_contribution,
    registered_day,
    update_number,
    with_day,
    without_day,
)
from jukinet.core.feed.fold import fold
from jukinet.core.law.retention import Cutoffs
from jukinet.core.vocabulary import ChangeReason, State

if TYPE_CHECKING:
    from jukinet.core.feed.holdings import Entry

_TOOK_EFFECT: Final = frozenset((Standing.SHOWN, Standing.REPLACED, Standing.COMPOSED))
_DEPENDENT: Final = frozenset((Kind.CORRECTION, Kind.REMOVAL))


class Left(msgspec.Struct, frozen=True):
    """The contributions and the shown entry after a purge."""

    contributions: list[Contribution]
    shown: Entry | None

    def __repr__(self) -> str:
        """Never shows identity information."""
        return f"<Left {len(self.contributions)}>"


def left_of(contributions: Sequence[Contribution], shown: Entry | None, cutoffs: Cutoffs, jis: list[int]) -> Left:
    """Take out what is expired. ``contributions`` ascend and are folded; ``shown`` is what they fold to.

    jis: five-digit area numbers by number in the areas table.
    """
    if shown is not None and cutoffs.expired(shown[0] & 15, registered_day(shown[0]), None):
        return Left([], tombstone(shown, cutoffs.day))
    left = Left(list(contributions), shown)
    while True:
        before = len(left.contributions)
        left = _one_pass(left, cutoffs, jis)
        if len(left.contributions) == before:
            return left


def tombstone(shown: Entry, day: int) -> Entry:
    """The entry that stands for an expired one: reason and update number, and nothing of the person."""
    reason = ChangeReason.DEATH if shown[0] & 15 == State.DEAD else shown[0] >> 4 & 63
    number = update_number(shown[1])
    return with_day(State.EXPIRED | reason << 4, day), bytes((0, number & 0xFF, number >> 8))


def is_expired(c: Contribution, cutoffs: Cutoffs) -> bool:
    """Of a contribution that is not shown. What never took effect expires like what was replaced on the same day."""
    if c.standing is Standing.REPLACED:
        return cutoffs.expired(c.status & 15, registered_day(c.status), c.day)
    return c.standing not in _TOOK_EFFECT and cutoffs.expired(State.CURRENT, 0, c.day)


def _one_pass(left: Left, cutoffs: Cutoffs, jis: list[int]) -> Left:
    present = left.contributions
    expired = [is_expired(c, cutoffs) for c in present]
    if not any(expired):
        return left
    cut = max((at for at, c in enumerate(present) if expired[at] and c.standing is Standing.REPLACED), default=-1)
    first = next((at for at in range(cut + 1, len(present)) if present[at].standing in _TOOK_EFFECT), len(present))
    if cut >= 0 and first < len(present) and _is_carried(present[first]):
        cut = first
        first = next(at for at in range(cut + 1, len(present)) if present[at].standing in _TOOK_EFFECT)
    kept = [
        c
        for at, c in enumerate(present)
        if not expired[at] and at != first and (at > cut or c.standing is Standing.NOT_HOLDER)
    ]
    shown = left.shown
    if first < len(present):
        anchor = present[first]
        if cut >= 0 and anchor.kind in _DEPENDENT:
            anchor, shown = _stated(present, first, shown, jis)
        kept = sorted([*kept, anchor], key=lambda c: c.order)
    if not _folds_to(kept, shown):
        return _shown_alone(shown, jis)
    return Left(kept, shown)


def _is_carried(c: Contribution) -> bool:
    """A removal of which the correction after it says all: the two are shown together."""
    return c.kind is Kind.REMOVAL and c.standing is Standing.COMPOSED


def _stated(
    present: Sequence[Contribution], at: int, shown: Entry | None, jis: list[int]
) -> tuple[Contribution, Entry | None]:
    """The contribution as a statement of what was shown when it had taken effect, and the entry shown."""
    c = present[at]
    if c.standing is not Standing.REPLACED:
        assert shown is not None
        shown = shown[0], _unmarked(shown[1])
        return from_stored(*shown, jis), shown
    then = fold(present[: at + 1])
    assert then.status is not None
    assert then.record is not None
    status = with_day(then.status, registered_day(c.status))
    return from_stored(status, _unmarked(then.record), jis, c.standing, c.day), shown


def _unmarked(record: bytes) -> bytes:
    return bytes((record[0] & ~PART_NOTIFIED,)) + record[1:]


def _folds_to(contributions: Sequence[Contribution], shown: Entry | None) -> bool:
    folded = fold(contributions)
    if shown is None or not is_contribution(shown[0]):
        return folded.record is None
    return folded.status is not None and (without_day(folded.status), folded.record) == (
        without_day(shown[0]),
        shown[1],
    )


def _shown_alone(shown: Entry | None, jis: list[int]) -> Left:
    """Where ranks crossed so that the rest would fold to something else: what is shown, as a statement, and no more."""
    if shown is None or not is_contribution(shown[0]):
        return Left([], shown)
    status, record = shown
    stated = status, record if status & 15 == State.RETIRED else _unmarked(record)
    return Left([from_stored(*stated, jis)], stated)
