"""Claims for VERIFY, made from the register's own answers: right ones, and one name in ten of somebody else."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jukinet.core.index.verify import VerifyBatch
from jukinet.core.store.snapshot import Snapshot
from jukinet.core.vocabulary import FOUR_ITEMS, Item, Match
from jukinet.core.wire import messages as m
from jukinet.core.wire.answers import parse_verify_answer
from jukinet.core.wire.columns import TextColumn
from jukinet.core.wire.frames import HEADER_BYTES
from nation_register import WrongAnswerError

WRONG_EVERY: Final = 10
"""Every tenth row claims the name of the row before it."""


class BatchClaims(msgspec.Struct, frozen=True):
    """One batch of claims, as both `VerifyBatch` and the clients take it; ``matches`` is what must come back."""

    codes: memoryview
    outcomes: bytes
    names: TextColumn
    birth_dates: memoryview
    sexes: memoryview
    addresses: TextColumn
    matches: npt.NDArray[np.uint8]

    items: Item = FOUR_ITEMS

    @property
    def columns(self) -> dict[str, Any]:
        """Arguments of `VerifyBatch.begin`."""
        return {
            "names": (self.names.offsets, self.names.data),
            "birth_dates": self.birth_dates,
            "sexes": self.sexes,
            "addresses": (self.addresses.offsets, self.addresses.data),
        }

    def check(self, outcomes: memoryview | bytes, matches: memoryview | bytes) -> None:
        """Raise WrongAnswerError unless these are right: right rows match wholly, wrong names do (nearly) never."""
        if bytes(outcomes) != self.outcomes:
            raise WrongAnswerError("VERIFY and LOOKUP tell different outcomes")
        told = np.frombuffer(matches, np.uint8)
        rows = np.arange(len(told))
        right = rows % WRONG_EVERY != WRONG_EVERY - 1
        if not np.array_equal(told[right], self.matches[right]):
            raise WrongAnswerError("VERIFY denies the register's own data")
        wrong = ~right & (self.matches & 3 != 0)
        if np.count_nonzero(told[wrong] & 3 != Match.DIFFERENT) > 0.2 * np.count_nonzero(wrong) + 2:
            raise WrongAnswerError("VERIFY agrees to names of other people")


def claims_of(answer: m.LookupAnswer, codes: memoryview) -> BatchClaims:
    """What a body with almost right data would claim of these codes."""
    names, addresses = answer.names, answer.addresses
    assert names is not None
    assert addresses is not None
    assert answer.birth_dates is not None
    assert answer.sexes is not None
    rows = np.arange(len(codes))
    taken = np.where(rows % WRONG_EVERY == WRONG_EVERY - 1, rows - 1, rows)
    claimed = [
        text_bytes(names) > 0,
        np.asarray(answer.birth_dates) != 0,
        np.asarray(answer.sexes) != 0,
        text_bytes(addresses) > 0,
    ]
    matches = np.zeros(len(codes), np.uint8)
    for place, given in enumerate(claimed):
        matches |= np.where(given, int(Match.EXACT) << 2 * place, 0).astype(np.uint8)
    return BatchClaims(
        codes, bytes(answer.outcomes), rows_of(names, taken), answer.birth_dates, answer.sexes, addresses, matches
    )


def text_bytes(column: TextColumn) -> npt.NDArray[np.uint32]:
    return np.diff(np.asarray(column.offsets))


def rows_of(column: TextColumn, rows: npt.NDArray[np.int64]) -> TextColumn:
    """A column of the given rows of another."""
    texts = pa.Array.from_buffers(
        pa.binary(), len(column), [None, pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
    ).take(pa.array(rows))
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.uint32, len(rows) + 1)
    return TextColumn(memoryview(ends.data).cast("B").cast("I"), memoryview(data)[: int(ends[-1])].cast("B"))


def verified(batch: VerifyBatch, snapshot: Snapshot, claims: BatchClaims) -> tuple[memoryview, memoryview]:
    """One VERIFY in process: outcomes and matches."""
    batch.begin(claims.codes, int(claims.items), **claims.columns)
    batch.run(snapshot, 0, len(claims.codes))
    frame = batch.finish()
    answer = parse_verify_answer(1, int(claims.items), len(claims.codes), frame[HEADER_BYTES:])
    return answer.outcomes, answer.matches
