"""Both ends of a feed connection in memory, and one sound message and frame of every type for each side."""

from __future__ import annotations

import make_feed_vectors as made
import wire_twin as twin
from test_batch import PERSON, fields
from wire_pair import deliver

from jukinet.core.errors import ErrorCode
from jukinet.core.notifications import Fault, Notification, NotificationBatch
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import ConnectionState, FeedClientConnection, FeedMessageType, FeedServerConnection
from jukinet.core.wire import feed_messages as f
from jukinet.core.wire import messages as m

S = ConnectionState
T = FeedMessageType
LIMITS = f.FeedLimits(requests_in_flight_max=16)
POSITION = 41
NEW_ID = 99
SUM = bytes(range(16))
REQUESTS = [
    T.NOTIFY,
    T.LOAD_RANGE,
    T.COMPARE,
    T.NOTICE_LEAVE,
    T.NOTICE_TAKE,
    T.NOTICE_RECEIVED,
    T.NOTICE_LIST,
    T.CHECKPOINT_ASK,
    T.COSIGN,
    T.PING,
]
ANSWERS = {
    T.ACKNOWLEDGED: T.NOTIFY,
    T.OUT_OF_SEQUENCE: T.NOTIFY,
    T.COMPARED: T.COMPARE,
    T.NOTICE_KEPT: T.NOTICE_LEAVE,
    T.NOTICES: T.NOTICE_TAKE,
    T.NOTICE_CLOSED: T.NOTICE_RECEIVED,
    T.NOTICE_STATES: T.NOTICE_LIST,
    T.CHECKPOINT: T.CHECKPOINT_ASK,
    T.COSIGNED: T.COSIGN,
    T.PONG: T.PING,
}
CLIENT_TYPES = {*REQUESTS, T.PONG, T.GOODBYE}
SERVER_TYPES = {*ANSWERS, T.FEED_GREETING, T.PING, T.ERROR, T.GOODBYE}
UNDER_WAY = {kind: int(kind) + 100 for kind in REQUESTS}
"""In every state after GREETING: one request of each type, under these ids."""
PINGED = b"pingping"


def changed(**changes: object) -> Notification:
    return Notification(**{**fields(PERSON), **changes})  # type: ignore[arg-type]


def batch(*rows: Notification) -> NotificationBatch:
    return NotificationBatch.from_notifications(rows)


def greeting(limits: f.FeedLimits) -> f.FeedGreeting:
    return f.FeedGreeting(
        server="jukinet 0.1",
        register="0123456789abcdef" * 2,
        body="tokyo",
        prefecture=13,
        position=POSITION,
        digest_count=7,
        digest_sum=SUM,
        areas=[13101, 13102],
        today=20240401,
        limits=limits,
    )


def greeted(
    limits: f.FeedLimits | None = None, own: f.FeedLimits | None = None
) -> tuple[FeedServerConnection, FeedClientConnection]:
    server, client = FeedServerConnection(limits), FeedClientConnection(own)
    deliver(client, server.send(greeting(server.limits)))
    return server, client


def leave(request_id: int = 1, **changes: object) -> f.NoticeLeave:
    kept = {
        "notice_id": 5,
        "from_area": 13101,
        "to_area": 47201,
        "code": 24727059608,
        "name": "髙橋",
        "kana": "タカハシ",
        "birth_date": 19650220,
        "sex": 2,
        "address": "東京都千代田区1",
        "event_date": 20240401,
    }
    return f.NoticeLeave(request_id, **{**kept, **changes})  # type: ignore[arg-type]


def notice(number: int, from_area: int = 47201, to_area: int = 13101) -> f.Notice:
    return f.Notice(
        number=number,
        notice_id=9,
        from_area=from_area,
        to_area=to_area,
        code=24727059608,
        name="髙橋",
        kana="",
        birth_date=0,
        sex=0,
        address="",
        event_date=20240401,
        left_at=1_700_000_000,
        taken_at=0,
        state=NoticeState.WAITING,
    )


def requests(ids: dict[T, int]) -> dict[T, m.Message]:
    return {
        T.NOTIFY: f.Notify(ids[T.NOTIFY], 42, batch(PERSON, changed(reason=99))),
        T.LOAD_RANGE: f.LoadRange(ids[T.LOAD_RANGE], 44, 0, 10**10, batch(changed(state=1))),
        T.COMPARE: f.Compare(ids[T.COMPARE], f.CompareKind.ENTRIES, [(0, 5), (5, 10**10)]),
        T.NOTICE_LEAVE: leave(ids[T.NOTICE_LEAVE]),
        T.NOTICE_TAKE: f.NoticeTake(ids[T.NOTICE_TAKE], 10),
        T.NOTICE_RECEIVED: f.NoticeReceived(ids[T.NOTICE_RECEIVED], [3, 4]),
        T.NOTICE_LIST: f.NoticeList(ids[T.NOTICE_LIST], 4, 10),
        T.CHECKPOINT_ASK: f.CheckpointAsk(ids[T.CHECKPOINT_ASK], 7),
        T.COSIGN: f.Cosign(ids[T.COSIGN], 9, "\u2014 tokyo AAAA"),
        T.PING: m.Ping(ids[T.PING], b"abcdefgh"),
    }


