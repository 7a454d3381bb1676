"""A trial certificate authority: short-lived certificates that say TRIAL and name one body each (docs/pki.md)."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jukinet.core.errors import JukinetError
from jukinet.core.vocabulary import Role

ROOT_DAYS: Final = 30
LEAF_DAYS: Final = 7
DAYS_MAX: Final = 90
"""Trial certificates stay short-lived: nobody should find one in use a year later."""
HOSTS_MAX: Final = 64
BACKDATED: Final = datetime.timedelta(minutes=5)
"""Peers' clocks differ a little; a fresh certificate must already hold on a slow one."""
ORGANISATION: Final = "jukinet TRIAL"
UNIT: Final = "TRIAL - NOT FOR REAL USE"
BODY_PATTERN: Final = re.compile(r"[a-z0-9-]{1,64}")
HOST_PATTERN: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
                                 r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")  # fmt: skip
COMMON_NAME_CHARACTERS_MAX: Final = 64
"""RFC 5280, ub-common-name. The identity stands in the SAN URI; the common name is for people."""


class PkiError(JukinetError):
    """A certificate or key cannot be made, read or written; the message names the file and the remedy."""


@dataclass(frozen=True)
class IssuedFiles:
    """Where one certificate and its private key were written (PEM; the key is PKCS#8 with file mode 0600)."""

    certificate: Path
    key: Path


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not exist yet; it never has other rights than ``mode``, and is whole or absent."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except FileExistsError as error:
        raise PkiError(f"{path}: exists; nothing was overwritten. Move it away, or choose another directory") from error
    except OSError as error:
        raise PkiError(f"{path}: cannot be written ({error.strerror}); check the directory and its rights") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise PkiError(f"{path}: cannot be written ({error.strerror}); make room and repeat") from error


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, UNIT),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:COMMON_NAME_CHARACTERS_MAX]),
        ]
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def checked_days(days: int) -> datetime.timedelta:
    if not 1 <= days <= DAYS_MAX:
        raise PkiError(f"a trial certificate lives 1 to {DAYS_MAX} days, not {days}; choose fewer, or use a real CA")
    return datetime.timedelta(days=days)


