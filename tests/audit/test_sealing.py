"""The sealer: what it seals and in which order, crashes at every call that touches the disk, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.audit import runs as runs_module
from jukinet.core.audit.checkpoint import Note, PrivateKey, check
from jukinet.core.audit.directory import KIND_SEGMENT, SealDirectory, SealRow, decode_rows
from jukinet.core.audit.errors import SealingStoppedError, TreeDamagedError
from jukinet.core.audit.ledger import Ledger
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.audit.runs import Run, list_runs
from jukinet.core.audit.seal import (
    NoteStatement,
    SegmentStatement,
    decode_statement,
    encode_statement,
    list_seals,
    open_seal,
)
from jukinet.core.audit.sealing import Sealer
from jukinet.core.checksum import crc32c
from jukinet.core.errors import RecordOfUseError

from . import tree_twin as twin
from .logs import USE, append, crash, open_writer, segments
from .sealed_logs import CODES, KEY, START_NS, seal_all, sealed_log, write_requests


def sealed_entries(directory: Path) -> tuple[list[bytes], list[Any], list[str]]:
    """All entries of the tree in order, the statements, and the notes."""
    entries, statements, notes = [], [], []
    for number in list_seals(directory / "tree"):
        with open_seal(directory / "tree", number) as seal:
            seal.check()
            assert seal.first_leaf == len(entries)
            packed = seal.entries()
            entries += [packed[place : place + 104] for place in range(0, len(packed), 104)]
            entries.append(seal.statement)
            statements.append(seal.decoded())
            notes.append(seal.note)
    return entries, statements, notes


def expected_entries(directory: Path) -> dict[tuple[int, int], bytes]:
    """The entry of every record by worker and sequence, from the segments, by the twin."""
    expected = {}
    files = {path.name: path.read_bytes() for path in segments(directory)}
    for record in read_segments(directory):
        data = files[record.path.name]
        size = int.from_bytes(data[record.offset + 4 : record.offset + 8], "little")
        segment = int.from_bytes(data[40:48], "little")
        raw = data[record.offset : record.offset + size]
        expected[record.worker, record.sequence] = twin.entry(raw, record.worker, segment, record.offset, data[72:104])
    return expected


def check_whole(directory: Path) -> None:
    """Everything that must hold of a sealed log, each thing computed anew."""
    entries, statements, notes = sealed_entries(directory)
    records = {
        (int.from_bytes(one[4:6], "little"), int.from_bytes(one[16:24], "little")): one
        for one in entries
        if one[:4] == b"JKRE"
    }
    assert records == expected_entries(directory)
    assert len(records) + len(statements) == len(entries), "nothing twice"
    leaves = [twin.leaf(one) for one in entries]
    size = 0
    for number, note in enumerate(notes):
        with open_seal(directory / "tree", number) as seal:
            size = seal.next_leaf
        point = check(note, KEY.public)
        assert (point.size, point.root) == (size, twin.root(leaves[:size]))
    assert (directory / "tree" / "checkpoint").read_text() == notes[-1]
    assert (directory / "tree" / "hashes-00").read_bytes() == b"".join(leaves)
    rows = SealDirectory.load(directory / "tree").rows
    assert [row.next_leaf for row in rows][-1] == len(entries)
    runs = list_runs(directory / "tree")
    assert runs[0].first_leaf == 0
    assert all(one.next_leaf == two.first_leaf for one, two in pairwise(runs))
    for code in (*CODES, 11111111116):
        found = []
        for name in runs:
            with Run(directory / "tree", name) as run:
                found += run.find(code)
        assert found == where(directory, entries, code)
    check_ledger(directory)


def where(directory: Path, entries: list[bytes], code: int) -> list[tuple[int, int]]:
    leaf_of = {(one[4:6], one[16:24]): leaf for leaf, one in enumerate(entries) if one[:4] == b"JKRE"}
    found = []
    for record in read_segments(directory):
        leaf = leaf_of[record.worker.to_bytes(2, "little"), record.sequence.to_bytes(8, "little")]
        found += [(leaf, row) for row, one in enumerate(record.provisions()[0]) if one == code]
    return sorted(found)


def check_ledger(directory: Path) -> None:
    expected: Counter[tuple[Any, ...]] = Counter()
    for record in read_segments(directory):
        if isinstance(record.head, ProvisionHead):
            method = "interactive" if record.count <= 64 else "bulk"
            expected[record.head.body, record.head.function, method] += record.count
    found: Counter[tuple[Any, ...]] = Counter()
    for tally in Ledger(directory / "tree").tallies():
        found[tally.body, tally.function, tally.method] += tally.provisions
    assert found == expected


def test_all_records_of_all_workers_stand_in_one_tree(tmp_path: Path) -> None:
    sealed_log(tmp_path, workers=(0, 3, 7), lives=3)
    check_whole(tmp_path)
    _, statements, _ = sealed_entries(tmp_path)
    for statement in statements:
        assert isinstance(statement, SegmentStatement)
        assert statement.month >= 202511
    assert [head.worker for head in statements[-1].sealed] == [0, 3, 7]
    assert (tmp_path / "tree").stat().st_mode & 0o777 == 0o700


def test_sealing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for life in range(3):
        write_requests(tmp_path, 1, 30, seed=life, segment_bytes_max=8_192)
        seal_all(tmp_path)
        check_whole(tmp_path)
    assert seal_all(tmp_path) == seal_all(tmp_path)


def test_an_open_segment_waits_until_it_is_closed(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    with Sealer(tmp_path, KEY) as sealer:
        assert sealer.step() is None
        writer.close()
        assert sealer.step() is not None
        assert sealer.size == 2
    check_whole(tmp_path)


def test_a_segment_left_by_a_crash_is_sealed_when_it_has_a_successor(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    crash(writer)
    assert seal_all(tmp_path) == 0
    write_requests(tmp_path, 3, 5)
    seal_all(tmp_path)
    check_whole(tmp_path)


def test_many_small_runs_become_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "MERGED_TOGETHER", 3)
    for life in range(20):
        write_requests(tmp_path, 1, 3, seed=life)
        seal_all(tmp_path)
    assert len(list_runs(tmp_path / "tree")) < 8
    check_whole(tmp_path)


def test_runs_of_another_month_stay_apart(tmp_path: Path) -> None:
    day = 86_400_000_000_000
    for life in range(6):
        write_requests(tmp_path, 1, 3, seed=life)
        with Sealer(tmp_path, KEY, clock=lambda life=life: START_NS + life // 3 * 31 * day) as sealer:
            assert sealer.step() is not None
    months = Counter(run.month for run in list_runs(tmp_path / "tree"))
    assert sorted(months) == [202510, 202511]
    check_whole(tmp_path)


def test_a_note_has_a_seal_of_its_own(tmp_path: Path) -> None:
    sealed_log(tmp_path, lives=1)
    with Sealer(tmp_path, KEY) as sealer:
        statement = NoteStatement(time_ns=sealer.now(), month=sealer.month(), text="authority file 3")
        number = sealer.add_statement(statement)
        assert number == sealer.seals - 1
    write_requests(tmp_path, 0, 9, seed=5)
    seal_all(tmp_path)
    entries, statements, _ = sealed_entries(tmp_path)
    assert statement in statements
    assert (
        twin.root([twin.leaf(one) for one in entries])
        == check((tmp_path / "tree/checkpoint").read_text(), KEY.public).root
    )


# ------------------------------------------------------------------------------------------------------- crashes

CALLS = ("fsync", "fdatasync", "pwrite", "rename", "unlink", "ftruncate", "open", "mkdir")


def run_until_call(last: int, act: Callable[[], object]) -> bool:
    """Act in a child process that is killed before its ``last`` call of CALLS. False when it came to its end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    code = 1
    try:
        left = [last]

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*arguments: Any, **named: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return call(*arguments, **named)

            return wrapper

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        with contextlib.suppress(AttributeError):
            Path.rename = counted(Path.rename)  # type: ignore[method-assign]
            Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
        act()
        code = 0
    finally:
        os._exit(code)


