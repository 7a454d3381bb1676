"""Answers to LOOKUP, STATUS, VERIFY and HISTORY: received payloads become messages over the same bytes."""

from __future__ import annotations

from typing import Any

from jukinet.core.columns.column_kernel import ColumnFault, locate_columns
from jukinet.core.columns.layout import ANY_TEXT_BYTES, TextColumn, padded
from jukinet.core.errors import RemoteProtocolError
from jukinet.core.wire import messages as m
from jukinet.core.wire.columns import (
    HISTORY_CODES_PLAN,
    HISTORY_ITEMS,
    STATUS_PLAN,
    VERIFY_ANSWER_PLAN,
    history_plan,
    lookup_plan,
    matches_mask,
)
from jukinet.core.wire.frames import ANSWER_HEAD, ANSWER_HEAD_BYTES, MessageType


def answer_bytes(kind: int, count: int) -> int | None:
    """The exact payload length of a STATUS_ANSWER or VERIFY_ANSWER of count rows; None: it depends on texts."""
    if kind == MessageType.STATUS_ANSWER:
        return ANSWER_HEAD_BYTES + padded(count) + padded(4 * count)
    if kind == MessageType.VERIFY_ANSWER:
        return ANSWER_HEAD_BYTES + 2 * padded(count)
    return None


def _head(payload: bytes | bytearray, asked: int, count: int) -> int:
    """The register version, when the answer is to what was asked (items or since, and count)."""
    if len(payload) < ANSWER_HEAD_BYTES or len(payload) & 7:
        raise RemoteProtocolError("the answer's length is no multiple of 8, or too short")
    told, rows, register_version = ANSWER_HEAD.unpack_from(payload)
    if rows != count or told != asked:
        raise RemoteProtocolError("the answer has another count, items or since than its request")
    return int(register_version)


def _locate(
    payload: bytes | bytearray | memoryview, count: int, plan: bytes, mask: int, start: int = ANSWER_HEAD_BYTES
) -> tuple[int, ...]:
    try:
        return locate_columns(payload, start, count, plan, mask, ANY_TEXT_BYTES)
    except ColumnFault as fault:
        raise RemoteProtocolError(f"the answer does not hold: {fault}") from None


def parse_lookup_answer(request_id: int, items: int, count: int, payload: bytes | bytearray) -> m.LookupAnswer:
    """The answer to a LOOKUP of count codes for these items (never 0). Raises RemoteProtocolError."""
    register_version = _head(payload, items, count)
    at = _locate(payload, count, lookup_plan(items), 0)
    view = memoryview(payload)
    outcomes = view[ANSWER_HEAD_BYTES : ANSWER_HEAD_BYTES + count]
    found = groups(view, at, 1, count, items)
    return m.LookupAnswer(request_id, items, count, register_version, outcomes, *found)


def groups(view: memoryview, at: tuple[int, ...], i: int, count: int, items: int) -> tuple[Any, ...]:
    """The groups of these items, in the order of LookupAnswer's fields, from position i of ``at`` on."""
    view4 = view.cast("I")
    names = kana = aliases = birth_dates = sexes = areas = addresses = reasons = change_dates = successors = None
    if items & 1:
        start = at[i] >> 2
        names = TextColumn(view4[start : start + count + 1], view[at[i + 1] : at[i + 2]])
        i += 3
    if items & 2:
        start = at[i] >> 2
        kana = TextColumn(view4[start : start + count + 1], view[at[i + 1] : at[i + 2]])
        i += 3
    if items & 4:
        start = at[i] >> 2
        aliases = TextColumn(view4[start : start + count + 1], view[at[i + 1] : at[i + 2]])
        i += 3
    if items & 8:
        start = at[i] >> 2
        birth_dates = view4[start : start + count]
        i += 1
    if items & 16:
        start = at[i]
        sexes = view[start : start + count]
        i += 1
    if items & 32:
        start = at[i] >> 2
        areas = view4[start : start + count]
        start = at[i + 1] >> 2
        addresses = TextColumn(view4[start : start + count + 1], view[at[i + 2] : at[i + 3]])
        i += 4
    if items & 64:
        start = at[i]
        reasons = view[start : start + count]
        start = at[i + 1] >> 2
        change_dates = view4[start : start + count]
        i += 2
    if items & 128:
        start = at[i] >> 3
        successors = view.cast("Q")[start : start + count]
    return names, kana, aliases, birth_dates, sexes, areas, addresses, reasons, change_dates, successors


def parse_history_answer(request_id: int, items: int, count: int, payload: bytes | bytearray) -> m.HistoryAnswer:
    """The answer to a HISTORY of count codes for these items (never 0). Raises RemoteProtocolError."""
    register_version = _head(payload, items, count)
    ends_at = ANSWER_HEAD_BYTES + padded(count)
    start = ends_at + padded(4 * count)
    view = memoryview(payload)
    _locate(view[:start], count, HISTORY_CODES_PLAN, 0)
    row_ends = view[ends_at : ends_at + 4 * count].cast("I")
    ends = row_ends.tolist()
    if ends != sorted(ends):
        raise RemoteProtocolError("the rows of the answer's codes do not ascend")
    rows = ends[-1]
    at = _locate(view, rows, history_plan(items), 0, start)
    found = groups(view, at, 1, rows, items & HISTORY_ITEMS)
    return m.HistoryAnswer(
        request_id,
        items,
        count,
        register_version,
        view[ANSWER_HEAD_BYTES : ANSWER_HEAD_BYTES + count],
        row_ends,
        view.cast("I")[at[0] >> 2 : (at[0] >> 2) + rows],
        *found[:-1],
    )


def parse_status_answer(request_id: int, since: int, count: int, payload: bytes | bytearray) -> m.StatusAnswer:
    """The answer to a STATUS of count codes. Raises RemoteProtocolError."""
    register_version = _head(payload, since, count)
    outcomes_at, dates_at = _locate(payload, count, STATUS_PLAN, 0)
    view = memoryview(payload)
    start = dates_at >> 2
    dates = view.cast("I")[start : start + count]
    return m.StatusAnswer(request_id, since, count, register_version, view[outcomes_at : outcomes_at + count], dates)


def parse_verify_answer(request_id: int, items: int, count: int, payload: bytes | bytearray) -> m.VerifyAnswer:
    """The answer to a VERIFY of count codes. Raises RemoteProtocolError."""
    register_version = _head(payload, items, count)
    outcomes_at, matches_at = _locate(payload, count, VERIFY_ANSWER_PLAN, matches_mask(items))
    view = memoryview(payload)
    outcomes = view[outcomes_at : outcomes_at + count]
    return m.VerifyAnswer(request_id, items, count, register_version, outcomes, view[matches_at : matches_at + count])
