"""Retention: whole months go when their period is over, provably, through a crash too; tree and ledger stay."""

from __future__ import annotations

import shutil
import subprocess
import sys
from array import array
from pathlib import Path

import msgspec
import pytest

from jukinet.core.audit import erasure
from jukinet.core.audit.disclosure import DisclosureReader, disclose
from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.ledger import Ledger
from jukinet.core.audit.operator_changes import changes_path, list_changes, read_changes
from jukinet.core.audit.runs import list_runs
from jukinet.core.audit.seal import (
    ErasureStatement,
    OperatorChange,
    OperatorsStatement,
    SegmentStatement,
    list_seals,
    open_seal,
)
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.verification import Verification, VerifyReport
from jukinet.server.recorded_changes import changes_on_record

from .logs import USE, append, open_writer, segments
from .sealed_logs import CODES, KEY, START_NS, write_requests
from .test_verification import SCRIPT

DAY_NS = 86_400_000_000_000
YEAR_NS = 366 * DAY_NS


def two_months(directory: Path) -> Path:
    """Segments sealed in October and in November 2025, of two workers."""
    for month in range(2):
        for worker in (0, 1):
            write_requests(directory, worker, 15, seed=month, segment_bytes_max=4_096)
        with Sealer(directory, KEY, clock=lambda month=month: START_NS + month * 31 * DAY_NS) as sealer:
            while sealer.step() is not None:
                pass
    return directory


def later(directory: Path, years: float) -> Sealer:
    return Sealer(directory, KEY, clock=lambda: START_NS + int(years * YEAR_NS))


def verify(directory: Path) -> VerifyReport:
    """As of a time after all of these."""
    return Verification(directory, KEY.public, deep=True, now_ns=START_NS + 9 * YEAR_NS).run()


def kinds(directory: Path) -> set[str]:
    return {finding.kind for finding in verify(directory).findings}


def test_a_month_goes_when_its_period_is_over(tmp_path: Path) -> None:
    two_months(tmp_path)
    with later(tmp_path, 6.9) as sealer:
        assert erasure.due_month(sealer, 7) is None
    before = Ledger(tmp_path / "tree").tallies()
    count = len(segments(tmp_path))
    with later(tmp_path, 7.1) as sealer:
        assert erasure.due_month(sealer, 7) == 202510
        statement = erasure.erase_month(sealer, 202510, 7)
        assert isinstance(statement, ErasureStatement)
        assert (statement.first_leaf, statement.erased_month) == (0, 202510)
        assert erasure.due_month(sealer, 7) == 202511, "its provisions are of the same days"
    assert 0 < len(segments(tmp_path)) < count
    assert all(run.first_leaf >= statement.next_leaf for run in list_runs(tmp_path / "tree"))
    report = verify(tmp_path)
    assert report.findings == []
    assert report.erased_segments > 0
    assert report.erasures == ["2025-10 on 2032-11-20, its newest provision of 2025-10-09"]
    assert Ledger(tmp_path / "tree").tallies() == before, "the ledger is kept for ever"
    file = tmp_path.parent / "key.pub"
    file.write_text(KEY.public.encode())
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path), str(file)], capture_output=True, check=False)
    assert done.returncode == 0
    with DisclosureReader(tmp_path) as reader:
        answer, _ = disclose(reader, [CODES[0]], START_NS)
        assert answer.provisions
        assert all(one.proof is None or one.proof.leaf >= statement.next_leaf for one in answer.provisions)


def test_nothing_of_the_content_is_left(tmp_path: Path) -> None:
    two_months(tmp_path)
    with later(tmp_path, 8) as sealer:
        while (month := erasure.due_month(sealer, 7)) is not None:
            assert erasure.erase_month(sealer, month, 7) is not None
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for code in CODES[:4]:
        assert code.to_bytes(5, "little") not in data
    for text in ("現況確認", "operator-7", "R8-1"):
        assert text.encode() not in data
    assert kinds(tmp_path) == set()


def test_numbering_goes_on_after_everything_was_erased(tmp_path: Path) -> None:
    two_months(tmp_path)
    newest = {worker: max(tmp_path.glob(f"worker-{worker:02d}-*")).name for worker in (0, 1)}
    with later(tmp_path, 8) as sealer:
        while (month := erasure.due_month(sealer, 7)) is not None:
            erasure.erase_month(sealer, month, 7)
    for worker, name in newest.items():
        assert max(tmp_path.glob(f"worker-{worker:02d}-*")).name > name, "a new one was begun first"
    write_requests(tmp_path, 0, 3, seed=9)
    with later(tmp_path, 8) as sealer:
        assert sealer.step() is not None
    assert kinds(tmp_path) == set()


def test_the_newest_segment_of_a_running_worker_is_not_touched(tmp_path: Path) -> None:
    two_months(tmp_path)
    with open_writer(tmp_path, 0) as writer, later(tmp_path, 8) as sealer:
        append(writer)
        assert erasure.erase_month(sealer, 202510, 7) is not None
        newest = max(tmp_path.glob("worker-00-*"))
        writer.commit()
        assert newest.exists()


def test_an_erasure_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    two_months(tmp_path)
    copy = tmp_path.parent / "copy"
    shutil.copytree(tmp_path, copy)
    with later(tmp_path, 7.1) as sealer:
        statement = erasure.erase_month(sealer, 202510, 7)
    assert statement is not None
    for path in copy.glob("worker-*.rou"):  # as if nothing, or only some, had been deleted yet
        if not (tmp_path / path.name).exists() and path.name.endswith("1.rou"):
            shutil.copy(path, tmp_path)
    assert kinds(tmp_path) == {"not erased"}
    with later(tmp_path, 7.1) as sealer:
        assert erasure.finish(sealer) > 0
        assert erasure.finish(sealer) == 0
    assert kinds(tmp_path) == set()


