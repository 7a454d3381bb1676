"""Statements of what a prefecture's register holds, read from its blocks: the rows of a load and of mending.

A statement says what the record of one code is at present. Codes that were changed, allotted or emptied have no person
to state and are left out.
"""

from __future__ import annotations

from typing import Final

from jukinet.core import limits
from jukinet.core.codes import code_from_key
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Notification, NotificationBatch
from jukinet.core.records import record
from jukinet.core.store import block, schema
from jukinet.core.vocabulary import State

ROWS_PER_READ_MAX: Final = limits.RANGE_ROWS_MAX


class Statements:
    """Reads statements of one prefecture from a register that this process has open; each call sees the last commit."""

    def __init__(self, register: FeedRegister, prefecture: int) -> None:
        self._register = register
        self._jis = register.places.jis
        self._own = {number for number, jis in enumerate(self._jis) if jis // 1000 == prefecture}
        with register.writer.reading() as transaction:
            self._width = schema.read_meta(transaction, register.writer.databases["meta"], register.directory).width

    def of_range(self, first_key: int, rows_max: int) -> tuple[int, NotificationBatch]:
        """The first ``rows_max`` statements with keys from ``first_key`` on, and the key behind the range they cover:
        nothing that the prefecture holds below it is left out."""
        if not 1 <= rows_max <= ROWS_PER_READ_MAX or not 0 <= first_key < limits.RESIDENT_KEYS:
            raise ValueError("a range has a first key and 1 to RANGE_ROWS_MAX rows")
        rows: list[Notification] = []
        stop_key = limits.RESIDENT_KEYS
        with self._register.writer.reading() as transaction:
            database = self._register.writer.databases["residents"]
            with transaction.cursor(db=database) as cursor:
                found = cursor.set_range(schema.NUMBER.pack(first_key // self._width))
                for name, packed in cursor if found else ():
                    bucket = schema.NUMBER.unpack(name)[0]
                    for delta, status, data in block.decode(packed):
                        key = bucket * self._width + delta
                        if key < first_key or status >> 10 & 4095 not in self._own or status & 15 > State.REMOVED:
                            continue
                        if len(rows) == rows_max:
                            stop_key = key
                            break
                        rows.append(self._statement(key, status, data))
                    if stop_key != limits.RESIDENT_KEYS:
                        break
        return stop_key, NotificationBatch.from_notifications(rows)

    def of_keys(self, keys: list[int]) -> list[Notification | None]:
        """The statement of each key; None where the prefecture holds nothing to state."""
        found: list[Notification | None] = []
        with self._register.writer.reading() as transaction:
            for key in keys:
                bucket, delta = divmod(key, self._width)
                packed = transaction.get(schema.NUMBER.pack(bucket), None, self._register.writer.databases["residents"])
                entry = None if packed is None else block.find(packed, delta)
                if entry is None or entry[0] >> 10 & 4095 not in self._own or entry[0] & 15 > State.REMOVED:
                    found.append(None)
                else:
                    found.append(self._statement(key, *entry))
        return found

    def _statement(self, key: int, status: int, data: bytes) -> Notification:
        r = record.decode(key, status, data)
        return Notification(
            reason=r.reason,
            state=r.state,
            code=code_from_key(key),
            area=self._jis[r.area],
            event_date=r.change_date,
            update_number=r.update_number,
            birth_date=r.birth_date,
            sex=r.sex,
            name=r.name,
            kana=r.kana,
            alias=r.alias,
            address=self._register.places.town_text(r.town) + r.address_rest,
        )
