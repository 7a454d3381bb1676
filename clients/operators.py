"""How an operator proves who it is to the register: by password, by a key in a file, or by a smart card (PKCS #11)."""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from jukinet.clients.errors import MissingExtraError, OperatorCardRemovedError
from jukinet.core import limits
from jukinet.core.errors import ConfigurationError
from jukinet.core.signatures import PrivateKey
from jukinet.core.wire import messages as m
from jukinet.core.wire import operator_proof


class OperatorCredential(ABC):
    """What an operator has to prove itself with; given to ``client.session(credential=...)``."""

    method: str
    can_go = False
    """Whether it can be taken away while a session is open, as a card can."""

    def is_old(self, seconds: float) -> bool:
        """Whether a proof of that age is to be made anew. A password is asked for once, a key signs again."""
        return self.method == operator_proof.KEY and seconds >= limits.OPERATOR_PROOF_SECONDS

    @abstractmethod
    def prove(self, challenge: m.OperatorChallenge, text: bytes) -> bytes:
        """The proof of ``text`` (docs/operators.md, chapter 3). May take a second: not for an event loop."""

    def check_present(self) -> None:  # noqa: B027 - a password or a file cannot go
        """Raises OperatorCardRemovedError when it is gone. Costs next to nothing for what cannot go."""


@dataclass(frozen=True)
class OperatorPassword(OperatorCredential):
    """A password. It is not sent."""

    password: str = field(repr=False)
    method = operator_proof.PASSWORD

    def prove(self, challenge: m.OperatorChallenge, text: bytes) -> bytes:
        return operator_proof.password_proof(self.password, challenge, text)


class OperatorKey(OperatorCredential):
    """A private key in a PEM file, as batch systems have it. ConfigurationError when it cannot be used."""

    method = operator_proof.KEY

    def __init__(self, path: str | os.PathLike[str], password: str | None = None) -> None:
        self._key = PrivateKey(os.fspath(path), None if password is None else password.encode())

    def prove(self, challenge: m.OperatorChallenge, text: bytes) -> bytes:  # noqa: ARG002
        return self._key.sign(text)


class OperatorCard(OperatorCredential):
    """A key on a smart card or in another PKCS #11 token: ECDSA P-256 or RSA. It never leaves the card.

    module: path of the card's PKCS #11 library. token: its token label. label: label of the private key. pin: the
    user's PIN. MissingExtraError without the package ``python-pkcs11``; ConfigurationError when module, token, PIN or
    key cannot be used.
    """

    method = operator_proof.KEY
    can_go = True

    def __init__(self, module: str, token: str, label: str, pin: str) -> None:
        try:
            import pkcs11  # noqa: PLC0415 - an optional package
        except ImportError:
            raise MissingExtraError("smart cards need the extra 'card': pip install 'jukinet[card]'") from None
        self._pkcs11: Any = pkcs11
        self._token_label = token
        self._turn = threading.Lock()
        self._gone = False
        try:
            self._library = pkcs11.lib(module)
            self._session = self._library.get_token(token_label=token).open(user_pin=pin)
            self._key: Any = self._session.get_key(label=label, object_class=pkcs11.constants.ObjectClass.PRIVATE_KEY)
        except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
            raise ConfigurationError(
                f"card: token {token!r} or its key {label!r} cannot be used ({type(error).__name__}); check module, "
                "card and PIN"
            ) from None

    def __repr__(self) -> str:
        return f"OperatorCard(token={self._token_label!r})"

    def check_present(self) -> None:
        """Ask the card's slots whether the token is still there, and its session still open. From any thread.

        Once gone, always gone: a card that is put back needs its PIN, and so a new OperatorCard.
        """
        errors = self._pkcs11.exceptions
        if self._gone:
            raise OperatorCardRemovedError("the operator's card was taken out; insert it and log in again")
        try:
            with self._turn:
                self._library.get_token(token_label=self._token_label)
                _ = self._key.label
        except (errors.PKCS11Error, RuntimeError):
            self._gone = True
            raise OperatorCardRemovedError("the operator's card is gone; insert it and log in again") from None

    def prove(self, challenge: m.OperatorChallenge, text: bytes) -> bytes:  # noqa: ARG002
        pkcs11 = self._pkcs11
        try:
            with self._turn:
                if self._key.key_type == pkcs11.KeyType.EC:
                    digest = hashlib.sha256(text).digest()
                    raw = bytes(self._key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
                    return _der_signature(raw)
                return bytes(self._key.sign(text, mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS))
        except (pkcs11.exceptions.PKCS11Error, RuntimeError):
            raise OperatorCardRemovedError("the operator's card is gone or does not sign") from None


def _der_signature(raw: bytes) -> bytes:
    """A card's ECDSA signature (r and s of equal length) as RFC 3279 has it."""
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))


def proof_of(
    credential: OperatorCredential,
    challenge: m.OperatorChallenge,
    greeting: m.Greeting,
    certificates: tuple[bytes, bytes],
    operator: str,
) -> bytes:
    """The proof for a challenge on a connection whose two certificates (own, server's) have these SHA-256."""
    if challenge.method != credential.method:
        raise ConfigurationError(f"the register knows operator {operator!r} by another credential: {challenge.method}")
    parties = operator_proof.Parties(greeting.register, *certificates, greeting.role, greeting.body)
    return credential.prove(challenge, operator_proof.statement(parties, challenge.nonce, operator))
