"""A report with an Ed25519 signature as its last line (docs/selfcheck.md, chapter 2), and the key files for it."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jukinet.core.errors import ConfigurationError, JukinetError
from jukinet.server.pki.trial import write_new

MARK: Final = "jukinet-selfcheck-1 ed25519"
REPORT_BYTES_MAX: Final = 1 << 20


class ReportError(JukinetError):
    """A report that is not signed by the key, or was changed afterwards."""

    exit_code = 1


def make_key(path: Path) -> Path:
    """Write a new private key (mode 0600) and, beside it, ``.pub``: the public key's path. Raises PkiError."""
    key = Ed25519PrivateKey.generate()
    encoding, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    write_new(path, key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, unencrypted), 0o600)
    public = path.with_name(path.name + ".pub")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_new(public, key.public_key().public_bytes(encoding, form), 0o644)
    return public


def read_private_key(path: str | Path) -> Ed25519PrivateKey:
    """Raises ConfigurationError."""
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), None)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{path}: is no unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path}: is no Ed25519 key; make one with `jukinet selfcheck key`")
    return key


def read_public_key(path: str | Path) -> Ed25519PublicKey:
    """Raises ConfigurationError."""
    try:
        key = serialization.load_pem_public_key(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{path}: is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{path}: is no Ed25519 key")
    return key


def signed(body: str, key: Ed25519PrivateKey) -> str:
    """The report with its signature; the body ends with a newline."""
    assert body.endswith("\n")
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    signature = base64.b64encode(key.sign(body.encode())).decode()
    return f"{body}{MARK} {public} {signature}\n"


def verified(report: bytes, key: Ed25519PublicKey) -> str:
    """The body of a report that this key has signed. Raises ReportError."""
    if len(report) > REPORT_BYTES_MAX:
        raise ReportError("the report is too long")
    head, separator, last = report.removesuffix(b"\n").rpartition(b"\n")
    body = head + separator
    words = last.split(b" ")
    if not report.endswith(b"\n") or len(words) != 4 or b" ".join(words[:2]) != MARK.encode():
        raise ReportError("the report does not end with a signature")
    try:
        public = base64.b64decode(words[2], validate=True)
        signature = base64.b64decode(words[3], validate=True)
        if base64.b64encode(public) != words[2] or base64.b64encode(signature) != words[3]:
            raise ReportError("the last line is not in its one form")
        if public != key.public_bytes_raw():
            raise ReportError("the report names another key")
        key.verify(signature, body)
        return body.decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ReportError("the report's last line or text is damaged") from None
    except InvalidSignature:
        raise ReportError("the signature does not hold: the report was changed, or is not of this key") from None
