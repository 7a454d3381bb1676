"""Who a peer is: the body that its certificate names in its SAN URI ``urn:jukinet:ROLE:BODY`` (docs/protocol.md, 1)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from jukinet.core.errors import JukinetError
from jukinet.core.vocabulary import IDENTITY_URI, Role

QUERY_ROLES: Final = frozenset({Role.AGENCY, Role.PREFECTURE, Role.MUNICIPALITY})


class IdentityError(JukinetError):
    """A certificate that chains to a trusted root but names no body, several, or one of the wrong kind."""


class Identity(Struct, frozen=True):
    """A peer's role and body, and when its certificate ends (seconds since 1970)."""

    role: Role
    body: str
    valid_until: float


def from_certificate(certificate: Mapping[str, Any] | None, roles: frozenset[Role] = QUERY_ROLES) -> Identity:
    """The identity in a certificate as ``SSLSocket.getpeercert()`` gives it. Raises IdentityError."""
    if not certificate:
        raise IdentityError("no certificate")
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    if len(uris) != 1:
        raise IdentityError(f"the certificate holds {len(uris)} SAN URIs, not 1")
    match = IDENTITY_URI.fullmatch(uris[0])
    if match is None:
        raise IdentityError("the certificate's SAN URI is not of the form urn:jukinet:ROLE:BODY")
    role = Role(match[1])
    if role not in roles:
        raise IdentityError(f"the certificate's role {role} is not served on this port")
    return Identity(role, match[2], float(ssl.cert_time_to_seconds(certificate["notAfter"])))
