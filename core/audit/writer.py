"""Writing the record of use: append in memory, commit in groups, and what is left whole when that fails.

Theory of operation. ``append`` runs in the event loop and only touches the native RecordBuffer. ``commit`` runs in
another thread: it takes the buffer's records, writes them as one group into the current segment and waits for
fdatasync. A request's answer is sent when ``commit`` has returned a number that is not below its ticket. A commit that
takes too long is not waited for: ``give_up`` makes it fail, whenever the disk lets it end.
docs/record-of-use.md, chapter 5, says what holds after each kind of failure.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jukinet.core import limits
from jukinet.core.audit.errors import RecordOfUseDamagedError, RecordOfUseNotWrittenError
from jukinet.core.audit.kernel import Group, RecordBuffer
from jukinet.core.audit.layout import (
    GROUP_HEADER_BYTES,
    KIND_EVENT,
    KIND_RECOVERY,
    KIND_VOID,
    SEGMENT_HEADER_BYTES,
    LayoutError,
    encode_record,
    list_segments,
    segment_name,
)
from jukinet.core.audit.reader import SegmentEnd, SegmentReport, check_segment
from jukinet.core.audit.record import EventHead, RecordOfUse, RecoveryHead, VoidHead, encode_head
from jukinet.core.audit.segment import NEW_SUFFIX, SegmentFile, sync_directory
from jukinet.core.errors import RecordOfUseError

if TYPE_CHECKING:  # not a dependency at run time
    from typing_extensions import Buffer

__all__ = ["RecordOfUse", "RecordOfUseWriter"]

NO_REGISTER = "0" * 32


class RecordOfUseWriter:
    """The one writer of a worker's segments.

    Invariant: sequences up to ``durable_ticket`` are durable or void; ``_void`` holds the range that failed after it,
    which the next group must declare void; ``_segment`` is None when a new segment must be made first. While
    ``_undecided``, the commit under way can still be given up; it cannot both have succeeded and be given up.
    """

    def __init__(
        self,
        directory: str | Path,
        worker: int,
        *,
        register: str = NO_REGISTER,
        segment_bytes_max: int = limits.SEGMENT_BYTES_MAX,
        segment_step_bytes: int = limits.SEGMENT_STEP_BYTES,
        buffer_bytes_max: int = limits.RECORD_BUFFER_BYTES_MAX,
        free_bytes_min: int = limits.FREE_BYTES_MIN,
        segment_seconds_max: float = limits.SEGMENT_SECONDS_MAX,
    ) -> None:
        """Open ``directory`` (made when absent) for ``worker`` (0 to 999), recover what a crash left, begin a segment.

        register: the register's identifier, 32 hexadecimal digits. segment_bytes_max: a new segment begins before a
        group would pass it (a larger group has a segment of its own). segment_step_bytes: room reserved at a time.
        segment_seconds_max: age at which a segment that holds records gives way to a new one, so that it can be sealed.
        Raises RecordOfUseError: not writable, no room, another process writes it, or damaged (RecordOfUseDamagedError).
        """
        if not 0 <= worker < limits.WORKERS_MAX:
            raise ValueError(f"worker must be 0 to {limits.WORKERS_MAX - 1}")
        if segment_bytes_max < 4_096 or segment_step_bytes < 0 or buffer_bytes_max < 4_096 or free_bytes_min < 0:
            raise ValueError("a limit of the record of use is too small")
        self.directory = Path(directory)
        self.worker = worker
        self._register = bytes.fromhex(register)
        if len(self._register) != 16:
            raise ValueError("the register's identifier has 32 hexadecimal digits")
        self._segment_bytes_max = segment_bytes_max
        self._step_bytes = min(segment_step_bytes, segment_bytes_max)
        self._free_bytes_min = free_bytes_min
        self._segment_seconds_max = segment_seconds_max
        self._segment_begun = 0.0
        self._commit_lock = threading.Lock()
        self._decision = threading.Lock()
        self._undecided = False
        self._given_up = False
        self._void: VoidHead | None = None
        self._segment: SegmentFile | None = None
        self._closed = False
        self._previous_end = 0
        self._next_segment = 0
        self._lock_file = self._lock()
        try:
            next_sequence, recovery = self._recover()
            self._begin_segment(next_sequence)
            self.durable_ticket = next_sequence - 1
            if recovery is not None:
                self._write_recovery(recovery)
        except OSError as error:
            self._release()
            raise RecordOfUseError(f"{self.directory}: cannot be written ({reason(error)})") from error
        except BaseException:
            self._release()
            raise
        self._buffer = RecordBuffer(worker, self.durable_ticket + 1, buffer_bytes_max)

    # -- opening

    def _lock(self) -> int:
        path = self.directory / f"worker-{self.worker:02d}.lock"
        try:
            if not self.directory.is_dir():
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(self.directory.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RecordOfUseError(f"{path}: cannot be opened ({reason(error)}); check path and rights") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise RecordOfUseError(f"{path}: another process writes this worker's record of use") from error
        return descriptor

    def _release(self) -> None:
        self._closed = True
        if self._segment is not None:
            self._segment.abandon()
            self._segment = None
        os.close(self._lock_file)

    def _recover(self) -> tuple[int, RecoveryHead | None]:
        """Find where the last writer stopped: the next sequence, and a recovery record when it stopped in a crash."""
        try:
            segments = list_segments(self.directory).get(self.worker, [])
        except LayoutError as error:
            raise RecordOfUseDamagedError(self.directory, 0, str(error)) from error
        for path in self.directory.glob(f"worker-{self.worker:02d}-*{NEW_SUFFIX}"):
            path.unlink(missing_ok=True)
        if not segments:
            return 1, None
        number, path = segments[-1]
        report = check_segment(path)
        if (report.header.worker, report.header.segment) != (self.worker, number):
            raise RecordOfUseDamagedError(path, 32, "the file's name and its header disagree")
        self._previous_end = report.end_bytes
        self._next_segment = number + 1
        if report.end is SegmentEnd.WHOLE:
            return report.next_sequence, None
        self._give_back_room(report)
        recovery = RecoveryHead(
            time_ns=time.time_ns(), segment=number, valid_bytes=report.end_bytes, left_bytes=report.left_bytes
        )
        return report.next_sequence, recovery

    @staticmethod
    def _give_back_room(report: SegmentReport) -> None:
        """Cut the zeros at the end of a segment found open; bytes that are not zero stay as evidence."""
        with contextlib.suppress(OSError):  # only room is at stake
            os.truncate(report.path, report.end_bytes + report.left_bytes)

    def _begin_segment(self, first_sequence: int) -> SegmentFile:
        """Make the next segment. Raises OSError."""
        self._segment = SegmentFile.create(
            self.directory,
            register=self._register,
            worker=self.worker,
            segment=self._next_segment,
            first_sequence=first_sequence,
            previous_end=self._previous_end,
            step_bytes=self._step_bytes,
            free_bytes_min=self._free_bytes_min,
        )
        self._next_segment += 1
        self._segment_begun = time.monotonic()
        return self._segment

    def _write_recovery(self, head: RecoveryHead) -> None:
        assert self._segment is not None
        sequence = self.durable_ticket + 1
        record = encode_record(sequence, self.worker, KIND_RECOVERY, encode_head(head))
        self._segment.make_room(GROUP_HEADER_BYTES + len(record), self._step_bytes, self._free_bytes_min)
        self._segment.write_group([record], sequence, 1)
        self.durable_ticket = sequence

    # -- writing

    @property
    def pending_bytes(self) -> int:
        """Bytes in memory that wait for a commit."""
        return self._buffer.bytes

    @property
    def last_ticket(self) -> int:
        """The newest ticket given, durable or not."""
        return self._buffer.next_sequence - 1

    def append(
        self,
        use: RecordOfUse,
        codes: Buffer,
        outcomes: Buffer,
        *,
        function: int,
        items: int,
        register_version: int,
        since: int = 0,
        request_id: int = 0,
        time_ns: int = 0,
        matches: Buffer | None = None,
    ) -> int:
        """Add the record of one answer and return its ticket. In memory: below 1 us for one code, 0.1 ms for 65,536.

        codes: contiguous u64 buffer, 1 to 65,536; outcomes: u8 buffer, one for each code. since: yyyymmdd or 0;
        of SEARCH and MATCH the items given. time_ns: Unix time, 0 for now. matches: u8 buffer, one for each code, for
        VERIFY, SEARCH and MATCH and no other function. Raises
        RecordOfUseError when the buffer is full or the writer is closed (nothing of the record is kept), ValueError for
        codes, outcomes and matches that do not fit each other or the function.
        """
        if self._closed:
            raise RecordOfUseError("the record of use is closed")
        return self._buffer.append(
            use.encoded, codes, outcomes, function, items, register_version, since, request_id, time_ns, matches
        )

    def append_event(
        self,
        event: str,
        *,
        role: str = "",
        body: str = "",
        operator: str = "",
        connection: int = 0,
        detail: str = "",
    ) -> int:
        """Add an event record (docs/record-of-use.md, 4.4) and return its ticket. Raises as ``append`` does."""
        if self._closed:
            raise RecordOfUseError("the record of use is closed")
        head = EventHead(time.time_ns(), event, role, body, operator, connection, detail)
        return self._buffer.append_event(KIND_EVENT, encode_head(head))

    def commit(self) -> int:
        """Make everything appended so far durable; the last durable ticket. May be called from any thread.

        Raises RecordOfUseNotWrittenError with the range of tickets that are failed for ever; later commits may succeed.
        """
        with self._commit_lock:
            if self._closed:
                raise RecordOfUseError("the record of use is closed")
            with self._decision:
                self._undecided, self._given_up = True, False
            group = self._buffer.take()
            if group is None:
                self._undecided = False
                self._give_way()
                return self.durable_ticket
            try:
                self._write(group)
            except BaseException as error:
                first, last = group.first_sequence, group.last_sequence
                self._fail(first, last, error)
                last = max(last, self._fail_what_was_given_up(error))
                if not isinstance(error, OSError):
                    raise
                raise RecordOfUseNotWrittenError(
                    f"{self.directory}: the record of use cannot be written ({reason(error)}); nothing is provided "
                    "until it can. Make room or mend the disk",
                    first,
                    last,
                ) from error
            finally:
                self._buffer.give_back(group)
            return self.durable_ticket

    @property
    def segment_is_old(self) -> bool:
        """Whether a commit, even of nothing, would begin a new segment. Not to be asked while one is under way."""
        segment = self._segment
        return (
            segment is not None
            and segment.durable > SEGMENT_HEADER_BYTES
            and time.monotonic() - self._segment_begun >= self._segment_seconds_max
        )

    def _give_way(self) -> None:
        """Close a segment that is old, so that it can be sealed although nothing comes any more."""
        if self.segment_is_old and self._void is None:
            with contextlib.suppress(OSError):  # the next commit makes the new segment, or fails as it must
                self._room_for(0, self.durable_ticket + 1)

    def give_up(self) -> bool:
        """Fail the commit under way and all appended so far, for ever, whenever the disk lets that commit end.

        False when that is too late or nothing is under way: then ``commit`` says what became of it. Does not wait for
        the disk; called from the thread that appends.
        """
        with self._decision:
            self._given_up = self._undecided
            return self._undecided

    def _decide(self) -> None:
        """The group is durable: from here on it counts, unless it was given up while the disk was at it. OSError."""
        with self._decision:
            if self._given_up:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self._undecided = False

    def _fail_what_was_given_up(self, error: BaseException) -> int:
        """After a failure: void what was appended meanwhile too, if it was given up. The last ticket voided, or 0."""
        with self._decision:
            self._undecided = False
            rest = self._buffer.take() if self._given_up else None
        if rest is None:
            return 0
        try:
            self._fail(rest.first_sequence, rest.last_sequence, error)
            return rest.last_sequence
        finally:
            self._buffer.give_back(rest)

    def _write(self, group: Group | None) -> None:
        """One group with the void record that is due; ``durable_ticket`` follows. Raises OSError."""
        void = self._void
        pieces: list[Buffer] = []
        first, last, records = self.durable_ticket + 1, self.durable_ticket, 0
        if void is not None:
            first = last = void.last_sequence
            pieces.append(encode_record(void.last_sequence, self.worker, KIND_VOID, encode_head(void)))
            records = 1
        if group is not None:
            pieces.append(group)
            assert group.first_sequence == last + 1
            last = group.last_sequence
            records += group.records
        size = GROUP_HEADER_BYTES + sum(memoryview(piece).nbytes for piece in pieces)
        segment = self._room_for(size, self.durable_ticket + 1)
        if group is not None and self._given_up:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))  # making room took too long already
        segment.write_group(pieces, first, records, self._decide if group is not None else None)
        self.durable_ticket = last
        self._void = None

    def _room_for(self, size: int, next_sequence: int) -> SegmentFile:
        """The segment that takes ``size`` bytes of records; a new one when the old is full or doubtful. OSError."""
        segment = self._segment
        if segment is not None and (segment.doubtful or self._passes_end(segment, size) or self.segment_is_old):
            self._previous_end = segment.close(next_sequence)
            self._segment = segment = None
        if segment is None:
            segment = self._begin_segment(next_sequence)
        segment.make_room(size, self._step_bytes, self._free_bytes_min)
        return segment

    def _passes_end(self, segment: SegmentFile, size: int) -> bool:
        end = segment.durable + size + GROUP_HEADER_BYTES
        return segment.durable > SEGMENT_HEADER_BYTES and end > self._segment_bytes_max

    def _fail(self, first: int, last: int, error: BaseException) -> None:
        """Remember the range that the next group must declare void; ranges that follow each other become one."""
        earlier = self._void
        segment = self._segment
        if segment is not None and not isinstance(error, OSError):
            segment.doubtful = True  # interrupted somewhere in a write
        doubtful = segment is not None and segment.doubtful
        self._void = VoidHead(
            time_ns=time.time_ns(),
            first_sequence=earlier.first_sequence if earlier else first,
            last_sequence=last,
            segment=segment.header.segment if segment else self._next_segment,
            offset=segment.durable if segment else 0,
            doubtful=doubtful or (earlier is not None and earlier.doubtful),
            error=(error.errno or 0) if isinstance(error, OSError) else 0,
        )
        if doubtful:
            with contextlib.suppress(OSError):  # shut the doubtful bytes out at once; otherwise the next commit does
                self._write(None)

    def close(self) -> None:
        """Commit what is left, write the end mark, release the worker. Raises as ``commit`` does, after closing."""
        with contextlib.ExitStack() as stack:
            if self._closed:
                return
            stack.callback(self._close)
            self.commit()

    def _close(self) -> None:
        with self._commit_lock:
            if self._void is not None:
                with contextlib.suppress(OSError):  # the failed records then leave no trace; nothing was sent for them
                    self._write(None)
            if self._segment is not None:
                self._segment.close(self._void.first_sequence if self._void else self.durable_ticket + 1)
            self._release()

    def __enter__(self) -> RecordOfUseWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


assert len(segment_name(limits.WORKERS_MAX - 1, 10**12 - 1)) == len("worker-999-999999999999.rou")
