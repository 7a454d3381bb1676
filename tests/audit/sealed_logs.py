"""Sealed logs for the tests, and what they must hold."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

from jukinet.core.audit.checkpoint import PrivateKey
from jukinet.core.audit.record import RecordOfUse
from jukinet.core.audit.sealing import Sealer

from .logs import USE_FIELDS, open_writer

KEY = PrivateKey("example.jp/record-of-use", bytes(range(32)))
CODES = (12345678903, 10000000006, 98765432103, 24727059608, 7)
START_NS = 1_760_000_000_000_000_000
"""2025-10-09."""
OTHER = RecordOfUse(**{**USE_FIELDS, "body": "ministry-of-justice", "item": "30", "reason": "試験"})


def write_requests(directory: Path, worker: int, requests: int, *, seed: int = 1, **settings: int) -> None:
    """One life of a worker: so many requests over a few known codes, LOOKUP and VERIFY, of two bodies."""
    chance = random.Random(seed * 1_000 + worker)
    with open_writer(directory, worker, **settings) as writer:
        for number in range(requests):
            codes = array("Q", chance.choices(CODES, k=chance.choice((1, 1, 2, 9, 70))))
            use = OTHER if chance.random() < 0.2 else RecordOfUse(**USE_FIELDS)
            function = chance.choice((1, 2, 4))
            writer.append(
                use,
                codes,
                bytes(chance.choices(range(1, 10), k=len(codes))),
                function=function,
                items=255 if function != 2 else 0,
                register_version=77,
                since=20250401 if function == 2 else 0,
                time_ns=START_NS + number * 1_000_000_000,
                matches=chance.randbytes(len(codes)) if function == 4 else None,
            )
            if chance.random() < 0.5:
                writer.commit()


def seal_all(directory: Path, key: PrivateKey = KEY) -> int:
    """Seal what is closed: leaves of the tree."""
    with Sealer(directory, key) as sealer:
        while sealer.step() is not None:
            pass
        return sealer.size


def sealed_log(
    directory: Path, *, requests: int = 60, workers: tuple[int, ...] = (0, 1), lives: int = 2, key: PrivateKey = KEY
) -> Path:
    """A log of some workers and lives, sealed."""
    for life in range(lives):
        for worker in workers:
            write_requests(directory, worker, requests, seed=life, segment_bytes_max=8_192)
    seal_all(directory, key)
    return directory
