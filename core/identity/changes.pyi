from collections.abc import Iterable, Sequence

import lmdb

from jukinet.core.identity.entries import EntryLayout

class IdentityChanges:
    layout: EntryLayout
    def __init__(self, layout: EntryLayout) -> None: ...
    def __len__(self) -> int: ...
    def change(self, key: int, before: Iterable[bytes], after: Iterable[bytes]) -> None: ...
    def write(
        self, transaction: lmdb.Transaction, databases: Sequence[lmdb._Database], starts: Sequence[int]
    ) -> list[int]: ...
