"""Changes of operators: commitments in the tree, names beside it until their retention is over (7.5)."""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.seal import ChangeCommitment, OperatorChange, OperatorsStatement
from jukinet.core.audit.segment import sync_directory
from jukinet.core.audit.tree_kernel import sha256
from jukinet.core.checksum import crc32c

OPERATORS: Final = "operators"
SUFFIX: Final = ".operators"
MAGIC: Final = b"JKN-OPC\0"
FORMAT: Final = 1
HEADER: Final = struct.Struct("<8sII")
SALT_BYTES: Final = 32
FILE_BYTES_MAX: Final = 1 << 24
COMMITTED: Final = b"JKN-OPER"
_rows = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])
_changes = msgspec.msgpack.Decoder(OperatorChange)


def changes_path(tree: Path, seal: int) -> Path:
    return tree / OPERATORS / f"{seal:012d}{SUFFIX}"


def list_changes(tree: Path) -> set[int]:
    """Seals whose changes are there; files of other names are nobody's."""
    stems = {path.stem for path in (tree / OPERATORS).glob("*" + SUFFIX)}
    return {int(stem) for stem in stems if len(stem) == 12 and stem.isascii() and stem.isdigit()}


def write_changes(tree: Path, seal: int, changes: Iterable[OperatorChange]) -> list[ChangeCommitment]:
    """Make the durable file of a seal that is about to be made: what the seal's statement says. Raises OSError."""
    rows = [(secrets.token_bytes(SALT_BYTES), one.number, msgspec.msgpack.encode(one)) for one in changes]
    data = msgspec.msgpack.encode([(salt, encoded) for salt, _, encoded in rows])
    path = changes_path(tree, seal)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    making = path.with_name(path.name + ".new")
    with making.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.writelines((HEADER.pack(MAGIC, FORMAT, crc32c(data)), data))
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)
    sync_directory(path.parent)
    return [ChangeCommitment(number, sha256(COMMITTED + salt + encoded)) for salt, number, encoded in rows]


def read_changes(tree: Path, seal: int, statement: OperatorsStatement) -> list[OperatorChange] | None:
    """The changes that a seal's statement commits to; None when they are not there, as after their retention.

    Raises TreeDamagedError when they are others.
    """
    path = changes_path(tree, seal)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TreeDamagedError(path, f"cannot be read ({error.strerror})") from error
    try:
        magic, form, checksum = HEADER.unpack_from(data)
        if (magic, form, checksum) != (MAGIC, FORMAT, crc32c(data[HEADER.size :])):
            raise TreeDamagedError(path, "its header or its checksum")
        rows = _rows.decode(data[HEADER.size :])
        changes = [_changes.decode(encoded) for _, encoded in rows]
    except (struct.error, msgspec.DecodeError):
        raise TreeDamagedError(path, "what it holds is no changes of operators") from None
    made = [
        ChangeCommitment(one.number, sha256(COMMITTED + salt + encoded))
        for one, (salt, encoded) in zip(changes, rows, strict=True)
    ]
    if made != statement.changes or any(len(salt) != SALT_BYTES for salt, _ in rows):
        raise TreeDamagedError(path, "its changes are not those that were sealed")
    return changes


def tidy_changes(tree: Path, seals: Sequence[bool]) -> None:
    """Remove what a crash left: files that were being made, and those of no operators' seal. Raises OSError.

    seals: of each seal, whether its statement is of operators.
    """
    for path in (tree / OPERATORS).glob("*.new"):
        path.unlink(missing_ok=True)
    for number in list_changes(tree):
        if number >= len(seals) or not seals[number]:
            changes_path(tree, number).unlink(missing_ok=True)
