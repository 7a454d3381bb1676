"""``jukinet serve``: checks a configuration and runs the server."""

from __future__ import annotations

import argparse
import sys

from jukinet.core.errors import JukinetError
from jukinet.core.law import example_path
from jukinet.server import configuration, settings_page
from jukinet.server.boundary import check_boundaries
from jukinet.server.credentials import check_credentials
from jukinet.server.supervisor import serve

EXIT_OK, EXIT_USAGE, EXIT_FAILED = 0, 2, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Serve queries to the register. Settings: docs/configuration.md."
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
    what.add_argument(
        "--print-defaults", action="store_true", help="print a configuration file with every default, and end"
    )
    what.add_argument("--print-authority", action="store_true", help="print the example of an authority file, and end")
    parser.add_argument(
        "--check", action="store_true", help="only check the configuration and the files it names, and end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT: the exit code (0 drained, 2 configuration refused, 5 could not serve)."""
    if arguments.print_defaults:
        sys.stdout.write(settings_page.defaults_document())
        return EXIT_OK
    if arguments.print_authority:
        sys.stdout.write(example_path().read_text(encoding="utf-8"))
        return EXIT_OK
    try:
        settings = configuration.load(arguments.config)
        configuration.check_files(settings)
        if arguments.check:
            check_credentials(settings)
            check_boundaries(settings.boundary)
            sys.stdout.write(f"{arguments.config}: in order\n")
            return EXIT_OK
    except JukinetError as error:
        sys.stderr.write(f"jukinet serve: {error}\n")
        return EXIT_USAGE
    try:
        return serve(settings)
    except JukinetError as error:
        sys.stderr.write(f"jukinet serve: {error}\n")
        return EXIT_FAILED
