"""Batches of notifications: the columns against the twin, and back without losing anything."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from notification_twin import COLUMNS, batch_bytes

from jukinet.core.columns.column_kernel import ColumnFault
from jukinet.core.notifications import Notification, NotificationBatch

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WIDEST = {"B": 0xFF, "I": 0xFFFF_FFFF, "Q": 0xFFFF_FFFF_FFFF_FFFF}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NOTIFICATIONS = st.builds(
    Notification, **{name: TEXTS if letter == "t" else st.integers(0, WIDEST[letter]) for name, letter in COLUMNS}
)
PERSON = Notification(
    reason=11,
    code=24727059608,
    area=13101,
    event_date=20240401,
    update_number=3,
    birth_date=19650220,
    sex=2,
    name="髙橋 𠮷子",
    kana="タカハシ ヨシコ",
    address="東京都千代田区丸の内1丁目1-1",
)


@PATIENT
@given(st.lists(NOTIFICATIONS, max_size=9), st.sampled_from([0, 8, 16, 32]))
@example([], 0)
def test_codec_and_twin_agree(rows: list[Notification], start: int) -> None:
    batch = NotificationBatch.from_notifications(rows)
    data = batch_bytes(rows)
    assert bytes(batch.payload) == data
    again = NotificationBatch.parse(bytes(start) + data, len(rows), start)
    assert again == batch
    assert list(again) == rows
    assert again.codes.tolist() == [row.code for row in rows]
    assert again.codes.format == "Q"


@PATIENT
@given(st.lists(NOTIFICATIONS, max_size=9), st.data())
def test_a_part_is_a_batch_of_its_own(rows: list[Notification], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    part = NotificationBatch.from_notifications(rows).part(start, stop)
    assert list(part) == rows[start:stop]
    assert bytes(part.payload) == batch_bytes(rows[start:stop])


@PATIENT
@given(st.lists(NOTIFICATIONS, min_size=1, max_size=5), st.data())
def test_a_layout_that_does_not_hold_is_refused(rows: list[Notification], data: st.DataObject) -> None:
    payload = bytearray(batch_bytes(rows))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    count = len(rows) + data.draw(st.integers(-1, 1))
    try:
        batch = NotificationBatch.parse(payload, count)
    except ColumnFault:
        return
    assert batch_bytes(list(batch)) == payload


def test_every_cut_of_a_payload_is_refused() -> None:
    data = batch_bytes([PERSON, PERSON])
    for end in range(len(data)):
        with pytest.raises(ColumnFault):
            NotificationBatch.parse(data[:end], 2)
    with pytest.raises(ColumnFault):
        NotificationBatch.parse(data + bytes(8), 2)


def test_values_that_no_column_holds_and_rows_that_are_none() -> None:
    for changes in ({"reason": 256}, {"code": -1}, {"update_number": 1 << 32}):
        with pytest.raises(OverflowError):
            NotificationBatch.from_notifications([Notification(**{**fields(PERSON), **changes})])
    with pytest.raises(UnicodeEncodeError):
        NotificationBatch.from_notifications([Notification(**{**fields(PERSON), "name": "\ud800"})])
    batch = NotificationBatch.from_notifications([PERSON])
    for row in (-1, 1):
        with pytest.raises(IndexError):
            batch.row(row)
    for start, stop in ((0, 2), (1, 0), (-1, 1)):
        with pytest.raises(IndexError):
            batch.part(start, stop)
    with pytest.raises(ValueError, match="multiple of 8"):
        NotificationBatch.parse(bytes(16), 0, 4)


def fields(notification: Notification) -> dict[str, object]:
    return {name: getattr(notification, name) for name, _ in COLUMNS}


def test_no_repr_shows_a_resident() -> None:
    batch = NotificationBatch.from_notifications([PERSON])
    assert repr(PERSON) == "<Notification>"
    assert repr(batch) == "<NotificationBatch count=1>"
    assert batch != 1
