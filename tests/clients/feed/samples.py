"""Notifications of an invented prefecture for the tests of its client."""

from __future__ import annotations

import datetime
from typing import Any

from jukinet.core.codes import code_from_key
from jukinet.core.notifications import Notification

PREFECTURE = 13
AREA = 13101
TODAY = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=9))).date()


def entry(number: int, **changes: Any) -> Notification:
    """The birth of somebody with a key that follows from the number."""
    fields: dict[str, Any] = {
        "reason": 12, "code": code_from_key(1_000_003 * (number + 1) % 10**10), "area": AREA, "event_date": 20240401,
        "update_number": 1, "birth_date": 20240331, "sex": 1 + number % 2, "name": f"山田 花子{number}",
        "kana": "ヤマダ ハナコ", "address": f"東京都千代田区丸の内{number % 50}番地",
    }  # fmt: skip
    return Notification(**{**fields, **changes})


def death(number: int, **changes: Any) -> Notification:
    return Notification(
        **{
            "reason": 22, "code": entry(number).code, "area": AREA, "event_date": 20250102, "update_number": 2,
            **changes,
        }
    )  # fmt: skip
