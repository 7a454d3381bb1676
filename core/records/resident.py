"""One resident as plain fields: what the codec packs, and what tests, updates and checks speak of."""

from __future__ import annotations

import datetime

import msgspec

from jukinet.core.vocabulary import State

REGISTERED_EPOCH = datetime.date(2000, 1, 1)
"""Day 0 of the status column's registered day; the network began in 2002, and 16 bits reach to 2179."""


class Resident(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One entry of the resident table.

    key: the first ten digits of the code. change_date and birth_date: decimal dates such as 19650220, unknown parts 0.
    registered_day: days since 2000-01-01 on which the last notification was registered. area: number in the areas
    table. town: number in the towns table from 1, 0 when the whole address is in address_rest. notified: made by an
    ordinary notification of a feed, not by a statement and not in bulk (docs/convergence.md).
    """

    key: int
    state: int = State.CURRENT
    reason: int = 0
    sex: int = 0
    area: int = 0
    change_date: int = 0
    registered_day: int = 0
    birth_date: int = 0
    update_number: int = 0
    notified: bool = False
    town: int = 0
    successor_key: int | None = None
    name: str = ""
    kana: str = ""
    alias: str = ""
    address_rest: str = ""

    @property
    def has_person(self) -> bool:
        """Whether identity information is held: not for retired, allotted and expired codes."""
        return self.state < State.RETIRED

    def __repr__(self) -> str:
        """Never shows identity information: a Resident may end up in a traceback."""
        return f"<Resident state={self.state}>"
