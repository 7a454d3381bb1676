"""Stateless faults: the kernel against its twin, each rule by itself, and the order in which they are told."""

from __future__ import annotations

import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notification_twin import fault_number
from test_batch import NOTIFICATIONS, PATIENT, PERSON, fields

from jukinet.core.notifications import Fault, Notification, NotificationBatch, fault_of, faults_of
from jukinet.core.notifications.fault_kernel import find_faults
from jukinet.core.vocabulary import Prefecture

TODAY = datetime.date(2024, 4, 15)
OTHER = 12345678903
SEEDS = st.fixed_dictionaries(
    {},
    optional={
        "reason": st.sampled_from([0, 11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42, 43, 255]),
        "state": st.integers(0, 6),
        "code": st.sampled_from([24727059608, OTHER, 24727059609, 0, 10**11, 2**64 - 1]),
        "code_before": st.sampled_from([0, 0, OTHER, 24727059608, 5]),
        "area": st.sampled_from([13101, 13999, 13000, 14101, 0, 1, 2**32 - 1]),
        "event_date": st.sampled_from(
            [0, 18680124, 18680125, 20230229, 20240229, 20240415, 20240416, 20240417, 20250416, 20250417, 20240400]
        ),
        "update_number": st.sampled_from([0, 1, 65_535, 65_536]),
        "birth_date": st.sampled_from([0, 19650000, 19650200, 19650231, 19000229, 20240401, 20240500, 99999999, 500]),
        "sex": st.sampled_from([0, 1, 2, 3, 9, 255]),
        "name": st.sampled_from(["", "a", "あ" * 85, "あ" * 85 + "x", "a\x00", "a\x7f", "\x85", "\xa0", "ÿ"]),
        "kana": st.sampled_from(["", "x" * 256, "\x9f"]),
        "alias": st.sampled_from(["", "x" * 256, "\n"]),
        "address": st.sampled_from(["", "x" * 510, "x" * 511, "\x80", "\u2028", "ÂÂ"]),
    },
)


def changed(**changes: object) -> Notification:
    return Notification(**{**fields(PERSON), **changes})  # type: ignore[arg-type]


@PATIENT
@given(st.lists(SEEDS, max_size=12), st.lists(NOTIFICATIONS, max_size=3))
def test_kernel_and_twin_agree(seeds: list[dict[str, object]], rest: list[Notification]) -> None:
    rows = [changed(**seed) for seed in seeds] + rest
    expected = [fault_number(row, 13, TODAY) for row in rows]
    assert list(faults_of(NotificationBatch.from_notifications(rows), 13, TODAY)) == expected
    assert [int(fault_of(row, 13, TODAY) or 0) for row in rows] == expected


