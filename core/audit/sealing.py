"""The sealer: adds closed segments and statements to the tree, one at a time, and signs it (docs/record-of-use.md, 13).

Theory of operation. The renamed seal file is the commit; hashes, directory, runs, checkpoint and ledger are derived.
All that is written before the rename lies behind what counts, and is cut off or removed when the sealer opens again.
What is written after it is brought up to date then. So a crash at any point loses nothing and adds nothing twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.audit.checkpoint import Checkpoint, Note, PrivateKey, check, sign
from jukinet.core.audit.directory import KIND_OPERATORS, KIND_SEGMENT, SealDirectory, row_of
from jukinet.core.audit.errors import NotProvedError, RecordOfUseDamagedError, SealingStoppedError, TreeDamagedError
from jukinet.core.audit.layout import (
    END_MARK,
    GROUP_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    GroupHeader,
    LayoutError,
    SegmentHeader,
    list_segments,
    segment_checksum,
    segment_name,
)
from jukinet.core.audit.ledger import Ledger, month_of, tallies_of
from jukinet.core.audit.merkle import leaf_hash
from jukinet.core.audit.operator_changes import changes_path, tidy_changes, write_changes
from jukinet.core.audit.parts import PARTS, PartsWriter, list_parts, tidy_parts
from jukinet.core.audit.reader import SegmentEnd, SegmentReader
from jukinet.core.audit.run_kernel import CodeBuffer, Tallies
from jukinet.core.audit.runs import RUNS, MergePlan, RunName, tidy, write_run
from jukinet.core.audit.seal import (
    SEALS,
    OperatorChange,
    OperatorsStatement,
    SealedWorker,
    SealWriter,
    SegmentStatement,
    Statement,
    encode_statement,
    open_seal,
    seal_name,
)
from jukinet.core.audit.segment import sync_directory
from jukinet.core.audit.tree_files import TreeFiles
from jukinet.core.audit.tree_kernel import Commitments, entry_hashes, sha256
from jukinet.core.errors import RecordOfUseError

TREE: Final = "tree"
LOCK: Final = "lock"
CHECKPOINT: Final = "checkpoint"
RUN_FLUSH_ENTRIES: Final = limits.RUN_ENTRIES_MAX // 2
CLOCK_TOLERANCE_NS: Final = 1_000_000_000
HASH_AT_ONCE_RECORDS: Final = 65_536


class Sealer:
    """The one writer of ``tree/``.

    Invariant: ``seals`` seals count and hold ``size`` leaves; the hashes in memory are those of exactly these.
    """

    def __init__(
        self,
        directory: str | Path,
        key: PrivateKey,
        *,
        workers: Iterable[int] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Open the record of use in ``directory``, finish what a crash left.

        workers: numbers that may write beside those found. clock: Unix time in nanoseconds. Raises RecordOfUseError
        (another sealer, not writable), SealingStoppedError and TreeDamagedError.
        """
        self.directory = Path(directory)
        self.tree = self.directory / TREE
        self._key = key
        self._clock = clock
        self._lock = self._open()
        try:
            self._hashes = TreeFiles(self.tree, writable=True)
        except BaseException:
            os.close(self._lock)
            raise
        try:
            self._recover(set(workers))
        except OSError as error:
            self.close()
            raise RecordOfUseError(f"{self.tree}: cannot be written ({error.strerror})") from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> int:
        if not self.directory.is_dir():
            raise RecordOfUseError(f"{self.directory}: no record of use is there")
        try:
            for path in (self.tree, self.tree / SEALS, self.tree / RUNS, self.tree / PARTS):
                path.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.directory)
            lock = os.open(self.tree / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RecordOfUseError(f"{self.tree}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise RecordOfUseError(f"{self.tree}: another process seals this record of use") from error
        return lock

    def close(self) -> None:
        self._hashes.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Sealer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Leaves of the tree."""
        return self.rows.size

    @property
    def seals(self) -> int:
        return len(self.rows.rows)

    @property
    def register(self) -> str:
        """The register whose record of use this is, 32 hexadecimal digits; zeros before the first segment."""
        return self._last.register.hex() if self._last else "0" * 32

    # -- opening

    def _recover(self, workers: set[int]) -> None:
        for path in (self.tree / SEALS).glob("*.new"):
            path.unlink(missing_ok=True)
        self.rows = SealDirectory.load(self.tree)
        self.rows.save(self.tree)
        self.checkpoint, note = self._last_checkpoint()
        self._check_not_behind()
        self._restore_hashes()
        self._month, self._last_time_ns = 0, 0
        self._last: SegmentStatement | None = None
        if self.seals:
            self._month = max(row.month for row in self.rows.rows)
        for number in range(self.seals - 1, -1, -1):
            if self.rows.rows[number].kind == KIND_SEGMENT:
                self._last = self._statement(number)
                break
        self._heads = {head.worker: head for head in self._last.sealed} if self._last else {}
        self._times = {row.worker: row.last_time_ns for row in self.rows.rows if row.kind == KIND_SEGMENT}
        self._last_time_ns = self._last.time_ns if self._last else 0
        self.workers = workers | set(self._heads) | set(self._list())
        tidy(self.tree, self.size)
        tidy_parts(self.tree, self.seals)
        tidy_changes(self.tree, [row.kind == KIND_OPERATORS for row in self.rows.rows])
        self._without_parts = self._seals_without_parts()
        self._plan = MergePlan(self.tree)
        self._plan.begin()
        self.ledger = Ledger(self.tree)
        self.ledger.bring_up(self.seals, self.size)
        self.ledger.save()
        if note is not None:
            self._publish(note, keep=True)

    def _list(self) -> dict[int, list[tuple[int, Path]]]:
        try:
            return list_segments(self.directory)
        except LayoutError as error:
            raise SealingStoppedError(f"{self.directory}: {error}") from None

    def _statement(self, number: int) -> SegmentStatement:
        with open_seal(self.tree, number) as seal:
            statement = seal.decoded()
        assert isinstance(statement, SegmentStatement)
        return statement

    def _last_checkpoint(self) -> tuple[Checkpoint | None, Note | None]:
        if not self.seals:
            return None, None
        with open_seal(self.tree, self.seals - 1) as seal:
            seal.check()
            text = seal.note
        try:
            checkpoint = check(text, self._key.public)
        except NotProvedError as error:
            raise SealingStoppedError(f"{seal.path}: {error}; is this the key that sealed it?") from None
        if checkpoint.size != self.size:
            raise SealingStoppedError(f"{seal.path}: its checkpoint is of another size than the tree")
        return checkpoint, Note.decode(text)

    def _check_not_behind(self) -> None:
        """Refuse to sign a second tree over one that was already signed and shown."""
        path = self.tree / CHECKPOINT
        if not path.exists():
            return
        try:
            shown = check(path.read_text(), self._key.public)
        except (NotProvedError, UnicodeDecodeError) as error:
            raise SealingStoppedError(f"{path}: {error}") from None
        if shown.size > self.size:
            raise SealingStoppedError(f"{path}: names {shown.size:,} leaves, and the seals hold {self.size:,}")

    def _restore_hashes(self) -> None:
        """Take up the hashes on disk, or make them again from the seals when they are not those that were signed."""
        if self._hashes.rewind(self.size) and (not self.checkpoint or self._hashes.root() == self.checkpoint.root):
            return
        self._hashes.rewind(0)
        for number in range(self.seals):
            with open_seal(self.tree, number) as seal:
                for first in range(0, seal.records, HASH_AT_ONCE_RECORDS):
                    count = min(HASH_AT_ONCE_RECORDS, seal.records - first)
                    self._hashes.append(entry_hashes(seal.entries(first, count)))
                self._hashes.append(leaf_hash(seal.statement))
        if self.checkpoint and self._hashes.root() != self.checkpoint.root:
            raise SealingStoppedError(f"{self.tree}: the seals do not lead to the root that was signed")

    # -- what is to be sealed

    def pending(self) -> tuple[int, int] | None:
        """(worker, segment) that is sealed next, or None. Raises SealingStoppedError when it is missing."""
        best: tuple[int, int, int] | None = None
        for worker in sorted(self.workers):
            segment = self._next_segment(worker)
            path = self.directory / segment_name(worker, segment)
            successor = self.directory / segment_name(worker, segment + 1)
            try:
                with path.open("rb", buffering=0) as file:
                    encoded = file.read(SEGMENT_HEADER_BYTES)
                    header = SegmentHeader.decode(encoded)
                    if not successor.exists() and not _ends_with_mark(file.fileno(), encoded):
                        continue
            except FileNotFoundError:
                if successor.exists():
                    raise SealingStoppedError(f"{path}: is missing, and must be sealed next") from None
                continue
            except LayoutError as error:
                raise SealingStoppedError(f"{path}: {error}") from None
            here = (header.created, worker, segment)
            best = here if best is None else min(best, here)
        return None if best is None else best[1:]

    def _next_segment(self, worker: int) -> int:
        head = self._heads.get(worker)
        if head is not None:
            return head.segment
        found = self._list().get(worker)
        return found[0][0] if found else 0

    def step(self) -> SegmentStatement | None:
        """Seal the next closed segment; None when there is none.

        Raises SealingStoppedError (an operator must look), RecordOfUseError and OSError (no room: try again later).
        """
        found = self.pending()
        if found is None:
            return None
        try:
            return self._seal(*found)
        except RecordOfUseDamagedError as error:
            raise SealingStoppedError(str(error)) from error

    # -- sealing

    def _seal(self, worker: int, segment: int) -> SegmentStatement:
        path = self.directory / segment_name(worker, segment)
        successor = self.directory / segment_name(worker, segment + 1)
        end = None
        if successor.exists():
            with SegmentReader(successor) as after:
                end = after.header.previous_end
        with SegmentReader(path, end, decode=False) as reader, self._addition() as addition:
            self._check_header(reader, worker, segment)
            header = reader.header
            commitments = Commitments(worker, segment, header.salt)
            for raw in reader.raw_records():
                entries, hashes = commitments.commit(raw.data, raw.offset, raw.records)
                addition.add(raw.data, entries, hashes, commitments.middle)
            report = reader.report
            if report.end not in (SegmentEnd.WHOLE, SegmentEnd.BOUNDED):
                raise SealingStoppedError(f"{path}: was closed and is open again")
            head = SealedWorker(worker, segment + 1, report.next_sequence)
            statement = addition.segment_statement(
                register=header.register,
                worker=worker,
                segment=segment,
                header=sha256(header.encode()),
                first_sequence=header.first_sequence,
                next_sequence=report.next_sequence,
                end_bytes=report.end_bytes,
                sealed=sorted({**self._heads, worker: head}.values(), key=lambda one: one.worker),
            )
            addition.commit(statement)
        self._heads[worker] = head
        self._last, self._last_time_ns = statement, statement.time_ns
        self._times[worker] = addition.previous_ns or self._times.get(worker, 0)
        self._after(statement, addition)
        return statement

    def _seals_without_parts(self) -> list[int]:
        """Segments' seals whose parts file is missing, as in a tree of an earlier version; the oldest is last."""
        there = list_parts(self.tree)
        rows = enumerate(self.rows.rows)
        return [number for number, row in rows if row.kind == KIND_SEGMENT and number not in there][::-1]

    def mend(self) -> int | None:
        """Make the next missing parts file from its segment: the seal's number, or None when none is missing.

        Erased segments need none; one that cannot be read as it was sealed is left to verification. Raises OSError.
        """
        while self._without_parts:
            number = self._without_parts.pop()
            row = self.rows.rows[number]
            path = self.directory / segment_name(row.worker, row.segment)
            if not path.exists():
                continue
            writer = PartsWriter(self.tree, number, row.first_leaf)
            try:
                with open_seal(self.tree, number) as seal:
                    statement = seal.decoded()
                    assert isinstance(statement, SegmentStatement)
                    with SegmentReader(path, statement.end_bytes, decode=False) as reader:
                        commitments = Commitments(row.worker, row.segment, reader.header.salt)
                        first = 0
                        for raw in reader.raw_records():
                            commitments.commit(raw.data, raw.offset, raw.records)
                            writer.add(commitments.middle, first)
                            first += raw.records
                writer.commit()
            except RecordOfUseError:
                writer.abandon()
                continue
            except BaseException:
                writer.abandon()
                raise
            sync_directory(self.tree / PARTS)
            return number
        return None

    def _check_header(self, reader: SegmentReader, worker: int, segment: int) -> None:
        header = reader.header
        if (header.worker, header.segment) != (worker, segment):
            raise SealingStoppedError(f"{reader.path}: the file's name and its header disagree")
        if self._last is not None and header.register != self._last.register:
            raise SealingStoppedError(f"{reader.path}: is of another register than the segments sealed before")
        head = self._heads.get(worker)
        if head is not None and head.sequence != header.first_sequence:
            raise SealingStoppedError(f"{reader.path}: does not follow the segment that was sealed before it")

    def _addition(self) -> Addition:
        return Addition(self)

    def now(self) -> int:
        return self._clock()

    def month(self) -> int:
        """The month that is sealed into; it never goes back."""
        return max(self._month, month_of(self.now()))

    def add_statement(self, statement: Statement) -> int:
        """Add a statement that concerns no segment: its seal's number. Raises OSError and RecordOfUseError."""
        assert not isinstance(statement, SegmentStatement)
        number = self.seals
        with self._addition() as addition:
            addition.commit(statement)
        self._after(statement, addition)
        return number

    def add_operator_changes(self, database: str, changes: Sequence[OperatorChange]) -> int:
        """Commit to changes of operators, which are kept beside the tree: the seal's number. Raises as above."""
        number = self.seals
        committed = write_changes(self.tree, number, changes)
        statement = OperatorsStatement(time_ns=self.now(), month=self.month(), database=database, changes=committed)
        try:
            return self.add_statement(statement)
        finally:
            if not (self.tree / SEALS / seal_name(number)).exists():
                changes_path(self.tree, number).unlink(missing_ok=True)

    def _after(self, statement: Statement, addition: Addition) -> None:
        """Bring up to date what is derived from the seal that was just committed."""
        self.rows.add(self.tree, row_of(addition.first_leaf, addition.records, statement))
        self._month = statement.month
        self.checkpoint = addition.checkpoint
        self._publish(addition.note)
        self.ledger.add(statement.tallies if isinstance(statement, SegmentStatement) else (), self.size)
        self.ledger.save()
        for name, entries in addition.runs:
            self._plan.add(name, entries)

    def _publish(self, note: Note, *, keep: bool = False) -> None:
        """Replace ``tree/checkpoint``; keep: not when it already says the same, with witnesses' lines."""
        path = self.tree / CHECKPOINT
        if keep and path.exists() and Note.decode(path.read_text()).text == note.text:
            return
        making = path.with_name(path.name + ".new")
        making.write_text(note.encode())
        making.rename(path)


class Addition:
    """One seal while it is made; as a context, it leaves nothing behind unless it was committed."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self.first_leaf = sealer.size
        self.leaf = self.first_leaf
        self.records = 0
        self.runs: list[tuple[RunName, int]] = []
        self.committed = False
        self._month = sealer.month()
        self._writer = SealWriter(sealer.tree / SEALS, sealer.seals, self.first_leaf)
        self._codes = CodeBuffer()
        self._parts: PartsWriter | None = None
        self._run_first = self.first_leaf
        self._tallies: Tallies | None = None

    def __enter__(self) -> Addition:
        return self

    def __exit__(self, *_: object) -> None:
        if self.committed:
            return
        with contextlib.suppress(OSError):
            self._writer.abandon()
            if self._parts is not None:
                self._parts.abandon()
                self._parts.path.unlink(missing_ok=True)
        for name, _entries in self.runs:
            with contextlib.suppress(OSError):
                name.path(self._sealer.tree).unlink(missing_ok=True)
        self._sealer._hashes.rewind(self.first_leaf)

    def add(self, data: memoryview, entries: bytes, hashes: bytes, middle: tuple[bytes, bytes]) -> None:
        """Verified records. Raises OSError."""
        sealer = self._sealer
        self._parts_writer().add(middle, self.records)
        if self._tallies is None:
            worker = int.from_bytes(entries[4:6], "little")
            self._tallies = Tallies(limits.INTERACTIVE_PROVISIONS_MAX, sealer._times.get(worker, 0))
        self._tallies.count(data)
        self._codes.collect(data, self.leaf)
        self._writer.add(entries)
        sealer._hashes.append(hashes)
        records = len(hashes) // 32
        self.leaf += records
        self.records += records
        if self._codes.entries >= RUN_FLUSH_ENTRIES:
            self._write_run(self.leaf)

    def _parts_writer(self) -> PartsWriter:
        if self._parts is None:
            self._parts = PartsWriter(self._sealer.tree, self._sealer.seals, self.first_leaf)
        return self._parts

    @property
    def previous_ns(self) -> int:
        """Time of the last provision that was added, 0 when there is none."""
        return self._tallies.previous_ns if self._tallies else 0

    def _write_run(self, next_leaf: int) -> None:
        name = RunName(self._month, self._run_first, next_leaf)
        self.runs.append((name, self._codes.entries))
        write_run(self._sealer.tree, name, self._codes)
        self._run_first = next_leaf

    def segment_statement(
        self,
        *,
        register: bytes,
        worker: int,
        segment: int,
        header: bytes,
        first_sequence: int,
        next_sequence: int,
        end_bytes: int,
        sealed: list[SealedWorker],
    ) -> SegmentStatement:
        """The statement of the segment whose records were added. Raises SealingStoppedError for heads that are none."""
        sealer = self._sealer
        counted = self._tallies or Tallies(limits.INTERACTIVE_PROVISIONS_MAX)
        now = sealer.now()
        try:
            tallies = tallies_of(counted)
        except (msgspec.DecodeError, ValueError):
            raise SealingStoppedError(f"{segment_name(worker, segment)}: a record's head cannot be read") from None
        return SegmentStatement(
            time_ns=now,
            month=self._month,
            register=register,
            worker=worker,
            segment=segment,
            header=header,
            first_sequence=first_sequence,
            next_sequence=next_sequence,
            records=self.records,
            end_bytes=end_bytes,
            first_time_ns=counted.first_time_ns,
            last_time_ns=counted.last_time_ns,
            clock_back_ns=max(counted.back_ns, sealer._last_time_ns - now, 0),
            sealed=sealed,
            tallies=tallies,
        )

    def commit(self, statement: Statement) -> None:
        """Write runs, hashes and seal; when this returns, the seal counts and is durable. Raises OSError."""
        sealer = self._sealer
        encoded = encode_statement(statement)
        if len(encoded) > limits.STATEMENT_BYTES_MAX:
            raise SealingStoppedError("a statement longer than a seal can hold")
        sealer._hashes.append(leaf_hash(encoded))
        if isinstance(statement, SegmentStatement):
            self._write_run(self.leaf + 1)
            self._parts_writer().commit()
            sync_directory(sealer.tree / RUNS)
            sync_directory(sealer.tree / PARTS)
        sealer._hashes.sync()
        key = sealer._key
        self.checkpoint = Checkpoint(key.public.name, sealer._hashes.size, sealer._hashes.root())
        self.note = sign(self.checkpoint, key)
        self._writer.commit(encoded, self.note.encode())
        self.committed = True
        sync_directory(sealer.tree / SEALS)


def _ends_with_mark(descriptor: int, header: bytes) -> bool:
    """Whether the file's last bytes are an end mark."""
    offset = os.fstat(descriptor).st_size - GROUP_HEADER_BYTES
    if offset < SEGMENT_HEADER_BYTES:
        return False
    try:
        group = GroupHeader.decode(os.pread(descriptor, GROUP_HEADER_BYTES, offset), segment_checksum(header), offset)
    except LayoutError:
        return False
    return bool(group.flags & END_MARK)


def open_tree(directory: Path) -> Path:
    """``tree/`` of a record of use. Raises TreeDamagedError when it was never sealed."""
    tree = directory / TREE
    if not (tree / SEALS).is_dir():
        raise TreeDamagedError(tree, "this record of use was never sealed")
    return tree
