from typing_extensions import Buffer

from jukinet.core.store.snapshot import Snapshot

class LookupBatch:
    count: int
    done: int
    items: int
    version: int
    def begin(self, codes: Buffer, items: int) -> None: ...
    def run(self, snapshot: Snapshot, start: int, stop: int) -> None: ...
    @property
    def outcomes(self) -> bytes: ...
    def finish(self) -> bytearray: ...
