"""Answers to a witness of the record of use, on the feed port or the witness port."""

from __future__ import annotations

from pathlib import Path

from jukinet.core.audit.witnessing import keep_cosignature, newest_checkpoint
from jukinet.core.wire import feed_messages as fm


def witness_answer(directory: Path, body: str, message: fm.CheckpointAsk | fm.Cosign) -> fm.Checkpoint | fm.Cosigned:
    """The newest checkpoint with its proof, or that the cosignature is kept.

    Raises WitnessError, NotAuthorisedError, RecordOfUseError and OSError.
    """
    if isinstance(message, fm.CheckpointAsk):
        return fm.Checkpoint(message.request_id, *newest_checkpoint(directory, message.seen))
    keep_cosignature(directory, body, message.size, message.line)
    return fm.Cosigned(message.request_id, message.size)
