from typing_extensions import Buffer

from jukinet.core.feed.digest_kernel import DigestTotals
from jukinet.core.store.snapshot import Snapshot

def range_sums(snapshot: Snapshot, prefecture: int, ranges: Buffer) -> bytes: ...
def range_entries(
    snapshot: Snapshot, prefecture: int, ranges: Buffer, entries_max: int
) -> tuple[list[int], bytes] | None: ...
def add_buckets(totals: DigestTotals, snapshot: Snapshot, first: int, stop: int) -> None: ...
