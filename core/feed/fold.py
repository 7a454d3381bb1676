"""The fold: what the register shows under a code, as a function of the set of its contributions (docs/convergence.md).

Pure and without storage. The engine folds whenever a contribution comes; `jukinet store check` folds what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jukinet.core.feed.contribution import PART_NOTIFIED, Contribution, Kind, Standing, other_person
from jukinet.core.vocabulary import State

_IMAGE_AT = 3


class Folded(msgspec.Struct, frozen=True):
    """status and record: what is shown (None when nobody); the status has the registered day of its last contribution.

    standings: one for each contribution, in their order.
    """

    status: int | None
    record: bytes | None
    standings: list[Standing]

    def __repr__(self) -> str:
        """Never shows identity information."""
        return f"<Folded {self.standings}>"


def fold(contributions: Sequence[Contribution]) -> Folded:
    """Fold contributions in ascending ``order``."""
    standings: list[Standing] = []
    image: Contribution | None = None
    image_at = state_at = retired_at = -1
    state: Contribution | None = None
    for at, c in enumerate(contributions):
        standing = Standing.REPLACED
        if retired_at >= 0:
            standing = Standing.AFTER_RETIREMENT
        elif c.kind is Kind.RETIREMENT:
            retired_at = at
        elif c.kind is Kind.ENTRY or c.kind is Kind.STATEMENT:
            mends = image is not None and c.kind is Kind.STATEMENT and c.area == image.area
            if image is not None and not mends and other_person(image.record, c.record):
                standing = Standing.CONFLICT
            else:
                image, image_at = c, at
                state, state_at = (None, -1) if c.status & 15 == State.CURRENT else (c, at)
        elif image is None or c.area != image.area:
            standing = Standing.NOT_HOLDER
        elif c.kind is Kind.CORRECTION:
            image, image_at = c, at
        else:
            state, state_at = c, at
        standings.append(standing)
    if retired_at >= 0:
        standings[retired_at] = Standing.SHOWN
        shown = contributions[retired_at]
        return Folded(shown.status, shown.record, standings)
    if image is None:
        return Folded(None, None, standings)
    return _composed(image, image_at, state, state_at, standings)


def _composed(
    image: Contribution, image_at: int, state: Contribution | None, state_at: int, standings: list[Standing]
) -> Folded:
    if state is None or state is image:
        standings[image_at] = Standing.SHOWN
        return Folded(image.status, image.record, standings)
    if state_at > image_at:
        # A removal is shown with the image of the record that it removed.
        standings[state_at] = Standing.SHOWN
        return Folded(state.status, with_image(state, image.record), standings)
    # A correction of a removed record: its image and update number, the removal's state, reason and date.
    standings[state_at] = standings[image_at] = Standing.COMPOSED
    return Folded(state.status, with_image(image, image.record), standings)


def with_image(numbered: Contribution, image: bytes) -> bytes:
    """The record ``image`` with the update number of ``numbered``, marked as made by a notification."""
    return bytes((image[0] | PART_NOTIFIED,)) + numbered.record[1:_IMAGE_AT] + image[_IMAGE_AT:]
