from typing_extensions import Buffer

from jukinet.core.feed.digest_kernel import DigestTotals
from jukinet.core.identity.changes import IdentityChanges
from jukinet.core.store.schema import Town
from jukinet.core.store.snapshot import PlaceTables

class TownIndex:
    places: PlaceTables
    def __init__(self, places: PlaceTables, towns: list[Town]) -> None: ...
    def split(self, area: int, address: bytes) -> tuple[int, int]: ...

def check_rows(payload: Buffer, positions: tuple[int, ...], count: int, first_key: int, stop_key: int) -> None: ...

class SortedRows:
    entries_added: int
    persons_added: int
    others: list[int]
    def __init__(
        self,
        towns: TownIndex,
        payload: Buffer,
        positions: tuple[int, ...],
        count: int,
        faults: bytes,
        prefecture: int,
        day: int,
        general_keys: list[int],
    ) -> None: ...
    def merge(
        self,
        bucket: int,
        width: int,
        wide: bool,
        present: Buffer | None,
        first_key: int,
        stop_key: int,
        digests: DigestTotals,
        identity: IdentityChanges | None,
    ) -> bytes | None: ...
    def general_rows(self) -> list[int]: ...
