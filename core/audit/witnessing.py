"""Witnesses: prefectures and others that see every checkpoint, check that each contains the one before, and cosign it.

What the server does of it: it gives the newest checkpoint with a proof, and keeps cosignatures in ``tree/witnessed``,
one file a witness, after checking them by the key in ``witnesses/NAME.pub`` beside the segments.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from jukinet.core.audit.checkpoint import COSIGNATURE, Checkpoint, Note, PublicKey, check_cosignature, read_public_key
from jukinet.core.audit.directory import SealDirectory
from jukinet.core.audit.errors import NotProvedError, TreeDamagedError
from jukinet.core.audit.seal import open_seal
from jukinet.core.audit.sealing import TREE
from jukinet.core.audit.segment import sync_directory
from jukinet.core.audit.tree_files import TreeFiles
from jukinet.core.errors import ConfigurationError, ErrorCode, JukinetError, NotAuthorisedError

WITNESSES: Final = "witnesses"
WITNESSED: Final = "witnessed"
BODY: Final = re.compile(r"[a-z0-9-]{1,64}")


class WitnessError(JukinetError):
    """A checkpoint or cosignature that cannot be given or taken; the message says why."""

    code = ErrorCode.BAD_REQUEST


def newest_checkpoint(directory: Path, seen: int) -> tuple[str, bytes]:
    """``(note, proof)`` of the newest checkpoint for whoever has seen ``seen`` leaves; ('', b'') when there is none.

    Raises WitnessError when the tree has fewer leaves than that, RecordOfUseError when it cannot be read.
    """
    tree = directory / TREE
    rows = SealDirectory.load(tree)
    if seen > rows.size:
        raise WitnessError(f"the tree has {rows.size} leaves, fewer than were seen")
    if not rows.rows:
        return "", b""
    with open_seal(tree, len(rows.rows) - 1) as seal:
        note = seal.note
    if seen in (0, rows.size):
        return note, b""
    hashes = TreeFiles(tree)
    try:
        return note, b"".join(hashes.consistency(seen, rows.size))
    finally:
        hashes.close()


def witness_key(directory: Path, body: str) -> PublicKey:
    """The key of a witness. Raises NotAuthorisedError when it has none here."""
    assert BODY.fullmatch(body)
    try:
        key = read_public_key(directory / WITNESSES / f"{body}.pub")
    except ConfigurationError:
        raise NotAuthorisedError("no key of this witness is known for cosigning") from None
    if key.name != body or key.algorithm != COSIGNATURE:
        raise NotAuthorisedError("the key that is known for this witness is not one for cosigning, or not of its name")
    return key


def keep_cosignature(directory: Path, body: str, size: int, line: str) -> None:
    """Keep a witness's line for the checkpoint of ``size`` leaves, durably; an older one is replaced.

    Raises WitnessError (no such checkpoint, not its signature), NotAuthorisedError, RecordOfUseError and OSError.
    """
    key = witness_key(directory, body)
    tree = directory / TREE
    rows = SealDirectory.load(tree)
    number = next((place for place, row in enumerate(rows.rows) if row.next_leaf == size), None)
    if number is None:
        raise WitnessError("no checkpoint of this tree has so many leaves")
    with open_seal(tree, number) as seal:
        note = seal.note
    try:
        cosigned = Note.decode(note + line + "\n")
        check_cosignature(cosigned, key)
    except NotProvedError:
        raise WitnessError("not this witness's signature of this checkpoint") from None
    kept = kept_note(tree, body)
    if kept is not None and Checkpoint.decode(kept.text).size > size:
        return
    (tree / WITNESSED).mkdir(mode=0o700, exist_ok=True)
    path = tree / WITNESSED / body
    making = path.with_name(body + ".new")
    with making.open("w", encoding="utf-8") as file:
        file.write(cosigned.encode())
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)
    sync_directory(tree / WITNESSED)


def kept_note(tree: Path, name: str) -> Note | None:
    """The newest note that a witness cosigned, or None. Raises TreeDamagedError for a file that is none."""
    path = tree / WITNESSED / name
    if not BODY.fullmatch(name) or not path.exists():
        return None
    try:
        note = Note.decode(path.read_text(encoding="utf-8"))
        Checkpoint.decode(note.text)
    except (NotProvedError, UnicodeDecodeError):
        raise TreeDamagedError(path, "not a cosigned checkpoint") from None
    return note
