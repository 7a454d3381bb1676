"""Structured log: one JSON object a line on stderr, never with personal data.

A record has ``time`` (UTC), ``level``, ``event`` and fields that the caller names. Fields hold numbers, truth values
and short texts that come from the configuration, from certificates or from this program, never text from a request, an
answer or the register. For an unforeseen exception only its class and the places it passed are logged: its message
might quote what it failed on.

A line is written with one system call, so lines of several processes do not mix. Of each event at most
``RECORDS_PER_SECOND_MAX`` records a second are written; how many were left out is said in the next one.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
RECORDS_PER_SECOND_MAX: Final = 50
TEXT_CHARACTERS_MAX: Final = 500
FRAMES_MAX: Final = 12

Field = str | int | float | bool | None


class EventLog:
    """Writes the records of one process.

    Invariant: no event has more than RECORDS_PER_SECOND_MAX records in one second of the monotonic clock.
    """

    def __init__(self, level: str = "info", descriptor: int = 2, **context: Field) -> None:
        self._least = LEVELS[level]
        self._descriptor = descriptor
        self._context = context
        self._counts: dict[str, list[int]] = {}

    def debug(self, event: str, **fields: Field) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Field) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Field) -> None:
        self._write("error", event, fields)

    def failure(self, event: str, error: BaseException, **fields: Field) -> None:
        """An unforeseen exception: its class and where it passed, without its message."""
        places = [
            f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        name = type(error).__name__
        if isinstance(error, BaseExceptionGroup):
            name += "(" + ", ".join(type(inner).__name__ for inner in error.exceptions) + ")"
            for inner in error.exceptions[:4]:
                places += [
                    f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}"
                    for frame in traceback.extract_tb(inner.__traceback__)
                ]
        self._write("error", event, {**fields, "error": name, "places": " ".join(places[-FRAMES_MAX:])})

    def _write(self, level: str, event: str, fields: Mapping[str, Field]) -> None:
        if LEVELS[level] < self._least:
            return
        second = int(time.monotonic())
        count = self._counts.setdefault(event, [second, 0, 0])
        if count[0] != second:
            count[0], count[1] = second, 0
        if count[1] >= RECORDS_PER_SECOND_MAX:
            count[2] += 1
            return
        count[1] += 1
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        record: dict[str, Field] = {"time": stamp, "level": level, "event": event, **self._context}
        for name, value in fields.items():
            record[name] = value[:TEXT_CHARACTERS_MAX] if isinstance(value, str) else value
        if count[2]:
            record["left_out"] = count[2]
            count[2] = 0
        try:
            os.write(self._descriptor, msgspec.json.encode(record) + b"\n")
        except OSError:
            pass  # a log that cannot be written must not stop the answers; the record of use is kept elsewhere


def operating_error(error: OSError) -> str:
    """What the operating system said, without the path or value it said it about."""
    return f"{type(error).__name__}: {os.strerror(error.errno) if error.errno else 'no error number'}"
