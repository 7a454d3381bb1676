"""Run files: the sorted codes of a range of leaves, written, merged and searched (docs/record-of-use.md, 9)."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from jukinet.core import limits
from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.read_ahead import will_need
from jukinet.core.audit.run_kernel import CodeBuffer, find_blocks, find_code
from jukinet.core.audit.segment import sync_directory
from jukinet.core.checksum import crc32c
from jukinet.core.vocabulary import CODE_END

RUNS: Final = "codes"
RUN_SUFFIX: Final = ".codes"
RUN_NAME: Final = re.compile(r"(\d{6})-(\d{12,16})-(\d{12,16})\.codes")
RUN_MAGIC: Final = b"JKN-COD\0"
RUN_FORMAT: Final = 1
RUN_HEADER: Final = struct.Struct("<8sIIQQQQQII")
TABLE_ROW_BYTES: Final = 24
BLOCK_ENTRIES: Final = 256
TRAILER: Final = struct.Struct("<II")
TABLE_PLACE: Final = struct.Struct("<QI")
NEAR_ROWS: Final = 128
"""How far from its expected row a code's row mostly stands: half the square root of 30,000, with room."""
OPEN_TOGETHER: Final = 128
MERGED_TOGETHER: Final = 16
"""Small runs of one size that become one: a code's search then looks into some hundreds of runs for 7 years."""

assert RUN_HEADER.size == 64


class RunName(NamedTuple):
    """What a run's name says: its month and the leaves that it covers."""

    month: int
    first_leaf: int
    next_leaf: int

    def path(self, tree: Path) -> Path:
        return tree / RUNS / f"{self.month:06d}-{self.first_leaf:012d}-{self.next_leaf:012d}{RUN_SUFFIX}"


def list_runs(tree: Path) -> list[RunName]:
    """All runs by first leaf, longer ones first. Raises TreeDamagedError for a file of another name."""
    found = []
    directory = tree / RUNS
    if directory.is_dir():
        for path in directory.iterdir():
            match = RUN_NAME.fullmatch(path.name)
            if match is not None:
                found.append(RunName(*(int(group) for group in match.groups())))
            elif path.name.endswith(RUN_SUFFIX):
                raise TreeDamagedError(path, "not the name of a run")
    return sorted(found, key=lambda run: (run.first_leaf, -run.next_leaf))


def write_run(tree: Path, name: RunName, buffer: CodeBuffer) -> None:
    """Pack a buffer into a durable file; the buffer is empty afterwards. Raises OSError."""
    entries = buffer.entries
    blocks, table = buffer.pack(name.first_leaf)
    count = len(table) // TABLE_ROW_BYTES
    fields = (*name[:3], entries, count, RUN_HEADER.size + len(blocks), 0)
    header = RUN_HEADER.pack(RUN_MAGIC, RUN_FORMAT, *fields, 0)
    header = header[:-4] + crc32c(header[:-4]).to_bytes(4, "little")
    path = name.path(tree)
    making = path.with_name(path.name + ".new")
    with making.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.writelines((header, blocks, table, TRAILER.pack(crc32c(table), 0)))
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)


