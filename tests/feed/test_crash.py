"""A feeding process killed at random instants, and a disk that is full: nothing is lost, nothing is applied twice.

JUKINET_CRASH_KILLS sets how often the process is killed (20); a long run is 200.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from jukinet.core.codes import code_from_key
from jukinet.core.errors import StoreError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import Notification
from jukinet.core.store.check import check_register

from .registers import DAY, NAHA, OSAKA, SAPPORO, TOKYO, batch, build, dump, notice

KILLS = int(os.environ.get("JUKINET_CRASH_KILLS", "20"))
ROWS_PER_KILL = 1_500
AREAS = [TOKYO, OSAKA, SAPPORO, NAHA]
Feeds = dict[int, list[Notification]]

CHILD = """
import datetime, random, sys
from pathlib import Path
import msgspec
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import NotificationBatch
directory, packed, seed = sys.argv[1:]
feeds = {
    prefecture: NotificationBatch.parse(payload, count)
    for prefecture, (count, payload) in msgspec.msgpack.decode(Path(packed).read_bytes(), strict=False).items()
}
chooser = random.Random(int(seed))
with FeedRegister(directory, today=lambda: datetime.date(2026, 11, 24)) as register:
    print("open", flush=True)
    position = {prefecture: register.feed(prefecture).position for prefecture in feeds}
    while any(position[prefecture] < feeds[prefecture].count for prefecture in feeds):
        with register.transaction() as transaction:
            for prefecture in chooser.sample(list(feeds), 3):
                start = max(0, position[prefecture] - chooser.choice([0, 0, 2]))
                stop = min(feeds[prefecture].count, start + chooser.choice([1, 10, 40]))
                applied = transaction.apply(prefecture, start + 1, feeds[prefecture].part(start, stop))
                position[prefecture] = applied.position
            transaction.commit()
        for prefecture in feeds:
            print(prefecture, position[prefecture], flush=True)
