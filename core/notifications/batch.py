"""A batch of notifications as columns over bytes: the payload of NOTIFY and LOAD_RANGE behind its head."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from jukinet.core.columns.column_kernel import locate_columns
from jukinet.core.columns.layout import ANY_TEXT_BYTES, BYTE, CODE, NUMBER, TEXT, TextColumn, fixed_layout
from jukinet.core.notifications.notification import Notification

PLAN: Final = 3 * BYTE + 4 * NUMBER + 2 * CODE + 4 * TEXT
"""reason, state, sex; update_number, area, event_date, birth_date; code, code_before; name, kana, alias, address."""


class NotificationBatch:
    """count notifications in columns that lie in ``payload``; no object a row until ``row`` is asked for one.

    reasons, states, sexes: 'B'. update_numbers, areas, event_dates, birth_dates: 'I'. codes, codes_before: 'Q'. names,
    kana, aliases, addresses: TextColumn. ``positions`` are where the columns start in ``payload``, in this order, three
    for a text column (offsets, data, end of data): native code reads there without asking for views. The layout has
    been checked (also that texts are UTF-8); the values have not.
    """

    __slots__ = (
        "addresses",
        "aliases",
        "areas",
        "birth_dates",
        "codes",
        "codes_before",
        "count",
        "event_dates",
        "kana",
        "names",
        "payload",
        "positions",
        "reasons",
        "sexes",
        "states",
        "update_numbers",
    )

    def __init__(self, payload: memoryview, count: int) -> None:
        """payload: contiguous bytes, 'B'. Raises ColumnFault: the layout does not hold."""
        at = locate_columns(payload, 0, count, PLAN, 0, ANY_TEXT_BYTES)
        view4 = payload.cast("I")
        view8 = payload.cast("Q")
        self.payload = payload
        self.count = count
        self.positions = at
        self.reasons = payload[at[0] : at[0] + count]
        self.states = payload[at[1] : at[1] + count]
        self.sexes = payload[at[2] : at[2] + count]
        numbers = [view4[place >> 2 : (place >> 2) + count] for place in at[3:7]]
        self.update_numbers, self.areas, self.event_dates, self.birth_dates = numbers
        self.codes, self.codes_before = [view8[place >> 3 : (place >> 3) + count] for place in at[7:9]]
        texts = [
            TextColumn(view4[at[i] >> 2 : (at[i] >> 2) + count + 1], payload[at[i + 1] : at[i + 2]])
            for i in range(9, 21, 3)
        ]
        self.names, self.kana, self.aliases, self.addresses = texts

    @classmethod
    def parse(cls, payload: bytes | bytearray | memoryview, count: int, start: int = 0) -> NotificationBatch:
        """The batch of count rows that lies in payload from start (a multiple of 8) to its end, over the same bytes.

        Raises ColumnFault: the layout does not hold.
        """
        if start % 8:
            raise ValueError("start is a multiple of 8")
        return cls(memoryview(payload)[start:], count)

    @classmethod
    def from_notifications(cls, notifications: Sequence[Notification]) -> NotificationBatch:
        """A batch of these. Raises OverflowError or UnicodeEncodeError for a value that its column cannot hold."""
        rows = notifications
        return cls.from_columns(
            reasons=array("B", [row.reason for row in rows]),
            states=array("B", [row.state for row in rows]),
            sexes=array("B", [row.sex for row in rows]),
            update_numbers=array("I", [row.update_number for row in rows]),
            areas=array("I", [row.area for row in rows]),
            event_dates=array("I", [row.event_date for row in rows]),
            birth_dates=array("I", [row.birth_date for row in rows]),
            codes=array("Q", [row.code for row in rows]),
            codes_before=array("Q", [row.code_before for row in rows]),
            names=TextColumn.from_texts([row.name for row in rows]),
            kana=TextColumn.from_texts([row.kana for row in rows]),
            aliases=TextColumn.from_texts([row.alias for row in rows]),
            addresses=TextColumn.from_texts([row.address for row in rows]),
        )

    @classmethod
    def from_columns(
        cls,
        *,
        reasons: memoryview | array[int],
        states: memoryview | array[int],
        sexes: memoryview | array[int],
        update_numbers: memoryview | array[int],
        areas: memoryview | array[int],
        event_dates: memoryview | array[int],
        birth_dates: memoryview | array[int],
        codes: memoryview | array[int],
        codes_before: memoryview | array[int],
        names: TextColumn,
        kana: TextColumn,
        aliases: TextColumn,
        addresses: TextColumn,
    ) -> NotificationBatch:
        """A batch of columns in the formats that the class names, copied once.

        Raises ColumnFault when the columns have not all the same number of rows or hold texts that are not UTF-8.
        """
        fixed = (reasons, states, sexes, update_numbers, areas, event_dates, birth_dates, codes, codes_before)
        parts: list[bytes] = []
        for column in fixed:
            parts += fixed_layout(memoryview(column))
        for texts in (names, kana, aliases, addresses):
            parts += texts.layout()
        return cls(memoryview(b"".join(parts)), len(reasons))

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<NotificationBatch count={self.count}>"

    def __eq__(self, other: object) -> bool:
        """Equal when count and payload are equal: one layout has one form."""
        if not isinstance(other, NotificationBatch):
            return NotImplemented
        return self.count == other.count and self.payload == other.payload

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Notification]:
        return map(self.row, range(self.count))

    def row(self, row: int) -> Notification:
        """The notification of one row. Raises IndexError."""
        if not 0 <= row < self.count:
            raise IndexError("row outside the batch")
        return Notification(
            reason=self.reasons[row],
            state=self.states[row],
            code=self.codes[row],
            code_before=self.codes_before[row],
            area=self.areas[row],
            event_date=self.event_dates[row],
            update_number=self.update_numbers[row],
            birth_date=self.birth_dates[row],
            sex=self.sexes[row],
            name=self.names[row],
            kana=self.kana[row],
            alias=self.aliases[row],
            address=self.addresses[row],
        )

    def part(self, start: int, stop: int) -> NotificationBatch:
        """The rows from start to stop as a batch of their own, copied; one row is what quarantine keeps."""
        if not 0 <= start <= stop <= self.count:
            raise IndexError("rows outside the batch")
        return self.from_columns(
            reasons=self.reasons[start:stop],
            states=self.states[start:stop],
            sexes=self.sexes[start:stop],
            update_numbers=self.update_numbers[start:stop],
            areas=self.areas[start:stop],
            event_dates=self.event_dates[start:stop],
            birth_dates=self.birth_dates[start:stop],
            codes=self.codes[start:stop],
            codes_before=self.codes_before[start:stop],
            names=self.names.part(start, stop),
            kana=self.kana.part(start, stop),
            aliases=self.aliases.part(start, stop),
            addresses=self.addresses.part(start, stop),
        )
