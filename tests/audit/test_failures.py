"""Writes that fail: the group fails for ever and is never read, the log goes on when it can, and says what happened."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jukinet.core.audit import segment as segment_module
from jukinet.core.audit.errors import RecordOfUseNotWrittenError
from jukinet.core.audit.layout import KIND_PROVISION, KIND_VOID
from jukinet.core.audit.reader import SegmentEnd
from jukinet.core.audit.record import VoidHead
from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.errors import ErrorCode, RecordOfUseError

from .logs import append, crash, open_writer, read, segments


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size`` bytes: a real refusal by the kernel, without privileges."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Fault:
    """Makes one call of ``os`` fail with EIO as often as ``times`` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, times: int = 1, code: int = errno.EIO) -> None:
        self.times, self.code = times, code
        self.real = getattr(os, name)
        monkeypatch.setattr(os, name, self)

    def __call__(self, *arguments: object) -> object:
        if self.times:
            self.times -= 1
            raise OSError(self.code, os.strerror(self.code))
        return self.real(*arguments)


def refused(writer: RecordOfUseWriter) -> RecordOfUseNotWrittenError:
    with pytest.raises(RecordOfUseNotWrittenError) as caught:
        writer.commit()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.code is ErrorCode.RECORD_OF_USE_UNAVAILABLE
    return caught.value


def shape(directory: Path) -> list[tuple[int, int]]:
    return [(record.sequence, record.kind) for record in read(directory)[0]]


