"""``jukinet admin``: asks a running server through its administration socket or its administration port."""

from __future__ import annotations

import argparse
import json
import sys

from jukinet.core.errors import ConfigurationError
from jukinet.server.administration import Holder, ask, ask_port

EXIT_OK, EXIT_REFUSED = 0, 1
PORT_MAX = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``jukinet admin SOCKET|HOST:PORT status|metrics|alarms|reload``."""
    parser.add_argument(
        "place", metavar="SOCKET|HOST:PORT", help="as boundary.administration_socket; with --certificate the port"
    )
    parser.add_argument(
        "ask",
        choices=["status", "metrics", "alarms", "reload"],
        help="status: processes and ports; metrics: Prometheus text; alarms: how many wait; "
        "reload: check authority and certificates, and take them up",
    )
    port = parser.add_argument_group("administration port", "these three together")
    port.add_argument("--root", metavar="FILE", help="PEM file of the authority that signed the server's certificate")
    port.add_argument(
        "--certificate", metavar="FILE", help="PEM file of the administrator's certificate, with its chain"
    )
    port.add_argument("--key", metavar="FILE", help="PEM file of its private key")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when the server refuses. Raises OSError when it cannot be reached, ServeError and ConfigurationError."""
    given = (arguments.root, arguments.certificate, arguments.key)
    if not any(given):
        answer = ask(arguments.place, arguments.ask)
    elif all(given):
        answer = ask_port(*_host_and_port(arguments.place), Holder(*given), arguments.ask)
    else:
        raise ConfigurationError("--root, --certificate and --key belong together")
    if "error" in answer:
        sys.stderr.write(f"jukinet admin: {answer['error']}\n")
        return EXIT_REFUSED
    if arguments.ask == "metrics":
        sys.stdout.write(answer["metrics"])
    else:
        print(json.dumps(answer, indent=1))
    return EXIT_OK


def _host_and_port(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= PORT_MAX:
        raise ConfigurationError(f"{place}: with --certificate this is HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