GONE = {"birth_date": 0, "sex": 0, "name": "", "kana": "", "address": ""}
CASES = [
    ({}, None),
    ({"reason": 14}, Fault.UNKNOWN_REASON),
    ({"reason": 0}, Fault.UNKNOWN_REASON),
    ({"reason": 0, "state": 1, "event_date": 0}, None),
    ({"reason": 0, "state": 5}, Fault.BAD_STATE),
    ({"reason": 22, "state": 1}, Fault.BAD_STATE),
    ({"reason": 22, "state": 2}, None),
    ({"code": 24727059607}, Fault.BAD_CODE),
    ({"code": -5}, Fault.BAD_CODE),
    ({"code": 1 << 70}, Fault.BAD_CODE),
    ({"area": 14101}, Fault.AREA_NOT_OF_FEED),
    ({"event_date": 20240417}, Fault.BAD_DATE),
    ({"event_date": 20240416}, None),
    ({"reason": 21, "event_date": 20250416, **GONE}, None),
    ({"reason": 21, "event_date": 20250417, **GONE}, Fault.BAD_DATE),
    ({"reason": 21}, Fault.UNEXPECTED_PERSON),
    ({"update_number": 0}, Fault.BAD_UPDATE_NUMBER),
    ({"update_number": 70_000}, Fault.BAD_UPDATE_NUMBER),
    ({"code_before": OTHER}, Fault.BAD_CODE_BEFORE),
    ({"reason": 41}, Fault.BAD_CODE_BEFORE),
    ({"reason": 41, "code_before": OTHER}, None),
    ({"reason": 41, "code_before": OTHER, "state": 1}, Fault.BAD_CODE_BEFORE),
    ({"reason": 41, "state": 1}, None),
    ({"reason": 41, "code_before": OTHER, "state": 5, **GONE}, None),
    ({"reason": 42, "code_before": OTHER, "state": 5, **GONE}, None),
    ({"reason": 41, "state": 5, **GONE}, Fault.BAD_CODE_BEFORE),
    ({"reason": 42, "code_before": 24727059608, "state": 5, **GONE}, Fault.BAD_CODE_BEFORE),
    ({"reason": 42, "code_before": OTHER, "state": 5}, Fault.UNEXPECTED_PERSON),
    ({"reason": 31, "code_before": OTHER, "state": 5, **GONE}, Fault.BAD_STATE),
    ({"reason": 41, "code_before": OTHER, "state": 6, **GONE}, Fault.BAD_STATE),
    ({"reason": 42}, None),
    ({"reason": 42, "code_before": 24727059608}, Fault.BAD_CODE_BEFORE),
    ({"birth_date": 20240402}, Fault.BAD_BIRTH_DATE),
    ({"birth_date": 0}, None),
    ({"reason": 0, "state": 1, "event_date": 0, "birth_date": 20240416}, Fault.BAD_BIRTH_DATE),
    ({"sex": 3}, Fault.BAD_SEX),
    ({"name": ""}, Fault.BAD_TEXT),
    ({"name": "\ud800"}, Fault.BAD_TEXT),
    ({"alias": "x" * 256}, Fault.BAD_TEXT),
    ({"address": "x" * 511}, Fault.BAD_ADDRESS),
    ({"address": "\ud800"}, Fault.BAD_ADDRESS),
]


@pytest.mark.parametrize(("changes", "fault"), CASES, ids=str)
def test_each_rule(changes: dict[str, object], fault: Fault | None) -> None:
    assert fault_of(changed(**changes), 13, TODAY) == fault


def test_faults_are_told_in_the_order_that_is_written_down() -> None:
    assert fault_of.__doc__ is not None
    order = [Fault[name] for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", fault_of.__doc__)]
    wrong = {
        Fault.UNKNOWN_REASON: {"reason": 99},
        Fault.BAD_STATE: {"state": 9},
        Fault.BAD_CODE: {"code": 1},
        Fault.AREA_NOT_OF_FEED: {"area": 1101},
        Fault.BAD_DATE: {"event_date": 1},
        Fault.BAD_UPDATE_NUMBER: {"update_number": 0},
        Fault.BAD_CODE_BEFORE: {"code_before": 1},
        Fault.BAD_BIRTH_DATE: {"birth_date": 1},
        Fault.BAD_SEX: {"sex": 4},
        Fault.BAD_TEXT: {"name": "\n"},
        Fault.BAD_ADDRESS: {"address": "\n"},
    }
    assert [fault for fault in order if fault is not Fault.UNEXPECTED_PERSON] == list(wrong)
    for place, fault in enumerate(wrong):
        changes = {name: value for later in list(wrong)[place:] for name, value in wrong[later].items()}
        assert fault_of(changed(**changes), 13, TODAY) is fault


def test_positions_of_something_else_are_refused() -> None:
    batch = NotificationBatch.from_notifications([PERSON])
    with pytest.raises(ValueError, match="positions"):
        find_faults(batch.payload, 1, batch.positions[:-1], 13, 0, 0, 0)
    with pytest.raises(ValueError, match="positions"):
        find_faults(batch.payload, 1_000, batch.positions, 13, 0, 0, 0)


def test_prefectures_and_their_bodies() -> None:
    assert [int(prefecture) for prefecture in Prefecture] == list(range(1, 48))
    assert (Prefecture.HOKKAIDO.body, Prefecture.TOKYO.body, Prefecture.OKINAWA.body) == (
        "hokkaido",
        "tokyo",
        "okinawa",
    )
    assert all(Prefecture.of_body(prefecture.body) is prefecture for prefecture in Prefecture)
    assert Prefecture.of_body("TOKYO") is Prefecture.of_body("edo") is Prefecture.of_body("") is None
    assert Prefecture.of_area(13101) is Prefecture.TOKYO
    assert Prefecture.of_area(999) is Prefecture.of_area(48_000) is None