class Run:
    """One run, mapped into memory. Opening checks header and table; each search the blocks that it reads."""

    def __init__(self, tree: Path, name: RunName) -> None:
        """Raises TreeDamagedError."""
        self.name = name
        self.path = name.path(tree)
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < RUN_HEADER.size + TRAILER.size:
                    raise TreeDamagedError(self.path, "shorter than a run")
                self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except OSError as error:
            raise TreeDamagedError(self.path, f"cannot be opened ({error.strerror})") from error
        header = self._map[: RUN_HEADER.size]
        magic, form, month, first, end, entries, blocks, table_offset, zero, checksum = RUN_HEADER.unpack(header)
        table_bytes = blocks * TABLE_ROW_BYTES
        if magic != RUN_MAGIC or form != RUN_FORMAT or checksum != crc32c(header[:-4]) or zero:
            self._damaged("its header")
        if (month, first, end) != tuple(name) or table_offset + table_bytes + TRAILER.size != size:
            self._damaged("its name, header and length disagree")
        if blocks != -(-entries // BLOCK_ENTRIES):
            self._damaged("its number of blocks")
        self.entries: int = entries
        view = memoryview(self._map)
        self._blocks = view[RUN_HEADER.size : table_offset]
        self._table = view[table_offset : table_offset + table_bytes]
        self._table_offset = table_offset
        self._map.madvise(mmap.MADV_RANDOM)  # a search takes two pages; read-ahead would bring 32 for each

    def _damaged(self, found: str) -> None:
        self._map.close()
        raise TreeDamagedError(self.path, found)

    def find(self, code: int) -> list[tuple[int, int]]:
        """(leaf, row) of every provision of a code, in the order of the tree. Raises TreeDamagedError."""
        try:
            return find_code(self._blocks, self._table, self.name.first_leaf, self.entries, code)
        except ValueError as error:
            raise TreeDamagedError(self.path, str(error)) from None

    def expect(self, code: int) -> None:
        """Have the kernel read the page of the table where a code's row most likely stands, without waiting."""
        row = min(code, CODE_END - 1) * (len(self._table) // TABLE_ROW_BYTES) // CODE_END
        self._will_need(self._table_offset + max(0, row - NEAR_ROWS) * TABLE_ROW_BYTES, 2 * NEAR_ROWS * TABLE_ROW_BYTES)

    def expect_blocks(self, code: int) -> None:
        """Have the kernel read the blocks that may hold a code, without waiting."""
        first, end = find_blocks(self._table, code)
        for row in range(first, min(end, first + 2)):
            offset, length = TABLE_PLACE.unpack_from(self._table, row * TABLE_ROW_BYTES + 8)
            if offset + length <= len(self._blocks):
                self._will_need(RUN_HEADER.size + offset, length)

    def _will_need(self, offset: int, length: int) -> None:
        start = offset // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_WILLNEED, start, min(offset + length, len(self._map)) - start)

    def unpack(self, buffer: CodeBuffer) -> None:
        """Add all entries to a buffer, after checking the table. Raises TreeDamagedError."""
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        if TRAILER.unpack(self._map[-TRAILER.size :]) != (crc32c(self._table), 0):
            raise TreeDamagedError(self.path, "its table")
        try:
            buffer.unpack(self._blocks, self._table, self.name.first_leaf, self.entries)
        except ValueError as error:
            raise TreeDamagedError(self.path, str(error)) from None

    def close(self) -> None:
        self._blocks.release()
        self._table.release()
        self._map.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_in_runs(tree: Path, names: Sequence[RunName], code: int) -> list[tuple[int, int]]:
    """(leaf, row) of every provision of a code in these runs. Raises TreeDamagedError.

    In steps over many runs at a time, each of which asks for its next page before any of them needs it: a disk then
    reads them side by side instead of one after the other.
    """
    found: list[tuple[int, int]] = []
    for first in range(0, len(names), OPEN_TOGETHER):
        together = names[first : first + OPEN_TOGETHER]
        for name in together:
            will_need(name.path(tree), [(0, RUN_HEADER.size)])
        with contextlib.ExitStack() as stack:
            runs = [stack.enter_context(Run(tree, name)) for name in together]
            for run in runs:
                run.expect(code)
            for run in runs:
                run.expect_blocks(code)
            for run in runs:
                found += run.find(code)
    return found


def outermost(runs: Sequence[RunName]) -> tuple[list[RunName], list[RunName]]:
    """``(kept, covered)``: runs that lie inside another are what an interrupted merge left."""
    kept: list[RunName] = []
    covered: list[RunName] = []
    for run in runs:
        inside = bool(kept) and run.next_leaf <= kept[-1].next_leaf
        (covered if inside else kept).append(run)
    return kept, covered


def tidy(tree: Path, size: int) -> None:
    """Remove what was left by a crash: files that were being made, runs behind the tree's ``size``, merged ones."""
    directory = tree / RUNS
    for path in directory.glob("*.new"):
        path.unlink(missing_ok=True)
    runs = list_runs(tree)
    for run in runs:
        if run.next_leaf > size:
            run.path(tree).unlink(missing_ok=True)
    for run in outermost([run for run in runs if run.next_leaf <= size])[1]:
        run.path(tree).unlink(missing_ok=True)


class MergePlan:
    """Which neighbouring runs of the current month become one.

    Invariant: ``runs`` are those of ``month``, by leaf, each with its number of entries.
    """

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self.month = 0
        self.runs: list[tuple[RunName, int]] = []

    def begin(self) -> None:
        """Take up the newest month's runs after a start."""
        names = list_runs(self._tree)
        self.month = names[-1].month if names else 0
        self.runs = []
        for name in names:
            if name.month == self.month:
                with Run(self._tree, name) as run:
                    self.runs.append((name, run.entries))

    def add(self, name: RunName, entries: int) -> None:
        """A run was written; merge what is due. Raises OSError and TreeDamagedError."""
        if name.month != self.month:
            self._merge_small(limits.RUN_ENTRIES_MAX)
            self.month, self.runs = name.month, []
        self.runs.append((name, entries))
        most = 1 << 8
        while most <= limits.RUN_ENTRIES_MAX:
            tail = len(self.runs)
            while tail > 0 and self.runs[tail - 1][1] < most:
                tail -= 1
            if len(self.runs) - tail >= MERGED_TOGETHER:
                self._merge(tail, len(self.runs))
            most *= MERGED_TOGETHER

    def _merge_small(self, entries_max: int) -> None:
        """At the end of a month: neighbours become one as long as they stay below ``entries_max`` together."""
        first = 0
        while first < len(self.runs):
            end, total = first + 1, self.runs[first][1]
            while end < len(self.runs) and total + self.runs[end][1] <= entries_max:
                total += self.runs[end][1]
                end += 1
            if end - first > 1:
                self._merge(first, end)
            first += 1

    def _merge(self, first: int, end: int) -> None:
        merged = self.runs[first:end]
        total = sum(entries for _, entries in merged)
        if total > limits.RUN_ENTRIES_MAX:
            return
        buffer = CodeBuffer()
        for name, _ in merged:
            with Run(self._tree, name) as run:
                run.unpack(buffer)
        together = RunName(self.month, merged[0][0].first_leaf, merged[-1][0].next_leaf)
        write_run(self._tree, together, buffer)
        sync_directory(self._tree / RUNS)
        for name, _ in merged:
            name.path(self._tree).unlink(missing_ok=True)
        self.runs[first:end] = [(together, total)]
