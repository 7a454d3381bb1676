"""Seal files: the entries, statement and checkpoint of one addition to the tree (docs/record-of-use.md, 7.2)."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec

from jukinet.core import limits
from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.checksum import crc32c

SEAL_MAGIC: Final = b"JKN-SEA\0"
STATEMENT_MAGIC: Final = b"JKN-STA\0"
ENTRY_MAGIC: Final = b"JKRE"
SEAL_FORMAT: Final = 1
SEAL_HEADER: Final = struct.Struct("<8sIIQQQII")
ENTRY: Final = struct.Struct("<4sHHQQQII32s32s")
ENTRY_BYTES: Final = ENTRY.size
SEAL_SUFFIX: Final = ".seal"
SEALS: Final = "seals"
COPY_BYTES: Final = 1 << 20

assert SEAL_HEADER.size == 48
assert ENTRY_BYTES == 104

_encoder = msgspec.msgpack.Encoder()


class RecordEntry(msgspec.Struct, frozen=True):
    """What the tree holds of one record (7.1)."""

    worker: int
    kind: int
    segment: int
    sequence: int
    offset: int
    record_bytes: int
    count: int
    content: bytes
    parts: bytes

    @classmethod
    def decode(cls, data: bytes) -> RecordEntry:
        """Raises ValueError for bytes that are no entry."""
        if len(data) != ENTRY_BYTES or data[:4] != ENTRY_MAGIC:
            raise ValueError("not a record entry")
        return cls(*ENTRY.unpack(data)[1:])

    def encode(self) -> bytes:
        return ENTRY.pack(ENTRY_MAGIC, *msgspec.structs.astuple(self))


class SealedWorker(msgspec.Struct, array_like=True, frozen=True):
    """How far a worker is sealed."""

    worker: int
    segment: int
    """The next segment to be sealed."""
    sequence: int
    """The sequence that it must begin with."""


class Tally(msgspec.Struct, array_like=True, frozen=True):
    """A row of the ledger: what one recipient was provided in one month for one affair, by one function and method."""

    month: int
    """yyyymm, in Japan."""
    role: str
    body: str
    schedule: int
    item: str
    number: int
    function: int
    method: str
    """interactive or bulk (chapter 11)."""
    requests: int
    provisions: int


class SegmentStatement(msgspec.Struct, array_like=True, frozen=True, tag="segment", kw_only=True):
    """Says which segment the entries before it are, and how far that brings every worker."""

    time_ns: int
    month: int
    register: bytes
    worker: int
    segment: int
    header: bytes
    """SHA-256 of the segment's header."""
    first_sequence: int
    next_sequence: int
    records: int
    end_bytes: int
    first_time_ns: int
    last_time_ns: int
    clock_back_ns: int
    sealed: list[SealedWorker]
    tallies: list[Tally]


class ErasedSegments(msgspec.Struct, array_like=True, frozen=True):
    """A worker's segments ``first`` to ``last``."""

    worker: int
    first: int
    last: int


class ErasureStatement(msgspec.Struct, array_like=True, frozen=True, tag="erasure", kw_only=True):
    """Says that the content of a month was deleted because its retention was over."""

    time_ns: int
    month: int
    erased_month: int
    first_leaf: int
    next_leaf: int
    segments: list[ErasedSegments]
    retention_days: int


class WithholdingStatement(msgspec.Struct, array_like=True, frozen=True, tag="withholding", kw_only=True):
    """Says that a provision was left out of a disclosure, by which rule and until when."""

    time_ns: int
    month: int
    leaf: int
    """-1 for a record that was not sealed yet."""
    row: int
    rule: str
    until: str
    """YYYY-MM-DD."""
    worker: int
    sequence: int
    """Which record, sealed or not."""


class NoteStatement(msgspec.Struct, array_like=True, frozen=True, tag="note", kw_only=True):
    """A text that an operator put on record."""

    time_ns: int
    month: int
    text: str


