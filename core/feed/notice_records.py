"""Move-in notices as stored: four databases beside the register's own (docs/store-format.md, chapter 12).

The content of a notice is a person's; its passage (numbers, areas, times) is nobody's, and outlives the content as the
receipt. Keys are u64, values sealed MessagePack:

- `notices`: number -> Kept; under 0 the Counts.
- `notices_open`: side << 63 | prefecture << 48 | number -> left_at, for notices that were not received; side 0 is the
  prefecture that was left, side 1 the one that was entered.
- `notices_closed`: stage << 63 | day of the receipt << 48 | number -> nothing; stage 0 has its content, stage 1 not.
- `notice_names`: 8 bytes of BLAKE2b of (prefecture, notice_id) -> list of (prefecture, notice_id, number).
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

import lmdb
import msgspec

from jukinet.core.errors import StoreCorruptError
from jukinet.core.limits import PREFECTURES
from jukinet.core.store import schema
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import feed_messages as fm

if TYPE_CHECKING:
    from typing_extensions import Buffer

COUNTS_KEY: Final = schema.NUMBER.pack(0)
NUMBER_BITS: Final = 48
NUMBER_MASK: Final = (1 << NUMBER_BITS) - 1
LEFT, ENTERED = 0, 1
WITH_CONTENT, RECEIPT = 0, 1
DAY_SECONDS: Final = 86_400
EPOCH_SECONDS: Final = 946_684_800
"""2000-01-01 in UTC; days of receipts are counted from it."""
DAY_MAX: Final = (1 << 15) - 1
_NAME: Final = struct.Struct("<HQ")

Decoded = TypeVar("Decoded")


class Passage(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What is known of a notice without its person. Times are seconds since 1970-01-01 UTC, 0: not yet.

    closed_by: the prefecture that received it, 0 while it is open.
    """

    number: int
    notice_id: int
    from_area: int
    to_area: int
    left_at: int
    taken_at: int = 0
    printed_at: int = 0
    closed_at: int = 0
    closed_by: int = 0

    @property
    def feed(self) -> int:
        """The prefecture that left it."""
        return self.from_area // 1000

    @property
    def receiver(self) -> int:
        """The prefecture that it is for."""
        return self.to_area // 1000

    def open_keys(self) -> tuple[bytes, bytes]:
        """Its rows in `notices_open`."""
        return open_key(LEFT, self.receiver, self.number), open_key(ENTERED, self.feed, self.number)

    def closed_key(self, stage: int) -> bytes:
        """Its row in `notices_closed`, once it is closed."""
        return closed_key(stage, day_of(self.closed_at), self.number)

    def state(self, now: int, alarm_seconds: float) -> NoticeState:
        """Of an open notice as of now."""
        if now - self.left_at >= alarm_seconds:
            return NoticeState.OVERDUE
        return NoticeState.TAKEN if self.taken_at else NoticeState.WAITING


class Content(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a notice says of its person, as in NOTICE_LEAVE."""

    code: int
    name: str
    kana: str
    birth_date: int
    sex: int
    address: str
    event_date: int

    def __repr__(self) -> str:
        return "<Content>"


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A notice; without content when only its receipt is left."""

    passage: Passage
    content: Content | None

    def shown(self, now: int, alarm_seconds: float) -> fm.Notice:
        """An open notice as it is sent. StoreCorruptError when its content is gone."""
        passage, content = self.passage, self.content
        if content is None:
            raise StoreCorruptError("an open move-in notice has no content")
        return fm.Notice(
            number=passage.number,
            notice_id=passage.notice_id,
            from_area=passage.from_area,
            to_area=passage.to_area,
            left_at=passage.left_at,
            taken_at=passage.taken_at,
            state=passage.state(now, alarm_seconds),
            **msgspec.structs.asdict(content),
        )


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """The last number given, and how many notices are open by prefecture (index 0 is nobody's)."""

    last_number: int = 0
    left: list[int] = msgspec.field(default_factory=lambda: [0] * (PREFECTURES + 1))
    entered: list[int] = msgspec.field(default_factory=lambda: [0] * (PREFECTURES + 1))

    def with_open(self, passage: Passage, change: int) -> Counts:
        """One notice more, or less (``change`` -1), that is open."""
        left, entered = list(self.left), list(self.entered)
        left[passage.receiver] += change
        entered[passage.feed] += change
        return Counts(max(self.last_number, passage.number), left, entered)


def content_of(message: fm.NoticeLeave) -> Content:
    """What the message says of its person."""
    return Content(**{field: getattr(message, field) for field in Content.__struct_fields__})


def open_key(side: int, prefecture: int, number: int) -> bytes:
    """A key of `notices_open`."""
    return schema.NUMBER.pack(side << 63 | prefecture << NUMBER_BITS | number)


def closed_key(stage: int, day: int, number: int) -> bytes:
    """A key of `notices_closed`."""
    return schema.NUMBER.pack(stage << 63 | day << NUMBER_BITS | number)


def day_of(seconds: int) -> int:
    """Days since 2000-01-01 (UTC) of a time."""
    return min(max(0, (seconds - EPOCH_SECONDS) // DAY_SECONDS), DAY_MAX)


def name_key(prefecture: int, notice_id: int) -> bytes:
    """A key of `notice_names`."""
    return hashlib.blake2b(_NAME.pack(prefecture, notice_id), digest_size=8).digest()


def encode(value: object) -> bytes:
    """A sealed value."""
    return schema.seal(msgspec.msgpack.encode(value))


def decode(value: Buffer, kind: type[Decoded]) -> Decoded:
    """The content of a sealed value; StoreCorruptError when it is damaged."""
    try:
        return msgspec.msgpack.decode(schema.unseal(value, "a move-in notice"), type=kind)
    except msgspec.MsgspecError:
        raise StoreCorruptError("a move-in notice cannot be read") from None


def read(handle: lmdb.Transaction, database: lmdb._Database, key: bytes, kind: type[Decoded]) -> Decoded | None:
    """The content under a key, None where there is none. StoreCorruptError."""
    value: Any = handle.get(key, None, database)
    return None if value is None else decode(value, kind)


def read_counts(handle: lmdb.Transaction, database: lmdb._Database) -> Counts:
    """The counts as stored; ``database`` is `notices`. StoreCorruptError."""
    counts = read(handle, database, COUNTS_KEY, Counts) or Counts()
    if len(counts.left) != PREFECTURES + 1 or len(counts.entered) != PREFECTURES + 1:
        raise StoreCorruptError("the counts of the move-in notices cannot be read")
    return counts
