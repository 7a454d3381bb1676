from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.core.errors import RecordFormatError
from jukinet.core.records import record
from jukinet.core.records.resident import Resident

from .strategies import residents
from .twins import encode_record


@given(residents())
def test_encoding_equals_the_twin_and_comes_back(resident: Resident) -> None:
    status, data = record.encode(resident)
    assert (status, data) == encode_record(resident)
    assert record.decode(resident.key, status, data) == resident


@given(residents(), st.data())
def test_a_record_cut_short_or_grown_is_refused(resident: Resident, data: st.DataObject) -> None:
    status, packed = record.encode(resident)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(RecordFormatError):
        record.decode(resident.key, status, packed[:cut])
    with pytest.raises(RecordFormatError):
        record.decode(resident.key, status, packed + b"\0")


@given(st.binary(max_size=120), st.integers(0, 2**64 - 1))
def test_any_bytes_decode_or_are_refused(data: bytes, status: int) -> None:
    try:
        record.decode(1, status, data)
    except RecordFormatError:
        return
    assert len(data) >= 3


@pytest.mark.parametrize(
    "fields",
    [
        {"state": 0, "name": "x"},
        {"state": 8},
        {"state": 5, "area": 5000},
        {"key": 10**10},
        {"name": "あ" * 86},
        {"address_rest": "x" * 256},
        {"sex": 3},
        {"birth_date": 19991301},
        {"birth_date": 12 * 100},
        {"town": 1 << 24},
        {"successor_key": 10**10},
        {"area": -1},
    ],
)
def test_values_out_of_range_are_refused_without_being_shown(fields: dict[str, object]) -> None:
    base: dict[str, object] = {"key": 1, "state": 1, "name": "山田"}
    with pytest.raises(RecordFormatError) as caught:
        record.encode(Resident(**{**base, **fields}))  # type: ignore[arg-type]
    assert "山田" not in str(caught.value)


def test_a_resident_never_shows_identity_information() -> None:
    shown = repr(Resident(key=1234567890, name="山田　太郎", kana="ヤマダ", address_rest="1-2-3"))
    assert "山田" not in shown
    assert "1234567890" not in shown
    assert "ヤマダ" not in shown
