"""Move-in notices (転入通知): what may be wrong with the values that a client sends."""

from __future__ import annotations

import datetime
from typing import Final

from jukinet.core import limits
from jukinet.core.notifications import Fault, Notification, fault_of
from jukinet.core.vocabulary import ChangeReason, Prefecture
from jukinet.core.wire import feed_messages as f

_ANY_DAY: Final = datetime.date(9990, 1, 1)
"""Whether the day of moving in has come is judged by who knows today's date."""
_FAULTS: Final = {
    Fault.AREA_NOT_OF_FEED: "from_area is an area of the feed's prefecture",
    Fault.BAD_CODE: "code is 11 digits with their check digit",
    Fault.BAD_DATE: "event_date is a full date from 1868-01-25 on",
    Fault.BAD_BIRTH_DATE: "birth_date is a date, not after event_date",
    Fault.BAD_SEX: "sex is one of ISO/IEC 5218",
    Fault.BAD_TEXT: "name is not empty, texts are within their limits and hold no control characters",
    Fault.BAD_ADDRESS: "address is within its limit and holds no control characters",
}


def leave_fault(message: f.NoticeLeave, prefecture: int) -> str | None:
    """What is wrong with a notice left by this prefecture, or None. The person's items keep a notification's rules."""
    if not 1 <= message.notice_id <= limits.NOTICE_ID_MAX:
        return "notice_id is 1 to 2^63 - 1"
    if (
        Prefecture.of_area(message.to_area) is None
        or message.to_area % 1000 == 0
        or message.to_area == message.from_area
    ):
        return "to_area is the area that was left"
    moved_in = Notification(
        reason=ChangeReason.MOVE_IN,
        code=message.code,
        area=message.from_area,
        event_date=message.event_date,
        update_number=1,
        birth_date=message.birth_date,
        sex=message.sex,
        name=message.name,
        kana=message.kana,
        address=message.address,
    )
    fault = fault_of(moved_in, prefecture, _ANY_DAY)
    return None if fault is None else _FAULTS[fault]


def notices_max_fault(notices_max: int) -> str | None:
    """What is wrong with how many notices are asked for, or None."""
    return None if 1 <= notices_max <= limits.NOTICES_MAX else f"notices_max is 1 to {limits.NOTICES_MAX}"


def list_fault(message: f.NoticeList) -> str | None:
    """What is wrong with a NOTICE_LIST, or None."""
    if not 0 <= message.after <= limits.NOTICE_ID_MAX:
        return "after is 0 to 2^63 - 1"
    return notices_max_fault(message.notices_max)


def received_fault(message: f.NoticeReceived) -> str | None:
    """What is wrong with a NOTICE_RECEIVED, or None."""
    if not message.numbers or not all(1 <= number <= limits.NOTICE_ID_MAX for number in message.numbers):
        return "numbers is a list of numbers of notices, one at least"
    return None


def fault(message: f.NoticeLeave | f.NoticeTake | f.NoticeList | f.NoticeReceived, prefecture: int) -> str | None:
    """What is wrong with a client's message about notices, or None."""
    if isinstance(message, f.NoticeLeave):
        return leave_fault(message, prefecture)
    if isinstance(message, f.NoticeTake):
        return notices_max_fault(message.notices_max)
    if isinstance(message, f.NoticeList):
        return list_fault(message)
    return received_fault(message)
