"""Parts files: rows of long records proved without reading them whole, and nothing in such a file is believed."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

import pytest

from jukinet.core.audit import erasure
from jukinet.core.audit.disclosure import Disclosure, DisclosureReader, check_disclosure, disclose
from jukinet.core.audit.errors import RecordOfUseDamagedError, TreeDamagedError
from jukinet.core.audit.parts import LEAVES_MIN, PartsReader, hashes_of, list_parts, parts_path
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead, RecordOfUse
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.tree_kernel import Commitments
from jukinet.core.audit.verification import Verification
from jukinet.core.checksum import crc32c

from . import tree_twin as twin
from .logs import USE_FIELDS, open_writer, segments
from .sealed_logs import KEY, START_NS, seal_all

CODE = 12345678903
COUNTS = (1, 1_022, 1_023, 1_024, 1_279, 1_280, 1_281, 2_000)
YEAR_NS = 366 * 86_400 * 10**9


def rows_of(count: int) -> list[int]:
    """Rows where the code is put: the ends of the record, and both sides of some borders."""
    return sorted(
        {row for row in (0, 1, 254, 255, 256, 510, 511, 512, 1_023, count - 2, count - 1) if 0 <= row < count}
    )


def long_log(directory: Path) -> Path:
    """Records of many lengths, LOOKUP and VERIFY, two segments; sealed."""
    for life in range(2):
        with open_writer(directory, 0) as writer:
            for number, count in enumerate(COUNTS):
                codes = array("Q", range(count))
                for row in rows_of(count):
                    codes[row] = CODE
                function = 4 if (number + life) % 2 else 1
                writer.append(
                    RecordOfUse(**USE_FIELDS),
                    codes,
                    bytes(1 + row % 9 for row in range(count)),
                    function=function,
                    items=255,
                    register_version=1,
                    time_ns=START_NS + number,
                    matches=bytes(row % 256 for row in range(count)) if function == 4 else None,
                )
            writer.commit()
    seal_all(directory)
    return directory


def ask(directory: Path) -> Disclosure:
    with DisclosureReader(directory) as reader:
        return disclose(reader, [CODE], START_NS, [])[0]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return long_log(tmp_path)


def deep(directory: Path) -> list[tuple[str, str]]:
    return [(one.kind, Path(one.path).name) for one in Verification(directory, KEY.public, deep=True).run().findings]


def test_the_short_way_and_the_long_way_give_the_same_proofs(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        whole_read: list[int] = []
        read = DisclosureReader._record

        def counted(self: DisclosureReader, path: Path, offset: int, size: int) -> bytes:
            whole_read.append(size)
            return read(self, path, offset, size)

        patched.setattr(DisclosureReader, "_record", counted)
        short = ask(made)
        assert max(whole_read) < LEAVES_MIN * 7 + 500
    assert len(short.provisions) == 2 * sum(len(rows_of(count)) for count in COUNTS)
    assert check_disclosure(short, KEY.public) == len(short.provisions)
    for number in list_parts(made / "tree"):
        parts_path(made / "tree", number).unlink()
    assert ask(made) == short


def test_a_file_is_as_the_page_says(made: Path) -> None:
    """Chapter 7.4, read without the product's reader; the hashes by the twin."""
    records = [record for record in read_segments(made) if isinstance(record.head, ProvisionHead)]
    salt = segments(made)[0].read_bytes()[72:104]
    data = parts_path(made / "tree", 0).read_bytes()
    assert data[:16] == b"JKN-PAR\0" + struct.pack("<II", 1, 8)
    seal, first_leaf, rows, hashes = struct.unpack_from("<4Q", data, 16)
    table_checksum, checksum = struct.unpack_from("<II", data, 56)
    table = data[64 + 32 * hashes :]
    assert (seal, first_leaf, data[48:56], len(table)) == (0, 0, bytes(8), 16 * rows)
    assert (crc32c(table), crc32c(data[:60])) == (table_checksum, checksum)
    places = list(struct.iter_unpack("<QQ", table))
    long = [count for count in COUNTS if count + 1 >= 1_024]
    assert [place for place, _ in places] == [place for place, count in enumerate(COUNTS) if count in long]
    for place, first in places:
        segment = segments(made)[0].read_bytes()
        record = records[place]
        (size,) = struct.unpack_from("<I", segment, record.offset + 4)
        leaves = twin.parts(segment[record.offset : record.offset + size], salt)
        expected = [twin.root(leaves[start : start + 256]) for start in range(0, len(leaves), 256)]
        there = data[64 + 32 * first : 64 + 32 * (first + len(expected))]
        assert there == b"".join(expected)
        assert len(expected) == hashes_of(COUNTS[place])


