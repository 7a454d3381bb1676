"""Signatures of media files, and whose they are: certificates to a trusted root, by RFC 5280 as far as is needed here.

A signer is the body that its certificate names in its SAN URI ``urn:jukinet:ROLE:BODY``, as on the line.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from jukinet.core.errors import ConfigurationError
from jukinet.core.media.package import MediaError, Package
from jukinet.core.vocabulary import IDENTITY_URI, Role

CHAIN_MAX: Final = 6
_ALGORITHM: Final = ec.ECDSA(Prehashed(hashes.SHA256()))


class Signer(NamedTuple):
    """Whose signature it is."""

    role: Role
    body: str


def signer_of(path: Path, password: str | None = None) -> Callable[[bytes], bytes]:
    """What signs SHA-256 digests with the private key of a PEM file. ConfigurationError when it cannot."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password.encode() if password else None)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; give the path of a readable PEM file") from None
    except (ValueError, TypeError):
        raise ConfigurationError(f"{path}: no private key can be read from it; check file and password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path}: media files are signed with a key on an elliptic curve (P-256, P-384)")
    return lambda digest: key.sign(digest, _ALGORITHM)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, in its order. ConfigurationError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; give the path of a readable PEM file") from None
    except ValueError:
        raise ConfigurationError(f"{path}: holds no certificate") from None


def read_revoked(path: Path) -> list[x509.CertificateRevocationList]:
    """The revocation lists of a PEM file. ConfigurationError."""
    marks = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
    try:
        return [x509.load_pem_x509_crl(found) for found in marks.findall(path.read_bytes())]
    except (OSError, ValueError):
        raise ConfigurationError(f"{path}: no revocation list can be read from it") from None


def check(
    package: Package,
    roots: Sequence[x509.Certificate],
    roles: frozenset[Role],
    now: datetime.datetime,
    revoked: Sequence[x509.CertificateRevocationList] = (),
) -> Signer:
    """The signer of a file, whose role must be one of these. Raises MediaError when anything does not hold."""
    try:
        signer = _checked(package, roots, now, revoked)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise MediaError("the media file's certificates cannot be read; it is damaged") from None
    if signer.role not in roles:
        raise MediaError(f"the media file is signed by a {signer.role}, which is not whom it must be from")
    return signer


def _checked(
    package: Package,
    roots: Sequence[x509.Certificate],
    now: datetime.datetime,
    revoked: Sequence[x509.CertificateRevocationList],
) -> Signer:
    """The signer, when signature and certificates hold. Raises MediaError, and what malformed certificates raise."""
    chain = x509.load_pem_x509_certificates(package.certificates)
    leaf = chain[0]
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise MediaError("the media file is not signed with a key on an elliptic curve")
    try:
        key.verify(package.signature, package.digest, _ALGORITHM)
    except InvalidSignature:
        raise MediaError(
            "the signature does not hold: the media file was changed, or is not from this signer"
        ) from None
    _check_chain(chain[:CHAIN_MAX], roots, now, revoked)
    return named(leaf)


def _check_chain(
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime.datetime,
    revoked: Sequence[x509.CertificateRevocationList],
) -> None:
    """Each certificate is valid now, not revoked, and issued by the next, the last by a root."""
    for place, certificate in enumerate(chain):
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise MediaError("a certificate of the media file's signer is not valid today")
        for crl in revoked:
            number = certificate.serial_number
            if crl.issuer == certificate.issuer and crl.get_revoked_certificate_by_serial_number(number) is not None:
                raise MediaError("a certificate of the media file's signer was revoked")
        if place and not _may_issue(certificate):
            raise MediaError("a certificate of the media file's signer was issued by one that may not issue")
        if any(_issued_by(certificate, root) and _in_force(root, now) for root in roots):
            return
        if place + 1 == len(chain) or not _issued_by(certificate, chain[place + 1]):
            break
    raise MediaError("the certificate of the media file's signer does not lead to a trusted root")


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return _may_issue(issuer)


def _in_force(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def named(certificate: x509.Certificate) -> Signer:
    """The body that a certificate names. Raises MediaError."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise MediaError("the signer's certificate names no body") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    match = IDENTITY_URI.fullmatch(uris[0]) if len(uris) == 1 else None
    if match is None:
        raise MediaError("the signer's certificate does not name one body as urn:jukinet:ROLE:BODY")
    return Signer(Role(match[1]), match[2])
