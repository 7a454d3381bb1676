"""How columns lie in a payload: text columns over received bytes, columns of numbers, and the padding between them.

A received column is a memoryview over the frame's payload: NumPy and Arrow take it without copying, and it keeps the
payload alive. Formats are 'B' (u8), 'I' (u32) and 'Q' (u64).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from msgspec import Struct

TEXT: Final = b"t"
CODE: Final = b"k"
BYTE: Final = b"b"
NUMBER: Final = b"w"
"""Letters of a plan, as column_kernel reads them, whose values are not checked: texts, u64 codes, u8 and u32. Letters
whose values are checked stand with the messages that use them."""

ANY_TEXT_BYTES: Final = 0xFFFF_FFFF
"""For plans whose texts are bounded by the payload alone."""


def padded(length_bytes: int) -> int:
    """The length rounded up to the next multiple of 8: where the column after it starts."""
    return (length_bytes + 7) & ~7


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

    def part(self, start: int, stop: int) -> TextColumn:
        """The rows from start to stop (both within the column) with offsets from 0; the data is not copied."""
        first = self.offsets[start]
        offsets = array("I", [offset - first for offset in self.offsets[start : stop + 1]])
        return TextColumn(memoryview(offsets), self.data[first : self.offsets[stop]])

    def layout(self) -> list[bytes]:
        """The column as it stands in a payload: offsets, pad8, data, pad8."""
        offsets = self.offsets.tobytes()
        data = bytes(self.data)
        return [offsets, bytes(padded(len(offsets)) - len(offsets)), data, bytes(padded(len(data)) - len(data))]


def fixed_layout(column: memoryview) -> list[bytes]:
    """A column of numbers as it stands in a payload: the values, pad8."""
    values = column.tobytes()
    return [values, bytes(padded(len(values)) - len(values))]
