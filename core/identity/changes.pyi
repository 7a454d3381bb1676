from collections.abc import Iterable, Sequence

import lmdb
from typing_extensions import Buffer

from jukinet.core.identity.entries import EntryLayout

class IdentityChanges:
    layout: EntryLayout
    def __init__(self, layout: EntryLayout) -> None: ...
    def __len__(self) -> int: ...
    def change(self, key: int, before: Iterable[bytes], after: Iterable[bytes]) -> None: ...
    blocks_left: int
    begun: bool
    def add_block(
        self,
        bucket: int,
        width: int,
        block: Buffer,
        wanted: Buffer,
        first_key: int,
        stop_key: int,
        skipped: list[int],
    ) -> None: ...
    def begin(self) -> int: ...
    def netted(self) -> list[tuple[int, int]]: ...
    def write(
        self,
        transaction: lmdb.Transaction,
        databases: Sequence[lmdb._Database],
        starts: Sequence[int],
        blocks_max: int | None = None,
    ) -> list[int]: ...
