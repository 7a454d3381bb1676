"""Comparing one segment with its seal, record by record, and saying what was done to it."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.audit.errors import RecordOfUseDamagedError, TreeDamagedError
from jukinet.core.audit.layout import SEGMENT_HEADER_BYTES, LayoutError, SegmentHeader
from jukinet.core.audit.ledger import tallies_of
from jukinet.core.audit.parts import PartsReader
from jukinet.core.audit.reader import SegmentReader, check_segment
from jukinet.core.audit.run_check import RunCheck
from jukinet.core.audit.run_kernel import Tallies
from jukinet.core.audit.seal import ENTRY_BYTES, RecordEntry, SealReader, SegmentStatement
from jukinet.core.audit.tree_kernel import Commitments, entry_provisions
from jukinet.core.errors import RecordOfUseError

FINDINGS_PER_SEGMENT_MAX: Final = 20
CONTENT_SALT: Final = 2**32 - 1
GROUP_MAGIC: Final = 0x50555247


class Finding(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that is wrong, and where. Never content.

    kind: changed, removed, inserted, reordered, truncated, missing, doubled, swapped, damaged, not erased, erased
    early, signature, checkpoint, witness, tree, hashes, derived, codes, tallies. offset: byte in ``path``.
    """

    kind: str
    path: str
    text: str
    offset: int = -1
    worker: int = -1
    sequence: int = -1

    def __str__(self) -> str:
        where = f" at byte {self.offset:,}" if self.offset >= 0 else ""
        which = f" (worker {self.worker}, record {self.sequence:,})" if self.sequence >= 0 else ""
        return f"{self.kind}: {self.path}{where}{which}: {self.text}"


