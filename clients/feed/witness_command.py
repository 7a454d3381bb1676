"""``jukinet feed witness``: look at the record of use once, and cosign its checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jukinet.clients.feed.feed_settings import FeedSettings
from jukinet.clients.feed.notices import open_link_of
from jukinet.clients.feed.witness import Witness
from jukinet.core.audit.checkpoint import read_private_key, read_public_key
from jukinet.core.errors import ConfigurationError


def witness_of(settings: FeedSettings) -> Witness | None:
    """The witness that the settings make of this prefecture, or None. Raises ConfigurationError."""
    given = (settings.witness_key, settings.witness_log, settings.witness_state)
    if not any(given):
        return None
    if not all(given):
        raise ConfigurationError("witness_key, witness_log and witness_state belong together")
    key = read_private_key(settings.witness_key)
    if key.public.name != settings.prefecture.body:
        raise ConfigurationError(f"witness_key: its name must be {settings.prefecture.body}, as in the certificate")
    return Witness(Path(settings.witness_state), key, read_public_key(settings.witness_log))


def run(arguments: argparse.Namespace, settings: FeedSettings, in_trio: Callable[..., Any]) -> int:
    """0: cosigned, or nothing to cosign yet; 1: the log was changed. Raises JukinetError and OSError."""
    del arguments
    witness = witness_of(settings)
    if witness is None:
        raise ConfigurationError("witness_key, witness_log and witness_state are missing: docs/feeds.md, chapter 4")

    async def look() -> int:
        async with open_link_of(
            settings.host, settings.port, tls=settings.tls, prefecture=int(settings.prefecture)
        ) as link:
            return await witness.turn(link)

    leaves = in_trio(look)
    print(f"cosigned: {leaves:,} leaves" if leaves else "nothing was sealed yet")
    return 0
