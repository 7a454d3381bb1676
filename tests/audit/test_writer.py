"""Writing: what was acknowledged is read back, across commits, segments, restarts and kills."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core.audit.layout import KIND_PROVISION, KIND_RECOVERY
from jukinet.core.audit.reader import SegmentEnd, read_segments
from jukinet.core.audit.record import EventHead, ProvisionHead, RecordOfUse, RecoveryHead
from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.errors import RecordOfUseError

from .logs import USE_FIELDS, append, append_verify, crash, open_writer, read, segments

texts = st.text(max_size=16)


@given(
    st.builds(
        dict,
        role=st.sampled_from(["agency", "prefecture"]),
        body=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
        operator=texts,
        schedule=st.integers(0, 5),
        item=st.sampled_from(["1", "77-2"]),
        number=st.integers(0, 99),
        reason=texts,
        case_reference=texts,
        connection=st.integers(0, 2**64 - 1),
        session=st.integers(0, 2**32 - 1),
    ),
    st.lists(st.lists(st.integers(0, 99_999_999_999), min_size=1, max_size=30), min_size=1, max_size=8),
    st.lists(st.sampled_from(["commit", "restart", "crash"]), min_size=8, max_size=8),
    st.lists(st.sampled_from([1, 2, 4, 16]), min_size=8, max_size=8),
    st.binary(min_size=30, max_size=30),
)
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_read(
    fields: dict[str, object], requests: list[list[int]], steps: list[str], functions: list[int], matches: bytes
) -> None:
    use = RecordOfUse(**fields)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "log"
        writer = open_writer(directory, segment_bytes_max=4_096)
        for number, (codes, step, function) in enumerate(zip(requests, steps, functions, strict=False)):
            ticket = writer.append(
                use,
                array("Q", codes),
                bytes(code % 12 for code in codes),
                function=function,
                items=number,
                register_version=number + 1,
                since=20260401,
                request_id=number + 5,
                matches=matches[: len(codes)] if function in (4, 16) else None,
            )
            assert writer.commit() == ticket == writer.last_ticket
            if step == "restart":
                writer.close()
            if step == "crash":
                crash(writer)
            if step != "commit":
                writer = open_writer(directory, segment_bytes_max=4_096)
        writer.close()
        provisions = [r for r in read_segments(directory) if r.kind == KIND_PROVISION]
    assert [list(r.provisions()[0]) for r in provisions] == requests
    for number, record in enumerate(provisions):
        assert record.provisions()[1] == bytes(code % 12 for code in requests[number])
        assert record.matches == (matches[: record.count] if functions[number] in (4, 16) else b"")
        head = record.head
        assert isinstance(head, ProvisionHead)
        assert {name: getattr(head, name) for name in fields} == fields
        assert (head.function, head.items, head.register_version) == (functions[number], number, number + 1)
        assert (head.since, head.request_id) == (20260401, number + 5)


def test_matches_of_a_verify_are_part_of_the_stable_leaf(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        append_verify(writer, range(5), b"\1\2\3\xff\0")
        append(writer)
        with pytest.raises(ValueError, match="matches"):
            append_verify(writer, range(5), b"\1\2\3")
    verify, lookup = read(tmp_path)[0]
    assert (verify.matches, lookup.matches) == (b"\1\2\3\xff\0", b"")
    assert list(verify.provisions()[0]) == list(range(5))
    assert verify.leaf.rstrip(b"\0").endswith(verify.packed + b"\1\2\3\xff")


def test_sequences_follow_across_commits_segments_and_restarts(tmp_path: Path) -> None:
    for _ in range(3):
        with open_writer(tmp_path, segment_bytes_max=4_096) as writer:
            for _ in range(40):
                append(writer, range(10))
                writer.commit()
    records, reports = read(tmp_path)
    assert [record.sequence for record in records] == list(range(1, 121))
    assert len(reports) > 6
    assert all(report.end is SegmentEnd.WHOLE for report in reports)
    assert all(path.stat().st_size <= 4_096 for path in segments(tmp_path))


def test_a_group_larger_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    with open_writer(tmp_path, segment_bytes_max=4_096) as writer:
        append(writer)
        writer.commit()
        append(writer, range(5_000))
        assert writer.commit() == 2
    assert [record.count for record in read(tmp_path)[0]] == [1, 5_000]


def test_commit_without_appends_writes_nothing(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        assert writer.commit() == 0
        append(writer)
        assert writer.pending_bytes > 0
        assert writer.commit() == writer.commit() == 1
        assert writer.pending_bytes == 0


def test_files_hold_codes_and_are_for_their_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    with open_writer(directory):
        pass
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_second_writer_of_the_same_worker_is_refused(tmp_path: Path) -> None:
    writer, other = open_writer(tmp_path), open_writer(tmp_path, worker=4)
    with pytest.raises(RecordOfUseError, match="another process"):
        open_writer(tmp_path)
    writer.close()
    other.close()
    open_writer(tmp_path).close()


def test_a_closed_writer_refuses(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.close()
    writer.close()
    with pytest.raises(RecordOfUseError, match="closed"):
        append(writer)
    with pytest.raises(RecordOfUseError, match="closed"):
        writer.commit()
    assert len(read(tmp_path)[0]) == 1


def test_close_commits_what_is_left(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        for _ in range(5):
            append(writer)
    assert len(read(tmp_path)[0]) == 5


def test_opening_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordOfUseError, match="cannot be opened"):
        open_writer(tmp_path / "file" / "log")


@pytest.mark.parametrize("name", ["operator", "reason", "case_reference", "body"])
def test_a_text_that_is_too_long_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RecordOfUse(**(USE_FIELDS | {name: "長" * 400}))


def test_a_restart_after_a_crash_leaves_a_recovery_record(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    size = segments(tmp_path)[0].stat().st_size
    append(writer)  # never committed
    crash(writer)
    (tmp_path / "worker-03-000000000001.rou.new").write_bytes(b"half a header")
    writer = open_writer(tmp_path)
    assert append(writer) == 3
    writer.close()
    records, reports = read(tmp_path)
    assert [(r.sequence, r.kind) for r in records] == [(1, KIND_PROVISION), (2, KIND_RECOVERY), (3, KIND_PROVISION)]
    head = records[1].head
    assert isinstance(head, RecoveryHead)
    assert (head.segment, head.valid_bytes, head.left_bytes) == (0, reports[0].end_bytes, 0)
    assert [report.end for report in reports] == [SegmentEnd.BOUNDED, SegmentEnd.WHOLE]
    assert segments(tmp_path)[0].stat().st_size < size, "reserved room is given back"


def test_appends_while_another_thread_commits(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    stop = threading.Event()

    def commit() -> None:
        while not stop.is_set():
            writer.commit()

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    last = 0
    for i in range(600):
        last = append(writer, range(1 + i % 7))
    stop.set()
    thread.join()
    writer.close()
    assert [r.sequence for r in read(tmp_path)[0]] == list(range(1, last + 1))


CHILD = """
import sys
from array import array
from jukinet.core.audit.writer import RecordOfUse, RecordOfUseWriter
use = RecordOfUse(role="agency", body="b", operator="o", schedule=1, item="77", number=0, reason="r")
writer = RecordOfUseWriter(sys.argv[1], 0, segment_bytes_max=1 << 16, segment_step_bytes=8_192, free_bytes_min=0)
number = 0
while True:
    for size in (1, 700, 3, 2_000):
        number += 1
        ticket = writer.append(use, array("Q", range(size)), bytes([1]) * size, function=1, items=1, register_version=1)
    sys.stdout.buffer.write(writer.commit().to_bytes(8, "little"))
    sys.stdout.buffer.flush()