CHANGES = [OperatorChange(1, START_NS // 10**9, "add", "sato", "agency", "b", "suzuki hanako", "class bulk, by key")]


def test_names_of_operators_go_with_the_content_and_the_tree_still_verifies(tmp_path: Path) -> None:
    write_requests(tmp_path, 0, 15, segment_bytes_max=4_096)
    with Sealer(tmp_path, KEY, clock=lambda: START_NS) as sealer:
        sealer.add_operator_changes("d" * 32, CHANGES)
        while sealer.step() is not None:
            pass
        with open_seal(sealer.tree, 0) as seal:
            statement = seal.decoded()
        assert isinstance(statement, OperatorsStatement)
        assert read_changes(sealer.tree, 0, statement) == CHANGES
        assert b"suzuki" not in b"".join(path.read_bytes() for path in (sealer.tree / "seals").iterdir())
    assert kinds(tmp_path) == set()
    with later(tmp_path, 8) as sealer:
        sealer.add_operator_changes("d" * 32, [msgspec.structs.replace(CHANGES[0], number=2, name="sato jiro")])
        assert erasure.erase_month(sealer, 202510, 7) is not None
    assert kinds(tmp_path) == set()
    rest = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"suzuki" not in rest
    assert b"sato jiro" in rest
    assert read_changes(tmp_path / "tree", 0, statement) is None
    file = tmp_path.parent / "key.pub"
    file.write_text(KEY.public.encode())
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path), str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [row for row in changes_on_record(tmp_path / "tree") if row["kind"] == "operator"]
    assert [(row["what"], row.get("name")) for row in rows] == [("erased", None), ("add", "sato jiro")]


def test_names_beside_a_seal_are_those_that_it_commits_to(tmp_path: Path) -> None:
    write_requests(tmp_path, 0, 5)
    with Sealer(tmp_path, KEY) as sealer:
        number = sealer.add_operator_changes("d" * 32, CHANGES)
        with open_seal(sealer.tree, number) as seal:
            statement = seal.decoded()
    assert isinstance(statement, OperatorsStatement)
    tree = tmp_path / "tree"
    path = changes_path(tree, number)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(TreeDamagedError):
            read_changes(tree, number, statement)
        assert kinds(tmp_path) == {"changed"}
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(TreeDamagedError):
            read_changes(tree, number, statement)
    path.write_bytes(content)
    shutil.copy(path, changes_path(tree, number + 1))
    (tree / "operators/x.new").write_text("")
    assert list_changes(tree) == {number, number + 1}
    with Sealer(tmp_path, KEY):
        assert list_changes(tree) == {number}, "what a crash left"
        assert not (tree / "operators/x.new").exists()


def test_a_clock_that_leaps_erases_nothing(tmp_path: Path) -> None:
    """Neither at once nor after provisions of the wrong time; after a month of them the clock is believed."""
    two_months(tmp_path)
    count = len(segments(tmp_path))
    with later(tmp_path, 8) as sealer:
        assert erasure.due_month(sealer, 7) == 202510
        assert "days beyond the newest sealed provision" in erasure.distrust(sealer)
    for days, trusted in ((0, False), (20, False), (32, True)):
        now_ns = START_NS + 8 * YEAR_NS + days * DAY_NS
        with open_writer(tmp_path, 0) as writer:
            writer.append(USE, array("Q", [7]), b"\1", function=1, items=1, register_version=1, time_ns=now_ns)
            writer.commit()
        with Sealer(tmp_path, KEY, clock=lambda now_ns=now_ns: now_ns) as sealer:
            while sealer.step() is not None:
                pass
            assert (erasure.distrust(sealer) == "") == trusted, erasure.distrust(sealer)
    assert len(segments(tmp_path)) == count + 3


def test_a_clock_that_goes_on_is_believed(tmp_path: Path) -> None:
    two_months(tmp_path)
    with Sealer(tmp_path, KEY, clock=lambda: START_NS + 20 * DAY_NS) as sealer:
        assert erasure.distrust(sealer) == ""


def test_a_deletion_without_a_statement_is_a_fault(tmp_path: Path) -> None:
    two_months(tmp_path)
    segments(tmp_path)[0].unlink()
    assert "missing" in kinds(tmp_path)


def test_an_erasure_is_on_record_in_the_tree(tmp_path: Path) -> None:
    two_months(tmp_path)
    with later(tmp_path, 7.1) as sealer:
        erasure.erase_month(sealer, 202510, 7)
    named = set()
    for number in list_seals(tmp_path / "tree"):
        with open_seal(tmp_path / "tree", number) as seal:
            statement = seal.decoded()
            if isinstance(statement, ErasureStatement):
                assert statement.retention_days == 2557
                named = {(one.worker, n) for one in statement.segments for n in range(one.first, one.last + 1)}
            elif isinstance(statement, SegmentStatement):
                path = tmp_path / f"worker-{statement.worker:02d}-{statement.segment:012d}.rou"
                assert path.exists() == (statement.month != 202510)
    assert named


@pytest.mark.parametrize("years", [1, 7])
def test_a_leap_day_is_kept_to_the_last_of_february(years: int) -> None:
    import datetime  # noqa: PLC0415

    japan = datetime.timezone(datetime.timedelta(hours=9))
    made = datetime.datetime(2024, 2, 29, 12, tzinfo=japan)
    time_ns = int(made.timestamp()) * 1_000_000_000
    end = datetime.datetime(2024 + years, 2, 28, 12, tzinfo=japan)
    assert not erasure._is_over(time_ns, years, end)
    assert erasure._is_over(time_ns, years, end + datetime.timedelta(seconds=1))
