"""``jukinet selfcheck``: the self-inspection, its signed report, and verifying one (docs/selfcheck.md)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from jukinet.core.errors import ConfigurationError
from jukinet.server import configuration
from jukinet.server.selfcheck import inspect
from jukinet.server.signed_report import REPORT_BYTES_MAX, make_key, read_private_key, read_public_key, signed, verified

EXIT_OK, EXIT_FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``jukinet selfcheck --config FILE``, ``... verify REPORT --key FILE``, ``... key FILE``."""
    parser.add_argument("--config", metavar="FILE", help="the server's configuration: inspect it, and print the report")
    parser.add_argument("--json", action="store_true", help="the report as one line of JSON instead of text")
    parser.add_argument("--without-store", action="store_true", help="leave out the check of the whole register")
    commands = parser.add_subparsers(dest="selfcheck_command", metavar="COMMAND")
    verifying = commands.add_parser("verify", help="whether a report is as the key signed it; exit 1 when not")
    verifying.add_argument("report", type=Path, metavar="REPORT")
    verifying.add_argument("--key", required=True, metavar="FILE", help="the public key, the auditor's own copy")
    making = commands.add_parser("key", help="make a key pair: FILE and FILE.pub; nothing is overwritten")
    making.add_argument("file", type=Path, metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when a check failed. Raises ConfigurationError, ReportError and PkiError."""
    if arguments.selfcheck_command == "key":
        print(f"private key {arguments.file}, public key {make_key(arguments.file)}")
        return EXIT_OK
    if arguments.selfcheck_command == "verify":
        with arguments.report.open("rb") as file:
            report = file.read(REPORT_BYTES_MAX + 1)
        verified(report, read_public_key(arguments.key))
        print(f"{arguments.report}: as signed")
        return EXIT_OK
    if arguments.config is None:
        raise ConfigurationError("give --config FILE, or a command")
    settings = configuration.load(arguments.config)
    if not settings.selfcheck.key:
        raise ConfigurationError("selfcheck.key is not set: the report cannot be signed")
    key = read_private_key(settings.selfcheck.key)
    found = inspect(arguments.config, settings, with_store=not arguments.without_store)
    body = msgspec.json.encode(found).decode() + "\n" if arguments.json else found.text()
    sys.stdout.write(signed(body, key))
    return EXIT_FAILED if found.failed else EXIT_OK
