"""Verification: a whole log is whole for us and for software that is not ours; whatever is done to it is found."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jukinet.core.audit.checkpoint import COSIGNATURE, Checkpoint, Note, PrivateKey, check, cosign
from jukinet.core.audit.layout import GroupHeader, segment_checksum
from jukinet.core.audit.run_kernel import CodeBuffer
from jukinet.core.audit.runs import Run, list_runs, write_run
from jukinet.core.audit.seal import list_seals, open_seal
from jukinet.core.audit.verification import Verification, VerifyReport
from jukinet.core.checksum import crc32c

from .logs import append, open_writer, segments
from .sealed_logs import KEY, seal_all, sealed_log, write_requests

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "verify_log.py"


def verify(directory: Path, **options: object) -> VerifyReport:
    return Verification(directory, KEY.public, **options).run()  # type: ignore[arg-type]


def kinds(report: VerifyReport) -> set[str]:
    return {finding.kind for finding in report.findings}


def independent(
    directory: Path, key: PrivateKey = KEY, checkpoints: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    file = directory.parent / "key.pub"
    file.write_text(key.public.encode())
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(directory), str(file), *map(str, checkpoints)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; tests copy it."""
    return sealed_log(tmp_path_factory.mktemp("sealed") / "log", requests=25, workers=(0, 2))


@pytest.fixture
def log(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "log"))


def test_a_whole_log_is_whole(log: Path) -> None:
    report = verify(log, deep=True)
    assert report.findings == []
    assert (report.seals, report.segments) == (len(list_seals(log / "tree")), len(segments(log)))
    assert report.records == 100
    assert verify(log).root == report.root


def test_software_that_is_not_ours_agrees(log: Path) -> None:
    assert "jukinet" not in SCRIPT.read_text().replace("jukinet\n", "").partition('"""\n\nimport')[2]
    done = independent(log)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verify(log).root in done.stdout
    path = segments(log)[1]
    content = path.read_bytes()
    path.write_bytes(content[:400] + bytes([content[400] ^ 1]) + content[401:])
    done = independent(log)
    assert done.returncode == 1
    assert "changed" in done.stdout + done.stderr
    path.unlink()
    assert independent(log).returncode == 1


def test_software_that_is_not_ours_sees_a_tree_cut_short(log: Path, tmp_path: Path) -> None:
    kept = Path(shutil.copy(log / "tree" / "checkpoint", tmp_path / "kept"))
    assert independent(log, checkpoints=(kept,)).returncode == 0
    last, before = sorted((log / "tree" / "seals").glob("*.seal"))[:-3:-1]
    content = before.read_bytes()
    entries, statement, note = (
        int.from_bytes(content[at : at + size], "little") for at, size in ((32, 8), (40, 4), (44, 4))
    )
    earlier = content[48 + 104 * entries + statement :][:note]
    last.unlink()
    done = independent(log)
    assert done.returncode == 1
    assert "does not hold this checkpoint" in done.stderr
    (log / "tree" / "checkpoint").write_bytes(earlier)
    done = independent(log, checkpoints=(kept,))
    assert done.returncode == 1, "the checkpoint taken back as well: only one kept elsewhere tells"
    assert "kept: the tree does not hold this checkpoint" in done.stderr
    shutil.rmtree(log / "tree")
    assert "missing" in independent(log).stderr


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first segment", "second segment", "seal"])
def test_a_flipped_byte_anywhere_is_found(log: Path, which: str) -> None:
    path = log / "tree/seals/000000000001.seal" if which == "seal" else segments(log)[which == "second segment"]
    content = path.read_bytes()
    chance = random.Random(5)
    places = sorted({*range(160), *range(len(content) - 60, len(content)), *chance.sample(range(len(content)), 150)})
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        report = verify(log)
        assert report.findings, place
        assert report.findings[0].path == str(path)
        for finding in report.findings:
            assert finding.offset <= place
        assert all(b"\xe7" not in str(finding).encode("latin-1", "replace") for finding in report.findings)


@pytest.mark.slow
def test_truncation_of_a_sealed_segment_at_every_byte_is_found(log: Path) -> None:
    path = segments(log)[0]
    content = path.read_bytes()
    for size in [*range(300), *range(300, len(content), 37), *range(len(content) - 60, len(content))]:
        path.write_bytes(content[:size])
        report = verify(log)
        assert report.findings, size
        assert kinds(report) <= {"truncated", "changed", "damaged"}, size
    path.write_bytes(content[:-1])
    assert "truncated" in kinds(verify(log))


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """What somebody with a hex editor and this format does: change the records and make every checksum right again."""
    content = path.read_bytes()
    place, records = 128, []
    while place + 40 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        if size == 0x50555247:
            place += 40
            continue
        if size < 32:
            break
        records.append(content[place : place + size])
        place += size
    first = int.from_bytes(content[48:56], "little")
    fixed = []
    for number, record in enumerate(change(records)):
        body = record[4:8] + (first + number).to_bytes(8, "little") + record[16:]
        fixed.append(crc32c(body).to_bytes(4, "little") + body)
    seed, data = segment_checksum(content), content[:128]
    body = b"".join(fixed)
    header = GroupHeader(offset=128, group_bytes=40 + len(body), first_sequence=first, records=len(fixed))
    data += header.encode(seed) + body
    end = GroupHeader(offset=len(data), group_bytes=40, first_sequence=first + len(fixed), records=0, flags=1)
    path.write_bytes(data + end.encode(seed))


