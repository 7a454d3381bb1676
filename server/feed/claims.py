"""Who holds a feed or a witness's place: one connection, which another may only follow when it has fallen silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jukinet.core.vocabulary import Role
    from jukinet.server.feed.connection import FeedConnection


class Claims:
    """The holder of each feed, by role and body, and at most one connection that waits for its place.

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
        self._holders: dict[tuple[Role, str], FeedConnection] = {}
        self._waiting: dict[tuple[Role, str], tuple[FeedConnection, float]] = {}

    def count(self, role: Role) -> int:
        """Holders of this role."""
        return sum(1 for held, _ in self._holders if held is role)

    def claim(self, connection: FeedConnection, now: float) -> None:
        """Admit the connection, turn it away, or let it wait."""
        feed = connection.feed
        holder = self._holders.get(feed)
        if holder is None:
            self._holders[feed] = connection
            self._admit(connection)
        elif feed in self._waiting:
            self._turn_away(connection)
        else:
            self._waiting[feed] = (connection, now)
            holder.probe()

    def heard(self, holder: FeedConnection) -> None:
        """The holder sent something: whoever waits for its place is turned away."""
        waiting = self._waiting.get(holder.feed)
        if waiting is not None and self._holders.get(holder.feed) is holder:
            del self._waiting[holder.feed]
            self._turn_away(waiting[0])

    def check(self, now: float) -> None:
        """Let those take over who have waited long enough."""
        for feed, (connection, since) in list(self._waiting.items()):
            holder = self._holders[feed]
            if holder.paused:  # nothing is read from it, so its silence says nothing
                self._waiting[feed] = (connection, now)
            elif now - since >= self._takeover_seconds:
                holder.close("taken_over")

    def closed(self, connection: FeedConnection) -> None:
        """A connection has ended: the one that waits for its place is admitted."""
        feed = connection.feed
        waiting = self._waiting.get(feed)
        if waiting is not None and waiting[0] is connection:
            del self._waiting[feed]
        elif self._holders.get(feed) is connection:
            del self._holders[feed]
            if waiting is not None:
                del self._waiting[feed]
                self._holders[feed] = waiting[0]
                self._admit(waiting[0])
