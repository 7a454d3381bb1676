"""A witness of the record of use: each checkpoint must contain the last one seen, and is then cosigned.

What was seen is durable here before the cosignature is sent. When a checkpoint does not contain what was seen, nothing
is signed, and what was shown is kept beside the state as evidence: the log was cut back, or rewritten.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from jukinet.clients.errors import BadRequestError, ClientError
from jukinet.clients.transport.trio_link import Link
from jukinet.core.audit.checkpoint import COSIGNATURE, Checkpoint, Note, PrivateKey, PublicKey, check, cosign
from jukinet.core.audit.errors import NotProvedError
from jukinet.core.audit.merkle import HASH_BYTES, check_consistency
from jukinet.core.errors import ConfigurationError
from jukinet.core.wire import feed_messages as f

EXIT_ALARM: Final = 1
MARK: Final = "\u2014 "


class LogChangedError(ClientError):
    """The record of use is not the one that was seen before: tell the auditor, and keep ``evidence``."""

    exit_code = EXIT_ALARM

    def __init__(self, message: str, evidence: Path) -> None:
        super().__init__(f"{message}; what was seen and what was shown is kept in {evidence}")
        self.evidence = evidence


class Witness:
    """Checks and cosigns over a connection of the feed port or the witness port.

    Invariant: the file ``state`` holds the newest checkpoint that was checked, as it was signed by the log; every one
    that was cosigned is a beginning of it.
    """

    def __init__(self, state: Path, key: PrivateKey, log: PublicKey) -> None:
        """Raises ConfigurationError: not a witness's key, or a state that is no checkpoint of this log."""
        if key.public.algorithm != COSIGNATURE:
            raise ConfigurationError("the witness's key is not one for cosigning (jukinet audit key --witness)")
        self._state = state
        self._key = key
        self._log = log
        self.seen = self._read()

    def _read(self) -> Checkpoint | None:
        try:
            text = self._state.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            raise ConfigurationError(f"{self._state}: cannot be read") from None
        try:
            return check(text, self._log)
        except NotProvedError as error:
            raise ConfigurationError(
                f"{self._state}: {error}; it is what this witness has seen, and must stay"
            ) from None

    async def turn(self, link: Link) -> int:
        """Look once: leaves of the checkpoint that was cosigned, 0 when there is none yet.

        Raises LogChangedError, and what the connection raises.
        """
        seen = self.seen.size if self.seen else 0
        try:
            answer = await link.ask(f.CheckpointAsk, (seen,))
        except BadRequestError as error:
            raise self._alarm(f"the record of use was cut back ({error})", "") from None
        assert isinstance(answer, f.Checkpoint)
        if not answer.note:
            if seen:
                raise self._alarm("the record of use has no checkpoint any more", "")
            return 0
        checkpoint = self._check(answer, seen)
        self._write(self._state, answer.note)
        self.seen = checkpoint
        cosigned = cosign(Note.decode(answer.note), self._key, int(time.time()))
        line = Note("", cosigned.signatures[-1:]).encode().strip("\n")
        told = await link.ask(f.Cosign, (checkpoint.size, line))
        assert isinstance(told, f.Cosigned)
        return told.size

    def _check(self, answer: f.Checkpoint, seen: int) -> Checkpoint:
        """The checkpoint shown, which is signed and contains what was seen."""
        try:
            checkpoint = check(answer.note, self._log)
            if self.seen is not None:
                proof = [answer.proof[place : place + HASH_BYTES] for place in range(0, len(answer.proof), HASH_BYTES)]
                check_consistency(seen, self.seen.root, checkpoint.size, checkpoint.root, proof)
        except NotProvedError as error:
            raise self._alarm(f"the checkpoint shown does not hold: {error}", answer.note) from None
        return checkpoint

    def _alarm(self, message: str, shown: str) -> LogChangedError:
        evidence = self._state.with_name(f"{self._state.name}.alarm-{int(time.time())}")
        kept = self._state.read_text(encoding="utf-8") if self._state.exists() else ""
        self._write(evidence, f"{kept}\n---\n{shown}")
        return LogChangedError(message, evidence)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        """Replace a file durably."""
        making = path.with_name(path.name + ".new")
        with making.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        making.rename(path)
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