"""


def lives(rows: int) -> Feeds:
    """What municipalities tell of people who are born, move about, change their code and die."""
    chooser = random.Random(7)
    feeds: defaultdict[int, list[Notification]] = defaultdict(list)
    made = 0
    key = 100
    while made < rows:
        key += chooser.randint(1, 10_000_000_000 // rows)
        area = chooser.choice(AREAS)
        number = 0
        for reason in [12, *chooser.choices([31, 32, 11, 41, 99], [6, 2, 5, 1, 1], k=chooser.randint(0, 6)), 22]:
            number += 1
            if reason == 11:
                feeds[area // 1000].append(notice(21, key, number, area))
                area, number = chooser.choice(AREAS), number + 1
            if reason == 41:
                feeds[area // 1000].append(notice(41, key + 1, number, area, code_before=code_from_key(key)))
                key += 1
            else:
                feeds[area // 1000].append(notice(reason, key, number, area))
            made += 1
    return dict(feeds)


def straight_run(directory: Path, feeds: Feeds) -> None:
    with FeedRegister(directory, today=lambda: DAY) as register:
        for prefecture, rows in feeds.items():
            for start in range(0, len(rows), 5_000):
                with register.transaction() as transaction:
                    transaction.apply(prefecture, start + 1, batch(*rows[start : start + 5_000]))
                    transaction.commit()


def acknowledged_until_killed(directory: Path, packed: Path, chooser: random.Random) -> dict[int, int]:
    """Let a process feed, kill it, and return the last position that it said was durable for each feed."""
    words = [sys.executable, "-c", CHILD, str(directory), str(packed), str(chooser.randrange(1 << 30))]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    time.sleep(chooser.random() * 0.15)
    child.send_signal(signal.SIGKILL)
    lines = child.stdout.read().split("\n")[:-1]
    child.stdout.close()
    child.wait()
    return {int(prefecture): int(position) for prefecture, position in (line.split() for line in lines)}


def test_killed_at_random_instants_nothing_is_lost_and_nothing_applied_twice(tmp_path: Path) -> None:
    feeds = lives(KILLS * ROWS_PER_KILL)
    build(tmp_path / "base", [])
    for name in ("killed", "straight"):
        shutil.copytree(tmp_path / "base", tmp_path / name)
    batches = {prefecture: batch(*rows) for prefecture, rows in feeds.items()}
    packed = tmp_path / "batches"
    packed.write_bytes(msgspec.msgpack.encode({p: (b.count, bytes(b.payload)) for p, b in batches.items()}))
    chooser = random.Random(17)
    for _ in range(KILLS):
        acknowledged = acknowledged_until_killed(tmp_path / "killed", packed, chooser)
        assert check_register(tmp_path / "killed").faults == []
        with FeedRegister(tmp_path / "killed") as register:
            for prefecture, position in acknowledged.items():
                assert register.feed(prefecture).position >= position
    with FeedRegister(tmp_path / "killed") as register:
        left = {prefecture: len(rows) - register.feed(prefecture).position for prefecture, rows in feeds.items()}
    assert any(left.values()), "the feeds were at their end before the last kill"
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path / "killed"), str(packed), "1"], check=True, stdout=-3)
    straight_run(tmp_path / "straight", feeds)
    assert dump(tmp_path / "killed") == dump(tmp_path / "straight")
    assert check_register(tmp_path / "killed").faults == []


FULL = """
import datetime, resource, signal, sys
from pathlib import Path
from jukinet.core.errors import StoreError
from jukinet.core.feed.engine import FeedRegister
from jukinet.core.notifications import NotificationBatch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
batch = NotificationBatch.parse(Path(sys.argv[2]).read_bytes(), int(sys.argv[3]))
with FeedRegister(sys.argv[1], today=lambda: datetime.date(2026, 11, 24)) as register:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
    try:
        with register.transaction() as transaction:
            transaction.apply(13, 1, batch)
            transaction.commit()
        sys.exit(3)
    except StoreError:
        assert register.feed(13).position == 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with register.transaction() as transaction:
        transaction.apply(13, 1, batch)
        transaction.commit()
    assert register.feed(13).position == batch.count
"""


def test_a_full_disk_changes_nothing_and_the_next_transaction_works(tmp_path: Path) -> None:
    build(tmp_path / "r", [])
    before = dump(tmp_path / "r")
    rows = batch(*(notice(12, key * 2_000_003, 1) for key in range(2_000)))
    (tmp_path / "batch").write_bytes(rows.payload)
    size = (tmp_path / "r" / "data.mdb").stat().st_size
    words = [sys.executable, "-c", FULL, str(tmp_path / "r"), str(tmp_path / "batch"), str(rows.count)]
    done = subprocess.run([*words, str(size + 65_536)], check=False)
    assert done.returncode == 0
    assert check_register(tmp_path / "r").faults == []
    assert dump(tmp_path / "r") != before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


def test_a_store_that_fails_while_a_batch_is_applied_loses_the_transaction_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "r", [])
    before = dump(tmp_path / "r")
    with FeedRegister(tmp_path / "r", today=lambda: DAY) as register:
        # No room left in the map: LMDB refuses the pages of a large journal entry in the middle of apply().
        register.writer._environment.set_mapsize((tmp_path / "r" / "data.mdb").stat().st_size + 8_192)
        rows = batch(*(notice(12, key * 2_000_003, 1) for key in range(2_000)))
        with pytest.raises(StoreError, match="could not be applied"), register.transaction() as transaction:
            transaction.apply(13, 1, rows)
        with pytest.raises(StoreError, match="has ended"):
            transaction.commit()
        assert register.feed(13).position == 0
        register.writer._environment.set_mapsize(1 << 40)
        with register.transaction() as transaction:
            assert transaction.apply(13, 1, batch(notice(12, 5, 1))).position == 1
            transaction.commit()
    assert dump(tmp_path / "r") != before
    assert check_register(tmp_path / "r").faults == []
