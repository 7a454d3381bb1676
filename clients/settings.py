"""What a caller settles before connecting: credentials, deadlines, and how often to try again."""

from __future__ import annotations

import hashlib
import os
import random
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from jukinet.clients.errors import ClientError, ConnectionFailedError, RequestError
from jukinet.core.errors import ConfigurationError
from jukinet.core.vocabulary import Role

SAN_PREFIX: Final = "urn:jukinet:"
IN_FLIGHT_DEFAULT: Final = 4
TRIES_MAX: Final = 100
SECONDS_MAX: Final = 86_400.0


class Service(NamedTuple):
    """Which of a server's services is meant: the protocol that TLS names (ALPN), and what it is called in messages."""

    alpn: str
    name: str


QUERY: Final = Service("jukinet/1", "query service")
FEED: Final = Service("jukinet-feed/1", "feed service")


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files of mutual TLS: the root that signed the server, this body's certificate (with chain), and its key.

    ``password`` opens an encrypted key. ConfigurationError, naming the file, when one cannot be used.
    """

    root: str | os.PathLike[str]
    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]
    password: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(root={os.fspath(self.root)!r}, certificate={os.fspath(self.certificate)!r}, key=...)"

    def context(self, service: Service = QUERY) -> ssl.SSLContext:
        """A TLS 1.3 context that presents the certificate and trusts this root alone. Reads the files anew each time,
        so that a renewed certificate is used by the next connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([service.alpn])
        for name, path in (("root", self.root), ("certificate", self.certificate), ("key", self.key)):
            try:
                os.close(os.open(path, os.O_RDONLY))
            except OSError as error:
                raise ConfigurationError(
                    f"{name} {os.fspath(path)}: {error.strerror}; give the path of a readable PEM file"
                ) from None
        try:
            context.load_verify_locations(self.root)
        except ssl.SSLError:
            raise ConfigurationError(f"root {os.fspath(self.root)}: holds no PEM certificate") from None
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._password)
        except ssl.SSLError:
            raise ConfigurationError(
                f"certificate {os.fspath(self.certificate)} and key {os.fspath(self.key)}: not a PEM pair that belongs "
                "together, or the key's password is wrong or missing"
            ) from None
        return context

    def certificate_digest(self) -> bytes:
        """SHA-256 of the certificate that is presented: the first one of its file. Raises ConfigurationError."""
        try:
            text = Path(self.certificate).read_text(encoding="ascii")
            first = text[text.index("-----BEGIN CERTIFICATE-----") :].partition("-----END CERTIFICATE-----")
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1] + "\n")).digest()
        except (OSError, ValueError):
            raise ConfigurationError(f"certificate {os.fspath(self.certificate)}: holds no PEM certificate") from None

    def _password(self) -> str:
        # Without this OpenSSL would ask on the terminal, in the middle of an event loop.
        return self.password or ""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Limits on every wait, in seconds. ``request`` runs from sending a request to its whole answer; ``idle`` is the
    longest silence in the middle of an answer; ``cancel`` bounds the tidying-up after a cancellation."""

    connect: float = 10.0
    handshake: float = 10.0
    request: float = 60.0
    idle: float = 30.0
    close: float = 2.0
    cancel: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not 0 < getattr(self, name) <= SECONDS_MAX:
                raise ConfigurationError(f"deadline {name!r} must be above 0 and at most {SECONDS_MAX:g} seconds")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a query is tried when the connection was lost or the server cannot answer just now (rate, draining,
    record of use or register unavailable), with exponential back-off and jitter.

    ``tries`` counts the first; 1 means never again. The wait before try n is random between half and all of
    ``first * 2 ** (n - 2)`` seconds, at most ``longest``. The first connection of a client is tried again for at most
    ``connecting`` seconds, with the same waits, while it is refused, reset or ended before its greeting, as when the
    server or the worker that it reached is being started; every other failure of it is told at once.
    """

    tries: int = 8
    """With the waits below these are given up after 5.6 to 11.3 s: a worker that died serves again within that."""
    first: float = 0.1
    longest: float = 5.0
    connecting: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.tries <= TRIES_MAX:
            raise ConfigurationError(f"tries must be 1 to {TRIES_MAX}")
        if not 0 <= self.first <= self.longest <= SECONDS_MAX:
            raise ConfigurationError(f"0 <= first <= longest <= {SECONDS_MAX:g} seconds must hold")
        if not 0 <= self.connecting <= SECONDS_MAX:
            raise ConfigurationError(f"connecting must be 0 to {SECONDS_MAX:g} seconds")

    def wait_seconds(self, failures: int, least: float = 0.0) -> float:
        """The wait after the given number of failures (1 or more); never under ``least``."""
        most = min(self.longest, self.first * 2.0 ** min(failures - 1, 40))
        return max(least, most * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret

    def wait_after(self, error: ClientError, failures: int) -> float | None:
        """Seconds to wait before asking again, None when the error must go to the caller: it is not of the kind that
        passes, the tries are used up, or the server asks for a longer wait than ``longest``."""
        least = error.retry_after if isinstance(error, RequestError) else 0.0
        if not error.repeatable or failures >= self.tries or least > self.longest:
            return None
        return self.wait_seconds(failures, least)

    def wait_for_start(self, error: ClientError, failures: int, seconds: float) -> float | None:
        """Seconds to wait before the first connection is tried again, when it has failed so often in that many seconds;
        None when the error must go to the caller."""
        left = self.connecting - seconds
        if not error.starting or self.tries == 1 or left <= 0:
            return None
        return min(left, self.wait_seconds(failures))


def check_server(certificate: dict[str, Any] | None, alpn: str | None, service: Service = QUERY) -> None:
    """Check what the handshake showed: ALPN, and that the certificate names a server (docs/protocol.md, chapter 1)."""
    if alpn != service.alpn:
        raise ConnectionFailedError(
            f"the peer does not speak {service.alpn} (ALPN {alpn or 'missing'}): check host and port of the "
            f"{service.name}"
        )
    names = [
        value
        for kind, value in (certificate or {}).get("subjectAltName", ())
        if kind == "URI" and value.startswith(SAN_PREFIX)
    ]
    if len(names) != 1:
        raise ConnectionFailedError(
            f"the server's certificate must hold exactly one SAN URI {SAN_PREFIX}ROLE:BODY, it holds {len(names)}"
        )
    role, _, body = names[0].removeprefix(SAN_PREFIX).partition(":")
    if role != Role.SERVER or not body:
        raise ConnectionFailedError(
            "the peer's certificate is valid but does not name a server of the register: check host, port and root"
        )
