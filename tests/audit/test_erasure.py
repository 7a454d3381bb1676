"""Retention: whole months go when their period is over, provably, through a crash too; tree and ledger stay."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jukinet.core.audit import erasure
from jukinet.core.audit.disclosure import DisclosureReader, disclose
from jukinet.core.audit.ledger import Ledger
from jukinet.core.audit.runs import list_runs
from jukinet.core.audit.seal import ErasureStatement, SegmentStatement, list_seals, open_seal
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.verification import Verification

from .logs import append, open_writer, segments
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


def kinds(directory: Path) -> set[str]:
    return {finding.kind for finding in Verification(directory, KEY.public, deep=True).run().findings}


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
    report = Verification(tmp_path, KEY.public, deep=True).run()
    assert report.findings == []
    assert report.erased_segments > 0
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
