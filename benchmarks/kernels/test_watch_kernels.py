"""Kernels of the watch: noting a request where its record of use is appended, and working notes off beside it."""

from __future__ import annotations

import random
from array import array
from typing import Any

from jukinet.core.codes import code_from_key
from jukinet.core.vocabulary import Function, Outcome
from jukinet.core.watch.kernel import STATE_BYTES, Notes, Watch, Watched
from jukinet.core.watch.rules import Thresholds

BULK_CODES = 65_536
SINGLES = 1_000
NOON = 1_790_046_000.0


def codes(count: int) -> array[int]:
    chooser = random.Random(9)
    return array("Q", [code_from_key(chooser.randrange(10**10)) for _ in range(count)])


def test_noting_a_bulk_request(benchmark: Any) -> None:
    """In the loop, once for a request of 65,536 codes."""
    notes, whose, asked, outcomes = Notes(1 << 26, 30), Watched(1, 3, 5), codes(BULK_CODES), b"\1" * BULK_CODES
    benchmark(notes.note, whose, asked, outcomes, int(Function.STATUS), NOON)
    assert notes.noted > 0


def test_noting_single_requests(benchmark: Any) -> None:
    """In the loop, 1,000 requests of one code."""
    whose, outcome = Watched(1, 3, 5), bytes([Outcome.CURRENT])
    asked = [array("Q", [code]) for code in codes(SINGLES)]

    def note_all() -> int:
        notes = Notes(1 << 17, 30)
        note = notes.note
        for one in asked:
            note(whose, one, outcome, 1, NOON)
        return notes.noted

    assert benchmark(note_all) == SINGLES


def test_working_single_requests_off(benchmark: Any) -> None:
    """In the watch's thread without the interpreter's lock: 1,000 notes of single requests, noting included."""
    watch = Watch(bytearray(STATE_BYTES), Thresholds())
    watch.begin(bytes(16), NOON)
    whose, outcome = Watched(1, 3, 5), bytes([Outcome.CURRENT])
    asked = [array("Q", [code]) for code in codes(SINGLES)]
    notes = Notes(1 << 17, 30)

    def note_and_work() -> int:
        for one in asked:
            notes.note(whose, one, outcome, 1, NOON)
        watch.work(notes)
        return notes.passed_over

    assert benchmark(note_and_work) == 0
