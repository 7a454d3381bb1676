"""Proofs in the tree of RFC 6962, section 2.1: making them from one level's hashes, and checking them.

Sizes count leaves, indexes count from 0, hashes have 32 bytes. Checking follows RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from jukinet.core.audit.errors import NotProvedError
from jukinet.core.audit.tree_kernel import tree_root

HASH_BYTES: Final = 32
PATH_HASHES_MAX: Final = 64
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def path_among(hashes: bytes, index: int) -> list[bytes]:
    """The inclusion path of node ``index`` among the nodes of one level, ``hashes``; lowest sibling first."""
    count = len(hashes) // HASH_BYTES
    if not 0 <= index < count:
        raise ValueError("an index outside the tree")
    path: list[bytes] = []
    first, last = 0, count
    while last - first > 1:
        middle = first + split(last - first)
        if index < middle:
            path.append(tree_root(hashes[HASH_BYTES * middle : HASH_BYTES * last]))
            last = middle
        else:
            path.append(tree_root(hashes[HASH_BYTES * first : HASH_BYTES * middle]))
            first = middle
    return path[::-1]


def split(count: int) -> int:
    """The largest power of two smaller than ``count``: how many leaves stand left of the root."""
    return 1 << (count - 1).bit_length() - 1


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion path leads to from ``leaf``. Raises NotProvedError when its length cannot be."""
    if not 0 <= index < size or len(path) > PATH_HASHES_MAX or any(len(one) != HASH_BYTES for one in path):
        raise NotProvedError("an inclusion path that cannot be")
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise NotProvedError("an inclusion path that is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise NotProvedError("an inclusion path that is too short")
    return found


def consistency_path(old_size: int, size: int, root_between: Callable[[int, int], bytes]) -> list[bytes]:
    """The proof that the tree of ``old_size`` leaves is the beginning of that of ``size`` (RFC 6962, 2.1.2).

    root_between(first, end): root over the leaves from ``first`` to ``end`` - 1.
    """
    if not 0 < old_size <= size:
        raise ValueError("sizes of a consistency proof")

    def proof(first: int, end: int, old_end: int, known: bool) -> list[bytes]:
        if old_end == end:
            return [] if known else [root_between(first, end)]
        middle = first + split(end - first)
        if old_end <= middle:
            return [*proof(first, middle, old_end, known), root_between(middle, end)]
        return [*proof(middle, end, old_end, False), root_between(first, middle)]

    return proof(0, size, old_size, True)


def check_consistency(old_size: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """Raises NotProvedError unless the tree (size, root) begins with the tree (old_size, old_root)."""
    if old_size in (0, size):
        if path or (old_size == size and old_root != root):
            raise NotProvedError("the checkpoints contradict each other")
        return
    if not 0 < old_size < size or len(path) > 2 * PATH_HASHES_MAX or any(len(one) != HASH_BYTES for one in path):
        raise NotProvedError("a consistency proof that cannot be")
    steps = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    if not steps:
        raise NotProvedError("a consistency proof that is too short")
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_found = found = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            raise NotProvedError("a consistency proof that is too long")
        if node & 1 or node == last:
            old_found, found = node_hash(sibling, old_found), node_hash(sibling, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or old_found != old_root or found != root:
        raise NotProvedError("the later checkpoint does not contain the earlier one")