def test_whatever_stands_in_a_file_the_answer_is_right(made: Path) -> None:
    """Every kind of byte of it, flipped: still proved; a deep verification says so."""
    right = ask(made)
    path = parts_path(made / "tree", 0)
    data = path.read_bytes()
    assert deep(made) == []
    for place in [*range(0, 64, 5), 64, 64 + 32 * 7, 64 + 32 * 20 + 3, *range(len(data) - 40, len(data), 7)]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert ask(made) == right
        assert deep(made) == [("derived", path.name)], place
    for length in (0, 63, 64, len(data) - 1):
        path.write_bytes(data[:length])
        assert ask(made) == right
        assert deep(made) == [("derived", path.name)]
    path.write_bytes(data)
    assert deep(made) == []


def test_a_forged_file_with_right_checksums_is_found(made: Path) -> None:
    """Hashes of another record, and a table that names a record too few."""
    right = ask(made)
    path = parts_path(made / "tree", 0)
    data = path.read_bytes()
    hashes = struct.unpack_from("<Q", data, 40)[0]
    swapped = data[:64] + data[64 + 32 : 64 + 32 * hashes] + data[64:96] + data[64 + 32 * hashes :]
    path.write_bytes(swapped)
    assert ask(made) == right
    assert deep(made) == [("derived", path.name)]
    rows = struct.unpack_from("<Q", data, 32)[0]
    table = data[64 + 32 * hashes :]
    more = table + struct.pack("<QQ", 1_000, hashes)
    header = data[:32] + struct.pack("<Q", rows + 1) + data[40:56] + struct.pack("<I", crc32c(more))
    path.write_bytes(header + struct.pack("<I", crc32c(header)) + data[64 : 64 + 32 * hashes] + more)
    assert ask(made) == right
    assert deep(made) == [("derived", path.name)]


def test_a_changed_record_is_damage_and_never_an_answer(made: Path) -> None:
    segment = segments(made)[0]
    data = segment.read_bytes()
    record = next(one for one in read_segments(made) if isinstance(one.head, ProvisionHead) and one.count == 2_000)
    (head_bytes,) = struct.unpack_from("<I", data, record.offset + 20)
    for row in (0, 100, 1_999):
        place = record.offset + 32 + head_bytes + 6 * row + 4
        segment.write_bytes(data[:place] + bytes([data[place] ^ 32]) + data[place + 1 :])
        with pytest.raises(RecordOfUseDamagedError):
            ask(made)


def test_a_missing_file_is_made_anew_and_left_ones_are_removed(made: Path) -> None:
    tree = made / "tree"
    kept = {number: parts_path(tree, number).read_bytes() for number in list_parts(tree)}
    assert set(kept) == {0, 1}
    for number in kept:
        parts_path(tree, number).unlink()
    assert deep(made) == [("derived", parts_path(tree, number).name) for number in sorted(kept)]
    parts_path(tree, 7).write_bytes(b"of a seal that never was")
    parts_path(tree, 8).with_suffix(".parts.new").write_bytes(b"half")
    with Sealer(made, KEY) as sealer:
        assert [sealer.mend(), sealer.mend(), sealer.mend()] == [0, 1, None]
    assert {number: parts_path(tree, number).read_bytes() for number in list_parts(tree)} == kept
    assert sorted(path.name for path in (tree / "parts").iterdir()) == [parts_path(tree, n).name for n in (0, 1)]


def test_a_file_of_content_that_is_damaged_is_not_made(made: Path) -> None:
    segment = segments(made)[0]
    data = bytearray(segment.read_bytes())
    data[3_000] ^= 1
    segment.write_bytes(data)
    parts_path(made / "tree", 0).unlink()
    with Sealer(made, KEY) as sealer:
        assert sealer.mend() is None
    assert list_parts(made / "tree") == {1}


def test_erasure_takes_the_files_with_the_content(made: Path) -> None:
    with Sealer(made, KEY, clock=lambda: START_NS + 20 * YEAR_NS) as sealer:
        month = erasure.due_month(sealer, 7)
        assert month is not None
        assert erasure.erase_month(sealer, month, 7) is not None
    assert list_parts(made / "tree") == set()


def test_what_asks_for_too_much_is_refused(made: Path) -> None:
    with PartsReader(made / "tree", 0, 0) as reader:
        for record, count in ((0, 2_000), (7, 1_281), (99, 2_000)):
            with pytest.raises(TreeDamagedError):
                reader.of(record, count)
    with pytest.raises(TreeDamagedError):
        PartsReader(made / "tree", 1, 0)
    commitments = Commitments(0, 0, bytes(32))
    for first, rows, matches in ((1, bytes(6), None), (0, b"", None), (0, bytes(7), None), (0, bytes(6), b"ab")):
        with pytest.raises(ValueError, match=r"rows"):
            commitments.row_leaves(1, first, rows, matches)
