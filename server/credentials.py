"""What SIGHUP reads again: the authority file and the certificates, taken together or not at all."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Final

from msgspec import Struct

from jukinet.core.errors import ConfigurationError
from jukinet.core.law.authority import Authority
from jukinet.core.wire.feed_frames import FEED_ALPN_NAME
from jukinet.server import authority_follower
from jukinet.server.authority_follower import Reading
from jukinet.server.boundary import Revoked, revoked_by, shared_roots
from jukinet.server.configuration import Configuration, Tls
from jukinet.server.transport import ADMINISTRATION_ALPN, ALPN, server_context

ALPN_NAMES: Final = {
    "query": ALPN,
    "feed": FEED_ALPN_NAME,
    "witness": FEED_ALPN_NAME,
    "administration": ADMINISTRATION_ALPN,
}
"""What each port speaks."""


class PortCredentials(Struct, frozen=True):
    """One reading of a port's certificates, and what its revocation lists revoke."""

    context: ssl.SSLContext
    revoked: Revoked = frozenset()


class Credentials(Struct, frozen=True):
    """One reading of authority and certificates."""

    authority: Authority
    context: ssl.SSLContext
    reading: Reading
    certificate_digest: bytes
    """SHA-256 of the query port's own certificate."""
    revoked: Revoked = frozenset()
    """What the query port's revocation lists revoke."""


def load_credentials(configuration: Configuration) -> Credentials:
    """Read both. Raises ConfigurationError, naming the file and the remedy; nothing is half taken."""
    reading = authority_follower.read(configuration.authority.file)
    port = load_port(configuration, "query")
    digest = _certificate_digest(configuration.tls.certificate)
    return Credentials(reading.authority, port.context, reading, digest, port.revoked)


def _certificate_digest(path: str) -> bytes:
    """SHA-256 of the first certificate of a PEM file that was just loaded, which is the one presented."""
    try:
        text = Path(path).read_text(encoding="ascii")
        first = text[text.index("-----BEGIN CERTIFICATE-----") :].partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1] + "\n")).digest()
    except (OSError, ValueError):
        raise ConfigurationError("tls: tls.certificate cannot be read as PEM; check the file") from None


def load_port(configuration: Configuration, port: str) -> PortCredentials:
    """An open port's certificates, roots and lists. Raises ConfigurationError, naming the file and the remedy.

    Also when another open port trusts one of its authorities, whose certificates would then be looked at on both. Only
    authorities for trials may be shared, of which the log warns.
    """
    settings = configuration.ports()[port]
    context = _context("tls" if port == "query" else port, settings, ALPN_NAMES[port])
    for shared in shared_roots(configuration):
        if port in shared.ports and not shared.is_trial:
            raise ConfigurationError(f"{shared}: give each port roots of its own (docs/pki.md, chapter 5)")
    return PortCredentials(context, revoked_by(settings.revocation_list))


def check_credentials(configuration: Configuration) -> None:
    """Read everything that is read again on SIGHUP, for all ports. Raises ConfigurationError."""
    load_credentials(configuration)
    for port in configuration.own_ports():
        load_port(configuration, port)


def _context(section: str, settings: Tls, alpn: str) -> ssl.SSLContext:
    try:
        return server_context(settings, alpn)
    except ssl.SSLError as error:
        reason = error.reason or str(error.args[0] if error.args else error)
        raise ConfigurationError(
            f"{section}: a certificate, key or list cannot be used ({reason}); check the files"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{section}: a file cannot be read: {error.strerror}") from None
