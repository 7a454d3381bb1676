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
from jukinet.core.audit.run_kernel import CodeBuffer, RunTable, find_blocks, find_code
from jukinet.core.audit.segment import sync_directory
from jukinet.core.checksum import crc32c
from jukinet.core.vocabulary import CODE_END

RUNS: Final = "codes"
RUN_SUFFIX: Final = ".codes"
RUN_NAME: Final = re.compile(r"(\d{6})-(\d{12,16})-(\d{12,16})\.codes")
RUN_MAGIC: Final = b"JKN-COD\0"
RUN_FORMAT: Final = 2
RUN_HEADER: Final = struct.Struct("<8sIIQQQQQII")
TABLE_ROW_BYTES: Final = 24
BLOCK_ENTRIES: Final = 256
PAGE_BYTES: Final = 4_096
PAGE_ROWS: Final = 170
PAGE_TRAILER: Final = struct.Struct("<QII")
"""Behind a page's rows: its number, zero, and the checksum of all of it, begun with the header's."""
NEAR_ROWS: Final = 128
"""How far from its expected row a code's row mostly stands: half the square root of 30,000, with room."""
OPEN_TOGETHER: Final = 128
MERGED_TOGETHER: Final = 16
"""Small runs of one size that become one: a code's search then looks into some hundreds of runs for 7 years."""

assert RUN_HEADER.size == 64
assert PAGE_ROWS * TABLE_ROW_BYTES + PAGE_TRAILER.size == PAGE_BYTES


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
    table_offset = _page_end(RUN_HEADER.size + len(blocks))
    header = RUN_HEADER.pack(RUN_MAGIC, RUN_FORMAT, *name, entries, count, table_offset, 0, 0)
    checksum = crc32c(header[:-4])
    header = header[:-4] + checksum.to_bytes(4, "little")
    gap = bytes(table_offset - RUN_HEADER.size - len(blocks))
    path = name.path(tree)
    making = path.with_name(path.name + ".new")
    with making.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.writelines((header, blocks, gap, table_pages(table, checksum)))
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)


def table_pages(table: bytes, seed: int) -> bytes:
    """A table's rows as pages of their own checksums. seed: the checksum of the run's header."""
    pages = []
    step = PAGE_ROWS * TABLE_ROW_BYTES
    for number, start in enumerate(range(0, len(table), step)):
        page = table[start : start + step] + PAGE_TRAILER.pack(number, 0, 0)[:-4]
        pages.append(page + crc32c(page, seed).to_bytes(4, "little"))
    return b"".join(pages)


def _page_end(offset: int) -> int:
    return -(-offset // PAGE_BYTES) * PAGE_BYTES


class Run:
    """One run, mapped into memory. Opening checks the header; a search each page of the table and block it reads."""

    def __init__(self, tree: Path, name: RunName) -> None:
        """Raises TreeDamagedError."""
        self.name = name
        self.path = name.path(tree)
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < RUN_HEADER.size:
                    raise TreeDamagedError(self.path, "shorter than a run")
                self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except OSError as error:
            raise TreeDamagedError(self.path, f"cannot be opened ({error.strerror})") from error
        header = self._map[: RUN_HEADER.size]
        magic, form, month, first, end, entries, blocks, table_offset, zero, checksum = RUN_HEADER.unpack(header)
        table_bytes = blocks * TABLE_ROW_BYTES + -(-blocks // PAGE_ROWS) * PAGE_TRAILER.size
        if magic != RUN_MAGIC or form != RUN_FORMAT or checksum != crc32c(header[:-4]) or zero:
            self._damaged("its header")
        if (month, first, end) != tuple(name) or table_offset + table_bytes != size:
            self._damaged("its name, header and length disagree")
        if blocks != -(-entries // BLOCK_ENTRIES) or table_offset % PAGE_BYTES or table_offset < RUN_HEADER.size:
            self._damaged("its number of blocks, or where its table begins")
        self.entries: int = entries
        view = memoryview(self._map)
        self._blocks = view[RUN_HEADER.size : table_offset]
        self._table = RunTable(view[table_offset:], blocks, checksum)
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
        row = min(code, CODE_END - 1) * self._table.rows // CODE_END
        first, last = max(0, row - NEAR_ROWS) // PAGE_ROWS, (row + NEAR_ROWS) // PAGE_ROWS
        self._will_need(self._table_offset + first * PAGE_BYTES, (last + 1 - first) * PAGE_BYTES)

    def expect_blocks(self, code: int) -> None:
        """Have the kernel read the blocks that may hold a code, without waiting. Raises TreeDamagedError."""
        try:
            first, end = find_blocks(self._table, code)
            places = [self._table.place(row) for row in range(first, min(end, first + 2))]
        except ValueError as error:
            raise TreeDamagedError(self.path, str(error)) from None
        for offset, length in places:
            if offset + length <= len(self._blocks):
                self._will_need(RUN_HEADER.size + offset, length)

    def _will_need(self, offset: int, length: int) -> None:
        start = offset // mmap.PAGESIZE * mmap.PAGESIZE
        if start < len(self._map):
            self._map.madvise(mmap.MADV_WILLNEED, start, min(offset + length, len(self._map)) - start)

    def unpack(self, buffer: CodeBuffer) -> None:
        """Add all entries to a buffer, after checking every byte. Raises TreeDamagedError."""
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        try:
            buffer.unpack(self._blocks, self._table, self.name.first_leaf, self.entries)
            end = sum(self._table.place(self._table.rows - 1)) if self._table.rows else 0
        except ValueError as error:
            raise TreeDamagedError(self.path, str(error)) from None
        if any(self._blocks[end:]):
            raise TreeDamagedError(self.path, "something between its blocks and its table")

    def close(self) -> None:
        self._blocks.release()
        self._table.close()
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
