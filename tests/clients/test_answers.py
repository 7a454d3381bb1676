"""Answers: rows, and columns that NumPy and Arrow take without copying."""

from __future__ import annotations

import datetime
import sys
from array import array
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from peer import lookup_payload, person, status_payload

from jukinet.clients import LookupAnswer, MissingExtraError, PartialDate, StatusAnswer
from jukinet.core.codes import code_from_key
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.vocabulary import ALL_ITEMS, MALFORMED_CODE, Item, Outcome
from jukinet.core.wire import answers as wire_answers

CODES = array("Q", [*(code_from_key(key) for key in range(20, 60)), MALFORMED_CODE, 12345678901])


def lookup(items: int = ALL_ITEMS) -> tuple[bytearray, LookupAnswer]:
    payload = bytearray(lookup_payload(items, list(CODES)))
    wire = wire_answers.parse_lookup_answer(1, items, len(CODES), payload)
    return payload, LookupAnswer(wire, memoryview(CODES))


def test_numpy_shares_the_received_bytes() -> None:
    payload, answer = lookup()
    received = np.frombuffer(payload, dtype=np.uint8)
    arrays = answer.to_numpy()
    assert set(arrays) == {
        "code", "outcome", "name_offsets", "name_data", "kana_offsets", "kana_data", "alias_offsets", "alias_data",
        "birth_date", "sex", "area", "address_offsets", "address_data", "change_reason", "change_date",
        "successor_code",
    }  # fmt: skip
    for name, column in arrays.items():
        assert not column.flags.writeable
        if name == "code":
            assert np.shares_memory(column, np.frombuffer(CODES, dtype=np.uint64))
        elif column.size:
            assert np.shares_memory(column, received), name
    assert arrays["birth_date"].tolist() == [person(code).birth_date for code in CODES]


def test_arrow_points_into_the_received_bytes() -> None:
    payload, answer = lookup()
    start = np.frombuffer(payload, dtype=np.uint8).ctypes.data
    batch = answer.to_arrow()
    batch.validate(full=True)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        first, last = (start, start + len(payload))
        if name == "code":
            first = np.frombuffer(CODES, dtype=np.uint64).ctypes.data
            last = first + 8 * len(CODES)
        stored = column.indices if isinstance(column, pa.DictionaryArray) else column
        for buffer in stored.buffers():
            if buffer is not None and buffer.size:
                assert first <= buffer.address <= buffer.address + buffer.size <= last, name
    assert batch.column("outcome").to_pylist() == [person(code).outcome.name for code in CODES]
    assert batch.column("name").to_pylist() == [person(code).name for code in CODES]


def test_rows_of_some_items() -> None:
    _, answer = lookup(int(Item.KANA | Item.BIRTH_DATE))
    assert (answer[0].name, answer[0].kana) == (None, "ヤマダ ハナコ")
    assert answer[-1].outcome is Outcome.BAD_CHECK_DIGIT
    assert answer[-2].code == ""
    with pytest.raises(IndexError):
        answer[len(CODES)]
    assert sum(answer.counts().values()) == len(CODES)
    assert str(CODES[0]) not in repr(answer)


def test_status_rows() -> None:
    payload = bytearray(status_payload(20240401, list(CODES)))
    answer = StatusAnswer(wire_answers.parse_status_answer(1, 20240401, len(CODES), payload), memoryview(CODES))
    assert answer[1].outcome is Outcome.CHANGED
    assert answer[1].change_date == datetime.date(2024, 6, 1)
    arrays = answer.to_numpy()
    assert np.shares_memory(arrays["change_date"], np.frombuffer(payload, dtype=np.uint8))
    assert answer.to_arrow().schema.names == ["code", "outcome", "change_date"]


def test_a_date_that_cannot_be_is_a_protocol_error() -> None:
    wire = type("Wire", (), {"count": 1, "outcomes": memoryview(b"\x03"), "change_dates": array("I", [20241399])})()
    answer: Any = StatusAnswer(wire, memoryview(array("Q", [1])))
    with pytest.raises(RemoteProtocolError):
        answer[0]


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, answer = lookup()
    for name in ("numpy", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"jukinet\[files\]"):
        answer.to_arrow()
    with pytest.raises(MissingExtraError, match="numpy"):
        answer.to_numpy()


def test_partly_unknown_dates_in_rows() -> None:
    _, answer = lookup()
    kinds = {code // 10 % 10: row.birth_date for code, row in zip(CODES, answer, strict=True)}
    assert kinds[3] == PartialDate(1965, 2)
    assert kinds[4] == PartialDate(1965)
    assert kinds[5] == PartialDate()
