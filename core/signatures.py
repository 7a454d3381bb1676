"""Public keys of people and the signatures that they make: approvals of authority, and operators' cards and keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from jukinet.core import limits
from jukinet.core.errors import ConfigurationError

RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 4_096
PRIVATE_KEY_BYTES_MAX: Final = 65_536

_Public = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class PersonalKey:
    """A public key: Ed25519, ECDSA on P-256 with SHA-256, or RSA of 2,048 to 4,096 bits (PKCS #1 v1.5, SHA-256).

    ``text`` is its SubjectPublicKeyInfo (RFC 5280, 4.1) in Base64, the one form in which keys are kept and compared.
    """

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        """Raises ConfigurationError, which does not quote the text."""
        if len(text) > limits.PUBLIC_KEY_TEXT_BYTES_MAX:
            raise ConfigurationError(f"a public key has at most {limits.PUBLIC_KEY_TEXT_BYTES_MAX:,} characters")
        try:
            key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
        except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
            raise ConfigurationError("not a public key: SubjectPublicKeyInfo in Base64 is wanted") from None
        self._key = _checked(key)
        self.text = _text_of(self._key)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key's DER form in hexadecimal."""
        return hashlib.sha256(base64.b64decode(self.text)).hexdigest()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's over ``message``."""
        key = self._key
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            else:
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True


def _checked(key: object) -> _Public:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        return key
    raise ConfigurationError("not a key of a known kind: Ed25519, ECDSA on P-256, or RSA of 2,048 to 4,096 bits")


def _text_of(key: _Public) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


class PrivateKey:
    """A personal key in a PEM file, as batch systems have it and people without a card."""

    def __init__(self, path: str | Path, password: bytes | None = None) -> None:
        """Read the file. Raises ConfigurationError."""
        try:
            with Path(path).open("rb") as file:
                content = file.read(PRIVATE_KEY_BYTES_MAX)
            key = serialization.load_pem_private_key(content, password)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigurationError(f"{path}: not a private key in PEM, or its password is wrong") from None
        _checked(key.public_key())
        assert isinstance(key, _Private)
        self._key = key

    @property
    def public(self) -> PersonalKey:
        return PersonalKey(_text_of(self._key.public_key()))

    def sign(self, message: bytes) -> bytes:
        """The signature that ``PersonalKey.verify`` checks."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(message, ec.ECDSA(hashes.SHA256()))
        return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
