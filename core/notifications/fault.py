"""What may be wrong with a notification, and the rules that one can be held against alone (docs/convergence.md)."""

from __future__ import annotations

import datetime
from array import array
from enum import IntEnum
from typing import Final

from jukinet.core.columns.layout import TextColumn
from jukinet.core.limits import EVENT_DAYS_AHEAD_MAX, MOVE_OUT_DAYS_AHEAD_MAX
from jukinet.core.notifications.batch import NotificationBatch
from jukinet.core.notifications.fault_kernel import find_faults
from jukinet.core.notifications.notification import Notification


class Fault(IntEnum):
    """Why a notification is put into quarantine. Values are part of formats: wire, journal, quarantine."""

    UNKNOWN_REASON = 1
    BAD_CODE = 2
    AREA_NOT_OF_FEED = 3
    AREA_UNKNOWN = 4
    """The register has no such area, or its municipality is not connected."""
    BAD_DATE = 5
    BAD_BIRTH_DATE = 6
    BAD_SEX = 7
    BAD_TEXT = 8
    BAD_ADDRESS = 9
    BAD_CODE_BEFORE = 10
    UNEXPECTED_PERSON = 11
    BAD_UPDATE_NUMBER = 12
    BAD_STATE = 13
    # What only the register can tell.
    NOT_ENTERED = 32
    NUMBER_NOT_ASCENDING = 33
    ANOTHER_PERSON = 34
    CODE_RETIRED = 35
    CODE_EXPIRED = 36
    NO_ROOM = 37
    """The block or the history of this code is full: a matter of the register, not of the row."""


_U8_MAX: Final = 0xFF
_U32_MAX: Final = 0xFFFF_FFFF
_U64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF
"""The largest value of each width is allowed in no column, so it may stand for whatever a column cannot hold."""


def _decimal(day: datetime.date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def faults_of(batch: NotificationBatch, prefecture: int, today: datetime.date) -> bytes:
    """One byte a row: 0, or the first Fault of fault_of's order. Native: 10,000 rows take about a millisecond."""
    return find_faults(
        batch.payload,
        batch.count,
        batch.positions,
        prefecture,
        _decimal(today),
        _decimal(today + datetime.timedelta(EVENT_DAYS_AHEAD_MAX)),
        _decimal(today + datetime.timedelta(MOVE_OUT_DAYS_AHEAD_MAX)),
    )


def fault_of(notification: Notification, prefecture: int, today: datetime.date) -> Fault | None:
    """What is wrong with a notification of this prefecture's feed (1 to 47), or None; the first in this order:

    UNKNOWN_REASON, BAD_STATE, BAD_CODE, AREA_NOT_OF_FEED, BAD_DATE, BAD_UPDATE_NUMBER, BAD_CODE_BEFORE,
    UNEXPECTED_PERSON, BAD_BIRTH_DATE, BAD_SEX, BAD_TEXT, BAD_ADDRESS. The rules stand in docs/convergence.md. Values
    of any size are judged, also those that no batch can hold. For many notifications ``faults_of`` is quicker.
    """
    row = notification
    found = faults_of(
        NotificationBatch.from_columns(
            reasons=array("B", [_within(row.reason, _U8_MAX)]),
            states=array("B", [_within(row.state, _U8_MAX)]),
            sexes=array("B", [_within(row.sex, _U8_MAX)]),
            update_numbers=array("I", [_within(row.update_number, _U32_MAX)]),
            areas=array("I", [_within(row.area, _U32_MAX)]),
            event_dates=array("I", [_within(row.event_date, _U32_MAX)]),
            birth_dates=array("I", [_within(row.birth_date, _U32_MAX)]),
            codes=array("Q", [_within(row.code, _U64_MAX)]),
            codes_before=array("Q", [_within(row.code_before, _U64_MAX)]),
            names=_encodable(row.name),
            kana=_encodable(row.kana),
            aliases=_encodable(row.alias),
            addresses=_encodable(row.address),
        ),
        prefecture,
        today,
    )[0]
    return Fault(found) if found else None


def _within(value: int, largest: int) -> int:
    return value if 0 <= value <= largest else largest


def _encodable(text: str) -> TextColumn:
    """The text; in place of one that has no UTF-8 form (a lone surrogate), one that is not allowed either."""
    try:
        return TextColumn.from_texts([text])
    except UnicodeEncodeError:
        return TextColumn.from_texts(["\0"])
