"""Plain records: what a key-value store would hold for each code, and an LMDB database of one record a key.

A plain record is a row of the LOOKUP answer with all items: birth date, area, change date (u32 each), outcome, sex,
reason, lengths of the four texts (u8 each), then name, kana, alias and address in UTF-8. It is what any key-value store
must hold to answer the same question with one read, packed as tightly as is reasonable without knowing other records.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from figures import Options, say
from jukinet.core.index.lookup import LookupBatch
from jukinet.core.store.reader import RegisterReader
from jukinet.core.store.snapshot import Snapshot
from jukinet.server.nation import codes as nation_codes
from nation_register import BATCH_CODES, Codes, answer_of, in_batches, looked_up

RECORDS_MAX: Final = 10_000_000
"""Plain records are made for at most so many residents: the first by number, who are a random sample of all codes."""
FIXED: Final = np.dtype(
    [
        ("birth_date", "<u4"), ("area", "<u4"), ("change_date", "<u4"), ("outcome", "u1"), ("sex", "u1"),
        ("reason", "u1"), ("name_bytes", "u1"), ("kana_bytes", "u1"), ("alias_bytes", "u1"), ("address_bytes", "u1"),
    ]
)  # fmt: skip
MAP_BYTES: Final = 1 << 36
WARM_READ_BYTES: Final = 8 << 20
NOTHING: Final = pa.scalar(b"", pa.binary())


def plain_rows(snapshot: Snapshot, codes: memoryview, batch: LookupBatch | None = None) -> Any:
    """The plain records of ``codes``, as an Arrow array of binary."""
    count = len(codes)
    answer = answer_of(looked_up(batch or LookupBatch(), snapshot, codes), count)
    fixed = np.zeros(count, FIXED)
    fixed["outcome"] = np.asarray(answer.outcomes)
    for name in ("birth_date", "area", "change_date", "sex", "reason"):
        plural = "sexes" if name == "sex" else f"{name}s"
        fixed[name] = np.asarray(getattr(answer, plural))
    texts = []
    for name, column in (
        ("name", answer.names), ("kana", answer.kana), ("alias", answer.aliases), ("address", answer.addresses),
    ):  # fmt: skip
        assert column is not None
        fixed[f"{name}_bytes"] = np.minimum(np.diff(np.asarray(column.offsets)), 255)
        texts.append(
            pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(column.offsets), pa.py_buffer(column.data)])
        )
    head = pa.Array.from_buffers(pa.binary(FIXED.itemsize), count, [None, pa.py_buffer(fixed.tobytes())])
    return pc.binary_join_element_wise(head.cast(pa.binary()), *texts, NOTHING)


def all_plain_rows(reader: RegisterReader, codes: Codes) -> Iterator[tuple[Codes, Any]]:
    """The plain records of many codes, in batches of BATCH_CODES: (codes, Arrow array of binary)."""
    batch = LookupBatch()
    with reader.pin() as snapshot:
        for place, view in enumerate(in_batches(codes)):
            part = codes[place * BATCH_CODES : place * BATCH_CODES + len(view)]
            yield part, plain_rows(snapshot, view, batch)


class PlainMeta(msgspec.Struct, frozen=True):
    """Which register and how many residents a plain database was made from."""

    register: str
    residents: int
    record_bytes: int


def plain_count(chosen: Options) -> int:
    return min(chosen.residents, RECORDS_MAX)


class PlainDatabase:
    """LMDB with one plain record under each code (u64, integer keys): the textbook arrangement."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = lmdb.open(
            str(directory), map_size=MAP_BYTES, max_dbs=2, readonly=True, lock=False, readahead=False
        )
        self.records = self.environment.open_db(b"records", integerkey=True, create=False)
        with self.environment.begin() as transaction:
            self.meta = msgspec.msgpack.decode(transaction.get(b"meta") or b"", type=PlainMeta)

    def warm(self) -> None:
        """Bring the whole file into memory, in order: the comparison is of memory with memory."""
        with (self.directory / "data.mdb").open("rb", buffering=0) as file:
            buffer = bytearray(WARM_READ_BYTES)
            while file.readinto(buffer):
                pass

    def close(self) -> None:
        self.environment.close()


def plain_database(chosen: Options, reader: RegisterReader) -> PlainDatabase:
    """The plain database beside the store, made when it is absent or of another register."""
    directory = chosen.store.with_name(f"{chosen.store.name}.plain-lmdb")
    try:
        database = PlainDatabase(directory)
    except (lmdb.Error, msgspec.MsgspecError, OSError):
        pass
    else:
        if (database.meta.register, database.meta.residents) == (reader.identifier, plain_count(chosen)):
            return database
        database.close()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    build_plain_database(chosen, reader, directory)
    return PlainDatabase(directory)


def build_plain_database(chosen: Options, reader: RegisterReader, directory: Path) -> None:
    count = plain_count(chosen)
    say(f"building {count:,} plain records in {directory.name}")
    codes = nation_codes.codes_between(chosen.seed, chosen.residents, 0, count)
    codes.sort()
    record_bytes = 0
    with lmdb.open(str(directory), map_size=MAP_BYTES, max_dbs=2, sync=False) as environment:
        records = environment.open_db(b"records", integerkey=True)
        for part, rows in all_plain_rows(reader, codes):
            with environment.begin(write=True) as transaction, transaction.cursor(records) as cursor:
                pairs = list(zip(code_keys(part), rows.to_pylist(), strict=True))
                record_bytes += sum(map(len, rows.to_pylist()))
                cursor.putmulti(pairs, append=True)
        with environment.begin(write=True) as transaction:
            meta = PlainMeta(reader.identifier, count, record_bytes)
            transaction.put(b"meta", msgspec.msgpack.encode(meta))
        environment.sync(True)


def code_keys(codes: Codes | memoryview) -> list[bytes]:
    """The integer keys of codes."""
    packed = codes.tobytes()
    return [packed[start : start + 8] for start in range(0, len(packed), 8)]