@pytest.mark.slow
def test_a_crash_at_any_call_loses_nothing_and_adds_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "MERGED_TOGETHER", 2)
    log = tmp_path / "log"
    write_requests(log, 0, 12, segment_bytes_max=4_096)
    write_requests(log, 1, 6)
    last = 1
    while True:
        copy = tmp_path / "copy"
        shutil.copytree(log, copy)
        killed = run_until_call(last, partial(seal_all, copy))
        if killed and last % 3 == 0:  # and again while it recovers
            run_until_call(1 + last % 17, partial(seal_all, copy))
        seal_all(copy)
        check_whole(copy)
        shutil.rmtree(copy)
        if not killed:
            break
        last += 1
    assert last > 50


@pytest.mark.parametrize("name", ["hashes-00", "hashes-08", "directory", "ledger", "checkpoint"])
@pytest.mark.parametrize("change", ["missing", "empty", "short", "longer", "flipped"])
def test_what_is_derived_is_made_again(tmp_path: Path, name: str, change: str) -> None:
    sealed_log(tmp_path, requests=130, lives=1)
    path = tmp_path / "tree" / name
    content = path.read_bytes()
    if change == "missing":
        path.unlink()
    else:
        changed = {
            "empty": b"",
            "short": content[:-1],
            "longer": content + b"x",
            "flipped": content[:-1] + bytes([content[-1] ^ 1]) if content else b"x",
        }
        path.write_bytes(changed[change])
    if name == "checkpoint" and change != "missing":
        with pytest.raises(SealingStoppedError):
            seal_all(tmp_path)
        return
    seal_all(tmp_path)
    check_whole(tmp_path)