class AuthorityStatement(msgspec.Struct, array_like=True, frozen=True, tag="authority", kw_only=True):
    """Says that there is another authority: a version of the history, or number 0 for a single file."""

    time_ns: int
    month: int
    number: int
    record: str
    """SHA-256 of the version's record, in hexadecimal; '' for a single file."""
    content: str
    """SHA-256 of the authority file, in hexadecimal."""
    begin: str
    """When it comes into force, Japan's time; '' for a single file."""
    approvers: list[str]
    applied_at: int
    """Seconds since 1970-01-01 UTC."""
    applied_by: str


class OperatorChange(msgspec.Struct, array_like=True, frozen=True):
    """One change of an operator. at: seconds since 1970-01-01 UTC. what: add, change, disable, unlock or lock."""

    number: int
    at: int
    what: str
    by: str
    role: str
    body: str
    name: str
    detail: str
    """Class and method; of a key also the SHA-256 of its text. '' where nothing of that changed."""


class ChangeCommitment(msgspec.Struct, array_like=True, frozen=True):
    """What stays in the tree of a change: it names nobody without the change's own salt (chapter 7.5)."""

    number: int
    commitment: bytes


class OperatorsStatement(msgspec.Struct, array_like=True, frozen=True, tag="operators", kw_only=True):
    """Says that operators changed, in order; what changed stands beside the tree."""

    time_ns: int
    month: int
    database: str
    """Which operators' database numbers the changes."""
    changes: Annotated[list[ChangeCommitment], msgspec.Meta(min_length=1)]


Statement = (
    SegmentStatement | ErasureStatement | WithholdingStatement | NoteStatement | AuthorityStatement | OperatorsStatement
)
_decoder: msgspec.msgpack.Decoder[Statement] = msgspec.msgpack.Decoder(Statement)


def encode_statement(statement: Statement) -> bytes:
    """The statement as a leaf's entry."""
    return STATEMENT_MAGIC + _encoder.encode(statement)


def decode_statement(data: bytes) -> Statement | None:
    """None for a kind that this version does not know. Raises ValueError for bytes that are no statement."""
    if not data.startswith(STATEMENT_MAGIC):
        raise ValueError("not a statement")
    try:
        return _decoder.decode(data[len(STATEMENT_MAGIC) :])
    except msgspec.ValidationError:
        head = msgspec.msgpack.decode(data[len(STATEMENT_MAGIC) :])
        known = ("segment", "erasure", "withholding", "note", "authority", "operators")
        if isinstance(head, list) and head and isinstance(head[0], str) and head[0] not in known:
            return None
        raise ValueError("a statement with other fields than its kind has") from None
    except msgspec.DecodeError:
        raise ValueError("not a statement") from None


def seal_name(number: int) -> str:
    return f"{number:012d}{SEAL_SUFFIX}"


