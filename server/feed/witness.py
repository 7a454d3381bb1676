"""Answers to a prefecture that is a witness of the record of use."""

from __future__ import annotations

from pathlib import Path

from jukinet.core.audit.witnessing import keep_cosignature, newest_checkpoint
from jukinet.core.vocabulary import Prefecture
from jukinet.core.wire import feed_messages as fm


def witness_answer(
    directory: Path, prefecture: int, message: fm.CheckpointAsk | fm.Cosign
) -> fm.Checkpoint | fm.Cosigned:
    """The newest checkpoint with its proof, or that the cosignature is kept.

    Raises WitnessError, NotAuthorisedError, RecordOfUseError and OSError.
    """
    if isinstance(message, fm.CheckpointAsk):
        return fm.Checkpoint(message.request_id, *newest_checkpoint(directory, message.seen))
    keep_cosignature(directory, Prefecture(prefecture).body, message.size, message.line)
    return fm.Cosigned(message.request_id, message.size)