def pair_in(state: S) -> tuple[FeedServerConnection, FeedClientConnection]:
    """Both ends in the state; from OPEN on one request of each type and a PING of the server are under way."""
    if state is S.GREETING:
        return FeedServerConnection(LIMITS), FeedClientConnection(LIMITS)
    server, client = greeted(LIMITS, LIMITS)
    for message in requests(UNDER_WAY).values():
        assert deliver(server, client.send(message)) == [message]  # type: ignore[arg-type]
    deliver(client, server.send(m.Ping(0, PINGED)))
    if state in (S.SERVER_DONE, S.BOTH_DONE):
        deliver(client, server.send(m.Goodbye(reason="draining")))
    if state in (S.CLIENT_DONE, S.BOTH_DONE):
        deliver(server, client.send(m.Goodbye(reason="done")))
    if state is S.CLOSED:
        deliver(client, server.send(m.Error(0, ErrorCode.TIMED_OUT, "idle")))
    assert server.state is client.state is state
    return server, client


def client_messages() -> dict[T, m.Message]:
    """A sound message of each type that a client may send, requests with a new id."""
    new = requests(dict.fromkeys(REQUESTS, NEW_ID))
    return {**new, T.PONG: m.Pong(0, PINGED), T.GOODBYE: m.Goodbye(reason="done")}


def server_messages() -> dict[T, m.Message]:
    """A sound message of each type that a server may send when all of UNDER_WAY is."""
    ids = {answer: UNDER_WAY[question] for answer, question in ANSWERS.items()}
    entries = twin.u64([3]) + SUM
    told = {"position": 43, "digest_count": 8, "digest_sum": SUM, "applied": 1, "kept": 0}
    return {
        T.FEED_GREETING: greeting(LIMITS),
        T.ACKNOWLEDGED: f.Acknowledged(ids[T.ACKNOWLEDGED], **told, quarantined=[(43, Fault.UNKNOWN_REASON)]),
        T.OUT_OF_SEQUENCE: f.OutOfSequence(ids[T.OUT_OF_SEQUENCE], 40),
        T.COMPARED: f.Compared.of_rows(ids[T.COMPARED], f.CompareKind.ENTRIES, 5, 43, entries, [1, 0]),
        T.NOTICE_KEPT: f.NoticeKept(ids[T.NOTICE_KEPT], 1_000),
        T.NOTICES: f.Notices(ids[T.NOTICES], [notice(1), notice(4)], 0),
        T.NOTICE_CLOSED: f.NoticeClosed(ids[T.NOTICE_CLOSED], 2),
        T.NOTICE_STATES: f.NoticeStates(ids[T.NOTICE_STATES], [notice(5, 13101, 47201)], 3),
        T.CHECKPOINT: f.Checkpoint(ids[T.CHECKPOINT], "log\n9\nAAAA\n\n\u2014 log AAAA\n", bytes(64)),
        T.COSIGNED: f.Cosigned(ids[T.COSIGNED], 9),
        T.PING: m.Ping(0, b"87654321"),
        T.PONG: m.Pong(ids[T.PONG], b"abcdefgh"),
        T.ERROR: m.Error(UNDER_WAY[T.COMPARE], ErrorCode.INTERNAL, "", 5),
        T.GOODBYE: m.Goodbye(reason="draining"),
    }


def row_fields(notification: Notification) -> made.Json:
    """As the vectors write a notification."""
    row = fields(notification)
    return {name: str(value) if name.startswith("code") else value for name, value in row.items()}


def frame_of(message: m.Message) -> bytes:
    """The frame of a message, written by the twins."""
    told = {name: getattr(message, name) for name in message.__struct_fields__ if name != "request_id"}
    if isinstance(message, f.Notify | f.LoadRange):
        told["notifications"] = [row_fields(row) for row in told.pop("batch")]
    elif isinstance(message, f.Compared):
        told["offsets"] = None if message.offsets is None else message.offsets.tolist()
        told["rows"] = [[number, digest.hex()] for number, digest in message.pairs()]
    elif isinstance(message, m.Ping | m.Pong):
        told["data"] = message.data.hex()
    elif "proof" in told:
        told["proof"] = told["proof"].hex()
    elif "digest_sum" in told:
        told["digest_sum"] = told["digest_sum"].hex()
    return twin.frame(made.payload_of(T(message.type).name, told), message.type, message.request_id)


def raw_frames() -> dict[tuple[str, T], bytes]:
    """(side, type) -> the bytes of a sound frame."""
    frames = {("client", kind): frame_of(message) for kind, message in client_messages().items()}
    frames |= {("server", kind): frame_of(message) for kind, message in server_messages().items()}
    return frames
