"""Move-in notices (転入通知) as the register keeps them until the municipality that was left has them.

Three databases beside the register's own, made when a register is first opened for its feeds; all have u64 keys:

- `notices`: number -> sealed MessagePack of Kept; under 0 the last number given.
- `notices_open`: (side << 63 | prefecture << 48 | number) -> nothing, for notices that were not received; side 0 is the
  prefecture that was left, side 1 the one that was entered.
- `notice_names`: 8 bytes of BLAKE2b of (prefecture, notice_id) -> sealed list of (prefecture, notice_id, number).

Invariant: a notice has its two rows in `notices_open` exactly while ``closed_at`` is 0.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import lmdb
import msgspec

from jukinet.core.errors import StoreCorruptError
from jukinet.core.limits import PREFECTURES
from jukinet.core.store import schema
from jukinet.core.vocabulary import NoticeState
from jukinet.core.wire import feed_messages as fm

if TYPE_CHECKING:
    from jukinet.core.store.writer import RegisterWriter

DATABASES: Final = ("notices", "notices_open", "notice_names")
LAST_NUMBER: Final = schema.NUMBER.pack(0)
NUMBER_BITS: Final = 48
NUMBER_MASK: Final = (1 << NUMBER_BITS) - 1
LEFT, ENTERED = 0, 1
PURGED_PER_STEP_MAX: Final = 1_000
_NAME: Final = struct.Struct("<HQ")

Databases = dict[str, lmdb._Database]


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A notice, and when its receipt was durable (0: it is open). Its state is reckoned when it is read."""

    notice: fm.Notice
    closed_at: int = 0


class NoticeBook:
    """Notices within write transactions of the register; times are seconds since 1970-01-01 UTC."""

    def __init__(self, writer: RegisterWriter, overdue_seconds: int) -> None:
        self.databases: Databases = {name: writer.database_beside(name) for name in DATABASES}
        self._overdue_seconds = overdue_seconds

    def leave(self, handle: lmdb.Transaction, prefecture: int, message: fm.NoticeLeave, now: int) -> int:
        """Keep a notice; its number, the same again for the same notice_id."""
        name = hashlib.blake2b(_NAME.pack(prefecture, message.notice_id), digest_size=8).digest()
        named: list[list[int]] = _read(handle, self.databases["notice_names"], name, list[list[int]]) or []
        for other, notice_id, number in named:
            if (other, notice_id) == (prefecture, message.notice_id):
                return number
        number = (_read(handle, self.databases["notices"], LAST_NUMBER, int) or 0) + 1
        fields = {field: getattr(message, field) for field in message.__struct_fields__ if field != "request_id"}
        notice = fm.Notice(number=number, left_at=now, taken_at=0, state=NoticeState.WAITING, **fields)
        self._write("notices", LAST_NUMBER, number, handle)
        self._write("notices", schema.NUMBER.pack(number), Kept(notice), handle)
        self._write("notice_names", name, [*named, [prefecture, message.notice_id, number]], handle)
        for key in _open_keys(notice):
            handle.put(key, b"", db=self.databases["notices_open"])
        return number

    def take(
        self, handle: lmdb.Transaction, prefecture: int, notices_max: int, now: int
    ) -> tuple[list[fm.Notice], int]:
        """The oldest open notices for the prefecture, and how many more there are; they count as taken from now on."""
        found, remaining = self._open(handle, LEFT, prefecture, 0, notices_max)
        taken = []
        for number in found:
            kept = self._kept(handle, number)
            if not kept.notice.taken_at:
                kept = Kept(msgspec.structs.replace(kept.notice, taken_at=now))
                self._write("notices", schema.NUMBER.pack(number), kept, handle)
            taken.append(self._shown(kept, now))
        return taken, remaining

    def receive(self, handle: lmdb.Transaction, prefecture: int, numbers: list[int], now: int) -> int:
        """Close notices that the prefecture has; how many of them were open until now."""
        closed = 0
        for number in set(numbers):
            key = schema.NUMBER.pack(prefecture << NUMBER_BITS | number)
            if number > NUMBER_MASK or handle.get(key, None, self.databases["notices_open"]) is None:
                continue
            kept = self._kept(handle, number)
            for other in _open_keys(kept.notice):
                handle.delete(other, db=self.databases["notices_open"])
            self._write("notices", schema.NUMBER.pack(number), Kept(kept.notice, now), handle)
            closed += 1
        return closed

    def own(
        self, handle: lmdb.Transaction, prefecture: int, after: int, notices_max: int, now: int
    ) -> tuple[list[fm.Notice], int]:
        """The prefecture's own notices that were not received, with numbers above ``after``, and how many more."""
        found, remaining = self._open(handle, ENTERED, prefecture, min(after, NUMBER_MASK), notices_max)
        return [self._shown(self._kept(handle, number), now) for number in found], remaining

    def overdue(self, handle: lmdb.Transaction, now: int) -> tuple[int, int]:
        """How many notices are open, and how many of them overdue. Costs a read for each that is overdue."""
        overdue = 0
        for prefecture in range(1, PREFECTURES + 1):
            for number in self._numbers(handle, LEFT, prefecture, 0):
                if self._shown(self._kept(handle, number), now).state is not NoticeState.OVERDUE:
                    break  # numbers ascend with time
                overdue += 1
        return handle.stat(self.databases["notices_open"])["entries"] // 2, overdue

    def purge(self, handle: lmdb.Transaction, closed_before: int) -> int:
        """Delete notices that were received before that time, at most PURGED_PER_STEP_MAX; how many."""
        gone = []
        with handle.cursor(db=self.databases["notices"]) as cursor:
            for seen, (key, value) in enumerate(cursor.iternext(keys=True, values=True)):
                if bytes(key) != LAST_NUMBER:
                    kept = _decode(value, Kept)
                    if 0 < kept.closed_at < closed_before:
                        gone.append(kept.notice)
                if len(gone) >= PURGED_PER_STEP_MAX or seen >= 2 * PURGED_PER_STEP_MAX:
                    break
        for notice in gone:
            handle.delete(schema.NUMBER.pack(notice.number), db=self.databases["notices"])
            self._forget_name(handle, notice)
        return len(gone)

    def _forget_name(self, handle: lmdb.Transaction, notice: fm.Notice) -> None:
        prefecture = notice.from_area // 1000
        name = hashlib.blake2b(_NAME.pack(prefecture, notice.notice_id), digest_size=8).digest()
        named = _read(handle, self.databases["notice_names"], name, list[list[int]]) or []
        left = [entry for entry in named if entry[2] != notice.number]
        if left:
            self._write("notice_names", name, left, handle)
        else:
            handle.delete(name, db=self.databases["notice_names"])

    def _write(self, database: str, key: bytes, value: object, handle: lmdb.Transaction) -> None:
        handle.put(key, schema.seal(msgspec.msgpack.encode(value)), db=self.databases[database])

    def _kept(self, handle: lmdb.Transaction, number: int) -> Kept:
        kept: Kept | None = _read(handle, self.databases["notices"], schema.NUMBER.pack(number), Kept)
        if kept is None:
            raise StoreCorruptError("an open notice is not there")
        return kept

    def _shown(self, kept: Kept, now: int) -> fm.Notice:
        return shown(kept, now, self._overdue_seconds)

    def _open(
        self, handle: lmdb.Transaction, side: int, prefecture: int, after: int, numbers_max: int
    ) -> tuple[list[int], int]:
        numbers = list(self._numbers(handle, side, prefecture, after))
        return numbers[:numbers_max], max(0, len(numbers) - numbers_max)

    def _numbers(self, handle: lmdb.Transaction, side: int, prefecture: int, after: int) -> Iterator[int]:
        first = side << 63 | prefecture << NUMBER_BITS
        with handle.cursor(db=self.databases["notices_open"]) as cursor:
            if cursor.set_range(schema.NUMBER.pack(first + after + 1)):
                for key in cursor.iternext(keys=True, values=False):
                    number = schema.NUMBER.unpack(key)[0] - first
                    if number > NUMBER_MASK:
                        return
                    yield number


