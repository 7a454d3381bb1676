"""Columns: text columns over received bytes, and which columns each question and answer holds, in which order.

A received column is a memoryview over the frame's payload: NumPy and Arrow take it without copying, and it keeps the
payload alive. Formats are 'B' (u8), 'I' (u32) and 'Q' (u64).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Final

from msgspec import Struct

from jukinet.core.vocabulary import Item
from jukinet.core.wire.frames import padded

TEXT: Final = b"t"
DATE: Final = b"d"
SEX: Final = b"s"
AREA: Final = b"a"
REASON: Final = b"r"
SUCCESSOR: Final = b"c"
CODE: Final = b"k"
OUTCOME: Final = b"o"
STATUS_OUTCOME: Final = b"p"
MATCHES: Final = b"m"
"""Letters of a plan, as column_kernel reads them."""

FOUR_BYTE_KINDS: Final = DATE + AREA
EIGHT_BYTE_KINDS: Final = CODE + SUCCESSOR

LOOKUP_GROUPS: Final[tuple[tuple[Item, bytes], ...]] = (
    (Item.NAME, TEXT),
    (Item.KANA, TEXT),
    (Item.ALIAS, TEXT),
    (Item.BIRTH_DATE, DATE),
    (Item.SEX, SEX),
    (Item.ADDRESS, AREA + TEXT),
    (Item.CHANGE, REASON + DATE),
    (Item.CODE, SUCCESSOR),
)
"""The groups of a LOOKUP_ANSWER, lowest bit first."""

CLAIM_GROUPS: Final[tuple[tuple[Item, bytes], ...]] = (
    (Item.NAME, TEXT),
    (Item.BIRTH_DATE, DATE),
    (Item.SEX, SEX),
    (Item.ADDRESS, TEXT),
)
"""The claims of a VERIFY, lowest bit first. The position of an item is the position of its two bits in a match."""

STATUS_PLAN: Final = STATUS_OUTCOME + DATE
VERIFY_ANSWER_PLAN: Final = OUTCOME + MATCHES


@cache
def lookup_plan(items: int) -> bytes:
    """The columns of a LOOKUP_ANSWER with these items (0 to 255)."""
    return OUTCOME + b"".join(kinds for item, kinds in LOOKUP_GROUPS if items & item)


@cache
def claim_plan(items: int) -> bytes:
    """The columns of a VERIFY with claims for these items, the codes first."""
    return CODE + b"".join(kinds for item, kinds in CLAIM_GROUPS if items & item)


@cache
def matches_mask(items: int) -> int:
    """The bits that a row's matches may use when these items were claimed."""
    return sum(3 << 2 * place for place, (item, _) in enumerate(CLAIM_GROUPS) if items & item)


class TextColumn(Struct, frozen=True, gc=False):
    """A column of texts: ``offsets`` (memoryview 'I', rows + 1 entries) into ``data`` (memoryview 'B', UTF-8).

    This is the layout of an Apache Arrow ``utf8`` array. A column that came out of a connection has been checked; one
    that is built from buffers is checked when it is sent. Its repr never shows the texts.
    """

    offsets: memoryview
    data: memoryview

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> TextColumn:
        """A column of Python strings. Raises UnicodeEncodeError for a lone surrogate, OverflowError beyond 4 GiB."""
        rows = [text.encode() for text in texts]
        offsets = array("I", [0])
        end = 0
        for row in rows:
            end += len(row)
            offsets.append(end)
        return cls(memoryview(offsets), memoryview(b"".join(rows)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        rows = len(self.offsets) - 1
        if row < 0:
            row += rows
        if not 0 <= row < rows:
            raise IndexError("row outside the column")
        return str(self.data[self.offsets[row] : self.offsets[row + 1]], "utf-8")

    def __repr__(self) -> str:
        return f"TextColumn(rows={len(self)}, data_bytes={len(self.data)})"

    def to_list(self) -> list[str]:
        """All rows as Python strings."""
        data = bytes(self.data)
        offsets = self.offsets.tolist()
        if data.isascii():
            text = data.decode("ascii")
            return [text[start:end] for start, end in pairwise(offsets)]
        return [data[start:end].decode() for start, end in pairwise(offsets)]

    def layout(self) -> list[bytes]:
        """The column as it stands in a payload: offsets, pad8, data, pad8."""
        offsets = self.offsets.tobytes()
        data = bytes(self.data)
        return [offsets, bytes(padded(len(offsets)) - len(offsets)), data, bytes(padded(len(data)) - len(data))]


def fixed_layout(column: memoryview) -> list[bytes]:
    """A column of numbers as it stands in a payload: the values, pad8."""
    values = column.tobytes()
    return [values, bytes(padded(len(values)) - len(values))]
