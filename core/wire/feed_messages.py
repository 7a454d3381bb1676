"""The messages of the feed protocol, each declared once: docs/protocol.md, chapter 10, says the same in words.

PING, PONG, ERROR and GOODBYE are those of messages.py. As there, a control message's fields behind request_id are its
MessagePack map under these names; a Notice in a list is an array of its fields in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import accumulate
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from jukinet.core import limits as bounds
from jukinet.core.notifications import Fault, NotificationBatch
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire.feed_frames import COMPARED_ROW_BYTES, FEED_PROTOCOL_VERSION, FeedMessageType
from jukinet.core.wire.messages import Error, FrameBytes, Goodbye, Message, Ping, Pong, Positive

I63 = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)]
Position = Annotated[int, Meta(ge=0, le=bounds.SEQUENCE_MAX)]
SequenceNumber = Annotated[int, Meta(ge=1, le=bounds.SEQUENCE_MAX)]
Area = Annotated[int, Meta(ge=1_001, le=47_999)]
Sum = Annotated[bytes, Meta(min_length=bounds.DIGEST_BYTES, max_length=bounds.DIGEST_BYTES)]
Date = Annotated[int, Meta(ge=0, le=9999_12_31)]
NoticeNumber = Annotated[int, Meta(ge=1, le=bounds.NOTICE_ID_MAX)]


class FeedLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What the server allows on this connection; part of FEED_GREETING. Lengths in bytes are of a frame's payload."""

    batch_bytes_max: FrameBytes = bounds.BATCH_BYTES_MAX
    notifications_per_batch_max: Annotated[int, Meta(ge=1, le=bounds.RANGE_ROWS_MAX)] = (
        bounds.NOTIFICATIONS_PER_BATCH_MAX
    )
    range_rows_max: Annotated[int, Meta(ge=1, le=bounds.RANGE_ROWS_MAX)] = bounds.RANGE_ROWS_MAX
    requests_in_flight_max: Positive = bounds.FEED_REQUESTS_IN_FLIGHT_MAX
    idle_seconds_max: Positive = bounds.IDLE_SECONDS_MAX


