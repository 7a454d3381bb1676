"""Verification of a whole record of use from its first byte: what is wrong, and where (docs/record-of-use.md, 14).

The tree is built again from the seals, every checkpoint compared and its signature checked; every segment that should
be there is read and every record compared with its entry. Nothing derived is trusted: directory, hashes, ledger and
runs are compared with what they derive from.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core.audit.checkpoint import Checkpoint, Note, PublicKey, check, check_cosignature
from jukinet.core.audit.directory import DIRECTORY, KIND_OPERATORS, KIND_SEGMENT, SealRow, row_of
from jukinet.core.audit.erasure import DAY_NS, DAYS_A_YEAR, RETENTION_YEARS
from jukinet.core.audit.errors import NotProvedError, TreeDamagedError
from jukinet.core.audit.layout import LayoutError, list_segments, segment_name
from jukinet.core.audit.ledger import JAPAN, Ledger, Sums
from jukinet.core.audit.merkle import leaf_hash
from jukinet.core.audit.operator_changes import changes_path, read_changes
from jukinet.core.audit.run_check import RunCheck
from jukinet.core.audit.seal import (
    SEALS,
    ErasureStatement,
    OperatorsStatement,
    SealedWorker,
    SealReader,
    SegmentStatement,
    Statement,
    list_seals,
    open_seal,
    seal_name,
)
from jukinet.core.audit.sealing import CHECKPOINT, HASH_AT_ONCE_RECORDS, TREE
from jukinet.core.audit.segment_check import Finding, SegmentCheck, check_unsealed
from jukinet.core.audit.tree_files import LEVELS, TreeFront
from jukinet.core.audit.tree_kernel import entry_hashes
from jukinet.core.audit.witnessing import WITNESSED, kept_note
from jukinet.core.errors import RecordOfUseError

HASH: Final = 32
SLACK_DAYS: Final = 2
"""Periods end by the calendar, and statements name them in days."""


class VerifyReport(msgspec.Struct, kw_only=True):
    """What was read, and what is wrong: nothing, when ``findings`` is empty."""

    leaves: int = 0
    seals: int = 0
    records: int = 0
    provisions: int = 0
    bytes: int = 0
    """Of segments and seals, read and compared."""
    segments: int = 0
    erased_segments: int = 0
    erasures: list[str] = []
    """Of each month erased: which, when, and how old its newest provision was."""
    absent_segments: int = 0
    """Not there, and allowed not to be (``content`` False)."""
    unsealed_segments: int = 0
    unsealed_records: int = 0
    root: str = ""
    clock_back: int = 0
    """Seals that found the clock set back by more than a second."""
    cosigned: list[str] = []
    findings: list[Finding] = []


def day_of(time_ns: int) -> str:
    """In Japan."""
    return datetime.datetime.fromtimestamp(time_ns / 1e9, JAPAN).date().isoformat()


class CheckedFront(TreeFront):
    """Builds the tree's hashes anew and compares them with the files on the way."""

    def __init__(self, tree: Path, found: Callable[[Finding], None]) -> None:
        super().__init__()
        self._tree = tree
        self._found = found
        self._told: set[int] = set()

    def _keep(self, place: int, hashes: bytes) -> None:
        if place in self._told:
            return
        path = self._tree / f"hashes-{LEVELS[place]:02d}"
        offset = (self.size >> LEVELS[place]) * HASH
        try:
            with path.open("rb", buffering=0) as file:
                there = os.pread(file.fileno(), len(hashes), offset)
        except OSError:
            there = b""
        if there != hashes:
            self._told.add(place)
            self._found(Finding(kind="hashes", path=str(path), offset=offset, text="not the tree's hashes"))


