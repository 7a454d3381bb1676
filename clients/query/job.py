"""A bulk job's files: work file, journal of durable progress, and publishing by rename, so that no crash can leave a
wrong output.

Beside OUT stand ``OUT.work``, appended to, and ``OUT.journal``: a line of JSON with the job's identity, then one line
for each time the work file was synced, with rows, bytes and a CRC-32 of the codes answered so far. OUT itself appears
whole, by rename, at the end. After a crash `open_job` with ``resume`` cuts the work file back to the last journal line.
The journal holds no code, name or other content.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from jukinet.clients.errors import UsageError

JOURNAL_FORMAT: Final = 1
LINE_BYTES_MAX: Final = 8_192
JOURNAL_BYTES_MAX: Final = 64 * 1_024 * 1_024


@dataclass(slots=True)
class Progress:
    """What is durable: rows answered, bytes of the work file, CRC-32 of the codes of those rows as u64."""

    rows: int = 0
    bytes: int = 0
    crc: int = 0
    complete: bool = False

    def add(self, codes: Any) -> None:
        """Count these codes (a column of u64) as answered."""
        self.rows += len(codes)
        self.crc = zlib.crc32(codes, self.crc)


class Job:
    """One job under way. Invariant: ``OUT.work`` up to ``saved.bytes`` is on disk and holds ``saved.rows`` rows."""

    def __init__(self, out: Path, journal: BinaryIO, work: BinaryIO, saved: Progress) -> None:
        self.out = out
        self.work_path = beside(out, ".work")
        self.work = work
        self.saved = saved
        self._journal = journal

    def save(self, progress: Progress) -> None:
        """Make the work file durable up to ``progress.bytes``, then say so in the journal."""
        self.work.flush()
        os.fdatasync(self.work.fileno())
        self._append({"rows": progress.rows, "bytes": progress.bytes, "crc": progress.crc})
        self.saved = Progress(progress.rows, progress.bytes, progress.crc)

    def mark_complete(self) -> None:
        """Every row is in the work file; what is left can be repeated from it."""
        saved = self.saved
        self._append({"rows": saved.rows, "bytes": saved.bytes, "crc": saved.crc, "complete": True})
        saved.complete = True

    def publish(self, finished: Path) -> None:
        """Put the finished file (the work file, or what was made from it) in OUT's place, and tidy up."""
        with finished.open("rb") as file:
            os.fsync(file.fileno())
        finished.replace(self.out)
        sync_directory(self.out.parent)
        self.work_path.unlink(missing_ok=True)
        beside(self.out, ".journal").unlink(missing_ok=True)

    def close(self) -> None:
        self.work.close()
        self._journal.close()

    def _append(self, line: dict[str, Any]) -> None:
        self._journal.write(json.dumps(line).encode() + b"\n")
        self._journal.flush()
        os.fdatasync(self._journal.fileno())


def beside(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_job(out: Path, identity: dict[str, Any], *, resume: bool, overwrite: bool) -> Job | None:
    """Begin a job or go on with a broken one; None when it was broken off after OUT was published.

    UsageError, saying which option helps, when OUT or a broken job is there and neither option allows for it, when OUT
    is no regular file (a rename would put a file in a device's place), when the broken job asked something else, or
    when another process works on it.
    """
    journal_path, work_path = beside(out, ".journal"), beside(out, ".work")
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise UsageError(f"{out} is no regular file; give --out the name of one, or leave it out for standard output")
    if out.exists() and not overwrite and not journal_path.exists():
        raise UsageError(f"{out} exists; give --overwrite to replace it")
    if not resume and not overwrite and journal_path.exists():
        raise UsageError(f"a broken job for {out} is there; give --resume to go on with it, --overwrite to begin anew")
    journal = journal_path.open("a+b")
    try:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is working on {out}") from None
        saved = _read_journal(journal, identity, out) if resume else None
        if saved is None:
            journal.truncate(0)
            work = work_path.open("w+b")
            job = Job(out, journal, work, Progress())
            job._append({"journal": JOURNAL_FORMAT, **identity})
            sync_directory(out.parent)
            return job
        if saved.complete and out.exists() and not work_path.exists():
            journal_path.unlink()
            journal.close()
            return None
        return Job(out, journal, _reopen_work(work_path, saved), saved)
    except BaseException:
        journal.close()
        raise


def _reopen_work(path: Path, saved: Progress) -> BinaryIO:
    try:
        work = path.open("r+b")
    except FileNotFoundError:
        raise UsageError(f"{path} is missing, so the job cannot go on; give --overwrite to begin anew") from None
    if os.fstat(work.fileno()).st_size < saved.bytes:
        work.close()
        raise UsageError(f"{path} is shorter than its journal says; give --overwrite to begin anew")
    work.truncate(saved.bytes)
    work.seek(saved.bytes)
    return work


def _read_journal(journal: BinaryIO, identity: dict[str, Any], out: Path) -> Progress | None:
    """The last progress that is whole; None when there is no journal yet. A torn last line is cut off."""
    journal.seek(0)
    content = journal.read(JOURNAL_BYTES_MAX)
    lines = content.split(b"\n")[:-1]
    if not lines:
        return None
    whole = sum(len(line) + 1 for line in lines)
    if whole != len(content):
        journal.truncate(whole)
        journal.seek(0, os.SEEK_END)
    try:
        header, *steps = (json.loads(line) for line in lines)
        saved = Progress()
        for step in steps:
            saved = Progress(int(step["rows"]), int(step["bytes"]), int(step["crc"]), bool(step.get("complete")))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"the journal of {out} is damaged; give --overwrite to begin anew") from None
    expected = {"journal": JOURNAL_FORMAT, **identity}
    different = [key for key in expected if not isinstance(header, dict) or header.get(key) != expected[key]]
    if different:
        raise UsageError(
            f"the broken job for {out} asked something else ({', '.join(different)}); ask as before, or --overwrite"
        )
    return saved
