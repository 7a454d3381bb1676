"""Lets the tests of the prefecture's client find their samples and their peer, and makes what they have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from feed_peer import FeedPeer
from samples import PREFECTURE

from jukinet.clients import Credentials
from jukinet.clients.feed.outbox import Outbox
from jukinet.server.pki import make_trial

MakeFeedPeer = Callable[..., FeedPeer]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("feed-pki")
    make_trial(directory, bodies=[("prefecture", "tokyo")], hosts=["localhost", "127.0.0.1"])
    return directory


@pytest.fixture
def tls(certificates: Path) -> Credentials:
    name = "prefecture-tokyo"
    return Credentials(certificates / "root.pem", certificates / f"{name}.pem", certificates / f"{name}.key")


@pytest.fixture
def make_feed_peer(certificates: Path) -> Iterator[MakeFeedPeer]:
    with ExitStack() as stack:

        def make(**settings: Any) -> FeedPeer:
            return stack.enter_context(FeedPeer(certificates, **settings))

        yield make


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox", PREFECTURE, create=True, bytes_max=1 << 26) as made:
        yield made
