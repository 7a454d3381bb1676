"""Disclosure: all provisions of a resident's data, with proofs that show no one else (docs/record-of-use.md, 10)."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core.audit import inbox
from jukinet.core.audit.checkpoint import Checkpoint, Note, PublicKey, check
from jukinet.core.audit.directory import KIND_SEGMENT, SealDirectory
from jukinet.core.audit.erasure import erased_until, erasures
from jukinet.core.audit.errors import NotProvedError, RecordOfUseDamagedError, TreeDamagedError
from jukinet.core.audit.kernel import unpack_provisions
from jukinet.core.audit.layout import (
    KIND_PROVISION,
    PROVISION_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    LayoutError,
    RecordHeader,
    SegmentHeader,
    list_segments,
    segment_name,
)
from jukinet.core.audit.ledger import JAPAN
from jukinet.core.audit.merkle import HASH_BYTES, leaf_hash, root_of_path
from jukinet.core.audit.parts import PARTS_HEADER, PartsReader, hashes_of, parts_path
from jukinet.core.audit.read_ahead import will_need
from jukinet.core.audit.reader import SegmentReader
from jukinet.core.audit.record import ProvisionHead
from jukinet.core.audit.row_proof import HEAD_SALT, RowProof, short_proof
from jukinet.core.audit.run_kernel import scan_codes
from jukinet.core.audit.runs import RunName, find_in_runs, list_runs, outermost
from jukinet.core.audit.seal import (
    ENTRY_BYTES,
    SEAL_HEADER,
    SEALS,
    RecordEntry,
    WithholdingStatement,
    open_seal,
    seal_name,
)
from jukinet.core.audit.sealing import CHECKPOINT, open_tree
from jukinet.core.audit.tree_files import TreeFiles
from jukinet.core.audit.tree_kernel import Commitments
from jukinet.core.audit.withholding import Rule, read_rules
from jukinet.core.errors import RecordOfUseError

FORMAT: Final = 1
SOURCE: Final = "national server"
"""Who provided: of all provisions here."""
ATTEMPTS: Final = 3
AROUND_BYTES: Final = 2_048
"""Before and behind a row: the head before it and the 256 rows that are hashed with it."""
TOGETHER: Final = 256
"""Provisions whose places in the files are asked for together."""
_heads = msgspec.msgpack.Decoder(ProvisionHead)


class Proof(msgspec.Struct, frozen=True):
    """Everything that leads from one row to the checkpoint. Bytes stand as base64 in JSON."""

    head: bytes
    """The record from byte 8 to the end of its head."""
    head_salt: bytes
    head_path: list[bytes]
    row: int
    row_bytes: bytes
    """The provision, and the matches byte if the record has them."""
    row_salt: bytes
    row_path: list[bytes]
    entry: bytes
    leaf: int
    path: list[bytes]


class Provision(msgspec.Struct, frozen=True, kw_only=True):
    """One provision of the resident's data, as it is disclosed."""

    code: int
    time_ns: int
    function: int
    items: int
    outcome: int
    matches: int | None
    since: int
    role: str
    body: str
    schedule: int
    item: str
    number: int
    reason: str
    worker: int
    sequence: int
    row: int
    proof: Proof | None = None
    """None for a provision that is not sealed yet."""


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a resident, as JSON."""

    format: int = FORMAT
    source: str = SOURCE
    codes: list[int]
    made_ns: int
    checkpoint: str
    """The signed note that the proofs lead to."""
    provisions: list[Provision]

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Disclosure:
        """Raises NotProvedError."""
        try:
            found = msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError:
            raise NotProvedError("not a disclosure") from None
        if found.format != FORMAT:
            raise NotProvedError("a disclosure of a format that is not known")
        return found


class DisclosureReader:
    """Finds provisions in a record of use, sealed and not yet sealed.

    Invariant: ``_runs`` cover every sealed leaf whose content was not erased.
    """

    def __init__(self, directory: str | Path) -> None:
        """Raises TreeDamagedError and RecordOfUseError: an answer that may lack something is never given."""
        self.directory = Path(directory)
        self.tree = open_tree(self.directory)
        self.rows = SealDirectory.load(self.tree)
        self.note = self._checkpoint_note()
        self.size = self.rows.size
        self._erased = erased_until(erasures(self.tree, self.rows))
        self._runs = self._covering_runs()
        self._hashes = TreeFiles(self.tree)
        self._headers: dict[tuple[int, int], SegmentHeader] = {}
        self._parts: tuple[int, PartsReader] | None = None

    def close(self) -> None:
        self._hashes.close()
        if self._parts is not None:
            self._parts[1].close()
            self._parts = None

    def __enter__(self) -> DisclosureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checkpoint_note(self) -> str:
        """The newest checkpoint that the seals seen here reach; '' for an empty tree."""
        if not self.rows.rows:
            return ""
        with open_seal(self.tree, len(self.rows.rows) - 1) as seal:
            own = seal.note
        try:
            size = Checkpoint.decode(Note.decode(own).text).size
        except NotProvedError as error:
            raise TreeDamagedError(seal.path, f"its checkpoint: {error}") from None
        if size != self.rows.size:
            raise TreeDamagedError(seal.path, f"its checkpoint is of {size} leaves, and there are {self.rows.size}")
        try:
            shown = (self.tree / CHECKPOINT).read_text()
            if Note.decode(shown).text == Note.decode(own).text:
                return shown  # with the witnesses' lines
        except (OSError, NotProvedError, UnicodeDecodeError):
            pass
        return own

    def _covering_runs(self) -> list[RunName]:
        runs = [run for run in outermost(list_runs(self.tree))[0] if run.next_leaf > self._erased]
        place = 0
        for row in self.rows.rows:
            if row.kind != KIND_SEGMENT or row.first_leaf < self._erased:
                continue
            leaf = row.first_leaf
            while leaf < row.next_leaf:
                while place < len(runs) and runs[place].next_leaf <= leaf:
                    place += 1
                if place == len(runs) or runs[place].first_leaf > leaf:
                    raise TreeDamagedError(self.tree / "codes", f"no run holds leaf {leaf}: nothing can be disclosed")
                leaf = runs[place].next_leaf
        return runs

    def find(self, code: int) -> list[tuple[int, int]]:
        """(leaf, row) of every sealed provision of a code. Raises TreeDamagedError."""
        for attempt in range(ATTEMPTS):
            try:
                found = find_in_runs(self.tree, self._runs, code)
            except TreeDamagedError as error:
                # The sealer may have merged runs meanwhile.
                if attempt + 1 == ATTEMPTS or error.path.exists():
                    raise
                self._runs = self._covering_runs()
                continue
            return [(leaf, row) for leaf, row in found if self._erased <= leaf < self.size]
        raise AssertionError("unreachable")

    def expect(self, places: Sequence[tuple[int, int]]) -> None:
        """Have the kernel read what ``provision`` of these (leaf, row) will, without waiting. TreeDamagedError."""
        for leaf, _ in places:
            number = self.rows.seal_of(leaf)
            entry = SEAL_HEADER.size + (leaf - self.rows.rows[number].first_leaf) * ENTRY_BYTES
            will_need(self.tree / SEALS / seal_name(number), [(0, SEAL_HEADER.size), (entry, ENTRY_BYTES)])
            will_need(parts_path(self.tree, number), [(0, PARTS_HEADER.size)])
        self._hashes.expect([leaf for leaf, _ in places])
        for leaf, row in places:
            number = self.rows.seal_of(leaf)
            with open_seal(self.tree, number) as seal:
                found = RecordEntry.decode(seal.entries(leaf - seal.first_leaf, 1))
            rows = found.offset + row * PROVISION_BYTES
            will_need(
                self.directory / segment_name(found.worker, found.segment),
                [(0, SEGMENT_HEADER_BYTES), (found.offset, AROUND_BYTES), (rows - AROUND_BYTES, 2 * AROUND_BYTES)],
            )

    def provision(self, leaf: int, row: int, *, prove: bool = True) -> tuple[Provision, ProvisionHead]:
        """One sealed provision. Raises TreeDamagedError and RecordOfUseDamagedError."""
        number = self.rows.seal_of(leaf)
        with open_seal(self.tree, number) as seal:
            first_leaf = seal.first_leaf
            packed = seal.entries(leaf - first_leaf, 1)
        entry = RecordEntry.decode(packed)
        if prove and (short := self._short(number, first_leaf, leaf, entry, packed, row)) is not None:
            return short
        path = self.directory / segment_name(entry.worker, entry.segment)
        record = self._record(path, entry.offset, entry.record_bytes)
        provision, head = self._provision(record, path, entry.offset, row)
        if not prove:
            return provision, head
        proof = self._prove(record, packed, entry, leaf, row)
        return msgspec.structs.replace(provision, proof=proof), head

    def _short(
        self, number: int, first_leaf: int, leaf: int, entry: RecordEntry, packed: bytes, row: int
    ) -> tuple[Provision, ProvisionHead] | None:
        """A row of a long record without reading all of it; None when that cannot be, for whatever reason."""
        if entry.kind != KIND_PROVISION or not hashes_of(entry.count) or row >= entry.count:
            return None
        middle = self._middle(number, first_leaf, leaf - first_leaf, entry.count)
        if middle is None:
            return None
        path = self.directory / segment_name(entry.worker, entry.segment)
        try:
            with path.open("rb", buffering=0) as file:
                commitments = self._commitments(path, file.read(SEGMENT_HEADER_BYTES))
                found = short_proof(file.fileno(), entry, commitments, middle, row)
        except OSError as error:
            raise RecordOfUseError(f"{path}: cannot be read ({error.strerror})") from error
        if found is None:
            return None
        proof = self._proof(found, commitments, packed, entry, leaf, row)
        try:
            head = _heads.decode(found.head[RECORD_HEADER_BYTES - 8 :])
            return msgspec.structs.replace(_said(entry, head, found.row_bytes, row), proof=proof), head
        except (msgspec.DecodeError, ValueError):
            return None

    def _middle(self, number: int, first_leaf: int, record: int, count: int) -> bytes | None:
        """The kept hashes of a long record; None where there are none, or none that can be used."""
        if self._parts is None or self._parts[0] != number:
            try:
                parts = PartsReader(self.tree, number, first_leaf)
            except (TreeDamagedError, OSError):
                return None
            if self._parts is not None:
                self._parts[1].close()
            self._parts = number, parts
        try:
            return self._parts[1].of(record, count)
        except (TreeDamagedError, OSError):
            return None

    def _commitments(self, path: Path, encoded: bytes) -> Commitments:
        """Those of a segment. Raises RecordOfUseDamagedError."""
        key = self._key(path)
        if key not in self._headers:
            try:
                self._headers[key] = SegmentHeader.decode(encoded)
            except LayoutError as error:
                raise RecordOfUseDamagedError(path, 0, str(error)) from error
        return Commitments(*key, self._headers[key].salt)

    def _record(self, path: Path, offset: int, size: int) -> bytes:
        try:
            with path.open("rb", buffering=0) as file:
                key = self._key(path)
                if key not in self._headers:
                    self._headers[key] = SegmentHeader.decode(file.read(SEGMENT_HEADER_BYTES))
                file.seek(offset)
                record = file.read(size)
        except OSError as error:
            raise RecordOfUseError(f"{path}: cannot be read ({error.strerror})") from error
        except LayoutError as error:
            raise RecordOfUseDamagedError(path, 0, str(error)) from error
        if len(record) != size:
            raise RecordOfUseDamagedError(path, offset, "shorter than the seal says")
        return record

    @staticmethod
    def _key(path: Path) -> tuple[int, int]:
        _, worker, segment = path.stem.split("-")
        return int(worker), int(segment)

    def _provision(self, record: bytes, path: Path, offset: int, row: int) -> tuple[Provision, ProvisionHead]:
        try:
            header = RecordHeader.decode(memoryview(record))
            encoded = record[RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + header.head_bytes]
            head = _heads.decode(encoded)
        except (LayoutError, msgspec.DecodeError):
            raise RecordOfUseDamagedError(path, offset, "a record that cannot be read") from None
        if header.kind != KIND_PROVISION or row >= header.count:
            raise RecordOfUseDamagedError(path, offset, "a record without the row that its run names")
        return disclosed(head, header, shown_row(record, header, row), row), head

    def _prove(self, record: bytes, packed: bytes, entry: RecordEntry, leaf: int, row: int) -> Proof:
        """Raises TreeDamagedError when the record is not the one that was sealed."""
        header = RecordHeader.decode(memoryview(record))
        salt = self._headers[entry.worker, entry.segment].salt
        commitments = Commitments(entry.worker, entry.segment, salt)
        root, head_path, row_path = commitments.prove(record, row)
        if root != entry.parts:
            path = self.directory / segment_name(entry.worker, entry.segment)
            raise RecordOfUseDamagedError(path, entry.offset, "a record that is not the one that was sealed")
        head = record[8 : RECORD_HEADER_BYTES + header.head_bytes]
        found = RowProof(head, head_path, shown_row(record, header, row), row_path)
        return self._proof(found, commitments, packed, entry, leaf, row)

    def _proof(
        self, found: RowProof, commitments: Commitments, packed: bytes, entry: RecordEntry, leaf: int, row: int
    ) -> Proof:
        pair = commitments.salt(entry.sequence, row // 2)
        return Proof(
            head=found.head,
            head_salt=commitments.salt(entry.sequence, HEAD_SALT),
            head_path=found.head_path,
            row=row,
            row_bytes=found.row_bytes,
            row_salt=pair[16 * (row % 2) : 16 * (row % 2) + 16],
            row_path=found.row_path,
            entry=packed,
            leaf=leaf,
            path=self._hashes.inclusion_path(leaf, self.size),
        )

    def not_sealed(self, code: int) -> list[tuple[Provision, ProvisionHead]]:
        """Provisions in segments that are not sealed yet, whole groups only. Raises RecordOfUseError."""
        heads: dict[int, int] = {}
        for row in self.rows.rows:
            if row.kind == KIND_SEGMENT:
                heads[row.worker] = row.segment + 1
        found = []
        try:
            segments = list_segments(self.directory)
        except LayoutError as error:
            raise RecordOfUseDamagedError(self.directory, 0, str(error)) from error
        for worker, paths in segments.items():
            newer = [(number, path) for number, path in paths if number >= heads.get(worker, 0)]
            for place, (_number, path) in enumerate(newer):
                end = None
                if place + 1 < len(newer):
                    with SegmentReader(newer[place + 1][1]) as after:
                        end = after.header.previous_end
                found += self._in_segment(path, end, code)
        return found

    def _in_segment(self, path: Path, end: int | None, code: int) -> list[tuple[Provision, ProvisionHead]]:
        found = []
        with SegmentReader(path, end, decode=False) as reader:
            for raw in reader.raw_records():
                for place, row in scan_codes(raw.data, code):
                    (size,) = struct.unpack_from("<I", raw.data, place + 4)
                    record = bytes(raw.data[place : place + size])
                    found.append(self._provision(record, path, raw.offset + place, row))
        return found


def shown_row(record: bytes, header: RecordHeader, row: int) -> bytes:
    """What a row's leaf shows: the provision, and its matches byte if there is one."""
    start = RECORD_HEADER_BYTES + header.head_bytes
    shown = record[start + row * PROVISION_BYTES : start + (row + 1) * PROVISION_BYTES]
    if header.match_bytes:
        matches = start + header.count * PROVISION_BYTES
        shown += record[matches + row : matches + row + 1]
    return shown