def test_no_room_for_the_next_step(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    with file_size_limit(8_192):
        for _ in range(2):
            first = append(writer, range(2_000))
            last = append(writer)
            error = refused(writer)
            assert (error.first_ticket, error.last_ticket) == (first, last)
            assert shape(tmp_path) == [(1, KIND_PROVISION)]
        assert writer.commit() == 1, "nothing waits"
    ticket = append(writer, range(2_000))
    assert writer.commit() == ticket == 6
    writer.close()
    assert shape(tmp_path) == [(1, KIND_PROVISION), (5, KIND_VOID), (6, KIND_PROVISION)]
    head = read(tmp_path)[0][1].head
    assert isinstance(head, VoidHead)
    assert (head.first_sequence, head.last_sequence, head.error) == (2, 5, errno.EFBIG)
    assert not head.doubtful
    assert len(segments(tmp_path)) == 1, "the segment goes on"


def test_small_records_still_fit_where_a_large_one_did_not(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    with file_size_limit(6_000):
        append(writer, range(2_000))
        refused(writer)
        ticket = append(writer)
        assert writer.commit() == ticket == 2
    writer.close()
    assert shape(tmp_path) == [(1, KIND_VOID), (2, KIND_PROVISION)]


@pytest.mark.parametrize("allowed", [0, 1, 39, 40, 41, 400])
def test_a_write_cut_short_by_the_kernel_leaves_nothing_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """Room seems to be there, and then only ``allowed`` bytes of the group are taken."""
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    assert writer._segment is not None
    durable = writer._segment.durable
    monkeypatch.setattr(writer._segment, "allocated", 1 << 20)
    with file_size_limit(durable + allowed):
        os.truncate(segments(tmp_path)[0], durable)
        append(writer, range(500))
        assert refused(writer).first_ticket == 2
        assert segments(tmp_path)[0].stat().st_size == durable
    append(writer)
    assert writer.commit() == 3
    writer.close()
    assert shape(tmp_path) == [(1, KIND_PROVISION), (2, KIND_VOID), (3, KIND_PROVISION)]


def test_after_a_failed_sync_the_segment_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    Fault(monkeypatch, "fdatasync")
    append(writer)
    assert refused(writer).first_ticket == 2
    assert shape(tmp_path) == [(1, KIND_PROVISION), (2, KIND_VOID)], "shut out at once"
    append(writer)
    assert writer.commit() == 3
    writer.close()
    records, reports = read(tmp_path)
    assert [(r.sequence, r.kind) for r in records] == [(1, KIND_PROVISION), (2, KIND_VOID), (3, KIND_PROVISION)]
    assert [report.end for report in reports] == [SegmentEnd.BOUNDED, SegmentEnd.WHOLE]
    head = records[1].head
    assert isinstance(head, VoidHead)
    assert (head.segment, head.doubtful, head.error) == (0, True, errno.EIO)


def test_a_failed_group_that_stays_on_the_disk_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the sync nor the cut succeeds: the bytes are there, whole, and the next segment shuts them out."""
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    Fault(monkeypatch, "fdatasync")
    Fault(monkeypatch, "ftruncate")
    append(writer)
    refused(writer)
    append(writer)
    writer.commit()
    writer.close()
    records, reports = read(tmp_path)
    assert [(r.sequence, r.kind) for r in records] == [(1, KIND_PROVISION), (2, KIND_VOID), (3, KIND_PROVISION)]
    assert reports[0].left_bytes > 0


def test_a_write_that_can_neither_end_nor_be_cut_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    Fault(monkeypatch, "pwritev")
    Fault(monkeypatch, "ftruncate")
    append(writer)
    refused(writer)
    assert len(segments(tmp_path)) == 2
    append(writer)
    assert writer.commit() == 2
    writer.close()
    assert shape(tmp_path) == [(1, KIND_VOID), (2, KIND_PROVISION)]


def test_no_new_segment_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    Fault(monkeypatch, "fdatasync")
    Fault(monkeypatch, "posix_fallocate", times=3, code=errno.ENOSPC)
    for _ in range(3):
        append(writer)
        refused(writer)
    assert not list(tmp_path.glob("*.new"))
    append(writer)
    assert writer.commit() == 4
    writer.close()
    records, _ = read(tmp_path)
    assert [(r.sequence, r.kind) for r in records] == [(3, KIND_VOID), (4, KIND_PROVISION)]
    head = records[0].head
    assert isinstance(head, VoidHead)
    assert (head.first_sequence, head.doubtful) == (1, True)


@pytest.mark.parametrize("left", [False, True], ids=["removed", "left"])
def test_a_new_segment_whose_name_cannot_be_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    """The file has its name, the directory cannot be synced, and the file may not be removable either."""
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    Fault(monkeypatch, "fdatasync")
    real, times = segment_module.sync_directory, 2

    def sync_directory(directory: Path) -> None:
        nonlocal times
        if times:
            times -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(directory)

    monkeypatch.setattr(segment_module, "sync_directory", sync_directory)
    if left:
        unlink = Path.unlink

        def refuses(path: Path, missing_ok: bool = False) -> None:
            if path.suffix == ".rou":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", refuses)
    append(writer)
    refused(writer)
    assert len(segments(tmp_path)) == (2 if left else 1)
    append(writer)
    refused(writer)
    append(writer)
    assert writer.commit() == 4
    writer.close()
    assert shape(tmp_path) == [(1, KIND_PROVISION), (3, KIND_VOID), (4, KIND_PROVISION)]
    assert len(segments(tmp_path)) == 2


def test_a_segment_that_holds_groups_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    shutil.copy(segments(tmp_path)[0], tmp_path / "worker-03-000000000001.rou")
    Fault(monkeypatch, "fdatasync")
    append(writer)
    refused(writer)
    append(writer)
    assert isinstance(refused(writer).__cause__, FileExistsError)
    crash(writer)


@pytest.mark.parametrize("call", ["pwritev", "ftruncate", "fsync"])
def test_a_failure_while_a_full_segment_is_closed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writer = open_writer(tmp_path, segment_bytes_max=4_096)
    for _ in range(2):
        append(writer, range(400))
        if len(segments(tmp_path)) == 1 and writer.last_ticket == 2:
            Fault(monkeypatch, call)
        with contextlib.suppress(RecordOfUseNotWrittenError):
            writer.commit()
    append(writer)
    assert writer.commit() == 3
    writer.close()
    assert [sequence for sequence, _ in shape(tmp_path)] == [1, 2, 3]


def test_an_interrupted_commit_is_void_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.commit()
    append(writer)
    assert writer.commit() == 2
    writer.close()
    assert shape(tmp_path) == [(1, KIND_VOID), (2, KIND_PROVISION)]


def test_room_below_the_minimum_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    everything = room.f_blocks * room.f_frsize
    with pytest.raises(RecordOfUseError, match="would stay free"):
        open_writer(tmp_path, free_bytes_min=everything)
    assert segments(tmp_path) == []
    writer = open_writer(tmp_path)
    writer._free_bytes_min = everything
    append(writer)
    assert writer.commit() == 1, "room reserved before is used"
    append(writer, range(3_000))
    assert "would stay free" in str(refused(writer))
    writer._free_bytes_min = 0
    append(writer)
    assert writer.commit() == 3
    writer.close()


def test_closing_over_a_broken_disk_ends_and_the_next_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    append(writer)
    with monkeypatch.context() as patch:
        Fault(patch, "pwritev", times=100)
        with pytest.raises(RecordOfUseNotWrittenError):
            writer.close()
    with open_writer(tmp_path) as writer:
        append(writer)
    assert [sequence for sequence, _ in shape(tmp_path)] == [1, 2, 3], "2 is the recovery record"


def test_a_crash_after_a_failed_commit(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    writer.commit()
    with file_size_limit(4_500):
        append(writer, range(2_000))
        refused(writer)
    crash(writer)
    with open_writer(tmp_path) as writer:
        append(writer)
    assert [sequence for sequence, _ in shape(tmp_path)] == [1, 2, 3]


def test_a_failure_says_nothing_of_codes(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    with file_size_limit(4_200):
        append(writer, [24727059608] * 1_000)
        error = refused(writer)
    assert "24727059608" not in str(error) + repr(error.__cause__)
    writer.close()


class Hang:
    """Makes the next call of one function of ``os`` wait until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.reached, self.let_go = threading.Event(), threading.Event()
        self.real = getattr(os, name)
        self.armed = True
        monkeypatch.setattr(os, name, self)

    def __call__(self, *arguments: object) -> object:
        if self.armed:
            self.armed = False
            self.reached.set()
            assert self.let_go.wait(10)
        return self.real(*arguments)


@contextlib.contextmanager
def committing(writer: RecordOfUseWriter, hang: Hang) -> Iterator[list[object]]:
    """A commit that hangs inside the block and may end after it; its result or error is in the list."""
    ended: list[object] = []

    def commit() -> None:
        try:
            ended.append(writer.commit())
        except RecordOfUseError as error:
            ended.append(error)

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    assert hang.reached.wait(10)
    yield ended
    hang.let_go.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("call", ["fdatasync", "pwritev", "fstatvfs", "posix_fallocate"])
def test_a_commit_that_hung_and_was_given_up_is_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    assert not writer.give_up(), "nothing is under way"
    writer.commit()
    append(writer, range(3_000))
    with committing(writer, Hang(monkeypatch, call)) as ended:
        append(writer)
        assert writer.give_up()
        append(writer)
        assert writer.give_up()
    (error,) = ended
    assert isinstance(error, RecordOfUseNotWrittenError)
    assert (error.first_ticket, error.last_ticket) == (2, 4)
    assert shape(tmp_path) == [(1, KIND_PROVISION)], "nothing of it is left, although the disk took it in the end"
    assert not writer.give_up()
    append(writer)
    assert writer.commit() == 5
    writer.close()
    records, _ = read(tmp_path)
    assert [(r.sequence, r.kind) for r in records] == [(1, KIND_PROVISION), (4, KIND_VOID), (5, KIND_PROVISION)]
    head = records[1].head
    assert isinstance(head, VoidHead)
    assert (head.first_sequence, head.last_sequence, head.error) == (2, 4, errno.ETIMEDOUT)


def test_a_commit_that_only_took_long_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    with committing(writer, Hang(monkeypatch, "fdatasync")) as ended:
        append(writer)
    assert ended == [1]
    assert writer.commit() == 2
    writer.close()
    assert shape(tmp_path) == [(1, KIND_PROVISION), (2, KIND_PROVISION)]


def test_a_commit_given_up_whose_sync_then_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    append(writer)
    Fault(monkeypatch, "fdatasync")
    with committing(writer, Hang(monkeypatch, "fdatasync")) as ended:
        append(writer)
        assert writer.give_up()
    (error,) = ended
    assert isinstance(error, RecordOfUseNotWrittenError)
    assert (error.first_ticket, error.last_ticket) == (1, 2)
    append(writer)
    assert writer.commit() == 3
    writer.close()
    assert shape(tmp_path) == [(1, KIND_VOID), (2, KIND_VOID), (3, KIND_PROVISION)]


FULL = """
import sys
from pathlib import Path
from array import array
from jukinet.core.audit import segment as segment_module
from jukinet.core.audit.errors import RecordOfUseNotWrittenError
from jukinet.core.audit.reader import read_segments
from jukinet.core.audit.writer import RecordOfUse, RecordOfUseWriter
root = Path(sys.argv[1])
use = RecordOfUse(role="agency", body="b", operator="o", schedule=1, item="77", number=0, reason="r")
writer = RecordOfUseWriter(root / "log", 0, segment_step_bytes=65_536, free_bytes_min=0)
def put():
    writer.append(use, array("Q", range(5_000)), bytes(5_000), function=1, items=1, register_version=1)
    return writer.commit()
good = []
try:
    while True:
        good.append(put())
except RecordOfUseNotWrittenError as error:
    failed, number = error.first_ticket, error.__cause__.errno
(root / "ballast").unlink()
good.append(put())
writer.close()
kinds = {record.sequence: record.kind for record in read_segments(root / "log")}
assert number == 28, number
assert len(good) > 5 and kinds == {**{t: 1 for t in good}, failed: 2}, (good, kinds)
print("full and on")
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1)")
def test_a_file_system_that_is_really_full(tmp_path: Path) -> None:
    """A tmpfs of 2 MiB in a user and mount namespace of its own; fills, is refused, and goes on when there is room."""
    mount = f"mount -t tmpfs -o size=2m tmpfs {tmp_path} && head -c 700000 /dev/zero > {tmp_path}/ballast"
    tried = subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this machine gives no user namespace with a tmpfs")
    command = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, sys.executable, FULL], capture_output=True, text=True, check=False
    )
    assert result.stdout == "full and on\n", result.stderr
