"""Checkpoints of the tree as C2SP signed notes: keys, signing, cosigning by witnesses, reading and checking.

Formats: C2SP signed-note, tlog-checkpoint and tlog-cosignature (https://c2sp.org). A note is text that ends with a
newline, an empty line, and signature lines. Only Ed25519 is known (algorithms 0x01 and 0x04).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jukinet.core import limits
from jukinet.core.audit.errors import NotProvedError
from jukinet.core.errors import ConfigurationError

SIGNATURE: Final = 0x01
COSIGNATURE: Final = 0x04
MARK: Final = "\u2014 "
NAME: Final = re.compile(r"[^\s+]{1,200}")
PRIVATE: Final = "PRIVATE+KEY+"


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]


class PublicKey(msgspec.Struct, frozen=True):
    """Who signs: name, algorithm (SIGNATURE of the log, COSIGNATURE of a witness), 32 bytes of Ed25519 key."""

    name: str
    algorithm: int
    key: bytes

    @property
    def identifier(self) -> bytes:
        return key_id(self.name, self.algorithm, self.key)

    def encode(self) -> str:
        blob = base64.b64encode(bytes([self.algorithm]) + self.key).decode()
        return f"{self.name}+{self.identifier.hex()}+{blob}"

    @classmethod
    def decode(cls, text: str) -> PublicKey:
        """Raises ConfigurationError."""
        name, algorithm, key = _decode_key(text.strip(), "public")
        return cls(name, algorithm, key)

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class PrivateKey:
    """Signs checkpoints under its name."""

    def __init__(self, name: str, seed: bytes, algorithm: int = SIGNATURE) -> None:
        """seed: 32 secret bytes. Raises ConfigurationError for a name that a note cannot hold."""
        if not NAME.fullmatch(name):
            raise ConfigurationError("a key's name has 1 to 200 characters without space or plus sign")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._seed = seed
        self.public = PublicKey(name, algorithm, self._private.public_key().public_bytes_raw())

    @classmethod
    def decode(cls, text: str) -> PrivateKey:
        """Raises ConfigurationError."""
        text = text.strip()
        if not text.startswith(PRIVATE):
            raise ConfigurationError("not a private key of a signed note")
        identifier = text.removeprefix(PRIVATE)
        name, algorithm, seed = _decode_key(identifier, "private", check=False)
        key = cls(name, seed, algorithm)
        if identifier.split("+", 2)[1] != key.public.identifier.hex():
            raise ConfigurationError("a private key whose id is not its own")
        return key

    def encode(self) -> str:
        blob = base64.b64encode(bytes([self.public.algorithm]) + self._seed).decode()
        return f"{PRIVATE}{self.public.name}+{self.public.identifier.hex()}+{blob}"

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def _decode_key(text: str, which: str, *, check: bool = True) -> tuple[str, int, bytes]:
    fault = f"not a {which} key of a signed note (name+id+base64)"
    try:
        name, identifier, blob = text.split("+", 2)
        raw = base64.b64decode(blob, validate=True)
    except (ValueError, binascii.Error):
        raise ConfigurationError(fault) from None
    if len(raw) != 33 or raw[0] not in (SIGNATURE, COSIGNATURE) or not NAME.fullmatch(name):
        raise ConfigurationError(fault)
    if check and identifier != key_id(name, raw[0], raw[1:]).hex():
        raise ConfigurationError(f"a {which} key whose id is not its own")
    return name, raw[0], raw[1:]


def read_public_key(path: Path | str) -> PublicKey:
    """A public key from a file, or given as the text itself. Raises ConfigurationError."""
    text = str(path)
    if "+" in text and not Path(text).exists():
        return PublicKey.decode(text)
    return PublicKey.decode(_read_key_file(Path(path)))


def read_private_key(path: Path | str) -> PrivateKey:
    """Raises ConfigurationError."""
    return PrivateKey.decode(_read_key_file(Path(path)))


def _read_key_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(1_024).decode()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not a key of a signed note") from None


class Checkpoint(msgspec.Struct, frozen=True):
    """What a note's text says: whose tree, how many leaves, which root."""

    origin: str
    size: int
    root: bytes

    def encode(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def decode(cls, text: str) -> Checkpoint:
        """Raises NotProvedError. Lines behind the root are allowed, as the format says, and not looked at."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
            raise NotProvedError("not a checkpoint")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (ValueError, binascii.Error):
            raise NotProvedError("the root of a checkpoint is not base64") from None
        if len(root) != 32:
            raise NotProvedError("the root of a checkpoint has not 32 bytes")
        return cls(lines[0], int(lines[1]), root)


class Note(msgspec.Struct, frozen=True):
    """A signed note taken apart: text with its last newline, and (name, key id, signature) of each line."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def encode(self) -> str:
        lines = [f"{MARK}{name} {base64.b64encode(key + made).decode()}\n" for name, key, made in self.signatures]
        return self.text + "\n" + "".join(lines)

    @classmethod
    def decode(cls, note: str) -> Note:
        """Raises NotProvedError."""
        if len(note) > limits.NOTE_BYTES_MAX or not note.endswith("\n"):
            raise NotProvedError("not a signed note")
        text, separator, rest = note.rpartition("\n\n")
        if not separator or any(ord(character) < 32 and character != "\n" for character in note):
            raise NotProvedError("not a signed note")
        signatures = []
        for line in rest[:-1].split("\n"):
            name, space, blob = line.removeprefix(MARK).partition(" ")
            try:
                raw = base64.b64decode(blob, validate=True)
            except (ValueError, binascii.Error):
                raise NotProvedError("a signature line that is not base64") from None
            if not line.startswith(MARK) or not space or not NAME.fullmatch(name) or len(raw) < 5:
                raise NotProvedError("a signature line that cannot be")
            signatures.append((name, raw[:4], raw[4:]))
        if not 0 < len(signatures) <= limits.NOTE_SIGNATURES_MAX:
            raise NotProvedError("a note with no signature or too many")
        return cls(text + "\n", tuple(signatures))


def sign(checkpoint: Checkpoint, key: PrivateKey) -> Note:
    """The signed note of a checkpoint; its origin must be the key's name."""
    assert checkpoint.origin == key.public.name
    text = checkpoint.encode()
    return Note(text, ((key.public.name, key.public.identifier, key.sign(text.encode())),))


def check(note: str, key: PublicKey) -> Checkpoint:
    """The checkpoint that a note says, after its signature by the log. Raises NotProvedError."""
    found = Note.decode(note)
    made = [raw for name, identifier, raw in found.signatures if (name, identifier) == (key.name, key.identifier)]
    if len(made) != 1 or len(made[0]) != 64 or not key.verify(found.text.encode(), made[0]):
        raise NotProvedError(f"not signed by {key.name}")
    checkpoint = Checkpoint.decode(found.text)
    if checkpoint.origin != key.name:
        raise NotProvedError("the checkpoint of another log")
    return checkpoint


def cosign(note: Note, witness: PrivateKey, time_seconds: int) -> Note:
    """The note with the witness' line (algorithm COSIGNATURE); an earlier line of the same witness is replaced."""
    message = cosigned_message(note.text, time_seconds)
    made = time_seconds.to_bytes(8, "big") + witness.sign(message)
    public = witness.public
    others = tuple(one for one in note.signatures if one[:2] != (public.name, public.identifier))
    return Note(note.text, (*others, (public.name, public.identifier, made)))


def check_cosignature(note: Note, witness: PublicKey) -> int:
    """When the witness cosigned, Unix time in seconds. Raises NotProvedError."""
    for name, identifier, made in note.signatures:
        if (name, identifier) == (witness.name, witness.identifier) and len(made) == 72:
            time_seconds = int.from_bytes(made[:8], "big")
            if witness.verify(cosigned_message(note.text, time_seconds), made[8:]):
                return time_seconds
    raise NotProvedError(f"not cosigned by {witness.name}")


def cosigned_message(text: str, time_seconds: int) -> bytes:
    return f"cosignature/v1\ntime {time_seconds}\n{text}".encode()