class Verification:
    """One run over a record of use.

    Invariant: ``_front`` holds the leaves of the seals read so far, as far as they could be read.
    """

    def __init__(
        self,
        directory: str | Path,
        key: PublicKey,
        *,
        earlier: Sequence[Checkpoint] = (),
        witnesses: Sequence[PublicKey] = (),
        deep: bool = False,
        content: bool = True,
        retention_years: int = RETENTION_YEARS,
        now_ns: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """earlier: checkpoints seen before, which must be beginnings of this tree. witnesses: must have cosigned the
        newest checkpoint. deep: compute parts, compare runs and count the tallies as well. content: segments that are
        not there are faults unless they were erased. retention_years: what had to be kept before it was erased.
        now_ns: of whoever verifies. on_progress: told bytes read, in sum.
        """
        self.directory = Path(directory)
        self._tree = self.directory / TREE
        self._key = key
        self._earlier = list(earlier)
        self._witnesses = list(witnesses)
        self._deep = deep
        self._content = content
        self._retention_years = retention_years
        self._now_ns = time.time_ns() if now_ns is None else now_ns
        self._progress = on_progress or (lambda _bytes: None)
        self.report = VerifyReport(cosigned=[], erasures=[], findings=[])
        self._front = CheckedFront(self._tree, self._add)
        self._heads: dict[int, SealedWorker] = {}
        self._rows: list[SealRow] = []
        self._times: list[int] = []
        self._sums = Sums()
        self._months = 0
        self._tree_broken = False
        self._roots = {0: self._front.root()}
        self._last_note = ""
        self._register: bytes | None = None
        self._runs: RunCheck | None = None

    def _add(self, finding: Finding) -> None:
        self.report.findings.append(finding)

    def _fault(self, kind: str, path: Path, text: str, **where: int) -> None:
        self._add(Finding(kind=kind, path=str(path), text=text, **where))

    def run(self) -> VerifyReport:
        """Read everything. Raises RecordOfUseError when the directory cannot be read at all."""
        try:
            self._segments = list_segments(self.directory)
        except OSError as error:
            raise RecordOfUseError(f"{self.directory}: cannot be read ({error.strerror})") from error
        except LayoutError as error:
            self._fault("doubled", self.directory, str(error))
            self._segments = {}
        erasures = self._erasures()
        self._erased_leaf = max((one.next_leaf for _, one in erasures), default=0)
        if self._deep:
            self._runs = RunCheck(self._tree, self._erased_leaf, self._add)
        for number in self._numbers():
            self._seal(number)
        if self._runs is not None:
            self._runs.end()
        if self._tree_broken:  # then the files' hashes are not what is wrong
            self.report.findings = [one for one in self.report.findings if one.kind != "hashes"]
        self.report.leaves, self.report.root = self._front.size, self._front.root().hex()
        self._check_erasures(erasures)
        self._check_checkpoints()
        self._check_derived()
        self._check_unsealed()
        return self.report

    def _numbers(self) -> list[int]:
        """Seals in order; gaps are told."""
        try:
            numbers = list_seals(self._tree)
        except TreeDamagedError as error:
            self._fault("doubled", error.path, error.found)
            return []
        for number in sorted(set(range(numbers[-1] + 1 if numbers else 0)) - set(numbers)):
            self._fault("missing", self._tree / "seals", f"seal {number} is missing")
        if not numbers:
            self._fault(
                "missing", self._tree, "there are no seals: this record of use was never sealed, or they are gone"
            )
        return numbers

    def _erasures(self) -> list[tuple[int, ErasureStatement]]:
        """(seal, statement): looked for first, for the segments of an erased month come before the statement."""
        found = []
        try:
            numbers = list_seals(self._tree)
        except TreeDamagedError:
            return []
        for number in numbers:
            try:
                with open_seal(self._tree, number) as seal:
                    if seal.records == 0:
                        statement = seal.decoded()
                        if isinstance(statement, ErasureStatement):
                            found.append((number, statement))
            except TreeDamagedError:
                pass  # told when it is read in its turn
        return found

    # -- the tree

    def _seal(self, number: int) -> None:
        try:
            with open_seal(self._tree, number) as seal:
                self._read_seal(seal)
        except TreeDamagedError as error:
            self._fault("damaged", error.path, error.found)
            self._tree_broken = True

    def _read_seal(self, seal: SealReader) -> None:
        usable = True
        try:
            seal.check()
        except TreeDamagedError as error:
            self._fault("damaged", error.path, error.found)
            usable = False
        if seal.first_leaf != self._front.size and not self._tree_broken:
            self._fault("tree", seal.path, f"begins at leaf {seal.first_leaf} where {self._front.size} must stand")
            self._tree_broken = True
        first = self._front.size
        for start in range(0, seal.records, HASH_AT_ONCE_RECORDS):
            entries = seal.entries(start, min(HASH_AT_ONCE_RECORDS, seal.records - start))
            self._front.append(entry_hashes(entries))
        encoded = seal.statement
        self._front.append(leaf_hash(encoded))
        self.report.seals += 1
        self.report.bytes += seal.path.stat().st_size
        self._check_note(seal, first, usable)
        statement = seal.decoded()
        self._rows.append(row_of(first, seal.records, statement))
        self._times.append(statement.time_ns if statement is not None else self._now_ns)
        if statement is not None:
            self._check_statement(seal, statement, usable)

    def _check_note(self, seal: SealReader, first: int, usable: bool) -> None:
        """The signed root must be the one that the entries lead to."""
        try:
            self._last_note = seal.note
            point = check(self._last_note, self._key)
        except NotProvedError as error:
            self._fault("signature", seal.path, str(error))
            return
        if self._tree_broken:
            return
        root = self._front.root()
        if (point.size, point.root) == (self._front.size, root):
            self._roots[point.size] = root
            return
        if not usable:  # told already
            self._tree_broken = True
            return
        where = self._differing_leaf(seal, first)
        text = "its entries do not lead to the signed root"
        self._fault("changed", seal.path, text if where is None else f"{text}: leaf {where} was changed")
        self._tree_broken = True

    def _differing_leaf(self, seal: SealReader, first: int) -> int | None:
        """Which leaf is not the one whose hash the tree's files hold; None when these do not help."""
        try:
            there = (self._tree / "hashes-00").read_bytes()[first * HASH : (first + seal.records + 1) * HASH]
        except OSError:
            return None
        made = entry_hashes(seal.entries()) + leaf_hash(seal.statement)
        for place in range(0, min(len(there), len(made)), HASH):
            if there[place : place + HASH] != made[place : place + HASH]:
                return first + place // HASH
        return None

    def _check_statement(self, seal: SealReader, statement: Statement, usable: bool) -> None:
        if statement.month < self._months:
            self._fault("tree", seal.path, "its month lies before that of the seal before it")
        self._months = max(self._months, statement.month)
        if isinstance(statement, OperatorsStatement):
            self._check_changes(seal, statement)
        if isinstance(statement, SegmentStatement):
            self._check_order(seal, statement)
            self._sums.add(statement.tallies)
            self.report.clock_back += statement.clock_back_ns > 1_000_000_000
            if usable:
                self._check_segment(seal, statement)

    def _check_order(self, seal: SealReader, statement: SegmentStatement) -> None:
        """Each worker's segments one after the other, all of one register."""
        head = self._heads.get(statement.worker)
        if head is None and (statement.segment, statement.first_sequence) != (0, 1):
            text = f"begins with segment {statement.segment}, record {statement.first_sequence:,} of worker"
            self._fault("missing", seal.path, f"{text} {statement.worker}: what was before was never sealed")
        if head is not None and (head.segment, head.sequence) != (statement.segment, statement.first_sequence):
            self._fault(
                "reordered",
                seal.path,
                f"segment {statement.segment} of worker {statement.worker} where {head.segment} must stand",
            )
        if self._register not in (None, statement.register):
            self._fault("tree", seal.path, "is of another register than the seals before it")
        self._register = statement.register
        if statement.records != seal.records:
            self._fault("changed", seal.path, "its statement counts other records than it holds")
        self._heads[statement.worker] = SealedWorker(statement.worker, statement.segment + 1, statement.next_sequence)
        if statement.sealed != sorted(self._heads.values(), key=lambda one: one.worker):
            self._fault("tree", seal.path, "its statement names other sealed segments than there are")

    def _check_erasures(self, erasures: list[tuple[int, ErasureStatement]]) -> None:
        """Each names just the segments of its leaves, all sealed before it, and these were old enough."""
        if self._tree_broken:
            return
        latest = [self._now_ns]  # when each seal was made at the latest: not after any that follows it
        for time_ns in reversed(self._times):
            latest.append(min(latest[-1], time_ns))
        latest.reverse()
        named: set[tuple[int, int]] = set()
        before = 0
        for number, statement in erasures:
            path = self._tree / SEALS / seal_name(number)
            rows = [
                row
                for row in self._rows[:number]
                if row.kind == KIND_SEGMENT and statement.first_leaf <= row.first_leaf < statement.next_leaf
            ]
            said = {(one.worker, n) for one in statement.segments for n in range(one.first, one.last + 1)}
            named |= said
            if said != {(row.worker, row.segment) for row in rows}:
                self._fault("not erased", path, "names other segments than its leaves hold")
            newest_ns = max((row.last_time_ns for row in rows), default=0)
            names = [
                self._times[place]
                for place, row in enumerate(self._rows[:number])
                if row.kind == KIND_OPERATORS and before < row.next_leaf <= statement.next_leaf
            ]
            newest_ns, before = max([newest_ns, *names]), statement.next_leaf
            days = (latest[number] - newest_ns) // DAY_NS
            month = f"{statement.erased_month // 100}-{statement.erased_month % 100:02d}"
            least = max(statement.retention_days, round(self._retention_years * DAYS_A_YEAR))
            self.report.erasures.append(
                f"{month} on {day_of(statement.time_ns)}, its newest provision of {day_of(newest_ns)}"
            )
            if days < least - SLACK_DAYS:
                text = f"{month} was erased when its newest provision was at most {max(days, 0):,} days old"
                self._fault("erased early", path, f"{text}; {least:,} days are the least")
        for row in self._rows:
            is_erased = row.kind == KIND_SEGMENT and row.first_leaf < self._erased_leaf
            if is_erased and (row.worker, row.segment) not in named:
                path = self.directory / segment_name(row.worker, row.segment)
                self._fault("missing", path, "lies before an erasure, and none names it")

    # -- the content

    def _check_segment(self, seal: SealReader, statement: SegmentStatement) -> None:
        path = self.directory / segment_name(statement.worker, statement.segment)
        erased = seal.first_leaf < self._erased_leaf
        if erased:
            self.report.erased_segments += 1
            if path.exists():
                self._fault("not erased", path, "is still there although its erasure is on record")
            return
        if not path.exists():
            if self._content:
                self._fault("missing", path, "is missing, and no erasure is on record for it")
            else:
                self.report.absent_segments += 1
            return
        checked = SegmentCheck(path, seal, statement, self._add, deep=self._deep, runs=self._runs)
        checked.run()
        self.report.segments += 1
        self.report.records += checked.records
        self.report.provisions += checked.provisions
        self.report.bytes += checked.bytes
        self._progress(self.report.bytes)

    def _check_changes(self, seal: SealReader, statement: OperatorsStatement) -> None:
        """The names beside an operators' statement are those it commits to, and there for as long as they must be."""
        path = changes_path(self._tree, seal.number)
        try:
            changes = read_changes(self._tree, seal.number, statement)
        except TreeDamagedError as error:
            self._fault("changed", error.path, error.found)
            return
        if changes is None and self._content and seal.next_leaf > self._erased_leaf:
            self._fault("missing", path, "is missing, and no erasure is on record for it")
        if changes is not None and seal.next_leaf <= self._erased_leaf:
            self._fault("not erased", path, "is still there although its erasure is on record")

    def _check_unsealed(self) -> None:
        """What is not sealed yet can only be checked for itself."""
        for worker, segments in self._segments.items():
            head = self._heads.get(worker)
            first = head.segment if head else segments[0][0]
            for number, path in segments:
                if number < first and not self._is_sealed(worker, number):
                    self._fault("inserted", path, "was never sealed, although later segments were")
            newer = [(number, path) for number, path in segments if number >= first]
            if newer and newer[0][0] != first:
                self._fault("missing", self.directory / segment_name(worker, first), "is missing")
            checked, records = check_unsealed(newer, worker, head.sequence if head else None, self._register, self._add)
            self.report.unsealed_segments += checked
            self.report.unsealed_records += records

    def _is_sealed(self, worker: int, segment: int) -> bool:
        return any((row.kind, row.worker, row.segment) == (KIND_SEGMENT, worker, segment) for row in self._rows)

    # -- what is derived, and what others have seen

    def _check_checkpoints(self) -> None:
        for point in self._earlier:
            if point.origin != self._key.name:
                self._fault("checkpoint", self._tree, "an earlier checkpoint is of another log")
            elif point.size > self._front.size:
                self._fault(
                    "truncated",
                    self._tree,
                    f"an earlier checkpoint names {point.size} leaves, and there are {self._front.size}",
                )
            elif self._roots.get(point.size) != point.root:
                self._fault("checkpoint", self._tree, f"the tree of {point.size} leaves is not the one signed earlier")
        path = self._tree / CHECKPOINT
        try:
            text = path.read_text()
            note = Note.decode(text)
            check(text, self._key)
        except (OSError, UnicodeDecodeError, NotProvedError):
            self._fault("checkpoint", path, "is missing or not signed")
            return
        if self._last_note and note.text != self._last_note.rpartition("\n\n")[0] + "\n":
            self._fault("checkpoint", path, "is not that of the newest seal")
        for witness in self._witnesses:
            self._check_witness(witness, note)

    def _check_witness(self, witness: PublicKey, newest: Note) -> None:
        """The newest checkpoint that the witness cosigned must be one of this tree."""
        path = self._tree / WITNESSED / witness.name
        try:
            note = kept_note(self._tree, witness.name) or newest
            check_cosignature(note, witness)
            point = Checkpoint.decode(note.text)
        except (TreeDamagedError, NotProvedError) as error:
            self._fault("witness", path, str(error))
            return
        if self._roots.get(point.size) != point.root:
            self._fault("checkpoint", path, f"the tree of {point.size} leaves is not the one that was cosigned")
        else:
            self.report.cosigned.append(f"{witness.name}: {point.size} leaves")

    def _check_derived(self) -> None:
        if self._tree_broken:
            return
        path = self._tree / DIRECTORY
        try:
            there = path.read_bytes()
        except OSError:
            there = b""
        if there != b"".join(row.encode() for row in self._rows):
            self._fault("derived", path, "is not what the seals say; the sealer makes it anew")
        ledger = Ledger(self._tree)
        if ledger.seals != len(self._rows) or ledger.tallies() != self._sums.tallies():
            self._fault("derived", self._tree / "ledger", "is not the sum of the seals; remove it, and it is made anew")
