from typing_extensions import Buffer

from jukinet.core.feed.digest_kernel import DigestTotals
from jukinet.core.store.snapshot import PlaceTables, Snapshot

class BlockSurvey:
    width: int
    blocks: int
    entries: int
    residents: int
    retired: int
    block_bytes: int
    pages: int
    wide: bool
    digests: DigestTotals
    def __init__(self, width: int, wide: bool, places: PlaceTables) -> None: ...
    def add(self, bucket: int, block: Buffer) -> str | None: ...
    @property
    def by_state(self) -> dict[str, int]: ...
    def dangling_successors(self, snapshot: Snapshot) -> tuple[list[int], int]: ...
