from collections.abc import Callable
from types import TracebackType
from typing import Self

import lmdb
from typing_extensions import Buffer

from jukinet.core.store.schema import Area, Town

def advise_large_pages(start: int, size: int) -> bool: ...
def touch_addresses(start: int, stop: int) -> None: ...

class Directory:
    buckets: int
    version: int
    def __init__(self, buckets: int) -> None: ...
    def fill(self, transaction: lmdb.Transaction, database: lmdb._Database) -> None: ...
    def replace(self, transaction: lmdb.Transaction, database: lmdb._Database, buckets: Buffer) -> None: ...
    def address(self, bucket: int) -> int: ...
    def differs(self, bucket: int, value: Buffer | None) -> bool: ...
    def touch(self, start: int, stop: int) -> int: ...

class PlaceTables:
    areas_count: int
    towns_count: int
    areas: list[Area]
    areas_not_connected: list[int]
    def __init__(self, areas: list[Area], towns: list[Town]) -> None: ...

class Snapshot:
    directory: Directory
    places: PlaceTables
    version: int
    pins: int
    transaction: lmdb.Transaction | None
    def __init__(
        self,
        directory: Directory,
        places: PlaceTables,
        version: int,
        width: int,
        transaction: lmdb.Transaction,
        on_idle: Callable[[Directory], None],
    ) -> None: ...
    def pin(self) -> Self: ...
    def release(self) -> None: ...
    def retire(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
