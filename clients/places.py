"""Packed answers at a client: when to ask for them, the towns that they need, and their columns on demand."""

from __future__ import annotations

from typing import Any, Final

from jukinet.core import limits
from jukinet.core.columns.packed_kernel import TownTable
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.vocabulary import Item
from jukinet.core.wire import messages as m
from jukinet.core.wire.packed import FORM_PACKED, FORM_PLAIN, NO_TOWNS, unpacked

PACKED_CODES_MIN: Final = 256
"""Answers to fewer codes are not worth packing: what they cost is not their bytes."""
PACKED_AFTER_CODES: Final = 262_144
"""The nation's towns are about as many bytes as packing saves in so many answers (docs/decisions.md). A client that
asks for addresses fetches them when it has asked for so many: it never pays more than twice the least."""


class Places:
    """The areas and towns of one register, as far as they are known; of one client.

    wanted: whether packed answers are asked for: True always, False never, None when they are worth it.
    Invariant: ``table`` holds the towns of all pages taken, and the areas of the last.
    """

    def __init__(self, register: str, wanted: bool | None) -> None:
        """register: its identifier, from the greeting."""
        self.register = register
        self.wanted = wanted
        self.table = NO_TOWNS
        self._pages: list[tuple[memoryview, memoryview]] = []
        self._towns = 0
        self._areas: list[int] = []
        self._codes_asked = 0

    def form(self, items: int, count: int) -> int:
        """The form in which to ask for these items of so many codes, of a server that takes both."""
        if self.wanted is not None:
            return FORM_PACKED if self.wanted else FORM_PLAIN
        if count < PACKED_CODES_MIN:
            return FORM_PLAIN
        self._codes_asked += count
        if items & Item.ADDRESS and not self.table.towns and self._codes_asked <= PACKED_AFTER_CODES:
            return FORM_PLAIN
        return FORM_PACKED

    def suffice(self, answer: m.PackedLookupAnswer) -> bool:
        """Whether the answer can be unpacked with what is known."""
        columns = answer.columns
        if not answer.items & Item.ADDRESS:
            return True
        return columns.towns <= self.table.towns and columns.areas <= self.table.areas

    def question(self) -> tuple[int, int]:
        """Fields of the next TOWNS after the session's id."""
        return self._towns, limits.TOWNS_PER_ANSWER_MAX

    def take(self, answer: m.TownsAnswer) -> bool:
        """Take in one page; whether it was the last. RemoteProtocolError when the register's towns became fewer."""
        if answer.after != self._towns:
            return False  # another task has taken it meanwhile
        if answer.towns < self._towns or len(answer.areas) < len(self._areas):
            raise RemoteProtocolError("the register has fewer towns or areas than before")
        self._areas = answer.areas.tolist()
        if answer.count:
            self._pages.append((answer.texts.offsets, answer.texts.data))
            self._towns += answer.count
        if self._towns < answer.towns:
            return False
        self.table = TownTable(self._areas, self._pages)
        return True


class PackedColumnsOnDemand:
    """A packed answer in the place of a plain one: columns are unpacked when the first of them is looked at."""

    __slots__ = ("_outcomes", "_plain", "_table", "count", "items", "packed", "register_version", "request_id")

    def __init__(self, packed: m.PackedLookupAnswer, table: TownTable) -> None:
        """table: knows the answer's towns and areas, if it holds addresses."""
        self.packed = packed
        self.request_id = packed.request_id
        self.items = packed.items
        self.count = packed.count
        self.register_version = packed.register_version
        self._table = table
        self._plain: m.LookupAnswer | None = None
        self._outcomes: memoryview | None = None

    @property
    def outcomes(self) -> memoryview:
        """u8 outcome of each row."""
        if self._outcomes is None:
            self._outcomes = memoryview(self.packed.columns.outcomes())
        return self._outcomes

    def unpacked(self) -> m.LookupAnswer:
        """The plain columns."""
        if self._plain is None:
            self._plain = unpacked(self.packed, self._table)
        return self._plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unpacked(), name)
