"""The states of a feed connection as data: as for queries (states.py, whose rules hold), with the feed's messages.

Two rules more:

4. NOTIFY and LOAD_RANGE are answered in the order in which they were sent; an ERROR may come at any time.
5. A PING of the server and its PONG have request_id 0, and one is under way at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jukinet.core.wire.feed_frames import FeedMessageType as T
from jukinet.core.wire.states import client_rows, server_rows

QUESTIONS_OF: Final[Mapping[int, frozenset[int]]] = {
    T.PONG: frozenset((int(T.PING),)),
    T.ACKNOWLEDGED: frozenset((int(T.NOTIFY), int(T.LOAD_RANGE))),
    T.OUT_OF_SEQUENCE: frozenset((int(T.NOTIFY), int(T.LOAD_RANGE))),
    T.COMPARED: frozenset((int(T.COMPARE),)),
    T.NOTICE_KEPT: frozenset((int(T.NOTICE_LEAVE),)),
    T.NOTICES: frozenset((int(T.NOTICE_TAKE),)),
    T.NOTICE_CLOSED: frozenset((int(T.NOTICE_RECEIVED),)),
    T.NOTICE_STATES: frozenset((int(T.NOTICE_LIST),)),
    T.CHECKPOINT: frozenset((int(T.CHECKPOINT_ASK),)),
    T.COSIGNED: frozenset((int(T.COSIGN),)),
}
"""Which requests an answer may answer."""

REQUESTS: Final = frozenset().union(*QUESTIONS_OF.values())
SEQUENCED: Final = frozenset((int(T.NOTIFY), int(T.LOAD_RANGE)))
"""Requests that carry sequence numbers of the feed, answered in order."""

FEED_FROM_CLIENT: Final = client_rows(REQUESTS, (T.PONG,))
FEED_FROM_SERVER: Final = server_rows(T.FEED_GREETING, (*QUESTIONS_OF, T.PING, T.ERROR))

FEED_CLIENT_TYPES: Final = REQUESTS | {int(T.PONG), int(T.GOODBYE)}
FEED_SERVER_TYPES: Final = frozenset(
    (int(T.FEED_GREETING), *map(int, QUESTIONS_OF), *map(int, (T.PING, T.ERROR, T.GOODBYE)))
)
_WITNESS_ANSWERS: Final = (T.CHECKPOINT, T.COSIGNED, T.PONG)
_WITNESS_REQUESTS: Final = frozenset().union(*(QUESTIONS_OF[answer] for answer in _WITNESS_ANSWERS))
WITNESS_FROM_CLIENT: Final = client_rows(_WITNESS_REQUESTS, (T.PONG,))
WITNESS_FROM_SERVER: Final = server_rows(T.FEED_GREETING, (*_WITNESS_ANSWERS, T.PING, T.ERROR))
"""The witness port's rows: those of a feed without everything that is no witnessing."""
WITNESS_CLIENT_TYPES: Final = _WITNESS_REQUESTS | {int(T.PONG), int(T.GOODBYE)}

FEED_CONNECTION_TYPES: Final = frozenset((int(T.FEED_GREETING), int(T.PING), int(T.GOODBYE)))
"""Messages of the server that belong to no request: their request_id is 0."""


def oldest_sequenced(under_way: Mapping[int, int]) -> int | None:
    """The request_id that rule 4 lets be answered next, or None. ``under_way`` is in the order of the requests."""
    return next((request_id for request_id, kind in under_way.items() if kind in SEQUENCED), None)
