"""Errors of the record of use: what could not be written, and what was found damaged."""

from __future__ import annotations

from pathlib import Path

from jukinet.core.errors import RecordOfUseError


class RecordOfUseNotWrittenError(RecordOfUseError):
    """A commit failed: tickets ``first_ticket`` to ``last_ticket`` are failed for ever; their answers must not be sent.

    The cause (usually an OSError) is in ``__cause__``. Later commits may succeed again.
    """

    def __init__(self, message: str, first_ticket: int, last_ticket: int) -> None:
        super().__init__(message)
        self.first_ticket = first_ticket
        self.last_ticket = last_ticket


class RecordOfUseDamagedError(RecordOfUseError):
    """A segment contradicts its own format: ``path``, ``offset`` in bytes, and what was found (never content)."""

    def __init__(self, path: Path, offset: int, found: str) -> None:
        super().__init__(f"{path}: damaged at byte {offset}: {found}")
        self.path = path
        self.offset = offset
        self.found = found


class TreeDamagedError(RecordOfUseError):
    """A file of the tree contradicts its own format or the tree: ``path`` and what was found (never content)."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"{path}: {found}")
        self.path = path
        self.found = found


class SealingStoppedError(RecordOfUseError):
    """Sealing cannot go on until an operator has looked: a segment is missing or damaged, or the tree is ahead."""


class NotProvedError(RecordOfUseError):
    """A proof, signature or checkpoint that does not show what it should; the message says which step fails."""

    exit_code = 1