class SegmentCheck:
    """One sealed segment against the entries of its seal.

    Invariant: ``records`` records were read and are those of the first ``records`` entries.
    """

    def __init__(
        self,
        path: Path,
        seal: SealReader,
        statement: SegmentStatement,
        found: Callable[[Finding], None],
        *,
        deep: bool = False,
        runs: RunCheck | None = None,
    ) -> None:
        self.path = path
        self.records = 0
        self.provisions = 0
        self.bytes = 0
        self._seal = seal
        self._tree = seal.path.parent.parent
        self._statement = statement
        self._tell = found
        self._told = 0
        self._deep = deep
        self._runs = runs
        self._tallies = Tallies(limits.INTERACTIVE_PROVISIONS_MAX) if deep else None
        self._parts_held = 0

    def _add(self, kind: str, text: str, offset: int = -1, sequence: int = -1) -> None:
        self._told += 1
        if self._told <= FINDINGS_PER_SEGMENT_MAX:
            worker = self._statement.worker if sequence >= 0 else -1
            where = {"offset": offset, "worker": worker, "sequence": sequence}
            self._tell(Finding(kind=kind, path=str(self.path), text=text, **where))
        elif self._told == FINDINGS_PER_SEGMENT_MAX + 1:
            self._tell(Finding(kind=kind, path=str(self.path), text="and more in this segment"))

    def run(self) -> None:
        """Read it. What is wrong is told."""
        try:
            if self._check_header():
                with self._kept_parts() as parts:
                    same = self._compare(parts)
                if not same:
                    self._diagnose()
                elif self._tallies is not None:
                    self._compare_tallies(self._tallies)
        except OSError as error:
            self._add("missing", f"cannot be read ({error.strerror})")
        except ValueError:
            self._add("damaged", "cannot be compared: its seal holds what is no entry")
        if self._runs is not None:
            self._runs.statement(self._seal.next_leaf)

    def _check_header(self) -> bool:
        with self.path.open("rb", buffering=0) as file:
            encoded = file.read(SEGMENT_HEADER_BYTES)
        statement = self._statement
        if hashlib.sha256(encoded).digest() == statement.header:
            return True
        try:
            header = SegmentHeader.decode(encoded)
        except LayoutError as error:
            self._add("changed", f"segment header: {error}", 0)
            return False
        if (header.worker, header.segment) != (statement.worker, statement.segment):
            self._add("swapped", f"holds segment {header.segment} of worker {header.worker}", 32)
        else:
            self._add("changed", "segment header: not the one that was sealed", 0)
        return False

    def _kept_parts(self) -> contextlib.AbstractContextManager[PartsReader | None]:
        """The segment's parts file, when it is to be compared."""
        if self._deep:
            try:
                return PartsReader(self._tree, self._seal.number, self._seal.first_leaf)
            except TreeDamagedError as error:
                self._tell_parts(error)
        return contextlib.nullcontext()

    def _tell_parts(self, error: TreeDamagedError) -> None:
        text = f"{error.found}; remove it, and the sealer makes it anew"
        self._tell(Finding(kind="derived", path=str(error.path), text=text))

    def _compare_parts(self, parts: PartsReader, middle: tuple[bytes, bytes]) -> PartsReader | None:
        """The same parts file for the records that follow, or None when its fault was told."""
        try:
            self._parts_held += parts.compare(middle, self.records)
        except TreeDamagedError as error:
            self._tell_parts(error)
            return None
        return parts

    def _compare(self, parts: PartsReader | None) -> bool:
        """Whether every record is the one of its entry, in one pass in native code."""
        statement, seal = self._statement, self._seal
        try:
            with SegmentReader(self.path, statement.end_bytes, decode=False) as reader:
                commitments = Commitments(statement.worker, statement.segment, reader.header.salt)
                for raw in reader.raw_records():
                    if self.records + raw.records > seal.records:
                        return False
                    expected = seal.entries(self.records, raw.records)
                    taken = None if self._deep else expected
                    made, _ = commitments.commit(raw.data, raw.offset, raw.records, taken, leaves=False)
                    if made != expected:
                        return False
                    if parts is not None:
                        parts = self._compare_parts(parts, commitments.middle)
                    if self._tallies is not None:
                        self._tallies.count(raw.data)
                    if self._runs is not None:
                        self._runs.records(raw.data, seal.first_leaf + self.records, raw.records)
                    self.records += raw.records
                    self.provisions += entry_provisions(expected)
                    self.bytes = raw.offset + len(raw.data)
                report = reader.report
            if self.records != seal.records or report.next_sequence != statement.next_sequence:
                return False
            self.bytes = report.end_bytes
            if parts is not None and parts.records != self._parts_held:
                self._tell_parts(TreeDamagedError(parts.path, "holds more records than there are"))
        except (RecordOfUseError, ValueError):
            return False
        return True

    def _compare_tallies(self, counted: Tallies) -> None:
        """What the statement says of times and numbers, from which ledger and yearly report come."""
        statement = self._statement
        times = (counted.first_time_ns, counted.last_time_ns)
        try:
            same = tallies_of(counted) == statement.tallies and times == (
                statement.first_time_ns,
                statement.last_time_ns,
            )
        except (msgspec.DecodeError, ValueError):
            same = False
        if not same:
            text = "the seal counts other provisions or times than its records hold"
            self._tell(Finding(kind="tallies", path=str(self._seal.path), text=text))

    # -- what is wrong, slowly

    def _diagnose(self) -> None:
        """Something differs: find out what, by record."""
        data = self.path.read_bytes()
        salt = SegmentHeader.decode(data).salt
        entries = [
            RecordEntry.decode(packed[place : place + ENTRY_BYTES])
            for packed in (self._seal.entries(),)
            for place in range(0, len(packed), ENTRY_BYTES)
        ]
        there, whole = self._records_there(data, salt)
        if len(data) < self._statement.end_bytes and not whole:
            self._add("truncated", f"has {len(data):,} of {self._statement.end_bytes:,} bytes", len(data))
        expected = {entry.content: place for place, entry in enumerate(entries)}
        missing = [entry for entry in entries if entry.content not in there]
        extra = [(offset, sequence) for content, (offset, sequence) in there.items() if content not in expected]
        by_sequence = {sequence for _, sequence in extra}
        gone = {entry.sequence for entry in missing}
        for entry in missing:
            if not self._lies_at(data, entry, salt):
                kind = self._what_happened(data, entry, entry.sequence in by_sequence or not whole)
                texts = {
                    "changed": "is not the record that was sealed",
                    "removed": "is not there any more",
                    "truncated": "lies behind the end of the file",
                }
                self._add(kind, texts[kind], entry.offset, entry.sequence)
        for offset, sequence in extra:
            if sequence not in gone:
                self._add("inserted", "was never sealed", offset, sequence)
        order = sorted((offset, expected[content]) for content, (offset, _) in there.items() if content in expected)
        places = [place for _, place in order]
        if places != sorted(places):
            first = next(number for number, place in enumerate(places) if place != sorted(places)[number])
            entry = entries[places[first]]
            self._add("reordered", "does not stand where it was sealed", order[first][0], entry.sequence)
        if not self._told:
            self._check_deep(data, salt, entries)
        if not self._told:
            self._tell_damage()

    def _what_happened(self, data: bytes, entry: RecordEntry, is_changed: bool) -> str:
        """is_changed: another record bears its sequence, or the file cannot be walked to its end."""
        if not is_changed:
            return "removed"
        return "truncated" if entry.offset + entry.record_bytes > len(data) else "changed"

    def _content(self, record: bytes, salt: bytes) -> bytes:
        sequence = record[8:16]
        own = hashlib.sha256(b"JKN-SALT" + salt + sequence + struct.pack("<I", CONTENT_SALT)).digest()
        return hashlib.sha256(own + record[8:]).digest()

    def _lies_at(self, data: bytes, entry: RecordEntry, salt: bytes) -> bool:
        record = data[entry.offset : entry.offset + entry.record_bytes]
        return len(record) == entry.record_bytes and self._content(record, salt) == entry.content

    def _records_there(self, data: bytes, salt: bytes) -> tuple[dict[bytes, tuple[int, int]], bool]:
        """What can be walked as groups and records, whatever the checksums say: content -> (offset, sequence).

        And whether the walk came to an end mark.
        """
        found: dict[bytes, tuple[int, int]] = {}
        place = SEGMENT_HEADER_BYTES
        while place + 32 <= len(data):
            size, sequence = struct.unpack_from("<IQ", data, place + 4)
            if size == GROUP_MAGIC:
                if data[place + 36 : place + 40] == b"\1\0\0\0":
                    return found, True
                place += 40
                continue
            if size < 32 or size % 8 or place + size > len(data):
                break
            found.setdefault(self._content(data[place : place + size], salt), (place, sequence))
            place += size
        return found, False

    def _check_deep(self, data: bytes, salt: bytes, entries: list[RecordEntry]) -> None:
        """All contents are right: then only parts can be wrong, which the sealer made."""
        if not self._deep:
            return
        commitments = Commitments(self._statement.worker, self._statement.segment, salt)
        for entry in entries:
            record = data[entry.offset : entry.offset + entry.record_bytes]
            made, _ = commitments.commit(record, entry.offset, 1)
            if made[72:] != entry.parts:
                self._add("parts", "its parts are not those of its content", entry.offset, entry.sequence)

    def _tell_damage(self) -> None:
        """All records are right: something else is not, and the format says what."""
        try:
            report = check_segment(self.path, self._statement.end_bytes)
        except RecordOfUseDamagedError as error:
            self._add("damaged", error.found, error.offset)
            return
        except RecordOfUseError as error:
            self._add("damaged", str(error))
            return
        self._add("damaged", "is not the segment that was sealed", report.end_bytes)