def host_name(host: str) -> x509.GeneralName:
    """A SAN entry for a DNS name or an IP address. Raises PkiError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not HOST_PATTERN.fullmatch(host):
            raise PkiError(f"{host!r} is neither a DNS name nor an IP address") from None
        return x509.DNSName(host)


class TrialAuthority:
    """A root certificate with its key, able to issue. Invariant: key and certificate belong together."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        assert certificate.public_key() == key.public_key()
        self.certificate = certificate
        self._key = key

    @classmethod
    def make(cls, name: str = "root", days: int = ROOT_DAYS) -> TrialAuthority:
        """A new root that lives ``days`` days. Raises PkiError."""
        lifetime = checked_days(days)
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = subject(f"TRIAL {name}")
        now = datetime.datetime.now(datetime.UTC)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(issuer)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, directory: str | Path) -> TrialAuthority:
        """Read ``root.pem`` and ``root.key``. Raises PkiError."""
        certificate_path, key_path = Path(directory) / "root.pem", Path(directory) / "root.key"
        certificate = read_certificate(certificate_path)
        try:
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        except OSError as error:
            raise PkiError(f"{key_path}: cannot be read ({error.strerror}); run `jukinet pki init` first") from error
        except (ValueError, TypeError) as error:
            raise PkiError(f"{key_path}: is not an unencrypted private key in PEM; restore it") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise PkiError(f"{key_path}: does not belong to {certificate_path}; restore the pair from one source")
        if certificate.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
            raise PkiError(f"{certificate_path}: the root has expired; make a new one in another directory")
        return cls(certificate, key)

    def write(self, directory: str | Path) -> IssuedFiles:
        """Write ``root.pem`` and ``root.key``; existing files are never overwritten. Raises PkiError."""
        return write_pair(Path(directory), "root", [self.certificate], self._key)

    def issue(
        self, role: str, body: str, *, hosts: Sequence[str] = (), days: int = LEAF_DAYS
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for ``urn:jukinet:ROLE:BODY``; a server needs ``hosts``, others take none. Raises PkiError."""
        if role not in set(Role):
            raise PkiError(f"{role!r} is no role; choose one of {', '.join(Role)}")
        if not BODY_PATTERN.fullmatch(body):
            raise PkiError(f"{body!r} is no body name; it must be 1 to 64 characters of a-z 0-9 -")
        serves = role == Role.SERVER
        if serves and not 1 <= len(hosts) <= HOSTS_MAX:
            raise PkiError(f"a server certificate needs 1 to {HOSTS_MAX} DNS names or addresses; give --host")
        if hosts and not serves:
            raise PkiError(f"host names stand in server certificates only, not in one of role {role}; leave --host out")
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
        names = [x509.UniformResourceIdentifier(f"urn:jukinet:{role}:{body}"), *map(host_name, hosts)]
        issuer_identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject(f"TRIAL {role} {body}"))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - BACKDATED, self.certificate.not_valid_before_utc))
            .not_valid_after(min(now + checked_days(days), self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256()), key

    def issue_files(
        self,
        directory: str | Path,
        role: str,
        body: str,
        *,
        hosts: Sequence[str] = (),
        days: int = LEAF_DAYS,
        stem: str | None = None,
    ) -> IssuedFiles:
        """Issue and write ``STEM.pem`` and ``STEM.key`` (default ``ROLE-BODY``). Raises PkiError."""
        certificate, key = self.issue(role, body, hosts=hosts, days=days)
        return write_pair(Path(directory), stem or f"{role}-{body}", [certificate], key)


def write_pair(
    directory: Path, stem: str, chain: Sequence[x509.Certificate], key: ec.EllipticCurvePrivateKey
) -> IssuedFiles:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PkiError(f"{directory}: cannot be made ({error.strerror}); choose another directory") from error
    files = IssuedFiles(directory / f"{stem}.pem", directory / f"{stem}.key")
    for path in (files.certificate, files.key):
        if os.path.lexists(path):
            raise PkiError(f"{path}: exists; nothing was overwritten. Move it away, or choose another directory")
    write_new(files.key, private_key_pem(key), 0o600)
    try:
        pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
        write_new(files.certificate, pem, 0o644)
    except PkiError:
        files.key.unlink(missing_ok=True)
        raise
    return files


def read_certificate(path: str | Path) -> x509.Certificate:
    """The first certificate of a PEM file. Raises PkiError."""
    try:
        return x509.load_pem_x509_certificate(Path(path).read_bytes())
    except OSError as error:
        raise PkiError(f"{path}: cannot be read ({error.strerror}); check path and rights") from error
    except ValueError as error:
        raise PkiError(f"{path}: holds no certificate in PEM; give a .pem file") from error


def is_trial(certificate: x509.Certificate) -> bool:
    """Whether a certificate says that it is not for real use."""
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return any(unit.value == UNIT for unit in units)


def issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    """Whether ``root`` signed ``certificate``."""
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def make_root(directory: str | Path, *, days: int = ROOT_DAYS) -> TrialAuthority:
    """Make a trial root and write ``root.pem`` and ``root.key`` into ``directory``. Raises PkiError."""
    authority = TrialAuthority.make(days=days)
    authority.write(directory)
    return authority


def make_trial(
    directory: str | Path,
    *,
    bodies: Iterable[tuple[str, str]],
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1"),
    days: int = LEAF_DAYS,
) -> dict[tuple[str, str], IssuedFiles]:
    """A whole trial set in one directory: ``root.pem``/``.key``, ``server.pem``/``.key``, ``ROLE-BODY.pem``/``.key``.

    ``bodies`` are (role, name) pairs. Returns the files of each body, the server's under ``("server", "trial")``.
    Existing files are never overwritten. Raises PkiError.
    """
    authority = make_root(directory, days=max(days, ROOT_DAYS))
    server = (str(Role.SERVER), "trial")
    issued = {server: authority.issue_files(directory, *server, hosts=hosts, days=days, stem="server")}
    for role, body in bodies:
        issued[(role, body)] = authority.issue_files(directory, role, body, days=days)
    return issued
