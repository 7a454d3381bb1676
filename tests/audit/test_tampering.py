"""What may be done to a log, by whoever has the disk or even the key: `jukinet audit verify` names it, and so does the
script that shares no code with the product, given the log directory and the public key only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jukinet.core.audit import erasure, sealing
from jukinet.core.audit.checkpoint import PrivateKey, check
from jukinet.core.audit.operator_changes import HEADER, changes_path, list_changes
from jukinet.core.audit.seal import ErasedSegments, ErasureStatement, OperatorChange, open_seal
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.verification import Verification, VerifyReport
from jukinet.core.checksum import crc32c

from .logs import segments
from .sealed_logs import KEY, START_NS, seal_all, write_requests
from .test_verification import SCRIPT, independent, inserted, raw_edit, rewrite, swap

DAY_NS = 86_400_000_000_000
YEAR_NS = 366 * DAY_NS
CHANGES = [
    OperatorChange(number, 1_760_000_000, "add", "sato", "agency", "b", f"person-{number}", "") for number in (1, 2)
]


def sealer_at(log: Path, days: float) -> Sealer:
    return Sealer(log, KEY, clock=lambda: START_NS + int(days * DAY_NS))


def verify(log: Path, *, days: float = 9_000, **options: object) -> VerifyReport:
    return Verification(log, KEY.public, now_ns=START_NS + int(days * DAY_NS), **options).run()  # type: ignore[arg-type]


def kinds(report: VerifyReport) -> set[str]:
    return {finding.kind for finding in report.findings}


def told(report: VerifyReport) -> str:
    return "\n".join(map(str, report.findings))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments a worker, sealed in two months, and two changes of operators between them."""
    log = tmp_path_factory.mktemp("made") / "log"
    for month in range(2):
        for worker in (0, 1):
            write_requests(log, worker, 25, seed=month, segment_bytes_max=4_096)
        with sealer_at(log, 31 * month) as sealer:
            while sealer.step() is not None:
                pass
            if not month:
                sealer.add_operator_changes("d" * 32, CHANGES)
    assert len(segments(log)) >= 6
    return log


@pytest.fixture
def log(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "log"))


def seal(log: Path, number: int) -> Path:
    return log / f"tree/seals/{number:012d}.seal"


def newest(log: Path) -> int:
    return len(list((log / "tree/seals").iterdir())) - 1


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def other_signature(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] = ord("B") if content[-30] == ord("A") else ord("A")
    path.write_bytes(content)


def exchange(one: Path, two: Path) -> None:
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def new_salt(log: Path) -> None:
    path = segments(log)[0]
    content = path.read_bytes()
    header = content[:72] + bytes(32) + content[104:124]
    path.write_bytes(header + crc32c(header).to_bytes(4, "little") + content[128:])


def renumber(log: Path) -> None:
    """Two seals exchanged, with numbers and checksums made right."""
    exchange(seal(log, 1), seal(log, 2))
    for number in (1, 2):
        content = seal(log, number).read_bytes()
        head = content[:12] + bytes(4) + number.to_bytes(8, "little") + content[24:48]
        checksum = crc32c(head, crc32c(content[48:]))
        seal(log, number).write_bytes(head[:12] + checksum.to_bytes(4, "little") + head[16:] + content[48:])


def other_key(log: Path) -> None:
    shutil.rmtree(log / "tree")
    seal_all(log, PrivateKey(KEY.public.name, bytes(32)))


def worker_renamed(log: Path) -> None:
    for path in log.glob("worker-01-*.rou"):
        path.rename(path.with_name(path.name.replace("worker-01", "worker-07")))


def earlier_checkpoint(log: Path) -> None:
    with open_seal(log / "tree", newest(log) - 1) as before:
        (log / "tree/checkpoint").write_text(before.note)


def operator_renamed(log: Path) -> None:
    path = changes_path(log / "tree", min(list_changes(log / "tree")))
    data = path.read_bytes()[HEADER.size :].replace(b"person-1", b"person-9")
    path.write_bytes(HEADER.pack(b"JKN-OPC\0", 1, crc32c(data)) + data)