def check_unsealed(
    segments: list[tuple[int, Path]],
    worker: int,
    sequence: int | None,
    register: bytes | None,
    found: Callable[[Finding], None],
) -> tuple[int, int]:
    """Check segments that are not sealed yet by their own format: (segments, records). sequence: where they begin."""
    checked = records = 0
    for place, (number, path) in enumerate(segments):
        try:
            end = None
            if place + 1 < len(segments) and segments[place + 1][0] == number + 1:
                with SegmentReader(segments[place + 1][1]) as after:
                    end = after.header.previous_end
            report = check_segment(path, end)
        except RecordOfUseDamagedError as error:
            found(Finding(kind="damaged", path=str(error.path), offset=error.offset, text=error.found))
            sequence = None
            continue
        except RecordOfUseError as error:
            found(Finding(kind="damaged", path=str(path), text=str(error)))
            sequence = None
            continue
        header = report.header
        if (header.worker, header.segment) != (worker, number):
            text = f"holds segment {header.segment} of worker {header.worker}"
            found(Finding(kind="swapped", path=str(path), offset=32, text=text))
        elif sequence is not None and header.first_sequence != sequence:
            text = "does not follow the segment before it"
            found(Finding(kind="missing", path=str(path), offset=48, text=text))
        elif register not in (None, header.register):
            found(Finding(kind="swapped", path=str(path), offset=16, text="is of another register"))
        if place and segments[place - 1][0] + 1 != number:
            found(Finding(kind="missing", path=str(path), text=f"segment {number - 1} before it is missing"))
        sequence = report.next_sequence
        checked += 1
        records += report.records
    return checked, records
