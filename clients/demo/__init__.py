"""`jukinet demo`: builds a nation if there is none, serves it with mutual TLS, queries it as an agency, tidies up."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from jukinet.clients.demo.processes import terminable

RESIDENTS_DEFAULT: Final = 1_000_000
RESIDENTS_MIN: Final = 1_000
RESIDENTS_MAX: Final = 120_000_000
PORT_MAX: Final = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--residents", type=int, default=RESIDENTS_DEFAULT, metavar="N",
                        help=f"size of the nation (default {RESIDENTS_DEFAULT:,})")  # fmt: skip
    parser.add_argument("--directory", type=Path, default=Path("jukinet-demo"), metavar="DIR",
                        help="where the demo keeps its files (default ./jukinet-demo)")  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="port of the server (default: any free one)")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 0 when everything came out as it must. Raises DemoError and whatever the client raises."""
    from jukinet.clients.demo.place import Place, free_port, take  # noqa: PLC0415 - --help stays fast
    from jukinet.clients.demo.processes import DemoError  # noqa: PLC0415

    if not RESIDENTS_MIN <= arguments.residents <= RESIDENTS_MAX:
        raise DemoError(f"--residents must be {RESIDENTS_MIN:,} to {RESIDENTS_MAX:,}")
    if not 0 <= arguments.port <= PORT_MAX:
        raise DemoError(f"--port must be 0 to {PORT_MAX}")
    with terminable():
        lock = take(arguments.directory)
        try:
            place = Place(arguments.directory, arguments.residents, arguments.port or free_port())
            return play(place)
        finally:
            os.close(lock)


def play(place: Any) -> int:
    """Every chapter in turn."""
    from jukinet.clients.demo.processes import ServerProcess  # noqa: PLC0415
    from jukinet.clients.demo.screen import Screen  # noqa: PLC0415

    screen = Screen()
    began = time.monotonic()
    screen.title(place.residents)
    set_up(place, screen)
    with ExitStack() as stack:
        server = ServerProcess(place.configuration, place.directory / "server.log")
        stack.callback(server.stop)
        server.wait()
        screen.fact("server", f"{server.workers} worker, port {place.port}, TLS 1.3 with certificates on both sides, "
                              f"ready in {server.ready_seconds:.1f} s")  # fmt: skip
        right = ask(place, screen)
        seconds = server.stop()
    record_of_use(place, screen)
    screen.closing(
        [
            f"Server stopped in {seconds:.1f} s; nothing is left running. The demo took "
            f"{time.monotonic() - began:.0f} s, its files are in {place.directory}",
            "Client and server shared this machine, and the client is Python. The register is made for 120 million "
            f"residents; this one holds {place.residents:,}.",
            "Go on by hand:",
            f"  jukinet serve --config {place.configuration} &",
            f"  jukinet nation codes --residents {place.residents} --seed 1 --count 5 | "
            f"jukinet lookup --profile {place.directory / 'profile.toml'}",
        ]
    )
    return 0 if right else 1


def set_up(place: Any, screen: Any) -> None:
    """Nation, certificates, authority, configuration."""
    from jukinet.clients.demo.place import (  # noqa: PLC0415
        BODY,
        SEED,
        is_usable,
        make_certificates,
        size_bytes,
        write_settings,
    )
    from jukinet.clients.demo.processes import run_step  # noqa: PLC0415
    from jukinet.clients.demo.screen import machine, megabytes  # noqa: PLC0415

    screen.chapter("1  Set up")
    screen.fact("machine", machine())
    if is_usable(place.nation):
        made = "built earlier"
    else:
        # Also when one is there that an interrupted build left, or another version of the product wrote.
        began = time.monotonic()
        words = ("--residents", str(place.residents), "--seed", str(SEED), "--store", str(place.nation), "--force")
        run_step("building the nation", "nation", "build", *words, shown=True)
        made = f"built in {time.monotonic() - began:.1f} s"
    screen.fact("nation", f"{place.residents:,} synthetic residents, {megabytes(size_bytes(place.nation))}, {made}")
    make_certificates(place)
    write_settings(place)
    screen.fact("certificates", f"a trial root, the server, and agency {BODY}; they hold a few days")
    screen.fact(
        "authority", "employees' pensions (1-74): lookup, status, verify, match; national (1-77): status, verify"
    )


def ask(place: Any, screen: Any) -> bool:
    """The acts, as the Japan Pension Service; whether the verification found exactly what was altered."""
    from jukinet.clients.blocking_client import connect_blocking  # noqa: PLC0415
    from jukinet.clients.demo import acts  # noqa: PLC0415
    from jukinet.clients.demo.place import HOST  # noqa: PLC0415
    from jukinet.clients.demo.screen import counted, megabytes  # noqa: PLC0415

    codes = acts.gather_codes(place)
    with connect_blocking(HOST, place.port, tls=place.credentials) as client:
        with client.session(**acts.session_words()) as session:
            found, rows, kept = acts.look_up(session, codes)
            screen.chapter("2  What an answer says (one row of each kind)")
            screen.people(rows)
            statuses, examples = acts.check_status(session, codes)
            verified = acts.verify(session, kept)
            matched = acts.match(session, kept)
        screen.chapter(f"3  Status since {acts.SINCE}: the mass check in place of pensioners' yearly reports")
        screen.statuses(examples, statuses.counts)
        refused = acts.be_refused(client)
        refused_function = acts.be_refused_a_function(client, codes[0])
    screen.chapter("4  Rates  (random codes; every answer waits for its durable record of use)")
    text = f"full records, {megabytes(found.text_bytes)} of text"
    screen.rate("lookup", found, "codes", text)
    screen.fact("", counted(found.counts))
    screen.rate("status", statuses, "codes")
    screen.verified(verified)
    of_one = matched.one / max(matched.answered, 1)
    told = f"by reading, birth date and sex: {of_one:.1%} one person, {matched.wrong:,} of them another"
    screen.rate("match", matched, "records", told)
    screen.singles(acts.ask_singly(place, codes))
    screen.chapter("5  What is refused")
    screen.refusal("a session for passports (1-41), an affair of another ministry", refused)
    screen.refusal("a lookup under national pensions (1-77), granted for status and verify only", refused_function)
    return verified.different == verified.altered


def record_of_use(place: Any, screen: Any) -> None:
    """Where it lies and what it holds, as read and verified from its first byte."""
    import json  # noqa: PLC0415

    from jukinet.clients.demo.processes import run_step  # noqa: PLC0415
    from jukinet.clients.demo.screen import megabytes  # noqa: PLC0415

    screen.chapter("6  Record of use")
    held = json.loads(run_step("checking the record of use", "record", "check", "--json", str(place.record_of_use)))
    screen.fact("where", f"{place.record_of_use}  ({held['segments']} segments, {megabytes(held['bytes'])})")
    functions = ", ".join(f"{count:,} {name}" for name, count in held["by_function"].items())
    screen.fact("holds", f"{held['provisions']:,} provisions in {held['requests']:,} requests ({functions})")
    screen.fact("verified", "every byte that counts; each row says who asked, under which affair, why, and the outcome")
