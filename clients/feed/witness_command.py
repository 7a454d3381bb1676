"""``jukinet feed witness``: look at the record of use once, and cosign its checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jukinet.clients.feed.feed_settings import WitnessSettings, witness_settings
from jukinet.clients.feed.notices import open_link_of
from jukinet.clients.feed.witness import Witness
from jukinet.core.audit.checkpoint import read_private_key, read_public_key
from jukinet.core.errors import ConfigurationError


def witness_of(settings: WitnessSettings) -> Witness | None:
    """The witness that the settings make of a body, or None. Raises ConfigurationError."""
    given = (settings.key, settings.log, settings.state)
    if not any(given):
        return None
    if not all(given):
        raise ConfigurationError("witness_key, witness_log and witness_state belong together")
    key = read_private_key(settings.key)
    if key.public.name != settings.body:
        raise ConfigurationError(f"witness_key: its name must be {settings.body}, as in the certificate")
    return Witness(Path(settings.state), key, read_public_key(settings.log))


def run(arguments: argparse.Namespace, in_trio: Callable[..., Any]) -> int:
    """0: cosigned, or nothing to cosign yet; 1: the log was changed. Raises JukinetError and OSError.

    The port may be the feed port, for a prefecture, or the witness port.
    """
    host, port, tls, settings = witness_settings(arguments)
    witness = witness_of(settings)
    if witness is None:
        raise ConfigurationError("witness_key, witness_log and witness_state are missing: docs/feeds.md, chapter 4")

    async def look() -> int:
        async with open_link_of(host, port, tls=tls, body=settings.body) as link:
            return await witness.turn(link)

    leaves = in_trio(look)
    print(f"cosigned: {leaves:,} leaves" if leaves else "nothing was sealed yet")
    return 0
