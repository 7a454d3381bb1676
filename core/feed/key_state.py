"""What the register knows under one key while a transaction works on it: its contributions and what is shown."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace

from jukinet.core.feed import contribution as contributions_module
from jukinet.core.feed.contribution import (
    Contribution,
    Kind,
    Standing,
    from_stored,
    is_contribution,
    other_person,
    persons_of,
)
from jukinet.core.feed.expired import left_of
from jukinet.core.feed.fold import fold, with_image
from jukinet.core.law.retention import Cutoffs
from jukinet.core.notifications import Fault
from jukinet.core.vocabulary import ChangeReason, State

if TYPE_CHECKING:
    from jukinet.core.feed.history import Kept
    from jukinet.core.feed.holdings import Entry


class KeyState:
    """Contributions of one key in ascending order, and the entry shown.

    Invariant: unless ``stale``, ``shown`` and the standings are what fold() says of the contributions.
    """

    short_cut: ClassVar[bool] = True
    """Whether a contribution behind all others is folded alone; the tests compare both ways."""

    __slots__ = ("appended", "contributions", "history_changed", "key", "persons_before", "shown", "stale")

    def __init__(self, key: int, shown: Entry | None, kept: Sequence[Kept], jis: list[int]) -> None:
        """shown: the stored entry; kept: the stored history of the key; jis: JIS numbers by area number."""
        self.key = key
        self.shown = shown
        self.stale = self.history_changed = False
        self.appended = False
        self.persons_before: list[bytes] | None = None
        """The persons of the key before its first change here; None while there was none."""
        found = [from_stored(status, data, jis, Standing(standing), day) for standing, day, status, data in kept]
        composed = any(c.standing is Standing.COMPOSED for c in found)
        if shown is not None and is_contribution(shown[0]) and not composed:
            found.append(from_stored(shown[0], shown[1], jis))
        if len(found) > 1:
            found.sort(key=_order)
        self.contributions = found

    def fault(self, c: Contribution, *, is_awaited: bool = False) -> Fault | None:
        """Why ``c`` cannot be accepted under this key after what its own area contributed before.

        is_awaited: a load of its prefecture is under way and has not come to this key, so that the entry may follow.
        """
        last: Contribution | None = None
        is_entered = is_retired = False
        for present in self.contributions:
            if present.area == c.area:
                last = present
                is_entered |= present.kind is Kind.ENTRY or present.kind is Kind.STATEMENT
                is_retired |= present.kind is Kind.RETIREMENT
        is_retirement_stated = c.kind is Kind.RETIREMENT and c.is_stated
        if last is None:
            if c.kind in {Kind.CORRECTION, Kind.REMOVAL, Kind.RETIREMENT} and not is_retirement_stated:
                return None if is_awaited and not self._is_of_the_dead() else Fault.NOT_ENTERED
            return Fault.CODE_EXPIRED if self._is_of_the_dead() else None
        if c.kind is Kind.STATEMENT:
            # What came while its entry was awaited has a higher number than an entry that says how it was before.
            return Fault.NUMBER_NOT_ASCENDING if is_entered and c.rank < last.rank else None
        if is_retirement_stated:
            return Fault.NUMBER_NOT_ASCENDING if (is_entered or is_retired) and c.rank < last.rank else None
        return Fault.NUMBER_NOT_ASCENDING if c.rank[0] <= last.rank[0] else None

    def _is_of_the_dead(self) -> bool:
        """Whether the entry is the tombstone of a dead person: nobody else is ever entered there."""
        if self.shown is None:
            return False
        status = self.shown[0]
        return status & 15 == State.EXPIRED and status >> 4 & 63 == ChangeReason.DEATH

    def add(self, c: Contribution) -> None:
        """Take in an accepted contribution. A statement replaces what its area contributed at the same rank."""
        present = self.contributions
        if c.kind is Kind.RETIREMENT and any(c.retires_like(other) for other in present):
            return
        self._keep_persons()
        self.appended = not self.stale and (not present or present[-1].rank < c.rank)
        self.stale = True
        if self.appended:
            present.append(c)
            return
        if c.kind is Kind.STATEMENT:
            for at, other in enumerate(present):
                if other.rank == c.rank and other.kind is not Kind.RETIREMENT:
                    del present[at]
                    self.history_changed |= other.standing is not Standing.SHOWN
                    break
        elif c.kind is Kind.RETIREMENT:
            # Only a stated one can have the rank of another: it takes the place of all.
            replaced = [other for other in present if other.rank == c.rank]
            self.history_changed |= any(other.standing is not Standing.SHOWN for other in replaced)
            present[:] = [other for other in present if other.rank != c.rank]
        present.insert(bisect_left(present, c.order, key=_order), c)

    def refold(self, day: int) -> None:
        """Fold again; ``day`` is the registered day of whatever is shown now and was not before."""
        self.stale = False
        if self.appended and self.short_cut and self._fold_last(day):
            return
        folded = fold(self.contributions)
        if folded.record is None or folded.status is None:
            if self.shown is not None and is_contribution(self.shown[0]):
                self.shown = None
        elif (
            self.shown is None
            or self.shown[1] != folded.record
            or contributions_module.without_day(self.shown[0]) != contributions_module.without_day(folded.status)
        ):
            self.shown = contributions_module.with_day(folded.status, day), folded.record
        for at, standing in enumerate(folded.standings):
            c = self.contributions[at]
            if standing is Standing.SHOWN:
                assert self.shown is not None
                status = self.shown[0]
                self.history_changed |= c.standing is not Standing.SHOWN
                if c.standing is not Standing.SHOWN or c.status != status:
                    self.contributions[at] = replace(c, standing=standing, day=0, status=status)
            elif standing is not c.standing:
                self.contributions[at] = replace(c, standing=standing, day=day)
                self.history_changed = True

    def purge(self, cutoffs: Cutoffs, jis: list[int]) -> int:
        """Take out what is past its last day; returns how many contributions of the history went."""
        self._keep_persons()
        before = self.kept()
        left = left_of(self.contributions, self.shown, cutoffs, jis)
        self.contributions, self.shown = left.contributions, left.shown
        self.refold(cutoffs.day)
        kept = self.kept()
        self.history_changed |= kept != before
        return len(before) - len(kept)

    def _fold_last(self, day: int) -> bool:
        """Fold the last contribution onto what is shown, when that says all about those before; False when it does not.

        It does when the one before is what is shown: all others were settled without regard to those behind them.
        """
        c = self.contributions[-1]
        before = self.contributions[-2] if len(self.contributions) > 1 else None
        data = c.record
        if before is None:
            if c.kind is Kind.CORRECTION or c.kind is Kind.REMOVAL:
                return False
        else:
            shown = self.shown
            if shown is None or before.standing is not Standing.SHOWN or before.kind is Kind.RETIREMENT:
                return False
            if c.kind is Kind.ENTRY or c.kind is Kind.STATEMENT:
                if other_person(shown[1], data):
                    return False
            elif c.kind is not Kind.RETIREMENT:
                if c.area != before.area or (c.kind is Kind.CORRECTION and before.status & 15 != State.CURRENT):
                    return False
                if c.kind is Kind.REMOVAL:
                    data = with_image(c.record, shown[1])
            self.contributions[-2] = replace(before, standing=Standing.REPLACED, day=day)
            self.history_changed = True
        self.shown = contributions_module.with_day(c.status, day), data
        return True

    def persons(self) -> list[bytes]:
        """The records by which the key is in the identity index, as they stand now."""
        return persons_of(self.shown, [(c.standing, c.record) for c in self.contributions])

    def _keep_persons(self) -> None:
        if self.persons_before is None:
            self.persons_before = self.persons()

    def entered(self, areas: Container[int]) -> list[Contribution]:
        """The last contribution of each of ``areas`` (numbers) under which, by itself, the person stands entered."""
        last: dict[int, Contribution] = {}
        stands: dict[int, bool] = {}
        for c in self.contributions:
            if c.area in areas:
                last[c.area] = c
                if c.kind is not Kind.CORRECTION:
                    stands[c.area] = c.status & 15 == State.CURRENT
        return [c for area, c in last.items() if stands.get(area)]

    def standing_of(self, c: Contribution) -> Standing | None:
        """What became of the contribution with this order; None when there is none."""
        at = bisect_left(self.contributions, c.order, key=_order)
        if at < len(self.contributions) and self.contributions[at].order == c.order:
            return self.contributions[at].standing
        return None

    def kept(self) -> list[Kept]:
        """What the history holds of the key."""
        return [(c.standing, c.day, c.status, c.record) for c in self.contributions if c.standing is not Standing.SHOWN]


def _order(c: Contribution) -> tuple[tuple[int, int, int], int]:
    return c.order
