"""Revocation lists of trial authorities, for tests."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def revocation_list(root: Path, revoked: Iterable[Path] = (), *, days: float = 1.0) -> bytes:
    """A list (PEM) of the authority in the directory ``root`` that revokes certificates; negative days: expired."""
    issuer = x509.load_pem_x509_certificate((root / "root.pem").read_bytes())
    key = serialization.load_pem_private_key((root / "root.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - datetime.timedelta(days=3))
        .next_update(now + datetime.timedelta(days=days))
    )
    for path in revoked:
        number = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
