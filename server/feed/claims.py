"""Who holds a feed: one connection at a time, which another may only follow when it has fallen silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jukinet.server.feed.connection import FeedConnection


class Claims:
    """The holder of each feed, and at most one connection that waits for its place.

    A newcomer waits while the holder is sent a PING. When the holder is heard of, the newcomer is turned away; when it
    is not within ``takeover_seconds``, it is closed and the newcomer takes its place. So a client that lost its line
    comes back at once, although the server has not seen the end of the old connection.

    Invariant: a waiting connection's feed has a holder; both are open.
    """

    def __init__(
        self,
        takeover_seconds: float,
        admit: Callable[[FeedConnection], None],
        turn_away: Callable[[FeedConnection], None],
    ) -> None:
        self._takeover_seconds = takeover_seconds
        self._admit = admit
        self._turn_away = turn_away
        self._holders: dict[int, FeedConnection] = {}
        self._waiting: dict[int, tuple[FeedConnection, float]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def claim(self, connection: FeedConnection, now: float) -> None:
        """Admit the connection, turn it away, or let it wait."""
        prefecture = connection.prefecture
        holder = self._holders.get(prefecture)
        if holder is None:
            self._holders[prefecture] = connection
            self._admit(connection)
        elif prefecture in self._waiting:
            self._turn_away(connection)
        else:
            self._waiting[prefecture] = (connection, now)
            holder.probe()

    def heard(self, holder: FeedConnection) -> None:
        """The holder sent something: whoever waits for its place is turned away."""
        waiting = self._waiting.get(holder.prefecture)
        if waiting is not None and self._holders.get(holder.prefecture) is holder:
            del self._waiting[holder.prefecture]
            self._turn_away(waiting[0])

    def check(self, now: float) -> None:
        """Let those take over who have waited long enough."""
        for prefecture, (connection, since) in list(self._waiting.items()):
            holder = self._holders[prefecture]
            if holder.paused:  # nothing is read from it, so its silence says nothing
                self._waiting[prefecture] = (connection, now)
            elif now - since >= self._takeover_seconds:
                holder.close("taken_over")

    def closed(self, connection: FeedConnection) -> None:
        """A connection has ended: the one that waits for its place is admitted."""
        prefecture = connection.prefecture
        waiting = self._waiting.get(prefecture)
        if waiting is not None and waiting[0] is connection:
            del self._waiting[prefecture]
        elif self._holders.get(prefecture) is connection:
            del self._holders[prefecture]
            if waiting is not None:
                del self._waiting[prefecture]
                self._holders[prefecture] = waiting[0]
                self._admit(waiting[0])
