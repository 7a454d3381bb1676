"""Plain-Python twins of the native kernel, and small logs for the tests to write, damage and read."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from jukinet.core.audit.layout import encode_record
from jukinet.core.audit.reader import SegmentReport, read_segments
from jukinet.core.audit.record import Record, RecordOfUse
from jukinet.core.audit.writer import RecordOfUseWriter

USE_FIELDS: dict[str, Any] = {
    "role": "agency",
    "body": "japan-pension-service",
    "operator": "operator-7",
    "schedule": 1,
    "item": "77-2",
    "number": 0,
    "reason": "現況確認",
    "case_reference": "R8-1",
    "connection": 5,
    "session": 2,
}
USE = RecordOfUse(**USE_FIELDS)


def pack_twin(codes: Sequence[int], outcomes: Sequence[int]) -> bytes:
    packed = b""
    for code, outcome in zip(codes, outcomes, strict=True):
        kept = code if code < 100_000_000_000 else (1 << 37) - 1
        packed += (kept | outcome << 37).to_bytes(6, "little")
    return packed


def record_twin(
    sequence: int, worker: int, request: dict[str, int], codes: Sequence[int], outcomes: bytes, matches: bytes = b""
) -> bytes:
    """What the kernel must write, with the fixed widths of the format's fields 0 to 5."""
    names = ("time_ns", "function", "items", "register_version", "since", "request_id")
    widths = (8, 4, 4, 8, 4, 4)
    head = b"\xdc\x00\x10"
    for name, width in zip(names, widths, strict=True):
        head += (b"\xcf" if width == 8 else b"\xce") + request[name].to_bytes(width, "big")
    order = ("connection", "session", "role", "body", "operator", "schedule", "item", "number", "reason")
    for name in (*order, "case_reference"):
        head += msgspec.msgpack.encode(USE_FIELDS[name])
    return encode_record(sequence, worker, 1, head, pack_twin(codes, outcomes), matches)


def open_writer(directory: Path, worker: int = 3, **settings: int) -> RecordOfUseWriter:
    """A writer with small steps, so that tests reach every edge soon."""
    defaults: dict[str, Any] = {"segment_bytes_max": 1 << 16, "segment_step_bytes": 4_096, "free_bytes_min": 0}
    return RecordOfUseWriter(directory, worker, **(defaults | settings))


def append(writer: RecordOfUseWriter, codes: Sequence[int] = (12345678903,), outcome: int = 1) -> int:
    return writer.append(
        USE,
        array("Q", codes),
        bytes([outcome]) * len(codes),
        function=1,
        items=255,
        register_version=77,
        request_id=9,
        time_ns=1_700_000_000_000_000_000,
    )


def append_verify(writer: RecordOfUseWriter, codes: Sequence[int], matches: bytes) -> int:
    return writer.append(
        USE, array("Q", codes), bytes(len(codes)), function=4, items=9, register_version=77, matches=matches
    )


def crash(writer: RecordOfUseWriter) -> None:
    """Leave the files as a killed process leaves them."""
    writer._release()


def read(directory: Path) -> tuple[list[Record], list[SegmentReport]]:
    reports: list[SegmentReport] = []
    return list(read_segments(directory, on_report=reports.append)), reports


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.rou"))
