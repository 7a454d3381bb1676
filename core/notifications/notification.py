"""One notification as plain fields: what a municipality tells of one resident (Order 30-5)."""

from __future__ import annotations

from msgspec import Struct


class Notification(Struct, frozen=True, kw_only=True, gc=False):
    """One change of one resident, as its source tells it; values are not checked here (``fault_of`` does).

    reason: a ChangeReason, 0 where a statement has none. state: 0 for an ordinary notification; 1 to 4 (CURRENT to
    REMOVED) make it a *statement*, in which the source states its whole present record. code, code_before: 11-digit
    numbers; code_before is 0 except for a code change. area: JIS X 0402, five digits. event_date, birth_date: decimal
    dates such as 19650220, unknown parts of a birth date 0. update_number: counts a person's notifications over all
    municipalities. sex: ISO/IEC 5218. Person items are empty where the notification carries no person.
    """

    reason: int
    state: int = 0
    code: int
    code_before: int = 0
    area: int
    event_date: int
    update_number: int
    birth_date: int = 0
    sex: int = 0
    name: str = ""
    kana: str = ""
    alias: str = ""
    address: str = ""

    def __repr__(self) -> str:
        """Never shows identity information: a Notification may end up in a traceback."""
        return "<Notification>"
