"""The tree: hashes, files, proofs and commitments against a twin that shares no code, and proofs that must not hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jukinet.core.audit import merkle, tree_kernel
from jukinet.core.audit.errors import NotProvedError, TreeDamagedError
from jukinet.core.audit.layout import encode_record
from jukinet.core.audit.tree_files import TreeFiles, TreeFront
from jukinet.core.audit.tree_kernel import Commitments, entry_hashes, entry_provisions, tile_roots, tree_root

from . import tree_twin as twin

BYTES = st.binary(min_size=32, max_size=32)
EDGES = (1, 2, 3, 5, 8, 255, 256, 257, 300, 511, 512, 513, 1_000)


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(count)]


@pytest.fixture(params=[True, False], ids=["machine", "portable"])
def native(request: pytest.FixtureRequest) -> Iterator[bool]:
    tree_kernel.choose_native(request.param)
    yield request.param
    tree_kernel.choose_native(True)


def test_sha256_of_every_short_length(native: bool) -> None:
    data = os.urandom(300)
    for length in range(300):
        assert tree_kernel.sha256(data[:length]) == hashlib.sha256(data[:length]).digest()


NIST = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    b"a" * 1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
}
"""The examples of FIPS 180-4 that NIST publishes."""


@pytest.mark.parametrize("message", NIST, ids=["empty", "abc", "two blocks", "a million"])
def test_sha256_examples_of_nist(native: bool, message: bytes) -> None:
    assert tree_kernel.sha256(message).hex() == NIST[message]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2_000))
def test_sha256_agrees_with_hashlib(native: bool, data: bytes) -> None:
    assert tree_kernel.sha256(data) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("lengths", [(0, 0), (1, 500), (900, 1), (450, 470), (460, 470), (1_500, 1_500), (1_500, 9)])
def test_contents_of_two_records_of_any_lengths(native: bool, lengths: tuple[int, int]) -> None:
    """Hashed side by side or not: on both sides of the length up to which unequal ones are."""
    made = [encode_record(number, 1, 4, os.urandom(length)) for number, length in enumerate(lengths)]
    salt = os.urandom(32)
    entries, _ = Commitments(1, 1, salt).commit(b"".join(made), 0, 2)
    offsets = (0, len(made[0]))
    expected = [twin.entry(record, 1, 1, offset, salt) for record, offset in zip(made, offsets, strict=True)]
    assert entries == b"".join(expected)


@pytest.mark.parametrize("count", EDGES)
def test_roots_and_tiles(native: bool, count: int) -> None:
    hashes = leaves(count)
    assert tree_root(b"".join(hashes)) == twin.root(hashes)
    whole = count // 256 * 256
    expected = b"".join(twin.root(hashes[first : first + 256]) for first in range(0, whole, 256))
    assert tile_roots(b"".join(hashes[:whole])) == expected


@pytest.mark.parametrize("wrong", [b"", b"x", bytes(33)])
def test_hashes_of_a_wrong_length_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        tree_root(wrong)
    with pytest.raises(ValueError, match="bytes each"):
        tile_roots(wrong + bytes(32))
    for called in (entry_hashes, entry_provisions):
        with pytest.raises(ValueError, match="104"):
            called(bytes(103))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(EDGES), st.data())
def test_files_and_proofs_agree_with_the_twin(tmp_path: Path, size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    files = TreeFiles(tmp_path, writable=True)
    files.rewind(0)
    front = TreeFront()
    done = 0
    while done < size:
        step = data.draw(st.integers(1, size - done))
        files.append(b"".join(hashes[done : done + step]))
        front.append(b"".join(hashes[done : done + step]))
        done += step
    assert files.root() == front.root() == twin.root(hashes)
    old = data.draw(st.integers(1, size))
    assert files.root_between(0, old) == twin.root(hashes[:old])
    index = data.draw(st.integers(0, old - 1))
    path = files.inclusion_path(index, old)
    assert path == twin.path(hashes[:old], index)
    assert merkle.root_of_path(hashes[index], index, old, path) == twin.root(hashes[:old])
    consistency = files.consistency(old, size)
    assert consistency == twin.proof(hashes, old)
    merkle.check_consistency(old, twin.root(hashes[:old]), size, twin.root(hashes), consistency)
    assert files.rewind(old)
    assert files.root() == twin.root(hashes[:old])
    files.append(b"".join(hashes[old:]))
    assert files.root() == twin.root(hashes)
    files.close()


def test_a_tree_without_leaves(tmp_path: Path) -> None:
    assert TreeFront().root() == hashlib.sha256(b"").digest()
    files = TreeFiles(tmp_path, writable=True)
    assert not files.rewind(1), "the files hold less"
    with pytest.raises(TreeDamagedError):
        files.nodes(0, 0, 1)
    files.close()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 70), st.data())
def test_a_proof_of_anything_else_does_not_hold(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    root = twin.root(hashes)
    index = data.draw(st.integers(0, size - 1))
    path = twin.path(hashes, index)
    assert merkle.path_among(b"".join(hashes), index) == path
    other = data.draw(st.integers(0, 2 * size))
    changed = list(path)
    kind = data.draw(st.sampled_from(["leaf", "index", "byte", "shorter", "longer"]))
    leaf, claimed = hashes[index], index
    if kind == "leaf":
        leaf = data.draw(BYTES)
    elif kind == "index":
        claimed = other
    elif kind == "byte" and changed:
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(BYTES)
    elif kind == "shorter" and changed:
        changed.pop()
    elif kind == "longer":
        changed.append(data.draw(BYTES))
    if (leaf, claimed, changed) == (hashes[index], index, path):
        return
    try:
        assert merkle.root_of_path(leaf, claimed, size, changed) != root
    except NotProvedError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 70), st.data())
def test_a_consistency_proof_of_anything_else_does_not_hold(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    old = data.draw(st.integers(1, size - 1))
    path = twin.proof(hashes, old)
    old_root, root = twin.root(hashes[:old]), twin.root(hashes)
    merkle.check_consistency(old, old_root, size, root, path)
    place = data.draw(st.integers(0, len(path) - 1))
    changes = {
        "old root": (old, data.draw(BYTES), root, path),
        "root": (old, old_root, data.draw(BYTES), path),
        "step": (old, old_root, root, [*path[:place], data.draw(BYTES), *path[place + 1 :]]),
        "shorter": (old, old_root, root, path[:-1]),
        "longer": (old, old_root, root, [*path, data.draw(BYTES)]),
        "length": (old, old_root, root, [*path[:place], b"x", *path[place + 1 :]]),
        "same size": (size, old_root, root, []),
    }
    for claimed, first, last, steps in changes.values():
        with pytest.raises(NotProvedError):
            merkle.check_consistency(claimed, first, size, last, steps)


RECORDS = st.tuples(
    st.integers(0, 2**63), st.integers(0, 9), st.binary(max_size=90), st.integers(0, 70), st.booleans(), st.randoms()
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, min_size=1, max_size=5), salt=BYTES, segment=st.integers(0, 2**60))
def test_commitments_agree_with_the_twin(native: bool, records: list[tuple], salt: bytes, segment: int) -> None:
    made = []
    for sequence, kind, head, count, has_matches, chance in records:
        matches = chance.randbytes(count) if has_matches else b""
        made.append(encode_record(sequence, 7, kind, head, chance.randbytes(6 * count), matches))
    commitments = Commitments(7, segment, salt)
    data = b"".join(made)
    entries, hashes = commitments.commit(data, 128, len(made))
    offset, expected = 128, []
    for record in made:
        expected.append(twin.entry(record, 7, segment, offset, salt))
        parts = twin.parts(record, salt)
        assert commitments.parts(record) == b"".join(parts)
        for row in sorted({0, (len(parts) - 1) // 2, len(parts) - 2} & set(range(len(parts) - 1))):
            proved = twin.root(parts), twin.path(parts, 0), twin.path(parts, row + 1)
            assert commitments.prove(record, row) == proved
        with pytest.raises(ValueError, match="no such row"):
            commitments.prove(record, len(parts) - 1)
        offset += len(record)
    assert entries == b"".join(expected)
    assert hashes == entry_hashes(entries) == b"".join(map(twin.leaf, expected))
    assert commitments.commit(data, 128, len(made), entries) == (entries, hashes), "without the parts"
    assert commitments.commit(data, 128, len(made), leaves=False) == (entries, b"")
    assert entry_provisions(entries) == sum(count for _, _, _, count, _, _ in records)
    assert commitments.salt(5, 9) == twin.salt(salt, 5, 9)


def test_commitments_refuse_what_is_no_record() -> None:
    commitments = Commitments(1, 1, bytes(32))
    record = encode_record(1, 1, 1, b"head", bytes(12))
    for data, count in ((record, 2), (record + record, 1), (record[:-8], 1), (record[:10], 1), (b"", 1)):
        with pytest.raises(ValueError, match="do not fill"):
            commitments.commit(data, 0, count)
    with pytest.raises(ValueError, match="longer than itself"):
        commitments.commit(record[:24] + b"\xff" + record[25:], 0, 1)
    with pytest.raises(ValueError, match="as many"):
        commitments.commit(record, 0, 1, bytes(103))
    with pytest.raises(ValueError, match="one whole record"):
        commitments.parts(record + record)
    with pytest.raises(ValueError, match="32 bytes"):
        Commitments(1, 1, b"short")