def disclosed(head: ProvisionHead, header: RecordHeader, row_bytes: bytes, row: int) -> Provision:
    """What a resident is told of a row."""
    codes, outcomes = unpack_provisions(row_bytes[:PROVISION_BYTES])
    return Provision(
        code=codes[0],
        time_ns=head.time_ns,
        function=head.function,
        items=head.items,
        outcome=outcomes[0],
        matches=row_bytes[PROVISION_BYTES] if len(row_bytes) > PROVISION_BYTES else None,
        since=head.since,
        role=head.role,
        body=head.body,
        schedule=head.schedule,
        item=head.item,
        number=head.number,
        reason=head.reason,
        worker=header.worker,
        sequence=header.sequence,
        row=row,
    )


def _said(entry: RecordEntry, head: ProvisionHead, row_bytes: bytes, row: int) -> Provision:
    """What a resident is told of a row of the record with this entry. Raises ValueError."""
    header = RecordHeader(
        record_bytes=entry.record_bytes,
        sequence=entry.sequence,
        worker=entry.worker,
        kind=entry.kind,
        head_bytes=0,
        count=entry.count,
        match_bytes=0,
    )
    return disclosed(head, header, row_bytes, row)


def disclose(
    reader: DisclosureReader, codes: Sequence[int], now_ns: int, rules: Sequence[Rule] | None = None
) -> tuple[Disclosure, int]:
    """All provisions of a person's codes, by time, and how many the rules withhold, each put on record first.

    rules: instead of those in the record's directory. Raises RecordOfUseError, ConfigurationError and OSError; then
    nothing may be disclosed.
    """
    rules = read_rules(reader.directory) if rules is None else rules
    today = datetime.datetime.fromtimestamp(now_ns / 1e9, JAPAN).date()
    shown: list[Provision] = []
    withheld = 0

    def consider(provision: Provision, head: ProvisionHead, leaf: int) -> bool:
        for rule in rules:
            if rule.holds_back(head, today):
                until = rule.until.isoformat()
                statement = WithholdingStatement(
                    time_ns=now_ns,
                    month=0,
                    leaf=leaf,
                    row=provision.row,
                    rule=rule.name,
                    until=until,
                    worker=provision.worker,
                    sequence=provision.sequence,
                )
                inbox.leave(reader.tree, statement)
                return False
        return True

    for code in codes:
        found = reader.find(code)
        for number, (leaf, row) in enumerate(found):
            if number % TOGETHER == 0:
                reader.expect(found[number : number + TOGETHER])
            provision, head = reader.provision(leaf, row)
            if consider(provision, head, leaf):
                shown.append(provision)
            else:
                withheld += 1
        for provision, head in reader.not_sealed(code):
            if consider(provision, head, -1):
                shown.append(provision)
            else:
                withheld += 1
    shown.sort(key=lambda one: (one.time_ns, one.worker, one.sequence, one.row))
    answer = Disclosure(codes=list(codes), made_ns=now_ns, checkpoint=reader.note, provisions=shown)
    return answer, withheld


