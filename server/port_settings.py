"""Settings of the ports besides the query port: feed, witness, administration. Each is off unless it is enabled."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

OWN_PORTS: Final = ("feed", "witness", "administration")
"""Sections that are a Port, in the order in which they are told."""

PortNumber = Annotated[int, Meta(ge=0, le=65_535, description="TCP port. 0: any free port, which the log names.")]


class Port(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a port listens, and whose certificates it takes. Certificates are PEM files and read again on SIGHUP."""

    enabled: Annotated[bool, Meta(description="Open the port.")] = False
    address: Annotated[
        str, Meta(min_length=1, max_length=255, description="Address to listen on: IPv4 or IPv6, as a number.")
    ] = "127.0.0.1"
    port: PortNumber = 0
    certificate: Annotated[
        str, Meta(description="The port's certificate and its chain. Empty: tls.certificate and tls.key.")
    ] = ""
    key: Annotated[str, Meta(description="Its private key, not encrypted.")] = ""
    roots: Annotated[
        str,
        Meta(
            description="Roots that the certificates of this port's peers must lead to, and that no other port has. "
            "Needed when the port is enabled."
        ),
    ] = ""
    revocation_list: Annotated[
        str, Meta(description="Revocation lists of those authorities. Empty: revocation is not checked.")
    ] = ""


class Witness(Port, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The witness port: checkpoints of the record of use are shown and cosigned. Prefectures do so over their feeds."""

    port: PortNumber = 7_702


class Administration(Port, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The administration port: what `boundary.administration_socket` offers, for administrators from elsewhere."""

    port: PortNumber = 7_703
