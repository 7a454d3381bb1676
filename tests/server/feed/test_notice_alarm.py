"""The alarm over undelivered move-in notices, with a clock of the test's own."""

from __future__ import annotations

from jukinet.core.feed.notices import Undelivered
from jukinet.server.feed.notice_alarm import REPEAT_SECONDS, NoticeAlarm

NONE, WAITING, LATE, LATER = (
    Undelivered(0, 0, 0), Undelivered(3, 0, 50), Undelivered(3, 1, 100), Undelivered(4, 2, 200),
)  # fmt: skip


def test_nothing_overdue_is_no_alarm() -> None:
    alarm = NoticeAlarm()
    assert not alarm.is_due(NONE, 0.0)
    assert not alarm.is_due(WAITING, 10.0)
    assert alarm.gauges() == {"notices_undelivered": 3, "notices_oldest_seconds": 50, "notices_overdue": 0}


def test_told_at_once_and_again_at_most_once_an_hour() -> None:
    alarm = NoticeAlarm()
    assert alarm.is_due(LATE, 5.0)  # also right after the start of the clock
    assert not alarm.is_due(LATER, 5.0 + REPEAT_SECONDS - 0.1)
    assert alarm.is_due(LATER, 5.0 + REPEAT_SECONDS)
    assert not alarm.is_due(LATER, 6.0 + REPEAT_SECONDS)
    assert alarm.gauges() == {"notices_undelivered": 4, "notices_oldest_seconds": 200, "notices_overdue": 2}


def test_an_alarm_that_comes_and_goes_is_not_told_more_often() -> None:
    alarm = NoticeAlarm()
    told = [alarm.is_due(LATE if minute % 2 else NONE, minute * 60.0) for minute in range(180)]
    assert sum(told) == 3
    assert told.index(True) == 1
