import builtins
from array import array
from typing import Self

from typing_extensions import Buffer

def pack_provisions(codes: Buffer, outcomes: Buffer) -> bytes: ...
def unpack_provisions(packed: Buffer) -> tuple[array[int], bytes]: ...
def check_records(data: Buffer, worker: int, first_sequence: int) -> tuple[int, int]: ...

class Group:
    bytes: int
    records: int
    first_sequence: int
    @property
    def last_sequence(self) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class RecordBuffer:
    limit: int
    next_sequence: int
    def __new__(cls, worker: int, next_sequence: int, bytes_max: int) -> Self: ...
    @property
    def bytes(self) -> int: ...
    def append(
        self,
        constant: builtins.bytes,
        codes: Buffer,
        outcomes: Buffer,
        function: int,
        items: int,
        register_version: int,
        since: int = 0,
        request_id: int = 0,
        time_ns: int = 0,
        matches: Buffer | None = None,
    ) -> int: ...
    def append_event(self, kind: int, head: builtins.bytes) -> int: ...
    def take(self) -> Group | None: ...
    def give_back(self, group: Group) -> None: ...
