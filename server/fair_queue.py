"""Whose bulk request has the next slice: bodies take turns slice by slice, and the connections of a body take turns
request by request.

Requests of one body that were worked off side by side would all be finished late and at the same time. One after the
other, the first is on its way to the caller while the second is worked off.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Caller = TypeVar("Caller")


class FairQueue(Generic[Caller]):
    """Callers that have work which may be done now.

    A body with many connections gets no more slices than a body with one. Invariant: no body in the queue is without
    callers.
    """

    def __init__(self) -> None:
        self._bodies: OrderedDict[object, OrderedDict[Caller, None]] = OrderedDict()

    def add(self, body: object, caller: Caller) -> None:
        """Give the caller its turns from now on. A caller that is in the queue keeps its place."""
        self._bodies.setdefault(body, OrderedDict()).setdefault(caller, None)

    def remove(self, body: object, caller: Caller) -> None:
        """The caller has no work, or may not do it now. Nothing happens when it is not in the queue."""
        callers = self._bodies.get(body)
        if callers is not None:
            callers.pop(caller, None)
            if not callers:
                del self._bodies[body]

    def next(self) -> Caller | None:
        """The caller whose turn it is. It stays in the queue and first in its body, which is now last of all."""
        if not self._bodies:
            return None
        body, callers = next(iter(self._bodies.items()))
        self._bodies.move_to_end(body)
        return next(iter(callers))

    def pass_on(self, body: object, caller: Caller) -> None:
        """The body's next turn is another caller's, when there is one. The caller must be in the queue."""
        self._bodies[body].move_to_end(caller)

    def __len__(self) -> int:
        return sum(map(len, self._bodies.values()))
