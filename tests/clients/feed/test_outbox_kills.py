"""kill -9 in the middle of puts, drafts and acknowledgements: what was said to be durable is, and nothing is half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from samples import PREFECTURE, entry

from jukinet.clients.feed.outbox import Outbox
from jukinet.clients.feed.outbox_format import read_notification_row

KILLS = int(os.environ.get("JUKINET_CLIENT_KILLS", "20"))
"""How often the process is killed; 200 in a long test."""
PUTTER = """
import sys
sys.path.insert(0, sys.argv[2])
from samples import PREFECTURE, entry
from jukinet.clients.feed.outbox import Outbox

outbox = Outbox(sys.argv[1], PREFECTURE, create=True, bytes_max=1 << 28)
outbox.bind("register", outbox.state.acknowledged)
def say(word, number):
    sys.stdout.write(f"{word} {number}\\n")
    sys.stdout.flush()
say("open", 0)
while True:
    last = outbox.state.last
    say("put", outbox.put([(entry(n), f"f:{n}") for n in range(last + 1, last + 8)]).stop - 1)
    last = outbox.state.last
    with outbox.draft() as draft:
        for n in range(last + 1, last + 31):
            draft.add(entry(n), f"f:{n}")
        say("put", draft.publish(last.to_bytes(32, "big"), "draft").stop - 1)
    outbox.announce(outbox.state.last)
    done = outbox.state.last - 5
    outbox.acknowledge(done, [(n, 0, 33) for n in range(outbox.state.acknowledged + 1, done + 1) if n % 10 == 0])
    say("acknowledged", done)
"""


def one_life(directory: Path, seconds: float) -> tuple[int, int]:
    """Run the process for so long, kill it; the last sequences that it called put and acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", PUTTER, str(directory), str(Path(__file__).parent)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open 0\n"
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        words = [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    told = {word: int(number) for word, number in words}
    return told.get(b"put", 0), told.get(b"acknowledged", 0)


@pytest.mark.slow
def test_killed_at_random_instants(tmp_path: Path) -> None:
    chance = random.Random(2026)
    directory = tmp_path / "outbox"
    put = acknowledged = 0
    for _ in range(KILLS):
        now_put, now_acknowledged = one_life(directory, chance.uniform(0.0, 0.15))
        put, acknowledged = max(put, now_put), max(acknowledged, now_acknowledged)
        with Outbox(directory, PREFECTURE, bytes_max=1 << 28) as outbox:
            outbox.invariants()
            state = outbox.state
            # One transaction may have been committed and not yet been told of.
            assert put <= state.last <= put + 30
            assert acknowledged <= state.acknowledged <= state.last
            for row in outbox.read(state.first - 1, 10_000, 1 << 30):
                notification, origin = read_notification_row(row.body)
                assert (notification, origin) == (entry(row.sequence), f"f:{row.sequence}")
            reported = {report.sequence for _, report in outbox.reports(count_max=1_000_000)}
            assert reported == {n for n in range(1, state.acknowledged + 1) if n % 10 == 0}
    assert acknowledged > 100
