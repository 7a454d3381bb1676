"""``jukinet admin``: asks a running server through its administration socket."""

from __future__ import annotations

import argparse
import json
import sys

from jukinet.server.administration import ask

EXIT_OK, EXIT_REFUSED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``jukinet admin SOCKET status|metrics|alarms|reload``."""
    parser.add_argument("socket", metavar="SOCKET", help="as boundary.administration_socket")
    parser.add_argument(
        "ask",
        choices=["status", "metrics", "alarms", "reload"],
        help="status: processes and ports; metrics: Prometheus text; alarms: how many wait; "
        "reload: check authority and certificates, and take them up",
    )


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when the server refuses. Raises OSError when it cannot be reached."""
    answer = ask(arguments.socket, arguments.ask)
    if "error" in answer:
        sys.stderr.write(f"jukinet admin: {answer['error']}\n")
        return EXIT_REFUSED
    if arguments.ask == "metrics":
        sys.stdout.write(answer["metrics"])
    else:
        print(json.dumps(answer, indent=1))
    return EXIT_OK
