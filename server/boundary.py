"""The network boundary of a port: which addresses and bodies it serves, and how long their certificates may live."""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from jukinet.core.errors import ConfigurationError
from jukinet.core.vocabulary import Role
from jukinet.server.boundary_settings import Boundary
from jukinet.server.configuration import Configuration, Tls
from jukinet.server.event_log import EventLog
from jukinet.server.identity import QUERY_ROLES, Identity, IdentityError, from_certificate
from jukinet.server.pki.trial import is_trial
from jukinet.server.port_settings import OWN_PORTS
from jukinet.server.transport import TlsStream

DAY_SECONDS: Final = 86_400.0
WARN_AGAIN_SECONDS: Final = 86_400.0
REVOCATIONS_PER_STEP: Final = 64
"""Connections whose certificates are compared with a new revocation list before others have their turn: 1 ms."""
_LIST: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Revoked = frozenset[tuple[bytes, int]]
"""Issuer (DER of its name) and serial number of each certificate that is revoked."""


class PortBoundary:
    """Who may connect to one port. Raises ConfigurationError for a list that cannot be understood."""

    def __init__(self, port: str, addresses: str, bodies: str, settings: Boundary) -> None:
        """port: its name, with which the settings' names begin."""
        self._days_max = settings.certificate_days_max
        self._warn_days = settings.certificate_warn_days
        self._networks: list[Network] = []
        for text in addresses.split():
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise ConfigurationError(f"boundary.{port}_addresses: {error}") from None
        self._bodies = frozenset(bodies.split())
        for name in self._bodies:
            role, separator, body = name.partition("/")
            if not separator or role not in set(Role) or not body:
                raise ConfigurationError(f"boundary.{port}_bodies: {name!r} is not of the form ROLE/BODY")

    def allows_address(self, address: str) -> bool:
        """Whether a connection may come from this address."""
        if not self._networks:
            return True
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)

    def admit(
        self, stream: TlsStream, revoked: Revoked, log: EventLog, roles: frozenset[Role] = QUERY_ROLES
    ) -> Identity:
        """The peer of a stream after its handshake. Raises IdentityError when it is not served.

        revoked: as of now; the handshake may have begun before a reload.
        """
        if revoked and is_revoked(stream.certificate_bytes(), revoked):
            raise IdentityError("the certificate was revoked")
        return self.identity(stream.certificate(), log, roles)

    def identity(
        self, certificate: Mapping[str, Any] | None, log: EventLog, roles: frozenset[Role] = QUERY_ROLES
    ) -> Identity:
        """The peer that a certificate names, as ``from_certificate``. Raises IdentityError when it is not served."""
        identity = from_certificate(certificate, roles)
        assert certificate is not None
        lives = identity.valid_until - float(ssl.cert_time_to_seconds(certificate["notBefore"]))
        if self._days_max and lives > self._days_max * DAY_SECONDS:
            raise IdentityError(f"the certificate lives longer than boundary.certificate_days_max = {self._days_max:g}")
        if self._bodies and f"{identity.role}/{identity.body}" not in self._bodies:
            raise IdentityError("the certificate's body is not served on this port")
        left = (identity.valid_until - time.time()) / DAY_SECONDS
        if left < self._warn_days and lives > self._warn_days * DAY_SECONDS:
            log.warning("peer_certificate_ends", role=str(identity.role), body=identity.body, days_left=round(left, 2))
        return identity


def boundary_of(port: str, settings: Boundary) -> PortBoundary:
    """Of a port by its name, as in ``Configuration.ports``. Raises ConfigurationError."""
    return PortBoundary(port, getattr(settings, f"{port}_addresses"), getattr(settings, f"{port}_bodies"), settings)


def check_boundaries(settings: Boundary) -> None:
    """Understand the lists of all ports. Raises ConfigurationError."""
    for port in ("query", *OWN_PORTS):
        boundary_of(port, settings)


# Certificates and lists --------------------------------------------------------------------------------------------


def revocation_lists(path: str) -> list[x509.CertificateRevocationList]:
    """The lists in a PEM file; none when there is no file. Raises ConfigurationError."""
    if not path:
        return []
    try:
        return [x509.load_pem_x509_crl(text) for text in _LIST.findall(Path(path).read_bytes())]
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{path}: is no revocation list in PEM") from None


