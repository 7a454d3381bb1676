"""Statements that other processes leave for the sealer, which alone writes the tree (docs/record-of-use.md, 7)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

import msgspec

from jukinet.core import limits
from jukinet.core.audit.errors import SealingStoppedError
from jukinet.core.audit.seal import NoteStatement, WithholdingStatement
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.segment import sync_directory

INBOX: Final = "inbox"
STATEMENT_SUFFIX: Final = ".statement"
Waiting = WithholdingStatement | NoteStatement
_decoder: msgspec.msgpack.Decoder[Waiting] = msgspec.msgpack.Decoder(Waiting)


def leave(tree: Path, statement: Waiting) -> Path:
    """Leave a statement, durably: its file. The sealer sets its time and month. Raises OSError."""
    inbox = tree / INBOX
    inbox.mkdir(mode=0o700, exist_ok=True)
    path = inbox / f"{statement.time_ns:020d}-{secrets.token_hex(8)}{STATEMENT_SUFFIX}"
    making = path.with_name(path.name + ".new")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.msgpack.encode(statement))
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)
    sync_directory(inbox)
    return path


def waiting(tree: Path) -> list[tuple[Path, Waiting]]:
    """What waits, oldest first. Raises SealingStoppedError for a file that is no statement."""
    found: list[tuple[Path, Waiting]] = []
    inbox = tree / INBOX
    if not inbox.is_dir():
        return found
    for path in sorted(inbox.glob(f"*{STATEMENT_SUFFIX}")):
        try:
            with path.open("rb") as file:
                found.append((path, _decoder.decode(file.read(limits.NOTE_BYTES_MAX))))
        except msgspec.DecodeError:
            raise SealingStoppedError(f"{path}: not a statement") from None
    return found


def take_in(sealer: Sealer) -> int:
    """Add what waits to the tree: how many. After a crash in between, the last one may stand there twice. OSError."""
    found = waiting(sealer.tree)
    for path, statement in found:
        sealer.add_statement(msgspec.structs.replace(statement, time_ns=sealer.now(), month=sealer.month()))
        path.unlink()
    return len(found)