class SealWriter:
    """Writes one seal file: entries as they come, then statement and note. Nothing counts before ``commit``."""

    def __init__(self, directory: Path, number: int, first_leaf: int) -> None:
        """Raises OSError."""
        self.path = directory / seal_name(number)
        self._making = self.path.with_name(self.path.name + ".new")
        self._making.unlink(missing_ok=True)
        self._number = number
        self._first_leaf = first_leaf
        self._records = 0
        self._checksum = 0
        descriptor = os.open(self._making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb", COPY_BYTES)
        self._file.write(bytes(SEAL_HEADER.size))

    def add(self, entries: bytes) -> None:
        self._records += len(entries) // ENTRY_BYTES
        self._write(entries)

    def _write(self, data: bytes) -> None:
        self._checksum = crc32c(data, self._checksum)
        self._file.write(data)

    def commit(self, statement: bytes, note: str) -> None:
        """Write the rest, make the file durable and give it its name: from here on the seal counts. Raises OSError."""
        encoded = note.encode()
        self._write(statement)
        self._write(encoded)
        fields = (self._number, self._first_leaf, self._records, len(statement), len(encoded))
        checksum = crc32c(SEAL_HEADER.pack(SEAL_MAGIC, SEAL_FORMAT, 0, *fields), self._checksum)
        self._file.seek(0)
        self._file.write(SEAL_HEADER.pack(SEAL_MAGIC, SEAL_FORMAT, checksum, *fields))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._making.rename(self.path)

    def abandon(self) -> None:
        """Leave nothing, unless committed. Raises OSError."""
        self._file.close()
        self._making.unlink(missing_ok=True)


class SealReader:
    """One seal file. Opening reads and checks the header; ``check`` the rest."""

    def __init__(self, path: Path, number: int) -> None:
        """Raises TreeDamagedError, and OSError when the file cannot be opened."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        header = os.pread(self._descriptor, SEAL_HEADER.size, 0)
        size = os.fstat(self._descriptor).st_size
        if len(header) < SEAL_HEADER.size:
            self._damaged("shorter than its header")
        magic, form, checksum, found, first_leaf, records, statement_bytes, note_bytes = SEAL_HEADER.unpack(header)
        if magic != SEAL_MAGIC or form != SEAL_FORMAT:
            self._damaged("not a seal of a format that is known")
        if found != number:
            self._damaged("its name and its header disagree")
        total = SEAL_HEADER.size + records * ENTRY_BYTES + statement_bytes + note_bytes
        if statement_bytes > limits.STATEMENT_BYTES_MAX or note_bytes > limits.NOTE_BYTES_MAX or total != size:
            self._damaged("its length is not what its header says")
        self.number, self.first_leaf, self.records = number, first_leaf, records
        self.next_leaf = first_leaf + records + 1
        self._statement_bytes, self._note_bytes = statement_bytes, note_bytes
        self._checksum = checksum
        self._header = header

    def _damaged(self, found: str) -> None:
        self.close()
        raise TreeDamagedError(self.path, found)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> SealReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, offset)
        while data and len(data) < length:
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        if len(data) != length:
            raise TreeDamagedError(self.path, "shorter than its header says")
        return data

    def check(self) -> None:
        """Read all of it against its checksum. Raises TreeDamagedError."""
        checksum, place, end = 0, SEAL_HEADER.size, os.fstat(self._descriptor).st_size
        while place < end:
            data = self._read(place, min(COPY_BYTES, end - place))
            checksum = crc32c(data, checksum)
            place += len(data)
        if crc32c(self._header[:12] + bytes(4) + self._header[16:], checksum) != self._checksum:
            raise TreeDamagedError(self.path, "its checksum")

    def entries(self, first: int = 0, count: int | None = None) -> bytes:
        """Record entries ``first`` to ``first`` + ``count`` - 1 of this seal, 104 bytes each."""
        count = self.records - first if count is None else count
        assert 0 <= first <= first + count <= self.records
        return self._read(SEAL_HEADER.size + first * ENTRY_BYTES, count * ENTRY_BYTES)

    @property
    def statement(self) -> bytes:
        """As a leaf's entry."""
        return self._read(SEAL_HEADER.size + self.records * ENTRY_BYTES, self._statement_bytes)

    def decoded(self) -> Statement | None:
        """The statement; None for a kind that is not known. Raises TreeDamagedError."""
        try:
            return decode_statement(self.statement)
        except ValueError as error:
            raise TreeDamagedError(self.path, str(error)) from None

    @property
    def note(self) -> str:
        """The signed checkpoint of the tree that ends here. Raises TreeDamagedError."""
        data = self._read(SEAL_HEADER.size + self.records * ENTRY_BYTES + self._statement_bytes, self._note_bytes)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise TreeDamagedError(self.path, "a note that is not UTF-8") from None


def list_seals(directory: Path) -> list[int]:
    """Numbers of the seals in ``tree/``, ascending; [] without such a directory. TreeDamagedError: a wrong name."""
    found: list[int] = []
    seals = directory / SEALS
    if not seals.is_dir():
        return found
    with os.scandir(seals) as entries:  # there may be hundreds of thousands
        names = [entry.name for entry in entries]
    for name in names:
        if name.endswith(SEAL_SUFFIX):
            stem = name.removesuffix(SEAL_SUFFIX)
            if not stem.isascii() or not stem.isdigit() or name != seal_name(int(stem)):
                raise TreeDamagedError(seals / name, "not the name of a seal")
            found.append(int(stem))
    return sorted(found)


def open_seal(directory: Path, number: int) -> SealReader:
    """A seal of ``tree/``. Raises TreeDamagedError, also when it cannot be opened."""
    path = directory / SEALS / seal_name(number)
    try:
        return SealReader(path, number)
    except OSError as error:
        raise TreeDamagedError(path, f"cannot be opened ({error.strerror})") from error
