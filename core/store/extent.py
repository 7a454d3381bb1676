"""Whether a register's file holds every page that its snapshot reaches: reading behind its end would kill the process.

Theory of operation. LMDB gives out pages at the file's end and writes only those that are in use when it commits, so a
whole file may end some pages before the last one given out, and a file that was cut off may end anywhere. The meta page
tells them apart only when the file is long enough for the last page given out, which is how builder and writer leave
it (``fill_up``). Otherwise the trees are walked from their roots, with reads that stop at the file's end, and each page
that they name must lie within the file. That takes a second or two for the nation's register.

The layout is that of LMDB 0.9 with 64-bit words (mdb.c: MDB_page, MDB_node, MDB_db, MDB_meta).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb

from jukinet.core.errors import StoreCorruptError, StoreError

META: Final = struct.Struct("<II QQ 48s48s QQ")
"""Behind a page header: magic, version, address, map size, free list's and main tree, last page, transaction."""
MAGIC: Final = 0xBEEFC0DE
TREE: Final = struct.Struct("<I HH QQQQQ")
"""pad, flags, depth, branch, leaf and overflow pages, entries, root."""
PAGE: Final = struct.Struct("<Q HHHH")
"""number, pad, flags, end of the offsets, start of the nodes."""
NODE: Final = struct.Struct("<HHHH")
"""Size or page number, low and high; flags or the page number's highest part; length of the key."""
NUMBER: Final = struct.Struct("<Q")
NO_PAGE: Final = (1 << 64) - 1
BRANCH, LEAF2 = 0x01, 0x20
LARGE, TREE_WITHIN = 0x01, 0x02
DEPTH_MAX: Final = 32
"""MDB's CURSOR_STACK."""
BEGINNINGS_MAX: Final = 16


def refuse_cut_off(environment: lmdb.Environment, directory: Path) -> None:
    """Raise StoreCorruptError when a page that the newest snapshot can reach lies beyond the file's end."""
    page_bytes = int(environment.stat()["psize"])
    with (directory / "data.mdb").open("rb", buffering=0) as file:
        for _ in range(BEGINNINGS_MAX):
            # The open transaction keeps its pages from being written anew while they are walked.
            with environment.begin() as transaction:
                trees, last = _roots(file.fileno(), page_bytes, transaction.id())
                if trees is None:
                    continue  # two commits came in between
                pages = os.fstat(file.fileno()).st_size // page_bytes
                if last < pages or all(_within(file.fileno(), page_bytes, pages, tree, 0) for tree in trees):
                    return
                raise StoreCorruptError(f"{directory}: data.mdb is cut off; copy it again or build again")
    raise StoreError(f"{directory}: the register changes too fast to be opened")


def fill_up(environment: lmdb.Environment, directory: Path) -> None:
    """Let the file reach the last page given out, so that a register that is opened need not be walked. OSError."""
    wanted = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    with (directory / "data.mdb").open("r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size < wanted:
            # Never ftruncate: it would cut off what another writer has just added.
            os.posix_fallocate(file.fileno(), size, wanted - size)


def _roots(descriptor: int, page_bytes: int, transaction: int) -> tuple[list[bytes] | None, int]:
    """The two trees of a transaction and the last page given out; None when its meta page is written anew."""
    for place in (0, page_bytes):
        packed = os.pread(descriptor, META.size, place + 16)
        if len(packed) == META.size:
            magic, _, _, _, free, main, last, number = META.unpack(packed)
            if magic == MAGIC and number == transaction:
                return [free, main], last
    return None, 0


def _within(descriptor: int, page_bytes: int, pages: int, tree: bytes, nested: int) -> bool:
    """Whether every page of a tree, and of the trees that it names, has a number below ``pages``."""
    root = TREE.unpack(tree)[-1]
    waiting = [] if root == NO_PAGE else [(root, 1)]
    while waiting:
        number, depth = waiting.pop()
        if number >= pages or depth > DEPTH_MAX:
            return False
        page = os.pread(descriptor, page_bytes, number * page_bytes)
        try:
            flags = PAGE.unpack_from(page)[2]
            if flags & BRANCH:
                waiting += [(low | high << 16 | top << 32, depth + 1) for low, high, top, _, _ in _nodes(page)]
            elif flags & LEAF2 == 0 and not _leaf_within(descriptor, page_bytes, pages, page, nested):
                return False
        except (struct.error, IndexError):
            return False  # no page of a tree
    return True


def _leaf_within(descriptor: int, page_bytes: int, pages: int, page: bytes, nested: int) -> bool:
    for low, high, flags, key_bytes, place in _nodes(page):
        content = place + NODE.size + key_bytes
        if flags & LARGE:
            first = NUMBER.unpack_from(page, content)[0]
            # A page header stands before the first byte.
            if first + -(-((low | high << 16) + PAGE.size) // page_bytes) > pages:
                return False
        elif flags & TREE_WITHIN and (
            nested or not _within(descriptor, page_bytes, pages, page[content : content + TREE.size], nested + 1)
        ):
            return False
    return True


def _nodes(page: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """size or page number low and high, flags, length of the key, and place of each node."""
    for (place,) in struct.iter_unpack("<H", page[PAGE.size : PAGE.unpack_from(page)[3]]):
        yield *NODE.unpack_from(page, place), place