class FeedGreeting(Message, frozen=True, kw_only=True):
    """The server's first frame: where the feed stands, and the limits of the connection.

    position: the last sequence number that is durably applied, 0 before the first. digest_count, digest_sum: the
    prefecture's holdings at that position. areas: the JIS numbers of the prefecture's connected areas, ascending.
    today: the register's day in Japan, decimal. To a witness on the witness port, which has no feed, prefecture,
    position and digest are 0, and areas is empty.
    """

    type: ClassVar[IntEnum] = FeedMessageType.FEED_GREETING
    request_id: int = 0
    protocol: Annotated[int, Meta(ge=FEED_PROTOCOL_VERSION, le=FEED_PROTOCOL_VERSION)] = FEED_PROTOCOL_VERSION
    server: Annotated[str, Meta(max_length=256)]
    register: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    role: Annotated[str, Meta(pattern=r"^(prefecture|witness)\Z")] = "prefecture"
    body: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}\Z")]
    prefecture: Annotated[int, Meta(ge=0, le=bounds.PREFECTURES)]
    position: Position
    digest_count: I63
    digest_sum: Sum
    areas: Annotated[list[Area], Meta(max_length=bounds.AREAS_MAX)]
    today: Date
    limits: FeedLimits

    @property
    def fault(self) -> str | None:
        """What does not fit together, or None."""
        if (self.role == "witness") != (self.prefecture == 0):
            return "a prefecture has a number, and a witness has none"
        if any(area // 1000 != self.prefecture for area in self.areas):
            return "the greeting's areas do not lie in its prefecture"
        return None


class Notify(Message, frozen=True):
    """Notifications under the sequence numbers first_sequence, first_sequence + 1, ..."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTIFY
    first_sequence: int
    batch: NotificationBatch


class LoadRange(Message, frozen=True):
    """All that the prefecture holds with keys from first_key to before stop_key, under one sequence number.

    The rows are statements with strictly ascending keys; none at all says that the prefecture holds nothing there.
    """

    type: ClassVar[IntEnum] = FeedMessageType.LOAD_RANGE
    sequence: int
    first_key: int
    stop_key: int
    batch: NotificationBatch


class Acknowledged(Message, frozen=True, kw_only=True):
    """The batch or range is durably applied. position and digest are those after it.

    applied: how many of its rows the register shows now; kept: how many it keeps for the record though they are not
    shown; rows that were applied before count for nothing. quarantined: (sequence number, why) of each row that is not
    accepted, or not shown since another person or a retired code stands against it, also of rows that were applied
    before, in ascending order; for a range the row (from 0) stands in place of the sequence number.
    """

    type: ClassVar[IntEnum] = FeedMessageType.ACKNOWLEDGED
    position: Position
    digest_count: I63
    digest_sum: Sum
    applied: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
    kept: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
    quarantined: Annotated[list[tuple[Position, Fault]], Meta(max_length=bounds.RANGE_ROWS_MAX)]


class OutOfSequence(Message, frozen=True):
    """Nothing of the batch or range was applied, since it would have left a gap: send from ``expected`` on."""

    type: ClassVar[IntEnum] = FeedMessageType.OUT_OF_SEQUENCE
    expected: SequenceNumber


class CompareKind(IntEnum):
    """What a COMPARE asks for."""

    AREAS = 0
    """A digest for each area of the greeting, in its order."""
    PAGES = 1
    """A digest for each of the 64 pages."""
    LEAVES = 2
    """For each range, which is a page, a digest for each of its leaves."""
    RANGES = 3
    """A digest for each range."""
    ENTRIES = 4
    """For each range, every entry with its hash."""


class Compare(Message, frozen=True):
    """ranges: (first_key, stop_key) with first_key < stop_key; none for AREAS and PAGES."""

    type: ClassVar[IntEnum] = FeedMessageType.COMPARE
    kind: CompareKind
    ranges: Sequence[tuple[int, int]] = []


class Compared(Message, frozen=True):
    """rows: count rows of 24 bytes: u64 count and the digest's sum, or for ENTRIES u64 key and the entry's hash.

    offsets ('I', ranges + 1) tell for ENTRIES which rows belong to which range; otherwise None. All rows are of one
    state of the register, in which ``position`` is the feed's.
    """

    type: ClassVar[IntEnum] = FeedMessageType.COMPARED
    kind: CompareKind
    count: int
    register_version: int
    position: int
    offsets: memoryview | None
    rows: memoryview

    @classmethod
    def of_rows(
        cls,
        request_id: int,
        kind: CompareKind,
        register_version: int,
        position: int,
        rows: bytes | bytearray | memoryview,
        counts: Iterable[int] | None = None,
    ) -> Compared:
        """An answer of packed rows; for ENTRIES ``counts`` says how many belong to each range."""
        offsets = None
        if counts is not None:
            places = [0, *accumulate(counts)]
            offsets = memoryview(b"".join(place.to_bytes(4, "little") for place in places)).cast("I")
        view = memoryview(rows).cast("B")
        return cls(request_id, kind, len(view) // COMPARED_ROW_BYTES, register_version, position, offsets, view)

    def pairs(self) -> Iterator[tuple[int, bytes]]:
        """(count, sum) of each digest, or (key, hash) of each entry, in order."""
        rows = self.rows
        for place in range(0, COMPARED_ROW_BYTES * self.count, COMPARED_ROW_BYTES):
            end = place + COMPARED_ROW_BYTES
            yield int.from_bytes(rows[place : place + 8], "little"), bytes(rows[place + 8 : end])


class Notice(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """A move-in notice (転入通知) as the register keeps it: from the municipality entered to the one left.

    number: the register's own. notice_id: the sender's. from_area: entered; to_area: left. event_date: the day of
    moving in; birth_date as in a notification. left_at, taken_at: seconds since 1970-01-01 UTC, 0 when not taken yet.
    """

    number: NoticeNumber
    notice_id: NoticeNumber
    from_area: Area
    to_area: Area
    code: Annotated[int, Meta(ge=0, le=99_999_999_999)]
    name: Annotated[str, Meta(max_length=bounds.NAME_BYTES_MAX)]
    kana: Annotated[str, Meta(max_length=bounds.KANA_BYTES_MAX)]
    birth_date: Date
    sex: Annotated[int, Meta(ge=0, le=9)]
    address: Annotated[str, Meta(max_length=bounds.ADDRESS_BYTES_MAX)]
    event_date: Date
    left_at: I63
    taken_at: I63
    state: NoticeState

    def __repr__(self) -> str:
        return "<Notice>"


class NoticeLeave(Message, frozen=True, kw_only=True):
    """Leaves a notice; the same notice_id again is harmless and changes nothing."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICE_LEAVE
    notice_id: int
    from_area: int
    to_area: int
    code: int
    name: str
    kana: str
    birth_date: int
    sex: int
    address: str
    event_date: int


class NoticeKept(Message, frozen=True):
    """The notice is durably kept under this number of the register: the receipt that the sender may quote."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICE_KEPT
    number: NoticeNumber


class NoticeTake(Message, frozen=True):
    """Asks for the oldest notices for areas of this prefecture that were not received, at most notices_max."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICE_TAKE
    notices_max: int


class Notices(Message, frozen=True):
    """The notices in order of their numbers; remaining: how many more are there."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICES
    notices: Annotated[list[Notice], Meta(max_length=bounds.NOTICES_MAX)]
    remaining: I63


class NoticeReceived(Message, frozen=True):
    """These notices, by the register's numbers, are durably with their prefecture."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICE_RECEIVED
    numbers: Annotated[list[int], Meta(max_length=bounds.NOTICES_MAX)]


class NoticeClosed(Message, frozen=True):
    """The receipts are durable; closed: how many of the notices were open until now."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICE_CLOSED
    closed: Annotated[int, Meta(ge=0, le=bounds.NOTICES_MAX)]


class NoticeList(Message, frozen=True):
    """Asks for this feed's own notices that were not received, with numbers above after, at most notices_max."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICE_LIST
    after: int
    notices_max: int


class NoticeStates(Message, frozen=True):
    """The notices in order of their numbers; remaining: how many more have higher numbers."""

    type: ClassVar[IntEnum] = FeedMessageType.NOTICE_STATES
    notices: Annotated[list[Notice], Meta(max_length=bounds.NOTICES_MAX)]
    remaining: I63


class CheckpointAsk(Message, frozen=True):
    """Asks for the newest checkpoint of the record of use, and a proof that it contains the one of ``seen`` leaves."""

    type: ClassVar[IntEnum] = FeedMessageType.CHECKPOINT_ASK
    seen: int


class Checkpoint(Message, frozen=True):
    """note: the signed note (docs/record-of-use.md, chapter 8), '' when nothing was sealed yet.

    proof: the hashes of the consistency proof, 32 bytes each; empty for ``seen`` 0 and for an equal size.
    """

    type: ClassVar[IntEnum] = FeedMessageType.CHECKPOINT
    note: Annotated[str, Meta(max_length=bounds.NOTE_BYTES_MAX)]
    proof: Annotated[bytes, Meta(max_length=bounds.CONSISTENCY_BYTES_MAX)]


class Cosign(Message, frozen=True):
    """The witness's signature line for the checkpoint of ``size`` leaves."""

    type: ClassVar[IntEnum] = FeedMessageType.COSIGN
    size: int
    line: Annotated[str, Meta(max_length=bounds.SIGNATURE_LINE_BYTES_MAX)]


class Cosigned(Message, frozen=True):
    """The cosignature is durably kept."""

    type: ClassVar[IntEnum] = FeedMessageType.COSIGNED
    size: I63


FEED_MAPS: tuple[type[Message], ...] = (
    FeedGreeting,
    Acknowledged,
    OutOfSequence,
    NoticeLeave,
    NoticeKept,
    NoticeTake,
    Notices,
    NoticeReceived,
    NoticeClosed,
    NoticeList,
    NoticeStates,
    CheckpointAsk,
    Checkpoint,
    Cosign,
    Cosigned,
)
"""Messages whose payload is a map."""

FeedClientMessage = (
    Notify
    | LoadRange
    | Compare
    | NoticeLeave
    | NoticeTake
    | NoticeReceived
    | NoticeList
    | CheckpointAsk
    | Cosign
    | Ping
    | Pong
    | Goodbye
)
FeedServerMessage = (
    FeedGreeting
    | Acknowledged
    | OutOfSequence
    | Compared
    | NoticeKept
    | Notices
    | NoticeClosed
    | NoticeStates
    | Checkpoint
    | Cosigned
    | Ping
    | Pong
    | Error
    | Goodbye
)
