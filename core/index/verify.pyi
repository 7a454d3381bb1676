from typing_extensions import Buffer

from jukinet.core.store.snapshot import Snapshot

class VerifyBatch:
    count: int
    done: int
    version: int
    def begin(
        self,
        codes: Buffer,
        items: int,
        names: tuple[Buffer, Buffer] | None = None,
        birth_dates: Buffer | None = None,
        sexes: Buffer | None = None,
        addresses: tuple[Buffer, Buffer] | None = None,
    ) -> None: ...
    def run(self, snapshot: Snapshot, start: int, stop: int) -> None: ...
    @property
    def items(self) -> int: ...
    @property
    def outcomes(self) -> bytes: ...
    @property
    def matches(self) -> bytes: ...
    def finish(self) -> bytearray: ...
