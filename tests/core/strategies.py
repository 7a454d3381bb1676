"""Hypothesis strategies and a plain-Python model of the resident table, shared by the tests of the core."""

from __future__ import annotations

import datetime

from hypothesis import strategies as st

from jukinet.core.records.resident import Resident
from jukinet.core.vocabulary import ChangeReason, State

KANA = [chr(point) for point in range(0x30A1, 0x30FD)] + [" ", "\u3000"]
TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("佐藤鈴木高橋髙﨑邊齋太郎花子東京都1234567890-丁目番地号ABCabc　 "),
        st.characters(exclude_categories=["Cs"]),
        st.just("\U000e0101"),
    ),
    max_size=24,
).filter(lambda text: len(text.encode()) <= 255)
KANA_TEXT = st.one_of(st.text(alphabet=st.sampled_from(KANA), max_size=60), TEXT)


def full_dates() -> st.SearchStrategy[int]:
    days = st.dates(min_value=datetime.date(1868, 1, 25), max_value=datetime.date(2100, 12, 31))
    return days.map(lambda day: day.year * 10000 + day.month * 100 + day.day)


@st.composite
def partial_dates(draw: st.DrawFn) -> int:
    date = draw(full_dates())
    known = draw(st.sampled_from(["all", "all", "month", "year", "none"]))
    return {"all": date, "month": date // 100 * 100, "year": date // 10000 * 10000, "none": 0}[known]


@st.composite
def residents(draw: st.DrawFn, *, areas: int = 5, towns: int = 9, key: int | None = None) -> Resident:
    state = draw(st.sampled_from(list(State)))
    person = state < State.RETIRED
    return Resident(
        key=draw(st.integers(0, 10**10 - 1)) if key is None else key,
        state=int(state),
        reason=draw(st.sampled_from([0, *map(int, ChangeReason)])),
        sex=draw(st.sampled_from([0, 1, 2, 9])) if person else 0,
        area=draw(st.integers(0, areas - 1)),
        change_date=draw(partial_dates()),
        registered_day=draw(st.integers(0, 65535)),
        birth_date=draw(partial_dates()) if person else 0,
        update_number=draw(st.integers(0, 65535)),
        notified=draw(st.booleans()),
        town=draw(st.integers(0, towns)) if person else 0,
        successor_key=draw(st.integers(0, 10**10 - 1)) if state == State.RETIRED else None,
        name=draw(TEXT) if person else "",
        kana=draw(KANA_TEXT) if person else "",
        alias=draw(TEXT) if person else "",
        address_rest=draw(TEXT) if person else "",
    )
