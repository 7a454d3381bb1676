"""The `jukinet` command: a table of commands, one imported when it is chosen, and the meaning of every exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple, Protocol, cast

EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141
"""128 + SIGPIPE, as a shell reports a program that wrote to a closed pipe."""


class CommandEntry(NamedTuple):
    module: str
    help: str


class CommandModule(Protocol):
    """What a command's module holds."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


COMMANDS: Final[dict[str, CommandEntry]] = {
    "demo": CommandEntry("jukinet.clients.demo", "build a nation, serve it and query it, on this machine"),
    "lookup": CommandEntry("jukinet.clients.query_command", "the items an affair may see, by resident record code"),
    "status": CommandEntry("jukinet.clients.query_command", "what became of each code since a date"),
    "history": CommandEntry("jukinet.clients.query_command", "earlier records of each code, inside their retention"),
    "verify": CommandEntry("jukinet.clients.query_command", "whether claimed items agree with the register"),
    "search": CommandEntry("jukinet.clients.search_command", "whom a name, a birth date or an address may mean"),
    "match": CommandEntry("jukinet.clients.match_command", "whom records of a file mean: a file of answers, a report"),
    "feed": CommandEntry("jukinet.clients.feed_command", "deliver a prefecture's notifications, load, compare"),
    "cohort": CommandEntry("jukinet.clients.cohort_command", "keep recipients' codes, and ask what changed among them"),
    "serve": CommandEntry("jukinet.server.serve_command", "run the server"),
    "nation": CommandEntry("jukinet.server.nation.command", "make a synthetic nation, and its codes"),
    "store": CommandEntry("jukinet.server.store_command", "check a register or tell about it"),
    "authority": CommandEntry("jukinet.server.authority_command", "what bodies are allowed: check, approve, apply"),
    "operator": CommandEntry("jukinet.server.operator_command", "operators of bodies: add, disable, list, unlock"),
    "retention": CommandEntry("jukinet.server.retention_command", "purge what is past its retention period"),
    "record": CommandEntry("jukinet.server.record_command", "verify a record of use and count what it holds"),
    "media": CommandEntry("jukinet.server.media_command", "answer a request that came as a signed file"),
    "match-parameters": CommandEntry(
        "jukinet.server.match_parameters_command", "estimate an affair's matching model from unresolved records"
    ),
    "notices": CommandEntry("jukinet.server.notices_command", "move-in notices that wait, and printing overdue ones"),
    "pki": CommandEntry("jukinet.server.pki.command", "make certificates for trials"),
}

EXIT_CODES: Final = """\
exit codes: 0 done · 1 rows in error or a check failed · 2 usage · 3 refused by authority ·
            4 connection · 5 server or store · 130 interrupted"""


def product_version() -> str:
    try:
        return version("jukinet")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        "usage: jukinet COMMAND ...   (jukinet COMMAND --help tells more)",
        "",
        "National server of the resident register network: server, clients and tools.",
        "",
        *(f"  {name:<{width}}  {entry.help}" for name, entry in COMMANDS.items()),
        "",
        EXIT_CODES,
    ]
    return "\n".join(lines)


def exit_code_of(error: Exception) -> int:
    """The exit code for an error of this product, from its class and its wire code."""
    from jukinet.core.errors import ConfigurationError, ErrorCode, JukinetError, LocalProtocolError, ProtocolError  # noqa: PLC0415

    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    if isinstance(error, (ConfigurationError, LocalProtocolError)):
        return 2
    if isinstance(error, ProtocolError):
        return 4
    if isinstance(error, JukinetError) and error.code in (ErrorCode.NOT_AUTHORISED, ErrorCode.UNKNOWN_BODY):
        return 3
    return 5


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Import the command's module, parse its arguments and run it. SystemExit comes only from argparse."""
    entry = COMMANDS[name]
    module = cast(CommandModule, import_module(entry.module))
    summary = entry.help[0].upper() + entry.help[1:] + "."
    parser = argparse.ArgumentParser(
        prog=f"jukinet {name}",
        description=summary,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=name)
    module.add_arguments(parser)
    return module.run(parser.parse_args(arguments))


def guarded(name: str, arguments: Sequence[str]) -> int:
    """Run a command; turn what it raises into one line on stderr and an exit code."""
    from jukinet.core.errors import JukinetError  # noqa: PLC0415

    try:
        code = run_command(name, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away; what Python would flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print("jukinet: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except JukinetError as error:
        if os.environ.get("JUKINET_TRACEBACK"):
            raise
        print(f"jukinet {name}: {error}", file=sys.stderr)
        return exit_code_of(error)
    except OSError as error:
        if os.environ.get("JUKINET_TRACEBACK"):
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"jukinet {name}: {place}{error.strerror or error}", file=sys.stderr)
        return 2 if error.filename else 5
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `jukinet`; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        print(overview(), file=sys.stderr)
        return 2
    name = words[0]
    if name in ("-h", "--help", "help"):
        if name == "help" and len(words) == 2 and words[1] in COMMANDS:
            return guarded(words[1], ["--help"])
        print(overview())
        return 0
    if name in ("-V", "--version"):
        print(f"jukinet {product_version()}")
        return 0
    if name not in COMMANDS:
        from difflib import get_close_matches  # noqa: PLC0415

        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        kind = "option" if name.startswith("-") else "command"
        print(f"jukinet: no {kind} {name!r}{hint} (jukinet --help lists the commands)", file=sys.stderr)
        return 2
    return guarded(name, words[1:])


if __name__ == "__main__":
    sys.exit(main())