# ------------------------------------------------------------------------------------------------------ refusals


def test_a_second_sealer_is_refused(tmp_path: Path) -> None:
    sealed_log(tmp_path, lives=1)
    with Sealer(tmp_path, KEY), pytest.raises(RecordOfUseError, match="another process seals"):
        Sealer(tmp_path, KEY)


def test_no_record_of_use(tmp_path: Path) -> None:
    with pytest.raises(RecordOfUseError, match="no record of use"):
        Sealer(tmp_path / "nowhere", KEY)


def test_another_key_is_refused(tmp_path: Path) -> None:
    sealed_log(tmp_path, lives=1)
    with pytest.raises(SealingStoppedError, match="is this the key"):
        Sealer(tmp_path, PrivateKey("another", bytes(32)))


def test_a_second_tree_over_one_that_was_shown_is_refused(tmp_path: Path) -> None:
    sealed_log(tmp_path, lives=1)
    max((tmp_path / "tree/seals").iterdir()).unlink()
    with pytest.raises(SealingStoppedError, match="leaves, and the seals hold"):
        Sealer(tmp_path, KEY)


def test_a_missing_seal_is_refused(tmp_path: Path) -> None:
    sealed_log(tmp_path, lives=1)
    (tmp_path / "tree/seals/000000000001.seal").unlink()
    with pytest.raises(TreeDamagedError, match="missing"):
        Sealer(tmp_path, KEY)


def prepared(tmp_path: Path) -> list[Path]:
    """A log with the first two of four segments sealed."""
    for life in range(4):
        write_requests(tmp_path, 0, 2, seed=life)
    with Sealer(tmp_path, KEY) as sealer:
        sealer.step()
        sealer.step()
    return segments(tmp_path)


def test_a_segment_that_is_missing_stops_the_sealer(tmp_path: Path) -> None:
    prepared(tmp_path)[2].unlink()
    with Sealer(tmp_path, KEY) as sealer, pytest.raises(SealingStoppedError, match="is missing"):
        sealer.step()


@pytest.mark.parametrize("place", [20, 300])
def test_a_damaged_segment_stops_the_sealer_and_leaves_the_tree_as_it_was(tmp_path: Path, place: int) -> None:
    path = prepared(tmp_path)[2]
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    before = (tmp_path / "tree/hashes-00").read_bytes()
    with Sealer(tmp_path, KEY) as sealer:
        with pytest.raises(SealingStoppedError):
            sealer.step()
        assert (tmp_path / "tree/hashes-00").read_bytes() == before
        path.write_bytes(content)
        while sealer.step() is not None:
            pass
    check_whole(tmp_path)


def test_segments_of_another_register_or_order_stop_the_sealer(tmp_path: Path) -> None:
    paths = prepared(tmp_path)
    two, three = paths[2].read_bytes(), paths[3].read_bytes()
    paths[2].write_bytes(three)
    with Sealer(tmp_path, KEY) as sealer, pytest.raises(SealingStoppedError, match="disagree"):
        sealer.step()
    paths[2].write_bytes(two)
    seal_all(tmp_path)
    other = tmp_path / "other"
    with open_writer(other, 5) as writer:
        writer._register = b"x" * 16
    with open_writer(other, 5):
        pass
    shutil.copy(segments(other)[0], tmp_path)
    seal_all(tmp_path)


