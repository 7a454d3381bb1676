from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet.core import limits
from jukinet.core.errors import StoreError
from jukinet.core.index import LookupBatch
from jukinet.core.records.resident import Resident
from jukinet.core.store import schema
from jukinet.core.store.check import check_register
from jukinet.core.store.reader import DIRECTORIES_MAX, RegisterReader
from jukinet.core.store.snapshot import Snapshot, lock_addresses
from jukinet.core.store.writer import CHANGES_PER_TRANSACTION_MAX, RegisterWriter

from . import twins
from .stores import AREAS, TOWNS, build_store
from .strategies import residents

Table = dict[int, Resident]


def answer(snapshot: Snapshot, keys: list[int]) -> bytes:
    codes = array("Q", [key * 10 + twins.check_digit(key) for key in keys])
    batch = LookupBatch()
    batch.begin(codes, 255)
    batch.run(snapshot, 0, len(codes))
    return bytes(batch.finish()[16:])


def expected(keys: list[int], version: int, table: Table) -> bytes:
    codes = [key * 10 + twins.check_digit(key) for key in keys]
    return twins.lookup_answer(codes, 255, version, table, AREAS, TOWNS)


def person(key: int, name: str) -> Resident:
    return Resident(key=key, name=name, kana="カナ", area=key % 5, town=key % 10, birth_date=19800101, sex=1)