def shown(kept: Kept, now: int, overdue_seconds: int) -> fm.Notice:
    """The notice with its state as of now."""
    notice = kept.notice
    if now - notice.left_at >= overdue_seconds:
        state = NoticeState.OVERDUE
    else:
        state = NoticeState.TAKEN if notice.taken_at else NoticeState.WAITING
    return msgspec.structs.replace(notice, state=state)


def open_notices(handle: lmdb.Transaction, database: lmdb._Database, now: int, overdue_seconds: int) -> list[fm.Notice]:
    """Every notice that was not received, oldest first, for the operator. ``database``: `notices`."""
    with handle.cursor(db=database) as cursor:
        every = [_decode(value, Kept) for key, value in cursor.iternext(keys=True, values=True) if _is_notice(key)]
    return [shown(kept, now, overdue_seconds) for kept in every if not kept.closed_at]


def _is_notice(key: Any) -> bool:
    return bytes(key) != LAST_NUMBER


def _open_keys(notice: fm.Notice) -> tuple[bytes, bytes]:
    left, entered = notice.to_area // 1000, notice.from_area // 1000
    return (
        schema.NUMBER.pack(LEFT << 63 | left << NUMBER_BITS | notice.number),
        schema.NUMBER.pack(ENTERED << 63 | entered << NUMBER_BITS | notice.number),
    )


def _read(handle: lmdb.Transaction, database: lmdb._Database, key: bytes, kind: Any) -> Any:
    value = handle.get(key, None, database)
    return None if value is None else _decode(value, kind)


def _decode(value: Any, kind: Any) -> Any:
    """The content of a sealed value; StoreCorruptError when it is damaged."""
    try:
        return msgspec.msgpack.decode(schema.unseal(value, "a move-in notice"), type=kind)
    except msgspec.MsgspecError:
        raise StoreCorruptError("a move-in notice cannot be read") from None