"""


@pytest.mark.parametrize("milliseconds", [30, 70, 110])
def test_every_acknowledged_ticket_is_there_after_kill_9(tmp_path: Path, milliseconds: int) -> None:
    """The same log is killed twice, so that recovery is followed by a second crash."""
    acknowledged = 0
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        seen = child.stdout.read(8)
        time.sleep(milliseconds / 1_000)
        child.send_signal(signal.SIGKILL)
        child.wait()
        seen += child.stdout.read()
        child.stdout.close()
        whole = len(seen) // 8 * 8
        acknowledged = int.from_bytes(seen[whole - 8 : whole], "little")
    records, reports = read(tmp_path)
    sequences = [record.sequence for record in records]
    assert acknowledged > 0
    assert sequences == list(range(1, len(sequences) + 1))
    assert sequences[-1] >= acknowledged
    assert {report.end for report in reports[:-1]} <= {SegmentEnd.WHOLE, SegmentEnd.BOUNDED}
    with contextlib.closing(open_writer(tmp_path, worker=0)) as writer:
        recovered = reports[-1].end is not SegmentEnd.WHOLE  # it may have died just between two segments
        assert append(writer) == sequences[-1] + 1 + recovered


def test_one_group_is_one_write_and_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def count(name: str) -> None:
        real = getattr(os, name)

        def counted(*arguments: object) -> object:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, counted)

    for name in ("pwritev", "fdatasync", "posix_fallocate"):
        count(name)
    with open_writer(tmp_path, segment_step_bytes=1 << 16, segment_bytes_max=1 << 20) as writer:
        calls.clear()
        for _ in range(50):
            append(writer)
        writer.commit()
        assert calls == ["pwritev", "fdatasync"]


def test_events_are_read_in_their_place(tmp_path: Path) -> None:
    with RecordOfUseWriter(tmp_path, 3) as writer:
        writer.append_event("authority", detail="version 1")
        writer.append_event("operator-in", role="agency", body="b", operator="op", connection=7, detail="class bulk")
        assert writer.commit() == 2
    first, second = (record.head for record in read_segments(tmp_path))
    assert isinstance(first, EventHead)
    assert isinstance(second, EventHead)
    assert (first.event, first.detail) == ("authority", "version 1")
    assert (second.role, second.body, second.operator, second.connection) == ("agency", "b", "op", 7)
    with pytest.raises(RecordOfUseError):
        writer.append_event("authority")