def test_a_clock_that_goes_back_is_on_record(tmp_path: Path) -> None:
    with open_writer(tmp_path, 0) as writer:
        append(writer)
        writer.append(
            USE,
            b"\1\0\0\0\0\0\0\0",
            b"\1",
            function=1,
            items=1,
            register_version=1,
            time_ns=1_700_000_000_000_000_000 - 7_000_000_000,
        )
    with Sealer(tmp_path, KEY, clock=lambda: START_NS) as sealer:
        statement = sealer.step()
        assert statement is not None
        assert statement.clock_back_ns == 7_000_000_000
    with open_writer(tmp_path, 0) as writer:
        append(writer)
    with Sealer(tmp_path, KEY, clock=lambda: START_NS - 40 * 86_400_000_000_000) as sealer:
        statement = sealer.step()
        assert statement is not None
        assert statement.clock_back_ns == 40 * 86_400_000_000_000
        assert statement.month == 202510, "months do not go back"
    check_whole(tmp_path)


def test_no_room_leaves_the_tree_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(tmp_path)
    with Sealer(tmp_path, KEY) as sealer:
        real, calls = os.fsync, [0]

        def full(descriptor: int) -> None:
            calls[0] += 1
            if calls[0] in (1, 3):
                raise OSError(28, "no room")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        failures = 0
        for _ in range(6):
            try:
                sealer.step()
            except OSError:
                failures += 1
        assert failures == 2
    monkeypatch.undo()
    seal_all(tmp_path)
    check_whole(tmp_path)


def test_cosignatures_of_the_newest_checkpoint_stay(tmp_path: Path) -> None:
    sealed_log(tmp_path, lives=1)
    path = tmp_path / "tree/checkpoint"
    note = Note.decode(path.read_text())
    path.write_text(Note(note.text, (*note.signatures, ("tokyo", b"1234", bytes(72)))).encode())
    seal_all(tmp_path)
    assert "tokyo" in path.read_text()


def test_rows_of_the_directory_name_the_seal_of_every_leaf(tmp_path: Path) -> None:
    sealed_log(tmp_path)
    directory = SealDirectory.load(tmp_path / "tree")
    for number, row in enumerate(directory.rows):
        assert row.kind == KIND_SEGMENT
        assert directory.seal_of(row.first_leaf) == directory.seal_of(row.next_leaf - 1) == number
    with pytest.raises(ValueError, match="outside"):
        directory.seal_of(directory.size)


def test_statements_of_kinds_that_are_not_known_are_passed_over_and_others_refused() -> None:
    def made(*fields: object) -> bytes:
        return b"JKN-STA\0" + msgspec.msgpack.encode(fields)

    note = NoteStatement(time_ns=1, month=202511, text="x")
    assert decode_statement(encode_statement(note)) == note
    assert decode_statement(made("something new", 1, 202511, b"x")) is None
    for wrong in (
        b"",
        b"JKN-STA\0",
        b"JKN-STA\0\xc1",
        made(),
        made(1, 2),
        made("note", 1),
        made("segment", 1, 2),
        b"x" * 20,
    ):
        with pytest.raises(ValueError, match="statement"):
            decode_statement(wrong)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader_of_statements(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_statement(b"JKN-STA\0" + data)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 9), max_size=40), st.data())
def test_rows_of_the_directory(fields: list[tuple[int, ...]], data: st.DataObject) -> None:
    """Each with its own checksum, checked in native code; no other length and no flipped bit is taken."""
    rows = [SealRow(*one) for one in fields]
    encoded = b"".join(row.encode() for row in rows)
    assert decode_rows(encoded) == rows
    for place in range(0, len(encoded), 64):
        row = encoded[place : place + 64]
        assert crc32c(row[:28] + bytes(4) + row[32:]).to_bytes(4, "little") == row[28:32]
    if encoded:
        place = data.draw(st.integers(0, len(encoded) - 1))
        flipped = encoded[:place] + bytes([encoded[place] ^ 1 << data.draw(st.integers(0, 7))]) + encoded[place + 1 :]
        for wrong in (flipped, encoded[:-1], encoded + b"\0"):
            with pytest.raises(ValueError, match="row of the directory"):
                decode_rows(wrong)
