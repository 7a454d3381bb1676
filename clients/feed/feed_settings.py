"""Settings of the feed commands: connection, outbox, holdings and how much goes at once."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Final

from jukinet.clients.feed.outbox import BYTES_MAX, Outbox
from jukinet.clients.feed.sender import SendSettings
from jukinet.clients.query.connection_settings import (
    SERVER_SETTINGS,
    Setting,
    add_connection_arguments,
    credentials,
    gathered,
)
from jukinet.clients.settings import Credentials
from jukinet.core.errors import ConfigurationError
from jukinet.core.limits import NOTIFICATIONS_PER_BATCH_MAX
from jukinet.core.vocabulary import Prefecture

OUTBOX_BYTES_MIN: Final = 1_048_576
WITNESS_FILES: Final = (
    Setting("feed", "witness_key", str, "private key with which the record of use is cosigned", "", True),
    Setting("feed", "witness_log", str, "file of the record of use's public key", "", True),
    Setting("feed", "witness_state", str, "file that keeps the newest checkpoint seen", "", True),
)
WITNESS_NAME: Final = Setting(
    "feed", "witness", str, "for `witness` alone: a witness that is no prefecture, as its certificate names it", ""
)
WITNESS_SETTINGS: Final = (
    *SERVER_SETTINGS,
    Setting("feed", "prefecture", str, "the prefecture that is a witness", ""),
    WITNESS_NAME,
    *WITNESS_FILES,
)
"""What `witness` must know; its profile may hold all of FEED_SETTINGS."""
FEED_SETTINGS: Final = (
    *SERVER_SETTINGS,
    Setting("feed", "prefecture", str, "the prefecture, as its certificate names it (tokyo), or its number"),
    Setting("feed", "outbox", str, "directory of the outbox", None, True),
    Setting("feed", "holdings", str, "directory of the prefecture's own register, if it keeps one", "", True),
    Setting("feed", "inbox", str, "directory into which `run` looks for files", "", True),
    Setting("feed", "notices", str, "directory in which `run` leaves and takes move-in notices", "", True),
    WITNESS_NAME,
    *WITNESS_FILES,
    Setting("feed", "batch_notifications", int, "notifications sent at once", NOTIFICATIONS_PER_BATCH_MAX),
    Setting("feed", "batch_bytes", int, "bytes sent at once", 8_388_608),
    Setting("feed", "in_flight", int, "batches under way", 4),
    Setting("feed", "linger_milliseconds", int, "how long a batch waits for more", 50),
    Setting("feed", "outbox_bytes_max", int, "bound on the outbox", BYTES_MAX),
)


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """What makes a body a witness: key, log's key and state, all or none of them."""

    body: str
    key: str
    log: str
    state: str


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Everything that a feed command must know."""

    host: str
    port: int
    tls: Credentials
    prefecture: Prefecture
    outbox: str
    holdings: str
    inbox: str
    notices: str
    witness: WitnessSettings
    sending: SendSettings
    outbox_bytes_max: int

    def open_outbox(self, *, create: bool = False, readonly: bool = False) -> Outbox:
        """The outbox; raises as `Outbox`."""
        return Outbox(
            self.outbox, int(self.prefecture), create=create, readonly=readonly, bytes_max=self.outbox_bytes_max
        )


def add_feed_arguments(parser: argparse.ArgumentParser) -> None:
    add_connection_arguments(parser, FEED_SETTINGS, "connection and feed")


def feed_settings(arguments: argparse.Namespace) -> FeedSettings:
    """Gather the settings. ConfigurationError names what is missing or wrong."""
    values: dict[str, Any] = gathered(arguments, FEED_SETTINGS)
    if values["outbox_bytes_max"] < OUTBOX_BYTES_MIN:
        raise ConfigurationError(f"outbox_bytes_max must be at least {OUTBOX_BYTES_MIN}")
    prefecture = prefecture_of(values["prefecture"])
    return FeedSettings(
        host=values["host"],
        port=values["port"],
        tls=credentials(values),
        prefecture=prefecture,
        outbox=values["outbox"],
        holdings=values["holdings"],
        inbox=values["inbox"],
        notices=values["notices"],
        witness=_witness(prefecture.body, values),
        sending=SendSettings(
            values["batch_notifications"], values["batch_bytes"], values["in_flight"],
            values["linger_milliseconds"] / 1_000,
        ),
        outbox_bytes_max=values["outbox_bytes_max"],
    )  # fmt: skip


def witness_settings(arguments: argparse.Namespace) -> tuple[str, int, Credentials, WitnessSettings]:
    """Host, port, credentials and witness of `witness`. ConfigurationError names what is missing or wrong."""
    values: dict[str, Any] = gathered(arguments, WITNESS_SETTINGS, known=FEED_SETTINGS)
    if bool(values["prefecture"]) == bool(values["witness"]):
        raise ConfigurationError("give either prefecture, or witness for one that is no prefecture")
    body = values["witness"] or prefecture_of(values["prefecture"]).body
    return values["host"], values["port"], credentials(values), _witness(body, values)


def _witness(body: str, values: dict[str, Any]) -> WitnessSettings:
    return WitnessSettings(body, *(values[setting.key] for setting in WITNESS_FILES))


def prefecture_of(text: str) -> Prefecture:
    """From a body's name or a number. ConfigurationError when there is no such prefecture."""
    found = Prefecture.of_body(text)
    if found is None and text.isdecimal() and 1 <= int(text) <= len(Prefecture):
        found = Prefecture(int(text))
    if found is None:
        raise ConfigurationError("prefecture must be a romanised name such as tokyo, or a number from 1 to 47")
    return found
