from collections.abc import Sequence

from typing_extensions import Buffer

from jukinet.core.store.snapshot import Snapshot

def equal(snapshot: Snapshot, table: int, hashed: int, date: int, room: int = 64) -> tuple[list[int], bool]: ...
def listed(
    snapshot: Snapshot, table: int, hashed: int, filters: Sequence[tuple[int, int]] = (), room: int = 64
) -> tuple[list[tuple[int, int]], bool]: ...
def length(snapshot: Snapshot, table: int, hashed: int) -> int: ...
def scan(
    snapshot: Snapshot, date: int, signature: int, care: int, differ_max: int, room: int = 1024
) -> tuple[list[tuple[int, int]], bool]: ...
def equal_batch(
    snapshot: Snapshot, table: int, hashes: Buffer, dates: Buffer, keys: Buffer, found: Buffer
) -> None: ...