def swap(records: list[bytes]) -> list[bytes]:
    return [records[1], records[0], *records[2:]]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("changed", lambda records: [*records[:2], records[2].replace("現況".encode(), b"x" * 6), *records[3:]]),
        ("changed", lambda records: records[:-1]),
        ("changed", swap),
        ("changed", lambda records: [records[0], *records]),
    ],
)
def test_a_forger_with_right_checksums_is_found(
    log: Path, kind: str, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    rewrite(segments(log)[0], change)
    report = verify(log)
    assert report.findings
    assert {finding.path for finding in report.findings} == {str(segments(log)[0])}
    assert independent(log).returncode == 1


def raw_edit(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Move records about as they are: sequences and checksums of records stay, groups are made one."""
    content = path.read_bytes()
    place, records = 128, []
    while place + 40 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        if size == 0x50555247:
            place += 40
            continue
        records.append(content[place : place + size])
        place += size
    body = b"".join(change(records))
    first = int.from_bytes(content[48:56], "little")
    header = GroupHeader(offset=128, group_bytes=40 + len(body), first_sequence=first, records=len(change(records)))
    end = GroupHeader(offset=168 + len(body), group_bytes=40, first_sequence=first + len(records), records=0, flags=1)
    seed = segment_checksum(content)
    path.write_bytes(content[:128] + header.encode(seed) + body + end.encode(seed))


def inserted(records: list[bytes]) -> list[bytes]:
    body = records[0][4:8] + (10**6).to_bytes(8, "little") + records[0][16:]
    return [records[0], crc32c(body).to_bytes(4, "little") + body, *records[1:]]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("removed", lambda records: [*records[:3], *records[4:]]),
        ("reordered", swap),
        ("inserted", inserted),
        ("changed", lambda records: [*records[:3], records[3][:-8] + bytes(8), *records[4:]]),
    ],
)
def test_what_was_done_to_records_is_named(log: Path, kind: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    raw_edit(segments(log)[0], change)
    report = verify(log)
    assert kind in kinds(report), [str(one) for one in report.findings]
    assert all(finding.worker == 0 for finding in report.findings if finding.sequence >= 0)


def test_segments_that_are_missing_doubled_or_swapped(log: Path) -> None:
    first, second, third = segments(log)[:3]
    contents = [path.read_bytes() for path in (first, second, third)]
    second.unlink()
    report = verify(log)
    assert [(finding.kind, finding.path) for finding in report.findings] == [("missing", str(second))]
    assert verify(log, content=False).absent_segments == 1
    second.write_bytes(contents[0])
    assert kinds(verify(log)) == {"swapped"}
    first.write_bytes(contents[1])
    assert len(verify(log).findings) == 2
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    copy = log / "worker-05-000000000000.rou"
    copy.write_bytes(contents[0])
    assert kinds(verify(log)) == {"swapped"}
    copy.rename(log / "worker-5-0.rou")
    assert kinds(verify(log)) >= {"doubled"}


def test_a_segment_behind_the_sealed_ones_is_checked_for_itself(log: Path) -> None:
    with open_writer(log, 0) as writer:
        append(writer)
    report = verify(log)
    assert (report.findings, report.unsealed_segments, report.unsealed_records) == ([], 1, 1)
    path = segments(log)[-1] if "worker-00" in segments(log)[-1].name else max(log.glob("worker-00-*.rou"))
    content = path.read_bytes()
    path.write_bytes(content[:150] + b"x" + content[151:])
    assert kinds(verify(log)) == {"damaged"}
    path.rename(path.with_name(path.name[:-5] + "9.rou"))
    assert "missing" in kinds(verify(log))


def test_seals_that_are_missing_or_exchanged(log: Path) -> None:
    seals = sorted((log / "tree/seals").iterdir())
    content = seals[1].read_bytes()
    seals[1].unlink()
    assert {"missing", "tree"} <= kinds(verify(log))
    seals[1].write_bytes(seals[2].read_bytes())
    assert "damaged" in kinds(verify(log))
    seals[1].write_bytes(content)
    assert verify(log).findings == []


def test_a_log_that_was_cut_back_is_found_by_an_earlier_checkpoint(log: Path) -> None:
    seen = check((log / "tree/checkpoint").read_text(), KEY.public)
    seals = sorted((log / "tree/seals").iterdir())
    with open_seal(log / "tree", len(seals) - 1) as seal:
        statement = seal.decoded()
    with open_seal(log / "tree", len(seals) - 2) as seal:
        (log / "tree/checkpoint").write_text(seal.note)
    seals[-1].unlink()
    (log / f"worker-{statement.worker:02d}-{statement.segment:012d}.rou").unlink()
    for name in ("directory", "ledger", "hashes-00"):
        (log / "tree" / name).unlink()
    for run in list_runs(log / "tree"):
        if run.next_leaf == seen.size:
            run.path(log / "tree").unlink()
    seal_all(log)
    assert verify(log).findings == [], "an older log looks like this"
    report = verify(log, earlier=[seen])
    assert kinds(report) == {"truncated"}


def test_a_log_that_was_rewritten_is_found_by_an_earlier_checkpoint(log: Path, tmp_path: Path) -> None:
    """With the key: the operator itself."""
    seen = check((log / "tree/checkpoint").read_text(), KEY.public)
    other = sealed_log(tmp_path / "other", requests=26, workers=(0, 2))
    assert verify(other).findings == []
    assert kinds(verify(other, earlier=[seen])) <= {"checkpoint", "truncated"}
    assert verify(other, earlier=[seen]).findings
    write_requests(log, 0, 3)
    seal_all(log)
    assert verify(log, earlier=[seen]).findings == []
    elsewhere = Checkpoint("elsewhere", seen.size, seen.root)
    assert kinds(verify(log, earlier=[elsewhere])) == {"checkpoint"}


def test_signatures_and_witnesses(log: Path) -> None:
    other = PrivateKey(KEY.public.name, bytes(32))
    report = Verification(log, other.public).run()
    assert kinds(report) == {"signature", "checkpoint"}
    witness = PrivateKey("tokyo", bytes(32), COSIGNATURE)
    assert kinds(verify(log, witnesses=[witness.public])) == {"witness"}
    path = log / "tree/checkpoint"
    path.write_text(cosign(Note.decode(path.read_text()), witness, 1_700_000_000).encode())
    report = verify(log, witnesses=[witness.public])
    assert (report.findings, report.cosigned) == ([], [f"tokyo: {report.leaves} leaves"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("hashes-00", "hashes"), ("directory", "derived"), ("ledger", "derived"), ("checkpoint", "checkpoint")],
)
def test_what_is_derived_must_be_derived(log: Path, name: str, kind: str) -> None:
    path = log / "tree" / name
    content = path.read_bytes()
    place = content.rindex(b"provisions") - 10 if b"provisions" in content else len(content) // 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert kind in kinds(verify(log))
    path.unlink()
    assert kind in kinds(verify(log))


def test_runs_that_do_not_hold_the_codes_are_found(log: Path) -> None:
    tree = log / "tree"
    name = list_runs(tree)[1]
    path = name.path(tree)
    content = path.read_bytes()
    path.unlink()
    assert kinds(verify(log, deep=True)) == {"codes"}
    path.write_bytes(content[:-20] + b"x" + content[-19:])
    assert kinds(verify(log, deep=True)) == {"codes"}
    path.write_bytes(content)
    buffer = CodeBuffer()
    with Run(tree, name) as run:
        run.unpack(buffer)
    buffer.add(11111111116, name.first_leaf, 0)
    write_run(tree, name, buffer)
    assert kinds(verify(log, deep=True)) == {"codes"}
    assert verify(log).findings == []
    path.write_bytes(content)
    assert verify(log, deep=True).findings == []
    stale = name._replace(first_leaf=10**6, next_leaf=10**6 + 1)
    shutil.copy(path, stale.path(tree))
    assert kinds(verify(log, deep=True)) == {"codes"}


def test_a_log_that_was_never_sealed(tmp_path: Path) -> None:
    write_requests(tmp_path, 0, 3)
    report = verify(tmp_path)
    assert "missing" in kinds(report)
    assert report.unsealed_segments == 1


def test_void_and_recovery_records_are_sealed_too(tmp_path: Path) -> None:
    from .logs import crash  # noqa: PLC0415

    writer = open_writer(tmp_path, 0)
    append(writer)
    writer.commit()
    append(writer)
    real = writer._segment.write_group

    def fail(*arguments: object) -> None:
        raise OSError(28, "no room")

    writer._segment.write_group = fail  # type: ignore[method-assign, union-attr]
    with pytest.raises(Exception, match="cannot be written"):
        writer.commit()
    writer._segment.write_group = real  # type: ignore[method-assign, union-attr]
    append(writer)
    writer.commit()
    crash(writer)
    write_requests(tmp_path, 0, 3)
    seal_all(tmp_path)
    report = verify(tmp_path, deep=True)
    assert report.findings == []
    assert report.records == 1 + 1 + 1 + 1 + 3
    assert independent(tmp_path).returncode == 0