def test_readers_follow_transactions_and_pinned_ones_stay(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", [person(key * 10**6, "初め") for key in range(2_000)])
    keys = [*table, 5, 9_999_999_999]
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        assert not reader.refresh()
        old = reader.pin()
        old_answer = answer(old, keys)
        assert old_answer == expected(keys, 1, table)
        for version in range(2, 9):
            with writer.transaction() as change:
                for key in random.Random(version).sample(keys, 300):
                    if key % 7 == version % 7 and key in table:
                        change.remove(key)
                        del table[key]
                        assert change.get(key) is None
                    else:
                        change.put(person(key, f"版{version}"))
                        table[key] = person(key, f"版{version}")
                        assert change.get(key) == table[key]
                assert change.commit() == version
            assert reader.refresh()
            assert answer(old, keys) == old_answer
        old.release()
        with reader.pin() as snapshot:
            assert snapshot.version == 8
            assert answer(snapshot, keys) == expected(keys, 8, table)
        assert reader.self_check(list(range(0, reader.buckets, 3))) == []
    assert check_register(tmp_path / "r").faults == []


def rewrite(writer: RegisterWriter, table: dict[int, Resident], keys: list[int], name: str) -> int:
    with writer.transaction() as change:
        for key in keys:
            table[key] = person(key, name)
            change.put(table[key])
        return change.commit()


def test_each_pinned_snapshot_keeps_its_version_and_at_most_so_many_are_kept(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", [person(key * 10**6, "初め") for key in range(2_000)])
    keys = list(table)
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        pinned = [(reader.pin(), dict(table))]
        for version in range(2, DIRECTORIES_MAX + 1):
            rewrite(writer, table, random.Random(version).sample(keys, 300), f"版{version}")
            assert reader.refresh()
            pinned.append((reader.pin(), dict(table)))
        rewrite(writer, table, keys[:10], "後")
        assert not reader.refresh()  # all directories are in use
        for version, (snapshot, then) in enumerate(pinned, 1):
            assert answer(snapshot, keys) == expected(keys, version, then)
        pinned.pop(2)[0].release()
        assert reader.refresh()
        with reader.pin() as snapshot:
            assert answer(snapshot, keys) == expected(keys, DIRECTORIES_MAX + 1, table)
        for snapshot, _ in pinned:
            snapshot.release()
        assert reader.self_check(list(range(0, reader.buckets, 3))) == []


def test_a_refresh_in_steps_serves_the_old_version_until_its_last(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", [person(key * 10**6, "初め") for key in range(2_000)])
    keys = list(table)
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        assert not reader.begin_refresh()
        for version in (2, 4):
            before = dict(table)
            rewrite(writer, table, random.Random(version).sample(keys, 500), f"版{version}")
            assert reader.begin_refresh()
            rewrite(writer, table, keys[::50], f"版{version + 1}")  # committed while the refresh is under way
            steps = 0
            while not reader.advance(1):
                steps += 1
                with reader.pin() as snapshot:
                    assert answer(snapshot, keys) == expected(keys, version - 1, before)
            assert steps > 3
            assert reader.version == version
            assert reader.refresh()
            with reader.pin() as snapshot:
                assert answer(snapshot, keys) == expected(keys, version + 1, table)
        rewrite(writer, table, keys[::3], "終")
        assert reader.begin_refresh()
        assert not reader.advance(1)  # closing in the middle gives everything back


class AheadEnvironment:
    """An environment in the moment of a commit: LMDB tells its number already, but snapshots do not see it yet."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def info(self) -> dict[str, int]:
        told: dict[str, int] = self._environment.info()
        return told | {"last_txnid": told["last_txnid"] + 1}


def test_a_look_in_the_moment_of_a_commit_does_not_hide_it(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", [person(key * 10**6, "初め") for key in range(200)])
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        whole = reader._environment
        reader._environment = AheadEnvironment(whole)
        assert not reader.begin_refresh()
        reader._environment = whole
        rewrite(writer, table, list(table)[::5], "次")
        assert reader.refresh()
        with reader.pin() as snapshot:
            assert answer(snapshot, list(table)) == expected(list(table), 2, table)


@given(steps=st.lists(st.lists(st.tuples(st.integers(0, 40), st.one_of(st.none(), residents()))), max_size=6))
@settings(max_examples=25, deadline=None)
def test_any_transactions_leave_what_a_dict_would(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[tuple[int, Resident | None]]]
) -> None:
    directory = tmp_path_factory.mktemp("s") / "r"
    table = build_store(directory, [person(key * 3, "初め") for key in range(10)])
    version = 1
    with RegisterWriter(directory) as writer, writer.reader() as reader:
        for step in steps:
            with writer.transaction() as change:
                for key, fields in step:
                    if fields is None:
                        change.remove(key)
                        table.pop(key, None)
                    else:
                        entry = msgspec.structs.replace(fields, key=key)
                        change.put(entry)
                        table[key] = entry
                version = change.commit()
            reader.refresh()
            with reader.pin() as snapshot:
                assert answer(snapshot, list(range(42))) == expected(list(range(42)), version, table)
        assert reader.meta.entries == len(table)
        assert reader.meta.residents == sum(entry.has_person for entry in table.values())
    # The residents are arbitrary, so their successors are too; nothing else may be wrong.
    assert [fault for fault in check_register(directory).faults if "successor" not in fault] == []


def test_leaving_without_commit_changes_nothing(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", [person(5, "初め")])
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        with writer.transaction() as change:
            change.put(person(5, "別"))
        assert not reader.refresh()
        with writer.transaction() as change:
            assert change.get(5) == table[5]
            assert change.commit() == 1
        with pytest.raises(StoreError, match="ended"):
            change.get(5)
        assert not reader.refresh()


def test_new_towns_reach_readers_and_fill_pages(tmp_path: Path) -> None:
    build_store(tmp_path / "r", [person(5, "初め")])
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        assert reader.version == 1
        with writer.transaction() as change:
            numbers = [change.add_town(2, f"北海道札幌市新町{i}") for i in range(2_100)]
            assert numbers == list(range(10, 2_110))
            change.put(Resident(key=7, name="新", area=2, town=2_109, address_rest="5-6"))
            with pytest.raises(StoreError):
                change.put(Resident(key=8, name="新", area=2, town=2_110))
            with pytest.raises(StoreError):
                change.add_town(0, "長" * 86)
            change.commit()
        assert reader.refresh()
        with reader.pin() as snapshot:
            assert "北海道札幌市新町20995-6".encode() in answer(snapshot, [7])
    report = check_register(tmp_path / "r")
    assert report.faults == []


def test_a_reader_too_far_behind_rebuilds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGES_KEPT_TRANSACTIONS", 3)
    table = build_store(tmp_path / "r", [person(key * 10**7, "初め") for key in range(300)])
    with RegisterWriter(tmp_path / "r") as writer, writer.reader() as reader:
        assert reader.version == 1
        for version in range(2, 12):
            with writer.transaction() as change:
                entry = person(version * 10**7, f"版{version}")
                change.put(entry)
                table[entry.key] = entry
                change.commit()
        assert reader.refresh()
        with reader.pin() as snapshot:
            assert answer(snapshot, list(table)) == expected(list(table), 11, table)


def test_limits_of_a_transaction(tmp_path: Path) -> None:
    build_store(tmp_path / "r", [person(5, "初め")])
    with RegisterWriter(tmp_path / "r") as writer, writer.transaction() as change:
        for key in range(CHANGES_PER_TRANSACTION_MAX):
            change.remove(key)
        change.remove(3)
        with pytest.raises(StoreError, match="commit and begin anew"):
            change.remove(10**9)
        with pytest.raises(StoreError, match="ten digits"):
            change.remove(10**10)


CHILD = """
import sys
from pathlib import Path
from jukinet.core.records.resident import Resident
from jukinet.core.store.writer import RegisterWriter
writer = RegisterWriter(sys.argv[1])
round = 0
while True:
    round += 1
    with writer.transaction() as change:
        for i in range(400):
            name = f"回{round}"
            change.put(Resident(key=i * 24_000_007, name=name, area=1, town=2, update_number=round % 65536))
        change.commit()
    print(round, flush=True)
"""


def test_killed_in_mid_transaction_the_register_is_whole(tmp_path: Path) -> None:
    build_store(
        tmp_path / "r", [Resident(key=i * 24_000_007, name="回0", kana="カイ", area=1, town=2) for i in range(400)]
    )
    chooser = random.Random(11)
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "r")], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        time.sleep(chooser.random() * 0.05)
        child.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in child.stdout.read().split("\n") if line)])
        child.stdout.close()
        child.wait()
        with RegisterWriter(tmp_path / "r") as writer, writer.transaction() as change:
            rounds = {entry.update_number for i in range(400) if (entry := change.get(i * 24_000_007)) is not None}
        assert len(rounds) == 1, "half a transaction is visible"
        assert rounds.pop() >= acknowledged
        assert check_register(tmp_path / "r").faults == []


FULL = """
import resource, signal, sys
from jukinet.core.records.resident import Resident
from jukinet.core.store.writer import RegisterWriter
from jukinet.core.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = RegisterWriter(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    with writer.transaction() as change:
        for i in range(3000):
            change.put(Resident(key=i * 3_000_017, name="満" * 80, address_rest="x" * 255, area=1, town=2))
        change.commit()
except StoreError:
    sys.exit(7)
"""


def test_a_full_disk_is_an_error_and_nothing_changes(tmp_path: Path) -> None:
    build_store(tmp_path / "r", [person(key * 3_000_017, "初め") for key in range(3_000)])
    size = (tmp_path / "r" / "data.mdb").stat().st_size
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "r"), str(size + 65536)], check=False)
    assert done.returncode == 7
    assert check_register(tmp_path / "r").faults == []
    with RegisterWriter(tmp_path / "r") as writer, writer.transaction() as change:
        entry = change.get(3_000_017)
    assert entry is not None
    assert entry.name == "初め"


def test_what_is_no_register_is_refused(tmp_path: Path) -> None:
    for kind in (RegisterReader, RegisterWriter):
        with pytest.raises(StoreError, match="no register"):
            kind(tmp_path / "absent")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "data.mdb").write_bytes(os.urandom(20_000))
    with pytest.raises(StoreError):
        RegisterReader(tmp_path / "garbage")
    assert schema.bucket_width(120_000_000) < 65_536
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


def locked_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmLck")).split()[1]) * 1_024


locking_works = pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer makes mlock do nothing"
)


@locking_works
def test_a_locked_register_stays_locked_while_it_grows(tmp_path: Path) -> None:
    table = build_store(tmp_path / "r", [Resident(key=key * 19_003, state=6, area=0) for key in range(500)])
    with RegisterWriter(tmp_path / "r") as writer:
        before = locked_bytes()
        with writer.reader() as reader:
            reader.warm()
            first = reader.lock_in_memory()
            assert first == reader.file_bytes
            assert locked_bytes() - before == first
            with writer.transaction() as change:
                for resident in table.values():
                    change.put(resident)
                change.commit()
            assert reader.refresh()
            second = reader.lock_in_memory()
            assert second == reader.file_bytes > first
            assert locked_bytes() - before == second
    assert locked_bytes() == before


@locking_works
def test_a_lock_that_is_refused_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="memory"):
        lock_addresses(1 << 46, 4_096)
