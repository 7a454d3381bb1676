"""The table of docs/convergence.md, chapter 4: what is shown for each pair that crosses, in either order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Notification
from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import State

from .registers import CHUO, DAY, OSAKA, TOKYO, batch, build, dump, notice

A, B = TOKYO, OSAKA
OTHER = {"birth_date": 19790303}


def a(reason: int, number: int, key: int = 5, **fields: object) -> Notification:
    return notice(reason, key, number, A, **fields)


def b(reason: int, number: int, key: int = 5, **fields: object) -> Notification:
    if not 21 <= reason <= 23:
        fields = {"address": "大阪府大阪市北区梅田1", **fields}
    return notice(reason, key, number, B, **fields)


def change(key: int, before: int, number: int, area: int = A) -> Notification:
    return notice(41, key, number, area, code_before=code_from_key(before))


def retired(key: int, following: int, number: int, area: int = A) -> Notification:
    """A statement that the code was given up for the one that follows."""
    return Notification(
        reason=41, state=5, code=code_from_key(key), code_before=code_from_key(following), area=area,
        event_date=20261101, update_number=number,
    )  # fmt: skip


BORN = a(12, 1)
Shown = tuple[State, int, int]
"""State, number of the area, update number."""

PAIRS: dict[str, tuple[list[Notification], list[Notification], dict[int, Shown]]] = {
    "a move": ([BORN, a(21, 2)], [b(11, 3)], {5: (State.CURRENT, 3, 3)}),
    "the area entered did not know of the removal": (
        [BORN, a(22, 2)], [b(11, 2, event_date=20261105)], {5: (State.CURRENT, 3, 2)}),
    "a removal of the same number and a later date": (
        [BORN, a(21, 2, event_date=20261105)], [b(11, 2)], {5: (State.CURRENT, 3, 2)}),
    "a removal long after": ([BORN, a(21, 4)], [b(11, 3)], {5: (State.CURRENT, 3, 3)}),
    "a correction before the move": ([BORN, a(33, 2)], [b(11, 3)], {5: (State.CURRENT, 3, 3)}),
    "a correction with too high a number": ([BORN, a(33, 3)], [b(11, 2)], {5: (State.CURRENT, 3, 2)}),
    "a code change before an entry under the old code": (
        [BORN, change(6, 5, 2)], [b(11, 3)], {5: (State.RETIRED, 0, 2), 6: (State.CURRENT, 0, 2)}),
    "a code change after an entry under the old code": (
        [BORN, change(6, 5, 3)], [b(11, 2)], {5: (State.RETIRED, 0, 3), 6: (State.CURRENT, 0, 3)}),
    "a move under the new code": (
        [BORN, change(6, 5, 2), a(21, 3, 6)], [b(11, 4, 6)],
        {5: (State.RETIRED, 0, 2), 6: (State.CURRENT, 3, 4)}),
    "two code changes of one code": (
        [BORN, change(6, 5, 4)], [b(11, 2), change(7, 5, 3, B)],
        {5: (State.RETIRED, 3, 3), 6: (State.CURRENT, 0, 4), 7: (State.CURRENT, 3, 3)}),
    "a code change onto another person's code": (
        [BORN, change(6, 5, 2)], [b(12, 1, 6, **OTHER)], {6: (State.CURRENT, 3, 1)}),
    "two persons under one code": ([BORN], [b(12, 2, **OTHER)], {5: (State.CURRENT, 0, 1)}),
    "one person entered twice": ([BORN], [b(11, 2)], {5: (State.CURRENT, 3, 2)}),
    "there and back": (
        [BORN, a(21, 2), a(11, 5)], [b(11, 3), b(21, 4)], {5: (State.CURRENT, 0, 5)}),
    "a statement, and an entry above it": ([BORN, a(11, 2, state=1)], [b(11, 3)], {5: (State.CURRENT, 3, 3)}),
    "a statement, and an entry below it": ([BORN, a(11, 4, state=1)], [b(11, 3)], {5: (State.CURRENT, 0, 4)}),
    "a statement of a removed record, and an entry above it": (
        [BORN, a(21, 2, state=3)], [b(11, 3)], {5: (State.CURRENT, 3, 3)}),
    "a statement of a removed record, and an entry below it": (
        [BORN, a(21, 4, state=3)], [b(11, 3)], {5: (State.MOVED_AWAY, 0, 4)}),
    "a statement of another person": (
        [BORN, a(11, 3, state=1, **OTHER)], [b(11, 2)], {5: (State.CURRENT, 3, 2)}),
    "a correction of a removed record": (
        [BORN, a(22, 2), a(33, 3)], [b(11, 1, event_date=20261001)], {5: (State.DEAD, 0, 3)}),
    "removals by both": ([BORN, a(22, 4)], [b(11, 2), b(21, 3)], {5: (State.MOVED_AWAY, 3, 3)}),
    "corrections by both": ([BORN, a(33, 4)], [b(11, 2), b(33, 3)], {5: (State.CURRENT, 3, 3)}),
    "a correction, and a removal by the holder": (
        [BORN, a(33, 4)], [b(11, 2), b(21, 3)], {5: (State.MOVED_AWAY, 3, 3)}),
    "a correction and a removal while a third area holds": (
        [BORN, notice(11, 5, 4, CHUO), a(33, 5)], [b(11, 2), b(21, 6)], {5: (State.CURRENT, 5, 4)}),
    "a code change, and a correction by the area that held before": (
        [a(11, 3), change(6, 5, 4)], [b(12, 1), b(33, 2)], {5: (State.RETIRED, 0, 4), 6: (State.CURRENT, 0, 4)}),
    "a code change, and a late removal by the area that held before": (
        [a(11, 3), change(6, 5, 4)], [b(12, 1), b(21, 5)], {5: (State.RETIRED, 0, 4), 6: (State.CURRENT, 0, 4)}),
    "a code change before a statement under the old code": (
        [BORN, change(6, 5, 2)], [b(11, 3, state=1)], {5: (State.RETIRED, 0, 2), 6: (State.CURRENT, 0, 2)}),
    "a code change after a statement under the old code": (
        [BORN, change(6, 5, 3)], [b(11, 2, state=1)], {5: (State.RETIRED, 0, 3), 6: (State.CURRENT, 0, 3)}),
    "a code change, and a statement of the same person under the new code": (
        [BORN, change(6, 5, 2)], [b(11, 3, 6, state=1)], {5: (State.RETIRED, 0, 2), 6: (State.CURRENT, 3, 3)}),
    "two code changes to one code": (
        [BORN, change(6, 5, 2)],
        [b(12, 1, 7, **OTHER), b(41, 3, 6, code_before=code_from_key(7), **OTHER)],
        {5: (State.RETIRED, 0, 2), 6: (State.CURRENT, 0, 2), 7: (State.RETIRED, 3, 3)}),
    "a statement, and a correction by the area that held before": (
        [a(11, 3, state=1)], [b(12, 1), b(33, 2)], {5: (State.CURRENT, 0, 3)}),
    "a statement, and a late removal by the area that held before": (
        [a(11, 3, state=1)], [b(12, 1), b(21, 5)], {5: (State.CURRENT, 0, 3)}),
    "two statements": ([a(11, 2, state=1)], [b(11, 3, state=1)], {5: (State.CURRENT, 3, 3)}),
    "two statements, the higher of a removed record": (
        [a(21, 4, state=3)], [b(11, 3, state=1)], {5: (State.MOVED_AWAY, 0, 4)}),
    "a stated retirement, and what ranks below it": (
        [retired(5, 6, 4)], [b(11, 1), b(33, 2), b(21, 3)], {5: (State.RETIRED, 0, 4)}),
    "a stated retirement, and an entry above it": ([retired(5, 6, 4)], [b(11, 5)], {5: (State.RETIRED, 0, 4)}),
    "a stated retirement, and a statement above it": (
        [retired(5, 6, 4)], [b(11, 5, state=1)], {5: (State.RETIRED, 0, 4)}),
    "a stated retirement, and a code change before it": (
        [retired(5, 6, 4)], [b(11, 2), change(7, 5, 3, B)], {5: (State.RETIRED, 3, 3), 7: (State.CURRENT, 3, 3)}),
    "a stated retirement, and a code change after it": (
        [retired(5, 6, 4)], [b(11, 2), change(7, 5, 5, B)], {5: (State.RETIRED, 0, 4), 7: (State.CURRENT, 3, 5)}),
    "a stated retirement, and a person under the code that follows": (
        [retired(5, 6, 4)], [b(11, 5, 6), b(21, 6, 6)], {5: (State.RETIRED, 0, 4), 6: (State.MOVED_AWAY, 3, 6)}),
    "two stated retirements": ([retired(5, 6, 4)], [retired(5, 7, 3, B)], {5: (State.RETIRED, 3, 3)}),
}  # fmt: skip


def interleavings(one: Sequence[Notification], other: Sequence[Notification]) -> list[list[Notification]]:
    """All orders in which two sequences can arrive."""
    places = set(permutations([0] * len(one) + [1] * len(other)))
    made = []
    for order in sorted(places):
        rests = [iter(one), iter(other)]
        made.append([next(rests[side]) for side in order])
    return made


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_that_crosses_shows_the_same_in_every_order(tmp_path: Path, name: str) -> None:
    one, other, expected = PAIRS[name]
    dumps = []
    for number, order in enumerate(interleavings(one, other)):
        directory = tmp_path / str(number)
        build(directory, [Resident(key=9, name="基", area=2)])
        with FeedRegister(directory, today=lambda: DAY) as register:
            for notification in order:
                with register.transaction() as transaction:
                    prefecture = notification.area // 1000
                    transaction.apply(prefecture, transaction.feed(prefecture).position + 1, batch(notification))
                    transaction.commit()
            assert register.feed(13).quarantined == register.feed(27).quarantined == 0
            with register.writer.transaction() as change:
                for key, wanted in expected.items():
                    found = change.get(key)
                    assert found is not None
                    assert (found.state, found.area, found.update_number) == wanted
        content = dump(directory)
        content.pop("meta")
        dumps.append(content)
    assert all(content == dumps[0] for content in dumps)
