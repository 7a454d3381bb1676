"""What SIGHUP reads again: the authority file and the certificates, taken together or not at all."""

from __future__ import annotations

import ssl

from msgspec import Struct

from jukinet.core.errors import ConfigurationError
from jukinet.core.law.authority import Authority
from jukinet.server.configuration import Configuration
from jukinet.server.transport import server_context


class Credentials(Struct, frozen=True):
    """One reading of authority and certificates."""

    authority: Authority
    context: ssl.SSLContext


def load_credentials(configuration: Configuration) -> Credentials:
    """Read both. Raises ConfigurationError, naming the file and the remedy; nothing is half taken."""
    authority = Authority.load(configuration.authority.file)
    try:
        context = server_context(configuration.tls)
    except ssl.SSLError as error:
        reason = error.reason or str(error.args[0] if error.args else error)
        raise ConfigurationError(
            f"tls: a certificate, key or list cannot be used ({reason}); check the files"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"tls: a file cannot be read: {error.strerror}") from None
    return Credentials(authority, context)
