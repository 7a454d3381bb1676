"""How operators prove who they are: the statement of one challenge, and proofs by password (docs/operators.md, 2)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from jukinet.core.wire.messages import OperatorChallenge

PASSWORD: Final = "password"  # noqa: S105 - the name of a method
KEY: Final = "key"
HASH_BYTES: Final = 32
LABEL: Final = b"jukinet operator client key"


class Parties(NamedTuple):
    """Whom a proof is between: the register, SHA-256 of both certificates of the TLS connection, and the body."""

    register: str
    client_certificate: bytes
    server_certificate: bytes
    role: str
    body: str


def statement(parties: Parties, nonce: bytes, operator: str) -> bytes:
    """What is proved: the lines of docs/operators.md, chapter 3."""
    return (
        "jukinet operator proof 1\n"
        f"register {parties.register}\n"
        f"nonce {nonce.hex()}\n"
        f"client-certificate {parties.client_certificate.hex()}\n"
        f"server-certificate {parties.server_certificate.hex()}\n"
        f"role {parties.role}\n"
        f"body {parties.body}\n"
        f"operator {operator}\n"
    ).encode()


def client_key(password: str, salt: bytes, memory_kibibytes: int, iterations: int, lanes: int) -> bytes:
    """The secret of a password: Argon2id (RFC 9106), which is meant to take its time, then HMAC-SHA-256."""
    kdf = Argon2id(salt=salt, length=HASH_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory_kibibytes)
    return hmac.digest(kdf.derive(password.encode()), LABEL, "sha256")


def stored_key(key: bytes) -> bytes:
    """What the server keeps of a client key."""
    return hashlib.sha256(key).digest()


def password_proof(password: str, challenge: OperatorChallenge, text: bytes) -> bytes:
    """The proof of knowing ``password``, bound to the statement ``text``. Takes 0.2 s and the memory asked for."""
    key = client_key(password, challenge.salt, challenge.memory_kibibytes, challenge.iterations, challenge.lanes)
    return _exclusive_or(key, hmac.digest(stored_key(key), text, "sha256"))


def check_password_proof(stored: bytes, proof: bytes, text: bytes) -> bool:
    """Whether ``proof`` is of the password behind ``stored``, for ``text``."""
    if len(proof) != HASH_BYTES:
        return False
    key = _exclusive_or(proof, hmac.digest(stored, text, "sha256"))
    return hmac.compare_digest(stored_key(key), stored)


def _exclusive_or(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
