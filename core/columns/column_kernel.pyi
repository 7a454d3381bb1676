"""Kernel: finds and checks the columns of a payload in one pass."""

FAULT_NAMES: dict[int, str]

class ColumnFault(ValueError):  # noqa: N818
    """A payload whose columns do not hold."""

    fault: int
    column: int
    def __init__(self, fault: int, column: int) -> None: ...
    @property
    def is_value(self) -> bool: ...

def locate_columns(
    payload: bytes | bytearray | memoryview,
    start: int,
    count: int,
    plan: bytes,
    matches_mask: int,
    text_bytes_max: int,
) -> tuple[int, ...]: ...
def locate_packed(payload: bytes | bytearray | memoryview, items: int, count: int) -> tuple[int, ...]: ...
def unfilled(size: int) -> bytearray: ...
