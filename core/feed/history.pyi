from collections.abc import Sequence

from typing_extensions import Buffer

Kept = tuple[int, int, int, bytes]
"""standing, day, status, record bytes"""

def decode(value: Buffer, bucket: int) -> list[tuple[int, int, int, int, bytes]]: ...
def of_key(value: Buffer, bucket: int, delta: int) -> list[Kept]: ...
def merge(value: Buffer | None, bucket: int, changes: Sequence[tuple[int, Sequence[Kept]]]) -> bytes | None: ...