# ------------------------------------------------------------------------------------------------ the resident's side


def check_disclosure(answer: Disclosure, key: PublicKey) -> int:
    """How many provisions are proved; those that say they are not sealed yet do not count. Raises NotProvedError."""
    proved = [one for one in answer.provisions if one.proof is not None]
    if not proved:
        if answer.checkpoint:
            check(answer.checkpoint, key)
        return 0
    point = check(answer.checkpoint, key)
    for number, provision in enumerate(answer.provisions):
        if provision.code not in answer.codes:
            raise NotProvedError(f"provision {number + 1}: is not of the codes asked about")
        if provision.proof is not None:
            try:
                _check_provision(provision, provision.proof, point)
            except NotProvedError as error:
                raise NotProvedError(f"provision {number + 1}: {error}") from None
    if len({(one.proof.leaf, one.proof.row) for one in proved if one.proof is not None}) != len(proved):
        raise NotProvedError("a provision that is there twice")
    return len(proved)


def _check_provision(provision: Provision, proof: Proof, point: Checkpoint) -> None:
    try:
        entry = RecordEntry.decode(proof.entry)
        sequence, worker, kind, head_bytes, count, _ = struct.unpack_from("<QHHIII", proof.head)
        head = _heads.decode(proof.head[24:])
    except (ValueError, struct.error, msgspec.DecodeError):
        raise NotProvedError("a head or an entry that cannot be read") from None
    if len(proof.head) != 24 + head_bytes or len(proof.head_salt) != HASH_BYTES or len(proof.row_salt) != 16:
        raise NotProvedError("a head or a salt of another length")
    if (sequence, worker, kind, count) != (entry.sequence, entry.worker, entry.kind, entry.count):
        raise NotProvedError("head and entry are of two records")
    if kind != KIND_PROVISION or not 0 <= proof.row < count or len(proof.row_bytes) not in (6, 7):
        raise NotProvedError("a row that cannot be")
    head_leaf = leaf_hash(proof.head_salt + proof.head)
    if root_of_path(head_leaf, 0, count + 1, proof.head_path) != entry.parts:
        raise NotProvedError("the head is not that of the record")
    row_leaf = leaf_hash(proof.row_salt + proof.row_bytes)
    if root_of_path(row_leaf, proof.row + 1, count + 1, proof.row_path) != entry.parts:
        raise NotProvedError("the row is not one of the record")
    if root_of_path(leaf_hash(proof.entry), proof.leaf, point.size, proof.path) != point.root:
        raise NotProvedError("the record does not stand in the tree that was signed")
    try:
        said = _said(entry, head, proof.row_bytes, proof.row)
    except ValueError:
        raise NotProvedError("a row that cannot be") from None
    if said != msgspec.structs.replace(provision, proof=None):
        raise NotProvedError("what is written is not what is proved")
