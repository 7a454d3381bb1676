"""Kernel: the columns of a packed LOOKUP_ANSWER as those of the plain one."""

from collections.abc import Iterable, Sequence
from typing import Any

Buffer = bytes | bytearray | memoryview

class TownTable:
    """The areas and towns of a register, by number."""

    areas: int
    towns: int
    def __init__(self, areas: Iterable[int], pages: Sequence[tuple[Buffer, Buffer]]) -> None: ...

class PackedColumns:
    """The columns of a packed LOOKUP_ANSWER, checked, over its payload."""

    items: int
    count: int
    towns: int
    areas: int
    def __init__(self, payload: Buffer, items: int, count: int) -> None: ...
    def outcomes(self) -> bytearray: ...
    def unpack(self, table: TownTable) -> list[Any]: ...
