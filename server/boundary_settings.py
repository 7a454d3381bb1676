"""Settings of the network boundary: who may connect to which port, how long certificates live, the administration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Boundary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network boundary (docs/pki.md, chapter 5). Lists are texts with spaces between their members."""

    query_addresses: Annotated[
        str,
        Meta(
            description="Networks (192.0.2.0/24, 2001:db8::/32) from which the query port is reached; a connection "
            "from elsewhere is closed before its handshake. Empty: from anywhere."
        ),
    ] = ""
    query_bodies: Annotated[
        str, Meta(description="Bodies, as ROLE/BODY, that the query port serves. Empty: all of the authority file.")
    ] = ""
    feed_addresses: Annotated[str, Meta(description="The same networks for the feed port.")] = ""
    feed_bodies: Annotated[str, Meta(description="And bodies, as prefecture/BODY. Empty: all prefectures.")] = ""
    witness_addresses: Annotated[str, Meta(description="The same networks for the witness port.")] = ""
    witness_bodies: Annotated[str, Meta(description="And bodies, as witness/BODY. Empty: all witnesses.")] = ""
    administration_addresses: Annotated[str, Meta(description="The same networks for the administration port.")] = ""
    administration_bodies: Annotated[
        str, Meta(description="And bodies, as administrator/BODY. Empty: all administrators.")
    ] = ""
    certificate_days_max: Annotated[
        float,
        Meta(
            ge=0,
            le=36_500,
            description="A caller's certificate that lives longer, from its first to its last day, is refused. 0: any.",
        ),
    ] = 0.0
    certificate_warn_days: Annotated[
        float,
        Meta(
            ge=0,
            le=36_500,
            description="The log warns when the server's certificate, a caller's or a revocation list ends so soon.",
        ),
    ] = 3.0
    administration_socket: Annotated[
        str,
        Meta(
            description="UNIX socket (mode 0600) on which `jukinet admin` reaches the server; its path has at most 100 "
            "bytes. Empty: none."
        ),
    ] = ""
