"""What SIGHUP reads again: the authority file and the certificates, taken together or not at all."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from msgspec import Struct

from jukinet.core.errors import ConfigurationError
from jukinet.core.law.authority import Authority
from jukinet.core.wire.feed_frames import FEED_ALPN_NAME
from jukinet.server import authority_follower
from jukinet.server.authority_follower import Reading
from jukinet.server.boundary import Revoked, revoked_by
from jukinet.server.configuration import Configuration, Tls
from jukinet.server.transport import ALPN, server_context


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
    context = _context("tls", configuration.tls, ALPN)
    return Credentials(
        reading.authority,
        context,
        reading,
        _certificate_digest(configuration.tls.certificate),
        revoked_by(configuration.tls.revocation_list),
    )


def _certificate_digest(path: str) -> bytes:
    """SHA-256 of the first certificate of a PEM file that was just loaded, which is the one presented."""
    try:
        text = Path(path).read_text(encoding="ascii")
        first = text[text.index("-----BEGIN CERTIFICATE-----") :].partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1] + "\n")).digest()
    except (OSError, ValueError):
        raise ConfigurationError("tls: tls.certificate cannot be read as PEM; check the file") from None


def load_feed_context(configuration: Configuration) -> ssl.SSLContext:
    """The feed port's certificates and roots. Raises ConfigurationError, naming the file and the remedy."""
    return _context("feed", configuration.feed_tls, FEED_ALPN_NAME)


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
