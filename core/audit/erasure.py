"""Retention: deleting, provably, the content of months whose period is over (docs/record-of-use.md, 12)."""

from __future__ import annotations

import calendar
import datetime
from pathlib import Path
from typing import Final

from jukinet.core.audit.directory import KIND_ERASURE, KIND_SEGMENT, SealDirectory
from jukinet.core.audit.errors import TreeDamagedError
from jukinet.core.audit.layout import segment_name
from jukinet.core.audit.ledger import JAPAN
from jukinet.core.audit.operator_changes import changes_path, list_changes
from jukinet.core.audit.parts import parts_path
from jukinet.core.audit.runs import list_runs
from jukinet.core.audit.seal import ErasedSegments, ErasureStatement, open_seal
from jukinet.core.audit.sealing import Sealer
from jukinet.core.audit.segment import sync_directory
from jukinet.core.audit.writer import RecordOfUseWriter
from jukinet.core.errors import RecordOfUseError

RETENTION_YEARS: Final = 7
"""How long the content of the record of use is kept at the least, where nothing else is said."""
DAYS_A_YEAR: Final = 365.25
LEAP_DAYS_MAX: Final = 31
"""As for the register (docs/retention.md, 2): a clock that has leapt further ahead is not trusted for so many days."""
DAY_NS: Final = 86_400_000_000_000


def erasures(tree: Path, rows: SealDirectory) -> list[ErasureStatement]:
    """The erasures on record, oldest first. Raises TreeDamagedError."""
    found = []
    for number, row in enumerate(rows.rows):
        if row.kind == KIND_ERASURE:
            with open_seal(tree, number) as seal:
                seal.check()
                statement = seal.decoded()
            if not isinstance(statement, ErasureStatement):
                raise TreeDamagedError(seal.path, "not the erasure that the directory says")
            found.append(statement)
    return found


def erased_until(statements: list[ErasureStatement]) -> int:
    """The leaf below which all content was erased."""
    return max((statement.next_leaf for statement in statements), default=0)


def due_month(sealer: Sealer, years: int) -> int | None:
    """The oldest month that holds content, when every provision in it is past its ``years``; otherwise None."""
    erased = erased_until(erasures(sealer.tree, sealer.rows))
    rows = [row for row in sealer.rows.rows if row.kind == KIND_SEGMENT and row.first_leaf >= erased]
    if not rows:
        return None
    month = rows[0].month
    newest_ns = max(row.last_time_ns for row in rows if row.month == month)
    now = datetime.datetime.fromtimestamp(sealer.now() / 1e9, JAPAN)
    current = now.year * 100 + now.month
    if month >= current or not _is_over(newest_ns, years, now):
        return None
    return month


def distrust(sealer: Sealer) -> str:
    """Why the clock is not one to erase by, or ''.

    Deleting cannot be undone. So the clock must agree with the record of use itself: for the last LEAP_DAYS_MAX there
    were provisions, none of which was that long after those before it.
    """
    newest_ns = leapt_ns = 0
    for row in sealer.rows.rows:
        if row.kind == KIND_SEGMENT and row.last_time_ns:
            if newest_ns and row.first_time_ns - newest_ns > LEAP_DAYS_MAX * DAY_NS:
                leapt_ns = row.first_time_ns
            elif row.last_time_ns - row.first_time_ns > LEAP_DAYS_MAX * DAY_NS:
                leapt_ns = row.last_time_ns
            newest_ns = max(newest_ns, row.last_time_ns)
    now_ns = sealer.now()
    if now_ns - newest_ns > LEAP_DAYS_MAX * DAY_NS:
        return f"the clock lies {(now_ns - newest_ns) // DAY_NS:,} days beyond the newest sealed provision"
    if leapt_ns and now_ns - leapt_ns < LEAP_DAYS_MAX * DAY_NS:
        return f"the clock leapt more than {LEAP_DAYS_MAX} days ahead less than {LEAP_DAYS_MAX} days ago"
    return ""


def _is_over(time_ns: int, years: int, now: datetime.datetime) -> bool:
    then = datetime.datetime.fromtimestamp(time_ns / 1e9, JAPAN)
    last_day = calendar.monthrange(then.year + years, then.month)[1]
    return now > then.replace(year=then.year + years, day=min(then.day, last_day))


def erase_month(sealer: Sealer, month: int, years: int) -> ErasureStatement | None:
    """Put the erasure of a month on record, then delete its content. None when a worker's newest segment is in the way.

    Raises OSError and RecordOfUseError. After a crash in between, ``finish`` deletes what is left.
    """
    erased = erased_until(erasures(sealer.tree, sealer.rows))
    rows = [
        row for row in sealer.rows.rows if row.kind == KIND_SEGMENT and row.month == month and row.first_leaf >= erased
    ]
    by_worker: dict[int, list[int]] = {}
    for row in rows:
        by_worker.setdefault(row.worker, []).append(row.segment)
    for worker, segments in by_worker.items():
        if not _has_successor(sealer.directory, worker, max(segments), sealer.register):
            return None
    statement = ErasureStatement(
        time_ns=sealer.now(),
        month=sealer.month(),
        erased_month=month,
        first_leaf=rows[0].first_leaf,
        next_leaf=rows[-1].next_leaf,
        segments=[ErasedSegments(worker, min(found), max(found)) for worker, found in sorted(by_worker.items())],
        retention_days=round(years * DAYS_A_YEAR),
    )
    sealer.add_statement(statement)
    _delete(sealer, statement)
    return statement


def _has_successor(directory: Path, worker: int, segment: int, register: str) -> bool:
    """Whether a newer segment of the worker keeps its numbering; one is begun for a worker that nobody runs."""
    successor = directory / segment_name(worker, segment + 1)
    if successor.exists():
        return True
    try:
        RecordOfUseWriter(directory, worker, register=register).close()
    except RecordOfUseError:
        return False  # it is running, and begins a new segment with its next record
    return successor.exists()


def finish(sealer: Sealer) -> int:
    """Delete what erasures on record have left because of a crash: files deleted. Raises OSError."""
    return sum(_delete(sealer, statement) for statement in erasures(sealer.tree, sealer.rows))


def _delete(sealer: Sealer, statement: ErasureStatement) -> int:
    """Oldest first, so that what is left after a crash is still a chain without a gap."""
    deleted = 0
    for one in statement.segments:
        for segment in range(one.first, one.last + 1):
            path = sealer.directory / segment_name(one.worker, segment)
            if path.exists():
                path.unlink()
                deleted += 1
    for run in list_runs(sealer.tree):
        if statement.first_leaf <= run.first_leaf and run.next_leaf <= statement.next_leaf:
            run.path(sealer.tree).unlink(missing_ok=True)
            deleted += 1
    for number in range(sealer.rows.seal_of(statement.first_leaf), sealer.rows.seal_of(statement.next_leaf - 1) + 1):
        parts_path(sealer.tree, number).unlink(missing_ok=True)
    for number in list_changes(sealer.tree):
        if sealer.rows.rows[number].next_leaf <= statement.next_leaf:
            changes_path(sealer.tree, number).unlink(missing_ok=True)
            deleted += 1
    if deleted:
        sync_directory(sealer.directory)
    return deleted