def revoked_by(path: str) -> Revoked:
    """Everything that the lists in a file revoke. Raises ConfigurationError."""
    return frozenset(
        (found.issuer.public_bytes(), entry.serial_number) for found in revocation_lists(path) for entry in found
    )


def is_revoked(certificate: bytes | None, revoked: Revoked) -> bool:
    """Whether a peer's certificate (DER) is among them."""
    if certificate is None or not revoked:
        return False
    try:
        read = x509.load_der_x509_certificate(certificate)
    except ValueError:
        return True  # what cannot be compared is not trusted further
    return (read.issuer.public_bytes(), read.serial_number) in revoked


class Ending(Struct, frozen=True):
    """When something of a port ends. what: certificate, roots or revocation_list; at: seconds since 1970."""

    port: str
    what: str
    at: float


def endings(configuration: Configuration) -> list[Ending]:
    """When certificates, roots and revocation lists of the ports end: the first to end of each file.

    Raises ConfigurationError when a file cannot be read.
    """
    return [ending for port, tls in configuration.ports().items() for ending in _endings_of(port, tls)]


def _endings_of(port: str, tls: Tls) -> list[Ending]:
    found = []
    for what, path in (("certificate", tls.certificate), ("roots", tls.roots)):
        ends_at = min(one.not_valid_after_utc.timestamp() for one in _certificates(path))
        found.append(Ending(port, what, ends_at))
    ends = [one.next_update_utc for one in revocation_lists(tls.revocation_list)]
    known = [end.timestamp() for end in ends if isinstance(end, datetime.datetime)]
    if known:
        found.append(Ending(port, "revocation_list", min(known)))
    return found


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"{path}: holds no certificate in PEM") from None


class SharedRoot(Struct, frozen=True):
    """Two open ports that trust one authority. is_trial: it is one of ``jukinet pki``, for trials only."""

    ports: tuple[str, str]
    is_trial: bool

    def __str__(self) -> str:
        return f"the {self.ports[0]} port and the {self.ports[1]} port trust the same authority"


def shared_roots(configuration: Configuration) -> list[SharedRoot]:
    """Every two open ports that have a root of the same public key, whatever the files' names.

    A file that cannot be read holds none: its own port refuses it, and the others go on.
    """
    known: dict[bytes, str] = {}
    found: dict[tuple[str, str], bool] = {}
    for port, tls in configuration.ports().items():
        try:
            roots = _certificates(tls.roots)
        except ConfigurationError:
            continue
        for root in roots:
            key = root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            other = known.setdefault(key, port)
            if other != port:
                found[other, port] = found.get((other, port), True) and is_trial(root)
    return [SharedRoot(ports, trial) for ports, trial in found.items()]


class EndingWatch:
    """Warns, at most once a day for each, of what ends soon and of roots that ports share; knows what ends first."""

    def __init__(self, configuration: Configuration, log: EventLog) -> None:
        self._configuration = configuration
        self._log = log
        self._warned: dict[tuple[str, str], float] = {}

    def look(self, now: float) -> float | None:
        """Look once: when the first of all ends, None when a file cannot be read (which is logged)."""
        try:
            found = endings(self._configuration)
            shared = shared_roots(self._configuration)
        except ConfigurationError as error:
            self._log.error("certificates_not_read", reason=str(error))
            return None
        for ending in found:
            left = ending.at - now
            soon = left < self._configuration.boundary.certificate_warn_days * DAY_SECONDS
            if soon and self._is_due((ending.port, ending.what), now):
                self._log.warning(
                    "certificate_ends", port=ending.port, what=ending.what, days_left=round(left / DAY_SECONDS, 2)
                )
        for root in shared:
            if self._is_due(root.ports, now):
                self._log.warning("roots_shared", port=root.ports[1], other=root.ports[0])
        return min(ending.at for ending in found)

    def _is_due(self, what: tuple[str, str], now: float) -> bool:
        """Whether it was not warned of for a day."""
        if now - self._warned.get(what, 0.0) < WARN_AGAIN_SECONDS:
            return False
        self._warned[what] = now
        return True