DONE: dict[str, tuple[Callable[[Path], object], set[str], str]] = {
    "a byte of a record": (lambda log: flip(segments(log)[0], 400), {"changed"}, "changed"),
    "a byte of a group's header": (lambda log: flip(segments(log)[1], 130), {"damaged"}, "changed"),
    "a byte of an end mark": (lambda log: flip(segments(log)[0], -8), {"damaged"}, "changed"),
    "a byte of a segment's header": (lambda log: flip(segments(log)[0], 50), {"changed"}, "not the segment"),
    "a record removed": (lambda log: raw_edit(segments(log)[0], lambda r: [*r[:3], *r[4:]]), {"removed"}, "changed"),
    "two records exchanged": (lambda log: raw_edit(segments(log)[0], swap), {"reordered"}, "changed"),
    "a record inserted": (lambda log: raw_edit(segments(log)[0], inserted), {"inserted"}, "changed"),
    "records forged with right checksums": (lambda log: rewrite(segments(log)[0], swap), {"changed"}, "changed"),
    "a new salt": (new_salt, {"changed"}, "not the segment"),
    "a segment cut": (
        lambda log: segments(log)[0].write_bytes(segments(log)[0].read_bytes()[:-50]),
        {"truncated"},
        "truncated",
    ),
    "a segment removed": (lambda log: segments(log)[1].unlink(), {"missing"}, "missing, and not erased"),
    "the newest segment removed": (lambda log: segments(log)[-1].unlink(), {"missing"}, "missing, and not erased"),
    "two segments exchanged": (lambda log: exchange(*segments(log)[:2]), {"swapped"}, "not the segment"),
    "a segment doubled": (
        lambda log: shutil.copy(segments(log)[0], log / "worker-05-000000000000.rou"),
        {"swapped"},
        "not the segment that its name says",
    ),
    "a segment under another name": (
        lambda log: shutil.copy(segments(log)[0], log / "worker-5-0.rou"),
        {"doubled"},
        "not the name",
    ),
    "a worker renamed": (worker_renamed, {"missing", "swapped"}, "missing, and not erased"),
    "a byte of a seal's entries": (lambda log: flip(seal(log, 1), 200), {"damaged"}, "signed root"),
    "a byte of a seal's statement": (lambda log: flip(seal(log, 1), -400), {"damaged"}, "seal"),
    "a byte of a seal's signature": (
        lambda log: other_signature(seal(log, 1)),
        {"damaged", "signature"},
        "the key did not sign",
    ),
    "a seal in the middle removed": (lambda log: seal(log, 1).unlink(), {"missing", "tree"}, "seal 1 is missing"),
    "the newest seal removed": (
        lambda log: seal(log, newest(log)).unlink(),
        {"checkpoint"},
        "does not hold this checkpoint",
    ),
    "all seals removed": (lambda log: shutil.rmtree(log / "tree/seals"), {"missing"}, "does not hold this checkpoint"),
    "two seals exchanged": (lambda log: exchange(seal(log, 1), seal(log, 2)), {"damaged"}, "does not follow"),
    "two seals exchanged and renumbered": (renumber, {"tree"}, "does not follow"),
    "a seal cut": (lambda log: seal(log, 2).write_bytes(seal(log, 2).read_bytes()[:-9]), {"damaged"}, "truncated"),
    "an empty seal": (lambda log: seal(log, 2).write_bytes(b""), {"damaged"}, "damaged"),
    "no checkpoint": (lambda log: (log / "tree/checkpoint").unlink(), {"checkpoint"}, "missing"),
    "the checkpoint of an earlier seal": (earlier_checkpoint, {"checkpoint"}, "not that of the newest seal"),
    "sealed anew with another key": (other_key, {"signature"}, "the key did not sign"),
    "an operator renamed": (operator_renamed, {"changed"}, "other changes"),
    "names of operators removed": (
        lambda log: shutil.rmtree(log / "tree/operators"),
        {"missing"},
        "missing, and not erased",
    ),
}


def test_a_whole_log_is_whole(log: Path) -> None:
    report = verify(log, deep=True)
    assert report.findings == []
    done = independent(log)
    assert (done.returncode, done.stderr) == (0, "")
    assert report.root in done.stdout


