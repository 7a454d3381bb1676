"""Checkpoints and cosignatures over a feed's connection: what may be wrong with the values that are sent."""

from __future__ import annotations

from typing import Final

from jukinet.core import limits
from jukinet.core.wire import feed_messages as f

LEAVES_MAX: Final = (1 << 63) - 1
HASH_BYTES: Final = 32


def fault(message: f.CheckpointAsk | f.Cosign) -> str | None:
    """What is wrong with a client's message as a witness, or None."""
    if isinstance(message, f.CheckpointAsk):
        return None if 0 <= message.seen <= LEAVES_MAX else "seen is 0 to 2^63 - 1"
    if not 1 <= message.size <= LEAVES_MAX:
        return "size is 1 to 2^63 - 1"
    encoded = message.line.encode(errors="replace")
    if not 0 < len(encoded) <= limits.SIGNATURE_LINE_BYTES_MAX or not message.line.isprintable():
        return f"line is one line of at most {limits.SIGNATURE_LINE_BYTES_MAX} bytes"
    return None


def proof_fault(proof: bytes, seen: int) -> str | None:
    """What is wrong with a consistency proof for whoever has seen so many leaves, or None."""
    if len(proof) % HASH_BYTES or (proof and not seen):
        return "a proof is hashes of 32 bytes, and none for who has seen nothing"
    return None
