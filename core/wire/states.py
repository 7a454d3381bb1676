"""The states of a connection as data: which message each side may send in which state, and where it leads.

Rules over the table:

1. A message that its sender's row does not hold is an error: LocalProtocolError for the side that tries to send it,
   WRONG_STATE for the side that receives it.
2. ERROR with request_id 0 concerns the connection and leads to CLOSED from every state.
3. BOTH_DONE becomes CLOSED as soon as no request is under way.

In SERVER_DONE a request is still allowed on the stream, since it may have crossed the server's GOODBYE; it is refused
with DRAINING. A client that has seen the GOODBYE sends none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from jukinet.core.errors import ErrorCode
from jukinet.core.wire.frames import MessageType as T


class ConnectionState(IntEnum):
    """Named after what has been said: GOODBYE from neither, one or both sides."""

    GREETING = 0
    OPEN = 1
    SERVER_DONE = 2
    CLIENT_DONE = 3
    BOTH_DONE = 4
    CLOSED = 5


S = ConnectionState
Row = Mapping[int, ConnectionState]

QUESTIONS: Final = (T.LOOKUP, T.STATUS, T.VERIFY, T.HISTORY, T.COHORT_PUT, T.COHORT_CHANGES, T.SEARCH, T.MATCH, T.TOWNS)
REQUESTS: Final = (T.OPEN_SESSION, T.CLOSE_SESSION, T.PING, T.OPERATOR_LOGIN, T.OPERATOR_PROOF, *QUESTIONS)
ANSWER_OF: Final[Mapping[int, int]] = {
    T.OPEN_SESSION: T.SESSION_OPENED,
    T.CLOSE_SESSION: T.SESSION_CLOSED,
    T.PING: T.PONG,
    T.OPERATOR_LOGIN: T.OPERATOR_CHALLENGE,
    T.OPERATOR_PROOF: T.OPERATOR_ACCEPTED,
    T.LOOKUP: T.LOOKUP_ANSWER,
    T.STATUS: T.STATUS_ANSWER,
    T.VERIFY: T.VERIFY_ANSWER,
    T.HISTORY: T.HISTORY_ANSWER,
    T.COHORT_PUT: T.COHORT_STORED,
    T.COHORT_CHANGES: T.COHORT_CHANGES_ANSWER,
    T.SEARCH: T.SEARCH_ANSWER,
    T.MATCH: T.MATCH_ANSWER,
    T.TOWNS: T.TOWNS_ANSWER,
}
QUESTIONS_OF: Final[Mapping[int, frozenset[int]]] = {
    answer: frozenset((question,)) for question, answer in ANSWER_OF.items()
}
REPORTED: Final = frozenset(map(int, QUESTIONS))
"""Requests for which the server may send PROGRESS."""


def _stay(state: ConnectionState, kinds: Iterable[int]) -> dict[int, ConnectionState]:
    return dict.fromkeys(map(int, kinds), state)


def client_rows(requests: Iterable[int], others: Iterable[int]) -> Mapping[ConnectionState, Row]:
    """What a client may send: requests until its GOODBYE, ``others`` as long as answers may come."""
    requests = (*requests, *others)
    return {
        S.GREETING: {},
        S.OPEN: {**_stay(S.OPEN, requests), T.GOODBYE: S.CLIENT_DONE},
        S.SERVER_DONE: {**_stay(S.SERVER_DONE, requests), T.GOODBYE: S.BOTH_DONE},
        S.CLIENT_DONE: _stay(S.CLIENT_DONE, others),
        S.BOTH_DONE: _stay(S.BOTH_DONE, others),
        S.CLOSED: {},
    }


def server_rows(greeting: int, answers: Iterable[int]) -> Mapping[ConnectionState, Row]:
    """What a server may send: its greeting first, then answers and what may come beside them."""
    answers = tuple(answers)
    return {
        S.GREETING: {greeting: S.OPEN, T.ERROR: S.CLOSED},  # the ERROR by rule 2
        S.OPEN: {**_stay(S.OPEN, answers), T.GOODBYE: S.SERVER_DONE},
        S.SERVER_DONE: _stay(S.SERVER_DONE, answers),
        S.CLIENT_DONE: {**_stay(S.CLIENT_DONE, answers), T.GOODBYE: S.BOTH_DONE},
        S.BOTH_DONE: _stay(S.BOTH_DONE, answers),
        S.CLOSED: {},
    }


_ANSWERS: Final = (*ANSWER_OF.values(), T.PROGRESS, T.ERROR)
FROM_CLIENT: Final = client_rows(REQUESTS, (T.CANCEL,))
FROM_SERVER: Final = server_rows(T.GREETING, _ANSWERS)

CLIENT_TYPES: Final = frozenset((*map(int, REQUESTS), int(T.CANCEL), int(T.GOODBYE)))
SERVER_TYPES: Final = frozenset((int(T.GREETING), *map(int, _ANSWERS), int(T.GOODBYE)))
CONNECTION_TYPES: Final = frozenset((int(T.GREETING), int(T.GOODBYE)))
"""Messages that belong to no request: their request_id is 0."""

CLOSING_CODES: Final = frozenset(
    (
        ErrorCode.MALFORMED_FRAME,
        ErrorCode.UNKNOWN_TYPE,
        ErrorCode.WRONG_STATE,
        ErrorCode.FRAME_TOO_LARGE,
        ErrorCode.TOO_MANY_CONNECTIONS,
        ErrorCode.UNKNOWN_BODY,
        ErrorCode.TIMED_OUT,
        ErrorCode.FEED_TAKEN,
        ErrorCode.NOT_A_FEED,
    )
)
"""Errors that end the connection: they are sent with request_id 0 only."""