@pytest.mark.parametrize("name", DONE)
def test_what_was_done_is_named(log: Path, name: str) -> None:
    change, expected, sentence = DONE[name]
    change(log)
    report = verify(log)
    assert expected <= kinds(report), told(report)
    done = independent(log)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_only_seen_with_an_earlier_checkpoint(log: Path, tmp_path: Path) -> None:
    """The whole directory set back to an earlier state: nothing in it is wrong."""
    earlier = Path(shutil.copytree(log, tmp_path / "earlier"))
    write_requests(log, 0, 5, seed=9)
    with sealer_at(log, 32) as sealer:
        assert sealer.step() is not None
    kept = Path(shutil.copy(log / "tree/checkpoint", tmp_path / "kept"))
    assert verify(earlier).findings == []
    assert independent(earlier).returncode == 0
    seen = check(kept.read_text(), KEY.public)
    assert kinds(verify(earlier, earlier=[seen])) == {"truncated"}
    done = independent(earlier, checkpoints=(kept,))
    assert (done.returncode, "kept: the tree does not hold" in done.stderr) == (1, True)


# ------------------------------------------------------------------------------------- by whoever has the key as well


def test_content_that_is_erased_too_early(log: Path) -> None:
    with sealer_at(log, 400) as sealer:
        assert erasure.erase_month(sealer, 202510, 7) is not None
    report = verify(log)
    assert kinds(report) == {"erased early"}
    assert "399 days old; 2,557 days are the least" in told(report)
    assert "erased provisions of less than" in independent(log).stderr
    assert verify(log, retention_years=1).findings != [], "the statement itself says seven"


def test_a_shorter_retention_than_the_law_asks(log: Path) -> None:
    with sealer_at(log, 400) as sealer:
        assert erasure.erase_month(sealer, 202510, 1) is not None
    assert kinds(verify(log)) == {"erased early"}
    assert verify(log, retention_years=1).findings == []


def test_a_clock_set_ahead_to_erase_and_back_again(log: Path) -> None:
    with sealer_at(log, 8 * 366) as sealer:
        assert erasure.erase_month(sealer, 202510, 7) is not None
    assert verify(log).findings == []
    assert kinds(verify(log, days=500)) == {"erased early"}, "by the clock of whoever verifies"
    write_requests(log, 0, 5, seed=9)
    with sealer_at(log, 40) as sealer:
        assert sealer.step() is not None
    assert "erased early" in kinds(verify(log))
    assert "erased provisions of less than" in independent(log).stderr


def test_an_erasure_that_names_what_was_never_sealed_or_not_all(log: Path) -> None:
    with sealer_at(log, 8 * 366) as sealer:
        rows = sealer.rows.rows
        sealer.add_statement(
            ErasureStatement(
                time_ns=sealer.now(),
                month=sealer.month(),
                erased_month=202510,
                first_leaf=0,
                next_leaf=rows[1].next_leaf,
                segments=[ErasedSegments(rows[0].worker, rows[0].segment, rows[0].segment)],
                retention_days=2557,
            )
        )
    assert {"not erased", "missing"} <= kinds(verify(log))
    assert "erases other segments" in independent(log).stderr


def test_segments_taken_away_before_the_first_seal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_requests(log, 0, 60, segment_bytes_max=8_192)
    segments(log)[0].unlink()
    seal_all(log)
    report = verify(log)
    assert kinds(report) == {"missing"}
    assert "what was before was never sealed" in told(report)
    assert "a segment is missing before it" in independent(log).stderr


def test_a_ledger_that_was_beautified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers for the yearly report that the records do not bear out."""
    log = tmp_path / "log"
    write_requests(log, 0, 20)
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "tallies_of", lambda _counted: [])
        seal_all(log)
    assert verify(log).findings == [], "numbers are counted with --deep only"
    assert kinds(verify(log, deep=True)) == {"tallies"}


# --------------------------------------------------------------------------------------------------------- the script


def test_no_flipped_byte_of_a_seal_breaks_the_script(log: Path) -> None:
    """Each is named in one sentence, whatever the bytes then mean; the checksum of the seal alone is not looked at."""
    source = SCRIPT.read_text().partition('if __name__ == "__main__":')[0]
    driver = log.parent / "driver.py"
    key = log.parent / "key.pub"
    key.write_text(KEY.public.encode())
    driver.write_text(
        source
        + """
path = pathlib.Path(sys.argv[1]) / "tree" / "seals" / "000000000001.seal"
content = path.read_bytes()
places = [*range(48), *range(48, len(content) - 600, 41), *range(len(content) - 600, len(content))]
for place in places:
    for bit in (1, 128):
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        try:
            main(sys.argv[1], sys.argv[2])
        except SystemExit as refusal:
            assert isinstance(refusal.code, str) and "\\n" not in refusal.code, (place, refusal.code)
        else:
            assert 12 <= place < 16, place
"""
    )
    done = subprocess.run([sys.executable, driver, log, key], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
