"""Certificates made once, and the peer to talk to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from peer import Peer

from jukinet.clients import Credentials
from jukinet.server.pki import make_trial

MakePeer = Callable[..., Peer]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    make_trial(directory, bodies=[("agency", "test")], hosts=["localhost", "127.0.0.1"])
    return directory


@pytest.fixture
def tls(certificates: Path) -> Credentials:
    return Credentials(certificates / "root.pem", certificates / "agency-test.pem", certificates / "agency-test.key")


@pytest.fixture
def make_peer(certificates: Path) -> Iterator[MakePeer]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Peer:
            return stack.enter_context(Peer(certificates, **settings))

        yield make


AFFAIR: dict[str, Any] = {"schedule": 1, "item": "74", "operator": "op-1", "reason": "a test"}


@pytest.fixture
def affair() -> dict[str, Any]:
    return dict(AFFAIR)
